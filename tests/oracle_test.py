"""The oracle itself, against pandas, SciPy and numbers worked by hand."""

from typing import NamedTuple

import numpy as np
import oracle
import pandas as pd
import pytest
from scipy import stats

from alphajax.language import vocab

T, S = 120, 12


class Node(NamedTuple):
  symbol: str
  args: tuple = ()


def node(symbol, *args):
  wrapped = (a if isinstance(a, Node) else Node(str(a)) for a in args)
  return Node(symbol, tuple(wrapped))


def planes(seed=0, count=2, missing=0.01):
  """Normal values with a few ties and missing values."""
  rng = np.random.default_rng(seed)
  out = rng.normal(size=(count, T, S)).round(1)
  out[rng.random(out.shape) < missing] = np.nan
  return list(out)


def everyone():
  return np.ones((T, S), bool)


def apply(name, *operands, window=None):
  return oracle.apply(name, operands, window, everyone())


PANDAS = {
  'Mean': lambda r: r.mean(),
  'Sum': lambda r: r.sum(),
  'Max': lambda r: r.max(),
  'Min': lambda r: r.min(),
  'Std': lambda r: r.std(),
  'Var': lambda r: r.var(),
  'Med': lambda r: r.median(),
  'ArgMax': lambda r: r.apply(np.argmax, raw=True) + 1,
  'ArgMin': lambda r: r.apply(np.argmin, raw=True) + 1,
  'Product': lambda r: r.apply(np.prod, raw=True),
  'Rank': lambda r: r.rank(pct=True),
}
WINDOW_LOOPS = {
  'Skew': stats.skew,
  'Kurt': stats.kurtosis,
  'Mad': lambda x: np.abs(x - x.mean()).mean(),
  'WMA': lambda x: np.average(x, weights=range(1, len(x) + 1)),
  'Slope': lambda x: line(x).slope,
  'Rsquare': lambda x: line(x).rvalue ** 2,
  'Resi': lambda x: x[-1] - line(x).intercept - line(x).slope * (len(x) - 1),
}


def line(x):
  return stats.linregress(range(len(x)), x)


def test_names_are_the_table():
  assert len(oracle.NAMES) == len(set(oracle.NAMES))
  assert set(oracle.NAMES) == set(vocab.OPERATORS)
  for name, row in vocab.OPERATORS.items():
    assert oracle.arity(name) == vocab.OPERANDS[row.kind]


@pytest.mark.parametrize('window', [1, 2, 5, 40])
@pytest.mark.parametrize('name', PANDAS)
def test_rolling_equals_pandas(name, window):
  x = planes()[0]
  expected = PANDAS[name](pd.DataFrame(x).rolling(window)).to_numpy()
  actual = apply(name, x, window=window)
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize('window', [2, 5, 40])
@pytest.mark.parametrize('name', ['Cov', 'Corr'])
def test_paired_equals_pandas(name, window):
  x, y = planes(missing=0.002)
  # pandas has noise instead of NaN where a window is constant.
  x += np.linspace(0, 1, T)[:, None]
  y += np.linspace(0, 2, T)[:, None] ** 2
  rolling = pd.DataFrame(x).rolling(window)
  expected = getattr(rolling, name.lower())(pd.DataFrame(y)).to_numpy()
  actual = apply(name, x, y, window=window)
  np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize('window', [2, 5, 20])
@pytest.mark.parametrize('name', WINDOW_LOOPS)
def test_rolling_equals_a_loop(name, window):
  x = planes()[0] + np.linspace(0, 1, T)[:, None]
  expected = np.full_like(x, np.nan)
  for day in range(window - 1, T):
    for stock in range(S):
      seen = x[day - window + 1 : day + 1, stock]
      if not np.isnan(seen).any():
        expected[day, stock] = WINDOW_LOOPS[name](seen)
  np.testing.assert_allclose(
    apply(name, x, window=window), expected, rtol=1e-9, atol=1e-9
  )


