"""Thousands of formulas on a panel, their subexpressions shared.

`Store` keeps the values of subexpressions on the device within a byte budget;
the least recently used go first, and only statistics leave the device.
"""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data import universe as universe_lib
from alphajax.factor import compile as compile_lib
from alphajax.factor import operators, plan, runtime
from alphajax.language import formula as formula_lib

DEFAULT_BUDGET = 1 << 29  # Bytes of the store; more gains few nodes.


MIN_VALUES = 8  # A store must hold the operands and results of a formula.


# Operators and operands of values worth keeping once they are read: nearly all
# that return in later formulas have no more.
KEPT_SIZE = 3


MAX_NODES = 1 << 20  # Subexpressions a store remembers, some 500 MB of host.


@functools.partial(jax.jit, static_argnames='shape')
def _fill(number, *, shape):
  return jnp.full(shape, number, jnp.float32)


class Store:
  """Values of subexpressions on one panel, and the programs that make them.

  The one mutable object of the package: a cache. Its results depend on the
  formulas and the panel alone, never on what it holds.
  """

  def __init__(self, panel: panel_lib.Panel, budget: int = DEFAULT_BUDGET):
    """Puts the panel on the device; values may take `budget` bytes beside it.

    Raises:
      ValueError: the budget holds fewer values than any formula needs.
    """
    features = operators.finite(jnp.asarray(panel.features, jnp.float32))
    features = runtime.to_device(features)
    self.shape = features.shape[1:]  # (T, S)
    plane = features[0].nbytes
    self.capacity = budget // plane
    if self.capacity < MIN_VALUES:
      raise ValueError(
        f'a store of {budget} bytes holds {self.capacity} values of '
        f'{self.shape[0]} days x {self.shape[1]} stocks ({plane} bytes each); '
        f'give it {plane * MIN_VALUES} bytes or more'
      )
    self.feature_names = tuple(panel.feature_names)
    self.universe = universe_lib.make(np.asarray(panel.mask))
    self._universe = runtime.to_device(self.universe)
    self.computed = 0  # Nodes evaluated so far.
    self._programs: dict[tuple, Callable] = {}
    self._start(features)

  def _start(self, features) -> None:
    """Forgets all but the features, `F` planes f32[T, S]."""
    self.graph = plan.Graph()
    self._features = {
      self.graph.add(formula_lib.Formula(name)): plane
      for name, plane in zip(self.feature_names, features, strict=True)
    }
    self._values = collections.OrderedDict()  # Node -> value, oldest first.

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
    roots = self._roots(formulas)
    plane = jax.ShapeDtypeStruct(self.shape, jnp.float32)
    lanes = runtime.num_lanes()
    args = runtime.to_device(args)
    like = runtime.signature(((plane,) * lanes, args))
    program = runtime.reduction(reduce, like)
    results = {}  # Root -> (stacked statistics of a call, its row of them).

    def finish(nodes):
      values = [self._peek(node) for node in nodes]
      padding = [values[0]] * (lanes - len(nodes))
      stacked = program((*values, *padding), args)
      results.update((node, (stacked, i)) for i, node in enumerate(nodes))
      return stacked

    for _ in self._parts(roots, finish):
      pass
    found = jax.device_get([results[root] for root in roots])
    return jax.tree.map(
      lambda *leaves: np.stack(leaves),
      *[jax.tree.map(lambda leaf, i=i: leaf[i], tree) for tree, i in found],
    )

  def take(self, formulas: Sequence[formula_lib.Formula]) -> list[jax.Array]:
    """The values of formulas on the device, each f32[T, S].

    They stay alive as long as the caller holds them, whatever the budget.
    """
    roots = self._roots(formulas)
    return [
      runtime.to_default(self._peek(root))
      for part in self._parts(roots)
      for root in part
    ]

  def _roots(self, formulas: Sequence[formula_lib.Formula]) -> list[int]:
    """The nodes of formulas.

    Raises:
      ValueError: a formula reads a feature that the panel does not have.
    """
    if len(self.graph.nodes) > MAX_NODES:
      self._start(list(self._features.values()))
    for formula in formulas:
      compile_lib.check_features(formula, self.feature_names)
    return [self.graph.add(formula) for formula in formulas]

  def _known(self, node: int) -> bool:
    return node in self._features or node in self._values

  def _peek(self, node: int) -> jax.Array:
    """A value that the store holds."""
    if node in self._features:
      return self._features[node]
    return self._values[node]

  def _parts(self, roots: Sequence[int], finish: Callable | None = None):
    """Cuts roots into lists that fit, each computed when it is yielded.

    finish: handed every root once its value is there, in lists of at most
      `num_lanes()`, on whatever thread made it.
    """
    start = 0
    while start < len(roots):
      needed, nodes, stop = set(), {}, start
      while stop < len(roots):
        missing = self.graph.missing(roots[stop], self._known)
        touched = {roots[stop], *missing}
        for node in missing:
          touched.update(self.graph.nodes[node].inputs)
        touched -= self._features.keys()
        # The other half is for small values that later parts read again.
        room = self.capacity if stop == start else self.capacity // 2
        if len(needed | touched) > room:
          break
        needed |= touched
        nodes.update(dict.fromkeys(missing))
        stop += 1
      if stop == start:
        self._compute_large(roots[start])
        stop, nodes, needed = start + 1, {}, {roots[start]}
      part = roots[start:stop]
      self._compute(nodes, needed, dict.fromkeys(part), finish)
      yield part
      start = stop

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
    old = [node for node in self._values if node not in needed]
    for node in old[: max(surplus, 0)]:
      del self._values[node]
    if finish is None:
      wanted = ()
    if runtime.num_lanes() == 1:
      self._compute_each(nodes, wanted, finish)
    else:
      self._compute_rounds(nodes, wanted, finish)
    self.computed += len(nodes)

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
    programs = self._compiled(nodes, 1)
    lock = threading.Lock()

    def work(node):
      if node in nodes:
        self._run(programs[node], [node], 1)
      if node in wanted:
        jax.block_until_ready(finish([node]))
      with lock:
        readers.subtract(needs[node])
        for each in (*needs[node], node):
          large = each in nodes and self.graph.sizes[each] > KEPT_SIZE
          if finish and large and not readers[each]:
            del self._values[each]

    runtime.in_order(needs, work, runtime.num_workers())
    for node in nodes:  # What is forgotten first hangs on no thread.
      if node in self._values:
        self._values.move_to_end(node)

  def _compute_rounds(self, nodes, wanted, finish) -> None:
    """A program for many nodes; nothing waits for the device."""
    lanes = runtime.num_lanes()
    programs = self._compiled(nodes, lanes)
    for batch in plan.rounds(self.graph, nodes):
      program = programs[batch.nodes[0]]
      for i in range(0, len(batch.nodes), lanes):
        self._run(program, batch.nodes[i : i + lanes], lanes)
    wanted = list(wanted)
    for i in range(0, len(wanted), lanes):
      finish(wanted[i : i + lanes])

  def _compiled(self, nodes, lanes: int) -> dict[int, Callable]:
    """The programs of nodes, new ones compiled on as many threads as cores."""
    distinct = {plan.group(self.graph.nodes[node]): node for node in nodes}
    new: dict[int, tuple[int, ...]] = {
      node: ()
      for group, node in distinct.items()
      if (*group, lanes) not in self._programs
    }
    if new:
      runtime.in_order(
        new, lambda node: self._program(node, lanes), runtime.num_workers()
      )
    return {node: self._program(node, lanes) for node in nodes}

  def _program(self, node: int, lanes: int) -> Callable:
    """What computes a node: `fn(universe, operands of lanes) -> values`."""
    name, window = plan.group(self.graph.nodes[node])
    key = name, window, lanes
    if key not in self._programs:
      if name == 'number':
        self._programs[key] = _fill
        return _fill
      members = self.universe.present.shape[1]
      on_host = runtime.host_operator(name, members)
      if on_host is not None:
        self._programs[key] = on_host
        return on_host
      plane = jax.ShapeDtypeStruct(self.shape, jnp.float32)
      num_operands = len(self.graph.nodes[node].inputs)
      operands = ((plane,) * num_operands,) * lanes
      like = runtime.signature((self._universe, operands))
      self._programs[key] = runtime.operator(name, window, like)
    return self._programs[key]

  def _run(self, program, nodes, lanes) -> None:
    """Dispatches up to `lanes` nodes of one operator."""
    if program is _fill:
      for node in nodes:
        number = np.float32(self.graph.nodes[node].symbol)
        number = runtime.to_device(number)
        self._values[node] = _fill(number, shape=self.shape)
      return
    operands = [
      tuple(self._peek(i) for i in self.graph.nodes[node].inputs)
      for node in nodes
    ]
    operands += [operands[0]] * (lanes - len(nodes))
    results = program(self._universe, tuple(operands))
    self._values.update(zip(nodes, results, strict=False))


def values(
  formulas: Sequence[formula_lib.Formula], panel: panel_lib.Panel
) -> jax.Array:
  """Values of formulas, f32[N, T, S]; NaN where a value is missing."""
  return jnp.stack(make_store(panel).take(list(formulas)))


def make_store(panel: panel_lib.Panel) -> Store:
  """A store of the default budget, or of what the panel needs at least."""
  plane = 4 * int(np.prod(np.shape(panel.mask)))
  return Store(panel, max(DEFAULT_BUDGET, plane * MIN_VALUES))
