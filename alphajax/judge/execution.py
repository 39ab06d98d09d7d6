"""A day of trading: from what a rule wants to what is held. Jitted, float64.

float64, since the money of thousands of days must add up: in float32 the sum
of 60 positions is right to 1e-6 a day, and a break-even cost or a drawdown of
a thousand days is then off by more than what is looked for. It costs little:
a position is one of a few hundred numbers that stay in a core's cache.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.judge import portfolios
from alphajax.judge.portfolios import Book, Market, Sizes, Target, count_of

DUST = 1e-9  # Of the equity: an order that is but rounding, unless it closes.


class Day(NamedTuple):
  """What a day of trading knows that is the same for all signals.

  price: f64[S], of the deal; the last known one where it has none.
  mark: f64[S], of the close; the last known one where it has none.
  before: f64[S], mark of the day before.
  can_buy, can_sell: bool[S].
  member: bool[S], on the day of the signal.
  gone: bool[S], without a price for so long that it has left the data.
  unpriced: bool[S], without a price on this day.
  buy_tax, sell_tax: f64[], what comes on top of the commission, a share.
  active: bool[], False on days on which only what leaves is sold.
  """

  price: jax.Array
  mark: jax.Array
  before: jax.Array
  can_buy: jax.Array
  can_sell: jax.Array
  member: jax.Array
  gone: jax.Array
  unpriced: jax.Array
  buy_tax: jax.Array
  sell_tax: jax.Array
  active: jax.Array


class Fees(NamedTuple):
  """f64[] each. None where there is none: a third of the time goes there."""

  buy: jax.Array  # Of what is bought.
  sell: jax.Array  # Of what is sold.
  minimum: jax.Array | None  # Of an order, money.
  borrow: jax.Array | None  # A day, of what is short.


class Account(NamedTuple):
  shares: jax.Array  # f64[S], negative where short.
  cash: jax.Array  # f64[]


class Record(NamedTuple):
  """What is kept of a day; of one signal.

  nav, cash: at the close. turnover: half of what was bought and sold, over the
  equity before it; cost: over the same; both 0 of an account that a short side
  has ruined. frozen: share of the NAV, either side, in `frozen_stocks` that
  have no price that day. weights: f32[S] of the NAV, at the
  close. traded: f32[S] of the equity, sold is negative; weights and traded are
  None where nobody asks for them.
  """

  nav: jax.Array
  cash: jax.Array
  turnover: jax.Array
  cost: jax.Array
  left_index: jax.Array  # int32[]
  left_data: jax.Array  # int32[]
  blocked: jax.Array  # int32[]
  frozen: jax.Array
  frozen_stocks: jax.Array  # int32[]
  weights: jax.Array | None
  traded: jax.Array | None


@functools.partial(jax.jit, static_argnames=('portfolio', 'keep'))
def simulate(
  keys: jax.Array | np.ndarray,
  orders: jax.Array | np.ndarray,
  days: Day,
  sizes: Sizes,
  fees: Fees,
  portfolio: str,
  keep: bool,
) -> Record:
  """Trades N signals over T days, from 1 of cash; fields `[T, N, ...]`.

  keys, orders: f32[T, N, S], of the signal that day t trades on, see `Market`.
    Days come first, as they are read.
  days: fields [T, ...].
  """
  rule = portfolios.RULES[portfolio]
  _, count, num_stocks = keys.shape

  def day_of_all(accounts, today):
    key, order, day = today
    step = functools.partial(_step, rule, sizes, fees, keep, day)
    return jax.vmap(step)(accounts, key, order)

  start = Account(
    shares=jnp.zeros((count, num_stocks), days.price.dtype),
    cash=jnp.ones(count, days.price.dtype),
  )
  return jax.lax.scan(day_of_all, start, (keys, orders, days))[1]


def _step(
  rule: Callable[[Market, Book, Sizes], Target],
  sizes: Sizes,
  fees: Fees,
  keep: bool,
  day: Day,
  account: Account,
  key: jax.Array,
  order: jax.Array,
) -> tuple[Account, Record]:
  """One day: pays out what is gone, chooses, sells, buys, and values."""
  paid = day.gone & (account.shares != 0)
  out = jnp.where(paid, account.shares * day.before, 0.0)
  shares = jnp.where(paid, 0.0, account.shares)
  lent = jnp.zeros_like(account.cash)
  if fees.borrow is not None:
    lent = fees.borrow * -jnp.sum(jnp.minimum(shares * day.before, 0.0))
  book = Book(shares * day.price, account.cash + jnp.sum(out) - lent)
  equity = book.cash + jnp.sum(book.value)

  market = Market(key, order, day.member, day.can_buy, day.can_sell)
  target = rule(market, book, sizes)
  # Without any signal the holdings stay; what has left the index goes.
  trade = target.trade & day.active & jnp.isfinite(order[0])
  leaving = (book.value != 0) & ~day.member
  share = jnp.where(leaving, 0.0, target.share)
  goal = jnp.maximum(equity, 0.0) * share
  want = jnp.where(trade | leaving, goal - book.value, 0.0)
  want = jnp.where((goal != 0) & (jnp.abs(want) < DUST * equity), 0.0, want)
  sold, bought, cash, cost = _trade(want, day, book.cash, fees)

  ended = (goal == 0) & (sold - bought == book.value)
  shares = jnp.where(ended, 0.0, shares + (bought - sold) / day.price)
  nav = cash + jnp.sum(shares * day.mark)
  part = jnp.where(equity > 0, 1.0 / jnp.where(equity > 0, equity, 1.0), 0.0)
  worth = jnp.where(nav > 0, 1.0 / jnp.where(nav > 0, nav, 1.0), 0.0)
  frozen = day.unpriced & (shares != 0)
  record = Record(
    nav=nav,
    cash=cash,
    turnover=(jnp.sum(bought) + jnp.sum(sold)) * part / 2,
    cost=(cost + lent) * part,
    left_index=count_of(leaving & ended),
    left_data=count_of(paid),
    blocked=count_of(
      ((want < 0) & ~day.can_sell) | ((want > 0) & ~day.can_buy)
    ),
    frozen=jnp.sum(jnp.where(frozen, jnp.abs(shares) * day.mark, 0.0)) * worth,
    frozen_stocks=count_of(frozen),
    weights=_narrow(shares * day.mark * worth) if keep else None,
    traded=_narrow((bought - sold) * part) if keep else None,
  )
  return Account(shares, cash), record


def _trade(
  want: jax.Array, day: Day, cash: jax.Array, fees: Fees
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Sells, then buys with the cash there is: sold, bought, cash, cost.

  Fees of the sales are never more than these bring together, and purchases are
  scaled down to the cash, so that cash is never negative.
  """
  sold = jnp.where(day.can_sell, jnp.maximum(-want, 0.0), 0.0)
  fee = _fees(sold, fees.sell, day.sell_tax, fees.minimum)
  if fees.minimum is not None:
    fee = jnp.minimum(fee, jnp.sum(sold))
  cash = cash + jnp.sum(sold) - fee

  wanted = jnp.where(day.can_buy, jnp.maximum(want, 0.0), 0.0)
  whole = jnp.sum(wanted) * (1 + fees.buy + day.buy_tax)
  room = cash
  if fees.minimum is not None:
    # An order costs at most its rate and the minimum together.
    room = cash - fees.minimum * count_of(wanted > 0)
  room = jnp.maximum(room, 0.0)
  tight = whole > room
  part = jnp.where(tight, room / jnp.where(tight, whole, 1.0), 1.0)
  bought = wanted * part
  paid = _fees(bought, fees.buy, day.buy_tax, fees.minimum)
  left = cash - jnp.sum(bought) - paid
  # What is left of cash that is all spent is rounding, of either sign. (Cash is
  # below 0, and stays, only where a short side lost more than there was.)
  cash = jnp.where(tight & (room > 0), jnp.maximum(left, 0.0), left)
  return sold, bought, cash, fee + paid


def _fees(
  amount: jax.Array, rate: jax.Array, tax: jax.Array, minimum: jax.Array | None
) -> jax.Array:
  """Fees of orders over these amounts, f64[S], together."""
  if minimum is None:
    return (rate + tax) * jnp.sum(amount)
  least = jnp.where(amount > 0, minimum, 0.0)
  return jnp.sum(jnp.maximum(rate * amount, least) + tax * amount)


def _narrow(values: jax.Array) -> jax.Array:
  return values.astype(jnp.float32)
