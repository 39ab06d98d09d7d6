"""JSON-lines files, whole-file writes and the progress line."""

import io
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.run import writer


def record(iteration, **more):
  return {
    'iteration': iteration,
    'proposed': 1000 * iteration,
    'evaluated': 900 * iteration,
    'train_ic': 0.05,
    'valid_ic': None,
    'seconds': {'total': 1.5},
    **more,
  }


def test_append_writes_array_scalars_and_read_gives_them_back(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  writer.append(path, record(1, policy_loss=np.float32(0.5)))
  writer.append(path, record(2, policy_loss=jnp.float32(0.25), n=np.int64(3)))
  first, second = writer.read(path)
  assert first == record(1, policy_loss=0.5)
  assert second == record(2, policy_loss=0.25, n=3)


@pytest.mark.parametrize('bad', [np.nan, np.inf, jnp.float32(-jnp.inf)])
def test_append_refuses_a_nan_by_name_and_writes_nothing(tmp_path, bad):
  path = tmp_path / 'metrics.jsonl'
  writer.append(path, record(1))
  before = path.read_bytes()
  with pytest.raises(FloatingPointError, match='iteration 2: seconds.search'):
    writer.append(path, record(2, seconds={'search': bad, 'total': 1.0}))
  assert path.read_bytes() == before


def test_truncate_drops_later_lines_and_a_half_written_one(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  for iteration in range(1, 5):
    writer.append(path, record(iteration))
  whole = path.read_text().splitlines(keepends=True)
  with open(path, 'a') as file:
    file.write('{"iteration": 5, "evalu')
  assert [r['iteration'] for r in writer.read(path)] == [1, 2, 3, 4]
  writer.truncate(path, 3)
  assert path.read_text() == ''.join(whole[:3])
  writer.append(path, record(4))
  assert path.read_text() == ''.join(whole)
  writer.truncate(path, 0)
  assert path.read_text() == ''
  writer.truncate(tmp_path / 'absent.jsonl', 0)
  assert not (tmp_path / 'absent.jsonl').exists()


@pytest.mark.parametrize('cut', range(1, 40))
def test_read_survives_a_line_cut_at_any_byte(tmp_path, cut):
  path = tmp_path / 'metrics.jsonl'
  line = '{"iteration": 2, "reason": "größer"}'.encode()
  path.write_bytes(b'{"iteration": 1}\n' + line[:cut])
  # Whole, but without its end: the kill came before that was written.
  assert [r['iteration'] for r in writer.read(path)] == [1]
  path.write_bytes(b'{"iteration": 1}\n' + line + b'\n')
  assert [r['iteration'] for r in writer.read(path)] == [1, 2]


def test_read_refuses_a_broken_line_in_the_middle(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"iteration": 1}\n{"iter\n{"iteration": 3}\n')
  with pytest.raises(ValueError, match='line 2'):
    writer.read(path)


def test_write_json_replaces_wholly_or_not_at_all(tmp_path):
  path = tmp_path / 'pool.json'
  writer.write_json(path, {'weight': np.float64(0.1), 'ids': np.arange(2)})
  assert json.loads(path.read_text()) == {'weight': 0.1, 'ids': [0, 1]}
  with pytest.raises(ValueError):
    writer.write_json(path, {'weight': float('nan')})
  with pytest.raises(TypeError, match='object'):
    writer.write_json(path, {'weight': object()})
  assert json.loads(path.read_text()) == {'weight': 0.1, 'ids': [0, 1]}
  assert os.listdir(tmp_path) == ['pool.json']


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_progress_prints_a_line_each_when_not_on_a_terminal():
  stream = io.StringIO()
  with writer.progress(3, done=1, stream=stream) as show:
    show(record(2))
    show(record(3, valid_ic=0.041))
  lines = stream.getvalue().splitlines()
  assert lines[0] == (
    'iteration 2/3, 0:00 left | IC train 0.0500 valid - '
    '| 2,000 formulas, 1,800 distinct evaluated'
  )
  assert len(lines) == 2 and 'valid 0.0410' in lines[1]


def test_progress_keeps_one_live_line_on_a_terminal():
  stream = Terminal()
  with writer.progress(4, done=1, stream=stream) as show:
    assert 'iteration 2/4' in stream.getvalue()
    show(record(2))
    show(record(3))
  text = stream.getvalue()
  assert '3,000 formulas, 2,700 distinct' in text and ' 75%' in text
  assert text.count('\n') == 1 and '\r' in text


def test_time_left_leaves_out_what_was_compiled(monkeypatch):
  now = iter([0.0, 60.0, 64.0])
  monkeypatch.setattr(writer.time, 'monotonic', lambda: next(now))
  stream = io.StringIO()
  with writer.progress(11, stream=stream) as show:
    show(record(1, compile_seconds=54.0))
    show(record(2, compile_seconds=0.0))
  first, second = stream.getvalue().splitlines()
  assert '1/11, 1:00 left' in first and '2/11, 0:45 left' in second


def test_what_a_record_lacks_is_not_shown():
  line = writer.status_line({'iteration': 1, 'loss': 0.25}, 3, [1.0])
  assert line == 'iteration 1/3, 0:02 left | loss 0.25'
  line = writer.status_line({'iteration': 1, 'valid_ic': 0.01}, 3, [1.0])
  assert line == 'iteration 1/3, 0:02 left | IC train - valid 0.0100'


def test_time_left_ignores_the_iteration_that_compiles():
  line = writer.status_line(record(3), total=103, durations=[95.0, 40.0, 40.0])
  assert line.startswith('iteration 3/103, 1:06:40 left')
