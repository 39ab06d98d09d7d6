"""How many formulas were ever judged on a span of days.

Whoever judges 1,000 formulas on the same days finds some that look good on
noise. So every judgement is written down beside the data, and what is said of
a formula is widened by the number of distinct ones that were judged on days it
shares. A line a judgement, JSON, appended under a lock; no line is changed.

Data grow by a day and are saved anew, and remain the days that were looked at.
So a judgement is of the same market as another where both lie in the ledger of
one data file (`place`), or their data have the same name or the same bytes.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from alphajax.data import panel_cache
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.run import files
from alphajax.run.files import RunError

SUFFIX = '.ledger.jsonl'
_FIELDS = {
  'at': str, 'by': str, 'data': str, 'start': str, 'end': str, 'label': str,
  'keys': list,
}  # fmt: skip


class Judgement(NamedTuple):
  """What is judged at once.

  by: the command.
  data: hash of the data.
  start, end: first and last day, ISO.
  label: see `label_key`; the same formula on another label is judged anew.
  keys: canonical keys, see `formula.key` and `pool_key`.
  name: of the data, see `data_name`; lines of older versions have none.
  """

  by: str
  data: str
  start: str
  end: str
  label: str
  keys: tuple[str, ...]
  name: str = ''


class Tally(NamedTuple):
  """Distinct formulas judged on a span.

  judged: all of them so far, those of this judgement among them.
  new: those that were not judged there before.
  """

  judged: int
  new: int


def place(
  data_path: str | os.PathLike, data_hash: str, path: str | None = None
) -> Path:
  """Where the ledger of some data is.

  `path` if given; else beside the data, `NAME.ledger.jsonl`. In the cache
  folder for simulated data, by their hash, and where nothing may be written
  beside the data, by where they lie.
  """
  if path:
    return Path(path).expanduser()
  if not data_path:
    return _cached('simulated', data_hash)
  data = Path(data_path).expanduser().resolve()
  if _writable(data.parent):
    return data.with_name(f'{data.stem}{SUFFIX}')
  own = _cached(data.stem, str(data))
  older = _cached(data.stem, data_hash)  # Of older versions.
  if older.exists() and not own.exists():
    with contextlib.suppress(FileNotFoundError):  # Another was first.
      older.rename(own)
  return own


def _cached(name: str, text: str) -> Path:
  digest = hashlib.sha256(text.encode()).hexdigest()[:16]
  return panel_cache.home() / 'ledgers' / f'{name}-{digest}{SUFFIX}'


def data_name(data_path: str | os.PathLike) -> str:
  """What tells markets apart in a ledger that several share.

  The name of the file or folder, without its ending; '' of simulated data,
  which their hash tells apart.
  """
  return Path(data_path).expanduser().resolve().stem if data_path else ''


def _writable(folder: Path) -> bool:
  """Whether we may write there; a folder closed to all is, for root too."""
  return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def pool_key(formulas: Sequence[Formula], weights: Sequence[float]) -> str:
  """The key of a weighted pool: one signal, whatever the order."""
  parts = sorted(
    f'{formula_lib.key(formula)} {float(weight):.6g}'
    for formula, weight in zip(formulas, weights, strict=True)
  )
  return signal_key('\n'.join(parts))


def signal_key(text: str) -> str:
  """The key of a signal that is no formula, of whatever tells it apart."""
  return f'signal:{hashlib.sha256(text.encode()).hexdigest()[:16]}'


def label_key(label: Mapping[str, Any]) -> str:
  """A label, as `result.describe_label` has it, as the ledger tells it."""
  return json.dumps(label, sort_keys=True)


def append(
  path: str | os.PathLike, judgement: Judgement, parts: Collection[str] = ()
) -> Tally:
  """Writes a judgement down; how many formulas that makes on its days.

  parts: keys of what is judged is made of: nobody chose between it and these,
    so that they do not count beside it.

  Processes that append at the same time wait for each other.

  Raises:
    RunError: the ledger cannot be written, or a line of it is damaged: then
      nothing is written.
  """
  path = Path(path)
  with files.naming(path):
    path.parent.mkdir(parents=True, exist_ok=True)
  with _locked(path) as file:
    before = _distinct(path, _read(path, file), judgement)
    before -= {(key, judgement.label) for key in parts}
    known = {(key, judgement.label) for key in judgement.keys}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    fields = judgement._asdict() | {'keys': list(judgement.keys)}
    line = json.dumps({'at': now, **fields}) + '\n'
    with files.naming(path):
      _write(file, line.encode())
  return Tally(judged=len(before | known), new=len(known - before))


def count(path: str | os.PathLike, judgement: Judgement) -> Tally:
  """What `append` would say, without writing anything.

  Raises:
    RunError: the ledger cannot be read, or a line of it is damaged.
  """
  path, before = Path(path), set()
  if path.exists():
    with files.naming(path), path.open('rb') as file:
      before = _distinct(path, _read(path, file), judgement)
  known = {(key, judgement.label) for key in judgement.keys}
  return Tally(judged=len(before | known), new=len(known - before))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
  """The file, open for appending, and ours alone until it is closed."""
  with files.naming(path):
    file = open(path, 'a+b')
  with file:
    # Not every network drive has locks; there a line is written in one go.
    with contextlib.suppress(OSError):
      fcntl.flock(file, fcntl.LOCK_EX)
    yield file


def _write(file: BinaryIO, line: bytes) -> None:
  """Appends a line wholly or not at all."""
  size = file.seek(0, os.SEEK_END)
  try:
    file.write(line)
    file.flush()
    os.fsync(file.fileno())
  except OSError:
    with contextlib.suppress(OSError):  # What went wrong first is told.
      os.ftruncate(file.fileno(), size)
    raise


def _read(path: Path, file: BinaryIO) -> list[dict[str, Any]]:
  """All judgements of a ledger."""
  file.seek(0)
  text = file.read()
  if text and not text.endswith(b'\n'):
    number = text.count(b'\n') + 1
    raise _damaged(path, number, 'it is cut off')
  return [
    _line(path, number, line)
    for number, line in enumerate(text.split(b'\n')[:-1], 1)
  ]


def _line(path: Path, number: int, line: bytes) -> dict[str, Any]:
  try:
    value = json.loads(line)
  except ValueError as error:
    raise _damaged(path, number, f'it is not JSON: {error}') from error
  if not isinstance(value, dict):
    raise _damaged(path, number, f'expected an object, not {value!r:.40}')
  for name, kind in _FIELDS.items():
    if not isinstance(value.get(name), kind):
      raise _damaged(path, number, f'expected {name}, a {kind.__name__}')
  if not isinstance(value.get('name', ''), str):
    raise _damaged(path, number, 'expected name, a str')
  if not all(isinstance(key, str) for key in value['keys']):
    raise _damaged(path, number, 'expected keys, a list of texts')
  return value


def _damaged(path: Path, number: int, what: str) -> RunError:
  remedy = f'sed -i {number}d {shlex.quote(str(path))}'
  return RunError(
    f'{path}, line {number} is damaged: {what}. What it counted is lost, so '
    f'mend it from a copy, or give it up: {remedy}'
  )


def _distinct(
  path: Path, lines: Sequence[dict[str, Any]], judgement: Judgement
) -> set[tuple[str, str]]:
  """Keys and labels that were judged on days which a judgement shares."""
  own = _is_own(path, judgement.name)
  return {
    (key, line['label'])
    for line in lines
    if (own or _same_market(line, judgement))
    and line['start'] <= judgement.end
    and judgement.start <= line['end']
    for key in line['keys']
  }


def _is_own(path: Path, name: str) -> bool:
  """Whether a ledger is named after the data, as `place` does."""
  own = re.escape(name) + r'(-[0-9a-f]{16})?' + re.escape(SUFFIX)
  return bool(name) and re.fullmatch(own, path.name) is not None


def _same_market(line: Mapping[str, Any], judgement: Judgement) -> bool:
  """Whether a line is of the data of a judgement, or of earlier ones of it."""
  named = bool(judgement.name) and line.get('name') == judgement.name
  return named or line['data'] == judgement.data
