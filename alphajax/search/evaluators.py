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
from alphajax.networks import contexts, forms, heads, incremental

# Of 50 games on one core, 25 at a time take 0.85 of the time of 32, where the
# last chunk is half empty, and 13 to 17 at a time 0.9 of that.
CPU_CHUNK = 16


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
  chunk: the most games of a chunk of `incremental.step`, which are made alike;
    None: `CPU_CHUNK` on a CPU, else all games.
  """
  if contexts.refusal(grammar):
    return from_network(network)
  tables = cast(Grammar, grammar)  # Which is what is not refused.
  places = contexts.make(tables)
  evaluate, move = _following(network, chunk)

  def prepare(params):
    params, context = params if network.context_width else (params, None)
    parts: Any = network.apply(params, method='tables')
    return params, context, incremental.prepare(places, parts)

  def init(prepared, states):
    batch = states.length.shape[0]
    start = incremental.start(places, prepared[2], tables.start, batch)
    return evaluate(prepared, *start)

  def step(prepared, memory, states, actions, next_states):
    del next_states
    moved = move(places, prepared[2], memory, states, actions)
    return evaluate(prepared, *moved)

  return Evaluator(prepare, init, step)


def from_forms(
  network: heads.PolicyValue, grammar: Language, chunk: int | None = None
) -> Evaluator:
  """The same for games that begin at forms, see `networks.forms`.

  Its parameters are `(params, forms)`, the states `[B, ...]` at which the games
  begin, each with exactly one nonterminal. What cannot be followed, the grammar
  or the network's encoder, is read whole at every step.
  """
  if not network.is_incremental or contexts.refusal(grammar):
    whole = from_network(network)
    return whole._replace(prepare=lambda params: whole.prepare(params[0]))
  tables = cast(Grammar, grammar)
  places = contexts.make(tables)
  evaluate, move = _following(network, chunk)

  def prepare(params):
    params, states = params
    params, context = params if network.context_width else (params, None)
    parts: Any = network.apply(params, method='tables')
    begun = forms.begin(places, parts, tables.is_nonterminal, states.tokens)
    return params, context, begun

  def init(prepared, states):
    del states  # Those of `prepare`.
    return evaluate(prepared, prepared[2].h, prepared[2].memory)

  def step(prepared, memory, states, actions, next_states):
    del next_states
    begun = prepared[2]
    moved = move(begun.contexts, begun.tables, memory, states, actions)
    return evaluate(prepared, *moved)

  return Evaluator(prepare, init, step)


def _following(
  network: heads.PolicyValue, chunk: int | None
) -> tuple[Callable, Callable]:
  """What evaluators that follow derivations do after `prepare`.

  The first gives the heads' word on encodings, the second those after a move.
  """

  def evaluate(prepared, h, memory):
    params, context, _ = prepared
    return *network.apply(params, h, context, method='heads'), memory

  def move(places, tables, memory, states, actions):
    batch = actions.shape[0]
    moved = tables, memory, actions, states.terminated

    def of(most, *moved):
      size = -(-batch // -(-batch // most))  # Of chunks that are alike.
      return incremental.step(places, *moved, chunk=size)

    if chunk or batch <= CPU_CHUNK:
      return of(chunk or batch, *moved)
    return jax.lax.platform_dependent(
      *moved,
      cpu=functools.partial(of, CPU_CHUNK),
      default=functools.partial(of, batch),
    )

  return evaluate, move


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
