"""IC, RankIC, their ratios and intervals (design: section 7).

Per day over members with a known label and a value. A day with fewer than half
of the labelled members covered, or with a constant factor or label, counts as
0 and not as absent: otherwise a search learns to be defined on lucky days only.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from alphajax.data import cross_section
from alphajax.data.cross_section import CONSTANT, sum_stocks
from alphajax.data.scale import shrink
from alphajax.factor import sorting

MIN_COVERAGE = 0.5
# The same for a standardised label on the stocks that have a value.
CONSTANT_LABEL = 1e-6
# A label is faint where it varies over the stocks that have a value by less
# than this share of its mean square there: what makes it large is elsewhere.
FAINT = 1e-2
# A daily series is constant when it varies by less than this share of its mean.
CONSTANT_SERIES = 1e-6
# On a CPU so many days at a time: they stay in a core's own cache while a dozen
# passes go over them, which takes half the time.
DAYS = 64


class Target(NamedTuple):
  """A label, ready to be correlated with.

  label: standardised per day over labelled members, 0 elsewhere.
  labelled: members with a known label.
  raw: the label as it came, 0 where not labelled.
  """

  label: jax.Array  # f32[T, S]
  labelled: jax.Array  # bool[T, S]
  # f32[T, 1], of the labelled; tuples have a method of that name.
  count: jax.Array  # type: ignore[assignment]
  total: jax.Array  # f32[T, 1], of the label, 0 but for rounding
  power: jax.Array  # f32[T, 1], of its squares
  raw: jax.Array  # f32[T, S]


def make_target(label: jax.Array, members: jax.Array) -> Target:
  """Standardises a label `[..., T, S]` (NaN where unknown) over members."""
  chex.assert_equal_shape([label, members], dims=(-2, -1))
  labelled = members & jnp.isfinite(label)
  return _target(jnp.where(labelled, label, 0.0), labelled)


def _target(values: jax.Array, labelled: jax.Array) -> Target:
  """Values, finite where labelled, standardised; and their sums."""
  label, _ = cross_section.unit(values, labelled)
  return Target(
    label=label,
    labelled=labelled,
    count=sum_stocks(labelled),
    total=sum_stocks(label),
    power=sum_stocks(jnp.square(label)),
    raw=values,
  )


def _correlate(
  values: jax.Array, target: Target, seen: jax.Array, counts: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Daily Pearson correlation over `seen`; 0 on days that do not count.

  Sums over the stocks, as few as there can be: this runs once a formula.

  Args:
    values: f32[..., T, S], finite where `seen`.
    target: standardised, so that its sums lose no digits.
    seen: bool[..., T, S], within `target.labelled`.
    counts: bool[..., T].

  Returns:
    (f32[..., T], the days that count on which the label is `FAINT`, likewise).
  """
  count = sum_stocks(seen)
  n = jnp.maximum(count, 1)
  values = shrink(jnp.where(seen, values, 0.0))
  mean = sum_stocks(values) / n
  deviations = jnp.where(seen, values - mean, 0.0)
  rest = sum_stocks(deviations) / n  # What rounding left of the mean.
  variance = sum_stocks(jnp.square(deviations)) / n - jnp.square(rest)
  total, power = jax.lax.cond(
    jnp.all(count == target.count),  # Whoever has a label has a value.
    lambda: (target.total, target.power),
    lambda: _label_sums(target, seen),
  )
  label_mean, power = total / n, power / n
  label_variance = power - jnp.square(label_mean)
  covariance = sum_stocks(deviations * target.label) / n - rest * label_mean
  constant = (variance <= CONSTANT * jnp.square(mean)) | (
    label_variance <= CONSTANT_LABEL * power
  )
  faint = counts & (label_variance < FAINT * power)[..., 0]
  counts = counts & ~constant[..., 0]
  norm = jnp.sqrt(variance * label_variance)[..., 0]
  norm = jnp.where(counts, norm, 1.0)
  ic = jnp.clip(covariance[..., 0] / norm, -1.0, 1.0)
  return jnp.where(counts, ic, 0.0), faint


