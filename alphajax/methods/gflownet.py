"""GFlowNet: formulas drawn in proportion to their reward, as AlphaSAGE does.

An iteration draws a game for every trajectory from the policy, evaluates what
is new, and takes steps of trajectory balance on games of the replay. The reward
is the size of a formula's own IC on train and a bonus for behaving unlike the
pool, which fades as the run goes on.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.language import environment
from alphajax.methods import (
  archive,
  diagnosis,
  likeness,
  miner,
  recipe,
  stopping,
  validation,
)
from alphajax.methods.base import Market, Method
from alphajax.methods.learner import Learner
from alphajax.networks import heads
from alphajax.run.clock import Clock
from alphajax.search import evaluators, flows, replay, rollout

TRANSFORMS = ('power', 'exp')


class Agent(NamedTuple):
  """The policy, how it plays and learns.

  init: rng_key -> Learner.
  play: (learner, rng_key) -> `rollout.Rollout`.
  learn: (learner, rng_key, played, log R of the first games f32[N], whether
    they are the first of the run) -> (learner, metrics).
  """

  init: Callable
  play: Callable
  learn: Callable


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/gflownet.py`."""
  _check(config)
  language = environment.make(**config.language)
  bench = archive.make_bench(config, market)
  agent = make_agent(config, language)

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    mined, learner = state
    with clock('search'):
      played = jax.block_until_ready(agent.play(learner, play_key))
    formulas = stopping.within_budget(
      config, mined.book, environment.formulas_of(language, played.final_tokens)
    )
    bonus = novelty_weight(config, mined.iteration, len(mined.book))
    with clock('targets'):
      similar = np.zeros(len(formulas), np.float32)
      if bonus:
        similar = likeness.to_pool(bench, mined, formulas)
    mined, outcomes = archive.commit(bench, mined, formulas, clock)
    own = np.array([abs(outcome.own_ic) for outcome in outcomes])
    log_rewards = log_reward(config.gflownet, own, bonus * (1 - similar))
    with clock('update'):
      learner, fitted = agent.learn(
        learner, learn_key, played, log_rewards, not state.mined.iteration
      )
    mined, metrics = validation.validate(bench, mined, clock)
    log_forward = np.asarray(played.log_probs).sum(0)[: len(formulas)]
    return miner.State(mined, learner), {
      **metrics,
      **fitted,
      **diagnosis.diagnostics(log_forward, log_rewards, outcomes),
      'novelty': float(np.mean(1 - similar)) if bonus and formulas else None,
      'novelty_weight': bonus,
      'seconds': clock.seconds,
    }

  return miner.make_learning(config, bench, init=agent.init, step=step)


@recipe.made_once('network', 'training', 'gflownet', 'num_trajectories')
def make_agent(config, language: environment.Language) -> Agent:
  """The policy of a language, as config.network and config.training say."""
  network = heads.make(
    language, encoder=config.network.encoder, width=config.network.width
  )
  optimizer = make_optimizer(**config.training)
  apply_fn = functools.partial(heads.apply_batch, network)
  play = jax.jit(
    functools.partial(
      rollout.rollout,
      evaluator=evaluators.make(network, language),
      language=language,
      num_games=config.num_trajectories,
    )
  )
  fit = jax.jit(
    functools.partial(
      fit_flow,
      apply_fn=apply_fn,
      optimizer=optimizer,
      entropy=config.gflownet.entropy,
      batch_size=config.training.batch_size,
      num_updates=config.training.num_updates,
    )
  )
  estimate = jax.jit(
    lambda params, games: flows.estimated_log_z(params, apply_fn, games)
  )

  def init(rng_key):
    params = {
      'network': heads.init(network, language, rng_key),
      'log_z': jnp.zeros((), jnp.float32),
    }
    memory = replay.empty(config.training.replay_size, flows.row(language))
    return Learner(params, optimizer.init(params), memory)

  def learn(learner, rng_key, played, log_rewards, is_first):
    # Games beyond the budget of evaluations have no reward.
    count = len(log_rewards)
    padding = config.num_trajectories - count
    games = flows.games_of(
      played, jnp.pad(jnp.asarray(log_rewards), (0, padding))
    )
    if is_first:
      learner = with_log_z(learner, estimate, games, count)
    valid = jnp.arange(config.num_trajectories) < count
    learner, metrics = fit(learner, rng_key, games, valid)
    return learner, {name: float(value) for name, value in metrics.items()}

  return Agent(init, lambda x, key: play(x.params['network'], key), learn)


