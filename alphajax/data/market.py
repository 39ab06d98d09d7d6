"""Price tables and folders of the user -> Panel (host, NumPy).

A table is in long format, one row per (date, symbol), with the columns

  date symbol open high low close volume       required
  vwap        average traded price, in the units of `close`
  amount      money traded; amount / volume is the vwap
  factor      cumulative factor: adjusted price = price * factor
  adj_close   close adjusted for splits and dividends
  member      True on days the stock is in the universe

and, as features of your own, any columns of numbers that `features` names.
"""

import hashlib
import io
import json
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from alphajax.data import checks, tables
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel

PRICES = ('open', 'high', 'low', 'close', 'vwap')
ADJUSTMENTS = ('total_return', 'split', 'none')
VWAPS = ('auto', 'typical', 'amount')


def load(
  source: str | os.PathLike | pd.DataFrame | Mapping,
  *,
  adjust: str = 'total_return',
  vwap: str = 'auto',
  start: str | None = None,
  end: str | None = None,
  universe: str | None = 'member',
  members_only: bool = True,
  features: Sequence[str] = (),
  columns: Mapping[str, str] | None = None,
  cache: bool = True,
  cache_dir: str | os.PathLike | None = None,
) -> Panel:
  """Loads a panel of the days `start..end`.

  source: a Parquet or CSV file, a qlib binary folder, a long DataFrame, or a
    mapping with `date` [T], `symbol` [S] and `[T, S]` arrays of the rest.
  adjust: `total_return` (default) adjusts for splits and dividends with
    `factor` or `adj_close`; `split` leaves split-adjusted prices; `none` takes
    prices as they are.
  vwap: `auto` takes a `vwap` column, else amount / volume, and the typical
    price (high + low + close) / 3 on rows that have neither; `amount` leaves
    those rows missing; `typical` ignores both.
  universe: column of membership, for a qlib folder the instruments file; None
    makes every stock a member on every day it has a close.
  members_only: keep only stocks that are members at some time in the span.
  features: further columns to load as features, such as `turnover`, taken as
    they are: finite or missing, not adjusted. In a qlib folder, fields.
  columns: renames, `{'their name': 'our name'}`.
  cache_dir: where loaded files are kept by content hash; default
    $ALPHAJAX_CACHE, else ~/.cache/alphajax. Tables in memory are not cached.

  Missing is NaN; nothing is filled forward. `Panel.notes` says what was
  decided.

  Raises:
    ValueError: a bad option or bad input: names file, column, rows, remedy.
    FileNotFoundError: no such file.
  """
  options = dict(
    adjust=adjust,
    vwap=vwap,
    start=start,
    end=end,
    universe=universe,
    members_only=members_only,
    features=tuple(features),
  )
  _check_options(**options)
  columns = dict(columns or {})
  if isinstance(source, pd.DataFrame | Mapping):
    frame, notes = tables.from_memory(source, columns)
    return build(frame, 'table in memory', notes=notes, **options)
  path = pathlib.Path(source)
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file or folder')
  cached = None
  if cache:
    key = {**options, 'columns': columns, 'content': content_hash(path)}
    cached = _cache_path(key, cache_dir)
    panel = _read_cache(cached)
    if panel is not None:
      return panel
  frame, notes = tables.read(
    path, columns, universe, members_only, tuple(features)
  )
  panel = build(frame, str(path), notes=notes, **options)
  if cached is not None:
    _write_cache(cached, panel)
  return panel


def _check_options(
  adjust, vwap, start, end, universe, members_only, features
) -> None:
  del universe, members_only
  for name in features:
    if name in (*panel_lib.FEATURES, 'date', 'symbol'):
      raise ValueError(f'features: {name!r} is a column that is always loaded')
    if not name.isidentifier():
      raise ValueError(
        f'features: {name!r} cannot be written in a formula; name the column '
        'with letters, digits and underscores'
      )
  if adjust not in ADJUSTMENTS:
    raise ValueError(f'adjust={adjust!r}; known: {", ".join(ADJUSTMENTS)}')
  if vwap not in VWAPS:
    raise ValueError(f'vwap={vwap!r}; known: {", ".join(VWAPS)}')
  for day in (start, end):
    if day is not None:
      panel_lib.parse_day(day)
  if start is not None and end is not None and start > end:
    raise ValueError(f'start {start} is after end {end}')


