"""Figures of many formulas at once, at little more than their evaluation costs.

Their values stay on the device: one pure function of the values makes all daily
series, and only these come to the host.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import PAPER_LABEL, LabelSpec, Split
from alphajax.factor import evaluate, metrics
from alphajax.factor.metrics import Target
from alphajax.judge import series, signals
from alphajax.language.formula import Formula

GROUPS = 5  # Of the turnover.


class Order(NamedTuple):
  """The labels of each day in their order, so that ranks need no comparisons.

  order: positions of the stocks, the lowest label first, who has none last.
  first, last: places of the lowest and highest that is level with the stock.
  """

  order: jax.Array  # i32[D, S]
  first: jax.Array  # i32[D, S]
  last: jax.Array  # i32[D, S]


class Bench(NamedTuple):
  """What every signal is held against, the same for all of them.

  days: from the first scored day to the last, and one before, to compare with.
  target: the label, standardised.
  horizons: returns, standardised.
  """

  days: jax.Array  # i32[D]
  members: jax.Array  # bool[D, S]
  target: Target
  order: Order  # Of the label.
  horizons: tuple[Target, ...]


class Daily(NamedTuple):
  """Daily series of one signal; see `signals` for what they are."""

  ic: jax.Array  # f32[D]
  rank_ic: jax.Array  # f32[D]
  decay: jax.Array  # f32[H, D], IC by horizon; NaN without two returns.
  coverage: jax.Array  # f32[D]
  autocorrelation: jax.Array  # f32[D]
  turnover: jax.Array  # f32[D], mean of the first and the last of GROUPS.


def make_bench(
  split: Split,
  label: LabelSpec = PAPER_LABEL,
  horizons: Sequence[int] = signals.HORIZONS,
) -> Bench:
  """Cuts a split to the days that count; standardises and sorts its returns.

  Raises:
    ValueError: horizons that are no whole numbers above 0.
  """
  scored = np.flatnonzero(split.scored)
  days = jnp.arange(max(scored[0] - 1, 0), scored[-1] + 1)
  members = jnp.asarray(split.panel.mask)[days]
  values = jnp.asarray(split.target, jnp.float32)[days]
  target = metrics.make_target(values, members)
  held = signals.decay_targets(split.panel, horizons, label=label)
  cut = tuple(jax.tree.map(lambda x: x[days], each) for each in held)
  order = _order(np.asarray(values), np.asarray(target.labelled))
  return Bench(days, members, target, order, cut)


def _order(label: np.ndarray, labelled: np.ndarray) -> Order:
  keys = np.where(labelled, label, np.inf)
  order = np.argsort(keys, axis=1, kind='stable')
  first, last = np.empty_like(order), np.empty_like(order)
  for row, stocks, low, high in zip(keys, order, first, last, strict=True):
    low[:] = np.searchsorted(row[stocks], row, 'left')
    high[:] = np.searchsorted(row[stocks], row, 'right') - 1
  return Order(*(jnp.asarray(x, jnp.int32) for x in (order, first, last)))


def _label_ranks(order: Order, seen: jax.Array) -> jax.Array:
  """Average ranks, times 2, of the labels of those seen, f32[D, S]."""
  at_place = jnp.take_along_axis(seen, order.order, axis=1).astype(jnp.int32)
  count = jnp.cumsum(at_place, axis=1)
  before = jnp.pad(count, ((0, 0), (1, 0)))
  below = jnp.take_along_axis(before, order.first, axis=1)
  upto = jnp.take_along_axis(count, order.last, axis=1)
  return (below + upto + 1).astype(jnp.float32)


def _rank_ic(values: jax.Array, bench: Bench) -> jax.Array:
  """`metrics.daily_rank_ic`, with half of the ranks made before."""
  labelled = bench.target.labelled
  rank = signals.ranks(values, labelled)
  theirs = _label_ranks(bench.order, jnp.isfinite(rank))
  return metrics.daily_ic(rank, theirs, labelled)


def statistics(values: jax.Array, bench: Bench) -> Daily:
  """All daily series of a signal f32[T, S]. Pure; for `Store.map`."""
  values, members = values[bench.days], bench.members
  rank = signals.ranks(values, members)
  group = signals.quantile_groups(rank, GROUPS)
  ends = signals.group_turnover(group, jnp.array([0, GROUPS - 1]), 1)
  seen = jnp.sum(jnp.isfinite(rank), -1)
  decay = signals.daily_decay(values, bench.horizons)
  reached = jnp.stack([each.count[:, 0] >= 2 for each in bench.horizons])
  return Daily(
    metrics.target_ic(values, bench.target),
    _rank_ic(values, bench),
    jnp.where(reached, decay, jnp.nan),
    seen / jnp.maximum(jnp.sum(members, -1), 1),
    signals.autocorrelation(rank, 1),
    jnp.mean(ends, axis=0),
  )


def of_formulas(
  formulas: Sequence[Formula],
  split: Split,
  label: LabelSpec = PAPER_LABEL,
  *,
  horizons: Sequence[int] = signals.HORIZONS,
  judged: int | None = None,
  store: evaluate.Store | None = None,
) -> list[dict[str, Any]]:
  """Figures of each of many formulas on the scored days of a split.

  Args:
    formulas: any number.
    split: the days; those scored count.
    label: that of the split.
    horizons: of the decay, in days.
    judged: how many were ever looked at on these days; None: as many as these.
    store: of the split's panel, where there is one already.

  Returns:
    A dict each: of `signals.summary`, the `ic` and `rank_ic` as they are alone;
    `of_judged`, both as they are of all that were judged, see `series.mean`;
    `decay`, the mean IC by horizon; means of `coverage`, `autocorrelation` with
    the day before and `turnover`, of the lowest and the highest fifth.

  Raises:
    ValueError: no formulas, or horizons that are no whole numbers above 0.
  """
  bench = make_bench(split, label, horizons)
  store = evaluate.make_store(split.panel) if store is None else store
  found = store.map(formulas, statistics, bench)
  scored = np.asarray(split.scored)[np.asarray(bench.days)]
  count = len(formulas) if judged is None else judged
  one_by_one = [Daily(*each) for each in zip(*found, strict=True)]
  return [
    _figures(daily, scored, label, horizons, count) for daily in one_by_one
  ]


def _figures(
  daily: Daily, scored: np.ndarray, label: LabelSpec, horizons, judged: int
) -> dict[str, Any]:
  ic, rank_ic, decay, *others = (
    np.asarray(each, np.float64)[..., scored] for each in daily
  )
  lag = series.overlap(label)
  by_horizon, means = (
    [series.mean(each, 0).mean for each in some] for some in (decay, others)
  )
  names = Daily._fields[3:]
  return {
    **signals.summary(ic, rank_ic, lag),
    'of_judged': {
      'ic': series.mean(ic, lag, judged)._asdict(),
      'rank_ic': series.mean(rank_ic, lag, judged)._asdict(),
    },
    'decay': dict(zip(horizons, by_horizon, strict=True)),
    **dict(zip(names, means, strict=True)),
  }
