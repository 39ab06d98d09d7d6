"""Figures of several methods: any-time curves with bands, and their worth."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import matplotlib.ticker
import numpy as np
import pandas as pd

from alphajax.judge import anytime
from alphajax.judge.bench import Entry
from alphajax.report import canvas, plot
from alphajax.report.canvas import COLORS, STYLE
from alphajax.report.plot import Line

# Told apart as long as there are no more; then they come again, dashed.
HUES = [f'run{i}' for i in range(5)] + [f'part{i}' for i in range(8)]
HUES += [f'more{i}' for i in range(4)]
BAND = 0.15  # Opacity.


class Look(NamedTuple):
  """How a method is drawn, in all figures of a page."""

  color: str
  dashed: bool


def looks(methods: Sequence[str]) -> dict[str, Look]:
  """A colour a method, the same in every figure."""
  return {
    name: Look(HUES[i % len(HUES)], i >= len(HUES))
    for i, name in enumerate(methods)
  }


def curves(
  entries: Sequence[Entry],
  look: dict[str, Look],
  axis: str,
  figure: str,
  name: str,
) -> str:
  """IC by what was spent: mean over the seeds, and a band over all of them.

  A method that counts no formulas is a level, what it ended with. Beside the
  validation ICs a diamond is the IC of the days that were judged.

  Args:
    entries: of one market.
    look: of each method.
    axis: 'evaluated' or 'seconds'.
    figure: 'train_ic' or 'valid_ic'.
    name: begins the ids in the SVG.

  Returns:
    SVG; empty where there is nothing to draw.
  """
  drawn = 0
  with matplotlib.rc_context(STYLE):
    drawing = canvas.new_figure()
    axes = drawing.subplots()
    for method, each in look.items():
      seen = [
        entry.curve
        for entry in entries
        if entry.method == method and entry.curve is not None
      ]
      drawn += _draw(axes, method, each, seen, axis, figure)
      if figure == 'valid_ic':
        _point_at(axes, each, entries, method, axis)
    axes.set_xlabel('formulas evaluated' if axis == 'evaluated' else 'seconds')
    axes.set_ylabel('train IC' if figure == 'train_ic' else 'validation IC')
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
    return canvas.svg(drawing, name) if drawn else ''


def _point_at(axes, look: Look, entries, method: str, axis: str) -> None:
  """A point at what the days that were judged said in the end."""
  own = [e for e in entries if e.method == method and e.curve is not None]
  spent = [getattr(entry.curve, axis)[-1] for entry in own]
  if not own or not np.isfinite(spent).all():
    return
  mean = float(np.mean([entry.figures['ic'] for entry in own]))
  (point,) = axes.plot(max(spent), mean, 'D', markersize=4, zorder=4,
                       color=COLORS[look.color])  # fmt: skip
  canvas.tip(point, f'{method} on the days judged: {mean:.4f}')


def _draw(axes, method: str, look: Look, seen, axis: str, figure: str) -> bool:
  """Draws one method; whether there was anything to draw."""
  style = '--' if look.dashed else '-'
  found = anytime.band(seen, axis, figure)
  if found is None:
    ends = [getattr(curve, figure)[-1] for curve in seen]
    if axis != 'evaluated' or not np.isfinite(ends).any():
      return False
    level = axes.axhline(
      np.nanmean(ends), color=COLORS[look.color], linestyle=':'
    )
    canvas.tip(level, f'{method}, without formulas: {np.nanmean(ends):.4f}')
    return True
  marker = 'o' if len(found.spent) < 2 else None
  (line,) = axes.plot(
    found.spent, found.mean, style, color=COLORS[look.color], marker=marker
  )
  axes.fill_between(
    found.spent, found.low, found.high, color=COLORS[look.color], alpha=BAND,
    linewidth=0,
  )  # fmt: skip
  end = f'{found.mean[-1]:.4f} after {found.spent[-1]:,.0f}'
  canvas.tip(line, f'{method}: {end}')
  return True


def worth(entries: Sequence[Entry], look: dict[str, Look]) -> str:
  """Figure 5: what 1 became, mean over the seeds, with the benchmark.

  Over the days that all have; each begins as 1.

  Returns:
    SVG; empty where there is no backtest.
  """
  series = {
    f'{entry.method} {entry.seed}': _worth(entry, 'portfolio')
    for entry in entries
    if entry.worth
  }
  if not series:
    return ''
  held = next(entry for entry in entries if entry.worth)
  frame = pd.concat(
    {**series, ' benchmark': _worth(held, 'benchmark')}, axis=1, join='inner'
  )
  if frame.empty:
    return ''
  frame = frame / frame.iloc[0]
  drawn = []
  for method, each in look.items():
    own = [
      f'{entry.method} {entry.seed}'
      for entry in entries
      if entry.method == method and entry.worth
    ]
    if own:
      mean = frame[own].mean(axis=1).to_numpy()
      drawn.append(Line(method, each.color, mean))
  benchmark = frame[' benchmark'].to_numpy()
  drawn.append(Line('benchmark', 'muted', benchmark, dotted=True))
  dates = frame.index.to_numpy('datetime64[D]')
  return plot.lines(dates, drawn, lambda x: plot.number(x, 2), named=False)


def _worth(entry: Entry, name: str) -> pd.Series:
  dates = pd.DatetimeIndex(entry.worth['dates'])
  return pd.Series(entry.worth[name], dates)
