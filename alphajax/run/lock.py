"""A run folder belongs to one process at a time."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from alphajax.run.folder import RunError


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
  """Holds the folder of a run; the system lets go when the process ends.

  So a process that was killed leaves no lock behind, only the file, which says
  who held it last.

  Raises:
    RunError: another process holds it; says which, where and since when.
  """
  path = workdir / '.lock'
  with open(path, 'a+', encoding='utf-8') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise RunError(f'{workdir} is in use by {_owner(path)}') from error
    owner = {
      'pid': os.getpid(),
      'host': socket.gethostname(),
      'since': datetime.datetime.now(datetime.UTC).isoformat(
        timespec='seconds'
      ),
    }
    file.truncate(0)
    file.write(json.dumps(owner))
    file.flush()
    yield


def _owner(path: Path) -> str:
  try:
    owner = json.loads(path.read_text(encoding='utf-8'))
    return (
      f'process {owner["pid"]} on {owner["host"]} since {owner["since"]}; wait '
      'for it, end it there, or take another --workdir'
    )
  except (ValueError, KeyError):
    return 'another process, which has just begun; take another --workdir'
