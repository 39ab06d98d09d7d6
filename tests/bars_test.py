"""Bars as free numbers: back and forth, and whatever the numbers are."""

import numpy as np
import pytest

from alphajax.data import bars, simulate
from alphajax.data import panel as panel_lib
from alphajax.data.features import FEATURES

SHAPE = (6, 400, 500)  # 200,000 bars a draw.


@pytest.fixture(scope='module')
def market():
  made = simulate.simulate(
    seed=3, num_days=250, num_stocks=24, alphas=(), strength=0.0
  ).panel
  # Some are listed after the end.
  listed = np.isfinite(made.features).all(0).any(0)
  return panel_lib.take_symbols(made, np.array(made.symbols)[listed].tolist())


def some_anchors(count, seed=0):
  rng = np.random.default_rng(seed)
  return bars.Anchors(
    rng.uniform(0.005, 0.05, count),
    rng.normal(15, 2, count),
    rng.uniform(1, 500, count),
  )


def assert_bars(features):
  """The inequalities hold in every bar, and there is no other."""
  start, high, low, close, volume, vwap = features
  assert features.dtype == np.float32 and np.isfinite(features).all()
  assert (low > 0).all() and (volume > 0).all()
  for price in (start, close, vwap):
    assert (low <= price).all() and (price <= high).all()


def by_hand():
  """Two days of one stock: a rising bar, then one without any range."""
  prices = dict(
    open=(10, 12), high=(14, 12), low=(8, 12), close=(11, 12),
    volume=(1000, 2000), vwap=(10, 12),
  )  # fmt: skip
  features = np.array([prices[n] for n in FEATURES], np.float32)[..., None]
  return panel_lib.make(
    features, np.ones((2, 1), bool), ('2020-01-01', '2020-01-02'), ('A',)
  )


def test_channels_by_hand():
  logs = bars.to_logs(by_hand())
  day, flat = np.moveaxis(logs.values[..., 0], 1, 0)
  share = np.log(10 / 8) / np.log(14 / 8)
  expected = [
    0, np.log(11 / 10), np.log(14 / 11), np.log(10 / 8),
    np.log(share / (1 - share)), np.log(1000),
  ]  # fmt: skip
  np.testing.assert_allclose(day, expected, rtol=1e-6, atol=1e-7)
  expected = [np.log(12 / 11), 0, 0, 0, 0, np.log(2000)]
  np.testing.assert_allclose(flat, expected, rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(logs.close, [10], rtol=1e-7)
  assert not logs.typical


def test_units_by_hand():
  body = np.array([[0.02], [-0.01], [0.01]])
  first, second, third = bars.deviations(
    np.zeros_like(body), body, np.array([0.01])
  )[:, 0]
  assert first == pytest.approx(0.01)
  square = 1 + 2 / 61 * (4 - 1)
  assert second == pytest.approx(0.01 * np.sqrt(0.2 + 0.8 * square))
  square += 2 / 61 * (1 - square)
  assert third == pytest.approx(0.01 * np.sqrt(0.2 + 0.8 * square))


@pytest.mark.parametrize('typical', [False, True])
def test_round_trip(market, typical):
  features = market.features.copy()
  if typical:
    high, low, close = (
      panel_lib.feature(market, name) for name in ('high', 'low', 'close')
    )
    features[FEATURES.index('vwap')] = (high + low + close) / 3
  logs = bars.to_logs(market.replace(features=features))
  assert logs.typical == typical
  np.testing.assert_allclose(bars.from_logs(logs), features, rtol=2e-6)
  by = bars.anchors(logs)
  scaled = bars.scale(logs, by)
  assert scaled.dtype == np.float32
  again = bars.from_logs(bars.unscale(scaled, by, typical))
  np.testing.assert_allclose(again, features, rtol=1e-4)
  # Units are what they should be: about 1, and no trend in the volume.
  change = scaled[bars.GAP] + scaled[bars.BODY]
  assert 0.9 < np.nanstd(change) < 1.1
  assert abs(np.nanmean(scaled[bars.VOLUME])) < 0.05


def test_missing_rows_and_missing_vwap_stay_missing(market):
  features = market.features.copy()
  volume, vwap = FEATURES.index('volume'), FEATURES.index('vwap')
  row = np.argwhere(np.isfinite(features).all(0))[500]
  features[volume, row[0], row[1]] = 0.0
  features[vwap, row[0] + 1, row[1]] = np.nan
  expected = features.copy()
  expected[:, row[0], row[1]] = np.nan
  out = bars.from_logs(bars.to_logs(market.replace(features=features)))
  np.testing.assert_allclose(out, expected, rtol=2e-6)
  assert np.isnan(out).any()


def test_a_bar_is_coded_by_what_came_before(market):
  logs = bars.to_logs(market)
  by = bars.anchors(logs)
  day = 120
  cut = logs._replace(values=logs.values[:, :day])
  np.testing.assert_array_equal(
    bars.scale(cut, by), bars.scale(logs, by)[:, :day]
  )


def test_wicks_at_or_below_nothing_are_none():
  values = np.zeros((6, 2, 1))
  values[bars.UP] = [[-3.0], [0.0]]
  values[bars.DOWN] = [[0.0], [-1e-3]]
  values[bars.BODY] = 0.5
  logs = bars.unscale(values, some_anchors(1))
  start, high, low, close, _, _ = bars.from_logs(logs)
  np.testing.assert_array_equal(high, close)
  np.testing.assert_array_equal(low, start)


@pytest.mark.parametrize('typical', [False, True])
@pytest.mark.parametrize('size', [0.01, 1.0, 30.0, 1e30])
def test_any_numbers_are_bars(size, typical):
  """Normal, heavy-tailed and absurd ones, with wicks of 0 among them."""
  rng = np.random.default_rng(int(size))
  values = size * rng.standard_t(2, SHAPE)
  values[[bars.UP, bars.DOWN]] *= rng.random((2, *SHAPE[1:])) < 0.5
  values[:, rng.random(SHAPE[1:]) < 0.02] = 0.0
  by = some_anchors(SHAPE[2])
  features = bars.from_logs(bars.unscale(values, by, typical))
  assert_bars(features)
  # And so do logarithms that no unit bounds.
  assert_bars(bars.from_logs(bars.Logs(values, by.close, typical)))


def test_a_long_path_keeps_its_size():
  rng = np.random.default_rng(0)
  values = rng.standard_t(4, (6, 3000, 50)) / np.sqrt(2)
  values[bars.GAP] = 0.0
  by = some_anchors(50)
  logs = bars.unscale(values, by)
  ratio = logs.values[bars.BODY].std(0) / by.deviation
  assert 0.8 < np.median(ratio) < 1.25 and 0.5 < ratio.min() < ratio.max() < 2.5
  drift = logs.values[bars.VOLUME, -500:].mean(0) - by.volume
  assert np.abs(drift).max() < 1.5


def test_a_stock_without_bars_is_refused(market):
  features = market.features.copy()
  features[:, :, 4] = np.nan
  with pytest.raises(ValueError, match='1 stocks have no bar.*first S0004'):
    bars.to_logs(market.replace(features=features))
