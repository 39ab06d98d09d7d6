"""A policy rolled out through a language, with no search.

What policy gradients, flow matching and pretrained decoders share: games played
by sampling from a network, and what it said on the way. The scan has a fixed
number of moves, so gradients flow back from `log_probs` and `values`.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from alphajax.language import environment
from alphajax.networks import heads
from alphajax.search.evaluators import Evaluator


class Rollout(struct.PyTreeNode):
  """M moves of B games, M = max_steps. A finished game goes on inactive.

  log_probs, values: 0 where a game is not active.
  """

  tokens: jax.Array  # i32[M, B, L] before the move.
  invalid_actions: jax.Array  # bool[M, B, A]
  actions: jax.Array  # i32[M, B]
  log_probs: jax.Array  # [M, B] of the actions, under the policy that drew.
  values: jax.Array  # [M, B] what the network said of the state.
  active: jax.Array  # bool[M, B] the game was not over before the move.
  final_tokens: jax.Array  # i32[B, L]


def rollout(
  params: Any,
  rng_key: jax.Array,
  *,
  evaluator: Evaluator,
  language: environment.Language,
  num_games: int,
  temperature: jax.Array | float = 1.0,
  greedy: bool = False,
  start: environment.State | None = None,
) -> Rollout:
  """Plays games to the end, every action drawn from the network's policy.

  Pure; the caller jits, and vmaps over several sets of parameters or panels.
  A network with a context takes `params` with one for each game, see
  `evaluators`; no game depends on the context of another.

  temperature: that the logits are divided by, above 0; of all moves or of each,
    `[max_steps]`.
  greedy: the most probable action in place of a drawn one.
  start: the state, unbatched, at which games begin; None: the start symbol.
  """
  moves = language.max_steps
  temperature = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), moves)
  prepared = evaluator.prepare(params)
  states = environment.starts(language, num_games, start)
  evaluation = evaluator.init(prepared, states)
  chex.assert_shape(evaluation[0], (num_games, language.num_actions))
  chex.assert_shape(evaluation[1], (num_games,))

  def move(carry, inputs):
    states, (logits, value, memory) = carry
    act_key, temperature = inputs
    log_policy = heads.log_probs(logits / temperature, states.invalid_actions)
    if greedy:
      actions = jnp.argmax(log_policy, axis=1)
    else:
      actions = jax.random.categorical(act_key, log_policy)
    log_probs = jnp.take_along_axis(log_policy, actions[:, None], axis=1)[:, 0]
    active = ~states.terminated
    after = jax.vmap(environment.step, (None, 0, 0))(language, states, actions)
    record = Rollout(
      tokens=states.tokens,
      invalid_actions=states.invalid_actions,
      actions=actions.astype(jnp.int32),
      log_probs=jnp.where(active, log_probs, 0.0),
      values=jnp.where(active, value, 0.0),
      active=active,
      final_tokens=(),  # type: ignore[arg-type]  # Of the game: set below.
    )
    evaluation = evaluator.step(prepared, memory, states, actions, after)
    return (after, evaluation), record

  (states, _), played = jax.lax.scan(
    move,
    (states, evaluation),
    (jax.random.split(rng_key, moves), temperature),
  )
  return played.replace(final_tokens=states.tokens)
