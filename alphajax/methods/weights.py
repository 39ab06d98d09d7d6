"""Weights of formulas that are given, by the rule of a config, on any days."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import universe
from alphajax.data.panel import Split
from alphajax.factor import pool as pool_lib
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import bench as bench_lib
from alphajax.methods import choice, given, linear
from alphajax.methods import memory as memory_lib


def fit(config, split: Split, formulas: Sequence[Formula]) -> list[float]:
  """Weights of formulas, as `config.pool` has them fitted, on a split.

  Of `algorithm1` those of its fit with all of them in the pool; of another rule
  what it gives to these formulas, among which it chooses anew. The formulas of
  `config.pool.base` stay.

  Args:
    config: `pool`, `label`, `seed` and `store_bytes` are read.
    split: the days, those scored.
    formulas: distinct.

  Returns:
    A weight each, in their order; 0 for one that has no value on the scored
    days, or that the fit leaves out.

  Raises:
    ValueError: an unknown rule, or an option that it cannot have.
  """
  base = {formula_lib.key(each) for each in given.base_formulas(config)}
  order = sorted(
    range(len(formulas)), key=lambda i: formula_lib.key(formulas[i]) not in base
  )
  store = bench_lib.make_store(config, split.panel)
  target = bench_lib.make_target(store.universe, split.target)
  count = sum(formula_lib.key(formula) in base for formula in formulas)
  chooser = choice.make(config, split, store.universe, target, count)
  ordered = [formulas[i] for i in order]
  if chooser is None:
    found = _of_pool(config, store, target, split, ordered)
  else:
    found = _of_rule(chooser, store, target, split, ordered)
  weights = [0.0] * len(formulas)
  for i, weight in zip(order, found, strict=True):
    weights[i] = float(weight)
  return weights


def prepared(store, target, split, formulas):
  """Factors as a pool takes them; which of them speak on a scored day."""
  scored = np.flatnonzero(split.scored)
  factors = [
    _prepare(values, store.universe, target) for values in store.take(formulas)
  ]
  speak = [bool(np.asarray(factor)[scored].any()) for factor in factors]
  return factors, speak


@jax.jit
def _prepare(values, members, target):
  values = universe.gather(members, values)
  return pool_lib.prepare(values, members.present, target)


def _of_pool(config, store, target, split, formulas) -> np.ndarray:
  """The fit of Algorithm 1, f32[N]."""
  factors, speak = prepared(store, target, split, formulas)
  ids = np.where(speak, np.arange(len(formulas)), -1).astype(np.int32)
  pool, _ = pool_lib.insert(
    pool_lib.empty(len(formulas), *target.label.shape),
    factors,
    jnp.asarray(ids),
    target,
    jnp.asarray(split.scored),
    config=pool_lib.FitConfig(l1=config.pool.l1),
  )
  weights = np.zeros(len(formulas), np.float32)
  slots = np.asarray(pool.ids)
  weights[slots[slots >= 0]] = np.asarray(pool.weights)[slots >= 0]
  return weights


def _of_rule(chooser, store, target, split, formulas) -> np.ndarray:
  """What a rule gives, f64[N]."""
  memory = memory_lib.Memory()
  for n in range(0, len(formulas), linear.CHUNK):
    factors, speak = prepared(
      store, target, split, formulas[n : n + linear.CHUNK]
    )
    ids = [n + i if speaks else -1 for i, speaks in enumerate(speak)]
    memory = memory_lib.record(chooser.recorder, memory, ids, factors)
  weights = np.zeros(len(formulas))
  chosen = choice.choose(chooser, memory)
  weights[list(chosen.ids)] = chosen.weights
  return weights
