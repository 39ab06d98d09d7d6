"""A market that is hard to mine: long formulas in the noise of real panels.

The formulas are drawn by the seed. Each has a value on most days, spread
between stocks and a memory of some weeks; no two behave alike, and none as a
short formula does, which anyone would stumble on. The noise that they are
drawn on is the beginning of the market's own, without them in it.

A sum of thousands of random formulas may still come near to what no single one
is like, and nothing at all leads to a formula that every sum is far from. So
markets that a pool of random formulas shall not solve, and a search may, plant
what such sums come half the way to.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from alphajax.analysis import behaviour
from alphajax.data import noise, simulate
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.factor import evaluate
from alphajax.language import environment, grammar
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

NUM_DAYS = 560  # Of noise that formulas are drawn on, at most.
WARMUP, STEP = 60, 10  # Behaviours are compared on every STEPth day after it.

ANY = (-1.0, 1.0)  # Correlation with sums.
LENGTHS = (6, 10)  # Least and greatest, as alpha-Sem-k counts; or given.
SHORTEST = 3  # Below it there is no formula that another could lead to.
COVERAGE = 0.9  # Least share of the members' cells with a value.
SPREAD = 0.6  # Least mean distance from the day's mean, in deviations.
LEVELS = 0.5  # Least share of a day's values that no other stock has.
MEMORY = (0.25, 0.9)  # Correlation with the values STEP days before.
APART = 0.5  # Largest |correlation| of two planted formulas,
SHORT = 0.6  # and of one with a short formula, up to LEAD days before.
LEAD = 60
NUM_SHORT = 700  # Of those, random ones of each grammar.
NUM_SUMMED = 1000  # Random ones of any length of each grammar, in sums.
RIDGES = 1e-3, 1e-2, 1e-1  # Of the sums; the best one counts.

BATCH, MAX_BATCHES = 100, 60
TIMES = 4  # So many more batches where sums are looked at.
SUMS_KEY = 1 << 20  # Of the formulas in sums; no batch has that number.


class _Drawn(NamedTuple):
  """What a formula does on the days that count."""

  unit: np.ndarray  # f32[N, D, S], see `behaviour.unit`.
  coverage: np.ndarray  # f32[N]
  spread: np.ndarray  # f32[N]
  levels: np.ndarray  # f32[N]


def simulated(
  compile_fn: Callable,
  *,
  seed: int = 0,
  num_days: int = 4000,
  num_stocks: int = 375,
  planted: int = 4,
  ic: float = 0.1,
  lengths: Sequence[int] = LENGTHS,
  summed: Sequence[float] = ANY,
) -> simulate.Simulation:
  """Simulates the market, the same one for the same arguments.

  The noise does not depend on what is planted, nor do the formulas on the
  number of days from NUM_DAYS on.

  compile_fn: as `simulate.simulate` takes it.
  planted: number of formulas; 0 for nothing but noise.
  ic: expected IC of their combination with the return of 20 days.
  lengths, summed: of the formulas, see `draw`.

  Raises:
    ValueError: formulas or an IC below 0, lengths or correlations that are
      none, a market too small to draw on, or more formulas than can be found
      in it.
  """
  if planted < 0 or not 0 <= ic < 1:
    raise ValueError(
      f'data.simulate.planted={planted} formulas with ic={ic}: need 0 or more, '
      'and an ic from 0 to below 1'
    )
  if len(lengths) != 2 or not SHORTEST <= lengths[0] <= lengths[1]:
    raise ValueError(
      f'data.simulate.lengths={tuple(lengths)}: expected the least and the '
      f'greatest length of a formula, as (6,10), from {SHORTEST} on'
    )
  if len(summed) != 2 or not -1 <= summed[0] < summed[1] <= 1:
    raise ValueError(
      f'data.simulate.summed={tuple(summed)}: expected the least and the '
      'greatest correlation of a planted formula with sums of random ones, as '
      '(0.3,0.7); (-1.0,1.0) for any'
    )
  make = functools.partial(
    simulate.simulate, seed=seed, num_stocks=num_stocks, noise='real'
  )
  if not planted:
    return make(num_days=num_days, alphas=(), strength=0.0)
  if num_days < WARMUP + 10 * STEP:
    raise ValueError(
      f'data.simulate.num_days is {num_days}: formulas are drawn on at least '
      f'{WARMUP + 10 * STEP} days'
    )
  bare = make(num_days=min(num_days, NUM_DAYS), alphas=(), strength=0.0).panel
  formulas = draw(seed, bare, planted, lengths, summed)
  return make(
    num_days=num_days,
    alphas=[formula_lib.to_text(formula) for formula in formulas],
    strength=strength_of(formulas, bare, ic),
    compile_fn=compile_fn,
  )


def draw(
  seed: int,
  panel: Panel,
  count: int,
  lengths: Sequence[int] = LENGTHS,
  summed: Sequence[float] = ANY,
) -> list[Formula]:
  """Formulas of alpha-Sem-k that are worth planting, see the constants above.

  They are drawn from the grammar that is typed by units, a part of
  alpha-Sem-k: both can write them. Short ones are those of less than the least
  of `lengths`.

  Args:
    seed: decides.
    panel: to look at them on.
    count: how many are wanted.
    lengths: least and greatest length, as alpha-Sem-k counts.
    summed: least and greatest correlation of one with a sum of 2,000 random
      formulas that was fitted on other days; `ANY`: they are not looked at.

  Raises:
    ValueError: fewer than `count` were found.
  """
  draw_key, *short_keys = jax.random.split(jax.random.key(seed), 3)
  store = evaluate.make_store(panel)
  short = _random(short_keys, lengths[0] - 1, NUM_SHORT)
  units = _look(store, panel, short).unit
  sums, batches = None, MAX_BATCHES
  if tuple(summed) != ANY:
    batches *= TIMES
    keys = jax.random.split(jax.random.fold_in(draw_key, SUMS_KEY))
    several = _random(keys, lengths[1], NUM_SUMMED)
    sums = _Sums(_look(store, panel, several).unit)
  chosen, known = [], units[:0]
  for formula, unit in _lively(draw_key, batches, store, panel, lengths):
    if behaviour.alike(unit, known).max(initial=0) >= APART:
      continue
    parts = [each for each in _cut_down(formula) if _is_short(each, lengths)]
    if not _stands_out(unit, units, parts, store, panel):
      continue
    if sums and not summed[0] <= sums.correlation(unit[0]) <= summed[1]:
      continue
    chosen.append(formula)
    known = np.concatenate([known, unit])
    if len(chosen) == count:
      return chosen
  raise ValueError(
    f'data.simulate.planted={count}: only {len(chosen)} formulas were found '
    f'among {BATCH * batches} that are unlike each other and any short '
    f'one, with sums of random ones (summed={tuple(summed)}) as asked for; '
    f'plant {len(chosen)} or fewer, or take another data.simulate.seed'
  )


def _lively(
  key, batches: int, store, panel: Panel, lengths: Sequence[int]
) -> Iterator[tuple[Formula, np.ndarray]]:
  """Long formulas with values, spread and memory, and their f32[1, D, S]."""
  language = environment.make('typed_k', max_length=lengths[1])
  for batch in range(batches):
    formulas = environment.random_formulas(
      language, jax.random.fold_in(key, batch), BATCH
    )
    formulas = [f for f in _distinct(formulas) if _has_size(f, lengths)]
    if not formulas:
      continue
    drawn = _look(store, panel, formulas)
    for i in np.flatnonzero(_is_lively(drawn)):
      yield formulas[i], drawn.unit[i : i + 1]


def _random(keys, longest: int, count: int) -> list[Formula]:
  """So many of alpha-Sem-k, and of the same typed by units; once each."""
  return _distinct(
    [
      formula
      for name, key in zip(('sem_k', 'typed_k'), keys, strict=True)
      for formula in environment.random_formulas(
        environment.make(name, max_length=longest), key, count
      )
    ]
  )


class _Sums:
  """How near sums of formulas come to another one on days they were not fit on.

  units: f32[N, D, S], see `behaviour.unit`.
  """

  def __init__(self, units: np.ndarray):
    middle = units.shape[1] // 2
    halves = units[:, :middle], units[:, middle:]
    self._middle = middle
    self._fits = [
      (first, second, [_solver(first, ridge) for ridge in RIDGES])
      for first, second in (halves, halves[::-1])
    ]

  def correlation(self, unit: np.ndarray) -> float:
    """Mean daily correlation of f32[D, S] with the best sum."""
    halves = unit[: self._middle], unit[self._middle :]
    found = np.zeros(len(RIDGES))
    for (fitted, judged, solvers), (known, new) in zip(
      self._fits, (halves, halves[::-1]), strict=True
    ):
      target = _flat(fitted) @ known.ravel() / len(known)
      for k, solve in enumerate(solvers):
        total = np.tensordot(solve(target), judged, 1)
        size = np.sqrt(np.sum(np.square(total), axis=1))
        product = np.sum(total * new, axis=1)
        found[k] += np.mean(product / np.where(size > 0, size, 1.0)) / 2
    return float(found.max())


def _flat(units: np.ndarray) -> np.ndarray:
  return units.reshape(len(units), -1)


def _solver(units: np.ndarray, ridge: float) -> Callable:
  """What makes the weights of a sum from correlations with its terms."""
  gram = _flat(units).astype(np.float64)
  gram = gram @ gram.T / units.shape[1]
  gram[np.diag_indices_from(gram)] += ridge
  return functools.partial(linalg.cho_solve, linalg.cho_factor(gram))


def _stands_out(unit, short, parts, store, panel) -> bool:
  """Whether no short formula and no part of it behaves as a formula does."""
  if not _is_ahead(unit, short):
    return False
  parts = _distinct(parts)
  return not parts or _is_ahead(unit, _look(store, panel, parts).unit)


def _is_ahead(unit, others) -> bool:
  """Whether none of the others tells what a formula is, or soon will be.

  `close/vwap` is unlike `Ref(close/vwap,20)` and says all of it, 20 days
  earlier, which is worth more than the formula itself.
  """
  return all(
    behaviour.alike(unit[:, lag:], others[:, : others.shape[1] - lag]).max(
      initial=0
    )
    < SHORT
    for lag in range(LEAD // STEP + 1)
  )


def strength_of(formulas: Sequence[Formula], panel: Panel, ic: float) -> float:
  """The strength at which planted formulas have an IC with 20-day returns.

  The return of 20 days adds up the drifts of 20 days, in each of which the
  planted values are a little less what they were.

  Args:
    formulas: what is planted.
    panel: noise alone.
    ic: what is expected of their combination.
  """
  members = jnp.asarray(panel.mask)
  values = evaluate.values(formulas, panel)
  total = jnp.nansum(panel_lib.standardize(values, members), axis=0)
  days = np.arange(WARMUP, len(panel.dates))
  unit = np.asarray(behaviour.unit(total, members, jnp.asarray(days)))
  horizon = panel_lib.PAPER_LABEL.exit - panel_lib.PAPER_LABEL.entry
  reach = sum(
    (unit[: len(unit) - lag] * unit[lag:]).sum() / (len(unit) - lag)
    for lag in range(horizon)
  )
  label = np.where(panel.mask, panel_lib.forward_return(panel), np.nan)
  spread = np.nanmean(np.nanstd(label[WARMUP:-horizon], axis=1))
  return float(ic * spread / (noise.OWN * reach))


@functools.cache
def _sem_k(longest: int) -> grammar.Grammar:
  return grammar.make('sem_k', max_length=longest)


def length(formula: Formula, longest: int = LENGTHS[1]) -> int:
  """Length of a formula as alpha-Sem-k counts it.

  Raises:
    ValueError: alpha-Sem-k cannot write it in `longest`.
  """
  language = _sem_k(longest)
  actions = grammar.derivation(language, formula)
  return int(np.asarray(language.growth)[np.array(actions)].sum())


def _cut_down(formula: Formula) -> set[Formula]:
  """All that is left when nodes give way to parts of theirs."""
  found, new = set(), {formula}
  while new:
    found |= new
    new = {cut for each in new for cut in _cuts(each)} - found
  return found


def _cuts(formula: Formula) -> Iterator[Formula]:
  operands = formula.args
  if formula_lib.is_windowed(formula):
    operands = operands[:-1]
  for i, operand in enumerate(operands):
    yield operand
    for cut in _cuts(operand):
      args = (*formula.args[:i], cut, *formula.args[i + 1 :])
      yield Formula(formula.symbol, args)


def _distinct(formulas: Sequence[Formula]) -> list[Formula]:
  return list({formula_lib.key(f): f for f in formulas}.values())


def _has_size(formula: Formula, lengths: Sequence[int]) -> bool:
  in_time = formula_lib.lookback(formula) <= WARMUP
  least, greatest = lengths
  return in_time and least <= length(formula, greatest) <= greatest


def _is_short(formula: Formula, lengths: Sequence[int] = LENGTHS) -> bool:
  """True for one shorter than those planted that alpha-Sem-k can write."""
  try:
    return length(formula, lengths[1]) < lengths[0]
  except ValueError:
    return False


def _is_lively(drawn: _Drawn) -> np.ndarray:
  """True for formulas with values, spread and memory, `[N]`."""
  memory = (drawn.unit[:, 1:] * drawn.unit[:, :-1]).sum(2).mean(1)
  lively = (MEMORY[0] <= memory) & (memory <= MEMORY[1])
  lively &= (drawn.coverage >= COVERAGE) & (drawn.spread >= SPREAD)
  return lively & (drawn.levels >= LEVELS)


def _look(store, panel: Panel, formulas: Sequence[Formula]) -> _Drawn:
  days = jnp.arange(WARMUP, len(panel.dates), STEP)
  return _Drawn(*store.map(formulas, _measure, jnp.asarray(panel.mask), days))


def _measure(values, members, days):
  """What `_Drawn` holds, of one formula."""
  unit = behaviour.unit(values, members, days)
  count = jnp.maximum(jnp.sum(members[days], axis=1), 1)
  known = jnp.isfinite(values[days]) & members[days]
  spread = jnp.abs(unit).sum(axis=1) / jnp.sqrt(count)
  rising = jnp.sort(jnp.where(known, values[days], jnp.inf), axis=1)
  steps = jnp.sum(rising[:, 1:] > rising[:, :-1], axis=1)
  coverage = jnp.sum(known) / jnp.sum(count)
  return unit, coverage, spread.mean(), (steps / count).mean()
