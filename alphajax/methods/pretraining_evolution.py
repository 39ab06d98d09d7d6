"""Evolutionary search on held-out tasks, beside what a network proposes.

It begins with what every proposer knows, the formulas that were evaluated; it
varies those that add most to the pool, and each child counts as a formula
evaluated. What evaluating one would say follows from how alike it is to the
formulas of the library, whose ICs with noise are known; what they do not
explain of it has noise of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from alphajax.factor import pool_rules
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import formula_tokens, task_bank
from alphajax.methods.formula_tokens import Pool
from alphajax.methods.planted_tasks import Task
from alphajax.methods.pretraining_gate import Gate
from alphajax.search import evolution
from alphajax.search.evolution import Derivation, Rules

RIDGE = 0.01  # Of the regression on the library, of a formula's variance.
TOGETHER = 32  # Tasks whose children are evaluated at a time.


class Options(NamedTuple):
  """How is searched; see `configs/evolution.py`.

  num: formulas evaluated, `batch` in a generation, the first of `candidates`
    times as many that have values and are no twins.
  """

  num: int = 100
  batch: int = 10
  candidates: float = 1.5
  num_parents: int = 30
  niche_corr: float = 0.7
  fresh: float = 0.1
  twin: float = 0.99


DEFAULT = Options()


class Space(NamedTuple):
  """The library on the compared cells, N formulas.

  units: f32[N, C], of length 1.
  factor: of their correlations, as `scipy.linalg.cho_factor`.
  """

  units: np.ndarray
  factor: tuple


class Seen(NamedTuple):
  """n formulas beside the library.

  units: of length 1; like: correlations with the library; own: length of what
    the library does not explain.
  """

  units: np.ndarray  # f32[n, C]
  like: np.ndarray  # f32[n, N]
  own: np.ndarray  # f32[n]


class Search(NamedTuple):
  """A search on one task, n formulas so far.

  weights: f32[N, B], what an IC in a block is of a formula's correlations with
    the library; noise: deviation of an IC in a block.
  known: the first of them were evaluated before, by whoever searches.
  """

  weights: np.ndarray
  noise: float
  pool: Pool
  pool_units: np.ndarray
  derivations: list[Derivation]
  keys: set[str]
  rows: np.ndarray  # f16[n, D, S], as of the library
  units: np.ndarray  # f32[n, C]
  gains: np.ndarray  # f32[n]
  known: int
  rng: np.random.Generator


def evolve(
  gate: Gate, tasks: Sequence[Task], seed: int, options: Options = DEFAULT
) -> list[np.ndarray]:
  """What is evaluated on every task, rows f16[n, D, S] in that order.

  n is `options.num`, less in a language of few formulas and 0 for a task
  without a signal.
  """
  space = make_space(gate.rows)
  rules = evolution.read_rules(gate.orders.rules)
  written = [
    tuple(environment.derivation(gate.orders.rules, f)) for f in gate.library
  ]
  none = gate.rows[:0]
  found = [none for _ in tasks]
  loud = [n for n, task in enumerate(tasks) if task.ceiling > 0]
  for first in range(0, len(loud), TOGETHER):
    some = loud[first : first + TOGETHER]
    searches = [
      start(gate, space, written, tasks[n], np.random.default_rng([seed, n]))
      for n in some
    ]
    for _ in range(2 * -(-options.num // options.batch)):
      searches = _generation(gate, space, rules, searches, options)
    for n, search in zip(some, searches, strict=True):
      found[n] = search.rows[search.known :]
  return found


def make_space(rows: np.ndarray) -> Space:
  """The space of a library's rows f16[N, D, S]."""
  units = _units(rows)
  gram = units @ units.T
  gram[np.diag_indices(len(gram))] += RIDGE
  return Space(units, linalg.cho_factor(gram))


def _units(rows: np.ndarray) -> np.ndarray:
  """Rows of length 1, f32[n, C]; of a formula without values 0."""
  scale = task_bank.scale_of(rows) / np.sqrt(max(rows.shape[1], 1))
  flat = rows.reshape(len(rows), rows.shape[1] * rows.shape[2])
  return flat.astype(np.float32) * scale[:, None].astype(np.float32)


def start(
  gate: Gate,
  space: Space,
  written: Sequence[Derivation],
  task: Task,
  rng: np.random.Generator,
) -> Search:
  """What is known at the beginning. written: derivations of the library."""
  observed = np.asarray(task.observed, np.float32)
  ids = np.unique(np.asarray(task.evaluated)[np.asarray(task.used)])
  pool_units = space.units[np.asarray(task.pool)]
  pool = Pool(
    jnp.asarray(pool_units @ pool_units.T),
    jnp.asarray(observed.T[np.asarray(task.pool)]),
    jnp.asarray(task.in_pool),
  )
  search = Search(
    weights=linalg.cho_solve(space.factor, observed.T),
    noise=float(np.std(observed - observed.mean(0))),
    pool=pool,
    pool_units=pool_units,
    derivations=[written[i] for i in ids.tolist()],
    keys={gate.keys[i] for i in ids.tolist()},
    rows=gate.rows[ids],
    units=space.units[ids],
    gains=np.zeros(0, np.float32),
    known=len(ids),
    rng=rng,
  )
  return search._replace(
    gains=_gains(search, search.units, observed.mean(0)[ids])
  )


