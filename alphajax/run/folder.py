"""The folder of a run: read back, cleaned, and what may change in it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphajax.data.panel import SPLITS
from alphajax.run import checkpoint, files, writer
from alphajax.run.files import RunError

# Keys of a config that may differ when a folder is started again. Where the
# data lie and how much memory is used leave the result alone (the hash of the
# data is compared apart); a run may be told to go on longer, or to end sooner.
# By which rules it is traded is asked of what it has found. What is held of a
# file of formulas is compared itself. Stocks may be split over other devices,
# since what needs several must be able to go on with what there is: the last
# digits of an IC are then others.
MAY_CHANGE = (
  'data.path', 'store_bytes', 'num_iterations', 'early_stop', 'max_evaluated',
  'num_seeds', 'log', 'mesh.devices', 'mesh.stocks', 'backtest', 'keep_rows',
  'strict', 'published.strict',
)  # fmt: skip


def may_change(config) -> tuple[str, ...]:
  """Keys that a run which goes on may have otherwise than before."""
  if config.get('search', {}).get('known_rewards'):
    # The table of rewards has room for the formulas of all iterations.
    return tuple(k for k in MAY_CHANGE if k != 'num_iterations')
  return MAY_CHANGE


class Run(NamedTuple):
  """What a folder holds. What a run has not written yet is None or empty."""

  name: str
  workdir: Path
  metrics: list[dict[str, Any]]
  config: dict[str, Any] | None
  provenance: dict[str, Any] | None
  pool: dict[str, Any] | None
  results: dict[str, Any] | None
  daily: dict[str, np.ndarray]  # Test days too, once they were opened.
  checkpoint: int = 0  # Its iteration; metrics end sooner where lines are lost.

  def column(self, key: str) -> np.ndarray:
    """One metric by iteration, `[N]`, NaN where it was not known."""
    values = [record.get(key) for record in self.metrics]
    return np.array(values, float)  # None becomes NaN.

  def seconds(self, part: str) -> np.ndarray:
    """Seconds of one part by iteration, `[N]`."""
    values = [record.get('seconds', {}).get(part, 0) for record in self.metrics]
    return np.array(values, float)

  def series(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days, daily IC and daily RankIC of the pool, each `[T]`."""
    dates = self.daily[f'dates_{split}'].astype('datetime64[D]')
    ic, rank_ic = (
      np.asarray(self.daily[f'{name}_{split}'], float)
      for name in ('ic', 'rank_ic')
    )
    return dates, ic, rank_ic

  def splits(self) -> list[str]:
    """The splits with daily series, test last and only once opened."""
    return [s for s in SPLITS if len(self.daily.get(f'ic_{s}', ()))]


def load_run(workdir: str | os.PathLike) -> Run:
  """Reads the folder of a run, finished or not.

  Raises:
    RunError: the folder or its metrics are missing, it is not a run, or a file
      in it is damaged.
  """
  workdir = Path(workdir)
  if not workdir.is_dir():
    raise RunError(f'{workdir}: no such folder')
  metrics_path = workdir / 'metrics.jsonl'
  # First, for a run that is under way writes its lines before them.
  done = max(checkpoint.iterations(workdir / 'checkpoints'), default=0)
  if done and not metrics_path.exists():
    raise _no_metrics(metrics_path, 'is missing', done)
  if not metrics_path.exists():
    of = (
      (files.read_json(workdir / 'pool.json') or {}).get('refit', {}).get('of')
    )
    if of:
      raise RunError(
        f'{workdir} is a refit of {of}, which had the iterations: `alphajax '
        f'report --workdir={of}` shows them, and `alphajax evaluate '
        f'--workdir={workdir}` prints the figures of the refit'
      )
    with files.naming(workdir):
      found = ', '.join(sorted(path.name for path in workdir.iterdir()))
    raise RunError(
      f'{workdir} has no metrics.jsonl, so no iteration was finished or it is '
      f'not the folder of a run{such_as(workdir)}; it holds: '
      f'{found or "nothing"}'
    )
  metrics = writer.read(metrics_path)
  if done and not metrics:
    raise _no_metrics(metrics_path, 'has no whole line', done)
  if not metrics:
    raise RunError(f'{metrics_path}: no iteration was finished yet')
  daily = files.read_arrays(workdir / 'daily.npz')
  test = files.read_arrays(workdir / 'daily_test.npz')
  daily |= {f'{name}_test': values for name, values in test.items()}
  return Run(
    name=workdir.resolve().name,
    workdir=workdir,
    metrics=metrics,
    daily=daily,
    checkpoint=done,
    **{
      name: files.read_json(workdir / f'{name}.json')
      for name in ('config', 'provenance', 'pool', 'results')
    },
  )


def such_as(workdir: Path) -> str:
  """Names a run below a folder that is none, as of several seeds or a sweep."""
  below = (
    path for at in ('*', '*/*') for path in workdir.glob(f'{at}/config.json')
  )
  runs = sorted(path.parent for path in below)
  return f', such as {runs[0]} in it' if runs else ''


def _no_metrics(path: Path, what: str, done: int) -> RunError:
  return RunError(
    f'{path} {what}, but the newest checkpoint is that of iteration {done}: '
    'the lines were lost; put a copy back. Its pool.json, if there is one, is '
    f'judged by `alphajax evaluate --workdir={path.parent}` without them'
  )


def clean(workdir: str | os.PathLike) -> None:
  """Removes what a kill left half-written, and nothing else.

  Only for the one who holds the folder, see `lock.hold`.
  """
  workdir = Path(workdir)
  files.clean(workdir)
  for name in ('checkpoints', 'failed'):
    checkpoint.clean(workdir / name)
