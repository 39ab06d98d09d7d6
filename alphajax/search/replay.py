"""Replay: the last rows of experience, whatever a row is made of."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

PRIORITY_FLOOR = 1e-6


@struct.dataclass
class Replay:
  """A ring of `R` rows; kept across iterations.

  rows: any pytree of arrays with the leading axis R, such as `losses.Batch`.
  next: where the next row goes.
  size: rows that hold something, at most R.
  """

  rows: Any
  next: jax.Array  # i32[]
  size: jax.Array  # i32[]


@functools.partial(jax.jit, static_argnums=0)
def empty(capacity: int, row: Any) -> Replay:
  """A replay without rows.

  row: the arrays of one row; only their shapes and types count.
  """
  rows = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), row)
  return Replay(rows, jnp.int32(0), jnp.int32(0))


def add(replay: Replay, rows: Any, valid: jax.Array) -> Replay:
  """Appends the valid rows in order; the oldest give way.

  Args:
    replay: ring of R rows.
    rows: of the same structure, with the leading axis N <= R.
    valid: bool[N].

  Raises:
    ValueError: more rows than the ring has.
  """
  chex.assert_rank(valid, 1)
  chex.assert_trees_all_equal_structs(replay.rows, rows)
  chex.assert_tree_shape_prefix(rows, valid.shape)
  capacity = jax.tree.leaves(replay.rows)[0].shape[0]
  if valid.shape[0] > capacity:
    raise ValueError(
      f'a replay of {capacity} rows cannot take {valid.shape[0]} at once; '
      'raise config.training.replay_size'
    )
  count = jnp.cumsum(valid)
  position = (replay.next + count - 1) % capacity
  position = jnp.where(valid, position, capacity)  # Dropped by the scatter.
  kept = jax.tree.map(
    lambda ring, new: ring.at[position].set(new, mode='drop'), replay.rows, rows
  )
  return Replay(
    kept,
    (replay.next + count[-1]) % capacity,
    jnp.minimum(replay.size + count[-1], capacity),
  )


def sample(replay: Replay, rng_key: jax.Array, batch_size: int) -> Any:
  """Draws rows uniformly with replacement; the key is consumed."""
  index = jax.random.randint(rng_key, (batch_size,), 0, replay.size)
  return jax.tree.map(lambda ring: ring[index], replay.rows)


def sample_by_priority(
  replay: Replay,
  priorities: jax.Array,
  rng_key: jax.Array,
  batch_size: int,
  *,
  exponent: float,
  importance: float,
) -> tuple[Any, jax.Array, jax.Array]:
  """Draws rows as often as `priority ** exponent`, with replacement.

  Schaul et al. 2016; an exponent of 0 draws all alike.

  Args:
    replay: ring of R rows, at least one of them filled.
    priorities: f32[R].
    rng_key: consumed.
    batch_size: B.
    exponent: of the priorities.
    importance: 1 takes the bias of the drawing off the weights, 0 does not.

  Returns:
    (rows, their places i32[B], their weights f32[B], of which the largest
    is 1).
  """
  filled = jnp.arange(priorities.shape[0]) < replay.size
  # Whatever an error was, its row can be drawn again.
  shares = jnp.maximum(priorities, PRIORITY_FLOOR) ** exponent
  ends = jnp.cumsum(jnp.where(filled, shares, 0.0))
  at = jax.random.uniform(rng_key, (batch_size,)) * ends[-1]
  index = jnp.searchsorted(ends, at, side='right')
  index = jnp.minimum(index, replay.size - 1).astype(jnp.int32)
  weights = (shares[index] / ends[-1] * replay.size) ** -importance
  rows = jax.tree.map(lambda ring: ring[index], replay.rows)
  return rows, index, weights / jnp.max(weights)
