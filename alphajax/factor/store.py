"""Thousands of formulas on a panel, their subexpressions shared.

`Store` keeps the values of subexpressions on the device within a byte budget;
the least recently used go first, in waves the large ones, and only statistics
leave the device.
"""

import collections
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data import universe as universe_lib
from alphajax.factor import compile as compile_lib
from alphajax.factor import flow as flow_lib
from alphajax.factor import memory, operators, plan, runtime, threads, waves
from alphajax.factor.budget import DEFAULT_BUDGET, MAX_PLANES, room
from alphajax.language import formula as formula_lib
from alphajax.language import vocab

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
    keep: bool = False,
  ):
    """Puts the panel on the device; values may take `budget` bytes beside it.

    in_waves: many nodes by one program, see `waves`; None: where there is an
      accelerator. The budget is taken at once there, for `MAX_PLANES` values
      at most.
    device: that computes; None: `runtime.device()`.
    keep: of what `map` computes everything stays that there is room for, for
      who comes again with the same formulas; else what is small.

    Raises:
      ValueError: the budget holds fewer values than any formula needs, or it is
        made inside of a `jit`, `vmap` or `grad` of the caller.
    """
    self._where = device = device or runtime.device()
    self._keep = keep
    self.shape = tuple(np.shape(panel.mask))  # (T, S)
    self.feature_names = tuple(panel.feature_names)
    self._coded = panel.coded
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
    self._unknown: set[int] = set()  # those that cannot,
    self._examples: dict[tuple, int] = {}  # and one of each group that can.

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
    found: list[tuple] = []
    plane = jax.ShapeDtypeStruct(self.shape, jnp.float32)
    like = runtime.signature((plane, args))
    program = runtime.reduction(reduce, like, self._where)

    def finish(node, value):
      found.append(([node], jax.block_until_ready(program(value, args))))

    return self._on_threads(formulas, finish, drop=not self._keep), found

  def take(self, formulas: Sequence[formula_lib.Formula]) -> list[jax.Array]:
    """The values of formulas on the device, each f32[T, S].

    They stay alive as long as the caller holds them, whatever the budget.
    """
    self._limit_graph()
    values: dict[int, jax.Array] = {}
    if self._planes is None:
      roots = self._on_threads(formulas, values.__setitem__)
    else:
      roots, found = self._in_waves(
        self._planes, formulas, *self._planes.reader()
      )
      for part, each in found:
        values.update(zip(part, each, strict=True))
    values = {root: runtime.to_default(each) for root, each in values.items()}
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
      ValueError: a formula reads a feature that the panel does not have, or
        codes of groups as values.
    """
    seen = set()
    for formula in formulas:
      root = self.graph.add(formula)
      for number in range(self._checked, len(self.graph.nodes)):
        node = self.graph.nodes[number]
        if (
          self._is_unknown(node)
          or not self._unknown.isdisjoint(node.inputs)
          or (self._coded and self._misreads(node))
        ):
          self._unknown.add(number)
        elif number not in self._features:
          self._examples.setdefault(self.graph.groups[number], number)
      self._checked = len(self.graph.nodes)
      if root in self._unknown:
        compile_lib.check_features(formula, self.feature_names, self._coded)
      roots.append(root)
      if root not in seen:
        seen.add(root)
        yield root

  def _is_unknown(self, node: plan.Node) -> bool:
    """True for a leaf that is no number and no feature of the panel."""
    if node.inputs or node.symbol in self.feature_names:
      return False
    return not formula_lib.is_number(formula_lib.Formula(node.symbol))

  def _misreads(self, node: plan.Node) -> bool:
    """True for an operator that takes codes of groups for values."""
    if not node.inputs:
      return False
    slots = vocab.SLOTS[vocab.OPERATORS[node.symbol].kind]
    return any(
      slot != 'group' and self.graph.nodes[i].symbol in self._coded
      for slot, i in zip(slots, node.inputs, strict=False)
    )

  def _peek(self, node: int) -> jax.Array:
    """A value that the store holds."""
    if node in self._features:
      return self._features[node]
    return self._values[node]

  def _on_threads(
    self, formulas, finish: Callable[[int, jax.Array], Any], drop: bool = False
  ) -> list[int]:
    """The roots of formulas, each handed with its value to `finish`.

    A program a node, on as many threads as there are cores, and `finish` too.

    drop: what nothing reads any more goes at once, unless it is small: the next
      value is written where it was, into memory that a cache holds.
    """
    roots: list[int] = []
    coming = collections.deque(self._add(formulas, roots))
    self._compile_all()
    while coming:
      self._stream(coming, finish, drop)
      if coming:  # There is no room for it, though nothing else needs any.
        root = coming.popleft()
        self._compute_large(root)
        finish(root, self._peek(root))
    return roots

  def _stream(self, coming: collections.deque, finish, drop: bool) -> None:
    """Computes what is coming until a formula has no room."""
    flow = flow_lib.Flow(
      self.graph, self._values, len(self._features), self.capacity, drop=drop
    )
    wanted = set(coming)
    finished: set[int] = set()
    making, plane = 0, 4 * math.prod(self.shape)

    def let_in() -> None:
      self._resident = memory.trim_grown(self._resident, plane)
      while coming and (coming[0] in finished or flow.let_in(coming[0])):
        coming.popleft()
        # The other half is for small values that later formulas read again.
        if 2 * flow.room < self.capacity:
          break

    def take() -> tuple | None:
      nonlocal making
      if flow.is_empty:
        let_in()
      call = flow.full()
      if call is not None and call[0] != flow_lib.FINISH:
        making += 1
        surplus = len(self._values) + making - self.capacity
        for node in flow.surplus(max(0, surplus)):
          del self._values[node]
      return call

    def work(call: tuple) -> jax.Array:
      group, (node,) = call
      is_held = group == flow_lib.FINISH
      value = self._peek(node) if is_held else self._run(node)
      if node in wanted and node not in finished:
        finish(node, value)
        finished.add(node)
      return value

    def done(call: tuple, value: jax.Array) -> None:
      nonlocal making
      group, (node,) = call
      if group == flow_lib.FINISH:
        flow.finished([node])
        return
      making -= 1
      self._values[node] = value
      self._computed += 1
      flow.computed([node])

    threads.work_off(take, work, done, runtime.num_workers())

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
        self._compute(node, held)
      held -= {i for i in inputs if last_use[i] == node}

  def _compute(self, node: int, needed: set[int]) -> None:
    """Computes a node, forgetting nothing of `needed`."""
    for each in needed:
      if each in self._values:
        self._values.move_to_end(each)
    surplus = len(self._values) + 1 - self.capacity
    if surplus > 0:
      old = [each for each in self._values if each not in needed]
      for each in old[:surplus]:
        self._forget(each)
    if self._planes is None:
      self._values[node] = self._run(node)
      self._computed += 1
    else:
      self._planes.compute(self.graph, self.graph.groups[node], [node])

  def _forget(self, node: int) -> None:
    if self._planes is None:
      del self._values[node]
    else:
      self._planes.forget(node)

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

  def _compile_all(self) -> None:
    """Compiles what nodes need, on as many threads as there are cores."""
    new: dict[int, tuple[int, ...]] = {
      node: ()
      for group, node in self._examples.items()
      if group not in self._programs
    }
    threads.in_order(new, self._compile, runtime.num_workers())

  def _compile(self, node: int) -> None:
    """Makes what computes nodes as this: `fn(universe, operands) -> value`."""
    key = name, window = self.graph.groups[node]
    if name == 'number':
      self._programs[key] = _fill
      return
    members = self.universe.present.shape[1]
    plane = jax.ShapeDtypeStruct(self.shape, jnp.float32)
    operands = (plane,) * len(self.graph.nodes[node].inputs)
    like = runtime.signature((self._universe, operands))
    self._programs[key] = runtime.host_operator(
      name, members, self._where
    ) or runtime.operator(name, window, like, self._where)

  def _run(self, node: int) -> jax.Array:
    """The value of a node whose operands are there."""
    program = self._programs[self.graph.groups[node]]
    if program is _fill:
      number = np.float32(self.graph.nodes[node].symbol)
      number = runtime.to_device(number, self._where)
      return _fill(number, shape=self.shape)
    operands = tuple(self._peek(i) for i in self.graph.nodes[node].inputs)
    return program(self._universe, operands)
