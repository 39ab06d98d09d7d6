"""Daily IC and RankIC against the oracle, on good days and on bad ones."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alphajax.factor import metrics

T, S = 80, 40
METRICS = {
  'daily_ic': (jax.jit(metrics.daily_ic), oracle.daily_ic),
  'daily_rank_ic': (jax.jit(metrics.daily_rank_ic), oracle.daily_rank_ic),
  # What an accelerator makes of it.
  'target_ic': (
    jax.jit(
      lambda values, target, mask: metrics._three_passes(
        values, metrics.make_target(target, mask)
      )
    ),
    oracle.daily_ic,
  ),
}
target_ic = jax.jit(metrics.target_ic)
make_target = jax.jit(metrics.make_target)


@jax.jit
def target_ic_slope(values, goal):
  return jax.grad(lambda v: metrics.target_ic(v, goal).sum())(values)


each_metric = pytest.mark.parametrize('name', METRICS)


def check(name, values, target, mask, tolerance=1e-5):
  """Compares one metric with the oracle; returns the oracle's `[T]`."""
  actual_fn, expected_fn = METRICS[name]
  values = np.asarray(values, np.float32)
  target = np.asarray(target, np.float32)
  actual = np.asarray(actual_fn(*map(jnp.asarray, (values, target, mask))))
  expected = expected_fn(values, target, mask)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)
  return expected


def random_case(seed=0):
  """Returns-like labels, values that know a little of them, all members."""
  rng = np.random.default_rng(seed)
  target = 0.05 * rng.standard_t(4, (T, S))
  values = 0.1 * target + 0.05 * rng.normal(size=(T, S))
  return values, target, rng.random((T, S)) < 0.9, rng


@each_metric
def test_plain(name):
  values, target, mask, _ = random_case()
  expected = check(name, values, target, mask)
  assert (expected != 0).all() and np.abs(expected).max() < 1


@each_metric
@pytest.mark.parametrize('shift', [0.0, 10.0])
@pytest.mark.parametrize('scale', [1e-30, 1e-3, 1.0, 1e10, 1e25, 1e36])
def test_any_scale_of_the_factor(name, scale, shift):
  values, target, mask, _ = random_case()
  expected = check(name, scale * (values + shift), target, mask, 1e-4)
  assert (expected != 0).all()


@pytest.mark.parametrize('level', [1.0, 3e9, -7e-20])
@pytest.mark.parametrize('ratio', [1e4, 1e5, 9e5])
def test_a_level_far_above_the_spread_costs_no_digit(ratio, level):
  """The values that float32 can still tell apart, to the last digit."""
  values, target, mask, rng = random_case()
  noise = rng.normal(size=values.shape)
  # At 1e6 a day would be constant.
  noise /= np.std(noise, axis=1, where=mask, keepdims=True)
  values = np.float32(level * (1 + noise / ratio))
  expected = check('daily_ic', values, target, mask, 1e-6)
  assert (expected != 0).all()
  goal = make_target(jnp.asarray(target, jnp.float32), mask)
  actual = target_ic(jnp.asarray(values), goal)
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('days', [10, T])  # Within a block, and in several.
@pytest.mark.parametrize('size', [1e3, 1e8, 1e30])
def test_a_label_that_has_no_value_beside_it_costs_no_digit(size, days):
  values, target, mask, _ = random_case()
  values, target, mask = values[:days], target[:days], mask[:days]
  target[::3, 5], mask[::3, 5], values[::3, 5] = size, True, np.nan
  expected = check('daily_ic', values, target, mask)
  check('target_ic', values, target, mask)
  assert np.abs(expected).max() > 0.2
  goal = make_target(jnp.asarray(target, jnp.float32), mask)
  values = jnp.asarray(values, jnp.float32)
  actual = target_ic(values, goal)
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
  slope = target_ic_slope(jnp.nan_to_num(values), goal)
  assert np.isfinite(slope).all() and np.any(slope)


@each_metric
def test_volume_like_factor(name):
  _, target, mask, rng = random_case()
  values = np.exp(rng.uniform(np.log(1e5), np.log(1e10), (T, S)))
  check(name, values, target, mask)


@each_metric
def test_a_factor_that_spans_the_range_of_float32(name):
  """Values of Pow(volume,close) and the like; the largest decide the IC."""
  _, target, mask, rng = random_case()
  expected = check(name, 10 ** rng.uniform(-36, 38, (T, S)), target, mask)
  assert (expected != 0).all()


