"""The folder of a run, read back."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from alphajax.data.panel import SPLITS
from alphajax.run import writer


class RunError(Exception):
  """A folder that does not hold what is asked for; the text is for the user."""


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
    return dates, *(
      np.asarray(self.daily[f'{name}_{split}'], float)
      for name in ('ic', 'rank_ic')
    )

  def splits(self) -> list[str]:
    """The splits with daily series, test last and only once opened."""
    return [s for s in SPLITS if len(self.daily.get(f'ic_{s}', ()))]


def load_run(workdir: str | os.PathLike) -> Run:
  """Reads the folder of a run, finished or not.

  Raises:
    RunError: the folder or its metrics are missing, or it is not a run.
  """
  workdir = Path(workdir)
  if not workdir.is_dir():
    raise RunError(f'{workdir}: no such folder')
  metrics_path = workdir / 'metrics.jsonl'
  if not metrics_path.exists():
    found = ', '.join(sorted(path.name for path in workdir.iterdir()))
    raise RunError(
      f'{workdir} has no metrics.jsonl, so no iteration was finished or it is '
      f'not the folder of a run; it holds: {found or "nothing"}'
    )
  try:
    metrics = writer.read(metrics_path)
  except ValueError as error:
    raise RunError(str(error)) from error
  if not metrics:
    raise RunError(f'{metrics_path}: no iteration was finished yet')
  daily = _load_arrays(workdir / 'daily.npz')
  test = _load_arrays(workdir / 'daily_test.npz')
  daily |= {f'{name}_test': values for name, values in test.items()}
  return Run(
    name=workdir.resolve().name,
    workdir=workdir,
    metrics=metrics,
    daily=daily,
    **{
      name: read_json(workdir / f'{name}.json')
      for name in ('config', 'provenance', 'pool', 'results')
    },
  )


def read_json(path: Path) -> dict[str, Any] | None:
  """A JSON file of a run; None where it was not written."""
  if not path.exists():
    return None
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:
    raise RunError(f'{path} is not JSON: {error}') from error
  if not isinstance(value, dict):
    raise RunError(f'{path} holds no {{...}} as alphajax writes it')
  return value


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
  if not path.exists():
    return {}
  try:
    with np.load(path) as file:
      return dict(file)
  except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
    raise RunError(
      f'{path} is damaged ({error}); `train` writes it again'
    ) from error
