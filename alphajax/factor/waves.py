"""Formulas in waves, on an accelerator: one program for many nodes.

The values are planes of one array on the device, the pool. What a program
reads and where it writes are indices, so that neither new formulas nor other
places compile anything; the pool is donated, and written where it lies. Nothing
waits for the device until statistics are fetched.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.universe import Universe
from alphajax.factor import operators, plan, runtime

# Nodes of one call. A rolling window of 8 planes keeps a device busy for longer
# than its launch takes; it takes long to compile, hence one size. What is done
# elementwise takes a tenth of both.
HEAVY, LIGHT = (8,), (4, 32)
REDUCED = (8, 64)  # Values that are reduced by one call.
READ = 16  # Values that are handed out by one call.
# One call has at most this share of the values of a store: so much memory its
# operands take beside it, and its intermediate results a few times as much.
SHARE = 4
_ELEMENTWISE = frozenset(
  name
  for name, row in operators.vocab.OPERATORS.items()
  if row.kind not in operators.vocab.WINDOWED
  and name not in operators.CROSS_SECTIONAL
) | {'number', 'Ref', 'Delta'}


class Planes:
  """The pool of one store, and which node lies where in it.

  Features come first, `F` of them, under the numbers of their nodes.
  """

  def __init__(self, features: jax.Array, universe: Universe, capacity: int):
    """Takes features f32[F, T, S]; makes room for `capacity` more planes."""
    self._features, self._universe = features, universe
    self._capacity = capacity
    self._pool: jax.Array | None = None  # f32[F + capacity, T, S]
    self._programs: dict[tuple, Callable] = {}
    self.clear()

  def clear(self) -> None:
    """Forgets all values."""
    # Node -> place in the pool, the least recently used first.
    self.places: collections.OrderedDict[int, int] = collections.OrderedDict()
    first = len(self._features)
    self._free = list(range(first + self._capacity - 1, first - 1, -1))

  def forget(self, node: int) -> None:
    """Frees the place of a value."""
    self._free.append(self.places.pop(node))

  def compute(self, graph: plan.Graph, nodes: Sequence[int]) -> None:
    """Dispatches what computes nodes, inputs first; there is room for them."""
    groups = {graph.groups[node] for node in nodes}
    self._compile(groups)
    most = {group: self._sizes(group)[-1] for group in groups}
    for batch in plan.rounds(graph, nodes, most):
      self._dispatch(graph, batch)

  def _compile(self, groups) -> None:
    """Compiles what is new, every size of it, on as many threads as cores."""
    new = [
      (group, size)
      for group in sorted(groups, key=str)
      for size in self._sizes(group)
      if (group, size) not in self._programs
    ]
    if not new:
      return
    pool = self._like_pool()

    def work(i):
      (name, window), size = new[i]
      width = 1 + operands_of(name)
      places = jax.ShapeDtypeStruct((size, width), jnp.int32)
      numbers = jax.ShapeDtypeStruct((size,), jnp.float32)
      data = numbers if name == 'number' else self._universe
      program = _fill if name == 'number' else _wave(name, window)
      like = runtime.signature((pool, data, places))
      self._programs[new[i]] = runtime.in_place(program, like)

    runtime.in_order(
      dict.fromkeys(range(len(new)), ()), work, runtime.num_workers()
    )

  def _sizes(self, group) -> tuple[int, ...]:
    """Nodes that the programs of a group compute, ascending."""
    return self._fitting(LIGHT if group[0] in _ELEMENTWISE else HEAVY)

  def _fitting(self, sizes) -> tuple[int, ...]:
    return tuple(n for n in sizes if n * SHARE <= self._capacity) or (1,)

  def _like_pool(self) -> jax.ShapeDtypeStruct:
    num_features, *plane = self._features.shape
    shape = (num_features + self._capacity, *plane)
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  def _dispatch(self, graph: plan.Graph, batch: plan.Round) -> None:
    """Calls a program on the nodes of a round, as often as it takes."""
    group = batch.symbol, batch.window
    sizes = self._sizes(group)
    start = 0
    while start < len(batch.nodes):
      nodes = batch.nodes[start : start + sizes[-1]]
      start += len(nodes)
      size = next(n for n in sizes if n >= len(nodes))
      new = self._free[-len(nodes) :]
      rows = [
        [*map(self._place, graph.nodes[node].inputs), place]
        for node, place in zip(nodes, new, strict=True)
      ]
      # Lanes too many write behind the pool, which is dropped.
      behind = len(self._features) + self._capacity
      for i in range(size - len(nodes)):
        rows.append([*rows[0][:-1], behind + i])
      data: Any = self._universe
      if batch.symbol == 'number':
        numbers = [graph.nodes[node].symbol for node in nodes]
        numbers += numbers[:1] * (size - len(nodes))
        data = np.array(numbers, np.float32)
      program = self._programs[group, size]
      self._pool = program(self._whole(), data, np.array(rows, np.int32))
      del self._free[-len(nodes) :]
      self.places.update(zip(nodes, new, strict=True))

  def _place(self, node: int) -> int:
    return node if node < len(self._features) else self.places[node]

  def _whole(self) -> jax.Array:
    """The pool, made when it is first needed."""
    if self._pool is None:
      room = ((0, self._capacity), (0, 0), (0, 0))
      self._pool = jax.jit(jnp.pad, static_argnums=1)(self._features, room)
    return self._pool

  def reduce(self, reduce: Callable, args: Any, nodes: Sequence[int]):
    """Statistics of values, in the order of `nodes` and stacked.

    Yields:
      Some of the nodes, and what `reduce(values[T, S], *args)` gives of them,
      `[n, ...]`; of the last lanes too many as well.
    """
    sizes = self._fitting(REDUCED)
    programs = {
      size: runtime.reduction_of_planes(
        reduce,
        runtime.signature(
          (self._like_pool(), args, jax.ShapeDtypeStruct((size,), jnp.int32))
        ),
      )
      for size in sizes
    }
    for i in range(0, len(nodes), sizes[-1]):
      some = nodes[i : i + sizes[-1]]
      places = [self._place(node) for node in some]
      size = next(n for n in sizes if n >= len(places))
      places += places[:1] * (size - len(places))
      data = self._whole(), args, np.array(places, np.int32)
      yield some, programs[size](*data)

  def read(self, nodes: Sequence[int]) -> list[jax.Array]:
    """The values of nodes, copied out of the pool."""
    size = self._fitting((READ,))[-1]
    found = []
    for i in range(0, len(nodes), size):
      places = [self._place(node) for node in nodes[i : i + size]]
      places += places[:1] * (size - len(places))
      found += _read(self._whole(), np.array(places, np.int32))
    return found[: len(nodes)]


def operands_of(name: str) -> int:
  """Values that an operator reads; none for a number."""
  if name == 'number':
    return 0
  return operators.vocab.OPERANDS[operators.vocab.OPERATORS[name].kind]


def _planes(pool, places):
  return pool.at[places].get(mode='promise_in_bounds')


def _write(pool, places, values):
  """Writes planes; what lies behind the pool is dropped."""
  # What is read from the pool must be read before anything is written: fused
  # with the writing, the whole pool would be copied.
  values = jax.lax.optimization_barrier(values)
  return pool.at[places].set(values, mode='drop', unique_indices=True)


@functools.cache
def _wave(name: str, window: int | None) -> Callable:
  """`(pool, universe, places i32[B, operands + 1]) -> pool`."""

  def run(pool, universe, places):
    operands = [_planes(pool, each) for each in places.T[:-1]]

    def one(*operands):
      return operators.apply(name, list(operands), window, universe)

    return _write(pool, places[:, -1], jax.vmap(one)(*operands))

  return run


def _fill(pool, numbers, places):
  """Writes a plane of each number, f32[B]."""
  values = jnp.broadcast_to(
    numbers[:, None, None], (len(numbers), *pool.shape[1:])
  )
  return _write(pool, places[:, -1], values)


@jax.jit
def _read(pool, places):
  return tuple(_planes(pool, places))
