r"""Which options of the search earn their place?

python scripts/search_options.py --out=runs/options [--base=paper] \
  [--seeds=5] [--first_seed=0] [--budget=1500] [--share=1.0] \
  [--options=gumbel --options=known+once] [--control=random]

Each option, or several joined by +, is set against the base: the paper's
settings, or those of `configs/alphacfg.py:best`. For each seed a market is
simulated, and every variant mines it. What counts is how many formulas a
variant evaluates until its train IC reaches a share of the IC of the planted
alphas on train, seen after each iteration, of 100 proposals. A run ends when it
has evaluated the budget (one that repeats itself, after twice the iterations
that this needs). One that did not reach the goal counts as the budget: the
ratios are then too near to 1. Random search is in the table as a variant.

A sweep in the folder BASE: resumable; a finished run is not repeated. Writes
`BASE.csv`, a row a run, and prints a table, paired by seed with the control.
15 iterations of the paper's settings took 76 s on two cores, without the start.
"""

import math
from pathlib import Path

import pandas as pd
from absl import app, flags

from alphajax import cli, sweep, train
from alphajax.run import compare
from alphajax.run.folder import Run

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
FIGURES = (
  'reached', 'needed', 'log2_needed', 'train_ic', 'best_valid_ic'
)  # fmt: skip


def define_flags() -> None:
  flags.DEFINE_string('out', 'runs/options', 'Folder of the runs.')
  flags.DEFINE_enum('base', 'paper', list(BASES), 'What options change.')
  flags.DEFINE_integer('seeds', 5, 'Number of seeds.')
  flags.DEFINE_integer(
    'first_seed', 0, 'The first of them: options are chosen on some markets, '
    'and measured on others.'
  )  # fmt: skip
  flags.DEFINE_integer('budget', 1500, 'Formulas a run evaluates.')
  flags.DEFINE_float('share', 1.0, 'Of the planted IC, to be reached.')
  flags.DEFINE_multi_string('set', [], 'key=value of all runs.')
  flags.DEFINE_multi_string(
    'options', list(OPTIONS), 'Which of them, or some joined by +; repeat it.'
  )
  flags.DEFINE_string('control', 'base', 'The option that others are paired to')
  flags.register_validator(
    'options',
    lambda joined: set('+'.join(joined).split('+')) <= OPTIONS.keys(),
    f'known: {", ".join(OPTIONS)}',
  )


def config_of(option: str, given):
  """The config of an option, or of some joined by +; `given` are the flags."""
  method = 'random' if option == 'random' else 'alphacfg'
  changes = [each for name in option.split('+') for each in OPTIONS[name]]
  return cli.read_config(f'{method}.py:simulated{BASES[given.base]}', [
    'early_stop=0.0', f'max_evaluated={given.budget}',
    f'num_iterations={max(2, given.budget // 50)}', *changes, *given.set,
  ])  # fmt: skip


def effort(run: Run, share: float, budget: int) -> dict[str, float]:
  """Whether a run reached its share of the planted IC, and what it needed."""
  reached = run.column('train_ic') >= share * run.pool['ceiling']['train']
  counts = run.column('evaluated')
  needed = counts[reached.argmax()] if reached.any() else budget
  return {
    'reached': float(reached.any()),
    'needed': float(needed),
    'log2_needed': math.log2(needed),
  }


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  options = list(dict.fromkeys(['base', *given.options]))
  if given.control not in options:
    raise app.UsageError(f'--control={given.control} is none of the options')
  members = sweep.plan(
    {option: config_of(option, given) for option in options},
    Path(given.out, given.base),
    range(given.first_seed, given.first_seed + given.seeds),
    ('seed', 'data.simulate.seed'),
  )
  rows = []
  for member, run in sweep.train_all(members):
    rows.append({
      'variant': member.variant, 'seed': member.seed,
      **compare.figures_of(run), **effort(run, given.share, given.budget),
    })  # fmt: skip
    runs = pd.DataFrame(rows)
    runs.to_csv(Path(given.out, f'{given.base}.csv'), index=False)
  summary = compare.summary(runs, FIGURES, given.control)
  print(compare.text(summary, given.control))


if __name__ == '__main__':
  define_flags()
  app.run(main)
