"""Commands in processes of their own that need not import JAX first.

They are forked from a server that has imported the package, and nothing more:
no backend is started in it. So a command costs what it does, not two seconds.
"""

import dataclasses
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRELOAD = [
  'alphajax.train',
  'alphajax.evaluate',
  'alphajax.refine',
  'alphajax.report.__main__',
  'frozen',
]


@dataclasses.dataclass
class Done:
  """What is left of a command."""

  returncode: int
  stdout: str
  stderr: str


def context():
  """Whose processes have imported the package already."""
  made = multiprocessing.get_context('forkserver')
  made.set_forkserver_preload(PRELOAD)
  return made


def process(target: Callable, args: tuple = ()):
  """A process of `context`, not yet started."""
  return context().Process(target=target, args=args)


def hold_still(process):
  """Stops a process where it is: what a kill leaves on disk is there."""
  os.kill(process.pid, signal.SIGSTOP)
  threads = Path(f'/proc/{process.pid}/task').glob('*/stat')
  for thread in threads:
    while thread.read_text().rpartition(')')[2].split()[0] != 'T':
      time.sleep(0.001)


def _serve(module, arguments, cwd, environment, files):
  os.environ.clear()
  os.environ.update(environment)
  os.chdir(cwd)
  for stream, path in ((1, files[0]), (2, files[1])):
    os.dup2(os.open(path, os.O_WRONLY), stream)
  sys.argv = [str(module), *arguments]
  if isinstance(module, Path):
    sys.path.insert(0, str(module.parent))
    runpy.run_path(str(module), run_name='__main__')
    return
  # It is imported already, which `-m` would warn of.
  warnings.filterwarnings('ignore', '.*found in sys.modules')
  runpy.run_module(module, run_name='__main__', alter_sys=True)


def run(module: str | Path, *arguments, cwd: Path = ROOT) -> Done:
  """`python -m module arguments`, or of a script, with all that it prints."""
  with tempfile.TemporaryDirectory() as folder:
    files = [Path(folder) / name for name in ('stdout', 'stderr')]
    for path in files:
      path.touch()
    texts = tuple(map(str, arguments))
    child = process(_serve, (module, texts, str(cwd), dict(os.environ), files))
    child.start()
    child.join()
    return Done(child.exitcode, *(path.read_text() for path in files))
