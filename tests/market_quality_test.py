"""Figures of a panel: right on series whose answer is known."""

import numpy as np
import pytest

from alphajax.analysis import (
  market_contest,
  market_interval,
  market_probes,
  market_quality,
  two_samples,
)
from alphajax.data import bars, controls, simulate
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.report import market_quality as report


def market(seed, num_days=500):
  """Of 34 stocks each, so that all have the programs of one."""
  made = simulate.simulate(
    seed=seed, num_days=num_days, num_stocks=40, alphas=(), strength=0.0
  ).panel
  listed = np.isfinite(made.features).all(0).sum(0) > 60
  return panel_lib.take_symbols(
    made, np.array(made.symbols)[listed][:34].tolist()
  )


@pytest.fixture(scope='module')
def real():
  return market(0)


@pytest.fixture(scope='module')
def other():
  return market(1)


def of_changes(change):
  """A panel with these log returns `[T, S]`, no gap and no wicks."""
  values = np.zeros((6, *change.shape))
  values[bars.BODY] = change
  values[bars.VOLUME] = np.random.default_rng(0).normal(10, 1, change.shape)
  logs = bars.Logs(values, np.full(change.shape[1], 10.0))
  symbols = [f'S{i}' for i in range(change.shape[1])]
  mask = np.ones(change.shape, bool)
  return controls.to_panel(logs, mask, symbols, 'made by hand')


def test_series_are_those_of_the_panel():
  change = np.array([[0.01, 0.02], [-0.03, 0.0], [0.05, 0.01]])
  found = market_quality.moves(of_changes(change))
  np.testing.assert_allclose(found.change, change, atol=1e-6)
  np.testing.assert_allclose(found.span, np.abs(change), atol=1e-6)
  np.testing.assert_allclose(found.volume.mean(0), 0, atol=1e-12)


def test_lagged_against_numpy():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(300, 5))
  x[rng.random(x.shape) < 0.1] = np.nan
  y = np.roll(x, 3, axis=0) + rng.normal(size=x.shape)
  expected = []
  for s in range(5):
    a, b = x[:-3, s], y[3:, s]
    both = np.isfinite(a) & np.isfinite(b)
    expected.append(np.corrcoef(a[both], b[both])[0, 1])
  assert market_quality.lagged(x, y, 3) == pytest.approx(np.mean(expected))
  assert market_quality.lagged(x[:4], y[:4], 3) is None


@pytest.mark.parametrize('index', [2.5, 4.0])
def test_hill_of_a_pareto_tail(index):
  rng = np.random.default_rng(0)
  values = rng.pareto(index, (20_000, 5)) + 1
  assert market_quality.hill(values) == pytest.approx(index, rel=0.08)


def test_independent_normal_returns():
  rng = np.random.default_rng(0)
  found = market_quality.figures(of_changes(0.02 * rng.normal(size=(2000, 30))))
  assert found['deviation'] == pytest.approx(0.02, rel=0.02)
  for name in ('kurtosis_1', 'skew_20', 'acf_return_1', 'acf_size_5',
               'leverage', 'pair_correlation', 'volume_with_size'):  # fmt: skip
    assert abs(found[name]) < 0.15, name
  assert found['first_factor'] < 0.06 and found['bottom_half'] > 0.4
  assert found['dispersion'] == pytest.approx(0.02, rel=0.05)
  assert found['span_with_size'] == pytest.approx(1.0)


def test_one_factor_and_clustered_returns():
  rng = np.random.default_rng(0)
  state = np.zeros(3000)
  for t in range(1, 3000):
    state[t] = 0.97 * state[t - 1] + 0.25 * rng.normal()
  factor = np.exp(state) * rng.normal(size=3000)
  change = 0.01 * (factor[:, None] + 0.3 * rng.normal(size=(3000, 25)))
  found = market_quality.figures(of_changes(change))
  assert found['pair_correlation'] > 0.8 and found['first_factor'] > 0.8
  assert found['acf_size_1'] > 0.15 and found['kurtosis_1'] > 2
  assert found['acf_size_1'] > found['acf_size_60']
  assert 0 < found['hill_up'] < 5


def test_spectrum_of_equal_correlations():
  """rho everywhere: 1 + (n - 1) rho once, 1 - rho else."""
  matrix = np.full((5, 5), 0.4) + 0.6 * np.eye(5)
  np.testing.assert_allclose(
    market_quality.spectrum(matrix), np.array([2.6, 0.6, 0.6, 0.6, 0.6]) / 5
  )


