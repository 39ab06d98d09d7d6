"""Where the path of a derivation lies in the productions of a grammar.

What `incremental` knows of a grammar, read on the host, once.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from alphajax.language import rows as rows_lib
from alphajax.language.environment import Language
from alphajax.language.grammar import Grammar
from alphajax.language.vocab import Symbol
from alphajax.networks import tree_lstm


@struct.dataclass
class Contexts:
  """Places of a path in the productions' nodes; made once per grammar.

  A context is a node that some production writes, with the path in one of its
  slots. `others` are its children beside the path that the production wrote
  and that stand as they were; children to the left that were nonterminals are
  finished and stored as a row of `Memory.left`. C: contexts, H: the longest
  chain of nodes that a production puts on the path.
  """

  symbol: jax.Array  # i32[C]
  others: jax.Array  # i32[C, 3] symbols, 0: none.
  other_reader: jax.Array  # i32[C, 3]
  reader: jax.Array  # i32[C] the kernel that reads the path.
  share: jax.Array  # [C, 3] weight of each slot in the gates.
  path_share: jax.Array  # [C]
  has_left: jax.Array  # bool[C] a nonterminal left of the path is finished.
  follower: jax.Array  # i32[C] the path in the next nonterminal slot; -1: none.
  chain: jax.Array  # i32[A, H] contexts that a production adds.
  chain_len: jax.Array  # i32[A]
  leaf: jax.Array  # i32[A] the symbol at the end of the chain.
  closes: jax.Array  # bool[A] the production writes no nonterminal.
  max_left: int = struct.field(pytree_node=False)
  max_depth: int = struct.field(pytree_node=False)


def make(grammar: Grammar) -> Contexts:
  """Reads the grammar's productions.

  Raises:
    ValueError: a production writes an operator beside the path to its leftmost
      nonterminal (`Add Expr Abs Expr`), or masks an operator; use
      `tree_lstm.encode` there. None of the paper's grammars does.
  """
  reason = refusal(grammar)
  if reason:
    raise ValueError(reason)
  found = []
  symbols = grammar.vocab.symbols
  chains, leaves = zip(
    *(_read_production(symbols, body, found) for body in _bodies(grammar)),
    strict=True,
  )
  length = max(map(len, chains))
  fields = {name: _table([c[name] for c in found]) for name in found[0]}
  # Nodes of each production that may get a finished child to their left.
  wide = [sum(found[k]['follower'] >= 0 for k in chain) for chain in chains]
  return Contexts(
    **fields,
    chain=_table([c + [0] * (length - len(c)) for c in chains]),
    chain_len=_table([len(chain) for chain in chains]),
    leaf=_table(leaves),
    closes=_table(~np.asarray(grammar.is_nonterminal)[list(leaves)]),
    max_left=_most_left(grammar, wide),
    max_depth=grammar.max_tokens,
  )


def _table(values: Sequence | np.ndarray) -> jax.Array:
  """Numbers in 32 bits, also where JAX takes 64 by default."""
  array = np.asarray(values)
  narrow = {'i': np.int32, 'f': np.float32}.get(array.dtype.kind, array.dtype)
  return jax.device_put(array.astype(narrow))


def refusal(grammar: Language) -> str | None:
  """Why a grammar cannot be read incrementally; None where it can."""
  if not hasattr(grammar, 'rhs'):
    return 'the language has no productions in tables'
  symbols = grammar.vocab.symbols
  for body in _bodies(grammar):
    text = ' '.join(symbols[s].name for s in body)
    if len(body) == 1 and rows_lib.arity_of(symbols[body[0]]):
      return f'{text!r} is an operator without its operands'
    while len(body) > 1:
      if symbols[body[0]].kind == 'nonterminal':
        return f'{text!r} writes a masked operator'
      children = rows_lib.children_of(body, symbols)
      place = _path_place(symbols, children)
      if any(len(c) > 1 for k, c in enumerate(children) if k != place):
        return f'{text!r} writes an operator beside its path'
      body = list(children[place])
  return None


def _bodies(grammar: Any) -> list[list[int]]:
  """The right-hand sides."""
  return [
    body[:width]
    for body, width in zip(
      np.asarray(grammar.rhs).tolist(), np.asarray(grammar.rhs_len), strict=True
    )
  ]


def _most_left(grammar: Grammar, wide: list[int]) -> int:
  """A bound on the nodes of a path with finished children to their left."""
  growth = np.asarray(grammar.growth).tolist()
  least = [g for g, nodes in zip(growth, wide, strict=True) if nodes]
  if not least:
    return 1
  # Productions that cost nothing are bounded by the derivation alone.
  times = grammar.max_length // min(least) if min(least) else grammar.max_steps
  return max(1, max(wide) * times)


def _read_production(
  symbols: Sequence[Symbol], body: list[int], found: list[dict]
) -> tuple[list[int], int]:
  """Adds the contexts of one right-hand side. Returns (chain, leaf)."""
  chain = []
  while len(body) > 1:
    children = rows_lib.children_of(body, symbols)
    place = _path_place(symbols, children)
    chain.append(len(found))
    slots = [child[0] for child in children]
    _add_contexts(symbols, body[0], slots, place, found)
    body = list(children[place])
  return chain, body[0]


def _path_place(
  symbols: Sequence[Symbol], children: Sequence[Sequence[int]]
) -> int:
  """The path takes the first child that is not a terminal leaf."""
  is_open = (
    len(child) > 1 or symbols[child[0]].kind == 'nonterminal'
    for child in children
  )  # fmt: skip
  return next((k for k, x in enumerate(is_open) if x), len(children) - 1)


def _add_contexts(
  symbols: Sequence[Symbol],
  node: int,
  slots: list[int],
  first: int,
  found: list[dict],
) -> None:
  """One context for the first path slot and each nonterminal after it."""
  is_open = [symbols[s].kind == 'nonterminal' for s in slots]
  role = rows_lib.role_of(symbols[node])
  places = [first]
  places += [k for k in range(first + 1, len(slots)) if is_open[k]]
  averaged = role in (rows_lib.SYMMETRIC, rows_lib.PAIRED)
  share = [0.5 if averaged and k < 2 else 1.0 for k in range(3)]
  reader = tree_lstm.READERS[role].tolist()
  for place in places:
    # To its left, children that the path has been through are not `others`.
    others = [
      0 if k == place or k in places[: places.index(place)] else s
      for k, s in enumerate(slots)
    ]
    is_last = place == places[-1]
    found.append(
      {
        'symbol': node,
        'others': others + [0] * (3 - len(others)),
        'other_reader': reader,
        'reader': reader[place],
        'share': share,
        'path_share': share[place],
        'has_left': place != first,
        'follower': -1 if is_last else len(found) + 1,
      }
    )
