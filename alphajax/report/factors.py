"""Figures of single factors, and which of them say nearly the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from alphajax.analysis import words
from alphajax.data import panel
from alphajax.judge import assessment
from alphajax.language import formula
from alphajax.report import canvas, plot
from alphajax.report.canvas import COLORS, STYLE

ALIKE = 0.7  # |correlation| from which two factors say nearly the same.


def reading(text: str, features: Sequence[str] = ()) -> str:
  """A formula in plain words; empty where it cannot be read.

  features: columns of the run's data beside the usual ones.
  """
  names = tuple(dict.fromkeys((*panel.FEATURES, *features)))
  try:
    return words.reading(formula.parse(text, names))
  except ValueError:  # Of a column of its own; the formula stands beside it.
    return ''


def card(found: Mapping[str, Any] | None, bars: str) -> list[str]:
  """Decay, turnover and novelty of a factor in words; none: it was not judged.

  found: of `assessment.cards`.
  """
  if not found:
    return []
  lines = []
  decay = {h: ic for h, ic in found['decay'].items() if ic is not None}
  if decay:
    ics = ', '.join(plot.number(ic, 3) for ic in decay.values())
    lines.append(f'IC over {", ".join(decay)} {bars}: {ics}')
  if found['turnover'] is not None:
    share = plot.percent(found['turnover'], 0)
    lines.append(f'{share} of its highest fifth is new each {bars[:-1]}')
  near = found['published']
  if near is not None:
    turned = ' reversed' if near['correlation'] < 0 else ''
    alike = abs(near['correlation'])
    how = 'is' if alike >= assessment.TWIN else 'most like'
    said = f'correlation {plot.number(near["correlation"], 2)}'
    lines.append(f'{how} {near["name"]}{turned} ({said})')
  return lines


def forest(
  names: Sequence[str], splits: Mapping[str, Sequence[Mapping[str, float]]]
) -> str:
  """Draws means with intervals, one row a name, one mark a split.

  splits: split -> for each name a dictionary of mean, low, high.
  """
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure(max(2.75, 0.7 + 0.24 * len(names)))
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
    canvas.legend(axes)
    return canvas.svg(figure, 'forest')


def heat_map(names: Sequence[str], correlation: np.ndarray) -> str:
  """Draws the lower triangle of `[P, P]`, opacity for strength; NaN blank."""
  count = len(names)
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure(3.2)
    axes = figure.subplots()
    axes.set_aspect('equal')
    for row, column in np.argwhere(np.tri(count, k=-1)).tolist():
      value = correlation[row, column]
      if np.isfinite(value):
        text = canvas.short(value) if count <= 12 else ''
        said = f'{names[row]} and {names[column]}: {plot.number(value, 2)}'
        canvas.shade(axes, column, row, value, 1.0, text, said)
    step = 1 + count // 25
    ticks = list(range(0, count, step))
    axes.set_yticks(ticks, [names[i] for i in ticks])
    axes.set_xticks(ticks, [names[i] for i in ticks])
    axes.set_xlim(-0.5, max(count - 1.5, 0.5))
    axes.set_ylim(max(count - 0.5, 0.5), min(0.5, count - 1.5))
    axes.grid(False)
    axes.spines['bottom'].set_visible(False)
    return canvas.svg(figure, 'heat')


def clusters(correlation: np.ndarray) -> list[list[int]]:
  """Groups of two or more factors that |correlation| > `ALIKE` links.

  correlation: `[P, P]`, NaN links nothing. Members in order, groups by their
  first member.
  """
  with np.errstate(invalid='ignore'):
    reach = np.abs(correlation) > ALIKE
  reach |= reach.T
  np.fill_diagonal(reach, True)
  for _ in range(len(reach).bit_length()):  # Paths of twice the length.
    reach = (reach.astype(int) @ reach.astype(int)) > 0
  groups = {tuple(np.flatnonzero(row)) for row in reach}
  return [[int(i) for i in group] for group in sorted(groups) if len(group) > 1]


def twins(
  names: Sequence[str], weights: Sequence[float], correlation: np.ndarray
) -> list[str]:
  """A sentence for each group of factors that say nearly the same.

  Args:
    names: of the P factors.
    weights: of the factors in the pool.
    correlation: `[P, P]`, mean daily correlation of the factors.
  """
  return [
    _sentence(
      [names[i] for i in group],
      np.array([weights[i] for i in group]),
      correlation[np.ix_(group, group)],
    )
    for group in clusters(correlation)
  ]


def _sentence(
  names: Sequence[str], weights: np.ndarray, correlation: np.ndarray
) -> str:
  """What there is to say of one group, its weights, its correlations."""
  first, second = np.tril_indices(len(names), -1)
  pairs = correlation[first, second]
  linked = np.abs(pairs) > ALIKE  # NaN is not.
  low, high = (
    canvas.short(each(np.abs(pairs[linked]))) for each in (np.min, np.max)
  )
  between = low if low == high else f'{low} to {high}'
  what = 'correlation' if (pairs[linked] > 0).all() else '|correlation|'
  subject = f'{", ".join(names[:-1])} and {names[-1]}'
  how = 'say nearly the same'
  if not linked.all():
    how = 'are chained by pairs that say nearly the same'
  signs = np.sign(weights)
  if (signs[first] * signs[second] * pairs < 0)[linked].any():
    end = 'oppose each other: the pool trades their small difference.'
  else:
    end = 'agree: together they count as little more than one factor.'
  return f'{subject} {how} ({what} {between}) and their weights {end}'
