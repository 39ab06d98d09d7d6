"""Every script starts and says how it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / 'scripts'
# Those that define flags and run; the others are imported by them.
RUN = sorted(
  path.name for path in SCRIPTS.glob('*.py') if '__main__' in path.read_text()
)


@pytest.mark.parametrize('name', RUN)
def test_starts(name):
  text = (SCRIPTS / name).read_text()
  assert f'python scripts/{name}' in text  # The exact command.
  done = subprocess.run(
    [sys.executable, SCRIPTS / name, '--help'],
    capture_output=True, text=True, cwd=SCRIPTS.parent,
    env={'PYTHONPATH': str(SCRIPTS.parent), 'JAX_PLATFORMS': 'cpu'},
  )  # fmt: skip
  assert not done.stderr, done.stderr
  assert '--out' in done.stdout or '--workdir' in done.stdout