def with_log_z(learner: Learner, estimate, games, count: int) -> Learner:
  """Starts log Z where it suits the first games.

  From 0 on it would take hundreds of steps, in which balance is sought by
  making whatever was drawn more probable.
  """
  games = jax.tree.map(lambda x: x[:count], games)
  log_z = estimate(learner.params['network'], games)
  return learner._replace(params={**learner.params, 'log_z': log_z})


def novelty_weight(config, iteration: int, evaluated: int) -> float:
  """What novelty counts: from `novelty` down to 0 in a straight line.

  At 0 it is where the run ends: by its iterations, or by its budget of
  evaluated formulas, whichever comes first.

  Args:
    config: of the run.
    iteration: how many it has done.
    evaluated: formulas so far.
  """
  spent = iteration / config.num_iterations
  # The last batch that the budget has room for is the last of the line.
  before = config.max_evaluated - config.num_trajectories
  if before > 0:
    spent = max(spent, evaluated / before)
  return config.gflownet.novelty * max(1 - spent, 0.0)


def log_reward(options, own: np.ndarray, bonus: np.ndarray) -> np.ndarray:
  """log R of formulas, f32[N].

  own: |IC| of each; 0 without a value, and then novelty counts nothing.
  bonus: what is added to it.
  """
  worth = np.where(own > 0, own + bonus, 0.0)
  if options.transform == 'exp':
    return np.asarray(options.beta * worth, np.float32)
  floored = np.maximum(worth, options.floor)
  return np.asarray(options.beta * np.log(floored), np.float32)


def make_optimizer(*, learning_rate, log_z_rate, **_):
  """Adam, log Z with a rate of its own."""
  return optax.multi_transform(
    {'network': optax.adam(learning_rate), 'log_z': optax.adam(log_z_rate)},
    {'network': 'network', 'log_z': 'log_z'},
  )


def fit_flow(
  learner: Learner,
  rng_key: jax.Array,
  games: flows.Game,
  valid: jax.Array,
  *,
  apply_fn,
  optimizer: optax.GradientTransformation,
  entropy: float,
  batch_size: int,
  num_updates: int,
) -> tuple[Learner, dict[str, jax.Array]]:
  """Adds the valid games to the replay and takes steps on games of it."""
  memory = replay.add(learner.replay, games, valid)

  def update(carry, rng_key):
    params, opt_state = carry
    batch = replay.sample(memory, rng_key, batch_size)
    grads, metrics = jax.grad(flows.trajectory_balance_loss, has_aux=True)(
      params, apply_fn, batch, entropy=entropy
    )
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), metrics

  (params, opt_state), metrics = jax.lax.scan(
    update,
    (learner.params, learner.opt_state),
    jax.random.split(rng_key, num_updates),
  )
  learner = Learner(params, opt_state, memory)
  return learner, jax.tree.map(jnp.mean, metrics)


def _check(config) -> None:
  """Refuses options that cannot be, by their key."""
  options = config.gflownet
  if options.transform not in TRANSFORMS:
    raise ValueError(
      f'config.gflownet.transform is {options.transform!r}: expected one of '
      f'{TRANSFORMS}'
    )
  for name in ('beta', 'floor'):
    if options[name] <= 0:
      raise ValueError(
        f'config.gflownet.{name} is {options[name]}: expected > 0'
      )
  for name in ('novelty', 'entropy'):
    if options[name] < 0:
      raise ValueError(
        f'config.gflownet.{name} is {options[name]}: expected >= 0'
      )
