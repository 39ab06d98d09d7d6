"""What may be wrong with formulas of any origin, tried on a sample of a panel.

Scale: do ranks change when every stock's prices, or volumes, are multiplied by
a factor of its own (`invariance`)? Future: do values change when later days do?
Range: which share of the cells leaves float32 (`float_range`)? Dead parts: what
can go without changing any rank (`simplify` goes on until nothing can)?
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import float_range, invariance, sample, simplify
from alphajax.analysis.sample import Sample
from alphajax.data.features import PRICES, VOLUMES
from alphajax.data.panel import Panel
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

CHUNK = 512  # Formulas whose ranks are compared at a time.
GLANCED = 6  # Days on which parts are compared first: few go further.
# Binary exponents that float32 holds with room to spare: of no operator that
# stays within them is anything lost.
SAFE = (-120.0, 124.0)
ULP = 24  # A difference is 0 or at most so many binary places smaller.


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


class Look(NamedTuple):
  """What is seen of formulas and of all their parts on the sample.

  glance: `sample.places` on `GLANCED` days.
  low, high: least and largest value; 0 and 1 where there is none.
  smallest, largest: binary exponents of the values that are not 0.
  """

  glance: np.ndarray  # i16[N, GLANCED, S]
  low: np.ndarray  # f32[N]
  high: np.ndarray
  smallest: np.ndarray
  largest: np.ndarray


class Ranks:
  """Ranks of formulas on the sample, each taken once. A cache, so mutable."""

  def __init__(self, store: evaluate.Store, where: tuple[jax.Array, ...]):
    """where: see `sample.tested`."""
    self._store, self._where = store, where
    self._rows: dict[Formula, np.ndarray] = {}

  def of(self, formulas: Sequence[Formula]) -> np.ndarray:
    """`sample.places` of each, i16[N, d, S]."""
    new = list(dict.fromkeys(f for f in formulas if f not in self._rows))
    if new:
      found = self._store.map(new, sample.places, *self._where)
      self._rows.update(zip(new, found, strict=True))
    return np.stack([self._rows[formula] for formula in formulas])


def check(
  formulas: Sequence[Formula],
  part: Sample,
  store: evaluate.Store | None = None,
) -> list[Soundness]:
  """Puts formulas to all tests; `store`: of the sample's panel."""
  formulas, panel = list(formulas), part.panel
  store = store or evaluate.make_store(panel, keep=True)
  nodes = list(dict.fromkeys(n for f in formulas for n in _parts(f)))
  where = sample.tested(part)
  place = {node: i for i, node in enumerate(nodes)}
  look = _look_at(nodes, store, where)
  ranks = Ranks(store, where)
  base = ranks.of(formulas)
  scale = [
    _moved(formulas, base, part, names, k, where)
    for k, names in enumerate((PRICES, VOLUMES))
  ]
  ahead = looks_ahead(formulas, part, store)
  lost = _lost(formulas, look, place, part, store)
  dead = _dead_parts(formulas, look, place, ranks)
  ranked = np.any(base >= 0, axis=(1, 2))
  return [
    Soundness(
      bool(ranked[i]),
      float(scale[0][i]),
      float(scale[1][i]),
      float(lost[i]),
      bool(ahead[i]),
      dead[i] if ranked[i] else (),
    )
    for i in range(len(formulas))
  ]


def _parts(formula: Formula) -> Iterator[Formula]:
  """The formula and all parts of it that have values of their own."""
  yield formula
  for operand in simplify.operands(formula):
    if not formula_lib.is_number(operand):
      yield from _parts(operand)


def _look_at(nodes, store, where) -> Look:
  members, days = where
  some = np.linspace(0, len(days) - 1, GLANCED).round().astype(int)
  glance, sizes = store.map(nodes, _look, members[some], days[some])
  return Look(glance, *sizes.T)


