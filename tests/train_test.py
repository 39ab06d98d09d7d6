"""Training as a whole: resume, refusal, failure, seeds, unseen test days."""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import jax
import numpy as np
import pandas as pd
import pytest
import tiny

from alphajax import experiment, markets, train
from alphajax.run import cache as cache_lib
from alphajax.run import checkpoint, clock, lock, seeds, writer
from alphajax.run import state as state_lib
from alphajax.run.files import RunError

ROOT = Path(__file__).parent.parent
# Iterations of a whole run. A process that is killed at a random moment must
# not be done by then; where a run is cut off is known, and each takes longer.
ITERATIONS = {'alphacfg': 7, 'random_search': 20}
METHODS = tuple(ITERATIONS)


def config_of(method, **changes):
  config = tiny.with_few_programs(tiny.get_config(method))
  config.num_iterations = ITERATIONS[method]
  config.update_from_flattened_dict(changes)
  return config


class CutError(BaseException):
  """Ends a run as nothing else does."""


def cut(patch, die_at, workdir, copy):
  """Lets the next run in `workdir` end between two writes.

  die_at: ('append', 'checkpoint' or 'result', n): after that was written for
    the n-th time.
  copy: gets the folder as it was at that moment, which is what a process that
    is killed there leaves: what the run does on its way out is not in it.
  """
  place, count = die_at
  module, name = {
    'append': (writer, 'append'),
    'checkpoint': (checkpoint, 'save'),
    'result': (state_lib, 'write_result'),
  }[place]
  write, calls = getattr(module, name), []

  def write_and_cut(*args, **options):
    write(*args, **options)
    calls.append(args)
    if len(calls) == count:
      shutil.copytree(workdir, copy)
      raise CutError

  patch.setattr(module, name, write_and_cut)
  # Of a run that short no result would be kept but one.
  patch.setattr(clock, 'FIRST', 0.0)


def run(config, workdir, cache):
  """Trains in a process of its own."""
  os.environ['ALPHAJAX_CACHE'] = cache
  cache_lib.use_disk_cache()
  train.train(config, workdir)


def finish(config, workdir):
  """Trains to the end, in this process: it has the programs already."""
  train.train(config, workdir)
  return contents(config, workdir)


def lines(workdir):
  path = workdir / 'metrics.jsonl'
  return len(path.read_bytes().splitlines()) if path.exists() else 0


@functools.cache
def like(name):
  """Arrays as a method's checkpoints have them."""
  config = config_of(name)
  market, _ = markets.load_market(config)
  method = experiment.make_method(config, market)
  return method.save(method.init(jax.random.key(0)))[0]


def contents(config, workdir):
  """All that a run leaves behind, but for what clocks say."""
  iteration, arrays, host = checkpoint.restore(
    workdir / 'checkpoints', like(config.method)
  )
  records = writer.read(workdir / 'metrics.jsonl')
  for record in records:
    del record['seconds'], record['compile_seconds']
  with np.load(workdir / 'daily.npz') as file:
    daily = {name: (x.dtype, x.shape, x.tobytes()) for name, x in file.items()}
  return {
    'metrics': records,
    'pool': (workdir / 'pool.json').read_bytes(),
    'daily': daily,
    'iteration': iteration,
    'arrays': [np.asarray(x).tobytes() for x in jax.tree.leaves(arrays)],
    'host': host,
  }


def assert_same(actual, expected):
  for name, value in expected.items():
    assert actual[name] == value, name


@pytest.fixture(scope='module', params=METHODS)
def whole(request, tmp_path_factory):
  """An uninterrupted run."""
  config = config_of(request.param)
  workdir = tmp_path_factory.mktemp('whole') / request.param
  return config, workdir, finish(config, workdir)