@each_metric
@pytest.mark.parametrize('gap', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_missing(name, gap):
  values, target, mask, rng = random_case()
  values[rng.random((T, S)) < 0.2] = gap
  target[rng.random((T, S)) < 0.2] = np.nan
  expected = check(name, values, target, mask)
  assert (expected != 0).all()


@each_metric
def test_ties(name):
  _, target, mask, rng = random_case()
  values = rng.integers(-2, 3, (T, S))
  check(name, values, target.round(1), mask)


@each_metric
def test_fewer_than_half_covered_is_zero(name):
  """The rule counts labelled members only, and half is enough."""
  rng = np.random.default_rng(0)
  target = rng.normal(size=(T, S))
  values = rng.normal(size=(T, S))
  covered = np.arange(S) < np.arange(T)[:, None]  # Day n covers n stocks.
  values[~covered] = np.nan
  mask = np.ones((T, S), bool)
  expected = check(name, values, target, mask)
  assert (expected[: S // 2] == 0).all() and (expected[S // 2 :] != 0).all()
  # Those without a label or outside the universe do not count.
  target[:, S - 10 :] = np.nan
  mask[:, S - 20 : S - 10] = False
  expected = check(name, values, target, mask)
  assert (expected[: S // 4] == 0).all() and (expected[S // 4 :] != 0).all()


@each_metric
@pytest.mark.parametrize('level', [0.0, 1.0, 0.1, -37.7, 1e10, 1e-10])
def test_constant_days_are_zero(name, level):
  values, target, mask, _ = random_case()
  values[::3] = level
  target[1::3] = level
  mask[2] = False  # Nobody is a member.
  mask[5, 1:] = False  # One member has no cross-section.
  expected = check(name, values, target, mask)
  assert (expected[::3] == 0).all() and (expected[1::3] == 0).all()
  assert (expected[8::3] != 0).all()


@each_metric
def test_one_infinity_costs_one_stock(name):
  values, target, mask, _ = random_case()
  before = check(name, values, target, mask)
  values[:, 0] = np.inf
  after = check(name, values, target, mask)
  assert np.abs(after - before).max() < 0.3 and (after != 0).all()


@each_metric
def test_non_members_do_not_matter(name):
  values, target, mask, rng = random_case()
  fn = METRICS[name][0]
  before = fn(jnp.asarray(values), jnp.asarray(target), jnp.asarray(mask))
  for junk in (rng.normal(size=(T, S)) * 1e6, np.inf, np.nan):
    after = fn(
      jnp.asarray(np.where(mask, values, junk)),
      jnp.asarray(np.where(mask, target, junk)),
      jnp.asarray(mask),
    )
    np.testing.assert_array_equal(before, after)


@each_metric
def test_batched_with_and_without_jit(name):
  cases = [random_case(seed) for seed in range(3)]
  values = np.stack([case[0] for case in cases])
  values[1, :, ::5] = np.nan
  _, target, mask, _ = cases[0]
  fn, expected_fn = METRICS[name]
  arrays = [jnp.asarray(x, jnp.float32) for x in (values, target)]
  expected = np.stack(
    [expected_fn(np.float32(v), np.float32(target), mask) for v in values]
  )
  for run in (fn, fn.__wrapped__):
    actual = run(*arrays, jnp.asarray(mask))
    assert actual.shape == (3, T)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
  nested = fn(arrays[0][None], arrays[1], jnp.asarray(mask))
  assert nested.shape == (1, 3, T)
  np.testing.assert_allclose(nested[0], expected, atol=1e-5)


# Numbers that float32 can tell apart, with all kinds of gaps and many ties.
_numbers = st.one_of(
  st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0, 1e10]),
  st.integers(-1000, 1000).map(lambda n: n / 8),
)
_plane = hnp.arrays(np.float32, (3, 9), elements=_numbers)


@each_metric
@settings(max_examples=200, deadline=None)
@given(values=_plane, target=_plane, mask=hnp.arrays(bool, (3, 9)))
def test_any_values(name, values, target, mask):
  target = np.where(np.isfinite(target), target, np.nan)
  expected = check(name, values, target, mask, 2e-5)
  assert np.isfinite(expected).all() and (np.abs(expected) <= 1 + 1e-9).all()


def overlapping(seed, series, days, horizon):
  """Series of sums over `horizon` days of independent shocks, mean 0."""
  rng = np.random.default_rng(seed)
  total = np.cumsum(rng.standard_t(4, (series, days + horizon)), axis=1)
  return total[:, horizon:] - total[:, :-horizon]


@pytest.mark.parametrize('days', [60, 300, 1900])
@pytest.mark.parametrize('horizon', [1, 20])
def test_intervals_hold_the_mean_as_often_as_they_say(days, horizon):
  series = overlapping(days + horizon, 2000, days, horizon)
  found = [metrics.mean_interval(one, horizon - 1) for one in series]
  share = np.mean([low <= 0 <= high for _, low, high in found])
  # Three standard errors of the share, and what is lost to the overlap.
  assert 0.95 - 0.015 - 0.012 < share < 0.95 + 0.015
  mean, low, high = found[0]
  assert mean == pytest.approx(series[0].mean())
  assert mean - low == pytest.approx(high - mean)


def test_an_interval_of_independent_days_is_about_the_usual_one():
  daily = np.random.default_rng(0).normal(0.03, 0.1, 3000)
  mean, low, high = metrics.mean_interval(daily, 0)
  usual = 1.96 * daily.std() / 3000**0.5
  assert (high - low) / 2 == pytest.approx(usual, rel=0.2)
  # Neither the level nor the unit of the series matters.
  moved = metrics.mean_interval(1e3 * (daily + 7), 0)
  np.testing.assert_allclose(moved, 1e3 * (np.array([mean, low, high]) + 7))


def test_a_constant_series_has_an_interval_of_no_width():
  np.testing.assert_allclose(metrics.mean_interval(np.full(50, 0.2), 3), 0.2)


@pytest.mark.parametrize('as_array', [np.asarray, jnp.asarray])
def test_information_ratio(as_array):
  daily = np.random.default_rng(0).normal(0.03, 0.1, (2, 300))
  ratio = metrics.information_ratio(as_array(daily))
  np.testing.assert_allclose(ratio, daily.mean(1) / daily.std(1), rtol=1e-5)
  # A constant, and one that rounding moves: there is no ratio.
  for constant in (0.0, 0.1, -0.3, 0.1 + np.spacing(0.1) * (daily[0] > 0)):
    series = as_array(np.broadcast_to(constant, 300))
    assert metrics.information_ratio(series) == 0
  barely = as_array(1 + 1e-4 * np.sign(daily[0] - np.median(daily[0])))
  assert metrics.information_ratio(barely) == pytest.approx(1e4, rel=1e-2)
  for bad in (np.nan, np.inf, -np.inf):
    spoilt = np.append(daily[0], bad)
    assert np.isnan(metrics.information_ratio(as_array(spoilt)))
    scored = np.append(np.ones(300, bool), False)
    again = metrics.information_ratio(as_array(spoilt), scored)
    assert again == pytest.approx(float(ratio[0]), rel=1e-5)


@pytest.mark.parametrize(
  'daily, message',
  [
    (np.zeros(19), 'needs a series of more days'),
    (np.zeros((2, 50)), r'of shape \(2, 50\)'),
    (np.full(50, np.nan), 'has nan at position 0 and 50 such days of 50'),
    (np.append(np.ones(50), np.inf), 'has inf at position 50 and 1 such days'),
    (np.append(-np.inf, np.ones(50)), 'has -inf at position 0'),
  ],
)
def test_an_interval_refuses(daily, message):
  with pytest.raises(ValueError, match=message):
    metrics.mean_interval(daily, 19)


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
def test_each_platform_has_its_own_way_alone(platform):
  """A CPU takes some days at a time, whatever the default device is."""
  plane = jnp.zeros((2 * metrics.DAYS, 3))
  goal = make_target(plane, plane == 0)
  traced = jax.jit(jax.vmap(metrics.target_ic, (0, None))).trace(
    plane[None], goal
  )
  lowered = traced.lower(lowering_platforms=(platform,)).as_text()
  assert ('stablehlo.while' in lowered) == (platform == 'cpu')


def test_an_interval_refuses_a_lag_below_0():
  with pytest.raises(ValueError, match='lag -1 needs .* a lag of 0 or more'):
    metrics.mean_interval(np.zeros(50), -1)
