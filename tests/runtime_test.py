"""Programs on the devices they are for."""

import gc
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.factor import runtime

NPROC = os.environ.get('NPROC')


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
