"""A policy played through every language: probabilities, masks, contexts."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.networks import heads
from alphajax.search import evaluators
from alphajax.search import rollout as rollout_lib

LANGUAGES = ('sem_k', 'sem', 'syn', 'rpn')


@functools.cache
def language_of(name, max_length=5):
  return environment.make(name, max_length=max_length)


@functools.cache
def network_of(name, encoder='lstm', context_width=0):
  language = language_of(name)
  network = heads.make(
    language, encoder=encoder, width=8, context_width=context_width
  )
  params = jax.device_get(heads.init(network, language, jax.random.key(0)))
  # A fresh network is nearly uniform: its last layer says more here.
  layer = params['params']['policy']['Dense_2']
  layer['kernel'] = np.float32(20.0) * layer['kernel']
  return network, params


def play(name, params, evaluator, seed=0, num_games=8, **options):
  run = functools.partial(
    rollout_lib.rollout,
    evaluator=evaluator,
    language=language_of(name),
    num_games=num_games,
    **options,
  )
  return jax.device_get(jax.jit(run)(params, jax.random.key(seed)))


apply = jax.jit(lambda network, *args: network.apply(*args), static_argnums=0)


@functools.cache
def stepper():
  return jax.jit(environment.step)


def replayed(language, played, game):
  """The states of a game, played again by its actions."""
  state, states = jax.device_get(environment.init(language)), []
  for action in np.asarray(played.actions)[
    np.asarray(played.active)[:, game], game
  ]:
    states.append(state)
    state = jax.device_get(stepper()(language, state, action))
  return states, state


@pytest.mark.parametrize('name', LANGUAGES)
def test_records_the_games_that_it_plays(name):
  """Masks are kept, and log-probabilities are those of a slow softmax."""
  language = language_of(name)
  network, params = network_of(name)
  temperature = 0.5
  played = play(
    name, params, evaluators.make(network, language), temperature=temperature
  )
  moves = language.max_steps
  chex.assert_shape(played.tokens, (moves, 8, language.max_tokens))
  chex.assert_shape(played.invalid_actions, (moves, 8, language.num_actions))
  chex.assert_shape(
    (played.actions, played.log_probs, played.values, played.active), (moves, 8)
  )
  for game in range(8):
    states, last = replayed(language, played, game)
    assert last.terminated
    np.testing.assert_array_equal(played.final_tokens[game], last.tokens)
    for move, state in enumerate(states):
      np.testing.assert_array_equal(played.tokens[move, game], state.tokens)
      logits, value = jax.device_get(apply(network, params, state.tokens))
      valid = ~np.asarray(state.invalid_actions)
      np.testing.assert_array_equal(
        ~np.asarray(played.invalid_actions[move, game]), valid
      )
      action = int(played.actions[move, game])
      assert valid[action]
      x = np.asarray(logits, np.float64)[valid] / temperature
      expected = float(logits[action]) / temperature - np.log(np.exp(x).sum())
      np.testing.assert_allclose(
        played.log_probs[move, game], expected, atol=1e-5
      )
      np.testing.assert_allclose(played.values[move, game], value, atol=1e-6)
  ended = ~np.asarray(played.active)
  assert ended.any() and not np.asarray(played.log_probs)[ended].any()
  assert not np.asarray(played.values)[ended].any()
  for formula in environment.formulas_of(language, played.final_tokens):
    assert formula_lib.parse(str(formula)) == formula
    environment.derivation(language, formula)


def fixed(logits):
  """An evaluator with the same logits everywhere, its parameters the values."""

  def apply_fn(params, tokens):
    batch = tokens.shape[0]
    return jnp.tile(logits, (batch, 1)), jnp.broadcast_to(params, batch)

  return evaluators.from_apply(apply_fn)


def one_move():
  """A language of one move: the six features."""
  return language_of('sem_k', 0)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.0])
def test_actions_come_as_often_as_the_policy_says(temperature):
  language = one_move()
  logits = np.linspace(-1.0, 1.0, language.num_actions, dtype=np.float32)
  run = functools.partial(
    rollout_lib.rollout,
    evaluator=fixed(logits),
    language=language,
    num_games=20_000,
    temperature=temperature,
  )
  played = jax.device_get(jax.jit(run)(np.float32(0.25), jax.random.key(0)))
  valid = ~np.asarray(environment.init(language).invalid_actions)
  p = np.where(valid, np.exp(np.asarray(logits) / temperature), 0.0)
  p /= p.sum()
  counts = np.bincount(played.actions[0], minlength=len(p))
  # Within 5 standard deviations of a binomial count.
  spread = np.sqrt(20_000 * p * (1 - p))
  assert np.all(np.abs(counts - 20_000 * p) <= 5 * spread)
  np.testing.assert_allclose(
    played.log_probs[0], np.log(p[np.asarray(played.actions[0])]), atol=1e-5
  )
  np.testing.assert_array_equal(played.values[0], np.full(20_000, 0.25))


def test_greedy_takes_the_most_probable_of_the_valid_actions():
  network, params = network_of('rpn')
  evaluator = evaluators.make(network, language_of('rpn'))
  one = play('rpn', params, evaluator, greedy=True)
  two = play('rpn', params, evaluator, seed=5, greedy=True)
  chex.assert_trees_all_equal(one, two)
  states, _ = replayed(language_of('rpn'), one, 0)
  for move, state in enumerate(states):
    logits, _ = apply(network, params, state.tokens)
    best = np.argmax(np.where(state.invalid_actions, -np.inf, logits))
    assert one.actions[move, 0] == best
  cold = play('rpn', params, evaluator, temperature=1e-4)
  np.testing.assert_array_equal(cold.final_tokens, one.final_tokens)


def test_each_move_has_its_temperature():
  """Near 0 all games make the same move; before it, several."""
  language = language_of('sem_k')
  network, params = network_of('sem_k')
  schedule = np.full(language.max_steps, 1e-4, np.float32)
  schedule[0] = 1.0
  played = play(
    'sem_k', params, evaluators.make(network, language), num_games=32,
    temperature=schedule,
  )  # fmt: skip
  assert len(np.unique(played.actions[0])) > 1
  following = np.asarray(played.log_probs[1:])[np.asarray(played.active[1:])]
  assert following.size and np.abs(following).max() < 1e-2


def test_a_seed_repeats_and_another_differs():
  network, params = network_of('sem_k')
  evaluator = evaluators.make(network, language_of('sem_k'))
  one, two, other = (
    play('sem_k', params, evaluator, seed=seed) for seed in (3, 3, 4)
  )
  chex.assert_trees_all_equal(one, two)
  assert np.any(one.final_tokens != other.final_tokens)
  assert len(np.unique(one.final_tokens, axis=0)) > 1


def test_following_the_derivation_is_the_same_policy():
  """The incremental Tree-LSTM says what the whole one says."""
  language = language_of('sem_k')
  network, params = network_of('sem_k', 'tree_lstm')
  fast = evaluators.make(network, language)
  played = play('sem_k', params, fast)
  whole = play('sem_k', params, evaluators.from_network(network))
  assert np.mean(played.final_tokens == whole.final_tokens) > 0.9
  same = np.all(played.final_tokens == whole.final_tokens, axis=1)
  np.testing.assert_allclose(
    played.log_probs[:, same], whole.log_probs[:, same], atol=1e-4
  )


@pytest.mark.parametrize('encoder', ['lstm', 'tree_lstm'])
def test_each_game_has_its_own_context(encoder):
  """A game of one of several contexts is as if all games had that one."""
  language = language_of('sem_k')
  network, params = network_of('sem_k', encoder, 3)
  evaluator = evaluators.make(network, language)
  assert network.is_incremental == (encoder == 'tree_lstm')
  several = 3.0 * np.random.default_rng(9).normal(size=(8, 3))
  several = several.astype(np.float32)
  mixed = play('sem_k', (params, several), evaluator)
  for game in (0, 5):
    alike = np.broadcast_to(several[game], (8, 3))
    alone = play('sem_k', (params, alike), evaluator)
    np.testing.assert_array_equal(
      alone.final_tokens[game], mixed.final_tokens[game]
    )
    np.testing.assert_allclose(
      alone.log_probs[:, game], mixed.log_probs[:, game], atol=1e-5
    )
    # The start is one and the same; the opinion of it is the context's.
    others = np.delete(np.asarray(mixed.values[0]), game)
    assert np.abs(others - alone.values[0, game]).min() > 1e-5


def test_a_gradient_flows_back_from_the_log_probabilities():
  """Of a softmax over the valid actions: one minus p, or minus p."""
  language = one_move()
  valid = ~np.asarray(environment.init(language).invalid_actions)

  def total(logits):
    played = rollout_lib.rollout(
      jnp.float32(0.0), jax.random.key(0), evaluator=fixed(logits),
      language=language, num_games=1,
    )  # fmt: skip
    return jnp.sum(played.log_probs), played.actions[0, 0]

  logits = np.linspace(0.0, 1.0, language.num_actions, dtype=np.float32)
  gradient, action = jax.jit(jax.grad(total, has_aux=True))(logits)
  p = np.where(valid, np.exp(logits), 0.0)
  expected = -p / p.sum()
  expected[action] += 1.0
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_compiles_once_and_vmaps_over_parameters():
  language = language_of('rpn')
  network, params = network_of('rpn')
  evaluator = evaluators.make(network, language)

  @jax.jit
  @chex.assert_max_traces(n=1)
  def run(params, rng_key):
    return rollout_lib.rollout(
      params, rng_key, evaluator=evaluator, language=language, num_games=4
    )

  one = run(params, jax.random.key(0))
  other = jax.tree.map(lambda x: np.float32(0.5) * x, params)
  two = run(other, jax.random.key(1))
  both = jax.tree.map(lambda *x: np.stack(x), params, other)
  keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
  many = jax.jit(jax.vmap(run))(both, keys)
  for i, single in enumerate((one, two)):
    np.testing.assert_array_equal(many.final_tokens[i], single.final_tokens)
    np.testing.assert_allclose(many.log_probs[i], single.log_probs, atol=1e-5)
