"""Planning: formulas -> distinct subexpressions.

A search proposes thousands of formulas whose subtrees repeat endlessly. Here
they become one graph of distinct canonical subexpressions (hash-consing). All
nodes of a `group`, one operator and one window, share a program, so new
formulas never compile anything. Host code, no JAX.
"""

from collections.abc import Callable
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
    kind = formula_lib.kind(formula) if args else None
    if kind in vocab.WINDOWED:
      window, args = int(args[-1].symbol), args[:-1]
    inputs = [self.add(arg) for arg in args]
    is_swapped = kind in vocab.COMMUTATIVE
    if is_swapped and inputs[0] > inputs[1]:
      inputs[:2] = inputs[1], inputs[0]
    key = (symbol, window, *inputs)
    node = self._ids.get(key)
    if node is not None:
      return node
    if is_swapped and self._stands_after(*inputs[:2]):
      inputs[:2] = inputs[1], inputs[0]
    return self._append(key, inputs)

  def _append(self, key: tuple, inputs: list[int]) -> int:
    symbol, window = key[:2]
    node = Node(symbol, window, tuple(inputs))
    self._ids[key] = len(self.nodes)
    self.nodes.append(node)
    self.groups.append(group(node))
    size = 1
    for i in inputs:
      size += self.sizes[i]
    self.sizes.append(size)
    return self._ids[key]

  def _stands_after(self, one: int, other: int) -> bool:
    """Whether the canonical form has the other operand first."""
    heads = self._head(one), self._head(other)
    if heads[0] != heads[1]:
      return heads[0] > heads[1]
    return self._text(one) > self._text(other)

  def _head(self, node: int) -> tuple[bool, str]:
    """Whether it is a number, and how the text begins; most differ there."""
    symbol, _, inputs = self.nodes[node]
    return symbol[0] in '-.0123456789', f'{symbol}(' if inputs else symbol

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


def group(node: Node) -> tuple[str, int | None]:
  """What has to be compiled for a node; all numbers share one program."""
  name = node.symbol if node.symbol in vocab.OPERATORS else 'number'
  return name, node.window
