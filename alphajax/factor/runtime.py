"""Running programs: on a CPU by a thread a core, many nodes each elsewhere.

XLA splits a program over the cores of a CPU, but a plane of a few megabytes is
soon done, and the cores wait for each other after every loop. So on a CPU the
programs are whole, by a client of their own, and each thread runs another one.
On an accelerator one program computes many nodes, and nothing waits.
"""

import contextlib
import functools
import gc
import importlib
import importlib.util
import inspect
import os
import warnings
from collections.abc import (
  Callable,
  Hashable,
  Iterator,
)
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from alphajax.data.universe import Universe
from alphajax.factor import host_ranks, memory, operators

# A window lives in registers: with wide ones it costs a quarter less. But
# comparisons of integers run on more units in narrow ones, and the reciprocal
# root has other last bits in wide ones than in a program of the caller's own.
NARROW = ('CSRank', 'Skew', 'Kurt', 'Rsquare')


@functools.cache
def device() -> jax.Device:
  """Where programs run: the default device, and on a CPU one of its own.

  How many threads a program is split for is decided once for all programs of a
  client. This client has one thread, and runs a program on its caller's. JAX
  has no public name for it: where it is not found, the default device does the
  same more slowly, with a warning.
  """
  default = jax.local_devices()[0]
  if default.platform != 'cpu':
    return default
  make_client = _client_maker()
  if make_client is None:
    warnings.warn(
      f'jaxlib {jaxlib.__version__} does not make a CPU client of one device; '
      'formulas are evaluated on the default one, more slowly',
      stacklevel=2,
    )
    return default
  with _environment('NPROC', '1'):  # What XLA reads for the number of threads.
    # One device, whatever XLA_FLAGS say of how many a client has.
    client = make_client(asynchronous=False, num_devices=1)
  return client.local_devices()[0]  # type: ignore[attr-defined]


def _client_maker() -> Callable | None:
  """What makes a CPU client, None where this jaxlib has it not."""
  if importlib.util.find_spec('jaxlib.xla_client') is None:
    return None
  module = importlib.import_module('jaxlib.xla_client')
  maker = getattr(module, 'make_cpu_client', None)
  if maker is None:
    return None
  known = inspect.signature(maker).parameters
  return maker if {'asynchronous', 'num_devices'} <= set(known) else None


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
  """An environment variable, as it was before afterwards."""
  before = os.environ.get(name)
  os.environ[name] = value
  try:
    yield
  finally:
    if before is None:
      del os.environ[name]
    else:
      os.environ[name] = before


def to_device(tree: Any, where: jax.Device | None = None) -> Any:
  """Arrays where programs read them, from the default device.

  where: a device, here and below; None: `device()`.
  """
  where = where or device()
  if where == jax.local_devices()[0]:
    return tree
  return jax.device_put(tree, where)


def to_default(value: jax.Array) -> jax.Array:
  """A result on the default device; on a CPU it stays where it is in memory.

  Not committed to the device, so that it is no other argument to a jitted
  function than an array made there.
  """
  default = jax.local_devices()[0]
  (here,) = value.devices()
  if here == default:
    return value
  if here.client is not default.client:
    return jax.device_put(np.asarray(value), may_alias=True)
  # What is put on a device is committed to it, what a program makes there of it
  # is not where nothing was said of the device.
  moved = jax.device_put(value, default)
  return _copy(signature((moved,)))(moved)


@functools.cache
def _copy(like: tuple) -> Callable:
  """A program of the default device that copies an array."""
  return _compile(jnp.copy, like, wide=True, where=jax.local_devices()[0])


def in_waves(where: jax.Device | None = None) -> bool:
  """Whether one program computes many nodes where programs run.

  A CPU is busy with one; on an accelerator many share the cost of a launch.
  `Store` may be told otherwise.
  """
  return (where or device()).platform != 'cpu'


