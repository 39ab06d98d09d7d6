"""The LSTM and the policy on it: against NumPy, in parts, in any language."""

import functools

import jax
import numpy as np
import parameters
import pytest

from alphajax.language import environment
from alphajax.networks import lstm, token_policy
from alphajax.search import rollout, token_games


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_an_lstm_is_a_slow_one():
  module = lstm.LSTM(width=3, num_layers=2)
  x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  apply = jax.jit(module.apply)
  params = jax.jit(module.init)(jax.random.key(0), x)
  said, state = jax.device_get(apply(params, x))
  series = x
  for n in range(2):
    inner, outer, bias = (
      np.asarray(params['params'][f'{name}_{n}'])
      for name in ('inner', 'outer', 'bias')
    )
    assert np.abs(inner).max() <= 3**-0.5  # As PyTorch starts it.
    h, c, out = np.zeros(3), np.zeros(3), []
    for row in series:
      i, f, g, o = np.split(row @ outer + h @ inner + bias, 4)
      c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
      h = sigmoid(o) * np.tanh(c)
      out.append(h)
    series = np.stack(out)
    np.testing.assert_allclose(state[n], [h, c], atol=1e-6)
  np.testing.assert_allclose(said, series, atol=1e-6)
  half, middle = apply(params, x[:2])
  rest, end = apply(params, x[2:], middle)
  np.testing.assert_allclose(np.concatenate([half, rest]), said, atol=1e-6)
  np.testing.assert_allclose(end, state, atol=1e-6)


@functools.cache
def policy_of(name):
  language = environment.make(  # Small, so that games end before the bound.
    name, max_length=5, features=('close', 'volume'), windows=(10,),
    constants=(1.0,), operators=('Abs', 'Add', 'Mean'),
  )  # fmt: skip
  network = token_policy.make(language, width=8, dropout_rate=0.0)
  tokens = np.zeros(language.max_tokens, np.int32)
  params = parameters.of(network.init, tokens)
  return language, network, params


@functools.cache
def played_in(name):
  language, network, params = policy_of(name)
  evaluator = token_games.evaluator(network, language)
  run = functools.partial(
    rollout.rollout, evaluator=evaluator, language=language, num_games=16
  )
  return jax.device_get(jax.jit(run)(params, jax.random.key(1)))


@pytest.mark.parametrize('name', ['rpn', 'sem_k'])
def test_learns_from_the_numbers_that_it_played_by(name):
  """Followed, read as one game, and read state by state: the same."""
  language, network, params = policy_of(name)
  played = played_in(name)
  inputs = token_games.inputs(played, language)
  assert inputs.shape[:2] == ((1 if name == 'rpn' else language.max_steps), 16)
  learn = jax.jit(token_games.learner(network, language))
  logits, values = learn(params, inputs, jax.random.key(2))
  active = np.asarray(played.active)
  apply = jax.jit(jax.vmap(jax.vmap(network.apply, (None, 0)), (None, 0)))
  whole, worth = apply(params, played.tokens)
  np.testing.assert_allclose(
    np.asarray(logits)[active], np.asarray(whole)[active], atol=1e-5
  )
  for said in (values, worth):
    np.testing.assert_allclose(
      np.asarray(said)[active], np.asarray(played.values)[active], atol=1e-5
    )
  x = np.where(played.invalid_actions, -np.inf, np.asarray(logits, np.float64))
  log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
  chosen = np.take_along_axis(
    log_p, np.asarray(played.actions)[..., None], axis=-1
  )[..., 0]
  np.testing.assert_allclose(
    chosen[active], np.asarray(played.log_probs)[active], atol=1e-4
  )
  assert np.ptp(chosen[active]) > 0.5


def test_the_bound_ends_some_games_and_masks_hold():
  language, _, _ = policy_of('rpn')
  played = played_in('rpn')
  active, actions = np.asarray(played.active), np.asarray(played.actions)
  forbidden = np.take_along_axis(
    np.asarray(played.invalid_actions), actions[..., None], axis=-1
  )[..., 0]
  assert not forbidden[active].any()
  lengths = active.sum(0)
  assert lengths.min() < lengths.max() == language.max_steps
  for formula in environment.formulas_of(language, played.final_tokens):
    environment.derivation(language, formula)


def test_padding_says_nothing_and_dropout_is_of_learning_alone():
  language, network, params = policy_of('rpn')
  tokens = played_in('rpn').tokens[2, 0]
  longer = np.concatenate([tokens, np.zeros(4, np.int32)])
  apply = jax.jit(network.apply)
  dry = apply(params, tokens)
  for one, two in zip(dry, apply(params, longer), strict=True):
    np.testing.assert_allclose(one, two, atol=1e-6)
  wet = token_policy.make(language, width=8, dropout_rate=0.5)
  learn = jax.jit(token_games.learner(wet, language))
  inputs = token_games.inputs(played_in('rpn'), language)
  one, two, again = (
    np.asarray(learn(params, inputs, jax.random.key(seed))[0])
    for seed in (0, 1, 0)
  )
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - two).max() > 1e-3
  still = jax.jit(wet.apply)(params, tokens)
  np.testing.assert_array_equal(still[0], dry[0])


def test_a_fresh_policy_is_nearly_uniform():
  language, _, _ = policy_of('rpn')
  network = token_policy.make(language, width=8)
  params = token_policy.init(network, language, jax.random.key(0))
  logits, _ = jax.jit(network.apply)(params, played_in('rpn').tokens[1, 0])
  assert 0 < np.abs(np.asarray(logits)).max() < 0.1
