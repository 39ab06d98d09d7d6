"""The signal of a pool on any panel, and how much of the pool speaks there.

Weights and formulas are all it takes: a pool mined on one span is a signal on
every other one, where some of its factors may be missing.
"""

import chex
import jax
import jax.numpy as jnp

from alphajax.factor.pool import is_covered, standardized

# The least coverage there is: some factor of some weight has a value.
HEARD = float(jnp.finfo(jnp.float32).tiny)


def speak(values: jax.Array, members: jax.Array) -> jax.Array:
  """Where factors have a value, bool[P, T, S].

  None has one on a day on which fewer than half of the members have.

  Args:
    values: f32[P, T, S], NaN where missing.
    members: bool[T, S].
  """
  counts = jax.vmap(lambda v: is_covered(v, members, members))(values)
  return counts[..., None] & jnp.isfinite(values)


@jax.default_matmul_precision('highest')
def coverage(
  weights: jax.Array, values: jax.Array, members: jax.Array
) -> jax.Array:
  """How much of a pool speaks: the share of sum |w| whose factor has a value.

  Where one does not `speak`, `signal` leaves it out.

  Args:
    weights: f32[P].
    values: f32[P, T, S], NaN where missing.
    members: bool[T, S].

  Returns:
    f32[T, S] from 0 to 1, 0 where all weights are 0; NaN for non-members.
  """
  chex.assert_shape(values, (weights.shape[0], *members.shape))
  speaks = speak(values, members)
  size = jnp.abs(weights)
  silent, heard = (
    jnp.einsum('p,pts->ts', size, part.astype(size.dtype))
    for part in (~speaks, speaks)
  )
  # 0 and 1 are exact: so is a sum of zeros.
  share = heard / jnp.where(heard > 0, silent + heard, 1.0)
  return jnp.where(members, share, jnp.nan)


@jax.default_matmul_precision('highest')
def signal(
  weights: jax.Array,
  values: jax.Array,
  members: jax.Array,
  min_coverage: float = HEARD,
) -> jax.Array:
  """The pool's signal on any panel: weighted sum of standardised factors.

  A factor without a value has no opinion, which is 0 in the sum, as it is in
  the fit: so pools are judged in training. Where no factor has a value there is
  no signal; where most of a pool is missing, as before its look-back, the sum
  is another signal than the pool's, which a greater `min_coverage` leaves out.

  Args:
    weights: f32[P].
    values: f32[P, T, S], NaN where missing.
    members: bool[T, S].
    min_coverage: the least `coverage` at which there is a signal, 0 to 1; with
      0 it is 0 where no factor has a value, as in the fit.

  Returns:
    f32[T, S]; NaN for non-members and where the coverage is less than
    `min_coverage`.

  Raises:
    ValueError: a `min_coverage` outside of 0 to 1.
  """
  if not 0.0 <= min_coverage <= 1.0:
    raise ValueError(
      f'min_coverage is {min_coverage}: expected a share of the weights, from '
      '0 (a missing factor counts as 0) to 1 (every factor has a value)'
    )
  chex.assert_shape(values, (weights.shape[0], *members.shape))
  z = jax.vmap(lambda v: standardized(v, members, members))(values)
  present = members
  if min_coverage > 0:
    present = coverage(weights, values, members) >= min_coverage
  return jnp.where(present, jnp.einsum('p,pts->ts', weights, z), jnp.nan)
