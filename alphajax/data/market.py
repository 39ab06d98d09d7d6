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

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from alphajax.data import adjust as adjust_lib
from alphajax.data import checks, panel_cache, tables
from alphajax.data import columns as columns_lib
from alphajax.data import days as days_lib
from alphajax.data import panel as panel_lib
from alphajax.data.features import FEATURES
from alphajax.data.panel import Panel

VWAPS = ('auto', 'typical', 'amount')
FILLED_DAYS = ('drop', 'keep')


class Options(NamedTuple):
  """What loading does with a table.

  adjust: `total_return` (default) adjusts for splits and dividends with
    `factor` or `adj_close`, at levels that no later day changes; `rebase` does
    so for prices that were adjusted before, too; `split` leaves split-adjusted
    prices; `none` takes prices as they are. See `alphajax.data.adjust`.
  vwap: `auto` takes a `vwap` column, else amount / volume, else the typical
    price (high + low + close) / 3; `amount` and `typical` take just that. One
    definition a column: rows without it are missing.
  start, end: first and last day to load; None: all.
  warmup: bars of the table before `start` that are kept as well.
  universe: column of membership, for a qlib folder the instruments file; None
    or '' makes every stock a member on every day it has a close.
  members_only: keep only stocks that are members at some time in the span.
  features: further columns to load as features, such as `turnover`, taken as
    they are: finite or missing, not adjusted. Text, such as `industry`, becomes
    codes, see `Panel.groups`. In a qlib folder, fields.
  timezone: of the exchange, where days are stamps in another zone.
  volume_unit, amount_unit: shares and money that 1 of the column stands for, or
    `lots`, `thousands`, `millions`; `auto` is 1, and for tushare's and
    akshare's tables what they write.
  filled_days: `drop` takes rows of volume 0 as days without a trade; `keep`.
  """

  adjust: str = 'total_return'
  vwap: str = 'auto'
  start: str | None = None
  end: str | None = None
  warmup: int = 0
  universe: str | None = 'member'
  members_only: bool = True
  features: Sequence[str] = ()
  timezone: str = ''
  volume_unit: str | float = 'auto'
  amount_unit: str | float = 'auto'
  filled_days: str = 'drop'


def load(
  source: str | os.PathLike | pd.DataFrame | Mapping,
  *,
  columns: Mapping[str, str] | str | None = None,
  cache: bool = True,
  cache_dir: str | os.PathLike | None = None,
  **options,
) -> Panel:
  """Loads a panel of the days `start..end`.

  source: a Parquet, Feather or CSV file, a folder of them, a qlib binary
    folder, a long DataFrame, or a mapping with `date` [T], `symbol` [S] and
    `[T, S]` arrays of the rest.
  columns: renames, `{'theirs': 'ours'}` or the text `theirs=ours,...`. Names
    that vendors use are known without, see `columns.ALIASES`.
  cache_dir: where loaded files are kept by content hash; default
    $ALPHAJAX_CACHE, else ~/.cache/alphajax. Tables in memory are not cached.
  options: see `Options`.

  Missing is NaN; nothing is filled forward. `Panel.notes` says what was
  decided.

  Raises:
    ValueError: a bad option or bad input: names file, column, rows, remedy.
    FileNotFoundError: no such file.
  """
  chosen = make_options(**options)
  renames = columns_lib.read_renames(columns)
  if isinstance(source, pd.DataFrame | Mapping):
    frame, notes, names = tables.from_memory(
      source, renames, chosen.features, (*checks.NUMERIC, chosen.universe)
    )
    return build(frame, 'table in memory', chosen, notes, names)
  path = pathlib.Path(source).expanduser()
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file or folder')
  if not cache:
    return _load_file(path, renames, chosen)
  content = panel_cache.content_hash(path)
  key = {**chosen._asdict(), 'columns': renames, 'content': content}
  kept = panel_cache.path_of(key, cache_dir)
  panel = panel_cache.read(kept)
  if panel is None:
    panel = _load_file(path, renames, chosen)
    panel_cache.write(kept, panel)
  return panel


