"""The implicit quantile network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.networks import quantiles


@pytest.fixture(scope='module')
def made():
  language = environment.make(
    'rpn', max_length=3, features=('close',), operators=('Abs',), windows=()
  )
  network = quantiles.make(
    language, encoder='flat.make', width=8, num_cosines=4
  )
  tokens = environment.random_tokens(language, jax.random.key(0), 5)
  params = network.init(jax.random.key(1), tokens[0], jnp.zeros(1))
  return language, network, params, tokens


def test_levels_go_in_as_cosines_that_multiply_the_encoding(made):
  _, network, params, tokens = made
  levels = jnp.array([0.2, 0.7, 0.9])
  found = network.apply(params, tokens[0], levels)
  parts = params['params']
  x = network.encoder.apply({'params': parts['encoder']}, tokens[0])

  def dense(name, y):
    return y @ np.asarray(parts[name]['kernel']) + parts[name]['bias']

  for level, row in zip(np.asarray(levels), found, strict=True):
    cosines = np.cos(np.pi * level * np.arange(1, 5))
    embedded = np.maximum(dense('Dense_0', cosines), 0) * np.asarray(x)
    hidden = np.maximum(dense('Dense_1', embedded), 0)
    np.testing.assert_allclose(row, dense('Dense_2', hidden), atol=1e-5)


def test_a_batch_is_its_formulas_one_by_one(made):
  language, network, params, tokens = made
  levels = jax.random.uniform(jax.random.key(2), (5, 3))
  many = quantiles.apply_batch(network, params, tokens, levels)
  assert many.shape == (5, 3, language.num_actions)
  shared = quantiles.apply_batch(network, params, tokens, levels[2])
  one = network.apply(params, tokens[2], levels[2])
  np.testing.assert_allclose(many[2], one, atol=1e-5)
  np.testing.assert_allclose(shared[2], one, atol=1e-5)


def test_an_unknown_encoder(made):
  with pytest.raises(ValueError, match='config.network.encoder'):
    quantiles.make(made[0], encoder='lstn', width=8, num_cosines=4)
