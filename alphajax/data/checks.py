"""Checks of a long-format price table at the border.

Every function raises a `ValueError` that names the source, the column, the
first offending rows (counted from 0, header excluded) and the remedy.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

REQUIRED = ('date', 'symbol', 'open', 'high', 'low', 'close', 'volume')
# Positive and finite wherever they are known.
POSITIVE = ('open', 'high', 'low', 'close', 'vwap', 'factor', 'adj_close')
# Finite and not negative wherever they are known.
COUNTS = ('volume', 'amount')
NUMERIC = POSITIVE + COUNTS
SHOWN = 3  # Offending rows in a message.


def check_columns(columns, source: str, needed=REQUIRED) -> None:
  """Refuses a table without one of the needed columns."""
  missing = [name for name in needed if name not in columns]
  if missing:
    raise ValueError(
      f'{source}: missing column {", ".join(missing)}; the table has '
      f'{", ".join(map(str, columns))}; rename with columns={{"their": "ours"}}'
    )


def parse_dates(frame: pd.DataFrame, source: str) -> pd.DataFrame:
  """Turns `date` into datetime64 days; text must be ISO or YYYYMMDD."""
  if frame.empty:
    raise ValueError(f'{source}: empty, it has no rows; check the export')
  column = frame['date']
  if pd.api.types.is_numeric_dtype(column):
    # A missing cell turns whole numbers into floats.
    column = column.astype('Int64').astype('string')
  if pd.api.types.is_datetime64_any_dtype(column):
    dates = column.dt.tz_localize(None)
  else:
    text = column.astype('string').str.strip()
    compact = text.str.fullmatch(r'\d{8}').fillna(False)
    dates = pd.to_datetime(
      text.where(~compact), format='ISO8601', errors='coerce'
    ).fillna(
      pd.to_datetime(text.where(compact), format='%Y%m%d', errors='coerce')
    )
  _refuse(
    frame,
    dates.isna(),
    source,
    'date',
    'unparsable date',
    'write days as 2010-01-04 or 20100104',
  )
  return frame.assign(date=dates.dt.normalize().astype('datetime64[s]'))


def clean(
  frame: pd.DataFrame,
  source: str,
  universe: str | None,
  features: Sequence[str] = (),
) -> pd.DataFrame:
  """Checks a table whose dates are parsed; returns it with plain types.

  `symbol` becomes categorical, prices and further `features` float64,
  `universe` (if any) boolean.
  """
  _refuse(
    frame,
    frame['symbol'].isna() | (frame['symbol'].astype('string') == ''),
    source,
    'symbol',
    'missing symbol',
    'fill the symbol in or drop the rows',
    shown=('date',),
  )
  symbols = frame['symbol'].astype('string').astype('category')
  frame = frame.assign(symbol=symbols)
  check_order(frame, source)
  for name in (*NUMERIC, *features):
    if name in frame:
      frame[name] = _numbers(frame, name, source)
  check_prices(frame, source)
  check_features(frame, source, features)
  if universe is not None:
    frame[universe] = _flags(frame, universe, source)
    if not frame[universe].any():
      raise ValueError(
        f'{source}: column {universe}: no stock is ever a member; check the '
        'membership column, or pass universe=None to take every stock'
      )
  return frame


def check_order(frame: pd.DataFrame, source: str) -> None:
  """Refuses repeated (date, symbol) and dates that go back within a symbol.

  Both orders in use, by symbol and by date, are fine. Dates that go back
  mostly mean two tables glued together, so they are refused, not sorted.
  """
  codes = frame['symbol'].cat.codes.to_numpy()
  seconds = frame['date'].to_numpy().astype('int64')
  order = np.argsort(codes, kind='stable')
  same = codes[order][1:] == codes[order][:-1]
  step = seconds[order][1:] - seconds[order][:-1]
  repeated = frame.duplicated(['date', 'symbol'], keep=False).to_numpy()
  _refuse(
    frame,
    repeated,
    source,
    'date, symbol',
    'duplicated (date, symbol)',
    'keep one row per stock and day',
    shown=('close',),
  )
  back = np.zeros(len(frame), bool)
  back[order[1:][same & (step < 0)]] = True
  _refuse(
    frame,
    back,
    source,
    'date',
    'unsorted dates: these rows are earlier than the row of the same symbol '
    'before them',
    "sort the table: frame.sort_values(['symbol', 'date'])",
  )


def check_prices(frame: pd.DataFrame, source: str) -> None:
  """Refuses impossible prices, volumes and amounts, and columns of nothing."""
  for name in (n for n in NUMERIC if n in frame):
    if frame[name].isna().all():
      raise ValueError(
        f'{source}: column {name}: missing in every row; fill it'
        + (' in' if name in REQUIRED else ' in or drop the column')
      )
  for name in (n for n in POSITIVE if n in frame):
    values = frame[name]
    _refuse(
      frame,
      (values <= 0) | np.isinf(values),
      source,
      name,
      'non-positive or infinite price',
      'leave an unknown price empty (NaN) or drop the row',
    )
  for name in (n for n in COUNTS if n in frame):
    values = frame[name]
    _refuse(
      frame,
      (values < 0) | np.isinf(values),
      source,
      name,
      f'negative or infinite {name}',
      'leave an unknown value empty (NaN) or drop the row',
    )
  _refuse(
    frame,
    frame['high'] < frame['low'],
    source,
    'high, low',
    'high < low',
    'swap the columns if they are exchanged, else drop the rows',
    shown=('high', 'low'),
  )


def check_features(
  frame: pd.DataFrame, source: str, features: Sequence[str]
) -> None:
  """Refuses infinities, and features without a value."""
  for name in features:
    values = frame[name]
    if values.isna().all():
      raise ValueError(
        f'{source}: column {name}: missing in every row; fill it in or take '
        'it out of the features'
      )
    _refuse(
      frame,
      np.isinf(values),
      source,
      name,
      'infinite value',
      'leave an unknown value empty (NaN)',
    )


def check_vwap(vwap: np.ndarray, close: np.ndarray, source: str) -> None:
  """Refuses a vwap in other units than the price: lots, thousands."""
  known = np.isfinite(vwap) & np.isfinite(close)
  if not known.any():
    return
  ratio = float(np.median(vwap[known] / close[known]))
  if not 0.5 < ratio < 2.0:
    raise ValueError(
      f'{source}: columns amount, volume or vwap: vwap / close is {ratio:.4g} '
      'in the median, so the units do not fit; give volume in shares and '
      "amount in the price's currency, or pass vwap='typical'"
    )


def _numbers(frame: pd.DataFrame, name: str, source: str) -> np.ndarray:
  column = frame[name]
  if pd.api.types.is_numeric_dtype(column):
    return column.to_numpy(np.float64, na_value=np.nan)
  numbers = pd.to_numeric(column, errors='coerce')
  _refuse(
    frame,
    numbers.isna() & column.notna(),
    source,
    name,
    'not a number',
    'write plain numbers with a decimal point',
  )
  return numbers.to_numpy(np.float64, na_value=np.nan)


def _flags(frame: pd.DataFrame, name: str, source: str) -> np.ndarray:
  """Reads a membership column: booleans, 0 and 1, or True and False as text."""
  column = frame[name]
  if pd.api.types.is_bool_dtype(column) and not column.isna().any():
    return column.to_numpy(bool)
  text = column.astype('string').str.strip().str.lower()
  true = text.isin(['true', '1', '1.0'])
  _refuse(
    frame,
    ~(true | text.isin(['false', '0', '0.0'])),
    source,
    name,
    'not a membership flag',
    'write 0 or 1, or True or False, in every row',
  )
  return true.to_numpy(bool)


def _refuse(
  frame: pd.DataFrame,
  bad,
  source: str,
  column: str,
  problem: str,
  remedy: str,
  shown: tuple[str, ...] | None = None,
) -> None:
  """Raises if any row is bad, naming the first ones."""
  bad = np.asarray(bad, bool)
  if not bad.any():
    return
  values = (column,) if shown is None else shown
  names = [n for n in ('date', 'symbol', *values) if n in frame]
  rows = frame.loc[bad, list(dict.fromkeys(names))].head(SHOWN)
  lines = '; '.join(
    f'row {index}: '
    + ', '.join(f'{n}={_show(v)}' for n, v in zip(rows, row, strict=True))
    for index, row in zip(rows.index, rows.itertuples(index=False), strict=True)
  )
  raise ValueError(
    f'{source}: column {column}: {problem} in {int(bad.sum())} rows, first '
    f'{lines}. Remedy: {remedy}.'
  )


def _show(value) -> str:
  if isinstance(value, pd.Timestamp):
    return value.date().isoformat()
  return f'{value:g}' if isinstance(value, float) else str(value)
