"""What may be wrong with formulas of any origin, tried on a sample of a panel.

Scale: do ranks change when every stock's prices, or volumes, are multiplied by
a factor of its own (`invariance`)? Future: do values change when later days do?
Range: which share of the cells leaves float32 (`float_range`)? Dead parts: what
can go without changing any rank (`simplify` goes on until nothing can)?
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import float_range, invariance, ranks, sample, simplify
from alphajax.analysis.sample import Sample
from alphajax.data.features import PRICES, VOLUMES
from alphajax.data.panel import Panel
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

CHUNK = 512  # Formulas whose ranks are held at a time.


class Dead(NamedTuple):
  """A part of a formula in whose place a smaller one ranks all days alike."""

  part: str
  instead: str


class Soundness(NamedTuple):
  """What the tests of one formula said.

  ranked: whether it has a rank on any day of the sample; if not, the rest but
    `looks_ahead` says nothing.
  price, volume: share of the ranks that another base of them changes; 0 where
    it is float32 noise alone.
  lost: see `float_range.lost_share`.
  looks_ahead: a value changed when later days did.
  dead: parts that change nothing, the largest first.
  """

  ranked: bool
  price: float
  volume: float
  lost: float
  looks_ahead: bool
  dead: tuple[Dead, ...]


def check(
  formulas: Sequence[Formula],
  part: Sample,
  store: evaluate.Store | None = None,
) -> list[Soundness]:
  """Puts formulas to all tests; `store`: of the sample's panel."""
  formulas, panel = list(formulas), part.panel
  store = store or evaluate.make_store(panel)
  where = sample.tested(part)
  base = store.map(formulas, sample.places, *where)
  scale = {}
  for k, names in enumerate((PRICES, VOLUMES)):
    factor = invariance.factors(len(panel.symbols), k)
    other = evaluate.make_store(invariance.rescale(panel, names, factor))
    moved = sample.compare(other.map(formulas, sample.places, *where), base)
    scale[names] = np.where(_alike(moved), 0.0, moved.moved)
  ahead = looks_ahead(formulas, part, store)
  lost = float_range.lost_share(formulas, panel, store, part.days)
  dead = dead_parts(formulas, base, store, *where)
  ranked = (base >= 0).any((1, 2))
  return [
    Soundness(
      bool(ranked[i]),
      float(scale[PRICES][i]),
      float(scale[VOLUMES][i]),
      float(lost[i]),
      bool(ahead[i]),
      dead[i] if ranked[i] else (),
    )
    for i in range(len(formulas))
  ]


def _alike(moved: sample.Moved) -> np.ndarray:
  """`ranks.alike` of many."""
  few = moved.moved <= ranks.MAX_MOVED
  return few & (moved.places <= ranks.MAX_PLACES + 0.25)


# --- The future -------------------------------------------------------------


def looks_ahead(
  formulas: Sequence[Formula],
  part: Sample,
  store: evaluate.Store | None = None,
  *,
  seed: int = 0,
) -> np.ndarray:
  """Whether values of some day change with what comes after it, bool[N].

  All features of the second half of the days, and who is a member then, are
  replaced by others; the values up to there must stay as they are, bit by bit.

  store: that of the sample's panel, where there is one.
  """
  store = store or evaluate.make_store(part.panel)
  tested = np.flatnonzero(part.days)
  last = int(tested[len(tested) // 2])
  other = evaluate.make_store(_another_future(part.panel, last, seed))
  days = jnp.asarray(tested[tested <= last])
  before = store.map(list(formulas), _bits, days)
  after = other.map(list(formulas), _bits, days)
  return (before != after).any((1, 2))


def _bits(values, days):
  """The values of some days as integers: NaN is what it was, too."""
  values = jnp.where(jnp.isnan(values[days]), jnp.nan, values[days])
  return jax.lax.bitcast_convert_type(values, jnp.int32)


def _another_future(panel: Panel, last: int, seed: int) -> Panel:
  """The panel with other features and members after day `last`."""
  rng = np.random.default_rng(seed)
  features, mask = np.array(panel.features), np.array(panel.mask)
  later = features[:, last + 1 :]
  later *= rng.uniform(0.2, 5.0, later.shape).astype(np.float32)
  later[rng.random(later.shape) < 0.2] = np.nan
  mask[last + 1 :] = rng.random(mask[last + 1 :].shape) < 0.5
  return panel.replace(features=features, mask=mask)


# --- Dead parts -------------------------------------------------------------


def dead_parts(
  formulas: Sequence[Formula],
  base: np.ndarray,
  store: evaluate.Store,
  members: jax.Array,
  days: jax.Array,
) -> list[tuple[Dead, ...]]:
  """Parts of each formula whose place an operand, or a number, can take.

  Single parts only, the largest first; what lies within one that is named is
  not named again.

  Args:
    formulas: finished.
    base: their `sample.places`.
    store: of the sample's panel.
    members, days: as in `sample.places`.
  """
  constants = _constants(formulas, store)
  edits = [
    (i, part, instead, edited)
    for i, formula in enumerate(formulas)
    for part, instead, edited in _edits(formula, constants)
  ]
  found: list[list[tuple[Formula, Formula]]] = [[] for _ in formulas]
  for start in range(0, len(edits), CHUNK):
    chunk = edits[start : start + CHUNK]
    new = store.map([e for *_, e in chunk], sample.places, members, days)
    alike = _alike(sample.compare(new, base[[i for i, *_ in chunk]]))
    for (i, part, instead, _), same in zip(chunk, alike, strict=True):
      if same:
        found[i].append((part, instead))
  return [_named(each) for each in found]


def _named(found: list[tuple[Formula, Formula]]) -> tuple[Dead, ...]:
  """In words, the largest parts first, nothing twice."""
  inside: set[Formula] = set()
  named = []
  for part, instead in sorted(found, key=lambda f: -formula_lib.size(f[0])):
    if part not in inside:
      named.append(Dead(str(part), str(instead)))
      inside.update(formula_lib.nodes(part))
      # What is left of it may have dead parts of its own.
      inside.difference_update(formula_lib.nodes(instead))
      inside.add(part)
  return tuple(named)


def _edits(
  formula: Formula, constants: Mapping[Formula, Formula]
) -> Iterator[tuple[Formula, Formula, Formula]]:
  """A part, what takes its place, and the formula that this makes."""
  operands = simplify.operands(formula)
  if formula in constants:
    yield formula, constants[formula], constants[formula]
  for operand in operands:
    if not formula_lib.is_number(operand):
      yield formula, operand, operand
  for i, operand in enumerate(operands):
    for part, instead, edit in _edits(operand, constants):
      args = (*formula.args[:i], edit, *formula.args[i + 1 :])
      yield part, instead, Formula(formula.symbol, args)


def _constants(
  formulas: Sequence[Formula], store: evaluate.Store
) -> dict[Formula, Formula]:
  """Parts that are one number wherever they have a value."""
  parts = {
    node: None
    for formula in formulas
    for node in formula_lib.nodes(formula)
    if node.args
  }
  if not parts:
    return {}
  low, high = store.map(list(parts), simplify.value_range)
  return {
    part: formula_lib.number(float(f'{a:.6g}'))
    for part, a, b in zip(parts, low.tolist(), high.tolist(), strict=True)
    if b - a <= simplify.CONSTANT * abs(a)
  }
