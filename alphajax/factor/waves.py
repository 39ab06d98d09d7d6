"""Formulas in waves, on an accelerator: one program for many nodes.

The values are planes of one array on the device, the pool. What a program
reads and where it writes are indices, so that neither new formulas nor other
places compile anything; the pool is donated, and written where it lies. Nothing
waits for the device until statistics are fetched.
"""

import collections
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.universe import Universe
from alphajax.factor import flow as flow_lib
from alphajax.factor import operators, plan, runtime, threads
from alphajax.language import vocab

# Nodes of one call. A rolling window of 8 planes keeps a device busy for longer
# than its launch takes; it takes long to compile, hence one size. What is done
# elementwise takes a tenth of both.
HEAVY, LIGHT = (8,), (8, 32)
REDUCED = (8, 64)  # Values that are reduced by one call.
READ = (16,)  # Values that are handed out by one call.
# So many calls fit into a store at least: its operands take as much memory
# beside it as one of them, and intermediate results a few times as much.
LEAST_CALLS = 4
# One store compiles at a time: it does so on all cores, and where programs are
# kept on disk, those of the first accelerator are the others' too.
_COMPILING = threading.Lock()


class Planes:
  """The pool of one store, and which node lies where in it.

  Features come first, `F` of them, under the numbers of their nodes.
  """

  def __init__(
    self,
    features: jax.Array,
    universe: Universe,
    capacity: int,
    where: jax.Device | None = None,
  ):
    """Takes features f32[F, T, S]; makes room for `capacity` more planes.

    where: the device on which both lie; None: `runtime.device()`.
    """
    self._universe, self.capacity, self._where = universe, capacity, where
    # Features are the pool until it is needed.
    self._pool, self._is_whole = features, False
    self.first = len(features)  # The place of the first value, and its node.
    self._shape = (self.first + capacity, *features.shape[1:])
    # Group, or (what reduces or does else, signature of its arguments) ->
    # size -> program.
    self._programs: dict[tuple, dict[int, Callable]] = runtime.programs_of(
      runtime.signature((self._like_pool(), universe)), capacity, where
    )
    self.computed = 0  # Nodes so far.
    self._light, self._heavy = self._fitting(LIGHT), self._fitting(HEAVY)
    self.clear()

  def clear(self) -> None:
    """Forgets all values."""
    # Node -> place in the pool, what is forgotten first in front.
    self.places: collections.OrderedDict[int, int] = collections.OrderedDict()
    last = self.first + self.capacity - 1
    self._free = list(range(last, self.first - 1, -1))

  def is_lost(self) -> bool:
    """Whether a call that was broken off took the pool with it."""
    return self._pool.is_deleted()

  def restore(self, features: jax.Array) -> None:
    """Begins anew with features f32[F, T, S]."""
    self._pool, self._is_whole = features, False
    self.clear()

  def forget(self, node: int) -> None:
    """Frees the place of a value."""
    self._free.append(self.places.pop(node))

  def lacks(self, count: int) -> int:
    """How many values must be forgotten before so many can be computed."""
    return max(0, count - len(self._free))

  def knows(self, key: tuple) -> bool:
    """Whether programs are compiled, those of a group say."""
    return key in self._programs

  def compile(self, groups: Iterable[tuple]) -> None:
    """Compiles what is new, every size of it, on as many threads as cores."""
    # All sizes, or a formula would compile what no formula before it called.
    new = [
      (group, size)
      for group in sorted(set(groups) - self._programs.keys(), key=str)
      for size in self._sizes(group)
    ]
    programs = _all(new, self._compiled)
    for (group, size), program in programs.items():
      self._programs.setdefault(group, {})[size] = program

  def _compiled(self, group: tuple, size: int) -> Callable:
    name, window = group
    places = jax.ShapeDtypeStruct((size, 1 + operands_of(name)), jnp.int32)
    args = self._like_pool(), self._data(name, [0.0] * size), places
    return self._in_place(name, window, args)

  def _in_place(self, name: str, window: int | None, args: tuple) -> Callable:
    """What computes an operator on the pool, compiled for arguments."""
    program = wave(name, window)
    return runtime.in_place(program, runtime.signature(args), self._where)

  def _data(self, name: str, numbers: Sequence[str | float]) -> Any:
    """What a program reads beside values; as little as it can, each costs."""
    if name == 'number':
      return np.array(numbers, np.float32)
    return self._universe if name in operators.CROSS_SECTIONAL else ()

  def most(self, group: tuple) -> int:
    """Nodes of a full call."""
    return self._sizes(group)[-1]

  def _sizes(self, group: tuple) -> tuple[int, ...]:
    """Nodes that the programs of a group compute, ascending."""
    return self._light if is_light(group[0]) else self._heavy

  def _fitting(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in sizes if n * LEAST_CALLS <= self.capacity) or (1,)

  def _like_pool(self) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(self._shape, jnp.float32)

  def compute(
    self, graph: plan.Graph, group: tuple, nodes: Sequence[int]
  ) -> None:
    """Dispatches a call on nodes of a group whose operands are there.

    There is room for them, see `lacks`, and they are not more than `most`.
    """
    if not self.knows(group):
      self.compile([group])
    programs = self._programs[group]
    size = _least(programs, len(nodes))
    more = size - len(nodes)
    new = self._free[-len(nodes) :]
    rows = [
      [*map(self._place, graph.nodes[node].inputs), place]
      for node, place in zip(nodes, new, strict=True)
    ]
    # Lanes too many write behind the pool, which is dropped.
    behind = self.first + self.capacity
    rows += [[*rows[0][:-1], behind + i] for i in range(more)]
    numbers = [graph.nodes[node].symbol for node in nodes]
    data = self._data(group[0], numbers + numbers[:1] * more)
    places = np.array(rows, np.int32)
    self._pool = programs[size](self._whole(), data, places)
    del self._free[-len(nodes) :]
    self.places.update(zip(nodes, new, strict=True))
    self.computed += len(nodes)

  def _place(self, node: int) -> int:
    return node if node < self.first else self.places[node]

  def _whole(self) -> jax.Array:
    """The pool, made when it is first needed."""
    if not self._is_whole:
      room = (0, self.capacity), (0, 0), (0, 0)
      widen = functools.partial(jnp.pad, pad_width=room)
      self._pool = self._kept('whole', widen, self._pool)(self._pool)
      self._is_whole = True
    return self._pool

  def _kept(self, name: str, function: Callable, *args: Any) -> Callable:
    """A program of the pool's shape alone, among those that are forgotten."""
    key = name, runtime.signature(args)
    if not self.knows(key):
      self._programs[key] = {1: self._program(function, args)}
    return self._programs[key][1]

  def _program(self, function: Callable, args: tuple) -> Callable:
    """A function of the pool, and of places in it, compiled for arguments."""
    return runtime.program(function, runtime.signature(args), self._where)

  def reducer(self, reduce: Callable, args: Any) -> tuple[Callable, int]:
    """What computes statistics of nodes, and of how many at once.

    Of n nodes it gives what `reduce(values[T, S], *args)` is of each, stacked,
    `[n, ...]` and maybe more rows.
    """
    key = reduce, runtime.signature(args)
    if not self.knows(key):
      sizes = [(size,) for size in self._fitting(REDUCED)]
      new = _all(sizes, functools.partial(self._reduction, reduce, args))
      self._programs[key] = {size: new[size,] for (size,) in sizes}
    programs = self._programs[key]

    def run(nodes):
      size = _least(programs, len(nodes))
      return programs[size](self._whole(), args, self._rows(nodes, size))

    return run, max(programs)

  def _reduction(self, reduce: Callable, args: Any, size: int) -> Callable:
    places = jax.ShapeDtypeStruct((size,), jnp.int32)
    like = runtime.signature((self._like_pool(), args, places))
    return runtime.over_planes(reduce, like, self._where)

  def reader(self) -> tuple[Callable, int]:
    """What copies values of nodes out of the pool, and how many at once."""
    size = self._fitting(READ)[-1]

    def run(nodes):
      args = self._whole(), self._rows(nodes, size)
      return self._kept('read', _read, *args)(*args)[: len(nodes)]

    return run, size

  def _rows(self, nodes: Sequence[int], size: int) -> np.ndarray:
    """Where values lie, the first repeated to a size."""
    places = [self._place(node) for node in nodes]
    return np.array(places + places[:1] * (size - len(nodes)), np.int32)


