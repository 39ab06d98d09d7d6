"""Files, folders and arrays -> a long table, before any check of values."""

import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq

from alphajax.data import columns as columns_lib
from alphajax.data import qlib_binary

MISSING_TEXT = ['', 'NA', 'N/A', 'NaN', 'nan', 'None', 'null']
ENCODINGS = ('utf-8-sig', 'gb18030')
SEPARATORS = ',;\t|'
TABLES = ('.parquet', '.pq', '.feather', '.csv', '.csv.gz')
Names = Mapping[str, str]  # Theirs -> ours.


def read(
  path: Path,
  columns: Names,
  universe: str | None,
  members_only: bool,
  features: Sequence[str] = (),
  wanted: Sequence[str] = (),
) -> tuple[pd.DataFrame, list[str], list]:
  """Reads a file or folder into a long table.

  Args:
    path: a file, a qlib folder, a folder of tables, one a stock or in parts.
    columns: renames.
    universe: column of membership; of a qlib folder, one of its lists.
    members_only: of a qlib folder.
    features: further columns.
    wanted: columns that loading uses where they are there.

  Returns:
    (table with our names, notes, the names that the file has).

  Raises:
    ValueError: not a table that can be read; says which and why.
  """
  if path.is_dir() and qlib_binary.is_qlib(path):
    frame, notes = qlib_binary.read(
      path, universe or 'all', members_only, features
    )
    return frame, notes, list(frame.columns)
  needed = (*columns_lib.REQUIRED, *features)
  keep = {*needed, *wanted, *([universe] if universe else [])}
  if path.is_dir():
    return _folder(path, columns, needed, keep)
  return _file(path, columns, needed, keep)


def _folder(path, columns, needed, keep):
  """One table a stock, or parts of one table."""
  files = sorted(p for p in path.rglob('*') if p.name.endswith(TABLES))
  if not files:
    raise ValueError(
      f'{path}: a folder with no {", ".join(TABLES)} and no '
      'calendars/day.txt, so neither tables nor a qlib folder'
    )
  if all(p.suffix in ('.parquet', '.pq') for p in files):
    names = pa.dataset.dataset(path, partitioning='hive').schema.names
    try:
      columns_lib.match(names, columns, str(path), ('symbol',))
    except ValueError:
      pass  # One stock a file, named by it.
    else:
      table = pa.dataset.dataset(path, partitioning='hive')
      return _arrow(
        lambda used: table.to_table(columns=used), table.schema, path, columns,
        needed, keep,
      )  # fmt: skip
  parts, notes, names = [], [], []
  for file in files:
    frame, notes, names = _file(file, columns, needed, keep, named=True)
    parts.append(frame)
  notes = [*notes, f'{len(files)} files of a folder, one table']
  return pd.concat(parts, ignore_index=True), notes, names


def _file(path, columns, needed, keep, named=False):
  """One file; `named`: it may be a stock's, whose symbol is the file's name."""
  if path.stat().st_size == 0:
    raise ValueError(f'{path}: the file is empty; export it again')
  name = path.name.lower()
  if name.endswith(('.parquet', '.pq', '.feather')):
    try:
      if name.endswith('.feather'):
        whole = pa.feather.read_table(path)
        schema, take = whole.schema, whole.select
      else:
        schema = pq.read_schema(path)

        def take(used):
          return pq.read_table(path, columns=used)

      return _arrow(take, schema, path, columns, needed, keep, named)
    except (pa.ArrowInvalid, OSError) as error:
      raise ValueError(
        f'{path}: not a readable {path.suffix} file: {error}; export it again'
      ) from error
  if name.endswith(('.csv', '.csv.gz', '.txt')):
    return _csv(path, columns, needed, keep, named)
  raise ValueError(
    f'{path}: unknown extension {path.suffix!r}; use {", ".join(TABLES)}, a '
    'folder of them or a qlib folder'
  )


def _match(names, columns, path, needed, named):
  """As `columns.match`; a table without a symbol may have it in its name."""
  if named:
    try:
      return *columns_lib.match(names, columns, str(path), needed), None
    except ValueError:
      rest = [n for n in needed if n != 'symbol']
      symbol = path.name.split('.')[0]
      return *columns_lib.match(names, columns, str(path), rest), symbol
  return *columns_lib.match(names, columns, str(path), needed), None


def _arrow(take, schema, path, columns, needed, keep, named=False):
  names = schema.names
  mapping, notes, symbol = _match(names, columns, path, needed, named)
  used = [name for name in names if mapping[name] in keep]
  table = take(used)
  for i, field in enumerate(table.schema):
    if pa.types.is_decimal(field.type):
      table = table.set_column(i, field.name, table[i].cast(pa.float64()))
  # An index that pandas kept is a column like any other here.
  frame = table.to_pandas(ignore_metadata=True).rename(columns=mapping)
  if symbol is not None:
    frame['symbol'] = symbol
  return frame, notes, list(names)


