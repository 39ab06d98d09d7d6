"""Figures of the report: arrays in, SVG text out.

Colours are CSS variables, so that one figure reads in light and in dark.
Sizes suit a phone's width; a desktop shows two beside each other.
"""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.dates
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Matplotlib draws in the stand-in, the page sees `var(--name)`.
_NAMES = (
  'ink muted grid surface train valid test positive negative '
  'search evaluation pool update other run0 run1 run2 run3 run4'
).split()
COLORS = {name: f'#fa00{index:02x}' for index, name in enumerate(_NAMES)}
MAX_RUNS = sum(name.startswith('run') for name in _NAMES)
_STYLE = {
  'svg.fonttype': 'none',  # Text stays text, in the page's own font.
  'font.size': 8.5,
  'text.color': COLORS['ink'],
  'axes.labelcolor': COLORS['muted'],
  'axes.edgecolor': COLORS['grid'],
  'axes.linewidth': 0.8,
  'axes.grid': True,
  'axes.axisbelow': True,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.spines.left': False,
  'grid.color': COLORS['grid'],
  'grid.linewidth': 0.7,
  'xtick.color': COLORS['muted'],
  'ytick.color': COLORS['muted'],
  'xtick.major.size': 0,
  'ytick.major.size': 0,
  'legend.frameon': False,
  'legend.handlelength': 1.4,
  'legend.borderaxespad': 0,
  'lines.linewidth': 1.5,
  'lines.solid_capstyle': 'round',
}


def _figure(height: float = 2.75) -> Figure:
  return Figure(figsize=(4.7, height), layout='constrained')


def _legend(axes: Axes, columns: int = 5) -> None:
  axes.legend(
    loc='lower left',
    bbox_to_anchor=(0, 1.02),
    ncols=columns,
    columnspacing=1.2,
    handletextpad=0.5,
  )


def _svg(figure: Figure, name: str) -> str:
  """Prints a figure as an SVG element whose ids begin with `name`."""
  buffer = io.StringIO()
  with matplotlib.rc_context(_STYLE | {'svg.hashsalt': name}):
    figure.savefig(
      buffer, format='svg', transparent=True, metadata={'Date': None}
    )
  text = buffer.getvalue()
  text = text[text.index('<svg') :]
  text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
  text = re.sub(r' (width|height)="[\d.]+pt"', '', text, count=2)
  # The page's font, whatever matplotlib measured with.
  text = re.sub(r'(font: [\d.]+px)[^;\"]*', r'\1 var(--font)', text)
  for color, stand_in in COLORS.items():
    text = text.replace(stand_in, f'var(--{color})')
  return re.sub(r'( id="|href="#|url\(#)', rf'\1{name}-', text)


def curves(
  lines: Sequence[tuple[str, str, str, np.ndarray, np.ndarray]],
  xlabel: str,
  ylabel: str,
  name: str,
  mark: tuple[float, float] | None = None,
) -> str:
  """Draws lines `(label, colour name, line style, x [N], y [N])`.

  NaN in y is a gap. `mark` is a point to point at: the best iteration.
  """
  with matplotlib.rc_context(_STYLE):
    figure = _figure()
    axes = figure.subplots()
    for label, color, style, x, y in lines:
      marker = 'o' if len(x) < 3 else None  # One point makes no line.
      axes.plot(x, y, style, color=COLORS[color], label=label, marker=marker)
    if mark is not None:
      axes.plot(
        *mark,
        'o',
        color=COLORS['surface'],
        markeredgecolor=COLORS['ink'],
        markersize=5,
        label='best',
        zorder=5,
      )
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
    axes.xaxis.set_major_locator(
      matplotlib.ticker.MaxNLocator(nbins=6, integer=True)
    )
    _legend(axes, columns=3 if len(lines) > 3 else 4)
    return _svg(figure, name)


def losses(iterations: np.ndarray, values: Mapping[str, np.ndarray]) -> str:
  """Draws each loss `[N]` on an axis of its own: their scales differ."""
  with matplotlib.rc_context(_STYLE):
    figure = _figure()
    stack = np.atleast_1d(figure.subplots(len(values), 1, sharex=True))
    for axes, (label, y) in zip(stack, values.items(), strict=True):
      marker = 'o' if len(y) < 3 else None
      axes.plot(iterations, y, color=COLORS['run0'], marker=marker)
      axes.set_ylabel(label)
      axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=4))
    stack[-1].set_xlabel('iteration')
    stack[-1].xaxis.set_major_locator(
      matplotlib.ticker.MaxNLocator(nbins=6, integer=True)
    )
    figure.align_ylabels()
    return _svg(figure, 'losses')


