"""What all figures of the report share: colours, sizes, SVG text.

Colours are CSS variables, so that one figure reads in light and in dark.
Sizes suit a phone's width; a desktop shows two beside each other.
"""

import io
import re
from typing import Any

import matplotlib
import matplotlib.dates
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

PARTS = (  # Of an iteration, in the order in which they are stacked.
  'search evaluation pool targets update validation result checkpoint'
).split()
# Matplotlib draws in the stand-in, the page sees `var(--name)`.
_NAMES = (
  'ink muted grid surface train valid test positive negative '
  'part0 part1 part2 part3 part4 part5 part6 part7 '
  'more0 more1 more2 more3 other run0 run1 run2 run3 run4'
).split()
COLORS = {name: f'#fa00{index:02x}' for index, name in enumerate(_NAMES)}
MAX_RUNS = sum(name.startswith('run') for name in _NAMES)
MORE = sum(name.startswith('more') for name in _NAMES)
# Of the strongest cell: on it the ink still reads (4.5 to 1) in both themes.
STRONGEST = 0.66
STYLE: dict[Any, Any] = {  # Keys of matplotlib's.
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


def new_figure(height: float = 2.75) -> Figure:
  """A figure of the report's width, `height` in inches."""
  return Figure(figsize=(4.7, height), layout='constrained')


def legend(axes: Axes, columns: int = 5) -> None:
  """A legend above the axes, at their left."""
  axes.legend(
    loc='lower left',
    bbox_to_anchor=(0, 1.02),
    ncols=columns,
    columnspacing=1.2,
    handletextpad=0.5,
  )


def svg(figure: Figure, name: str) -> str:
  """Prints a figure as an SVG element whose ids begin with `name`."""
  buffer = io.StringIO()
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': name}):
    FigureCanvasSVG(figure)  # In whose units the layout is.
    layout = figure.get_layout_engine()
    if layout is not None:  # `savefig` would draw everything for it, unseen.
      figure.dpi = 72
      layout.execute(figure)
      figure.set_layout_engine(None)
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
  text = re.sub(r'<g id="tip:([^"]*)">', r'<g><title>\1</title>', text)
  return re.sub(r'( id="|href="#|url\(#)', rf'\1{name}-', text)


def tip(artist: Artist, text: str) -> None:
  """What is shown where the pointer is on a part of a figure."""
  artist.set_gid(f'tip:{text}')  # `svg` makes a title of it.


def shade(
  axes: Axes,
  x: float,
  y: float,
  value: float,
  limit: float,
  text: str = '',
  said: str = '',
) -> None:
  """Fills the cell around (x, y): hue for the sign, opacity for the size.

  text: in the cell. said: where the pointer is on it.
  """
  share = min(1.0, abs(value) / limit) if limit > 0 else 0.0
  cell = axes.add_patch(
    Rectangle(
      (x - 0.47, y - 0.47),
      0.94,
      0.94,
      facecolor=COLORS['positive' if value > 0 else 'negative'],
      alpha=STRONGEST * share,
      linewidth=0,
    )
  )
  cell.set_in_layout(False)  # It is inside, and there are many.
  if said:
    tip(cell, said)
  if text:
    label = axes.text(x, y, text, ha='center', va='center', fontsize=7.5)
    label.set_in_layout(False)


def short(value: float) -> str:
  """.06 for 0.06, with a real minus sign; as a cell has room for."""
  text = f'{abs(value):.2f}'
  if text == '0.00':
    return '0'
  return ('\N{MINUS SIGN}' if value < 0 else '') + text.removeprefix('0')


def date_axis(axes: Axes) -> None:
  """Few ticks, each a year or a month."""
  locator = matplotlib.dates.AutoDateLocator(minticks=3, maxticks=8)
  axes.xaxis.set_major_locator(locator)
  axes.xaxis.set_major_formatter(
    matplotlib.dates.ConciseDateFormatter(locator, show_offset=False)
  )
