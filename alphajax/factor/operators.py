"""The operators, `[T, S] -> [T, S]`, one definition each (design: section 4).

A panel value is missing when it is NaN. A rolling window is full or the result
is NaN; a NaN in the window makes NaN; a non-finite operand is missing and a
non-finite result is NaN. Windows end today, so no operator sees a later day.

Every rolling operator is written over the list of the window's days, see
`trailing`: one pass over memory per operator, without running sums that drift.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alphajax.data import universe as universe_lib
from alphajax.factor import sorting
from alphajax.language import vocab

# A window is constant when its population standard deviation is at most this
# share of its mean: float32 noise of a constant. A relative test, since prices
# and volumes have no common scale.
CONSTANT_WINDOW = 1e-6


def delay(x, days):
  """The value `days` earlier, NaN before there is one."""
  if days == 0:
    return x
  days = min(days, x.shape[0])
  return jnp.pad(x[: x.shape[0] - days], ((days, 0), (0, 0)), 'constant',
                 constant_values=jnp.nan)  # fmt: skip


def trailing(x, window):
  """The panel of each day of the window, today first: `window` times `[T, S]`.

  NaN where the window begins before the panel. The slices are views of one
  padded panel; XLA fuses whatever reads them into one loop over the panel in
  which the whole window sits in registers. That is what makes an operator cost
  little more than a copy.
  """
  padded = jnp.pad(x, ((window - 1, 0), (0, 0)), constant_values=jnp.nan)
  # Padding inside that loop would be a branch per element: keep it out.
  padded = jax.lax.optimization_barrier(padded)
  return [
    padded[start : start + x.shape[0]] for start in reversed(range(window))
  ]


def _reduce(combine, items):
  """Combines a list by halves: short chains of roundings, and of latencies."""
  while len(items) > 1:
    pairs = zip(items[::2], items[1::2], strict=False)
    combined = [combine(a, b) for a, b in pairs]
    items = combined + items[len(combined) * 2 :]
  return items[0]


def total(terms):
  """Sum of a list."""
  return _reduce(jnp.add, terms)


class Centred(NamedTuple):
  """A window about its own mean, in units of its own spread.

  deviations: of each day from the mean, at most about 2, in units of `unit`.
  unit: a power of two near the largest difference to today.
  mean: of the window.
  """

  deviations: list[jax.Array]
  unit: jax.Array
  mean: jax.Array


def centre(x, window) -> Centred:
  """Centres every window so that no digit is lost and no square overflows.

  Differences to today's value are exact or nearly so, whatever the level of
  the data (a volume of 1e10, a constant); a power of two divides exactly.
  """
  differences = [past - x for past in trailing(x, window)]
  unit, inverse = _power_of_two(_largest(differences))
  scaled = [d * inverse for d in differences]
  mean = total(scaled) / window
  return Centred([d - mean for d in scaled], unit, x + mean * unit)


def _largest(items):
  """Bits of the largest absolute value: as integers, they compare at once."""
  bits = [jax.lax.bitcast_convert_type(x, jnp.int32) for x in items]
  return _reduce(jnp.maximum, [b & 0x7FFFFFFF for b in bits])


def _power_of_two(bits):
  """The power of two at or below a float >= 0 and its inverse, both normal.

  Of 0, and of what is not finite, any will do.
  """
  exponent = jnp.clip(bits & 0x7F800000, 1 << 23, 253 << 23)
  unit = jax.lax.bitcast_convert_type(exponent, jnp.float32)
  inverse = jax.lax.bitcast_convert_type(0x7F000000 - exponent, jnp.float32)
  return unit, inverse


def _squares(centred: Centred):
  return total([d * d for d in centred.deviations])


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


def _constant(centred: Centred, squares):
  """True where the window is constant up to float32 noise."""
  deviation = jnp.sqrt(squares / len(centred.deviations)) * centred.unit
  return deviation <= CONSTANT_WINDOW * jnp.abs(centred.mean)


def _sample(window):
  """n - 1, NaN for a window of one day."""
  return window - 1 or jnp.nan


def ts_sum(x, window):
  """Sum of the trailing window."""
  return total(trailing(x, window))


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
  return _squares(centred) / _sample(window) * unit * unit


def ts_std(x, window):
  """Standard deviation of the trailing window, n - 1 in the denominator."""
  centred = centre(x, window)
  return _root(_squares(centred) / _sample(window)) * centred.unit


def _standardized_moment(x, window, power):
  """Mean power of the window's z-scores; NaN for a constant window."""
  centred = centre(x, window)
  squares = _squares(centred)
  varies = ~_constant(centred, squares)
  scale = jnp.where(varies, _inverse_root(squares / window), 0.0)
  moment = total([(d * scale) ** power for d in centred.deviations]) / window
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
  spread = total([jnp.abs(d) for d in centred.deviations]) / window
  return spread * centred.unit


def ts_med(x, window):
  """Median; the mean of the two middle values for an even window."""
  days = trailing(x, window)
  low, high = sorting.middle([sorting.sortable(day) for day in days])
  low, high = sorting.unsortable(low), sorting.unsortable(high)
  return low + 0.5 * (high - low) + _missing(days)


def _missing(days):
  """0, or NaN where a day of the window is missing."""
  return total([day - day for day in days])


def ts_rank(x, window):
  """Percentile of today in the window, ascending, average of ties."""
  days = trailing(x, window)
  # 2 when below today, 1 when equal; today itself counts 1.
  below = [
    jnp.where(day < x, 2.0, jnp.where(day == x, 1.0, 0.0)) for day in days
  ]
  return (total(below) + 1.0) / (2 * window) + _missing(days)


def _weighted(x, window, weights):
  """Weighted mean; `weights` today first."""
  days = trailing(x, window)
  pairs = zip(weights, days, strict=True)
  return total([w / sum(weights) * day for w, day in pairs])


def ts_wma(x, window):
  """Weighted mean, weights 1..window, today the largest."""
  return _weighted(x, window, list(range(window, 0, -1)))


def ts_ema(x, window):
  """Weights (1 - a)^i for i days ago, a = 2 / (window + 1), normalised."""
  decay = 1.0 - 2.0 / (window + 1)
  return _weighted(x, window, [decay**i for i in range(window)])


def ts_ref(x, window):
  """The value `window` days ago."""
  return delay(x, window)


def ts_delta(x, window):
  """Today's value less that of `window` days ago."""
  return x - delay(x, window)


def _products(a: Centred, b: Centred):
  pairs = zip(a.deviations, b.deviations, strict=True)
  return total([p * q for p, q in pairs])


def ts_cov(x, y, window):
  """Covariance over the trailing window, n - 1 in the denominator."""
  a, b = centre(x, window), centre(y, window)
  return _products(a, b) / _sample(window) * a.unit * b.unit


def ts_corr(x, y, window):
  """Pearson correlation; NaN when either side is constant."""
  a, b = centre(x, window), centre(y, window)
  squares_a, squares_b = _squares(a), _squares(b)
  varies = ~(_constant(a, squares_a) | _constant(b, squares_b))
  norm = jnp.where(varies, _root(squares_a) * _root(squares_b), 1.0)
  correlation = jnp.clip(_products(a, b) / norm, -1.0, 1.0)
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
