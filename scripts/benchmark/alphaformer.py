"""AlphaFormer: tasks that a pre-training sees, and when a first pool is there.

Tasks come from a library whose correlations are made up, so no market is
needed; what a task costs depends on sizes alone.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.configs import alphaformer
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.methods import pretraining, task_library
from alphajax.methods.task_bank import Bank
from alphajax.networks import formula_transformer
from scripts.benchmark import tools

ROOT = Path(__file__).resolve().parents[2]
DIRECTIONS = 100  # That the made-up correlations have.
POLL_SECONDS = 0.02
LONGEST = 600.0  # Seconds that a first pool is waited for.
COMPILED = 3  # Iterations that need programs of all kinds.


def alphaformer_part(quick: bool, data: str) -> dict:
  """Tasks a second of model S and of the small one; seconds to a pool."""
  sizes = {'small': None} if quick else {'small': None, 'S': _S}
  panel = Path(data) / 'cn_csi300.parquet'
  return {
    'tasks': {name: _tasks(change, quick) for name, change in sizes.items()},
    'first_pool': None if quick or not panel.is_file() else first_pool(panel),
  }


def _S(config) -> None:  # noqa: N802
  config.network.update(formula_transformer.S._asdict())


def _tasks(change, quick: bool) -> dict:
  """Tasks a second of `csi300,pretrain`, its sizes maybe changed."""
  config = alphaformer.get_config('csi300,pretrain')
  config.language.update(tools.language(quick))
  if quick:
    config.network.update(width=16, hidden=32, latents=4, latent_layers=1)
    config.network.decoder_layers = 1
    config.pretrain.update(library=64, num_probes=8, draws=16, num_updates=2)
    config.tokens.anchors = 8
  if change:
    change(config)
  orders = orders_lib.make(**config.language)
  bank, tables = make_bank(config, orders)
  network = pretraining.make_network(config, orders)
  optimizer = pretraining.make_optimizer(config)
  update = pretraining.make_update(config, network, optimizer)
  params = network.init(jax.random.key(0), pretraining.example(config, orders))
  carry = params, params, optimizer.init(params)
  seconds, busy = [], []
  for number in range(2 if quick else 4):
    start, used = time.perf_counter(), time.process_time()
    carry, _ = jax.block_until_ready(
      update(carry, jax.random.key(number), bank, tables, 0, 1000)
    )
    seconds.append(time.perf_counter() - start)
    busy.append(time.process_time() - used)
  count = config.pretrain.num_updates * config.pretrain.batch_size
  summary = tools.summary(seconds[1:])  # The first compiles.
  return {
    'parameters': formula_transformer.num_parameters(params),
    'tasks': count,
    'seconds': summary,
    'core_seconds': tools.summary(busy[1:]),
    'tasks_per_s': count / summary['median'],
  }


def make_bank(config, orders) -> tuple[Bank, task_library.Tables]:
  """A library of random formulas, all that was measured of it made up."""
  language = orders_lib.language(orders, 'rpn')
  drawn = environment.random_formulas(
    language, jax.random.key(0), 2 * config.pretrain.library
  )
  drawn = list(
    {formula_lib.key(formula): formula for formula in drawn}.values()
  )
  formulas = [f for f in drawn if task_library.is_written(orders, f)]
  count, blocks = len(formulas), config.tokens.blocks
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((count, DIRECTIONS)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  gram = (rows @ rows.T).astype(np.float16)
  noise = rng.standard_normal((config.pretrain.draws, blocks, DIRECTIONS))
  horizons = config.pretrain.horizons
  bank = Bank(
    gram=jnp.asarray(np.broadcast_to(gram, (1, blocks, count, count))),
    mean=jnp.asarray(gram[None]),
    noise=jnp.asarray(0.01 * noise @ rows.T, jnp.float32)[None],
    facts=jnp.ones((1, count, 2), jnp.float32),
    size=jnp.asarray([formula_lib.size(f) for f in formulas], jnp.float32),
    log_weight=jnp.zeros(count),
    held=jnp.asarray(np.arange(count) >= 0.9 * count),
    probes=jnp.arange(config.pretrain.num_probes),
    panels=jnp.zeros((1, 2)),
    horizons=jnp.asarray(
      [horizons[k % len(horizons)] for k in range(config.pretrain.draws)],
      jnp.float32,
    ),
  )
  return bank, task_library.tables(orders, formulas)


def first_pool(panel: Path) -> dict:
  """Seconds from the start of `train` to its first pool, of all cores too.

  Twice, with a disk cache that is empty at first; the first run goes on until
  the cache has what the second needs.
  """
  command = [sys.executable, '-m', 'alphajax.train']
  command += ['--config=configs/alphaformer.py:csi300']
  command += [f'--config.data.path={panel}']
  with tempfile.TemporaryDirectory() as folder:
    return {
      'command': ' '.join(command[1:]),
      'cold': _wait(command, Path(folder), 'cold', COMPILED),
      'warm': _wait(command, Path(folder), 'warm'),
    }


def _wait(command, folder: Path, name: str, iterations: int = 1) -> dict:
  """Runs `train` until it has written a pool and done some iterations."""
  workdir, start = folder / name, time.perf_counter()
  pool, metrics, found = workdir / 'pool.json', workdir / 'metrics.jsonl', {}
  cache = {'ALPHAJAX_CACHE': str(folder / 'cache'), 'PYTHONPATH': str(ROOT)}
  with open(folder / f'{name}.log', 'w+') as log:
    process = subprocess.Popen(
      [*command, f'--workdir={workdir}'], cwd=ROOT, env={**os.environ, **cache},
      stdout=log, stderr=log,
    )  # fmt: skip
    try:
      while not found or len(metrics.read_bytes().splitlines()) < iterations:
        waited = time.perf_counter() - start
        if process.poll() is not None or waited > LONGEST:
          log.seek(0)
          raise RuntimeError(f'{" ".join(command)}: no pool\n{log.read()}')
        if not found and pool.exists():
          found = {'seconds': waited, 'core_seconds': _spent(process.pid)}
        time.sleep(POLL_SECONDS)
      return found
    finally:
      process.kill()
      process.wait()


def _spent(pid: int) -> float | None:
  """Processor time of a running process; None where Linux does not say."""
  path = Path(f'/proc/{pid}/stat')
  if not path.exists():
    return None
  # User and system; the name before them may hold blanks.
  ticks = path.read_text().rsplit(')', 1)[1].split()[11:13]
  return sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')
