"""Cheap tests of a formula before it is evaluated.

On a few dozen stocks a formula costs a sixth or less of what it does on all,
and that is enough to see that it has no value, no spread, or behaves as one
that is known: `2 * close` and `Abs(close)` rank stocks as `close` does. None of
these is worth an evaluation.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Split
from alphajax.factor import evaluate, metrics
from alphajax.factor.budget import MIN_VALUES
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import registry
from alphajax.run import ranges
from alphajax.run import rows as rows_lib
from alphajax.run.clock import Clock
from alphajax.search import dealing, nearest

# Stocks are taken from up to so many times as many that are members longest, so
# that not all of them are of one kind.
SPREAD = 4
# A language, or what is left of it, may have no formula more to offer.
MAX_DRAWS = 50
MIN_NORM = 1e-6
RANKS = ('none', 'ic', 'gain')  # See `surrogate`.
# Methods that read `config.screen`, and those that rank by it. AlphaCFG reads
# it when it ranks, or with a prior.
RANKED = ('alphacfg', 'evolution', 'random_search')
USERS = ('alphaformer', 'pretraining', 'retrieval', *RANKED)


Rank = Callable[[np.ndarray], np.ndarray]


class Screen(NamedTuple):
  """A part of the train split on the device; made once a run.

  twin: mean correlation, by its size, above which two formulas are one.
  kept: behaviours on disk; None: none are.
  """

  store: evaluate.AnyStore
  members: jax.Array  # bool[n, s]
  days: jax.Array  # i[n], positions in the panel
  twin: float
  kept: rows_lib.Rows | None = None


class Known(NamedTuple):
  """What the screen has seen; a value.

  rows: parts f16[n, D], behaviours of the formulas evaluated, in their order:
    their products are correlations.
  turned_away: canonical key -> 'dead' or 'twin'.
  shadow: of the rows, where there are enough of them.
  duplicates: proposals that were known, or had come before in the same draw.
  passed_over: proposals that nobody looked at, for there were enough.
  """

  rows: tuple[np.ndarray, ...] = ()
  turned_away: dict[str, str] = {}
  shadow: nearest.Shadow | None = None
  duplicates: int = 0
  passed_over: int = 0

  def counts(self) -> dict[str, int]:
    """How many formulas were turned away, and why."""
    reasons = list(self.turned_away.values())
    return {'dead': reasons.count('dead'), 'twins': reasons.count('twin')}

  def tally(self, evaluated: int) -> dict[str, int]:
    """What became of all proposals of `fill`; `proposed` is the sum.

    evaluated: formulas so far, those that a run began with among them.
    """
    parts = {
      **self.counts(),
      'duplicates': self.duplicates,
      'passed_over': self.passed_over,
    }
    return {'proposed': evaluated + sum(parts.values()), **parts}


def check(config) -> None:
  """Refuses what `config.screen` cannot hold, whether it is read or not.

  Raises:
    ValueError: names the key and what is expected.
  """
  ranges.check(config, 'screen.')
  rank = config.get('screen', {}).get('rank', 'none')
  if rank not in RANKS:
    raise ValueError(f'config.screen.rank is {rank!r}: expected one of {RANKS}')


def without_effect(config) -> list[str]:
  """What `config.screen` says in vain, a line each, of methods of ours."""
  options = config.get('screen', {})
  if config.method not in registry.METHODS:
    return []
  said: list[tuple[str, tuple[str, ...]]] = []
  ranks = options.get('rank', 'none') != 'none'
  in_vain = config.method not in USERS
  if config.method == 'alphacfg':
    in_vain = not ranks and 'prior' not in config
  if options.get('twin') and in_vain:
    said.append(('twin', USERS))
  if ranks and config.method not in RANKED:
    said.append(('rank', RANKED))
  return [
    f'config.screen.{name} = {options[name]} changes nothing of '
    f'{config.method}: it is read by {", ".join(methods)}'
    for name, methods in said
  ]


def make(config, split: Split) -> Screen | None:
  """The screen that `config.screen` asks for; None where its twin is 0.

  Raises:
    ValueError: an option that cannot be; names its key.
  """
  check(config)
  options = config.get('screen')
  if options is None or not options.twin:
    return None
  scored = np.flatnonzero(split.scored)
  mask = np.asarray(split.panel.mask)
  days_of = mask[scored].sum(0)
  longest = np.argsort(-days_of, kind='stable')
  count = min(options.stocks, len(longest))
  often = int(np.sum(2 * days_of >= len(scored)))
  step = min(SPREAD, max(often // count, 1))
  stocks = longest[: count * step : step]
  panel = panel_lib.take_symbols(
    split.panel, [split.panel.symbols[i] for i in stocks.tolist()]
  )
  places = np.linspace(0, len(scored) - 1, min(options.days, len(scored)))
  days = scored[np.unique(places.round().astype(int))]
  least = MIN_VALUES * 4 * panel.mask.size
  budget = max(evaluate.budget_of(panel, config.store_bytes, 8), least)
  return Screen(
    store=evaluate.over_devices(panel, budget, dealing.wanted(config)),
    members=jnp.asarray(np.asarray(panel.mask)[days]),
    days=jnp.asarray(days),
    twin=options.twin,
    kept=rows_lib.make(
      config, 'screen', 2 * len(days) * len(stocks),
      panel.features, panel.mask, panel.feature_names, panel.groups, days,
    ),
  )  # fmt: skip


def behaviours(screen: Screen, formulas: Sequence[Formula]) -> np.ndarray:
  """Rows f16[N, D] of length 1 whose products are correlations; or 0.

  A day counts 0 on which fewer than half of the members have a value, or all
  the same.
  """
  return screen.store.map(formulas, behaviour, screen.members, screen.days)


def behaviour(
  values: jax.Array, members: jax.Array, days: jax.Array
) -> jax.Array:
  """`behaviours` of one formula f32[T, S], on days i32[D]: f16[D * S]."""
  z = panel_lib.standardize(values[days], members)
  seen = jnp.isfinite(z)
  most = metrics.MIN_COVERAGE * jnp.sum(members, -1, keepdims=True)
  counts = jnp.sum(seen, -1, keepdims=True) >= most
  z = jnp.where(seen & counts, z, 0.0).ravel()
  norm = jnp.sqrt(jnp.sum(z * z))
  z = jnp.where(norm > MIN_NORM, z / jnp.where(norm > 0, norm, 1.0), 0.0)
  # In units that 16 bits hold well; see `nearest`.
  return (z * jnp.sqrt(z.size)).astype(jnp.float16)


def correlations(known: Known, chosen: np.ndarray) -> np.ndarray:
  """Mean correlations among formulas by their position in the book."""
  rows = nearest.take(known.rows, chosen)
  return (rows @ rows.T).astype(np.float64) / rows.shape[1]


def sift(
  screen: Screen,
  known: Known,
  formulas: Sequence[Formula],
  wanted: int,
  rank: Rank | None = None,
) -> tuple[list[Formula], Known]:
  """Those worth an evaluation, `wanted` at most, in the order given.

  formulas: distinct, neither evaluated nor turned away before.
  rank: behaviours f16[N, D] -> i[N], the order in which they are looked at.

  Returns:
    The formulas, and what is known with them: they must be evaluated.
  """
  rows = behaviours(screen, formulas)
  shadow = known.shadow or nearest.cast(known.rows)
  near = nearest.nearest(known.rows, shadow, rows, screen.twin)
  among = nearest.likeness(rows, rows)
  kept: list[int] = []
  turned_away = dict(known.turned_away)
  places = range(len(rows)) if rank is None else rank(rows).tolist()
  for i in places:
    if len(kept) == wanted:
      break
    formula = formulas[i]
    closest = max(near[i], among[i, kept].max(initial=0.0))
    if rows[i].any() and closest <= screen.twin:
      kept.append(i)
    else:
      reason = 'twin' if rows[i].any() else 'dead'
      turned_away[formula_lib.key(formula)] = reason
  added = (rows[kept],) if kept else ()
  _keep(screen, [formulas[i] for i in kept], rows[kept])
  if shadow is not None and kept:
    shadow = nearest.extend(shadow, rows[kept])
  return (
    [formulas[i] for i in kept],
    known._replace(
      rows=known.rows + added, turned_away=turned_away, shadow=shadow
    ),
  )


def fill(
  screen: Screen | None,
  known: Known,
  book: Collection[str],
  draw: Callable[[int], Iterable[Formula]],
  wanted: int,
  clock: Clock,
  rank: Rank | None = None,
  candidates: int = 0,
) -> tuple[list[Formula], Known]:
  """Draws until `wanted` formulas are new and, with a screen, worth it.

  draw: number of the draw -> formulas; called anew until there are enough, or
    `MAX_DRAWS` times: a small language runs out of formulas.
  clock: seconds of `screen` are added to it.
  rank: see `sift`, which chooses from `candidates` for each that is wanted; 0:
    from what a draw gives.
  """
  kept: list[Formula] = []
  new: dict[str, Formula] = {}
  seen = set(book) | set(known.turned_away)
  before, turned_away, duplicates = len(seen), len(known.turned_away), 0
  for number in range(MAX_DRAWS):
    if len(kept) == wanted:
      break
    drawn = len(new)
    for formula in draw(number):
      key = formula_lib.key(formula)
      if key in seen:
        duplicates += 1
      else:
        new[key] = formula
        seen.add(key)
    enough = len(new) >= candidates * (wanted - len(kept))
    is_last = len(new) == drawn or number == MAX_DRAWS - 1
    if not new or not (enough or is_last):
      continue
    worth_it = list(new.values())[: wanted - len(kept)]
    if screen is not None:
      with clock('screen'):
        worth_it, known = sift(
          screen, known, list(new.values()), wanted - len(kept), rank
        )
    kept += worth_it
    new = {}
  looked_at = len(kept) + len(known.turned_away) - turned_away
  return kept, known._replace(
    duplicates=known.duplicates + duplicates,
    passed_over=known.passed_over + len(seen) - before - looked_at,
  )


def _keep(screen: Screen, formulas: Sequence[Formula], rows: np.ndarray):
  """Writes behaviours to disk."""
  if screen.kept is not None:
    for formula, row in zip(formulas, rows, strict=True):
      screen.kept.put(formula_lib.key(formula), row.tobytes())


def _read(screen: Screen, formulas: Sequence[Formula]) -> np.ndarray:
  """`behaviours`, read where they are on disk."""
  if screen.kept is None:
    return behaviours(screen, formulas)
  kept = [screen.kept.get(formula_lib.key(formula)) for formula in formulas]
  new = [f for f, row in zip(formulas, kept, strict=True) if row is None]
  found = behaviours(screen, new) if new else np.zeros((0, 0), np.float16)
  _keep(screen, new, found)
  rest = iter(found)
  return np.stack(
    [
      next(rest) if row is None else np.frombuffer(row, np.float16)
      for row in kept
    ]
  )


def start(screen: Screen | None, formulas: Sequence[Formula]) -> Known:
  """What is known of formulas that are in the book from the beginning."""
  return load(screen, {'turned_away': {}}, formulas)


def save(known: Known) -> dict:
  """What a checkpoint keeps; `load` evaluates the rows again."""
  return {
    'turned_away': known.turned_away,
    'duplicates': known.duplicates,
    'passed_over': known.passed_over,
  }


def load(
  screen: Screen | None, host: dict, formulas: Sequence[Formula]
) -> Known:
  """The value that `save` was given.

  formulas: of the book, in its order.
  """
  rows: tuple[np.ndarray, ...] = ()
  if screen is not None and formulas:
    rows = (_read(screen, formulas),)
  counts = (host.get(key, 0) for key in ('duplicates', 'passed_over'))
  return Known(rows, host['turned_away'], None, *counts)
