"""Evaluation of formulas on a panel: `compile` one, or thousands by `Store`.

`Store` keeps the values of subexpressions in one device buffer `[C, T, S]`
with a byte budget; the least recently used go first. Programs update it in
place (the buffer is donated), so no node costs a fresh allocation, and only
statistics leave the device.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.factor import operators, plan
from alphajax.language import formula as formula_lib
from alphajax.language import vocab

ROUND = 256  # Nodes a program takes at once; a longer round is cut.
DEFAULT_BUDGET = 2 << 30  # Bytes of the store.


def _on_cpu() -> bool:
  return jax.default_backend() == 'cpu'


# A CPU runs the nodes of a round one after the other, each on all cores and in
# cache; an accelerator wants them side by side. Same operators, same results.
LANES = 16  # Nodes side by side on an accelerator.


def _for_nodes(count, num_lanes, body, carry):
  """Runs `body(carry, lanes)` over `count` nodes, `num_lanes` at a time."""
  steps = (count + num_lanes - 1) // num_lanes
  lanes = jnp.arange(num_lanes)
  return jax.lax.fori_loop(
    0, steps, lambda i, carry: body(carry, i * num_lanes + lanes), carry
  )


@functools.partial(
  jax.jit, static_argnames=('symbol', 'window', 'lanes'), donate_argnums=0
)
def _run_round(
  buffer, members, inputs, outputs, count, *, symbol, window, lanes
):
  """Computes `count` nodes of one operator inside the buffer.

  Args:
    buffer: f32[C, T, S], updated in place.
    members: bool[T, S].
    inputs: i32[ROUND, arity] slots to read.
    outputs: i32[ROUND] slots to write; those past `count` name the spare slot.
    count: nodes of the round.
    symbol, window: the operator.
    lanes: nodes computed side by side.
  """

  def one(*operands):
    return operators.apply(symbol, list(operands), window, members)

  def body(buffer, nodes):
    operands = [buffer[inputs[nodes, i]] for i in range(inputs.shape[1])]
    # Without the fence the reads fuse with the write below, which is then no
    # longer in place: XLA would copy the whole buffer for every node.
    operands = jax.lax.optimization_barrier(operands)
    if lanes == 1:
      result = one(*(operand[0] for operand in operands))
      result = jax.lax.optimization_barrier(result)
      return jax.lax.dynamic_update_index_in_dim(
        buffer, result, outputs[nodes[0]], 0
      )
    return buffer.at[outputs[nodes]].set(jax.vmap(one)(*operands))

  return _for_nodes(count, lanes, body, buffer)


@functools.partial(jax.jit, donate_argnums=0)
def _fill(buffer, slots, numbers, count):
  """Writes constant planes."""

  def body(i, buffer):
    plane = jnp.full((1,) + buffer.shape[1:], numbers[i])
    return jax.lax.dynamic_update_slice_in_dim(buffer, plane, slots[i], 0)

  return jax.lax.fori_loop(0, count, body, buffer)


@functools.partial(jax.jit, static_argnames='reduce')
def _reduce(buffer, slots, count, args, *, reduce):
  """Statistics of the slots: `reduce(values, *args)` for each, stacked."""
  shape = jax.eval_shape(reduce, buffer[0], *args)
  stacked = jax.tree.map(
    lambda leaf: jnp.zeros(slots.shape + leaf.shape, leaf.dtype), shape
  )

  def body(i, stacked):
    values = jax.lax.optimization_barrier(buffer[slots[i]])
    result = reduce(values, *args)
    return jax.tree.map(lambda all, leaf: all.at[i].set(leaf), stacked, result)

  return jax.lax.fori_loop(0, count, body, stacked)


class Store:
  """Values of subexpressions on one panel, and the programs that make them.

  The one mutable object of the package: a cache. Its results depend on the
  formulas and the panel alone, never on what it holds.
  """

  def __init__(self, panel: panel_lib.Panel, budget: int = DEFAULT_BUDGET):
    """Puts the panel on the device and allocates `budget` bytes.

    Raises:
      ValueError: the budget holds fewer planes than any formula needs.
    """
    features = jnp.asarray(panel.features, jnp.float32)
    num_features, num_days, num_stocks = features.shape
    plane = 4 * num_days * num_stocks
    self.capacity = max(0, budget // plane - num_features - 1)
    if self.capacity < 8:
      raise ValueError(
        f'a store of {budget} bytes holds {self.capacity} values of '
        f'{num_days} days x {num_stocks} stocks ({plane} bytes each); give it '
        f'{plane * (num_features + 9)} bytes or more'
      )
    self.feature_names = tuple(panel.feature_names)
    self.members = jnp.asarray(panel.mask)
    spare = jnp.full((self.capacity + 1, num_days, num_stocks), jnp.nan)
    self.buffer = jnp.concatenate([operators.finite(features), spare])
    self.graph = plan.Graph()
    self._slots: OrderedDict[int, int] = OrderedDict()  # Oldest use first.
    self._free = list(range(num_features, num_features + self.capacity))
    self._spare = num_features + self.capacity  # Written by idle lanes.
    for slot, name in enumerate(self.feature_names):
      self._slots[self.graph.add(formula_lib.Formula(name))] = slot
    self._pinned = frozenset(self._slots)
    self.evaluated_nodes = 0

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
    roots = [self._root(formula) for formula in formulas]
    parts, start = [], 0
    while start < len(roots):
      stop = self._load(roots, start)
      parts += self._reduce_slots(
        [self._slots[root] for root in roots[start:stop]], reduce, args
      )
      start = stop
    if not parts:
      raise ValueError('no formulas to evaluate')
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

  def take(self, formulas: Sequence[formula_lib.Formula]) -> jax.Array:
    """The values of a few formulas on the device, `[N, T, S]`."""
    taken = []
    roots = [self._root(formula) for formula in formulas]
    start = 0
    while start < len(roots):
      stop = self._load(roots, start)
      slots = [self._slots[root] for root in roots[start:stop]]
      taken.append(_gather(self.buffer, _padded(slots, -(-len(slots) // 8) * 8))
                   [:len(slots)])  # fmt: skip
      start = stop
    return taken[0] if len(taken) == 1 else jnp.concatenate(taken)

  def _root(self, formula) -> int:
    for node in formula_lib.nodes(formula):
      known = node.args or formula_lib.is_number(node)
      if not known and node.symbol not in self.feature_names:
        raise ValueError(
          f'{formula_lib.to_text(formula)} needs {node.symbol!r}; the panel '
          f'has {", ".join(self.feature_names)}'
        )
    return self.graph.add(formula)

  def _load(self, roots: list[int], start: int) -> int:
    """Makes roots from `start` on resident; returns where the budget ended."""
    needed, nodes = set(), {}  # Slots in use by this part; nodes to compute.
    stop = start
    while stop < len(roots):
      root = roots[stop]
      missing = [
        node
        for node in self.graph.missing(root, self._slots)
        if node not in nodes
      ]
      touched = {root, *missing}
      for node in missing:
        touched.update(self.graph.nodes[node].inputs)
      if len((needed | touched) - self._pinned) > self.capacity:
        break
      needed |= touched
      nodes.update(dict.fromkeys(missing))
      stop += 1
    if stop == start:
      self._load_large(roots[start])
      return start + 1
    self._compute(nodes, needed)
    return stop

  def _load_large(self, root: int) -> None:
    """Computes a formula larger than the store, subtree by subtree."""
    held = set()  # Values that later subtrees read.
    last_use = {}
    order = self.graph.missing(root, self._pinned)
    for node in order:
      for i in self.graph.nodes[node].inputs:
        last_use[i] = node
    for node in order:
      inputs = set(self.graph.nodes[node].inputs)
      if len((held | inputs | {node}) - self._pinned) > self.capacity:
        raise ValueError(
          f'a formula of {len(order)} distinct parts needs more than the '
          f'{self.capacity} values that the store holds; raise its budget'
        )
      if node not in self._slots:
        self._compute({node: None}, held | inputs | {node})
      held |= {node}
      held -= {i for i in inputs if last_use[i] == node}

  def _compute(self, nodes, needed) -> None:
    """Runs the rounds of `nodes`, evicting nothing of `needed`."""
    for node in needed:
      if node in self._slots:
        self._slots.move_to_end(node)
    for batch in plan.rounds(self.graph, nodes):
      for i in range(0, len(batch.nodes), ROUND):
        self._run(batch._replace(nodes=batch.nodes[i : i + ROUND]), needed)
    self.evaluated_nodes += len(nodes)

  def _run(self, batch: plan.Round, needed) -> None:
    """Dispatches one round."""
    rows = [self.graph.nodes[node] for node in batch.nodes]
    outputs = _padded([self._claim(n, needed) for n in batch.nodes], ROUND,
                      self._spare)  # fmt: skip
    if batch.symbol == 'number':
      numbers = np.zeros(ROUND, np.float32)
      numbers[: len(rows)] = [float(row.symbol) for row in rows]
      self.buffer = _fill(self.buffer, outputs, numbers, len(rows))
      return
    inputs = np.zeros((ROUND, len(rows[0].inputs)), np.int32)
    for i, row in enumerate(rows):
      inputs[i] = [self._slots[k] for k in row.inputs]
    self.buffer = _run_round(
      self.buffer, self.members, inputs, outputs, len(rows),
      symbol=batch.symbol, window=batch.window,
      lanes=1 if _on_cpu() else LANES,
    )  # fmt: skip

  def _claim(self, node: int, needed) -> int:
    """A slot for `node`, that of the least recently used if none is free."""
    if not self._free:
      for old in self._slots:
        if old not in needed and old not in self._pinned:
          self._free.append(self._slots.pop(old))
          break
    self._slots[node] = self._free.pop()
    return self._slots[node]

  def _reduce_slots(self, slots, reduce, args):
    """Statistics of slots in batches of one compiled size."""
    for i in range(0, len(slots), ROUND):
      batch = slots[i : i + ROUND]
      stacked = _reduce(
        self.buffer, _padded(batch, ROUND), len(batch), args, reduce=reduce
      )
      leaves, structure = jax.tree.flatten(jax.device_get(stacked))
      yield structure.unflatten([leaf[: len(batch)] for leaf in leaves])


@jax.jit
def _gather(buffer, slots):
  return buffer[slots]


def _padded(slots: Sequence[int], size: int, fill: int = 0) -> np.ndarray:
  padded = np.full(size, fill, np.int32)
  padded[: len(slots)] = slots
  return padded


def values(
  formulas: Sequence[formula_lib.Formula], panel: panel_lib.Panel
) -> jax.Array:
  """Values of formulas, f32[N, T, S]; NaN where a value is missing."""
  formulas = list(formulas)
  parts = sum(map(formula_lib.size, formulas))
  planes = len(panel.feature_names) + 1 + max(8, parts)
  plane = 4 * int(np.prod(np.shape(panel.mask)))
  budget = max(DEFAULT_BUDGET, plane * (len(panel.feature_names) + 9))
  return Store(panel, min(budget, planes * plane)).take(formulas)


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
