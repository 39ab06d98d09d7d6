"""Runs an exported module where its library is installed."""

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alphajax.data.panel import Panel

PACKAGES = {'qlib': 'pyqlib'}  # Of targets whose package is named otherwise.


def is_installed(target: str) -> bool:
  """Whether exported code of a target can run here."""
  library = {'python': 'numpy'}.get(target, target)
  return importlib.util.find_spec(library) is not None


def values(path: Path, panel: Panel, target: str) -> dict[str, np.ndarray]:
  """What the exported factors are on a panel, f32[T, S] by name.

  Args:
    path: of the module that `source.write` wrote.
    panel: the data.
    target: a key of `source.MODULES`.
  """
  module = _load(path)
  data, plane = _DATA[target](panel)
  computed = module.compute(data)
  return {
    name: np.asarray(plane(computed[name]), np.float32)
    for name in module.FACTORS
  }


def signal(path: Path, panel: Panel, target: str) -> np.ndarray:
  """The signal f32[T, S] of an exported pool with weights on a panel."""
  module = _load(path)
  data, plane = _DATA[target](panel)
  computed = module.compute(data)
  if target == 'polars':
    result = module.signal(computed, module.WEIGHTS)['signal']
  else:
    result = module.signal(computed, data, module.WEIGHTS)
  return np.asarray(plane(result), np.float32)


def qlib_values(
  fields: Mapping[str, str], panel: Panel
) -> dict[str, np.ndarray]:
  """What qlib makes of expressions on a panel, f32[T, S] by name.

  The panel is written to a folder for a while, as qlib keeps its data. The
  process then is one of qlib on that folder: another has to be given to
  `qlib.init` again.
  """
  import qlib
  from qlib.data import D
  from qlib.data.cache import H

  days = pd.to_datetime(list(panel.dates))
  # Its names are files: upper case only, nothing that a system minds.
  symbols = [f'S{i:05}' for i in range(len(panel.symbols))]
  with tempfile.TemporaryDirectory() as folder:
    _write_qlib(Path(folder), panel, symbols)
    # One process: others would be as many copies of all that is loaded here.
    qlib.init(
      provider_uri=folder, region='us', kernels=1, logging_level=30,
      expression_cache=None, dataset_cache=None,
    )  # fmt: skip
    H.clear()  # What it remembers of an earlier folder.
    with np.errstate(over='ignore'):  # What leaves float32 is infinite.
      found = D.features(symbols, list(fields.values()), days[0], days[-1])
  found.columns = list(fields)
  return {
    name: column.unstack('instrument')
    .reindex(days, columns=symbols)
    .to_numpy(np.float32)
    for name, column in found.items()
  }


def _write_qlib(folder: Path, panel: Panel, symbols: list[str]) -> None:
  """A panel in the files that `data.qlib_binary` describes."""
  for name in ('calendars', 'instruments'):
    (folder / name).mkdir()
  first, last = panel.dates[0], panel.dates[-1]
  (folder / 'calendars' / 'day.txt').write_text('\n'.join(panel.dates) + '\n')
  (folder / 'instruments' / 'all.txt').write_text(
    ''.join(f'{symbol}\t{first}\t{last}\n' for symbol in symbols)
  )
  features = np.asarray(panel.features, '<f4')
  for i, symbol in enumerate(symbols):
    place = folder / 'features' / symbol.lower()
    place.mkdir(parents=True)
    for name, plane in zip(panel.feature_names, features, strict=True):
      np.insert(plane[:, i], 0, 0.0).tofile(place / f'{name}.day.bin')


def _load(path: Path):
  """The module of a file."""
  spec = importlib.util.spec_from_file_location(path.stem, path)
  if spec is None or spec.loader is None:
    raise ValueError(f'{path}: no Python module')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _named(panel: Panel) -> dict[str, np.ndarray]:
  features = zip(panel.feature_names, np.asarray(panel.features), strict=True)
  return dict(features) | {'members': np.asarray(panel.mask)}


def _planes(panel: Panel):
  return _named(panel), lambda plane: plane


def _frames(panel: Panel):
  days = pd.to_datetime(list(panel.dates))
  symbols = list(panel.symbols)
  data = {
    name: pd.DataFrame(plane, days, symbols)
    for name, plane in _named(panel).items()
  }
  return data, lambda frame: frame.to_numpy()


def _long(panel: Panel):
  import polars as pl

  num_days, num_stocks = np.shape(panel.mask)
  days = np.array(panel.dates, 'datetime64[D]')
  frame = pl.DataFrame(
    {
      'date': np.repeat(days, num_stocks),
      'symbol': np.tile(np.array(panel.symbols), num_days),
    }
    | {name: plane.ravel() for name, plane in _named(panel).items()}
  )
  # Sorted by symbol, then by day.
  order = np.argsort(np.argsort(np.array(panel.symbols)))

  def plane(column):
    return column.to_numpy().reshape(num_stocks, num_days)[order].T

  return frame, plane


_DATA: dict[str, Callable[[Panel], tuple[Any, Callable]]] = {
  'python': _planes,
  'pandas': _frames,
  'polars': _long,
}
