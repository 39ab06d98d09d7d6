"""The operators, `[T, S] -> [T, S]`, one definition each (design: section 4).

A panel value is missing when it is NaN. A rolling window is full or the result
is NaN; a NaN in the window makes NaN; a non-finite operand is missing and a
non-finite result is NaN. Windows end today, so no operator sees a later day.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from alphajax.data import scale
from alphajax.data import universe as universe_lib
from alphajax.factor import rolling, sorting
from alphajax.language import vocab


def cs_rank(x, members):
  """Average rank / count per day over members with a value, in (0, 1].

  Stocks that are no members that day get NaN.
  """
  if not isinstance(members, universe_lib.Universe):
    return sorting.cross_sectional_rank(x, members)
  compact = universe_lib.gather(members, x)
  ranks = sorting.cross_sectional_rank(compact, members.present)
  return universe_lib.scatter(members, ranks)


def cs_scale(x, members):
  """x over the sum of |x| over the members of the day; NaN if that is 0."""
  if isinstance(members, universe_lib.Universe):
    members = members.mask
  known = members & ~jnp.isnan(x)
  x = scale.shrink(jnp.where(known, x, 0.0))
  total = jnp.sum(jnp.abs(x), axis=1, keepdims=True)
  scaled = x / jnp.where(total > 0, total, 1.0)
  return jnp.where(known & (total > 0), scaled, jnp.nan)


def group_rank(x, group, members):
  """As `cs_rank`, among the stocks with the same code in `group`."""
  return _in_groups(sorting.rank_within, x, group, members)


def group_neutral(x, group, members):
  """x less its mean over the members with a value and the same code.

  NaN where the code is missing.
  """
  return _in_groups(sorting.centre_within, x, group, members)


def _in_groups(function, x, group, members):
  """`function(x, group)` over members with a value and a code, else NaN."""
  if not isinstance(members, universe_lib.Universe):
    return function(x, jnp.where(members, group, jnp.nan))
  compact = (universe_lib.gather(members, plane) for plane in (x, group))
  return universe_lib.scatter(members, function(*compact))


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


def _signed_pow(x, y):
  """sign(x) |x|^y."""
  return _sign(x) * _pow(jnp.abs(x), y)


def _truth(compare):
  """A comparison as 1.0 or 0.0, NaN where an operand is."""

  def function(*operands):
    missing = functools.reduce(jnp.logical_or, map(jnp.isnan, operands))
    return jnp.where(missing, jnp.nan, compare(*operands).astype(jnp.float32))

  return function


def _if(condition, x, y):
  """x where the condition is not 0, else y; what is not taken may be NaN."""
  chosen = jnp.where(condition != 0, x, y)
  return jnp.where(jnp.isnan(condition), jnp.nan, chosen)


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
  'Ref': rolling.ts_ref,
  'Delta': rolling.ts_delta,
  'Mean': rolling.ts_mean,
  'Sum': rolling.ts_sum,
  'Max': rolling.ts_max,
  'Min': rolling.ts_min,
  'Std': rolling.ts_std,
  'Var': rolling.ts_var,
  'Skew': rolling.ts_skew,
  'Kurt': rolling.ts_kurt,
  'Med': rolling.ts_med,
  'Mad': rolling.ts_mad,
  'Rank': rolling.ts_rank,
  'WMA': rolling.ts_wma,
  'EMA': rolling.ts_ema,
  'Cov': rolling.ts_cov,
  'Corr': rolling.ts_corr,
  'SignedPower': _signed_pow,
  'Gt': _truth(jnp.greater),
  'Lt': _truth(jnp.less),
  'Ge': _truth(jnp.greater_equal),
  'Le': _truth(jnp.less_equal),
  'Eq': _truth(jnp.equal),
  'Ne': _truth(jnp.not_equal),
  'And': _truth(jnp.logical_and),
  'Or': _truth(jnp.logical_or),
  'Not': _truth(jnp.logical_not),
  'If': _if,
  'ArgMax': rolling.ts_argmax,
  'ArgMin': rolling.ts_argmin,
  'Slope': rolling.ts_slope,
  'Rsquare': rolling.ts_rsquare,
  'Resi': rolling.ts_resi,
  'Product': rolling.ts_product,
  'Quantile': rolling.ts_quantile,
}
# They look across stocks: their last argument is who is a member.
CROSS_SECTIONAL: dict[str, Callable] = {
  'CSRank': cs_rank,
  'Scale': cs_scale,
  'GroupRank': group_rank,
  'GroupNeutral': group_neutral,
}


def apply(name, operands, window, members):
  """Applies one operator of the table.

  Args:
    name: a key of `vocab.OPERATORS`.
    operands: list of f32[T, S]; missing and non-finite values count as NaN.
    window: days, static; None for an operator without one.
    members: bool[T, S] or, faster where many stocks are no members, its
      `Universe`; read by the cross-sectional operators alone.

  Returns:
    f32[T, S], finite or NaN.
  """
  operands = [finite(operand) for operand in operands]
  if name in CROSS_SECTIONAL:
    return finite(CROSS_SECTIONAL[name](*operands, members))
  function = FUNCTIONS[name]
  if vocab.OPERATORS[name].kind in vocab.WINDOWED:
    function = functools.partial(function, window=window)
  result = function(*operands)
  return finite(result)


@functools.partial(jax.jit, inline=True)
def finite(x):
  """x, with NaN for whatever is not finite."""
  return jnp.where(jnp.isfinite(x), x, jnp.nan)
