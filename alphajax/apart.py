"""Tasks in processes of their own, some at a time.

A process ends with its task, so that its memory is free, and so that none is
left waiting where this one is killed.
"""

import multiprocessing
import multiprocessing.connection
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from alphajax import cli, train

Task = TypeVar('Task')


def run(
  tasks: Sequence[Task],
  work: Callable[[Task], None],
  jobs: int,
  begin: Callable[[int, Task], None] = lambda number, task: None,
) -> Iterator[tuple[Task, bool]]:
  """Works on tasks apart; gives each at its end, and whether it went well.

  What fails has said so in a line of its own. Where a task fails, or who asks
  stops asking, those that run are waited for, and no more begun.

  Args:
    tasks: in the order in which they begin; sent to their process.
    work: a function of a module, or a partial of one.
    jobs: processes at a time, each with the memory of its task.
    begin: is told the number of a task, from 1, before it begins.
  """
  # Several processes share the memory of one accelerator.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  context = multiprocessing.get_context('spawn')
  waiting, running, failed = list(enumerate(tasks, 1)), {}, False
  try:
    while (waiting and not failed) or running:
      while waiting and len(running) < jobs and not failed:
        number, task = waiting.pop(0)
        begin(number, task)
        child = context.Process(target=_live, args=(work, task))
        child.start()
        running[child.sentinel] = task, child
      for sentinel in multiprocessing.connection.wait(list(running)):
        task, child = running.pop(sentinel)  # type: ignore[arg-type]
        child.join()
        failed = failed or bool(child.exitcode)
        yield task, not child.exitcode
  finally:
    for _, child in running.values():
      child.join()


def _live(work: Callable[[Task], None], task: Task) -> None:
  """The life of a process with one task."""
  train.prepare()
  cli.with_errors(lambda: work(task), debug=False, resumed='')