def _load_file(
  path: pathlib.Path, renames: Mapping[str, str], options: Options
) -> Panel:
  """A file or folder, as it is now."""
  frame, notes, names = tables.read(
    path, renames, options.universe, options.members_only, options.features,
    checks.NUMERIC,
  )  # fmt: skip
  return build(frame, str(path), options, notes, names)


def make_options(**options) -> Options:
  """Options by name, the others being the defaults.

  Raises:
    ValueError: an unknown option, or a value that cannot be.
  """
  for name in options:
    if name not in Options._fields:
      raise ValueError(
        f'load has no option {name!r}; known: {", ".join(Options._fields)}, '
        'columns, cache, cache_dir'
      )
  made = Options(**options)
  made = made._replace(
    universe=made.universe or None, features=tuple(made.features)
  )
  _check_options(made)
  return made


def _check_options(options: Options) -> None:
  for name in options.features:
    if name in (*FEATURES, 'date', 'symbol'):
      raise ValueError(f'features: {name!r} is a column that is always loaded')
    if not name.isidentifier():
      raise ValueError(
        f'features: {name!r} cannot be written in a formula; name the column '
        'with letters, digits and underscores'
      )
  for key, known in (
    ('adjust', adjust_lib.ADJUSTMENTS),
    ('vwap', VWAPS),
    ('filled_days', FILLED_DAYS),
  ):
    value = getattr(options, key)
    if value not in known:
      raise ValueError(f'{key}={value!r}; known: {", ".join(known)}')
  for key in ('volume_unit', 'amount_unit'):
    value = getattr(options, key)
    if value != 'auto':
      columns_lib.unit(value, key)
  if options.warmup < 0:
    raise ValueError(f'warmup={options.warmup}: expected a number of bars >= 0')
  start, end = options.start, options.end
  for day in (start, end):
    if day is not None:
      panel_lib.parse_day(day)
  if start is not None and end is not None and start > end:
    raise ValueError(f'start {start} is after end {end}')


def build(
  frame: pd.DataFrame,
  source: str,
  options: Options,
  notes: Sequence[str] = (),
  names: Sequence[object] | None = None,
) -> Panel:
  """Checks a long table, adjusts its prices and lays them out by day and stock.

  `source` is the name that errors use, `names` what its columns were called.
  """
  names = list(frame.columns) if names is None else names
  notes, features = list(notes), options.features
  universe = _universe(frame, options.universe, source, names, notes)
  frame = frame.reset_index(drop=True)
  frame, more = days_lib.parse(frame, source, options.timezone)
  notes += more
  covers = (str(frame['date'].min())[:10], str(frame['date'].max())[:10])
  ends = adjust_lib.ends(frame)
  frame = _within(frame, source, options)
  frame, more, groups = checks.clean(
    frame, source, universe, features, options.filled_days
  )
  notes += more
  values = {n: frame[n].to_numpy() for n in checks.NUMERIC if n in frame}
  _to_shares(values, names, options.volume_unit, options.amount_unit, notes)
  extra = {name: frame[name].to_numpy() for name in features}
  values['vwap'] = _vwap(values, options.vwap, source, names, notes)
  values = adjust_lib.adjust(
    values, options.adjust, frame['symbol'], ends, source, notes
  )
  values |= extra
  # A row without a close is a day on which nobody could trade.
  member = np.isfinite(values['close'])
  if universe is not None:
    member &= frame[universe].to_numpy()
  panel = _lay_out(frame, values, member, options.members_only, features, notes)
  sizes = panel.mask.sum(1)
  middle = int(np.median(sizes[sizes > 0])) if sizes.any() else 0
  if middle < checks.FEW_MEMBERS:
    notes.append(
      f'only {middle} members on a usual day: a rank or a correlation over so '
      'few stocks says little'
    )
  return panel.replace(notes=tuple(notes), groups=groups, covers=covers)


