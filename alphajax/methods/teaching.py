"""A run that learns from the signal of another one, its teacher.

Nearly all of a stock's return is noise that no formula foresees, and a search
that is scored by returns is scored by noise. What a finished run makes of the
same days has none: far fewer days tell which formulas reproduce it (Hinton,
Vinyals and Dean 2015 call it distillation). So train labels are the signal of
`config.teacher.run`, of any method. What is judged stays what it was:
validation and test have the plain label.
"""

from pathlib import Path

import numpy as np

from alphajax.data.panel import Split
from alphajax.run import files


def named(config) -> str:
  """The folder of the teacher; empty without one."""
  return config.get('teacher', {}).get('run', '')


def as_text(config) -> str:
  """What the teacher of a config is known by, whatever becomes of its folder.

  Raises:
    ValueError: it is no run with a result, has seen days that it may not have
      seen, or an option says nothing beside a teacher.
  """
  if not (run := named(config)):
    return ''
  place = Path(run).expanduser()
  made = files.read_json(place / 'config.json')
  if made is None or not (place / 'pool.json').exists():
    raise ValueError(
      f'config.teacher.run is {run}: no pool.json and config.json there; name '
      'the folder of a finished run, or, for alphajax walk_forward, the folder '
      'of a walk with the same years'
    )
  for name in ('train', 'valid'):
    until = made['splits'].get(name, config.splits[name])[1]
    if until > config.splits[name][1]:
      raise ValueError(
        f'config.teacher.run is {run}, whose {name} split ends {until}, and '
        f'config.splits.{name} ends {config.splits[name][1]}: what is judged '
        'may not have been seen by the teacher'
      )
  labels = [x for x in config.get('pool', {}).get('labels', ()) if 'half' in x]
  if labels:
    raise ValueError(
      f'config.pool.labels has {labels[0]}, which is made of prices, and '
      'labels are the signal of config.teacher.run: expected some of plain, '
      'rank, winsorised'
    )
  return files.digest(place / 'pool.json')


def note(config) -> list[str]:
  """What a user should know of a run with a teacher."""
  if not (run := named(config)):
    return []
  return [
    f'train labels are the signal of {run}: `train_ic` is the correlation with '
    'it, while pool.json and all that is judged have the returns'
  ]


def taught(split: Split, said: Split, signal: np.ndarray) -> Split:
  """The split with a teacher's signal in place of its labels.

  Args:
    split: train.
    said, signal: the same days as the teacher reads them, and f32 of their
      days and stocks; NaN where it says nothing, as is then the label.

  Raises:
    ValueError: it says nothing of any stock on a scored day.
  """
  days = {date: t for t, date in enumerate(said.panel.dates)}
  stocks = {symbol: s for s, symbol in enumerate(said.panel.symbols)}
  row = np.array([days.get(date, -1) for date in split.panel.dates])
  column = np.array([stocks.get(name, -1) for name in split.panel.symbols])
  label = np.asarray(signal, np.float32)[np.ix_(row, column)]
  known = (row >= 0)[:, None] & (column >= 0) & np.asarray(split.panel.mask)
  label = np.where(known, label, np.nan)
  heard = np.isfinite(label).any(1)
  if not heard[split.scored].all():
    day = split.panel.dates[int(np.flatnonzero(split.scored & ~heard)[0])]
    raise ValueError(
      f'the teacher says nothing of any stock on {day}, a day of '
      f'config.splits.{split.name}: begin it later, or name another '
      'config.teacher.run'
    )
  return split.replace(target=label)
