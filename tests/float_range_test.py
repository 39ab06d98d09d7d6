"""What float32's range costs a formula, against the same in float64."""

import gc
import weakref

import numpy as np
import oracle
import pytest
from formula_values_test import TEXTS, market

from alphajax.analysis import float_range
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib

T, S = 40, 12
TINY, HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max


def make_panel():
  """Prices about 20, volumes about 1e8, both with gaps."""
  rng = np.random.default_rng(0)
  features = np.exp(rng.normal(3, 0.4, (6, T, S))).astype(np.float32)
  features[4] = np.exp(rng.normal(18, 2, (T, S)))
  features[rng.random(features.shape) < 0.03] = np.nan
  first = np.datetime64('2020-01-01')
  days = [str(first + np.timedelta64(t, 'D')) for t in range(T)]
  names = [f's{i}' for i in range(S)]
  return panel_lib.make(features, rng.random((T, S)) < 0.8, days, names)


def share(*texts):
  formulas = [formula_lib.parse(text) for text in texts]
  return float_range.lost_share(formulas, make_panel())


def exact(text):
  """Values in float64, which float32 has to hold."""
  panel = make_panel()
  open_, _, _, close, volume, vwap = panel.features.astype(np.float64)
  with np.errstate(all='ignore'):
    return {
      'Pow(0.01,close)': lambda: 0.01**close,
      'Pow(open,close)': lambda: open_**close,
      'volume*volume*volume*volume*volume': lambda: volume**5,
      '1/(volume*volume*volume*volume*volume)': lambda: volume**-5,
      'Var(1e-20*close,5)': lambda: covariance(close, close) * 1e-40,
      'Cov(1e-20*close,1e-20*vwap,5)': lambda: covariance(close, vwap) * 1e-40,
      'Product(volume,6)': lambda: rolled(volume, np.prod, 6),
      'Sum(3e36*close,5)': lambda: rolled(close, np.sum) * 3e36,
      'Delta(9e36*Less(vwap,37)*Sign(open-close),1)': lambda: np.diff(
        9e36 * np.minimum(vwap, 37) * np.sign(open_ - close),
        axis=0,
        prepend=np.full((1, S), np.nan),
      ),
    }[text]()


def out(text):
  """The cells whose value float32 cannot hold, and float64 can."""
  values = exact(text)
  size = np.abs(values)
  with np.errstate(invalid='ignore'):
    return np.isfinite(size) & (size != 0) & ((size < TINY) | (size > HUGE))


def covariance(x, y):
  product = rolled(x * y, np.mean) - rolled(x, np.mean) * rolled(y, np.mean)
  return product * 5 / 4


def rolled(x, function, window=5):
  result = np.full(x.shape, np.nan)
  for t in range(window - 1, T):
    result[t] = function(x[t - window + 1 : t + 1], axis=0)
  return result


@pytest.mark.parametrize(
  'text',
  [
    'Pow(0.01,close)',
    'Pow(open,close)',
    'volume*volume*volume*volume*volume',
    '1/(volume*volume*volume*volume*volume)',
    'Var(1e-20*close,5)',
    'Cov(1e-20*close,1e-20*vwap,5)',
    'Product(volume,6)',
    'Sum(3e36*close,5)',
    'Delta(9e36*Less(vwap,37)*Sign(open-close),1)',
  ],
)
def test_shares_are_those_of_float64(text):
  lost, members = out(text), np.asarray(make_panel().mask)
  expected = (lost & members).sum() / members.sum()
  assert 0.02 < expected < 0.98
  assert share(text)[0] == pytest.approx(expected, abs=1e-6)


def test_a_lost_part_is_lost_to_whoever_reads_it():
  lost, members = out('Pow(0.01,close)'), np.asarray(make_panel().mask)
  later = np.zeros_like(lost)
  later[3:] = lost[:-3]
  window = rolled(lost.astype(float), np.max, 4) > 0
  texts = {
    'close+Pow(0.01,close)': lost,
    'CSRank(Pow(0.01,close))': lost,
    'Ref(Pow(0.01,close),3)': later,
    'Delta(Pow(0.01,close),3)': lost | later,
    'Max(Pow(0.01,close),4)*volume': window,
  }
  expected = [
    (cells & members).sum() / members.sum() for cells in texts.values()
  ]
  np.testing.assert_allclose(share(*texts), expected, atol=1e-6)


def test_only_some_days_count():
  lost, panel = out('Pow(0.01,close)'), make_panel()
  days = np.arange(T) % 3 == 0
  counted = np.asarray(panel.mask)[days]
  formulas = [formula_lib.parse('Pow(0.01,close)')]
  actual = float_range.lost_share(formulas, panel, days=days)
  expected = (lost[days] & counted).sum() / counted.sum()
  assert 0.02 < expected != pytest.approx(share('Pow(0.01,close)')[0])
  np.testing.assert_allclose(actual, expected, atol=1e-6)
  none = float_range.lost_share(formulas, panel, days=np.zeros(T, bool))
  np.testing.assert_array_equal(none, 0)


def test_what_float64_has_not_either_is_not_lost():
  actual = share(
    'close/(close-close)', 'Log(-close)', '(close-close)*volume',
    'Pow(-open,close)', 'Pow(close-close,-1)', 'Corr(close,close-close,5)',
    'Var(close-close,5)',
  )  # fmt: skip
  np.testing.assert_array_equal(actual, 0)


def test_ordinary_formulas_lose_nothing():
  panel, *_ = market()
  formulas = [formula_lib.parse(text) for text in TEXTS]
  store = evaluate.make_store(panel)
  actual = float_range.lost_share(formulas, panel, store)
  assert actual.shape == (len(TEXTS),) and actual.dtype == np.float32
  np.testing.assert_array_equal(actual, 0)


def test_a_lost_cell_is_one_where_float64_ranks_differently():
  """The oracle flushes as float32 does; NumPy in float64 does not."""
  panel = make_panel()
  features = dict(
    zip(panel.feature_names, panel.features.astype(np.float64), strict=True)
  )
  formula = formula_lib.parse('Pow(0.01,close)')
  here = oracle.evaluate(formula, features, np.asarray(panel.mask))
  lost = out('Pow(0.01,close)')
  assert (here[lost] == 0).all() and (here[~lost] != 0).all()


def test_the_values_go_with_their_store():
  """Gigabytes that wait for the garbage collector stay for a whole run."""
  panel = make_panel()
  store = evaluate.make_store(panel)
  formulas = [formula_lib.parse('Std(volume*volume*volume,5)/close')]
  gc.disable()
  try:
    float_range.lost_share(formulas, panel, store)
    kept = weakref.ref(store)
    del store
    assert kept() is None
  finally:
    gc.enable()
