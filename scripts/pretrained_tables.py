"""What `pretrained.py` says of held-out tasks, as Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np

from alphajax.analysis.reliability import Bin
from alphajax.methods import pretraining_figures
from alphajax.methods.pretraining_figures import COUNTS, Judged, Silence

PROPOSERS = {
  'model': 'samples and library by the score head, unlike each other',
  'shelf': 'library by the score head',
  'ranked': 'samples by the score head',
  '': 'samples in their order',
  'written': 'samples by the regression, unlike each other',
  'kernel': 'library by the regression, unlike each other (retrieval)',
  'retrieval': 'library by the regression',
  'random': 'library in any order',
  'fresh': 'random formulas by the regression, unlike each other',
  'drawn': 'random formulas in their order',
  'evolution': 'evolution from what was evaluated',
  'oracle': 'oracle: all by noisy gains, hidden formulas among them',
}
SHORT = {
  'model': 'model', 'kernel': 'retrieval', 'random': 'library, any order',
  'drawn': 'random', 'evolution': 'evolution', 'oracle': 'oracle',
}  # fmt: skip
WORDS = {
  'IC': 'IC of the signal', 'nodes': 'nodes of a hidden formula, mean',
  'hidden': 'hidden formulas',
}  # fmt: skip


def proposers(outcome: Judged) -> str:
  """Everybody on all tasks: best of so many, share, recovery, difference."""
  rows = []
  for name, words in PROPOSERS.items():
    if name not in outcome.best:
      continue
    best = outcome.best[name].mean(0)
    apart = pretraining_figures.over(outcome, 'model', name)
    rows.append(
      [
        words,
        *(_number(x) for x in best),
        f'{best[-1] / outcome.bound.mean():.2f}',
        *(f'{x:.2f}' for x in outcome.found[name].mean(0)),
        *(_with_error(*x) if name != 'model' else '' for x in apart),
      ]
    )
  head = ['', *map(str, COUNTS), f'share, {COUNTS[-1]}']
  head += [f'recovered, {k}' for k in COUNTS]
  return _table([*head, *(f'model less it, {k}' for k in COUNTS)], rows)


def groups(outcome: Judged) -> str:
  """The best of 10 / 100 in groups of tasks, and what model gains."""
  names = [name for name in SHORT if name in outcome.best]
  rows = []
  for kind, low, high, among in pretraining_figures.groups_of(outcome):
    row = [_range(WORDS[kind], low, high), str(among.sum())]
    row += [_number(outcome.bound[among].mean())]
    for name in names:
      best = outcome.best[name][among].mean(0)
      row.append(' / '.join(_number(x) for x in best[1:]))
    for name in ('kernel', 'evolution'):
      if name in names:
        apart = pretraining_figures.over(outcome, 'model', name, among)
        row.append(' / '.join(_with_error(*x) for x in apart[1:]))
    rows.append(row)
  head = ['', 'tasks', 'bound', *(SHORT[name] for name in names)]
  head += [
    f'model less {SHORT[n]}' for n in ('kernel', 'evolution') if n in names
  ]
  return _table(head, rows)


def recovery(outcome: Judged) -> str:
  """In groups, share of the bound and of tasks with a hidden formula found."""
  names = [name for name in SHORT if name in outcome.best]
  rows = []
  for kind, low, high, among in pretraining_figures.groups_of(outcome):
    row = [_range(WORDS[kind], low, high)]
    bound = outcome.bound[among].mean()
    for name in names:
      share = outcome.best[name][among].mean(0)[-1] / bound
      found = outcome.found[name][among].mean(0)[-1]
      row.append(f'{share:.2f} / {found:.2f}')
    rows.append(row)
  return _table(['', *(SHORT[name] for name in names)], rows)


def reliability(bins: Sequence[Bin]) -> str:
  """What was forecast and what came."""
  rows = [
    [str(x.size), f'{x.predicted:.4f}', f'{x.real:.4f} ({x.error:.4f})']
    for x in bins
  ]
  return _table(['forecasts', 'their mean', 'what is so (s.e.)'], rows)


def silence(found: Silence) -> str:
  """Forecasts of tasks without signal, all of which should be 0."""
  count = len(found.value)
  rows = [
    [name, f'{x.mean():.4f} ({x.std() / np.sqrt(max(count - 1, 1)):.4f})',
     f'{x.max():.4f}', f'{np.mean(x < 0.003):.2f}']
    for name, x in found._asdict().items() if count
  ]  # fmt: skip
  return _table([f'{count} tasks', 'mean (s.e.)', 'most', 'below .003'], rows)


def _range(word: str, low: float, high: float) -> str:
  if not low:
    return f'{word} below {high:g}'
  return f'{word} {low:g} or more' + (
    '' if np.isinf(high) else f', below {high:g}'
  )


def _number(x: float) -> str:
  return f'{x:.3f}'.replace('0.', '.', 1)


def _with_error(mean: float, error: float) -> str:
  return f'{_number(mean)} ({_number(error)})'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
