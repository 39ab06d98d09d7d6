"""Trajectory balance: formulas drawn as often as they are worth (GFlowNet).

A policy that writes a formula x with probability R(x) / Z, for every x, has
`log Z + log P_F = log R + log P_B` on every game (Malkin et al. 2022). Here the
backward policy P_B is 1: a state of RPN is the tokens so far and has one
parent, that without the last, and so has a state of a leftmost derivation. The
states form a tree, and there is nothing to learn of the way back. Where an
ambiguous grammar has several derivations of a formula, each counts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from alphajax.language.environment import Language
from alphajax.networks import heads
from alphajax.search.rollout import Rollout


class Game(NamedTuple):
  """A finished game, unbatched: a row of a replay. M moves at most."""

  tokens: jax.Array  # i32[M, L] before the move.
  invalid_actions: jax.Array  # bool[M, A]
  actions: jax.Array  # i32[M]
  active: jax.Array  # bool[M]
  log_reward: jax.Array  # f32[] log R of the formula that it ended in.


def row(language: Language) -> Game:
  """Zeros: what `replay.empty` is shaped by."""
  moves = language.max_steps
  return Game(
    tokens=jnp.zeros((moves, language.max_tokens), jnp.int32),
    invalid_actions=jnp.zeros((moves, language.num_actions), bool),
    actions=jnp.zeros(moves, jnp.int32),
    active=jnp.zeros(moves, bool),
    log_reward=jnp.zeros((), jnp.float32),
  )


def games_of(played: Rollout, log_rewards: jax.Array) -> Game:
  """The games of a rollout `[B, ...]`, with log R of each, f32[B]."""
  chex.assert_shape(log_rewards, played.final_tokens.shape[:1])
  return Game(
    tokens=played.tokens.swapaxes(0, 1),
    invalid_actions=played.invalid_actions.swapaxes(0, 1),
    actions=played.actions.swapaxes(0, 1),
    active=played.active.swapaxes(0, 1),
    log_reward=jnp.asarray(log_rewards, jnp.float32),
  )


def forward_flow(
  params: Any, apply_fn: Callable, games: Game
) -> tuple[jax.Array, jax.Array]:
  """What the policy says of games `[B, ...]`.

  apply_fn: `(params, tokens [N, L]) -> (logits [N, A], anything)`.

  Returns:
    (log P_F f32[B] of all actions of a game, entropies of the policy f32[B]
    added up over its states).
  """
  batch, moves = games.actions.shape
  tokens = games.tokens.reshape(batch * moves, -1)
  logits, _ = apply_fn(params, tokens)
  logits = logits.reshape(batch, moves, -1)
  log_policy = heads.log_probs(logits, games.invalid_actions)
  taken = jnp.take_along_axis(log_policy, games.actions[..., None], axis=-1)
  entropy = heads.entropy(log_policy, games.invalid_actions)
  active = games.active
  return (
    jnp.sum(jnp.where(active, taken[..., 0], 0.0), axis=1),
    jnp.sum(jnp.where(active, entropy, 0.0), axis=1),
  )


def estimated_log_z(params: Any, apply_fn: Callable, games: Game) -> jax.Array:
  """The log Z that suits games best under the policy as it is, f32[]."""
  log_forward, _ = forward_flow(params, apply_fn, games)
  return jnp.mean(games.log_reward - log_forward)


def trajectory_balance_loss(
  params: dict, apply_fn: Callable, games: Game, *, entropy: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """`(log Z + log P_F - log R - entropy H)^2`, its mean over games.

  H is a game's entropy, so that with a positive weight formulas count more
  whose states left more open, as in AlphaSAGE's released code.

  params: {'network': ..., 'log_z': f32[]}.
  """
  log_forward, entropies = forward_flow(params['network'], apply_fn, games)
  chex.assert_equal_shape([log_forward, games.log_reward])
  balance = params['log_z'] + log_forward - games.log_reward
  loss = jnp.mean(jnp.square(balance - entropy * entropies))
  return loss, {
    'balance_loss': loss,
    'log_z': params['log_z'],
    'game_entropy': jnp.mean(entropies),
  }
