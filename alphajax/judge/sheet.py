"""All figures of one signal on one split, as a dict that JSON can hold.

  figures          of `figures.of_signal`, and `p_value` of IC and RankIC;
                   `of_judged`, both as they are of all signals looked at
  decay            a list: `horizon` and what `signals.decay` has of it
  autocorrelation  a list: `lag`, and the `mean` rank autocorrelation
  turnover         a list: `groups`, `lag`, and the mean of each group
  quantiles        a list: `groups`, `mean` and `excess` of each, `spread`,
                   `monotonicity`
  years, months    `ic` and `rank_ic`: lists of `series.by_period`
  styles, explained, left   of `styles.of_signal`
  notes            sentences on what is left out
  daily            lists by name, a place for each scored day: `dates`, `ic`,
                   `rank_ic`, `coverage`, `autocorrelation_LAG`, `left_ic`,
                   `left_rank_ic`, `explained`, and of each number of groups
                   `spread_GROUPS` and `turnover_GROUPS_LAG`, the mean of the
                   lowest and the highest group

Definitions are those of the functions that make the parts. Arrays are lists,
NaN is None. A portfolio is not in it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from alphajax.data.panel import PAPER_LABEL, LabelSpec, Split
from alphajax.judge import figures, series, signals, styles
from alphajax.judge.signals import HORIZONS, Signal

GROUPS = (5, 10)
LAGS = (1, 5, 20)  # Days between the ranks that are compared.


def tear_sheet(
  signal: Signal,
  split: Split,
  label: LabelSpec = PAPER_LABEL,
  *,
  horizons: Sequence[int] = HORIZONS,
  groups: Sequence[int] = GROUPS,
  lags: Sequence[int] = LAGS,
  style_values: Mapping[str, jax.Array] | None = None,
  judged: int = 1,
) -> dict[str, Any]:
  """What a signal is worth on the scored days of a split, see above.

  The label of the split is used throughout but for the decay, whose returns
  are not neutralised.

  Args:
    signal: f32[T, S] on the split's panel.
    split: the days; those scored count.
    label: that of the split.
    horizons: of the decay, in days.
    groups: how many, for the turnover and the returns of groups; numbers that
      no day has members enough for are left out, and `notes` says so.
    lags: of the rank autocorrelation and the turnover, in days.
    style_values: see `styles.of_signal`.
    judged: of how many signals that were looked at this is one, see
      `series.mean`; the others' figures are not widened.

  Raises:
    ValueError: a signal of another shape, horizons or lags that are no whole
      numbers above 0, fewer than 2 groups, a style of another shape.
  """
  panel, days = split.panel, np.asarray(split.scored)
  values = signals.check_signal(signal, panel)
  found, daily = figures.of_signal(values, split, label)
  notes: list[str] = []
  shares, share_daily = _groups(values, split, label, groups, lags, notes)
  styled, style_daily = styles.of_signal(values, split, label, style_values)
  persistence, by_lag = _autocorrelation(values, split, lags)
  daily = {'dates': np.array(panel.dates)[days], **daily}
  decay = signals.decay(values, panel, horizons, label=label, days=days)
  sheet = {
    'figures': found | _tested(daily, label, judged),
    'decay': [{'horizon': h, **each} for h, each in decay.items()],
    'autocorrelation': persistence,
    **shares,
    **_by_period(daily, label),
    **styled,
    'notes': notes,
    'daily': {
      **daily,
      'coverage': signals.coverage(values, panel)[days],
      **by_lag,
      **share_daily,
      **style_daily,
    },
  }
  return plain(sheet)


def _tested(daily: figures.Series, label: LabelSpec, judged: int):
  """P-values of IC and RankIC, and what they are as one of many."""
  lag = series.overlap(label)
  names = ('ic', 'rank_ic')
  single = {name: series.mean(daily[name], lag) for name in names}
  of_all = {name: series.mean(daily[name], lag, judged) for name in names}
  return {
    'p_value': {name: each.p_value for name, each in single.items()},
    'of_judged': {
      'judged': judged,
      **{name: each._asdict() for name, each in of_all.items()},
    },
  }


def _autocorrelation(values, split, lags):
  rows, daily = [], {}
  for lag in lags:
    each = signals.rank_autocorrelation(values, split.panel, lag)
    each = each[np.asarray(split.scored)]
    rows.append({'lag': lag, 'mean': series.mean(each, 0).mean})
    daily[f'autocorrelation_{lag}'] = each
  return rows, daily


def _groups(values, split, label, groups, lags, notes):
  """Turnover and returns of groups, and the daily ones of the largest number.

  notes: gets a sentence for each number of groups that there cannot be.
  """
  panel, days = split.panel, np.asarray(split.scored)
  members = np.asarray(panel.mask) & np.isfinite(np.asarray(values))
  most = members[days].sum(1).max(initial=0)
  turnover, quantiles, daily = [], [], {}
  for number in groups:
    if number >= 2 and most < number:
      notes.append(
        f'no returns of {number} groups: no scored day has more than {most} '
        'members with a value'
      )
      continue
    returns = signals.quantile_returns(
      values, panel, number, label=label, target=split.target, days=days
    )
    quantiles.append({
      'groups': number,
      'mean': returns.mean,
      'excess': [each._asdict() for each in returns.excess],
      'spread': returns.spread_mean._asdict(),
      'monotonicity': returns.monotonicity,
    })  # fmt: skip
    daily[f'spread_{number}'] = returns.spread[days]
    for lag in lags:
      share = signals.turnover(values, panel, number, lag)[:, days]
      means = [series.mean(each, 0).mean for each in share]
      turnover.append({'groups': number, 'lag': lag, 'mean': means})
      daily[f'turnover_{number}_{lag}'] = share[[0, -1]].mean(0)
  return {'turnover': turnover, 'quantiles': quantiles}, daily


def _by_period(daily: figures.Series, label: LabelSpec):
  """`years` and `months`, each with IC and RankIC."""
  dates, lag = daily['dates'], series.overlap(label)
  return {
    f'{period}s': {
      name: series.by_period(dates, daily[name], lag, period)
      for name in ('ic', 'rank_ic')
    }
    for period in series.PERIODS
  }


def plain(value: Any) -> Any:
  """Lists for arrays and tuples, None for what is not finite, Python's numbers.

  Floats of arrays in float32 are as long as that precision is.
  """
  if isinstance(value, Mapping):
    return {str(key): plain(each) for key, each in value.items()}
  if isinstance(value, np.ndarray) and value.dtype == np.float32:
    return plain([float(str(each)) for each in value])
  if isinstance(value, list | tuple | np.ndarray):
    return [plain(each) for each in value]
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