# A process traces all of its programs, so there is one.
@pytest.mark.parametrize('whole', ['random_search'], indirect=True)
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path, whole):
  config, _, expected = whole
  workdir = tmp_path / 'run'
  rng = random.Random(0)
  cache = os.environ['ALPHAJAX_CACHE']
  process = commands.process(run, (config, workdir, cache))
  process.start()
  places = [tmp_path / '0', tmp_path / '4', workdir]
  # Lines of metrics before each; what is on disk at the first moments is kept.
  try:
    for after, place in zip((0, 4, 10), places, strict=True):
      while lines(workdir) <= after and process.is_alive():
        time.sleep(0.001)
      time.sleep(rng.uniform(0, 0.1))
      if place != workdir:
        commands.hold_still(process)
        shutil.copytree(workdir, place)
        os.kill(process.pid, signal.SIGCONT)
  finally:
    process.kill()
    process.join()
  assert process.exitcode == -signal.SIGKILL
  for after, place in zip((0, 4, 10), places, strict=True):
    assert after < lines(place) < config.num_iterations
  for place in places:
    assert_same(finish(config, place), expected)
    provenance = json.loads((place / 'provenance.json').read_text())
    assert len(provenance['resumed']) == 1


@pytest.mark.parametrize('whole', ['alphacfg'], indirect=True)
def test_killed_between_two_files_it_ends_with_the_same_bits(tmp_path, whole):
  config, _, expected = whole
  workdir = tmp_path / 'run'
  # Lines and newest checkpoint that each kill leaves, one run after the other.
  kills = {
    ('result', 1): (1, 1),
    ('append', 2): (3, 2),
    ('checkpoint', 2): (4, 4),
  }
  for die_at, left in kills.items():
    copy = tmp_path / die_at[0]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CutError):
      cut(patch, die_at, workdir, copy)
      train.train(config, workdir)
    workdir = copy
    saved = checkpoint.iterations(workdir / 'checkpoints')[-1]
    assert (lines(workdir), saved) == left
  assert_same(finish(config, workdir), expected)
  provenance = json.loads((workdir / 'provenance.json').read_text())
  assert len(provenance['resumed']) == 3


def test_started_again_a_finished_run_stays_as_it_is(whole):
  config, workdir, expected = whole
  before = {
    path: path.read_bytes()
    for path in workdir.rglob('*')
    if path.is_file()
    and path.name not in ('provenance.json', 'daily.npz', '.lock')
  }
  train.train(config, workdir)
  assert_same(contents(config, workdir), expected)
  assert {path: path.read_bytes() for path in before} == before


def test_same_seed_same_run_and_other_seed_other_run(tmp_path, whole):
  config, workdir, expected = whole
  found = {}
  for seed in (0, 1):
    short = config_of(config.method, num_iterations=3, seed=seed)
    train.train(short, tmp_path / str(seed))
    found[seed] = contents(short, tmp_path / str(seed))['metrics']
  assert found[0] == expected['metrics'][:3]
  assert found[1] != expected['metrics'][:3]
  # The market has a seed of its own.
  hashes = {
    json.loads((folder / 'provenance.json').read_text())['data_hash']
    for folder in (tmp_path / '0', tmp_path / '1')
  }
  assert len(hashes) == 1


def test_the_folder_of_another_config_is_refused(tmp_path):
  config = config_of('random_search', num_iterations=1)
  train.train(config, tmp_path)
  before = contents(config, tmp_path)
  other = config_of('random_search', num_iterations=1)
  other.pool.l1 = 0.5
  other.store_bytes *= 2  # May differ.
  with pytest.raises(ValueError, match=r'pool\.l1: 0\.005 -> 0\.5') as error:
    train.train(other, tmp_path)
  assert 'store_bytes' not in str(error.value)
  assert_same(contents(config, tmp_path), before)


