"""Years walked forward: what each fold trains on, and what it is judged on."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.methods import teaching

# Years to train on before the first validation year, where none is asked for.
FIRST_TRAIN_YEARS = 2


class Options(NamedTuple):
  """How the years are walked.

  years: first and last test year; None: all whole years that have
    `FIRST_TRAIN_YEARS` and the validation before them.
  window: years to train on; 0: all from the beginning of `config.splits.train`.
  valid_years: right before the test year.
  """

  years: tuple[int, int] | None = None
  window: int = 0
  valid_years: int = 1


class Fold(NamedTuple):
  """One test year, and the config that is trained for it."""

  year: int
  config: Any


DEFAULT = Options()


def read_years(text: str) -> tuple[int, int] | None:
  """`2013:2024` or `2013` as the first and last year; None for nothing.

  Raises:
    ValueError: no years in their order.
  """
  if not text:
    return None
  first, _, last = text.partition(':')
  try:
    years = int(first), int(last or first)
  except ValueError:
    years = 1, 0
  if years[0] > years[1]:
    raise ValueError(f'--years is {text!r}: expected --years=2013:2024')
  return years


def plan(
  config, dates: Sequence[str], options: Options = DEFAULT
) -> list[Fold]:
  """The folds in the order of their years.

  A fold trains until the validation year begins and validates until the test
  year begins; labels of either are purged where they would read the next. The
  test days go on beyond the year by as many bars as a label looks ahead, which
  leaves every day of the year to be scored, where the data reach that far.

  Args:
    config: of all; `config.runs` of an ensemble are folders of walks, and so
      is `config.teacher.runs`.
    dates: days of the data, ascending.
    options: which years, and of how many each is made.

  Raises:
    ValueError: years that the data do not have, or too few before them.
  """
  if options.window < 0 or options.valid_years < 1:
    raise ValueError(
      f'--window is {options.window} and --valid_years {options.valid_years}: '
      'expected >= 0 and >= 1'
    )
  start = max(config.splits.train[0], dates[0])
  first, last = _years(dates, start, options)
  return [
    Fold(year, _config(config, dates, start, year, options))
    for year in range(first, last + 1)
  ]


def whole_years(dates: Sequence[str]) -> list[int]:
  """Years of which the data have all days, but for holidays at either end."""
  # A bar of a week or a month may end as much later than its year begins.
  bars = np.diff(np.array(dates, 'datetime64[D]').astype(int))
  spacing = int(np.median(bars)) if bars.size else 1
  slack = max(panel_lib.HOLIDAY_DAYS, 2 * spacing)
  holiday = datetime.timedelta(days=slack)
  begin, end = map(panel_lib.parse_day, (dates[0], dates[-1]))
  return [
    year
    for year in range(begin.year, end.year + 1)
    if begin <= datetime.date(year, 1, 1) + holiday
    and end >= datetime.date(year, 12, 31) - holiday
  ]


def _years(dates, start: str, options: Options) -> tuple[int, int]:
  """The first and the last test year."""
  whole = whole_years(dates)
  cover = f'the data cover {dates[0]}..{dates[-1]}'
  if not whole:
    raise ValueError(f'there is no whole year to test on: {cover}')
  before = (options.window or 1) + options.valid_years
  least = max(int(start[:4]) + before, whole[0])
  if options.window and start > f'{start[:4]}-01-31':
    least += 1  # The first year is none to train a whole year on.
  needed = (
    f'a test year needs {before} years before it, to train on '
    f'(--window={options.window}) and to validate on '
    f'(--valid_years={options.valid_years}); training begins {start} and '
    f'{cover}'
  )
  if least > whole[-1]:
    raise ValueError(f'{needed}: no whole year is left')
  usual = least if options.window else least + FIRST_TRAIN_YEARS - 1
  first, last = options.years or (min(usual, whole[-1]), whole[-1])
  if first < whole[0] or last > whole[-1]:
    raise ValueError(
      f'--years={first}:{last}: {cover}, whole years are {whole[0]}:{whole[-1]}'
    )
  if first < least:
    raise ValueError(f'{needed}, so the first can be {least} and not {first}')
  return first, last


def _config(config, dates, start: str, year: int, options: Options):
  """The config of one fold."""
  one = config.copy_and_resolve_references()
  valid = year - options.valid_years
  if options.window:
    start = f'{valid - options.window}-01-01'
  end = int(np.searchsorted(dates, f'{year + 1}-01-01')) - 1
  beyond = dates[min(end + config.label.exit, len(dates) - 1)]
  one.splits.train = (start, f'{valid - 1}-12-31')
  one.splits.valid = (f'{valid}-01-01', f'{year - 1}-12-31')
  one.splits.test = (f'{year}-01-01', max(beyond, f'{year}-12-31'))
  if 'runs' in one:
    one.runs = tuple(str(Path(run) / str(year)) for run in one.runs)
  if teaching.named(one):
    one.teacher.runs = teaching.below(one, str(year))
  return one


def read_list(texts: Sequence[str]) -> list[int]:
  """Years of `--folds`.

  Raises:
    ValueError: one is no year.
  """
  try:
    return [int(text) for text in texts]
  except ValueError as error:
    raise ValueError(
      f'--folds is {",".join(texts)!r}: expected years, --folds=2013,2014'
    ) from error
