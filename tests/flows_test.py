"""Trajectory balance against exact distributions of a language read whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alphajax.language import environment
from alphajax.methods import gflownet
from alphajax.methods.learner import Learner
from alphajax.networks import heads
from alphajax.search import evaluators, flows, replay, rollout

LANGUAGES = {
  'rpn': {'max_length': 4, 'features': ('close', 'open')},
  'sem_k': {'max_length': 3, 'features': ('close', 'open')},
}
SMALL = {'operators': ('Abs', 'Add'), 'constants': (), 'windows': ()}


def language_of(name):
  return environment.make(name, **LANGUAGES[name], **SMALL)


def everything(language):
  """All games of a language, [N, ...], and the tokens that they end in."""
  moves = language.max_steps
  found, final = [], []

  def play(state, steps):
    if state.terminated or len(steps) == moves:
      pad = [(state, 0)] * (moves - len(steps))
      states, actions = zip(*steps, *pad, strict=True)
      found.append(
        flows.Game(
          np.stack([s.tokens for s in states]),
          np.stack([s.invalid_actions for s in states]),
          np.array(actions, np.int32),
          np.arange(moves) < len(steps),
          np.float32(0),
        )
      )
      final.append(np.asarray(state.tokens))
      return
    for action in np.flatnonzero(~np.asarray(state.invalid_actions)).tolist():
      play(step(state, action), [*steps, (state, action)])

  step = jax.jit(functools.partial(environment.step, language))
  play(jax.device_get(environment.init(language)), [])
  return jax.tree.map(lambda *x: np.stack(x), *found), np.stack(final)


def log_reward_of(tokens):
  """log R of formulas [N, L]: any function of the tokens, from -2 to 2."""
  places = jnp.arange(1, tokens.shape[-1] + 1)
  return 2.0 * jnp.sin(jnp.sum(tokens * tokens * places, axis=-1) * 1.3)


@functools.cache
def trained(name):
  """Trained on that reward alone: (language, the policy as a function, its
  parameters before, the learner after, losses).
  """
  language = language_of(name)
  network = heads.make(language, encoder='flat.make', width=32)
  apply_fn = functools.partial(heads.apply_batch, network)
  params = {
    'network': heads.init(network, language, jax.random.key(0)),
    'log_z': jnp.float32(0),
  }
  optimizer = gflownet.make_optimizer(learning_rate=5e-3, log_z_rate=0.1)
  memory = replay.empty(256, flows.row(language))
  evaluator = evaluators.make(network, language)

  def iteration(learner, rng_key):
    play_key, fit_key = jax.random.split(rng_key)
    played = rollout.rollout(
      learner.params['network'],
      play_key,
      evaluator=evaluator,
      language=language,
      num_games=32,
    )
    games = flows.games_of(played, log_reward_of(played.final_tokens))
    return gflownet.fit_flow(
      learner,
      fit_key,
      games,
      jnp.ones(32, bool),
      apply_fn=apply_fn,
      optimizer=optimizer,
      entropy=0.0,
      batch_size=32,
      num_updates=2,
    )

  learner = Learner(params, optimizer.init(params), memory)
  keys = jax.random.split(jax.random.key(1), 400)
  learner, metrics = jax.jit(lambda x, k: jax.lax.scan(iteration, x, k))(
    learner, keys
  )
  return language, apply_fn, params, learner, metrics


@pytest.mark.parametrize('name', LANGUAGES)
def test_formulas_come_as_often_as_they_are_worth(name):
  """The trained policy is R / Z, computed exactly over all formulas."""
  language, apply_fn, untrained, learner, metrics = trained(name)
  games, final = everything(language)
  assert len(np.unique(final, axis=0)) == len(final) > 20
  log_reward = np.asarray(log_reward_of(final), np.float64)
  target = np.exp(log_reward) / np.exp(log_reward).sum()

  def distance(params):
    log_forward, _ = flows.forward_flow(params, apply_fn, games)
    drawn = np.exp(np.asarray(log_forward, np.float64))
    np.testing.assert_allclose(drawn.sum(), 1.0, atol=1e-5)
    return 0.5 * np.abs(drawn - target).sum()

  assert distance(untrained['network']) > 0.3
  assert distance(learner.params['network']) < 0.03
  log_z = np.log(np.exp(log_reward).sum())
  np.testing.assert_allclose(learner.params['log_z'], log_z, atol=0.05)
  losses = np.asarray(metrics['balance_loss'])
  assert losses[-50:].mean() < 0.01 < losses[:5].mean()


def test_the_loss_against_a_slow_sum():
  language = language_of('rpn')
  games, final = everything(language)
  rng = np.random.default_rng(0)
  # Logits that a table gives, by the tokens.
  weights = rng.normal(size=(language.max_tokens, language.num_actions))
  games = games._replace(
    log_reward=rng.normal(size=len(final)).astype(np.float32)
  )

  def apply_fn(params, tokens):
    return params * (tokens @ weights), jnp.zeros(len(tokens))

  params = {'network': jnp.float32(0.3), 'log_z': jnp.float32(1.7)}
  loss, metrics = flows.trajectory_balance_loss(
    params, apply_fn, games, entropy=0.2
  )
  residuals, entropies = [], []
  for n in range(len(final)):
    log_forward = entropy = 0.0
    for move in np.flatnonzero(games.active[n]):
      logits = 0.3 * (games.tokens[n, move] @ weights)
      logits = logits[~games.invalid_actions[n, move]]
      policy = np.exp(logits) / np.exp(logits).sum()
      chosen = 0.3 * (games.tokens[n, move] @ weights)[games.actions[n, move]]
      log_forward += chosen - np.log(np.exp(logits).sum())
      entropy -= (policy * np.log(policy)).sum()
    entropies.append(entropy)
    residuals.append(1.7 + log_forward - games.log_reward[n] - 0.2 * entropy)
  np.testing.assert_allclose(loss, np.square(residuals).mean(), rtol=1e-5)
  np.testing.assert_allclose(
    metrics['game_entropy'], np.mean(entropies), rtol=1e-5
  )


def test_log_z_starts_where_it_suits_the_games():
  language, apply_fn, params, _, _ = trained('rpn')
  games, final = everything(language)
  games = games._replace(log_reward=np.asarray(log_reward_of(final)))
  log_z = flows.estimated_log_z(params['network'], apply_fn, games)

  def loss(log_z):
    return flows.trajectory_balance_loss(
      {'network': params['network'], 'log_z': log_z},
      apply_fn,
      games,
      entropy=0.0,
    )[0]

  np.testing.assert_allclose(jax.grad(loss)(log_z), 0.0, atol=1e-4)


def test_log_z_has_a_rate_of_its_own():
  optimizer = gflownet.make_optimizer(learning_rate=1e-3, log_z_rate=0.5)
  params = {'network': jnp.ones(2), 'log_z': jnp.float32(0)}
  updates, _ = optimizer.update(
    jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
  )
  moved = optax.apply_updates(params, updates)
  np.testing.assert_allclose(moved['network'], 1 - 1e-3, rtol=1e-4)
  np.testing.assert_allclose(moved['log_z'], -0.5, rtol=1e-4)
