"""Arrays of the host on the device, without programs for every shape."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

DAYS = 256  # That a program of `by_days` is for.


def put(tree: Any) -> Any:
  """Copies on the default device, f64 as f32 unless x64 is on.

  Outside of jit `jnp.asarray` compiles a program for every shape that it meets;
  this compiles none. What is handed to a jitted function needs neither.
  """
  return jax.device_put(tree, may_alias=False)


def by_days(
  function: Callable[..., jax.Array], *planes: Any, axis: int
) -> np.ndarray:
  """`function(*planes)`, `DAYS` at a time, so that any number shares programs.

  Args:
    function: planes of some days -> an array; each day's part of it from that
      day alone.
    *planes: `[T, S]` each. The last part is filled up with zeros, or False.
    axis: of the days in the result.
  """
  arrays = [np.asarray(plane) for plane in planes]
  num_days = len(arrays[0])
  rest = -num_days % DAYS
  arrays = [np.pad(array, ((0, rest), (0, 0))) for array in arrays]
  parts = [
    function(*[array[i : i + DAYS] for array in arrays])
    for i in range(0, num_days, DAYS)
  ]
  whole = np.concatenate(jax.device_get(parts), axis)
  return np.split(whole, [num_days], axis)[0]
