"""Loaded panels, kept on disk by what they were loaded from."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel

# A panel that no command has read for so many days is forgotten: another
# version of the package, or of the data, has one of its own.
KEPT_DAYS = 90


def content_hash(path: str | os.PathLike) -> str:
  """SHA-256 of a file's bytes, or of all files of a folder and their names."""
  path = pathlib.Path(path).expanduser()
  digest = hashlib.sha256()
  files = sorted(p for p in path.rglob('*') if p.is_file())
  for file in files if path.is_dir() else [path]:
    if path.is_dir():
      digest.update(file.relative_to(path).as_posix().encode() + b'\0')
    with file.open('rb') as stream:
      digest.update(hashlib.file_digest(stream, 'sha256').digest())
  return digest.hexdigest()


def home(folder: str | os.PathLike | None = None) -> pathlib.Path:
  """Where the package keeps what it can make again.

  `folder` if given, else `$ALPHAJAX_CACHE`, else `~/.cache/alphajax`.
  """
  folder = folder or os.environ.get('ALPHAJAX_CACHE') or '~/.cache/alphajax'
  return pathlib.Path(folder).expanduser()


def path_of(key: Mapping, cache_dir) -> pathlib.Path:
  """Where the panel loaded with this content and these options is kept."""
  folder = home(cache_dir)
  # Loading that changes must not find what it stored before.
  here = pathlib.Path(__file__).parent
  code = [
    content_hash(here / f'{name}.py')
    for name in (
      'adjust',
      'market',
      'tables',
      'wide_tables',
      'columns',
      'features',
      'days',
      'checks',
      'qlib_binary',
      'panel',
    )
  ]
  text = json.dumps({**key, 'code': code}, sort_keys=True)
  return folder / f'{hashlib.sha256(text.encode()).hexdigest()}.panel'


def write(path: pathlib.Path, panel: Panel, **more: Any) -> None:
  """Stores a panel, and more arrays, behind their digest, atomically."""
  stream = io.BytesIO()
  meta = dict(
    dates=panel.dates,
    symbols=panel.symbols,
    feature_names=panel.feature_names,
    notes=panel.notes,
    groups=panel.groups,
    covers=panel.covers,
  )
  arrays: dict[str, Any] = dict(
    features=panel.features,
    mask=panel.mask,
    meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
  )
  np.savez(stream, **arrays, **more)
  payload = stream.getbuffer()
  temporary = path.with_suffix(f'.{os.getpid()}.tmp')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open('wb') as file:
      file.write(hashlib.sha256(payload).digest())
      file.write(payload)
    temporary.replace(path)
    forget(path.parent)
  except OSError as error:  # A full or read-only disk costs only time.
    warnings.warn(f'{path}: panel not cached: {error}', stacklevel=3)


def forget(folder: pathlib.Path) -> None:
  """Deletes the panels of a folder that were not read for `KEPT_DAYS`."""
  oldest = time.time() - 24 * 3600 * KEPT_DAYS
  for kept in [*folder.glob('*.panel'), *folder.glob('*.tmp')]:
    with contextlib.suppress(OSError):  # Another was first, or owns it.
      if kept.stat().st_mtime < oldest:
        kept.unlink()


def read(path: pathlib.Path) -> Panel | None:
  """The panel stored there; None when there is none or it is damaged."""
  found = read_all(path)
  return found[0] if found else None


def read_all(
  path: pathlib.Path,
) -> tuple[Panel, dict[str, np.ndarray]] | None:
  """The panel stored there, and the other arrays by name; else None."""
  if not path.is_file():
    return None
  stored = memoryview(path.read_bytes())
  digest, payload = stored[:32], stored[32:]
  if hashlib.sha256(payload).digest() != digest:
    warnings.warn(
      f'{path}: damaged cache file, loading again from the source',
      stacklevel=3,
    )
    return None
  with np.load(io.BytesIO(payload)) as kept:
    arrays = dict(kept)
  with contextlib.suppress(OSError):  # A folder that is only read.
    path.touch()  # It is in use, see `forget`.
  meta = json.loads(arrays.pop('meta').tobytes())
  features, mask = arrays.pop('features'), arrays.pop('mask')
  return panel_lib.make(features, mask, **meta), arrays
