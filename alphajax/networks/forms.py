"""Games that begin at a form: a known formula with one node left open.

All of a form but what comes of its open node stays as it is for a whole game.
So each node above it is one row more of the tables of `incremental`, with the
finished children on both sides of the path in it, made once for many moves.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from alphajax.language import tree
from alphajax.networks import incremental, tree_lstm
from alphajax.networks.contexts import Contexts


class Begun(NamedTuple):
  """What a step reads, and the state before the first one, of B games.

  contexts, tables: with B L rows more, those of game b from C + b L on.
  """

  contexts: Contexts
  tables: incremental.Tables
  h: jax.Array  # [B, D] encodings of the forms.
  memory: incremental.Memory


class _Above(NamedTuple):
  """The nodes above the open one, from the root down, of one form."""

  context: jax.Array  # [L, 5D]
  reader: jax.Array  # i32[L] the kernel that reads the path.
  share: jax.Array  # [L] of the path in the gates.
  depth: jax.Array  # i32[] how many there are.


def begin(
  contexts: Contexts,
  tables: tree_lstm.Tables,
  is_nonterminal: jax.Array,
  tokens: jax.Array,
) -> Begun:
  """Games at forms.

  is_nonterminal: bool[V] over the vocabulary.
  tokens: i32[B, L] in prefix order, each with exactly one nonterminal, which
    may be all there is. With more of them the encodings of later steps are
    wrong: what is written over the others does not reach the nodes above.
  """
  chex.assert_rank(tokens, 2)
  batch, length = tokens.shape
  above = jax.vmap(lambda one: _above(tables, is_nonterminal, one))(tokens)
  prepared = incremental.prepare(contexts, tables)
  rows = above.context.reshape(batch * length, -1)
  _, memory = incremental.start(contexts, prepared, 0, batch)
  first = prepared.context.shape[0]
  own = first + jnp.arange(batch * length, dtype=jnp.int32)
  h = jax.vmap(lambda one: tree_lstm.encode(tables, one))(tokens)
  return Begun(
    _with_rows(contexts, above),
    prepared._replace(context=jnp.concatenate([prepared.context, rows])),
    h,
    dataclasses.replace(
      memory, contexts=own.reshape(batch, length), depth=above.depth
    ),
  )


def _above(
  tables: tree_lstm.Tables, is_nonterminal: jax.Array, tokens: jax.Array
) -> _Above:
  """The nodes above the nonterminal of one form `[L]`."""
  at = jnp.arange(tokens.shape[0])
  end = tree.ends(tables.arity, tokens)
  children = tree.children(tables.arity, tokens)
  site = jnp.argmax(is_nonterminal[tokens])
  # Whose subtree the open node lies in, and in which of its slots.
  holds = (at <= site) & (site <= end)
  slot_holds = holds[children] & (children >= 0)  # [L, 3]
  rows = tree_lstm.said_below(tables, tokens, children)[children]
  rows = jnp.where(slot_holds[..., None], 0.0, rows)
  role = tables.role[tokens]
  first_two = jnp.arange(3)[None] < 2
  averaged = tree_lstm.is_averaged(role)[:, None] & first_two
  share = jnp.where(averaged, 0.5, 1.0)
  context = incremental.surroundings(tables.inputs[tokens], rows, share)
  reader = jnp.asarray(tree_lstm.READERS)[role]
  order = jnp.argsort(~holds, stable=True)  # Parents come before children.
  return _Above(
    context=context[order],
    reader=jnp.sum(jnp.where(slot_holds, reader, 0), axis=1)[order],
    share=jnp.sum(jnp.where(slot_holds, share, 0.0), axis=1)[order],
    depth=(jnp.sum(holds) - 1).astype(jnp.int32),  # Without the open node.
  )


def _with_rows(contexts: Contexts, above: _Above) -> Contexts:
  """The contexts and, after them, the nodes above the open ones.

  These have no follower: nothing right of the path is open.
  """

  def more(known, new):
    new = jnp.broadcast_to(jnp.asarray(new, known.dtype), above.reader.shape)
    return jnp.concatenate([known, new.reshape(-1)])

  return dataclasses.replace(
    contexts,
    reader=more(contexts.reader, above.reader),
    path_share=more(contexts.path_share, above.share),
    has_left=more(contexts.has_left, False),
    follower=more(contexts.follower, -1),
  )
