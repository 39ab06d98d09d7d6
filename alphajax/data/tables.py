"""Files, folders and arrays -> a long table, before any check of values."""

import contextlib
import csv
import functools
import gzip
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq

from alphajax.data import columns as columns_lib
from alphajax.data import qlib_binary, wide_tables

MISSING_TEXT = ['', 'NA', 'N/A', 'NaN', 'nan', 'None', 'null']
ENCODINGS = ('utf-8-sig', 'gb18030')
SEPARATORS = ',;\t|'
SHOWN = 5  # Files in a note.
TEXTS = ('.csv', '.csv.gz', '.txt', '.tsv')
TABLES = ('.parquet', '.pq', '.feather', *TEXTS)
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
      path, universe or 'all', members_only, tuple(features)
    )
    return frame, notes, list(frame.columns)
  needed = (*columns_lib.REQUIRED, *features)
  keep = {*needed, *wanted, *([universe] if universe else [])}
  if path.is_dir():
    return _folder(path, columns, needed, keep)
  return _file(path, columns, needed, keep)


def _folder(path, columns, needed, keep):
  """One table a stock, or parts of one table."""
  files, others = _tables_in(path)
  if not files:
    raise ValueError(
      f'{path}: a folder with no {", ".join(TABLES)} and no '
      'calendars/day.txt, so neither tables nor a qlib folder'
    )
  left = []
  if others:
    more = ', ...' if len(others) > SHOWN else ''
    left = [
      f'{len(others)} files of the folder are no tables and left out: '
      + ', '.join(p.name for p in others[:SHOWN])
      + more
    ]
  if all(p.suffix.lower() in ('.parquet', '.pq') for p in files):
    table = _parts(path, files)
    try:
      columns_lib.match(table.schema.names, columns, str(path), ('symbol',))
    except ValueError:
      pass  # One stock a file, named by it.
    else:
      with _readable(path, 'parts of one Parquet table'):
        frame, notes, names = _arrow(
          lambda used: table.to_table(columns=used), table.schema, path,
          columns, needed, keep,
        )  # fmt: skip
      return frame, [*notes, *left], names
  parts, notes, names = [], [], []
  for file in files:
    frame, notes, names = _file(file, columns, needed, keep, named=True)
    parts.append(frame)
  notes = [*notes, f'{len(files)} files of a folder, one table', *left]
  return pd.concat(parts, ignore_index=True), notes, names


def _tables_in(path: Path) -> tuple[list[Path], list[Path]]:
  """The tables of a folder and the folders in it, and all other files."""
  tables: list[Path] = []
  others: list[Path] = []
  for file in sorted(p for p in path.rglob('*') if p.is_file()):
    parts = file.relative_to(path).parts
    hidden = any(part.startswith(('.', '_')) for part in parts)
    (others if hidden or not _is_table(file) else tables).append(file)
  return tables, others


def _is_table(file: Path) -> bool:
  """By its name; .txt also by its first line, or it is a text for people."""
  name = file.name.lower()
  if not name.endswith(TABLES):
    return False
  if not name.endswith('.txt'):
    return True
  with file.open('rb') as stream:
    first = stream.readline(4096)
  least = len(columns_lib.REQUIRED) - 2  # One symbol a file, so no column.
  return max(first.count(sign.encode()) for sign in SEPARATORS) >= least


def _parts(path, files):
  """The parts of a Parquet table; what their folders are named for is text.

  So a folder `symbol=000001` keeps its zeros.
  """
  keys = dict.fromkeys(
    part.partition('=')[0]
    for file in files
    for part in file.relative_to(path).parts[:-1]
    if '=' in part
  )
  schema = pa.schema([(key, pa.string()) for key in keys])
  with _readable(path, 'parts of one Parquet table'):
    return pa.dataset.dataset(
      list(map(str, files)),
      format='parquet',
      partitioning=pa.dataset.partitioning(schema, flavor='hive'),
      partition_base_dir=str(path),
    )


@contextlib.contextmanager
def _readable(path, what):
  """Names the file in what the reader says of its content."""
  try:
    yield
  except (pa.ArrowInvalid, OSError) as error:
    raise ValueError(
      f'{path}: not {what} that can be read: {error}; export it again'
    ) from error


def _file(path, columns, needed, keep, named=False):
  """One file; `named`: it may be a stock's, whose symbol is the file's name."""
  if path.stat().st_size == 0:
    raise ValueError(f'{path}: the file is empty; export it again')
  name = path.name.lower()
  if name.endswith(('.parquet', '.pq', '.feather')):
    with _readable(path, f'a {path.suffix} file'):
      if name.endswith('.feather'):
        whole = pa.feather.read_table(path)
        schema = whole.schema

        def take(used):
          return whole if used is None else whole.select(used)

      else:
        schema = pq.read_schema(path)

        def take(used):
          return pq.read_table(path, columns=used)

      return _arrow(take, schema, path, columns, needed, keep, named)
  if name.endswith(TEXTS):
    return _csv(path, columns, needed, keep, named)
  raise ValueError(
    f'{path}: unknown extension {path.suffix!r}; use {", ".join(TABLES)}, a '
    'folder of them or a qlib folder'
  )


