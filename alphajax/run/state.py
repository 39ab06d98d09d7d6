"""The state of a method in the folder of its run: kept and restored."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphajax.run import checkpoint, files, rows, writer
from alphajax.run.config import flatten


def begin(
  workdir: Path, method, rng_key: jax.Array, say: Callable[[str], None]
) -> tuple[int, Any]:
  """Where a run begins or goes on, as (iteration, state); see `restore`.

  What the method keeps of formulas beside its checkpoints is read first.
  """
  for name, kept in method.kept:
    kept.open(rows.path_of(workdir, name))
  done, state = restore(workdir, method, method.init(rng_key), say)
  for _, kept in method.kept:
    for note in dict.fromkeys(kept.notes):
      say(note)
  return done, state


def restore(
  workdir: Path,
  method,
  state,
  say: Callable[[str], None] | None = None,
  *,
  set_aside: bool = True,
) -> tuple[int, Any]:
  """The newest sound checkpoint as (iteration, state), or `(0, state)`.

  Args:
    workdir: folder of the run.
    method: a `methods.base.Method`.
    state: its initial one.
    say: is told what was found; without it, damage is a warning.
    set_aside: renames damaged checkpoints after the one that is taken, so that
      the run can go on from it. Not for one that only reads the folder.

  Raises:
    RunError: there are checkpoints, and all are damaged, or cannot be read.
  """
  folder = workdir / 'checkpoints'
  like, _ = method.save(state)
  warn = say or warnings.warn
  restored = checkpoint.restore(folder, like, say=warn)
  if restored is None:
    return 0, state
  iteration, arrays, host = restored
  if set_aside:
    set_aside_after(folder, iteration, warn)
  if say:
    say(f'Continuing after iteration {iteration}.')
  return iteration, method.load(arrays, host)


def set_aside_after(
  folder: Path, iteration: int, say: Callable[[str], None]
) -> None:
  """Sets aside what was damaged after the iteration that is gone on from."""
  for damaged in checkpoint.iterations(folder):
    if damaged > iteration:
      say(f'It is kept as {checkpoint.set_aside(folder, damaged)}.')


def keep(workdir: Path, method, state, record: Mapping[str, Any]) -> None:
  """Writes the metrics of an iteration, then the checkpoint.

  Raises:
    FloatingPointError: a metric is NaN or infinite; the state is kept in
      `failed`, the last good one in `checkpoints`.
    RunError: the system refuses to write; the checkpoint before stays.
  """
  arrays, host = method.save(state)
  bad = writer.nonfinite(record)
  if bad:
    folder = workdir / 'failed'
    if record['iteration'] not in checkpoint.iterations(folder):
      checkpoint.save(folder, record['iteration'], arrays, host)
    raise FloatingPointError(
      f'iteration {record["iteration"]}: {", ".join(bad)} is not finite; the '
      f'state is kept in {folder}. Started again the run comes to the same '
      f'numbers{_smaller(workdir)}'
    )
  writer.append(workdir / 'metrics.jsonl', record)
  checkpoint.save(workdir / 'checkpoints', record['iteration'], arrays, host)
  for _, kept in method.kept:
    kept.flush()


def _smaller(workdir: Path) -> str:
  """What often helps a run whose numbers left the finite ones."""
  config = flatten(files.read_json(workdir / 'config.json') or {})
  keys = [key for key in config if key.endswith('.learning_rate')]
  if not keys:
    return ''
  named = ' or '.join(f'--config.{key} (here {config[key]:g})' for key in keys)
  return f'; a smaller {named}, in another --workdir, often helps'


def write_result(
  workdir: Path, summary: Mapping[str, Any], daily: Mapping[str, np.ndarray]
) -> None:
  """Writes `daily.npz`, then `pool.json`, each wholly or not at all."""
  files.write_arrays(workdir / 'daily.npz', daily)
  files.write_json(workdir / 'pool.json', summary)
