"""AlphaQCM: distributional Q-learning of formulas, variance as a bonus.

An iteration plays a game for every trajectory, at every move the action of the
largest mean return and deviation, or at times a random one; evaluates what is
new; and takes steps of Q-learning on moves of the replay. A game returns what
its formula was worth and nothing before, by default the IC of the pool after
it, as published.
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
  alphacfg,
  archive,
  diagnosis,
  miner,
  recipe,
  rewards,
  stopping,
  validation,
)
from alphajax.methods.base import Market, Method
from alphajax.networks import heads
from alphajax.networks import quantiles as quantile_networks
from alphajax.run.clock import Clock
from alphajax.search import qcm, rollout


class Agent(NamedTuple):
  """The networks, how they play and learn.

  init: rng_key -> `qcm.Learner`.
  play: (learner, rng_key, share of random moves) -> `rollout.Rollout`.
  learn: (learner, rng_key, played, what the first games were worth f32[N]) ->
    (learner, metrics).
  """

  init: Callable
  play: Callable
  learn: Callable


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphaqcm.py`."""
  _check(config)
  language = environment.make(**config.language)
  bench = archive.make_bench(config, market)
  agent = make_agent(config, language)

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    mined, learner = state
    share = random_share(config.qcm, int(learner.steps))
    with clock('search'):
      played = jax.block_until_ready(agent.play(learner, play_key, share))
    formulas = stopping.within_budget(
      config, mined.book, environment.formulas_of(language, played.final_tokens)
    )
    mined, outcomes = archive.commit(bench, mined, formulas, clock)
    worths = worths_of(config.value, bench, outcomes)
    with clock('update'):
      learner, fitted = agent.learn(learner, learn_key, played, worths)
    mined, metrics = validation.validate(bench, mined, clock)
    predicted = diagnosis.learned(played, np.asarray(played.values))
    return miner.State(mined, learner), {
      **metrics,
      **fitted,
      **diagnosis.diagnostics(predicted[: len(formulas)], worths, outcomes),
      'random_share': share,
      'steps': int(learner.steps),
      'seconds': clock.seconds,
    }

  return miner.make_learning(config, bench, init=agent.init, step=step)


@recipe.made_once('network', 'training', 'qcm', 'num_trajectories')
def make_agent(config, language: environment.Language) -> Agent:
  """The networks of a language, as the config says."""
  networks, init_params = make_networks(config.network, language)
  training, options = config.training, config.qcm
  # The epsilon of Adam is that of AlphaQCM's released code.
  optimizer = optax.adam(training.learning_rate, eps=0.01 / training.batch_size)
  evaluator = qcm.evaluator(
    networks, bonus=options.bonus, num_levels=options.num_moment_levels
  )
  play_from = jax.jit(
    functools.partial(
      rollout.rollout,
      evaluator=evaluator,
      language=language,
      num_games=config.num_trajectories,
    )
  )
  fit = jax.jit(
    functools.partial(
      qcm.fit,
      networks=networks,
      optimizer=optimizer,
      settings=settings_of(config),
    )
  )
  follow = jax.jit(
    functools.partial(qcm.follow, interval=training.target_interval)
  )

  @jax.jit
  def remember(learner, played, worths, valid):
    moves = qcm.transitions_of(played, worths)
    return qcm.remember(learner, moves, valid[None] & played.active)

  def init(rng_key):
    return qcm.make_learner(
      init_params(rng_key), optimizer, language, training.replay_size
    )

  def play(learner, rng_key, share):
    level_key, act_key = jax.random.split(rng_key)
    return play_from((learner.params, jnp.float32(share), level_key), act_key)

  def learn(learner, rng_key, played, worths):
    # What games beyond the budget of evaluations are worth is not known.
    count, before, metrics = len(worths), learner.steps, {}
    padded = jnp.pad(jnp.asarray(worths), (0, config.num_trajectories - count))
    valid = jnp.arange(config.num_trajectories) < count
    learner = remember(learner, played, padded, valid)
    if int(learner.steps) >= options.start_steps:
      learner, metrics = fit(learner, rng_key)
    learner = follow(learner, before)
    return learner, {name: float(value) for name, value in metrics.items()}

  return Agent(init, play, learn)


def make_networks(options, language: environment.Language):
  """Two networks of a language: (`qcm.Networks`, rng_key -> parameters)."""
  kind = {'encoder': options.encoder, 'width': options.width}
  # Of a policy-value network the logits: here they are mean returns.
  means = heads.make(language, **kind)
  quantiles = quantile_networks.make(
    language, **kind, num_cosines=options.num_cosines
  )

  def init(rng_key):
    mean_key, quantile_key = jax.random.split(rng_key)
    tokens = jnp.zeros(language.max_tokens, jnp.int32)
    return {
      'means': heads.init(means, language, mean_key),
      'quantiles': jax.jit(quantiles.init)(quantile_key, tokens, jnp.zeros(1)),
    }

  return qcm.Networks(
    means=lambda params, tokens: heads.apply_batch(means, params, tokens)[0],
    quantiles=functools.partial(quantile_networks.apply_batch, quantiles),
  ), init


def settings_of(config) -> qcm.Settings:
  """The numbers that the learning reads."""
  options, training = config.qcm, config.training
  return qcm.Settings(
    batch_size=training.batch_size,
    num_updates=training.num_updates,
    discount=options.discount,
    kappa=options.kappa,
    num_levels=options.num_levels,
    num_target_levels=options.num_target_levels,
    num_moment_levels=options.num_moment_levels,
    priority_exponent=training.priority_exponent,
    importance_exponent=training.importance_exponent,
  )


def random_share(options, steps: int) -> float:
  """Share of the moves that are random: all at first, then ever fewer."""
  if steps < options.start_steps:
    return 1.0
  done = min(steps / options.random_decay_steps, 1.0)
  return 1.0 + done * (options.random_share - 1.0)


def worths_of(options, bench: archive.Bench, outcomes) -> np.ndarray:
  """What formulas return, scaled, f32[N]."""
  pays = [
    outcome.is_new or options.duplicates == 'same' for outcome in outcomes
  ]
  reward = rewards.reward_of(options.reward)
  worths = [reward(outcome, bench.objective) for outcome in outcomes]
  scaled = np.float32(options.scale) * np.asarray(worths, np.float32)
  return np.where(np.array(pays, bool), scaled, np.float32(0))


def _check(config) -> None:
  """Refuses options that cannot be, by their key."""
  rewards.reward_of(config.value.reward)
  if config.value.duplicates not in alphacfg.DUPLICATES:
    raise ValueError(
      f'config.value.duplicates is {config.value.duplicates!r}: expected one '
      f'of {alphacfg.DUPLICATES}'
    )
  options = config.qcm
  for name in ('kappa', 'random_decay_steps'):
    if options[name] <= 0:
      raise ValueError(f'config.qcm.{name} is {options[name]}: expected > 0')
  for name in ('discount', 'random_share'):
    if not 0 <= options[name] <= 1:
      raise ValueError(
        f'config.qcm.{name} is {options[name]}: expected a number from 0 to 1'
      )
  if options.num_moment_levels < 4:
    raise ValueError(
      f'config.qcm.num_moment_levels is {options.num_moment_levels}: expected '
      '>= 4, as many as there are moments'
    )
  if config.training.target_interval < 1:
    raise ValueError(
      f'config.training.target_interval is {config.training.target_interval}: '
      'expected >= 1'
    )
