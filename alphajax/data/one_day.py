"""One day of a table, with the bars before it that formulas look back on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from alphajax.data import checks, market, tables
from alphajax.data import columns as columns_lib
from alphajax.data import days as days_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel


def load(
  path: str | os.PathLike,
  date: str | None,
  bars: int,
  *,
  columns: Mapping[str, str] | str | None = None,
  **options,
) -> Panel:
  """Loads a day, the last of the panel, and `bars` bars before it.

  date: None for the last day of the data.
  columns, options: as of `market.load`, but for start, end and warmup.

  Raises:
    ValueError: no such day, with the nearest ones; fewer bars before it; bad
      input as of `market.load`.
    FileNotFoundError: no such file.
  """
  path = Path(path).expanduser()
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file or folder')
  chosen = market.make_options(**options)
  frame, notes, names = tables.read(
    path, columns_lib.read_renames(columns), chosen.universe,
    chosen.members_only, chosen.features, checks.NUMERIC,
  )  # fmt: skip
  parsed, _ = days_lib.parse(frame, str(path), chosen.timezone)
  days = parsed['date'].to_numpy()
  if chosen.filled_days == 'drop':  # A day on which nobody traded is no bar.
    days = days[pd.to_numeric(frame['volume'], errors='coerce') != 0]
  texts = np.datetime_as_string(np.unique(days), 'D').tolist()
  day = texts[place(texts, date, bars, str(path))]
  chosen = chosen._replace(start=day, end=day, warmup=bars)
  return market.build(frame, str(path), chosen, notes, names)


def place(days: Sequence[str], date: str | None, bars: int, source: str) -> int:
  """Where a day stands among trading days, ISO and ascending.

  Raises:
    ValueError: there is no such day, or fewer than `bars` before it.
  """
  if date is None:
    date = days[-1]
  panel_lib.parse_day(date)
  at = int(np.searchsorted(days, date))
  if at == len(days) or days[at] != date:
    near = ' and '.join(days[max(at - 1, 0) : at + 1])
    raise ValueError(
      f'{source}: no trading day {date}; the nearest are {near}, the data '
      f'cover {days[0]}..{days[-1]}'
    )
  if at < bars:
    first = (
      f'the first day that has as many is {days[bars]}'
      if bars < len(days)
      else 'no day of the data has as many'
    )
    raise ValueError(
      f'{source}: {date} has {at} bars before it, and {bars} are looked back '
      f'on; {first}'
    )
  return at
