"""Gradient boosted trees of LightGBM or XGBoost on characteristics.

An iteration grows `config.booster.rounds` more trees. They are a model of their
own that begins at the margin of those before (as the libraries continue a
model), kept as the text that the library writes: a run that goes on grows the
same trees. The best round on validation is kept, and
`config.booster.patience` rounds without a better one end the run.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alphajax import lookup
from alphajax.methods import characteristics, predictor
from alphajax.methods.base import Market, Method
from alphajax.methods.characteristics import Rows
from alphajax.methods.predictor import Learner

lookback = characteristics.lookback


class Trees(NamedTuple):
  """Models one after the other, whose values add up.

  texts: as the library writes them.
  losses: on validation, after each round of all of them.
  """

  texts: tuple[str, ...] = ()
  losses: tuple[float, ...] = ()


class Sheet(NamedTuple):
  """Rows as the library holds them, and the margin of the trees so far.

  margins: f64[N] by the models they are of; a cache.
  """

  rows: Rows
  data: Any
  margins: dict[tuple[str, ...], np.ndarray]


class Library(NamedTuple):
  """What is asked of a library.

  sheet: (columns, label, sheet of train or None) -> its own data.
  grow: (params, rounds, train, valid, margins of both or None) -> (text, mean
    squared errors on validation by round, [rounds]).
  values: (text, columns, rounds or None for all) -> f64[N].
  """

  sheet: Callable[..., Any]
  grow: Callable[..., tuple[str, Sequence[float]]]
  values: Callable[..., np.ndarray]


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/lightgbm.py` and `configs/xgboost.py`."""
  options = config.booster
  library = lookup.resolve(
    options.library, LIBRARIES, key='config.booster.library'
  )(config)
  for key in ('rounds', 'patience'):
    if options[key] < 1:
      raise ValueError(f'config.booster.{key} is {options[key]}: expected >= 1')
  columns = characteristics.make_columns(config)
  sheets: dict[str, Sheet] = {}  # Of train and validation, made once.

  def advance(trees, train, valid, rng_key):
    if not sheets:
      data = library.sheet(train.columns, train.label, None)
      sheets['train'] = Sheet(train, data, {})
      data = library.sheet(valid.columns, valid.label, data)
      sheets['valid'] = Sheet(valid, data, {})
    margins = [
      _margin(library, trees.texts, sheet) for sheet in sheets.values()
    ]
    seed = int(jax.random.randint(rng_key, (), 0, 1 << 30))
    params = {**options.params.to_dict(), 'seed': seed}
    text, losses = library.grow(
      params, options.rounds, sheets['train'].data, sheets['valid'].data,
      margins if trees.texts else None,
    )  # fmt: skip
    grown = Trees((*trees.texts, text), (*trees.losses, *losses))
    figures = {
      'train_loss': _loss(library, grown.texts, sheets['train']),
      'valid_loss': float(losses[-1]),
      'trees': len(grown.losses),
    }
    return grown, figures, _best(grown) > len(trees.losses)

  def ended(trees):
    waited = len(trees.losses) - _best(trees)
    if waited < options.patience:
      return None
    return (
      f'no better validation loss for {waited} trees '
      f'(config.booster.patience = {options.patience})'
    )

  learner = Learner(
    init=lambda rng_key: Trees(),
    advance=advance,
    values=functools.partial(_values, library, options.rounds),
    ended=ended,
    save=lambda trees: ({}, trees._asdict()),
    load=lambda arrays, host: Trees(
      tuple(host['texts']), tuple(host['losses'])
    ),
  )
  return predictor.make(config, market, columns, learner)


def _best(trees: Trees) -> int:
  """How many rounds have the least loss, 0 where there is none."""
  return int(np.argmin(trees.losses)) + 1 if trees.losses else 0


def _margin(library: Library, texts: Sequence[str], sheet: Sheet) -> np.ndarray:
  """The values of all models on the rows, added in their order.

  Those of the last models that were asked for are kept: most of them return.
  """
  texts = tuple(texts)
  known: tuple[str, ...] = ()
  margin = np.zeros(len(sheet.rows.days))
  for before, found in sheet.margins.items():
    if texts[: len(before)] == before:
      known, margin = before, found
  for text in texts[len(known) :]:
    margin = margin + library.values(text, sheet.rows.columns, None)
  sheet.margins.clear()
  sheet.margins[texts] = margin
  return margin


