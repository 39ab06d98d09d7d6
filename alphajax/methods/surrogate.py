"""The best of several candidates, by what they do before they are evaluated.

A screen has the values of every candidate on a part of the market, and a mean
IC is linear in a formula's standardised values: so the formulas evaluated say
what to expect of the others (`search.kernel`). Of some candidates for each
evaluation those are taken of which most is expected, unlike each other first.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from alphajax.factor import pool_rules
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, choice, foresight
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Market
from alphajax.search import kernel, nearest

LEAST = 100  # Formulas with a value before any is ranked.
LANDMARKS = 400  # Formulas that others are foreseen by: strongest and others.
BLOCKS = 8  # Of days, whose ICs are compared.
RIDGE = 0.3  # Of the regression, in units of a formula's variance.
UNLIKE = 0.7  # Between two of the candidates that are taken first, by its size.


class Evidence(NamedTuple):
  """Formulas evaluated, of which the others are foreseen.

  rows: f32[N, D], their behaviours; gram: f64[N, N], correlations.
  blocks: f64[N, BLOCKS], mean ICs.
  pool: i[P], those of them that are in the pool.
  ids: i[N], which of the book they are.
  """

  rows: np.ndarray
  gram: np.ndarray
  blocks: np.ndarray
  pool: np.ndarray
  ids: np.ndarray


def check(config) -> None:
  """Refuses options that cannot be, by their key."""
  screen_lib.check(config)
  options = config.screen
  if options.rank != 'none' and not options.twin:
    raise ValueError(
      f'config.screen.rank is {options.rank!r}, by what a screen sees: set '
      'config.screen.twin, such as 0.99'
    )


def with_recorder(
  config, market: Market, bench: archive.Bench
) -> archive.Bench:
  """The bench, remembering what ranks are made of under any rule."""
  if config.screen.rank == 'none' or bench.recorder is not None:
    return bench
  recorder = choice.make_recorder(
    config, market.train, bench.train.universe, bench.target
  )
  return bench._replace(recorder=recorder)


def read(
  options, bench: archive.Bench, mined: archive.Mined, known: screen_lib.Known
) -> Evidence | None:
  """What was evaluated so far; None where nothing is ranked by it."""
  if options.rank == 'none' or len(mined.memory.ids) < LEAST:
    return None
  daily = np.concatenate(mined.memory.daily).astype(np.float64)
  pool = _pool(bench, mined)
  places = _landmarks(np.abs(daily.mean(1)), pool)
  ids = np.array(mined.memory.ids)[places]
  rows = nearest.take(known.rows, ids)
  parts = np.array_split(daily[places], BLOCKS, axis=1)
  return Evidence(
    rows=rows,
    gram=_products(rows, rows),
    blocks=np.stack([part.mean(1) for part in parts], 1),
    pool=np.flatnonzero(np.isin(places, pool)),
    ids=ids,
  )


def _pool(bench: archive.Bench, mined: archive.Mined) -> np.ndarray:
  """Positions in the memory of the formulas that a gain is beside."""
  formulas, _ = archive.beside(bench, mined)
  place = {key: i for i, key in enumerate(mined.book)}
  row_of = {i: n for n, i in enumerate(mined.memory.ids)}
  rows = (row_of.get(place[formula_lib.key(f)], -1) for f in formulas)
  return np.array([row for row in rows if row >= 0], int)


def _landmarks(strength: np.ndarray, pool: np.ndarray) -> np.ndarray:
  """Positions of the pool, the strongest, and others evenly spaced."""
  order = np.argsort(-strength, kind='stable')
  chosen = np.union1d(pool, order[: LANDMARKS // 2])
  rest = np.setdiff1d(np.arange(len(strength)), chosen)
  free = max(LANDMARKS - len(chosen), 0)
  spaced = np.linspace(0, len(rest) - 1, min(free, len(rest))).round()
  return np.union1d(chosen, rest[spaced.astype(int)])


def _products(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
  return (rows @ others.T).astype(np.float64) / rows.shape[1]


def _forecast(
  evidence: Evidence, rows: np.ndarray, explore: float
) -> kernel.Forecast:
  across = _products(rows.astype(np.float32), evidence.rows)
  return kernel.forecast(
    evidence.gram, across, evidence.blocks, evidence.pool, RIDGE, explore
  )


def foresee(
  evidence: Evidence, rows: np.ndarray, figures: np.ndarray
) -> np.ndarray:
  """A figure that is linear in a formula's values, of formulas by what they do.

  Args:
    rows: f16[M, D], their behaviours; of one without value it is 0, and so is
      its figure.
    figures: f64[N], those of the formulas of the evidence.

  Returns:
    f64[M].
  """
  across = _products(rows.astype(np.float32), evidence.rows)
  return kernel.predict(evidence.gram, across, figures, RIDGE)


def ranking(options, evidence: Evidence | None) -> dict[str, Any]:
  """What `screen.fill` is told of the order of candidates."""
  if evidence is None:
    return {}
  rank = functools.partial(order, options, evidence)
  return {'rank': rank, 'candidates': options.candidates}


def order(options, evidence: Evidence, rows: np.ndarray) -> np.ndarray:
  """Positions of candidates, first those to be evaluated first.

  rows: f16[M, D], their behaviours.
  """
  foreseen = _forecast(evidence, rows, options.explore)
  worth = foreseen.hoped
  if options.rank == 'ic':
    worth = np.sqrt(foreseen.ic**2 + options.explore * foreseen.spread**2)
  whole = rows.astype(np.float32)
  first = pool_rules.distinct(worth, _products(whole, whole), len(rows), UNLIKE)
  ranked = np.argsort(-worth, kind='stable')
  return np.concatenate([first, ranked[~np.isin(ranked, first)]])


def figures(
  options,
  evidence: Evidence | None,
  mined: archive.Mined,
  known: screen_lib.Known,
  count: int,
) -> dict[str, float | None]:
  """How the newest formulas were foreseen; nothing where none is ranked.

  foreseen_rank: rank correlation of the size of the ICs predicted and realised;
    None of fewer than three.
  trust: see `kernel.Forecast`; None before there is a forecast.

  Args:
    evidence: that they were ranked by.
    mined, known: with them.
    count: how many are new.
  """
  if options.rank == 'none':
    return {}
  if evidence is None:
    return {'foreseen_rank': None, 'trust': None}
  places = np.arange(len(mined.book) - count, len(mined.book))
  own = np.array([ic or 0.0 for ic in mined.book.values()])[places]
  foreseen = _forecast(evidence, nearest.take(known.rows, places), 0.0)
  rank = foresight.rank_correlation(np.abs(foreseen.ic), np.abs(own))
  return {'foreseen_rank': rank, 'trust': foreseen.trust}
