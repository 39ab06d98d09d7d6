"""Arrays reach the device unshared, and days are taken in equal parts."""

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import device


def plane(num_days, num_stocks=30):
  rng = np.random.default_rng(num_days)
  return rng.normal(size=(num_days, num_stocks)).astype(np.float32)


def test_what_is_put_stays_as_it_was():
  memory = np.zeros(4 * 1000 + 64, np.uint8)
  start = -memory.ctypes.data % 64  # As JAX would share it.
  host = memory[start : start + 4000].view(np.float32)
  found, days = device.put((host, np.arange(3)))
  host[:] = 1.0
  assert not np.any(found) and found.dtype == np.float32
  assert days.dtype == np.int32 and isinstance(days, jax.Array)


def test_days_of_any_number_share_a_program():
  traced = []

  @jax.jit
  def ranges(values, members):
    traced.append(values.shape)
    values = jnp.where(members, values, 0.0)
    return {'low': values.min(1, keepdims=True), 'high': values.max(1)}

  for num_days in (1, device.DAYS, 700):
    values, members = plane(num_days), plane(num_days) > -1
    found = device.by_days(ranges, values, members)
    known = np.where(members, values, 0.0)
    np.testing.assert_array_equal(found['low'], known.min(1, keepdims=True))
    np.testing.assert_array_equal(found['high'], known.max(1))
  assert traced == [(device.DAYS, 30)]


def test_days_may_be_another_axis():
  values = plane(300)
  found = device.by_days(
    lambda x: jnp.stack([x[:, 0], x[:, 1]]), values, axis=1
  )
  np.testing.assert_array_equal(found, values[:, :2].T)


def test_a_narrow_panel_is_taken_whole():
  values = plane(300, 15)
  shapes = []
  found = device.by_days(lambda x: shapes.append(x.shape) or x, values)
  np.testing.assert_array_equal(found, values)
  assert shapes == [(300, 15)]
