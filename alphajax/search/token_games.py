"""How `networks.token_policy` plays and learns, in any language."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from alphajax.language import environment
from alphajax.language.environment import Language, State
from alphajax.networks import token_policy
from alphajax.networks.token_policy import TokenPolicy
from alphajax.search.evaluators import Evaluator, from_apply
from alphajax.search.rollout import Rollout


def following(begin: Callable, follow: Callable) -> Evaluator:
  """An evaluator that goes on with every token that a move appends.

  begin: (params, states) -> memory `[B, ...]` before the first token.
  follow: (params, memory, tokens i32[B]) -> (logits [B, A], values [B],
    memory).
  """

  def init(params, states):
    return follow(params, begin(params, states), states.tokens[:, 0])

  def step(params, memory, states, actions, next_states):
    del actions
    # Of a finished game, whatever comes of it, nothing is read.
    place = jnp.minimum(states.length + 1, states.tokens.shape[1] - 1)
    tokens = jnp.take_along_axis(next_states.tokens, place[:, None], axis=1)
    return follow(params, memory, tokens[:, 0])

  return Evaluator(lambda params: params, init, step)


def repeated(memory: Any, states: State) -> Any:
  """A memory for every one of the states, `[B, ...]`."""
  batch = states.length.shape[0]
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *x.shape)), memory)


def evaluator(network: TokenPolicy, language: Language) -> Evaluator:
  """What a rollout asks; without dropout. Games begin at the start."""
  if not environment.appends(language):
    return from_apply(jax.vmap(network.apply, (None, 0)))

  def begin(params, states):
    del params
    return repeated(token_policy.start(network), states)

  def one(params, memory, token):
    return network.apply(params, memory, token, method='follow')

  return following(begin, jax.vmap(one, (None, 0, 0)))


def inputs(played: Rollout, language: Language) -> jax.Array:
  """What `learner` reads of games: `[M, B, L]`, or `[1, B, L]` where appended.

  The axis of games is the second, as `ppo.Games` wants it.
  """
  if environment.appends(language):
    return played.final_tokens[None]
  return played.tokens


def learner(network: TokenPolicy, language: Language) -> Callable:
  """`(params, inputs, rng_key) -> (logits [M, B, A], values [M, B])`.

  The key is of dropout, one mask a game where a game is read at once.
  """

  def one(params, tokens, rng_key, method):
    rngs = {'dropout': rng_key}
    return network.apply(params, tokens, True, rngs=rngs, method=method)

  def of_games(params: Any, tokens: jax.Array, rng_key: jax.Array):
    keys = jax.random.split(rng_key, tokens.shape[1])
    read = jax.vmap(one, (None, 0, 0, None), out_axes=1)
    logits, values = read(params, tokens[0], keys, 'game')
    return logits[: language.max_steps], values[: language.max_steps]

  def of_states(params: Any, tokens: jax.Array, rng_key: jax.Array):
    keys = jax.random.split(rng_key, tokens.shape[:2])
    read = jax.vmap(one, (None, 0, 0, None))
    return jax.vmap(read, (None, 0, 0, None))(params, tokens, keys, None)

  return of_games if environment.appends(language) else of_states
