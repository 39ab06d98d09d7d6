r"""How large are the languages? Figure 8 and Appendix E, exactly.

python scripts/figure8_space.py --out=runs/figure8 [--length=20]

Takes seconds. Counts formulas (not derivations) with big integers: by number
of symbols for all sequences, alpha-Syn, RPN and alpha-Sem, beside the paper's
recurrences as printed, and alpha-Sem-k for K = 1 ... length; `distinct` counts
isomorphic formulas once. Prints tables, writes `space.csv`, `sem_k.csv` and
`figure8.png`.
"""

import csv
import itertools
import math
from pathlib import Path

from absl import app, flags
from matplotlib.figure import Figure

from alphajax.analysis import space
from alphajax.language import grammar as grammar_lib
from alphajax.language import presets, vocab

_OUT = flags.DEFINE_string('out', 'runs/figure8', 'Folder of the results.')
_LENGTH = flags.DEFINE_integer('length', 20, 'Longest formulas.', 1)
_BOUNDS = (5, 10, 20)  # K of the lines in the picture.


def by_length(symbols: vocab.Vocab, length: int) -> dict[str, list[int]]:
  """Cumulative counts of formulas of 1 ... `length` symbols."""
  exact = {
    'sequences': [space.sequences(symbols, n) for n in range(length + 1)],
    'syn printed': space.printed_syn(symbols, length),
    'sem printed': space.printed_sem(symbols, length),
  }
  for name, make in (
    ('syn', presets.syn_rows),
    ('rpn', presets.rpn_rows),
    ('sem', presets.sem_rows),
  ):
    rows = space.by_symbols(make(symbols), symbols)
    grammar = grammar_lib.from_rows(rows, symbols, max_length=length)
    exact[name] = space.sizes(grammar)
    exact[f'{name} distinct'] = space.sizes(grammar, distinct=True)
  return {
    name: list(itertools.accumulate(counts[1:]))
    for name, counts in exact.items()
  }


def by_bound(symbols: vocab.Vocab, length: int) -> dict[str, list[int]]:
  """Sizes of alpha-Sem-k for K = 1 ... `length`."""
  grammar = grammar_lib.from_rows(
    presets.sem_k_rows(symbols), symbols, max_length=length
  )
  return {
    name: list(itertools.accumulate(space.sizes(grammar, distinct=d)))[1:]
    for name, d in (('formulas', False), ('distinct', True))
  }


def show(title: str, first: str, columns: dict[str, list[int]]) -> None:
  """Prints a table, numbers of more than 15 digits rounded."""

  def text(number):
    digits = str(number)
    return digits if len(digits) <= 15 else f'{digits[0]}.{digits[1:4]}e' + str(
      len(digits) - 1
    )  # fmt: skip

  rows = [(first, *columns)]
  for n, row in enumerate(zip(*columns.values(), strict=True), 1):
    rows.append((str(n), *map(text, row)))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  print(title)
  for row in rows:
    print('  '.join(x.rjust(w) for x, w in zip(row, widths, strict=True)))
  print()


def write(path: Path, first: str, columns: dict[str, list[int]]) -> None:
  """All digits, one row a length."""
  with path.open('w', newline='') as file:
    table = csv.writer(file)
    table.writerow([first, *columns])
    for n, row in enumerate(zip(*columns.values(), strict=True), 1):
      table.writerow([n, *row])


def draw(path: Path, lengths, bounds) -> None:
  """Cumulative counts on a logarithmic scale; alpha-Sem-k is a constant."""
  figure = Figure(figsize=(6.4, 4.2), layout='constrained')
  axes = figure.subplots()
  for name, label in (
    ('sequences', 'all sequences'),
    ('syn', 'α-Syn'),
    ('rpn', 'RPN'),
    ('sem', 'α-Sem'),
    ('sem distinct', 'α-Sem, isomorphic formulas once'),
  ):
    counts = lengths[name]
    points = [(n, math.log10(c)) for n, c in enumerate(counts, 1) if c]
    axes.plot(*zip(*points, strict=True), label=label)
  for bound in _BOUNDS:
    if bound <= len(bounds['formulas']):
      height = math.log10(bounds['formulas'][bound - 1])
      axes.axhline(height, color='tab:red', linestyle=':')
      axes.text(
        1, height, f' α-Sem-k, K = {bound}', va='bottom', color='tab:red'
      )
  axes.set(xlabel='symbols of a formula, at most', ylabel='log10 of formulas')
  axes.xaxis.get_major_locator().set_params(integer=True)
  axes.legend(loc='lower right', framealpha=1)
  figure.savefig(path, dpi=150)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  symbols, out = vocab.make_vocab(), Path(_OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  lengths = by_length(symbols, _LENGTH.value)
  bounds = by_bound(symbols, _LENGTH.value)
  show('Formulas of at most n symbols', 'n', lengths)
  show('alpha-Sem-k of length at most K', 'K', bounds)
  write(out / 'space.csv', 'n', lengths)
  write(out / 'sem_k.csv', 'K', bounds)
  draw(out / 'figure8.png', lengths, bounds)
  print(f'Written to {out}')


if __name__ == '__main__':
  app.run(main)
