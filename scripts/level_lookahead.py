r"""What levels of back-adjusted prices know of the future, measured.

python scripts/level_lookahead.py --data=../shared/data/us_sp500.parquet

Random search mines 2,500 formulas on each half of the train days, once on
prices as vendors adjust them, scaled to the last row, and once as they are
loaded here, scaled to the first. The pools are judged on the other half and on
validation, those of the first kind on both kinds of prices: nothing differs
there but a constant for every stock, which no return shows. Nothing after 2019
is read.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from absl import app, flags, logging

from alphajax import halves, markets
from alphajax.configs import random
from alphajax.factor import metrics
from alphajax.language import formula as formula_lib
from alphajax.methods import linear
from alphajax.methods.base import Found
from alphajax.run import cache, folder

KINDS = 'last', 'first'  # The row that levels are scaled to.


def write_prices(source: Path, path: Path) -> None:
  """A table whose prices are adjusted before, as vendors do it."""
  frame = pd.read_parquet(source)
  factor = frame['adj_close'] / frame['close']
  for name in ('open', 'high', 'low', 'close'):
    frame[name] = frame[name] * factor
  frame.drop(columns=['adj_close']).to_parquet(path)


def config_of(path: Path, seed: int):
  config = random.get_config('sp500')
  config.num_iterations, config.num_trajectories = 200, 50
  config.max_evaluated, config.early_stop, config.seed = 2500, 0.0, seed
  config.pool.rule, config.pool.penalty = 'elastic_net', 1.5
  config.pool.every = 1000  # At first and at the end.
  config.data.path = str(path)
  return config


def judge(run: Path, config, half: str, other: str) -> dict[str, np.ndarray]:
  """Daily IC of the pool of a half on the days of a config's prices."""
  factors = (folder.load_run(run / half).pool or {})['factors']
  formulas = tuple(formula_lib.parse(each['formula']) for each in factors)
  found = Found(0, formulas, tuple(each['weight'] for each in factors))
  days = halves.half_days(config)
  one = config.copy_and_resolve_references()
  one.splits.train = days[other]
  splits = {name: markets.load_split(one, name) for name in ('train', 'valid')}
  return {
    'other half' if name == 'train' else 'validation': linear.daily_ic(
      found, split
    )
    for name, split in splits.items()
  }


def main(argv):
  del argv
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  workdir = Path(flags.FLAGS.workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  adjusted = workdir / 'adjusted.parquet'
  if not adjusted.exists():
    write_prices(Path(flags.FLAGS.data), adjusted)
  paths = {'last': adjusted, 'first': Path(flags.FLAGS.data)}
  daily = {}
  for seed in range(flags.FLAGS.seeds):
    for kind in KINDS:
      run = workdir / kind / f'seed_{seed}'
      halves.halves(config_of(paths[kind], seed), run)
      for half, other in zip(halves.HALVES, halves.HALVES[::-1], strict=True):
        for judged in KINDS if kind == 'last' else ('first',):
          config = config_of(paths[judged], seed)
          for span, ic in judge(run, config, half, other).items():
            key = kind, judged, half, span
            daily.setdefault(key, []).append(ic)
  print(table(daily))


def table(daily) -> str:
  """Mean IC with its error over days, of the mean of all seeds."""
  means = {key: np.mean(series, 0) for key, series in daily.items()}
  for (mined, judged, half, span), ic in list(means.items()):
    if mined != judged:
      known = means[mined, mined, half, span]
      means[mined, 'last less first', half, span] = known - ic
  lines = ['mined on levels of the | judged on | half | span | IC']
  for (mined, judged, half, span), ic in means.items():
    interval = metrics.mean_interval(ic, 19)
    error = (interval.high - interval.low) / 4
    lines.append(
      f'{mined} row | {judged} row | {half} | {span} | '
      f'{interval.mean:+.4f} ({error:.4f})'
    )
  return '\n'.join(lines)


if __name__ == '__main__':
  flags.DEFINE_string('data', '../shared/data/us_sp500.parquet', 'The panel.')
  flags.DEFINE_string('workdir', 'runs/levels', 'Folder of the runs.')
  flags.DEFINE_integer('seeds', 1, 'Runs of each kind.')
  app.run(main)
