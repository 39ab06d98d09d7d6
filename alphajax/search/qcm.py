"""Distributional Q-learning of a language, with variance as a bonus (AlphaQCM).

Two networks learn by temporal differences, each beside a target network that
lags behind: one the mean return of an action, one its quantiles. The standard
deviation that the quantiles tell is added to the mean where actions are chosen.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from alphajax.language.environment import Language
from alphajax.networks import heads
from alphajax.search import moments, replay
from alphajax.search.evaluators import Evaluator
from alphajax.search.rollout import Rollout

EDGE = 1e-3  # Of levels: a normal quantile at 0 is infinite.


class Transition(NamedTuple):
  """A move, unbatched: a row of a replay."""

  tokens: jax.Array  # i32[L]
  action: jax.Array  # i32[]
  reward: jax.Array  # f32[] 0 unless the game is over.
  next_tokens: jax.Array  # i32[L]
  next_invalid: jax.Array  # bool[A]
  done: jax.Array  # bool[] the game is over after the move.
  priority: jax.Array  # f32[] size of its last error.


class Networks(NamedTuple):
  """What is learned, as functions of parameters.

  means: (params, tokens [B, L]) -> f32[B, A].
  quantiles: (params, tokens [B, L], levels [B, N] or [N]) -> f32[B, N, A].
  """

  means: Callable
  quantiles: Callable


class Settings(NamedTuple):
  """Numbers of the learning; see `configs/alphaqcm.py`."""

  batch_size: int
  num_updates: int
  discount: float
  kappa: float
  num_levels: int  # N, of the loss.
  num_target_levels: int  # N'
  num_moment_levels: int  # K, of moments and of greedy actions.
  priority_exponent: float  # 0: uniform.
  importance_exponent: float


class Learner(struct.PyTreeNode):
  """Parameters are {'means': ..., 'quantiles': ...}."""

  params: Any
  target: Any
  opt_state: Any
  replay: replay.Replay
  steps: jax.Array  # i32[] moves played.


def row(language: Language) -> Transition:
  """Zeros: what `replay.empty` is shaped by."""
  return Transition(
    tokens=jnp.zeros(language.max_tokens, jnp.int32),
    action=jnp.zeros((), jnp.int32),
    reward=jnp.zeros((), jnp.float32),
    next_tokens=jnp.zeros(language.max_tokens, jnp.int32),
    next_invalid=jnp.zeros(language.num_actions, bool),
    done=jnp.zeros((), bool),
    priority=jnp.zeros((), jnp.float32),
  )


def make_learner(
  params: Any,
  optimizer: optax.GradientTransformation,
  language: Language,
  replay_size: int,
) -> Learner:
  """A learner that has seen nothing; its target is itself."""
  return Learner(
    params=params,
    target=params,
    opt_state=optimizer.init(params),
    replay=replay.empty(replay_size, row(language)),
    steps=jnp.int32(0),
  )


def transitions_of(played: Rollout, rewards: jax.Array) -> Transition:
  """The moves of games, [M, B, ...]; those after the end are not active.

  rewards: f32[B] of the finished formulas.
  """
  chex.assert_shape(rewards, played.final_tokens.shape[:1])
  goes_on = jnp.concatenate(
    [played.active[1:], jnp.zeros_like(played.active[:1])]
  )
  invalid = played.invalid_actions
  return Transition(
    tokens=played.tokens,
    action=played.actions,
    reward=jnp.where(goes_on, 0.0, rewards[None, :].astype(jnp.float32)),
    next_tokens=jnp.concatenate([played.tokens[1:], played.final_tokens[None]]),
    next_invalid=jnp.concatenate([invalid[1:], jnp.zeros_like(invalid[:1])]),
    done=~goes_on,
    priority=jnp.zeros(played.active.shape, jnp.float32),
  )


def remember(learner: Learner, moves: Transition, valid: jax.Array) -> Learner:
  """Adds the valid moves `[M, B, ...]`, with the priority of the first.

  valid: bool[M, B].
  """
  most = jnp.max(learner.replay.rows.priority)
  most = jnp.where(most > 0, most, 1.0)
  moves = moves._replace(priority=jnp.broadcast_to(most, valid.shape))
  rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), moves)
  return learner.replace(
    replay=replay.add(learner.replay, rows, valid.reshape(-1)),
    steps=learner.steps + jnp.sum(valid, dtype=jnp.int32),
  )


def follow(learner: Learner, before: jax.Array, interval: int) -> Learner:
  """Brings the target up to date where the steps passed a multiple.

  before: the steps before the last games.
  """
  is_due = learner.steps // interval > before // interval
  target = jax.tree.map(
    lambda new, old: jnp.where(is_due, new, old), learner.params, learner.target
  )
  return learner.replace(target=target)


def worths(
  networks: Networks,
  params: Any,
  tokens: jax.Array,
  levels: jax.Array,
  *,
  bonus: float,
) -> tuple[jax.Array, jax.Array]:
  """(mean return + bonus * its deviation, mean return), f32[B, A] each.

  levels: f32[B, K] at which the quantiles are read for the deviation.
  """
  means = networks.means(params['means'], tokens)
  quantiles = networks.quantiles(params['quantiles'], tokens, levels)
  _, deviation, _, _ = jax.vmap(moments.quantiled_moments)(quantiles, levels)
  return means + bonus * deviation, means


def evaluator(
  networks: Networks, *, bonus: float, num_levels: int
) -> Evaluator:
  """Plays the best action but for a share of the moves, which are random.

  Parameters are `(params, share, rng_key)`. Its logits are the logarithms of
  that policy, so that a rollout draws it as any other, and its value is the
  largest mean return. Levels are drawn anew for every move of every game, so
  that games that are played side by side do not all go the same way.
  """

  def evaluate(prepared, states, moves):
    params, share, rng_key = prepared
    levels = jax.vmap(functools.partial(_draw_levels, rng_key, num_levels))(
      jnp.arange(moves.shape[0]), moves
    )
    worth, means = worths(networks, params, states.tokens, levels, bonus=bonus)
    invalid = states.invalid_actions
    best = jnp.argmax(heads.mask_logits(worth, invalid), axis=1)
    is_best = jnp.arange(worth.shape[1])[None, :] == best[:, None]
    count = jnp.sum(~invalid, axis=1, keepdims=True)
    policy = jnp.where(is_best, 1 - share, 0.0) + share / count
    tiny = jnp.finfo(policy.dtype).tiny
    logits = jnp.log(jnp.maximum(policy, tiny))
    value = jnp.max(heads.mask_logits(means, invalid), axis=1)
    return logits, value, moves

  def init(prepared, states):
    return evaluate(prepared, states, jnp.zeros(states.length.shape, jnp.int32))

  def step(prepared, moves, states, actions, after):
    del states, actions
    return evaluate(prepared, after, moves + 1)

  return Evaluator(lambda params: params, init, step)


def _draw_levels(rng_key, num_levels, game, move):
  """Levels of one move of one game, away from 0 and 1: f32[K]."""
  rng_key = jax.random.fold_in(jax.random.fold_in(rng_key, game), move)
  return jax.random.uniform(
    rng_key, (num_levels,), minval=EDGE, maxval=1 - EDGE
  )


def loss(
  params: Any,
  target: Any,
  networks: Networks,
  batch: Transition,
  weights: jax.Array,
  rng_key: jax.Array,
  settings: Settings,
) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
  """Quantile Huber loss of one network and squared error of the other.

  weights: f32[B] of the moves.

  Returns:
    (loss, (size of the quantiles' errors f32[B], metrics)).
  """
  size = batch.action.shape[0]
  own_key, next_key = jax.random.split(rng_key)
  levels = jax.random.uniform(own_key, (size, settings.num_levels))
  next_levels = jax.random.uniform(next_key, (size, settings.num_target_levels))
  left = settings.discount * (1.0 - batch.done)
  rows = jnp.arange(size)

  # A state's value is that of the best action that it allows.
  next_means = networks.means(target['means'], batch.next_tokens)
  next_mean = jnp.max(heads.mask_logits(next_means, batch.next_invalid), axis=1)
  mean_target = batch.reward + left * jnp.where(batch.done, 0.0, next_mean)
  means = networks.means(params['means'], batch.tokens)[rows, batch.action]
  mean_errors = jnp.square(means - jax.lax.stop_gradient(mean_target))

  targets = jax.lax.stop_gradient(
    _target_quantiles(target, networks, batch, next_levels, left, settings)
  )
  quantiles = networks.quantiles(params['quantiles'], batch.tokens, levels)
  quantiles = quantiles[rows, :, batch.action]
  quantile_losses = jax.vmap(
    lambda *args: moments.quantile_huber_loss(*args, kappa=settings.kappa)
  )(quantiles, levels, targets)
  mean_loss = jnp.mean(weights * mean_errors)
  quantile_loss = jnp.mean(weights * quantile_losses)
  sizes = jnp.abs(targets[:, None, :] - quantiles[:, :, None])
  errors = jnp.mean(jnp.sum(sizes, axis=1), axis=1)
  return mean_loss + quantile_loss, (
    errors,
    {
      'mean_loss': mean_loss,
      'quantile_loss': quantile_loss,
      'mean_return': jnp.mean(means),
    },
  )


def _target_quantiles(target, networks, batch, levels, left, settings):
  """Draws of the return after a move, f32[B, N']: of the best next action."""
  middle = jnp.asarray(moments.middles(settings.num_moment_levels))
  # One call reads the formula once for both sets of levels.
  both = jnp.concatenate(
    [jnp.broadcast_to(middle, (levels.shape[0], middle.shape[0])), levels], 1
  )
  quantiles = networks.quantiles(target['quantiles'], batch.next_tokens, both)
  means = jnp.mean(quantiles[:, : middle.shape[0]], axis=1)
  best = jnp.argmax(heads.mask_logits(means, batch.next_invalid), axis=1)
  drawn = quantiles[:, middle.shape[0] :]
  drawn = jnp.take_along_axis(drawn, best[:, None, None], axis=2)[..., 0]
  return batch.reward[:, None] + left[:, None] * drawn


def fit(
  learner: Learner,
  rng_key: jax.Array,
  *,
  networks: Networks,
  optimizer: optax.GradientTransformation,
  settings: Settings,
) -> tuple[Learner, dict[str, jax.Array]]:
  """Takes `num_updates` gradient steps on moves of the replay."""

  def update(carry, rng_key):
    params, opt_state, memory = carry
    sample_key, level_key = jax.random.split(rng_key)
    batch, places, weights = replay.sample_by_priority(
      memory,
      memory.rows.priority,
      sample_key,
      settings.batch_size,
      exponent=settings.priority_exponent,
      importance=settings.importance_exponent,
    )
    grads, (errors, metrics) = jax.grad(loss, has_aux=True)(
      params, learner.target, networks, batch, weights, level_key, settings
    )
    # A row that was drawn twice keeps the larger error, in whatever order.
    priority = memory.rows.priority.at[places].set(0.0)
    priority = priority.at[places].max(errors)
    memory = memory.replace(rows=memory.rows._replace(priority=priority))
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state, memory), metrics

  (params, opt_state, memory), metrics = jax.lax.scan(
    update,
    (learner.params, learner.opt_state, learner.replay),
    jax.random.split(rng_key, settings.num_updates),
  )
  learner = learner.replace(params=params, opt_state=opt_state, replay=memory)
  return learner, jax.tree.map(jnp.mean, metrics)
