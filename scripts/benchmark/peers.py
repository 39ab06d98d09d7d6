"""What else evaluates formulas, on one core, in one run.

Every peer gets the same panel and formulas of the same sets, and gives the
daily IC of each: Alpha101, as many of the paper's operators can write; random
formulas of alpha-Sem-k; and of what compiles sets of formulas, formulas that
it has not seen. The slow ones get a part of a set, evenly taken. A peer whose
packages are missing is left out with a word. Times are the processor's, a
compiler's too, so that other work on the machine counts for little.
"""

import contextlib
import gc
import importlib
import os
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import library, vocab
from scripts.benchmark import tools

# Module, and the share of a set that it can do in a minute.
PEERS = {
  'numba + bottleneck': ('peer_numba', 0.25),
  'PyTorch': ('peer_torch', 0.05),
  'polars': ('peer_polars', 0.04),
  'pandas': ('peer_pandas', 0.03),
}
RANDOM = 300  # Formulas of that set.
ALIKE = 1e-3  # Mean ICs that far apart are of other definitions.
SLOW = 60.0  # Seconds.
NEW = 100  # Formulas that are compiled together.
STOCKS = {1_200: 60, 5_000: 40}  # Formulas, random ones.
LARGE_BYTES = 4 << 30  # Of the store on the largest panel.


class Timed(NamedTuple):
  """Of a set of formulas.

  ics: mean daily IC by formula's position.
  seconds: of the processor, for values and daily ICs of all of `ics`.
  compiling: before; None where nothing is compiled for a set.
  """

  ics: dict[int, float]
  seconds: float
  compiling: float | None = None


@contextlib.contextmanager
def alone() -> Iterator[None]:
  """Keeps this process, and what it starts, on one core; of Linux."""
  cores = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {min(cores)})
  # Of their thread pools, which begin when they are imported.
  os.environ |= {'POLARS_MAX_THREADS': '1', 'NUMBA_NUM_THREADS': '1'}
  try:
    yield
  finally:
    os.sched_setaffinity(0, cores)


def clock() -> float:
  """Processor seconds of this process and of those that it has waited for."""
  times = os.times()
  return time.process_time() + times.children_user + times.children_system


@alone()
def peers_part(quick: bool) -> dict:
  """Formulas a second of alphajax and of every peer, S = 300."""
  panel = _full(*tools.sizes(quick))
  sets = {
    'Alpha101': alpha101()[:: 9 if quick else 1],
    'random': tools.random_formulas(0, 8 if quick else RANDOM, quick),
  }
  others = tools.random_formulas(1, 8 if quick else NEW, quick)
  planes = _planes(panel)
  rows = []
  for name, formulas in sets.items():
    ours = _ours(panel, formulas, others, tools.store_bytes(quick), 3)
    rows.append(_row('alphajax', name, ours, formulas, ours))
    for peer, (module, share) in PEERS.items():
      prepared = _import(module)
      if prepared is None:
        rows.append({'peer': peer, 'set': name, 'missing': True})
        continue
      count = max(4, round(share * len(formulas)))
      chosen = np.linspace(0, len(formulas) - 1, count).round().astype(int)
      run = one_by_one(*prepared.prepare(*planes))
      timed = _each(run, formulas, sorted(set(chosen.tolist())))
      rows.append(_row(peer, name, timed, formulas, ours))
      gc.collect()
    rows += _compiled(planes, name, formulas, ours, quick)
  new = _ours(panel, others, sets['random'], tools.store_bytes(quick), 1)
  rows.append(_row('alphajax', 'new', new, others, new))
  rows += _new(planes, others, new, quick)
  return {'days': len(panel.dates), 'stocks': panel.mask.shape[1], 'rows': rows}


@alone()
def peer_stocks(quick: bool) -> list[dict]:
  """The same of random formulas on wider panels, of the fastest peers."""
  found = []
  for stocks, count in {48: 4}.items() if quick else STOCKS.items():
    days, _ = tools.sizes(quick)
    panel = _full(days, stocks)
    formulas = tools.random_formulas(0, count, quick)
    budget = tools.store_bytes(quick) if quick else LARGE_BYTES
    ours = _ours(panel, formulas, formulas, budget, 1)
    rows = [_row('alphajax', 'random', ours, formulas, ours)]
    planes = _planes(panel)
    prepared = _import('peer_numba')
    if prepared is not None:
      run = one_by_one(*prepared.prepare(*planes))
      timed = _each(run, formulas, range(0, count, 4))
      rows.append(_row('numba + bottleneck', 'random', timed, formulas, ours))
    rows += _compiled(planes, 'random', formulas, ours, quick)
    found.append({'days': days, 'stocks': stocks, 'rows': rows})
  return found


def alpha101() -> list[formula_lib.Formula]:
  """Those of Alpha101 that the paper's operators can write."""
  known = set(vocab.PAPER_OPERATORS)
  texts = library.load('alpha101').values()
  return [
    formula
    for formula in map(formula_lib.parse, texts)
    if all(
      node.symbol in known for node in formula_lib.nodes(formula) if node.args
    )
  ]


