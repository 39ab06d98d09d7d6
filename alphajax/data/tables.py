"""Files, folders and arrays -> a long table, before any check of values."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from alphajax.data import checks, qlib_binary

MISSING_TEXT = ['', 'NA', 'N/A', 'NaN', 'nan', 'None', 'null']


def read(path, columns, universe, members_only, features=()):
  """Reads a file or folder into a long table and notes.

  `columns` renames; only the columns that loading uses are read. A qlib folder
  has no membership column but lists, of which `universe` names one.
  """
  wanted = {*checks.REQUIRED, *checks.NUMERIC, *features, universe}
  suffix = ''.join(path.suffixes[-2:]).lower()
  if path.is_dir():
    if not qlib_binary.is_qlib(path):
      raise ValueError(
        f'{path}: a folder without calendars/day.txt is not a qlib folder; '
        'pass a .parquet or .csv file'
      )
    return qlib_binary.read(path, universe or 'all', members_only, features)
  if path.stat().st_size == 0:
    raise ValueError(f'{path}: the file is empty; export it again')
  if suffix.endswith(('.parquet', '.pq')):
    names = pq.read_schema(path).names
    used = [n for n in names if columns.get(n, n) in wanted]
    frame = pd.read_parquet(path, columns=used)
    return _rename(frame, columns, str(path)), []
  if suffix.endswith(('.csv', '.csv.gz')):
    return _rename(_read_csv(path, columns, wanted), columns, str(path)), []
  raise ValueError(
    f'{path}: unknown extension {path.suffix!r}; use .parquet, .csv, .csv.gz '
    'or a qlib folder'
  )


def _read_csv(path, columns, wanted) -> pd.DataFrame:
  names = pd.read_csv(path, nrows=0).columns
  ours = {name: columns.get(name, name) for name in names}
  # Symbols stay text: 000001 keeps its zeros, and NA is a ticker.
  text = {n: str for n, our in ours.items() if our in ('date', 'symbol')}
  missing = {
    n: [''] if our == 'symbol' else MISSING_TEXT for n, our in ours.items()
  }
  return pd.read_csv(
    path,
    usecols=[n for n, our in ours.items() if our in wanted],
    dtype=text,
    na_values=missing,
    keep_default_na=False,
    low_memory=False,
  )


def _rename(frame, columns, source) -> pd.DataFrame:
  frame = frame.rename(columns=columns)
  twice = frame.columns[frame.columns.duplicated()].tolist()
  if twice:
    raise ValueError(f'{source}: column {twice[0]} occurs twice after renaming')
  return frame


def from_memory(source, columns):
  """A long table of a DataFrame or of a mapping of `[T, S]` arrays."""
  if isinstance(source, pd.DataFrame):
    # symbol and date are often the index.
    named = [n for n in source.index.names if n is not None]
    frame = source.reset_index(named) if named else source
    return _rename(frame, columns, 'table in memory'), []
  arrays = {columns.get(name, name): value for name, value in source.items()}
  checks.check_columns(arrays, 'arrays in memory')
  days, symbols = list(arrays.pop('date')), list(arrays.pop('symbol'))
  shape = (len(days), len(symbols))
  for name, value in arrays.items():
    if np.shape(value) != shape:
      raise ValueError(
        f'arrays in memory: {name} has shape {np.shape(value)}, but {shape[0]} '
        f'dates and {shape[1]} symbols need {shape}'
      )
  frame = pd.DataFrame(
    {name: np.ravel(value) for name, value in arrays.items()}
  )
  frame.insert(0, 'symbol', symbols * len(days))
  frame.insert(0, 'date', np.repeat(np.asarray(days), len(symbols)))
  return frame, []
