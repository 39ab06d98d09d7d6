"""Evaluation of formulas on a panel: `compile` one, or thousands by `Store`.

`Store` keeps the values of subexpressions on the device within a byte budget;
the least recently used go first, and only statistics leave the device.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data import universe as universe_lib
from alphajax.factor import operators, plan
from alphajax.language import formula as formula_lib
from alphajax.language import vocab

DEFAULT_BUDGET = 1 << 29  # Bytes of the store; more gains few nodes.
MIN_VALUES = 8  # A store must hold the operands and results of a formula.
MAX_NODES = 1 << 20  # Subexpressions a store remembers, some 500 MB of host.


def num_lanes() -> int:
  """Nodes of a round that one program computes.

  A CPU is busy with one node, and a loop inside a program would use one core
  only; on an accelerator the cost of a launch is shared by many.
  """
  return 1 if jax.default_backend() == 'cpu' else 16


@functools.cache
def _program(symbol: str, window: int | None) -> Callable:
  """One operator on several nodes: a tuple of operand tuples -> a tuple."""

  def run(universe, operands):
    return tuple(
      operators.apply(symbol, list(each), window, universe) for each in operands
    )

  options = None
  if window is not None and jax.default_backend() == 'cpu':
    # A window lives in registers: with wide ones it costs a quarter less.
    options = {'xla_cpu_prefer_vector_width': 512}
  return jax.jit(run, compiler_options=options)


@functools.partial(jax.jit, static_argnames='shape')
def _fill(number, *, shape):
  return jnp.full(shape, number, jnp.float32)


@functools.partial(jax.jit, static_argnames='reduce')
def _reduce(values, args, *, reduce):
  """`reduce(values, *args)` of several values, stacked."""
  results = [reduce(each, *args) for each in values]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


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
    self.universe = universe_lib.make(panel.mask)
    self.computed = 0  # Nodes evaluated so far.
    self._start(features)

  def _start(self, features) -> None:
    """Forgets all but the features, `F` planes f32[T, S]."""
    self.graph = plan.Graph()
    self._features = {
      self.graph.add(formula_lib.Formula(name)): plane
      for name, plane in zip(self.feature_names, features, strict=True)
    }
    self._values: OrderedDict[int, jax.Array] = OrderedDict()  # Oldest first.

  def map(
    self,
    formulas: Sequence[formula_lib.Formula],
    reduce: Callable,
    *args: jax.Array,
  ):
    """Evaluates formulas and returns `reduce(values[T, S], *args)` of each.

    Args:
      formulas: any number; evaluated in as many parts as the budget demands.
      reduce: pure function, one object for the life of the program (jitted).
      *args: arrays handed to `reduce`.

    Returns:
      A pytree of NumPy arrays `[N, ...]`.
    """
    if not formulas:
      raise ValueError('no formulas to evaluate')
    roots = self._roots(formulas)
    results, lanes = [], num_lanes()
    for part in self._parts(roots):
      for i in range(0, len(part), lanes):
        values = [self._get(root) for root in part[i : i + lanes]]
        padding = [values[0]] * (lanes - len(values))
        results.append(
          (len(values), _reduce((*values, *padding), args, reduce=reduce))
        )
    counts, trees = zip(*results, strict=True)
    return jax.tree.map(
      lambda *leaves: np.concatenate(
        [leaf[:n] for n, leaf in zip(counts, leaves, strict=True)]
      ),
      *jax.device_get(trees),
    )

  def take(self, formulas: Sequence[formula_lib.Formula]) -> list[jax.Array]:
    """The values of formulas on the device, each f32[T, S].

    They stay alive as long as the caller holds them, whatever the budget.
    """
    roots = self._roots(formulas)
    return [self._get(root) for part in self._parts(roots) for root in part]

  def _roots(self, formulas: Sequence[formula_lib.Formula]) -> list[int]:
    """The nodes of formulas.

    Raises:
      ValueError: a formula reads a feature that the panel does not have.
    """
    if len(self.graph.nodes) > MAX_NODES:
      self._start(list(self._features.values()))
    for formula in formulas:
      for node in formula_lib.nodes(formula):
        known = node.args or formula_lib.is_number(node)
        if not known and node.symbol not in self.feature_names:
          raise ValueError(
            f'{formula_lib.to_text(formula)} needs {node.symbol!r}; the panel '
            f'has {", ".join(self.feature_names)}'
          )
    return [self.graph.add(formula) for formula in formulas]

  def _known(self, node: int) -> bool:
    return node in self._features or node in self._values

  def _get(self, node: int) -> jax.Array:
    """A value that the store holds; it becomes the most recently used."""
    if node in self._features:
      return self._features[node]
    self._values.move_to_end(node)
    return self._values[node]

  def _parts(self, roots: Sequence[int]):
    """Cuts roots into lists that fit, each computed when it is yielded."""
    start = 0
    while start < len(roots):
      needed, nodes, stop = set(), {}, start
      while stop < len(roots):
        missing = self.graph.missing(roots[stop], self._known)
        touched = {roots[stop], *missing}
        for node in missing:
          touched.update(self.graph.nodes[node].inputs)
        touched -= self._features.keys()
        if len(needed | touched) > self.capacity:
          break
        needed |= touched
        nodes.update(dict.fromkeys(missing))
        stop += 1
      if stop == start:
        self._compute_large(roots[start])
        stop += 1
      else:
        self._compute(nodes, needed)
      yield roots[start:stop]
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

  def _compute(self, nodes, needed) -> None:
    """Runs the rounds of `nodes`, forgetting nothing of `needed`."""
    for node in needed:
      if node in self._values:
        self._values.move_to_end(node)
    surplus = len(self._values) + len(nodes) - self.capacity
    old = [node for node in self._values if node not in needed]
    for node in old[: max(surplus, 0)]:
      del self._values[node]
    lanes = num_lanes()
    for batch in plan.rounds(self.graph, nodes):
      for i in range(0, len(batch.nodes), lanes):
        self._run(batch.symbol, batch.window, batch.nodes[i : i + lanes], lanes)
    self.computed += len(nodes)

  def _run(self, symbol, window, nodes, lanes) -> None:
    """Dispatches up to `lanes` nodes of one operator."""
    if symbol == 'number':
      for node in nodes:
        number = np.float32(self.graph.nodes[node].symbol)
        self._values[node] = _fill(number, shape=self.shape)
      return
    operands = [
      tuple(self._get(i) for i in self.graph.nodes[node].inputs)
      for node in nodes
    ]
    operands += [operands[0]] * (lanes - len(nodes))
    results = _program(symbol, window)(self.universe, tuple(operands))
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


def compile(formula: formula_lib.Formula) -> Callable:
  """Compiles one formula: `fn(panel) -> f32[T, S]`, jitted.

  For a formula that is used again and again, and for composing with other
  JAX code. Many different formulas are faster through `Store` or `values`,
  which compile nothing.
  """
  formula = formula_lib.canonical(formula)

  @functools.partial(jax.jit, static_argnames='names')
  def run(features, members, names):
    def walk(node):
      if not node.args:
        if formula_lib.is_number(node):
          return jnp.full(members.shape, float(node.symbol), jnp.float32)
        return operators.finite(features[names.index(node.symbol)])
      kind = vocab.OPERATORS[node.symbol].kind
      args, window = node.args, None
      if kind in vocab.WINDOWED:
        args, window = args[:-1], int(args[-1].symbol)
      return operators.apply(
        node.symbol, [walk(arg) for arg in args], window, members
      )

    return walk(formula)

  def evaluate(panel):
    return run(
      jnp.asarray(panel.features, jnp.float32),
      jnp.asarray(panel.mask),
      names=tuple(panel.feature_names),
    )

  return evaluate
