"""What a run records about itself, and what a restart adds or is refused."""

import json
import subprocess

import jax
import pytest

from alphajax.run import provenance


def test_a_restart_is_added_and_other_data_refused(tmp_path):
  first = provenance.record(tmp_path, seed=3, data_hash='abc')
  assert first['seed'] == 3 and first['resumed'] == []
  assert first['versions']['jax'] == jax.__version__
  again = provenance.record(tmp_path, seed=3, data_hash='abc')
  assert again['started'] == first['started']
  assert [set(r) >= {'started', 'git'} for r in again['resumed']] == [True]
  with pytest.raises(ValueError, match='abc, now xyz'):
    provenance.record(tmp_path, seed=3, data_hash='xyz')
  stored = json.loads((tmp_path / 'provenance.json').read_text())
  assert stored == again


def test_other_contents_of_an_input_are_refused(tmp_path):
  first = provenance.record(tmp_path, 3, 'abc')
  assert 'inputs' not in first
  # A run of before they were held takes what is there.
  held = provenance.record(tmp_path, 3, 'abc', {'archive': 'one'})
  assert held['inputs'] == {'archive': 'one'}
  provenance.record(tmp_path, 3, 'abc', {'archive': 'one'})
  before = (tmp_path / 'provenance.json').read_text()
  with pytest.raises(ValueError, match='config.archive: hash one, now two'):
    provenance.record(tmp_path, 3, 'abc', {'archive': 'two'})
  assert (tmp_path / 'provenance.json').read_text() == before


def test_git_state_knows_no_repository_clean_and_dirty(tmp_path):
  package = tmp_path / 'repo' / 'package'
  package.mkdir(parents=True)

  def git(*arguments):
    identity = ('-c', 'user.name=t', '-c', 'user.email=t@example.com')
    command = ['git', '-C', package.parent, *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True)

  assert provenance.git_state(package) is None
  git('init', '-q')
  unborn = provenance.git_state(package)
  assert unborn['commit'] is None and unborn['reason']
  (package / 'a.py').write_text('a = 1\n')
  git('add', '.')
  git('commit', '-qm', 'one')
  head = git('rev-parse', 'HEAD').stdout.strip()
  assert provenance.git_state(package) == {'commit': head, 'dirty': False}
  (package / 'a.py').write_text('a = 2\n')
  assert provenance.git_state(package)['dirty'] is True
