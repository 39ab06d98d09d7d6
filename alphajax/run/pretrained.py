"""Parameters of a formula Transformer on disk, with all that they mean.

Two files: `NAME.npz` with the arrays and `NAME.json` beside it, which says what
network they are of, which symbols it writes, what made it, and the digest of
the first.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import orders as orders_lib
from alphajax.language.orders import Orders
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import FormulaTransformer, Sizes
from alphajax.run import files
from alphajax.run.files import RunError

SHIPPED = Path(__file__).parents[1] / 'pretrained' / 'alphaformer.npz'
MAX_BYTES = 20_000_000
_FORMAT = 2
_PARAMS, _EXTRA = 'params', 'extra'
# What the JSON file has beside `about`.
_KEYS = (
  'format', 'sha256', 'symbols', 'length', 'language', 'sizes', 'widths'
)  # fmt: skip


class Widths(NamedTuple):
  """Numbers of what a network was made to read; see `Inputs` and its make."""

  tokens: int
  context: int


class Pretrained(NamedTuple):
  """A network that is ready to write formulas.

  extra: arrays kept with the parameters, such as those of a library.
  about: config, seed, data hash, cost: whatever `save` was given.
  """

  network: FormulaTransformer
  orders: Orders
  params: dict
  widths: Widths
  extra: dict[str, np.ndarray]
  about: dict[str, Any]


def save(
  path: str | os.PathLike,
  params: Mapping[str, Any],
  *,
  language: Mapping[str, Any],
  sizes: Sizes,
  widths: Widths,
  about: Mapping[str, Any],
  extra: Mapping[str, np.ndarray] | None = None,
  half: bool = False,
) -> Path:
  """Writes both files, the JSON last. Returns the path of the arrays.

  Args:
    path: of the arrays, `NAME.npz`.
    params: as the network's `init` returns them.
    language: as `config.language`.
    sizes: of the network.
    widths: of its inputs.
    about: what JSON can hold; what made the parameters and at which cost.
    extra: other arrays to keep.
    half: store 16 bits a number, for a network that would not fit.

  Raises:
    ValueError: a parameter that is not finite, files over `MAX_BYTES`.
    RunError: the system refuses.
  """
  path = _arrays_path(path)
  kept = np.float16 if half else np.float32
  arrays = {f'{_EXTRA}/{k}': np.asarray(v) for k, v in (extra or {}).items()}
  for name, leaf in _flat(params).items():
    value = np.asarray(leaf).astype(kept)
    if not np.isfinite(value).all():
      raise ValueError(f'parameter {name} is not finite: nothing was saved')
    arrays[f'{_PARAMS}/{name}'] = value
  size = sum(value.nbytes for value in arrays.values())
  if size > MAX_BYTES:
    remedy = 'keep fewer extra arrays' if half else 'save with half=True'
    raise ValueError(
      f'{path} would have {size:,} bytes, over {MAX_BYTES:,}: {remedy}'
    )
  files.write_arrays(path, arrays)
  orders = orders_lib.make(**language)
  found = {
    'format': _FORMAT,
    'sha256': _digest(path),
    'parameters': formula_transformer.num_parameters(dict(params)),
    'symbols': orders_lib.symbols(orders),
    'length': orders.length,
    'language': dict(language),
    'sizes': sizes._asdict(),
    'widths': widths._asdict(),
    'about': dict(about),
  }
  files.write_json(path.with_suffix('.json'), found)
  return path


def load(
  path: str | os.PathLike = SHIPPED,
  *,
  language: Mapping[str, Any] | None = None,
) -> Pretrained:
  """Reads what `save` wrote.

  language: what is to be mined, as `config.language`; None: as it was.

  Raises:
    RunError: a file is missing or damaged.
    ValueError: the network writes other symbols than the language has.
  """
  path = _arrays_path(path)
  found = _read_json(path)
  if _digest(path) != found['sha256']:
    raise RunError(
      f'{path} is not the file that {path.stem}.json was written with: it was '
      f'cut off or changed; {_remedy(path)}'
    )
  arrays = files.read_arrays(path)
  known = found['language'] if language is None else language
  orders = orders_lib.make(**known)
  _check_symbols(path, found, orders)
  widths, sizes = Widths(**found['widths']), Sizes(**found['sizes'])
  network = formula_transformer.make(sizes, orders)
  params = _params(path, arrays, _expected(network, orders, widths))
  extra = {
    name.removeprefix(f'{_EXTRA}/'): value
    for name, value in arrays.items()
    if name.startswith(f'{_EXTRA}/')
  }
  return Pretrained(network, orders, params, widths, extra, found['about'])


def _arrays_path(path: str | os.PathLike) -> Path:
  """`NAME.npz`, also where the user gave `NAME` or `NAME.json`."""
  path = Path(path).expanduser()
  if path.suffix == '.npz':
    return path
  return path.with_name(path.name.removesuffix('.json') + '.npz')


def _remedy(path: Path) -> str:
  """What to do about a file that cannot be used."""
  if path == SHIPPED:
    return (
      'install alphajax again, or give --config.checkpoint=FILE.npz of your own'
    )
  return (
    'put a copy back, make it anew (python -m alphajax.train '
    '--config=configs/alphaformer.py:csi300,pretrain --workdir=FOLDER '
    '--config.data.path=PANEL --config.pretrain.out=FILE.npz), or leave '
    '--config.checkpoint out for the one that comes with alphajax'
  )


def _read_json(path: Path) -> dict[str, Any]:
  """The JSON file beside the arrays; both must be there."""
  beside = path.with_suffix('.json')
  for file in (path, beside):
    if not file.is_file():
      raise RunError(f'there is no checkpoint file {file}: {_remedy(path)}')
  found = files.read_json(beside) or {}
  missing = [key for key in (*_KEYS, 'about') if key not in found]
  if missing:
    raise RunError(
      f'{beside} lacks {", ".join(missing)}, which a checkpoint has; '
      f'{_remedy(path)}'
    )
  if found['format'] != _FORMAT:
    raise RunError(
      f'{beside} has format {found["format"]!r}, this version of alphajax '
      f'reads {_FORMAT}; {_remedy(path)}'
    )
  return found


def _check_symbols(path: Path, found: Mapping, orders: Orders) -> None:
  """Refuses a network that writes other symbols, or other lengths."""
  has, wanted = found['symbols'], orders_lib.symbols(orders)
  lacks = [name for name in wanted if name not in has]
  more = [name for name in has if name not in wanted]
  parts = []
  if lacks:
    parts.append(f'it lacks {_some(lacks)}')
  if more:
    parts.append(f'it has {_some(more)} besides')
  if not parts and has != wanted:
    parts.append('it has them in another order')
  if found['length'] != orders.length:
    parts.append(
      f'its sequences have up to {found["length"]} symbols, not {orders.length}'
    )
  if not parts:
    return
  flags = ' '.join(
    f'--config.language.{name}={_literal(value)}'
    for name, value in found['language'].items()
  )
  raise ValueError(
    f'{path} does not write the formulas of config.language: '
    f'{" and ".join(parts)}. Mine its language ({flags}), or pre-train one of '
    'yours (python -m alphajax.train '
    '--config=configs/alphaformer.py:csi300,pretrain with the same '
    '--config.language options) and give it as --config.checkpoint'
  )


def _some(names: Sequence[str], most: int = 4) -> str:
  """The first of some names."""
  shown = ', '.join(repr(name) for name in names[:most])
  more = len(names) - most
  return f'{shown} and {more} more' if more > 0 else shown


def _literal(value: Any) -> str:
  """A value as a flag takes it."""
  if isinstance(value, list | tuple):
    inner = ','.join(map(repr, value)) + (',' if len(value) == 1 else '')
    return f'"({inner})"'
  return str(value)


def _expected(
  network: FormulaTransformer, orders: Orders, widths: Widths
) -> dict[str, tuple]:
  """Names and shapes of the parameters."""
  inputs = formula_transformer.Inputs(
    tokens=jnp.zeros((1, widths.tokens)),
    mask=jnp.ones(1, bool),
    context=jnp.zeros(widths.context),
    formulas=jnp.zeros((0, orders.length), jnp.int32),
  )
  shapes = jax.eval_shape(network.init, jax.random.key(0), inputs)
  return {name: leaf.shape for name, leaf in _flat(shapes).items()}


def _params(
  path: Path, arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple]
) -> dict:
  """The nested parameters, f32, where they are those expected."""
  found = {
    name.removeprefix(f'{_PARAMS}/'): value
    for name, value in arrays.items()
    if name.startswith(f'{_PARAMS}/')
  }
  shapes = {name: value.shape for name, value in found.items()}
  if shapes != dict(expected):
    names = sorted(
      name
      for name in {*shapes, *expected}
      if shapes.get(name) != expected.get(name)
    )
    raise RunError(
      f'{path} does not fit the sizes in {path.stem}.json, first at '
      f'{names[0]}: {shapes.get(names[0])}, expected {expected.get(names[0])}; '
      f'{_remedy(path)}'
    )
  params: dict[str, Any] = {}
  for name, value in found.items():
    *parents, last = name.split('/')
    place = params
    for parent in parents:
      place = place.setdefault(parent, {})
    place[last] = np.array(value, np.float32)
  return jax.device_put(params)


def _flat(tree: Any) -> dict[str, Any]:
  """Leaves of nested dictionaries by `outer/inner`."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {'/'.join(str(key.key) for key in path): leaf for path, leaf in leaves}


def _digest(path: Path) -> str:
  with files.naming(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
