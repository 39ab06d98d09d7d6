"""Pools of several runs joined into one signal: seeds, years or methods.

`config.runs` are folders of runs whose results are pools of formulas; nothing
is searched. `equal` gives every pool the same weight, its signal standardised
per day; `fit` fits one shrunk pool to all of their formulas by
`config.pool.rule`, on the train split. Judged by `alphajax walk_forward`, the
runs are walks themselves, and each fold joins those of its own year.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel, Split
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import choice, linear
from alphajax.methods import weights as weights_lib
from alphajax.methods.base import Found, Market, Method
from alphajax.run import files
from alphajax.run.clock import Clock

WEIGHTINGS = ('equal', 'fit')


class State(NamedTuple):
  """What was joined: nothing before the first iteration, all after it.

  found: of `fit` the pool, of `equal` no formulas: it is no linear pool.
  ics: mean IC on train and on validation.
  """

  found: Found | None
  ics: tuple[float, float] = (0.0, 0.0)


class Pools(NamedTuple):
  """The pools of all runs over the formulas of any.

  formulas: distinct.
  weights: f32[runs, N], 0 where a pool has not the formula.
  first: i[runs], days at the beginning of a panel on which a pool is silent.
  """

  formulas: tuple[Formula, ...]
  weights: np.ndarray
  first: np.ndarray


def as_text(config) -> str:
  """The pools of `config.runs` as the config of a run holds them, JSON.

  Raises:
    ValueError: no runs, one without a pool of formulas, or one that has seen
      days after the validation split.
  """
  runs = config.runs
  if isinstance(runs, str) or not runs:
    raise ValueError(
      f'config.runs is {runs!r}: expected folders of runs, as in '
      "--config.runs=\"('runs/a','runs/b')\""
    )
  pools = [
    _read(Path(run).expanduser(), config.splits.valid[1]) for run in runs
  ]
  return json.dumps(pools)


def _read(place: Path, until: str) -> list[tuple[str, float]]:
  """Formulas and weights of one run, which may have seen days `until` one."""
  pool = files.read_json(place / 'pool.json')
  made = files.read_json(place / 'config.json')
  if pool is None or made is None:
    raise ValueError(
      f'config.runs has {place}: no pool.json and config.json there; name the '
      'folder of a run that found a pool, or, for alphajax walk_forward, the '
      'folder of a walk with the same years'
    )
  if not pool['factors']:
    raise ValueError(
      f'config.runs has {place}: its result is no pool of formulas, which is '
      'what an ensemble joins'
    )
  splits = made['splits']
  seen = max(splits[name][1] for name in ('train', 'valid') if name in splits)
  if seen > until:
    raise ValueError(
      f'config.runs has {place}, which was made on days until {seen}, and '
      f'config.splits.valid ends {until}: what is judged may not have been '
      'seen by any of them'
    )
  return [(factor['formula'], factor['weight']) for factor in pool['factors']]


def lookback(config) -> int:
  """Bars that the longest-looking formula of any pool needs."""
  texts = {text for pool in _pools_text(config) for text, _ in pool}
  return max(formula_lib.lookback(formula_lib.unchecked(t)) for t in texts)


def _pools_text(config) -> list[Any]:
  return json.loads(config.ensemble.pools or as_text(config))


def pools_of(config) -> list[tuple[tuple[Formula, ...], tuple[float, ...]]]:
  """Formulas and weights of the pools that a config joins; maybe none."""
  if 'ensemble' not in config:
    return []
  return [
    (
      tuple(formula_lib.unchecked(text) for text, _ in pool),
      tuple(weight for _, weight in pool),
    )
    for pool in _pools_text(config)
  ]


def read_pools(config, features: Sequence[str]) -> Pools:
  """The pools that a config holds.

  Raises:
    ValueError: a formula reads a feature that is not loaded; names the run.
  """
  known: dict[str, Formula] = {}
  rows, first = [], []
  for run, pool in zip(config.runs, _pools_text(config), strict=True):
    row: dict[str, float] = {}
    for number, (text, weight) in enumerate(pool, 1):
      try:
        formula = formula_lib.parse(text, features)
      except ValueError as error:
        raise ValueError(
          f'{run}, factor {number}: {error}; config.language.features are the '
          'columns that are loaded'
        ) from error
      key = formula_lib.key(formula)
      known.setdefault(key, formula)
      row[key] = row.get(key, 0.0) + weight
    rows.append(row)
    first.append(max(formula_lib.lookback(known[key]) for key in row))
  weights = np.array([[row.get(k, 0.0) for k in known] for row in rows])
  return Pools(
    tuple(known.values()), weights.astype(np.float32), np.array(first)
  )


def average(pools: Pools, panel: Panel) -> jax.Array:
  """Mean of the pools' signals, each standardised per day, f32[T, S].

  A pool without a value has no opinion, which is 0 in the mean, as a factor has
  in a pool; NaN where no pool has one, and for non-members.
  """
  members = jnp.asarray(panel.mask)
  store = evaluate.make_store(panel)
  signals = linear.combine_each(store, pools.formulas, pools.weights, members)
  return _average(signals, pools.first, members)


@jax.jit
def _average(
  signals: list[jax.Array], first: jax.Array, members: jax.Array
) -> jax.Array:
  """`average` of signals f32[T, S], each from its first day on."""
  days = jnp.arange(members.shape[0])[:, None]
  total, heard = jnp.zeros(members.shape), jnp.zeros(members.shape, bool)
  for n, signal in enumerate(signals):
    signal = jnp.where(days < first[n], jnp.nan, signal)
    unit = panel_lib.standardize(signal, members)
    known = jnp.isfinite(unit)
    total, heard = total + jnp.where(known, unit, 0.0), heard | known
  return jnp.where(heard, total / len(signals), jnp.nan)


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/ensemble.py`."""
  check(config)
  features = tuple(market.train.panel.feature_names)
  pools = read_pools(config, features)

  def init(rng_key):
    del rng_key
    return State(None)

  def predict(state, panel):
    if state.found is not None and state.found.formulas:
      return linear.predict(state.found, panel)
    return average(pools, panel)

  def step(state, rng_key):
    del state, rng_key
    clock = Clock()
    with clock('pool'):
      found = _join(config, pools, market.train)
    state = State(found)
    with clock('evaluation'):
      train_ic, valid_ic = (
        _mean_ic(predict(state, split.panel), split) for split in market
      )
    return State(found, (train_ic, valid_ic)), {
      'train_ic': train_ic,
      'valid_ic': valid_ic,
      'best_valid_ic': valid_ic,
      'proposed': sum(int(np.count_nonzero(row)) for row in pools.weights),
      'evaluated': len(pools.formulas),
      'pool_size': len(found.formulas) or len(pools.formulas),
      'seconds': clock.seconds,
    }

  def finished(state):
    return state.found and f'{len(pools.weights)} pools joined'

  return Method(
    init=init,
    step=step,
    predict=predict,
    found=lambda state: state.found,
    finished=finished,
    save=_save,
    load=functools.partial(_load, features),
  )


