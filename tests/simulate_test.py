"""Tests of alphajax.data.simulate."""

import numpy as np
import pytest

from alphajax.data import panel as panel_lib
from alphajax.data import simulate as simulate_lib

OPEN, HIGH, LOW, CLOSE, VOLUME, VWAP = range(6)


def corr(x, y):
  x = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
  y = y.astype(np.float64) - y.mean(axis=0, dtype=np.float64)
  return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))


# The default alphas in NumPy: `(lookback, value on the last day)`.
FORMULAS = {
  'Corr(close,volume,30)': (29, lambda f, m: corr(f[CLOSE], f[VOLUME])),
  'Mean(close/vwap,20)': (19, lambda f, m: (f[CLOSE] / f[VWAP]).mean(axis=0)),
  'Std(volume,40)/Mean(volume,40)': (
    39,
    lambda f, m: f[VOLUME].std(axis=0, ddof=1) / f[VOLUME].mean(axis=0),
  ),
}


def simulate(seed=0, num_days=700, **options):
  return simulate_lib.simulate(
    seed, num_days, compile_fn=FORMULAS.__getitem__, **options
  )


def whole(simulation):
  days = simulation.panel.dates
  return panel_lib.split(
    simulation.panel, 'all', days[0], days[-1], lookback=60
  )


@pytest.fixture(scope='module')
def market():
  return simulate()


@pytest.fixture(scope='module')
def noise():
  return [simulate(seed, strength=0.0) for seed in range(8)]


def returns(simulation):
  close = simulation.panel.features[CLOSE].astype(np.float64)
  return close[1:] / close[:-1] - 1


def test_default_alphas_are_these():
  assert simulate_lib.ALPHAS == tuple(FORMULAS)


def test_the_seed_decides(market):
  again = simulate()
  np.testing.assert_array_equal(market.panel.features, again.panel.features)
  np.testing.assert_array_equal(market.panel.mask, again.panel.mask)
  np.testing.assert_array_equal(market.planted, again.planted)
  other = simulate(seed=1).panel.features
  # No stream is shared between neighbouring seeds.
  one, two = (
    np.diff(np.log(f[VOLUME]), axis=0) for f in (market.panel.features, other)
  )
  both = np.isfinite(one + two)
  assert abs(np.corrcoef(one[both], two[both])[0, 1]) < 0.02


def test_a_longer_simulation_continues_a_shorter_one(market):
  # So nothing on a day depends on a later one.
  short = simulate(num_days=300)
  np.testing.assert_array_equal(
    short.panel.features, market.panel.features[:, :300]
  )
  np.testing.assert_array_equal(short.panel.mask, market.panel.mask[:300])
  np.testing.assert_array_equal(short.planted, market.planted[:300])


def test_bars_are_consistent(market):
  bars = market.panel.features
  row = np.isfinite(bars[CLOSE])
  assert np.isfinite(bars[:5, row]).all()
  assert np.isnan(bars[:, ~row]).all()
  low, high = bars[LOW][row], bars[HIGH][row]
  for name in (OPEN, CLOSE):
    assert ((low <= bars[name][row]) & (bars[name][row] <= high)).all()
  vwap = bars[VWAP][row]
  known = np.isfinite(vwap)
  assert ((low <= vwap) & (vwap <= high))[known].all()
  assert 0.0002 < 1 - known.mean() < 0.003
  assert (low > 0).all() and (bars[VOLUME][row] > 0).all()


def test_stylised_facts(noise):
  for simulation in noise[:3]:
    change = returns(simulation)
    volume = np.log(simulation.panel.features[VOLUME, 1:].astype(np.float64))
    kurtosis, clustering, following, memory = [], [], [], []
    for s in np.flatnonzero(np.isfinite(change).sum(axis=0) > 500):
      x, v = change[:, s], volume[:, s]
      known = np.isfinite(x)
      x, v = x[known], v[known]
      kurtosis.append(((x - x.mean()) ** 4).mean() / x.var() ** 2)
      size = np.abs(x)
      clustering.append(np.corrcoef(size[5:], size[:-5])[0, 1])
      memory.append(np.corrcoef(x[1:], x[:-1])[0, 1])
      following.append(np.corrcoef(size, v)[0, 1])
    assert np.median(kurtosis) > 4
    assert np.median(clustering) > 0.03
    assert abs(np.median(memory)) < 0.02
    assert np.median(following) > 0.3
    # A common market: stocks move together; sectors: some pairs more.
    common = np.isfinite(change).all(axis=0)
    pairs = np.corrcoef(change[:, common].T)
    pairs = pairs[np.triu_indices(len(pairs), 1)]
    assert 0.15 < np.median(pairs) < 0.35
    assert np.quantile(pairs, 0.97) > np.median(pairs) + 0.06


