"""Where a run comes from: data, versions, seed, commit, device, times."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from alphajax.run import files

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'mctx', 'numpy')


def record(
  workdir: str | os.PathLike,
  seed: int,
  data_hash: str,
  inputs: Mapping[str, str] = MappingProxyType({}),
) -> dict:
  """Writes `provenance.json` of a run, or adds a restart to it.

  A restart on other versions, another commit or device is recorded under
  `resumed`; on other data or inputs it is refused.

  inputs: digests of what else it reads, by the key of the config.

  Raises:
    ValueError: the run was started on data or inputs with another hash.
    RunError: `provenance.json` is damaged.
  """
  path = Path(workdir) / 'provenance.json'
  now = _describe_start()
  value = files.read_json(path)
  if value is None:
    value = {'data_hash': data_hash, 'seed': seed, **now, 'resumed': []}
  else:
    if 'data_hash' not in value or not isinstance(value.get('resumed'), list):
      raise files.RunError(
        f'{path} lacks `data_hash` or `resumed`, which a run has; put a copy '
        'back, or take another --workdir'
      )
    if value['data_hash'] != data_hash:
      raise ValueError(
        f'{workdir} was started on other data: hash {value["data_hash"]}, '
        f'now {data_hash}. Take another --workdir; of a pool that is found, '
        f'`alphajax refit --workdir={workdir} --out=FOLDER --end=DAY '
        '--data=PATH` fits the weights to other data, and `alphajax evaluate '
        f'--workdir={workdir} --split=START:END --data=PATH` judges it on them'
      )
    for key, digest in inputs.items():
      before = value.get('inputs', {}).get(key, digest)
      if before != digest:
        raise ValueError(
          f'{workdir} was started with other contents of config.{key}: hash '
          f'{before[:12]}, now {digest[:12]}; it goes on with those alone. Put '
          'them back, or take another --workdir'
        )
    value['resumed'].append(now)
  if inputs:
    value['inputs'] = dict(inputs)
  files.write_json(path, value)
  return value


def _describe_start() -> dict[str, Any]:
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  return {
    'started': datetime.datetime.now(datetime.UTC).isoformat(
      timespec='seconds'
    ),
    'versions': {'python': platform.python_version(), **versions},
    'git': git_state(Path(__file__).parent),
    'device': jax.local_devices()[0].device_kind,
  }


def git_state(folder: Path) -> dict[str, Any] | None:
  """Commit of the code and whether it was changed; None outside git.

  Where git itself fails (a folder of another user), the reason is kept in
  place of the commit: no run should end for want of it.
  """
  in_git = any((parent / '.git').exists() for parent in folder.parents)
  if not in_git or shutil.which('git') is None:
    return None
  head = _git(folder, 'rev-parse', 'HEAD')
  status = _git(folder, 'status', '--porcelain', '--untracked-files=no')
  if head.returncode or status.returncode:
    reason = (head.stderr or status.stderr).strip()
    return {'commit': None, 'dirty': None, 'reason': reason}
  return {'commit': head.stdout.strip(), 'dirty': bool(status.stdout.strip())}


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
  command = ['git', '-C', str(folder), *arguments]
  return subprocess.run(command, check=False, capture_output=True, text=True)
