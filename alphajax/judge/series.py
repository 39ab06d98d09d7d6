"""Daily series: their means, how sure these are, by year and by month.

Some days have no figure (NaN): no group held a stock, nothing to compare with.
They are left out of a mean, and counted out of `days`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from alphajax.data.panel import LabelSpec
from alphajax.factor import metrics

PERIODS = {'year': 'datetime64[Y]', 'month': 'datetime64[M]'}


class Mean(NamedTuple):
  """The mean of a daily series over the days that it has a value on.

  low, high: the 95 % interval of `metrics.mean_interval`; NaN where there are
    too few days for one.
  p_value: of no mean at all, two-sided, by the same t; NaN likewise.
  days: how many have a value.
  """

  mean: float
  low: float
  high: float
  p_value: float
  days: int


def overlap(label: LabelSpec) -> int:
  """Days after a day whose labels share some of its return."""
  return max(label.exit - label.entry - 1, 0)


def mean(daily: np.ndarray, lag: int, judged: int = 1) -> Mean:
  """Mean, interval and p-value of a series whose labels overlap.

  Args:
    daily: `[T]`, NaN on days without a figure.
    lag: see `metrics.mean_interval`.
    judged: of how many series, of formulas say, this is one that was looked at:
      the interval holds and the p-value is true for all of them at once, by
      Sidak's correction (independent series; for dependent ones as those of
      formulas it is on the safe side).

  Raises:
    ValueError: no series, or fewer than one judged.
  """
  daily = np.asarray(daily, np.float64)
  if daily.ndim != 1:
    raise ValueError(f'expected a daily series [T], not shape {daily.shape}')
  if judged < 1:
    raise ValueError(f'judged={judged} series: this one is 1, so 1 or more')
  known = daily[~np.isnan(daily)]
  if known.size <= max(lag, 1):
    average = float(known.mean()) if known.size else np.nan
    return Mean(average, np.nan, np.nan, np.nan, known.size)
  average, error, freedom = metrics.mean_error(known, lag)
  share = -np.expm1(np.log(0.95) / judged)  # 1 - .95^(1 / judged).
  half = float(-special.stdtrit(freedom, share / 2) * error)
  if error > 0:
    single = 2 * special.stdtr(freedom, -abs(average) / error)
  else:
    single = float(average == 0)
  p_value = family_p_value(single, judged)
  return Mean(average, average - half, average + half, p_value, known.size)


def family_p_value(p_value: float, judged: int) -> float:
  """The p-value of the best of `judged` that were looked at (Sidak)."""
  with np.errstate(divide='ignore'):  # log(0) is what a p-value of 1 needs.
    return float(-np.expm1(judged * np.log1p(-p_value)))


def by_period(
  dates: Sequence[str] | np.ndarray,
  daily: np.ndarray,
  lag: int,
  period: str = 'year',
) -> list[dict[str, Any]]:
  """Figures of a daily series for every year or month that it has days in.

  Args:
    dates: `[T]`, ISO days, ascending.
    daily: `[T]`, NaN on days without a figure.
    lag: see `metrics.mean_interval`.
    period: 'year' or 'month'. A month has no interval where labels overlap by
      about as much: it would be made of one coefficient.

  Returns:
    A dict each: `period` as 2018 or 2018-03, `mean`, `low`, `high`, `p_value`,
    `days`, and `ratio`, the mean over the standard deviation.

  Raises:
    ValueError: another period, or as many dates as there are not days.
  """
  if period not in PERIODS:
    raise ValueError(f'period={period!r}: expected {" or ".join(PERIODS)}')
  daily = np.asarray(daily, np.float64)
  if daily.shape != (len(dates),):
    raise ValueError(f'{len(dates)} dates for a series of shape {daily.shape}')
  periods = np.asarray(dates, 'datetime64[D]').astype(PERIODS[period])
  rows = []
  for each in np.unique(periods):
    own = daily[(periods == each) & ~np.isnan(daily)]
    found = mean(own, lag)
    if own.size < 2 * (lag + 1):
      found = found._replace(low=np.nan, high=np.nan, p_value=np.nan)
    ratio = float(metrics.information_ratio(own)) if own.size else np.nan
    rows.append({'period': str(each), **found._asdict(), 'ratio': ratio})
  return rows
