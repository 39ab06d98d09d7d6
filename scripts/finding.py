r"""What lasts out of sample: searches and pool rules compared in pairs.

python scripts/finding.py --data=../shared/data --workdir=runs/finding
python scripts/finding.py --workdir=runs/finding --table

Every search mines 2,500 formulas on each half of the train days of both real
markets; the pools of all rules on the same formulas are judged on the other
half and on validation (`alphajax.halves`). Goes on where it stopped, seed after
seed. Nothing after 2019 is read.
"""

from pathlib import Path

import numpy as np
from absl import app, flags, logging

from alphajax import halves
from alphajax.configs import alphacfg, evolution, random
from alphajax.factor import metrics
from alphajax.run import cache, files, seeds

DATA = {'csi300': 'cn_csi300.parquet', 'sp500': 'us_sp500.parquet'}
RULES = (
  'algorithm1',
  'elastic_net',
  'elastic_net@penalty=1',
  'elastic_net@penalty=1.5',
  'elastic_net@penalty=2.5',
  'elastic_net@penalty=3',
  'best_distinct',
  'best_distinct@capacity=50@max_corr=0.7',
  'bagged',
  'distilled',
  'distilled@capacity=20',
)
CONTROL = 'random', 'algorithm1'
DAILY = 'daily_halves.npz'  # What a finished run leaves last.


def search_config(name: str, market: str):
  """The config of a search; all of them under the same rule and budget."""
  if name.startswith('random'):
    config = random.get_config(market)
    config.num_trajectories = 50
  elif name.startswith('alphacfg'):
    config = alphacfg.get_config(market)
    config.num_trajectories = 50
  else:
    config = evolution.get_config(market)
  if name.endswith('_learning'):
    use_learning(config)
  if name.endswith('_screen'):
    config.screen.twin = 0.99
  if name.endswith('_typed'):
    config.language.name = 'typed_k'
  config.num_iterations = 200
  config.early_stop = 0.0
  config.pool.rule, config.pool.penalty = 'elastic_net', 2.0
  config.pool.every = 1000  # Rules are compared at the end.
  return config


def use_learning(config) -> None:
  """AlphaCFG whose reward tells formulas apart.

  Games begin at a strong formula with a node left open; a formula is worth its
  rank, among the new ones of the iteration, by what it explains beside the
  pool; what is known or dead is worth nothing.
  """
  config.search.openings, config.search.openings_at = 0.5, 'node'
  config.search.openings_from = 'niches'
  config.value.reward, config.value.normalize = 'unexplained', 'rank'
  config.value.duplicates = 'nothing'


SEARCHES = (
  'random',
  'random_screen',
  'evolution',
  'evolution_typed',
  'alphacfg',
  'alphacfg_learning',
)


def run(workdir: Path, data: Path, searches, num_seeds: int, budget: int):
  """Runs what the folder does not hold yet."""
  for seed in range(num_seeds):
    for market, file in DATA.items():
      for search in searches:
        folder = workdir / market / search / f'seed_{seed}'
        if (folder / DAILY).exists():
          continue
        config = search_config(search, market)
        config.data.path = str(data / file)
        config.seed, config.max_evaluated = seed, budget
        results = halves.halves(config, folder, RULES)
        print(market, search, seed)
        print(halves.table(results), flush=True)


SPANS = tuple(f'{h}_{s}' for h in halves.HALVES for s in ('other', 'valid'))


def load(workdir: Path, market: str, search: str):
  """{seed: {rule: {span: daily IC}}} of what has been run."""
  found = {}
  for path in sorted((workdir / market / search).glob(f'seed_*/{DAILY}')):
    daily = files.read_arrays(path)
    found[int(path.parent.name.removeprefix('seed_'))] = {
      rule: {span: daily[f'{rule}_{span}'] for span in SPANS} for rule in RULES
    }
  return found


def difference(ours, control):
  """Mean paired difference over spans, of each seed; and its error over days.

  Days of the four spans overlap in validation alone; a seed's spans are one
  number, and the error over days is that of the mean over all seeds' series.
  """
  seeds_in_both = sorted(set(ours) & set(control))
  spans = {
    span: np.mean([ours[s][span] - control[s][span] for s in seeds_in_both], 0)
    for span in SPANS
  }
  by_seed = [
    np.mean([np.mean(ours[s][x] - control[s][x]) for x in SPANS])
    for s in seeds_in_both
  ]
  intervals = [metrics.mean_interval(spans[span], 19) for span in SPANS]
  errors = [(i.high - i.low) / 4 for i in intervals]
  better = sum(interval.mean > 0 for interval in intervals)
  over_days = float(np.sqrt(np.sum(np.square(errors))) / len(SPANS))
  return by_seed, over_days, better


def table(workdir: Path) -> str:
  """Every search and rule beside random search, by market."""
  lines = []
  for market in DATA:
    runs = {s: load(workdir, market, s) for s in SEARCHES}
    runs = {s: found for s, found in runs.items() if found}
    if CONTROL[0] not in runs:
      continue
    lines.append(
      f'{market:27}{"seeds":>6}{"IC":>8}  less random, algorithm1'
      '         less random, same rule'
    )
    for search, found in runs.items():
      for rule in RULES:
        ours = {s: each[rule] for s, each in found.items()}
        ic = np.mean([[d.mean() for d in e.values()] for e in ours.values()])
        row = f'{search + " " + rule:55}{len(ours):3}{ic:8.4f}'
        for other in (CONTROL[1], rule):
          control = {s: e[other] for s, e in runs[CONTROL[0]].items()}
          row += _cell(ours, control)
        lines.append(row)
  return '\n'.join(lines)


def _cell(ours, control) -> str:
  by_seed, over_days, better = difference(ours, control)
  spread = ''
  if len(by_seed) > 1:
    interval = seeds.student_interval(by_seed)
    spread = f' [{interval.low:+.4f}, {interval.high:+.4f}]'
  return f'  {np.mean(by_seed):+.4f} ({over_days:.4f}){spread} {better}/4'


FLAGS = flags.FLAGS


def main(argv):
  del argv
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  workdir = Path(FLAGS.workdir)
  if not FLAGS.table:
    run(workdir, Path(FLAGS.data), FLAGS.searches, FLAGS.seeds, FLAGS.budget)
  print(table(workdir))


if __name__ == '__main__':
  flags.DEFINE_string('workdir', 'runs/finding', 'Folder of all runs.')
  flags.DEFINE_string('data', '../shared/data', 'Folder of the two markets.')
  flags.DEFINE_list('searches', list(SEARCHES), 'Which of them.')
  flags.DEFINE_integer('seeds', 5, 'Runs of each.')
  flags.DEFINE_integer('budget', 2500, 'Formulas evaluated in a run.')
  flags.DEFINE_bool('table', False, 'Only the table of what has been run.')
  app.run(main)
