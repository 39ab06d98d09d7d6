r"""Formula methods beside random search at equal numbers of evaluated formulas.

python scripts/formula_methods.py --workdir=runs/formula_methods [--seeds=3] \
  [--budget=500] [--methods=random,gp,gflownet,alphaqcm]

All write RPN of at most 10 tokens, fill the same pool by Algorithm 1 and mine
the same simulated market, one for each seed. Published sizes are for hundreds
of times the budget: what is cut is in `SMALLER`. A sweep: resumable; a finished
run is not repeated.
"""

from pathlib import Path

from absl import app, flags

from alphajax import cli, sweep, train

BATCH = 50  # Formulas proposed in an iteration.
NETWORK = ('network.width=32', 'training.learning_rate=1e-3')
SMALLER = {
  'random': (),
  # Six in ten of the population, as published.
  'gp': (f'gp.tournament={6 * BATCH // 10}',),
  'gflownet': NETWORK,
  'gflownet_sharp': (*NETWORK, 'gflownet.beta=4.0', 'gflownet.novelty=0.0'),
  'alphaqcm': (
    *NETWORK,
    'training.batch_size=64',
    'training.target_interval=400',
    'qcm.num_levels=16',
    'qcm.num_target_levels=16',
    'qcm.num_moment_levels=16',
    'qcm.start_steps=600',
    'qcm.random_decay_steps=2500',
  ),
}
# A method that proposes what it knows takes more iterations for a budget.
PATIENCE = {'gp': 5, 'alphaqcm': 3}
FIGURES = ('evaluated', 'share.train', 'share.valid')


def config_of(name: str, budget: int):
  """The config of a method, cut to a budget of evaluated formulas."""
  iterations = PATIENCE.get(name, 1) * -(-budget // BATCH)
  return cli.read_config(f'{name.partition("_")[0]}.py:simulated', [
    'early_stop=0.0', f'max_evaluated={budget}',
    f'num_trajectories={BATCH}', f'num_iterations={iterations}',
    'language.name=rpn', 'language.max_length=10', 'pool.capacity=10',
    *SMALLER[name],
  ])  # fmt: skip


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  unknown = set(given.methods) - SMALLER.keys()
  if unknown:
    raise app.UsageError(
      f'--methods: {", ".join(sorted(unknown))}: known are {", ".join(SMALLER)}'
    )
  workdir = Path(given.workdir)
  members = sweep.plan(
    {name: config_of(name, given.budget) for name in given.methods},
    workdir,
    range(given.seeds),
    ('seed', 'data.simulate.seed'),
  )
  control = 'random' if 'random' in given.methods else None
  sweep.sweep(members, workdir, FIGURES, control)


if __name__ == '__main__':
  flags.DEFINE_string('workdir', 'runs/formula_methods', 'Folder of the runs.')
  flags.DEFINE_integer('seeds', 3, 'Seeds, each with a market of its own.')
  flags.DEFINE_integer('budget', 500, 'Formulas that a run evaluates.')
  flags.DEFINE_list('methods', list(SMALLER), 'Which of them.')
  app.run(main)
