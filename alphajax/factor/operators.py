"""The operators, `[T, S] -> [T, S]`, one definition each (design: section 4).

A panel value is missing when it is NaN. A rolling window is full or the result
is NaN; a NaN in the window makes NaN; a non-finite operand is missing and a
non-finite result is NaN. Windows end today, so no operator sees a later day.
"""

import functools

import jax
import jax.numpy as jnp

from alphajax.data import universe as universe_lib
from alphajax.factor import sorting, windows
from alphajax.factor.windows import centre
from alphajax.language import vocab

# A window is constant when its population standard deviation is at most this
# share of its mean: float32 noise of a constant. A relative test, since prices
# and volumes have no common scale.
CONSTANT_WINDOW = 1e-6


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
  if window <= windows.FUSED:
    keys = [sorting.sortable(day) for day in windows.trailing(x, window)]
    low, high = sorting.middle(keys)
    return sorting.unsortable(low), sorting.unsortable(high)

  def below(value):
    def is_below(_, past):
      return (~(past >= value)).astype(jnp.int32)

    return windows.over(window, is_below, x)

  shape = x.shape
  low = sorting.select(below, (window - 1) // 2, shape)
  return low, sorting.select(below, window // 2, shape)


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


def cs_rank(x, members):
  """Average rank / count per day over members with a value, in (0, 1].

  Stocks that are no members that day get NaN.
  """
  if not isinstance(members, universe_lib.Universe):
    return sorting.cross_sectional_rank(x, members)
  compact = universe_lib.gather(members, x)
  ranks = sorting.cross_sectional_rank(compact, members.present)
  return universe_lib.scatter(members, ranks)


def _sign(x):
  return jnp.where(jnp.isnan(x), jnp.nan, jnp.sign(x))


def _log(x):
  return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), jnp.nan)


def _pow(x, y):
  """IEEE power, a few times faster than XLA's; NaN^0 and 1^NaN are missing.

  The exponent of e is rounded once: the relative error is below 1e-5 at the
  ends of float32's range and about 1e-7 near 1.
  """
  size = jnp.exp(y * jnp.log(jnp.where(x == 0, 1.0, jnp.abs(x))))
  at_zero = jnp.where(y == 0, 1.0, jnp.where(y > 0, 0.0, jnp.inf))
  size = jnp.where(x == 0, at_zero, size)
  whole = jnp.round(y) == y
  # A float32 of 2^24 or more is even, and its half whole.
  odd = whole & (jnp.round(0.5 * y) != 0.5 * y)
  signed = jnp.where(whole, jnp.where(odd, -size, size), jnp.nan)
  result = jnp.where(x < 0, signed, size)
  return jnp.where(jnp.isnan(x) | jnp.isnan(y), jnp.nan, result)


FUNCTIONS = {
  'Abs': jnp.abs,
  'Sign': _sign,
  'Log': _log,
  'Add': jnp.add,
  'Sub': jnp.subtract,
  'Mul': jnp.multiply,
  'Div': jnp.divide,
  'Pow': _pow,
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
    members: bool[T, S] or, faster where many stocks are no members, its
      `Universe`; read by CSRank alone.

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
  return finite(result)


def finite(x):
  """x, with NaN for whatever is not finite."""
  return jnp.where(jnp.isfinite(x), x, jnp.nan)
