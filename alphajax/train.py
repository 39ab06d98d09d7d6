r"""Trains a method and keeps everything about the run in a folder.

python -m alphajax.train --config=configs/quickstart.py --workdir=runs/quick

Started again with the same folder a run continues; killed at any moment it
loses at most the current iteration and ends with the same bits.
"""

import functools
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags, logging
from ml_collections import config_flags

from alphajax import cli, ending, experiment, markets, teacher
from alphajax.factor import memory
from alphajax.methods.base import Market, Method
from alphajax.run import (
  cache,
  clock,
  files,
  folder,
  hosts,
  progress,
  provenance,
  seeds,
  tensorboard,
  writer,
)
from alphajax.run import state as state_lib
from alphajax.run.progress import say


class Trained(NamedTuple):
  """A run at its end: what was trained on what, and why it ended.

  market: of a run with a teacher, its signal in place of the train labels.
  """

  method: Method
  state: Any
  market: Market
  reason: str


# A run is one of 32 bits, whatever else the process does with JAX.
@jax.enable_x64(False)
def train(config, workdir: str | os.PathLike, load_market=None) -> Trained:
  """Runs the iterations that `workdir` does not hold yet.

  Args:
    config: of the run.
    workdir: its folder.
    load_market: in place of `markets.load_market`, such as what
      `markets.sharing_market` gives.

  Raises:
    ValueError: a config that cannot be, or a folder made by another one.
  """
  workdir = Path(workdir).expanduser()
  config, changed = experiment.check(config, workdir)
  market, data_hash = (load_market or markets.load_market)(config)
  lesson = market._replace(train=teacher.teach(config, market.train))
  method = experiment.make_method(config, lesson)
  with files.naming(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
  with hosts.hold(workdir, say) as place:
    say(*[f'Other than before: {line}' for line in changed])
    method, state, reason = _train(config, place, method, market, data_hash)
  return Trained(method, state, lesson, reason)


def prepare() -> None:
  """Of a process that trains: memory, cache of programs, who may speak."""
  memory.reuse()
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file.


def _train(config, workdir, method, market, data_hash):
  """`train` in a folder that is held."""
  folder.clean(workdir)
  inputs = experiment.inputs(config)
  provenance.record(workdir, config.seed, data_hash, inputs)
  files.write_json(workdir / 'config.json', config.to_dict())
  say(*experiment.notes(config, market))
  rng_key = jax.random.key(config.seed)
  start = jax.random.fold_in(rng_key, 0)
  done, state = state_lib.begin(workdir, method, start, say)
  writer.truncate(workdir / 'metrics.jsonl', done)
  keep_result = functools.partial(
    experiment.keep_result, config, workdir, method, market
  )
  seldom = clock.Seldom(keep_result)
  state = _iterate(config, workdir, method, state, done, rng_key, seldom)
  keep_result(state)
  reason = method.finished(state) or ending.all_done(
    config.num_iterations, done
  )
  say(*ending.lines(config, workdir, market.train, reason))
  return method, state, reason


def _iterate(config, workdir, method, state, done, rng_key, keep_result):
  """The iterations after `done`; returns the last state."""
  compiling, start = clock.CompileClock(), time.perf_counter()
  drawn = config.get('log', {}).get('tensorboard', False)
  board = tensorboard.scalars(workdir, done, on=drawn)
  with progress.progress(config.num_iterations, done) as show, board as plot:
    for iteration in range(done + 1, config.num_iterations + 1):
      if method.finished(state):
        break
      step_key = jax.random.fold_in(rng_key, iteration)
      state, metrics = method.step(state, step_key)
      # The total also holds what was written after the iteration before.
      now = time.perf_counter()
      record = {
        'iteration': iteration,
        **metrics,
        'seconds': dict(metrics.get('seconds', {}), total=now - start),
        'compile_seconds': compiling.take(),
      }
      start = now
      hosts.compare(record)
      state_lib.keep(workdir, method, state, record)
      found = method.found(state)
      keep_result(state, found is not None and found.iteration == iteration)
      show(record)
      plot(record)
  return state


def define_flags() -> None:
  """The flags of the command."""
  config_flags.DEFINE_config_file('config', None, 'Path of a config.')
  flags.DEFINE_string('workdir', None, 'Folder of the run.')
  flags.mark_flags_as_required(['config', 'workdir'])
  hosts.define_flags()


def main(argv):
  """The command."""
  cli.no_more(argv)
  hosts.start()
  prepare()
  seeds.train_each(flags.FLAGS.config, Path(flags.FLAGS.workdir), train)


if __name__ == '__main__':
  cli.run('alphajax.train')
