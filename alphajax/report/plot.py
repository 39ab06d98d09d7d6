"""Figures as plain SVG text: quick to make, values where the pointer is.

Of the size of matplotlib's figures in `canvas`, and by the same CSS variables.
Numbers that are not known are None or NaN, and draw nothing.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import escape

WIDTH, HEIGHT = 338.4, 190.0  # Points, as a figure of `canvas` has.
LEFT, RIGHT, TOP, BOTTOM = 40.0, 6.0, 24.0, 20.0
LABEL = 36.0  # Room of a month's name.
POINTS = 700  # Of a line; more cannot be told apart at this width.
MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()

Number = float | None
Form = Callable[[float], str]


class Line(NamedTuple):
  """A daily series `[T]` and the name of its colour."""

  label: str
  color: str
  values: np.ndarray
  dotted: bool = False


class Bars(NamedTuple):
  """One bar a name, with its interval where there is one.

  color: its name; empty: by the sign.
  """

  label: str
  color: str
  values: Sequence[Number]
  low: Sequence[Number] = ()
  high: Sequence[Number] = ()


class _Scale(NamedTuple):
  """Heights of the values from `low` to `high`."""

  low: float
  high: float
  bottom: float = HEIGHT - BOTTOM

  def y(self, value: float) -> float:
    share = (value - self.low) / (self.high - self.low)
    return self.bottom - share * (self.bottom - TOP)


def number(value: float, digits: int = 4) -> str:
  """0.0612 with a real minus sign."""
  return f'{value:.{digits}f}'.replace('-', '\N{MINUS SIGN}')


def percent(value: float, digits: int = 1) -> str:
  """A share as 6.1 %."""
  return f'{number(100 * value, digits)} %'


def is_known(value: Number) -> bool:
  """Whether there is a number to draw."""
  return value is not None and math.isfinite(value)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
  """Round numbers from `low` to `high`, at most about `most` of them."""
  step = 10.0 ** math.floor(math.log10((high - low) / most))
  for factor in (1, 2, 5, 10):
    if (high - low) / (factor * step) <= most:
      step *= factor
      break
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [step * i for i in range(first, last + 1)]


def lines(
  dates: np.ndarray,
  drawn: Sequence[Line],
  form: Form,
  *,
  named: bool = True,
) -> str:
  """Daily series over time; a month shows its last values.

  Args:
    dates: datetime64 `[T]`, ascending.
    drawn: `[T]` each.
    form: prints a value.
    named: whether their names stand above.
  """
  scale = _scale(np.concatenate([each.values for each in drawn]))
  x = LEFT + (WIDTH - LEFT - RIGHT) * _shares(dates)
  step = math.ceil(len(dates) / POINTS)
  kept = np.unique(np.append(np.arange(0, len(dates), step), len(dates) - 1))
  parts = [*_heights(scale, form), *_dates(dates, x)]
  for each in drawn:
    path = _path(x[kept], each.values[kept], scale)
    parts.append(
      f'<path d="{path}" style="fill: none; stroke: var(--{each.color}); '
      f'stroke-width: 1.4;{_dash(each)}"/>'
    )
  parts += _strips(dates, x, drawn, form)
  return _svg([*parts, *_legend(drawn if named else [])])


def bars(names: Sequence[str], drawn: Sequence[Bars], form: Form) -> str:
  """Bars side by side by name, from 0, with their intervals."""
  every = [
    value
    for each in drawn
    for value in (*each.values, *each.low, *each.high)
    if is_known(value)
  ]
  scale = _scale(np.array([0.0, *every]))
  room = (WIDTH - LEFT - RIGHT) / len(names)
  width = min(0.72 * room / len(drawn), 34.0)
  parts = list(_heights(scale, form))
  for i, name in enumerate(names):
    middle = LEFT + (i + 0.5) * room
    parts.append(_text(middle, HEIGHT - BOTTOM + 12, name))
    for j, each in enumerate(drawn):
      left = middle + (j - len(drawn) / 2) * width
      parts += _bar(each, i, name, left, width, scale, form)
  return _svg([*parts, *_legend([each for each in drawn if each.color])])


def month_map(years: Sequence[str], cells: np.ndarray, form: Form) -> str:
  """A row a year: twelve months, and the year; hue for the sign.

  Args:
    years: `[Y]`.
    cells: `[Y, 13]`, NaN where there is none.
    form: prints a value for the pointer; cells show `.06` for 0.06.
  """
  limit = np.nanmax(np.abs(cells), initial=0.0) or 1.0
  room, height = (WIDTH - 30.0 - RIGHT) / 13.4, 16.0
  parts = []
  for column, month in enumerate([*MONTHS, 'year']):
    parts.append(_text(_month_x(column, room), 12, month))
  for row, year in enumerate(years):
    y = 18 + row * height
    parts.append(_text(26, y + 11, year, 'end'))
    for column, value in enumerate(cells[row]):
      if np.isfinite(value):
        title = f'{year} {[*MONTHS, "whole year"][column]}: {form(value)}'
        x = _month_x(column, room) - room / 2
        parts.append(_cell(x, y, room, height, value / limit, title))
        parts.append(
          _text(x + room / 2, y + 11, _short(value), color='ink', size=7.5)
        )
  return _svg(parts, 22 + height * len(years))


def _month_x(column: int, room: float) -> float:
  """The middle of a column; the year stands apart."""
  return 30.0 + (column + (0.9 if column == 12 else 0.5)) * room


def _cell(x, y, width, height, share, title) -> str:
  hue = 'positive' if share > 0 else 'negative'
  return (
    f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{width - 1:.1f}" '
    f'height="{height - 1:.1f}" style="fill: var(--{hue}); '
    f'opacity: {0.66 * min(abs(share), 1.0):.2f}">'
    f'<title>{escape(title)}</title></rect>'
  )


def _short(value: float) -> str:
  text = f'{abs(value):.2f}'.removeprefix('0')
  if text == '.00':
    return '0'
  return ('\N{MINUS SIGN}' if value < 0 else '') + text


def _scale(values: np.ndarray) -> _Scale:
  known = values[np.isfinite(values)]
  low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
  room = 0.05 * (high - low) or abs(high) or 1.0
  # What begins at 0 stands on the axis.
  return _Scale(low - room if low else 0.0, high + room if high else 0.0)


def _shares(dates: np.ndarray) -> np.ndarray:
  """Where days stand between the first, 0, and the last, 1."""
  days = (dates - dates[0]).astype(float)
  return days / max(days[-1], 1.0)


def _heights(scale: _Scale, form: Form) -> Iterable[str]:
  """Grid lines with their values."""
  for tick in ticks(scale.low, scale.high):
    y, color = scale.y(tick), 'grid' if abs(tick) > 1e-12 else 'muted'
    yield (
      f'<path d="M{LEFT:.1f} {y:.1f}H{WIDTH - RIGHT:.1f}" '
      f'style="fill: none; stroke: var(--{color}); stroke-width: .7"/>'
    )
    yield _text(LEFT - 4, y + 3, form(tick), 'end')


def _dates(dates: np.ndarray, x: np.ndarray) -> Iterable[str]:
  """Years below the axis, at most eight; of a short series six months."""
  unit = 'Y' if len(np.unique(dates.astype('datetime64[Y]'))) > 2 else 'M'
  periods = dates.astype(f'datetime64[{unit}]')
  starts = np.flatnonzero(np.append(True, periods[1:] != periods[:-1]))
  shown = starts[:: math.ceil(len(starts) / (8 if unit == 'Y' else 6))]
  for i, after in zip(shown, [*x[shown[1:]], WIDTH], strict=True):
    # The first day may be the last of its month; its label begins there.
    room = LABEL * (1.5 if i == 0 else 1.0)
    if x[i] < WIDTH - RIGHT - 14 and after - x[i] > room:
      anchor = 'start' if i == 0 else 'middle'
      yield _text(x[i], HEIGHT - BOTTOM + 13, str(periods[i]), anchor)


def _path(x: np.ndarray, y: np.ndarray, scale: _Scale) -> str:
  """Lines through what is known; a gap where it is not."""
  words, begun = [], False
  for here, value in zip(x, y, strict=True):
    if not np.isfinite(value):
      begun = False
      continue
    words.append(f'{"L" if begun else "M"}{here:.1f} {scale.y(value):.1f}')
    begun = True
  return ''.join(words)


def _strips(
  dates: np.ndarray, x: np.ndarray, drawn: Sequence[Line], form: Form
) -> Iterable[str]:
  """What a month says where the pointer is on it."""
  months = dates.astype('datetime64[M]')
  ends = np.flatnonzero(np.append(months[1:] != months[:-1], True))
  left = x[0]
  for end in ends:
    said = ', '.join(
      f'{each.label} {form(each.values[end])}'
      for each in drawn
      if np.isfinite(each.values[end])
    )
    yield (
      f'<rect class="strip" x="{left:.1f}" y="{TOP:.0f}" '
      f'width="{max(x[end] - left, 0.5):.1f}" '
      f'height="{HEIGHT - TOP - BOTTOM:.0f}">'
      f'<title>{escape(f"{dates[end]}: {said}")}</title></rect>'
    )
    left = x[end]


def _bar(each: Bars, i: int, name, left, width, scale, form) -> Iterable[str]:
  value = each.values[i]
  if value is None or not is_known(value):
    return
  color = each.color or ('positive' if value > 0 else 'negative')
  top, bottom = sorted((scale.y(value), scale.y(0.0)))
  said = f'{name}: {each.label} {form(value)}'
  low, high = (x[i] if x else None for x in (each.low, each.high))
  if low is not None and high is not None:
    said += f' [{form(low)}, {form(high)}]'
  yield (
    f'<rect x="{left + 0.8:.1f}" y="{top:.1f}" width="{width - 1.6:.1f}" '
    f'height="{max(bottom - top, 0.6):.1f}" style="fill: var(--{color})">'
    f'<title>{escape(said)}</title></rect>'
  )
  if low is not None and high is not None:
    middle = left + width / 2
    yield (
      f'<path d="M{middle:.1f} {scale.y(low):.1f}V{scale.y(high):.1f}" '
      'style="fill: none; stroke: var(--ink); stroke-width: 1.1"/>'
    )


def _legend(drawn: Sequence[Line | Bars]) -> Iterable[str]:
  """Names above the axes, from their left."""
  x = LEFT
  for each in drawn:
    width, dash = 3.0, ''
    if isinstance(each, Line):
      width, dash = 2.0, _dash(each)
    yield (
      f'<path d="M{x:.1f} 8.5h12" style="fill: none; stroke: '
      f'var(--{each.color}); stroke-width: {width};{dash}"/>'
    )
    yield _text(x + 16, 12, each.label, 'start', 'ink')
    x += 30 + 4.6 * len(each.label)


def _dash(line: Line) -> str:
  return ' stroke-dasharray: 1.5 2.5;' if line.dotted else ''


def _text(x, y, text, anchor='middle', color='muted', size=8.5) -> str:
  return (
    f'<text x="{x:.1f}" y="{y:.1f}" style="font: {size}px var(--font); '
    f'text-anchor: {anchor}; fill: var(--{color})">{escape(text)}</text>'
  )


def _svg(parts: Iterable[str], height: float = HEIGHT) -> str:
  body = '\n'.join(parts)
  return f'<svg viewBox="0 0 {WIDTH:.1f} {height:.1f}">\n{body}\n</svg>'
