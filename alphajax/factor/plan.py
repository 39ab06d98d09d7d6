"""Planning: formulas -> distinct subexpressions, scheduled in rounds.

A search proposes thousands of formulas whose subtrees repeat endlessly. Here
they become one graph of distinct canonical subexpressions (hash-consing), and
the ones not yet known are grouped into *rounds*: one operator, one window, many
nodes. A round is one call of one compiled program, so new formulas never
compile anything. Host code, no JAX.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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


class Graph:
  """Distinct subexpressions; a node's id is its position, inputs come first."""

  def __init__(self):
    self.nodes: list[Node] = []
    self.sizes: list[int] = []  # Operators and operands in and below a node.
    self._ids: dict[Node, int] = {}

  def add(self, formula: formula_lib.Formula) -> int:
    """Adds a formula and its subexpressions; returns the id of its root."""
    return self._add(formula_lib.canonical(formula))

  def _add(self, formula: formula_lib.Formula) -> int:
    args, window = formula.args, None
    if formula_lib.is_windowed(formula):
      window, args = int(args[-1].symbol), args[:-1]
    node = Node(formula.symbol, window, tuple(map(self._add, args)))
    if node not in self._ids:
      self._ids[node] = len(self.nodes)
      self.nodes.append(node)
      self.sizes.append(1 + sum(self.sizes[i] for i in node.inputs))
    return self._ids[node]

  def missing(self, root: int, known: Callable[[int], bool]) -> list[int]:
    """Nodes below and including `root` that are not known, inputs first."""
    found, stack = set(), [root]
    while stack:
      node = stack.pop()
      if node not in found and not known(node):
        found.add(node)
        stack.extend(self.nodes[node].inputs)
    return sorted(found)  # Ids grow from inputs to outputs.


def rounds(graph: Graph, nodes: Iterable[int]) -> Iterator[Round]:
  """Groups nodes so that inputs come first, in few and large rounds.

  Args:
    graph: the subexpressions.
    nodes: ids to compute; inputs outside of them are known already.
  """
  pending = set(nodes)
  waiting, readers = {}, defaultdict(list)
  ready = defaultdict(list)
  for node in sorted(pending):
    inputs = [i for i in set(graph.nodes[node].inputs) if i in pending]
    waiting[node] = len(inputs)
    for i in inputs:
      readers[i].append(node)
    if not inputs:
      ready[group(graph.nodes[node])].append(node)
  while ready:
    largest = max(ready, key=lambda key: len(ready[key]))
    batch = ready.pop(largest)
    yield Round(*largest, batch)
    for node in batch:
      for reader in readers[node]:
        waiting[reader] -= 1
        if not waiting[reader]:
          ready[group(graph.nodes[reader])].append(reader)


def group(node: Node) -> tuple[str, int | None]:
  """What has to be compiled for a node; all numbers share one program."""
  name = node.symbol if node.symbol in vocab.OPERATORS else 'number'
  return name, node.window