def test_wasserstein_of_a_shift_and_a_scale():
  x = np.random.default_rng(0).normal(size=(400, 50))
  assert market_quality.wasserstein(x, x) == 0
  assert market_quality.wasserstein(x + 0.5, x) == pytest.approx(0.5, rel=0.01)
  # E|2x - x| = sqrt(2 / pi).
  expected = np.sqrt(2 / np.pi)
  assert market_quality.wasserstein(2 * x, x) == pytest.approx(
    expected, rel=0.02
  )


def test_mmd_tells_one_distribution_from_another():
  rng = np.random.default_rng(0)
  one, same = rng.normal(size=(2, 150, 8))
  heavy = rng.standard_t(2, size=(150, 8))
  _, chance = two_samples.mmd(one, same, rng)
  assert chance > 0.05
  distance, chance = two_samples.mmd(one, heavy, rng)
  assert distance > 0 and chance < 0.01


def test_mmd_is_the_mean_of_its_kernels():
  """The unbiased estimate by loops."""
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(4, 2)), rng.normal(size=(3, 2)) + 1
  one, other = list(one), list(other)  # A row is then one object.
  both = [*one, *other]
  apart = [np.sum((a - b) ** 2) for i, a in enumerate(both) for b in both[:i]]

  def kernel(a, b):
    square = np.sum((a - b) ** 2) / np.median(apart)
    return np.mean([np.exp(-square / (2 * s**2)) for s in (0.5, 1, 2)])

  def mean(xs, ys):
    return np.mean([kernel(x, y) for x in xs for y in ys if x is not y])

  expected = mean(one, one) + mean(other, other) - 2 * mean(one, other)
  found, _ = two_samples.mmd(np.array(one), np.array(other), rng)
  assert found == pytest.approx(expected)


def test_signatures_are_iterated_integrals():
  """Of a straight line to v: v, v v / 2, v v v / 6, however it is cut up."""
  v = np.array([0.5, -2.0])
  steps = np.stack([0.3 * v, 0.7 * v])[None]
  expected = [v, np.outer(v, v) / 2, np.einsum('i,j,k', v, v, v) / 6]
  found = two_samples.signatures(steps)
  np.testing.assert_allclose(
    found[0], np.concatenate([x.ravel() for x in expected])
  )
  # Right, then up: the area to the left of it is counted once.
  corner = np.array([[[1.0, 0.0], [0.0, 1.0]]])
  first, second = np.split(two_samples.signatures(corner)[0, :6], [2])
  np.testing.assert_allclose(first, [1, 1])
  np.testing.assert_allclose(second, [0.5, 1, 0, 0.5])


def test_signatures_see_the_order_that_windows_forget():
  rng = np.random.default_rng(0)
  change = rng.normal(size=(200, 20))
  # Range follows the change in one, and goes before it in the other.
  after = np.concatenate(
    [change, np.roll(np.cumsum(change, 1), 1, 1), change], 1
  )
  before = np.concatenate(
    [change, np.roll(np.cumsum(change, 1), -1, 1), change], 1
  )
  paths = [
    two_samples.signatures(market_quality.as_paths(x[half]))
    for x, half in ((after, slice(100)), (before, slice(100, 200)))
  ]
  _, chance = two_samples.mmd(*paths, rng, two_samples.linear)
  assert chance < 0.01
  same = two_samples.signatures(market_quality.as_paths(after[100:]))
  _, chance = two_samples.mmd(paths[0], same, rng, two_samples.linear)
  assert chance > 0.05


def test_gain_and_loss_are_waited_for_by_loops():
  rng = np.random.default_rng(0)
  change = rng.standard_t(3, (150, 2)) - 0.4 * (rng.random((150, 2)) < 0.1)
  change[40, 1] = np.nan
  scaled = (change - np.nanmean(change, 0)) / np.nanstd(change, axis=0)
  level = np.nan_to_num(scaled).cumsum(0)
  level = np.vstack([np.zeros((1, 2)), level])
  waits = {1: [], -1: []}
  for start in range(151 - 60):
    for stock in range(2):
      for sign, found in waits.items():
        passed = [
          days
          for days in range(1, 60)
          if sign * (level[start + days, stock] - level[start, stock]) >= 3
        ]
        found.append(min(passed, default=60))
  expected = np.mean(waits[1]) / np.mean(waits[-1])
  assert abs(expected - 1) > 0.05
  assert market_quality.gain_loss(change) == pytest.approx(expected)
  assert market_quality.gain_loss(-change) == pytest.approx(1 / expected)
  assert market_quality.gain_loss(change[:60]) is None


def test_a_network_tells_a_market_from_another(real, other):
  same = market_contest.figures(other, real)['told_apart']
  assert abs(same) < 0.12
  calm = of_changes(0.01 * np.random.default_rng(0).normal(size=(500, 30)))
  assert market_contest.figures(calm, real)['told_apart'] > 0.4
  short = panel_lib.select_days(real, slice(0, 40))
  assert market_contest.figures(short, real) == {'told_apart': None}