def _gains(search: Search, units: np.ndarray, ics: np.ndarray) -> np.ndarray:
  """What formulas seem to add to the pool, f32[n]."""
  gains, _ = formula_tokens.gain(ics, units @ search.pool_units.T, search.pool)
  return np.asarray(gains)


def _generation(
  gate: Gate,
  space: Space,
  rules: Rules,
  searches: Sequence[Search],
  options: Options,
) -> list[Search]:
  """One more generation of every search that has not ended."""
  born = [children(gate, rules, search, options) for search in searches]
  formulas = [f for part, _ in born for f in part]
  if not formulas:
    return list(searches)
  rows, _ = task_bank.look(gate.where, formulas)
  seen = see(space, rows)
  ends = np.cumsum([len(part) for part, _ in born])
  parts = np.split(np.arange(len(formulas)), ends[:-1])
  return [
    _learn(search, *each, rows[part], Seen(*(x[part] for x in seen)), options)
    for search, each, part in zip(searches, born, parts, strict=True)
  ]


def see(space: Space, rows: np.ndarray) -> Seen:
  """How formulas lie beside the library, of their rows f16[n, D, S]."""
  units = _units(rows)
  like = units @ space.units.T
  explained = np.sum(like * linalg.cho_solve(space.factor, like.T).T, 1)
  return Seen(units, like, np.sqrt(np.clip(1.0 - explained, 0.0, 1.0)))


def observe(search: Search, seen: Seen) -> np.ndarray:
  """ICs that evaluating formulas would show, noise and all, f32[n]."""
  blocks = search.weights.shape[1]
  noise = search.rng.standard_normal((len(seen.own), blocks))
  ics = seen.like @ search.weights + search.noise * seen.own[:, None] * noise
  return ics.mean(1).astype(np.float32)


def children(
  gate: Gate, rules: Rules, search: Search, options: Options
) -> tuple[list[Formula], list[Derivation]]:
  """Formulas of which some are evaluated next; none at the end."""
  wanted = _wanted(search, options)
  best = np.argsort(-search.gains, kind='stable')[: 4 * options.num_parents]
  among = search.units[best].astype(np.float64)
  niches = best[
    pool_rules.distinct(
      search.gains[best], among @ among.T, options.num_parents,
      options.niche_corr,
    )
  ]  # fmt: skip
  parents = [search.derivations[i] for i in niches.tolist()]
  formulas: list[Formula] = []
  written: list[Derivation] = []
  keys = set(search.keys)
  for _ in range(evolution.ATTEMPTS * wanted):
    if len(formulas) >= options.candidates * wanted:
      break
    child = evolution.propose(rules, parents, search.rng, fresh=options.fresh)
    formula = evolution.formula_of(gate.orders.rules, rules, child)
    key = formula_lib.key(formula)
    if key not in keys:
      keys.add(key)
      formulas.append(formula)
      written.append(child)
  return formulas, written


def _learn(
  search: Search,
  formulas: Sequence[Formula],
  written: Sequence[Derivation],
  rows: np.ndarray,
  seen: Seen,
  options: Options,
) -> Search:
  """A search that has evaluated the first children worth it."""
  wanted = _wanted(search, options)
  old = len(search.units)
  like = np.abs(seen.units @ np.concatenate([search.units, seen.units]).T)
  kept: list[int] = []
  for i, unit in enumerate(seen.units):
    others = like[i, [*range(old), *(old + j for j in kept)]]
    alone = others.max(initial=0.0) < options.twin
    if len(kept) < wanted and unit.any() and alone:
      kept.append(i)
  seen = Seen(*(x[kept] for x in seen))
  gains = _gains(search, seen.units, observe(search, seen))
  return search._replace(
    derivations=[*search.derivations, *(written[i] for i in kept)],
    keys=search.keys | {formula_lib.key(f) for f in formulas},
    rows=np.concatenate([search.rows, rows[kept]]),
    units=np.concatenate([search.units, seen.units]),
    gains=np.concatenate([search.gains, gains]),
  )


def _wanted(search: Search, options: Options) -> int:
  """Formulas of the next generation."""
  left = options.num - (len(search.gains) - search.known)
  return min(options.batch, left)
