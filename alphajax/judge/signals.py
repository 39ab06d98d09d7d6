"""What one signal does on a panel: decay, persistence, groups, coverage.

A signal is f32[T, S] on the panel's days and stocks, NaN where it says nothing.
It is read at members alone. Daily results are `[T]`, a place for every day of
the panel; which of them count is said by `days`: those from a first to a last
one, or a mask.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import cross_section
from alphajax.data import panel as panel_lib
from alphajax.data.device import put
from alphajax.data.panel import PAPER_LABEL, LabelSpec, Panel
from alphajax.factor import metrics, sorting
from alphajax.factor.metrics import Target
from alphajax.judge import figures, series

HORIZONS = (1, 5, 10, 20, 40)
Signal = jax.Array | np.ndarray  # f32[T, S]
Days = np.ndarray | tuple[str, str] | None  # bool[T], first and last, or all.


def check_signal(
  signal: Signal, panel: Panel, name: str = 'the signal'
) -> jax.Array:
  """The signal as f32[T, S]; ValueError where it is not of the panel's shape.

  What is not finite becomes NaN. `name` is what an error calls it.
  """
  shape = (len(panel.dates), len(panel.symbols))
  if np.shape(signal) != shape:
    raise ValueError(
      f'{name} has shape {list(np.shape(signal))}, but the panel has '
      f'{shape[0]} days x {shape[1]} stocks: expected {list(shape)}; compute '
      'it on this panel'
    )
  values = np.asarray(signal, np.float32)
  return put(np.where(np.isfinite(values), values, np.float32(np.nan)))


def select_days(panel: Panel, days: Days) -> np.ndarray:
  """Which days count, bool[T].

  Raises:
    ValueError: dates outside the panel, or a mask of another length.
  """
  num_days = len(panel.dates)
  if days is None:
    return np.ones(num_days, bool)
  if isinstance(days, tuple):
    first, stop = panel_lib.locate(panel.dates, 'judged', *days)
    return (np.arange(num_days) >= first) & (np.arange(num_days) < stop)
  mask = np.asarray(days)
  if mask.dtype != bool or mask.shape != (num_days,):
    raise ValueError(
      f'days is {mask.dtype}{list(mask.shape)}: expected bool[{num_days}], or '
      'the first and the last one, as ("2018-01-01", "2019-12-31")'
    )
  return mask


def decay(
  signal: Signal,
  panel: Panel,
  horizons: Sequence[int] = HORIZONS,
  *,
  label: LabelSpec = PAPER_LABEL,
  days: Days = None,
) -> dict[int, dict[str, Any]]:
  """IC and RankIC of a signal with the returns over several horizons.

  The return of day t over h days is price[t + entry + h] / price[t + entry] - 1
  of the label's price and entry; no label is neutralised. Each horizon is
  judged on the days on which it has two members with a return, so that longer
  ones lose the last days.

  Returns:
    By horizon what `summary` has: `ic` and `rank_ic` with intervals for labels
    that overlap by that horizon, `icir`, `rank_icir`, `days`. NaN where there
    are too few days.

  Raises:
    ValueError: a horizon that is no whole number above 0, a signal of another
      shape, dates outside the panel.
  """
  values, chosen = check_signal(signal, panel), select_days(panel, days)
  members, found = np.asarray(panel.mask), {}
  for horizon in _check_horizons(horizons):
    target = np.asarray(returns(panel, label, horizon))
    labelled = np.sum(members & np.isfinite(target), -1) >= 2
    daily = np.asarray(figures.daily(values, target, members), np.float64)
    ic, rank_ic = daily[:, chosen & labelled]
    found[horizon] = summary(ic, rank_ic, horizon - 1)
  return found


def returns_over(
  panel: Panel,
  horizons: Sequence[int] = HORIZONS,
  *,
  label: LabelSpec = PAPER_LABEL,
) -> list[jax.Array]:
  """The returns over each horizon, f32[T, S] each; see `decay`."""
  return [returns(panel, label, h) for h in _check_horizons(horizons)]


def daily_decay(values: jax.Array, targets: Sequence[Target]) -> jax.Array:
  """Daily IC with standardised `returns_over`, `[T, S] -> [H, T]`.

  The caller jits. 0 on a day that does not count, see `metrics.target_ic`.
  """
  return jnp.stack([metrics.target_ic(values, each) for each in targets])


def returns(panel: Panel, label: LabelSpec, horizon: int) -> jax.Array:
  held = label._replace(exit=label.entry + horizon, neutralize=())
  return panel_lib.forward_return(panel, held)


def _check_horizons(horizons: Sequence[int]) -> Sequence[int]:
  bad = [h for h in horizons if not _is_whole(h) or h < 1]
  if bad or not len(horizons):
    raise ValueError(
      f'horizons={tuple(horizons)}: expected whole numbers of days above 0, '
      f'such as {HORIZONS}'
    )
  return [int(h) for h in horizons]


def _is_whole(number) -> bool:
  return isinstance(number, int | np.integer) and not isinstance(number, bool)


def summary(ic: np.ndarray, rank_ic: np.ndarray, lag: int) -> dict[str, Any]:
  """As `metrics.summary`, and a `p_value` each.

  NaN where there are too few days for an interval.
  """
  found: dict[str, Any] = {}
  for name, ratio, daily in (
    ('ic', 'icir', ic), ('rank_ic', 'rank_icir', rank_ic)
  ):  # fmt: skip
    average, low, high, p_value, count = series.mean(daily, lag)
    found[name] = {
      'mean': average,
      'low': low,
      'high': high,
      'p_value': p_value,
    }
    found[ratio] = float(metrics.information_ratio(daily)) if count else np.nan
  return {**found, 'days': len(ic)}


def coverage(signal: Signal, panel: Panel) -> np.ndarray:
  """Share of the day's members with a value, f64[T]; NaN without members."""
  members = np.asarray(panel.mask)
  known = np.isfinite(np.asarray(check_signal(signal, panel))) & members
  count = members.sum(1)
  share = known.sum(1) / np.maximum(count, 1)
  return np.where(count > 0, share, np.nan)


