"""A day's values over some stocks: scaled, centred, standardised.

Factors and labels come in any unit and at any level, prices of 3e38 as well as
ratios of 1 + 1e-6, and float32 must lose no digit to either.
"""

import jax
import jax.numpy as jnp

# A cross-section is constant when its variance is at most this share of its
# squared mean: float32 noise of a constant, in whatever unit.
CONSTANT = 1e-12


def sum_stocks(values: jax.Array) -> jax.Array:
  """Sum over stocks, kept as an axis; counts too are exact as floats."""
  return jnp.sum(values.astype(jnp.float32), -1, keepdims=True)


def shrink(values: jax.Array) -> jax.Array:
  """Scales a day's values into (-2, 2), so that no sum or square overflows.

  By a power of two, which takes no digit off: after any other factor, values
  whose level is 1e6 times their spread would differ by their roundings.
  """
  largest = jnp.max(jnp.abs(values), -1, keepdims=True)
  return values * inverse_power_of_two(largest)


def inverse_power_of_two(x: jax.Array) -> jax.Array:
  """1 / the power of two at or below x >= 0, f32; of 0 any will do.

  Exact, and a normal number like the power itself: others count as 0.
  """
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
  exponent = jnp.clip(bits & 0x7F800000, 1 << 23, 253 << 23)
  return jax.lax.bitcast_convert_type(0x7F000000 - exponent, jnp.float32)


def unit(values: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Centres a day over `seen` and divides by the root mean square.

  Args:
    values: f32[..., T, S], finite where `seen`.
    seen: bool[..., T, S].

  Returns:
    (f32[..., T, S], 0 elsewhere and on constant days; which are constant,
    bool[..., T, 1], those on which nothing is seen among them).
  """
  count = jnp.maximum(sum_stocks(seen), 1)
  values = shrink(jnp.where(seen, values, 0.0))
  mean = sum_stocks(values) / count
  deviations = jnp.where(seen, values - mean, 0.0)
  # The mean of many equal numbers is off by rounding: a second pass.
  rest = sum_stocks(deviations) / count
  deviations = jnp.where(seen, deviations - rest, 0.0)
  power = sum_stocks(jnp.square(deviations)) / count
  constant = power <= CONSTANT * jnp.square(mean)
  scale = 1.0 / jnp.sqrt(jnp.where(constant, 1.0, power))
  return deviations * jnp.where(constant, 0.0, scale), constant
