"""The metrics of a run as TensorBoard scalars."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from alphajax.run import files
from alphajax.run import writer as writer_lib
from alphajax.run.config import flatten


@contextlib.contextmanager
def scalars(
  workdir: Path, done: int, *, on: bool
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
  """Gives what writes a record of `metrics.jsonl`; nothing where it is off.

  Nested keys become groups: `seconds.total` is `seconds/total`. A restart
  hides what was written before it and writes the records up to `done` again:
  a kill may have lost some, and a run may have begun without.

  Args:
    workdir: folder of the run; the scalars lie in `tensorboard`.
    done: iterations of `metrics.jsonl` that the run goes on from.
    on: whether anything is written.

  Raises:
    RunError: it is on, and tensorboardX is not installed; or the folder cannot
      be written.
  """
  if not on:
    yield lambda record: None
    return
  try:
    import tensorboardX
  except ModuleNotFoundError as error:
    raise files.RunError(
      'config.log.tensorboard needs tensorboardX: pip install tensorboardX, '
      'or leave it out with --config.log.tensorboard=False'
    ) from error
  place = workdir / 'tensorboard'
  with files.naming(place):
    board = tensorboardX.SummaryWriter(str(place), purge_step=1)

  def write(record: Mapping[str, Any]) -> None:
    step = record['iteration']
    # As `metrics.jsonl` has it: what is an array scalar here is a number there.
    record = json.loads(json.dumps(record, default=files.plain))
    for key, value in flatten(record).items():
      if type(value) in (int, float) and key != 'iteration':
        board.add_scalar(key.replace('.', '/'), value, step)
    board.flush()

  with board:
    if done:
      for record in writer_lib.read(workdir / 'metrics.jsonl')[:done]:
        write(record)
    yield write
