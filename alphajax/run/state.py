"""The state of a method in the folder of its run: kept and restored."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphajax.run import checkpoint, writer


def restore(
  workdir: Path, method, state, say: Callable[[str], None] = lambda text: None
) -> tuple[int, Any]:
  """The newest checkpoint as (iteration, state), or `(0, state)`.

  Args:
    workdir: folder of the run.
    method: a `methods.base.Method`.
    state: its initial one.
    say: is told what was found.
  """
  arrays, _ = method.save(state)
  restored = checkpoint.restore(workdir / 'checkpoints', arrays)
  if restored is None:
    return 0, state
  iteration, arrays, host = restored
  say(f'Continuing after iteration {iteration}.')
  return iteration, method.load(arrays, host)


def keep(workdir: Path, method, state, record: Mapping[str, Any]) -> None:
  """Writes the metrics of an iteration, then the checkpoint.

  Raises:
    FloatingPointError: a metric is NaN or infinite; the state is kept in
      `failed`, the last good one in `checkpoints`.
  """
  arrays, host = method.save(state)
  bad = writer.nonfinite(record)
  if bad:
    folder = workdir / 'failed'
    if record['iteration'] not in checkpoint.iterations(folder):
      checkpoint.save(folder, record['iteration'], arrays, host)
    raise FloatingPointError(
      f'iteration {record["iteration"]}: {", ".join(bad)} is not finite; the '
      f'state is kept in {folder}. A smaller config.training.learning_rate '
      'often helps; continue from the last good iteration by starting again.'
    )
  writer.append(workdir / 'metrics.jsonl', record)
  checkpoint.save(workdir / 'checkpoints', record['iteration'], arrays, host)


def write_result(
  workdir: Path, summary: Mapping[str, Any], daily: Mapping[str, np.ndarray]
) -> None:
  """Writes `daily.npz`, then `pool.json`, each wholly or not at all."""
  write_arrays(workdir / 'daily.npz', daily)
  writer.write_json(workdir / 'pool.json', summary)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Replaces an npz file, wholly or not at all."""
  draft = path.with_name(f'.{path.stem}.tmp.npz')
  np.savez(draft, **arrays)
  os.replace(draft, path)
