"""Order statistics without sorts: networks, moving windows, pairs compared.

On a CPU XLA's sort handles one short row at a time and is 10 to 100 times too
slow here; on an accelerator it ranks the stocks of a day. What is below are
minima, maxima and comparisons of whole panels, which XLA fuses into one loop
whose values stay in registers.
"""

import functools

import jax
import jax.numpy as jnp

# `cross_sectional_rank` compares with so many stocks per pass, and lays so many
# days side by side that these stocks stay in a core's nearest cache.
OTHERS, DAYS = 30, 64
TILE = 64  # Stocks whose sorted windows stay in a core's second cache.
SMALLEST, LARGEST = -0x80000000, 0x7FFFFFFF
NOBODY = LARGEST  # Code of a stock in no group, the largest integer.


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


def pick_trailing(x, window, pick, *panels):
  """What `pick` reads of every trailing window, sorted.

  The window stays sorted as it moves: the day that leaves makes room for the
  one that comes, and what lies between them moves by one place.

  Args:
    x: f32[T, S]; a NaN is larger than all numbers, or with its sign set
      smaller; days before the panel are as large as the largest.
    window: days, static.
    pick: (i32[window, n] `sortable` and ascending, a row of each of `panels`)
      -> tuple of i32[n].
    *panels: [T, S] each.

  Returns:
    Tuple of f32[T, S].
  """
  keys = sortable(x)
  left = jnp.pad(keys, ((window, 0), (0, 0)), constant_values=LARGEST)
  parts = tuple(map(_tiles, (keys, left[: len(x)], *panels)))

  def of_tile(parts):
    start = jnp.full((window, TILE), LARGEST, jnp.int32)
    return jax.lax.scan(functools.partial(_move, pick), start, parts)[1]

  picked = jax.lax.map(of_tile, parts)
  return tuple(
    unsortable(p.swapaxes(0, 1).reshape(len(x), -1)[:, : x.shape[1]])
    for p in picked
  )


def _tiles(panel):
  """`[T, S]` -> `[tiles, T, TILE]`."""
  padded = jnp.pad(panel, ((0, 0), (0, -panel.shape[1] % TILE)))
  return padded.reshape(len(panel), -1, TILE).swapaxes(0, 1)


def _move(pick, ordered, day):
  """The sorted window a day later, and what `pick` reads of it."""
  comes, leaves, *others = day
  above = jnp.concatenate([ordered[1:], jnp.full_like(ordered[:1], LARGEST)])
  below = jnp.concatenate([jnp.full_like(ordered[:1], SMALLEST), ordered[:-1]])
  up = jnp.maximum(ordered, jnp.minimum(above, comes))
  down = jnp.minimum(ordered, jnp.maximum(below, comes))
  ordered = jnp.where(
    comes >= leaves,
    jnp.where(ordered < leaves, ordered, up),
    jnp.where(ordered > leaves, ordered, down),
  )
  return ordered, pick(ordered, *others)


def cross_sectional_rank(x, members):
  """Average rank / count over members with a value, `[T, S] -> [T, S]`.

  A stock's average rank is the stocks below it plus half of one more than those
  level with it, itself included.
  """
  ranked = members & ~jnp.isnan(x)
  x = jnp.where(x == 0, 0.0, x)  # As integers, -0 and 0 would not tie.
  # Stocks out of the ranking are never below nor level with anybody.
  keys = sortable(jnp.where(ranked, x, jnp.inf))
  size = jnp.sum(ranked, axis=1)
  doubled = jax.lax.platform_dependent(
    keys, size, cpu=_doubled_by_pairs, default=_doubled_by_sort
  )
  rank = doubled / (2 * jnp.maximum(size, 1)[:, None]).astype(jnp.float32)
  return jnp.where(ranked, rank, jnp.nan)