def build(
  frame: pd.DataFrame,
  source: str,
  *,
  adjust: str = 'total_return',
  vwap: str = 'auto',
  start: str | None = None,
  end: str | None = None,
  universe: str | None = 'member',
  members_only: bool = True,
  features: Sequence[str] = (),
  notes: list[str] | None = None,
) -> Panel:
  """Checks a long table, adjusts its prices and lays them out by day and stock.

  `source` is the name that errors use; the rest as in `load`.
  """
  notes = list(notes or [])
  checks.check_columns(frame.columns, source)
  checks.check_columns(frame.columns, source, features)
  universe = _universe(frame, universe, source, notes)
  frame = checks.parse_dates(frame.reset_index(drop=True), source)
  frame = _within(frame, source, start, end)
  frame = checks.clean(frame, source, universe, features)
  values = {n: frame[n].to_numpy() for n in checks.NUMERIC if n in frame}
  extra = {name: frame[name].to_numpy() for name in features}
  values['vwap'] = _vwap(values, vwap, source, notes)
  values = _adjust(values, adjust, source, notes) | extra
  # A row without a close is a day on which nobody could trade.
  member = np.isfinite(values['close'])
  if universe is not None:
    member &= frame[universe].to_numpy()
  days, day = np.unique(frame['date'].to_numpy(), return_inverse=True)
  stock = frame['symbol'].cat.codes.to_numpy()
  symbols = frame['symbol'].cat.categories.to_numpy(object)
  if members_only:
    kept = np.unique(stock[member])
    position = np.full(symbols.size, -1)
    position[kept] = np.arange(kept.size)
    rows = position[stock] >= 0
    notes.append(
      f'{kept.size} of {symbols.size} stocks are members at some time'
    )
    symbols, stock = symbols[kept], position[stock[rows]]
    values = {name: column[rows] for name, column in values.items()}
    day, member = day[rows], member[rows]
  names = (*panel_lib.FEATURES, *features)
  shape = (days.size, symbols.size)
  return panel_lib.make(
    np.stack([_place(values[n], day, stock, shape, np.nan) for n in names]),
    _place(member, day, stock, shape, False),
    tuple(np.datetime_as_string(days, 'D').tolist()),
    tuple(str(symbol) for symbol in symbols),
    feature_names=names,
    notes=notes,
  )


def _place(values, day, stock, shape, empty) -> np.ndarray:
  """Rows laid out by day and stock, floats as float32."""
  dtype = bool if values.dtype == bool else np.float32
  plane = np.full(shape, empty, dtype)
  plane[day, stock] = values
  return plane


def _universe(frame, universe, source, notes) -> str | None:
  if universe is not None and universe not in frame:
    if universe != 'member':
      checks.check_columns(frame.columns, source, (universe,))
    universe = None
  if universe is None:
    notes.append('no membership: every stock is a member when it has a close')
  return universe


def _within(frame, source, start, end) -> pd.DataFrame:
  dates = frame['date']
  inside = np.ones(len(frame), bool)
  if start is not None:
    inside &= (dates >= np.datetime64(start)).to_numpy()
  if end is not None:
    inside &= (dates <= np.datetime64(end)).to_numpy()
  if not inside.any():
    raise ValueError(
      f'{source}: no row in {start}..{end}; the data cover '
      f'{dates.min().date()}..{dates.max().date()}'
    )
  return frame[inside].copy()


def _vwap(values, choice: str, source: str, notes: list[str]) -> np.ndarray:
  """The vwap of every row in the units of `close`."""
  typical = (values['high'] + values['low'] + values['close']) / 3
  if choice == 'amount':
    checks.check_columns(values, source, ('amount',))
  if choice == 'typical' or not ('vwap' in values or 'amount' in values):
    notes.append('vwap = (high + low + close) / 3, the typical price')
    return typical
  if 'vwap' in values and choice == 'auto':
    known, origin = values['vwap'], 'the vwap column'
  else:
    volume = values['volume']
    traded = np.where(volume > 0, volume, np.nan)
    known, origin = values['amount'] / traded, 'amount / volume'
  checks.check_vwap(known, values['close'], source)
  notes.append(f'vwap = {origin}')
  missing = ~np.isfinite(known)
  if not missing.any():
    return known
  count = f'on {missing.sum()} of {missing.size} rows without it'
  if choice == 'amount':
    notes.append(f'vwap is missing {count}')
    return known
  notes.append(f'vwap = (high + low + close) / 3 {count}')
  return np.where(missing, typical, known)


