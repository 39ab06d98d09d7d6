"""Formulas drawn from the formula Transformer: valid, and with what chances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import Inputs, Memory
from alphajax.search import sampling
from tests.formula_transformer_test import TINY, noise, random_params
from tests.orders_test import UNUSUAL

CASES = [
  ('sem_k', None, 'rpn'),
  ('sem_k', None, 'rules'),
  ('sem_k', 'all kinds', 'rpn'),
  ('sem_k', 'all kinds', 'rules'),
  ('syn', 'one feature', 'rules'),
  ('rpn', 'paired alone', 'rpn'),
]
NUM = 64  # One program for all that is drawn of a language in an order.


@functools.cache
def setup(name='sem_k', vocabulary=None):
  """Orders, network, parameters that favour some symbols, and a memory."""
  options = UNUSUAL[vocabulary] if vocabulary else {}
  orders = orders_lib.make(name, max_length=4, **options)
  sizes = TINY._replace(decoder_layers=1)
  network = formula_transformer.make(sizes, orders)
  rows = jnp.zeros((0, orders.length), jnp.int32)
  inputs = Inputs(noise((4, 5)), jnp.ones(4, bool), noise((2,)), rows)
  params = random_params(network, inputs, scale=0.3)
  head = params['params']['head']
  head['kernel'] = 3.0 * head['kernel']
  memory = Memory(noise((5, 16)), jnp.arange(5) < 4, noise((16,)))
  return orders, network, params, memory


@functools.cache
def sampler_of(name='sem_k', vocabulary=None):
  orders, network, _, _ = setup(name, vocabulary)
  return sampling.sampler(network, orders)


def draw(name='sem_k', vocabulary=None, seed=0, **options):
  options = dict(order='rpn', temperature=1.0, top_p=1.0) | options
  _, _, params, memory = setup(name, vocabulary)
  run = sampler_of(name, vocabulary)
  return run(params, memory, jax.random.key(seed), NUM, **options)


@pytest.mark.parametrize('name, vocabulary, order', CASES)
def test_every_sample_is_a_formula_of_its_language(name, vocabulary, order):
  orders = setup(name, vocabulary)[0]
  samples = draw(name, vocabulary, order=order, temperature=3.0)
  language = orders_lib.language(orders, order)
  formulas = environment.formulas_of(language, samples.tokens)
  features = tuple(
    s.name for s in language.vocab.symbols if s.kind == 'feature'
  )
  rows = np.asarray(samples.symbols)
  for formula, row in zip(formulas, rows, strict=True):
    assert formula_lib.parse(str(formula), features) == formula
    # Raises where the language cannot write it.
    np.testing.assert_array_equal(
      orders_lib.encode(orders, formula, order), row
    )


@functools.cache
def teacher():
  """(log-probability, a forbidden symbol was taken) of sequences, jitted."""
  orders, network, _, _ = setup()

  def run(params, memory, symbols):
    forbidden = orders_lib.forbidden(orders, symbols)
    after = jnp.append(symbols[1:], 0)
    taken = jnp.take_along_axis(forbidden, after[:, None], axis=1)
    args = network, orders, params, memory, symbols
    return sampling.log_probs(*args), taken.any()

  return jax.jit(jax.vmap(run, (None, None, 0)))


@pytest.mark.parametrize('order', orders_lib.NAMES)
@pytest.mark.parametrize('temperature, top_p', [(1.0, 1.0), (0.7, 0.5)])
def test_log_probabilities_are_those_of_teacher_forcing(
  order, temperature, top_p
):
  _, _, params, memory = setup()
  samples = draw(order=order, temperature=temperature, top_p=top_p)
  expected, forbidden = teacher()(params, memory, samples.symbols)
  np.testing.assert_allclose(samples.log_probs, expected, atol=1e-4)
  assert not forbidden.any()


def test_frequencies_are_the_probabilities():
  """Of whole formulas, against log-probabilities of teacher forcing."""
  drawn = [draw(order='rules', seed=seed) for seed in range(60)]
  num = 60 * NUM
  rows, first, counts = np.unique(
    np.concatenate([samples.symbols for samples in drawn]),
    axis=0,
    return_index=True,
    return_counts=True,
  )
  log_probs = np.concatenate([samples.log_probs for samples in drawn])
  expected = np.exp(log_probs[first])
  often = expected > 0.005
  assert often.sum() > 5
  error = np.sqrt(expected * (1 - expected) / num)
  assert (np.abs(counts / num - expected)[often] < 5 * error[often]).all()


def test_a_tiny_top_p_or_temperature_is_greedy():
  orders, network, params, memory = setup()
  logits = jax.jit(network.logits)
  for order in orders_lib.NAMES:
    for options in (dict(top_p=1e-9), dict(temperature=1e-4)):
      rows = np.asarray(draw(order=order, **options).symbols)
      assert (rows == rows[0]).all()
    row = rows[0]
    best = np.where(
      jax.jit(orders_lib.forbidden)(orders, row),
      -np.inf,
      logits(params, memory, row),
    ).argmax(axis=1)
    end = np.sum(row > 0)
    np.testing.assert_array_equal(best[: end - 1], row[1:end])


def nucleus_by_numpy(policy, top_p):
  """Takes actions from the likeliest on until they hold `top_p`."""
  kept, held = np.zeros(len(policy)), 0.0
  for action in np.argsort(-policy):
    if held < top_p or not held:
      kept[action] = policy[action]
    held += policy[action]
  return kept / kept.sum()


@pytest.mark.parametrize('top_p', [0.0, 0.3, 0.9, 0.98, 1.0])
def test_the_nucleus_equals_numpy(top_p):
  rng = np.random.default_rng(0)
  for size in (1, 2, 44):
    logits = rng.normal(size=size) * 3
    policy = np.exp(logits - np.logaddexp.reduce(logits))
    found = sampling.nucleus(jnp.log(policy), top_p)
    np.testing.assert_allclose(
      found, nucleus_by_numpy(policy, top_p), atol=1e-6
    )


def test_forbidden_actions_are_not_drawn_at_the_ends_of_the_interval():
  policy = jnp.array([0.0, 0.25, 0.0, 0.75, 0.0])
  ends = jnp.array([0.0, 0.2499, 0.25, 0.5, 1 - 2.0**-24])
  actions = jax.vmap(sampling.draw, (None, 0))(policy, ends)
  np.testing.assert_array_equal(actions, [1, 1, 3, 3, 3])


def test_another_key_or_memory_gives_other_formulas():
  rows = draw().symbols
  np.testing.assert_array_equal(draw().symbols, rows)
  assert (draw(seed=1).symbols != rows).any()
  orders, _, params, memory = setup()
  other = memory._replace(latents=memory.latents[::-1] * 3.0)
  run = sampler_of()
  options = dict(order='rpn', temperature=1.0, top_p=1.0)
  found = run(params, other, jax.random.key(0), NUM, **options)
  assert (found.symbols != rows).any()


def test_distinct_keeps_one_of_equal_keys():
  orders = setup()[0]
  samples = draw(temperature=0.5)
  formulas, places = sampling.distinct(orders, 'rpn', samples)
  keys = [formula_lib.key(formula) for formula in formulas]
  everything = environment.formulas_of(orders.rpn, samples.tokens)
  assert len(set(keys)) == len(keys) < NUM
  assert set(keys) == {formula_lib.key(formula) for formula in everything}
  assert [everything[i] for i in places] == formulas
  fewer, _ = sampling.distinct(orders, 'rpn', samples, known=keys[:3])
  assert fewer == formulas[3:]


@pytest.mark.parametrize('uniform', [0.0, 0.3, 0.4, 0.7, 1 - 2**-24])
def test_nothing_impossible_is_drawn(uniform, monkeypatch):
  """Also where sums are made in another order, and so step back."""
  policy = jnp.array([0.0, 0.4, 0.0, 0.0, 0.6, 0.0])
  expected = 1 if uniform < 0.4 else 4
  assert sampling.draw(policy, uniform) == expected
  sums = jnp.array([0.0, 0.4 - 1e-7, 0.4 + 1e-7, 0.4, 1.0, 1.0 + 1e-7])
  monkeypatch.setattr(sampling.jnp, 'cumsum', lambda policy: sums)
  assert policy[sampling.draw(policy, uniform)] > 0
