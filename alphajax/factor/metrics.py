"""IC, RankIC, their ratios and intervals (design: section 7).

Per day over members with a known label and a value. A day with fewer than half
of the labelled members covered, or with a constant factor or label, counts as
0 and not as absent: otherwise a search learns to be defined on lucky days only.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.factor import sorting

MIN_COVERAGE = 0.5
# A cross-section is constant when its variance is at most this share of its
# squared mean: float32 noise of a constant, in whatever unit.
CONSTANT = 1e-12


def center(values, seen):
  """Deviations from the daily mean over `seen`, scaled to at most 1.

  Scaling keeps squares of 1e30 and of 1e-30 inside float32; a correlation does
  not notice it.

  Args:
    values: f32[..., T, S], finite where `seen`.
    seen: bool[..., T, S].

  Returns:
    (deviations, 0 where not seen, f32[..., T, S]; bool[..., T, 1], True where
    the day is constant up to float32 noise or has no value).
  """
  count = jnp.maximum(jnp.sum(seen, -1, keepdims=True), 1)
  values = jnp.where(seen, values, 0.0)
  # In two steps: 1 / 3e38 is no normal number, and would count as 0.
  root = jnp.sqrt(jnp.max(jnp.abs(values), -1, keepdims=True))
  root = jnp.where(root > 0, root, 1.0)
  values = values / root / root
  mean = jnp.sum(values, -1, keepdims=True) / count
  deviations = jnp.where(seen, values - mean, 0.0)
  # The mean of many equal numbers is off by rounding: a second pass.
  correction = jnp.sum(deviations, -1, keepdims=True) / count
  deviations = jnp.where(seen, deviations - correction, 0.0)
  mean = mean + correction
  variance = jnp.sum(jnp.square(deviations), -1, keepdims=True) / count
  constant = variance <= CONSTANT * jnp.square(mean)
  spread = jnp.max(jnp.abs(deviations), -1, keepdims=True)
  return deviations / jnp.where(spread > 0, spread, 1.0), constant


def _covered(seen, labelled):
  """True on days where half of the labelled members have a value."""
  return jnp.sum(seen, -1) >= MIN_COVERAGE * jnp.sum(labelled, -1)


def _correlation(x, y, seen, labelled):
  """Daily Pearson correlation over `seen`; 0 on days that do not count."""
  x, constant_x = center(x, seen)
  y, constant_y = center(y, seen)
  norm = jnp.sqrt(jnp.sum(x * x, -1)) * jnp.sqrt(jnp.sum(y * y, -1))
  counts = _covered(seen, labelled) & ~(constant_x | constant_y)[..., 0]
  norm = jnp.where(counts, norm, 1.0)
  return jnp.where(counts, jnp.sum(x * y, -1) / norm, 0.0)


def daily_ic(values, target, mask):
  """Pearson correlation of factor and label per day (Eq. 2 of AlphaCFG).

  Args:
    values: f32[..., T, S], NaN where missing.
    target: f32[T, S], the label, NaN where unknown.
    mask: bool[T, S], members of the universe.

  Returns:
    f32[..., T]; 0 on a day that is constant or covers fewer than half of the
    labelled members, never NaN.
  """
  labelled = mask & jnp.isfinite(target)
  seen = labelled & jnp.isfinite(values)
  target = jnp.where(labelled, target, 0.0)
  return _correlation(values, target, seen, labelled)


def daily_rank_ic(values, target, mask):
  """Spearman correlation per day, average ranks for ties; see `daily_ic`."""
  labelled = mask & jnp.isfinite(target)
  seen = labelled & jnp.isfinite(values)
  rank = sorting.cross_sectional_rank
  for _ in range(values.ndim - 2):
    rank = jax.vmap(rank)
  target = jnp.broadcast_to(jnp.where(labelled, target, 0.0), values.shape)
  return _correlation(
    rank(jnp.where(seen, values, 0.0), seen), rank(target, seen), seen, labelled
  )


@functools.partial(jax.jit, static_argnames='lag')
def _newey_west(daily, lag):
  """Variance of the mean of a serially correlated series."""
  n = daily.shape[0]
  x = daily - jnp.mean(daily)
  lags = jnp.arange(lag + 1)
  autocovariance = (
    jax.vmap(
      lambda k: jnp.sum(jnp.where(jnp.arange(n) >= k, x * jnp.roll(x, k), 0.0))
    )(lags)
    / n
  )
  weights = jnp.where(lags == 0, 1.0, 2.0 * (1.0 - lags / (lag + 1)))
  return jnp.sum(weights * autocovariance) / n


class Interval(NamedTuple):
  """A mean with its 95 % interval."""

  mean: float
  low: float
  high: float


def mean_interval(daily: np.ndarray, lag: int) -> Interval:
  """Mean of a daily series with a 95 % Newey-West interval.

  Args:
    daily: `[T]`, without NaN.
    lag: at least horizon - 1, since labels of h days overlap on h - 1 of them.

  Raises:
    ValueError: fewer days than lags, or a NaN.
  """
  daily = np.asarray(daily, np.float64)
  if daily.ndim != 1 or len(daily) <= lag:
    raise ValueError(
      f'an interval with lag {lag} needs a series of more days than that, '
      f'not one of shape {daily.shape}'
    )
  if np.isnan(daily).any():
    raise ValueError('the daily series has NaN; a day that does not count is 0')
  variance = float(_newey_west(jnp.asarray(daily, jnp.float32), lag))
  half = 1.96 * np.sqrt(max(variance, 0.0))
  mean = float(daily.mean())
  return Interval(mean, mean - half, mean + half)


def information_ratio(daily: np.ndarray) -> float:
  """Mean over standard deviation of a daily series: ICIR, RankICIR."""
  deviation = float(np.std(daily))
  return float(np.mean(daily)) / deviation if deviation > 0 else 0.0


def summary(ic: np.ndarray, rank_ic: np.ndarray, lag: int) -> dict:
  """The figures of a signal as they stand in `pool.json`."""
  return {
    'ic': mean_interval(ic, lag)._asdict(),
    'rank_ic': mean_interval(rank_ic, lag)._asdict(),
    'icir': information_ratio(ic),
    'rank_icir': information_ratio(rank_ic),
    'days': len(ic),
  }
