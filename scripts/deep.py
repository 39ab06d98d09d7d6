r"""What searches find of long planted formulas, in the noise of real labels.

python scripts/deep.py --workdir=runs/deep [--searches=random,evolution]
python scripts/deep.py --workdir=runs/deep --table

Each seed is a market of its own (`simulated_deep`, whose formulas random search
does not find) that every search of `finding.py` mines once; the pools that
rules make of the first so many formulas are set against what was planted, on
the days of validation. Goes on where it stopped.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from absl import app, flags, logging
from finding import SEARCHES, search_config

from alphajax import halves, markets, train
from alphajax.analysis import recovery
from alphajax.data import simulate
from alphajax.factor import runtime
from alphajax.run import cache, seeds

RULES = 'elastic_net', 'bagged'
POINTS = 500, 2500, 10000
CONTROL = 'random'
DONE = 'recovery.csv'  # What a finished run leaves last.


def run(workdir: Path, searches, num_seeds: int, budget: int) -> None:
  """Runs what the folder does not hold yet."""
  for seed in range(num_seeds):
    for search in searches:
      place = workdir / search / f'seed_{seed}'
      if (place / DONE).exists():
        continue
      config = search_config(search, 'simulated_deep')
      config.seed = config.data.simulate.seed = seed
      config.max_evaluated, config.num_iterations = budget, 1000
      trained = train.train(config, place / 'run')
      rows = found(config, trained, budget)
      rows.to_csv(place / DONE)
      print(search, seed, rows, sep='\n', flush=True)
      runtime.forget()  # The next market is another one.


def found(config, trained: train.Trained, budget: int) -> pd.DataFrame:
  """What of the planted combination each pool has, a row a pool."""
  wanted = [(r, n) for r in RULES for n in POINTS if n <= budget]
  formulas, weights = halves.choices(config, trained, wanted)
  split = trained.market.valid
  market = markets.simulated(config)
  rows = {}
  for (rule, point), row, signal in zip(
    wanted, weights, halves.signals(formulas, weights, split), strict=True
  ):
    own = [f for f, weight in zip(formulas, row, strict=True) if weight]
    got = recovery.recovery(market, split, signal, own)
    rows[f'{rule} of {point}'] = {
      'ceiling': simulate.ceiling(market, split),
      'share': got.share,
      'expected': got.expected,
      'recovered': got.recovered(),
      'size': len(own),
    }
  return pd.DataFrame.from_dict(rows, orient='index')


def table(workdir: Path) -> str:
  """Means over seeds, and the share beside random search's, paired."""
  runs = {}
  for search in SEARCHES:
    paths = sorted((workdir / search).glob(f'seed_*/{DONE}'))
    runs[search] = {
      path.parent.name: pd.read_csv(path, index_col=0).to_dict('index')
      for path in paths
    }
  lines = [
    f'{"":44}{"seeds":>6}{"share":>8}{"expected":>10}{"recovered":>11}'
    '  expected less random'
  ]
  for search, each in runs.items():
    for key in (f'{rule} of {point}' for rule in RULES for point in POINTS):
      there = {seed: got[key] for seed, got in each.items() if key in got}
      if not there:
        continue
      row = f'{search + ", " + key:44}{len(there):6}'
      for name, width in (('share', 8), ('expected', 10), ('recovered', 11)):
        mean = np.mean([got[name] for got in there.values()])
        row += f'{mean:{width}.3f}'
      control = runs[CONTROL]
      lines.append(row + _less(there, control, key))
  return '\n'.join(lines)


def _less(ours, control, key: str) -> str:
  """Paired difference of the expected share, with an interval over seeds."""
  both = [seed for seed in ours if key in control.get(seed, {})]
  if len(both) < 2 or all(ours[seed] is control[seed][key] for seed in both):
    return ''
  pairs = [
    ours[seed]['expected'] - control[seed][key]['expected'] for seed in both
  ]
  interval = seeds.student_interval(pairs)
  return f'  {np.mean(pairs):+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]'


FLAGS = flags.FLAGS


def main(argv):
  del argv
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  workdir = Path(FLAGS.workdir)
  if not FLAGS.table:
    run(workdir, FLAGS.searches, FLAGS.seeds, FLAGS.budget)
  print(table(workdir))


if __name__ == '__main__':
  flags.DEFINE_string('workdir', 'runs/deep', 'Folder of all runs.')
  flags.DEFINE_list('searches', ['random', 'evolution'], 'Which of them.')
  flags.DEFINE_integer('seeds', 5, 'Markets.')
  flags.DEFINE_integer('budget', 10000, 'Formulas evaluated in a run.')
  flags.DEFINE_bool('table', False, 'Only the table of what has been run.')
  app.run(main)
