"""Behaviours of the published formulas on some data, made once and kept."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alphajax.analysis.novelty import Known
from alphajax.data import panel_cache
from alphajax.run import files


def kept(key: str, make: Callable[[], Known]) -> Known:
  """`make()`, or what it gave before for the same key, from the cache folder.

  key: tells apart whatever the behaviours depend on, but for our own code.
  """
  digest = hashlib.sha256(f'{key} {_code()}'.encode()).hexdigest()
  path = panel_cache.home() / 'novelty' / f'{digest}.npz'
  try:
    found = files.read_arrays(path)
  except files.RunError:  # Damaged: made again.
    found = {}
  if {'names', 'formulas', 'rows'} <= set(found):
    names, formulas = (tuple(found[n].tolist()) for n in ('names', 'formulas'))
    return Known(names, formulas, found['rows'])
  known = make()
  arrays = {
    'names': np.array(known.names),
    'formulas': np.array(known.formulas),
    'rows': known.rows,
  }
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_arrays(path, arrays)
  except (OSError, files.RunError) as error:
    # A full or read-only disk costs only time.
    warnings.warn(f'behaviours are not kept: {error}', stacklevel=2)
  return known


def _code() -> str:
  """A hash of the libraries and of what computes their values."""
  here = Path(__file__).parent.parent
  parts = sorted([*here.glob('factor/*.py'), *here.glob('language/*.csv')])
  parts += [here / 'data' / 'universe.py', here / 'analysis' / 'novelty.py']
  digests = map(panel_cache.content_hash, parts)
  return hashlib.sha256(' '.join(digests).encode()).hexdigest()
