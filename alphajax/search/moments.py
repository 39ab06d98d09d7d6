"""Losses of quantiles, and moments read off quantiles (QCM)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np


def quantile_huber_loss(
  quantiles: jax.Array,
  levels: jax.Array,
  targets: jax.Array,
  *,
  kappa: float,
) -> jax.Array:
  """Huber loss, tilted by the level: the sum over levels, f32[].

  `|tau - 1[u < 0]| huber_kappa(u) / kappa` with u = target - quantile (Dabney
  et al. 2018), its mean over targets. Unbatched.

  Args:
    quantiles: f32[N] at the levels f32[N].
    targets: f32[M] draws of what they are the quantiles of.
    kappa: where the square of u becomes its size; above 0.
  """
  chex.assert_equal_shape([quantiles, levels])
  errors = targets[None, :] - quantiles[:, None]
  sizes = jnp.abs(errors)
  huber = jnp.where(
    sizes <= kappa, 0.5 * jnp.square(errors), kappa * (sizes - 0.5 * kappa)
  )
  below = jax.lax.stop_gradient(errors < 0)
  tilted = jnp.abs(levels[:, None] - below) * huber / kappa
  return jnp.sum(jnp.mean(tilted, axis=1))


def middles(count: int) -> np.ndarray:
  """Levels in the middle of `count` equal parts of [0, 1], f32[count]."""
  return np.asarray((np.arange(count) + 0.5) / count, np.float32)


def quantiled_moments(
  quantiles: jax.Array, levels: jax.Array
) -> tuple[jax.Array, ...]:
  """Moments of distributions from their quantiles, as AlphaQCM takes them.

  The expansion of Cornish and Fisher is linear in a normal quantile z,
  `Q = m + s (z + (z^2 - 1) skew / 6 + (z^3 - 3 z) (kurtosis - 3) / 24)`, and
  least squares of the quantiles on its terms gives the moments. Errors of the
  quantiles that those terms do not explain leave them as they are, where a
  variance of the quantiles themselves would take them for spread.

  Args:
    quantiles: f32[K, ...] of one or many distributions.
    levels: f32[K] between 0 and 1, K at least 4.

  Returns:
    (mean, standard deviation, skewness, kurtosis), f32[...] each; the
    last two say nothing of a constant.
  """
  chex.assert_rank(levels, 1)
  count = levels.shape[0]
  chex.assert_tree_shape_prefix(quantiles, (count,))
  if count < 4:
    raise ValueError(f'{count} quantiles do not tell four moments')
  z = jax.scipy.special.ndtri(levels)
  terms = jnp.stack([jnp.ones(count), z, z**2 - 1, z**3 - 3 * z], axis=1)
  basis, triangle = jnp.linalg.qr(terms)
  flat = basis.T @ quantiles.reshape(count, -1)
  fitted = jax.scipy.linalg.solve_triangular(triangle, flat)
  fitted = fitted.reshape(4, *quantiles.shape[1:])
  mean, scale = fitted[0], fitted[1]
  spread = scale != 0
  safe = jnp.where(spread, scale, 1.0)
  skewness = jnp.where(spread, 6 * fitted[2] / safe, 0.0)
  kurtosis = 3 + jnp.where(spread, 24 * fitted[3] / safe, 0.0)
  return mean, jnp.abs(scale), skewness, kurtosis