def check(config) -> None:
  """Refuses options that an ensemble cannot have."""
  weighting, rule = config.ensemble.weighting, config.pool.rule
  if weighting not in WEIGHTINGS:
    raise ValueError(
      f'config.ensemble.weighting is {weighting!r}: expected one of '
      f'{", ".join(WEIGHTINGS)}'
    )
  if weighting == 'fit' and rule == choice.ALGORITHM_1:
    raise ValueError(
      'config.ensemble.weighting=fit fits all formulas of all runs at once, '
      'for which config.pool.rule=algorithm1 is none: set '
      '--config.pool.rule=elastic_net'
    )


def _join(config, pools: Pools, split: Split) -> Found:
  """The result: of `fit` a pool, of `equal` one without formulas of its own.

  Raises:
    ValueError: the fit leaves out every formula.
  """
  if config.ensemble.weighting == 'equal':
    return Found(1)
  weights = weights_lib.fit(config, split, pools.formulas)
  kept = [
    (f, w) for f, w in zip(pools.formulas, weights, strict=True) if w != 0
  ]
  if not kept:
    raise ValueError(
      f'config.pool.rule={config.pool.rule} leaves out all '
      f'{len(pools.formulas)} formulas of the runs: take a smaller '
      '--config.pool.penalty, or --config.ensemble.weighting=equal'
    )
  return Found(1, *map(tuple, zip(*kept, strict=True)))


def _mean_ic(signal: jax.Array, split: Split) -> float:
  daily = metrics.daily_ic(
    signal, jnp.asarray(split.target), jnp.asarray(split.panel.mask)
  )
  return float(np.asarray(daily)[np.asarray(split.scored)].mean())


def _save(state: State) -> tuple[dict, dict]:
  """The state for a checkpoint; it has no arrays but the ICs."""
  found = state.found
  host = {
    'joined': found is not None,
    'formulas': [formula_lib.call_text(f) for f in found.formulas]
    if found
    else [],
    'weights': list(found.weights) if found else [],
    'ics': list(state.ics),
  }
  return {'ics': np.array(state.ics, np.float32)}, host


def _load(features: Sequence[str], arrays: dict, host: dict) -> State:
  """The state that `_save` was given."""
  del arrays
  if not host['joined']:
    return State(None)
  formulas = tuple(formula_lib.parse(t, features) for t in host['formulas'])
  ics = host['ics'][0], host['ics'][1]
  return State(Found(1, formulas, tuple(host['weights'])), ics)
