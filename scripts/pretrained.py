r"""Judges a pre-training on held-out tasks and writes its parameters.

python scripts/pretrained.py --workdir=runs/pretrain \
  --out=alphajax/pretrained/alphaformer.npz
python scripts/pretrained.py --checkpoint=runs/alphaformer.npz \
  --bank=runs/bank.npz --data=../shared/data/cn_csi300.parquet --tasks=256

A run may be anywhere in its course: the newest state in its folder is taken.
A checkpoint is what a run or `scripts/pretrain.py` wrote. Without a bank the
library is drawn again, which takes minutes. Evolution beside the others takes
about half of the time; --noevolution leaves it out.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pretrained_tables as tables
from absl import app, flags
from ml_collections import config_dict

from alphajax import markets, train
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.methods import (
  formula_model,
  pretraining,
  pretraining_evolution,
  pretraining_figures,
  pretraining_gate,
)
from alphajax.run import folder, pretrained
from alphajax.run import state as state_lib


class Found(NamedTuple):
  """Parameters, the config that made them, and what they took.

  library: of a checkpoint.
  """

  params: Any
  config: config_dict.ConfigDict
  cost: dict[str, Any]
  library: tuple[Formula, ...] = ()


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  if bool(given.workdir) == bool(given.checkpoint):
    raise app.UsageError('give either --workdir or --checkpoint')
  found = _of_run() if given.workdir else _of_checkpoint()
  config = found.config
  config.pretrain.gate_tasks = given.tasks
  if given.samples:
    config.pretrain.gate_samples = given.samples
  market, _ = markets.load_market(config)
  orders = orders_lib.make(**config.language)
  network = pretraining.make_network(config, orders)
  ready = pretraining.prepare(config, market, orders, network)
  if found.library not in ((), ready.library.formulas):
    raise app.UsageError(
      'the checkpoint was trained with another library than is drawn here, so '
      'what is held out may not be: give --bank, and --data of that market'
    )
  params = found.params
  if given.half:  # What is judged is what is written.
    params = jax.tree.map(
      lambda x: np.asarray(x).astype(np.float16).astype(np.float32), params
    )
  figures = judge(ready.gate, params, config.seed)
  for name, value in figures.items():
    print(f'{name:<24}', '-' if value is None else f'{value:.4f}')
  if given.out:
    cost = found.cost | {'judged_tasks': given.tasks, **figures}
    path = formula_model.save(
      given.out, params, config, ready.library, ready.bank, cost,
      half=given.half,
    )  # fmt: skip
    print(path)


def judge(gate, params, seed: int) -> dict[str, float | None]:
  """Judges parameters on the held-out tasks, and prints tables of them."""
  tasks, proposed = pretraining_gate.propose(gate, params, jax.random.key(seed))
  more = {}
  if flags.FLAGS.evolution:
    more['evolution'] = pretraining_evolution.evolve(gate, tasks, seed)
  outcome = pretraining_figures.judged(gate, tasks, proposed, more)
  if outcome.best:
    print('## Best of the first\n', tables.proposers(outcome), sep='\n')
    print('\n## Best of 10 / 100, by task\n', tables.groups(outcome), sep='\n')
    print('\n## Share of the bound / recovered, of 100, by task\n')
    print(tables.recovery(outcome))
  for name, bins in pretraining_figures.calibration(tasks, proposed).items():
    print(f'\n## Calibration: {name}\n', tables.reliability(bins), sep='\n')
  silence = pretraining_figures.silence(tasks, proposed)
  print('\n## Without signal\n', tables.silence(silence), '', sep='\n')
  return pretraining_figures.figures(gate, tasks, proposed, outcome)


def _of_run() -> Found:
  given = flags.FLAGS
  run = folder.load_run(given.workdir)
  config = config_dict.ConfigDict(run.config)
  _look_in(config)
  market, _ = markets.load_market(config)
  method = pretraining.make(config, market)
  start = method.init(jax.random.key(0))
  done, state = state_lib.restore(
    Path(given.workdir), method, start, set_aside=False
  )
  cost = {
    'tasks': state.updates * config.pretrain.batch_size,
    'iterations': done,
    'of_iterations': config.num_iterations,
    'seconds': float(run.seconds('total').sum()),
  }
  return Found(state.average, config, cost)


def _of_checkpoint() -> Found:
  about = pretrained.load(flags.FLAGS.checkpoint).about
  config = config_dict.ConfigDict(about['config'])
  language = config.language.to_dict()
  found = formula_model.load(flags.FLAGS.checkpoint, language)
  _look_in(config)
  return Found(found.params, config, about['cost'], found.library)


def _look_in(config) -> None:
  """Where data and bank lie here."""
  given = flags.FLAGS
  if given.data:
    config.data.path = given.data
  config.pretrain.bank = given.bank or ''


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of a run.')
  flags.DEFINE_string('checkpoint', None, 'FILE.npz in place of a run.')
  flags.DEFINE_string('bank', '', 'FILE.npz, see config.pretrain.bank.')
  flags.DEFINE_string('data', '', 'The market; of a checkpoint needed.')
  flags.DEFINE_string('out', '', 'FILE.npz to write; empty: judge only.')
  flags.DEFINE_integer('tasks', 96, 'Held-out tasks.')
  flags.DEFINE_integer('samples', 0, 'Formulas of each; 0: of the config.')
  flags.DEFINE_bool('evolution', True, 'Judges evolution as well.')
  flags.DEFINE_bool('half', False, 'Writes 16 bits a number.')
  app.run(main)
