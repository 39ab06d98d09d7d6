"""What was judged of formulas of any origin: a table, and `assess.html`."""

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup

from alphajax.judge import assessment, result
from alphajax.report import canvas
from alphajax.report.canvas import COLORS, STYLE
from alphajax.run import files

STRONGEST = 15  # Formulas in the figure of intervals.
TOLD = 20  # Refused lines that are told of.
SHOWN = 40  # Formulas that the table lists.


def order(found: Mapping[str, Any]) -> list[dict[str, Any]]:
  """The formulas, the surest first; those without an interval last."""
  return sorted(
    found['formulas'],
    key=lambda row: (row['ic']['p_value'] is None, row['ic']['p_value'] or 0.0),
  )


def summary(found: Mapping[str, Any]) -> Iterator[str]:
  """Sentences on all formulas together, and on what could not be judged."""
  count, judged = len(found['formulas']), found['judged']
  yield (
    f'{judged:,} formulas were judged on these {found["bars"]} so far, '
    f'{found["new"]:,} of them new now; counted in {found["ledger"]}'
  )
  yield (
    f'p and the interval in brackets hold for all {judged:,} at once (Sidak): '
    f'{found["claims"]} of {count:,} are told from 0. Alone, '
    f'{found["below_alone"]} have p below {assessment.ALPHA}, where noise '
    f'would have {found["expected_by_chance"]:.1f}.'
  )
  if found['every'] > 1:
    yield (
      f'RankIC, decay, turnover and coverage are of every {found["every"]}th '
      f'of the {found["bars"]} (--every=1 for all).'
    )
  if found['repeated']:
    yield f'{_lines(found["repeated"], "says", "say")} a formula again.'
  refused = found['refused']
  if refused:
    ahead = sum(each['looks_ahead'] for each in refused)
    more = f', {ahead} of them since they look ahead' if ahead else ''
    lines = _lines(len(refused), 'is', 'are')
    was = 'was' if len(refused) == 1 else 'were'
    yield f'{lines} no formula and {was} not judged{more}:'


def _lines(count: int, one: str, many: str) -> str:
  return f'1 line {one}' if count == 1 else f'{count:,} lines {many}'


def refusals(found: Mapping[str, Any]) -> Iterator[str]:
  """Place and reason of the lines that are no formula."""
  refused = found['refused']
  for each in refused[:TOLD]:
    yield f'{each["where"]}: {each["reason"]}'
  if len(refused) > TOLD:
    yield f'... and {len(refused) - TOLD} more in assess.json'


def table(found: Mapping[str, Any]) -> str:
  """A result for people: the formulas of the lowest p-values first."""
  rows = order(found)
  bars = found['bars']
  lines = [
    f'{len(rows):,} formulas on {" .. ".join(found["days"])}, the label is the '
    f'{result.label_text(found["label"], bars)}.',
    f'{"IC":>8} {"[after all judged]":>20}{"p":>8} {"RankIC":>8}{"turn":>6}'
    f'{"cover":>7}  formula',
  ]
  for row in rows[:SHOWN]:
    lines.append(_row(row, row['formula']))
    lines += [f'{"":10}{line}' for line in row['verdict']]
  if len(rows) > SHOWN:
    lines.append(f'... and {len(rows) - SHOWN:,} more in assess.json')
  if found['pool']:
    lines += [_row(found['pool'], 'the pool of all of them, weighted')]
    lines.append(f'{"":10}{found["pool"]["verdict"]}')
  return '\n'.join([*lines, *summary(found), *refusals(found)])


def _row(row: Mapping[str, Any], name: str) -> str:
  after = row['after']
  between = f'[{_plain(after["low"])}, {_plain(after["high"])}]'
  return (
    f'{_plain(row["ic"]["mean"]):>8} {between:>20}'
    f'{_plain(after["p_value"], 3):>8} {_plain(row["rank_ic"]["mean"]):>8}'
    f'{_plain(row["turnover"], 2):>6}{_plain(row["coverage"], 2):>7}  {name}'
  )


