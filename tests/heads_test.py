"""Networks with a context, and encoders by name or import path."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import parameters
import pytest

from alphajax.language import environment
from alphajax.networks import heads

OWN = '''
"""An encoder of one's own: the mean of the symbols' embeddings."""
import jax.numpy as jnp
from flax import linen as nn


class Bag(nn.Module):
  size: int
  width: int

  @nn.compact
  def __call__(self, tokens):
    x = nn.Embed(self.size, self.width)(tokens)
    there = (tokens > 0)[:, None]
    return jnp.sum(jnp.where(there, x, 0.0), axis=0) / jnp.sum(there)


def make(language, width):
  return Bag(language.vocab.size, width)
'''


@functools.cache
def language():
  return environment.make('sem_k', max_length=6)


def tokens_of(count):
  return environment.random_tokens(language(), jax.random.key(0), count)


@functools.partial(jax.jit, static_argnums=0)
def apply_batch(network, params, tokens, rng_key=None, context=None):
  """One program in place of each operation's own."""
  return heads.apply_batch(network, params, tokens, rng_key, context)


@functools.cache
def with_context(encoder='lstm', width=3):
  network = heads.make(
    language(), encoder=encoder, width=8, context_width=width
  )
  return network, parameters.random(network, language())


def test_the_context_joins_the_encoding():
  network, params = with_context()
  tokens = tokens_of(5)
  context = jax.random.normal(jax.random.key(2), (5, 3))
  logits, values = apply_batch(network, params, tokens, context=context)
  inner = {'params': params['params']['encoder']}
  encode = jax.vmap(lambda t: network.encoder.apply(inner, t))
  encoded = jax.jit(encode)(tokens)
  layers = params['params']['value']
  x = np.concatenate([encoded, context], axis=1)
  for name in ('Dense_0', 'Dense_1', 'Dense_2'):
    x = x @ np.asarray(layers[name]['kernel']) + np.asarray(
      layers[name]['bias']
    )
    x = x if name == 'Dense_2' else np.maximum(x, 0)
  np.testing.assert_allclose(values, x[:, 0], atol=1e-6)
  assert logits.shape == (5, language().num_actions)


def test_each_row_has_its_own_context():
  network, params = with_context()
  tokens = jnp.repeat(tokens_of(1), 4, axis=0)
  context = jnp.eye(4, 3)
  apply = functools.partial(apply_batch, network, params)
  logits, values = apply(tokens, context=context)
  assert len(np.unique(values)) == 4
  alone = apply(tokens[2:3], context=context[2:3])
  np.testing.assert_allclose(alone[0][0], logits[2], atol=1e-6)
  np.testing.assert_allclose(alone[1][0], values[2], atol=1e-6)
  # In training, dropout acts on the encoding and leaves the context alone.
  dropped = apply(tokens, jax.random.key(0), context=context)
  assert np.abs(dropped[1] - values).max() > 1e-6


def test_the_gradient_reaches_the_context():
  network, params = with_context('tree_lstm')
  tokens = tokens_of(4)

  def total(context):
    _, values = heads.apply_batch(network, params, tokens, None, context)
    return jnp.sum(values)

  gradient = np.asarray(jax.jit(jax.grad(total))(jnp.ones((4, 3))))
  assert np.isfinite(gradient).all() and np.abs(gradient).min() > 0


def test_a_context_where_none_belongs():
  network, params = with_context()
  with pytest.raises(ValueError, match='context_width 3 was given no context'):
    apply_batch(network, params, tokens_of(2))
  plain = heads.make(language(), encoder='lstm', width=8)
  params = parameters.random(plain, language())
  with pytest.raises(ValueError, match='context_width 0 was given a context'):
    apply_batch(plain, params, tokens_of(2), context=jnp.ones((2, 3)))


def test_a_context_of_another_width():
  network, params = with_context()
  with pytest.raises(AssertionError, match='shape'):
    apply_batch(network, params, tokens_of(2), context=jnp.ones((2, 4)))


@pytest.mark.parametrize('path', ['own_encoder', 'own_encoder.make'])
def test_an_encoder_of_your_own(tmp_path, monkeypatch, path):
  (tmp_path / 'own_encoder.py').write_text(OWN)
  monkeypatch.syspath_prepend(tmp_path)
  if path == 'own_encoder':  # A module outside any package has no point.
    (tmp_path / 'own_package').mkdir()
    (tmp_path / 'own_package' / 'encoder.py').write_text(OWN)
    path = 'own_package.encoder'
  network = heads.make(language(), encoder=path, width=8)
  params = parameters.random(network, language())
  assert params['params']['encoder']['Embed_0']['embedding'].shape[1] == 8
  logits, values = apply_batch(network, params, tokens_of(3))
  assert logits.shape == (3, language().num_actions)
  assert np.isfinite(values).all() and not network.is_incremental


@pytest.mark.parametrize(
  'name, said',
  [
    ('gru', "config.network.encoder is 'gru': expected one of tree_lstm, lstm"),
    ('os.path', r'that module has no make, .* make\(language, width\)'),
    ('no_such.encoder', 'there is no such module'),
    ('math.pi', 'which cannot be called'),
  ],
)
def test_encoders_that_are_none(name, said):
  with pytest.raises(ValueError, match=said):
    heads.make(language(), encoder=name)


class Rows(nn.Module):
  """An encoder that gives a vector for each token."""

  @nn.compact
  def __call__(self, tokens):
    return nn.Embed(8, 4)(tokens)


def test_an_encoder_that_gives_no_vector_is_refused():
  network = heads.PolicyValue(Rows(), language().num_actions)
  with pytest.raises(ValueError, match=r'gave \[\d+, 4\] of tokens'):
    heads.init(network, language(), jax.random.key(0))
