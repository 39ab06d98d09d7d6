"""The Tree-LSTM along a derivation: only what a production changes.

A production rewrites the leftmost nonterminal, so of the nodes that are there
only its ancestors get new states. Everything to the left of this path is
finished, and enters a node as one stored row; everything to the right is still
as the node's own production wrote it, and enters as a row of a table. A step
is then one matrix product per ancestor, for games in chunks of similar depth.
Games that begin where all to the right is finished have rows from `forms`.

This is batched code, unlike `tree_lstm.encode`, which it equals.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from alphajax.networks import tree_lstm
from alphajax.networks.contexts import Contexts


class Tables(NamedTuple):
  """What a step reads; made once per set of parameters."""

  context: jax.Array  # [C, 5D] gates of a node without its path and left.
  leaf_row: jax.Array  # [3, V, 5D] message and cell of a leaf by its reader.
  leaf_h: jax.Array  # [V, D]
  kernels: jax.Array  # [3D, 4D]


@struct.dataclass
class Memory:
  """The path of each game from the root to its leftmost nonterminal."""

  contexts: jax.Array  # i32[B, P] from the root down.
  depth: jax.Array  # i32[B]
  # [B, E, 4D] what the finished left children say to the i, o, u gates, and
  # keep in the cell, for the nodes of the path that have any, root first.
  left: jax.Array


def prepare(contexts: Contexts, tables: tree_lstm.Tables) -> Tables:
  """Rows of all leaves and contexts under these parameters."""
  width = tables.inputs.shape[1] // 4
  num_symbols = tables.inputs.shape[0]
  none = jnp.zeros((num_symbols, 3, 5 * width), jnp.float32)
  h, c = tree_lstm.cell(tables.inputs, none, jnp.zeros(num_symbols, bool))
  message = jnp.einsum('vd,kdg->kvg', h, tables.kernels)
  cells = jnp.broadcast_to(c, (message.shape[0], *c.shape))
  leaf_row = jnp.concatenate([message, cells], axis=-1)
  rows = leaf_row[contexts.other_reader, contexts.others]  # [C, 3, 5D]
  rows = jnp.where((contexts.others > 0)[..., None], rows, 0.0)
  context = surroundings(tables.inputs[contexts.symbol], rows, contexts.share)
  kernels = tables.kernels.reshape(-1, 4 * width)
  return Tables(context, leaf_row, h, kernels)


def surroundings(
  inputs: jax.Array, rows: jax.Array, share: jax.Array
) -> jax.Array:
  """Gates of n nodes without their path, `[n, 5D]`.

  inputs: `W x + b` of each, [n, 4D].
  rows: message and cell of the children beside the path, 0 where none is,
    [n, 3, 5D].
  share: weight of each child in the gates, [n, 3].
  """
  width = inputs.shape[1] // 4
  said = jnp.sum(rows[..., : 3 * width] * share[..., None], axis=1)
  forget = rows[..., 3 * width : 4 * width] + inputs[:, None, 3 * width :]
  kept = jnp.sum(jax.nn.sigmoid(forget) * rows[..., 4 * width :], axis=1)
  context = [inputs[:, : 3 * width] + said, inputs[:, 3 * width :], kept]
  return jnp.concatenate(context, axis=-1)


def start(
  contexts: Contexts, tables: Tables, symbol: int, batch: int
) -> tuple[jax.Array, Memory]:
  """Encodings `[B, D]` and memory of games at the start symbol."""
  width = tables.leaf_h.shape[1]
  memory = Memory(
    contexts=jnp.zeros((batch, contexts.max_depth), jnp.int32),
    depth=jnp.zeros(batch, jnp.int32),
    left=jnp.zeros((batch, contexts.max_left, 4 * width), jnp.float32),
  )
  return jnp.broadcast_to(tables.leaf_h[symbol], (batch, width)), memory


class _Path(NamedTuple):
  """The paths of n games that a step goes up."""

  contexts: jax.Array  # i32[n, P]
  depth: jax.Array  # i32[n] 0: nothing to do.
  lefts: jax.Array  # i32[n, P] nodes with left children above each level.
  closes: jax.Array  # bool[n] the last node of the path is finished.
  leaf: jax.Array  # i32[n] the symbol below the path.
  game: jax.Array  # i32[n]


class _Climb(NamedTuple):
  """State of the climb of n games."""

  h: jax.Array  # [n, D] of the node below.
  c: jax.Array  # [n, D]
  closes: jax.Array  # bool[n] that node is finished.
  entry: jax.Array  # [n, 4D] new row of `Memory.left`.
  stop: jax.Array  # i32[n] level of the node whose child was finished; -1.
  root: jax.Array  # [n, D] h of the root, once there.


def step(
  contexts: Contexts,
  tables: Tables,
  memory: Memory,
  actions: jax.Array,
  terminated: jax.Array,
  *,
  chunk: int,
) -> tuple[jax.Array, Memory]:
  """Applies a production in every game.

  actions: i32[B]. terminated: `bool[B]` games that were finished before it;
  their encodings mean nothing afterwards.
  chunk: games that climb together. Where work costs by the row (CPU), a small
    chunk spares short paths the wait for long ones.

  Returns the encodings `[B, D]` and the memory after it.
  """
  chex.assert_shape((actions, terminated), memory.depth.shape)
  path = _extend(contexts, memory, actions, terminated)
  batch = actions.shape[0]
  padded = jax.tree.map(  # With paths of length 0.
    lambda x: jnp.pad(x, [(0, -batch % chunk)] + [(0, 0)] * (x.ndim - 1)), path
  )
  order = jnp.argsort(-padded.depth)
  parts = jax.tree.map(
    lambda x: x[order].reshape(-1, chunk, *x.shape[1:]), padded
  )
  climbed = jax.lax.map(
    lambda part: _climb(contexts, tables, memory.left, part), parts
  )
  back = jnp.argsort(order)[:batch]
  h, entry, stop = jax.tree.map(
    lambda x: x.reshape(-1, *x.shape[2:])[back],
    (climbed.root, climbed.entry, climbed.stop),
  )
  return h, _advance(contexts, memory, path, entry, stop)


def _extend(
  contexts: Contexts, memory: Memory, actions: jax.Array, terminated: jax.Array
) -> _Path:
  """Adds the production's chain to the path."""
  batch, max_depth = memory.contexts.shape
  level = jnp.arange(max_depth)[None]
  offset = level - memory.depth[:, None]
  added = contexts.chain_len[actions]
  length = contexts.chain.shape[1]
  chain = jnp.take_along_axis(
    contexts.chain[actions], jnp.clip(offset, 0, length - 1), axis=1
  )
  on_chain = (offset >= 0) & (offset < added[:, None])
  whole = jnp.where(on_chain, chain, memory.contexts)
  depth = memory.depth + added
  has_left = contexts.has_left[whole] & (level < depth[:, None])
  return _Path(
    contexts=whole,
    depth=jnp.where(terminated, 0, depth).astype(jnp.int32),
    lefts=jnp.cumsum(has_left, axis=1) - has_left,
    closes=contexts.closes[actions],
    leaf=contexts.leaf[actions],
    game=jnp.arange(batch),
  )


