"""Members of the universe side by side.

A panel has a column for every stock that is ever a member, often twice as many
as are members on a day. What looks at members only, ranks, correlations and
the pool, works on `[T, M]` planes instead, M being the most members of a day.
"""

import functools
from typing import Any

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
  by_day: positions are those within the day, not in a flattened plane. What is
    gathered so by a device that has some of the days is asked of no other, but
    it is gathered more slowly.
  """

  mask: jax.Array  # bool[T, S]
  columns: jax.Array | None  # i32[T, M]
  place: jax.Array | None  # i32[T, S] in the flattened [T, M] plane
  present: jax.Array  # bool[T, M]
  by_day: bool = struct.field(pytree_node=False, default=False)


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


def make_by_day(mask: Any, width: int | None) -> Universe:
  """`make` of some days bool[T, S], its positions `by_day`, on the host.

  width: `width_of` all days.
  """
  columns: Any = None
  place: Any = None
  present = mask
  if width is not None:
    first, present = _first(mask, width)
    columns = first.astype(np.int32)
    place = np.where(mask, np.cumsum(mask, axis=1) - 1, 0).astype(np.int32)
  return Universe(mask, columns, place, present, by_day=True)


def side_by_side(mask: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
  """`columns` and `present` of a universe, on the host.

  mask: bool[T, S].
  """
  width = width_of(mask)
  if width is None:
    return None, mask
  first, present = _first(mask, width)
  columns = np.arange(len(mask))[:, None] * mask.shape[1] + first
  return columns.astype(np.int32), present


def width_of(mask: np.ndarray) -> int | None:
  """M of a mask bool[T, S]; None where members stay in their columns."""
  num_stocks = mask.shape[1]
  most = int(mask.sum(1).max(initial=1))
  if most > FULL * num_stocks:
    return None
  return min(-(-most // WIDTH) * WIDTH, num_stocks)


def _first(mask: np.ndarray, width: int) -> tuple[Any, Any]:
  """So many stocks of each day, members first, and whether they are some."""
  first = np.argsort(~mask, axis=1, kind='stable')[:, :width]
  return first, np.take_along_axis(mask, first, axis=1)


@functools.partial(jax.jit, inline=True)
def gather(universe: Universe, values: jax.Array) -> jax.Array:
  """Members' values side by side, `[T, S] -> [T, M]`; NaN in the padding."""
  values = _pick(values, universe.columns, universe.by_day)
  return jnp.where(universe.present, values, jnp.nan)


@functools.partial(jax.jit, inline=True)
def scatter(universe: Universe, values: jax.Array) -> jax.Array:
  """The inverse, `[T, M] -> [T, S]`; NaN for stocks that are no members."""
  values = _pick(values, universe.place, universe.by_day)
  return jnp.where(universe.mask, values, jnp.nan)


def _pick(values, places, by_day):
  """What stands in the places; all of it where there are none."""
  if places is None:
    return values
  if by_day:
    return jnp.take_along_axis(values, places, 1, mode='promise_in_bounds')
  return values.reshape(-1).at[places].get(mode='promise_in_bounds')
