"""Checkpoints of a run: saved whole, restored bit for bit or not at all.

A checkpoint is one orbax folder `iteration_000012`: the leaves of a pytree of
arrays, and a dictionary for what lives on the host. Orbax writes it beside and
renames it, so a folder of that name is complete whenever the process dies.
Every array and the dictionary carry a digest, so that a disk that changes a
bit is found out.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from alphajax.data.device import put
from alphajax.run import files
from alphajax.run.config import differences
from alphajax.run.files import RunError

_NAME = re.compile(r'iteration_(\d{6,})')
_DOOMED = '.deleted'
_DAMAGED = '.damaged'
# How the storage of the arrays tells what the system refused, a full disk say.
_REFUSED = re.compile(r"os_error_code='(\d+)'")
# What orbax, its storage and JSON raise on files that are not what was written.
_BROKEN = (
  ValueError, KeyError, TypeError, AttributeError, IndexError, OSError,
  RuntimeError, OverflowError, MemoryError,
)  # fmt: skip


class DamagedError(RunError):
  """A checkpoint whose files are not what was written."""


def save(
  folder: str | os.PathLike,
  iteration: int,
  arrays: Any,
  host: Mapping[str, Any],
  keep: int = 2,
) -> Path:
  """Writes a checkpoint and forgets the oldest beyond `keep`.

  Killed at any moment, this leaves the previous checkpoints usable.

  Args:
    folder: holds the checkpoints of one run; made if missing.
    iteration: must be larger than those already there.
    arrays: pytree of NumPy or JAX arrays, typed PRNG keys among them.
    host: what JSON can hold, floats exactly; NaN is allowed here.
    keep: how many checkpoints stay.

  Raises:
    ValueError: the iteration is not newer than the newest checkpoint.
    TypeError: a leaf is not an array (numbers and text belong in `host`).
    RunError: the system refuses, on a full disk say.
  """
  folder = Path(folder).absolute()
  target = folder / f'iteration_{iteration:06d}'
  if jax.process_index():  # The first process of a job does it for all.
    return target
  with files.naming(folder):
    folder.mkdir(parents=True, exist_ok=True)
  done = iterations(folder)
  if done and iteration <= done[-1]:
    raise ValueError(
      f'{folder} already has iteration {done[-1]}: cannot save {iteration}'
    )
  clean(folder)
  leaves = jax.tree_util.tree_flatten_with_path(arrays)[0]
  described = [_describe(path, leaf) for path, leaf in leaves]
  stored = [_to_numpy(leaf) for _, leaf in leaves]
  for (_, leaf), description, value in zip(
    leaves, described, stored, strict=True
  ):
    description['stored_shape'] = list(value.shape)
    description['key_impl'] = (
      str(jax.random.key_impl(leaf)) if _is_key(leaf) else None
    )
    description['sha256'] = _digest(value.tobytes())
  text = json.dumps({'host': host, 'leaves': described})
  _write(target, text, _sized(stored))
  for old in (*done, iteration)[:-keep]:
    path = folder / f'iteration_{old:06d}'
    # Renamed first: a deletion that is killed must not look complete.
    with files.naming(path):
      shutil.rmtree(path.rename(path.with_name(path.name + _DOOMED)))
  return target


def _write(target: Path, text: str, sized: Mapping[str, np.ndarray]) -> None:
  """Hands both items to orbax."""
  host = {'text': text, 'sha256': _digest(text.encode())}
  items = {'host': ocp.args.JsonSave(host)}
  if sized:
    items['arrays'] = ocp.args.PyTreeSave(sized)
  with files.naming(target), _told_once(), _checkpointer() as checkpointer:
    try:
      checkpointer.save(target, args=ocp.args.Composite(**items))
    except ValueError as error:
      refused = _REFUSED.search(str(error))
      if refused is None:
        raise
      raise OSError(int(refused[1]), os.strerror(int(refused[1]))) from error


@contextlib.contextmanager
def _told_once():
  """Keeps orbax from logging what its threads raise: it is raised here, too."""
  logger = logging.getLogger('absl')

  def is_news(record: logging.LogRecord) -> bool:
    return 'raised an exception' not in str(record.msg)

  logger.addFilter(is_news)
  try:
    yield
  finally:
    logger.removeFilter(is_news)


def restore(
  folder: str | os.PathLike,
  like: Any,
  iteration: int | None = None,
  say: Callable[[str], None] = lambda text: None,
) -> tuple[int, Any, dict[str, Any]] | None:
  """Reads the newest sound checkpoint (or a given one), bit for bit.

  Nothing is changed: a damaged checkpoint stays where it is, see `set_aside`.
  It may be called while another process trains.

  Args:
    folder: what was given to `save`.
    like: pytree with the structure, shapes and dtypes that were saved. Where a
      leaf is a NumPy array, so is the result; else it is a JAX array.
    iteration: which; the newest sound one by default.
    say: is told of each damaged one that was passed over.

  Returns:
    `(iteration, arrays, host)`, or None where there is no checkpoint.

  Raises:
    ValueError: `like` differs from what was saved; the leaves are named.
    DamagedError: its files, or those of all there are, are not what was
      written.
    RunError: a file cannot be read.
  """
  folder = Path(folder).absolute()
  done = iterations(folder)
  if iteration is not None:
    if iteration not in done:
      raise ValueError(f'{folder} has no iteration {iteration}, only {done}')
    return iteration, *_read(folder / f'iteration_{iteration:06d}', like)
  for newest in reversed(done):
    path = folder / f'iteration_{newest:06d}'
    try:
      return newest, *_read(path, like)
    except RunError as error:
      if not path.exists():  # Training went on, and newer ones took its place.
        return restore(folder, like, None, say)
      if not isinstance(error, DamagedError):
        raise
      say(str(error))
  if done:
    raise DamagedError(
      f'{folder}: every checkpoint is damaged (iterations '
      f'{", ".join(map(str, done))}); put a copy back, or train again in '
      'another --workdir'
    )
  return None


def read_host(folder: str | os.PathLike) -> dict[str, Any] | None:
  """The host part of the newest sound checkpoint; None where there is none.

  Raises:
    DamagedError: no one is what was written.
  """
  done = iterations(folder)
  for newest in reversed(done):
    path = Path(folder).absolute() / f'iteration_{newest:06d}'
    try:
      with _checkpointer() as checkpointer, _damage(path):
        return _read_host(checkpointer, path)['host']
    except DamagedError:
      if newest == done[0]:
        raise
  return None


def _read(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
  """`(arrays, host)` of one checkpoint."""
  with files.naming(path):
    contents = [file for file in path.rglob('*') if file.is_file()]
  for file in contents:
    with files.naming(file):  # What may not be read is not damaged.
      file.open('rb').close()
  leaves, structure = jax.tree_util.tree_flatten_with_path(like)
  with _checkpointer() as checkpointer:
    with _damage(path):
      saved = _read_host(checkpointer, path)
    _check_leaves(path, saved['leaves'], [_describe(*leaf) for leaf in leaves])
    with _damage(path):
      stored = _read_arrays(checkpointer, path, saved['leaves'])
  values = [
    _from_numpy(value, leaf, description)
    for value, (_, leaf), description in zip(
      stored, leaves, saved['leaves'], strict=True
    )
  ]
  return jax.tree_util.tree_unflatten(structure, values), saved['host']


def _read_host(checkpointer, path: Path) -> dict[str, Any]:
  stored = checkpointer.restore(
    path, args=ocp.args.Composite(host=ocp.args.JsonRestore())
  ).host
  if stored.keys() == {'host', 'leaves'}:
    return stored  # Of a version that wrote no digests.
  _check_digest('the host part', stored['text'].encode(), stored['sha256'])
  return json.loads(stored['text'])


def _read_arrays(checkpointer, path: Path, leaves: list[dict]):
  """The arrays of a checkpoint, checked against their digests."""
  empty = [
    np.empty(leaf['stored_shape'], _stored_dtype(leaf['dtype']))
    for leaf in leaves
  ]
  sized = _sized(empty)
  if sized:
    args = ocp.args.PyTreeRestore(
      sized,
      restore_args={
        name: ocp.RestoreArgs(restore_type=np.ndarray) for name in sized
      },
    )
    sized = checkpointer.restore(
      path, args=ocp.args.Composite(arrays=args)
    ).arrays
  values = [sized.get(_leaf_name(i), empty[i]) for i in range(len(leaves))]
  for value, leaf, expected in zip(values, leaves, empty, strict=True):
    if (value.shape, value.dtype) != (expected.shape, expected.dtype):
      raise ValueError(f'{leaf["path"]} is {value.dtype}{list(value.shape)}')
    if 'sha256' in leaf:
      _check_digest(leaf['path'], value.tobytes(), leaf['sha256'])
  return values


def set_aside(folder: str | os.PathLike, iteration: int) -> Path:
  """Renames a damaged checkpoint: it is kept, but no longer one.

  Returns:
    Where it is now.
  """
  path = Path(folder).absolute() / f'iteration_{iteration:06d}'
  place = path.with_name(path.name + _DAMAGED)
  number = 1
  while place.exists():
    number += 1
    place = path.with_name(f'{path.name}{_DAMAGED}{number}')
  with files.naming(path):
    return path.rename(place)


def clean(folder: str | os.PathLike) -> None:
  """Removes what killed saves and deletions left; nobody else may save."""
  folder = Path(folder)
  if not folder.exists():
    return
  with files.naming(folder):
    for path in folder.iterdir():
      if path.name.endswith(_DOOMED) or ocp.utils.is_tmp_checkpoint(path):
        shutil.rmtree(path)


def iterations(folder: str | os.PathLike) -> list[int]:
  """Iterations with a complete checkpoint, in order."""
  folder = Path(folder)
  if not folder.exists():
    return []
  with files.naming(folder):
    names = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
  return sorted(int(name[1]) for name in names if name)


@contextlib.contextmanager
def _damage(path: Path):
  """Turns whatever broken files raise into a `DamagedError`."""
  try:
    yield
  except _BROKEN as error:
    raise DamagedError(f'{path} is damaged: {error}') from error


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


def _check_digest(name: str, content: bytes, expected: str) -> None:
  """Raises a ValueError where something else was stored."""
  if _digest(content) != expected:
    raise ValueError(f'the digest of {name} is not the one written with it')


@contextlib.contextmanager
def _checkpointer():
  """A checkpointer of the two items, closed afterwards."""
  alone = _alone()
  handler = ocp.CompositeCheckpointHandler(
    composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
    arrays=ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
    host=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
  )
  with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
    yield checkpointer


def _alone() -> ocp.options.MultiprocessingOptions:
  """Of several processes of a job each reads, and the first writes, alone."""
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  here = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=here,
    active_processes={here},
    barrier_sync_key_prefix=f'process_{here}',
  )


def _is_key(leaf: Any) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _stored_dtype(dtype: str) -> np.dtype:
  # A typed key `key<fry>` is stored as its words. `jnp.dtype` knows bfloat16.
  return np.dtype('uint32') if dtype.startswith('key<') else jnp.dtype(dtype)


def _describe(path: Any, leaf: Any) -> dict[str, Any]:
  """What must agree between a saved leaf and the one it is restored to."""
  name = jax.tree_util.keystr(path)
  if not hasattr(leaf, 'dtype'):
    raise TypeError(
      f'{name} is a {type(leaf).__name__}, not an array; numbers and text '
      'belong in the host dictionary'
    )
  return {
    'path': name,
    'shape': list(leaf.shape),
    'dtype': str(leaf.dtype),
  }


def _to_numpy(leaf: Any) -> np.ndarray:
  return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(value: np.ndarray, like: Any, description: dict) -> Any:
  if isinstance(like, np.ndarray | np.generic):
    return value
  if _is_key(like):
    data = put(value)
    return jax.random.wrap_key_data(data, impl=description['key_impl'])
  return put(value)


def _leaf_name(index: int) -> str:
  return f'leaf_{index:05d}'


def _sized(leaves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
  """Names leaves by position; orbax cannot store those without elements."""
  return {_leaf_name(i): x for i, x in enumerate(leaves) if x.size}


def _check_leaves(path: Path, saved: list[dict], wanted: list[dict]) -> None:
  old, new = (
    {leaf['path']: f'{leaf["dtype"]}{leaf["shape"]}' for leaf in leaves}
    for leaves in (saved, wanted)
  )
  differing = differences(old, new)
  if differing:
    raise ValueError(
      f'{path} holds other arrays than asked for (saved -> asked):\n'
      + '\n'.join(f'  {line}' for _, line in differing)
    )
