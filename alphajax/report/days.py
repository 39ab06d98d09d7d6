"""Figures of the daily IC of a result: its sum, and month by month."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from alphajax.report import canvas, plot
from alphajax.report.canvas import COLORS, STYLE

MONTHS = plot.MONTHS
_YEAR = 12.35  # Where the column of whole years stands, months being 0 to 11.
_GAP = 0.45  # Between the rows of two splits.


def cumulative(
  series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> str:
  """Sums the daily IC (solid) and RankIC (dotted) within each split.

  series: split -> `(dates [T], ic [T], rank_ic [T])`; NaN adds nothing.
  """
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure()
    axes = figure.subplots()
    for split, (dates, ic, rank_ic) in series.items():
      color = COLORS[split]
      axes.axvspan(dates[0], dates[-1], color=color, alpha=0.07, linewidth=0)
      axes.plot(dates, np.nancumsum(ic), color=color, label=split)
      axes.plot(
        dates, np.nancumsum(rank_ic), color=color, linestyle=':', linewidth=1.1
      )
    axes.plot([], [], ':', color=COLORS['muted'], label='RankIC')
    axes.axhline(0, color=COLORS['muted'], linewidth=0.8)
    axes.set_ylabel('sum of daily IC')
    canvas.date_axis(axes)
    canvas.legend(axes)
    return canvas.svg(figure, 'cumulative')


def monthly_means(
  dates: np.ndarray, ic: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Mean IC by year and month.

  Args:
    dates: datetime64 `[T]`.
    ic: `[T]`; NaN days do not count.

  Returns:
    The years `[Y]`, and the means `[Y, 13]` of the twelve months and of the
    whole year; NaN where no day counts.
  """
  known = np.isfinite(ic)
  months = dates[known].astype('datetime64[M]').astype(int)
  ic = ic[known]
  years = np.unique(months // 12)
  row, column = np.searchsorted(years, months // 12), months % 12
  sums, counts = np.zeros((2, len(years), 13))
  np.add.at(sums, (row, column), ic)
  np.add.at(counts, (row, column), 1)
  sums[:, 12], counts[:, 12] = sums.sum(1), counts.sum(1)
  means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
  return years + 1970, means


def monthly(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
  """Heat map of the mean IC, a row a year, a column a month, by split.

  series: split -> `(dates [T], ic [T])`. A year that two splits share has a
  row in each.
  """
  tables = {split: monthly_means(*each) for split, each in series.items()}
  limit = max(np.nanmax(np.abs(m), initial=0) for _, m in tables.values())
  rows = sum(len(years) for years, _ in tables.values())
  height = rows + _GAP * (len(tables) - 1)
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure(0.62 + 0.22 * height)
    axes = figure.subplots()
    top, ticks = 0.0, {}
    for split, (years, means) in tables.items():
      ticks |= {top + i: str(year) for i, year in enumerate(years)}
      _block(axes, split, top, years, means, limit)
      top += len(years) + _GAP
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_xticks([*range(12), _YEAR], [*MONTHS, 'year'])
    axes.xaxis.tick_top()
    axes.set_xlim(-0.95, _YEAR + 1.1)
    axes.set_ylim(height + 0.75, -0.5)
    axes.grid(False)
    axes.spines['bottom'].set_visible(False)
    _scale(axes, height + 0.25, limit)
    return canvas.svg(figure, 'monthly')


def _block(
  axes: Axes,
  split: str,
  top: float,
  years: np.ndarray,
  means: np.ndarray,
  limit: float,
) -> None:
  """The rows of a split, from y = `top` on, and its mark at their side."""
  for (row, column), value in np.ndenumerate(means):
    if np.isfinite(value):
      x = column if column < 12 else _YEAR
      said = f'{years[row]} {[*MONTHS, "whole year"][column]}, {split}: '
      said += plot.number(value)
      canvas.shade(axes, x, top + row, value, limit, canvas.short(value), said)
  color = COLORS[split]
  axes.add_patch(
    Rectangle((-0.9, top - 0.47), 0.16, len(means) - 0.06, facecolor=color)
  )
  axes.text(
    _YEAR + 0.85,
    top + (len(means) - 1) / 2,
    split,
    color=color,
    rotation=270,
    ha='center',
    va='center',
    fontsize=7.5,
  )


def _scale(axes: Axes, y: float, limit: float) -> None:
  """The legend: from the deepest to the highest colour."""
  for x in range(7):
    value = limit * (x - 3) / 3
    text = canvas.short(value) if x in (0, 3, 6) else ''
    canvas.shade(axes, x + 3, y, value, limit, text)
  axes.text(2.3, y, 'mean IC', ha='right', va='center', color=COLORS['muted'])
