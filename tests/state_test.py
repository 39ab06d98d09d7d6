"""The state of a run on disk: what is damaged is said, and nothing is lost."""

import types

import numpy as np
import pytest

from alphajax.run import checkpoint, files, folder, provenance, writer
from alphajax.run import state as state_lib
from alphajax.run.files import RunError

METHOD = types.SimpleNamespace(
  save=lambda state: ({'x': np.asarray(state)}, {'n': int(state[0])}),
  load=lambda arrays, host: arrays['x'],
  kept=(),
)


def state(n):
  return np.full(5, n, np.float32)


def keep(workdir, *iterations):
  for n in iterations:
    state_lib.keep(workdir, METHOD, state(n), {'iteration': n, 'loss': 0.5})


def spoil(workdir, iteration):
  place = workdir / 'checkpoints' / f'iteration_{iteration:06d}'
  for path in place.rglob('*'):
    if path.is_file() and path.stat().st_size > 1:
      path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_newest_checkpoint_is_set_aside(tmp_path):
  keep(tmp_path, 1, 2, 3)
  spoil(tmp_path, 3)
  said = []
  done, found = state_lib.restore(tmp_path, METHOD, state(0), said.append)
  assert done == 2 and (found == 2).all()
  assert 'iteration_000003 is damaged' in said[0]
  assert said[1].endswith('iteration_000003.damaged.')
  assert 'Continuing after iteration 2.' in said
  # The run goes on, and writes that iteration anew.
  writer.truncate(tmp_path / 'metrics.jsonl', done)
  keep(tmp_path, 3)
  assert state_lib.restore(tmp_path, METHOD, state(0))[0] == 3


def test_all_damaged_is_an_error_and_all_stay(tmp_path):
  keep(tmp_path, 1, 2)
  for n in (1, 2):
    spoil(tmp_path, n)
  said = []
  with pytest.raises(RunError, match=r'every checkpoint is damaged .*1, 2\)'):
    state_lib.restore(tmp_path, METHOD, state(0), said.append)
  assert len(said) == 2
  assert checkpoint.iterations(tmp_path / 'checkpoints') == [1, 2]


def test_one_who_only_reads_moves_nothing_and_warns(tmp_path):
  keep(tmp_path, 1, 2, 3)
  spoil(tmp_path, 3)
  with pytest.warns(UserWarning, match='iteration_000003 is damaged'):
    done, _ = state_lib.restore(tmp_path, METHOD, state(0), set_aside=False)
  assert done == 2
  assert checkpoint.iterations(tmp_path / 'checkpoints') == [2, 3]


def test_after_damage_the_metrics_are_those_of_the_checkpoint(tmp_path):
  keep(tmp_path, 1, 2, 3)
  whole = (tmp_path / 'metrics.jsonl').read_bytes()
  spoil(tmp_path, 3)
  done, _ = state_lib.restore(tmp_path, METHOD, state(0), [].append)
  writer.truncate(tmp_path / 'metrics.jsonl', done)
  assert [r['iteration'] for r in writer.read(tmp_path / 'metrics.jsonl')] == [
    1, 2
  ]  # fmt: skip
  keep(tmp_path, 3)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == whole


@pytest.mark.parametrize('content', [b'{', b'\xff\x00', b'[]', b''])
@pytest.mark.parametrize('name', ['config', 'pool', 'provenance', 'results'])
def test_garbage_is_named(tmp_path, name, content):
  keep(tmp_path, 1)
  (tmp_path / f'{name}.json').write_bytes(content)
  with pytest.raises(RunError, match=f'{name}.json'):
    folder.load_run(tmp_path)


def test_damaged_arrays_are_named(tmp_path):
  keep(tmp_path, 1)
  files.write_arrays(tmp_path / 'daily.npz', {'ic_train': np.zeros(9)})
  whole = (tmp_path / 'daily.npz').read_bytes()
  for content in (whole[:-30], b'garbage'):
    (tmp_path / 'daily.npz').write_bytes(content)
    with pytest.raises(RunError, match='daily.npz is damaged'):
      folder.load_run(tmp_path)


def test_garbage_in_what_train_reads_back(tmp_path):
  (tmp_path / 'provenance.json').write_text('{"a": 1}')
  with pytest.raises(RunError, match='provenance.json lacks `data_hash`'):
    provenance.record(tmp_path, 0, 'hash')


def test_what_a_kill_left_is_cleaned_and_checkpoints_stay(tmp_path):
  keep(tmp_path, 1, 2)
  before = {*tmp_path.rglob('*')}
  for name in (
    '.daily.tmp.npz',
    'checkpoints/iteration_000003.orbax-checkpoint-tmp/x',
    'checkpoints/iteration_000001.deleted/x',
    'failed/iteration_000003.orbax-checkpoint-tmp/x',
    'checkpoints/iteration_000003.damaged/x',
    'notes/iteration_000001.deleted/x',
  ):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('x')
  folder.clean(tmp_path)
  left = {path for path in tmp_path.rglob('x')}
  assert left == {
    tmp_path / 'checkpoints/iteration_000003.damaged/x',
    tmp_path / 'notes/iteration_000001.deleted/x',
  }
  assert before <= {*tmp_path.rglob('*')}
