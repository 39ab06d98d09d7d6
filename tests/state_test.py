"""The state of a run on disk: what is damaged is said, and nothing is lost."""

import errno
import json
import types

import numpy as np
import pytest

from alphajax.run import checkpoint, folder, provenance, writer
from alphajax.run import state as state_lib
from alphajax.run.folder import RunError

METHOD = types.SimpleNamespace(
  save=lambda state: ({'x': np.asarray(state)}, {'n': int(state[0])}),
  load=lambda arrays, host: arrays['x'],
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
  with pytest.raises(RunError, match=r'every checkpoint is damaged .*2, 1'):
    state_lib.restore(tmp_path, METHOD, state(0))
  assert checkpoint.iterations(tmp_path / 'checkpoints') == [1, 2]


@pytest.mark.parametrize(
  'spoil_line, message',
  [
    (lambda lines: [lines[0], b'{"iteration": 2, "los', *lines[2:]], 'line 2'),
    (lambda lines: [lines[0], b'\xff\xfe', lines[2]], 'line 2 is no record'),
    (lambda lines: [lines[1], lines[0], lines[2]], 'line 2 .*comes after 2'),
    (lambda lines: [b'[1]', *lines[1:]], 'line 1 is no record'),
    (lambda lines: [lines[0]], 'ends with iteration 1.*lines were lost'),
    (lambda lines: [], 'ends with iteration 0.*lines were lost'),
  ],
)
def test_damaged_metrics_are_refused_and_left_alone(
  tmp_path, spoil_line, message
):
  keep(tmp_path, 1, 2, 3)
  path = tmp_path / 'metrics.jsonl'
  lines = path.read_bytes().splitlines()
  path.write_bytes(b''.join(x + b'\n' for x in spoil_line(lines)))
  before = path.read_bytes()
  with pytest.raises(ValueError, match=message):
    writer.truncate(path, 3)
  assert path.read_bytes() == before


def test_a_line_without_its_end_was_being_written(tmp_path):
  keep(tmp_path, 1, 2)
  path = tmp_path / 'metrics.jsonl'
  whole = path.read_bytes()
  path.write_bytes(whole + b'{"iteration": 3}')
  assert [r['iteration'] for r in writer.read(path)] == [1, 2]
  writer.truncate(path, 2)
  assert path.read_bytes() == whole


@pytest.mark.parametrize('content', [b'{', b'\xff\x00', b'[]', b''])
@pytest.mark.parametrize('name', ['config', 'pool', 'provenance', 'results'])
def test_garbage_is_named(tmp_path, name, content):
  keep(tmp_path, 1)
  (tmp_path / f'{name}.json').write_bytes(content)
  with pytest.raises(RunError, match=f'{name}.json'):
    folder.load_run(tmp_path)


def test_damaged_arrays_are_named(tmp_path):
  keep(tmp_path, 1)
  state_lib.write_arrays(tmp_path / 'daily.npz', {'ic_train': np.zeros(9)})
  whole = (tmp_path / 'daily.npz').read_bytes()
  for content in (whole[:-30], b'garbage'):
    (tmp_path / 'daily.npz').write_bytes(content)
    with pytest.raises(RunError, match='daily.npz is damaged'):
      folder.load_run(tmp_path)


def test_garbage_in_what_train_reads_back(tmp_path):
  (tmp_path / 'provenance.json').write_text('{"a": 1}')
  with pytest.raises(RunError, match='provenance.json is not what'):
    provenance.record(tmp_path, 0, 'hash')
  (tmp_path / 'config.json').write_text('{')
  with pytest.raises(ValueError, match='config.json is not a config'):
    checkpoint.check_config(tmp_path, {})


def test_a_full_disk_names_the_file_and_spoils_nothing(tmp_path, monkeypatch):
  path = tmp_path / 'pool.json'
  writer.write_json(path, {'a': 1})

  def full(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(writer.os, 'fsync', full)
  with pytest.raises(OSError, match='No space left on device.*pool.json'):
    writer.write_json(path, {'a': 2})
  assert json.loads(path.read_text()) == {'a': 1}


def test_what_a_kill_left_is_cleaned_and_nothing_else(tmp_path):
  keep(tmp_path, 1)
  left = ['.provenance.json.123.tmp', '.pool.json.7.tmp', '.daily.tmp.npz']
  ours = ['notes.tmp', '.hidden', '.a.b.tmp', 'pool.json']
  for name in left + ours:
    (tmp_path / name).write_text('x')
  writer.clean(tmp_path)
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {*ours, 'metrics.jsonl', 'checkpoints'}
