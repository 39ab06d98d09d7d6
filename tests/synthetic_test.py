"""Bootstrap and GARCH markets, and panels as files."""

import numpy as np
import pytest

from alphajax.data import bars, controls, long_table, market, simulate
from alphajax.data import panel as panel_lib
from alphajax.data.features import FEATURES


@pytest.fixture(scope='module')
def panel():
  return simulate.simulate(
    seed=1, num_days=400, num_stocks=20, alphas=(), strength=0.0
  ).panel


@pytest.fixture(scope='module')
def source(panel):
  return controls.make_source(panel, 10)


@pytest.fixture(scope='module')
def fitted(source):
  return controls.fit_garch(source, num_factors=2)


def returns(panel):
  logs = bars.to_logs(panel)
  return logs.values[bars.GAP] + logs.values[bars.BODY]


def assert_bars(panel):
  value = {n: panel.features[i] for i, n in enumerate(FEATURES)}
  known = np.isfinite(value['close'])
  assert known.mean() > 0.8 and not (panel.mask & ~known).any()
  for name in ('open', 'close', 'vwap'):
    inside = (value['low'] <= value[name]) & (value[name] <= value['high'])
    assert (inside | np.isnan(value[name]) | ~known)[known].all()
  assert (value['low'][known] > 0).all() and (value['volume'][known] > 0).all()


def test_a_file_is_read_back_as_the_same_panel(panel, tmp_path):
  path = tmp_path / 'a.parquet'
  path.write_bytes(long_table.to_bytes(panel))
  back = market.load(path, cache=False, members_only=False)
  kept = np.isfinite(panel_lib.feature(panel, 'close')).any(0)
  assert back.dates == panel.dates
  assert back.symbols == tuple(np.array(panel.symbols)[kept].tolist())
  np.testing.assert_array_equal(back.mask, panel.mask[:, kept])
  np.testing.assert_array_equal(back.features, panel.features[:, :, kept])


def test_groups_are_written_as_text(tmp_path):
  features = np.ones((7, 3, 2), np.float32)
  features[6] = [[0, 1], [0, np.nan], [0, 1]]
  made = panel_lib.make(
    features, np.ones((3, 2), bool),
    ('2020-01-01', '2020-01-02', '2020-01-03'), ('A', 'B'),
    feature_names=(*FEATURES, 'industry'),
    groups=(('industry', ('banks', 'steel')),),
  )  # fmt: skip
  path = tmp_path / 'a.parquet'
  path.write_bytes(long_table.to_bytes(made))
  back = market.load(path, cache=False, features=('industry',))
  np.testing.assert_array_equal(back.features, made.features)
  assert back.groups == made.groups


def test_the_source_has_the_stocks_with_most_days(panel, source):
  days = panel.mask.sum(0)
  chosen = [panel.symbols.index(symbol) for symbol in source.symbols]
  others = np.delete(days, chosen)
  assert days[chosen].min() >= others.max()
  assert source.values.shape == (6, 400, 10)
  with pytest.raises(ValueError, match='num_stocks=21: the panel has .* take'):
    controls.make_source(panel, 21)


def test_bootstrap_takes_whole_days(panel, source):
  made = controls.bootstrap(source, seed=0, num_days=900)
  assert made.features.shape == (6, 900, 10)
  assert_bars(made)
  index = controls.block_days(400, 900, 20, 0)
  # Wherever a day comes from, so do all of its stocks.
  of_day = panel_lib.take_symbols(panel, source.symbols)
  np.testing.assert_array_equal(made.mask, of_day.mask[index])
  run = np.diff(index) % 400 != 1
  assert 900 / 20 / 2 < run.sum() < 900 / 20 * 2
  # Within a block returns are those of the source in their proportions.
  old, new = returns(of_day)[index], returns(made)
  t = 450
  ratio = new[t] / old[t]
  assert (np.sign(new[t]) == np.sign(old[t]))[np.isfinite(ratio)].all()


def test_bootstrap_of_days_in_their_order_is_the_panel(panel, source):
  """Blocks far longer than the data: one run of days, from its start on."""
  made = controls.bootstrap(source, seed=3, num_days=400, block=1e9)
  start = controls.block_days(400, 400, 1e9, 3)[0]
  of_day = panel_lib.take_symbols(panel, source.symbols)
  old, new = returns(of_day), returns(made)
  steps = 400 - start
  both = np.isfinite(old[start:]) & np.isfinite(new[:steps])
  together = np.corrcoef(old[start:][both], new[:steps][both])[0, 1]
  assert together > 0.97  # Units differ at first.


def test_garch_is_fitted_to_the_source(source, fitted):
  assert fitted.loadings.shape == (2, 10) and fitted.params.shape == (12, 7)
  _, _, alpha, gamma, beta, eta, skew = fitted.params.T
  assert (eta > 2).all() and (np.abs(skew) < 1).all()
  assert (alpha + gamma / 2 + beta < 1.001).all()
  change = controls.simulate_garch(fitted, seed=0, num_days=4000)
  assert 0.7 < np.median(change.std(0)) < 1.3
  # Stocks move together as they did.
  logs = bars.unscale(source.values, source.anchors).values
  real = np.nan_to_num(logs[bars.GAP] + logs[bars.BODY])
  pairs = np.triu_indices(10, 1)
  apart = (
    np.corrcoef(real.T)[pairs].mean() - np.corrcoef(change.T)[pairs].mean()
  )
  assert abs(apart) < 0.12


def test_garch_clusters(fitted):
  """A process of known parameters has the variance and the memory of them."""
  params = np.array([[0.0, 0.05, 0.1, 0.0, 0.85, 50.0, 0.0]])
  alone = controls.Garch(np.zeros((0, 1)), params, np.ones(1))
  path = controls.simulate_garch(alone, seed=0, num_days=60_000)[:, 0]
  assert path.std() == pytest.approx(1.0, abs=0.03)
  square = path**2 - (path**2).mean()
  first = (square[1:] * square[:-1]).mean() / (square**2).mean()
  # rho(1) of GARCH(1, 1): a (1 - a b - b^2) / (1 - 2 a b - b^2).
  a, b = 0.1, 0.85
  expected = a * (1 - a * b - b * b) / (1 - 2 * a * b - b * b)
  assert first == pytest.approx(expected, abs=0.05)


def test_garch_bars(source, fitted):
  made = controls.garch(source, fitted, seed=4, num_days=300)
  assert made.mask.all() and made.features.shape == (6, 300, 10)
  assert_bars(made)
  expected = controls.simulate_garch(fitted, 4, 300) * source.anchors.deviation
  np.testing.assert_allclose(returns(made)[1:], expected[1:], atol=1e-4)
  real = source.values[bars.UP]
  zeros = (real == 0).sum() / np.isfinite(real).sum()
  got = bars.to_logs(made).values[bars.UP]
  assert abs((got < 1e-6).mean() - zeros) < 0.05


@pytest.mark.parametrize('make', ['bootstrap', 'garch'])
def test_the_seed_decides(source, fitted, make):
  def call(seed):
    if make == 'garch':
      return controls.garch(source, fitted, seed, 50)
    return controls.bootstrap(source, seed, 50)

  one, again, other = (call(seed).features for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()


def test_what_cannot_be_is_refused(source):
  with pytest.raises(ValueError, match='block=0: expected a mean length'):
    controls.bootstrap(source, 0, 10, block=0)
  with pytest.raises(ValueError, match='num_factors=10: 10 stocks .* 0 to 9'):
    controls.fit_garch(source, num_factors=10)
