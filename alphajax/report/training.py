"""Figures of how a run went: IC, losses and seconds by iteration."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes

from alphajax.report import canvas
from alphajax.report.canvas import COLORS, PARTS, STYLE

# label, colour name, line style, x [N], y [N]; NaN in y is a gap.
Line = tuple[str, str, str, np.ndarray, np.ndarray]
_FEW = 3  # Fewer points make no line, so each is marked.


def curves(
  lines: Sequence[Line],
  xlabel: str,
  ylabel: str,
  name: str,
  mark: tuple[float, float] | None = None,
  below: np.ndarray | None = None,
) -> str:
  """Draws lines.

  Args:
    lines: at least one.
    xlabel, ylabel: of the axes.
    name: begins the ids in the SVG.
    mark: a point to point at: the best iteration.
    below: `[N]` what stands below each tick: the value of this at the first x
      of the first line that reaches the tick; None for no second row.

  Returns:
    SVG.
  """
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure()
    axes = figure.subplots()
    for label, color, style, x, y in lines:
      marker = 'o' if len(x) < _FEW else None
      axes.plot(x, y, style, color=COLORS[color], label=label, marker=marker)
    if mark is not None:
      _point_at(axes, mark)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    _whole_ticks(axes)
    axes.xaxis.set_major_formatter(_two_rows(lines[0][3], below))
    canvas.legend(axes, columns=3 if len(lines) > 3 else 4)
    return canvas.svg(figure, name)


def _point_at(axes: Axes, point: tuple[float, float]) -> None:
  axes.plot(
    *point,
    'o',
    color=COLORS['surface'],
    markeredgecolor=COLORS['ink'],
    markersize=5,
    label='best',
    zorder=5,
  )


def _whole_ticks(axes: Axes) -> None:
  axes.xaxis.set_major_locator(
    matplotlib.ticker.MaxNLocator(nbins=6, integer=True, min_n_ticks=1)
  )


def _two_rows(
  x: np.ndarray, below: np.ndarray | None
) -> matplotlib.ticker.Formatter:
  """Ticks as 1.5k, and below each what `below` says there."""
  engineering = matplotlib.ticker.EngFormatter(sep='')
  if below is None:
    return engineering

  def write(tick: float, _: int) -> str:
    at = int(np.searchsorted(x, tick))
    second = f'{below[at]:.0f}' if tick > 0 and at < len(x) else ''
    return f'{engineering(tick)}\n{second}'

  return matplotlib.ticker.FuncFormatter(write)


def losses(iterations: np.ndarray, values: Mapping[str, np.ndarray]) -> str:
  """Draws each loss `[N]` on an axis of its own: their scales differ."""
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure()
    stack = np.atleast_1d(figure.subplots(len(values), 1, sharex=True))
    for axes, (label, y) in zip(stack, values.items(), strict=True):
      marker = 'o' if len(y) < _FEW else None
      axes.plot(iterations, y, color=COLORS['run0'], marker=marker)
      axes.set_ylabel(label)
      axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=4))
    stack[-1].set_xlabel('iteration')
    _whole_ticks(stack[-1])
    figure.align_ylabels()
    return canvas.svg(figure, 'losses')


def part_colors(parts: Iterable[str]) -> dict[str, str]:
  """Parts of an iteration in the order to draw, each with its colour name.

  A known part has the same colour in every run; those of a method's own
  follow by name, and `other` is last.
  """
  parts = set(parts)
  known = {p: f'part{i}' for i, p in enumerate(PARTS) if p in parts}
  own = sorted(parts - {*PARTS, 'other'})
  more = {p: f'more{i % canvas.MORE}' for i, p in enumerate(own)}
  return known | more | ({'other': 'other'} if 'other' in parts else {})


def seconds(iterations: np.ndarray, parts: Mapping[str, np.ndarray]) -> str:
  """Stacks the seconds `[N]` of each part by iteration."""
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure(2.6 + 0.16 * -(-len(parts) // 4))
    axes = figure.subplots()
    bottom = np.zeros(len(iterations))
    for label, color in part_colors(parts).items():
      axes.bar(
        iterations,
        parts[label],
        width=0.86,
        bottom=bottom,
        color=COLORS[color],
        label=label.replace('_', ' '),
      )
      bottom = bottom + parts[label]
    axes.set_xlabel('iteration')
    axes.set_ylabel('seconds')
    axes.grid(False, axis='x')
    _whole_ticks(axes)
    canvas.legend(axes, columns=4)
    return canvas.svg(figure, 'seconds')