def _match(names, columns, path, needed, keep, named):
  """As `columns.match`; a table without a symbol may have it in its name."""
  match = functools.partial(
    columns_lib.match, names, columns, str(path), allowed=keep
  )
  if named:
    try:
      return *match(needed), None
    except ValueError:
      rest = [n for n in needed if n != 'symbol']
      endings = '|'.join(map(re.escape, TABLES))
      symbol = re.sub(f'({endings})$', '', path.name, flags=re.IGNORECASE)
      return *match(rest), symbol
  return *match(needed), None


def _arrow(take, schema, path, columns, needed, keep, named=False):
  names = schema.names
  pandas = schema.pandas_metadata or {}
  if len(pandas.get('column_indexes', ())) > 1:
    frame = wide_tables.stack(take(None).to_pandas())
    return _two_headers(frame, path, columns, needed, keep)
  mapping, notes, symbol = _match(names, columns, path, needed, keep, named)
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
  if wide_tables.is_wide(text, separator):
    frame = wide_tables.from_csv(text, separator, str(path))
    return _two_headers(frame, path, columns, needed, keep)
  _check_fields(text, separator, path)
  names = next(csv.reader([header.strip('\n')], delimiter=separator))
  if not names[0]:
    # An index of pandas without a name: of days, where nothing else is.
    has_day = any(
      columns_lib.plain(n) in ('date', *columns_lib.ALIASES['date'])
      for n in (*names, *columns)
    )
    names[0] = 'index' if has_day else 'date'
    text = names[0] + text
  known = names
  mapping, notes, symbol = _match(known, columns, path, needed, keep, named)
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
  if path.suffix.lower() == '.gz':
    try:
      content = gzip.decompress(content)
    except (OSError, EOFError) as error:
      raise ValueError(
        f'{path}: not a whole gzip file ({error}); compress it again, or take '
        '.gz off its name if it is plain text'
      ) from error
  encodings: Sequence[str] = ENCODINGS
  if content[:2] in (b'\xff\xfe', b'\xfe\xff'):
    encodings = ('utf-16',)
  for encoding in encodings:
    try:
      text = content.decode(encoding)
    except UnicodeDecodeError:
      continue
    if '\0' not in text:
      lines = text.replace('\r\n', '\n').replace('\r', '\n').lstrip('\n')
      if not lines.strip():
        raise ValueError(f'{path}: the file is blank; export it again')
      return lines, encoding
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
  """The decimal sign: a comma where it separates no columns and is none of
  thousands. Where every comma could be either it is no decimal sign, and the
  numbers are refused later."""
  if separator == ',':
    return '.'
  commas = re.findall(r'(?<![\d.,])\d+(?:,\d+)+(?![\d.,])', text)
  is_decimal = any(re.fullmatch(r'\d+,(?!\d{3}$)\d+', each) for each in commas)
  return ',' if is_decimal else '.'


def _two_headers(frame, path, columns, needed, keep):
  """A long table that was a wide one."""
  names = list(frame.columns)
  mapping, notes = columns_lib.match(names, columns, str(path), needed, keep)
  frame = frame.rename(columns=mapping)
  notes = [*notes, 'two levels of columns: prices and tickers']
  return frame[[n for n in frame.columns if n in keep]], notes, names


def _named_index(frame: pd.DataFrame) -> pd.DataFrame:
  """A table whose index, if it holds days or stocks, is columns."""
  index = frame.index
  if isinstance(frame.columns, pd.MultiIndex):
    return wide_tables.stack(frame)
  if isinstance(index, pd.MultiIndex) and not any(index.names):
    days = [
      pd.api.types.is_datetime64_any_dtype(level.dtype)
      for level in index.levels
    ]
    if len(days) == 2 and sum(days) == 1:
      frame = frame.set_axis(
        index.set_names(['date' if day else 'symbol' for day in days])
      )
  elif isinstance(index, pd.DatetimeIndex) and index.name is None:
    frame = frame.set_axis(index.set_names('date'))
  named = [n for n in frame.index.names if n is not None]
  return frame.reset_index(named) if named else frame


def from_memory(
  source, columns: Names, features: Sequence[str] = (), wanted: Sequence = ()
):
  """A long table of a DataFrame or of a mapping of `[T, S]` arrays.

  Returns:
    As `read`.
  """
  where = 'table in memory'
  needed = (*columns_lib.REQUIRED, *features)
  keep = {*needed, *wanted}
  if isinstance(source, pd.DataFrame):
    frame = _named_index(source)  # symbol and date are often the index.
    names = list(frame.columns)
    mapping, notes = columns_lib.match(names, columns, where, needed, keep)
    return frame.rename(columns=mapping), notes, names
  where = 'arrays in memory'
  mapping, notes = columns_lib.match(list(source), columns, where, needed, keep)
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
