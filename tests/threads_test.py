"""Threads over work: everything once, after what it needs."""

import threading

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.factor import threads


@st.composite
def graphs(draw):
  """Nodes with the nodes before them that they need."""
  count = draw(st.integers(1, 30))
  return {
    node: draw(st.sets(st.integers(0, node - 1), max_size=3)) if node else set()
    for node in range(count)
  }


@settings(deadline=None)
@given(needs=graphs(), num_threads=st.integers(1, 4))
def test_every_node_once_and_after_what_it_needs(needs, num_threads):
  done, lock = [], threading.Lock()

  def work(node):
    with lock:
      assert needs[node] <= set(done)
    with lock:
      done.append(node)

  threads.in_order(needs, work, num_threads)
  assert sorted(done) == sorted(needs)


def test_one_thread_goes_on_with_what_became_ready_last():
  needs = {0: (), 1: (), 2: (0,), 3: (2,)}
  done = []
  threads.in_order(needs, done.append, 1)
  assert done == [0, 2, 3, 1]


@pytest.mark.parametrize('num_threads', [1, 3])
def test_an_error_is_raised_and_no_reader_begins(num_threads):
  begun = []

  def work(node):
    begun.append(node)
    if node == 5:
      raise ValueError('node 5 fails')

  needs = {node: (node - 1,) if node else () for node in range(10)}
  with pytest.raises(ValueError, match='node 5 fails'):
    threads.in_order(needs, work, num_threads)
  assert begun == list(range(6))


def test_threads_work_at_the_same_time():
  meet = threading.Barrier(3, timeout=30)  # Breaks unless all three are there.
  threads.in_order(dict.fromkeys(range(3), ()), lambda _: meet.wait(), 3)


@pytest.mark.parametrize('whole', [False, True])
def test_threads_have_the_precision_of_their_caller(whole):
  """What `enable_x64` says is of a thread."""
  meet, found = threading.Barrier(2, timeout=60), []

  def work(node):
    meet.wait()  # Two threads have one each.
    found.append(jax.config.jax_enable_x64)

  with jax.enable_x64(whole):
    threads.in_order(dict.fromkeys(range(2), ()), work, 2)
  assert found == [whole, whole]


def test_what_is_not_there_yet_is_waited_for():
  """Items that come of others: the second thread waits for the first's."""
  ready, results = [3], []

  def take():
    return ready.pop() if ready else None

  def done(item, found):
    results.append((item, found))
    ready.extend([item - 1] * 2 if item else [])

  threads.work_off(take, lambda item: -item, done, 2)
  assert sorted(results) == sorted(
    (item, -item) for item in range(4) for _ in range(2 ** (3 - item))
  )
