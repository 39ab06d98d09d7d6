"""A day's values over some stocks: scaled, centred, standardised.

Factors and labels come in any unit and at any level, prices of 3e38 as well as
ratios of 1 + 1e-6, and float32 must lose no digit to either.
"""

import jax
import jax.numpy as jnp

from alphajax.data.scale import shrink

# A cross-section is constant when its variance is at most this share of its
# squared mean: float32 noise of a constant, in whatever unit.
CONSTANT = 1e-12


def sum_stocks(values: jax.Array) -> jax.Array:
  """Sum over stocks, kept as an axis; counts too are exact as floats."""
  return jnp.sum(values.astype(jnp.float32), -1, keepdims=True)


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
