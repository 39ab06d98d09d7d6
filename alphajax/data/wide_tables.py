"""Tables of a day a row, prices x tickers in two levels of columns.

So yfinance downloads many stocks, with the prices in the first level or, by
`group_by='ticker'`, in the second; its CSVs have a line for each level.
"""

import collections
import csv
import io
import itertools

import pandas as pd

from alphajax.data import columns as columns_lib

# What the levels are called, in the first cell of their lines.
_LEVELS = (
  '', 'price', 'prices', 'ticker', 'tickers', 'symbol', 'symbols',
  'attribute', 'attributes', 'field',
)  # fmt: skip


def is_wide(text: str, separator: str) -> bool:
  """Whether the first two lines of a CSV are headers, one of them of prices."""
  head = _header(text, separator)
  if len(head) < 2 or any(columns_lib.plain(r[0]) not in _LEVELS for r in head):
    return False
  first, second = (row[1:] for row in head)
  for prices, tickers in ((first, second), (second, first)):
    # A ticker has several columns; the first row of a long table has one date.
    several = min(collections.Counter(tickers).values(), default=0) > 1
    if _prices(prices) >= 4 and several:
      return True
  return False


def from_csv(text: str, separator: str, source: str) -> pd.DataFrame:
  """The long table of a CSV with two lines of headers.

  Raises:
    ValueError: lines of different lengths, or two columns of one name.
  """
  first, second = (row[1:] for row in _header(text, separator))
  pairs = list(zip(first, second, strict=False))
  if len(first) != len(second) or len(set(pairs)) < len(pairs):
    twice = next((p for p in pairs if pairs.count(p) > 1), None)
    what = f'{" of ".join(twice)} occurs twice' if twice else 'differ in length'
    raise ValueError(
      f'{source}: the two header lines: {what}; every column needs a price and '
      'a ticker of its own'
    )
  wide = pd.read_csv(
    io.StringIO(text), sep=separator, header=None, skiprows=2, dtype={0: str}
  ).set_index(0)
  wide.columns = pd.MultiIndex.from_tuples(pairs)
  # The line of the index's name has no price, nor has a day of nobody.
  return stack(wide.dropna(how='all'))


def _header(text: str, separator: str) -> list[list[str]]:
  lines = itertools.islice(io.StringIO(text), 2)
  return [row for row in csv.reader(lines, delimiter=separator) if row]


def _prices(names) -> int:
  """How many of the columns that a table needs are among these names."""
  plain = set(map(columns_lib.plain, names))
  return sum(
    bool(plain & {ours, *columns_lib.ALIASES.get(ours, ())})
    for ours in columns_lib.REQUIRED[2:]
  )


def stack(wide: pd.DataFrame) -> pd.DataFrame:
  """A day a row, prices x tickers in two levels of columns -> a long table.

  Raises:
    ValueError: the columns have other than two levels.
  """
  if wide.columns.nlevels != 2:
    raise ValueError(
      f'the columns have {wide.columns.nlevels} levels, expected prices and '
      'tickers; make it long: a row for each date and symbol'
    )
  found = [_prices(wide.columns.unique(level)) for level in (0, 1)]
  tickers = 1 if found[0] >= found[1] else 0
  frame = wide.stack(level=tickers, future_stack=True)
  frame.index.names = ['Date', 'Ticker']
  frame.columns = list(frame.columns)  # Without the name of the level.
  frame = frame.dropna(how='all').reset_index()
  return frame.sort_values(['Ticker', 'Date'], kind='stable', ignore_index=True)