def test_other_data_are_refused(tmp_path):
  first = prices(tmp_path / 'first.csv')
  config = config_of('random_search', num_iterations=1)
  config.data.path = str(tmp_path / 'first.csv')
  train.train(config, tmp_path / 'run')
  first.assign(close=first['close'] * 1.001).to_csv(tmp_path / 'other.csv')
  config.data.path = str(tmp_path / 'other.csv')
  with pytest.raises(ValueError, match='started on other data.* refit --work'):
    train.train(config, tmp_path / 'run')
  # The same data elsewhere are fine.
  (tmp_path / 'first.csv').rename(tmp_path / 'moved.csv')
  config.data.path = str(tmp_path / 'moved.csv')
  train.train(config, tmp_path / 'run')


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
  config = config_of('alphacfg')
  config.training.learning_rate = 1e30
  with pytest.raises(FloatingPointError, match='loss.* not finite') as error:
    train.train(config, tmp_path)
  assert str(tmp_path / 'failed') in str(error.value)
  # A folder keeps its rate: the advice is one that can be followed.
  assert str(error.value).endswith(
    'a smaller --config.training.learning_rate (here 1e+30), in another '
    '--workdir, often helps'
  )
  (failed,) = checkpoint.iterations(tmp_path / 'failed')
  assert lines(tmp_path) == failed - 1
  assert failed not in checkpoint.iterations(tmp_path / 'checkpoints')
  _, arrays, _ = checkpoint.restore(tmp_path / 'failed', like('alphacfg'))
  params = jax.tree.leaves(arrays['learner'].params)
  assert not all(np.isfinite(leaf).all() for leaf in params)
  # Started again it meets the same end, and the state is kept once.
  with pytest.raises(FloatingPointError):
    train.train(config, tmp_path)
  assert checkpoint.iterations(tmp_path / 'failed') == [failed]


def prices(path, seed=0, change_from=None):
  """Writes a price table of 300 days; from a day on it is another market."""
  config = config_of('random_search')
  config.data.simulate.seed = seed
  panel = markets.simulated(config).panel
  features = np.array(panel.features)
  if change_from is not None:
    later = np.array(panel.dates) >= change_from
    features[:, later] *= 3.0
  index = pd.MultiIndex.from_product(
    [panel.dates, panel.symbols], names=['date', 'symbol']
  )
  table = pd.DataFrame(
    {n: features[i].ravel() for i, n in enumerate(panel.feature_names)}, index
  )
  table['member'] = np.asarray(panel.mask).ravel()
  table = table.dropna(subset='close').reset_index()
  table.to_csv(path, index=False)
  return table


@pytest.mark.parametrize('method', METHODS)
def test_days_after_validation_are_never_read(tmp_path, method):
  config = config_of(method, num_iterations=4)
  # Validation labels too read nothing behind the split.
  after = str(np.datetime64(config.splits.valid[1]) + np.timedelta64(1, 'D'))
  tables, found = [], []
  for name, change_from in (('as_is', None), ('changed', after)):
    path = tmp_path / f'{name}.csv'
    tables.append(prices(path, change_from=change_from))
    config.data.path = str(path)
    train.train(config, tmp_path / name)
    found.append(contents(config, tmp_path / name))
  assert not tables[0].equals(tables[1])
  assert_same(found[1], found[0])


def test_days_of_validation_are_read(tmp_path):
  config = config_of('random_search', num_iterations=4)
  found = []
  for name, change_from in (
    ('as_is', None),
    ('changed', config.splits.valid[0]),
  ):
    path = tmp_path / f'{name}.csv'
    prices(path, change_from=change_from)
    config.data.path = str(path)
    train.train(config, tmp_path / name)
    found.append(contents(config, tmp_path / name)['metrics'])
  valid = [[record.pop('valid_ic') for record in each] for each in found]
  assert valid[0] != valid[1]


def test_command(tmp_path, capsys):
  command = [sys.executable, '-m', 'alphajax.train']
  command += ['--config=tests/tiny.py:random_search,few']
  command += [f'--workdir={tmp_path}']
  result = subprocess.run(
    [*command, '--config.num_iterations=2'],
    cwd=ROOT, capture_output=True, text=True, check=True,
  )  # fmt: skip
  said = result.stderr.splitlines()
  assert sum(line.startswith('iteration') for line in said) == 2
  assert said[-1] == (
    f'Finished: 2 iterations done. The result is {tmp_path}/pool.json.'
  )
  pool = json.loads((tmp_path / 'pool.json').read_text())
  assert pool['factors'] and set(pool['ceiling']) == {'train', 'valid'}
  # More iterations in the same folder: it goes on.
  train.train(config_of('random_search', num_iterations=3), tmp_path)
  assert 'Continuing after iteration 2.' in capsys.readouterr().err
  assert lines(tmp_path) == 3
  # Fewer than there are: none is taken back, and that is said.
  fewer = train.train(config_of('random_search', num_iterations=2), tmp_path)
  assert fewer.reason.startswith('3 iterations were done before, and config.')
  assert lines(tmp_path) == 3
  # Another config for it.
  result = commands.run(*command[2:], '--config.pool.l1=0.5')
  assert result.returncode == 1 and 'Traceback' not in result.stderr
  assert 'pool.l1: 0.005 -> 0.5' in result.stderr


