"""An evaluation, as text."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphajax.data import panel as panel_lib
from alphajax.data.panel import SPLITS
from alphajax.judge import result as result_lib
from alphajax.report import verdict
from alphajax.run import files


def table(workdir: Path, results: Mapping[str, Any], name: str = 'test') -> str:
  """The figures of an evaluation beside those of the splits, as text."""
  pool = files.read_json(workdir / 'pool.json')
  config = files.read_json(workdir / 'config.json')
  assert pool is not None and config is not None  # It was evaluated.
  entry = results if name == 'test' else results['evaluations'][name]
  bars = panel_lib.bar_word(
    files.read_arrays(workdir / f'daily_{name}.npz')['dates']
  )
  figures = {**pool['pool'], 'test': entry['test']}
  ceilings = {**pool.get('ceiling', {}), 'test': entry['ceiling']}
  splits = [s for s in SPLITS if s in figures]  # A refit has no validation.
  rows: list[tuple[str, ...]] = [('', *splits[:-1], name)]
  for title, key in (('IC', 'ic'), ('RankIC', 'rank_ic')):
    rows.append((title, *(_interval(figures[s][key]) for s in splits)))
  for title, key in (('ICIR', 'icir'), ('RankICIR', 'rank_icir')):
    rows.append((title, *(f'{figures[s][key]:.2f}' for s in splits)))
  rows.append((bars, *(f'{figures[s]["days"]:,}' for s in splits)))
  if all('coverage' in figures[s] for s in splits):  # Older results say none.
    shares = (f'{100 * figures[s]["coverage"]:.0f} %' for s in splits)
    rows.append(('coverage', *shares))
  if entry['ceiling'] is not None:
    rows.append(('planted IC', *(f'{ceilings[s]:.4f}' for s in splits)))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    '  '.join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip()
    for row in rows
  ]
  times = 'time' if entry['opened'] == 1 else 'times'
  what = 'The test split was' if name == 'test' else f'The days of {name} were'
  size = len(pool['factors'])
  return '\n'.join(
    [
      (f'Pool of {size}' if size else 'Result')
      + f' from iteration {pool["iteration"]}',
      *lines,
      f'The label is the {result_lib.label_text(pool["label"], bars)}.',
      'Brackets are 95 % intervals of the mean. '
      f'{what} opened {entry["opened"]} {times}.',
      *_seen_lines(config['splits'], entry),
      *_judged_lines(entry),
      *verdict.printed(entry, bars),
      *_lost_lines(entry['factors']),
    ]
  )


def _seen_lines(splits: Mapping, entry: Mapping[str, Any]) -> Iterator[str]:
  """Which of the days of an evaluation are those that the run learned from."""
  first, last = entry.get('split', splits['test'])
  for name, what in (('train', 'fitted to'), ('valid', 'chosen by')):
    start, end = splits.get(name, ('9999', ''))  # A refit has no validation.
    if first <= end and start <= last:
      yield (
        f'{max(first, start)}..{min(last, end)} are {name} days of the run, '
        f'which was {what} them: there it is no judgement on unseen days.'
      )


def _judged_lines(entry: Mapping[str, Any]) -> Iterator[str]:
  """How often these days were judged on; older results do not say."""
  if 'judged' in entry:
    yield (
      f'{entry["judged"]:,} formulas and pools were judged on these days so '
      f'far, by {entry["ledger"]}'
    )


def _lost_lines(factors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  """Which factors leave the range of float32, and in how many cells."""
  for factor in factors:
    lost = factor['test']['lost']
    if lost:
      yield (
        f'{factor["formula"]} loses {100 * lost:.2g} % of its cells to the '
        'range of float32: other programs rank those days differently.'
      )


def _interval(x: Mapping[str, float]) -> str:
  return f'{x["mean"]:.4f} [{x["low"]:.4f}, {x["high"]:.4f}]'
