"""Scalars for TensorBoard: those of the metrics, whatever was killed."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.run import tensorboard, writer
from alphajax.run.files import RunError


def record(n):
  return {
    'iteration': n, 'loss': 0.5 * n, 'valid_ic': None, 'why': 'text',
    'seconds': {'total': 2.0, 'search': n},
  }  # fmt: skip


def visible(workdir):
  """What TensorBoard shows, `{name: [(step, value), ...]}`.

  A start hides what earlier starts wrote from its step on.
  """
  from tensorboardX.proto import event_pb2

  shown = {}
  for path in sorted((workdir / 'tensorboard').iterdir()):
    for content in framed(path.read_bytes()):
      event = event_pb2.Event.FromString(content)
      if event.HasField('session_log'):
        for name, points in shown.items():
          shown[name] = [p for p in points if p[0] < event.step]
      for value in event.summary.value:
        shown.setdefault(value.tag, []).append((event.step, value.simple_value))
  return shown


def framed(content):
  """The records of a TFRecord file; a half-written last one is left out."""
  while len(content) >= 12:
    end = 12 + int.from_bytes(content[:8], 'little')
    if len(content) >= end + 4:
      yield content[12:end]
    content = content[end + 4 :]


def train(workdir, done, until, loses=0):
  """Iterations `done` + 1 to `until`; the last `loses` miss the scalars."""
  with tensorboard.scalars(workdir, done, on=True) as plot:
    for n in range(done + 1, until + 1):
      writer.append(workdir / 'metrics.jsonl', record(n))
      if n <= until - loses:
        plot(record(n))


def test_scalars_are_the_numbers_of_the_records(tmp_path):
  pytest.importorskip('tensorboardX')
  train(tmp_path, 0, 3)
  shown = visible(tmp_path)
  assert set(shown) == {'loss', 'seconds/total', 'seconds/search'}
  assert shown['loss'] == [(1, 0.5), (2, 1.0), (3, 1.5)]
  assert shown['seconds/search'] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_restart_fills_what_was_lost_and_hides_what_is_written_anew(
  tmp_path,
):
  pytest.importorskip('tensorboardX')
  train(tmp_path, 0, 3, loses=1)
  # From the checkpoint of iteration 2 on: the third is another one now.
  writer.truncate(tmp_path / 'metrics.jsonl', 2)
  (first,) = (tmp_path / 'tensorboard').iterdir()
  # Files are read by their second, and both may be of the same one.
  first.rename(first.with_name('events.out.tfevents.1000000000.first'))
  train(tmp_path, 2, 4)
  expected = [(n, 0.5 * n) for n in (1, 2, 3, 4)]
  assert visible(tmp_path)['loss'] == expected


def test_numbers_of_numpy_and_jax_are_numbers(tmp_path):
  pytest.importorskip('tensorboardX')
  with tensorboard.scalars(tmp_path, 0, on=True) as plot:
    plot({'iteration': 1, 'a': np.float32(0.5), 'b': jnp.float32(2), 'c': True})
  assert visible(tmp_path) == {'a': [(1, 0.5)], 'b': [(1, 2.0)]}


def test_begun_without_it_has_all(tmp_path):
  pytest.importorskip('tensorboardX')
  with tensorboard.scalars(tmp_path, 0, on=False) as plot:
    for n in (1, 2):
      writer.append(tmp_path / 'metrics.jsonl', record(n))
      plot(record(n))
  assert not (tmp_path / 'tensorboard').exists()
  train(tmp_path, 2, 3)
  assert visible(tmp_path)['loss'] == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(RunError, match='pip install tensorboardX'):
    with tensorboard.scalars(tmp_path, 0, on=True):
      pass
  with tensorboard.scalars(tmp_path, 0, on=False) as plot:
    plot(record(1))