def run(
  planes: Planes,
  graph: plan.Graph,
  coming: Iterator[int],
  finish: Callable,
  most: int,
  compute_large: Callable,
) -> list[tuple[list[int], Any]]:
  """Evaluates formulas as `Flow` plans it; nothing waits for the device.

  Args:
    planes: what holds and computes values.
    graph: of nodes; features come first.
    coming: the distinct nodes of formulas, which may enter the graph late.
    finish: handed nodes once their values are there, at most `most`.
    most: nodes that `finish` takes.
    compute_large: computes a node whose formula has no room.

  Returns:
    (nodes, `finish(nodes)`) until all were there.
  """
  found: list[tuple[list[int], Any]] = []

  @functools.cache
  def size(group):
    return most if group == flow_lib.FINISH else planes.most(group)

  root = next(coming, None)
  flow = flow_lib.Flow(
    graph, planes.places, planes.first, planes.capacity, size
  )
  while True:
    call = flow.full()
    if call is None and root is not None:
      if flow.let_in(root):
        root = next(coming, None)
        continue
      if flow.is_empty:
        compute_large(root)
        found.append(([root], finish([root])))
        root = next(coming, None)
        continue
    call = call or flow.fullest()
    if call is None:
      return found
    group, nodes = call
    if group == flow_lib.FINISH:
      found.append((nodes, finish(nodes)))
      flow.finished(nodes)
      continue
    if not planes.knows(group):
      coming = iter(list(coming))  # Compiled together, whatever is to come.
      planes.compile(graph.groups)
    for node in flow.surplus(planes.lacks(len(nodes))):
      planes.forget(node)
    planes.compute(graph, group, nodes)
    flow.computed(nodes)


