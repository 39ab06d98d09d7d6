"""Prices and volumes without splits and dividends.

Vendors scale adjusted prices to the last row: what is written for 2010 holds
the splits and dividends of all years since. A return does not show it, but a
level does, and a formula that ranks stocks by their prices or volumes then
knows who will split. So levels are scaled to the *first* row of a stock, which
no later day changes; price times volume stays the money that was traded.
"""

from collections.abc import Container
from typing import NamedTuple

import numpy as np
import pandas as pd

from alphajax.data.features import PRICES

ADJUSTMENTS = ('total_return', 'rebase', 'split', 'none')
BASE = 100.0  # Where levels begin that have no true price to begin at.
# A factor is scaled to the last row where it ends at 1 for most stocks.
ENDS_AT_ONE = 0.9


class Ends(NamedTuple):
  """First and last value of a column, by symbol; NaN of one without any."""

  first: pd.Series
  last: pd.Series


def ends(frame: pd.DataFrame) -> Ends:
  """Those of the column that prices are scaled by, in all of a table.

  frame: `date` (datetime64), `symbol`, and the columns, as they were read.
  """
  values = pd.to_numeric(frame[_column(frame)], errors='coerce').astype(float)
  symbols = frame['symbol'].astype('string').str.strip().astype('category')
  known = pd.DataFrame(
    {'symbol': symbols, 'date': frame['date'], 'value': values}
  )[(values > 0).to_numpy()]
  groups = known.sort_values('date').groupby('symbol', observed=True)['value']
  return Ends(groups.first(), groups.last())


def _column(columns: Container[str]) -> str:
  return next(n for n in ('factor', 'adj_close', 'close') if n in columns)


def adjust(
  values: dict[str, np.ndarray],
  how: str,
  symbols: pd.Series,
  known: Ends,
  source: str,
  notes: list[str],
) -> dict[str, np.ndarray]:
  """Multiplies prices by a factor of each row, and divides volumes by it.

  Args:
    values: columns by name, `[rows]`.
    how: of `ADJUSTMENTS`.
    symbols: of the rows.
    known: of the whole table, see `ends`.
    source: what errors call the table.
    notes: what was decided is added to them.

  Raises:
    ValueError: `how` asks for what the columns do not have.
  """
  if how == 'split' and 'factor' in values:
    raise ValueError(
      f'{source}: column factor: one factor carries splits and dividends, so '
      "adjust='split' is not possible; use adjust='total_return' or 'none'"
    )
  if how in ('none', 'split'):
    notes.append(f"adjust='{how}': prices taken as they are")
    return dict(values)
  factor = _factor(values, how, symbols, known, notes)
  if factor is None:
    notes.append(
      'no factor or adj_close: prices taken as they are, as if adjusted; where '
      'they were adjusted backwards from the last row, a level (not a return) '
      "carries later splits and dividends: adjust='rebase' begins every stock "
      f'at {BASE:g}'
    )
    return dict(values)
  lost = int((np.isnan(factor) & np.isfinite(values['close'])).sum())
  if lost:
    notes.append(f'{lost} rows have no adjustment factor: their prices are NaN')
  scaled = {name: values[name] * factor for name in PRICES}
  return {**values, **scaled, 'volume': values['volume'] / factor}


def _factor(values, how, symbols, known, notes) -> np.ndarray | None:
  """What the price of each row is multiplied by; None: nothing says."""
  name = _column(values)
  if name == 'close' and how != 'rebase':
    return None
  first = symbols.map(known.first).to_numpy(float)
  if name == 'factor':
    factor, text = values['factor'], 'factor'
    if how == 'rebase' or _ends_at_one(known):
      factor, text = factor / first, 'factor / its first'
    notes.append(f'adjusted price = price * {text}, volume = volume / {text}')
    return factor
  notes.append(
    f'adjusted price = price * {name} / close, every stock begins at {BASE:g}; '
    'volume so that price * volume stays'
  )
  return values[name] / values['close'] * (BASE / first)


def _ends_at_one(factor: Ends) -> bool:
  """Whether a factor is scaled to the last row, and so knows the future."""
  at_one = np.isclose(factor.last, 1.0, rtol=1e-6)
  begin_at_one = np.allclose(factor.first, 1.0)
  return not begin_at_one and float(at_one.mean()) > ENDS_AT_ONE
