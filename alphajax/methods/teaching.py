"""A run that learns from the signal of other ones, its teachers.

Nearly all of a stock's return is noise that no formula foresees, and a search
that is scored by returns is scored by noise. What a finished run makes of the
same days has none: far fewer days tell which formulas reproduce it (Hinton,
Vinyals and Dean 2015 call it distillation). So train labels are the mean signal
of `config.teacher.runs`, of any methods. What is judged stays what it was:
validation and test have the plain label.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel, Split
from alphajax.run import files


def named(config) -> tuple[str, ...]:
  """The folders of the teachers; none without any."""
  return tuple(config.get('teacher', {}).get('runs', ()))


def below(config, name: str) -> tuple[str, ...]:
  """The teachers of one of many runs, each in a folder of that name."""
  return tuple(str(Path(run) / name) for run in named(config))


def as_text(config) -> str:
  """What the teachers are known by, whatever becomes of their folders.

  Raises:
    ValueError: one is no run with a result, has seen days that it may not have
      seen, or an option says nothing beside a teacher.
  """
  if not (runs := named(config)):
    return ''
  labels = [x for x in config.get('pool', {}).get('labels', ()) if 'half' in x]
  if labels:
    raise ValueError(
      f'config.pool.labels has {labels[0]}, which is made of prices, and '
      'labels are the signal of config.teacher.runs: expected some of plain, '
      'rank, winsorised'
    )
  return ' '.join(_known_by(config, run) for run in runs)


def _known_by(config, run: str) -> str:
  """The hash of a teacher's result; refuses what is no teacher."""
  place = Path(run).expanduser()
  made = files.read_json(place / 'config.json')
  held = files.digest(place / 'pool.json')
  if made is None or held is None:
    raise ValueError(
      f'config.teacher.runs has {run}: no pool.json and config.json there; '
      'name the folder of a finished run, or, for alphajax walk_forward, that '
      'of a walk with the same years'
    )
  for name in ('train', 'valid'):
    until = made['splits'].get(name, config.splits[name])[1]
    if until > config.splits[name][1]:
      raise ValueError(
        f'config.teacher.runs has {run}, whose {name} split ends {until}, and '
        f'config.splits.{name} ends {config.splits[name][1]}: what is judged '
        'may not have been seen by a teacher'
      )
  return held


def note(config) -> list[str]:
  """What a user should know of a run with teachers."""
  if not (runs := named(config)):
    return []
  return [
    f'train labels are the signal of {", ".join(runs)}: `train_ic` is the '
    'correlation with it, while pool.json and all that is judged have returns'
  ]


def on_days(split: Split, theirs: Panel, signal: np.ndarray) -> np.ndarray:
  """A teacher's signal on the days and stocks of a split, f32[T, S].

  theirs, signal: the days as the teacher reads them, and what it says, NaN
    where that is nothing.
  """
  days = {date: t for t, date in enumerate(theirs.dates)}
  stocks = {symbol: s for s, symbol in enumerate(theirs.symbols)}
  row = np.array([days.get(date, -1) for date in split.panel.dates])
  column = np.array([stocks.get(name, -1) for name in split.panel.symbols])
  said = np.asarray(signal, np.float32)[np.ix_(row, column)]
  return np.where((row >= 0)[:, None] & (column >= 0), said, np.nan)


def taught(split: Split, signals: Sequence[np.ndarray]) -> Split:
  """The split with the mean signal of teachers in place of its labels.

  Each is standardised over the members of a day first. A stock has a label
  where all of them speak of it.

  Args:
    split: train.
    signals: f32[T, S] each, of `on_days`.

  Raises:
    ValueError: they say nothing of any stock on a scored day.
  """
  mask = np.asarray(split.panel.mask)
  units = [np.asarray(panel_lib.standardize(x, mask)) for x in signals]
  label = sum(units[1:], units[0]) / np.float32(len(units))
  heard = np.asarray(np.isfinite(label).any(1))
  if not heard[split.scored].all():
    day = split.panel.dates[int(np.flatnonzero(split.scored & ~heard)[0])]
    raise ValueError(
      f'config.teacher.runs say nothing of any stock on {day}, a day of '
      f'config.splits.{split.name}: begin it later, or name others'
    )
  return split.replace(target=label)
