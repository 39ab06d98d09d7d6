"""AlphaQCM: distributional Q-learning of formulas, variance as a bonus.

An iteration plays a game for every trajectory, at every move the action of the
largest mean return and deviation, or at times a random one; evaluates what is
new; and takes steps of Q-learning on moves of the replay. A game returns what
its formula was worth and nothing before, by default the IC of the pool after
it, as published.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.language import environment
from alphajax.methods import (
  alphacfg,
  archive,
  miner,
  rewards,
  stopping,
  validation,
)
from alphajax.methods.base import Market, Method
from alphajax.networks import heads
from alphajax.networks import quantiles as quantile_networks
from alphajax.run.clock import Clock
from alphajax.search import qcm, rollout


class State(NamedTuple):
  """What was found, and the networks that find it."""

  mined: archive.Mined
  learner: qcm.Learner


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphaqcm.py`."""
  _check(config)
  language = environment.make(**config.language)
  bench = archive.make_bench(config, market)
  networks, init_params = make_networks(config.network, language)
  training = config.training
  # The epsilon of Adam is that of AlphaQCM's released code.
  optimizer = optax.adam(training.learning_rate, eps=0.01 / training.batch_size)
  play = jax.jit(
    functools.partial(
      rollout.rollout,
      evaluator=qcm.evaluator(
        networks,
        bonus=config.qcm.bonus,
        num_levels=config.qcm.num_moment_levels,
      ),
      language=language,
      num_games=config.num_trajectories,
    )
  )
  remember = jax.jit(
    lambda learner, played, worths, valid: qcm.remember(
      learner, qcm.transitions_of(played, worths), valid & played.active
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

  def init(rng_key):
    learner = qcm.make_learner(
      init_params(rng_key), optimizer, language, training.replay_size
    )
    return State(archive.start(bench), learner)

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    mined, learner = state
    before = int(learner.steps)
    share = random_share(config.qcm, before)
    with clock('search'):
      played = jax.block_until_ready(
        play((learner.params, jnp.float32(share)), play_key)
      )
    formulas = stopping.within_budget(
      config, mined.book, environment.formulas_of(language, played.final_tokens)
    )
    mined, outcomes = archive.commit(bench, mined, formulas, clock)
    worths = np.zeros(config.num_trajectories, np.float32)
    worths[: len(formulas)] = worths_of(config.value, bench, outcomes)
    fitted = {}
    with clock('update'):
      # Games beyond the budget of evaluations are worth nothing known.
      valid = jnp.arange(config.num_trajectories) < len(formulas)
      learner = remember(learner, played, worths, valid)
      if int(learner.steps) >= config.qcm.start_steps:
        learner, fitted = fit(learner, learn_key)
      learner = follow(learner, jnp.int32(before))
    mined, metrics = validation.validate(bench, mined, clock)
    predicted = alphacfg.learned(played, np.asarray(played.values))
    return State(mined, learner), {
      **metrics,
      **{name: float(value) for name, value in fitted.items()},
      **alphacfg.diagnostics(
        predicted[: len(formulas)], worths[: len(formulas)], outcomes
      ),
      'random_share': share,
      'steps': int(learner.steps),
      'seconds': clock.seconds,
    }

  def save(state):
    arrays, host = archive.save(state.mined)
    return {'mined': arrays, 'learner': state.learner}, host

  def load(arrays, host):
    return State(archive.load(bench, arrays['mined'], host), arrays['learner'])

  return miner.make(config, init=init, step=step, save=save, load=load)


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


def worths_of(options, bench: archive.Bench, outcomes) -> list[float]:
  """What formulas return, scaled."""
  return [
    0.0
    if options.duplicates == 'nothing' and not outcome.is_new
    else options.scale
    * rewards.of_outcome(outcome, options.reward, bench.objective)
    for outcome in outcomes
  ]


def _check(config) -> None:
  """Refuses options that cannot be, by their key."""
  for name, choices in (
    ('reward', alphacfg.REWARDS),
    ('duplicates', alphacfg.DUPLICATES),
  ):
    if config.value[name] not in choices:
      raise ValueError(
        f'config.value.{name} is {config.value[name]!r}: expected one of '
        f'{choices}'
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
