r"""What lasts out of sample: searches and pool rules compared in pairs.

python scripts/finding.py --data=../shared/data --workdir=runs/finding
python scripts/finding.py --workdir=runs/finding --table
python scripts/finding.py --workdir=runs/finding --table --control=random,bagged
python scripts/finding.py --workdir=runs/finding --table \
  --control=random_typed,algorithm1

Every search mines 2,500 formulas on each half of the train days of both real
markets; the pools of all rules on the same formulas are judged on the other
half and on validation (`alphajax.halves`). Goes on where it stopped, seed after
seed. Nothing after 2019 is read.
"""

from pathlib import Path

import numpy as np
from absl import app, flags, logging

from alphajax import halves
from alphajax.configs import (
  alphacfg,
  alphaformer,
  evolution,
  random,
  retrieval,
)
from alphajax.factor import metrics, runtime
from alphajax.methods import other_market
from alphajax.run import cache, files, folder, seeds

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
READS_POOL = {'alphaformer': alphaformer, 'retrieval': retrieval}


def search_config(name: str, market: str):
  """The config of a search; all of them under the same rule and budget."""
  if name.startswith('random'):
    config = random.get_config(market)
    config.num_trajectories = 50
  elif name.startswith('alphacfg'):
    settings = ',learning' if name == 'alphacfg_noise' else ''
    config = alphacfg.get_config(market + settings)
    config.num_trajectories = 50
  elif name.partition('_')[0] in READS_POOL:
    kind, _, ablation = name.partition('_')
    config = READS_POOL[kind].get_config(market)
    config.num_trajectories = 50
    if ablation:  # As in alphaformer_no_pool: the network is not told of it.
      config.alphaformer.ablate = ablation
  else:
    config = evolution.get_config(market)
  if '_learning' in name or '_nodes' in name or name == 'alphacfg_ranked':
    use_learning(config)
  if '_nodes' in name:  # Any node of a formula is written anew.
    config.search.openings_at, config.search.openings = 'node', 1.0
  if name.endswith('_max'):
    config.search.backup = 'max'
  if name.endswith('_screen'):
    config.screen.twin = 0.99
  if '_typed' in name:
    config.language.name = 'typed_k'
  config.num_iterations = 200
  config.early_stop = 0.0
  config.pool.rule, config.pool.penalty = 'elastic_net', 2.0
  # Rules are compared at the end; more often where the pool says what is
  # proposed.
  config.pool.every = 2 if name.partition('_')[0] in READS_POOL else 1000
  if name == 'alphacfg_refreshed':  # Known ones are worth what they are now.
    use_learning(config)
    config.search.known_rewards, config.value.duplicates = False, 'same'
    config.value.similarity, config.value.refresh = 'none', True
    config.pool.every = 5
  if name.endswith('_ranked'):  # By the gain beside the pool of the rule.
    config.screen.twin, config.screen.rank = 0.99, 'gain'
    config.pool.every = 10
  if name == 'alphacfg_ranked':  # Games cost more than looks at formulas.
    config.search.known_rewards, config.screen.candidates = False, 3
    config.value.similarity = 'none'
  return config


def use_data(config, data: Path, market: str) -> None:
  """The panels of a search: the market's, and for an ablation the other's."""
  config.data.path = str(data / DATA[market])
  if config.get('alphaformer', {}).get('ablate') == other_market.ABLATION:
    (other,) = DATA.keys() - {market}
    config.alphaformer.other = str(data / DATA[other])


def use_learning(config) -> None:
  """AlphaCFG whose reward tells formulas apart, with no noise at its roots.

  Half of the games begin as a strong formula does; a formula is worth its rank,
  among the new ones of the iteration, by what it explains beside the pool; what
  is known or dead is worth nothing.
  """
  alphacfg.use_learning(config)
  config.search.dirichlet_fraction = 0.0
  config.value.normalize = 'rank'
  config.training.learning_rate = 1e-4


