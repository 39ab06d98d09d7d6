"""Operators over trailing windows, `[T, S] -> [T, S]`.

A window is full or the result is NaN, and a NaN in the window makes NaN. Sums
are taken of deviations from the window's own mean, so that float32 keeps its
digits at any level of the data, a volume of 1e10 as a return of 1e-3.
"""

import jax
import jax.numpy as jnp

from alphajax.data import scale
from alphajax.factor import sorting, windows
from alphajax.factor.windows import centre

# A window is constant when its population standard deviation is at most this
# share of its mean: float32 noise of a constant. A relative test, since prices
# and volumes have no common scale.
CONSTANT_WINDOW = 1e-6
# A median of more days is taken of a window that stays sorted as it moves.
SORTED = 64


@jax.custom_jvp
def _root(x):
  """Square root; its derivative at 0 counts 0 and is not infinite.

  Not by a "double where": its selects cost the fused loop several times over.
  """
  return jnp.sqrt(x)


@jax.custom_jvp
def _inverse_root(x):
  """1 / sqrt(x), with the same derivative at 0."""
  return jax.lax.rsqrt(x)


@_root.defjvp
def _root_jvp(primals, tangents):
  (x,), (tangent,) = primals, tangents
  slope = jnp.where(x > 0, 0.5 / jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
  return _root(x), slope * tangent


@_inverse_root.defjvp
def _inverse_root_jvp(primals, tangents):
  (x,), (tangent,) = primals, tangents
  inverse = jax.lax.rsqrt(jnp.where(x > 0, x, 1.0))
  slope = jnp.where(x > 0, -0.5 * inverse**3, 0.0)
  return _inverse_root(x), slope * tangent


def _constant(centred: windows.Centred, squares):
  """True where the window is constant up to float32 noise."""
  deviation = jnp.sqrt(squares / centred.window) * centred.unit
  return deviation <= CONSTANT_WINDOW * jnp.abs(centred.mean)


def _sample(window):
  """n - 1, NaN for a window of one day."""
  return window - 1 or jnp.nan


def ts_sum(x, window):
  """Sum of the trailing window."""
  return windows.over(window, lambda _, past: past, x)


def ts_mean(x, window):
  """Mean of the trailing window."""
  return ts_sum(x, window) / window


def _extremum(pick, x, window):
  """Extremum of the window by doubling: overlapping blocks do no harm to it."""
  x = jnp.pad(x, ((window - 1, 0), (0, 0)), constant_values=jnp.nan)
  days = 1
  while days < window:
    step = min(days, window - days)
    x = pick(x[step:], x[: x.shape[0] - step])
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
  centred = centre(x, window)
  unit = centred.unit
  return centred.squares() / _sample(window) * unit * unit


def ts_std(x, window):
  """Standard deviation of the trailing window, n - 1 in the denominator."""
  centred = centre(x, window)
  return _root(centred.squares() / _sample(window)) * centred.unit


def _standardized_moment(x, window, power):
  """Mean power of the window's z-scores; NaN for a constant window."""
  centred = centre(x, window)
  squares = centred.squares()
  varies = ~_constant(centred, squares)
  scale = jnp.where(varies, _inverse_root(squares / window), 0.0)
  moment = centred.total(lambda d: (d * scale) ** power) / window
  return jnp.where(varies, moment, jnp.nan)


def ts_skew(x, window):
  """Skewness m3 / m2^1.5, population moments; NaN for a constant window."""
  return _standardized_moment(x, window, 3)


def ts_kurt(x, window):
  """Excess kurtosis m4 / m2^2 - 3, population moments."""
  return _standardized_moment(x, window, 4) - 3.0


def ts_mad(x, window):
  """Mean absolute deviation from the window's mean."""
  centred = centre(x, window)
  return centred.total(jnp.abs) / window * centred.unit


def ts_med(x, window):
  """Median; the mean of the two middle values for an even window."""
  low, high = _middle(x, window)
  return low + 0.5 * (high - low) + _missing(x, window)


def _middle(x, window):
  """The two middle values of the window, the same one if it is odd."""
  if window > SORTED:
    low, high = (window - 1) // 2, window // 2
    return sorting.pick_trailing(
      x, window, lambda keys: (keys[low], keys[high])
    )
  keys = [sorting.sortable(day) for day in windows.trailing(x, window)]
  return tuple(map(sorting.unsortable, sorting.middle(keys)))


def _missing(x, window):
  """0, or NaN where a day of the window is missing."""
  return windows.over(window, lambda _, past: past - past, x)


def ts_rank(x, window):
  """Percentile of today in the window, ascending, average of ties."""

  def below(_, past):
    # 2 when below today, 1 when equal; today itself counts 1.
    return jnp.where(past < x, 2.0, jnp.where(past == x, 1.0, 0.0))

  doubled = windows.over(window, below, x) + 1.0
  return doubled / (2 * window) + _missing(x, window)


def _weighted(x, window, weight):
  """Weighted mean; `weight(days_ago)` is relative."""
  scale = sum(map(weight, range(window)))
  return windows.over(window, lambda i, past: weight(i) / scale * past, x)


def ts_wma(x, window):
  """Weighted mean, weights 1..window, today the largest."""
  return _weighted(x, window, lambda i: window - i)


def ts_ema(x, window):
  """Weights (1 - a)^i for i days ago, a = 2 / (window + 1), normalised."""
  decay = 1.0 - 2.0 / (window + 1)
  return _weighted(x, window, lambda i: decay**i)


def ts_ref(x, window):
  """The value `window` days ago."""
  return windows.delay(x, window)


def ts_delta(x, window):
  """Today's value less that of `window` days ago."""
  return x - windows.delay(x, window)


def ts_cov(x, y, window):
  """Covariance over the trailing window, n - 1 in the denominator."""
  a, b = centre(x, window), centre(y, window)
  return windows.products(a, b) / _sample(window) * a.unit * b.unit


def ts_corr(x, y, window):
  """Pearson correlation; NaN when either side is constant."""
  a, b = centre(x, window), centre(y, window)
  squares_a, squares_b = a.squares(), b.squares()
  varies = ~(_constant(a, squares_a) | _constant(b, squares_b))
  norm = jnp.where(varies, _root(squares_a) * _root(squares_b), 1.0)
  correlation = jnp.clip(windows.products(a, b) / norm, -1.0, 1.0)
  return jnp.where(varies, correlation, jnp.nan)


def ts_argmax(x, window):
  """Day of the largest value, 1 the oldest of the window; the first of ties.

  qlib's IdxMax.
  """
  return _day_of(ts_max(x, window), x, window)


def ts_argmin(x, window):
  """Day of the smallest value, 1 the oldest; the first of ties. IdxMin."""
  return _day_of(ts_min(x, window), x, window)


def _day_of(value, x, window):
  """The first day of the window that has the value; NaN where that is NaN."""

  def day(days_ago, past):
    return jnp.where(past == value, window - days_ago, window + 1)

  first = windows.over(window, day, x, combine=jnp.minimum)
  return jnp.where(jnp.isnan(value), jnp.nan, first.astype(x.dtype))


def ts_product(x, window):
  """Product of the trailing window.

  Fractions and exponents apart: a part of the product may leave float32's range
  where the whole does not, as with a volume and its inverse.
  """
  # Fractions in [.75, 1.5) have products near 1: half an octave is added to the
  # bits before the exponent is read.
  half = 1 << 22

  def fraction(_, past):
    return past * scale.power_of_two(scale.size_bits(past) + half)[1]

  def exponent(_, past):
    bits = scale.size_bits(past) + half
    return (scale.size_bits(scale.power_of_two(bits)[0]) >> 23) - 127

  product = windows.over(window, fraction, x, combine=jnp.multiply)
  return _times_power_of_two(product, windows.over(window, exponent, x))


def _times_power_of_two(x, exponent):
  """x * 2^exponent; in steps, since 2^exponent itself may be infinite."""
  exponent = jnp.clip(exponent, -378, 378)
  third = exponent // 3
  for step in (third, third, exponent - 2 * third):
    x *= jax.lax.bitcast_convert_type((step + 127) << 23, jnp.float32)
  return x


def _line(window):
  """(mean of 1..window, sum of squares about it)."""
  return (window + 1) / 2, window * (window**2 - 1) / 12


def ts_slope(x, window):
  """Slope of the regression of the window on 1..window; NaN for one day."""
  mean, squares = _line(window)

  def term(days_ago, past):
    # The weights add up to 0: differences to today leave no level to cancel.
    return (window - days_ago - mean) * (past - x)

  return windows.over(window, term, x) / (squares or jnp.nan)


def ts_resi(x, window):
  """Today's value less that of the regression line; NaN for one day."""
  mean, squares = _line(window)

  def term(days_ago, past):
    leverage = (window - days_ago - mean) * (window - mean)
    return (1 / window + leverage / (squares or 1.0)) * (x - past)

  return windows.over(window, term, x) + (0.0 if squares else jnp.nan)


def ts_rsquare(x, window):
  """Share of the variance on the regression line; NaN if it is constant."""
  mean, squares = _line(window)
  centred = centre(x, window)
  total = centred.squares()
  varies = ~_constant(centred, total)

  def term(days_ago, past):
    return (window - days_ago - mean) * centred.deviation(past)

  along = windows.over(window, term, x) * _inverse_root(
    jnp.where(varies, total, 1.0)
  )
  share = jnp.clip(along * along / (squares or jnp.nan), 0.0, 1.0)
  return jnp.where(varies, share, jnp.nan)


def ts_quantile(x, level, window):
  """The quantile `level` of the window, linear between two values.

  The level in [0, 1] is a panel, so that one program serves every constant;
  NaN outside. qlib's `Quantile(x, window, level)`; 0.5 is the median.
  """
  place = level * (window - 1)
  rank = jnp.clip(jnp.nan_to_num(jnp.floor(place)), 0, window - 1)
  low, high = _neighbours(x, rank.astype(jnp.int32), window)
  known = (level >= 0) & (level <= 1)
  value = low + jnp.where(known, place - rank, jnp.nan) * (high - low)
  return value + _missing(x, window)


def _neighbours(x, rank, window):
  """The value of this rank in the window, 0 the smallest, and the next one."""
  if window > windows.FUSED:
    last = jnp.minimum(rank + 1, window - 1)
    return sorting.pick_trailing(x, window, _of_ranks, rank, last)
  keys = [sorting.sortable(day) for day in windows.trailing(x, window)]
  ordered = sorting.sort(keys)
  low, high = ordered[-1], ordered[-1]
  for i, key in reversed([*enumerate(ordered)][:-1]):
    low = jnp.where(rank == i, key, low)
    high = jnp.where(rank == i, ordered[i + 1], high)
  return sorting.unsortable(low), sorting.unsortable(high)


def _of_ranks(ordered, *ranks):
  """The values of one rank i32[n] each, of i32[window, n] ascending."""
  places = jnp.arange(len(ordered))[:, None]
  return tuple(
    jnp.max(jnp.where(places == rank, ordered, sorting.SMALLEST), axis=0)
    for rank in ranks
  )
