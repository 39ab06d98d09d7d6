"""Checkpoints of a run, and the check that a folder belongs to a config.

A checkpoint is one orbax folder `iteration_000012`: the leaves of a pytree of
arrays, and a dictionary for what lives on the host. Orbax writes it beside and
renames it, so a folder of that name is complete whenever the process dies.
Every array and the dictionary carry a digest, so that a changed bit is found.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

_NAME = re.compile(r'iteration_(\d{6,})')
_DOOMED = '.deleted'
_DAMAGED = '.damaged'
# What orbax, its storage and JSON raise on files that are not what was written.
_BROKEN = (
  ValueError, KeyError, TypeError, AttributeError, IndexError, OSError,
  RuntimeError,
)  # fmt: skip


class DamagedError(Exception):
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
  """
  folder = Path(folder).absolute()
  folder.mkdir(parents=True, exist_ok=True)
  done = iterations(folder)
  if done and iteration <= done[-1]:
    raise ValueError(
      f'{folder} already has iteration {done[-1]}: cannot save {iteration}'
    )
  for path in folder.iterdir():  # What a killed save or deletion left.
    if ocp.utils.is_tmp_checkpoint(path) or path.name.endswith(_DOOMED):
      shutil.rmtree(path)
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
    description['sha256'] = _digest(value)
  target = folder / f'iteration_{iteration:06d}'
  text = json.dumps({'host': host, 'leaves': described})
  items = {'host': ocp.args.JsonSave({'text': text, 'sha256': _digest(text)})}
  sized = _sized(stored)
  if sized:
    items['arrays'] = ocp.args.PyTreeSave(sized)
  with _checkpointer() as checkpointer:
    checkpointer.save(target, args=ocp.args.Composite(**items))
  for old in (*done, iteration)[:-keep]:
    path = folder / f'iteration_{old:06d}'
    # Renamed first: a deletion that is killed must not look complete.
    shutil.rmtree(path.rename(path.with_name(path.name + _DOOMED)))
  return target


def restore(
  folder: str | os.PathLike, like: Any, iteration: int | None = None
) -> tuple[int, Any, dict[str, Any]] | None:
  """Reads the newest checkpoint (or a given one), bit for bit.

  Args:
    folder: what was given to `save`.
    like: pytree with the structure, shapes and dtypes that were saved. Where a
      leaf is a NumPy array, so is the result; else it is a JAX array.
    iteration: which; the newest by default.

  Returns:
    `(iteration, arrays, host)`, or None where there is no checkpoint.

  Raises:
    ValueError: `like` differs from what was saved; the leaves are named.
    DamagedError: the files are not what was written.
  """
  folder = Path(folder).absolute()
  done = iterations(folder)
  if iteration is None and not done:
    return None
  iteration = done[-1] if iteration is None else iteration
  if iteration not in done:
    raise ValueError(f'{folder} has no iteration {iteration}, only {done}')
  path = folder / f'iteration_{iteration:06d}'
  leaves, structure = jax.tree_util.tree_flatten_with_path(like)
  with _checkpointer() as checkpointer:
    with _damage(path):
      stored = checkpointer.restore(
        path, args=ocp.args.Composite(host=ocp.args.JsonRestore())
      ).host
      text = stored['text']
      _check_digest(text, stored['sha256'])
      saved = json.loads(text)
    _check_leaves(path, saved['leaves'], [_describe(*leaf) for leaf in leaves])
    with _damage(path):
      stored = _read_arrays(checkpointer, path, saved['leaves'])
  values = [
    _from_numpy(value, leaf, description)
    for value, (_, leaf), description in zip(
      stored, leaves, saved['leaves'], strict=True
    )
  ]
  arrays = jax.tree_util.tree_unflatten(structure, values)
  return iteration, arrays, saved['host']


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
  for value, leaf in zip(values, leaves, strict=True):
    _check_digest(value, leaf['sha256'])
  return values


def set_aside(folder: str | os.PathLike, iteration: int) -> Path:
  """Renames a damaged checkpoint, so that it is none; returns the place."""
  path = Path(folder).absolute() / f'iteration_{iteration:06d}'
  place = path.with_name(path.name + _DAMAGED)
  number = 1
  while place.exists():
    number += 1
    place = path.with_name(f'{path.name}{_DAMAGED}{number}')
  return path.rename(place)


@contextlib.contextmanager
def _damage(path: Path):
  """Turns whatever broken files raise into a `DamagedError`."""
  try:
    yield
  except _BROKEN as error:
    raise DamagedError(f'{path} is damaged: {error}') from error


def _digest(value: np.ndarray | str) -> str:
  is_text = isinstance(value, str)
  content = value.encode() if is_text else np.asarray(value).tobytes()
  return hashlib.sha256(content).hexdigest()


def _check_digest(value: np.ndarray | str, expected: str) -> None:
  """Raises a ValueError where something else was stored."""
  if _digest(value) != expected:
    raise ValueError('its digest is not the one that was written with it')


def iterations(folder: str | os.PathLike) -> list[int]:
  """Iterations with a complete checkpoint, in order."""
  folder = Path(folder)
  if not folder.exists():
    return []
  names = (_NAME.fullmatch(path.name) for path in folder.iterdir())
  return sorted(int(name[1]) for name in names if name)


def check_config(
  workdir: str | os.PathLike,
  config: Mapping[str, Any],
  may_change: Sequence[str] = (),
) -> None:
  """Refuses a work folder that another config made.

  Args:
    workdir: folder of the run; one without `config.json` is accepted.
    config: nested dictionary, as it would be written to `config.json`.
    may_change: dotted keys that may differ, `num_iterations` or a whole
      branch such as `data`.

  Raises:
    ValueError: they differ; each key is shown with its old and new value.
  """
  path = Path(workdir) / 'config.json'
  if not path.exists():
    return
  try:
    old = flatten(json.loads(path.read_text(encoding='utf-8')))
  except (ValueError, AttributeError) as error:
    raise ValueError(
      f'{path} is not a config ({error}); take another --workdir'
    ) from error
  # Through JSON, which makes a tuple a list.
  new = flatten(json.loads(json.dumps(config)))
  differing = [
    line
    for key, line in _differences(old, new)
    if not any(key == k or key.startswith(k + '.') for k in may_change)
  ]
  if differing:
    raise ValueError(
      f'{workdir} was made by another config (old -> new):\n'
      + '\n'.join(differing)
      + '\nTake another --workdir, or the old config to continue that run.'
    )


def _differences(
  old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[str, str]]:
  """Keys whose values differ, each with a line that shows both."""

  def show(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else '(absent)'

  lines = [
    (key, f'  {key}: {show(old, key)} -> {show(new, key)}')
    for key in sorted(old.keys() | new.keys())
  ]
  return [
    (key, line) for key, line in lines if show(old, key) != show(new, key)
  ]


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """A nested dictionary with dotted keys: `{'data.path': ...}`."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping) and value:
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


@contextlib.contextmanager
def _checkpointer():
  """A checkpointer of the two items, closed afterwards."""
  handler = ocp.CompositeCheckpointHandler(
    arrays=ocp.PyTreeCheckpointHandler(), host=ocp.JsonCheckpointHandler()
  )
  with ocp.Checkpointer(handler) as checkpointer:
    yield checkpointer


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
    return jax.random.wrap_key_data(value, impl=description['key_impl'])
  return jnp.asarray(value)


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
  differing = _differences(old, new)
  if differing:
    raise ValueError(
      f'{path} holds other arrays than asked for (saved -> asked):\n'
      + '\n'.join(line for _, line in differing)
    )
