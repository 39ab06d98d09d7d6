"""One process a folder, and nothing left by one that was killed."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from alphajax.run import lock
from alphajax.run.files import RunError

HOLD = (
  'import sys, time, pathlib; from alphajax.run import lock\n'
  'with lock.hold(pathlib.Path(sys.argv[1])):\n'
  '  print("held", flush=True); time.sleep(60)'
)


@pytest.fixture
def other(tmp_path):
  """Another process that holds the folder."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE,
    text=True, env=os.environ | {'PYTHONPATH': os.getcwd()},
  )  # fmt: skip
  assert process.stdout.readline() == 'held\n'
  yield process
  process.kill()
  process.wait()


def test_another_process_is_refused_by_name(tmp_path, other):
  with pytest.raises(RunError) as error, lock.hold(tmp_path):
    pass
  said = str(error.value)
  assert f'process {other.pid} on {socket.gethostname()} since 20' in said
  assert 'another --workdir' in said


def test_one_that_was_killed_is_taken_over_with_a_note(tmp_path, other):
  other.send_signal(signal.SIGKILL)
  other.wait()
  said = []
  with lock.hold(tmp_path, said.append):
    owner = json.loads((tmp_path / '.lock').read_text())
    assert owner['pid'] == os.getpid()
  assert len(said) == 1 and f'process {other.pid} on' in said[0]
  assert 'ended without letting' in said[0]


def test_held_again_after_it_was_let_go(tmp_path):
  said = []
  for _ in range(2):
    with lock.hold(tmp_path, said.append):
      with pytest.raises(RunError), lock.hold(tmp_path):
        pass
    assert os.listdir(tmp_path) == []
  with pytest.raises(KeyError), lock.hold(tmp_path):  # Let go by an error too.
    raise KeyError
  assert os.listdir(tmp_path) == [] and said == []


def write_owner(tmp_path, **changes):
  owner = {'pid': 1, 'host': 'node7', 'boot': 'b', 'since': '2026-01-02'}
  (tmp_path / '.lock').write_text(json.dumps(owner | changes))


def test_one_of_another_machine_is_refused_with_the_way_to_remove_it(tmp_path):
  folder = tmp_path / 'my runs'
  folder.mkdir()
  write_owner(folder)
  for _ in range(2):
    with pytest.raises(RunError) as error, lock.hold(folder):
      pass
    assert 'process 1 on node7 since 2026-01-02' in str(error.value)
  subprocess.run(str(error.value).split('lock: ')[1], shell=True, check=True)
  with lock.hold(folder):
    pass


def test_a_container_of_this_machine_is_of_this_machine(tmp_path, monkeypatch):
  (tmp_path / 'boot').write_text('b\n')
  monkeypatch.setattr(lock, '_BOOT', tmp_path / 'boot')
  (tmp_path / 'run').mkdir()
  write_owner(tmp_path / 'run')
  said = []
  with lock.hold(tmp_path / 'run', said.append):
    assert 'process 1 on node7' in said[0]


@pytest.mark.parametrize('content', ['', '{', '[]', '{"pid": 3}', 'null'])
def test_a_lock_that_names_nobody_is_taken(tmp_path, content):
  (tmp_path / '.lock').write_text(content)
  with lock.hold(tmp_path):
    pass


def test_where_the_file_system_has_no_locks_the_owner_counts(
  tmp_path, monkeypatch
):
  def refuse(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(lock.fcntl, 'flock', refuse)
  with lock.hold(tmp_path):
    with pytest.raises(RunError, match=f'by process {os.getpid()} on'):
      with lock.hold(tmp_path):
        pass
  ended = subprocess.Popen([sys.executable, '-c', ''])
  ended.wait()
  write_owner(tmp_path, pid=ended.pid, host=socket.gethostname())
  said = []
  with lock.hold(tmp_path, said.append):
    assert f'process {ended.pid}' in said[0]


@pytest.mark.parametrize(
  'code, message',
  [
    (errno.EROFS, 'read-only; take another'),
    (errno.ENOSPC, 'disk is full; free some'),
  ],
)
def test_a_folder_that_cannot_be_written_is_named(
  tmp_path, monkeypatch, code, message
):
  def refuse(*args, **options):
    raise OSError(code, os.strerror(code))

  with monkeypatch.context() as patch:
    patch.setattr('builtins.open', refuse)
    with pytest.raises(RunError, match=f'.lock: the .*{message}'):
      with lock.hold(tmp_path):
        pass


def test_a_lock_removed_by_hand_is_not_removed_from_its_next_owner(tmp_path):
  with lock.hold(tmp_path):
    (tmp_path / '.lock').unlink()
    write_owner(tmp_path)
  assert (tmp_path / '.lock').exists()


def test_a_lock_on_a_file_that_was_just_removed_counts_nothing(
  tmp_path, monkeypatch
):
  """Its owner lets go between the opening of the file and its locking."""
  flock, calls = lock.fcntl.flock, []

  def let_go_first(file, how):
    if not calls:
      (tmp_path / '.lock').unlink()
    calls.append(how)
    flock(file, how)

  monkeypatch.setattr(lock.fcntl, 'flock', let_go_first)
  with lock.hold(tmp_path):
    assert len(calls) == 2
    with pytest.raises(RunError, match='is in use'), lock.hold(tmp_path):
      pass


def test_however_many_want_it_one_at_a_time_has_it(tmp_path):
  inside, most, times = [0], [0], [0]

  def want():
    for _ in range(200):
      try:
        with lock.hold(tmp_path):
          inside[0] += 1
          most[0] = max(most[0], inside[0])
          times[0] += 1
          inside[0] -= 1
      except RunError as error:
        assert 'is in use by' in str(error)

  threads = [threading.Thread(target=want) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert most == [1] and times[0] > 4
