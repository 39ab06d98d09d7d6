"""Trailing windows of a panel: the day before, sums over days, deviations.

A window is full or the result is NaN, and a NaN in the window makes NaN. Every
reduction reads the window's days afresh: no running sums that drift.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alphajax.data import scale

# XLA fuses a window of at most `FUSED` days into one good loop. Much longer
# ones would take minutes to compile and seconds to run: they are cut into
# blocks of at most `BLOCK` days.
FUSED, BLOCK = 100, 64


def delay(x, days):
  """The value `days` earlier, NaN before there is one."""
  if days == 0:
    return x
  days = min(days, x.shape[0])
  return jnp.pad(x[: x.shape[0] - days], ((days, 0), (0, 0)), 'constant',
                 constant_values=jnp.nan)  # fmt: skip


def _pad(x, days):
  """A panel with so many missing days before it."""
  padded = jnp.pad(x, ((days, 0), (0, 0)), constant_values=jnp.nan)
  # Padding inside the loop that reads it would be a branch per element.
  return jax.lax.optimization_barrier(padded)


def _days(padded, count):
  """The panels of the last `count` days, today first, of a padded panel."""
  length = padded.shape[0] - count + 1
  return [padded[start : start + length] for start in reversed(range(count))]


def trailing(x, window):
  """The panel of each day of the window, today first: `window` times `[T, S]`.

  NaN where the window begins before the panel. The slices are views of one
  padded panel; XLA fuses whatever reads them into one loop over the panel in
  which the whole window sits in registers. That is what makes an operator cost
  little more than a copy.
  """
  return _days(_pad(x, window - 1), window)


def over(
  window: int, term: Callable, *panels: jax.Array, combine=jnp.add
) -> jax.Array:
  """Combines `term(days_ago, *values of that day)` over the trailing window.

  One fused loop up to `FUSED` days, and one for each block beyond.

  Args:
    window: days, static.
    term: of the days since, an int or an i32[], and a panel of each of `panels`
      at that day, f32[T, S] and NaN before the first; -> `[T, S]`.
    *panels: f32[T, S] each.
    combine: associative and commutative.

  Returns:
    What `term` and `combine` make, `[T, S]`.
  """
  # Few days stay out of the loop: what two calls have in common, XLA computes
  # once and, with a loop between them, keeps in memory.
  blocks = 0 if window <= FUSED else -(-(window - 1) // BLOCK)
  size = (window - 1) // blocks if blocks else 0
  rest = window - blocks * size
  padded = [_pad(x, window - 1) for x in panels]

  def block(first, parts, count):
    days = zip(*[_days(part, count) for part in parts], strict=True)
    return _reduce(
      combine, [term(first + i, *day) for i, day in enumerate(days)]
    )

  result = block(0, [x[window - rest :] for x in padded], rest)

  def add(k, result):
    first = rest + k * size
    parts = [
      jax.lax.dynamic_slice_in_dim(
        x, window - first - size, x.shape[0] - window + size
      )
      for x in padded
    ]
    return combine(result, block(first, parts, size))

  return jax.lax.fori_loop(0, blocks, add, result) if blocks else result


def _reduce(combine, items):
  """Combines a list by halves: short chains of roundings, and of latencies."""
  while len(items) > 1:
    pairs = zip(items[::2], items[1::2], strict=False)
    combined = [combine(a, b) for a, b in pairs]
    items = combined + items[len(combined) * 2 :]
  return items[0]


class Centred(NamedTuple):
  """A window about its own mean, in units of its own spread.

  today: f32[T, S], the panel.
  window: days.
  unit: a power of two near the largest difference to today.
  inverse: 1 / unit, exactly.
  offset: mean difference to today, in units of `unit`.
  """

  today: jax.Array
  window: int
  unit: jax.Array
  inverse: jax.Array
  offset: jax.Array

  @property
  def mean(self):
    """The window's mean."""
    return self.today + self.offset * self.unit

  def deviation(self, past):
    """Of a day's value from the mean, at most about 2, in units of `unit`."""
    return (past - self.today) * self.inverse - self.offset

  def total(self, function):
    """Sum of a function of the deviations."""
    return over(
      self.window,
      lambda _, past: function(self.deviation(past)),
      self.today,
    )

  def squares(self):
    """Sum of the squared deviations."""
    return self.total(lambda d: d * d)


def centre(x, window) -> Centred:
  """Centres every window so that no digit is lost and no square overflows.

  Differences to today's value are exact or nearly so, whatever the level of
  the data (a volume of 1e10, a constant); a power of two divides exactly.
  """
  largest = over(
    window, lambda _, past: scale.size_bits(past - x), x, combine=jnp.maximum
  )
  unit, inverse = scale.power_of_two(largest)
  total = over(window, lambda _, past: (past - x) * inverse, x)
  return Centred(x, window, unit, inverse, total / window)


def products(a: Centred, b: Centred):
  """Sum of the products of two panels' deviations."""
  return over(
    a.window,
    lambda _, p, q: a.deviation(p) * b.deviation(q),
    a.today,
    b.today,
  )