def _label_sums(target: Target, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The label and its squares, summed over `seen`."""
  label = jnp.where(seen, target.label, 0.0)
  return sum_stocks(label), sum_stocks(jnp.square(label))


def _covered(seen: jax.Array, count: jax.Array) -> jax.Array:
  """True on days where half of the labelled members have a value."""
  return (sum_stocks(seen) >= MIN_COVERAGE * count)[..., 0]


def by_days(function: Callable, arrays: Any, size: int) -> Any:
  """`function` of `size` days at a time, its results put together.

  Args:
    function: arrays of some days -> arrays `[..., days]`, each day's results
      from that day alone.
    arrays: a tree of arrays `[..., T, n]`.
    size: days; where there are no more, `function` is called once.

  Returns:
    What `function` makes of all days, a tree of `[..., T]`.
  """
  num_days = jax.tree.leaves(arrays)[0].shape[-2]
  if num_days <= size:
    return function(arrays)

  def cut(start):
    return jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, start, size, axis=-2), arrays
    )

  def block(i, results):
    # The last one steps back and repeats a few days rather than be short.
    start = jnp.minimum(i * size, num_days - size)
    return jax.tree.map(
      lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
        whole, part, start, axis=-1
      ),
      results,
      function(cut(start)),
    )

  results = jax.tree.map(
    lambda part: jnp.zeros((*part.shape[:-1], num_days), part.dtype),
    jax.eval_shape(lambda: function(cut(0))),
  )
  return jax.lax.fori_loop(0, -(-num_days // size), block, results)


def _three_passes(values: jax.Array, target: Target) -> jax.Array:
  """`target_ic` as an accelerator computes it of many formulas at once.

  Where one of them may need the label afresh, all would have it afresh. So here
  the raw label is treated as the values are: both are scaled, then centred,
  then multiplied, and whatever is summed in a pass is read once.
  """
  seen = target.labelled & jnp.isfinite(values)
  n = jnp.maximum(sum_stocks(seen), 1)

  def spread(plane):
    plane = shrink(jnp.where(seen, plane, 0.0))
    mean = sum_stocks(plane) / n
    deviations = jnp.where(seen, plane - mean, 0.0)
    rest = sum_stocks(deviations) / n  # What rounding left of the mean.
    variance = sum_stocks(jnp.square(deviations)) / n - jnp.square(rest)
    return deviations, rest, variance, variance <= CONSTANT * jnp.square(mean)

  x, x_rest, x_variance, x_constant = spread(values)
  y, y_rest, y_variance, y_constant = spread(target.raw)
  covariance = sum_stocks(x * y) / n - x_rest * y_rest
  counts = ~(x_constant | y_constant)[..., 0] & _covered(seen, target.count)
  norm = jnp.sqrt(x_variance) * jnp.sqrt(y_variance)
  norm = jnp.where(counts, norm[..., 0], 1.0)
  ic = jnp.clip(covariance[..., 0] / norm, -1.0, 1.0)
  return jnp.where(counts, ic, 0.0)


def target_ic(values: jax.Array, target: Target) -> jax.Array:
  """`daily_ic` for a target that was standardised before, in half the time.

  Where a label so large that the others lose their digits beside it belongs to
  a stock without a value, all is done afresh from the raw label.
  """
  chex.assert_equal_shape([values, target.label], dims=(-2, -1))
  return jax.lax.platform_dependent(
    values, target, cpu=_in_cache, default=_three_passes
  )


def _in_cache(values: jax.Array, target: Target) -> jax.Array:
  """`target_ic` as a CPU computes it of one formula, some days at a time."""

  def correlate(arrays):
    values, target = arrays
    seen = target.labelled & jnp.isfinite(values)
    return _correlate(values, target, seen, _covered(seen, target.count))

  # The raw label stays out of the loop: no ordinary day reads it.
  arrays = values, target._replace(raw=target.labelled)
  daily, faint = by_days(correlate, arrays, DAYS)
  return jax.lax.cond(
    jnp.any(faint),
    lambda: daily_ic(values, target.raw, target.labelled),
    lambda: daily,
  )


@jax.jit
def daily_ic(
  values: jax.Array, target: jax.Array, mask: jax.Array
) -> jax.Array:
  """Pearson correlation of factor and label per day (Eq. 2 of AlphaCFG).

  Args:
    values: f32[..., T, S], NaN where missing.
    target: f32[T, S], the label, NaN where unknown.
    mask: bool[T, S], members of the universe.

  Returns:
    f32[..., T]; 0 on a day that is constant or covers fewer than half of the
    labelled members, never NaN.
  """
  chex.assert_equal_shape([values, target, mask], dims=(-2, -1))
  labelled = jnp.broadcast_to(mask & jnp.isfinite(target), values.shape)
  seen = labelled & jnp.isfinite(values)
  goal = _target(jnp.broadcast_to(target, values.shape), seen)
  counts = _covered(seen, sum_stocks(labelled))
  return _correlate(values, goal, seen, counts)[0]


@jax.jit
def daily_rank_ic(
  values: jax.Array, target: jax.Array, mask: jax.Array
) -> jax.Array:
  """Spearman correlation per day, average ranks for ties; see `daily_ic`."""
  chex.assert_equal_shape([values, target, mask], dims=(-2, -1))
  labelled = jnp.broadcast_to(mask & jnp.isfinite(target), values.shape)
  target = jnp.broadcast_to(target, values.shape)
  seen = labelled & jnp.isfinite(values)
  rank = sorting.cross_sectional_rank
  for _ in range(values.ndim - 2):
    rank = jax.vmap(rank)
  target = jnp.where(labelled, target, 0.0)
  ranks = rank(jnp.where(seen, values, 0.0), seen)
  goal = _target(rank(target, seen), seen)
  counts = _covered(seen, sum_stocks(labelled))
  return _correlate(ranks, goal, seen, counts)[0]


class Interval(NamedTuple):
  """A mean with its 95 % interval."""

  mean: float
  low: float
  high: float


class MeanError(NamedTuple):
  """A mean, its standard error and how many cosines measured that."""

  mean: float
  error: float
  freedom: int  # Degrees of freedom of Student's t.


def mean_interval(daily: np.ndarray, lag: int) -> Interval:
  """Mean of a daily series with a 95 % interval that knows of its overlap.

  The long-run variance is the mean square of the series' first B cosine
  coefficients, and Student's t with B degrees of freedom makes the interval
  (Lazarus, Lewis, Stock and Watson 2018). B is small enough that no cosine
  turns within two spans of the overlap. Measured on series of overlapping
  20-day sums of 230 to 1,900 days it covers the mean in 94 to 95 of 100 cases;
  Newey and West's with 19 lags and 1.96 in 84 to 88.

  Args:
    daily: `[T]`, finite.
    lag: at least horizon - 1, since labels of h days overlap on h - 1 of them.

  Raises:
    ValueError: no more days than lags, a lag below 0, or a day that is NaN or
      infinite.
  """
  mean, error, freedom = mean_error(daily, lag)
  half = float(special.stdtrit(freedom, 0.975) * error)
  return Interval(mean, mean - half, mean + half)


def mean_error(daily: np.ndarray, lag: int) -> MeanError:
  """Mean and standard error of a daily series; see `mean_interval`."""
  daily = np.asarray(daily, np.float64)
  if lag < 0 or daily.ndim != 1 or len(daily) <= lag:
    raise ValueError(
      f'an interval with lag {lag} needs a series of more days than that, and '
      f'a lag of 0 or more, not one of shape {daily.shape}'
    )
  bad = np.flatnonzero(~np.isfinite(daily))
  if bad.size:
    raise ValueError(
      f'the daily series has {daily[bad[0]]} at position {bad[0]} and '
      f'{bad.size} such days of {len(daily)}: expected a finite number a day, '
      'and 0 for one that does not count'
    )
  waves = cosines(len(daily), lag)
  # The mean drops out: a cosine sums to 0.
  squares = np.square(waves @ (daily - daily.mean()))
  variance = np.mean(2.0 * squares) / len(daily) ** 2
  return MeanError(float(daily.mean()), float(np.sqrt(variance)), len(waves))


@functools.lru_cache(maxsize=4)  # Thousands of series have the same days.
def cosines(num_days: int, lag: int) -> np.ndarray:
  """The cosines that tell what a series does in the long run, `[B, T]`.

  Their coefficients are nearly independent where labels overlap on `lag` days.
  """
  count = num_days / (2 * (lag + 1)), 0.4 * num_days ** (2 / 3)
  waves = np.arange(1, max(1, int(min(count))) + 1)[:, None]
  return np.cos(waves * (np.pi * (np.arange(num_days) + 0.5) / num_days))


def series_mean(daily, scored=True):
  """Mean over the scored days, `[..., T] -> [...]`; NumPy's in NumPy."""
  xp = daily.__array_namespace__()
  # Not a product of matrices, which rounds differently in another batch.
  total = xp.sum(xp.where(scored, daily, 0.0), -1)
  num_days = xp.sum(xp.broadcast_to(xp.asarray(scored), daily.shape[-1:]))
  return total / xp.maximum(num_days, 1)


def series_deviation(daily, scored=True):
  """Population standard deviation over the scored days; see `series_mean`."""
  xp = daily.__array_namespace__()
  centred = daily - series_mean(daily, scored)[..., None]
  variance = series_mean(xp.square(centred), scored)
  flat = variance == 0
  # The inner `where` keeps the derivative of the root at 0 out of gradients.
  return xp.where(flat, 0.0, xp.sqrt(xp.where(flat, 1.0, variance)))


def information_ratio(daily, scored=True):
  """Mean over standard deviation of daily series: ICIR, RankICIR.

  Of NumPy arrays in their own precision, of JAX arrays to be differentiated.

  Args:
    daily: `[..., T]`.
    scored: bool[T], the days that count.

  Returns:
    `[...]`; 0 for a constant series, which has no ratio, and NaN for one with
    a scored day that is not finite. Constant is what varies by rounding alone,
    at most `CONSTANT_SERIES` of its mean.
  """
  xp = daily.__array_namespace__()
  mean, spread = series_mean(daily, scored), series_deviation(daily, scored)
  constant = spread <= CONSTANT_SERIES * xp.abs(mean)
  return xp.where(constant, 0.0, mean / xp.where(constant, 1.0, spread))


def summary(ic: np.ndarray, rank_ic: np.ndarray, lag: int) -> dict:
  """The figures of a signal as they stand in `pool.json`."""
  return {
    'ic': mean_interval(ic, lag)._asdict(),
    'rank_ic': mean_interval(rank_ic, lag)._asdict(),
    'icir': float(information_ratio(np.asarray(ic, np.float64))),
    'rank_icir': float(information_ratio(np.asarray(rank_ic, np.float64))),
    'days': len(ic),
  }
