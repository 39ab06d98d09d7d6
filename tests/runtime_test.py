"""Threads over a graph: every node once, after those that it needs."""

import gc
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.factor import runtime

NPROC = os.environ.get('NPROC')


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

  runtime.in_order(needs, work, num_threads)
  assert sorted(done) == sorted(needs)


def test_one_thread_goes_on_with_what_became_ready_last():
  needs = {0: (), 1: (), 2: (0,), 3: (2,)}
  done = []
  runtime.in_order(needs, done.append, 1)
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
    runtime.in_order(needs, work, num_threads)
  assert begun == list(range(6))


def test_threads_work_at_the_same_time():
  meet = threading.Barrier(3, timeout=30)  # Breaks unless all three are there.
  runtime.in_order(dict.fromkeys(range(3), ()), lambda _: meet.wait(), 3)


@pytest.mark.parametrize('whole', [False, True])
def test_threads_have_the_precision_of_their_caller(whole):
  """What `enable_x64` says is of a thread."""
  meet, found = threading.Barrier(2, timeout=60), []

  def work(node):
    meet.wait()  # Two threads have one each.
    found.append(jax.config.jax_enable_x64)

  with jax.enable_x64(whole):
    runtime.in_order(dict.fromkeys(range(2), ()), work, 2)
  assert found == [whole, whole]


@pytest.mark.skipif(
  jax.default_backend() != 'cpu', reason='of programs on a CPU'
)
def test_on_a_cpu_programs_run_by_a_client_of_their_own():
  device = runtime.device()
  assert device.client is not jax.devices()[0].client
  assert runtime.device() is device
  assert os.environ.get('NPROC') == NPROC
  x = jax.device_put(np.ones((9, 2), np.float32), device)
  like = runtime.signature((x, ()))
  result = runtime.reduction(jnp.sum, like)(x, ())
  assert result.devices() == {device} and result.tolist() == [18.0]


@pytest.mark.skipif(
  jax.default_backend() != 'cpu', reason='of programs on a CPU'
)
def test_without_a_client_of_its_own_it_is_the_default_device(monkeypatch):
  def old(asynchronous=True):
    raise AssertionError('it has no number of devices')

  for maker in (None, old):
    with monkeypatch.context() as patch:
      if maker is None:
        patch.delattr('jaxlib.xla_client.make_cpu_client')
      else:
        patch.setattr('jaxlib.xla_client.make_cpu_client', maker)
      with pytest.warns(UserWarning, match='default one, more slowly'):
        device = runtime.device.__wrapped__()
    assert device == jax.devices()[0]
    assert os.environ.get('NPROC') == NPROC


def test_an_environment_is_as_it_was(monkeypatch):
  monkeypatch.delenv('NPROC', raising=False)
  with pytest.raises(ValueError, match='inside'):
    with runtime._environment('NPROC', '1'):
      assert os.environ['NPROC'] == '1'
      raise ValueError('inside')
  assert 'NPROC' not in os.environ
  monkeypatch.setenv('NPROC', '7')
  with runtime._environment('NPROC', '1'):
    pass
  assert os.environ['NPROC'] == '7'


def test_programs_of_other_panels_are_forgotten(monkeypatch):
  cleared = []
  monkeypatch.setattr(jax, 'clear_caches', lambda: cleared.append(True))
  plane = jax.ShapeDtypeStruct((7, 3), jnp.float32)
  like = runtime.signature((plane, ()))
  before = runtime.reduction(jnp.sum, like)
  assert runtime.programs_of(like, 9) is runtime.programs_of(like, 9)
  assert runtime.reduction(jnp.sum, like) is before
  runtime.forget()
  assert cleared and not runtime.reduction.cache_info().currsize
  assert not runtime.operator.cache_info().currsize
  assert not runtime.programs_of.cache_info().currsize
  after = runtime.reduction(jnp.sum, like)
  assert after is not before
  values = runtime.to_device(jnp.ones((7, 3)))
  np.testing.assert_array_equal(after(values, ()), [21.0])


def test_garbage_is_not_looked_for_meanwhile():
  assert gc.isenabled()
  with pytest.raises(ValueError, match='inside'):
    with runtime.without_collections():
      assert not gc.isenabled()
      with runtime.without_collections():
        pass
      assert not gc.isenabled()
      raise ValueError('inside')
  assert gc.isenabled()


def test_a_program_runs_where_the_caller_has_no_jit():
  """JAX_DISABLE_JIT=1 is of the caller's code; ours is compiled as ever."""
  three = np.arange(3, dtype=np.float32)
  with jax.disable_jit():
    program = runtime.program(lambda x: x + 1, runtime.signature((three,)))
    found = program(runtime.to_device(three, runtime.device()))
  np.testing.assert_array_equal(found, [1, 2, 3])
