r"""Figure 10: validation IC by pool size, then by length, for each language.

python scripts/figure10_grid.py --out=runs/figure10 [--markets=csi300,sp500] \
  [--iterations=100] [--base=best] [--languages=sem_k,rpn]

As in the paper, the pool size is chosen first, at a length of 10, and then the
length with that pool size. The IC is that of the best pool by validation; the
test split is not opened. RPN takes the LSTM, since the Tree-LSTM cannot read
it. Resumable: a finished run is not repeated. `figure10.csv` has a row a run.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import real_panels
from absl import app, flags
from matplotlib.figure import Figure

from alphajax import sweep, train
from alphajax.run import compare

CAPACITIES = (1, 5, 10, 20, 30)
LENGTHS = (5, 10, 15, 20, 25)
FIRST_LENGTH = 10
KEYS = ['market', 'language', 'capacity', 'length']
FIGURES = ['evaluated', 'train_ic', 'best_valid_ic']


def mine(cells: Sequence[tuple[str, str, int, int]], out: Path) -> pd.DataFrame:
  """Runs cells of the grid; a row each.

  cells: market, language, pool size, length.
  """
  by_name = {'_'.join(map(str, cell)): cell for cell in cells}
  configs = {name: config_of(*cell) for name, cell in by_name.items()}
  return pd.DataFrame([
    dict(zip(KEYS, by_name[member.variant], strict=True))
    | compare.figures_of(run)
    for member, run in sweep.train_all(sweep.plan(configs, out, [0]))
  ])[KEYS + FIGURES]  # fmt: skip


def config_of(market: str, language: str, capacity: int, length: int):
  encoder = 'lstm' if language == 'rpn' else 'tree_lstm'
  return real_panels.config_of(
    market, f'language.name={language}', f'network.encoder={encoder}',
    f'pool.capacity={capacity}', f'language.max_length={length}',
  )  # fmt: skip


def best_of(rows: pd.DataFrame) -> pd.DataFrame:
  """The row of each market and language with the best validation IC."""
  best = rows.groupby(KEYS[:2], sort=False)['best_valid_ic'].idxmax()
  return rows.loc[best]


def draw(path: Path, rows: pd.DataFrame, sizes: pd.DataFrame) -> None:
  """A row a market: by pool size at the first length, by length at the best.

  sizes: the row of the best pool size of each market and language.
  """
  markets = list(rows['market'].unique())
  figure = Figure(figsize=(10, 3.5 * len(markets)), layout='constrained')
  grid = figure.subplots(len(markets), 2, squeeze=False)
  by_length = rows.merge(sizes[KEYS[:3]])
  by_size = rows[rows['length'] == FIRST_LENGTH]
  for column, (key, title, points) in enumerate([
    ('capacity', 'pool size', by_size), ('length', 'length', by_length)
  ]):  # fmt: skip
    for line, market in zip(grid, markets, strict=True):
      axes, here = line[column], points[points['market'] == market]
      for language, own in here.groupby('language', sort=False):
        own = own.sort_values(key)
        axes.plot(own[key], own['best_valid_ic'], 'o-', label=language)
      axes.set(xlabel=title, ylabel=f'{market}: validation IC')
      axes.grid(alpha=0.3)
      axes.legend()
  figure.savefig(path, dpi=150)


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  out = Path(given.out)
  pairs = [
    (market, language)
    for market in given.markets
    for language in given.languages
  ]
  by_size = mine(
    [(*pair, size, FIRST_LENGTH) for pair in pairs for size in CAPACITIES], out
  )
  sizes = best_of(by_size)
  by_length = mine(
    [(*cell, n) for cell in sizes[KEYS[:3]].itertuples(index=False)
     for n in LENGTHS if n != FIRST_LENGTH], out
  )  # fmt: skip
  rows = pd.concat([by_size, by_length], ignore_index=True)
  rows.to_csv(out / 'figure10.csv', index=False)
  draw(out / 'figure10.png', rows, sizes)
  for row in best_of(rows.merge(sizes[KEYS[:3]])).itertuples():
    print(f'{row.market} {row.language}: pool of {row.capacity}, length '
          f'{row.length}, validation IC {row.best_valid_ic:.4f}')  # fmt: skip


if __name__ == '__main__':
  real_panels.define_flags()
  flags.DEFINE_list('languages', ['sem_k', 'sem', 'syn', 'rpn'], 'Which.')
  app.run(main)
