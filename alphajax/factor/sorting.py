"""Order statistics without sorts: sorting networks and comparisons of pairs.

XLA's sort handles one short row at a time and is 10 to 100 times too slow
here. The functions below are minima, maxima and comparisons of whole panels,
which XLA fuses into one loop whose values stay in registers.
"""

import jax
import jax.numpy as jnp

OTHERS = 20  # Stocks that `cross_sectional_rank` compares with per pass.


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
  # [S, T]: comparisons run along days. Stocks out of the ranking are never
  # below nor level with anybody.
  columns = sortable(jnp.where(ranked, x, jnp.inf)).T
  steps = -(-num_stocks // OTHERS)
  padding = steps * OTHERS - num_stocks
  last = jnp.iinfo(jnp.int32).max
  padded = jnp.pad(columns, ((0, padding), (0, 0)), constant_values=last)
  others = padded.reshape(steps, OTHERS, num_days)

  def body(i, count):
    for other in others[i]:
      count = count + jnp.where(other < columns, 1, 0)
      count = count + jnp.where(other <= columns, 1, 0)
    return count

  count = jnp.ones(columns.shape, jnp.int32)
  count = jax.lax.fori_loop(0, steps, body, count).T
  size = jnp.maximum(jnp.sum(ranked, axis=1, keepdims=True), 1)
  rank = count.astype(jnp.float32) / (2 * size).astype(jnp.float32)
  return jnp.where(ranked, rank, jnp.nan)
