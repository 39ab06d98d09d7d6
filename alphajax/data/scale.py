"""Scaling by powers of two, which loses no digit."""

import functools

import jax
import jax.numpy as jnp


def size_bits(x):
  """Bits of the absolute value: as integers, they compare at once."""
  return jax.lax.bitcast_convert_type(x, jnp.int32) & 0x7FFFFFFF


def power_of_two(bits):
  """The power of two at or below a float >= 0 and its inverse, both normal.

  Of 0, and of what is not finite, any will do.
  """
  exponent = jnp.clip(bits & 0x7F800000, 1 << 23, 253 << 23)
  unit = jax.lax.bitcast_convert_type(exponent, jnp.float32)
  inverse = jax.lax.bitcast_convert_type(0x7F000000 - exponent, jnp.float32)
  return unit, inverse


@functools.partial(jax.jit, inline=True)
def shrink(values):
  """A day's values f32[..., S] in (-4, 4), so that no sum or square overflows.

  They are divided by a power of two near the largest, so that a small spread
  about a high level keeps its digits.
  """
  largest = jnp.max(size_bits(values), -1, keepdims=True)
  return values * power_of_two(largest)[1]
