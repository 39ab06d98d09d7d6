"""Files of a run: wholly or not at all, and named where they fail."""

import errno
import io
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from alphajax.run import files
from alphajax.run.files import RunError


def test_write_json_replaces_wholly_or_not_at_all(tmp_path):
  path = tmp_path / 'pool.json'
  files.write_json(path, {'weight': np.float64(0.1), 'ids': np.arange(2)})
  assert json.loads(path.read_text()) == {'weight': 0.1, 'ids': [0, 1]}
  with pytest.raises(ValueError):
    files.write_json(path, {'weight': float('nan')})
  with pytest.raises(TypeError, match='object'):
    files.write_json(path, {'weight': object()})
  assert json.loads(path.read_text()) == {'weight': 0.1, 'ids': [0, 1]}
  assert os.listdir(tmp_path) == ['pool.json']


def test_arrays_come_back(tmp_path):
  path = tmp_path / 'daily.npz'
  assert files.read_arrays(path) == {}
  files.write_arrays(path, {'ic': np.arange(3.0), 'name': np.array(['a'])})
  again = files.read_arrays(path)
  assert again['ic'].tolist() == [0, 1, 2] and again['name'].tolist() == ['a']
  assert os.listdir(tmp_path) == ['daily.npz']


REFUSALS = {
  errno.ENOSPC: 'the disk is full; free some space, then start again',
  errno.EDQUOT: 'the quota is used up; free',
  errno.EROFS: 'the file system is read-only; take another --workdir',
  errno.EACCES: 'no permission; `chmod -R u[+]rwX ',
  errno.ENOTDIR: 'a part of it is a file',
  errno.EIO: 'Input/output error',
}


@pytest.mark.parametrize('code', REFUSALS)
@pytest.mark.parametrize('place', ['open', 'fsync', 'replace'])
def test_what_the_system_refuses_names_the_file_and_spoils_nothing(
  tmp_path, monkeypatch, code, place
):
  def refuse(*args, **options):
    raise OSError(code, os.strerror(code))

  writes = {
    'pool.json': lambda path: files.write_json(path, {'a': 1}),
    'daily.npz': lambda path: files.write_arrays(path, {'a': np.ones(2)}),
    'report.html': lambda path: files.write_text(path, '<html>'),
  }
  for name, write in writes.items():
    (tmp_path / name).write_bytes(b'before')
    with monkeypatch.context() as patch:
      patch.setattr(*{
        'open': ('builtins.open', refuse),
        'fsync': (files.os, 'fsync', refuse),
        'replace': (files.os, 'replace', refuse),
      }[place])  # fmt: skip
      with pytest.raises(RunError, match=f'{name}: {REFUSALS[code]}'):
        write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b'before'
  # Nor is half a file left, which on a full disk would be in the way.
  assert sorted(os.listdir(tmp_path)) == sorted(writes)


@pytest.mark.parametrize('code', REFUSALS)
def test_what_cannot_be_read_is_named(tmp_path, monkeypatch, code):
  def refuse(*args, **options):
    raise OSError(code, os.strerror(code))

  for name, read in {
    'pool.json': files.read_json,
    'daily.npz': files.read_arrays,
  }.items():
    (tmp_path / name).write_bytes(b'x')
    with monkeypatch.context() as patch:
      patch.setattr(files.Path, 'read_bytes', refuse)
      with pytest.raises(RunError, match=f'{name}: {REFUSALS[code]}'):
        read(tmp_path / name)


@pytest.mark.parametrize(
  'content', [b'', b'{', b'[]', b'3', b'\xff\x00', b'[' * 100_000]
)
@pytest.mark.parametrize(
  'name, remedy',
  [
    ('config.json', 'put a copy back, or take another --workdir'),
    ('provenance.json', 'put a copy back, or take another --workdir'),
    ('pool.json', 'the same train command, started again, writes it anew'),
    ('results.json', 'it counts how often the test split was opened'),
  ],
)
def test_garbage_is_named_with_a_remedy(tmp_path, name, remedy, content):
  path = tmp_path / name
  assert files.read_json(path) is None
  path.write_bytes(content)
  with pytest.raises(RunError) as error:
    files.read_json(path)
  assert str(path) in str(error.value) and remedy in str(error.value)
  assert path.read_bytes() == content


