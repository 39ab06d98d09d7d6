"""The market on the device, ready to score formulas."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from alphajax.data import universe
from alphajax.data.device import by_days, put
from alphajax.data.panel import Panel
from alphajax.factor import evaluate, metrics, objectives, pool_signal
from alphajax.factor import pool as pool_lib
from alphajax.methods import choice, linear, rewards, stopping
from alphajax.methods import given as given_lib
from alphajax.methods import memory as memory_lib
from alphajax.methods.base import Market
from alphajax.search import dealing


class Bench(NamedTuple):
  """Both splits, the label and how formulas are taken; made once a run."""

  train: evaluate.AnyStore
  valid: evaluate.AnyStore
  target: pool_lib.Target  # Of the train split, members side by side.
  scored: jax.Array  # bool[T], train.
  score_valid: Callable  # (weights f32[P], values f32[P, T, S]) -> f32[days]
  score_chosen: Callable  # (formulas, weights), any number -> f32[days]
  ends: Callable  # See `stopping.reason_to_end`.
  fit: pool_lib.FitConfig
  accept: str
  capacity: int  # Slots of the pool, those of the base among them.
  given: given_lib.Given
  features: tuple[str, ...]
  objective: objectives.Objective
  tracks: bool  # Algorithm 1 goes on; else its pool stays empty.
  keep: int  # Formulas remembered at most; 0: all.
  chooser: choice.Chooser | None  # None: the pool of Algorithm 1 is kept.
  recorder: memory_lib.Recorder | None  # None: nothing of a formula stays.


def make_bench(config, market: Market, reads_pool: bool = True) -> Bench:
  """Puts both splits on the device.

  reads_pool: the method reads what Algorithm 1 makes, whatever the rule is.
  """
  if config.pool.capacity < 1:
    raise ValueError(f'pool.capacity is {config.pool.capacity}: expected >= 1')
  train, valid = market.train, market.valid
  of_valid = put((valid.target, valid.panel.mask, np.flatnonzero(valid.scored)))
  valid_store = make_store(config, valid.panel, share=4)
  features = tuple(train.panel.feature_names)
  given = given_lib.read(config, features)
  given_lib.check_warmup(given, int(np.argmax(train.scored)))
  store = make_store(config, train.panel)
  target = make_target(store.universe, train.target)
  chooser = choice.make(config, train, store.universe, target, len(given.base))
  return Bench(
    train=store,
    valid=valid_store,
    target=target,
    scored=put(train.scored),
    score_valid=functools.partial(_score, *of_valid),
    score_chosen=functools.partial(_score_chosen, valid_store, *of_valid),
    ends=functools.partial(stopping.reason_to_end, config),
    fit=pool_lib.FitConfig(l1=config.pool.l1),
    accept=config.pool.accept,
    capacity=config.pool.capacity + len(given.base),
    given=given,
    features=features,
    objective=rewards.objective_of(config),
    tracks=reads_pool or chooser is None,
    keep=config.pool.get('keep', 0),
    chooser=chooser,
    recorder=chooser and chooser.recorder,
  )


def make_store(config, panel: Panel, share: int = 1) -> evaluate.AnyStore:
  """A store on each of the devices that a run has, or one that all share.

  share: it takes one of so many parts of `config.store_bytes`.
  """
  budget = evaluate.budget_of(panel, config.store_bytes, share)
  stocks = dealing.stocks(config)
  if stocks > 1:
    return evaluate.over_stocks(panel, budget, stocks)
  return evaluate.over_devices(panel, budget, dealing.wanted(config))


def make_target(
  members: universe.Universe, label: np.ndarray | jax.Array
) -> pool_lib.Target:
  """A label f32[T, S] ready to be correlated with, members side by side."""
  label = universe.gather(members, label)
  return put(by_days(metrics.make_target, label, members.present))


@jax.jit
def _score(label, members, days, weights, values):
  """Daily IC of a weighted pool on the given days."""
  # As in the fit: what says nothing is 0.
  signal = pool_signal.signal(weights, values, members, min_coverage=0.0)
  return metrics.daily_ic(signal, label, members)[days]


def _score_chosen(store, label, members, days, formulas, weights):
  """The same of formulas, too many to hold their values at once."""
  signal = linear.combine(store, formulas, weights, members)
  return _on_days(signal, label, members, days)


@jax.jit
def _on_days(signal, label, members, days):
  return metrics.daily_ic(signal, label, members)[days]
