"""What evaluating gave, kept on disk by formula: rows of one size, appended.

Beside the checkpoints of a run lies a file of rows. A row is a copy of what
evaluating its formula gives again, so from one run to the next the file may be
lost, cut or damaged: what cannot be read, or was made otherwise, is evaluated.
"""

import functools
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphajax.run import files

FOLDER = 'rows'  # Of a run.
_FORMAT = 1
_PENDING = 1 << 26  # Bytes that wait to be written, at most.
_KEY, _SUM = 32, 4  # Bytes of the digest of a text, and of the check sum.
# What the rows of a formula hang on beside the data.
_CODE = (
  'data', 'factor', 'language',
  'methods/archive.py', 'methods/memory.py', 'methods/screen.py',
)  # fmt: skip


class Rows:
  """Rows by the text of a formula; mutable, as a cache is.

  notes: what could not be read and why, a line each.
  """

  def __init__(self, digest: str, size: int):
    """digest: of all that a row follows from; size: bytes of a row."""
    self.notes: list[str] = []
    self._head = {'format': _FORMAT, 'digest': digest, 'size': size}
    self._size = size
    self._where: dict[bytes, np.ndarray] = {}  # u8[record], of a file.
    self._path: Path | None = None
    self._written: set[bytes] = set()
    self._new: list[bytes] = []

  def read(self, path: Path) -> set[bytes]:
    """Takes the rows of a file as well, if they are of the same digest.

    Returns:
      The keys of its rows.

    Raises:
      RunError: the system refuses.
    """
    if not path.exists():
      return set()
    with files.naming(path):
      head, start = _read_head(path)
      length = path.stat().st_size - start
    record = _KEY + self._size + _SUM
    if head != self._head:
      self.notes.append(
        f'{path} is of other data, settings, code or hardware, or damaged: its '
        'formulas are evaluated again'
      )
      return set()
    if length % record:
      self.notes.append(f'{path}: its last row was cut off and is left out')
    count = length // record
    if not count:
      return set()
    with files.naming(path):
      table = np.memmap(path, np.uint8, 'r', start, (count, record))
    found = {row[:_KEY].tobytes(): row for row in table}
    self._where |= found
    return set(found)

  def open(self, path: Path) -> None:
    """Reads the file of a run, to which new rows are appended from now on.

    One that is of another digest is begun anew. Only for who holds the folder.
    """
    self._written = self.read(path)
    with files.naming(path):
      path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and _read_head(path)[0] == self._head:
      _, start = _read_head(path)
      record = _KEY + self._size + _SUM
      with files.naming(path):
        whole = (path.stat().st_size - start) // record * record
        os.truncate(path, start + whole)
    else:
      files.write_text(path, json.dumps(self._head) + '\n')
    self._path = path

  def get(self, text: str) -> bytes | None:
    """The row of a formula; None where none is kept whole."""
    key = _digest(text.encode())
    if key not in self._where:
      return None
    record = self._where[key].tobytes()
    if record[-_SUM:] != _check_sum(record[:-_SUM]):
      del self._where[key]
      self._written.discard(key)
      self.notes.append(
        f'a row of {FOLDER} is damaged: {text} is evaluated again'
      )
      return None
    row = record[_KEY:-_SUM]
    self.put(text, row)  # Of another run's file.
    return row

  def put(self, text: str, row: bytes) -> None:
    """Keeps a row, of `size` bytes, once there is a file; `flush` writes it."""
    key = _digest(text.encode())
    if self._path is None or key in self._written:
      return
    if len(row) != self._size:
      raise ValueError(f'a row of {len(row)} bytes: expected {self._size}')
    self._written.add(key)
    self._new.append(key + row + _check_sum(key + row))
    if len(self._new) * self._size > _PENDING:
      self.flush()

  def flush(self) -> None:
    """Appends the new rows.

    Raises:
      RunError: the system refuses, on a full disk say.
    """
    if self._path is None or not self._new:
      return
    with files.naming(self._path), open(self._path, 'ab') as file:
      file.write(b''.join(self._new))
    self._new = []


def make(config, name: str, size: int, *parts: Any) -> Rows | None:
  """The rows that a config asks for, with those of `config.archive`, a run.

  name: of their file.
  size: bytes of a row.
  parts: arrays and what has a `repr`, from which rows follow.

  Returns:
    None where `config.keep_rows` is not set.
  """
  if not config.get('keep_rows', False):
    return None
  rows = Rows(_digest_of(parts), size)
  archive = config.get('archive', '')
  if archive and '\n' not in archive:
    rows.read(path_of(Path(archive).expanduser(), name))
  return rows


def path_of(workdir: Path, name: str) -> Path:
  """The file of a run's rows."""
  return workdir / FOLDER / f'{name}.bin'


def _read_head(path: Path) -> tuple[Any, int]:
  """The first line of a file, None where it is none of ours; and its length."""
  with open(path, 'rb') as file:
    line = file.readline(1 << 12)
  try:
    return json.loads(line), len(line)
  except ValueError:
    return None, len(line)


def _digest_of(parts) -> str:
  """Of values, to the bit, and of what computes with them."""
  found = hashlib.sha256(_code())
  found.update(f'{jax.__version__} {jax.devices()[0].device_kind}'.encode())
  for part in parts:
    if hasattr(part, 'dtype'):
      array = np.ascontiguousarray(part)
      found.update(f'{array.dtype} {array.shape}'.encode())
      found.update(array.tobytes())
    else:
      found.update(repr(part).encode())
  return found.hexdigest()


@functools.cache
def _code() -> bytes:
  """Digest of the modules that rows follow from."""
  found, root = hashlib.sha256(), Path(__file__).parent.parent
  for name in _CODE:
    place = root / name
    modules = sorted(place.glob('*.py')) if place.is_dir() else [place]
    for module in modules:
      found.update(module.read_bytes())
  return found.digest()


def _digest(content: bytes) -> bytes:
  return hashlib.sha256(content).digest()


def _check_sum(content: bytes) -> bytes:
  return zlib.crc32(content).to_bytes(_SUM, 'little')
