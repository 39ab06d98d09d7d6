"""At which price each stock can be traded on each day, and what it is worth.

Every row is known on its own day: nothing here looks ahead.
"""

from typing import NamedTuple

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.judge import boards

# Deal -> (feature whose price is paid, days from the signal to the deal).
DEALS = {
  'next_open': ('open', 1),
  'next_close': ('close', 1),
  'close': ('close', 0),
}
# Prices are rounded to a cent: a stock of 5 yuan stops at up to 0.1 % less than
# its limit, and an adjusted price carries the rounding of its factor.
LIMIT_ROUNDING = 0.002
LEVEL_ROUNDING = 1e-6  # Of float32.


class Quotes(NamedTuple):
  """Prices and what they allow; f64 or bool[T, S].

  price: of the deal; the last known price where there is none that day.
  mark: the close; the last known price where there is none. Both are 1 before
    the first price of a stock: nothing is held there.
  can_buy, can_sell: whether an order that day can be filled.
  idle: i32[T, S], days in a row without a price, today included.
  """

  price: np.ndarray
  mark: np.ndarray
  can_buy: np.ndarray
  can_sell: np.ndarray
  idle: np.ndarray


def make(panel: Panel, deal: str, limits: str | float | None) -> Quotes:
  """Quotes of a panel for a deal; see `trading.BacktestSpec`.

  Raises:
    ValueError: no price of that name in the panel, or none on any day.
  """
  close = _prices(panel, 'close', deal)
  price = _prices(panel, DEALS[deal][0], deal)
  traded = np.isfinite(price)
  if 'volume' in panel.feature_names:
    traded &= np.asarray(panel_lib.feature(panel, 'volume')) != 0
  mark = _carried(np.where(np.isfinite(close), close, price))
  before = np.vstack([np.full((1, mark.shape[1]), np.nan), mark[:-1]])
  up, down = _at_limit(price, before, _limits(panel, limits))
  return Quotes(
    price=_filled(np.where(np.isfinite(price), price, before)),
    mark=_filled(mark),
    can_buy=traded & ~up,
    can_sell=traded & ~down,
    idle=_days_without(np.isfinite(close) | np.isfinite(price)),
  )


def benchmark(quotes: Quotes, mask: np.ndarray) -> np.ndarray:
  """Daily return of all members equally weighted, f64[T]; 0 on the first day.

  Members of the day before, from its close to today's; one without a price
  today returns 0, one that never had a price is left out.
  """
  change = quotes.mark[1:] / quotes.mark[:-1] - 1.0
  seen = np.asarray(mask)[:-1] & (
    quotes.idle[:-1] <= np.arange(len(change))[:, None]
  )
  count = np.maximum(seen.sum(1), 1)
  return np.append(0.0, np.where(seen, change, 0.0).sum(1) / count)


def index_return(panel: Panel, name: str) -> np.ndarray:
  """Daily return of an index whose level is a feature, f64[T].

  The same for all stocks that have a row that day; a day without one returns 0.

  Raises:
    ValueError: no such feature, no level on any day, or one that differs
      between stocks.
  """
  level = np.asarray(panel_lib.feature(panel, name), np.float64)
  level = np.where(np.isfinite(level) & (level > 0), level, np.nan)
  known = np.isfinite(level)
  if not known.any():
    raise ValueError(f'benchmark={name!r}: the feature has no level on any day')
  highest = np.max(np.where(known, level, -np.inf), 1)
  lowest = np.min(np.where(known, level, np.inf), 1)
  apart = np.flatnonzero(highest > lowest * (1 + LEVEL_ROUNDING))
  if apart.size:
    raise ValueError(
      f'benchmark={name!r} differs between stocks on {apart.size} days, first '
      f'{panel.dates[apart[0]]}: expected the level of an index, one a day'
    )
  days = np.where(known.any(1), highest, np.nan)
  carried = _carried(days[:, None])[:, 0]
  change = carried[1:] / carried[:-1] - 1.0
  return np.append(0.0, np.where(np.isfinite(change), change, 0.0))


def _prices(panel: Panel, name: str, deal: str) -> np.ndarray:
  """A price, f64[T, S], NaN where there is none."""
  remedy = "deal='next_close'" if name == 'open' else 'a panel with it'
  if name not in panel.feature_names:
    raise ValueError(
      f'deal={deal!r} needs the feature {name!r}, and the panel has '
      f'{", ".join(panel.feature_names)}; use {remedy}'
    )
  values = np.asarray(panel_lib.feature(panel, name), np.float64)
  values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
  if not np.isfinite(values).any():
    raise ValueError(
      f'deal={deal!r}: the feature {name!r} has no price on any day; '
      f'use {remedy}'
    )
  return values


def _limits(panel: Panel, limits: str | float | None) -> np.ndarray:
  if limits is None:
    return np.full((1, 1), np.inf)
  if limits == 'board':
    return boards.limits(panel.symbols, panel.dates)
  return np.full((1, 1), float(limits))


def _at_limit(price, before, limits) -> tuple[np.ndarray, np.ndarray]:
  """Whether a price stands at its upper or at its lower limit, bool[T, S].

  Adjusted prices: the ratio of two adjusted prices is the move from the
  reference price that exchanges use, dividends taken off, so that the test is
  right on days of a dividend too. What it cannot see is the rounding of the
  limit to a cent, for which LIMIT_ROUNDING stands: a stock just below its limit
  is taken to be at it. Of 10,383 closes of the CSI 300's members at a limit by
  raw prices, 2010-2025, it finds all but 4, and takes 921 others for one.
  Prices without adjustment fail it on ex-days.
  """
  change = price / before - 1.0
  with np.errstate(invalid='ignore'):
    at_up = change >= limits - LIMIT_ROUNDING
    at_down = change <= LIMIT_ROUNDING - limits
  return at_up, at_down


def _carried(values: np.ndarray) -> np.ndarray:
  """The last known value, NaN before the first."""
  day = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
  last = np.maximum.accumulate(day)
  return np.take_along_axis(values, last, 0)


def _filled(values: np.ndarray) -> np.ndarray:
  return np.where(np.isfinite(values), values, 1.0)


def _days_without(known: np.ndarray) -> np.ndarray:
  """Days in a row that are False, today included, i32[T, S]."""
  day = np.arange(1, len(known) + 1)[:, None]
  last = np.maximum.accumulate(np.where(known, day, 0))
  return (day - last).astype(np.int32)