def _least(sizes: Iterable[int], count: int) -> int:
  """The smallest size that so many fit in."""
  return min(size for size in sizes if size >= count)


def _all(keys: Sequence[tuple], compiled: Callable) -> dict[tuple, Callable]:
  """`compiled(*key)` of every key, on as many threads as cores."""
  found = {}

  def work(i):
    found[keys[i]] = compiled(*keys[i])

  if keys:
    needs: dict[int, tuple] = dict.fromkeys(range(len(keys)), ())
    with _COMPILING:
      threads.in_order(needs, work, runtime.num_workers())
  return found


def is_light(name: str) -> bool:
  """Whether an operator reads no more than the cells that it writes."""
  if name in ('number', 'Ref', 'Delta'):
    return True
  is_windowed = vocab.OPERATORS[name].kind in vocab.WINDOWED
  return not is_windowed and name not in operators.CROSS_SECTIONAL


def operands_of(name: str) -> int:
  """Values that an operator reads; none for a number."""
  if name == 'number':
    return 0
  return vocab.OPERANDS[vocab.OPERATORS[name].kind]


def planes_at(pool, places):
  """The planes f32[B, T, S] in some places i32[B] of a pool."""
  return pool.at[places].get(mode='promise_in_bounds')


def _write(pool, places, values):
  """Writes planes; what lies behind the pool is dropped."""
  # What is read from the pool must be read before anything is written: fused
  # with the writing, the whole pool would be copied.
  values = jax.lax.optimization_barrier(values)
  return pool.at[places].set(values, mode='drop', unique_indices=True)


def wave(
  name: str,
  window: int | None,
  bring: Callable = lambda planes: planes,
  back: Callable = lambda planes: planes,
) -> Callable:
  """`(pool, universe, places i32[B, operands + 1]) -> pool`.

  Of a number the plane of each, see `_fill`.

  bring, back: what is done to planes `[B, T, S]` before, and after.
  """
  if name == 'number':
    return _fill

  def run(pool, universe, places):
    operands = [bring(planes_at(pool, each)) for each in places.T[:-1]]

    def one(*operands):
      return operators.apply(name, list(operands), window, universe)

    return _write(pool, places[:, -1], back(jax.vmap(one)(*operands)))

  return run


def _fill(pool, numbers, places):
  """Writes a plane of each number, f32[B]."""
  values = jnp.broadcast_to(
    numbers[:, None, None], (len(numbers), *pool.shape[1:])
  )
  return _write(pool, places[:, -1], values)


def _read(pool, places):
  return tuple(planes_at(pool, places))
