"""Distributional Q-learning: what is kept, what is played, a task solved."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from alphajax.language import environment
from alphajax.methods import alphaqcm
from alphajax.search import evaluators, moments, qcm, rollout

LANGUAGE = environment.make(
  'rpn',
  max_length=4,
  features=('close', 'open'),
  operators=('Abs', 'Add'),
  constants=(),
  windows=(),
)
SGD = optax.sgd(0.1)
SETTINGS = qcm.Settings(
  batch_size=64,
  num_updates=4,
  discount=1.0,
  kappa=1.0,
  num_levels=8,
  num_target_levels=8,
  num_moment_levels=8,
  priority_exponent=0.6,
  importance_exponent=0.4,
)


NETWORKS, init_params = alphaqcm.make_networks(
  ConfigDict({'encoder': 'flat.make', 'width': 32, 'num_cosines': 8}), LANGUAGE
)


@functools.cache
def make_learner(optimizer=SGD, replay_size=2048):
  params = init_params(jax.random.key(0))
  make = functools.partial(
    qcm.make_learner,
    optimizer=optimizer, language=LANGUAGE, replay_size=replay_size,
  )  # fmt: skip
  return jax.jit(make)(params)


def play(params, share, rng_key, num_games=32, bonus=0.0):
  return rollout.rollout(
    (params, jnp.float32(share), jax.random.fold_in(rng_key, 1)),
    rng_key,
    evaluator=qcm.evaluator(NETWORKS, bonus=bonus, num_levels=8),
    language=LANGUAGE,
    num_games=num_games,
  )


def worth_of(tokens):
  """Reward of formulas [N, L]: any function of the tokens, from -1 to 1."""
  places = jnp.arange(1, tokens.shape[-1] + 1)
  return jnp.sin(jnp.sum(tokens * tokens * places, axis=-1) * 1.3)


def test_moves_of_games():
  evaluator = evaluators.from_apply(
    lambda params, tokens: (
      jnp.zeros((len(tokens), LANGUAGE.num_actions)),
      jnp.zeros(len(tokens)),
    )
  )
  play_random = functools.partial(
    rollout.rollout, evaluator=evaluator, language=LANGUAGE, num_games=9
  )
  played = jax.jit(play_random)((), jax.random.key(0))
  played = jax.device_get(played)
  rewards = np.arange(1.0, 10.0, dtype=np.float32)
  moves = jax.device_get(jax.jit(qcm.transitions_of)(played, rewards))
  step = jax.jit(functools.partial(environment.step, LANGUAGE))
  start = jax.device_get(environment.init(LANGUAGE))
  for game in range(9):
    state = start
    count = int(played.active[:, game].sum())
    for n in range(count):
      one = jax.tree.map(lambda x, n=n, g=game: x[n, g], moves)
      np.testing.assert_array_equal(one.tokens, state.tokens)
      state = jax.device_get(step(state, one.action))
      np.testing.assert_array_equal(one.next_tokens, state.tokens)
      assert bool(one.done) == bool(state.terminated) == (n == count - 1)
      assert float(one.reward) == (game + 1 if n == count - 1 else 0)
      if not one.done:
        np.testing.assert_array_equal(one.next_invalid, state.invalid_actions)


def test_the_target_follows_every_so_many_moves():
  learner = jax.device_get(make_learner())
  moved = learner.replace(params=jax.tree.map(lambda x: x + 1, learner.params))
  follow = jax.jit(qcm.follow, static_argnums=2)
  for before, after, is_due in ((0, 99, 0), (90, 100, 1), (100, 199, 0)):
    now = follow(moved.replace(steps=np.int32(after)), before, 100)
    expected = moved.params if is_due else learner.params
    chex.assert_trees_all_equal(now.target, expected)
    chex.assert_trees_all_equal(now.params, moved.params)


def test_new_moves_have_the_priority_of_the_first():
  learner = make_learner()
  moves = jax.tree.map(
    lambda x: np.zeros((2, 3, *x.shape), x.dtype), qcm.row(LANGUAGE)
  )
  valid = np.array([[True, False, True], [True, False, False]])
  remember = jax.jit(qcm.remember)
  learner = jax.device_get(remember(learner, moves, valid))
  assert int(learner.steps) == int(learner.replay.size) == 3
  priority = learner.replay.rows.priority
  np.testing.assert_array_equal(priority[:4], [1, 1, 1, 0])
  priority = np.where(np.arange(len(priority)) == 1, 2.5, priority)
  rows = learner.replay.rows._replace(priority=priority.astype(np.float32))
  learner = learner.replace(replay=learner.replay.replace(rows=rows))
  learner = jax.device_get(remember(learner, moves, valid))
  priority = learner.replay.rows.priority
  np.testing.assert_array_equal(priority[:7], [1, 2.5, 1, 2.5, 2.5, 2.5, 0])


@jax.jit
def read_of(params, tokens, rng_key):
  """Means of the actions at one state and their deviations, f32[A] each."""
  levels = qcm._draw_levels(rng_key, 8, 0, 0)
  [means] = NETWORKS.means(params['means'], tokens)
  [quantiles] = NETWORKS.quantiles(params['quantiles'], tokens, levels)
  _, deviation, *_ = moments.quantiled_moments(quantiles, levels)
  return means, deviation


@pytest.mark.parametrize('bonus', [0.0, 3.0])
def test_the_policy_is_the_best_action_and_a_share_of_chance(bonus):
  params = make_learner().params
  state = environment.starts(LANGUAGE, 1)
  each = qcm.evaluator(NETWORKS, bonus=bonus, num_levels=8)
  rng_key = jax.random.key(3)
  logits, value, _ = jax.jit(each.init)((params, 0.3, rng_key), state)
  means, deviation = jax.device_get(read_of(params, state.tokens, rng_key))
  valid = ~np.asarray(state.invalid_actions[0])
  worth = np.where(valid, means + bonus * deviation, -np.inf)
  expected = np.where(np.arange(len(worth)) == worth.argmax(), 0.7, 0.0)
  expected = np.where(valid, expected + 0.3 / valid.sum(), 0.0)
  policy = np.where(valid, np.exp(np.asarray(logits[0])), 0.0)
  np.testing.assert_allclose(policy, expected, rtol=1e-5)
  np.testing.assert_allclose(value[0], means[valid].max(), rtol=1e-5)


def test_levels_are_of_a_game_and_a_move():
  draw = functools.partial(qcm._draw_levels, jax.random.key(0), 6)
  drawn = np.array([draw(*place) for place in ((0, 0), (0, 1), (1, 0))])
  assert len(np.unique(drawn)) == 18
  assert qcm.EDGE <= drawn.min() and drawn.max() <= 1 - qcm.EDGE
  np.testing.assert_array_equal(draw(1, 0), drawn[2])


def test_targets_take_the_best_allowed_action_and_stop_at_the_end():
  """Tables in place of networks; action 0 is the best and is forbidden."""
  best = np.arange(LANGUAGE.num_actions, 0.0, -1.0, dtype=np.float32)
  networks = qcm.Networks(
    means=lambda params, tokens: jnp.tile(best, (len(tokens), 1)),
    quantiles=lambda params, tokens, levels: (
      jnp.zeros((*levels.shape, 1)) + best + levels[..., None]
    ),
  )
  row = jax.device_get(qcm.row(LANGUAGE))
  batch = jax.tree.map(lambda x: np.stack([x, x]), row)
  batch.next_invalid[:, 0] = True
  batch = batch._replace(
    reward=np.array([0.0, 0.25], np.float32), done=np.array([False, True])
  )
  levels = np.array([[0.1, 0.6], [0.2, 0.9]], np.float32)
  target_quantiles = jax.jit(
    lambda batch, levels: qcm._target_quantiles(
      {'quantiles': ()}, networks, batch, levels, 0.5 * (1.0 - batch.done),
      SETTINGS,
    )
  )  # fmt: skip
  targets = target_quantiles(batch, levels)
  second = float(best[1])
  expected = [[0.5 * (second + 0.1), 0.5 * (second + 0.6)], [0.25, 0.25]]
  np.testing.assert_allclose(targets, expected, rtol=1e-5)


@functools.cache
def trained():
  """The learner after some thousand games of a task with one best formula."""
  optimizer = optax.adam(5e-3)

  def iteration(learner, inputs):
    number, rng_key = inputs
    play_key, fit_key = jax.random.split(rng_key)
    share = jnp.maximum(1.0 - number / 60, 0.1)
    played = play(learner.params, share, play_key, bonus=0.3)
    before = learner.steps
    moves = qcm.transitions_of(played, worth_of(played.final_tokens))
    learner = qcm.remember(learner, moves, played.active)
    learner, metrics = qcm.fit(
      learner,
      fit_key,
      networks=NETWORKS,
      optimizer=optimizer,
      settings=SETTINGS,
    )
    return qcm.follow(learner, before, 300), metrics

  run = jax.jit(functools.partial(jax.lax.scan, iteration))
  keys = jax.random.split(jax.random.key(2), 120)
  return run(make_learner(optimizer), (jnp.arange(120.0), keys))


def test_a_small_task_is_solved():
  """The greedy game ends in the best formula of the language, in no other."""
  learner, metrics = jax.device_get(trained())
  played = jax.jit(functools.partial(play, num_games=1))(
    learner.params, 0.0, jax.random.key(0)
  )
  played = jax.device_get(played)
  everything = environment.random_tokens(LANGUAGE, jax.random.key(5), 2000)
  everything = np.unique(everything, axis=0)
  assert len(everything) == 24  # All that there are.
  both = jax.jit(worth_of)(np.concatenate([everything, played.final_tokens]))
  *worths, reached = np.asarray(both)
  most = float(max(worths))
  np.testing.assert_allclose(reached, most)
  # The mean return at the start is that of the best formula.
  np.testing.assert_allclose(played.values[0, 0], most, atol=0.1)
  assert np.isfinite(metrics['quantile_loss']).all()
  # So is every quantile: the task is certain.
  tokens = environment.init(LANGUAGE).tokens
  levels = np.asarray(moments.middles(8))
  params = learner.params['quantiles']
  read = jax.jit(NETWORKS.quantiles)
  [quantiles] = np.asarray(read(params, np.asarray(tokens)[None], levels))
  quantiles = quantiles[:, played.actions[0, 0]]
  np.testing.assert_allclose(quantiles.mean(), most, atol=0.15)