def test_the_interval_holds_what_it_is_of(real):
  whole = market_quality.figures(real)
  low, high = market_interval.interval(real, len(real.dates), 12)
  assert set(low) == set(high) == set(whole)
  for name in ('deviation', 'pair_correlation', 'kurtosis_1', 'dispersion'):
    assert low[name] < high[name]
    assert low[name] * 0.95 <= whole[name] <= high[name] * 1.05, name
  again, _ = market_interval.interval(real, len(real.dates), 12)
  assert again == low


def test_a_panel_is_not_far_from_itself(real, other):
  same = market_quality.against(real, real)
  for name, value in same.items():
    if name.startswith('w1_'):
      assert value == 0
    elif name.startswith('p_'):
      assert value > 0.02
  scaled = of_changes(3 * np.nan_to_num(market_quality.moves(real).change))
  far = market_quality.against(scaled, real)
  near = market_quality.against(other, real)
  assert far['w1_change'] > 3 * near['w1_change']
  assert far['p_time'] < 0.01


def test_the_nearest_is_found_in_any_chunk(monkeypatch):
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(5, 3)), rng.normal(size=(50, 3))
  expected = [min(np.linalg.norm(a - b) for b in other) for a in one]
  for size in (7, 1000):
    monkeypatch.setattr(market_quality, 'CHUNK', size)
    np.testing.assert_allclose(market_quality.nearest(one, other), expected)


def test_copies_are_found(real, other):
  fresh = market_quality.memorised(market(2), real, other)
  assert 0.7 < fresh['nearest'] < 1.5 and fresh['copies'] < 0.05
  # Whole days in blocks: windows within a block are those of train.
  source = controls.make_source(real, len(real.symbols))
  copied = controls.bootstrap(source, seed=0, num_days=500, block=200)
  found = market_quality.memorised(copied, real, other)
  assert found['copies'] > 0.5 and found['nearest'] < 0.7


def test_too_short_or_narrow_a_panel_has_no_such_figure(real):
  short = panel_lib.select_days(real, slice(100, 115))
  found = market_quality.figures(short)
  assert found['kurtosis_20'] is None and found['acf_size_20'] is None
  assert market_quality.against(short, real)['mmd_time'] is None
  narrow = panel_lib.take_symbols(real, real.symbols[:1])
  assert market_quality.figures(narrow)['first_factor'] is None
  assert market_quality.against(narrow, real)['mmd_across'] is None
  with pytest.raises(ValueError, match='no stock of the panel has prices'):
    market_quality.moves(real.replace(features=0 * real.features))


def test_curves_and_table(real):
  found = market_quality.curves(real)
  assert len(found['acf_size']) == 34 and len(found['leverage']) == 30
  assert found['tail'] == sorted(found['tail'])
  assert sum(found['spectrum']) == pytest.approx(1.0)
  text = report.table({'real': {'a': 0.12345, 'b': None}, 'x': {'a': 2}})
  assert [line.split() for line in text.splitlines()] == [
    ['figure', 'real', 'x'], ['a', '0.1235', '2'], ['b', '-', '-'],
  ]  # fmt: skip


def test_probes_see_the_same_in_the_same_panel(real, other):
  label = LabelSpec(exit=5)
  formulas = market_probes.draw(real, 12)
  assert len(formulas) == 12
  matrix = market_probes.gram(real, formulas)
  np.testing.assert_allclose(np.diag(matrix), 1.0, atol=0.05)
  off = matrix[np.triu_indices(12, 1)]
  assert np.abs(off).max() < market_probes.APART
  view, unseen = (market_probes.look(x, formulas, label) for x in (real, other))
  same = market_probes.figures(view, view, unseen, label)
  assert same['gram'] == pytest.approx(1.0) and same['ic_rank'] == 1.0
  assert -1 <= same['ic_rank_valid'] < 0.9
  found = market_probes.figures(unseen, view, unseen, label)
  assert found['gram'] > 0.6 and found['ic_rank_valid'] == 1.0
  assert found['ic_rank'] == pytest.approx(same['ic_rank_valid'])
  # 30 stocks: a correlation of noise deviates by 1 / sqrt(29).
  assert 0.12 < found['ic_deviation'] < 0.4
  assert 0 < found['ic_error'] < 0.1
  short = panel_lib.select_days(real, slice(0, 62))
  assert market_probes.look(short, formulas, label) is None
  few = market_probes.figures(None, view, unseen, label)
  assert tuple(few) == market_probes.FIGURES and few['gram'] is None
  with pytest.raises(ValueError, match='62 days are too few'):
    market_probes.daily_ics(short, formulas, label)
