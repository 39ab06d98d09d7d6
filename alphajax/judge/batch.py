"""Statistics of thousands of formulas in one pass of a store over a panel.

The same figures as those of one signal in `figures` and `signals`, as a pure
function of its values that `Store.map` can call. Ranks cost as much as the
formula itself, so what is made of them is taken on every n-th scored day; the
IC is taken on all of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import universe
from alphajax.data.device import by_days, put
from alphajax.data.panel import LabelSpec, Split
from alphajax.data.universe import Universe
from alphajax.factor import evaluate, metrics, runtime, sorting
from alphajax.factor.metrics import Target
from alphajax.judge import series, signals
from alphajax.language.formula import Formula

GROUPS = 5  # Turnover is that of the highest fifth.
PAIRS = 64  # Of days that are held against the one before.
CHUNK = 256  # Series of which ratios are taken at a time.


class Bench(NamedTuple):
  """What values are held against. n sampled days, M members side by side.

  pairs: sampled days that are held against the day before, m of them; there
    the columns are those who are members on either day.
  """

  target: Target  # [T, S], of the label
  days: jax.Array  # i32[n]
  members: Universe  # of these days
  label: jax.Array  # f32[n, M], NaN where unknown
  horizons: tuple[Target, ...]  # [n, M] each
  pairs: jax.Array  # i32[m]
  either: Universe  # of either day of a pair
  today: jax.Array  # bool[m, M]
  yesterday: jax.Array  # bool[m, M]


class Statistics(NamedTuple):
  """What a signal is worth, before means are taken: of JAX, or NumPy's.

  coverage: share of the day's members with a value.
  autocorrelation: of the day's ranks with those of the day before.
  turnover: share of the highest fifth that was not in it the day before.
  """

  ic: Any  # f32[T]
  rank_ic: Any  # f32[n]
  horizons: Any  # f32[H, n], IC with the return over each
  coverage: Any  # f32[n]
  autocorrelation: Any  # f32[m], NaN where there is none
  turnover: Any  # f32[m], likewise


def sampled_days(scored: np.ndarray, every: int) -> np.ndarray:
  """Positions of every n-th scored day that has a day before it."""
  days = np.flatnonzero(scored)
  return days[days > 0][::every]


def make(
  split: Split,
  label: LabelSpec,
  *,
  every: int = 1,
  horizons: Sequence[int] = signals.HORIZONS,
) -> Bench:
  """Prepares what thousands of formulas are held against.

  Args:
    split: the days.
    label: of the split; its price and entry are those of all horizons.
    every: of how many scored days one is ranked. If not all are, at most
      `PAIRS` of them are held against the day before.
    horizons: days of the returns that the decay is taken over.

  Raises:
    ValueError: fewer than one day, or a horizon that is none.
  """
  if every < 1:
    raise ValueError(f'every={every}: expected 1 for all days, or more')
  mask, target = np.asarray(split.panel.mask), np.asarray(split.target)
  days = sampled_days(np.asarray(split.scored), every)
  members = universe.make(mask[days])
  most = len(days) if every == 1 else min(PAIRS, len(days))
  pairs = days[np.linspace(0, len(days) - 1, most).round().astype(int)]
  either = universe.make(mask[pairs] | mask[pairs - 1])

  def is_member(days):
    return universe.gather(either, mask[days].astype(np.float32)) == 1

  def side_by_side(label):
    return universe.gather(members, np.asarray(label)[days])

  returns = signals.returns_over(split.panel, horizons, label=label)
  return Bench(
    target=put(by_days(metrics.make_target, target, mask)),
    days=put(days.astype(np.int32)),
    members=members,
    label=side_by_side(target),
    horizons=tuple(
      put(by_days(metrics.make_target, side_by_side(each), members.present))
      for each in returns
    ),
    pairs=put(pairs.astype(np.int32)),
    either=either,
    today=is_member(pairs),
    yesterday=is_member(pairs - 1),
  )


def statistics(values: jax.Array, bench: Bench) -> Statistics:
  """All of one signal f32[T, S]; pure, for `Store.map` or a jit."""
  members = bench.members.present
  now = universe.gather(bench.members, values[bench.days])
  seen = members & jnp.isfinite(now)
  rank, before = (
    _rank(universe.gather(bench.either, values[days]), present)
    for days, present in (
      (bench.pairs, bench.today), (bench.pairs - 1, bench.yesterday)
    )
  )  # fmt: skip
  top, top_before = (
    signals.quantile_groups(each, GROUPS) == GROUPS - 1
    for each in (rank, before)
  )
  return Statistics(
    ic=metrics.target_ic(values, bench.target),
    rank_ic=metrics.daily_rank_ic(now, bench.label, members),
    horizons=signals.daily_decay(now, bench.horizons),
    coverage=jnp.sum(seen, -1) / jnp.maximum(jnp.sum(members, -1), 1),
    autocorrelation=signals.rank_correlation(rank, before),
    turnover=signals.newcomers(top, top_before),
  )


def _rank(values: jax.Array, members: jax.Array) -> jax.Array:
  seen = members & jnp.isfinite(values)
  return sorting.cross_sectional_rank(jnp.where(seen, values, 0.0), seen)


def of_formulas(
  formulas: Sequence[Formula], store: evaluate.Store, bench: Bench
) -> Statistics:
  """The statistics of formulas, NumPy's, `[N, ...]`."""
  flat = store.map(formulas, _flat, bench)
  shapes = jax.eval_shape(statistics, _plane(store), bench)
  sizes = [int(np.prod(each.shape)) for each in shapes]
  parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
  return Statistics(
    *(
      part.reshape(-1, *each.shape)
      for part, each in zip(parts, shapes, strict=True)
    )
  )