def test_whatever_bit_of_an_npz_is_hit_it_is_found_or_changes_nothing(
  tmp_path,
):
  path, rng, found = tmp_path / 'daily.npz', random.Random(0), 0
  arrays = {'ic_train': np.arange(40.0), 'dates_train': np.arange(40)}
  files.write_arrays(path, arrays)
  whole = path.read_bytes()
  cases = [whole[:at] for at in range(0, len(whole), 50)] + [b'garbage']
  for _ in range(300):
    content = bytearray(whole)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    cases.append(bytes(content))
  for content in cases:
    path.write_bytes(content)
    try:
      again = files.read_arrays(path)
    except RunError as error:
      found += 1
      assert str(path) in str(error) and 'writes it anew' in str(error)
      continue
    for name in set(again) & set(arrays):
      np.testing.assert_array_equal(again[name], arrays[name])
  assert found > 200


def test_a_lone_array_is_no_npz(tmp_path):
  buffer = io.BytesIO()
  np.save(buffer, np.arange(3))
  (tmp_path / 'daily_test.npz').write_bytes(buffer.getvalue())
  with pytest.raises(RunError, match='daily_test.npz is damaged.*remove it'):
    files.read_arrays(tmp_path / 'daily_test.npz')


def ended_process():
  """The number of a process that is no more."""
  process = subprocess.Popen([sys.executable, '-c', ''])
  process.wait()
  return process.pid


def test_what_a_kill_left_is_cleaned_and_nothing_else(tmp_path):
  dead, alive = ended_process(), os.getppid()
  left = [
    f'.provenance.json.{dead}.tmp',
    f'.metrics.jsonl.{dead}.tmp',
    f'.daily_2025-01-01_2025-12-31.npz.{dead}.tmp',
    # This process writes nothing now: one before it had its number.
    f'.pool.json.{os.getpid()}.tmp',
    '.daily.tmp.npz',
  ]
  kept = [
    f'.results.json.{alive}.tmp',  # An evaluation beside the training.
    'notes.tmp', '.hidden', '.a.b.tmp', f'.mine.md.{dead}.tmp', 'pool.json',
  ]  # fmt: skip
  for name in left + kept:
    (tmp_path / name).write_text('x')
  files.clean(tmp_path)
  assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_alive():
  assert files.is_alive(os.getpid()) and not files.is_alive(ended_process())
  assert not files.is_alive(10**30)


def test_the_home_folder_is_written_to(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  files.write_text('~/scores.csv', 'a,b')
  assert (tmp_path / 'scores.csv').read_text() == 'a,b'


def test_a_folder_below_a_file_is_refused_before_the_work(tmp_path):
  (tmp_path / 'a.csv').write_text('')
  for place in (tmp_path / 'a.csv', tmp_path / 'a.csv' / 'run' / 'b'):
    with pytest.raises(RunError, match=r'--out=.*: .*a.csv is a file: expect'):
      files.check_folder('--out', place)
  files.check_folder('--out', tmp_path)
  files.check_folder('--out', tmp_path / 'new' / 'run')


def test_a_file_needs_a_folder_to_lie_in(tmp_path):
  for place, expected in {
    tmp_path: 'it is a folder: expected a file in it',
    tmp_path / 'new one' / 'a.csv': "such folder: `mkdir -p '.*new one'` makes",
  }.items():
    with pytest.raises(RunError, match=f'^--out={place}: .*{expected}'):
      files.check_file('--out', place)
  files.check_file('--out', tmp_path / 'a.csv')
