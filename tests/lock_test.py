"""One process a folder, and nothing left by one that was killed."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from alphajax.run import lock
from alphajax.run.folder import RunError

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


def test_one_that_was_killed_holds_nothing(tmp_path, other):
  other.send_signal(signal.SIGKILL)
  other.wait()
  with lock.hold(tmp_path):
    owner = json.loads((tmp_path / '.lock').read_text())
    assert owner['pid'] == os.getpid()


def test_held_again_after_it_was_let_go(tmp_path):
  for _ in range(2):
    with lock.hold(tmp_path):
      with pytest.raises(RunError), lock.hold(tmp_path):
        pass
