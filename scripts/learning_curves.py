"""Training curves of variants on real panels: Figures 4 and 9 share this.

For each market, variant and seed a run is trained, or continued; train IC by
formulas evaluated is drawn with a band over the seeds, and the variants are
compared with the first one, paired by seed, at the largest number of evaluated
formulas that all runs reached.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from matplotlib.figure import Figure
from search_tools import DATA, history, interval, train

OPTIONS = ('language.max_length=5', 'pool.capacity=10', 'early_stop=0.0')

_OUT = flags.DEFINE_string('out', None, 'Folder of the runs.', required=True)
_DATA = flags.DEFINE_string('data', '../shared/data', 'Folder of the panels.')
_MARKETS = flags.DEFINE_list('markets', list(DATA), 'Of csi300, sp500.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Number of seeds.')
_ITERATIONS = flags.DEFINE_integer('iterations', 100, 'Iterations of a run.')
_BASE = flags.DEFINE_string('base', '', 'Variant of configs/alphacfg.py.')
_SMALL = flags.DEFINE_multi_string('set', [], 'key=value of all runs.')


def draw(name: str, variants: Mapping[str, Sequence[str]]) -> None:
  """Runs everything; writes NAME.csv and NAME.png, prints what was found.

  variants: label -> options of the config, `key=value`.
  """
  out = Path(_OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  curves = {}  # (market, variant) -> a list of (evaluated, train IC, valid IC).
  for seed in range(_SEEDS.value):  # Every variant soon has a seed.
    for market in _MARKETS.value:
      for variant, options in variants.items():
        curve = _run(out, market, variant, seed, options)
        curves.setdefault((market, variant), []).append(curve)
        _write(out / f'{name}.csv', curves)
        _picture(out / f'{name}.png', curves)
  for market in _MARKETS.value:
    _table(market, {v: curves[market, v] for v in variants})


def _run(out, market, variant, seed, options) -> np.ndarray:
  """The curve of a run, `[iterations, 3]`."""
  workdir = out / f'{market}_{variant}_{seed}'
  path = Path(_DATA.value) / DATA[market]
  settings = [f'data.path={path}', f'num_iterations={_ITERATIONS.value}']
  base = f'{market},{_BASE.value}' if _BASE.value else market
  train(
    workdir, f'alphacfg.py:{base}', f'seed={seed}', *OPTIONS, *settings,
    *options, *_SMALL.value,
  )  # fmt: skip
  fields = ('evaluated', 'train_ic', 'valid_ic')
  return np.array([[row[f] for f in fields] for row in history(workdir)])


def _write(path: Path, curves) -> None:
  with open(path, 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(
      ('market', 'variant', 'seed', 'evaluated', 'train_ic', 'valid_ic')
    )
    for (market, variant), runs in curves.items():
      for seed, curve in enumerate(runs):
        writer.writerows((market, variant, seed, *row) for row in curve)


def _picture(path: Path, curves) -> None:
  """A panel a market: mean over seeds, band of a standard deviation."""
  markets = list(dict.fromkeys(market for market, _ in curves))
  figure = Figure(figsize=(5.5 * len(markets), 4), layout='constrained')
  for axes, market in zip(
    figure.subplots(1, len(markets), squeeze=False)[0], markets, strict=True
  ):
    for (where, variant), runs in curves.items():
      if where != market:
        continue
      last = min(curve[-1, 0] for curve in runs)
      grid = np.linspace(max(curve[0, 0] for curve in runs), last, 200)
      ics = np.stack([at(curve, grid) for curve in runs])
      mean, spread = ics.mean(0), ics.std(0)
      (line,) = axes.plot(grid, mean, label=variant)
      axes.fill_between(
        grid, mean - spread, mean + spread, alpha=0.2, color=line.get_color()
      )
    axes.set_title(market)
    axes.set_xlabel('formulas evaluated')
    axes.set_ylabel('train IC of the pool')
    axes.grid(alpha=0.3)
    axes.legend()
  figure.savefig(path, dpi=150)


def at(curve: np.ndarray, evaluated, column: int = 1) -> np.ndarray:
  """The IC after so many evaluated formulas: of the last iteration by then."""
  index = np.searchsorted(curve[:, 0], evaluated, side='right') - 1
  return curve[np.maximum(index, 0), column]


def _table(market: str, runs: Mapping[str, list[np.ndarray]]) -> None:
  """Prints the ICs at an equal number of evaluated formulas.

  The mean of the train IC on the way there tells who was faster.
  """
  count = min(curve[-1, 0] for curves in runs.values() for curve in curves)
  start = max(curve[0, 0] for curves in runs.values() for curve in curves)
  way = np.linspace(start, count, 200)
  measures = {
    'train IC': lambda curve: at(curve, count),
    'on the way': lambda curve: at(curve, way).mean(),
    'valid IC': lambda curve: at(curve, count, column=2),
  }
  first = next(iter(runs))
  titles = ''.join(f' {name} | less {first} |' for name in measures)
  print(f'\n{market}, {count:.0f} formulas evaluated\n| variant |{titles}\n|'
        + ' --- |' * (1 + 2 * len(measures)))  # fmt: skip
  for variant, curves in runs.items():
    cells = []
    for measure in measures.values():
      values = np.array([measure(curve) for curve in curves])
      cells.append(f'{values.mean():.4f} (sd {values.std():.4f})')
      less = values - [measure(curve) for curve in runs[first]]
      is_pair = variant != first and len(values) > 1
      cells.append(interval(less, digits=4) if is_pair else '-')
    print(f'| {variant} | {" | ".join(cells)} |')
