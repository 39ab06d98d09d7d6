"""Retrieval: a library of formulas, ranked by what a few of them say.

The library is drawn once. How alike its formulas behave is known from a part of
the market, without labels; so the ICs of probes, which span the library best,
predict those of all others (`search.kernel`). The best by prediction are
evaluated, and the prediction is made anew. Nothing is trained.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from scipy import stats

from alphajax.data.panel import Split
from alphajax.factor import pool_rules
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import (
  archive,
  choice,
  miner,
  random_search,
  stopping,
  validation,
)
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock
from alphajax.search import kernel

SCORES = ('gain', 'ic')
# Formulas among which those of an iteration are told apart, for each of them.
SHORTLIST = 20
DRAW = 300  # Formulas drawn at a time, at least.


class Library(NamedTuple):
  """What formulas are taken from; the same in every run of a config.

  formulas: given ones first, then those drawn; distinct by their keys.
  place: canonical key -> position.
  gram: f32[N, N], mean correlations on the part of the market that the screen
    looks at.
  probes: i[n] positions, in the order in which they are evaluated.
  turned_away: how many were drawn and left out, by their reason.
  """

  formulas: tuple[Formula, ...]
  place: dict[str, int]
  gram: np.ndarray
  probes: np.ndarray
  turned_away: dict[str, int]


class State(NamedTuple):
  """What was found. All that is predicted follows from it."""

  mined: archive.Mined


class Plan(NamedTuple):
  """What an iteration evaluates.

  chosen: i[n] positions in the library: probes, then what was retrieved.
  ic, gain: f64[m], predicted of the last m of them, those retrieved.
  trust: see `kernel.Forecast`; None before there is a forecast.
  """

  chosen: np.ndarray
  ic: np.ndarray = np.zeros(0)
  gain: np.ndarray = np.zeros(0)
  trust: float | None = None


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/retrieval.py`."""
  _check(config)
  bench = archive.make_bench(config, market, reads_pool=False)
  if bench.recorder is None:  # The blocks of days are read by any rule's run.
    recorder = choice.make_recorder(
      config, market.train, bench.train.universe, bench.target
    )
    bench = bench._replace(recorder=recorder)

  @functools.cache
  def library():
    return make_library(config, market.train, bench)

  def ends(evaluated, waited, what):
    reason = stopping.reason_to_end(config, evaluated, waited, what)
    return reason or _read_out(library(), evaluated)

  bench = bench._replace(ends=ends)

  def init(rng_key):
    del rng_key
    return State(archive.start(bench))

  def step(state, rng_key):
    del rng_key  # The library is all that is drawn.
    clock = Clock()
    with clock('library'):
      shelf = library()
    wanted = random_search.to_evaluate(
      config.num_trajectories, state.mined.book, config.max_evaluated
    )
    with clock('search'):
      plan = plan_step(config.retrieval, shelf, bench, state.mined, wanted)
    formulas = [shelf.formulas[i] for i in plan.chosen.tolist()]
    mined, outcomes = archive.commit(bench, state.mined, formulas, clock)
    mined, metrics = validation.validate(bench, mined, clock)
    return State(mined), {
      **metrics,
      **shelf.turned_away,
      **diagnostics(plan, outcomes),
      'library': len(shelf.formulas) - len(mined.book),
      'seconds': clock.seconds,
    }

  def load(arrays, host):
    return State(archive.load(bench, arrays, host))

  def save(state):
    return archive.save(state.mined)

  def finished(state):
    if not state.mined.iteration:  # The first step draws, and is timed.
      return None
    reason = stopping.finished(config, state.mined, sum(map(len, bench.given)))
    return reason or _read_out(library(), len(state.mined.book))

  method = miner.make(config, bench, init=init, step=step, save=save, load=load)
  return method._replace(finished=finished)


