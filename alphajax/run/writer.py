"""Files of a run: metrics as JSON lines, whole-file writes, the progress line.

The order that `train` keeps, so that a kill at any moment loses nothing:

  bad = writer.nonfinite(record)
  if bad: checkpoint.save(workdir / 'failed', ...)  # Kept to be looked at.
  writer.append(metrics_path, record)  # Raises when `bad`.
  checkpoint.save(workdir / 'checkpoints', iteration, ...)

A line without its checkpoint is dropped by `truncate` on restart and written
again; a checkpoint without its line cannot exist.
"""

import contextlib
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import tqdm

_DRAFT = re.compile(r'\..+\.(\d+\.tmp|tmp\.npz)')


def plain(value: Any) -> Any:
  """Converts what `json` does not know: arrays, array scalars, paths."""
  if isinstance(value, Path):
    return str(value)
  if hasattr(value, 'tolist'):  # NumPy and JAX arrays and their scalars.
    return value.tolist()
  raise TypeError(f'{type(value).__name__} cannot be written as JSON')


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces a file by one with this text, wholly or not at all."""
  path = Path(path)
  draft = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  with naming(path):
    with open(draft, 'w', encoding='utf-8') as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    os.replace(draft, path)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
  """Names the file in an error of the system, such as that of a full disk."""
  try:
    yield
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(path)) from error


def clean(folder: Path) -> None:
  """Removes what a killed process was writing; call it where nobody else is."""
  for path in folder.glob('.*.tmp*'):
    if _DRAFT.fullmatch(path.name):
      path.unlink()


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Replaces a JSON file, wholly or not at all. NaN is refused.

  Raises:
    ValueError: the value holds a NaN or an infinity, which JSON does not have;
      what is not known is written as None.
  """
  text = json.dumps(value, indent=2, default=plain, allow_nan=False)
  write_text(path, text + '\n')


def nonfinite(record: Mapping[str, Any], prefix: str = '') -> list[str]:
  """Names of the entries of a nested record that are NaN or infinite."""
  names = []
  for key, value in record.items():
    if isinstance(value, Mapping):
      names += nonfinite(value, f'{prefix}{key}.')
    elif value is not None and not isinstance(value, str):
      if not math.isfinite(value):
        names.append(f'{prefix}{key}')
  return names


def append(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
  """Appends one record to a JSON-lines file and waits until it is on disk.

  None means "not known yet" and is written as null.

  Raises:
    FloatingPointError: an entry is NaN or infinite; nothing is written.
  """
  bad = nonfinite(record)
  if bad:
    raise FloatingPointError(
      f'iteration {record.get("iteration")}: '
      + ', '.join(f'{name} = {_look_up(record, name)}' for name in bad)
    )
  line = json.dumps(record, default=plain, allow_nan=False) + '\n'
  with naming(path), open(path, 'a', encoding='utf-8') as file:
    file.write(line)
    file.flush()
    os.fsync(file.fileno())


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """Reads a file of records; a last line without its end is left out.

  That is what a kill leaves of a line that was being written.

  Raises:
    ValueError: any other line that is no record, or is out of order; names it.
  """
  # Read as bytes: a killed write may end inside a UTF-8 character.
  *lines, _ = Path(path).read_bytes().split(b'\n')
  records, before = [], 0
  for number, line in enumerate(lines, start=1):
    try:
      record = json.loads(line)
      iteration = record['iteration']
      if not iteration > before:
        raise ValueError(f'iteration {iteration} comes after {before}')
    except (ValueError, TypeError, KeyError) as error:
      raise ValueError(
        f'{path}, line {number} is no record of a run ({error}); the file was '
        'changed or damaged: mend the line, or take another --workdir'
      ) from error
    records.append(record)
    before = iteration
  return records


def truncate(path: str | os.PathLike, iteration: int) -> None:
  """Drops lines after `iteration`, and a half-written last one, in one step.

  Called on restart with the iteration of the checkpoint. Before the first
  iteration the file may be missing.

  Raises:
    ValueError: the file is damaged, or lacks lines; it is left as it is.
  """
  records = read(path) if Path(path).exists() else []
  kept = [r for r in records if r['iteration'] <= iteration]
  last = kept[-1]['iteration'] if kept else 0
  if last != iteration:
    raise ValueError(
      f'{path} ends with iteration {last}, but the checkpoint is that of '
      f'iteration {iteration}: lines were lost; take another --workdir'
    )
  if Path(path).exists():
    write_text(path, ''.join(json.dumps(record) + '\n' for record in kept))


@contextlib.contextmanager
def progress(
  total: int, done: int = 0, stream: TextIO | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
  """Shows how a run goes: one live line on a terminal, else a line each.

    with writer.progress(total, done) as show:
      show(record)  # A record of metrics.jsonl, once an iteration.

  Args:
    total: iterations of the whole run.
    done: iterations that earlier starts of the run completed.
    stream: where to, standard error by default.
  """
  stream = sys.stderr if stream is None else stream
  durations = []
  last = time.monotonic()
  live = stream.isatty()
  with tqdm.tqdm(
    total=total,
    initial=done,
    file=stream,
    disable=not live,
    dynamic_ncols=True,
    bar_format='{percentage:3.0f}% |{bar:10}| {desc}',
    desc=f'iteration {done + 1}/{total}, the first one compiles',
  ) as bar:

    def show(record: Mapping[str, Any]) -> None:
      nonlocal last
      now = time.monotonic()
      # What was compiled is not compiled again.
      compiling = record.get('compile_seconds', 0.0)
      durations.append(max(now - last - compiling, 0.0))
      last = now
      text = status_line(record, total, durations)
      if not live:
        print(text, file=stream, flush=True)
        return
      bar.set_description_str(text, refresh=False)
      bar.update(record['iteration'] - bar.n)
      bar.refresh()

    yield show


def status_line(
  record: Mapping[str, Any], total: int, durations: Sequence[float]
) -> str:
  """One line of text about an iteration; `durations` in seconds, so far.

  What matters most comes first: a narrow terminal cuts the end off.
  """
  # The median of the last few: a better pool takes longer.
  left = (total - record['iteration']) * statistics.median(durations[-9:])
  parts = [f'iteration {record["iteration"]}/{total}, {_clock(left)} left']
  if 'train_ic' in record or 'valid_ic' in record:
    parts.append(
      f'IC train {_ic(record.get("train_ic"))}'
      f' valid {_ic(record.get("valid_ic"))}'
    )
  if 'evaluated' in record:
    parts.append(
      f'{record.get("proposed", record["evaluated"]):,} formulas, '
      f'{record["evaluated"]:,} distinct evaluated'
    )
  losses = [key for key in record if key == 'loss' or key.endswith('_loss')]
  if len(parts) == 1 and losses:
    parts += [f'{key} {record[key]:.4g}' for key in losses]
  return ' | '.join(parts)


def _ic(value: float | None) -> str:
  return '-' if value is None else f'{value:.4f}'


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{seconds:02d}'
  return f'{minutes}:{seconds:02d}'


def _look_up(record: Mapping[str, Any], name: str) -> Any:
  for key in name.split('.'):
    record = record[key]
  return record
