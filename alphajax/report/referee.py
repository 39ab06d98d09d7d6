"""The page and the text of a matrix of runs: one table a market."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from alphajax.data.panel import bar_word
from alphajax.judge import result
from alphajax.judge.bench import Entry
from alphajax.report import plot, race, rules, templates

TITLES = {
  'rank_ic': 'RankIC', 'ic': 'IC', 'rank_icir': 'RankICIR', 'icir': 'ICIR',
  'sharpe': 'Sharpe', 'max_drawdown': 'MaxDD',
}  # fmt: skip
_ASIDE = re.compile(r' (± [^\[]*[^\[ ]|\[[^]]*\])')
DASH = templates.DASH
LEVEL = 0.05  # Of a p-value below which a claim is made.
DISCOVERY = 0.05  # Rate of false ones among differences that are told.


class Board(NamedTuple):
  """What is said of one market.

  title: the market.
  days: first and last that were judged.
  label: as `pool.json` has it.
  table: of `bench.table`.
  entries: what it was made of.
  notes: sentences on what is left out.
  failed: methods of which every run that was tried failed.
  """

  title: str
  days: tuple[str, ...]
  label: Mapping[str, Any]
  table: pd.DataFrame
  entries: Sequence[Entry]
  notes: Sequence[str]
  failed: Sequence[str] = ()


class Arena(NamedTuple):
  """What is said of planted markets, see `alphajax.arena`."""

  markets: pd.DataFrame
  ranking: pd.DataFrame
  counts: Sequence[int]
  notes: Sequence[str]


def markdown(
  boards: Sequence[Board],
  arena: Arena | None,
  skipped: Mapping[str, str],
  level: float,
) -> str:
  """All tables as Markdown."""
  parts = []
  for board in boards:
    heads, rows = _cells(board)
    parts += [
      f'## {board.title}, {board.days[0]} to {board.days[1]}',
      _table(heads, rows),
      *sentences(board, level),
    ]
  if arena is not None:
    parts += ['## Planted markets', _table(*_ranking_cells(arena))]
    parts += [_table(*_market_cells(arena)), *arena_sentences(arena, level)]
  parts += [f'{name} is left out: {why}.' for name, why in skipped.items()]
  return '\n\n'.join(parts) + '\n'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [heads, ['---', *['---:'] * (len(heads) - 1)], *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def controls_of(board: Board) -> list[str]:
  """Methods that the others of a table are compared with."""
  ends = ('_low', '_high', '_q')
  return [
    name.removeprefix('less_')
    for name in board.table
    if name.startswith('less_') and not name.endswith(ends)
  ]


def _cells(board: Board) -> tuple[list[str], list[list[str]]]:
  """Heads and rows of the table of a market."""
  controls = controls_of(board)
  heads = ['method', 'seeds', *TITLES.values()]
  heads += [f'IC less {name}' for name in controls]
  heads += ['in the set', 'pool rule', 'formulas', 'seconds']
  rows = []
  for method, row in board.table.iterrows():
    cells = [str(method), str(int(row['seeds']))]
    cells += [_figure(row, name) for name in TITLES]
    cells += [_less(row, f'less_{name}') for name in controls]
    cells += [_in_set(row), row.get('pool_rule') or DASH]
    cells += [_spent(row['evaluated']), _spent(row['seconds'])]
    rows.append(cells)
  blank = [DASH] * (len(heads) - 2)
  rows += [[name, 'failed', *blank] for name in board.failed]
  return heads, rows


def _figure(row, name: str) -> str:
  """Mean, deviation over seeds, and the interval over days where there is."""
  if np.isnan(row[name]):
    return DASH
  digits, form = _form(name)
  text = form(row[name], digits)
  if not np.isnan(row[f'{name}_sd']):
    text += f' ± {form(row[f"{name}_sd"], digits)}'
  low, high = row.get(f'{name}_low', np.nan), row.get(f'{name}_high', np.nan)
  return text if np.isnan(low) else f'{text} {_brackets(low, high)}'


def _form(name: str):
  """Digits of a figure, and what prints it."""
  if name == 'max_drawdown':
    return 1, plot.percent
  return (4 if name in ('ic', 'rank_ic') else 2), plot.number


def _less(row, name: str) -> str:
  if np.isnan(row[name]):
    return DASH
  text = f'{plot.number(row[name])} '
  return text + _brackets(row[f'{name}_low'], row[f'{name}_high'])


def _brackets(low: float, high: float) -> str:
  return f'[{plot.number(low)}, {plot.number(high)}]'


def _in_set(row) -> str:
  """Whether a method is in the confidence set, of the IC and of the RankIC."""
  if row['in_set'] is None or pd.isna(row['in_set']):
    return DASH
  return 'yes' if row['in_set'] else f'no, p {row["set_p"]:.3f}'


def _spent(value: float) -> str:
  return DASH if np.isnan(value) else f'{value:,.0f}'


def sentences(board: Board, level: float) -> Iterator[str]:
  """What a table says, and how it is to be read."""
  table, share = board.table, f'{100 * level:.0f} %'
  for title, prefix in (('IC', ''), ('RankIC', 'rank_')):
    if table[f'{prefix}in_set'].notna().any():
      names = table.index[table[f'{prefix}in_set'].eq(True)]
      yield (
        f'The {share} confidence set of the {title} holds '
        f'{", ".join(names)}: of none of them is it shown that it is worse '
        'than the best.'
      )
  for control in controls_of(board):
    yield _against(table, control)
    if f'spa_{control}' in table:
      yield _all_against(table, control)
  again = [
    f'{entry.method}, seed {entry.seed} ({entry.figures["opened"]} times)'
    for entry in board.entries
    if (entry.figures.get('opened') or 1) > 1
  ]
  if again:
    yield f'Opened more than once: {", ".join(again)}.'
  for said in dict.fromkeys(
    rules.text(entry.rules) for entry in board.entries if entry.rules
  ):
    yield f'Sharpe and MaxDD are of a portfolio after costs. {said}'
  if 'ceiling' in table and table['ceiling'].notna().any():
    best = plot.number(table['ceiling'].iloc[0])
    yield f'The IC of what is planted is {best}.'
  yield from board.notes


def _all_against(table: pd.DataFrame, control: str) -> str:
  """The tests that no method is better than a control, all of them at once."""
  first = table.iloc[0]
  hansen, white = first[f'spa_{control}'], first[f'white_{control}']
  says = 'one is' if hansen < LEVEL else 'none is shown to be'
  return (
    f'Of all methods together {says} better than {control}: that none is has '
    f'p {hansen:.3f} by Hansen (superior predictive ability) and {white:.3f} '
    f'by White (reality check); the strongest is {first[f"best_{control}"]}.'
  )


def _against(table: pd.DataFrame, control: str) -> str:
  """Who is shown to be better or worse than a control."""
  less, sure = table[f'less_{control}'], table[f'less_{control}_q'] <= DISCOVERY
  parts = [
    f'{", ".join(table.index[which & sure])} {word} {control}'
    for word, which in (('above', less > 0), ('below', less < 0))
    if (which & sure).any()
  ]
  rate = f'at a false discovery rate of {100 * DISCOVERY:.0f} %'
  if not parts:
    return f'No method can be told from {control} {rate}.'
  return f'By the daily IC {rate}: {"; ".join(parts)}.'


def _ranking_cells(arena: Arena) -> tuple[list[str], list[list[str]]]:
  heads = ['method', *(f'share at {n:,}' for n in arena.counts)]
  heads += ['share', 'without noise', 'recovered', 'in the set']
  noise = 'noise_runs' in arena.ranking
  heads += ['false pools', 'false formulas'] if noise else []
  rows = []
  for method, row in arena.ranking.iterrows():
    cells = [str(method)]
    names = [*(f'share_{n}' for n in arena.counts), 'share', 'expected']
    cells += [_two(row[name]) for name in names]
    cells += [_two(row['recovered']), _in_set(row)]
    if noise:
      cells.append(_of(row['pool_claims'], row['noise_runs']))
      cells.append(_of(row['claims'], row['formulas']))
    rows.append(cells)
  return heads, rows


def _market_cells(arena: Arena) -> tuple[list[str], list[list[str]]]:
  """Share, and recovered, of every method on every planted market."""
  rows = arena.markets[arena.markets['planted'] > 0].reset_index()
  methods = list(dict.fromkeys(rows['method']))
  heads = ['market', 'planted', *methods]
  lines = []
  for market, own in rows.groupby('market', sort=False):
    own = own.set_index('method')
    cells = [str(market), str(int(own['planted'].iloc[0]))]
    for name in methods:
      shown = DASH
      if name in own.index:
        share, recovered = own.loc[name, 'share'], own.loc[name, 'recovered']
        shown = f'{_two(share)}, {_two(recovered)}'
      cells.append(shown)
    lines.append(cells)
  return heads, lines


def arena_sentences(arena: Arena, level: float) -> Iterator[str]:
  """How the tables of planted markets are to be read."""
  yield (
    'Share: IC over the IC of what is planted, after so many formulas on '
    'validation, at the end on the days judged; without noise: of the drift '
    'alone. Recovered: planted formulas that one of the result behaves like '
    '(|correlation| > 0.9). By market: share, recovered.'
  )
  ranking = arena.ranking
  if ranking['in_set'].notna().any():
    names = ranking.index[ranking['in_set'].eq(True)]
    yield (
      f'The {100 * level:.0f} % confidence set over markets holds '
      f'{", ".join(names)}.'
    )
  if 'noise_runs' in ranking:
    yield (
      'False: pools, and formulas of them, whose IC on noise is told from 0 by '
      'its 95 % interval; of independent ones 1 in 20 is.'
    )
  yield from arena.notes


def _two(value: float) -> str:
  return DASH if np.isnan(value) else plot.number(value, 2)


def _of(part: float, whole: float) -> str:
  return DASH if np.isnan(whole) else f'{part:.0f} of {whole:.0f}'


def render(
  name: str,
  boards: Sequence[Board],
  arena: Arena | None,
  skipped: Mapping[str, str],
  level: float,
) -> str:
  """The page as HTML text; nothing in it is fetched from elsewhere."""
  methods = dict.fromkeys(e.method for board in boards for e in board.entries)
  look = race.looks(list(methods))
  parts = [_section(board, look, level, i) for i, board in enumerate(boards)]
  tables = []
  if arena is not None:
    for title, (heads, rows) in (
      ('All planted markets', _ranking_cells(arena)),
      ('By market', _market_cells(arena)),
    ):
      tables.append({'title': title, 'heads': heads, 'rows': _marked(rows)})
  return templates.template('referee.html').render(
    name=name,
    parts=parts,
    arena=tables,
    arena_said=list(arena_sentences(arena, level)) if arena else [],
    looks=look,
    skipped=skipped,
    now=templates.now(),
  )


def _marked(rows: Sequence[Sequence[str]]) -> list[list[Markup]]:
  """Cells in which deviation and interval stand back."""
  return [
    [
      Markup(_ASIDE.sub(r' <span class="interval">\1</span>', str(escape(x))))
      for x in row
    ]
    for row in rows
  ]


def _section(board: Board, look, level: float, number: int) -> dict[str, Any]:
  heads, rows = _cells(board)
  bars = bar_word(np.array(board.entries[0].dates))
  return {
    'title': board.title,
    'days': board.days,
    'label': result.label_text(board.label, bars),
    'heads': heads,
    'rows': _marked(rows),
    'said': list(sentences(board, level)),
    'figures': [
      {'title': title, 'caption': caption, 'svg': Markup(svg)}
      for title, caption, svg in _figures(board, look, f'board{number}')
      if svg
    ],
  }


def _figures(board: Board, look, name: str) -> Iterator[tuple[str, str, str]]:
  """Title, caption and SVG of each figure; the SVG may be empty."""
  yield (
    'Cumulative returns',
    'Worth of 1 after costs, mean over seeds; dotted is the benchmark.',
    race.worth(board.entries, look),
  )
  for axis, spent in (('evaluated', 'formulas'), ('seconds', 'seconds')):
    for figure, of in (('train_ic', 'Train'), ('valid_ic', 'Validation')):
      caption = 'Mean over seeds, and from the least to the greatest of them.'
      if axis == 'evaluated':
        caption += ' Dotted: a method without formulas.'
      if figure == 'valid_ic':
        caption += ' Diamonds: the IC of the days judged.'
      yield (
        f'{of} IC by {spent}',
        caption,
        race.curves(board.entries, look, axis, figure, f'{name}-{axis}-{of}'),
      )