def _read_out(library: Library, evaluated: int) -> str | None:
  """Why a run ends that has nothing left to evaluate."""
  if evaluated < len(library.formulas):
    return None
  return (
    f'all {evaluated} formulas of the library are evaluated; a larger one is '
    'drawn in a new folder with config.retrieval.library'
  )


def _check(config) -> None:
  """Refuses options that cannot be, by their key."""
  options = config.retrieval
  for name, least in (
    ('library', 2), ('num_probes', 1), ('probe_size', 1), ('blocks', 3),
  ):  # fmt: skip
    if options[name] < least:
      raise ValueError(
        f'config.retrieval.{name} is {options[name]}: expected >= {least}'
      )
  if not options.explore >= 0:
    raise ValueError(
      f'config.retrieval.explore is {options.explore}: expected >= 0'
    )
  if not options.ridge > 0:
    raise ValueError(
      f'config.retrieval.ridge is {options.ridge}: expected above 0'
    )
  if not 0 < options.max_corr <= 1:
    raise ValueError(
      f'config.retrieval.max_corr is {options.max_corr}: expected above 0, up '
      'to 1'
    )
  if options.score not in SCORES:
    raise ValueError(
      f'config.retrieval.score is {options.score!r}: expected one of {SCORES}'
    )
  if options.num_probes > options.library:
    raise ValueError(
      f'config.retrieval.num_probes is {options.num_probes}: expected at most '
      f'the {options.library} formulas of config.retrieval.library'
    )
  if not config.screen.twin:
    raise ValueError(
      'config.screen.twin is 0: retrieval predicts by what the screen sees of '
      'a formula; set it to 1.0 to turn none away as a twin'
    )


