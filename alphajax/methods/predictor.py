"""What every method shares that learns from rows: boosters, networks, ridge.

The result is no pool of formulas but a model, whose values are the signal. It
is learned on train, and when to stop is seen on validation, by the loss: see
`Learner`. Nothing else differs from a method that mines.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Panel, Split
from alphajax.factor import metrics
from alphajax.methods import characteristics
from alphajax.methods.base import Found, Market, Method
from alphajax.methods.characteristics import Columns, Rows, Scaling
from alphajax.run.clock import Clock

IC_DAYS = 100  # Of train, on which the IC in the metrics is taken.


class Learner(NamedTuple):
  """What learns; `model` is a value of its own kind, the best so far in it.

  init: rng_key -> model.
  advance: (model, train, valid, rng_key) -> (model, losses, is_better); one
    iteration on `Rows`. `losses` are `train_loss` and `valid_loss`;
    `is_better` says that the best of it is another one.
  values: (model, columns[N, D * C]) -> f32[N], of the best.
  ended: model -> str | None; why to stop.
  save, load: as of a `Method`.
  """

  init: Callable[..., Any]
  advance: Callable[..., tuple[Any, dict[str, float], bool]]
  values: Callable[..., np.ndarray]
  ended: Callable[[Any], str | None]
  save: Callable[[Any], tuple[Any, dict[str, Any]]]
  load: Callable[[Any, dict[str, Any]], Any]


class State(NamedTuple):
  """A model and how good it was.

  iteration, found_at: iterations done, and that of the best.
  fresh: `scaling` is what this process fitted, and not read from a folder.
  ics: of the best on train (`IC_DAYS` days of it) and on validation.
  best_valid_ic: of any model that was the best by its loss.
  """

  model: Any
  scaling: Scaling
  fresh: bool = False
  iteration: int = 0
  found_at: int = 0
  ics: tuple[float, float] = (0.0, 0.0)
  best_valid_ic: float = -1.0


class Sheets(NamedTuple):
  """The rows of train and validation, made once a run, and their scaling.

  whole: all of both; `train` and `valid` are those that have a label.
  """

  scaling: Scaling
  whole: tuple[Rows, ...]
  train: Rows
  valid: Rows


lookback = characteristics.lookback


def make(config, market: Market, columns: Columns, learner: Learner) -> Method:
  """A method of a learner; see `base.Method`."""

  @functools.cache  # A run that is only read makes no rows of train.
  def sheets() -> Sheets:
    return make_sheets(config, market, columns)

  def rows_of(state, panel):
    """The rows of a panel, those of train and validation made once a run."""
    if state.fresh:
      for split, whole in zip(market, sheets().whole, strict=True):
        if panel is split.panel:
          return whole
    return characteristics.rows(config, columns, state.scaling, panel)

  def init(rng_key):
    return State(learner.init(rng_key), characteristics.no_scaling(columns))

  def step(state, rng_key):
    clock = Clock()
    with clock('features'):
      scaling, _, train, valid = sheets()
    with clock('update'):
      model, losses, better = learner.advance(
        state.model, train, valid, rng_key
      )
    state = state._replace(
      model=model,
      scaling=scaling,
      fresh=True,
      iteration=state.iteration + 1,
    )
    if better or not state.found_at:
      with clock('evaluation'):
        state = _judged(learner, state, sheets(), market)
    return state, {
      'train_ic': state.ics[0],
      'valid_ic': state.ics[1],
      'best_valid_ic': state.best_valid_ic,
      **losses,
      'seconds': clock.seconds,
    }

  return Method(
    init=init,
    step=step,
    predict=functools.partial(_predict, rows_of, learner),
    found=lambda state: Found(state.found_at) if state.found_at else None,
    finished=lambda state: learner.ended(state.model),
    save=functools.partial(_save, learner),
    load=functools.partial(_load, learner),
  )


def make_sheets(config, market: Market, columns: Columns) -> Sheets:
  """The rows of both splits, by the scaling of train."""
  scaling = characteristics.fit_scaling(config, columns, market.train)
  whole = tuple(
    characteristics.rows(config, columns, scaling, split.panel)
    for split in market
  )
  scored = np.flatnonzero(market.valid.scored)
  return Sheets(
    scaling,
    whole,
    characteristics.train_rows(config, whole[0], market.train),
    characteristics.labelled_rows(config, whole[1], market.valid, scored),
  )


def _judged(
  learner: Learner, state: State, sheets: Sheets, market: Market
) -> State:
  """The state whose model is the best so far, with its ICs."""
  model = state.model
  ics = (
    _mean_ic(learner, model, _some_days(sheets.train), market.train),
    _mean_ic(learner, model, sheets.valid, market.valid),
  )
  best = max(state.best_valid_ic, ics[1])
  return state._replace(found_at=state.iteration, ics=ics, best_valid_ic=best)


def _predict(rows_of, learner, state: State, panel: Panel):
  """The signal; NaN in the bars that the columns look back on."""
  if not state.found_at:
    raise ValueError('the run has learned nothing yet: train it first')
  found = rows_of(state, panel)
  values = learner.values(state.model, found.columns)
  return jnp.asarray(
    characteristics.signal(found, values, np.shape(panel.mask))
  )


def _some_days(train: Rows) -> Rows:
  """The rows of `IC_DAYS` days, evenly spaced."""
  days = np.unique(train.days)
  kept = days[np.linspace(0, len(days) - 1, IC_DAYS).round().astype(int)]
  wanted = np.isin(train.days, kept)
  return characteristics.select(train, wanted)


def _mean_ic(learner, model, rows: Rows, split: Split) -> float:
  """Mean IC with the plain label on the days that there are rows of."""
  days, place = np.unique(rows.days, return_inverse=True)
  shape = len(days), split.target.shape[1]
  values = learner.values(model, rows.columns)
  plane = characteristics.signal(rows._replace(days=place), values, shape)
  daily = metrics.daily_ic(
    jnp.asarray(plane),
    jnp.asarray(np.asarray(split.target)[days]),
    jnp.asarray(np.asarray(split.panel.mask)[days]),
  )
  return float(np.mean(np.asarray(daily)))


def _save(learner: Learner, state: State) -> tuple[Any, dict[str, Any]]:
  model, host = learner.save(state.model)
  arrays = {'model': model, 'scaling': state.scaling._asdict()}
  return arrays, {
    'model': host,
    'iteration': state.iteration,
    'found_at': state.found_at,
    'ics': list(state.ics),
    'best_valid_ic': state.best_valid_ic,
  }


def _load(learner: Learner, arrays: Any, host: dict[str, Any]) -> State:
  return State(
    learner.load(arrays['model'], host['model']),
    Scaling(**arrays['scaling']),
    False,
    host['iteration'],
    host['found_at'],
    (host['ics'][0], host['ics'][1]),
    host['best_valid_ic'],
  )
