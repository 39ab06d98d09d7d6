"""Losses and moments of quantiles against slow sums and known distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from alphajax.search import moments


@pytest.mark.parametrize('kappa', [0.3, 1.0, 5.0])
def test_quantile_huber_loss_against_a_slow_sum(kappa):
  rng = np.random.default_rng(0)
  quantiles, targets = rng.normal(size=7), 2 * rng.normal(size=5)
  levels = rng.uniform(size=7)
  expected = 0.0
  for quantile, level in zip(quantiles, levels, strict=True):
    for target in targets:
      u = target - quantile
      if abs(u) <= kappa:
        huber = 0.5 * u * u
      else:
        huber = kappa * (abs(u) - 0.5 * kappa)
      expected += abs(level - (u < 0)) * huber / kappa / len(targets)
  found = moments.quantile_huber_loss(
    jnp.asarray(quantiles), jnp.asarray(levels), jnp.asarray(targets),
    kappa=kappa,
  )  # fmt: skip
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_its_minimum_is_the_quantile():
  """By gradient descent with a small kappa, on draws of a skewed variable."""
  draws = jnp.asarray(np.random.default_rng(0).gamma(2.0, size=2001))
  levels = jnp.array([0.1, 0.5, 0.9])

  def loss(q):
    return moments.quantile_huber_loss(q, levels, draws, kappa=0.01)

  def descend(q, _):
    return q - 0.05 * jax.grad(loss)(q), None

  found, _ = jax.lax.scan(descend, jnp.ones(3), length=1500)
  expected = np.quantile(draws, np.asarray(levels))
  np.testing.assert_allclose(found, expected, atol=0.03)


@pytest.mark.parametrize('count', [4, 32, 200])
def test_moments_of_an_expansion_are_exact(count):
  z = stats.norm.ppf(moments.middles(count))
  mean, scale, skewness, kurtosis = 0.3, 2.0, 0.6, 4.2
  quantiles = mean + scale * (
    z + (z**2 - 1) * skewness / 6 + (z**3 - 3 * z) * (kurtosis - 3) / 24
  )
  found = moments.quantiled_moments(
    jnp.asarray(quantiles, jnp.float32), moments.middles(count)
  )
  np.testing.assert_allclose(
    found, [mean, scale, skewness, kurtosis], rtol=2e-3
  )


@pytest.mark.parametrize(
  'distribution',
  [stats.norm(-1, 0.5), stats.gamma(40), stats.t(30), stats.logistic(2.0)],
)
def test_moments_of_known_distributions(distribution):
  quantiles = distribution.ppf(moments.middles(400))
  found = np.array(
    moments.quantiled_moments(jnp.asarray(quantiles), moments.middles(400))
  )
  mean, variance, skewness, excess = distribution.stats('mvsk')
  spread = np.sqrt(variance)
  np.testing.assert_allclose(found[0], mean, atol=0.01 * spread)
  np.testing.assert_allclose(found[1], spread, rtol=0.03)
  np.testing.assert_allclose(found[2], skewness, atol=0.03)
  np.testing.assert_allclose(found[3], 3 + excess, atol=0.35)


def test_moments_at_levels_drawn_at_random():
  levels = np.random.default_rng(0).uniform(size=32).astype(np.float32)
  quantiles = stats.norm(0.2, 3.0).ppf(levels).astype(np.float32)
  found = moments.quantiled_moments(jnp.asarray(quantiles), jnp.asarray(levels))
  np.testing.assert_allclose(found, [0.2, 3.0, 0.0, 3.0], atol=0.01)


def test_moments_of_many_and_of_a_constant():
  rng = np.random.default_rng(0)
  many = rng.normal(size=(16, 3, 5)).astype(np.float32)
  levels = moments.middles(16)
  found = moments.quantiled_moments(jnp.asarray(many), levels)
  assert all(part.shape == (3, 5) for part in found)
  one = moments.quantiled_moments(jnp.asarray(many[:, 1, 2]), levels)
  np.testing.assert_allclose([part[1, 2] for part in found], one, rtol=1e-3)
  assert (np.asarray(found[1]) >= 0).all()
  mean, spread, *_ = moments.quantiled_moments(jnp.full(16, 2.5), levels)
  np.testing.assert_allclose([mean, spread], [2.5, 0.0], atol=1e-5)
  with pytest.raises(ValueError, match='3 quantiles'):
    moments.quantiled_moments(jnp.zeros(3), moments.middles(3))


def test_errors_that_no_moment_explains_are_no_spread():
  """A bias that is orthogonal to the terms leaves all moments as they are."""
  z = stats.norm.ppf(moments.middles(32))
  terms = np.stack([np.ones(32), z, z**2 - 1, z**3 - 3 * z], 1)
  noise = np.random.default_rng(0).normal(size=32)
  noise -= terms @ np.linalg.lstsq(terms, noise, rcond=None)[0]
  found = moments.quantiled_moments(
    jnp.asarray(0.5 * z + noise), moments.middles(32)
  )
  np.testing.assert_allclose(found[1], 0.5, rtol=1e-4)
  assert np.std(0.5 * z + noise) > 0.9
