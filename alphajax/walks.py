"""Years walked forward, read back: the joined signal, its panel, averages."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from alphajax import markets
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Split
from alphajax.judge import figures, judgement, ledger
from alphajax.judge import joined as joined_lib
from alphajax.judge.joined import Joined
from alphajax.run import files
from alphajax.run.files import RunError

SERIES, SUMMARY = 'walk_forward.npz', 'walk_forward.json'
DAILY = 'daily_walk.npz'  # Of the judgement, for the report.


def load(workdir: str | os.PathLike) -> tuple[dict[str, Any], Joined]:
  """What `walk_forward.json` and `walk_forward.npz` hold.

  Raises:
    RunError: there is no walk, or it is not done.
  """
  workdir = Path(workdir).expanduser()
  summary = files.read_json(workdir / SUMMARY)
  arrays = files.read_arrays(workdir / SERIES)
  if summary is None or not arrays:
    raise RunError(
      f'{workdir} holds no {SUMMARY} and {SERIES}: it is not the folder of a '
      'walk, or not all of its folds are done; `alphajax walk_forward` with '
      'its config and --workdir goes on'
    )
  return summary, joined_lib.from_arrays(arrays)


def keep(workdir: Path, summary: dict[str, Any], joined: Joined) -> None:
  """Writes what `load` reads."""
  files.write_arrays(workdir / SERIES, joined_lib.to_arrays(joined))
  files.write_json(workdir / SUMMARY, summary)


@jax.enable_x64(False)  # As the folds were.
def judge(
  workdir: str | os.PathLike, data_path: str | None = None
) -> dict[str, Any]:
  """Adds tear sheet and backtest of all years to what `keep` wrote.

  `walk_forward.json` gets the keys of `judgement`, `daily_walk.npz` its series.

  Returns:
    What `walk_forward.json` holds now.

  Raises:
    RunError, ValueError: as `on_market`.
  """
  workdir = Path(workdir).expanduser()
  summary, joined = load(workdir)
  signal, split = on_market(workdir, data_path)
  known = np.isin(split.panel.dates, joined.dates)
  split = split.replace(scored=np.asarray(split.scored) & known)
  config = config_of(workdir, data_path)
  label, spec = markets.label_spec(config), markets.backtest_spec(config)
  found, series = judgement.judgement(
    signal, split, label, spec, judged=summary.get('judged', 1)
  )
  summary |= found
  files.write_arrays(workdir / DAILY, series)
  files.write_json(workdir / SUMMARY, summary)
  return summary


def compare(
  workdir: str | os.PathLike | Sequence[str | os.PathLike],
  other: str | os.PathLike | Sequence[str | os.PathLike],
) -> dict[str, Any]:
  """`joined.difference` of two walks, or of several seeds of each.

  And of two, `alike`: how their signals correlate, see `joined.likeness`.

  Of several the daily figures are averaged before they are paired, so that what
  the seeds differ by counts for less.

  Raises:
    ValueError: they are of other labels, or those of one side of other days.
    RunError: one of them is not done.
  """
  sides = [
    [each] if isinstance(each, str | os.PathLike) else list(each)
    for each in (workdir, other)
  ]
  loaded = {place: load(place) for side in sides for place in side}
  summaries = [summary for summary, _ in loaded.values()]
  _same_label(list(loaded), summaries)
  one, two = ([loaded[place][1] for place in side] for side in sides)
  found = joined_lib.difference(
    joined_lib.mean_figures(one), joined_lib.mean_figures(two),
    lag_of(summaries[0]),
  )  # fmt: skip
  if len(one) == len(two) == 1:
    found['alike'] = joined_lib.alike(one[0], two[0])
  return found


def lag_of(summary: dict[str, Any]) -> int:
  """Days on which labels of neighbouring days overlap."""
  return max(summary['label']['horizon'] - 1, 0)


def _same_label(workdirs, summaries) -> None:
  first = summaries[0]['label']
  for workdir, summary in zip(workdirs, summaries, strict=True):
    if summary['label'] != first:
      raise ValueError(
        f'{workdirs[0]} and {workdir} were judged by other labels: {first} and '
        f'{summary["label"]}'
      )


def config_of(
  workdir: str | os.PathLike, data_path: str | None = None
) -> config_dict.ConfigDict:
  """The config of a walk, whose test split is all of its years.

  data_path: where the data lie, if they moved.

  An average is traded by the rules of its first walk.

  Raises:
    RunError: as `load`, or a fold is not there.
  """
  summary, joined = load(workdir)
  first = Path(workdir).expanduser()
  while 'runs' in (kept := load(first)[0]):  # Of an average.
    first = Path(kept['runs'][0]).expanduser()
  place = first / str(kept['folds'][0]['year']) / 'config.json'
  made = files.read_json(place)
  if made is None:
    raise RunError(f'{place} is missing: the folds of a walk stay in it')
  config = config_dict.ConfigDict(made)
  if data_path is not None:
    config.data.path = data_path
  if 'rules' in kept:  # Of the last time that it was joined.
    config.backtest = kept['rules']
  end = summary['folds'][-1]['splits']['test'][1]
  config.splits.test = (str(joined.dates[0]), end)
  return config


@jax.enable_x64(False)  # As the folds were.
def on_market(
  workdir: str | os.PathLike, data_path: str | None = None
) -> tuple[np.ndarray, Split]:
  """The joined signal f32[T, S] on the panel of its years, warm-up before them.

  What a backtest and a tear sheet read: `signal, split = on_market(WORKDIR)`.
  The signal is NaN on days that are of no fold.

  Raises:
    RunError, ValueError: no walk, or data that cannot be loaded.
  """
  config = config_of(workdir, data_path)
  split = markets.load_split(config, 'test')
  _, joined = load(workdir)
  panel = split.panel
  return joined_lib.place(joined, panel.dates, panel.symbols), split


def average(
  workdirs: Sequence[str | os.PathLike],
  out: str | os.PathLike,
  data_path: str | None = None,
) -> dict[str, Any]:
  """A walk whose signal is the mean of those of other walks, of any methods.

  Each is standardised per day; one without a value has no opinion, which is 0.
  Judged on the days that all have, and counted in the ledger beside the data:
  `judged` is how many distinct formulas and signals ever were on these days.

  Args:
    workdirs: of walks by the same label on the same data.
    out: gets `walk_forward.json` and `.npz`, as a walk does.
    data_path: where the data lie, if they moved.

  Raises:
    RunError: a walk that is not done, or a folder that holds folds.
    ValueError: walks of other labels, or without a day in common.
  """
  out = Path(out).expanduser()
  files.check_folder('--workdir', out)
  if any(out.glob('*/scored.json')):
    raise RunError(f'{out} holds the folds of a walk: take another --workdir')
  loaded = [load(workdir) for workdir in workdirs]
  _same_label(workdirs, [summary for summary, _ in loaded])
  summary, first = loaded[0]
  _, split = on_market(workdirs[0], data_path)
  panel = split.panel
  planes = [
    joined_lib.place(joined, panel.dates, panel.symbols) for _, joined in loaded
  ]
  common = np.all(
    [np.isin(panel.dates, joined.dates) for _, joined in loaded], axis=0
  )
  for workdir, plane in zip(workdirs, planes, strict=True):
    if not np.isfinite(plane[common]).any():
      raise ValueError(
        f'{workdir} and {workdirs[0]} have no day and symbol in common'
      )
  mean = _mean_opinion(planes)
  config = config_of(workdirs[0], data_path)
  parts = [key for made, _ in loaded for key in made.get('parts', ())]
  judged = count(config, mean, np.array(panel.dates)[common], parts)
  joined = _judged(mean, split, common, first)
  found = joined_lib.figures(joined, lag_of(summary))
  rows = {str(row['year']): row for row in summary['folds']}
  made = {
    'method': 'average',
    'runs': [str(workdir) for workdir in workdirs],
    'label': summary['label'],
    **judged,
    'parts': parts,
    'all': found['all'],
    'folds': [
      {'year': int(name), 'splits': rows[name]['splits']} | each
      for name, each in found['folds'].items()
    ],
  }
  out.mkdir(parents=True, exist_ok=True)
  keep(out, made, joined)
  return judge(out, data_path)


def _mean_opinion(planes: Sequence[np.ndarray]) -> np.ndarray:
  """Mean of signals `[T, S]`, 0 for one without a value; NaN where none has."""
  known = np.isfinite(planes)
  mean = np.where(known, planes, 0.0).mean(0)
  return np.where(known.any(0), mean, np.nan)


def count(
  config, signal: np.ndarray, dates: np.ndarray, parts: Sequence[str] = ()
) -> dict[str, Any]:
  """Writes a joined signal into the ledger, before it is judged.

  Args:
    config: whose data and label it is of.
    signal: the same array is the same signal, and counts once.
    dates: ISO days `[T]` that it is judged on.
    parts: keys of what it is made of, which do not count beside it.

  Returns:
    `judged`, how many distinct formulas and signals ever were on these days
    besides the parts, and `ledger`, where it is.
  """
  key = ledger.signal_key(hashlib.sha256(signal.tobytes()).hexdigest())
  days = str(dates[0]), str(dates[-1])
  tally, place = markets.count(config, 'walk_forward', days, [key], parts=parts)
  return {'judged': tally.judged, 'ledger': str(place)}


def _judged(
  mean: np.ndarray, split: Split, days: np.ndarray, first: Joined
) -> Joined:
  """A signal f32[T, S] on the `days bool[T]` of a split, as a walk has it."""
  panel = split.panel
  signal = np.asarray(panel_lib.standardize(mean, panel.mask))
  ic, rank_ic = np.full((2, len(days)), np.nan, np.float32)
  ic[split.scored], rank_ic[split.scored] = figures.on_scored_days(
    jnp.asarray(signal), split
  )
  dates = np.array(panel.dates)[days]
  fold = first.fold[np.searchsorted(first.dates, dates)]
  parts = []
  for name in dict.fromkeys(fold.tolist()):
    at = np.flatnonzero(days)[fold == name]
    parts.append(
      joined_lib.Part(
        name=name,
        dates=np.array(panel.dates)[at],
        symbols=np.array(panel.symbols),
        signal=signal[at],
        ic=ic[at],
        rank_ic=rank_ic[at],
      )
    )
  return joined_lib.join(parts)
