"""Rules of the exchanges as data: daily price limits and stamp duty of China.

A limit is a share of the previous close. What is not known here: stocks under
special treatment (ST, 5 % on the main boards) are not marked in a panel, so
their limit is taken for that of the board, and a day at +-5 % for one that
could be traded; the first days of a new listing, which have other limits or
none, are taken to have the board's, so a new stock may wait some days longer.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Board(NamedTuple):
  """A part of a market and the limits it had: (first day, share), ascending."""

  name: str
  pattern: str  # Of the code alone, six digits.
  limits: tuple[tuple[str, float], ...]


# Main boards since 1996-12-16, ChiNext and STAR by their reform and opening,
# Beijing by its opening. B shares (SH900, SZ200) have the main boards' limit.
CHINA = {
  'SH': (
    Board('STAR', r'68[89]\d{3}', (('2019-07-22', 0.2),)),
    Board('Shanghai main', r'(60|90)\d{4}', (('1996-12-16', 0.1),)),
  ),
  'SZ': (
    Board('ChiNext', r'30\d{4}', (('2009-10-30', 0.1), ('2020-08-24', 0.2))),
    Board('Shenzhen main', r'(00|20)\d{4}', (('1996-12-16', 0.1),)),
  ),
  'BJ': (Board('Beijing', r'[489]\d{5}', (('2021-11-15', 0.3),)),),
}
# Stamp duty on what is sold, basis points: (first day, rate), ascending.
STAMP_DUTY = (('2008-09-19', 10.0), ('2023-08-28', 5.0))

_CODES = re.compile(
  r'(?:(?P<head>SH|SZ|BJ)[._]?)?(?P<code>\d{6})(?:[._]?(?P<tail>SH|SZ|BJ|SS))?',
  re.IGNORECASE,
)


def board(symbol: str) -> Board | None:
  """The board of a Chinese symbol; None for any other.

  SH600519, 600519.SH, 600519.SS, 600519: six digits, with or without the
  exchange. Other codes of an exchange, such as indices (SH000300), have none.
  """
  found = _CODES.fullmatch(symbol)
  if not found:
    return None
  exchange = (found['head'] or found['tail'] or '').upper()
  exchange = 'SH' if exchange == 'SS' else exchange
  known = CHINA[exchange] if exchange else sum(CHINA.values(), ())
  return next(
    (b for b in known if re.fullmatch(b.pattern, found['code'])), None
  )


def limits(symbols: Sequence[str], dates: Sequence[str]) -> np.ndarray:
  """Largest move of a day by board, f64[T, S]; infinite where there is none.

  Before the first day that a board's table names, its first limit holds.
  """
  found = np.full((len(dates), len(symbols)), np.inf)
  boards = [board(symbol) for symbol in symbols]
  for each in {b for b in boards if b is not None}:
    columns = [s for s, b in enumerate(boards) if b == each]
    found[:, columns] = dated(each.limits, dates)[:, None]
  return found


def dated(
  table: Sequence[tuple[str, float]], dates: Sequence[str]
) -> np.ndarray:
  """The value in force on each day, f64[T]; the first one before its day."""
  starts = np.array([day for day, _ in table])
  row = np.searchsorted(starts, np.asarray(dates), side='right') - 1
  return np.array([value for _, value in table])[np.maximum(row, 0)]