def _doubled_by_sort(keys, size):
  """Twice the average ranks of each day, `[T, S]`, on an accelerator.

  There a sort is no slower than a few passes over the plane, and where a key
  stands in the sorted day takes two searches by halves.
  """
  del size  # Who is not ranked is last.
  ordered = jax.lax.sort(keys, dimension=1, is_stable=False)
  width = keys.shape[1]

  def count(compare):  # Of keys that compare true, which come first.
    found = jnp.zeros_like(keys)
    for power in reversed(range(width.bit_length())):
      more = found + (1 << power)
      last = jnp.minimum(more, width) - 1
      key = jnp.take_along_axis(ordered, last, 1, mode='promise_in_bounds')
      found = jnp.where((more <= width) & compare(key, keys), more, found)
    return found

  return (count(jax.lax.lt) + count(jax.lax.le) + 1).astype(jnp.float32)


def _doubled_by_pairs(keys, size):
  """The same for the `size[T]` first of each day, by comparing all pairs."""
  num_days, num_stocks = keys.shape
  days = -(-num_days // DAYS) * DAYS
  width = -(-num_stocks // OTHERS) * OTHERS
  more = (0, days - num_days)
  last = jnp.iinfo(jnp.int32).max
  padding = (more, (0, width - num_stocks))
  keys = jnp.pad(keys, padding, constant_values=last)
  # [blocks, S, DAYS]: comparisons run along days. Fused with what makes them,
  # the keys would be made anew for every comparison.
  columns = keys.reshape(-1, DAYS, width).transpose(0, 2, 1)
  columns = jax.lax.optimization_barrier(columns)
  blocks = columns, jnp.pad(size, more).reshape(-1, DAYS)
  doubled = jax.lax.map(lambda block: _doubled_ranks(*block), blocks)
  doubled = doubled.transpose(0, 2, 1).reshape(days, width)
  return doubled[:num_days, :num_stocks].astype(jnp.float32)


def _doubled_ranks(keys, size):
  """Twice the average ranks of the `size[D]` first in order, `[S, D]`."""
  below = _count(jax.lax.lt, keys, jnp.zeros(keys.shape, jnp.int32))
  # Level is who has as many below: these fit into half of the bits.
  short = jnp.int16 if keys.shape[0] < 1 << 14 else jnp.int32
  short_below = below.astype(short)
  total = jnp.sum(jnp.where(below < size[None], below, 0), axis=0)
  return jax.lax.cond(
    jnp.all(2 * total == size * (size - 1)),  # No two are level.
    lambda: 2 * short_below + 2,
    lambda: _count(jax.lax.eq, short_below, 2 * short_below + 1),
  )


def _count(compare, keys, start):
  """`start` plus, for each of `keys[S, D]`, the stocks that compare true."""

  def body(i, count):
    others = jax.lax.dynamic_slice_in_dim(keys, i * OTHERS, OTHERS)
    others = jax.lax.optimization_barrier(others)
    for j in range(OTHERS):
      count += compare(others[j : j + 1], keys).astype(count.dtype)
    return count

  return jax.lax.fori_loop(0, keys.shape[0] // OTHERS, body, start)


def rank_within(x, group):
  """Average rank / count within equal `group` per day, `[T, S] -> [T, S]`.

  NaN where either is NaN; such stocks are in no group.
  """
  return _in_blocks(_rank_within, x, group)


@jax.custom_vjp
def centre_within(x, group):
  """x less its mean within equal `group` per day; NaN where either is NaN."""
  return _in_blocks(_centre_within, x, group)


def _centre_forward(x, group):
  centred = centre_within(x, group)
  return centred, (~jnp.isnan(centred), group)


def _centre_backward(residuals, cotangent):
  # The loop over groups cannot run backwards, and need not: centring is linear
  # and its matrix symmetric.
  known, group = residuals
  gradient = centre_within(jnp.where(known, cotangent, jnp.nan), group)
  return jnp.where(known, gradient, 0.0), jnp.zeros_like(group)


centre_within.defvjp(_centre_forward, _centre_backward)


def _in_blocks(function, x, group):
  """`function(x[S, D], codes i32[S, D])` on blocks of days; NaN in no group."""
  num_days, num_stocks = x.shape
  days = -(-num_days // DAYS) * DAYS
  width = -(-num_stocks // OTHERS) * OTHERS
  padding = ((0, days - num_days), (0, width - num_stocks))
  known = ~(jnp.isnan(x) | jnp.isnan(group))
  # As integers, -0 and 0 would be two groups.
  codes = jnp.where(known, sortable(jnp.where(group == 0, 0.0, group)), NOBODY)

  def columns(plane, fill):  # [blocks, S, DAYS]
    plane = jnp.pad(plane, padding, constant_values=fill)
    return plane.reshape(-1, DAYS, width).transpose(0, 2, 1)

  blocks = columns(jnp.where(known, x, 0.0), 0.0), columns(codes, NOBODY)
  blocks = jax.lax.optimization_barrier(blocks)
  result = jax.lax.platform_dependent(
    blocks,
    cpu=functools.partial(jax.lax.map, lambda block: function(*block)),
    default=lambda blocks: jax.vmap(function)(*blocks),
  )
  result = result.transpose(0, 2, 1).reshape(days, width)
  return jnp.where(known, result[:num_days, :num_stocks], jnp.nan)


def _each_group(codes, visit, start):
  """`visit(result, members of a group bool[S, D])` of every group of a day."""

  def after(code):
    later = jnp.where(codes > code, codes, NOBODY)
    return jnp.min(later, axis=0, keepdims=True)

  def body(carry):
    code, result = carry
    inside = (codes == code) & (codes < NOBODY)
    return after(code), visit(result, inside)

  first = after(jnp.full((1, codes.shape[1]), -NOBODY - 1, jnp.int32))
  carry = first, start
  return jax.lax.while_loop(lambda c: jnp.any(c[0] < NOBODY), body, carry)[1]


def _centre_within(x, codes):
  def visit(centred, inside):
    share = 1.0 / jnp.maximum(jnp.sum(inside, axis=0), 1).astype(jnp.float32)

    def mean(values):  # Shares are added: no sum that overflows.
      return jnp.sum(jnp.where(inside, values * share, 0.0), axis=0)

    # Twice: the first mean of large numbers is off by some of their last bits.
    first = x - mean(x)
    return jnp.where(inside, first - mean(first), centred)

  return _each_group(codes, visit, jnp.zeros_like(x))


def _rank_within(x, codes):
  def visit(size, inside):
    count = jnp.sum(inside, axis=0, dtype=jnp.int32)
    return jnp.where(inside, count, size)

  zeros = jnp.zeros(x.shape, jnp.int32)
  size = _each_group(codes, visit, zeros)
  keys = sortable(jnp.where(x == 0, 0.0, x))
  keys = jax.lax.optimization_barrier(keys)
  below = _count_within(jax.lax.lt, keys, codes, zeros)
  known = codes < NOBODY
  doubled = jnp.sum(jnp.where(known, 2 * below, 0), axis=0)
  doubled = jax.lax.cond(
    # No two of a group are level.
    jnp.all(doubled == jnp.sum(jnp.where(known, size - 1, 0), axis=0)),
    lambda: 2 * below + 2,
    lambda: _count_within(jax.lax.eq, keys, codes, 2 * below + 1),
  )
  return doubled.astype(jnp.float32) / (2 * jnp.maximum(size, 1))


def _count_within(compare, keys, codes, start):
  """As `_count`, among the stocks with the same code."""

  def body(i, count):
    others = [
      jax.lax.dynamic_slice_in_dim(each, i * OTHERS, OTHERS)
      for each in (keys, codes)
    ]
    others = jax.lax.optimization_barrier(others)
    for j in range(OTHERS):
      key, code = (other[j : j + 1] for other in others)
      hits = (code == codes) & compare(key, keys)
      count += hits.astype(count.dtype)
    return count

  return jax.lax.fori_loop(0, keys.shape[0] // OTHERS, body, start)
