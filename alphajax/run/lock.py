"""A run folder belongs to one process at a time."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from alphajax.run import files
from alphajax.run.files import RunError

# What file systems answer that know no locks; there the owner's word counts.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_BOOT = Path('/proc/sys/kernel/random/boot_id')


class InUseError(RunError):
  """Another process holds the folder."""


@contextlib.contextmanager
def hold(
  workdir: str | os.PathLike, say: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
  """Holds the folder of a run: `.lock` in it says who does, and since when.

  The system unlocks the file of a process that ends, however it does. So the
  file of one that was killed on this machine is taken over. One of another
  machine is not, since not every network drive passes locks on.

  Args:
    workdir: folder of the run.
    say: is told of a lock that was taken over.

  Raises:
    InUseError: another process holds it; says which, where, since when, and
      what to do.
    RunError: the folder cannot be written.
  """
  path = Path(workdir) / '.lock'
  with _locked(path) as file:
    owner = _read(file)
    if owner and not _is_here(owner):
      raise InUseError(
        f'{workdir} is in use by {_name(owner)}, which cannot be seen from '
        f'{socket.gethostname()}; where that has ended, remove its lock: '
        f'rm {shlex.quote(str(path))}'
      )
    if owner:
      say(f'{_name(owner)} ended without letting {workdir} go: taken over.')
    with files.naming(path):
      _write(file)
    try:
      yield
    finally:
      if _is_at(path, file):
        with contextlib.suppress(OSError):  # It is unlocked all the same.
          path.unlink()


@contextlib.contextmanager
def waiting(place: str | os.PathLike) -> Iterator[None]:
  """Waits until nobody else is between reading a file in a folder and writing.

  For a moment's work, apart from who holds the folder. Not every network drive
  has locks; there nobody waits.
  """
  with files.naming(place):
    handle = os.open(place, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):
      fcntl.flock(handle, fcntl.LOCK_EX)
    yield
  finally:
    os.close(handle)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
  """The file at `path`, locked.

  Raises:
    RunError: it is locked by another process.
  """
  while True:
    with files.naming(path):
      file = open(path, 'a+b')
    with file:
      _lock(path, file)
      # One who let go removed the file: the lock must be on the one there now.
      if _is_at(path, file):
        yield file
        return


def _lock(path: Path, file: BinaryIO) -> None:
  """Locks an open file without waiting."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return
  except OSError as error:
    code = error.errno
  owner = _read(file)
  if code in _NO_LOCKS:
    taken = owner and _is_here(owner) and files.is_alive(owner['pid'])
  elif code == errno.EWOULDBLOCK:
    taken = True
  else:
    raise RunError(f'{path} cannot be locked: {os.strerror(code or 0)}')
  if taken:
    who = _name(owner) if owner else 'a process that has just begun'
    raise InUseError(
      f'{path.parent} is in use by {who}; wait for it, end it, or take another '
      '--workdir'
    )


def _is_at(path: Path, file: BinaryIO) -> bool:
  """Whether an open file is the one that lies at `path`."""
  try:
    return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
  except FileNotFoundError:
    return False


def _read(file: BinaryIO) -> dict | None:
  """Who holds a lock, None where nobody says so."""
  file.seek(0)
  try:
    owner = json.loads(file.read())
  except ValueError:
    return None
  complete = isinstance(owner, dict) and {'pid', 'host', 'since'} <= set(owner)
  return owner if complete and isinstance(owner['pid'], int) else None


def _write(file: BinaryIO) -> None:
  """Says that this process holds it."""
  now = datetime.datetime.now(datetime.UTC)
  owner = {
    'pid': os.getpid(),
    'host': socket.gethostname(),
    'boot': _boot(),
    'since': now.isoformat(timespec='seconds'),
  }
  file.truncate(0)
  file.write(json.dumps(owner).encode())
  file.flush()


def _is_here(owner: dict) -> bool:
  """Whether a lock was taken on this machine.

  A container has a name of its own, but the machine's boot.
  """
  boot = _boot()
  return owner['host'] == socket.gethostname() or (
    boot is not None and owner.get('boot') == boot
  )


def _boot() -> str | None:
  return _BOOT.read_text().strip() if _BOOT.exists() else None


def _name(owner: dict) -> str:
  return f'process {owner["pid"]} on {owner["host"]} since {owner["since"]}'
