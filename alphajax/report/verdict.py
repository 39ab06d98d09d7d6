"""The verdict at the top of a page: sentences, and what each means.

A sentence is `good` (shown, at 95 %), `bad` (the contrary shown, or a reason to
distrust the figures) or `open` (neither).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from alphajax.judge.rules import BASIS_POINT, YEAR
from alphajax.report.plot import number, percent

MANY = 30  # Labels without overlap from which an interval can be trusted.
LOST, COVERED, EXPLAINED = 0.01, 0.9, 0.5  # Shares that are worth a word.
# Of the money, in stocks without a price: at the end; and on any day, since a
# single suspended stock of 60 is more than that on its day.
FROZEN, FROZEN_DAY = 0.01, 0.1

Interval = Mapping[str, Any]  # mean (or value), low, high; None: not known.


class Sentence(NamedTuple):
  """kind: good, bad or open."""

  kind: str
  text: str


Control = tuple[str, Interval, str]  # See `of_control`.


def sentences(
  entry: Mapping[str, Any],
  horizon: int,
  bars: str = 'days',
  controls: Sequence[Control] | None = (),
) -> list[Sentence]:
  """The verdict on an evaluation, or on years walked forward.

  Args:
    entry: see `distrust`; maybe with `backtest`.
    horizon: bars of the label.
    bars: what they are called.
    controls: random ones that it was compared with; None: they are spoken of
      elsewhere.
  """
  found = [of_ic(entry['test'], bars)]
  if 'sheet' in entry:
    found += of_judged(entry['sheet'], bars)
  best = [of_best_of(entry['best_of'], bars)] if 'best_of' in entry else []
  if controls is not None:
    known = [*(of_control(*each, bars) for each in controls), *best]
    found += known or [NO_CONTROL]
  else:
    found += best
  if 'backtest' in entry:
    found.append(of_costs(entry['backtest']))
    found += of_frozen(entry['backtest'])
  return [*found, *distrust(entry, horizon, bars)]


def of_ic(figures: Mapping[str, Any], bars: str = 'days') -> Sentence:
  """Whether the IC of unseen days is above 0.

  figures: `ic` and `days`, as in `results.json`.
  """
  ic, count = figures['ic'], f'{figures["days"]:,} {bars}'
  kind = _side(ic, 0.0)
  if kind is None:
    return Sentence('open', f'Too few {bars} to tell: {count}.')
  value = f'IC {_bracketed(ic)} on {count}'
  return Sentence(
    kind,
    {
      'good': f'Above 0 out of sample: {value}.',
      'bad': f'Below 0 out of sample: {value}; it ranks the wrong way round.',
      'open': f'Not told from 0 out of sample: {value}; the interval holds 0.',
    }[kind],
  )


def of_judged(sheet: Mapping[str, Any], bars: str = 'days') -> list[Sentence]:
  """The same as one of many signals that were looked at; none: of one."""
  found = sheet['figures']['of_judged']
  kind = _side(found['ic'], 0.0)
  if found['judged'] <= 1 or kind is None:
    return []
  interval = _bracketed(found['ic']).partition(' ')[2]
  end = {'good': 'is above 0', 'bad': 'is below 0', 'open': 'holds 0'}[kind]
  return [
    Sentence(
      kind,
      f'As one of {found["judged"]:,} judged on these {bars}: the interval '
      f'{interval} {end}.',
    )
  ]


def printed(entry: Mapping[str, Any], bars: str = 'days') -> list[str]:
  """What a printed table says below its figures.

  The intervals as those of one of many that were looked at, the best of as many
  random formulas, how much was held without a price, where that is much, and
  where there is no backtest, or by other rules than those asked for, why.

  entry: of an evaluation or a walk.
  """
  backtest = entry.get('backtest', {})
  frozen = of_frozen(backtest)
  lines = [*_widened(entry, bars), *(each.text for each in frozen)]
  if 'missing' in backtest:
    lines.append(f'There is no backtest: {backtest["missing"]}.')
  if backtest.get('fitted'):
    lines.append(f'In the backtest {backtest["fitted"]}.')
  if 'best_of' in entry:
    best = entry['best_of']
    reversed_ = ' reversed' if best['sign'] < 0 else ''
    lines.append(
      f'The best of {best["count"]:,} random formulas by validation, '
      f'{best["formula"]}{reversed_}: IC {_bracketed(best["ic"])}, RankIC '
      f'{_bracketed(best["rank_ic"])}.'
    )
    lines.append(of_best_of(best, bars).text)
  return [line.replace('\N{MINUS SIGN}', '-') for line in lines]


def _widened(entry: Mapping[str, Any], bars: str) -> list[str]:
  found = entry.get('sheet', {}).get('figures', {}).get('of_judged', {})
  if found.get('judged', 1) <= 1:
    return []
  parts = [
    title + ' {mean:.4f} [{low:.4f}, {high:.4f}]'.format(**found[name])
    for title, name in (('IC', 'ic'), ('RankIC', 'rank_ic'))
    if found[name]['low'] is not None
  ]
  count = f'As one of {found["judged"]:,} judged on these {bars}'
  return [f'{count}: {", ".join(parts)}.'] if parts else []


def of_control(
  name: str, difference: Interval, split: str, bars: str = 'days'
) -> Sentence:
  """Whether it is above a random control.

  Args:
    name: of the control.
    difference: IC of this less that of the control; `days`.
    split: whose days.
    bars: what they are called.
  """
  count = f'{difference["days"]:,} {split} {bars}'
  if 'mean' not in difference:
    return Sentence(
      'open', f'Too few common {bars} with the random control {name}: {count}.'
    )
  value = f'IC difference {_bracketed(difference)} on {count}'
  kind = _side(difference, 0.0) or 'open'
  start = {'good': 'Above', 'bad': 'Below', 'open': 'Not told from'}[kind]
  end = '; the interval holds 0' if kind == 'open' else ''
  return Sentence(kind, f'{start} the random control {name}: {value}{end}.')


def of_best_of(best: Mapping[str, Any], bars: str = 'days') -> Sentence:
  """Whether it is above the best of as many random formulas.

  best: `count` and `less`, as in `selection.control`.
  """
  less = best['less']
  name = f'the best of {best["count"]:,} random formulas'
  kind = _side(less, 0.0)
  if kind is None:
    return Sentence('open', f'Too few {bars} to compare with {name}.')
  start = {'good': 'Above', 'bad': 'Below', 'open': 'Not told from'}[kind]
  end = '; the interval holds 0' if kind == 'open' else ''
  return Sentence(
    kind,
    f'{start} {name}, chosen by validation: IC difference {_bracketed(less)} '
    f'on {less["days"]:,} {bars}{end}.',
  )


NO_CONTROL = Sentence(
  'open',
  'Not compared with a random control: what as many random formulas reach on '
  'these days is not known. Evaluate a run with --best_of=1000, or do the '
  'same with configs/random.py and give that folder as --compare.',
)


def of_costs(backtest: Mapping[str, Any]) -> Sentence:
  """Whether what it earns over its benchmark bears what is charged."""
  if 'missing' in backtest:
    return Sentence('open', f'No backtest: {backtest["missing"]}.')
  figures, charged = backtest['figures'], paid(backtest)
  even = figures['break_even']
  if even['value'] is None or even['low'] is None or charged is None:
    return Sentence('open', 'Costs: too little was traded for an interval.')
  kind = _side(even, charged) or 'open'
  start = {'good': 'Above', 'bad': 'Below', 'open': 'Not told from'}[kind]
  end = '; the interval holds them' if kind == 'open' else ''
  turnover = percent(figures['turnover']['value'])
  return Sentence(
    kind,
    f'{start} costs: it exchanges {turnover} of the portfolio a day and breaks '
    f'even with its benchmark at {_bracketed(even, 1)} basis points a side; '
    f'{number(charged, 1)} were paid{end}.',
  )


def paid(backtest: Mapping[str, Any]) -> float | None:
  """Basis points a side that were paid of what was traded, all together.

  Commission, duty, slippage, minimum fees and what borrowing took, as the
  break-even cost counts them; None where nothing was traded.
  """
  cost, turnover = (
    backtest['figures'][name]['value'] for name in ('cost', 'turnover')
  )
  if cost is None or not turnover:
    return None
  return cost / YEAR / (2 * turnover) / BASIS_POINT


def of_frozen(backtest: Mapping[str, Any]) -> list[Sentence]:
  """Whether much of the money was in stocks without a price; none: little."""
  found = backtest.get('frozen', {'end': 0.0, 'most': 0.0})
  if found['end'] <= FROZEN and found['most'] <= FROZEN_DAY:
    return []
  return [
    Sentence(
      'bad',
      f'Without a price: {percent(found["end"])} of the money is in '
      f'{_stocks(found["stocks"])} without one at the end, '
      f'{percent(found["most"])} was on {found["day"]}. They count at their '
      'last price, at which nobody may have bought them.',
    )
  ]


def _stocks(count: int) -> str:
  return '1 stock' if count == 1 else f'{count:,} stocks'


def distrust(
  entry: Mapping[str, Any], horizon: int, bars: str = 'days'
) -> Iterator[Sentence]:
  """What makes the figures of an evaluation worth less than they look.

  Args:
    entry: `test`, and where they are `opened`, `factors`, `sheet`, as in
      `results.json`.
    horizon: bars of the label.
    bars: what they are called.
  """
  figures = entry['test']
  alone = figures['days'] // max(horizon, 1)
  if alone < MANY:
    yield Sentence(
      'bad',
      f'Few {bars}: {figures["days"]:,} hold {alone} labels of {horizon} '
      f'{bars} that do not overlap.',
    )
  if entry.get('opened', 1) > 1:
    yield Sentence(
      'bad',
      f'Opened {entry["opened"]} times: these {bars} are no longer those of a '
      'split never looked at.',
    )
  lost = max(
    (f.get('test', f).get('lost', 0.0) for f in entry.get('factors', ())),
    default=0.0,
  )
  if lost > LOST:
    yield Sentence(
      'bad', f'Lost cells: {percent(lost)} of a factor are beyond float32.'
    )
  if figures.get('coverage', 1.0) < COVERED:
    yield Sentence(
      'bad',
      f'Coverage: only {percent(figures["coverage"])} of the cells of members '
      'have a signal.',
    )
  if 'sheet' in entry:
    yield from _styles(entry['sheet'], figures['ic'])


def _styles(sheet: Mapping[str, Any], ic: Interval) -> Iterator[Sentence]:
  """How much of the signal is a simple style."""
  left = sheet['left']['ic']
  if _side(ic, 0.0) == 'good' and _side(left, 0.0) in ('open', 'bad'):
    yield Sentence(
      'bad',
      f'Without simple styles the IC left is {_bracketed(left)}: not above 0.',
    )
  if (sheet['explained'] or 0.0) > EXPLAINED:
    yield Sentence(
      'bad',
      f'Simple styles explain {percent(sheet["explained"], 0)} of the signal.',
    )


def _side(x: Interval, bound: float) -> str | None:
  """good above the bound, bad below, open where it is held; None: unknown."""
  if x.get('low') is None or x.get('high') is None:
    return None
  if x['low'] > bound:
    return 'good'
  return 'bad' if x['high'] < bound else 'open'


def _bracketed(x: Interval, digits: int = 4) -> str:
  """Mean and interval; the mean alone where there are too few days for one."""
  value = x['mean'] if 'mean' in x else x['value']
  if x['low'] is None or x['high'] is None:
    return number(value, digits)
  parts = (number(each, digits) for each in (value, x['low'], x['high']))
  return '{} [{}, {}]'.format(*parts)