def make_library(config, split: Split, bench: archive.Bench) -> Library:
  """Draws the library and compares its formulas with each other.

  A small language has fewer formulas than `config.retrieval.library`.

  Raises:
    ValueError: the language gave no formula with spread.
  """
  options = config.retrieval
  screen = screen_lib.make(config, split)
  language = environment.make(**config.language)
  root = jax.random.key(config.seed)
  given = [formula for part in bench.given for formula in part]
  known = screen_lib.load(screen, {'turned_away': {}}, given)
  keys = [formula_lib.key(formula) for formula in given]
  batch = max(options.library // 8, DRAW)

  def draw(number):
    key = jax.random.fold_in(root, number)
    return environment.random_formulas(language, key, batch)

  drawn, known = screen_lib.fill(
    screen, known, keys, draw, options.library, Clock()
  )
  if not drawn:
    raise ValueError(
      'the language gave no formula with values that differ between stocks: '
      'give config.language.max_length more, or other operators'
    )
  formulas = [*given, *drawn]
  rows = np.concatenate(known.rows)
  gram = _correlations(rows)
  return Library(
    formulas=tuple(formulas),
    place={formula_lib.key(f): i for i, f in enumerate(formulas)},
    gram=gram,
    probes=_choose_probes(config, formulas, gram, len(given)),
    turned_away=known.counts(),
  )


def _correlations(rows: np.ndarray) -> np.ndarray:
  """f32[N, N] of behaviours f16[N, D], their products."""
  whole = rows.astype(np.float32)
  return whole @ whole.T / np.float32(rows.shape[1])


def _choose_probes(config, formulas, gram, num_given) -> np.ndarray:
  """Short formulas that explain the others best, then longer ones."""
  wanted = max(config.retrieval.num_probes, config.num_trajectories)
  sizes = np.array([formula_lib.size(formula) for formula in formulas])
  free = np.arange(len(formulas)) >= num_given
  short = np.flatnonzero(free & (sizes <= config.retrieval.probe_size))
  chosen = short[kernel.pivots(gram[np.ix_(short, short)], wanted)]
  rest = np.flatnonzero(free & ~np.isin(np.arange(len(formulas)), chosen))
  return np.concatenate([chosen, rest])[:wanted]


def plan_step(
  options, library: Library, bench: archive.Bench, mined: archive.Mined,
  wanted: int,
) -> Plan:  # fmt: skip
  """Probes as long as there are some, then what is best by prediction."""
  known = np.array([library.place[key] for key in mined.book], int)
  untried = np.ones(len(library.formulas), bool)
  untried[known] = False
  probes = library.probes
  if mined.memory.ids:
    probes = probes[: options.num_probes]
  probes = probes[untried[probes]][:wanted]
  untried[probes] = False
  others = np.flatnonzero(untried)
  if len(probes) == wanted or not mined.memory.ids or not others.size:
    return Plan(probes)
  forecast = forecast_of(options, library, bench, mined, others)
  worth = worth_of(options, forecast)
  best = _unlike(options, library, others, worth, wanted - len(probes))
  return Plan(
    np.concatenate([probes, others[best]]),
    forecast.ic[best], forecast.gain[best], forecast.trust,
  )  # fmt: skip


def forecast_of(
  options, library: Library, bench: archive.Bench, mined: archive.Mined,
  others: np.ndarray,
) -> kernel.Forecast:  # fmt: skip
  """What the formulas evaluated so far say about others of the library."""
  keys = list(mined.book)
  fitted = np.array([library.place[keys[i]] for i in mined.memory.ids])
  daily = np.concatenate(mined.memory.daily).astype(np.float64)
  parts = np.array_split(daily, options.blocks, axis=1)
  gram = library.gram.astype(np.float64)[fitted]
  return kernel.forecast(
    gram[:, fitted],
    gram[:, others].T,
    np.stack([part.mean(1) for part in parts], 1),
    np.flatnonzero(np.isin(fitted, _pool(library, bench, mined))),
    options.ridge,
    options.explore,
  )


def worth_of(options, forecast: kernel.Forecast) -> np.ndarray:
  """What formulas are ranked by, f64[M]."""
  if options.score == 'gain':
    return forecast.hoped
  return np.sqrt(forecast.ic**2 + options.explore * forecast.spread**2)


def _pool(library, bench, mined) -> list[int]:
  """Positions of the formulas in the pool that a gain is beside."""
  formulas, _ = archive.beside(bench, mined)
  return [library.place[formula_lib.key(formula)] for formula in formulas]


def _unlike(options, library, others, worth, wanted) -> np.ndarray:
  """Positions of the best that are unlike each other, then of the best."""
  order = np.argsort(-worth, kind='stable')
  short = order[: SHORTLIST * wanted]
  places = others[short]
  first = short[
    pool_rules.distinct(
      worth[short], library.gram[np.ix_(places, places)], wanted,
      options.max_corr,
    )
  ]  # fmt: skip
  rest = order[~np.isin(order, first)]
  return np.concatenate([first, rest])[:wanted]


def diagnostics(plan: Plan, outcomes) -> dict[str, float | int | None]:
  """Whether the prediction knows anything, of those retrieved.

  retrieved: how many they are.
  predicted_rank: rank correlation of predicted and realised IC;
    predicted_size_rank: of their sizes.
  predicted_ic, realised_ic: mean sizes on train.
  trust: see `kernel.Forecast`.
  predicted_gain: the best one's, with the trust in it: what the pool's IC is
    expected to gain on other days.
  """
  count = len(plan.ic)
  last = outcomes[len(outcomes) - count :]
  own = np.array([outcome.own_ic for outcome in last])

  def rank_correlation(predicted, realised):
    if count < 3 or not (np.ptp(predicted) > 0 and np.ptp(realised) > 0):
      return None
    return float(stats.spearmanr(predicted, realised).statistic)

  return {
    'retrieved': count,
    'predicted_rank': rank_correlation(plan.ic, own),
    'predicted_size_rank': rank_correlation(np.abs(plan.ic), np.abs(own)),
    'predicted_ic': float(np.abs(plan.ic).mean()) if count else None,
    'realised_ic': float(np.abs(own).mean()) if count else None,
    'trust': plan.trust,
    'predicted_gain': (
      None if plan.trust is None else plan.trust * float(plan.gain.max())
    ),
  }