SEARCHES = (
  'random',
  'random_screen',
  'random_typed',
  'evolution',
  'evolution_typed',
  'random_ranked',
  'evolution_ranked',
  'evolution_typed_ranked',
  'alphacfg',
  'alphacfg_learning',
  'alphacfg_noise',
  'alphacfg_refreshed',
  'alphacfg_ranked',
  'alphacfg_nodes',
  'alphacfg_nodes_max',
)


def run(workdir: Path, data: Path, searches, num_seeds: int, budget: int):
  """Runs what the folder does not hold yet."""
  for seed in range(num_seeds):
    for market in DATA:
      for search in searches:
        place = workdir / market / search / f'seed_{seed}'
        if (place / halves.DAILY).exists():
          continue
        config = search_config(search, market)
        use_data(config, data, market)
        config.seed, config.max_evaluated = seed, budget
        results = halves.halves(config, place, RULES)
        print(market, search, seed)
        print(halves.table(results), flush=True)
        runtime.forget()  # The next market has other days.


SPANS = tuple(f'{h}_{s}' for h in halves.HALVES for s in ('other', 'valid'))


def load(workdir: Path, market: str, search: str):
  """{seed: {rule: {span: {day: IC}}}} of what has been run."""
  found = {}
  for path in sorted(
    (workdir / market / search).glob(f'seed_*/{halves.DAILY}')
  ):
    seed = int(path.parent.name.removeprefix('seed_'))
    found[seed] = {rule: read_days(path, rule) for rule in RULES}
  return found


def read_days(path: Path, name: str):
  """{span: {day: IC}} of one pool in what `halves` has written."""
  daily, days = files.read_arrays(path), {}
  if f'dates_{SPANS[0]}' in daily:
    days = {span: daily[f'dates_{span}'].tolist() for span in SPANS}
  else:  # Of a version that left them to the runs.
    for half, other in zip(halves.HALVES, halves.HALVES[::-1], strict=True):
      # What one half is judged on are the days that the other is mined on.
      own = files.read_arrays(path.parent / half / 'daily.npz')
      days[f'{other}_other'] = own['dates_train'].tolist()
      days[f'{half}_valid'] = own['dates_valid'].tolist()
  return {
    span: dict(zip(days[span], daily[f'{name}_{span}'], strict=True))
    for span in SPANS
  }


def difference(ours, control, counted=SPANS):
  """Mean paired difference over spans, of each seed; and its error over days.

  A seed's spans are one number, and the error over days is that of the mean of
  all seeds' series; validation, which both halves have, is one series there.

  counted: spans that count: where a teacher was chosen by validation, those of
    the halves alone.
  """
  seeds_in_both = sorted(set(ours) & set(control))
  spans = {
    span: np.array(
      [_paired(ours[s][span], control[s][span]) for s in seeds_in_both]
    )
    for span in counted
  }
  by_seed = np.mean([each.mean(1) for each in spans.values()], 0).tolist()
  spans = {span: each.mean(0) for span, each in spans.items()}
  better = sum(daily.mean() > 0 for daily in spans.values())
  series = [[spans[name]] for name in counted if name.endswith('other')]
  series.append([spans[name] for name in counted if name.endswith('valid')])
  errors = []
  for parts in filter(None, series):
    interval = metrics.mean_interval(np.mean(parts, 0), 19)
    share = len(parts) / len(counted)
    errors.append(share * (interval.high - interval.low) / 4)
  return by_seed, float(np.linalg.norm(errors)), better


def _paired(ours, control) -> np.ndarray:
  """Differences on the days of both: a look-back moves a half by a day."""
  return np.array([ours[day] - control[day] for day in ours if day in control])


