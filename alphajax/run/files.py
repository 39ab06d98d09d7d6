"""Files of a run: replaced wholly or not at all, and named where they fail."""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shlex
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_DRAFT = re.compile(
  r'\.[\w.-]+\.(?:json|jsonl|npz|html|txt|png|parquet)\.(\d+)\.tmp'
)
_OLD_DRAFT = re.compile(r'\.daily\w*\.tmp\.npz')  # Of earlier versions.

_REASONS = {
  errno.ENOSPC: 'the disk is full; free some space, then start again',
  errno.EDQUOT: 'the quota is used up; free some space, then start again',
  errno.EFBIG: 'it may not grow that large; raise `ulimit -f`',
  errno.EROFS: 'the file system is read-only; take another --workdir',
  errno.EACCES: 'no permission; `chmod -R u+rwX {folder}` where it is yours, '
  'or take another --workdir',
  errno.EPERM: 'not permitted; take another --workdir',
  errno.ENOENT: 'no such file or folder',
  errno.EEXIST: 'there is a file of this name; take another one',
  errno.ENOTDIR: 'a part of it is a file, not a folder; take another one',
}
# What NumPy and zipfile raise on bytes that are no npz file.
_NO_ARRAYS = (
  ValueError, KeyError, EOFError, OSError, RuntimeError, SyntaxError,
  tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class RunError(Exception):
  """A folder that does not hold what is asked for; the text is for the user."""


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
  """Turns what the system refuses into a `RunError` that names the file."""
  try:
    yield
  except OSError as error:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    reason = reason.format(folder=Path(path).parent)
    raise RunError(f'{path}: {reason}') from error


def check_folder(flag: str, path: Path) -> None:
  """Refuses a name that no folder can have, before any work is done for it.

  Raises:
    RunError: it, or a part of it, is a file; names the flag.
  """
  for part in (path, *path.parents):
    with naming(path):
      taken = part.exists() and not part.is_dir()
    if taken:
      raise RunError(
        f'{flag}={path}: {part} is a file: expected a folder, or the name of a '
        'new one'
      )


def check_file(flag: str, path: str | os.PathLike) -> None:
  """Refuses where no file can be written, before any work is done for it.

  Raises:
    RunError: it is a folder, or there is no folder that it would lie in; names
      the flag.
  """
  path = Path(path).expanduser()
  check_folder(flag, path.parent)
  with naming(path):
    is_folder, is_housed = path.is_dir(), path.parent.is_dir()
  if is_folder:
    raise RunError(f'{flag}={path}: it is a folder: expected a file in it')
  if not is_housed:
    folder = shlex.quote(str(path.parent))
    raise RunError(
      f'{flag}={path}: no such folder: `mkdir -p {folder}` makes it'
    )


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """A file to write, which then takes the place of another in one step.

  path: `~` is the home folder, which shells leave as it is in `--out=~/a.csv`.

  Raises:
    RunError: the system refuses; what was there before still is.
  """
  path = Path(path).expanduser()
  draft = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  with naming(path):
    try:
      with open(draft, 'wb') as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
      os.replace(draft, path)
    except BaseException:
      with contextlib.suppress(OSError):  # What went wrong is told, not this.
        draft.unlink()
      raise


def clean(folder: Path) -> None:
  """Removes what killed processes were writing into a folder of a run.

  Those that still live may be about to put it in place: an evaluation, say,
  while a training begins.
  """
  with naming(folder):
    for path in folder.iterdir():
      draft = _DRAFT.fullmatch(path.name)
      if _OLD_DRAFT.fullmatch(path.name) or (
        draft and (int(draft[1]) == os.getpid() or not is_alive(int(draft[1])))
      ):
        path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
  """Whether this machine has a process of that number."""
  try:
    os.kill(pid, 0)  # Sends nothing.
  except (ProcessLookupError, OverflowError):
    return False
  except PermissionError:  # Another user's.
    return True
  return True


def plain(value: Any) -> Any:
  """Converts what `json` does not know: arrays, array scalars, paths."""
  if isinstance(value, Path):
    return str(value)
  if hasattr(value, 'tolist'):  # NumPy and JAX arrays and their scalars.
    return value.tolist()
  raise TypeError(f'{type(value).__name__} cannot be written as JSON')


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces a file by one with this text, wholly or not at all."""
  with replacing(path) as file:
    file.write(text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Replaces a JSON file, wholly or not at all. NaN is refused.

  Raises:
    ValueError: the value holds a NaN or an infinity, which JSON does not have;
      what is not known is written as None.
  """
  text = json.dumps(value, indent=2, default=plain, allow_nan=False)
  write_text(path, text + '\n')


def read_json(path: str | os.PathLike) -> dict[str, Any] | None:
  """A JSON file of a run; None where it was not written.

  Raises:
    RunError: it cannot be read, or is not what `write_json` wrote.
  """
  path = Path(path)
  if not path.exists():
    return None
  with naming(path):
    content = path.read_bytes()
  try:
    value = json.loads(content)
  except (ValueError, RecursionError) as error:
    raise RunError(f'{path} is not JSON: {error}; {_remedy(path)}') from error
  if not isinstance(value, dict):
    raise RunError(
      f'{path} holds a {type(value).__name__} where a run has a dictionary; '
      f'{_remedy(path)}'
    )
  return value


def digest(path: str | os.PathLike) -> str | None:
  """SHA-256 of what a file holds; None where there is none."""
  path = Path(path)
  if not path.exists():
    return None
  with naming(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_arrays(
  path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
  """Replaces an npz file, wholly or not at all."""
  with replacing(path) as file:
    # No array is named as an option of savez.
    np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """An npz file of a run; empty where it was not written.

  Raises:
    RunError: it cannot be read, or is damaged.
  """
  path = Path(path)
  if not path.exists():
    return {}
  with naming(path):
    content = path.read_bytes()
  try:
    with np.load(io.BytesIO(content)) as file:
      return dict(file)
  except (*_NO_ARRAYS, TypeError, AttributeError) as error:
    # A lone array, as from `np.save`, is no context manager.
    raise RunError(f'{path} is damaged: {error}; {_remedy(path)}') from error


def _remedy(path: Path) -> str:
  """What to do about a damaged file."""
  if path.name in ('pool.json', 'daily.npz'):
    return 'the same train command, started again, writes it anew'
  if path.name.startswith(('daily_', 'signal_')):
    return (
      'remove it: a report goes without its days, and a walk scores its year '
      'anew'
    )
  if path.name == 'results.json':
    return 'put a copy back: it counts how often the test split was opened'
  return 'put a copy back, or take another --workdir'