def _flat(values, bench):
  """One array leaves the device sooner than six."""
  return jnp.concatenate([x.ravel() for x in statistics(values, bench)])


def _plane(store: evaluate.Store) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(store.shape, jnp.float32)


def of_signal(signal: jax.Array, bench: Bench) -> Statistics:
  """The statistics of a signal that is no formula, with an axis of 1."""
  found = _statistics(runtime.to_device(signal), runtime.to_device(bench))
  return jax.tree.map(lambda x: np.asarray(x)[None], found)


_statistics = jax.jit(statistics)


def figures(
  found: Statistics,
  bench: Bench,
  split: Split,
  label: LabelSpec,
  *,
  every: int,
  judged: int,
  horizons: Sequence[int] = signals.HORIZONS,
) -> list[dict[str, Any]]:
  """The figures of every signal.

  Args:
    found: of N signals, NumPy's, `[N, ...]`.
    judged: how many were looked at; what `after` says holds for all of them.

  Returns:
    A dict each: `ic` and `rank_ic` with mean, low, high, p_value (alone);
    `after` the same of the IC after `judged` formulas; `icir`, `rank_icir`,
    `decay` by horizon, `coverage`, `autocorrelation`, `turnover`; None where
    there is none.
  """
  lag = series.overlap(label)
  ic = np.compress(np.asarray(split.scored), found.ic, axis=1)
  ic, rank_ic = (
    np.ascontiguousarray(x, np.float64) for x in (ic, found.rank_ic)
  )
  icir, rank_icir = _ratios(ic), _ratios(rank_ic)
  known = [np.asarray(each.count)[:, 0] >= 2 for each in bench.horizons]
  decay = np.stack(
    [found.horizons[:, k, days].mean(1) for k, days in enumerate(known)], 1
  )
  rows = []
  for i in range(len(ic)):
    alone, after = series.means(ic[i], lag, (1, judged))
    rows.append(
      {
        'ic': _interval(alone),
        'rank_ic': _interval(series.mean(rank_ic[i], lag // every)),
        'after': _interval(after),
        'icir': icir[i],
        'rank_icir': rank_icir[i],
        'days': ic.shape[1],
        'decay': {
          str(h): _number(x) for h, x in zip(horizons, decay[i], strict=True)
        },
        'coverage': _mean(found.coverage[i]),
        'autocorrelation': _mean(found.autocorrelation[i]),
        'turnover': _mean(found.turnover[i]),
      }
    )
  return rows


def _ratios(daily: np.ndarray) -> list[float]:
  """`metrics.information_ratio` of daily series `[N, T]`."""
  parts = np.array_split(daily, len(daily) // CHUNK + 1)
  return np.concatenate([*map(metrics.information_ratio, parts)]).tolist()


def _interval(found: series.Mean) -> dict[str, Any]:
  figures = found._asdict()
  del figures['days']
  return {name: _number(value) for name, value in figures.items()}


def _mean(daily: np.ndarray) -> float | None:
  """The mean over the days that have a figure; None where none has."""
  known = daily[~np.isnan(daily)]
  return float(known.mean(dtype=np.float64)) if known.size else None


def _number(value: float) -> float | None:
  return None if np.isnan(value) else float(value)
