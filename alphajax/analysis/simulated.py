"""Simulated markets with formulas in them, made once and kept on disk.

To draw what is planted and to play thousands of days takes up to half a minute,
and every command on such a market begins with it.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from alphajax.analysis import planting
from alphajax.data import panel_cache, simulate
from alphajax.data.panel import Panel
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib

CODE = 'data', 'language', 'factor', 'analysis'  # What a market depends on.


def market(options: Mapping[str, Any]) -> simulate.Simulation:
  """The market of some options, the same one for the same.

  Args:
    options: of `planting.simulated` if they say how many formulas are
      `planted`, else of `simulate.simulate`; they can be written as JSON.

  Raises:
    ValueError: as these do.
  """
  return _market(as_text(options))


def as_text(options: Mapping[str, Any]) -> str:
  """What tells one market from another."""
  return json.dumps(options, sort_keys=True)


# Market and ceiling come from one simulation; so do those of runs that take
# turns on a few markets, of some ten megabytes each.
@functools.lru_cache(maxsize=4)
def _market(text: str) -> simulate.Simulation:
  path = _path_of(text)
  found = panel_cache.read_all(path)
  if found is not None:
    panel, more = found
    alphas = tuple(more['alphas'].tolist())
    return simulate.Simulation(
      panel, more['planted'], alphas, float(more['strength'])
    )
  options = json.loads(text)
  make = planting.simulated if 'planted' in options else simulate.simulate
  made = make(**options, compile_fn=_compile)
  panel_cache.write(
    path,
    made.panel,
    planted=made.planted,
    alphas=np.array(made.alphas, str),
    strength=np.array(made.strength),
  )
  return made


def _path_of(text: str) -> pathlib.Path:
  """Where it is kept: by whatever its last bits depend on, code as well."""
  made_by = jax.__version__, np.__version__, jax.default_backend()
  set_by = os.environ.get('XLA_FLAGS'), jax.config.read('jax_enable_x64')
  key = json.dumps([text, made_by, set_by, _code()])
  digest = hashlib.sha256(key.encode()).hexdigest()
  return panel_cache.home() / f'{digest}.panel'


@functools.cache
def _code() -> str:
  root = pathlib.Path(__file__).parent.parent
  files = sorted(file for part in CODE for file in root.glob(f'{part}/*.py'))
  return ' '.join(map(panel_cache.content_hash, files))


def _compile(text: str) -> tuple[int, Callable]:
  """What `simulate.simulate` is given to evaluate formulas."""
  formula = formula_lib.parse(text)
  run = evaluate.compile(formula)

  def today(features, members):
    return np.asarray(run(Panel(features, members, (), ())))[-1]

  return formula_lib.lookback(formula), today
