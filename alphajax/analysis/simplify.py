"""Dead parts of a formula: what can go without changing any day's ranks.

A part is dead when putting an operand from within it, or the constant that it
always is, in its place leaves the ranks of the formula as they are on every day
of a panel, up to float32 noise (`ranks.alike`): `Abs(volume)`, `close*0.1`,
`Greater(close,low)`, `CSRank(.)` at the root. That is a statement about ranks
on this panel and no proof: RankIC stays, while IC, which reads values, may not.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from alphajax.analysis import ranks
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

CONSTANT = 1e-6  # Relative spread of a part that is one number.


class Shorter(NamedTuple):
  """A formula that ranks as the original does.

  formula: the shorter one.
  moved: share of the ranks that differ, by a place at most; noise.
  correlation: mean daily correlation of its values with the original's. A
    pool that weighs values can tell the two apart where this is below 1.
  """

  formula: Formula
  moved: float
  correlation: float


def simplify(
  formula: Formula,
  panel: panel_lib.Panel,
  *,
  days: np.ndarray | None = None,
  max_moved: float = ranks.MAX_MOVED,
  store: evaluate.Store | None = None,
) -> list[Shorter]:
  """Shortens a formula step by step, until no single part is dead.

  Every step takes the shortest formula that one replacement gives, and is
  compared with the original, so that the noise of the steps does not add up.

  Args:
    formula: the original.
    panel: where the ranks are compared.
    days: bool[T], those that count, such as `split.scored`; None: all on which
      the windows of the original are full.
    max_moved: share of ranks that noise may move by a place; 0 for none.
    store: that of the panel, where many formulas share their parts.

  Returns:
    The equivalents, each shorter than the one before, the shortest last; empty
    where no part is dead.

  Raises:
    ValueError: the formula has no rank on these days.
  """
  store = store or evaluate.make_store(panel)
  counted = _days(formula, panel, days)
  (values,) = store.take([formula])
  base = ranks.rank(values, store.universe)
  if not bool(jnp.any(~jnp.isnan(base) & counted[:, None])):
    raise ValueError(
      f'{formula_lib.to_text(formula)} has no rank on any of the '
      f'{int(counted.sum())} days: nothing to compare'
    )
  found = []
  while True:
    options = _options(found[-1].formula if found else formula, store)
    if not options:
      return found
    differences, correlations = store.map(
      options, _compare, values, base, store.universe, jnp.asarray(panel.mask),
      counted,
    )  # fmt: skip
    alike = []
    for i, option in enumerate(options):
      difference = ranks.Difference(*(each[i] for each in differences))
      if ranks.alike(difference, max_moved):
        moved = float(difference.moved)
        alike.append(Shorter(option, moved, float(correlations[i])))
    if not alike:
      return found
    found.append(min(alike, key=lambda s: (formula_lib.size(s.formula), s[1:])))


def _compare(values, original, base, universe, members, days):
  """`ranks.Difference` and the mean daily correlation with the original."""
  correlation = metrics.daily_ic(values, original, members)
  ranked = days & jnp.any(~jnp.isnan(base), axis=1)
  total = jnp.sum(jnp.where(ranked, correlation, 0.0))
  return (
    ranks.difference(values, base, universe, days),
    total / jnp.maximum(jnp.sum(ranked), 1),
  )


def _days(formula, panel, days) -> jnp.ndarray:
  num_days = panel.mask.shape[0]
  if days is None:
    return jnp.arange(num_days) >= formula_lib.lookback(formula)
  days = np.asarray(days)
  if days.shape != (num_days,) or days.dtype != bool:
    raise ValueError(
      f'days are {days.dtype}{list(days.shape)}, expected bool[{num_days}]'
    )
  return jnp.asarray(days)


def _options(formula: Formula, store: evaluate.Store) -> list[Formula]:
  """The distinct formulas that one replacement makes of a formula."""
  constants = _constants(formula, store)
  edits = {formula_lib.key(e): e for e in _edits(formula, constants)}
  return list(edits.values())


def _edits(
  formula: Formula, constants: Mapping[str, Formula]
) -> Iterator[Formula]:
  """Puts a constant or something from within in the place of each part."""
  inner = operands(formula)
  for operand in inner:
    yield from _parts(operand)
  if inner and formula_lib.key(formula) in constants:
    yield constants[formula_lib.key(formula)]
  for i, operand in enumerate(inner):
    for edit in _edits(operand, constants):
      args = (*formula.args[:i], edit, *formula.args[i + 1 :])
      yield Formula(formula.symbol, args)


def operands(formula: Formula) -> tuple[Formula, ...]:
  """The arguments of a formula's root without its window and its groups."""
  slots = vocab.SLOTS.get(formula_lib.kind(formula) or '', ())
  return formula.args[: sum(slot not in ('window', 'group') for slot in slots)]


def _parts(formula: Formula) -> Iterator[Formula]:
  """The formula and all parts of it that have values."""
  yield formula
  for operand in operands(formula):
    yield from _parts(operand)


def _constants(formula: Formula, store: evaluate.Store) -> dict[str, Formula]:
  """Parts that are one number wherever they have a value, by their key."""
  parts = {formula_lib.key(p): p for p in _parts(formula) if p.args}
  if not parts:
    return {}
  low, high = store.map(list(parts.values()), value_range)
  return {
    key: formula_lib.number(float(f'{a:.6g}'))
    for key, a, b in zip(parts, low, high, strict=True)
    if float(b) - float(a) <= CONSTANT * abs(float(a))
  }


def value_range(values):
  """Least and largest value; 0 and 1, no constant, where there is no value."""
  known = ~jnp.isnan(values)
  low = jnp.min(jnp.where(known, values, jnp.inf))
  high = jnp.max(jnp.where(known, values, -jnp.inf))
  empty = ~jnp.any(known)
  return jnp.where(empty, 0.0, low), jnp.where(empty, 1.0, high)
