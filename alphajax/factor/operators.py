"""The operators, `[T, S] -> [T, S]`, one definition each (design: section 4).

A panel value is missing when it is NaN. A rolling window is full or the result
is NaN; a NaN in the window makes NaN; a non-finite result is NaN. Windows end
today, so no operator sees a later day.

Rolling sums, moments, extrema and weighted means are built by *doubling*: the
statistic of `2n` days is merged from two neighbouring statistics of `n` days,
so a window costs log2(window) passes over the panel and no running sum ever
drifts. Sums of squares are merged about their means (Chan, Golub & LeVeque
1983), which keeps its digits on volumes of 1e10 where E[x^2] - E[x]^2 does not.
"""

import functools

import jax
import jax.numpy as jnp

from alphajax.factor import sorting
from alphajax.language import vocab

# A window is constant when its population variance is at most this share of
# its squared mean: float32 noise of a constant. A relative test, since prices
# and volumes have no common scale.
CONSTANT_WINDOW = 1e-12


def delay(x, days):
  """The value `days` earlier, NaN before there is one."""
  if days == 0:
    return x
  days = min(days, x.shape[0])
  return jnp.pad(x[: x.shape[0] - days], ((days, 0), (0, 0)), 'constant',
                 constant_values=jnp.nan)  # fmt: skip


def doubling(merge, parts, window):
  """Statistic of the trailing `window` days from statistics of single days.

  Args:
    merge: (recent, recent_days, older, older_days) -> statistic of both.
    parts: tuple of `[T, S]`, the statistic of one day.
    window: days, static.

  Returns:
    Tuple of `[T, S]`; the first `window - 1` days are merged with NaN.
  """
  # Row i of a statistic of n days ends on day i + n - 1 of the padded panel,
  # so neighbours are plain slices: a pad inside a loop would not vectorise.
  pads = ((window - 1, 0), (0, 0))
  block = tuple(jnp.pad(p, pads, constant_values=jnp.nan) for p in parts)
  block = jax.lax.optimization_barrier(block)
  days = 1  # `block` holds the statistic of `days` = 2^k days.
  total, done = None, 0
  while True:
    if window & days:
      # Each level is one pass over memory; unfenced, XLA would fuse the
      # levels and compute the small windows again for every large one.
      total = block if total is None else jax.lax.optimization_barrier(
        _neighbours(merge, total, done, block, days))  # fmt: skip
      done += days
    if done == window:
      return total
    block = jax.lax.optimization_barrier(
      _neighbours(merge, block, days, block, days)
    )
    days *= 2


def _neighbours(merge, recent, n, older, m):
  """Merges the statistics of `n` recent days and of the `m` days before."""
  return merge(
    tuple(part[m:] for part in recent), n,
    tuple(part[: part.shape[0] - n] for part in older), m,
  )  # fmt: skip


def over_window(step, init, x, window):
  """Folds `step(carry, x of i days ago)` over the trailing window."""
  padded = jnp.pad(x, ((window - 1, 0), (0, 0)), constant_values=jnp.nan)

  def body(i, carry):
    start = window - 1 - i
    return step(carry, jax.lax.dynamic_slice_in_dim(padded, start, x.shape[0]))

  return jax.lax.fori_loop(0, window, body, init)


def _merge_sum(recent, recent_days, older, older_days):
  del recent_days, older_days
  return (recent[0] + older[0],)


def _merge_moments(recent, n, older, m):
  """Merges (mean, sum of squared deviations)."""
  delta = recent[0] - older[0]
  mean = older[0] + delta * (n / (n + m))
  return mean, recent[1] + older[1] + delta * delta * (n * m / (n + m))


def _merge_comoment(recent, n, older, m):
  """Merges (mean x, mean y, sum of products of deviations)."""
  dx, dy = recent[0] - older[0], recent[1] - older[1]
  share, weight = n / (n + m), n * m / (n + m)
  return (
    older[0] + dx * share,
    older[1] + dy * share,
    recent[2] + older[2] + dx * dy * weight,
  )


