"""A qlib binary folder read with NumPy.

calendars/day.txt           one trading day a line
instruments/<universe>.txt  symbol, first day, last day, separated by tabs
features/<symbol>/<field>.day.bin  little-endian float32; the first number is
                            the calendar position of the second, and so on
"""

import pathlib
import re

import numpy as np
import pandas as pd

from alphajax.data.features import FEATURES, PRICES

# Of Shanghai and Shenzhen, which qlib lists among the stocks.
_INDEX = re.compile(r'SH000\d{3}|SZ399\d{3}')
FIELDS = (*FEATURES, 'amount', 'factor')


def is_qlib(folder: pathlib.Path) -> bool:
  """True for a folder laid out as qlib's."""
  return (folder / 'calendars' / 'day.txt').is_file()


def read(
  folder: pathlib.Path,
  universe: str,
  members_only: bool,
  features: tuple[str, ...] = (),
) -> tuple[pd.DataFrame, list[str]]:
  """Reads a folder into a long table and notes.

  qlib stores adjusted prices (raw * factor) and volumes (raw / factor); they
  are turned back into raw ones beside `factor`, as the other formats have
  them. The column named `universe` says who is listed in its file;
  `features` are further fields, taken as they are.

  Raises:
    ValueError: an unknown universe, or a file that is not what qlib writes.
  """
  calendar = _calendar(folder / 'calendars' / 'day.txt')
  files = sorted(p.stem for p in (folder / 'instruments').glob('*.txt'))
  if universe not in files:
    raise ValueError(
      f'{folder}: no universe {universe!r}; pass universe= one of '
      f'{", ".join(files)}'
    )
  spans = _spans(folder / 'instruments' / f'{universe}.txt')
  symbols = set(spans)
  if not members_only and 'all' in files:
    symbols |= set(_spans(folder / 'instruments' / 'all.txt'))
  indices = {symbol for symbol in symbols if _INDEX.fullmatch(symbol.upper())}
  symbols -= indices
  tables, absent = [], []
  for symbol in sorted(symbols):
    table = _stock(folder, symbol, calendar, (*FIELDS, *features))
    if table is None:
      absent.append(symbol)
      continue
    table[universe] = _listed(table['date'], spans.get(symbol, []))
    tables.append(table)
  if not tables:
    raise ValueError(
      f'{folder}: no stock of {universe!r} has a features folder'
    )
  notes = []
  if indices:
    notes.append(
      f'indices are no stocks: {", ".join(sorted(indices))} left out'
    )
  if absent:
    notes.append(
      f'{len(absent)} listed stocks have no features folder: '
      f'{", ".join(absent[:5])}'
    )
  return pd.concat(tables, ignore_index=True), notes


def _calendar(path: pathlib.Path) -> np.ndarray:
  days = np.array(
    [_day(text, f'{path}: line {n}')
     for n, text in enumerate(path.read_text().split(), 1)],
    'datetime64[s]',
  )  # fmt: skip
  back = np.flatnonzero(days[1:] <= days[:-1])
  if back.size:
    raise ValueError(
      f'{path}: line {back[0] + 2}: days must ascend; sort the calendar'
    )
  return days


def _day(text: str, where: str) -> np.datetime64:
  try:
    return np.datetime64(text, 's')
  except ValueError as error:
    raise ValueError(f'{where}: {text!r} is no day like 2010-01-04') from error


def _spans(path: pathlib.Path) -> dict[str, list[tuple]]:
  """Intervals of membership by symbol; a stock may have several."""
  spans = {}
  for number, line in enumerate(path.read_text().splitlines(), 1):
    cells = line.split()
    if len(cells) < 3:
      if cells:
        raise ValueError(
          f'{path}: line {number}: {line!r} needs symbol, first, last day'
        )
      continue
    span = tuple(_day(cell, f'{path}: line {number}') for cell in cells[1:3])
    spans.setdefault(cells[0], []).append(span)
  return spans


def _listed(dates: pd.Series, spans: list[tuple]) -> np.ndarray:
  days = dates.to_numpy()
  listed = np.zeros(len(days), bool)
  for first, last in spans:
    listed |= (days >= first) & (days <= last)
  return listed


def _stock(
  folder: pathlib.Path,
  symbol: str,
  calendar: np.ndarray,
  fields: tuple[str, ...],
) -> pd.DataFrame | None:
  """Raw prices of one stock on the days it has one; None without a folder."""
  names = (symbol.lower(), symbol)
  places = [folder / 'features' / name for name in names]
  place = next((p for p in places if p.is_dir()), None)
  if place is None:
    return None
  columns = {
    field: _series(path, calendar.size)
    for field in fields
    if (path := place / f'{field}.day.bin').is_file()
  }
  if 'factor' in columns:
    factor = columns['factor']
    for field in PRICES:
      if field in columns:
        columns[field] = columns[field] / factor
    if 'volume' in columns:
      columns['volume'] = columns['volume'] * factor
  prices = [
    columns[f] for f in ('open', 'high', 'low', 'close') if f in columns
  ]
  traded = np.isfinite(prices).any(axis=0) if prices else []
  return pd.DataFrame({'date': calendar, 'symbol': symbol, **columns})[traded]


def _series(path: pathlib.Path, num_days: int) -> np.ndarray:
  """One field on the whole calendar, float64, NaN where nothing is stored."""
  size = path.stat().st_size
  if size < 4 or size % 4:
    raise ValueError(
      f'{path}: {size} bytes are not float32 numbers; copy the file again'
    )
  stored = np.fromfile(path, '<f4')
  start, values = stored[0], stored[1:]
  if not (start >= 0 and start == int(start)) or (
    start + values.size > num_days
  ):
    raise ValueError(
      f'{path}: {values.size} days from calendar position {start:g} do not fit '
      f'a calendar of {num_days} days; calendar and features differ in version'
    )
  series = np.full(num_days, np.nan)
  series[int(start) : int(start) + values.size] = values
  return series
