"""How far the values of two programs agree, and where they part.

Ours are float32. Two values agree when they differ by at most 1e-5 of the
standard deviation of the day over the stocks (of the value, on a day on which
all are equal), or by what float32 resolves, two units in the last place.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from alphajax.analysis.exporting import qlib, running, source
from alphajax.data.panel import Panel
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

SHARE = 1e-5  # Of the day's standard deviation.
RESOLUTION = 2 * 2.0**-23  # Of the value.
EXACT, CLOSE, DIFFERS = 'exact', 'within 1e-5', 'differs'
# Operators whose value jumps where their operands hardly move.
JUMPS = (
  'Sign', 'CSRank', 'GroupRank', 'Rank', 'ArgMax', 'ArgMin', 'Gt', 'Lt', 'Ge',
  'Le', 'Eq', 'Ne', 'And', 'Or', 'Not', 'If',
)  # fmt: skip
Run = Callable[[Mapping[str, Formula], Panel], dict[str, np.ndarray]]


class Agreement(NamedTuple):
  """Of the values of a formula.

  kind: `exact`, every cell bit for bit; `within 1e-5`, every cell agrees;
    `differs`.
  cells: share of cells that do not agree, those known to one side only among
    them.
  alike: mean over the days of the rank correlation of the two; 1 unless they
    differ, NaN where no day has one.
  why: where and how the values part; empty unless they differ.
  """

  kind: str
  cells: float
  alike: float = 1.0
  why: str = ''


def compare(ours: np.ndarray, theirs: np.ndarray) -> Agreement:
  """Compares values [T, S], NaN where missing."""
  apart = _apart(ours, theirs)
  known = ~(np.isnan(ours) & np.isnan(theirs))
  if apart.any():
    cells = float(apart.sum() / known.sum())
    return Agreement(DIFFERS, cells, _rank_correlation(ours, theirs))
  same = np.array_equal(ours, theirs, equal_nan=True)
  return Agreement(EXACT if same else CLOSE, 0.0)


def _rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
  both = ~(np.isnan(ours) | np.isnan(theirs))
  ranks = [
    pd.DataFrame(np.where(both, x, np.nan)).rank(axis=1) for x in (ours, theirs)
  ]
  return float(ranks[0].corrwith(ranks[1], axis=1).mean())


def _apart(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
  """True where two values do not agree, bool[T, S]."""
  ours, theirs = (np.asarray(x, np.float64) for x in (ours, theirs))
  known = ~np.isnan(ours)
  count = np.maximum(known.sum(1, keepdims=True), 1)
  mean = np.where(known, ours, 0).sum(1, keepdims=True) / count
  squares = np.square(np.where(known, ours - mean, 0)).sum(1, keepdims=True)
  spread = np.sqrt(squares / count)
  spread = np.where(spread > 0, spread, np.abs(ours))
  allowed = np.maximum(SHARE * spread, RESOLUTION * np.abs(ours))
  far = np.abs(ours - theirs) > allowed
  return far | (known != ~np.isnan(theirs))


def run_target(target: str) -> Run:
  """What gives the values of formulas as a target has them.

  Of qlib, where ours are known: it takes of a window what days there are.
  """
  if target == 'qlib':
    return _run_qlib

  def run(formulas: Mapping[str, Formula], panel: Panel):
    with tempfile.TemporaryDirectory() as folder:
      path = Path(folder) / f'exported_{target}.py'
      path.write_text(source.write(formulas, target), encoding='utf-8')
      return running.values(path, panel, target)

  return run


def _run_qlib(formulas: Mapping[str, Formula], panel: Panel):
  texts = {
    name: formula_lib.to_text(qlib.rewritten(formula), 'qlib')
    for name, formula in formulas.items()
  }
  theirs = running.qlib_values(texts, panel)
  ours = evaluate.make_store(panel).take(list(formulas.values()))
  return {
    name: np.where(np.isnan(plane), np.nan, theirs[name])
    for name, plane in zip(formulas, ours, strict=True)
  }


def check(
  formulas: Mapping[str, Formula], panel: Panel, run: Run
) -> dict[str, Agreement]:
  """Compares every formula with our values; says why some differ."""
  texts = list(formulas.values())
  ours = evaluate.make_store(panel).take(texts)
  theirs = run(formulas, panel)
  found = {}
  for (name, formula), values in zip(formulas.items(), ours, strict=True):
    agreement = compare(np.asarray(values), theirs[name])
    if agreement.kind == DIFFERS:
      agreement = agreement._replace(why=explain(formula, panel, run))
    found[name] = agreement
  return found


def explain(formula: Formula, panel: Panel, run: Run) -> str:
  """Where the values of a formula part first, from its leaves up.

  The operator there is given our own operands. If it agrees then, the
  definitions do, and what parts the values is the rounding of the operands.
  """
  nodes = _operations(formula)
  ours = evaluate.make_store(panel).take(nodes)
  theirs = run({f'node_{i}': node for i, node in enumerate(nodes)}, panel)
  planes = dict(zip(nodes, map(np.asarray, ours), strict=True))
  parted: dict[Formula, bool] = {}
  for i, node in enumerate(nodes):
    parted[node] = bool(_apart(planes[node], theirs[f'node_{i}']).any())
    if parted[node] and not any(parted.get(arg) for arg in node.args):
      return _reason(node, planes, panel, run)
  return 'no operator of it differs by itself'


def _operations(formula: Formula) -> list[Formula]:
  """Distinct operations of a formula, operands first."""
  found = dict.fromkeys(n for n in formula_lib.nodes(formula) if n.args)
  return sorted(found, key=formula_lib.size)


def _reason(
  node: Formula, planes: dict[Formula, np.ndarray], panel: Panel, run: Run
) -> str:
  text = formula_lib.to_text(node)
  alone, given = _given(node, planes, panel)
  theirs = run({'node': alone}, given)['node']
  if _apart(planes[node], theirs).any():
    return f'{node.symbol} itself, in {text}'
  how = (
    'jumps where its operands are level but for rounding'
    if node.symbol in JUMPS
    else 'magnifies the rounding of its operands'
  )
  return f'{node.symbol} {how}, in {text}'


def _given(
  node: Formula, planes: dict[Formula, np.ndarray], panel: Panel
) -> tuple[Formula, Panel]:
  """An operation on its operands as columns, and the panel that has them."""
  columns = {arg: f'operand_{i}' for i, arg in enumerate(node.args) if arg.args}
  args = tuple(
    Formula(columns[arg]) if arg in columns else arg for arg in node.args
  )
  features = [*np.asarray(panel.features), *(planes[arg] for arg in columns)]
  return Formula(node.symbol, args), panel.replace(
    features=np.stack(features),
    feature_names=(*panel.feature_names, *columns.values()),
  )


def summary(found: Sequence[Agreement]) -> str:
  """How many of each kind, in words."""
  kinds = [agreement.kind for agreement in found]
  return ', '.join(
    f'{kinds.count(kind)} {kind}' for kind in (EXACT, CLOSE, DIFFERS)
  )