@pytest.mark.parametrize('window', [1, 5, 40])
@pytest.mark.parametrize('level', [0.0, 0.2, 0.5, 0.8, 1.0])
def test_quantile_equals_pandas(level, window):
  x = planes()[0]
  expected = pd.DataFrame(x).rolling(window).quantile(level).to_numpy()
  actual = apply('Quantile', x, np.full_like(x, level), window=window)
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_groups_equal_pandas():
  x, members = planes()[0], np.random.default_rng(1).random((T, S)) < 0.7
  group = np.random.default_rng(2).choice([0, 3, 8, np.nan], (T, S))
  frame = pd.DataFrame(
    {'x': np.where(members, x, np.nan).ravel(), 'group': group.ravel()}
  )
  by = frame.x.groupby([np.arange(T).repeat(S), frame.group])
  for name, expected in (
    ('GroupRank', by.rank(pct=True)),
    ('GroupNeutral', frame.x - by.transform('mean')),
  ):
    actual = oracle.apply(name, [x, group], None, members)
    expected = expected.to_numpy().reshape(T, S)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_conditions_by_hand():
  nan = np.nan
  x = np.array([[-1.0, 0, nan, 2, nan]])
  y = np.array([[0.0, 0, 1, nan, nan]])

  def row(name, *operands):
    ones = np.ones((1, 5), bool)
    return oracle.apply(name, operands, None, ones)[0]

  np.testing.assert_equal(row('Gt', x, y), [0, 0, nan, nan, nan])
  np.testing.assert_equal(row('Le', x, y), [1, 1, nan, nan, nan])
  np.testing.assert_equal(row('Eq', x, y), [0, 1, nan, nan, nan])
  np.testing.assert_equal(row('Or', x, y), [1, 0, nan, nan, nan])
  np.testing.assert_equal(row('And', x, x), [1, 0, nan, 1, nan])
  np.testing.assert_equal(row('Not', x), [0, 1, nan, 0, nan])
  # What is not taken may be missing.
  np.testing.assert_equal(row('If', x, y, 7 + y), [0, 7, nan, nan, nan])
  np.testing.assert_equal(row('If', y + 1, y, x), [0, 0, 1, nan, nan])
  np.testing.assert_equal(
    row('SignedPower', x, 2 + 0 * x), [-1, 0, nan, 4, nan]
  )
  np.testing.assert_allclose(row('Scale', x), [-1 / 3, 0, nan, 2 / 3, nan])


def test_shifts_equal_pandas():
  x = planes()[0]
  shifted = pd.DataFrame(x).shift(5).to_numpy()
  np.testing.assert_array_equal(apply('Ref', x, window=5), shifted)
  np.testing.assert_array_equal(apply('Delta', x, window=5), x - shifted)
  assert np.isnan(apply('Ref', x, window=T)).all()
  assert np.isnan(apply('Ref', x, window=3 * T)).all()
  assert np.isnan(apply('Mean', x, window=T + 1)).all()


def test_csrank_equals_pandas_over_members():
  x = planes()[0]
  members = np.random.default_rng(1).random((T, S)) < 0.7
  members[3] = False
  seen = pd.DataFrame(np.where(members, x, np.nan))
  expected = seen.rank(axis=1, pct=True).to_numpy()
  actual = oracle.apply('CSRank', [x], None, members)
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_by_hand():
  x = np.array([[1.0], [2.0], [4.0], [3.0]])
  members = np.ones((4, 1), bool)

  def last(name, *operands, window=None):
    return oracle.apply(name, operands, window, members)[-1, 0]

  assert last('EMA', x, window=3) == pytest.approx((3 + 4 / 2 + 2 / 4) / 1.75)
  assert last('WMA', x, window=3) == pytest.approx((2 + 2 * 4 + 3 * 3) / 6)
  assert last('Rank', x, window=4) == 0.75
  assert last('Med', x, window=4) == 2.5
  assert last('Mad', x, window=4) == 1.0
  assert last('Delta', x, window=3) == 2.0
  assert last('Corr', x, x * -2, window=4) == pytest.approx(-1)
  assert last('Kurt', x, window=2) == pytest.approx(-2)
  assert last('Pow', x, x) == 27.0
  assert np.isnan(last('Std', x, window=1))


@pytest.mark.parametrize('level', [0.0, 1e-8, 1.1, 1e10])
def test_constant_windows(level):
  x = np.full((T, S), level)
  noisy = planes(missing=0)[0]
  for name in ('Skew', 'Kurt'):
    assert np.isnan(apply(name, x, window=20)).all()
  assert np.isnan(apply('Corr', x, noisy, window=20)).all()
  assert np.isnan(apply('Corr', noisy, x, window=20)).all()
  std = apply('Std', x, window=20)[19:]
  np.testing.assert_allclose(std, 0, atol=1e-9 * max(level, 1))
  assert (apply('Rank', x, window=20)[19:] == 21 / 40).all()
  # The test is relative: the same pattern at another scale is not constant.
  assert np.isfinite(apply('Skew', noisy * 1e-9, window=20)[19:]).all()


def test_what_is_not_finite_is_missing():
  x = np.array([[-1.0, 0.0, np.nan, np.inf, 3e38]])
  members = np.ones_like(x, bool)

  def row(name, *operands):
    return oracle.apply(name, operands, None, members)[0].tolist()

  nan = np.nan
  np.testing.assert_equal(row('Log', x)[:4], [nan] * 4)
  np.testing.assert_equal(row('Sign', x), [-1, 0, nan, nan, 1])
  np.testing.assert_equal(row('Abs', x), [1, 0, nan, nan, 3e38])
  np.testing.assert_equal(row('Add', x, x), [-2, 0, nan, nan, nan])
  np.testing.assert_equal(row('Div', x, x), [1, nan, nan, nan, 1])
  np.testing.assert_equal(
    row('Mul', x, np.full_like(x, 1e-38)), [0, 0, nan, nan, 3]
  )
  zero = np.zeros_like(x)
  np.testing.assert_equal(row('Less', x, zero), [-1, 0, nan, nan, 0])
  np.testing.assert_equal(row('Greater', x, zero), [0, 0, nan, nan, 3e38])
  np.testing.assert_equal(row('CSRank', x), [1 / 3, 2 / 3, nan, nan, 1])