def one_by_one(leaves, apply, daily_ic):
  """What evaluates a formula node after node: formula -> daily IC.

  leaves: features by name. apply: (operator, operands, window or None) -> a
  value; operands are values or numbers. daily_ic: value -> [T].
  """

  def value(formula):
    if formula_lib.is_number(formula):
      return float(formula.symbol)
    if not formula.args:
      return leaves[formula.symbol]
    args, window = formula.args, None
    if formula_lib.is_windowed(formula):
      args, window = args[:-1], int(args[-1].symbol)
    return apply(formula.symbol, [value(arg) for arg in args], window)

  return lambda formula: np.asarray(daily_ic(value(formula)), np.float64)


def _import(name: str):
  """A peer's module; None, with a word, where its packages are missing."""
  try:
    return importlib.import_module(f'scripts.benchmark.{name}')
  except ModuleNotFoundError as error:
    print(f'{name}: {error.name} is not installed', file=sys.stderr)
    return None


def _full(days: int, stocks: int):
  """The synthetic panel, all stocks members: not every peer knows members."""
  panel = tools.synthetic(days, stocks)
  return panel.replace(mask=np.ones_like(panel.mask))


def _planes(panel):
  """(features by name, members, the members' label), NumPy's."""
  features = {
    name: np.ascontiguousarray(plane)
    for name, plane in zip(
      panel.feature_names, np.asarray(panel.features), strict=True
    )
  }
  members = np.asarray(panel.mask)
  label = np.asarray(panel_lib.forward_return(panel))
  label = np.where(members, label, np.float32(np.nan))
  return features, members, label


def _ours(panel, formulas, others, budget, repeats) -> Timed:
  """The store's, from empty, its programs compiled by other formulas."""
  label = panel_lib.forward_return(panel)
  target = metrics.make_target(label, jnp.asarray(panel.mask))
  known = [*others, *formulas] if repeats > 1 else others
  evaluate.Store(panel, budget).map(known, _mean_ic, target)
  seconds = []
  for _ in range(repeats):
    store = evaluate.Store(panel, budget)
    store.map([formula_lib.Formula('close')], _mean_ic, target)
    start = clock()
    ics = store.map(formulas, _mean_ic, target)
    seconds.append(clock() - start)
    del store
  return Timed(dict(enumerate(ics.tolist())), min(seconds))


def _mean_ic(values: jax.Array, target: metrics.Target) -> jax.Array:
  return jnp.mean(metrics.target_ic(values, target))


def _each(run, formulas, chosen) -> Timed:
  """One formula after the other; the best of three passes after the first.

  In that numba compiles; what takes more than `SLOW` has no more of them.
  """
  ics, seconds = {}, []
  while len(seconds) < 4 and sum(seconds) < SLOW:
    start = clock()
    for i in chosen:
      ics[i] = _mean(run(formulas[i]))
    seconds.append(clock() - start)
  return Timed(ics, min(seconds[1:] or seconds))


def _mean(daily: np.ndarray) -> float:
  """The mean IC; a day without one counts 0, as ours do."""
  return float(np.nan_to_num(daily).mean())


def _ics(values, planes) -> dict[int, float]:
  """Mean ICs of KunQuant's values by ours, as its own know no missing value."""
  _, members, label = planes
  stocks = label.shape[1]
  return {
    i: _mean(np.asarray(metrics.daily_ic(each[:, :stocks], label, members)))
    for i, each in enumerate(values)
  }


def _compiled(planes, name, formulas, ours, quick) -> list[dict]:
  """KunQuant on a set that was compiled before, in both of its layouts."""
  prepared = _import('peer_kunquant')
  if prepared is None:
    return [{'peer': 'KunQuant', 'set': name, 'missing': True}]
  features, _, label = planes
  rows = []
  for layout in ('TS', 'STs'):
    engine = prepared.Engine(features, label, layout)
    start = clock()
    compiled = engine.compile(formulas, 0 if quick else 3)
    compiling = clock() - start
    out = engine.run(compiled)
    seconds = []
    for _ in range(3):
      start = clock()
      engine.run(compiled, out)
      seconds.append(clock() - start)
    timed = Timed(_ics(out, planes), min(seconds), compiling)
    rows.append(_row(f'KunQuant, {layout}', name, timed, formulas, ours))
  return rows


def _new(planes, formulas, ours, quick) -> list[dict]:
  """KunQuant on formulas that it has to compile first, optimised or not."""
  prepared = _import('peer_kunquant')
  if prepared is None:
    return [{'peer': 'KunQuant', 'set': 'new', 'missing': True}]
  features, _, label = planes
  engine = prepared.Engine(features, label)
  rows = []
  for level in (0,) if quick else (0, 1, 3):
    start = clock()
    compiled = engine.compile(formulas, level)
    compiling = clock() - start
    out = engine.run(compiled)
    seconds = clock() - start
    timed = Timed(_ics(out, planes), seconds, compiling)
    rows.append(_row(f'KunQuant, -O{level}', 'new', timed, formulas, ours))
  return rows


def _row(peer, name, timed: Timed, formulas, ours: Timed) -> dict:
  """What the table says of a peer on a set."""
  count = len(timed.ics)
  alike = [abs(ic - ours.ics[i]) < ALIKE for i, ic in timed.ics.items()]
  rate = count / timed.seconds
  return {
    'peer': peer,
    'set': name,
    'formulas': count,
    'of': len(formulas),
    'formulas_per_s': rate,
    'compile_seconds': timed.compiling,
    'same_ic': int(np.sum(alike)),
    'ratio': len(ours.ics) / ours.seconds / rate,
  }
