"""The metrics of a run: appended, read, and cut; never silently shortened."""

import errno
import random

import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.run import writer
from alphajax.run.files import RunError


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


LINES = [b'{"iteration": %d, "loss": 0.5}' % n for n in (1, 2, 3)]


@pytest.mark.parametrize(
  'lines, message',
  [
    ([LINES[0], b'{"iteration": 2, "los', LINES[2]], 'line 2: not JSON'),
    ([LINES[0], b'\xff\xfe', LINES[2]], 'line 2: not JSON'),
    ([LINES[0], b'', LINES[1]], 'line 2: not JSON'),
    ([LINES[0], b'{"iteration": 2, "loss": NaN}'], 'line 2: .*NaN is no num'),
    ([b'[' * 100_000], 'line 1: not JSON'),
    ([b'[1]', *LINES[1:]], 'line 1: no record'),
    ([LINES[0], b'{"loss": 0.5}'], 'line 2: no record'),
    ([LINES[1], LINES[0]], 'line 1: iteration 2 where 1 is due'),
    ([LINES[0], LINES[2]], 'line 2: iteration 3 where 2 is due'),
    ([LINES[0], LINES[0]], 'line 2: iteration 1 where 2 is due'),
  ],
)
def test_a_damaged_line_is_named_and_the_file_left_alone(
  tmp_path, lines, message
):
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(b''.join(line + b'\n' for line in lines))
  before = path.read_bytes()
  for act in (writer.read, lambda path: writer.truncate(path, 1)):
    with pytest.raises(RunError, match=f'metrics.jsonl, {message}') as error:
      act(path)
    assert 'put a copy back, or take another --workdir' in str(error.value)
  assert path.read_bytes() == before


@pytest.mark.parametrize('present', [0, 1, 2])
def test_fewer_lines_than_the_checkpoint_says_are_refused(tmp_path, present):
  path = tmp_path / 'metrics.jsonl'
  if present:
    path.write_bytes(b''.join(line + b'\n' for line in LINES[:present]))
  with pytest.raises(RunError, match=f'has {present} lines.*of iteration 3'):
    writer.truncate(path, 3)
  assert path.exists() == bool(present)


def test_truncate_keeps_the_bytes_of_what_it_keeps(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  by_hand = b'{ "iteration":1 , "why": "gr\xc3\xb6\xc3\x9fer", "x": 1e-1 }\n'
  path.write_bytes(by_hand + LINES[1] + b'\n')
  writer.truncate(path, 1)
  assert path.read_bytes() == by_hand


def test_whatever_byte_is_hit_no_line_is_lost_silently(tmp_path):
  """Bytes replaced, dropped or doubled: all the records, or an error."""
  path, rng, refused = tmp_path / 'metrics.jsonl', random.Random(0), 0
  whole = b''.join(line + b'\n' for line in LINES)
  for _ in range(300):
    at = rng.randrange(len(whole) - 1)  # The very last end may be missing.
    piece = rng.choice(
      [b'', whole[at : at + 1] * 2, bytes([rng.randrange(256)])]
    )
    path.write_bytes(whole[:at] + piece + whole[at + 1 :])
    try:
      records = writer.read(path)
    except RunError as error:
      refused += 1
      assert 'metrics.jsonl, line' in str(error)
    else:
      assert [record['iteration'] for record in records] == [1, 2, 3]
  assert refused > 100


def test_a_full_disk_names_the_file_and_the_line_is_dropped(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.symlink_to('/dev/full')
  with pytest.raises(RunError, match='metrics.jsonl: the disk is full; free'):
    writer.append(path, record(1))


def test_what_cannot_be_read_is_named(tmp_path):
  with pytest.raises(RunError, match='metrics.jsonl: no such file'):
    writer.read(tmp_path / 'metrics.jsonl')
  with pytest.raises(RunError, match=f'{tmp_path}: Is a directory') as error:
    writer.read(tmp_path)
  assert error.value.__cause__.errno == errno.EISDIR


def test_a_metric_that_is_an_array_is_named():
  with pytest.raises(ValueError, match=r'seconds.search is an array \[3\]'):
    writer.nonfinite(record(1, seconds={'search': np.zeros(3)}))
