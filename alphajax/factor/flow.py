"""Planning in a stream: what is computed next, within the room there is.

Formulas are let in as long as the values that they need have room. Whenever so
many nodes of one operator and window are ready that a call of it is full, they
run; a call that is not full runs only when nobody else can be let in. On a CPU
a call has one node. A value that nothing reads any more makes room for the next
formula. Host code, no JAX.
"""

import collections
from collections.abc import Callable
from typing import Any

from alphajax.factor import plan

FINISH = ('', None)  # The group of values that formulas stand for.
# Operators and operands of values worth keeping once they are read: nearly all
# that return in later formulas have no more.
KEPT_SIZE = 3


class Flow:
  """Nodes on their way: let in, ready, computed, read.

  Never more than `capacity` values are both unread and there or to come, so
  that a node that is ready finds a place.
  """

  def __init__(
    self,
    graph: plan.Graph,
    held: collections.OrderedDict[int, Any],
    num_features: int,
    capacity: int,
    most: Callable[[tuple], int] | None = None,
    drop: bool = False,
  ):
    """Of a graph whose first nodes are features, which take no room.

    held: values that are there, those to forget first in front; kept in this
      order here, and filled by who computes.
    most: group -> nodes of a full call; None: every node is a group of its own,
      and who computes a formula's last node is done with it.
    drop: a large value that was not there is deleted once it is read; else when
      others need room.
    """
    self._graph, self._held, self._drop = graph, held, drop
    self._most = most or (lambda _: 1)
    self._is_alone = most is None
    self._first, self._room = num_features, capacity
    self._new: set[int] = set()  # Nodes that were not there.
    # Who reads an input twice counts twice.
    self._reads: dict[int, int] = {}  # Node -> who will still read it.
    self._waits: dict[int, int] = {}  # Node to come -> inputs to come.
    self._readers = collections.defaultdict(list)  # Input to come -> nodes.
    self._ready = collections.defaultdict(list)  # Group -> nodes.
    # Group -> nodes let in that are not ready.
    self._later: collections.Counter[tuple] = collections.Counter()
    self._full: list[tuple] = []  # Groups of which a call is full.

  @property
  def room(self) -> int:
    """How many more values may be unread or to come."""
    return self._room

  @property
  def is_empty(self) -> bool:
    """True when nothing is ready."""
    return not self._ready

  def let_in(self, root: int) -> bool:
    """Takes up a formula and all that it needs; False if there is no room."""
    new, pinned = self._needs(root)
    if len(new) + pinned > self._room:
      return False
    self._new.update(new)
    for node in new:
      self._room -= 1
      self._waits[node] = 0
      for i in self._graph.nodes[node].inputs:
        self._pin(i)
        if i in self._waits:
          self._waits[node] += 1
          self._readers[i].append(node)
      if not self._waits[node]:
        self._offer(self._group(node), node)
      else:
        self._later[self._group(node)] += 1
    self._pin(root)
    if root in self._waits:
      self._readers[root].append(-1)
      self._later[FINISH] += 1
    else:
      self._offer(FINISH, root)
    return True

  def _needs(self, root: int) -> tuple[list[int], int]:
    """What has to be computed for a formula, and how many values stay for it.

    Inputs come first. Without what is on its way or stays for others.
    """
    new, seen, pinned, stack = [], set(), 0, [root]
    while stack:
      node = stack.pop()
      if node < self._first or node in seen or node in self._waits:
        continue
      seen.add(node)
      if node in self._held:
        pinned += node not in self._reads
      else:
        new.append(node)
        stack.extend(self._graph.nodes[node].inputs)
    new.sort()  # Ids grow from inputs to outputs.
    return new, pinned

  def _group(self, node: int) -> tuple:
    return ('', node) if self._is_alone else self._graph.groups[node]

  def _pin(self, node: int) -> None:
    """One more reads a value, which stays until then."""
    if node < self._first:
      return
    if node not in self._reads and node in self._held:
      self._room -= 1
      self._held.move_to_end(node)
    self._reads[node] = self._reads.get(node, 0) + 1

  def _offer(self, group: tuple, node: int) -> None:
    nodes = self._ready[group]
    nodes.append(node)
    if len(nodes) == self._most(group):
      self._full.append(group)

  def full(self) -> tuple[tuple, list[int]] | None:
    """Group and nodes of a full call, if there is one."""
    return self._cut(self._full.pop()) if self._full else None

  def fullest(self) -> tuple[tuple, list[int]] | None:
    """Group and nodes of a call that would gain least by waiting, if any.

    Asked when no call is full.
    """
    if not self._ready:
      return None
    return self._cut(max(self._ready, key=self._share))

  def _share(self, group: tuple) -> float:
    """How many are ready of all that a call could take of those let in."""
    count = len(self._ready[group])
    return count / min(self._most(group), count + self._later[group])

  def _cut(self, group: tuple) -> tuple[tuple, list[int]]:
    nodes, most = self._ready[group], self._most(group)
    if len(nodes) <= most:
      del self._ready[group]
      return group, nodes
    self._ready[group] = nodes[most:]
    if len(nodes) >= 2 * most:
      self._full.append(group)
    return group, nodes[:most]

  def surplus(self, count: int) -> list[int]:
    """So many values that nobody will read, those to forget first."""
    found: list[int] = []
    for node in self._held:
      if len(found) == count:
        break
      if node not in self._reads:
        found.append(node)
    return found

  def computed(self, nodes: list[int]) -> None:
    """Nodes are there: who reads them may be ready, what they read may go."""
    for node in nodes:
      del self._waits[node]
      for reader in self._readers.pop(node, ()):
        if reader < 0:
          self._later[FINISH] -= 1
          if self._is_alone:
            self._release(node)
          else:
            self._offer(FINISH, node)
          continue
        self._waits[reader] -= 1
        if not self._waits[reader]:
          group = self._group(reader)
          self._later[group] -= 1
          self._offer(group, reader)
      for i in self._graph.nodes[node].inputs:
        self._release(i)

  def finished(self, roots: list[int]) -> None:
    """What formulas stand for is no longer needed."""
    for root in roots:
      self._release(root)

  def _release(self, node: int) -> None:
    if node < self._first:
      return
    self._reads[node] -= 1
    if not self._reads[node]:
      del self._reads[node]
      self._room += 1
      is_small = self._graph.sizes[node] <= KEPT_SIZE
      if self._drop and not is_small and node in self._new:
        del self._held[node]
      else:
        self._held.move_to_end(node, last=is_small)
