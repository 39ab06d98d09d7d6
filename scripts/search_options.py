r"""Which options of the search earn their place?

python scripts/search_options.py --out=runs/options [--base=paper] \
  [--seeds=5] [--first_seed=0] [--budget=1500] [--share=1.0] \
  [--options=gumbel --options=known+once]

Each option, or several joined by +, is set against the base: the paper's
settings, or those of `configs/alphacfg.py:best`. For each seed a market is
simulated, and every variant mines it. What counts is how many formulas a
variant evaluates until its train IC reaches a share of the IC of the planted
alphas on train, seen after each iteration, of 100 proposals. A run ends when it
has evaluated the budget (one that repeats itself, after twice the iterations
that this needs). One that did not reach the goal counts as the budget: the
ratios are then too near to 1. Random search is in the table as a variant.

Writes `BASE.csv`, a row a run, and `BASE.png`, and prints a table, paired by
seed with the base or another option (`--against=random`). Resumable: a finished
run is not repeated.
15 iterations of the paper's settings took 76 s on two cores, without the start.
"""

import csv
from pathlib import Path

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from search_tools import history, interval, mine_simulated

_OUT = flags.DEFINE_string('out', 'runs/options', 'Folder of the runs.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Number of seeds.')
_FIRST = flags.DEFINE_integer(
  'first_seed', 0, 'The first of them: options are chosen on some markets, and '
  'measured on others.'
)  # fmt: skip
_BUDGET = flags.DEFINE_integer('budget', 1500, 'Formulas a run evaluates.')
_SHARE = flags.DEFINE_float('share', 1.0, 'Of the planted IC, to be reached.')
_SMALL = flags.DEFINE_list('small', [], 'More options of all runs, to try out.')

BASES = {'paper': '', 'best': ',best'}
OPTIONS = {
  'base': (),
  'random': (),
  'unadapted': ('search.branch_adapted=False',),
  'gumbel': (
    'search.policy=gumbel',
    'search.dirichlet_fraction=0.0',  # Its own noise in place of this.
  ),
  'noise': ('search.dirichlet_fraction=0.25',),
  'scaled': ('value.scale=10.0',),
  'once': ('value.duplicates=nothing',),
  'minmax': ('search.q_transform=minmax',),
  'reuse': ('search.reuse_subtree=True',),
  'openings': ('search.openings=0.5',),
  'known': ('search.known_rewards=True',),
  'cool_moves': (
    'search.temperature.end=0.25',
    'search.temperature.moves=4',
  ),
  'cool_iterations': (
    'search.temperature.end=0.25',
    'search.temperature.iterations=10',
  ),
  'factor': ('value.reward=factor',),
  'state': ('value.similarity=state',),
  'unlike': ('value.similarity=none',),
  'unexplained': ('value.reward=unexplained',),
  'icir': ('value.objective=icir',),
  'lcb': ('value.objective=lcb',),
  'rank_ic': ('value.objective=rank_ic', 'value.reward=factor'),
  'rate': ('training.learning_rate=1e-3',),
  'updates': ('training.num_updates=100',),
}
_BASE = flags.DEFINE_enum('base', 'paper', list(BASES), 'What options change.')
_OPTIONS = flags.DEFINE_multi_string(
  'options', list(OPTIONS), 'Which of them, or some joined by +; repeat it.'
)
_AGAINST = flags.DEFINE_string(
  'against', 'base', 'The option whose runs the table pairs with the others.'
)
flags.register_validator(
  'options',
  lambda joined: set('+'.join(joined).split('+')) <= OPTIONS.keys(),
  f'known: {", ".join(OPTIONS)}',
)
FIELDS = ('option', 'seed', 'planted', 'evaluated', 'needed', 'train_ic',
          'best_valid_ic')  # fmt: skip


def needed(records: list[dict], goal: float) -> int | None:
  """Formulas evaluated when the train IC first reached the goal."""
  for record in records:
    if record['train_ic'] >= goal:
      return record['evaluated']
  return None