def num_workers() -> int:
  """Threads that run programs on a CPU: as many as cores that we may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def signature(tree: Any) -> tuple:
  """What a program is compiled for: structure, shapes and dtypes."""
  leaves, structure = jax.tree.flatten(tree)
  return structure, tuple(jax.typeof(leaf) for leaf in leaves)


def host_operator(
  symbol: str, num_members: int, where: jax.Device | None = None
) -> Callable | None:
  """What NumPy computes faster than XLA on a CPU, called as an `operator` is.

  None where XLA is as fast, or there is no CPU.
  """
  place = where or device()
  on_cpu = place.platform == 'cpu'
  if symbol != 'CSRank' or num_members < host_ranks.LEAST_MEMBERS or not on_cpu:
    return None

  def run(universe: Universe, operands: tuple) -> jax.Array:
    (x,) = operands
    rank = host_ranks.cs_rank(np.asarray(x), universe)
    return jax.device_put(rank, place, may_alias=True)

  return run


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
  """Keeps Python from looking for garbage meanwhile.

  Planning thousands of formulas makes so many objects that it looks through all
  that JAX holds, a tenth of a second each time, and there is no garbage.
  """
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if was_enabled:
      gc.enable()


def forget() -> None:
  """Frees the programs of panels that do not return, and what they left behind.

  A panel of other days needs programs of its own, some hundred megabytes of
  them; and what threads have freed stays with the process. After a few panels
  both together are most of its memory.
  """
  jax.clear_caches()
  forget_formulas()


def forget_formulas() -> None:
  """Frees the programs that evaluate formulas, and what they left behind.

  All else that was compiled stays.
  """
  for programs in (operator, reduction, programs_of, _copy):
    programs.cache_clear()
  gc.collect()
  memory.trim()


@functools.cache
def operator(
  symbol: str, window: int | None, like: tuple, where: jax.Device | None = None
) -> Callable:
  """One operator on one node: `(universe, operands) -> value`.

  like: the signature of `(universe, operands)`, operands being a tuple.
  """

  def run(universe, operands):
    return operators.apply(symbol, list(operands), window, universe)

  return _compile(run, like, wide=symbol not in NARROW, where=where)


@functools.cache
def reduction(
  reduce: Callable, like: tuple, where: jax.Device | None = None
) -> Callable:
  """`(value, args) -> reduce(value, *args)`, each result with an axis before.

  like: the signature of `(value, args)`.
  """

  def run(value, args):
    return jax.tree.map(lambda leaf: leaf[None], reduce(value, *args))

  return _compile(run, like, wide=True, where=where)


@functools.cache
def programs_of(
  like: tuple, capacity: int, where: Hashable | None = None
) -> dict:
  """What has been compiled for one kind of pool; the keys are `waves.Planes`'s.

  Stores of the same shape and capacity share it, on one device, or on the same
  ones.
  """
  del like, capacity, where
  return {}


def over_planes(
  reduce: Callable, like: tuple, where: jax.Device | None = None
) -> Callable:
  """`reduce(plane, *args)` of several planes of a pool, stacked.

  like: the signature of `(pool f32[N, T, S], args, places i32[B])`.
  """

  def run(pool, args, places):
    planes = pool.at[places].get(mode='promise_in_bounds')
    return jax.vmap(lambda value: reduce(value, *args))(planes)

  return _compile(run, like, wide=True, where=where)


def program(
  function: Callable, like: tuple, where: jax.Device | None = None
) -> Callable:
  """A function compiled for arguments of a signature."""
  return _compile(function, like, wide=True, where=where)


def in_place(
  function: Callable, like: tuple, where: jax.Device | None = None
) -> Callable:
  """A function that returns its first argument, changed where it lies.

  like: the signature of all arguments. The first is donated.
  """
  return _compile(function, like, wide=True, donate=0, where=where)


def _compile(
  function: Callable,
  like: tuple,
  *,
  wide: bool,
  donate: int | None = None,
  where: jax.Device | None = None,
) -> Callable:
  structure, types = like
  where = where or device()
  # Where nothing is said the default device computes, and its results may be
  # mixed with any other: said, they would be bound to it.
  here = None
  if where != jax.local_devices()[0]:
    here = jax.sharding.SingleDeviceSharding(where)
  args = jax.tree.unflatten(
    structure,
    [jax.ShapeDtypeStruct(
       t.shape, t.dtype, weak_type=t.weak_type, sharding=here
     ) for t in types],
  )  # fmt: skip
  program = jax.jit(
    function,
    compiler_options=options(where.platform, wide),
    donate_argnums=donate,
  )
  return with_jit(lambda: program.lower(*args).compile())


def with_jit(make: Callable[[], Callable]) -> Callable:
  """A program compiled ahead, which JAX_DISABLE_JIT would refuse to run.

  Who looks for a mistake by that looks in code of their own.
  """
  if not jax.config.jax_disable_jit:  # type: ignore[attr-defined]
    return make()
  with jax.disable_jit(False):
    made = make()

  def run(*args):
    with jax.disable_jit(False):
      return made(*args)

  return run


def options(platform: str, wide: bool = True) -> dict[str, bool | int]:
  """What XLA is told of programs that compute values; wide: see `NARROW`."""
  if platform != 'cpu':
    return {}
  # Sets them apart in the cache on disk from the same, but split, programs.
  return {
    'xla_cpu_multi_thread_eigen': False,
    'xla_cpu_prefer_vector_width': 512 if wide else 256,
  }
