"""Stores of several devices, formulas dealt over them.

Each device evaluates its formulas alone, and devices tell each other nothing. A
formula goes where most of it was evaluated or will be, so that what formulas
share is mostly computed once, unless that device has its share of the work.
Which it is decides nothing: a formula has the same bits wherever it goes.
"""

import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from alphajax.data.panel import Panel
from alphajax.factor import plan, runtime, waves
from alphajax.factor import store as store_lib
from alphajax.factor.store import Store
from alphajax.language.formula import Formula

# Work of a node whose operator reads more than the cells that it writes, and of
# what a formula is reduced to; others have 1, see `waves.LIGHT`.
HEAVY = 10
# A device is given what it knows until its work is so many times the mean.
SLACK = 1.05


class Stores:
  """A store on each of several devices, used as one `Store` is.

  What it gives is the same to the bit as by one of them, for nothing but the
  lanes of calls is another, see `waves.HEAVY` and `waves.REDUCED`.
  """

  def __init__(
    self,
    panel: Panel,
    budget: int,
    devices: Sequence[jax.Device],
    in_waves: bool | None = None,
  ):
    """Puts the panel on the devices, on each when it is given formulas.

    budget: bytes of each device for values, beside the panel.
    in_waves: see `Store`.

    Raises:
      ValueError: the budget holds fewer values than any formula needs.
    """
    self._make = functools.partial(Store, panel, budget, in_waves)
    self._devices = list(devices)
    first = self._make(self._devices[0])
    self._stores = {0: first}
    self.shape, self.capacity = first.shape, first.capacity
    self.feature_names, self.universe = first.feature_names, first.universe
    self._dealer = Dealer(len(self._devices), self.feature_names, self.capacity)

  @property
  def computed(self) -> int:
    """Nodes evaluated so far, on all devices."""
    return sum(store.computed for store in self._stores.values())

  def map(self, formulas: Sequence[Formula], reduce: Callable, *args: Any):
    """`Store.map`."""
    if not formulas:
      raise ValueError('no formulas to evaluate')
    found, order = self._each(
      formulas, lambda store, part: store.map(part, reduce, *args)
    )
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *found)

  def take(self, formulas: Sequence[Formula]) -> list[jax.Array]:
    """`Store.take`; all on the default device."""
    found, order = self._each(formulas, Store.take)
    values = list(itertools.chain.from_iterable(found))
    return [values[place] for place in order]

  def _each(
    self, formulas: Sequence[Formula], work: Callable
  ) -> tuple[list, list[int]]:
    """`work(store, formulas of it)` of the stores that have any, at once.

    Returns:
      What it gives, and the place of each formula in all of that joined.
    """
    parts = collections.defaultdict(list)
    for i, home in enumerate(self._dealer.deal(formulas)):
      parts[home].append(i)

    def run(home):
      return work(self._store(home), [formulas[i] for i in parts[home]])

    if len(parts) < 2:
      found = [run(home) for home in parts]
    else:
      # Launches return at once, but planning and fetching do not.
      with (
        runtime.without_collections(),
        concurrent.futures.ThreadPoolExecutor(len(parts)) as threads,
      ):
        found = list(threads.map(run, parts))
    joined = list(itertools.chain.from_iterable(parts.values()))
    return found, np.argsort(joined).tolist()

  def _store(self, home: int) -> Store:
    if home not in self._stores:
      self._stores[home] = self._make(self._devices[home])
    return self._stores[home]


class Dealer:
  """Which of several stores evaluates a formula.

  It goes by what the stores were given, not by what they still hold: as many
  nodes as they have room for, those given last.
  """

  def __init__(self, count: int, feature_names: Sequence[str], capacity: int):
    """Of `count` stores, each with room for `capacity` values."""
    self._count, self._capacity = count, capacity
    self._feature_names = tuple(feature_names)
    self._start()

  def _start(self) -> None:
    self._graph = plan.Graph()
    for name in self._feature_names:
      self._graph.add(Formula(name))
    self._given: list[collections.OrderedDict[int, None]] = [
      collections.OrderedDict() for _ in range(self._count)
    ]

  def deal(self, formulas: Sequence[Formula]) -> list[int]:
    """The store of each formula, the same for those that are isomorphic."""
    if len(self._graph.nodes) > store_lib.MAX_NODES:
      self._start()
    roots = [self._graph.add(formula) for formula in formulas]
    below = {
      root: self._graph.missing(root, self._is_feature) for root in roots
    }
    share = SLACK * self._work(below) / self._count
    loads, homes = [0] * self._count, {}
    for root, nodes in below.items():
      costs = self._costs(nodes)
      homes[root] = home = _home(costs, loads, share)
      loads[home] += costs[home]
      self._give(nodes, home)
    return [homes[root] for root in roots]

  def _is_feature(self, node: int) -> bool:
    return node < len(self._feature_names)

  def _work(self, below: dict[int, list[int]]) -> int:
    """Of formulas, if what they share is computed once."""
    nodes = set(itertools.chain.from_iterable(below.values()))
    new = [n for n in nodes if not any(n in given for given in self._given)]
    work = sum(_weight(self._graph.groups[node][0]) for node in new)
    return HEAVY * len(below) + work

  def _costs(self, nodes: Sequence[int]) -> list[int]:
    """Work of a formula on each store: of what it was not given."""
    weights = [_weight(self._graph.groups[node][0]) for node in nodes]
    each = list(zip(nodes, weights, strict=True))
    return [
      HEAVY + sum(weight for node, weight in each if node not in given)
      for given in self._given
    ]

  def _give(self, nodes: Sequence[int], home: int) -> None:
    given = self._given[home]
    for node in nodes:
      given[node] = None
      given.move_to_end(node)
    while len(given) > self._capacity:
      given.popitem(last=False)


@functools.cache
def _weight(name: str) -> int:
  """Work of a node by its operator."""
  return 1 if waves.is_light(name) else HEAVY


def _home(costs: list[int], loads: list[int], share: float) -> int:
  """Where a formula is cheapest of where it fits, else the least busy store.

  What is cheap to compute twice is no reason to go where others went.
  """
  after = [load + cost for load, cost in zip(loads, costs, strict=True)]
  fitting = [home for home, load in enumerate(after) if load <= share]
  if not fitting:
    return after.index(min(after))
  return min(fitting, key=lambda i: costs[i] + HEAVY * loads[i] / share)


def over_devices(panel: Panel, budget: int, devices: int = 0) -> Store | Stores:
  """A store on each device of this process, on a CPU one for all its cores.

  Args:
    panel: that formulas read.
    budget: bytes of each device for values, beside the panel.
    devices: so many; 0: all there are.
  """
  local = jax.local_devices()
  chosen = local[: devices or len(local)]
  if len(chosen) == 1 or not runtime.in_waves():
    return Store(panel, budget)
  return Stores(panel, budget, chosen)
