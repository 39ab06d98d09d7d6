"""Order statistics without sorts: rolling median and cross-sectional rank.

XLA's sort handles one short row at a time and is 10 to 50 times too slow here.
Both operators below are written as whole-panel minima, maxima and comparisons,
which run at the speed of memory on CPU and accelerators alike.
"""

import jax
import jax.numpy as jnp

BLOCK = 8  # Days sorted together by `rolling_median`.


def merge_sorted(a, b):
  """Merges two sorted lists of arrays elementwise (Batcher, odd-even)."""
  if not a or not b:
    return a + b
  if len(a) == 1 and len(b) == 1:
    return [jnp.minimum(a[0], b[0]), jnp.maximum(a[0], b[0])]
  even = merge_sorted(a[::2], b[::2])
  odd = merge_sorted(a[1::2], b[1::2])
  merged = [even[0]]
  # The two halves interleave up to one exchange between neighbours.
  for i in range(max(len(odd), len(even) - 1)):
    if i < len(odd) and i + 1 < len(even):
      merged.append(jnp.minimum(odd[i], even[i + 1]))
      merged.append(jnp.maximum(odd[i], even[i + 1]))
    else:
      merged.append(odd[i] if i < len(odd) else even[i + 1])
  return merged


def smallest_of_union(a, b, k):
  """The k-th smallest (from 0) of two sorted lists, without merging them."""
  candidates = []
  for i in range(max(0, k + 1 - len(b)), min(k + 1, len(a)) + 1):
    j = k + 1 - i  # i from a, j from b are at most the answer.
    sides = [side[n - 1] for side, n in ((a, i), (b, j)) if n > 0]
    candidates.append(sides[0] if len(sides) == 1 else jnp.maximum(*sides))
  smallest = candidates[0]
  for candidate in candidates[1:]:
    smallest = jnp.minimum(smallest, candidate)
  return smallest


def _insert(ordered, x):
  """Inserts x into a sorted list of arrays."""
  return merge_sorted(ordered, [x])


def _delay_blocks(ordered, blocks):
  """The sorted lists of `blocks` blocks earlier; +inf before the first."""
  pads = ((blocks, 0), (0, 0))
  return [
    jnp.pad(x, pads, constant_values=jnp.inf)[: x.shape[0]] for x in ordered
  ]


def _merge_blocks(block, count):
  """Sorted values of the `count` blocks before each block."""
  merged, done, days, size = [], 0, block, 1
  while count:
    if count & size:
      earlier = _delay_blocks(days, done + 1)
      merged = merge_sorted(earlier, merged)
      count -= size
      done += size
    if count:
      days = merge_sorted(_delay_blocks(days, size), days)
      size *= 2
  return merged


def rolling_median(x, window):
  """Median of the trailing window, `[T, S]`; NaN unless full and complete.

  Days are sorted in blocks of eight. A window is a few whole blocks, merged
  once for all eight windows that hold them, a piece of the oldest block and a
  piece of today's; the middle is then picked from two sorted lists.
  """
  num_days, num_stocks = x.shape
  size = min(BLOCK, window)
  num_blocks = -(-num_days // size)
  padded = jnp.pad(x, ((0, num_blocks * size - num_days), (0, 0)))
  padded = jnp.where(jnp.isnan(padded), jnp.inf, padded)
  days = padded.reshape(num_blocks, size, num_stocks)
  day = [days[:, i] for i in range(size)]

  prefixes = [[]]
  for i in range(size):
    prefixes.append(_insert(prefixes[-1], day[i]))
  suffixes = [[]]
  for i in reversed(range(1, size)):
    suffixes.append(_insert(suffixes[-1], day[i]))

  middles = []
  merged = {}
  for head in range(1, size + 1):
    whole, tail = divmod(window - head, size)
    if whole not in merged:
      merged[whole] = _merge_blocks(prefixes[size], whole)
    rest = merge_sorted(
      prefixes[head], _delay_blocks(suffixes[tail], whole + 1)
    )
    low = smallest_of_union(merged[whole], rest, (window - 1) // 2)
    high = low
    if window % 2 == 0:
      high = smallest_of_union(merged[whole], rest, window // 2)
    middles.append(low + 0.5 * (high - low))
  median = jnp.stack(middles, axis=1).reshape(-1, num_stocks)[:num_days]
  return jnp.where(_complete(x, window), median, jnp.nan)


def _complete(x, window):
  """True where the trailing window is full and has no NaN."""
  missing = jnp.isnan(x)
  day = jnp.arange(x.shape[0])[:, None]
  last_missing = jax.lax.cummax(jnp.where(missing, day, -1), axis=0)
  return day - last_missing >= window


def cross_sectional_rank(x, members):
  """Average rank / count over members with a value, `[T, S] -> [T, S]`.

  Counts, for every stock, the stocks below it and the stocks not above it: a
  comparison of all pairs, whose mean is the average rank under ties.
  """
  ranked = members & ~jnp.isnan(x)
  x = jnp.where(ranked, x, jnp.inf)  # Never below anybody.
  columns = x.T  # [S, T]: a comparison then runs along days.

  def body(i, twice):
    other = jax.lax.dynamic_slice_in_dim(columns, i, 1)
    below = (other < columns).astype(jnp.int32)
    return twice + below + (other <= columns).astype(jnp.int32)

  twice = jnp.zeros(columns.shape, jnp.int32)
  twice = jax.lax.fori_loop(0, columns.shape[0], body, twice).T
  count = jnp.sum(ranked, axis=1, keepdims=True)
  rank = (twice + 1).astype(jnp.float32) / (2.0 * jnp.maximum(count, 1))
  return jnp.where(ranked, rank, jnp.nan)
