"""How a run goes: a live line on a terminal, lines in a log or a notebook."""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import tqdm

SECONDS_BETWEEN_LINES = 10.0  # Of a log, which is not to grow without need.


def say(*lines: str) -> None:
  """Tells the user, on standard error: what a command finds has the other."""
  for line in lines:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(
  total: int, done: int = 0, stream: TextIO | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
  """Shows how a run goes: one live line on a terminal, else lines.

    with progress(total, done) as show:
      show(record)  # A record of metrics.jsonl, once an iteration.

  In a log file or a notebook that is a line for the first iteration, the last
  one, and in between one every ten seconds at most.

  Args:
    total: iterations of the whole run.
    done: iterations that earlier starts of the run completed.
    stream: where to, standard error by default.
  """
  stream = sys.stderr if stream is None else stream
  durations, last = [], time.monotonic()
  with (_live if stream.isatty() else _logged)(total, done, stream) as write:

    def show(record: Mapping[str, Any]) -> None:
      nonlocal last
      now = time.monotonic()
      # The record's own total is of the same time as its `compile_seconds`,
      # and what was compiled is not compiled again.
      took = (record.get('seconds') or {}).get('total', now - last)
      durations.append(max(took - record.get('compile_seconds', 0.0), 0.0))
      last = now
      write(record['iteration'], status_line(record, total, durations))

    yield show


@contextlib.contextmanager
def _live(total, done, stream):
  """One line that changes in place."""
  with tqdm.tqdm(
    total=total,
    initial=done,
    file=stream,
    dynamic_ncols=True,
    bar_format='{percentage:3.0f}% |{bar:10}| {desc}',
    desc=f'iteration {done + 1}/{total}, the first one compiles',
  ) as bar:

    def write(iteration: int, text: str) -> None:
      bar.set_description_str(text, refresh=False)
      bar.update(iteration - bar.n)
      bar.refresh()

    yield write


@contextlib.contextmanager
def _logged(total, done, stream):
  """Lines, none of them taken back."""
  del total, done
  written, waiting = None, None

  def put(text: str) -> None:
    nonlocal written, waiting
    print(text, file=stream, flush=True)
    written, waiting = time.monotonic(), None

  def write(iteration: int, text: str) -> None:
    nonlocal waiting
    del iteration
    due = written is None or time.monotonic() - written > SECONDS_BETWEEN_LINES
    if due:
      put(text)
    else:
      waiting = text

  try:
    yield write
  finally:
    if waiting is not None:  # Of the last iteration, whatever ended the run.
      put(waiting)


def status_line(
  record: Mapping[str, Any], total: int, durations: Sequence[float]
) -> str:
  """One line of text about an iteration, with what its record has.

  What matters most comes first: a narrow terminal cuts the end off.

  Args:
    record: of `metrics.jsonl`.
    total: iterations of the whole run.
    durations: seconds of the iterations so far, without compiling.
  """
  # The median of the last few: a single slow one tells little.
  left = (total - record['iteration']) * statistics.median(durations[-9:])
  parts = [f'iteration {record["iteration"]}/{total}, {_clock(left)} left']
  ics = {'train': 'train_ic', 'valid': 'valid_ic'}
  if any(key in record for key in ics.values()):
    figures = (f'{name} {_ic(record.get(key))}' for name, key in ics.items())
    parts.append(f'IC {" ".join(figures)}')
  counts = {'proposed': 'formulas', 'evaluated': 'distinct evaluated'}
  counted = [f'{record[k]:,} {t}' for k, t in counts.items() if k in record]
  if counted:
    parts.append(', '.join(counted))
  else:
    parts += [
      f'{key.replace("_", " ")} {value:.4g}'
      for key, value in record.items()
      if key.endswith('loss') and value is not None
    ]
  return ' | '.join(parts)


def _ic(value: float | None) -> str:
  return '-' if value is None else f'{value:.4f}'


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{seconds:02d}'
  return f'{minutes}:{seconds:02d}'