def _look(values, members, days):
  low, high = simplify.value_range(values)
  size = jnp.abs(values)
  known = size > 0  # Not NaN.
  smallest = jnp.min(jnp.where(known, size, jnp.inf))
  largest = jnp.max(jnp.where(known, size, 0.0))
  sizes = jnp.stack([low, high, jnp.log2(smallest), jnp.log2(largest)])
  return sample.places(values, members, days), sizes


# --- The base of prices and volumes -----------------------------------------


def _moved(formulas, base, part, names, seed, where) -> np.ndarray:
  """Share of the ranks that move with a base, of those that read it."""
  found = np.zeros(len(formulas))
  reads = [
    i
    for i, formula in enumerate(formulas)
    if any(node.symbol in names for node in formula_lib.nodes(formula))
  ]
  if reads:
    factor = invariance.factors(len(part.panel.symbols), seed)
    store = evaluate.make_store(invariance.rescale(part.panel, names, factor))
    new = store.map([formulas[i] for i in reads], sample.places, *where)
    moved = sample.compare(new, base[reads])
    found[reads] = np.where(moved.alike, 0.0, moved.moved)
  return found


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
  `store`: of the sample's panel.
  """
  past = jnp.asarray(_past(part))
  before, after = (
    each.map(list(formulas), _digest, past)
    for each in (
      store or evaluate.make_store(part.panel),
      evaluate.make_store(_another_future(part, seed)),
    )
  )
  return before != after


def _past(part: Sample) -> np.ndarray:
  """The first half of the days that are tested."""
  tested = np.flatnonzero(part.days)
  return tested[: len(tested) // 2 + 1]


def _digest(values, past):
  """One number of all bits on these days, u32."""
  values = jnp.where(jnp.isnan(values[past]), jnp.nan, values[past])
  bits = jax.lax.bitcast_convert_type(values, jnp.uint32).ravel()
  # Odd numbers: no bit is lost, and places do not cancel.
  weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
  return jnp.sum((bits ^ (bits >> 15)) * (weights * jnp.uint32(0x9E3779B1)))


def _another_future(part: Sample, seed: int = 0) -> Panel:
  """The sample's panel with other features and members after `_past`."""
  panel, last = part.panel, int(_past(part)[-1])
  rng = np.random.default_rng(seed)
  features, mask = np.array(panel.features), np.array(panel.mask)
  later = features[:, last + 1 :]
  later *= rng.uniform(0.2, 5.0, later.shape).astype(np.float32)
  later[rng.random(later.shape) < 0.2] = np.nan
  mask[last + 1 :] = rng.random(mask[last + 1 :].shape) < 0.5
  return panel.replace(features=features, mask=mask)


# --- The range of float32 ---------------------------------------------------


def _lost(formulas, look: Look, place, part, store) -> np.ndarray:
  """`float_range.lost_share`, of those alone that come near its limits."""
  nodes = {node for node in place if _near_limits(node, look, place)}
  found = np.zeros(len(formulas), np.float32)
  near = [
    i
    for i, formula in enumerate(formulas)
    if not nodes.isdisjoint(_parts(formula))
  ]
  if near:
    some = [formulas[i] for i in near]
    found[near] = float_range.lost_share(
      some, part.panel, store, part.days, nodes
    )
  return found


def _near_limits(node: Formula, look: Look, place) -> bool:
  """Whether an operator, its operands being what they are, may leave `SAFE`."""
  if node.symbol not in float_range.EXPONENTS:
    return False
  reach = []
  for operand in simplify.operands(node):
    if formula_lib.is_number(operand):
      size = math.log2(abs(float(operand.symbol)) or 1.0)
      reach.append((size, size))
    else:
      i = place[operand]
      reach.append((float(look.smallest[i]), float(look.largest[i])))
  if any(low > high for low, high in reach):  # There is nothing but 0 or NaN.
    return False
  window = 1.0
  if formula_lib.is_windowed(node):
    window = float(node.args[-1].symbol)
  low, high = _reach(node.symbol, window, reach[0], reach[-1])
  return not (SAFE[0] < low and high < SAFE[1])


