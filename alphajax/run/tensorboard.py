"""The metrics of a run as TensorBoard scalars."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from alphajax.run import checkpoint


@contextlib.contextmanager
def scalars(
  workdir: Path, done: int, *, on: bool
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
  """Gives what writes a record of `metrics.jsonl`; nothing where it is off.

  Nested keys become groups: `seconds.total` is `seconds/total`. On a restart
  what was written after iteration `done` is purged.

  Raises:
    ModuleNotFoundError: it is on, and tensorboardX is not installed.
  """
  if not on:
    yield lambda record: None
    return
  import tensorboardX

  with tensorboardX.SummaryWriter(
    str(workdir / 'tensorboard'), purge_step=done + 1
  ) as writer:

    def write(record: Mapping[str, Any]) -> None:
      for key, value in checkpoint.flatten(record).items():
        if isinstance(value, int | float) and key != 'iteration':
          writer.add_scalar(key.replace('.', '/'), value, record['iteration'])

    yield write
