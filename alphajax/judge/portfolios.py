"""What a portfolio wants to hold: target rules, `Market, Book -> Target`.

A rule sees one signal on one day and is a pure function; the caller vmaps. It
names shares of the equity; `execution` trades towards them as far as prices,
limits and money allow, and sells whatever has left the index, whatever a rule
says.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Market(NamedTuple):
  """A day, as it is when orders are placed.

  key: f32[S], minus the signal, +inf where there is none: the best is first.
  order: f32[S], the keys in ascending order.
  member: bool[S], in the universe when the signal was known.
  can_buy, can_sell: bool[S], has a price, and not one at its limit.
  """

  key: jax.Array
  order: jax.Array
  member: jax.Array
  can_buy: jax.Array
  can_sell: jax.Array


class Book(NamedTuple):
  """What is held before the trades: f64[S] of stocks, and cash."""

  value: jax.Array
  cash: jax.Array


class Target(NamedTuple):
  """share: f64[S] of the equity; trade: bool[S], False: leave as it is."""

  share: jax.Array
  trade: jax.Array


class Sizes(NamedTuple):
  """Numbers of the rules; arrays, so that other numbers do not compile."""

  top_k: jax.Array
  drop_n: jax.Array
  rebalance: jax.Array
  groups: jax.Array
  short: jax.Array


def count_of(chosen: jax.Array) -> jax.Array:
  """How many are True. Summed as float32, on a CPU faster and as exact."""
  return jnp.sum(chosen, dtype=jnp.float32).astype(jnp.int32)


def first(
  chosen: jax.Array, key: jax.Array, order: jax.Array, count: jax.Array
) -> jax.Array:
  """The `count` stocks of `chosen` with the smallest keys, bool[S].

  Of equal keys the first columns are taken. All of `chosen` where there are no
  more. order: the keys of all stocks, ascending.

  A search for the last key by halves: nine comparisons of all stocks for 500,
  where sorting what is chosen would cost ten times as much on a CPU.
  """
  num_stocks = key.shape[0]
  key = jnp.where(chosen, key, jnp.nan)  # Is neither below nor equal.
  steps = math.ceil(math.log2(max(num_stocks, 2)))

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    enough = count_of(key <= order[middle]) >= count
    return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

  start = (jnp.int32(0), jnp.int32(num_stocks - 1))
  _, last = jax.lax.fori_loop(0, steps, halve, start)
  before = key < order[last]
  tied = key == order[last]
  room = count - count_of(before)
  picked = before | (tied & _leading(tied, room, steps))
  return picked & (count > 0)


def _leading(tied: jax.Array, room: jax.Array, steps: int) -> jax.Array:
  """The columns up to the one where `room` of `tied` are reached, bool[S].

  Costs nothing where all that are tied have room, as on most days.
  """
  column = jnp.arange(tied.shape[0], dtype=jnp.int32)

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    enough = count_of(tied & (column <= middle)) >= room
    return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

  fits = count_of(tied) <= room
  end = jnp.int32(tied.shape[0] - 1)
  _, last = jax.lax.fori_loop(
    0, jnp.where(fits, 0, steps), halve, (jnp.int32(0), end)
  )
  return column <= last


def top_k(market: Market, book: Book, sizes: Sizes) -> Target:
  """The best `top_k`, of which at most `drop_n` are exchanged on a day.

  With `free` places, the holdings become the best `top_k` of what is held and
  of the best `free + drop_n` others that can be bought; nothing is sold
  without another to take its place. A held stock without a signal ranks last,
  one that cannot be sold keeps its place, one that has left the index gives it
  up. Every place is 1 / top_k of the equity; a place that nothing can fill
  stays in cash. Without `rebalance` only what comes and goes is traded: the
  cash is divided equally among the places to fill.
  """
  held = book.value != 0
  leaving = held & ~market.member & market.can_sell
  stuck = held & ~market.can_sell
  stay = held & market.member & market.can_sell
  known = jnp.isfinite(market.key)
  others = ~held & market.member & market.can_buy & known
  free = sizes.top_k - count_of(held & ~leaving)
  best = first(others, market.key, market.order, free + sizes.drop_n)
  keep = first(
    stay | best, market.key, market.order, sizes.top_k - count_of(stuck)
  )
  kept = (keep & held) | stuck
  come = keep & ~held
  goes = held & ~kept
  raised = book.cash + jnp.sum(jnp.where(goes, book.value, 0.0))
  equity = book.cash + jnp.sum(book.value)
  places = jnp.maximum(sizes.top_k - count_of(kept), 1)
  even = 1.0 / sizes.top_k
  each = jnp.where(
    sizes.rebalance, even, raised / jnp.where(equity > 0, equity, 1.0) / places
  )
  share = jnp.where(come, each, jnp.where(kept, even, 0.0))
  return Target(share, come | goes | (kept & sizes.rebalance))


def quantile(market: Market, book: Book, sizes: Sizes) -> Target:
  """Long the best of `groups` equal groups by signal and short the worst.

  Half of the equity each, equally weighted; without `short` all of it in the
  best. Held as it is on a day with fewer stocks than groups.
  """
  del book
  seen = market.member & jnp.isfinite(market.key)
  count = count_of(seen)
  size = count // sizes.groups
  best = first(seen, market.key, market.order, size)
  # Not the first by the signal's negative: of equal ones both would take the
  # first columns, and a stock could be in both groups.
  worst = seen & ~first(seen, market.key, market.order, count - size)
  side = jnp.where(sizes.short, 0.5, 1.0) / jnp.maximum(size, 1)
  share = jnp.where(best, side, jnp.where(worst & sizes.short, -side, 0.0))
  return Target(share, jnp.broadcast_to(size > 0, seen.shape))


def signal(market: Market, book: Book, sizes: Sizes) -> Target:
  """In proportion to the signal less its mean over members; gross 1.

  Without `short`, in proportion to what is above the mean. Held as it is on a
  day with one value for all.
  """
  del book
  seen = market.member & jnp.isfinite(market.key)
  value = -market.key.astype(jnp.float64)
  count = jnp.maximum(count_of(seen), 1)
  mean = jnp.sum(jnp.where(seen, value, 0.0)) / count
  apart = jnp.where(seen, value - mean, 0.0)
  apart = jnp.where(sizes.short, apart, jnp.maximum(apart, 0.0))
  gross = jnp.sum(jnp.abs(apart))
  largest = jnp.max(jnp.where(seen, jnp.abs(value), 0.0))
  spread = gross > CONSTANT * largest * count
  share = apart / jnp.where(spread, gross, 1.0)
  return Target(share, jnp.broadcast_to(spread, seen.shape))


# One value for all, but for the rounding of its mean in float64.
CONSTANT = 1e-14
RULES = {'top_k': top_k, 'quantile': quantile, 'signal': signal}