def test_listings_suspensions_and_index_changes(market):
  row = np.isfinite(market.panel.features[CLOSE])
  member = market.panel.mask
  assert not (member & ~row).any()
  first = row.argmax(axis=0)
  last = len(row) - 1 - row[::-1].argmax(axis=0)
  assert (first > 20).sum() > 5  # Listings.
  assert (last < len(row) - 60).sum() > 3  # Delistings.
  ever = np.flatnonzero(row.any(axis=0))
  inside = [~row[first[s] : last[s], s] for s in ever]
  suspended = np.concatenate(inside).mean()
  assert 0.005 < suspended < 0.02
  joined = (member[1:] & ~member[:-1] & row[:-1]).sum()
  left = (member[:-1] & ~member[1:] & row[1:]).sum()
  assert joined > 10 and left > 10
  assert (member.sum(axis=1) > 100).all()


def test_strength_is_the_daily_ic_with_the_next_own_return(market):
  change, member = returns(market), market.panel.mask[:-1]
  signal = market.planted[:-1]
  both = member & np.isfinite(signal) & np.isfinite(change)
  score = np.asarray(panel_lib.standardize(change, both))
  daily = np.nansum(score * signal, axis=1)[60:] / both.sum(axis=1)[60:]
  own, sector = simulate_lib.OWN, simulate_lib.SECTOR
  expected = market.strength * own / np.hypot(own, sector)
  error = daily.std() / np.sqrt(daily.size)
  assert abs(daily.mean() - expected) < 3 * error
  assert daily.mean() > 8 * error


def test_planted_is_the_combination_of_the_visible_panel(market):
  total = np.zeros(market.planted.shape[1])
  t = 400
  for text in market.alphas:
    lookback, fn = FORMULAS[text]
    days = slice(t - lookback, t + 1)
    value = fn(market.panel.features[:, days], None)[None]
    score = panel_lib.standardize(value, market.panel.mask[t])[0]
    total += np.nan_to_num(np.asarray(score))
  known = np.isfinite(market.planted[t])
  assert known.sum() > 100 and (known <= market.panel.mask[t]).all()
  expected = (total - total[known].mean()) / total[known].std()
  np.testing.assert_allclose(
    market.planted[t, known], expected[known], atol=2e-4
  )
  assert np.isnan(market.planted[:19]).all()  # No alpha is defined yet.


def test_ceiling(market):
  split = whole(market)
  daily = simulate_lib.planted_ic(market, split)
  np.testing.assert_array_equal(np.isfinite(daily), split.scored)
  top = simulate_lib.ceiling(market, split)
  assert 0.08 < top < 0.16
  t = 300  # One day against NumPy's correlation.
  use = market.panel.mask[t] & np.isfinite(market.planted[t] + split.target[t])
  expected = np.corrcoef(market.planted[t, use], split.target[t, use])[0, 1]
  np.testing.assert_allclose(daily[t], expected, atol=1e-5)
  stronger = simulate(strength=0.1)
  assert simulate_lib.ceiling(stronger, whole(stronger)) > top + 0.04
  padded = panel_lib.pad_stocks(market.panel, 256)
  wide = whole(market._replace(panel=padded))
  assert abs(simulate_lib.ceiling(market, wide) - top) < 1e-6


def test_at_strength_0_nothing_predicts(noise):
  """Planted and other signals; labels 20 days apart, so independent."""
  pooled = {}
  for simulation in noise:
    split = whole(simulation)
    close = simulation.panel.features[CLOSE]
    past = np.full(close.shape, np.nan)
    past[20:] = close[20:] / close[:-20] - 1
    swing = simulation.panel.features[HIGH] / simulation.panel.features[LOW]
    signals = dict(
      planted=simulation.planted,
      momentum=past,
      price=close,
      volume=np.log(simulation.panel.features[VOLUME]),
      swing=swing,
    )
    for name, signal in signals.items():
      daily = simulate_lib.planted_ic(
        simulation._replace(planted=signal), split
      )
      pooled.setdefault(name, []).append(daily[split.scored][::20])
  for name, blocks in pooled.items():
    daily = np.concatenate(blocks)
    error = daily.std() / np.sqrt(daily.size)
    assert error < 0.008, name
    assert abs(daily.mean()) < 3 * error, (name, daily.mean(), error)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(strength=-1.0), 'need strength >= 0'),
    (dict(num_stocks=5), '20 stocks'),
    (dict(num_days=1), '2 days'),
  ],
)
def test_bad_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    simulate_lib.simulate(**(dict(compile_fn=FORMULAS.get) | options))


def test_alphas_need_an_evaluator():
  with pytest.raises(ValueError, match='compile_fn'):
    simulate_lib.simulate()
  bare = simulate_lib.simulate(num_days=50, alphas=())
  assert np.isnan(bare.planted).all()


def test_planted_alphas_without_an_evaluator_say_what_to_give():
  with pytest.raises(ValueError, match=r'give alphas=\(\) for'):
    simulate_lib.simulate(num_days=30, num_stocks=30)