def test_apply_refuses_what_it_does_not_know():
  x = planes()[0]
  with pytest.raises(KeyError):
    apply('Nope', x)
  with pytest.raises(ValueError):
    apply('Add', x)
  with pytest.raises(ValueError):
    apply('Mean', x)
  with pytest.raises(ValueError):
    apply('Abs', x, window=3)


def test_evaluate_walks_the_tree():
  x, y = planes()
  features = {'close': x, 'volume': y}
  tree = node('Mean', node('Add', 'close', node('Mul', 'volume', '0.1')), '5')
  expected = pd.DataFrame(x + 0.1 * y).rolling(5).mean()
  actual = oracle.evaluate(tree, features, everyone())
  np.testing.assert_allclose(actual, expected, atol=1e-12)
  number = oracle.evaluate(node('-0.5'), features, everyone())
  np.testing.assert_array_equal(number, np.full((T, S), -0.5))


def test_perturbation_reaches_every_node_once():
  x, y = planes()
  calls = []

  def perturb(values):
    calls.append(values.shape)
    return values * (1 + 1e-3)

  features = {'close': x, 'volume': y}
  tree = node('Sub', node('Abs', 'close'), node('Abs', 'close'))
  actual = oracle.evaluate(tree, features, everyone(), perturb)
  assert len(calls) == 3  # close, Abs, Sub.
  np.testing.assert_array_equal(actual, np.where(np.isnan(x), x, 0))


@pytest.mark.parametrize(
  'metric, reference',
  [
    (oracle.daily_ic, stats.pearsonr),
    (oracle.daily_rank_ic, stats.spearmanr),
  ],
)
def test_metrics_equal_scipy(metric, reference):
  values, target = planes(3, missing=0.1)
  mask = np.random.default_rng(4).random((T, S)) < 0.9
  actual = metric(values, target, mask)
  for day in range(T):
    use = mask[day] & ~np.isnan(values[day] + target[day])
    labelled = mask[day] & ~np.isnan(target[day])
    if use.sum() * 2 >= labelled.sum():
      expected = reference(values[day, use], target[day, use])[0]
      assert actual[day] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('metric', [oracle.daily_ic, oracle.daily_rank_ic])
def test_a_day_without_information_counts_as_zero(metric):
  nan, inf = np.nan, np.inf
  target = np.array([[1.0, 2, 3, 4]] * 7)
  values = np.array(
    [
      [1.0, 2, 3, 4],
      [1, 2, nan, nan],  # Exactly half is covered.
      [1, nan, nan, nan],
      [5, 5, 5, 5],
      [inf, 2, 3, 4],  # An infinity costs one stock, not the day.
      [1, 2, 3, 4],
      [nan, nan, nan, nan],
    ]
  )
  target[5] = 7
  mask = np.ones((7, 4), bool)
  actual = metric(values, target, mask)
  np.testing.assert_allclose(actual, [1, 1, 0, 0, 1, 0, 0], atol=1e-12)
  assert metric(values, target, ~mask).tolist() == [0] * 7


def test_messy_panel_is_messy_and_repeatable():
  features, members = oracle.messy_panel(0, 300, 40)
  again, _ = oracle.messy_panel(0, 300, 40)
  for name, plane in features.items():
    np.testing.assert_array_equal(plane, again[name])
    np.testing.assert_array_equal(plane, plane.astype(np.float32))
    known = plane[~np.isnan(plane)]
    assert (known > 0).all() and 0.02 < np.isnan(plane).mean() < 0.25
  assert np.nanmin(features['volume']) < 1e6
  assert np.nanmax(features['volume']) > 1e9
  spread = apply_std(features['close'])
  assert (spread == 0).any(), 'no constant window'
  close = features['close']
  assert (close[1:] == close[:-1]).sum() > 100, 'no ties over time'
  np.testing.assert_array_equal(np.isnan(close[:150, 2]), True)
  assert not members[:, 5].any() and members.mean() > 0.8
  known = ~np.isnan(features['high'] + features['low'] + close)
  assert (features['low'] <= features['high'])[known].all()
  assert (close <= features['high'])[known].all()


def apply_std(x):
  view = np.lib.stride_tricks.sliding_window_view(x, 40, axis=0)
  return np.ptp(view, axis=-1)


def test_it_is_fast_enough_to_be_used():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, 600, 60))
  members = np.ones((600, 60), bool)
  for name in oracle.NAMES:
    window = 40 if name in oracle.WINDOWED else None
    out = oracle.apply(name, x[: oracle.arity(name)], window, members)
    assert out.shape == (600, 60)
