r"""Trains a method and keeps everything about the run in a folder.

python -m alphajax.train --config=configs/quickstart.py --workdir=runs/quick

Started again with the same folder a run continues; killed at any moment it
loses at most the current iteration and ends with the same bits.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags
from scipy import special

from alphajax import experiment
from alphajax.run import checkpoint, provenance, writer

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Path of a config.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')

# Where the file lies and how much memory is used leave the result alone; the
# hash of the data is compared apart.
MAY_CHANGE = ('data.path', 'store_bytes')


def train(config, workdir: Path) -> None:
  """Runs the iterations that `workdir` does not hold yet."""
  config = experiment.with_rules(config)
  checkpoint.check_config(workdir, config.to_dict(), MAY_CHANGE)
  market, data_hash = experiment.load_market(config)
  method = experiment.make_method(config, market)
  workdir.mkdir(parents=True, exist_ok=True)
  provenance.record(workdir, config.seed, data_hash)
  writer.write_json(workdir / 'config.json', config.to_dict())
  for note in dict.fromkeys(note for s in market for note in s.panel.notes):
    _say(note)
  rng_key = jax.random.key(config.seed)
  state = method.init(jax.random.fold_in(rng_key, 0))
  done, state = _restore(workdir, method, state)
  writer.truncate(workdir / 'metrics.jsonl', done)
  compiling, start = CompileClock(), time.perf_counter()
  with writer.progress(config.num_iterations, done) as show:
    for iteration in range(done + 1, config.num_iterations + 1):
      if method.finished(state):
        break
      state, metrics = method.step(
        state, jax.random.fold_in(rng_key, iteration)
      )
      # The total also holds what was written after the iteration before.
      now = time.perf_counter()
      record = {
        'iteration': iteration,
        **metrics,
        'seconds': dict(metrics['seconds'], total=now - start),
        'compile_seconds': compiling.take(),
      }
      start = now
      _keep(workdir, method, state, record)
      if method.found(state).iteration == iteration:
        _write_result(workdir, method, state, market, config)
      show(record)
  _write_result(workdir, method, state, market, config)
  reason = method.finished(state) or f'{config.num_iterations} iterations done'
  result = workdir / 'pool.json'
  _say(
    f'Finished: {reason}. '
    + (f'The result is {result}.' if result.exists() else 'No pool was found.')
  )


def train_seeds(config, workdir: Path) -> None:
  """Runs `config.num_seeds` trainings and writes `seeds.json` about them all.

  Each has a folder `seed_N` of its own, as if it were run alone, so that this
  too continues where it was killed. One after the other: a training keeps all
  cores busy, and the later ones find their programs compiled.

  Raises:
    ValueError: `config.num_seeds` is no positive number.
  """
  if config.num_seeds < 1:
    raise ValueError(f'config.num_seeds is {config.num_seeds}: expected >= 1')
  if config.num_seeds == 1:
    train(config, workdir)
    return
  runs = []
  for seed in range(config.seed, config.seed + config.num_seeds):
    one = config.copy_and_resolve_references()
    one.seed, one.num_seeds = seed, 1
    folder = workdir / f'seed_{seed}'
    train(one, folder)
    runs.append({'seed': seed, **writer.read(folder / 'metrics.jsonl')[-1]})
  summary = seed_summary(runs)
  writer.write_json(workdir / 'seeds.json', summary)
  print(seed_table(summary))


SEED_FIGURES = ('train_ic', 'valid_ic', 'best_valid_ic', 'evaluated')


def seed_summary(runs: Sequence[dict]) -> dict:
  """Mean, standard deviation and 95 % Student interval over seeds.

  Args:
    runs: the last metrics of each, two or more.
  """
  figures = {}
  for name in SEED_FIGURES:
    # A run without any pool has no opinion, which is worth 0.
    values = np.array([run[name] or 0.0 for run in runs], np.float64)
    deviation = float(values.std(ddof=1))
    half = special.stdtrit(len(values) - 1, 0.975) * deviation
    half /= len(values) ** 0.5
    figures[name] = {
      'mean': float(values.mean()),
      'sd': deviation,
      'low': float(values.mean() - half),
      'high': float(values.mean() + half),
      'values': values.tolist(),
    }
  return {'seeds': [run['seed'] for run in runs], 'figures': figures}


def seed_table(summary: dict) -> str:
  """The summary as text."""
  lines = [f'{len(summary["seeds"])} seeds   mean      sd        95 % interval']
  for name, row in summary['figures'].items():
    digits = 0 if name == 'evaluated' else 4
    mean, sd, low, high = (
      f'{row[key]:.{digits}f}' for key in ('mean', 'sd', 'low', 'high')
    )
    lines.append(f'{name:13}{mean:<10}{sd:<10}[{low}, {high}]')
  return '\n'.join(lines)


def _restore(workdir: Path, method, state):
  """The newest checkpoint, or the initial state."""
  arrays, _ = method.save(state)
  restored = checkpoint.restore(workdir / 'checkpoints', arrays)
  if restored is None:
    return 0, state
  iteration, arrays, host = restored
  _say(f'Continuing after iteration {iteration}.')
  return iteration, method.load(arrays, host)


def _keep(workdir: Path, method, state, record) -> None:
  """Writes the metrics, then the checkpoint.

  Raises:
    FloatingPointError: a metric is NaN or infinite; the state is kept in
      `failed`, the last good one in `checkpoints`.
  """
  arrays, host = method.save(state)
  bad = writer.nonfinite(record)
  if bad:
    folder = workdir / 'failed'
    if record['iteration'] not in checkpoint.iterations(folder):
      checkpoint.save(folder, record['iteration'], arrays, host)
    raise FloatingPointError(
      f'iteration {record["iteration"]}: {", ".join(bad)} is not finite; the '
      f'state is kept in {folder}. A smaller config.training.learning_rate '
      'often helps; continue from the last good iteration by starting again.'
    )
  writer.append(workdir / 'metrics.jsonl', record)
  checkpoint.save(workdir / 'checkpoints', record['iteration'], arrays, host)


def _write_result(workdir: Path, method, state, market, config) -> None:
  """Writes `pool.json` and `daily.npz` of the best pool so far."""
  found = method.found(state)
  if not found.formulas:
    return
  summary, daily = experiment.summarize(config, found, market)
  draft = workdir / '.daily.tmp.npz'
  np.savez(draft, **daily)
  os.replace(draft, workdir / 'daily.npz')
  writer.write_json(workdir / 'pool.json', summary)


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


class CompileClock:
  """Seconds that XLA spent compiling, since it was last asked."""

  def __init__(self):
    self._seconds = 0.0
    jax.monitoring.register_event_duration_secs_listener(self._hear)

  def _hear(self, event: str, seconds: float, **_) -> None:
    if event == '/jax/core/compile/backend_compile_duration':
      self._seconds += seconds

  def take(self) -> float:
    seconds, self._seconds = self._seconds, 0.0
    return seconds


def main(argv):
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  experiment.use_disk_cache()
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file.
  train_seeds(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  app.run(main)
