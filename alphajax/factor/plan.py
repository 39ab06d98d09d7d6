"""Planning: formulas -> distinct subexpressions, scheduled in rounds.

A search proposes thousands of formulas whose subtrees repeat endlessly. Here
they become one graph of distinct canonical subexpressions (hash-consing), and
the ones not yet known are grouped into *rounds*: one operator, one window, many
nodes. A round is one call of one compiled program, so new formulas never
compile anything. Host code, no JAX.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from alphajax.language import formula as formula_lib
from alphajax.language import vocab


class Node(NamedTuple):
  """A distinct subexpression.

  symbol: operator, feature or number text.
  window: days of a windowed operator, else None.
  inputs: ids of the operands.
  """

  symbol: str
  window: int | None
  inputs: tuple[int, ...]


class Round(NamedTuple):
  """Nodes of one operator and window, ready to run together."""

  symbol: str
  window: int | None
  nodes: list[int]


# By symbol: has it a window, may its operands be swapped?
_KINDS = {name: row.kind for name, row in vocab.OPERATORS.items()}
_KINDS |= vocab.MASKED
_WINDOWED = {name for name, kind in _KINDS.items() if kind in vocab.WINDOWED}
_SWAPPED = {name for name, kind in _KINDS.items() if kind in vocab.COMMUTATIVE}


class Graph:
  """Distinct subexpressions; a node's id is its position, inputs come first."""

  def __init__(self):
    self.nodes: list[Node] = []
    self.sizes: list[int] = []  # Operators and operands in and below a node.
    # What has to be compiled for a node, see `group`.
    self.groups: list[tuple[str, int | None]] = []
    self._ids: dict[tuple, int] = {}  # See `add`.

  def add(self, formula: formula_lib.Formula) -> int:
    """Adds a formula and its subexpressions; returns the id of its root.

    Isomorphic formulas have one id: the nodes are those of the canonical
    formula. Looked up by (symbol, window, inputs), the smaller id first where
    they may be swapped; in which order they stand is asked of new nodes alone.
    """
    symbol, args, window = formula.symbol, formula.args, None
    key: tuple = (symbol, None)
    if args:
      if symbol in _WINDOWED:
        window, args = int(args[-1].symbol), args[:-1]
      inputs = [self.add(arg) for arg in args]
      if symbol in _SWAPPED and inputs[0] > inputs[1]:
        inputs[:2] = inputs[1], inputs[0]
      key = (symbol, window, *inputs)
    node = self._ids.get(key)
    return self._append(key) if node is None else node

  def _append(self, key: tuple) -> int:
    symbol, window, *inputs = key
    if symbol in _SWAPPED:
      inputs[:2] = sorted(inputs[:2], key=self._order)
    node = Node(symbol, window, tuple(inputs))
    self._ids[key] = len(self.nodes)
    self.nodes.append(node)
    self.groups.append(group(node))
    self.sizes.append(1 + sum(self.sizes[i] for i in inputs))
    return self._ids[key]

  def _order(self, node: int) -> tuple[bool, str]:
    """What the canonical form sorts operands by."""
    text = self._text(node)
    return text[0] in '-.0123456789', text

  def _text(self, node: int) -> str:
    """A subexpression in call notation."""
    symbol, window, inputs = self.nodes[node]
    if not inputs:
      return symbol
    args = [self._text(i) for i in inputs]
    args += [] if window is None else [str(window)]
    return f'{symbol}({",".join(args)})'

  def missing(self, root: int, known: Callable[[int], bool]) -> list[int]:
    """Nodes below and including `root` that are not known, inputs first."""
    found, stack = set(), [root]
    while stack:
      node = stack.pop()
      if node not in found and not known(node):
        found.add(node)
        stack.extend(self.nodes[node].inputs)
    return sorted(found)  # Ids grow from inputs to outputs.


def rounds(
  graph: Graph,
  nodes: Iterable[int],
  most: Mapping[tuple[str, int | None], int] | None = None,
) -> Iterator[Round]:
  """Groups nodes so that inputs come first, in few and large rounds.

  Args:
    graph: the subexpressions.
    nodes: ids to compute; inputs outside of them are known already.
    most: nodes of a round by `group`; a smaller one runs only where no larger
      is ready. None: as many as are ready.
  """
  pending = set(nodes)
  waiting, readers = {}, defaultdict(list)
  ready, full = defaultdict(list), []

  def offer(node):
    key = graph.groups[node]
    ready[key].append(node)
    if most and len(ready[key]) == most[key]:
      full.append(key)

  for node in sorted(pending):
    inputs = [i for i in set(graph.nodes[node].inputs) if i in pending]
    waiting[node] = len(inputs)
    for i in inputs:
      readers[i].append(node)
    if not inputs:
      offer(node)
  while ready:
    if full:
      key = full.pop()
    else:
      key = max(ready, key=lambda key: len(ready[key]))
    batch = ready.pop(key)
    if most and len(batch) > most[key]:
      batch, rest = batch[: most[key]], batch[most[key] :]
      for node in rest:
        offer(node)
    symbol, window = key
    yield Round(symbol, window, batch)
    for node in batch:
      for reader in readers[node]:
        waiting[reader] -= 1
        if not waiting[reader]:
          offer(reader)


def group(node: Node) -> tuple[str, int | None]:
  """What has to be compiled for a node; all numbers share one program."""
  name = node.symbol if node.symbol in vocab.OPERATORS else 'number'
  return name, node.window