def _merge_correlation(recent, n, older, m):
  """Merges (mean x, mean y, Sxy, Sxx, Syy)."""
  dx, dy = recent[0] - older[0], recent[1] - older[1]
  share, weight = n / (n + m), n * m / (n + m)
  return (
    older[0] + dx * share,
    older[1] + dy * share,
    recent[2] + older[2] + dx * dy * weight,
    recent[3] + older[3] + dx * dx * weight,
    recent[4] + older[4] + dy * dy * weight,
  )


def _moments(x, window):
  """Mean and sum of squared deviations over the window."""
  # Zero, but NaN where x is: adding it keeps missing days missing.
  return doubling(_merge_moments, (x, x * 0.0), window)


def _constant(mean, squares, window):
  return squares <= window * CONSTANT_WINDOW * jnp.square(mean)


def ts_sum(x, window):
  """Sum of the trailing window."""
  return doubling(_merge_sum, (x,), window)[0]


def ts_mean(x, window):
  """Mean of the trailing window."""
  return ts_sum(x, window) / window


def _extremum(pick, x, window):
  """Extremum of the window; overlapping blocks do no harm to it."""
  x = jnp.pad(x, ((window - 1, 0), (0, 0)), constant_values=jnp.nan)
  days = 1
  while days < window:
    step = min(days, window - days)
    x = jax.lax.optimization_barrier(pick(x[step:], x[: x.shape[0] - step]))
    days += step
  return x


def ts_max(x, window):
  """Largest value of the trailing window."""
  return _extremum(jnp.maximum, x, window)


def ts_min(x, window):
  """Smallest value of the trailing window."""
  return _extremum(jnp.minimum, x, window)


def ts_var(x, window):
  """Variance of the trailing window, n - 1 in the denominator."""
  return _moments(x, window)[1] / (window - 1 or jnp.nan)


def ts_std(x, window):
  """Standard deviation of the trailing window, n - 1 in the denominator."""
  return jnp.sqrt(ts_var(x, window))


def _standardized_sums(x, window, powers):
  """Sums of powers of the window's z-scores; NaN for a constant window.

  The scores are of order 1, so no power overflows whatever the unit of x.
  """
  mean, squares = _moments(x, window)
  varies = ~_constant(mean, squares, window)
  scale = jnp.where(varies, jnp.sqrt(window / squares), jnp.nan)

  def step(sums, past):
    z = (past - mean) * scale
    return tuple(s + z**p for s, p in zip(sums, powers, strict=True))

  init = tuple(jnp.zeros_like(x) for _ in powers)
  return over_window(step, init, x, window)


def ts_skew(x, window):
  """Skewness m3 / m2^1.5, population moments; NaN for a constant window."""
  return _standardized_sums(x, window, (3,))[0] / window


def ts_kurt(x, window):
  """Excess kurtosis m4 / m2^2 - 3, population moments."""
  return _standardized_sums(x, window, (4,))[0] / window - 3.0


def ts_mad(x, window):
  """Mean absolute deviation from the window's mean."""
  mean = ts_mean(x, window)
  total = over_window(
    lambda total, past: total + jnp.abs(past - mean),
    jnp.zeros_like(x), x, window)  # fmt: skip
  return total / window


def ts_med(x, window):
  """Median; the mean of the two middle values for an even window."""
  return sorting.rolling_median(x, window)


def ts_rank(x, window):
  """Percentile of today in the window, ascending, average of ties."""

  def step(count, past):
    # 2 when below today, 1 when equal; today itself counts 1.
    below = (past < x).astype(jnp.float32) + (past <= x).astype(jnp.float32)
    return count + jnp.where(jnp.isnan(past), jnp.nan, below)

  count = over_window(step, x * 0.0, x, window)
  return (count + 1.0) / (2 * window)