def rank_autocorrelation(
  signal: Signal, panel: Panel, lag: int = 1
) -> np.ndarray:
  """Correlation of the day's ranks with those `lag` days before, f64[T].

  Each day ranks its own members; the correlation is Pearson's, of these ranks,
  over the stocks that both days rank (alphalens'
  `factor_rank_autocorrelation`). NaN on the first days and where either day
  ranks fewer than two of them apart.
  """
  _check_lag(lag)
  values = check_signal(signal, panel)
  found = autocorrelation(ranks(values, panel.mask), lag)
  return np.asarray(found, np.float64)


def _check_lag(lag: int) -> None:
  if not _is_whole(lag) or lag < 1:
    raise ValueError(f'lag={lag}: expected a whole number of days above 0')


def turnover(
  signal: Signal, panel: Panel, groups: int = 5, lag: int = 1
) -> np.ndarray:
  """Share of a group's stocks that were not in it `lag` days before.

  alphalens' `quantile_turnover`, of the groups of `quantile_groups`.

  Returns:
    f64[groups, T], the lowest values first; NaN on the first days and where
    the group is empty on either day.

  Raises:
    ValueError: as `quantile_returns`.
  """
  _check_lag(lag)
  values, members = check_signal(signal, panel), np.asarray(panel.mask)
  _check_groups(groups, values, members, np.ones(len(panel.dates), bool))
  group = quantile_groups(ranks(values, members), groups)
  found = group_turnover(group, np.arange(groups), lag)
  return np.asarray(found, np.float64)


class Quantiles(NamedTuple):
  """Returns of stocks grouped by a signal. G groups, the lowest values first.

  daily: mean return of each group; NaN where none of it has one.
  market: that of all stocks in a group.
  spread: of the highest group less that of the lowest.
  mean: of the group's daily means over the days that count.
  excess: the same less the market, with intervals.
  spread_mean: likewise.
  monotonicity: Spearman correlation of the groups' order and their mean, 1
    where each group earns more than the one below it; NaN where one is unknown.
  """

  daily: np.ndarray  # f64[G, T]
  market: np.ndarray  # f64[T]
  spread: np.ndarray  # f64[T]
  mean: np.ndarray  # f64[G]
  excess: tuple[series.Mean, ...]  # G
  spread_mean: series.Mean
  monotonicity: float


def quantile_returns(
  signal: Signal,
  panel: Panel,
  groups: int = 5,
  *,
  label: LabelSpec = PAPER_LABEL,
  target: Signal | None = None,
  days: Days = None,
) -> Quantiles:
  """Mean returns of the day's stocks, grouped by the signal.

  The groups are those of `quantile_groups`, made of members with a value,
  whether or not their return will be known: nothing of the future decides who
  is in one. alphalens groups those with a return alone; where all have one,
  `daily` is its `mean_return_by_quantile(by_date=True, demeaned=False)`.

  Args:
    signal: f32[T, S].
    panel: gives the members, and the returns unless there is a `target`.
    groups: how many.
    label: the return, and how far those of neighbouring days overlap.
    target: f32[T, S], the label of a split.
    days: those that the means are over.

  Raises:
    ValueError: a signal of another shape, fewer than 2 groups, more than the
      members with a value on any of the days, dates outside the panel.
  """
  values, chosen = check_signal(signal, panel), select_days(panel, days)
  members = np.asarray(panel.mask)
  _check_groups(groups, values, members, chosen)
  if target is None:
    target = panel_lib.forward_return(panel, label)
  group = quantile_groups(ranks(values, members), groups)
  each, whole = _group_returns(
    group, check_signal(target, panel, 'the target'), groups=groups
  )
  daily, market = np.asarray(each, np.float64), np.asarray(whole, np.float64)
  lag, spread = series.overlap(label), daily[-1] - daily[0]
  excess = [series.mean(row[chosen], lag) for row in daily - market]
  means = np.array([series.mean(row[chosen], lag).mean for row in daily])
  return Quantiles(
    daily, market, spread, means, tuple(excess),
    series.mean(spread[chosen], lag), _monotonicity(means),
  )  # fmt: skip


