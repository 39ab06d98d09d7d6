"""Arrays of the host on the device, without programs for every shape."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

DAYS = 256  # That a program of `by_days` is for.
LEAST_CELLS = 1 << 12  # Of fewer XLA takes sums in another order.


def put(tree: Any) -> Any:
  """Copies on the default device, f64 as f32 unless x64 is on.

  Outside of jit `jnp.asarray` compiles a program for every shape that it meets;
  this compiles none. What is handed to a jitted function needs neither.
  """
  # JAX shares the memory of an array that lies well, even if told not to.
  return jax.device_put(jax.tree.map(np.array, tree))


def by_days(function: Callable, *planes: Any, axis: int = 0) -> Any:
  """`function(*planes)`, `DAYS` at a time, so that any number shares programs.

  Args:
    function: planes of some days -> a tree of arrays; each day's part of them
      from that day alone.
    *planes: `[T, S]` each. The last part is filled up with zeros, or False;
      a narrow panel is taken whole.
    axis: of the days in the results.

  Returns:
    The tree, its arrays on the host.
  """
  arrays = [np.asarray(plane) for plane in planes]
  num_days, num_stocks = arrays[0].shape
  if DAYS * num_stocks < LEAST_CELLS:
    return jax.device_get(function(*arrays))
  rest = -num_days % DAYS
  arrays = [np.pad(array, ((0, rest), (0, 0))) for array in arrays]
  parts = [
    function(*[array[i : i + DAYS] for array in arrays])
    for i in range(0, num_days, DAYS)
  ]

  def joined(*leaves):
    return np.split(np.concatenate(leaves, axis), [num_days], axis)[0]

  return jax.tree.map(joined, *jax.device_get(parts))