def _loss(library: Library, texts: Sequence[str], sheet: Sheet) -> float:
  margin = _margin(library, texts, sheet)
  return float(np.mean(np.square(margin - sheet.rows.label)))


def _values(
  library: Library, rounds: int, trees: Trees, columns: np.ndarray
) -> np.ndarray:
  """The values of the best rounds, f32[N]."""
  total, left = np.zeros(len(columns)), _best(trees)
  for text in trees.texts:
    if left > 0 and len(columns):
      total = total + library.values(text, columns, min(left, rounds))
    left -= rounds
  return total.astype(np.float32)


def _imported(name: str, package: str):
  """A library that is not required.

  Raises:
    ValueError: it is not installed; says how it is.
  """
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if error.name != name:
      raise
    raise ValueError(
      f'config.booster.library is {name!r}, which is not installed: '
      f'pip install {package}, or both with pip install "alphajax[gbdt]"'
    ) from error


def _lightgbm(config) -> Library:
  """LightGBM, told to give the same trees whatever it is run on."""
  lightgbm = _imported('lightgbm', 'lightgbm')
  fixed = {
    'objective': 'regression', 'metric': 'l2', 'verbosity': -1,
    'deterministic': True, 'force_row_wise': True,
    'num_threads': config.booster.threads,
  }  # fmt: skip

  def sheet(columns, label, train):
    return lightgbm.Dataset(
      columns, label, reference=train, params=fixed, free_raw_data=False
    )

  def grow(params, rounds, train, valid, margins):
    for data, margin in zip((train, valid), margins or (), strict=False):
      data.set_init_score(margin)
    heard: dict[str, Any] = {}
    model = lightgbm.train(
      {**params, **fixed}, train, rounds, valid_sets=[valid],
      valid_names=['valid'], callbacks=[lightgbm.record_evaluation(heard)],
    )  # fmt: skip
    return model.model_to_string(), heard['valid']['l2']

  @functools.lru_cache(maxsize=256)
  def read(text):
    return lightgbm.Booster(model_str=text)

  def values(text, columns, rounds):
    return read(text).predict(
      columns, num_iteration=rounds, raw_score=True,
      num_threads=config.booster.threads,
    )  # fmt: skip

  return Library(sheet, grow, values)


def _xgboost(config) -> Library:
  """XGBoost by histograms; a model is its JSON."""
  xgboost = _imported('xgboost', 'xgboost-cpu')
  fixed = {
    'objective': 'reg:squarederror', 'eval_metric': 'rmse',
    'tree_method': 'hist', 'nthread': config.booster.threads, 'verbosity': 0,
    'base_score': 0.0,
  }  # fmt: skip

  def sheet(columns, label, train):
    del train
    return xgboost.DMatrix(columns, label, nthread=config.booster.threads)

  def grow(params, rounds, train, valid, margins):
    for data, margin in zip((train, valid), margins or (), strict=False):
      data.set_base_margin(margin)
    heard: dict[str, Any] = {}
    model = xgboost.train(
      {**params, **fixed}, train, rounds, evals=[(valid, 'valid')],
      evals_result=heard, verbose_eval=False,
    )  # fmt: skip
    losses = np.square(heard['valid']['rmse'])
    return model.save_raw('json').decode(), losses.tolist()

  @functools.lru_cache(maxsize=256)
  def read(text):
    model = xgboost.Booster({'nthread': config.booster.threads})
    model.load_model(bytearray(text, 'utf-8'))
    return model

  def values(text, columns, rounds):
    data = xgboost.DMatrix(columns, nthread=config.booster.threads)
    last = 0 if rounds is None else rounds
    said = read(text).predict(
      data, output_margin=True, iteration_range=(0, last)
    )
    return said.astype(np.float64)

  return Library(sheet, grow, values)


LIBRARIES = {'lightgbm': _lightgbm, 'xgboost': _xgboost}
