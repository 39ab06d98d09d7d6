"""Thousands of formulas on a panel, their subexpressions shared.

`Store` keeps the values of subexpressions on the device within a byte budget;
the least recently used go first, in waves the large ones, and only statistics
leave the device.
"""

import collections
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data import universe as universe_lib
from alphajax.factor import compile as compile_lib
from alphajax.factor import flow as flow_lib
from alphajax.factor import memory, operators, plan, runtime, waves
from alphajax.factor.budget import DEFAULT_BUDGET, MAX_PLANES, room
from alphajax.language import formula as formula_lib

MAX_NODES = 1 << 20  # Subexpressions a store remembers, some 500 MB of host.
_finite = jax.jit(lambda x: operators.finite(x.astype(jnp.float32)))
_split = jax.jit(lambda planes: [*planes])


@functools.partial(jax.jit, static_argnames='shape')
def _fill(number, *, shape):
  return jnp.full(shape, number, jnp.float32)


class Store:
  """Values of subexpressions on one panel, and the programs that make them.

  A cache, and so mutable. Its results depend on the formulas and the panel
  alone, never on what it holds.
  """

  def __init__(
    self,
    panel: panel_lib.Panel,
    budget: int = DEFAULT_BUDGET,
    in_waves: bool | None = None,
    device: jax.Device | None = None,
  ):
    """Puts the panel on the device; values may take `budget` bytes beside it.

    in_waves: many nodes by one program, see `waves`; None: where there is an
      accelerator. The budget is taken at once there, for `MAX_PLANES` values
      at most.
    device: that computes; None: `runtime.device()`.

    Raises:
      ValueError: the budget holds fewer values than any formula needs, or it is
        made inside of a `jit`, `vmap` or `grad` of the caller.
    """
    self._where = device = device or runtime.device()
    self.shape = tuple(np.shape(panel.mask))  # (T, S)
    self.feature_names = tuple(panel.feature_names)
    self.capacity = room(budget, *self.shape)
    features = self._put(panel)
    self.universe = universe_lib.make(np.asarray(panel.mask))
    self._universe = runtime.to_device(self.universe, device)
    self._computed, self._resident = 0, memory.resident()
    self._programs: dict[tuple, Callable] = {}
    self._planes = None
    if runtime.in_waves(device) if in_waves is None else in_waves:
      self.capacity = min(self.capacity, MAX_PLANES)
      self._planes = waves.Planes(
        features, self._universe, self.capacity, device
      )
      self._panel = panel  # Features lie among the planes, which may be lost.
    self._start([None] * len(features) if self._planes else _split(features))

  @property
  def computed(self) -> int:
    """Nodes evaluated so far."""
    return self._planes.computed if self._planes else self._computed

  def _put(self, panel: panel_lib.Panel) -> jax.Array:
    """The features of a panel on the device, f32[F, T, S]."""
    features = _finite(panel.features)
    if isinstance(features, jax.core.Tracer):
      raise ValueError(
        'values and stores plan on the host, so they cannot be inside of a '
        'jit, vmap or grad: there take alphajax.compile(formula)(panel)'
      )
    return runtime.to_device(features, self._where)

  def _start(self, features) -> None:
    """Forgets all but the features, `F` planes f32[T, S] or None."""
    self.graph = plan.Graph()
    self._features = {
      self.graph.add(formula_lib.Formula(name)): plane
      for name, plane in zip(self.feature_names, features, strict=True)
    }
    # Node -> value, or its place among the planes; what goes first in front.
    self._values: collections.OrderedDict = collections.OrderedDict()
    if self._planes is not None:
      self._planes.clear()
      self._values = self._planes.places
    self._checked = 0  # Nodes of which is known whether they can be computed,
    self._unknown: set[int] = set()  # and those that cannot.

  def map(
    self,
    formulas: Sequence[formula_lib.Formula],
    reduce: Callable,
    *args: Any,
  ):
    """Evaluates formulas and returns `reduce(values[T, S], *args)` of each.

    Args:
      formulas: any number; evaluated in as many parts as the budget demands.
      reduce: pure function, one object for the life of the program (jitted).
      *args: pytrees of arrays handed to `reduce`.

    Returns:
      A pytree of NumPy arrays `[N, ...]`.
    """
    if not formulas:
      raise ValueError('no formulas to evaluate')
    args = runtime.to_device(args, self._where)
    self._limit_graph()
    if self._planes is None:
      roots, found = self._map_each(formulas, reduce, args)
    else:
      finish = self._planes.reducer(reduce, args)
      roots, found = self._in_waves(self._planes, formulas, *finish)
    rows, start = {}, 0  # Root -> its row of all statistics.
    for nodes, stacked in found:
      rows.update(zip(nodes, range(start, start + len(nodes)), strict=True))
      start += len(jax.tree.leaves(stacked)[0])
    order = [rows[root] for root in roots]
    fetched = jax.device_get([stacked for _, stacked in found])
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *fetched)

  def _map_each(self, formulas, reduce, args) -> tuple[list[int], list[tuple]]:
    """Roots, and (nodes, statistics of them stacked) until all are there."""
    roots, found = [], []
    plane = jax.ShapeDtypeStruct(self.shape, jnp.float32)
    like = runtime.signature((plane, args))
    program = runtime.reduction(reduce, like, self._where)

    def finish(node):
      statistics = jax.block_until_ready(program(self._peek(node), args))
      found.append(([node], statistics))

    list(self._add(formulas, roots))
    for _ in self._parts(roots, finish):
      pass
    return roots, found

  def take(self, formulas: Sequence[formula_lib.Formula]) -> list[jax.Array]:
    """The values of formulas on the device, each f32[T, S].

    They stay alive as long as the caller holds them, whatever the budget.
    """
    self._limit_graph()
    if self._planes is None:
      roots: list[int] = []
      list(self._add(formulas, roots))
      found = [
        (part, [self._peek(root) for root in part])
        for part in self._parts(roots)
      ]
    else:
      roots, found = self._in_waves(
        self._planes, formulas, *self._planes.reader()
      )
    values = {
      root: runtime.to_default(value)
      for part, each in found
      for root, value in zip(part, each, strict=True)
    }
    return [values[root] for root in roots]

  def _limit_graph(self) -> None:
    """Begins anew where too many subexpressions are remembered.

    Or where a call was broken off that had been given the planes.
    """
    if self._planes is not None and self._planes.is_lost():
      self._planes.restore(self._put(self._panel))
      self._start([None] * len(self._features))
    if len(self.graph.nodes) > MAX_NODES:
      self._start(list(self._features.values()))

  def _add(self, formulas, roots: list[int]) -> Iterator[int]:
    """Adds formulas to the graph; yields the nodes of new ones.

    roots: the nodes of all formulas are put at its end.

    Raises:
      ValueError: a formula reads a feature that the panel does not have.
    """
    seen = set()
    for formula in formulas:
      root = self.graph.add(formula)
      for number in range(self._checked, len(self.graph.nodes)):
        node = self.graph.nodes[number]
        if self._is_unknown(node) or not self._unknown.isdisjoint(node.inputs):
          self._unknown.add(number)
      self._checked = len(self.graph.nodes)
      if root in self._unknown:
        compile_lib.check_features(formula, self.feature_names)
      roots.append(root)
      if root not in seen:
        seen.add(root)
        yield root

  def _is_unknown(self, node: plan.Node) -> bool:
    """True for a leaf that is no number and no feature of the panel."""
    if node.inputs or node.symbol in self.feature_names:
      return False
    return not formula_lib.is_number(formula_lib.Formula(node.symbol))

  def _peek(self, node: int) -> jax.Array:
    """A value that the store holds."""
    if node in self._features:
      return self._features[node]
    return self._values[node]

  def _parts(self, roots: Sequence[int], finish: Callable | None = None):
    """Cuts roots into lists that fit, each computed when it is yielded.

    finish: handed every root once its value is there, on whatever thread made
      it.
    """
    start = 0
    while start < len(roots):
      needed, nodes, stop = set(), {}, start
      while stop < len(roots):
        # The other half is for small values that later parts read again.
        room = self.capacity if stop == start else self.capacity // 2
        missing, touched = self._touched(roots[stop], needed)
        if len(needed) + len(touched) > room:
          break
        needed.update(touched)
        nodes.update(dict.fromkeys(missing))
        stop += 1
      if stop == start:
        self._compute_large(roots[start])
        stop, nodes, needed = start + 1, {}, {roots[start]}
      part = roots[start:stop]
      self._compute(nodes, needed, dict.fromkeys(part), finish)
      self._resident = memory.trim_grown(self._resident)
      yield part
      start = stop

  def _touched(self, root: int, already) -> tuple[list[int], set[int]]:
    """What is not held of a formula, inputs first, and all that it needs.

    Both without what is `already` needed, and without features.
    """
    missing, touched, stack = [], set(), [root]
    while stack:
      node = stack.pop()
      if node in touched or node in already or node in self._features:
        continue
      touched.add(node)
      if node not in self._values:
        missing.append(node)
        stack.extend(self.graph.nodes[node].inputs)
    missing.sort()  # Ids grow from inputs to outputs.
    return missing, touched

  def _compute_large(self, root: int) -> None:
    """Computes a formula larger than the store, one node after the other."""
    order = self.graph.missing(root, self._features.__contains__)
    last_use = {
      i: node for node in order for i in self.graph.nodes[node].inputs
    }
    held = set()  # Values that later nodes read.
    for node in order:
      inputs = set(self.graph.nodes[node].inputs) - self._features.keys()
      held |= {node}
      if len(held) > self.capacity:
        raise ValueError(
          f'a formula of {len(order)} distinct parts needs more than the '
          f'{self.capacity} values that the store holds; raise its budget'
        )
      if node not in self._values:
        self._compute({node: None}, held)
      held -= {i for i in inputs if last_use[i] == node}

  def _compute(self, nodes, needed, wanted=(), finish=None) -> None:
    """Computes `nodes` and finishes `wanted`, forgetting nothing of `needed`.

    nodes, wanted: nodes without repetition, inputs first.
    """
    for node in needed:
      if node in self._values:
        self._values.move_to_end(node)
    surplus = len(self._values) + len(nodes) - self.capacity
    if surplus > 0:
      old = [node for node in self._values if node not in needed]
      for node in old[:surplus]:
        self._forget(node)
    if finish is None:
      wanted = ()
    if self._planes is None:
      self._compute_each(nodes, wanted, finish)
      self._computed += len(nodes)
      return
    for node in nodes:
      self._planes.compute(self.graph, self.graph.groups[node], [node])

  def _forget(self, node: int) -> None:
    if self._planes is None:
      del self._values[node]
    else:
      self._planes.forget(node)

  def _compute_each(self, nodes, wanted, finish) -> None:
    """A program a node, on as many threads as there are cores.

    With `finish`, what nothing reads any more goes at once, unless it is small:
    the next value is written where it was, into memory that a cache holds.
    """
    needs = {
      node: nodes.keys() & set(self.graph.nodes[node].inputs) for node in nodes
    }
    readers = collections.Counter(i for each in needs.values() for i in each)
    needs |= {node: () for node in wanted if node not in nodes}
    programs = self._compiled(nodes)
    lock = threading.Lock()

    def work(node):
      if node in nodes:
        self._run(programs[node], node)
      if node in wanted:
        finish(node)
      with lock:
        readers.subtract(needs[node])
        for each in (*needs[node], node):
          large = each in nodes and self.graph.sizes[each] > flow_lib.KEPT_SIZE
          if finish and large and not readers[each]:
            del self._values[each]

    runtime.in_order(needs, work, runtime.num_workers())
    for node in nodes:  # What is forgotten first hangs on no thread.
      if node in self._values:
        self._values.move_to_end(node)

  def _in_waves(
    self, planes: waves.Planes, formulas, finish: Callable, most: int
  ) -> tuple[list[int], list[tuple]]:
    """Roots, and (nodes, `finish(nodes)`) until all are there."""
    roots: list[int] = []
    coming = self._add(formulas, roots)
    with runtime.without_collections():
      found = waves.run(
        planes, self.graph, coming, finish, most, self._compute_large
      )
    return roots, found

  def _compiled(self, nodes) -> dict[int, Callable]:
    """The programs of nodes, new ones compiled on as many threads as cores."""
    distinct = {self.graph.groups[node]: node for node in nodes}
    new: dict[int, tuple[int, ...]] = {
      node: ()
      for group, node in distinct.items()
      if group not in self._programs
    }
    if new:
      runtime.in_order(new, self._program, runtime.num_workers())
    return {node: self._program(node) for node in nodes}

  def _program(self, node: int) -> Callable:
    """What computes a node: `fn(universe, operands) -> value`."""
    key = name, window = self.graph.groups[node]
    if name == 'number':
      self._programs[key] = _fill
    if key not in self._programs:
      members = self.universe.present.shape[1]
      plane = jax.ShapeDtypeStruct(self.shape, jnp.float32)
      operands = (plane,) * len(self.graph.nodes[node].inputs)
      like = runtime.signature((self._universe, operands))
      self._programs[key] = runtime.host_operator(
        name, members, self._where
      ) or runtime.operator(name, window, like, self._where)
    return self._programs[key]

  def _run(self, program, node) -> None:
    """Computes a node whose operands are there."""
    if program is _fill:
      number = np.float32(self.graph.nodes[node].symbol)
      number = runtime.to_device(number, self._where)
      self._values[node] = _fill(number, shape=self.shape)
      return
    operands = tuple(self._peek(i) for i in self.graph.nodes[node].inputs)
    self._values[node] = program(self._universe, operands)
