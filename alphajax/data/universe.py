"""Members of the universe side by side.

A panel has a column for every stock that is ever a member, often twice as many
as are members on a day. What looks at members only, ranks, correlations and
the pool, works on `[T, M]` planes instead, M being the most members of a day.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.data.device import put

WIDTH = 16  # M is a multiple of it: a vector of float32 on a wide CPU.
# Nothing moves where members fill more of the panel: it would cost more.
FULL = 0.9


@struct.dataclass
class Universe:
  """The members of each day.

  mask: True for members.
  columns: their positions in the flattened panel, in column order; None where
    members stay in their columns.
  place: where a member stands among them; 0 for others.
  present: False in the padding of a day with fewer members.
  """

  mask: jax.Array  # bool[T, S]
  columns: jax.Array | None  # i32[T, M]
  place: jax.Array | None  # i32[T, S] in the flattened [T, M] plane
  present: jax.Array  # bool[T, M]


def make(mask: np.ndarray) -> Universe:
  """The universe of a membership mask `bool[T, S]`; host code."""
  mask = np.asarray(mask, bool)
  columns, present = side_by_side(mask)
  if columns is None:
    plane = put(mask)
    return Universe(mask=plane, columns=None, place=None, present=plane)
  place = np.cumsum(mask, axis=1) - 1
  first = np.arange(len(mask))[:, None] * columns.shape[1]
  place = np.where(mask, first + place, 0)
  return Universe(
    mask=put(mask),
    columns=put(columns),
    place=put(place.astype(np.int32)),
    present=put(present),
  )


def side_by_side(mask: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
  """`columns` and `present` of a universe, on the host.

  mask: bool[T, S].
  """
  num_days, num_stocks = mask.shape
  most = int(mask.sum(1).max(initial=1))
  if most > FULL * num_stocks:
    return None, mask
  width = min(-(-most // WIDTH) * WIDTH, num_stocks)
  first = np.argsort(~mask, axis=1, kind='stable')[:, :width]
  columns = np.arange(num_days)[:, None] * num_stocks + first
  return columns.astype(np.int32), np.take_along_axis(mask, first, axis=1)


@functools.partial(jax.jit, inline=True)
def gather(universe: Universe, values: jax.Array) -> jax.Array:
  """Members' values side by side, `[T, S] -> [T, M]`; NaN in the padding."""
  if universe.columns is not None:
    flat = values.reshape(-1).at[universe.columns]
    values = flat.get(mode='promise_in_bounds')
  return jnp.where(universe.present, values, jnp.nan)


@functools.partial(jax.jit, inline=True)
def scatter(universe: Universe, values: jax.Array) -> jax.Array:
  """The inverse, `[T, M] -> [T, S]`; NaN for stocks that are no members."""
  if universe.place is not None:
    flat = values.reshape(-1).at[universe.place]
    values = flat.get(mode='promise_in_bounds')
  return jnp.where(universe.mask, values, jnp.nan)