def _monotonicity(means: np.ndarray) -> float:
  from scipy import stats

  if np.isnan(means).any() or np.ptp(means) == 0:
    return np.nan
  return float(stats.spearmanr(np.arange(len(means)), means).statistic)


def _check_groups(groups, values, members, days) -> None:
  if not _is_whole(groups) or groups < 2:
    raise ValueError(f'groups={groups}: expected a whole number, 2 or more')
  count = np.sum(members & np.isfinite(np.asarray(values)), -1)[days]
  most = count.max(initial=0)
  if most < groups:
    raise ValueError(
      f'groups={groups}, but no day has more than {most} members with a value '
      'of the signal: take fewer groups, or look why values are missing'
    )


@jax.jit
def ranks(signal: jax.Array, members: jax.Array) -> jax.Array:
  """Average rank / count of the day's members with a value, NaN elsewhere."""
  seen = members & jnp.isfinite(signal)
  return sorting.cross_sectional_rank(jnp.where(seen, signal, 0.0), seen)


@jax.jit
def quantile_groups(rank: jax.Array, groups: int | jax.Array) -> jax.Array:
  """The group of each stock on each day, i32[T, S]; -1 for who is in none.

  As pandas' `qcut` has them where no two stocks are level: the stock at place
  i of 0..n-1 is in the first group k of 1..G whose upper edge k (n-1) / G is
  not below i. Stocks that are level stay together, at the mean of their
  places, so a signal of few values leaves groups empty. A day with fewer
  stocks than groups has none.

  Args:
    rank: of `ranks`.
    groups: G.
  """
  seen = jnp.isfinite(rank)
  count = jnp.sum(seen, -1, keepdims=True)
  # Twice the place, a whole number also where two are level.
  place = jnp.round(2 * count * jnp.where(seen, rank, 0.0)) - 2
  width = 2.0 * jnp.maximum(count - 1, 1)
  # Rounded up, and half a step away from where rounding would decide.
  group = jnp.floor((place * groups + width - 0.5) / width)
  group = jnp.maximum(group, 1).astype(jnp.int32) - 1
  return jnp.where(seen & (count >= groups), group, -1)


def _before(x, lag, fill):
  """What was `lag` days before, `fill` where there is no such day."""
  known = jnp.arange(x.shape[-2]) >= lag
  return jnp.where(known[:, None], jnp.roll(x, lag, axis=-2), fill)


@jax.jit
def autocorrelation(rank: jax.Array, lag: int | jax.Array) -> jax.Array:
  """`rank_autocorrelation` of `ranks`, f32[T]."""
  return rank_correlation(rank, _before(rank, lag, jnp.nan))


def rank_correlation(rank: jax.Array, before: jax.Array) -> jax.Array:
  """Pearson's correlation of two days' ranks, `[T, S], [T, S] -> [T]`.

  Over the stocks that both rank; NaN where either ranks fewer than two apart.
  """
  both = jnp.isfinite(rank) & jnp.isfinite(before)
  x, x_constant = cross_section.unit(rank, both)
  y, y_constant = cross_section.unit(before, both)
  count = jnp.maximum(jnp.sum(both, -1), 1)
  apart = ~(x_constant | y_constant)[:, 0]
  return jnp.where(apart, jnp.sum(x * y, -1) / count, jnp.nan)


@jax.jit
def group_turnover(
  group: jax.Array, which: jax.Array, lag: int | jax.Array
) -> jax.Array:
  """`turnover` of some of `quantile_groups`, f32[G, T].

  which: the groups, i32[G].
  """
  inside = group[None] == which[:, None, None]
  return newcomers(inside, _before(inside, lag, False))


def newcomers(inside: jax.Array, before: jax.Array) -> jax.Array:
  """Share of a group that was not in it before, `bool[..., S] -> [...]`.

  NaN where the group is empty on either day.
  """
  count = jnp.sum(inside, -1)
  known = (count > 0) & jnp.any(before, -1)
  share = jnp.sum(inside & ~before, -1) / jnp.maximum(count, 1)
  return jnp.where(known, share, jnp.nan)


@functools.partial(jax.jit, static_argnames='groups')
def _group_returns(group, target, *, groups):
  """Mean return of each group, `[G, T]`, and of all in a group, `[T]`."""
  numbers = jnp.arange(groups)[:, None, None]
  group, target = group[None], target[None]
  labelled = (group >= 0) & jnp.isfinite(target)

  def mean(inside):
    count = jnp.sum(inside, -1)
    total = jnp.sum(jnp.where(inside, target, 0.0), -1)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)

  return mean(labelled & (group == numbers)), mean(labelled)[0]
