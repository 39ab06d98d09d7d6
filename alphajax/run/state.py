"""The state of a method in the folder of its run: kept and restored."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphajax.run import checkpoint, writer
from alphajax.run.folder import RunError


def restore(
  workdir: Path, method, state, say: Callable[[str], None] = lambda text: None
) -> tuple[int, Any]:
  """The newest sound checkpoint as (iteration, state), or `(0, state)`.

  A damaged one is set aside, and the one before it is taken.

  Args:
    workdir: folder of the run.
    method: a `methods.base.Method`.
    state: its initial one.
    say: is told what was found.

  Raises:
    RunError: there are checkpoints, and all are damaged.
  """
  folder = workdir / 'checkpoints'
  like, _ = method.save(state)
  damaged = []
  for iteration in reversed(checkpoint.iterations(folder)):
    try:
      _, arrays, host = checkpoint.restore(folder, like, iteration)
    except checkpoint.DamagedError as error:
      damaged.append(iteration)
      say(str(error))
      continue
    for each in damaged:
      say(f'It is kept as {checkpoint.set_aside(folder, each)}.')
    say(f'Continuing after iteration {iteration}.')
    return iteration, method.load(arrays, host)
  if damaged:
    raise RunError(
      f'{folder}: every checkpoint is damaged (iterations '
      f'{", ".join(map(str, damaged))}); train again in another --workdir'
    )
  return 0, state


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
  with writer.naming(path):
    np.savez(draft, **arrays)
    os.replace(draft, path)
