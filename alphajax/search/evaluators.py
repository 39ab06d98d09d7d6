"""What search and rollouts ask of a network, whichever network it is.

A network with a context beside the tokens has parameters `(params, context)`,
the context `[B, C]` of the B games: each game may have a panel of its own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax

from alphajax.language.environment import Language, State
from alphajax.language.grammar import Grammar
from alphajax.networks import contexts, heads, incremental


class Evaluator(NamedTuple):
  """Three functions, all batched.

  prepare: params -> what the other two read; called once for a batch of games.
  init: (prepared, states) -> (logits [B, A], value [B], memory) at the start.
  step: (prepared, memory, states, actions, next_states) -> the same for the
    next states. The search stores the memory [B, ...] with every node.
  """

  prepare: Callable
  init: Callable
  step: Callable


def from_apply(apply_fn: Callable) -> Evaluator:
  """An evaluator that reads whole formulas: `(params, tokens) -> (..., ...)`.

  apply_fn: `(params, tokens [B, L]) -> (logits [B, A], value [B])`.
  """

  def init(params, states):
    return *apply_fn(params, states.tokens), ()

  def step(params, memory, states, actions, next_states):
    del memory, states, actions
    return init(params, next_states)

  return Evaluator(lambda params: params, init, step)


def from_network(network: heads.PolicyValue) -> Evaluator:
  """The network on whole formulas."""
  if not network.context_width:
    return from_apply(functools.partial(heads.apply_batch, network))

  def apply_fn(params, tokens):
    params, context = params
    return heads.apply_batch(network, params, tokens, context=context)

  return from_apply(apply_fn)


def from_derivation(
  network: heads.PolicyValue, grammar: Language, chunk: int | None = None
) -> Evaluator:
  """The same network, computing only what a production changes.

  Games begin at the start symbol. A grammar that the incremental encoder cannot
  follow is read whole at every step: the same values, slower.
  chunk: see `incremental.step`; None: 32 on a CPU, else all games.
  """
  if contexts.refusal(grammar):
    return from_network(network)
  tables = cast(Grammar, grammar)  # Which is what is not refused.
  places = contexts.make(tables)
  # Measured on two cores: 16 and 32 are equal, 64 is 1.4 times slower.
  default_chunk = 32 if jax.default_backend() == 'cpu' else 2**31

  def prepare(params):
    params, context = params if network.context_width else (params, None)
    parts: Any = network.apply(params, method='tables')
    return params, context, incremental.prepare(places, parts)

  def evaluate(prepared, h, memory):
    params, context, _ = prepared
    return *network.apply(params, h, context, method='heads'), memory

  def init(prepared, states):
    batch = states.length.shape[0]
    start = incremental.start(places, prepared[2], tables.start, batch)
    return evaluate(prepared, *start)

  def step(prepared, memory, states, actions, next_states):
    del next_states
    h, memory = incremental.step(
      places,
      prepared[2],
      memory,
      actions,
      states.terminated,
      chunk=min(chunk or default_chunk, actions.shape[0]),
    )
    return evaluate(prepared, h, memory)

  return Evaluator(prepare, init, step)


def make(
  network: heads.PolicyValue,
  language: Language,
  start: State | None = None,
) -> Evaluator:
  """The fastest that the network's encoder has.

  start: where games begin; one that follows derivations knows the start symbol
    alone.
  """
  if network.is_incremental and start is None:
    return from_derivation(network, language)
  return from_network(network)
