"""Checks of a long-format price table at the border.

Every function raises a `ValueError` that names the source, the column, the
first offending rows (counted from 0, header excluded) and the remedy.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from alphajax.data import columns as columns_lib
from alphajax.data.features import PRICES, VOLUMES

# Positive and finite wherever they are known.
POSITIVE = (*PRICES, 'factor', 'adj_close')
# Finite and not negative wherever they are known.
COUNTS = (*VOLUMES, 'amount')
NUMERIC = POSITIVE + COUNTS
LARGEST = float(np.finfo(np.float32).max)  # A panel holds float32.
# How far open and close may lie outside [low, high]: rounding of the source.
RANGE_SLACK = 1e-3
FEW_MEMBERS = 20  # A cross-section of fewer says little.
SHOWN = 3  # Offending rows in a message.


def clean(
  frame: pd.DataFrame,
  source: str,
  universe: str | None,
  features: Sequence[str] = (),
  filled_days: str = 'drop',
) -> tuple[pd.DataFrame, list[str], tuple[tuple[str, tuple[str, ...]], ...]]:
  """Checks a table whose dates are parsed.

  Returns:
    The table with plain types, `symbol` categorical, prices and `features`
    float64, `universe` (if any) boolean, in ascending order of days; notes of
    what was decided; and the names of the codes of features that are text.
  """
  refuse(
    frame,
    frame['symbol'].isna()
    | (frame['symbol'].astype('string').str.strip() == ''),
    source,
    'symbol',
    'missing symbol',
    'fill the symbol in or drop the rows',
    shown=('date',),
  )
  notes = _of_numbers(frame['symbol'], source)
  text = frame['symbol'].astype('string')
  symbols = text.str.strip()
  if (symbols != text).any():
    notes.append('blanks around symbols are dropped')
  frame = frame.assign(symbol=symbols.astype('category'))
  if frame['symbol'].nunique() == 1:
    raise ValueError(
      f'{source}: column symbol: {symbols.iloc[0]} is the only stock; factors '
      'compare the stocks of a day, so give a table of many'
    )
  frame = _ascending(frame, notes)
  check_order(frame, source)
  groups = []
  for name in features:
    if _is_text(frame[name]):
      codes = frame[name].astype('string').str.strip().astype('category').cat
      groups.append((name, tuple(map(str, codes.categories))))
      notes.append(f'{name}: {len(codes.categories)} groups')
      number = codes.codes.to_numpy(np.float64)
      frame[name] = np.where(number < 0, np.nan, number)
  for name in (*NUMERIC, *features):
    if name in frame:
      frame[name] = _numbers(frame, name, source)
  frame = _without_filled(frame, source, filled_days, notes)
  check_prices(frame, source)
  check_features(frame, source, features)
  if universe is not None:
    frame[universe] = _flags(frame, universe, source)
    if not frame[universe].any():
      raise ValueError(
        f'{source}: column {universe}: no stock is ever a member; check the '
        'membership column, or take every stock with universe=None, which is '
        '--config.data.universe=""'
      )
  return frame, notes, tuple(groups)


def _of_numbers(symbols: pd.Series, source: str) -> list[str]:
  """A note on symbols that are whole numbers of different lengths.

  Codes such as China's 000001 come as 1 then, and no rule knows them.

  Raises:
    ValueError: symbols with a decimal point.
  """
  kind = symbols.dtype
  if isinstance(kind, pd.CategoricalDtype):
    kind = kind.categories.dtype
  remedy = "frame['symbol'].map('{:06.0f}'.format) makes 000001 of 1"
  if pd.api.types.is_float_dtype(kind):
    raise ValueError(
      f'{source}: column symbol: numbers with a decimal point, such as '
      f'{symbols.iloc[0]}; write symbols as text: {remedy}'
    )
  if not pd.api.types.is_integer_dtype(kind):
    return []
  lengths = symbols.drop_duplicates().astype('string').str.len()
  if lengths.min() == lengths.max():
    return []
  return [
    'symbols are whole numbers, which have no leading zeros; if yours have, '
    f'write them as text: {remedy}'
  ]


def _is_text(column: pd.Series) -> bool:
  """True for names; False for numbers, and where any value is one."""
  if pd.api.types.is_numeric_dtype(column) or not column.notna().any():
    return False
  return bool(pd.to_numeric(column, errors='coerce').isna().all())


def _ascending(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
  """A table that is newest first throughout, turned around."""
  codes = frame['symbol'].cat.codes.to_numpy()
  order = np.argsort(codes, kind='stable')
  same = codes[order][1:] == codes[order][:-1]
  step = np.diff(frame['date'].to_numpy().astype('int64')[order])[same]
  if step.size and (step < 0).all():
    notes.append('the newest rows come first: turned around')
    return frame[::-1]
  return frame


def _without_filled(frame, source, filled_days, notes) -> pd.DataFrame:
  """Leaves out days without a trade, which some vendors fill with prices."""
  idle = (frame['volume'] == 0).to_numpy()
  if not idle.any():
    return frame
  if idle.all():
    raise ValueError(
      f'{source}: column volume: 0 in every row, so nothing was ever traded; '
      'fill it in'
    )
  if filled_days == 'keep':
    notes.append(f'{idle.sum()} rows of volume 0 are kept as they are')
    return frame
  notes.append(
    f'{idle.sum()} rows of volume 0 are days without a trade: left out '
    "(filled_days='keep' keeps them)"
  )
  return frame[~idle].copy()


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
  refuse(
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
  refuse(
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
        + (' in' if name in columns_lib.REQUIRED else ' in or drop the column')
      )
  for name in (n for n in POSITIVE if n in frame):
    values = frame[name]
    refuse(
      frame,
      (values <= 0) | (values > LARGEST),
      source,
      name,
      'non-positive or infinite price',
      'leave an unknown price empty (NaN) or drop the row; CRSP writes a mean '
      'of bid and ask as a negative price: frame[name].abs() if you want it',
    )
  for name in (n for n in COUNTS if n in frame):
    values = frame[name]
    refuse(
      frame,
      (values < 0) | (values > LARGEST),
      source,
      name,
      f'negative or infinite {name}',
      'leave an unknown value empty (NaN) or drop the row',
    )
  refuse(
    frame,
    frame['high'] < frame['low'],
    source,
    'high, low',
    'high < low',
    'swap the columns if they are exchanged, else drop the rows',
    shown=('high', 'low'),
  )
  for name in ('open', 'close'):
    values = frame[name]
    refuse(
      frame,
      (values > frame['high'] * (1 + RANGE_SLACK))
      | (values < frame['low'] * (1 - RANGE_SLACK)),
      source,
      name,
      f'{name} outside [low, high]',
      'mend or drop the rows; columns may be exchanged, or adjusted unalike',
      shown=(name, 'low', 'high'),
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
    refuse(
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
  if 0.5 < ratio < 2.0:
    return
  options = {
    'volume_unit=lots': 100.0,
    'amount_unit=thousands': 1e-3,
    'volume_unit=lots --config.data.amount_unit=thousands': 0.1,
    'amount_unit=millions': 1e-6,
    'volume_unit=shares': 0.01,  # Lots by the header, which they are not.
  }
  fits = [o for o, factor in options.items() if 0.5 < ratio / factor < 2.0]
  remedy = (
    f'set --config.data.{fits[0]}'
    if fits
    else 'set volume_unit and amount_unit, the shares and the money that 1 of '
    'each column stands for'
  )
  raise ValueError(
    f'{source}: columns amount, volume or vwap: vwap / close is {ratio:.4g} '
    f"in the median, so the units do not fit; {remedy}, or vwap='typical' to "
    'do without'
  )


def _numbers(frame: pd.DataFrame, name: str, source: str) -> np.ndarray:
  column = frame[name]
  if pd.api.types.is_bool_dtype(column):
    raise ValueError(
      f'{source}: column {name}: True and False are no numbers; a column may '
      'be named wrongly'
    )
  if pd.api.types.is_numeric_dtype(column):
    return column.to_numpy(np.float64, na_value=np.nan)
  numbers = pd.to_numeric(column, errors='coerce')
  refuse(
    frame,
    numbers.isna() & column.notna(),
    source,
    name,
    'not a number',
    'write plain numbers with a decimal point and no thousands separators',
  )
  return numbers.to_numpy(np.float64, na_value=np.nan)


def _flags(frame: pd.DataFrame, name: str, source: str) -> np.ndarray:
  """Reads a membership column: booleans, 0 and 1, or True and False as text."""
  column = frame[name]
  if pd.api.types.is_bool_dtype(column) and not column.isna().any():
    return column.to_numpy(bool)
  text = column.astype('string').str.strip().str.lower()
  true = text.isin(['true', '1', '1.0'])
  refuse(
    frame,
    ~(true | text.isin(['false', '0', '0.0'])),
    source,
    name,
    'not a membership flag',
    'write 0 or 1, or True or False, in every row',
  )
  return true.to_numpy(bool)


def refuse(
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
    return str(value).removesuffix(' 00:00:00')
  return f'{value:g}' if isinstance(value, float) else str(value)
