"""The page of years walked forward, from the folder of the walk alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphajax.data.panel import bar_word
from alphajax.judge import joined as joined_lib
from alphajax.judge import result
from alphajax.judge.joined import Joined
from alphajax.report import judged, templates, verdict
from alphajax.report.judged import Judged
from alphajax.run import files
from alphajax.run.files import RunError

# As `walks` writes them; it stands above the report.
SUMMARY, SERIES, DAILY = (
  'walk_forward.json',
  'walk_forward.npz',
  'daily_walk.npz',
)


class Walk(NamedTuple):
  """What the folder of a walk holds; `daily` is empty in older ones."""

  name: str
  summary: dict[str, Any]
  joined: Joined
  daily: dict[str, np.ndarray]


def is_walk(workdir: Path) -> bool:
  """Whether a folder holds years walked forward, to the end."""
  return (workdir / SUMMARY).exists()


def load(workdir: Path) -> Walk:
  """Reads the folder of a walk.

  Raises:
    RunError: it is none, or a file in it is damaged.
  """
  summary = files.read_json(workdir / SUMMARY)
  arrays = files.read_arrays(workdir / SERIES)
  if summary is None or not arrays:
    raise RunError(
      f'{workdir} holds no {SUMMARY} and {SERIES}: a walk is compared with '
      'walks that are done, `alphajax walk_forward` makes them'
    )
  return Walk(
    workdir.resolve().name,
    summary,
    joined_lib.from_arrays(arrays),
    files.read_arrays(workdir / DAILY),
  )


def render(walk: Walk, others: Sequence[Walk] = ()) -> str:
  """The page as HTML text."""
  summary = walk.summary
  horizon = summary['label']['horizon']
  known = np.isfinite(walk.joined.ic)
  dates = walk.joined.dates[known]
  bars = bar_word(dates)
  entry: dict[str, Any] = {
    'test': summary['all'],
    'opened': max(row.get('opened') or 1 for row in summary['folds']),
    **{key: summary[key] for key in ('sheet', 'backtest') if key in summary},
  }
  daily = {
    'dates': dates,
    'ic': walk.joined.ic[known],
    'rank_ic': walk.joined.rank_ic[known],
    **walk.daily,
  }
  part = Judged('walk', 'All years judged together', entry, daily)
  controls = [
    (other.name, _difference(walk, other), 'joined')
    for other in others
    if 'random' in other.summary['method']
  ]
  is_control = not controls and 'random' in summary['method']
  return templates.template('walk.html').render(
    name=walk.name,
    summary=summary,
    label=result.label_text(summary['label'], bars),
    bars=bars,
    verdict=verdict.sentences(
      entry, horizon, bars, None if is_control else controls
    ),
    part=judged.section(part, horizon, bars, months=True),
    now=templates.now(),
  )


def _difference(walk: Walk, other: Walk) -> dict[str, Any]:
  """IC of a walk less that of another, and on how many days.

  Raises:
    ValueError: they were judged by other labels, or on other days.
  """
  label, theirs = walk.summary['label'], other.summary['label']
  if label != theirs:
    raise ValueError(
      f'{walk.name} and {other.name} were judged by other labels: {label} and '
      f'{theirs}'
    )
  lag = max(label['horizon'] - 1, 0)
  found = joined_lib.difference(walk.joined, other.joined, lag)
  return found['ic'] | {'days': found['days']}