@pytest.mark.parametrize('method', METHODS)
def test_told_to_go_on_it_is_the_longer_run(tmp_path, method):
  train.train(config_of(method, num_iterations=2), tmp_path / 'a')
  train.train(config_of(method, num_iterations=4), tmp_path / 'a')
  whole = config_of(method, num_iterations=4)
  train.train(whole, tmp_path / 'b')
  assert_same(contents(whole, tmp_path / 'a'), contents(whole, tmp_path / 'b'))


def test_a_key_that_is_new_has_its_default(tmp_path, capsys):
  """The folder of an older version goes on, and says what is other."""
  config = config_of('random_search', num_iterations=1)
  train.train(config, tmp_path)
  old = json.loads((tmp_path / 'config.json').read_text())
  del old['log'], old['data']['filled_days']
  (tmp_path / 'config.json').write_text(json.dumps(old))
  config.num_iterations = 2
  train.train(config, tmp_path)
  assert lines(tmp_path) == 2
  assert 'Other than before: num_iterations: 1 -> 2' in capsys.readouterr().err
  config.data.filled_days = 'keep'
  with pytest.raises(ValueError, match='data.filled_days: "drop" -> "keep"'):
    train.train(config, tmp_path)


def test_refused_at_once(tmp_path):
  config = config_of('random_search', num_iterations=0)
  with pytest.raises(ValueError, match='config.num_iterations is 0'):
    train.train(config, tmp_path / 'x')
  config = config_of('random_search')
  config.data.path = 'nowhere.csv'
  with pytest.raises(ValueError, match='nowhere.csv: no such file.*data.path'):
    train.train(config, tmp_path / 'x')
  assert not (tmp_path / 'x').exists()


def test_a_folder_in_use_is_refused(tmp_path):
  config = config_of('random_search', num_iterations=1)
  tmp_path.joinpath('run').mkdir()
  with lock.hold(tmp_path / 'run'):
    with pytest.raises(RunError, match='is in use by process'):
      train.train(config, tmp_path / 'run')
  train.train(config, str(tmp_path / 'run'))  # A text is a path as well.


def test_scalars_for_tensorboard(tmp_path):
  pytest.importorskip('tensorboardX')
  config = config_of('random_search', num_iterations=2)
  config.log.tensorboard = True
  train.train(config, tmp_path)
  (events,) = (tmp_path / 'tensorboard').iterdir()
  content = events.read_bytes()
  for name in (b'train_ic', b'seconds/total', b'evaluated'):
    assert name in content


def test_seeds_are_runs_of_their_own(tmp_path, capsys):
  config = config_of('random_search', num_iterations=2, num_seeds=3, seed=4)
  seeds.train_each(config, tmp_path / 'seeds', train.train)
  printed = capsys.readouterr().out
  alone = config_of('random_search', num_iterations=2, seed=5)
  train.train(alone, tmp_path / 'alone')
  folder = tmp_path / 'seeds'
  assert contents(alone, folder / 'seed_5') == contents(
    alone, tmp_path / 'alone'
  )
  summary = json.loads((folder / 'seeds.json').read_text())
  assert summary['seeds'] == [4, 5, 6]
  ics = [
    writer.read(folder / f'seed_{n}' / 'metrics.jsonl')[-1]['valid_ic']
    for n in summary['seeds']
  ]
  figures = summary['figures']['valid_ic']
  assert figures['values'] == ics and len(set(ics)) == 3
  assert figures['mean'] == pytest.approx(np.mean(ics))
  # Student's t with two degrees of freedom.
  half = 4.3027 * np.std(ics, ddof=1) / 3**0.5
  assert figures['high'] - figures['mean'] == pytest.approx(half, rel=1e-4)
  assert '3 seeds' in printed and 'best_valid_ic' in printed
  with pytest.raises(ValueError, match='config.num_seeds is 0'):
    bad = config_of('random_search', num_seeds=0)
    seeds.train_each(bad, tmp_path / 'no', train.train)