def seconds(iterations: np.ndarray, parts: Mapping[str, np.ndarray]) -> str:
  """Stacks the seconds `[N]` of each part; names are colour names."""
  with matplotlib.rc_context(_STYLE):
    figure = _figure()
    axes = figure.subplots()
    bottom = np.zeros(len(iterations))
    for label, y in parts.items():
      axes.bar(
        iterations,
        y,
        width=0.86,
        bottom=bottom,
        color=COLORS[label],
        label=label,
      )
      bottom = bottom + y
    axes.set_xlabel('iteration')
    axes.set_ylabel('seconds')
    axes.grid(False, axis='x')
    axes.xaxis.set_major_locator(
      matplotlib.ticker.MaxNLocator(nbins=6, integer=True)
    )
    _legend(axes)
    return _svg(figure, 'seconds')


def cumulative(
  series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> str:
  """Sums the daily IC (solid) and RankIC (dotted) within each split.

  series: split -> `(dates [T], ic [T], rank_ic [T])`; NaN adds nothing.
  """
  with matplotlib.rc_context(_STYLE):
    figure = _figure()
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
    _date_axis(axes)
    _legend(axes)
    return _svg(figure, 'cumulative')


def monthly(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
  """Bars of the mean IC of each month; split -> `(dates [T], ic [T])`."""
  with matplotlib.rc_context(_STYLE):
    figure = _figure()
    axes = figure.subplots()
    for split, (dates, ic) in series.items():
      months, index = np.unique(
        dates.astype('datetime64[M]'), return_inverse=True
      )
      means = np.bincount(index, np.nan_to_num(ic)) / np.bincount(index)
      axes.bar(
        months.astype('datetime64[D]') + 14,
        means,
        width=24,
        color=COLORS[split],
        label=split,
      )
    axes.axhline(0, color=COLORS['muted'], linewidth=0.8)
    axes.set_ylabel('mean IC of the month')
    axes.grid(False, axis='x')
    _date_axis(axes)
    _legend(axes)
    return _svg(figure, 'monthly')


def _date_axis(axes: Axes) -> None:
  locator = matplotlib.dates.AutoDateLocator(minticks=3, maxticks=8)
  axes.xaxis.set_major_locator(locator)
  axes.xaxis.set_major_formatter(
    matplotlib.dates.ConciseDateFormatter(locator, show_offset=False)
  )


def forest(
  names: Sequence[str], splits: Mapping[str, Sequence[Mapping[str, float]]]
) -> str:
  """Draws means with intervals, one row a name, one mark a split.

  splits: split -> for each name a dictionary of mean, low, high.
  """
  with matplotlib.rc_context(_STYLE):
    figure = _figure(max(3.0, 0.8 + 0.27 * len(names)))
    axes = figure.subplots()
    rows = np.arange(len(names))
    offsets = 0.24 * (np.arange(len(splits)) - (len(splits) - 1) / 2)
    for offset, (split, entries) in zip(offsets, splits.items(), strict=True):
      mean, low, high = (
        np.array([entry[key] for entry in entries], float)
        for key in ('mean', 'low', 'high')
      )
      axes.errorbar(
        mean,
        rows + offset,
        xerr=(mean - low, high - mean),
        fmt='o',
        markersize=3.5,
        elinewidth=1.3,
        color=COLORS[split],
        label=split,
      )
    axes.axvline(0, color=COLORS['muted'], linewidth=0.8)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel('IC')
    axes.grid(False, axis='y')
    _legend(axes)
    return _svg(figure, 'forest')


def heat_map(names: Sequence[str], correlation: np.ndarray) -> str:
  """Draws the lower triangle of `[P, P]`, opacity for strength; NaN blank."""
  count = len(names)
  with matplotlib.rc_context(_STYLE):
    figure = _figure(3.5)
    axes = figure.subplots()
    axes.set_aspect('equal')
    for row, column in zip(*np.tril_indices(count, -1), strict=True):
      value = correlation[row, column]
      if not np.isfinite(value):
        continue
      color = COLORS['positive' if value > 0 else 'negative']
      axes.add_patch(
        matplotlib.patches.Rectangle(
          (column - 0.47, row - 0.47),
          0.94,
          0.94,
          facecolor=color,
          alpha=0.8 * min(1.0, abs(value)),
          linewidth=0,
        )
      )
      if count <= 12:
        text = f'{value:.2f}'.replace('0.', '.').replace('-', '\N{MINUS SIGN}')
        axes.text(column, row, text, ha='center', va='center', fontsize=7)
    step = 1 + count // 25
    ticks = np.arange(0, count, step)
    axes.set_yticks(ticks, [names[i] for i in ticks])
    axes.set_xticks(ticks, [names[i] for i in ticks])
    axes.set_xlim(-0.5, max(count - 1.5, 0.5))
    axes.set_ylim(max(count - 0.5, 0.5), min(0.5, count - 1.5))
    axes.grid(False)
    axes.spines['bottom'].set_visible(False)
    return _svg(figure, 'heat')