def mine(out: Path, option: str, seed: int) -> dict:
  """Runs one variant, or reads what it did; a row of the CSV."""
  workdir = out / f'{option}_{seed}'
  method = 'random' if option == 'random' else 'alphacfg'
  settings = [
    f'max_evaluated={_BUDGET.value}',
    f'num_iterations={max(2, _BUDGET.value // 50)}',
  ]
  if method == 'alphacfg':
    settings += [each for name in option.split('+') for each in OPTIONS[name]]
  last = mine_simulated(
    workdir, f'{method}.py:simulated{BASES[_BASE.value]}', seed, *settings,
    *_SMALL.value,
  )  # fmt: skip
  planted = last['pool']['ceiling']['train']
  return {
    'option': option,
    'seed': seed,
    'planted': planted,
    'evaluated': last['evaluated'],
    'needed': needed(history(workdir), _SHARE.value * planted),
    'train_ic': last['train_ic'],
    'best_valid_ic': last['best_valid_ic'],
  }


def write(path: Path, rows: list[dict]) -> None:
  """The CSV; `needed` is empty where the goal was not reached."""
  with open(path, 'w', newline='') as file:
    writer = csv.DictWriter(file, FIELDS)
    writer.writeheader()
    writer.writerows(rows)


def draw(path: Path, rows: list[dict]) -> None:
  """A dot a run; hollow at its end where it did not reach the goal."""
  names = list(dict.fromkeys(row['option'] for row in rows))
  figure = Figure(figsize=(6, 1.2 + 0.3 * len(names)), layout='constrained')
  axes = figure.subplots()
  for row in rows:
    reached = row['needed'] is not None
    axes.plot(
      row['needed'] if reached else _BUDGET.value,
      names.index(row['option']) + 0.06 * (row['seed'] % 5 - 2),
      'o',
      color=f'C{row["seed"] % 10}',
      fillstyle='full' if reached else 'none',
    )
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.5, -0.5)  # The first on top.
  axes.set_xlim(0, 1.05 * _BUDGET.value)
  axes.set_xlabel(
    f'formulas evaluated until train IC = {_SHARE.value:g} of the planted '
    '(hollow: never)'
  )
  axes.grid(axis='x', alpha=0.3)
  axes.set_title(f'options against {_BASE.value}; colour: market')
  figure.savefig(path, dpi=150)


def table(rows: list[dict], against: str) -> None:
  """Prints a line an option, paired by seed with the one named `against`."""

  def count(row):
    return row['needed'] or _BUDGET.value

  pairs = {row['seed']: row for row in rows if row['option'] == against}
  print(f'| option | reached | needed | log2 of ratio to {against} | train IC '
        f'| less {against} | best valid IC |\n|' + ' --- |' * 7)  # fmt: skip
  for option in dict.fromkeys(row['option'] for row in rows):
    runs = [row for row in rows if row['option'] == option]
    ratio, less = '-', '-'
    if option != against and len(runs) > 1:
      others = [pairs[row['seed']] for row in runs]
      counts = np.array([[*map(count, each)] for each in (runs, others)])
      ratio = interval(np.log2(counts[0] / counts[1]))
      ics = np.array([[r['train_ic'] for r in each] for each in (runs, others)])
      less = interval(ics[0] - ics[1], digits=4)
    reached = sum(row['needed'] is not None for row in runs)
    needed, train, valid = (
      np.mean(each)
      for each in zip(
        *((count(r), r['train_ic'], r['best_valid_ic']) for r in runs),
        strict=True,
      )
    )
    print(f'| {option} | {reached}/{len(runs)} | {needed:.0f} | {ratio} | '
          f'{train:.4f} | {less} | {valid:.4f} |')  # fmt: skip


def main(argv):
  del argv
  out = Path(_OUT.value)
  folder = out / _BASE.value
  folder.mkdir(parents=True, exist_ok=True)
  rows = []
  options = list(dict.fromkeys(['base', *_OPTIONS.value]))
  if _AGAINST.value not in options:
    raise app.UsageError(f'--against={_AGAINST.value} is none of the options')
  # Every option soon has some seeds.
  for seed in range(_FIRST.value, _FIRST.value + _SEEDS.value):
    for option in options:
      rows.append(mine(folder, option, seed))
      ordered = sorted(rows, key=lambda row: options.index(row['option']))
      write(out / f'{_BASE.value}.csv', ordered)
      draw(out / f'{_BASE.value}.png', ordered)
  table(ordered, _AGAINST.value)


if __name__ == '__main__':
  app.run(main)
