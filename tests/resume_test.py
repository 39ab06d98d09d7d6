"""Killed at any moment, a run ends with the same bits: a method of NumPy."""

import os
import random
import shutil
import signal
import time
import types

import commands
import numpy as np
import pytest

from alphajax.run import checkpoint, files, folder, lock, writer
from alphajax.run import state as state_lib

ITERATIONS = 25


def step(state, iteration):
  """A state that tells by its bits every iteration that made it."""
  draw = np.random.default_rng(iteration).normal(size=state['x'].shape)
  x = np.tanh(state['x'] * 1.7 + draw)
  return {'x': x, 'best': max(state['best'], float(x.max()))}


METHOD = types.SimpleNamespace(
  init=lambda: {'x': np.zeros(2000), 'best': 0.0},
  save=lambda state: ({'x': state['x']}, {'best': state['best']}),
  load=lambda arrays, host: {'x': arrays['x'], 'best': host['best']},
  kept=(),
)


def train(workdir, iterations, started=None, notes=None):
  """What `alphajax.train` does with the folder, with a method of no weight."""
  say = (lambda text: None) if notes is None else notes.append
  workdir.mkdir(parents=True, exist_ok=True)
  with lock.hold(workdir, say):
    folder.clean(workdir)
    files.write_json(workdir / 'config.json', {'num_iterations': iterations})
    done, state = state_lib.restore(workdir, METHOD, METHOD.init(), say)
    writer.truncate(workdir / 'metrics.jsonl', done)
    for iteration in range(done + 1, iterations + 1):
      if started is not None:
        started.value = iteration
      state = step(state, iteration)
      record = {'iteration': iteration, 'best': state['best'], 'loss': None}
      state_lib.keep(workdir, METHOD, state, record)
      state_lib.write_result(workdir, record, {'ic_train': state['x']})
    # Also where the kill came between the last checkpoint and its result.
    record = {'iteration': iterations, 'best': state['best'], 'loss': None}
    state_lib.write_result(workdir, record, {'ic_train': state['x']})


def contents(workdir):
  """All that a run leaves, and the names of the files."""
  iteration, arrays, host = checkpoint.restore(
    workdir / 'checkpoints', METHOD.save(METHOD.init())[0]
  )
  return {
    'names': sorted(os.listdir(workdir)),
    'checkpoints': checkpoint.iterations(workdir / 'checkpoints'),
    'iteration': iteration,
    'x': arrays['x'].tobytes(),
    'host': host,
    'daily': files.read_arrays(workdir / 'daily.npz')['ic_train'].tobytes(),
    'metrics': (workdir / 'metrics.jsonl').read_bytes(),
    'pool': (workdir / 'pool.json').read_bytes(),
  }


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An uninterrupted run."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  train(workdir, ITERATIONS)
  return workdir


@pytest.mark.parametrize('seed', range(3))
def test_killed_at_random_moments_it_ends_with_the_same_bits(
  tmp_path, whole, seed
):
  context = commands.context()
  started = context.Value('i', 0)
  rng, kills = random.Random(seed), 0
  while True:
    before = started.value
    process = context.Process(
      target=train, args=(tmp_path / 'run', ITERATIONS, started)
    )
    process.start()
    while started.value == before and process.is_alive():
      time.sleep(0.0005)
    process.join(rng.uniform(0, 0.05 * (kills + 1)))  # It ends in any case.
    process.kill()
    process.join()
    if process.exitcode == 0:
      break
    assert process.exitcode == -signal.SIGKILL
    kills += 1
  assert kills > 2
  assert contents(tmp_path / 'run') == contents(whole)


def test_damaged_at_any_point_it_ends_with_the_same_bits(tmp_path, whole):
  """The newest checkpoint is hit again and again, metrics are ahead of it."""
  workdir, rng = tmp_path / 'run', random.Random(0)
  for until in (3, 4, 9, ITERATIONS):
    notes = []
    train(workdir, until, notes=notes)
    assert ('is damaged' in ''.join(notes)) == (until != 3)
    newest = workdir / 'checkpoints' / f'iteration_{until:06d}'
    if until != ITERATIONS:
      hit = rng.choice(sorted((newest / 'arrays').glob('ocdbt*/d/*')))
      hit.write_bytes(hit.read_bytes()[:-1])
      (newest / 'host' / 'metadata').write_bytes(b'{}')
  kept = sorted((workdir / 'checkpoints').glob('*.damaged'))
  assert [path.name for path in kept] == [
    f'iteration_{n:06d}.damaged' for n in (3, 4, 9)
  ]
  for path in kept:
    shutil.rmtree(path)
  assert contents(workdir) == contents(whole)
