"""What a page shows of one judgement: figures, and tables of plain rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from alphajax.report import days, plot, rules, verdict
from alphajax.report.plot import Bars, Line, number, percent
from alphajax.run import files
from alphajax.run.folder import Run

Drawn = tuple[str, str, str]  # Title, caption, SVG.
# Of a backtest: title, key, whether it is a share.
ROWS = (
  ('annual return', 'annual_return', True),
  ('of the benchmark', 'benchmark_return', True),
  ('excess return', 'excess_return', True),
  ('volatility', 'volatility', True),
  ('Sharpe', 'sharpe', False),
  ('Sortino', 'sortino', False),
  ('information ratio', 'information_ratio', False),
  ('Calmar', 'calmar', False),
  ('hit rate', 'hit_rate', True),
  ('turnover of a day', 'turnover', True),
  ('cost of a year', 'cost', True),
)


class Judged(NamedTuple):
  """An evaluation that has what `judge.judgement` gives, or a part of it.

  name: `test`, or that of the evaluation or the walk.
  title: of its section.
  entry: as in `results.json`: `test`, maybe `sheet` and `backtest`.
  daily: its series; `dates`, `ic`, `rank_ic` too.
  """

  name: str
  title: str
  entry: Mapping[str, Any]
  daily: Mapping[str, np.ndarray]


def of_run(run: Run) -> list[Judged]:
  """The evaluations of a run, the test split first.

  Those of older versions have no sheet: of them there is nothing to show here.
  """
  results = run.results or {}
  entries = {'test': results} | dict(results.get('evaluations', {}))
  found = []
  for name, entry in entries.items():
    if 'sheet' not in entry:
      continue
    title = 'The test split judged'
    if name != 'test':
      title = f'{name} judged: {" to ".join(entry["split"])}'
    daily = files.read_arrays(Path(run.workdir) / f'daily_{name}.npz')
    found.append(Judged(name, title, entry, daily))
  return found


def section(
  judged: Judged,
  horizon: int,
  bars: str,
  *,
  months: bool = False,
  sentences: Sequence[verdict.Sentence] = (),
) -> dict[str, Any]:
  """What the macro `judged_of` shows.

  Args:
    judged: of `of_run`.
    horizon: bars of the label.
    bars: what they are called.
    months: whether to draw the monthly IC.
    sentences: a verdict, where it does not stand at the top of the page.
  """
  backtest = judged.entry.get('backtest', {})
  money = 'figures' in backtest
  notes = judged.entry['sheet']['notes'] if 'sheet' in judged.entry else []
  return {
    'title': judged.title,
    'sentences': sentences,
    'figures': figures(judged, horizon, bars, months),
    'money': backtest_rows(backtest) if money else [],
    'rules': rules.text(backtest['spec']) if money else '',
    'notes': [*notes, *backtest.get('notes', ())],
    'missing': backtest.get('missing', ''),
    'years': year_rows(judged.entry),
  }


def figures(
  judged: Judged, horizon: int, bars: str, months: bool
) -> list[dict[str, Any]]:
  """Title, caption and SVG of each figure that there is data for.

  Args:
    judged: of `of_run`.
    horizon: bars of the label.
    bars: what they are called.
    months: whether to draw the monthly IC.
  """
  parts = [*_ic(judged, months)]
  if 'sheet' in judged.entry:
    parts += _sheet(judged.entry['sheet'], horizon, bars)
  if 'backtest_nav' in judged.daily:
    parts += _money(judged.daily)
  return [
    {'title': title, 'caption': caption, 'svg': Markup(svg)}
    for title, caption, svg in parts
  ]


def _ic(judged: Judged, months: bool) -> Iterator[Drawn]:
  """The IC of the days that were judged."""
  daily = judged.daily
  if not len(daily.get('ic', ())):
    return
  dates = np.asarray(daily['dates'], 'datetime64[D]')
  drawn = [
    Line('IC', 'test', np.nancumsum(daily['ic'])),
    Line('RankIC', 'run1', np.nancumsum(daily['rank_ic'])),
  ]
  if 'left_ic' in daily:
    left = np.nancumsum(daily['left_ic'])
    drawn.append(Line('IC without styles', 'muted', left, dotted=True))
  yield (
    'Sum of the daily IC',
    'A straight line is a steady signal; dotted is what is left once simple '
    'styles are regressed out of it day by day.',
    plot.lines(dates, drawn, lambda x: number(x, 1)),
  )
  if months:
    years, means = days.monthly_means(dates, np.asarray(daily['ic'], float))
    yield (
      'IC of each month',
      'Mean of the daily IC within each month and each year.',
      plot.month_map([str(year) for year in years], means, number),
    )


def _sheet(
  sheet: Mapping[str, Any], horizon: int, bars: str
) -> Iterator[Drawn]:
  """Groups, decay, persistence and styles."""
  if sheet['quantiles']:
    yield _groups(sheet['quantiles'][-1], horizon, bars)
  rows = sheet['decay']
  drawn = [
    Bars(
      title, color, *(_column(rows, key, x) for x in ('mean', 'low', 'high'))
    )
    for title, key, color in (
      ('IC', 'ic', 'test'),
      ('RankIC', 'rank_ic', 'run1'),
    )
  ]
  yield (
    'Decay',
    f'IC with the returns over so many {bars}, with 95 % intervals.',
    plot.bars([_count(row['horizon'], bars) for row in rows], drawn, number),
  )
  yield _persistence(sheet, bars)
  yield _styles(sheet)


def _column(
  rows: Sequence[Mapping[str, Any]], *path: str
) -> list[float | None]:
  """What all rows have at a path of keys."""
  values = []
  for row in rows:
    value: Any = row
    for key in path:
      value = value[key]
    values.append(value)
  return values


def _groups(row: Mapping[str, Any], horizon: int, bars: str) -> Drawn:
  """Returns of groups, lowest signal first."""
  count, spread = row['groups'], row['spread']
  names = [str(i + 1) for i in range(count)]
  drawn = Bars(
    'return above the mean', '',
    *(_column(row['excess'], key) for key in ('mean', 'low', 'high')),
  )  # fmt: skip
  caption = (
    f'Return over {horizon} {bars} above that of all members, by {count} '
    'groups from the lowest signal to the highest.'
  )
  if spread['mean'] is not None:
    caption += f' Highest less lowest {_interval(spread, percent)}'
    caption += f'; monotonicity {_or_dash(row["monotonicity"], 2)}.'
  return 'Returns of groups', caption, plot.bars(names, [drawn], percent)


def _persistence(sheet: Mapping[str, Any], bars: str) -> Drawn:
  """How long ranks stay, and how fast the outer groups are exchanged."""
  rows = sheet['autocorrelation']
  lags = [row['lag'] for row in rows]
  drawn = [Bars('rank correlation', 'run0', _column(rows, 'mean'))]
  least = min((row['groups'] for row in sheet['turnover']), default=None)
  if least is not None:
    outer = {
      row['lag']: (row['mean'][0], row['mean'][-1])
      for row in sheet['turnover']
      if row['groups'] == least
    }
    for title, color, end in (
      ('new in lowest', 'part2', 0),
      ('new in highest', 'part3', 1),
    ):
      values = [outer[lag][end] if lag in outer else None for lag in lags]
      drawn.append(Bars(title, color, values))
  caption = f'Correlation of the ranks with those so many {bars} before'
  if least is not None:
    caption += f', and the share of the outer of {least} groups that is new'
  names = [_count(lag, bars) for lag in lags]
  return (
    'Persistence and turnover',
    f'{caption}.',
    plot.bars(names, drawn, lambda x: number(x, 2)),
  )


def _styles(sheet: Mapping[str, Any]) -> Drawn:
  """Exposure to styles, and the IC that is left."""
  rows = list(sheet['styles'].values())
  drawn = Bars('mean daily correlation', '', _column(rows, 'exposure'))
  caption = 'Mean daily correlation with simple styles.'
  if sheet['explained'] is not None:
    caption += f' They explain {percent(sheet["explained"])} of the signal.'
  if sheet['left']['ic']['mean'] is not None:
    caption += (
      f' IC without them {_interval(sheet["left"]["ic"], number)}, with them '
      f'{_interval(sheet["figures"]["ic"], number)}.'
    )
  part = [
    f'{name} in {percent(x["known"], 0)}'
    for name, x in sheet['styles'].items()
    if x['known'] < 0.95
  ]
  if part:
    caption += f' Not known of all cells: {", ".join(part)}.'
  svg = plot.bars([*sheet['styles']], [drawn], lambda x: number(x, 2))
  return 'Styles', caption, svg


def _money(daily: Mapping[str, np.ndarray]) -> Iterator[Drawn]:
  """NAV and drawdown against the benchmark."""
  dates = np.asarray(daily['backtest_dates'], 'datetime64[D]')
  other = np.asarray(daily['backtest_benchmark'], float)
  highest = np.maximum.accumulate(np.maximum(other, 1.0))
  yield (
    'Portfolio and benchmark',
    'Worth of 1 at the start, after costs; the benchmark pays none.',
    plot.lines(
      dates,
      [
        Line('portfolio', 'test', daily['backtest_nav']),
        Line('benchmark', 'muted', other, dotted=True),
      ],
      lambda x: number(x, 2),
    ),
  )
  yield (
    'Drawdown',
    'Below the highest worth so far.',
    plot.lines(
      dates,
      [
        Line('portfolio', 'negative', daily['backtest_drawdown']),
        Line('benchmark', 'muted', other / highest - 1.0, dotted=True),
      ],
      percent,
    ),
  )


def backtest_rows(backtest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
  """Name, value and interval of each figure of a backtest, as text."""
  rows = []
  for title, key, is_share in ROWS:
    figure = backtest['figures'].get(key)
    if figure is None or figure['value'] is None:
      continue
    form = percent if is_share else _two
    rows.append((title, form(figure['value']), _brackets(figure, form)))
  even = backtest['figures']['break_even']
  if even['value'] is not None:
    rows.append(
      ('break-even cost, basis points a side', number(even['value'], 1),
       _brackets(even, lambda x: number(x, 1)))
    )  # fmt: skip
  charged = verdict.paid(backtest)
  if charged is not None:
    title = 'paid, basis points a side, all charges together'
    rows.append((title, number(charged, 1), ''))
  best = backtest.get('deflated')
  if best and best['judged'] > 1:
    rows.append(
      (f'chance that the Sharpe ratio over the benchmark, '
       f'{_two(best["sharpe"])}, is more than the best of {best["judged"]:,} '
       f'without skill, {_two(best["threshold"])}',
       percent(best['probability'], 0), '')
    )  # fmt: skip
  fall = backtest['drawdown']
  span = ''
  if fall['trough']:
    back = f'back {fall["recovery"]}' if fall['recovery'] else 'not back'
    span = f'{fall["peak"] or "the start"} to {fall["trough"]}, {back}'
  rows.append(('deepest drawdown', percent(fall['depth']), span))
  frozen = backtest.get('frozen')
  if frozen and frozen['most']:
    title = 'of the money in stocks without a price: at the end, at most'
    most = f'{percent(frozen["most"])} on {frozen["day"]}'
    rows.append((title, percent(frozen['end']), most))
  capacity = backtest.get('capacity')
  if capacity and capacity['capital'] is not None:
    money = f'{capacity["capital"]:,.0f}'
    rows.append(('capacity at 5 % of the usual amount', money, ''))
  return rows


def year_rows(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
  """IC and backtest of each calendar year; either may be missing."""
  sheet, backtest = entry.get('sheet'), entry.get('backtest', {})
  rows: dict[str, dict[str, Any]] = {}
  if sheet:
    for name in ('ic', 'rank_ic'):
      for row in sheet['years'][name]:
        rows.setdefault(row['period'], {})[name] = row
  for row in backtest.get('years', ()):
    rows.setdefault(row['period'], {})['money'] = row
  empty = dict.fromkeys(('ic', 'rank_ic', 'money'))
  return [{'year': year} | empty | rows[year] for year in sorted(rows)]


def _count(number_of: int, bars: str) -> str:
  return f'{number_of} {bars[:-1] if number_of == 1 else bars}'


def _interval(x: Mapping[str, Any], form) -> str:
  return f'{form(x["mean"])} {_brackets(x, form)}'.rstrip()


def _brackets(x: Mapping[str, Any], form) -> str:
  if x.get('low') is None or x.get('high') is None:
    return ''
  return f'[{form(x["low"])}, {form(x["high"])}]'


def _two(value: float) -> str:
  return number(value, 2)


def _or_dash(value: float | None, digits: int) -> str:
  return '\N{EN DASH}' if value is None else number(value, digits)
