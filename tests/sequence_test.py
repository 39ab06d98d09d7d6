"""LSTM, CNN and Transformer: padding, order, sizes."""

import functools

import jax
import numpy as np
import parameters
import pytest

from alphajax.language import grammar as grammar_lib
from alphajax.networks import heads, sequence
from alphajax.search import evaluators, mcts

NAMES = tuple(sequence.ENCODERS)


@functools.cache
def language():
  return grammar_lib.make(max_length=6)


@functools.cache
def made(name, width=16):
  """The encoder of 12 formulas, its parameters, and it under jit and vmap."""
  encoder = sequence.make(name, language(), width)
  tokens = np.ones(language().max_tokens, np.int32)
  params = parameters.of(encoder.init, tokens)
  apply = jax.jit(jax.vmap(encoder.apply, (None, 0)))
  return params, lambda *args: np.asarray(apply(*args))


@functools.cache
def formulas():
  tokens = grammar_lib.random_tokens(language(), jax.random.key(0), 12)
  return np.asarray(tokens)


@pytest.mark.parametrize('name', NAMES)
def test_padding_does_not_count(name):
  params, encode = made(name)
  tokens = formulas()
  plain = encode(params, tokens)
  assert plain.shape == (12, 16) and np.isfinite(plain).all()
  for more in (1, 9):
    padded = encode(params, np.pad(tokens, ((0, 0), (0, more))))
    np.testing.assert_allclose(padded, plain, atol=1e-6)
  # Whatever stands in the embedding of padding.
  leaves = jax.tree.map(np.copy, params)
  leaves['params']['Embed_0']['embedding'][0] = 1e3
  np.testing.assert_array_equal(encode(leaves, tokens), plain)
  # Nor a longer formula beside it in the batch.
  alone = encode(params, np.repeat(tokens[:1], 12, axis=0))
  np.testing.assert_allclose(alone[0], plain[0], atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_the_order_counts(name):
  params, encode = made(name)
  tokens = formulas()
  length = np.sum(tokens > 0, axis=1)
  swapped = np.array(tokens)
  rows = np.flatnonzero(length > 2)
  for row in rows:
    swapped[row, : length[row]] = swapped[row, : length[row]][::-1]
  rows = rows[np.any(swapped[rows] != np.asarray(tokens)[rows], axis=1)]
  assert len(rows) > 3
  change = np.abs(encode(params, swapped) - encode(params, tokens))
  assert change[rows].max(axis=1).min() > 1e-3


@pytest.mark.parametrize('name', NAMES)
def test_nothing_is_a_number(name):
  params, encode = made(name)
  nothing = encode(params, np.zeros_like(formulas()))
  np.testing.assert_array_equal(nothing, np.zeros((12, 16)))


@pytest.mark.parametrize('name', NAMES)
def test_mean_is_over_tokens_alone(name):
  del name
  mean = jax.jit(sequence.mean)
  x = np.arange(12, dtype=np.float32).reshape(4, 3)
  there = np.array([True, True, False, False])
  np.testing.assert_allclose(mean(x, there), [1.5, 2.5, 3.5])
  x[3] = np.nan
  np.testing.assert_allclose(mean(x, there), [1.5, 2.5, 3.5])


def test_positions_differ_and_do_not_depend_on_the_length():
  places = sequence.positions(30, 8)
  np.testing.assert_array_equal(places[:7], sequence.positions(7, 8))
  gaps = np.abs(np.asarray(places)[:, None] - np.asarray(places)[None])
  assert (gaps.max(axis=2) + np.eye(30)).min() > 1e-2
  np.testing.assert_allclose(places[0], [0, 1] * 4, atol=1e-7)


def test_sizes_are_comparable_and_as_stated():
  grammar = grammar_lib.make()
  tokens = np.zeros(grammar.max_tokens, np.int32)
  sizes = {}
  for name in heads.ENCODERS:
    network = heads.make(grammar, encoder=name)
    shapes = jax.eval_shape(network.init, jax.random.key(0), tokens)
    leaves = jax.tree.leaves(shapes['params']['encoder'])
    sizes[name] = sum(leaf.size for leaf in leaves)
    assert f'{sizes[name]:,}' in sequence.__doc__
    assert 0.75 < sizes[name] / sizes['tree_lstm'] < 1.25


def test_refusals():
  with pytest.raises(ValueError, match="config.network.encoder is 'gru'"):
    heads.make(language(), encoder='gru')
  with pytest.raises(ValueError, match='width is 10: .* multiple'):
    heads.make(language(), encoder='transformer', width=10)


@pytest.mark.parametrize('name', NAMES)
def test_self_play_with_whole_formulas(name):
  grammar = language()
  network = heads.make(grammar, encoder=name, width=8)
  params = parameters.random(network, grammar)
  play = functools.partial(
    mcts.self_play,
    evaluator=evaluators.make(network, grammar),
    grammar=grammar,
    num_games=3,
    num_simulations=4,
  )
  games = jax.jit(play)(params, jax.random.key(1))
  assert len(grammar_lib.formulas_of(grammar, games.final_tokens)) == 3


@pytest.mark.parametrize('name', heads.ENCODERS)
def test_a_fresh_network_has_hardly_an_opinion(name):
  """Values of formulas are ICs of a few hundredths: larger ones would rule."""
  network = heads.make(language(), encoder=name)
  params = heads.init(network, language(), jax.random.key(3))
  apply = jax.jit(heads.apply_batch, static_argnums=0)
  logits, values = jax.device_get(apply(network, params, formulas()))
  assert 1e-4 < np.std(values) < 0.02 and np.abs(values).max() < 0.05
  assert 1e-3 < np.std(logits) < 0.1
