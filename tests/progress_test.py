"""What a run says of itself while it goes on."""

import io

import pytest

from alphajax.run import progress


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


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_progress_prints_a_line_each_when_not_on_a_terminal():
  stream = io.StringIO()
  with progress.progress(3, done=1, stream=stream) as show:
    show(record(2))
    show(record(3, valid_ic=0.041))
  lines = stream.getvalue().splitlines()
  assert lines[0] == (
    'iteration 2/3, 0:02 left | IC train 0.0500 valid - '
    '| 2,000 formulas, 1,800 distinct evaluated'
  )
  assert len(lines) == 2 and 'valid 0.0410' in lines[1]


def test_progress_keeps_one_live_line_on_a_terminal():
  stream = Terminal()
  with progress.progress(4, done=1, stream=stream) as show:
    assert 'iteration 2/4' in stream.getvalue()
    show(record(2))
    show(record(3))
  text = stream.getvalue()
  assert '3,000 formulas, 2,700 distinct' in text and ' 75%' in text
  assert text.count('\n') == 1 and '\r' in text


@pytest.fixture
def clock(monkeypatch):
  """The time, a list of one number."""
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  return now


@pytest.mark.parametrize('stream', [io.StringIO, Terminal])
def test_time_left_leaves_out_what_was_compiled(clock, stream):
  stream = stream()
  with progress.progress(11, stream=stream) as show:
    show(record(1, seconds={'total': 60.0}, compile_seconds=54.0))
    assert '1/11, 1:00 left' in stream.getvalue()
    clock[0] += 14
    show(record(2, seconds={'total': 14.0}, compile_seconds=10.0))
  assert '2/11, 0:45 left' in stream.getvalue()


def test_time_after_an_iteration_counts_with_what_it_compiled(clock):
  """The result is written, and compiled for, before the record is shown."""
  stream = io.StringIO()
  with progress.progress(11, stream=stream) as show:
    clock[0] += 100
    show(record(1, seconds={'total': 60.0}, compile_seconds=54.0))
  assert '1/11, 1:00 left' in stream.getvalue()


def test_a_record_without_seconds_is_timed(clock):
  stream = io.StringIO()
  with progress.progress(11, stream=stream) as show:
    clock[0] += 6
    show({'iteration': 1, 'loss': 0.5})
  assert stream.getvalue() == 'iteration 1/11, 1:00 left | loss 0.5\n'


def test_a_log_grows_by_a_line_each_ten_seconds_and_has_the_last(clock):
  stream = io.StringIO()
  with progress.progress(1000, stream=stream) as show:
    for iteration in range(1, 101):
      clock[0] += 1
      show(record(iteration))
  text = stream.getvalue()
  starts = [int(x.split()[1].split('/')[0]) for x in text.splitlines()]
  assert starts == [1, 12, 23, 34, 45, 56, 67, 78, 89, 100]
  assert '\r' not in text and text.endswith('\n')


def test_a_log_has_the_last_line_of_a_run_that_fails(clock):
  stream = io.StringIO()
  with pytest.raises(KeyboardInterrupt):
    with progress.progress(9, stream=stream) as show:
      show(record(1))
      show(record(2))
      raise KeyboardInterrupt
  assert [x.split(',')[0] for x in stream.getvalue().splitlines()] == [
    'iteration 1/9', 'iteration 2/9'
  ]  # fmt: skip


def test_slow_iterations_have_a_line_each(clock):
  stream = io.StringIO()
  with progress.progress(3, stream=stream) as show:
    for iteration in (1, 2, 3):
      clock[0] += 11
      show(record(iteration))
  assert len(stream.getvalue().splitlines()) == 3


def test_what_a_record_lacks_is_not_shown():
  line = progress.status_line({'iteration': 1, 'loss': 0.25}, 3, [1.0])
  assert line == 'iteration 1/3, 0:02 left | loss 0.25'
  line = progress.status_line({'iteration': 1, 'valid_ic': 0.01}, 3, [1.0])
  assert line == 'iteration 1/3, 0:02 left | IC train - valid 0.0100'
  both = {'iteration': 1, 'valid_ic': None, 'train_loss': 2.0, 'loss': None}
  line = progress.status_line(both, 3, [1.0])
  assert line == 'iteration 1/3, 0:02 left | IC train - valid - | train loss 2'
  line = progress.status_line({'iteration': 1, 'evaluated': 1234}, 1, [1.0])
  assert line == 'iteration 1/1, 0:00 left | 1,234 distinct evaluated'
  line = progress.status_line({'iteration': 1}, 3, [1.0])
  assert line == 'iteration 1/3, 0:02 left'


def test_time_left_ignores_the_iteration_that_compiles():
  line = progress.status_line(
    record(3), total=103, durations=[95.0, 40.0, 40.0]
  )
  assert line.startswith('iteration 3/103, 1:06:40 left')
