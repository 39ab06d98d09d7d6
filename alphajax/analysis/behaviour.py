"""How alike formulas behave: correlations of their daily cross-sections."""

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import cross_section


def unit(values: jax.Array, members: jax.Array, days: jax.Array) -> jax.Array:
  """A formula's cross-sections, of mean 0 and length 1 each.

  The sum of products of two of them is the day's correlation, over all
  members: where a formula has no value it counts as at the mean.

  Args:
    values: f32[T, S], NaN where missing.
    members: bool[T, S].
    days: i32[D], those that are wanted.

  Returns:
    f32[D, S], finite; 0 on a day without values or with one for all.
  """
  seen = members[days] & jnp.isfinite(values[days])
  centred, _ = cross_section.unit(jnp.where(seen, values[days], 0.0), seen)
  count = jnp.sum(seen, axis=1, keepdims=True)
  return centred / jnp.sqrt(jnp.maximum(count, 1).astype(jnp.float32))


def alike(units: np.ndarray, others: np.ndarray) -> np.ndarray:
  """|Mean daily correlation|, f32[N, D, S], f32[M, D, S] -> f32[N, M]."""
  _, num_days, num_stocks = units.shape
  left, right = (x.reshape(-1, num_days * num_stocks) for x in (units, others))
  return np.abs(left @ right.T) / num_days
