r"""Figure 10: validation IC by pool size, then by length, for each language.

python scripts/figure10_grid.py --out=runs/figure10 [--markets=csi300,sp500] \
  [--iterations=100] [--base=best] [--languages=sem_k,rpn]

As in the paper, the pool size is chosen first, at a length of 10, and then the
length with that pool size. The IC is that of the best pool by validation; the
test split is not opened. RPN takes the LSTM, since the Tree-LSTM cannot read
it. Resumable: a row of `figure10.csv` for each run.
"""

import csv
from pathlib import Path

from absl import app, flags
from matplotlib.figure import Figure
from search_tools import DATA, history, train

CAPACITIES = (1, 5, 10, 20, 30)
LENGTHS = (5, 10, 15, 20, 25)
FIRST_LENGTH = 10
LANGUAGES = ('sem_k', 'sem', 'syn', 'rpn')
FIELDS = ('market', 'language', 'capacity', 'length', 'evaluated', 'train_ic',
          'best_valid_ic')  # fmt: skip

_OUT = flags.DEFINE_string('out', None, 'Folder of the runs.', required=True)
_DATA = flags.DEFINE_string('data', '../shared/data', 'Folder of the panels.')
_MARKETS = flags.DEFINE_list('markets', list(DATA), 'Of csi300, sp500.')
_LANGUAGES = flags.DEFINE_list('languages', list(LANGUAGES), 'Which.')
_ITERATIONS = flags.DEFINE_integer('iterations', 100, 'Iterations of a run.')
_BASE = flags.DEFINE_string('base', '', 'Variant of configs/alphacfg.py.')
_SMALL = flags.DEFINE_multi_string('set', [], 'key=value of all runs.')


def mine(market: str, language: str, capacity: int, length: int) -> dict:
  """Runs one cell of the grid, or reads what it did; a row of the CSV."""
  out = Path(_OUT.value)
  workdir = out / f'{market}_{language}_{capacity}_{length}'
  base = f'{market},{_BASE.value}' if _BASE.value else market
  encoder = 'lstm' if language == 'rpn' else 'tree_lstm'
  train(
    workdir, f'alphacfg.py:{base}',
    f'data.path={Path(_DATA.value) / DATA[market]}',
    f'num_iterations={_ITERATIONS.value}', f'language.name={language}',
    f'network.encoder={encoder}', f'pool.capacity={capacity}',
    f'language.max_length={length}', *_SMALL.value,
  )  # fmt: skip
  last = history(workdir)[-1]
  row = dict(market=market, language=language, capacity=capacity, length=length)
  return {**row, **{name: last[name] for name in FIELDS[4:]}}


def write(path: Path, rows: list[dict]) -> None:
  with open(path, 'w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS)
    writer.writeheader()
    writer.writerows(rows)


def draw(path: Path, rows: list[dict], chosen: dict) -> None:
  """A row a market: by pool size at the first length, by length at the best.

  chosen: (market, language) -> the best pool size.
  """
  markets = list(dict.fromkeys(row['market'] for row in rows))
  figure = Figure(figsize=(10, 3.5 * len(markets)), layout='constrained')
  for line, market in zip(
    figure.subplots(len(markets), 2, squeeze=False), markets, strict=True
  ):
    for language in dict.fromkeys(row['language'] for row in rows):
      own = [r for r in rows
             if (r['market'], r['language']) == (market, language)]  # fmt: skip
      sizes = [r for r in own if r['length'] == FIRST_LENGTH]
      best = chosen.get((market, language))
      lengths = [r for r in own if r['capacity'] == best]
      for axes, key, points in zip(
        line, ('capacity', 'length'), (sizes, lengths), strict=True
      ):
        points = sorted(points, key=lambda r: r[key])
        axes.plot([r[key] for r in points],
                  [r['best_valid_ic'] for r in points],
                  'o-', label=language)  # fmt: skip
        axes.set_xlabel({'capacity': 'pool size', 'length': 'length'}[key])
        axes.set_ylabel(f'{market}: validation IC')
        axes.grid(alpha=0.3)
    line[0].legend()
  figure.savefig(path, dpi=150)


def main(argv):
  del argv
  out = Path(_OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  rows, chosen = [], {}

  def add(*cell):
    rows.append(mine(*cell))
    write(out / 'figure10.csv', rows)
    draw(out / 'figure10.png', rows, chosen)
    return rows[-1]

  for market in _MARKETS.value:
    for language in _LANGUAGES.value:
      sizes = [add(market, language, size, FIRST_LENGTH) for size in CAPACITIES]
      best = max(sizes, key=lambda row: row['best_valid_ic'] or 0.0)
      capacity = chosen[market, language] = best['capacity']
      lengths = [add(market, language, capacity, length)
                 for length in LENGTHS if length != FIRST_LENGTH]  # fmt: skip
      best = max([best, *lengths], key=lambda row: row['best_valid_ic'] or 0.0)
      print(f'{market} {language}: pool of {best["capacity"]}, length '
            f'{best["length"]}, validation IC {best["best_valid_ic"]:.4f}'
            )  # fmt: skip


if __name__ == '__main__':
  app.run(main)
