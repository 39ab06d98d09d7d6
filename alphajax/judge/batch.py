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
from alphajax.data.panel import LabelSpec, Split
from alphajax.data.universe import Universe
from alphajax.factor import metrics, runtime, sorting
from alphajax.factor.metrics import Target
from alphajax.judge import series, signals

GROUPS = 5  # Turnover is that of the highest fifth.


class Bench(NamedTuple):
  """What values are held against. n sampled days, M members side by side.

  Columns are those who are members on a day or on the one before it.
  """

  target: Target  # [T, S], of the label
  days: jax.Array  # i32[n]
  members: Universe  # of either day
  today: jax.Array  # bool[n, M]
  yesterday: jax.Array  # bool[n, M]
  label: jax.Array  # f32[n, M], NaN where unknown
  horizons: tuple[Target, ...]  # [n, M] each


class Statistics(NamedTuple):
  """What one signal is worth, before means are taken.

  coverage: share of the day's members with a value.
  autocorrelation: of the day's ranks with those of the day before.
  turnover: share of the highest fifth that was not in it the day before.
  """

  ic: jax.Array  # f32[T]
  rank_ic: jax.Array  # f32[n]
  horizons: jax.Array  # f32[H, n], IC with the return over each
  coverage: jax.Array  # f32[n]
  autocorrelation: jax.Array  # f32[n], NaN where there is none
  turnover: jax.Array  # f32[n], likewise


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
    every: of how many scored days one is ranked.
    horizons: days of the returns that the decay is taken over.

  Raises:
    ValueError: fewer than one day, or a horizon that is none.
  """
  if every < 1:
    raise ValueError(f'every={every}: expected 1 for all days, or more')
  mask, target = np.asarray(split.panel.mask), np.asarray(split.target)
  days = sampled_days(split.scored, every)
  today, yesterday = mask[days], mask[days - 1]
  members = universe.make(today | yesterday)

  def side_by_side(plane):
    plane = jnp.asarray(plane[days], jnp.float32)
    return universe.gather(members, plane)

  here = side_by_side(mask) == 1
  there = universe.gather(members, jnp.asarray(yesterday, jnp.float32)) == 1
  every_return = signals.returns_over(split.panel, horizons, label=label)
  return Bench(
    target=metrics.make_target(jnp.asarray(target), jnp.asarray(mask)),
    days=jnp.asarray(days, jnp.int32),
    members=members,
    today=here,
    yesterday=there,
    label=side_by_side(target),
    horizons=tuple(
      metrics.make_target(side_by_side(np.asarray(each)), here)
      for each in every_return
    ),
  )


def statistics(values: jax.Array, bench: Bench) -> Statistics:
  """All of one signal f32[T, S]; pure, for `Store.map` or a jit."""
  now = universe.gather(bench.members, values[bench.days])
  before = universe.gather(bench.members, values[bench.days - 1])
  rank, rank_before = _rank(now, bench.today), _rank(before, bench.yesterday)
  top, top_before = (
    signals.rank_groups(each, GROUPS) == GROUPS - 1
    for each in (rank, rank_before)
  )
  count = jnp.maximum(jnp.sum(bench.today, -1), 1)
  return Statistics(
    ic=metrics.target_ic(values, bench.target),
    rank_ic=metrics.daily_rank_ic(now, bench.label, bench.today),
    horizons=signals.daily_decay(now, bench.horizons),
    coverage=jnp.sum(jnp.isfinite(rank), -1) / count,
    autocorrelation=signals.rank_correlation(rank, rank_before),
    turnover=signals.newcomers(top, top_before),
  )


def _rank(values: jax.Array, members: jax.Array) -> jax.Array:
  seen = members & jnp.isfinite(values)
  return sorting.cross_sectional_rank(jnp.where(seen, values, 0.0), seen)


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
  ic = np.asarray(found.ic, np.float64)[:, np.asarray(split.scored)]
  rank_ic = np.asarray(found.rank_ic, np.float64)
  known = [np.asarray(each.count)[:, 0] >= 2 for each in bench.horizons]
  rows = []
  for i in range(len(ic)):
    decay = {
      str(h): _mean(found.horizons[i, k, known[k]])
      for k, h in enumerate(horizons)
    }
    rows.append(
      {
        'ic': _interval(ic[i], lag),
        'rank_ic': _interval(rank_ic[i], lag // every),
        'after': _interval(ic[i], lag, judged),
        'icir': float(metrics.information_ratio(ic[i])),
        'rank_icir': float(metrics.information_ratio(rank_ic[i])),
        'days': ic.shape[1],
        'decay': decay,
        'coverage': _mean(found.coverage[i]),
        'autocorrelation': _mean(found.autocorrelation[i]),
        'turnover': _mean(found.turnover[i]),
      }
    )
  return rows


def _interval(daily: np.ndarray, lag: int, judged: int = 1) -> dict[str, Any]:
  found = series.mean(daily, lag, judged)._asdict()
  del found['days']
  return {k: None if np.isnan(x) else float(x) for k, x in found.items()}


def _mean(daily: np.ndarray) -> float | None:
  """The mean over the days that have a figure; None where none has."""
  known = daily[~np.isnan(daily)]
  return float(known.mean(dtype=np.float64)) if known.size else None
