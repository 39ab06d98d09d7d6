"""One run on several processes, of one machine or of many.

Every process does the same from the same seed, so that all have the same state
without telling each other; games alone are dealt over the devices of all (see
`search.dealing`), and gradients, where asked, over those of each (see
`search.chunks`). The first process keeps the run's folder and its checkpoints.
What the others write goes to a folder of their own, which ends with them; they
begin with a copy of what is there. After an iteration all compare what came
out.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags, logging
from jax.experimental import multihost_utils

from alphajax.run import lock
from alphajax.run.files import RunError

# Seconds after which a process that says nothing is taken for lost.
SILENCE = 30
# What an error of the connection to the others says, and no error of a program.
_OF_OTHERS = 'Gloo', 'NCCL', 'coordination', 'arrier', 'UNAVAILABLE'


def define_flags() -> None:
  """`--distributed` and what it may need."""
  flags.DEFINE_bool(
    'distributed',
    False,
    'Train with the other processes of this job, which are started with the '
    'same flags; SLURM, TPU pods and others say who they are.',
  )
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of the first of them.')
  flags.DEFINE_integer('num_processes', None, 'How many there are.')
  flags.DEFINE_integer('process_id', None, 'Which this one is, from 0.')


def start() -> None:
  """Joins the other processes where `--distributed` says so.

  Before anything is computed.

  Raises:
    ValueError: flags that do not belong together, or nobody says who the
      others are.
    RunError: they did not come.
  """
  given = flags.FLAGS
  told = given.coordinator, given.num_processes, given.process_id
  if not given.distributed:
    if any(each is not None for each in told):
      raise ValueError(
        '--coordinator, --num_processes and --process_id belong to '
        '--distributed: add it'
      )
    return
  if any(each is None for each in told) and told != (None, None, None):
    raise ValueError(
      '--distributed: give all of --coordinator=HOST:PORT, --num_processes=N '
      'and --process_id=I, or none of them where the cluster says so'
    )
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  try:
    jax.distributed.initialize(
      *told,
      heartbeat_timeout_seconds=SILENCE,
      shutdown_timeout_seconds=SILENCE,
    )
  except ValueError as error:
    raise ValueError(
      f'--distributed: no cluster says who the processes are ({error}); give '
      '--coordinator=HOST:PORT --num_processes=N --process_id=I'
    ) from error
  except RuntimeError as error:
    raise RunError(
      f'--distributed: the processes did not meet: {error}'
    ) from error


def is_first() -> bool:
  """Whether this process keeps the folder of the run; a single one does."""
  return jax.process_index() == 0


@contextlib.contextmanager
def hold(workdir: Path, say: Callable[[str], None]) -> Iterator[Path]:
  """The folder in which this process trains, held, see `lock.hold`.

  It is `workdir` for the first; the others have a copy of what is there now,
  which they go on from, and say nothing.

  Raises:
    RunError: another process holds the folder, or this machine cannot see it;
      or a process of the job was lost. Where JAX's own service notices that
      first it ends the process at once, and says so.
  """
  if jax.process_count() == 1:
    with lock.hold(workdir, say):
      yield workdir
    return
  try:
    with _hold_one(workdir, say) as place:
      yield place
      wait('done')  # What comes next may read what the first has written.
  except jax.errors.JaxRuntimeError as error:
    if not any(word in str(error) for word in _OF_OTHERS):
      raise
    raise RunError(
      f'a process of the job was lost, or its machine ({_first_line(error)}); '
      f'start all of them again with the same flags: {workdir} goes on where '
      'it was'
    ) from error


def _first_line(error: Exception) -> str:
  return str(error).split('\n', 1)[0]


@contextlib.contextmanager
def _hold_one(workdir: Path, say: Callable[[str], None]) -> Iterator[Path]:
  """`hold` of one of several processes."""
  if is_first():
    workdir.mkdir(parents=True, exist_ok=True)
    with lock.hold(workdir, say):
      wait('held')
      wait('copied')
      yield workdir
    return
  wait('held')
  with tempfile.TemporaryDirectory(prefix='alphajax_') as folder:
    place = Path(folder) / workdir.name
    _copy(workdir, place)
    wait('copied')
    logging.set_verbosity(logging.ERROR)
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stderr(nowhere):
      yield place


def _copy(workdir: Path, place: Path) -> None:
  if not (workdir / '.lock').exists():
    raise RunError(
      f'{workdir} is not to be seen from process {jax.process_index()}: '
      '--workdir must be on a drive that all machines of the job share'
    )
  leave = shutil.ignore_patterns('.lock')
  shutil.copytree(workdir, place, ignore=leave)


def wait(name: str) -> None:
  """Until all processes of the job are here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def compare(record: Mapping[str, Any]) -> None:
  """Makes sure that all processes had the same iteration.

  record: metrics, of which times are not compared.

  Raises:
    RunError: they did not, as processors of several kinds may not.
  """
  if jax.process_count() == 1:
    return
  times = 'seconds', 'compile_seconds'
  told = {name: x for name, x in record.items() if name not in times}
  text = json.dumps(told, sort_keys=True, default=float)
  digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)
  every = np.asarray(multihost_utils.process_allgather(digest))
  others = np.flatnonzero((every != every[0]).any(-1)).tolist()
  if others:
    raise RunError(
      f'iteration {record["iteration"]}: processes {others} came to other '
      'figures than process 0. Their machines compute differently: give the '
      'job machines of one kind, or leave out --distributed'
    )
