"""A library of formulas and what was measured of it, in a file.

So a pre-training begins at once where one was before, also on a machine that
has an accelerator and no market. Correlations are kept by the directions that
hold most of them, so that those of thousands of formulas fit; what the file
says is what a training reads, the one that wrote it too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from alphajax.language import formula as formula_lib
from alphajax.methods import formula_model
from alphajax.methods.task_bank import Bank
from alphajax.methods.task_library import Library
from alphajax.run import files
from alphajax.run.files import RunError

RANK = 384  # Directions kept of the correlations in a block.
# What of `config.pretrain` decides a bank.
_OPTIONS = (
  'panels', 'library', 'num_probes', 'probe_size', 'stocks', 'days', 'draws',
  'horizons', 'held_share',
)  # fmt: skip
# Arrays of a bank that are kept as they are.
_PLAIN = (
  'facts', 'size', 'log_weight', 'held', 'probes', 'panels', 'horizons'
)  # fmt: skip


class Kept(NamedTuple):
  """What a file holds.

  config: of the pre-training that wrote it; data_hash: of its market.
  """

  library: Library
  bank: Bank
  config: dict[str, Any]
  data_hash: str


def save(path: str | Path, config, library: Library, bank: Bank) -> None:
  """Writes a library and its bank, wholly or not at all.

  Raises:
    RunError: the system refuses.
  """
  path = Path(path).expanduser()
  factors, diagonal = zip(
    *[_factors(np.asarray(gram, np.float32)) for gram in bank.gram], strict=True
  )
  about = {
    'config': config.to_dict(),
    'data_hash': formula_model.data_hash(config),
  }
  files.write_arrays(
    path,
    {
      'factors': np.stack(factors),
      'diagonal': np.stack(diagonal),
      'noise': np.asarray(bank.noise, np.float16),
      **{name: np.asarray(getattr(bank, name)) for name in _PLAIN},
      'formulas': np.array(
        [formula_lib.call_text(f) for f in library.formulas]
      ),
      'about': np.array(json.dumps(about, default=files.plain)),
    },
  )


def load(path: str | Path) -> Kept:
  """Reads what `save` wrote.

  Raises:
    RunError: the file is missing, damaged, or another one.
  """
  path = Path(path).expanduser()
  arrays = files.read_arrays(path)
  lacks = {'factors', 'diagonal', 'noise', 'formulas', 'about', *_PLAIN}
  lacks -= set(arrays)
  if lacks:
    what = 'is no bank of tasks' if arrays else 'does not exist'
    raise RunError(
      f'{path} {what}: make one by alphajax train '
      '--config=alphaformer.py:csi300,pretrain --config.num_iterations=1 '
      '--config.pretrain.bank=FILE.npz --config.data.path=PANEL '
      '--workdir=FOLDER'
    )
  about = json.loads(str(arrays['about']))
  features = tuple(about['config']['language']['features'])
  grams = [
    _gram(factors, diagonal)
    for factors, diagonal in zip(
      arrays['factors'], arrays['diagonal'], strict=True
    )
  ]
  bank = Bank(
    gram=jnp.asarray(np.stack(grams)),
    mean=jnp.asarray(
      np.stack([g.mean(0, dtype=np.float32) for g in grams]), jnp.float16
    ),
    noise=jnp.asarray(arrays['noise'], jnp.float32),
    **{name: jnp.asarray(arrays[name]) for name in _PLAIN},
  )
  texts = arrays['formulas'].tolist()
  library = Library(
    tuple(formula_lib.parse(text, features) for text in texts),
    arrays['probes'],
  )
  return Kept(library, bank, about['config'], about['data_hash'])


def check(path: str, kept: Kept, config, *, data: bool = True) -> None:
  """Refuses a file that another config would have made, by the first key.

  data: whether the market of `config` is there to be compared.

  Raises:
    ValueError: there is such a key.
  """
  now, then = deciding(config.to_dict()), deciding(kept.config)
  if data:
    now |= {'data.path, its content': formula_model.data_hash(config)}
    then |= {'data.path, its content': kept.data_hash}
  for name, value in now.items():
    if then.get(name) != value:
      raise ValueError(
        f'config.pretrain.bank: {path} was made with config.{name} = '
        f'{then.get(name)!r}, now it is {value!r}: give the same, or the name '
        'of a file that does not exist yet'
      )


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
  """What of a config decides a bank, by the names of its keys."""
  found = {f'pretrain.{name}': config['pretrain'][name] for name in _OPTIONS}
  for name in ('language', 'label', 'screen'):
    found |= {f'{name}.{key}': value for key, value in config[name].items()}
  # Of before there was the key.
  found['pretrain.markets'] = config['pretrain'].get('markets', 'real')
  found |= {
    'tokens.blocks': config['tokens']['blocks'],
    'splits.train': config['splits']['train'],
    'lookback': config['lookback'],
    'seed': config['seed'],
  }
  # As a file has it: tuples are lists there.
  return json.loads(json.dumps(found, default=files.plain))


def _factors(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The strongest directions f16[B, N, R] of f32[B, N, N], and diagonals."""
  factors = []
  for gram in grams:
    strongest = max(len(gram) - RANK, 0), len(gram) - 1
    values, vectors = linalg.eigh(gram, subset_by_index=strongest)
    scale = np.sqrt(np.maximum(values, 0.0))
    factors.append((vectors * scale).astype(np.float16))
  diagonal = np.einsum('bnn->bn', grams)
  return np.stack(factors), diagonal.astype(np.float16)


def _gram(factors: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
  """f16[B, N, N]; what each formula is with itself stays as it was."""
  parts = []
  for factor, own in zip(factors.astype(np.float32), diagonal, strict=True):
    gram = (factor @ factor.T).astype(np.float16)
    np.fill_diagonal(gram, own)
    parts.append(gram)
  return np.stack(parts)
