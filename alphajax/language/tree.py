"""Trees in prefix tokens; similarity of formulas (Appendix G)."""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

MAX_ARITY = 3  # Cov and Corr: two operands and a window.


def ends(arity: jax.Array, tokens: jax.Array) -> jax.Array:
  """Last position of the subtree at each token, `[L] -> i32[L]`.

  arity: `[V]` children of each symbol. Only positions that hold a token mean
  anything; a formula is one whole prefix tree, padded with 0.
  """
  missing = jnp.cumsum(arity[tokens] - 1)
  before = missing - (arity[tokens] - 1)
  at = jnp.arange(tokens.shape[0])
  # The subtree at i ends where, for the first time, it lacks no symbol.
  complete = (missing[None, :] < before[:, None]) & (at[None, :] >= at[:, None])
  return jnp.argmax(complete, axis=1)


def children(arity: jax.Array, tokens: jax.Array) -> jax.Array:
  """Positions of the children of each token, `[L] -> i32[L, 3]`; -1: none."""
  end = ends(arity, tokens)
  at = jnp.arange(tokens.shape[0])
  child = at + 1
  found = []
  for slot in range(MAX_ARITY):
    is_there = (slot < arity[tokens]) & (tokens > 0)
    found.append(jnp.where(is_there, child, -1))
    child = jnp.take(end, child, mode='clip') + 1
  return jnp.stack(found, axis=1)


def parents(arity: jax.Array, tokens: jax.Array) -> jax.Array:
  """Position of the parent of each token, `[L] -> i32[L]`; -1: none."""
  child = children(arity, tokens)
  at = jnp.arange(tokens.shape[0])
  is_child = jnp.any(child[None, :, :] == at[:, None, None], axis=2)
  return jnp.where(jnp.any(is_child, axis=1), jnp.argmax(is_child, axis=1), -1)


@functools.lru_cache(maxsize=100_000)
def subtrees(formula: Formula) -> dict[str, int]:
  """The distinct subtrees of a formula: canonical key -> number of nodes."""
  whole = formula_lib.canonical(formula)
  return {
    formula_lib.call_text(node): formula_lib.size(node)
    for node in formula_lib.nodes(whole)
  }


def similarity(f: Formula, g: Formula) -> float:
  """Nodes of the largest common isomorphic subtree over those of the larger.

  In [0, 1]; 1 for isomorphic formulas, 0 where they share no subtree.
  """
  small, large = sorted((subtrees(f), subtrees(g)), key=len)
  common = max((small[key] for key in small if key in large), default=0)
  return common / max(formula_lib.size(f), formula_lib.size(g))


def max_similarity(formula: Formula, pool: Iterable[Formula]) -> float:
  """The largest similarity to a formula of the pool; 0 for an empty pool."""
  return max((similarity(formula, other) for other in pool), default=0.0)