def ts_wma(x, window):
  """Weighted mean, weights 1..window, today the largest."""

  def merge(recent, n, older, m):
    del n
    total, weighted = recent
    return total + older[0], weighted + m * total + older[1]

  weighted = doubling(merge, (x, x), window)[1]
  return weighted / (window * (window + 1) / 2)


def ts_ema(x, window):
  """Weights (1 - a)^i for i days ago, a = 2 / (window + 1), normalised."""
  decay = 1.0 - 2.0 / (window + 1)
  total = doubling(
    lambda recent, n, older, m: (recent[0] + decay**n * older[0],),
    (x,), window)[0]  # fmt: skip
  return total / sum(decay**i for i in range(window))


def ts_ref(x, window):
  """The value `window` days ago."""
  return delay(x, window)


def ts_delta(x, window):
  """Today's value less that of `window` days ago."""
  return x - delay(x, window)


def ts_cov(x, y, window):
  """Covariance over the trailing window, n - 1 in the denominator."""
  day = (x + 0.0 * y, y + 0.0 * x, 0.0 * x * y)
  return doubling(_merge_comoment, day, window)[2] / (window - 1 or jnp.nan)


def ts_corr(x, y, window):
  """Pearson correlation; NaN when either side is constant."""
  zero = 0.0 * x + 0.0 * y
  day = (x + zero, y + zero, zero, zero, zero)
  mx, my, xy, xx, yy = doubling(_merge_correlation, day, window)
  varies = ~(_constant(mx, xx, window) | _constant(my, yy, window))
  norm = jnp.where(varies, jnp.sqrt(xx) * jnp.sqrt(yy), 1.0)
  return jnp.where(varies, jnp.clip(xy / norm, -1.0, 1.0), jnp.nan)


def cs_rank(x, members):
  """Average rank / count per day over members with a value, in (0, 1].

  Stocks that are no members that day get NaN.
  """
  return sorting.cross_sectional_rank(x, members)


def _sign(x):
  return jnp.where(jnp.isnan(x), jnp.nan, jnp.sign(x))


def _log(x):
  return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), jnp.nan)


FUNCTIONS = {
  'Abs': jnp.abs,
  'Sign': _sign,
  'Log': _log,
  'Add': jnp.add,
  'Sub': jnp.subtract,
  'Mul': jnp.multiply,
  'Div': jnp.divide,
  'Pow': jnp.power,
  'Greater': jnp.maximum,
  'Less': jnp.minimum,
  'Ref': ts_ref,
  'Delta': ts_delta,
  'Mean': ts_mean,
  'Sum': ts_sum,
  'Max': ts_max,
  'Min': ts_min,
  'Std': ts_std,
  'Var': ts_var,
  'Skew': ts_skew,
  'Kurt': ts_kurt,
  'Med': ts_med,
  'Mad': ts_mad,
  'Rank': ts_rank,
  'WMA': ts_wma,
  'EMA': ts_ema,
  'Cov': ts_cov,
  'Corr': ts_corr,
}


def apply(name, operands, window, members):
  """Applies one operator of the table.

  Args:
    name: a key of `vocab.OPERATORS`.
    operands: list of f32[T, S]; missing and non-finite values count as NaN.
    window: days, static; None for an operator without one.
    members: bool[T, S], read by CSRank alone.

  Returns:
    f32[T, S], finite or NaN.
  """
  operands = [finite(operand) for operand in operands]
  if name == 'CSRank':
    return cs_rank(operands[0], members)
  function = FUNCTIONS[name]
  if vocab.OPERATORS[name].kind in vocab.WINDOWED:
    function = functools.partial(function, window=window)
  result = function(*operands)
  if name == 'Pow':
    # IEEE says NaN^0 = 1 and 1^NaN = 1; a missing operand stays missing.
    missing = jnp.isnan(operands[0]) | jnp.isnan(operands[1])
    result = jnp.where(missing, jnp.nan, result)
  return finite(result)


def finite(x):
  """x, with NaN for whatever is not finite."""
  return jnp.where(jnp.isfinite(x), x, jnp.nan)