def _plain(value: float | None, digits: int = 4) -> str:
  return '-' if value is None else f'{value:.{digits}f}'


def noise_plot(rows: Sequence[Mapping[str, Any]], judged: int) -> str:
  """p-values in order beside those that pure noise would have."""
  values = np.sort([r['ic']['p_value'] for r in rows if r['ic']['p_value']])
  expected = (np.arange(len(values)) + 0.5) / max(len(values), 1)
  limit = -np.expm1(np.log1p(-assessment.ALPHA) / judged)
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure()
    axes = figure.subplots()
    top = -np.log10([min(values.min(initial=1), limit) / 3])[0]
    right = max(-np.log10(expected.min(initial=1)) * 1.05, 1)
    axes.plot([0, right], [0, right], color=COLORS['muted'], linewidth=0.8)
    axes.axhline(
      -np.log10(limit), color=COLORS['negative'], linewidth=1.0,
      linestyle='--', label=f'needed as one of {judged:,}',
    )  # fmt: skip
    axes.plot(
      -np.log10(expected), -np.log10(values), 'o', markersize=3,
      color=COLORS['train'], label='formulas',
    )  # fmt: skip
    axes.set_xlim(0, right)
    axes.set_ylim(0, top)
    axes.set_xlabel('\N{MINUS SIGN}log10 p of noise')
    axes.set_ylabel('\N{MINUS SIGN}log10 p of the IC, alone')
    canvas.legend(axes)
    return canvas.svg(figure, 'noise')


def strongest(rows: Sequence[Mapping[str, Any]]) -> str:
  """The IC of some formulas with intervals that hold for all judged."""
  mean, low, high = (
    np.array([row['after'][key] for row in rows], float)
    for key in ('mean', 'low', 'high')
  )
  places = np.arange(len(rows))
  with matplotlib.rc_context(STYLE):
    figure = canvas.new_figure(max(2.75, 0.7 + 0.2 * len(rows)))
    axes = figure.subplots()
    axes.errorbar(
      mean, places, xerr=(mean - low, high - mean), fmt='o', markersize=3.5,
      elinewidth=1.3, color=COLORS['test'],
    )  # fmt: skip
    axes.axvline(0, color=COLORS['muted'], linewidth=0.8)
    axes.set_yticks(places, [row['name'] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel('IC')
    axes.grid(False, axis='y')
    return canvas.svg(figure, 'strongest')


def render(found: Mapping[str, Any]) -> str:
  """The page as HTML text; nothing in it is fetched from elsewhere."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {'number': _number, 'share': _share}
  rows = [{'name': f'F{i}', **row} for i, row in enumerate(order(found), 1)]
  sure = [row for row in rows if row['after']['low'] is not None][:STRONGEST]
  figures = []
  if sure:
    figures = [
      {
        'title': 'p-values beside those of noise',
        'caption': 'On the line: as noise. Above the dashed one: told from 0.',
        'svg': Markup(noise_plot(rows, found['judged'])),
      },
      {
        'title': 'IC of the surest',
        'caption': f'Intervals hold for all {found["judged"]:,} at once.',
        'svg': Markup(strongest(sure)),
      },
    ]
  return environment.get_template('assessment.html').render(
    found=found,
    rows=rows,
    figures=figures,
    summary=list(summary(found)),
    refusals=list(refusals(found)),
    label=result.label_text(found['label'], found['bars']),
    now=datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
  )


def _number(value: float | None, digits: int = 4) -> str:
  if value is None:
    return '\N{EN DASH}'
  return f'{value:.{digits}f}'.replace('-', '\N{MINUS SIGN}')


def _share(value: float | None) -> str:
  """A p-value: small ones are below a thousandth."""
  if value is not None and value < 0.0005:
    return '< .001'
  return _number(value, 3)


def write(path: str | os.PathLike, found: Mapping[str, Any]) -> None:
  """Writes the page."""
  files.write_text(path, render(found))
