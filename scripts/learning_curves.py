"""Training curves of variants on real panels: Figures 4 and 9 share this.

Each market, variant and seed is a run of a sweep; train IC by formulas
evaluated is drawn with a band over the seeds, and the variants are compared
with the first one, paired by seed, at the largest number of evaluated formulas
that all runs reached.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import real_panels
from absl import flags
from matplotlib.figure import Figure

from alphajax import sweep, train
from alphajax.run import compare

SAME = ('language.max_length=5', 'pool.capacity=10', 'early_stop=0.0')
FIELDS = ('evaluated', 'train_ic', 'valid_ic')


def define_flags() -> None:
  real_panels.define_flags()
  flags.DEFINE_integer('seeds', 3, 'Number of seeds.')


def draw(name: str, variants: Mapping[str, Sequence[str]]) -> None:
  """Runs everything; writes NAME.csv and NAME.png, prints what was found.

  variants: label -> options of the config, `key=value`.
  """
  train.prepare()
  given = flags.FLAGS
  out, markets = Path(given.out), given.markets
  configs = {
    f'{market}_{variant}': real_panels.config_of(market, *SAME, *options)
    for market in markets
    for variant, options in variants.items()
  }
  curves = []
  members = sweep.plan(configs, out, range(given.seeds))
  for member, run in sweep.train_all(members):
    market, _, variant = member.variant.partition('_')
    curve = {field: run.column(field) for field in FIELDS}
    key = {'market': market, 'variant': variant, 'seed': member.seed}
    curves.append(pd.DataFrame({**key, **curve}))
    table = pd.concat(curves)
    table.to_csv(out / f'{name}.csv', index=False)
    picture(out / f'{name}.png', table)
  for market in markets:
    count, ends = at_equal_count(table[table['market'] == market])
    first = next(iter(variants))
    print(f'\n{market}, {count:.0f} formulas evaluated')
    figures = list(ends.columns[2:])
    print(compare.text(compare.summary(ends, figures, first), first))


def picture(path: Path, curves: pd.DataFrame) -> None:
  """A panel a market: mean over seeds, band of a standard deviation."""
  markets = list(curves['market'].unique())
  figure = Figure(figsize=(5.5 * len(markets), 4), layout='constrained')
  for axes, market in zip(
    figure.subplots(1, len(markets), squeeze=False)[0], markets, strict=True
  ):
    here = curves[curves['market'] == market]
    for variant, runs in here.groupby('variant', sort=False):
      each = [run for _, run in runs.groupby('seed')]
      grid = way(each)
      ics = np.stack([at(run, grid) for run in each])
      mean, spread = ics.mean(0), ics.std(0)
      (line,) = axes.plot(grid, mean, label=variant)
      axes.fill_between(
        grid, mean - spread, mean + spread, alpha=0.2, color=line.get_color()
      )
    axes.set(title=market, xlabel='formulas evaluated')
    axes.set_ylabel('train IC of the pool')
    axes.grid(alpha=0.3)
    axes.legend()
  figure.savefig(path, dpi=150)


def way(runs: Sequence[pd.DataFrame]) -> np.ndarray:
  """Numbers of evaluated formulas that all of the runs went through."""
  counts = [run['evaluated'] for run in runs]
  start, last = max(c.iloc[0] for c in counts), min(c.iloc[-1] for c in counts)
  return np.linspace(start, last, 200)


def at(run: pd.DataFrame, evaluated, field: str = 'train_ic') -> np.ndarray:
  """The IC after so many evaluated formulas: of the last iteration by then."""
  index = np.searchsorted(run['evaluated'], evaluated, side='right') - 1
  return run[field].to_numpy()[np.maximum(index, 0)]


def at_equal_count(curves: pd.DataFrame) -> tuple[float, pd.DataFrame]:
  """The count that all runs reached, and the ICs of each run there.

  The mean of the train IC on the way there tells who was faster.
  """
  runs = dict(list(curves.groupby(['variant', 'seed'], sort=False)))
  grid = way(list(runs.values()))
  rows = [
    {
      'variant': variant,
      'seed': seed,
      'train IC': float(at(run, grid[-1])),
      'on the way': at(run, grid).mean(),
      'valid IC': float(at(run, grid[-1], 'valid_ic')),
    }
    for (variant, seed), run in runs.items()
  ]
  return grid[-1], pd.DataFrame(rows)
