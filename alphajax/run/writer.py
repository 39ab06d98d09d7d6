"""The metrics of a run as JSON lines: appended, read back, cut on a restart.

The order that `train` keeps, so that a kill at any moment loses nothing:

  bad = writer.nonfinite(record)
  if bad: checkpoint.save(workdir / 'failed', ...)  # Kept to be looked at.
  writer.append(metrics_path, record)  # Raises when `bad`.
  checkpoint.save(workdir / 'checkpoints', iteration, ...)

A line without its checkpoint is dropped by `truncate` on restart and written
again; a checkpoint without its line cannot exist.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphajax.run import files
from alphajax.run.files import RunError


def nonfinite(record: Mapping[str, Any], prefix: str = '') -> list[str]:
  """Names of the entries of a nested record that are NaN or infinite."""
  names = []
  for key, value in record.items():
    if isinstance(value, Mapping):
      names += nonfinite(value, f'{prefix}{key}.')
    elif value is not None and not isinstance(value, str):
      if np.shape(value):
        raise ValueError(
          f'metric {prefix}{key} is an array {list(np.shape(value))}: expected '
          'a number, text or None'
        )
      if not math.isfinite(value):
        names.append(f'{prefix}{key}')
  return names


def append(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
  """Appends one record to a JSON-lines file and waits until it is on disk.

  None means "not known yet" and is written as null.

  Raises:
    FloatingPointError: an entry is NaN or infinite; nothing is written.
    RunError: the system refuses, on a full disk say; what was written of the
      line has no end and is dropped on restart.
  """
  bad = nonfinite(record)
  if bad:
    raise FloatingPointError(
      f'iteration {record.get("iteration")}: '
      + ', '.join(f'{name} = {_look_up(record, name)}' for name in bad)
    )
  line = json.dumps(record, default=files.plain, allow_nan=False) + '\n'
  with files.naming(path), open(path, 'a', encoding='utf-8') as file:
    file.write(line)
    file.flush()
    os.fsync(file.fileno())


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """Reads the records of a run, that of iteration n in line n.

  A last line without its end is left out: it was being written when the
  process was killed. Nothing else is.

  Raises:
    RunError: a line is no record, or not of the iteration that is due there;
      names file and line. Or the file cannot be read.
  """
  return [json.loads(line) for line in _lines(path)]


def truncate(path: str | os.PathLike, iteration: int) -> None:
  """Drops lines after `iteration`, and a half-written last one, in one step.

  Called on restart with the iteration of the checkpoint. For iteration 0 a
  missing file is fine: the run was killed before its first line.

  Raises:
    RunError: a line is damaged, or there are fewer than `iteration`; the file
      is left as it is.
  """
  path = Path(path)
  if iteration == 0 and not path.exists():
    return
  lines = _lines(path) if path.exists() else []
  if len(lines) < iteration:
    raise RunError(
      f'{path} has {len(lines)} lines, but the checkpoint is that of iteration '
      f'{iteration}: lines were lost; put a copy back, or take another '
      '--workdir'
    )
  kept = b''.join(line + b'\n' for line in lines[:iteration])
  if path.read_bytes() != kept:
    with files.replacing(path) as file:
      file.write(kept)


def _lines(path: str | os.PathLike) -> list[bytes]:
  """The whole lines of a file, each the record that is due."""
  with files.naming(path):
    # As bytes: a killed write may end inside a UTF-8 character.
    content = Path(path).read_bytes()
  *lines, _ = content.split(b'\n')
  for number, line in enumerate(lines, start=1):
    problem = _problem(line, number)
    if problem:
      raise RunError(
        f'{path}, line {number}: {problem}. The file was damaged or changed '
        'after it was written; put a copy back, or take another --workdir.'
      )
  return lines


def _problem(line: bytes, number: int) -> str | None:
  """What keeps a line from being the record of iteration `number`."""
  try:
    record = json.loads(line, parse_constant=_no_constant)
  except (ValueError, RecursionError) as error:
    return f'not JSON: {error}'
  if not isinstance(record, dict) or 'iteration' not in record:
    return 'no record of an iteration'
  if record['iteration'] != number:
    return f'iteration {record["iteration"]} where {number} is due'
  return None


def _no_constant(name: str) -> None:
  raise ValueError(f'{name} is no number')


def _look_up(record: Mapping[str, Any], name: str) -> Any:
  for key in name.split('.'):
    record = record[key]
  return record
