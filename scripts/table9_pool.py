r"""Table 9: the top factors of a pool, their weights, and what they say.

python scripts/table9_pool.py --workdir=runs/csi300 [--top=10]

Writes `table9.csv` and the picture `table9.png` into the run's folder, and
prints the table. A factor's reading in words is generated from its tree.
"""

from pathlib import Path

import pandas as pd
from absl import app, flags
from matplotlib.figure import Figure

import alphajax
from alphajax.analysis import words

_WORKDIR = flags.DEFINE_string('workdir', None, 'A run.', required=True)
_TOP = flags.DEFINE_integer('top', 10, 'How many, by absolute weight.')


def table_of(pool: dict, features, top: int) -> pd.DataFrame:
  """The factors of largest absolute weight."""
  factors = sorted(pool['factors'], key=lambda f: -abs(f['weight']))[:top]
  return pd.DataFrame([
    {
      'rank': rank,
      'formula': factor['formula'],
      'weight': round(factor['weight'], 4),
      'train_ic': round(factor['train']['ic']['mean'], 4),
      'valid_ic': round(factor['valid']['ic']['mean'], 4),
      'reading': words.reading(alphajax.parse(factor['formula'], features)),
    }
    for rank, factor in enumerate(factors, 1)
  ])  # fmt: skip


def draw(path: Path, table: pd.DataFrame) -> None:
  """Bars of the weights, the formulas beside them."""
  figure = Figure(figsize=(9, 1 + 0.35 * len(table)), layout='constrained')
  axes = figure.subplots()
  colors = ['C0' if weight > 0 else 'C3' for weight in table['weight']]
  axes.barh(range(len(table)), table['weight'], color=colors)
  axes.set_yticks(range(len(table)), table['formula'])
  axes.invert_yaxis()
  axes.set_xlabel('weight in the pool')
  axes.grid(axis='x', alpha=0.3)
  figure.savefig(path, dpi=150)


def main(argv):
  del argv
  run = alphajax.load_run(_WORKDIR.value)
  if not (run.pool and run.pool['factors']):
    raise app.UsageError(f'{run.workdir} has no pool of formulas')
  table = table_of(run.pool, run.config['language']['features'], _TOP.value)
  table.to_csv(run.workdir / 'table9.csv', index=False)
  draw(run.workdir / 'table9.png', table)
  print(f'| {" | ".join(table)} |\n|{" --- |" * table.shape[1]}')
  for row in table.itertuples(index=False):
    print(f'| {" | ".join(map(str, row))} |')


if __name__ == '__main__':
  app.run(main)
