"""The chosen subtree of a search as the start of the next one.

A search that keeps nothing starts each move with the root alone, as mctx does.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from alphajax.search import tree_search


def nothing(
  embedding: Any, num_simulations: int, num_actions: int, backup: str = 'mean'
) -> tree_search.Tree:
  """What the first search goes on with; `embedding` is that of any nodes."""
  return tree_search.empty(embedding, 2 * num_simulations, num_actions, backup)


def keep(
  tree: tree_search.Tree,
  actions: jax.Array,
  num_simulations: int,
  max_depth: int,
) -> tree_search.Tree:
  """What lies below the `actions [B]` at the roots, for the next search.

  Of each subtree the first `num_simulations` nodes stay, with room for as many
  new ones behind them. An edge to a node left out leads nowhere and will be
  expanded again. An action never taken leaves an empty tree.
  """
  batch, num_nodes, num_actions = tree.children.shape
  chex.assert_shape(actions, (batch,))
  games = jnp.arange(batch)[:, None]
  top = tree.children[games[:, 0], 0, actions]
  inside = jnp.arange(num_nodes)[None] == top[:, None]
  parent = _parents(tree)
  inside = jax.lax.fori_loop(
    0, max_depth, lambda _, inside: inside | inside[games, parent], inside
  )
  # A child has a higher index than its parent, so the order can stay.
  place = jnp.cumsum(inside, axis=1) - 1
  stays = inside & (place < num_simulations)
  source = jnp.argsort(~stays, axis=1, stable=True)[:, :num_simulations]
  real = jnp.sum(stays, axis=1)[:, None]
  is_real = jnp.arange(num_simulations)[None] < real
  moved = jnp.where(stays, place, tree_search.NO_NODE)
  # NO_NODE reads the last column, and stays what it is.
  moved = jnp.pad(moved, ((0, 0), (0, 1)), constant_values=tree_search.NO_NODE)

  def take(room, x):
    x = x[games, source]
    mask = is_real.reshape(*is_real.shape, *[1] * (x.ndim - 2))
    return room.at[:, :num_simulations].set(
      jnp.where(mask, x, room[:, :num_simulations])
    )

  tree = tree.replace(
    children=moved[games[..., None], tree.children],
    best_child=moved[games, tree.best_child],
  )
  embedding = jax.tree.map(lambda x: x[:, 0], tree.embedding)
  room = nothing(embedding, num_simulations, num_actions, tree.backup)
  return jax.tree.map(take, room, tree)


def _parents(tree: tree_search.Tree) -> jax.Array:
  """`i32[B, N]`, 0 for the root and for slots that nothing leads to."""
  batch, num_nodes, _ = tree.children.shape
  node = jnp.arange(num_nodes, dtype=jnp.int32)[:, None]
  is_edge = tree.children != tree_search.NO_NODE
  child = jnp.where(is_edge, tree.children, num_nodes).reshape(batch, -1)
  source = jnp.broadcast_to(node, tree.children.shape).reshape(batch, -1)
  parent = jnp.zeros((batch, num_nodes), jnp.int32)
  return parent.at[jnp.arange(batch)[:, None], child].set(source, mode='drop')
