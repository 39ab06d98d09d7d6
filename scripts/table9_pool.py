r"""Table 9: the top factors of a pool, their weights, and what they say.

python scripts/table9_pool.py --workdir=runs/csi300 [--top=10]

Writes `table9.csv` and the picture `table9.png` into the run's folder, and
prints the table. A factor's reading in words is generated from its tree.
"""

import csv
import json
from pathlib import Path

from absl import app, flags
from matplotlib.figure import Figure

from alphajax.analysis import words
from alphajax.language import formula as formula_lib

_WORKDIR = flags.DEFINE_string('workdir', None, 'A run.', required=True)
_TOP = flags.DEFINE_integer('top', 10, 'How many, by absolute weight.')
FIELDS = ('rank', 'formula', 'weight', 'train_ic', 'valid_ic', 'reading')


def rows_of(pool: dict, features, top: int) -> list[dict]:
  """The factors of largest absolute weight."""
  factors = sorted(pool['factors'], key=lambda f: -abs(f['weight']))[:top]
  return [
    {
      'rank': rank,
      'formula': factor['formula'],
      'weight': round(factor['weight'], 4),
      'train_ic': round(factor['train']['ic']['mean'], 4),
      'valid_ic': round(factor['valid']['ic']['mean'], 4),
      'reading': words.reading(formula_lib.parse(factor['formula'], features)),
    }
    for rank, factor in enumerate(factors, 1)
  ]


def draw(path: Path, rows: list[dict]) -> None:
  """Bars of the weights, the formulas beside them."""
  figure = Figure(figsize=(9, 1 + 0.35 * len(rows)), layout='constrained')
  axes = figure.subplots()
  weights = [row['weight'] for row in rows]
  colors = ['C0' if weight > 0 else 'C3' for weight in weights]
  axes.barh(range(len(rows)), weights, color=colors)
  axes.set_yticks(range(len(rows)), [row['formula'] for row in rows])
  axes.invert_yaxis()
  axes.set_xlabel('weight in the pool')
  axes.grid(axis='x', alpha=0.3)
  figure.savefig(path, dpi=150)


def main(argv):
  del argv
  workdir = Path(_WORKDIR.value)
  pool = json.loads((workdir / 'pool.json').read_text())
  config = json.loads((workdir / 'config.json').read_text())
  rows = rows_of(pool, config['language']['features'], _TOP.value)
  with open(workdir / 'table9.csv', 'w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS)
    writer.writeheader()
    writer.writerows(rows)
  draw(workdir / 'table9.png', rows)
  print(f'| {" | ".join(FIELDS)} |\n|{" --- |" * len(FIELDS)}')
  for row in rows:
    print(f'| {" | ".join(str(row[field]) for field in FIELDS)} |')


if __name__ == '__main__':
  app.run(main)
