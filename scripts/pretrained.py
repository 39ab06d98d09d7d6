r"""Judges a pre-training on held-out tasks and writes its parameters.

python scripts/pretrained.py --workdir=runs/pretrain \
  --out=alphajax/pretrained/alphaformer.npz

The run may be anywhere in its course: the newest state in its folder is taken.
Its library is drawn again, which takes minutes.
"""

from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_dict

from alphajax import markets, train
from alphajax.language import orders as orders_lib
from alphajax.methods import formula_model, pretraining, pretraining_gate
from alphajax.run import folder
from alphajax.run import state as state_lib


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  run = folder.load_run(given.workdir)
  config = config_dict.ConfigDict(run.config)
  market, _ = markets.load_market(config)
  method = pretraining.make(config, market)
  start = method.init(jax.random.key(0))
  done, state = state_lib.restore(
    Path(given.workdir), method, start, set_aside=False
  )
  config.pretrain.gate_tasks = given.tasks
  orders = orders_lib.make(**config.language)
  network = pretraining.make_network(config, orders)
  ready = pretraining.prepare(config, market, orders, network)
  figures = pretraining_gate.judge(
    ready.gate, state.average, jax.random.key(config.seed)
  )
  for name, value in figures.items():
    print(f'{name:<24}', '-' if value is None else f'{value:.4f}')
  seconds = float(run.seconds('total').sum())
  cost = {
    'tasks': state.updates * config.pretrain.batch_size,
    'iterations': done,
    'of_iterations': config.num_iterations,
    'seconds': seconds,
    'judged_tasks': given.tasks,
    **figures,
  }
  if given.out:
    path = formula_model.save(
      given.out, state.average, config, ready.library, ready.bank, cost
    )
    print(path)


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of the run.')
  flags.DEFINE_string('out', '', 'FILE.npz to write; empty: judge only.')
  flags.DEFINE_integer('tasks', 96, 'Held-out tasks.')
  flags.mark_flag_as_required('workdir')
  app.run(main)
