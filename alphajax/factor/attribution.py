"""What each factor of a pool adds to its signal."""

import jax
import jax.numpy as jnp

from alphajax.factor import pool as pool_lib


def contributions(
  weights: jax.Array, values: jax.Array, members: jax.Array
) -> jax.Array:
  """Weight times standardised factor, f32[P, T, S].

  They add up to `pool_signal.signal`. A factor without a value, or on a day on
  which fewer than half of the members have one, has no opinion and adds 0.

  Args:
    weights: f32[P].
    values: f32[P, T, S], NaN where missing.
    members: bool[T, S].

  Returns:
    f32[P, T, S], NaN for non-members.
  """
  z = jax.vmap(lambda v: pool_lib.standardized(v, members, members))(values)
  return jnp.where(members, weights[:, None, None] * z, jnp.nan)