def table(workdir: Path, control: tuple[str, str] = CONTROL) -> str:
  """Every search and rule beside one search, by market.

  control: that search, and the rule of its first column; the second column has
    its pools by the same rule.

  Raises:
    SystemExit: no run of the control has finished.
  """
  lines = []
  for market in DATA:
    runs = {s: load(workdir, market, s) for s in SEARCHES}
    runs = {s: found for s, found in runs.items() if found}
    if control[0] not in runs:
      continue
    lines.append(
      f'{market:52}{"seeds":>6}{"IC":>8}  less {control[0]}, {control[1]}'
      f'         less {control[0]}, same rule'
    )
    for search, found in runs.items():
      for rule in RULES:
        ours = {s: each[rule] for s, each in found.items()}
        ic = np.mean(
          [np.mean([*d.values()]) for e in ours.values() for d in e.values()]
        )
        row = f'{search + " " + rule:55}{len(ours):3}{ic:8.4f}'
        for other in (control[1], rule):
          beside = {s: e[other] for s, e in runs[control[0]].items()}
          if beside.keys() & ours.keys():
            row += _cell(ours, beside)
        lines.append(row)
  if not lines:
    raise SystemExit(
      f'{workdir}: no finished run of {control[0]} to set others beside; '
      'without --table they are made'
    )
  return '\n'.join(lines)


def _cell(ours, control) -> str:
  by_seed, over_days, better = difference(ours, control)
  spread = ''
  if len(by_seed) > 1:
    interval = seeds.student_interval(by_seed)
    spread = f' [{interval.low:+.4f}, {interval.high:+.4f}]'
  return f'  {np.mean(by_seed):+.4f} ({over_days:.4f}){spread} {better}/4'


LEARNED = (
  'entropy', 'target_spread', 'value_rank', 'value_own', 'value_unexplained',
  'mean_own_ic', 'dead', 'duplicates',
)  # fmt: skip
PARTS = (1, 10), (11, 25), (26, 50)  # Iterations of 50 formulas.


def learning_table(workdir: Path) -> str:
  """What searches say of themselves as they go on, means over their runs.

  `dead` and `duplicates` are AlphaCFG's alone: others count all so far.
  """
  lines = [f'{"":34}' + ''.join(f'{name:>19}' for name in LEARNED)]
  for market in DATA:
    for search in SEARCHES:
      place = workdir / market / search
      runs = [r for h in halves.HALVES for r in place.glob(f'seed_*/{h}')]
      records = [r for run in runs for r in folder.load_run(run).metrics]
      for first, last in PARTS:
        part = [r for r in records if first <= r['iteration'] <= last]
        row = f'{market} {search} {first}-{last}'
        cells = [_mean(part, name) for name in LEARNED]
        if any(cells):
          lines.append(f'{row:34}' + ''.join(f'{cell:>19}' for cell in cells))
  return '\n'.join(lines)


def _mean(records, name: str) -> str:
  is_share = name in ('dead', 'duplicates')
  values = [
    r[name]
    for r in records
    if r.get(name) is not None and ('entropy' in r or not is_share)
  ]
  return f'{np.mean(values):.4f}' if values else ''


FLAGS = flags.FLAGS


def main(argv):
  del argv
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  workdir = Path(FLAGS.workdir)
  if not FLAGS.table:
    run(workdir, Path(FLAGS.data), FLAGS.searches, FLAGS.seeds, FLAGS.budget)
  search, rule = FLAGS.control
  print(table(workdir, (search, rule)))
  print(learning_table(workdir))


if __name__ == '__main__':
  flags.DEFINE_string('workdir', 'runs/finding', 'Folder of all runs.')
  flags.DEFINE_string('data', '../shared/data', 'Folder of the two markets.')
  flags.DEFINE_list('searches', list(SEARCHES), 'Which of them.')
  flags.DEFINE_integer('seeds', 5, 'Runs of each.')
  flags.DEFINE_integer('budget', 2500, 'Formulas evaluated in a run.')
  flags.DEFINE_list('control', list(CONTROL), 'Search and rule to set beside.')
  flags.DEFINE_bool('table', False, 'Only the table of what has been run.')
  app.run(main)
