"""Order statistics without sorts: sorting networks and comparisons of pairs.

XLA's sort handles one short row at a time and is 10 to 100 times too slow
here. The functions below are minima, maxima and comparisons of whole panels,
which XLA fuses into one loop whose values stay in registers.
"""

import jax
import jax.numpy as jnp

# `cross_sectional_rank` compares with so many stocks per pass, and lays so many
# days side by side that these stocks stay in a core's nearest cache.
OTHERS, DAYS = 20, 128


def sortable(x):
  """Integers in the order of the floats: they compare in one instruction."""
  bits = jax.lax.bitcast_convert_type(x, jnp.int32)
  return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def unsortable(keys):
  """The floats of `sortable`."""
  bits = keys ^ ((keys >> 31) & 0x7FFFFFFF)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


def sort(items):
  """Sorts a list of arrays elementwise (Batcher's odd-even merge sort)."""
  if len(items) <= 1:
    return items
  half = len(items) // 2
  return merge(sort(items[:half]), sort(items[half:]))


def merge(a, b):
  """Merges two sorted lists of arrays elementwise."""
  if not a or not b:
    return a + b
  if len(a) == len(b) == 1:
    return [jnp.minimum(a[0], b[0]), jnp.maximum(a[0], b[0])]
  even, odd = merge(a[::2], b[::2]), merge(a[1::2], b[1::2])
  # Either half is sorted, and together they are but for neighbours.
  merged = [even[0]]
  for low, high in zip(odd, even[1:], strict=False):
    merged += [jnp.minimum(low, high), jnp.maximum(low, high)]
  return merged + odd[len(even) - 1 :] + even[len(odd) + 1 :]


def middle(items):
  """The two middle values of a list of arrays, the same one if it is odd."""
  ordered = sort(items)
  return ordered[(len(items) - 1) // 2], ordered[len(items) // 2]


def cross_sectional_rank(x, members):
  """Average rank / count over members with a value, `[T, S] -> [T, S]`.

  A stock's average rank is half of one more than the stocks below it plus the
  stocks not above it, itself included: a comparison of all pairs.
  """
  num_days, num_stocks = x.shape
  ranked = members & ~jnp.isnan(x)
  x = jnp.where(x == 0, 0.0, x)  # As integers, -0 and 0 would not tie.
  # Stocks out of the ranking are never below nor level with anybody.
  keys = sortable(jnp.where(ranked, x, jnp.inf))
  blocks, passes = -(-num_days // DAYS), -(-num_stocks // OTHERS)
  days, width = blocks * DAYS, passes * OTHERS
  padding = ((0, days - num_days), (0, width - num_stocks))
  last = jnp.iinfo(jnp.int32).max
  keys = jnp.pad(keys, padding, constant_values=last)
  # [blocks, S, DAYS]: comparisons run along days. Fused with what makes them,
  # the keys would be made anew for every comparison.
  columns = keys.reshape(blocks, DAYS, width).transpose(0, 2, 1)
  columns = jax.lax.optimization_barrier(columns)

  def body(i, count):
    others = jax.lax.dynamic_slice_in_dim(columns, i * OTHERS, OTHERS, axis=1)
    others = jax.lax.optimization_barrier(others)
    for j in range(OTHERS):
      other = others[:, j : j + 1]
      count = count + jnp.where(other < columns, 1, 0)
      count = count + jnp.where(other <= columns, 1, 0)
    return count

  count = jnp.ones(columns.shape, jnp.int32)
  count = jax.lax.fori_loop(0, passes, body, count)
  count = count.transpose(0, 2, 1).reshape(days, width)
  count = count[:num_days, :num_stocks]
  size = jnp.maximum(jnp.sum(ranked, axis=1, keepdims=True), 1)
  rank = count.astype(jnp.float32) / (2 * size).astype(jnp.float32)
  return jnp.where(ranked, rank, jnp.nan)