def _lay_out(frame, values, member, members_only, features, notes) -> Panel:
  """Rows -> planes, those who are never members left out."""
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
  names = (*FEATURES, *features)
  shape = (days.size, symbols.size)
  return panel_lib.make(
    np.stack([_place(values[n], day, stock, shape, np.nan) for n in names]),
    _place(member, day, stock, shape, False),
    tuple(np.datetime_as_string(days, 'D').tolist()),
    tuple(str(symbol) for symbol in symbols),
    feature_names=names,
  )


def _to_shares(values, names, volume_unit, amount_unit, notes) -> None:
  """Turns volume and amount into shares and money, in place."""
  vendor = columns_lib.vendor_of(names)
  for key, choice in (('volume', volume_unit), ('amount', amount_unit)):
    if key not in values:
      continue
    if choice == 'auto':
      factor = getattr(vendor, key) if vendor else 1.0
      reason = f' (the columns are those of {vendor.name})' if vendor else ''
    else:
      factor, reason = columns_lib.unit(choice, f'{key}_unit'), ''
    if factor != 1.0:
      values[key] = values[key] * factor
      notes.append(f'{key} = {key} * {factor:g}{reason}')


def _place(values, day, stock, shape, empty) -> np.ndarray:
  """Rows laid out by day and stock, floats as float32."""
  dtype = bool if values.dtype == bool else np.float32
  plane = np.full(shape, empty, dtype)
  plane[day, stock] = values
  return plane


def _need(name, have, names, source) -> None:
  """Refuses a table without a column; lists those that it has."""
  if name not in have:
    raise ValueError(
      f'{source}: missing column {name}; the table has '
      f'{", ".join(map(str, names))}'
    )


def _universe(frame, universe, source, names, notes) -> str | None:
  if universe is not None and universe not in frame:
    if universe != 'member':
      _need(universe, frame, names, source)
    universe = None
  if universe is None:
    notes.append('no membership: every stock is a member when it has a close')
  return universe


def _within(frame: pd.DataFrame, source: str, options: Options) -> pd.DataFrame:
  """The rows of `start..end`, and `warmup` bars before."""
  start, end = options.start, options.end
  dates = frame['date'].to_numpy()
  inside = np.ones(len(frame), bool)
  if end is not None:
    inside &= dates <= np.datetime64(end)
  before = inside
  if start is not None:
    inside = inside & (dates >= np.datetime64(start))
  if inside.any() and start is not None and options.warmup:
    bars = dates
    if options.filled_days == 'drop':  # A day on which nobody traded is no bar.
      volume = pd.to_numeric(frame['volume'], errors='coerce').to_numpy()
      bars = dates[volume != 0]
    first = days_lib.count_before(bars, np.datetime64(start), options.warmup)
    inside = before & (dates >= first)
  if not inside.any():
    begin, last = (str(day)[:10] for day in (dates.min(), dates.max()))
    raise panel_lib.OutsideError(
      f'{source}: no row in {start}..{end}; the data cover {begin}..{last}',
      (begin, last),
    )
  return frame[inside].copy()


def _vwap(values, choice, source, names, notes) -> np.ndarray:
  """The vwap of every row in the units of `close`."""
  if choice == 'amount':
    _need('amount', values, names, source)
  if choice == 'typical' or not ('vwap' in values or 'amount' in values):
    notes.append('vwap = (high + low + close) / 3, the typical price')
    return (values['high'] + values['low'] + values['close']) / 3
  if 'vwap' in values and choice == 'auto':
    known, origin = values['vwap'], 'the vwap column'
  else:
    volume = values['volume']
    traded = np.where(volume > 0, volume, np.nan)
    known, origin = values['amount'] / traded, 'amount / volume'
  checks.check_vwap(known, values['close'], source)
  notes.append(f'vwap = {origin}')
  missing = ~np.isfinite(known)
  if missing.any():
    notes.append(
      f'vwap is missing on {missing.sum()} of {missing.size} rows without it'
    )
  return known