def _climb(
  contexts: Contexts, tables: Tables, left: jax.Array, path: _Path
) -> _Climb:
  """Goes up the paths of n games, the deepest of them first in the list."""
  width = tables.leaf_h.shape[1]
  n = path.depth.shape[0]

  def visit(climb, height, row):
    """The nodes at a height, from the message and cell of those below."""
    level = path.depth - 1 - height
    here = _pick(path.contexts, level)
    entry = left[path.game, _pick(path.lefts, level)]
    entry = jnp.where(contexts.has_left[here][:, None], entry, 0.0)
    share = contexts.path_share[here][:, None]
    h, c, entry = _node(tables.context[here], entry, row, share)
    stops = climb.closes & (contexts.follower[here] >= 0) & (level >= 0)
    return _Climb(
      h=h,
      c=c,
      closes=climb.closes & ~stops,
      entry=jnp.where(stops[:, None], entry, climb.entry),
      stop=jnp.where(stops, level, climb.stop),
      root=jnp.where((level == 0)[:, None], h, climb.root),
    )

  def up(carry):
    height, climb = carry
    here = _pick(path.contexts, path.depth - 1 - height)
    message = tree_lstm.read(tables.kernels, contexts.reader[here], climb.h)
    row = jnp.concatenate([message, climb.c], axis=1)
    return height + 1, visit(climb, height, row)

  leaf = tables.leaf_h[path.leaf]
  climb = _Climb(
    h=leaf,
    c=leaf,  # Nobody reads it.
    closes=path.closes,
    entry=jnp.zeros((n, 4 * width), jnp.float32),
    stop=jnp.full(n, -1, jnp.int32),
    root=leaf,
  )
  # What leaves say is known; the first nodes above them are out of the loop,
  # which has a matrix product less than nodes.
  bottom = contexts.reader[_pick(path.contexts, path.depth - 1)]
  climb = visit(climb, 0, tables.leaf_row[bottom, path.leaf])
  height = jnp.max(path.depth)
  return jax.lax.while_loop(
    lambda carry: carry[0] < height, up, (jnp.int32(1), climb)
  )[1]


def _pick(x: jax.Array, level: jax.Array) -> jax.Array:
  """`x[i, level[i]]`, a level below 0 read as 0."""
  return x[jnp.arange(x.shape[0]), jnp.maximum(level, 0)]


def _node(
  context: jax.Array, left: jax.Array, row: jax.Array, share: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """One node from its context, left children and path, `[n, ...]`.

  Returns h, c and what the path and the left children have said together.
  """
  width = context.shape[1] // 5
  gates = 3 * width
  said = left[:, :gates] + share * row[:, :gates]
  forget = jax.nn.sigmoid(context[:, gates : 4 * width] + row[:, gates:-width])
  kept = left[:, gates:] + forget * row[:, -width:]
  i, o, u = jnp.split(context[:, :gates] + said, 3, axis=1)
  c = jax.nn.sigmoid(i) * jnp.tanh(u) + context[:, -width:] + kept
  h = jax.nn.sigmoid(o) * jnp.tanh(c)
  return h, c, jnp.concatenate([said, kept], axis=1)


def _advance(
  contexts: Contexts,
  memory: Memory,
  path: _Path,
  entry: jax.Array,
  stop: jax.Array,
) -> Memory:
  """Moves the path to the new leftmost nonterminal."""
  stopped = stop >= 0
  level = jnp.arange(path.contexts.shape[1])[None]
  here = path.contexts
  follower = jnp.where(level == stop[:, None], contexts.follower[here], here)
  depth = jnp.where(stopped, stop + 1, jnp.where(path.closes, 0, path.depth))
  slot = jnp.where(stopped, _pick(path.lefts, stop), memory.left.shape[1])
  left = memory.left.at[path.game, slot].set(entry, mode='drop')
  return Memory(contexts=follower, depth=depth, left=left)
