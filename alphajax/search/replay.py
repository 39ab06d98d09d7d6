"""Replay: the last states that search has visited, with what it found there."""

import jax
import jax.numpy as jnp
from flax import struct

from alphajax.search.losses import Batch


@struct.dataclass
class Replay:
  """A ring of `R` rows; kept across iterations.

  rows: leading axis R.
  next: where the next row goes.
  size: rows that hold something, at most R.
  """

  rows: Batch
  next: jax.Array  # i32[]
  size: jax.Array  # i32[]


def empty(capacity: int, max_tokens: int, num_actions: int) -> Replay:
  """A replay without rows."""
  rows = Batch(
    tokens=jnp.zeros((capacity, max_tokens), jnp.int32),
    action_weights=jnp.zeros((capacity, num_actions), jnp.float32),
    invalid_actions=jnp.zeros((capacity, num_actions), bool),
    value_target=jnp.zeros(capacity, jnp.float32),
  )
  return Replay(rows, jnp.int32(0), jnp.int32(0))


def add(replay: Replay, rows: Batch, valid: jax.Array) -> Replay:
  """Appends the valid rows in order; the oldest give way.

  Args:
    replay: ring of R rows.
    rows: leading axis N <= R.
    valid: bool[N].
  """
  capacity = replay.rows.value_target.shape[0]
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


def sample(replay: Replay, rng_key: jax.Array, batch_size: int) -> Batch:
  """Draws rows uniformly with replacement; the key is consumed."""
  index = jax.random.randint(rng_key, (batch_size,), 0, replay.size)
  return jax.tree.map(lambda ring: ring[index], replay.rows)
