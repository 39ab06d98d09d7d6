r"""Pre-trains a formula Transformer for a given time, where no market is.

alphajax train --config=alphaformer.py:csi300,pretrain_gpu \
  --config.data.path=../shared/data/cn_csi300.parquet \
  --config.pretrain.bank=runs/bank.npz --config.num_iterations=1 \
  --workdir=runs/bank
python scripts/pretrain.py --config=configs/alphaformer.py:csi300,pretrain_gpu \
  --config.pretrain.bank=runs/bank.npz --out=runs/alphaformer.npz --seconds=420
python scripts/pretrained.py --checkpoint=runs/alphaformer.npz \
  --bank=runs/bank.npz --data=../shared/data/cn_csi300.parquet

For a machine with an accelerator that is lent for minutes: tasks come from the
bank alone, the pace of the first updates says how many there will be, and the
learning rate ends at 0 with the time. `scripts/pretrained.py` judges the result
where the market is. Nothing is resumed.
"""

import time

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from alphajax import train
from alphajax.language import orders as orders_lib
from alphajax.methods import (
  formula_model,
  pretraining,
  task_file,
  task_library,
)

TRIAL = 3  # Iterations that tell the pace, the first of them not timed.
SAVE_EVERY = 60.0  # Seconds.


def main(argv):
  del argv
  train.prepare()
  given = flags.FLAGS
  pretrain(given.config, given.out, given.seconds)


def pretrain(config, out: str, seconds: float) -> None:
  """Trains on the bank of `config` for a time and writes a checkpoint.

  seconds: all of it, compilation included; one iteration at least.
  """
  began = time.perf_counter()
  if not config.pretrain.bank:
    raise ValueError('give the tasks, --config.pretrain.bank=FILE.npz')
  kept = task_file.load(config.pretrain.bank)
  task_file.check(config.pretrain.bank, kept, config, data=False)
  orders = orders_lib.make(**config.language)
  network = pretraining.make_network(config, orders)
  tables = task_library.tables(orders, kept.library.formulas)
  optimizer = pretraining.make_optimizer(config)
  update = pretraining.make_update(config, network, optimizer)
  key, start_key = jax.random.split(jax.random.key(config.seed))
  params = network.init(start_key, pretraining.example(config, orders))
  first = params, params, jax.jit(optimizer.init)(params)
  updates = config.pretrain.num_updates
  tasks = updates * config.pretrain.batch_size  # Of an iteration.

  def learn(carry, n, total):
    carry, metrics = update(
      carry, jax.random.fold_in(key, n), kept.bank, tables, n * updates,
      total * updates,
    )  # fmt: skip
    return carry, {name: float(value) for name, value in metrics.items()}

  def save(average, done, metrics):
    cost = {
      'tasks': done * tasks,
      'seconds': time.perf_counter() - began,
      'device': jax.devices()[0].device_kind,
      **metrics,
    }
    formula_model.save(
      out, average, config, kept.library, kept.bank, cost, data=kept.data_hash
    )

  pace = _pace(lambda n: learn(first, n, 1000))
  total = max(int((seconds - (time.perf_counter() - began)) / pace), 1)
  print(
    f'{jax.devices()[0].device_kind}: {tasks / pace:.0f} tasks a second, '
    f'{total} iterations',
    flush=True,
  )
  carry, saved = first, time.perf_counter()
  for n in range(total):
    carry, metrics = learn(carry, n, total)
    last = n + 1 == total
    if last or n % max(total // 100, 1) == 0:
      losses = ' '.join(f'{k} {v:.4f}' for k, v in metrics.items())
      print(f'{n + 1}/{total} {(n + 1) * tasks} tasks, {losses}', flush=True)
    if last or time.perf_counter() - saved > SAVE_EVERY:
      save(carry[1], n + 1, metrics)
      saved = time.perf_counter()


def _pace(run) -> float:
  """Seconds of an iteration whose programs are compiled."""
  seconds = []
  for n in range(TRIAL):
    start = time.perf_counter()
    run(n)
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds[1:]))


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'Of a pre-training.')
  flags.DEFINE_string('out', None, 'FILE.npz to write.')
  flags.DEFINE_float('seconds', 420.0, 'Time in all, compilation included.')
  flags.mark_flags_as_required(['config', 'out'])
  app.run(main)