def _csv(path, columns, needed, keep, named):
  text, encoding = _decode(path)
  header = text[: text.find('\n') + 1 or None]
  separator = max(SEPARATORS, key=header.count)
  if header.split(separator)[0].strip().lower() == 'price':
    return _two_headers(text, path, columns, needed, keep)
  _check_fields(text, separator, path)
  names = next(csv.reader([header.strip('\r\n')], delimiter=separator))
  # pandas writes an index without a name as a first column without one.
  unnamed = {name: None for name in names[:1] if not name}
  known = [name for name in names if name not in unnamed]
  mapping, notes, symbol = _match(known, columns, path, needed, named)
  # Symbols stay text: 000001 keeps its zeros, and NA is a ticker.
  kinds = {n: str for n, our in mapping.items() if our in ('date', 'symbol')}
  missing = {
    n: [''] if our == 'symbol' else MISSING_TEXT for n, our in mapping.items()
  }
  frame = pd.read_csv(
    io.StringIO(text),
    sep=separator,
    usecols=[n for n, our in mapping.items() if our in keep],
    dtype=kinds,
    na_values=missing,
    keep_default_na=False,
    low_memory=False,
    decimal=_decimal(text, separator),
  ).rename(columns=mapping)
  if encoding != ENCODINGS[0]:
    notes.append(f'text read as {encoding}')
  if separator != ',':
    notes.append(f'columns are separated by {separator!r}')
  if symbol is not None:
    frame['symbol'] = symbol
  return frame, notes, names


def _decode(path: Path) -> tuple[str, str]:
  """The text of a file and its encoding."""
  content = path.read_bytes()
  if path.suffix == '.gz':
    try:
      content = gzip.decompress(content)
    except (OSError, EOFError) as error:
      raise ValueError(
        f'{path}: not a whole gzip file ({error}); compress it again, or take '
        '.gz off its name if it is plain text'
      ) from error
  encodings = ENCODINGS
  if content[:2] in (b'\xff\xfe', b'\xfe\xff'):
    encodings = ('utf-16',)
  for encoding in encodings:
    try:
      text = content.decode(encoding)
    except UnicodeDecodeError:
      continue
    if '\0' not in text:
      return text, encoding
  raise ValueError(
    f'{path}: neither UTF-8, UTF-16 nor GB18030 text; save it as UTF-8'
  )


def _check_fields(text: str, separator: str, path: Path) -> None:
  """Refuses a row with more or fewer fields than the header."""
  for number, fields, expected in _rows(text, separator):
    if fields != expected:
      raise ValueError(
        f'{path}: line {number} has {fields} fields, the header {expected}; '
        f'mend the line, or quote a field that holds {separator!r}'
      )


def _rows(text: str, separator: str) -> Iterator[tuple[int, int, int]]:
  """(line, its fields, those of the header); one row where all are alike."""
  if '"' not in text:
    lines = text.splitlines()
    filled = sum(map(bool, map(str.strip, lines)))
    width = lines[0].count(separator)
    if text.count(separator) == filled * width:
      counts = {line.count(separator) for line in lines if line.strip()}
      if len(counts) == 1:
        return
  reader = csv.reader(io.StringIO(text), delimiter=separator)
  expected = len(next(reader))
  for row in reader:
    if row:
      yield reader.line_num, len(row), expected


def _decimal(text: str, separator: str) -> str:
  """The decimal sign: a comma where it separates no columns and is used."""
  if separator == ',':
    return '.'
  body = text[text.find('\n') + 1 :]
  return ',' if ',' in body and '.' not in body.split('\n', 1)[0] else '.'


def _two_headers(text, path, columns, needed, keep):
  """The table of yfinance: prices in one line, tickers in the next."""
  wide = pd.read_csv(io.StringIO(text), header=[0, 1], index_col=0)
  wide = wide[wide.index.notna() & (wide.index != 'Date')]
  frame = wide.stack(level=1, future_stack=True)
  frame.index.names = ['Date', 'Ticker']
  frame = frame.reset_index().dropna(how='all', subset=frame.columns)
  names = list(frame.columns)
  mapping, notes = columns_lib.match(names, columns, str(path), needed)
  frame = frame.rename(columns=mapping)
  frame = frame[[n for n in frame.columns if n in keep]]
  frame = frame.sort_values(['symbol', 'date'], kind='stable')
  return frame.reset_index(drop=True), notes, names


def from_memory(source, columns: Names, features: Sequence[str] = ()):
  """A long table of a DataFrame or of a mapping of `[T, S]` arrays.

  Returns:
    As `read`.
  """
  where = 'table in memory'
  needed = (*columns_lib.REQUIRED, *features)
  if isinstance(source, pd.DataFrame):
    # symbol and date are often the index.
    named = [n for n in source.index.names if n is not None]
    frame = source.reset_index(named) if named else source
    names = list(frame.columns)
    mapping, notes = columns_lib.match(names, columns, where, needed)
    return frame.rename(columns=mapping), notes, names
  where = 'arrays in memory'
  mapping, notes = columns_lib.match(list(source), columns, where, needed)
  arrays = {mapping[name]: value for name, value in source.items()}
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
  return frame, notes, list(source)
