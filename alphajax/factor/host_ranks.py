"""Ranks of a whole market on a CPU, by sorting the stocks of each day.

`sorting.cross_sectional_rank` compares all pairs: nothing is faster for some
hundreds of stocks, but the time grows with their square. XLA's own sort is slow
on a CPU; NumPy's is vectorised and lets other threads run meanwhile. The values
are the same to the last bit.
"""

import numpy as np

from alphajax.data.universe import Universe

# Members from which sorting is faster: at 300 pairs take half of its time, at
# 1,200 one and a half times, at 5,000 four and a half times.
LEAST_MEMBERS = 800
DAYS = 32  # Sorted at a time; of 5,000 stocks they stay in a core's cache.
ALIGNED = 64  # Bytes; what JAX takes without a copy.
_NORMAL = np.finfo(np.float32).tiny
_LAST = np.int32(0x7FFFFFFF)  # Behind every key of a float.


def cs_rank(x: np.ndarray, universe: Universe) -> np.ndarray:
  """`operators.cs_rank`, f32[T, S] -> f32[T, S]."""
  rank = _empty(x.shape)
  rank.fill(np.nan)
  present = np.asarray(universe.present)
  if universe.columns is not None:
    columns = np.asarray(universe.columns)
  for start in range(0, len(x), DAYS):
    days = slice(start, start + DAYS)
    if universe.columns is None:
      place = np.arange(x[days].size).reshape(-1, x.shape[1])
    else:
      place = columns[days] - start * x.shape[1]
    values, out = x[days].reshape(-1), rank[days].reshape(-1)
    sorted_place, ranks = _ranks(values[place], present[days], place)
    out[sorted_place] = ranks
  return rank


def _empty(shape: tuple[int, ...]) -> np.ndarray:
  """An f32 array that begins where JAX wants it to."""
  size = 4 * int(np.prod(shape))
  memory = np.empty(size + ALIGNED, np.uint8)
  first = -memory.ctypes.data % ALIGNED
  return memory[first : first + size].view(np.float32).reshape(shape)


def _ranks(
  x: np.ndarray, members: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The places of each day by ascending values, and the ranks of those.

  All `[D, M]`; ranks are NaN behind the last that has one.
  """
  ranked = members & ~np.isnan(x)
  size = ranked.sum(1, dtype=np.int32)[:, None]
  # 0, -0 and what XLA on a CPU takes for 0 are level.
  bits = np.where(np.abs(x) < _NORMAL, np.float32(0), x).view(np.int32)
  keys = np.where(ranked, bits ^ ((bits >> 31) & _LAST), _LAST)
  # The place is in the lower half, so that sorting keys sorts places.
  both = (keys.astype(np.int64) << 32) | place
  both.sort(axis=1)
  doubled = _doubled((both >> 32).astype(np.int32), size).astype(np.float32)
  # As XLA divides by what is the same for a whole day.
  rank = doubled * (np.float32(1) / (2 * np.maximum(size, 1)).astype('f4'))
  known = np.arange(x.shape[1]) < size
  return both & _LAST, np.where(known, rank, np.float32(np.nan))


def _doubled(keys: np.ndarray, size: np.ndarray) -> np.ndarray:
  """Twice the average ranks of sorted keys, `[D, M]`, the first `size` right.

  size: `[D, 1]`.
  """
  count = keys.shape[1]
  level = keys[:, 1:] == keys[:, :-1]
  level &= np.arange(1, count) < size
  doubled = np.broadcast_to(2 * np.arange(1, count + 1), keys.shape)
  days = np.flatnonzero(level.any(1))
  if not days.size:
    return doubled
  doubled, end = doubled.copy(), np.ones((days.size, 1), bool)
  first = np.concatenate([end, ~level[days]], 1)
  last = np.concatenate([~level[days], end], 1)
  rank = np.arange(1, count + 1)
  lowest = np.maximum.accumulate(np.where(first, rank, 0), axis=1)
  highest = np.where(last, rank, count + 1)[:, ::-1]
  highest = np.minimum.accumulate(highest, axis=1)[:, ::-1]
  doubled[days] = lowest + highest
  return doubled