def _reach(symbol, window, x, y) -> tuple[float, float]:
  """Binary exponents that results may have, of those of the operands."""
  power = max(map(abs, x))
  if symbol in ('Pow', 'SignedPower', 'Product'):
    most = power * (window if symbol == 'Product' else 2.0 ** min(y[1], 64))
    return -most, most
  if symbol in ('Mul', 'Div'):
    y = y if symbol == 'Mul' else (-y[1], -y[0])
    return x[0] + y[0], x[1] + y[1]
  if symbol in ('Var', 'Cov'):  # Of correlations, too, some places are left.
    return x[0] + y[0] - 3 * ULP, x[1] + y[1]
  return min(x[0], y[0]) - ULP, max(x[1], y[1]) + 1 + math.log2(window)


# --- Dead parts -------------------------------------------------------------


def _dead_parts(
  formulas, look: Look, place, ranks: Ranks
) -> list[tuple[Dead, ...]]:
  """Parts of each formula in whose place an operand, or a number, can be.

  Tried where the part ranks as its operand does, or is one number: one part at
  a time, the largest first, what lies within one that is named not again.
  """
  twins = _twins(place, look, ranks)
  edits = [
    (i, part, instead, edited)
    for i, formula in enumerate(formulas)
    for part, instead, edited in _edits(formula, twins)
  ]
  alike = _alike([(edited, formulas[i]) for i, *_, edited in edits], ranks.of)
  found: list[list[tuple[Formula, Formula]]] = [[] for _ in formulas]
  for (i, part, instead, _), same in zip(edits, alike, strict=True):
    if same:
      found[i].append((part, instead))
  return [_named(each) for each in found]


def _alike(pairs: Sequence[tuple[Formula, Formula]], ranks_of) -> list[bool]:
  """Whether two formulas rank alike, of each pair."""
  found: list[bool] = []
  for start in range(0, len(pairs), CHUNK):
    new, base = map(ranks_of, zip(*pairs[start : start + CHUNK], strict=True))
    found += sample.compare(new, base).alike.tolist()
  return found


def _twins(place, look: Look, ranks: Ranks) -> dict[Formula, list[Formula]]:
  """What each part may be, by itself: a number, or one of its operands."""
  found: dict[Formula, list[Formula]] = {}
  for node, i in place.items():
    low, high = float(look.low[i]), float(look.high[i])
    if node.args and high - low <= simplify.CONSTANT * abs(low):
      found[node] = [formula_lib.number(float(f'{low:.6g}'))]
  pairs = [
    (node, operand)
    for node in place
    for operand in simplify.operands(node)
    if not formula_lib.is_number(operand)
  ]
  # Those alike on all days are near on some.
  near = sample.near(
    *(look.glance[[place[p[k]] for p in pairs]] for k in (0, 1))
  )
  pairs = [pair for pair, is_near in zip(pairs, near, strict=True) if is_near]
  for (node, operand), same in zip(pairs, _alike(pairs, ranks.of), strict=True):
    if same:
      found.setdefault(node, []).append(operand)
  return found


def _edits(
  formula: Formula, twins: Mapping[Formula, Sequence[Formula]]
) -> Iterator[tuple[Formula, Formula, Formula]]:
  """A part, what takes its place, and the formula that this makes."""
  for twin in twins.get(formula, ()):
    yield formula, twin, twin
  for i, operand in enumerate(simplify.operands(formula)):
    for part, instead, edit in _edits(operand, twins):
      args = (*formula.args[:i], edit, *formula.args[i + 1 :])
      yield part, instead, Formula(formula.symbol, args)


def _named(found: list[tuple[Formula, Formula]]) -> tuple[Dead, ...]:
  """In words, the largest parts first, nothing twice."""
  gone: set[Formula] = set()
  named = []
  for part, instead in sorted(found, key=lambda f: -formula_lib.size(f[0])):
    if part not in gone:
      named.append(Dead(str(part), str(instead)))
      # What is left of it may have dead parts of its own.
      kept = set(formula_lib.nodes(instead))
      gone |= {part, *formula_lib.nodes(part)} - kept
  return tuple(named)