def _adjust(values, adjust: str, source: str, notes: list[str]) -> dict:
  """Multiplies prices by the adjustment factor of each row."""
  values = dict(values)
  if adjust == 'split' and 'factor' in values:
    raise ValueError(
      f'{source}: column factor: one factor carries splits and dividends, so '
      "adjust='split' is not possible; use adjust='total_return' or 'none'"
    )
  if adjust == 'none' or adjust == 'split':
    notes.append(f"adjust='{adjust}': prices taken as they are")
    return values
  if 'factor' in values:
    factor = values['factor']
    values['volume'] = values['volume'] / factor
    notes.append('adjusted price = price * factor, volume = volume / factor')
  elif 'adj_close' in values:
    factor = values['adj_close'] / values['close']
    notes.append(
      'adjusted price = price * adj_close / close, volume as it is; such '
      'levels are scaled to the last row of the source, so a level (not a '
      'return) carries later corporate actions'
    )
  else:
    notes.append(
      'no factor or adj_close: prices taken as they are, as if adjusted'
    )
    return values
  lost = int((np.isnan(factor) & np.isfinite(values['close'])).sum())
  if lost:
    notes.append(f'{lost} rows have no adjustment factor: their prices are NaN')
  for name in PRICES:
    values[name] = values[name] * factor
  return values


def content_hash(path: str | os.PathLike) -> str:
  """SHA-256 of a file's bytes, or of all files of a folder and their names."""
  path = pathlib.Path(path)
  digest = hashlib.sha256()
  files = sorted(p for p in path.rglob('*') if p.is_file())
  for file in files if path.is_dir() else [path]:
    if path.is_dir():
      digest.update(file.relative_to(path).as_posix().encode() + b'\0')
    with file.open('rb') as stream:
      digest.update(hashlib.file_digest(stream, 'sha256').digest())
  return digest.hexdigest()


def _cache_path(key: Mapping, cache_dir) -> pathlib.Path:
  """Where the panel loaded with this content and these options is kept."""
  folder = cache_dir or os.environ.get('ALPHAJAX_CACHE')
  folder = pathlib.Path(folder or pathlib.Path.home() / '.cache' / 'alphajax')
  # Loading that changes must not find what it stored before.
  here = pathlib.Path(__file__).parent
  code = [
    content_hash(here / f'{name}.py')
    for name in ('market', 'tables', 'checks', 'qlib_binary', 'panel')
  ]
  text = json.dumps({**key, 'code': code}, sort_keys=True)
  return folder / f'{hashlib.sha256(text.encode()).hexdigest()}.panel'


def _write_cache(path: pathlib.Path, panel: Panel) -> None:
  """Stores a panel behind the digest of its bytes, atomically."""
  stream = io.BytesIO()
  meta = dict(
    dates=panel.dates,
    symbols=panel.symbols,
    feature_names=panel.feature_names,
    notes=panel.notes,
  )
  np.savez(
    stream,
    features=panel.features,
    mask=panel.mask,
    meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
  )
  payload = stream.getbuffer()
  temporary = path.with_suffix(f'.{os.getpid()}.tmp')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open('wb') as file:
      file.write(hashlib.sha256(payload).digest())
      file.write(payload)
    temporary.replace(path)
  except OSError as error:  # A full or read-only disk costs only time.
    warnings.warn(f'{path}: panel not cached: {error}', stacklevel=3)


def _read_cache(path: pathlib.Path) -> Panel | None:
  """The panel stored there; None when there is none or it is damaged."""
  if not path.is_file():
    return None
  stored = memoryview(path.read_bytes())
  digest, payload = stored[:32], stored[32:]
  if hashlib.sha256(payload).digest() != digest:
    warnings.warn(
      f'{path}: damaged cache file, loading again from the source',
      stacklevel=3,
    )
    return None
  with np.load(io.BytesIO(payload)) as arrays:
    meta = json.loads(arrays['meta'].tobytes())
    return panel_lib.make(arrays['features'], arrays['mask'], **meta)
