"""One run on several processes: the same as on one, or an error."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
import tiny

from alphajax import train
from alphajax.run import cache, files, hosts, writer
from alphajax.run.files import RunError
from alphajax.search import dealing

# ALPHAJAX_KILLS=10 kills a job so often, the one process and the other in turn.
KILLS = int(os.environ.get('ALPHAJAX_KILLS', 1))
POD = Path(__file__).resolve().parents[1] / 'scripts' / 'tpu_pod.sh'


class Flags:
  def __init__(self, distributed, *told):
    self.distributed = distributed
    self.coordinator, self.num_processes, self.process_id = told


@pytest.mark.parametrize(
  'given, expected',
  [
    (Flags(False, 'host:1', None, None), 'belong to --distributed'),
    (Flags(True, 'host:1', None, 0), 'give all of --coordinator'),
    (Flags(True, None, None, None), 'no cluster says who .* --process_id=I'),
  ],
)
def test_flags_that_cannot_be(monkeypatch, given, expected):
  monkeypatch.setattr(hosts.flags, 'FLAGS', given)

  def initialize(*_, **__):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  with pytest.raises(ValueError, match=expected):
    hosts.start()


def test_processes_that_come_to_other_figures_are_named(monkeypatch):
  record = {'iteration': 3, 'train_ic': 0.1, 'seconds': {'total': 1.0}}
  monkeypatch.setattr(jax, 'process_count', lambda: 3)

  def gather(digest, others):
    return np.stack([digest, digest + np.uint32(others), digest])

  gathered = []
  monkeypatch.setattr(
    hosts.multihost_utils, 'process_allgather',
    lambda digest: gathered.append(digest) or gather(digest, others),
  )  # fmt: skip
  others = 0
  hosts.compare(record)
  hosts.compare(record | {'seconds': {'total': 2.0}})
  assert (gathered[0] == gathered[1]).all()  # Times are not compared.
  others = 1
  with pytest.raises(RunError, match=r'iteration 3: processes \[1\]'):
    hosts.compare(record)


class Device:
  def __init__(self, process_index):
    self.process_index = process_index


def test_a_mesh_has_as_many_devices_of_every_process(monkeypatch):
  devices = [Device(i) for i in (0, 0, 0, 1, 1)]
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(jax, 'devices', lambda: devices)
  monkeypatch.setattr(dealing, 'Mesh', lambda chosen, _: chosen)
  whose = [d.process_index for d in dealing.make_mesh(8)]
  assert whose == [0, 0, 1, 1]
  assert len(dealing.make_mesh(6)) == 2  # Four cannot share six games.
  assert len(dealing.make_mesh(8, devices=1)) == 2
  assert dealing.make_mesh(7) is None
  with pytest.raises(ValueError, match='2 processes cannot share the 7 games'):
    dealing.make_mesh(7, devices=1)
  with pytest.raises(ValueError, match='mesh.devices is 3: expected at most 2'):
    dealing.make_mesh(6, devices=3)


def config_of(num_iterations):
  config = tiny.with_few_programs(tiny.get_config())
  config.num_iterations = num_iterations
  return config


def run(workdir, port, index, folder, num_iterations):
  """A process of a job of two."""
  os.environ['ALPHAJAX_CACHE'] = folder
  given = Flags(True, f'localhost:{port}', 2, index)
  hosts.flags.FLAGS = given  # type: ignore[assignment]
  hosts.SILENCE = 6
  hosts.start()
  cache.use_disk_cache()
  train.train(config_of(num_iterations), workdir)
  jax.distributed.shutdown()  # As a command does when it ends.


def start(workdir, num_iterations):
  with contextlib.closing(socket.socket()) as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  folder = os.environ['ALPHAJAX_CACHE']
  every = [
    commands.process(run, (workdir, port, index, folder, num_iterations))
    for index in (0, 1)
  ]
  for process in every:
    process.start()
  return every


def lines(workdir):
  path = workdir / 'metrics.jsonl'
  return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_killed_it_goes_on_and_is_the_run_of_one_process(tmp_path):
  two, one = tmp_path / 'two', tmp_path / 'one'
  rng, done = random.Random(0), 0
  for kill in range(KILLS):
    job = start(two, 50)
    while lines(two) < done + 2 and all(each.is_alive() for each in job):
      time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2) * (KILLS > 1))
    victim = job.pop((kill + 1) % 2)
    victim.kill()
    victim.join()
    job[0].join()  # It finds itself alone.
    assert victim.exitcode == -signal.SIGKILL and job[0].exitcode
    assert done + 2 <= lines(two) < 50
    done = lines(two)
  for process in start(two, done + 1):
    process.join()
    assert process.exitcode == 0
  train.train(config_of(done + 1), one)
  assert (two / 'pool.json').read_bytes() == (one / 'pool.json').read_bytes()
  records = [writer.read(place / 'metrics.jsonl') for place in (two, one)]
  for record in records[0] + records[1]:
    del record['seconds'], record['compile_seconds']
  assert records[0] == records[1]
  provenance = files.read_json(two / 'provenance.json')
  assert len(provenance['resumed']) == KILLS
  assert not (two / '.lock').exists()


def pod(tmp_path, *words):
  script = tmp_path / 'gcloud'
  script.write_text('#!/usr/bin/env bash\nprintf "[%s]" "$@"\n')
  script.chmod(0o755)
  path = f'{tmp_path}:{os.environ["PATH"]}'
  return subprocess.run(
    ['bash', POD, *words],
    cwd=tmp_path, env=os.environ | {'PATH': path},
    capture_output=True, text=True,
  )  # fmt: skip


def test_a_pod_runs_the_command_on_every_host(tmp_path):
  done = pod(tmp_path, 'a', '--zone=z', '--', 'train', '--config=b c.py:x')
  assert done.returncode == 0, done.stderr
  assert done.stdout == (
    '[compute][tpus][tpu-vm][ssh][a][--worker=all][--zone=z]'
    '[--command=exec alphajax train --config=b\\ c.py:x --distributed]'
  )
  for words, expected in (
    ([], 'tpu_pod.sh NAME'),
    (['a', '--', 'sweep'], 'by --part'),
  ):
    refused = pod(tmp_path, *words)
    assert refused.returncode == 2 and expected in refused.stderr
