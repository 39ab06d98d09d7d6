"""Genetic programming by gplearn's scheme, on derivations of a grammar.

Tournaments choose parents; a child is a crossover of two of them, a subtree,
hoist or point mutation of one, or one as it was. Where gplearn repairs or
punishes trees that are too long, here every tree is a formula of the language
within its bound: parts are exchanged between nonterminals of the same name, and
what does not fit is not made (strongly typed trees, Montana 1995).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from alphajax.search import evolution
from alphajax.search.evolution import Derivation, Rules

INNER, LEAF = 0.9, 0.1  # Weights of a node where trees are cut (Koza 1992).
OPERATORS = ('crossover', 'subtree', 'hoist', 'point')
REPRODUCTION = 'reproduction'


class Scheme(NamedTuple):
  """How a generation is made of the last one.

  tournament: contestants, drawn with replacement.
  init_depth: least and largest depth of the trees that are written afresh.
  crossover, subtree, hoist, point: probabilities of a child; what is left of 1
    is that of a parent as it was.
  point_replace: probability of every node under a point mutation.
  parsimony: what a node of a tree takes off its fitness in a tournament.
  """

  tournament: int
  init_depth: tuple[int, int]
  crossover: float
  subtree: float
  hoist: float
  point: float
  point_replace: float
  parsimony: float


class Individual(NamedTuple):
  """One of a population. fitness: the larger the better. size: nodes."""

  derivation: Derivation
  fitness: float
  size: int


def is_operator(rules: Rules, rule: int) -> bool:
  """Whether a production writes a node with operands, and not a leaf."""
  return len(rules.bodies[rule]) > 1


def write(
  rules: Rules,
  symbol: int,
  budget: int,
  depth: int,
  full: bool,
  rng: np.random.Generator,
) -> Derivation:
  """Writes out a nonterminal to a depth, by gplearn's `grow` or `full`.

  The first node is an operator. Above `depth` all others are if `full`, else
  any rule is as likely as another; from there on the flattest, which are leaves
  where there are any. A rule that does not fit the budget is never drawn, and
  where no operator does a leaf is.

  budget: the most that it may add to the length; at least what it needs.
  """
  pending, written = [(symbol, 0)], []
  spare = budget - rules.need[symbol]  # Beyond what `pending` needs.
  while pending:
    symbol, level = pending.pop()
    costs = {
      rule: rules.growth[rule] + rules.rest[rule] - rules.need[symbol]
      for rule in rules.of[symbol]
    }
    valid = [rule for rule, cost in costs.items() if cost <= spare]
    wanted = valid
    if level >= depth:
      flattest = min(rules.depth[rule] for rule in valid)
      wanted = [rule for rule in valid if rules.depth[rule] == flattest]
    elif full or not level:
      wanted = [rule for rule in valid if rules.depth[rule]] or valid
    rule = wanted[int(rng.integers(len(wanted)))]
    spare -= costs[rule]
    below = level + is_operator(rules, rule)
    pending.extend((child, below) for child in reversed(rules.children[rule]))
    written.append(rule)
  return tuple(written)


def half_and_half(
  rules: Rules, scheme: Scheme, rng: np.random.Generator
) -> Derivation:
  """A formula for the first generation: half of them full, half grown."""
  low, high = scheme.init_depth
  depth = int(rng.integers(low, high + 1))
  full = bool(rng.integers(2))
  return write(rules, rules.start, rules.bound, depth, full, rng)


def tournament(
  population: Sequence[Individual], scheme: Scheme, rng: np.random.Generator
) -> Derivation:
  """The fittest of some drawn at random, less what their size costs."""
  drawn = rng.integers(len(population), size=scheme.tournament).tolist()

  def worth(i):
    return population[i].fitness - scheme.parsimony * population[i].size

  return population[max(drawn, key=worth)].derivation


def child_of(
  rules: Rules,
  population: Sequence[Individual],
  scheme: Scheme,
  rng: np.random.Generator,
) -> tuple[Derivation, str]:
  """The next child, and which operator made it.

  An operator that finds no place at which its part fits the bound leaves the
  parent as it was.
  """
  parent = tournament(population, scheme, rng)
  chance = rng.random()
  name = REPRODUCTION
  for each in OPERATORS:
    if chance < getattr(scheme, each):
      name = each
      break
    chance -= getattr(scheme, each)
  if name == REPRODUCTION:
    return parent, name
  if name == 'point':
    return point(rules, parent, scheme.point_replace, rng), name
  if name == 'hoist':
    return hoist(rules, parent, rng), name
  if name == 'crossover':
    donate: Callable = functools.partial(tournament, population, scheme, rng)
  else:
    donate = functools.partial(half_and_half, rules, scheme, rng)
  return crossover(rules, parent, donate(), rng), name


def crossover(
  rules: Rules,
  parent: Derivation,
  donor: Derivation,
  rng: np.random.Generator,
) -> Derivation:
  """A subtree of the donor in the place of one of the parent."""
  for _ in range(evolution.ATTEMPTS):
    at = _cut(rules, parent, range(len(parent)), rng)
    symbol = rules.lhs[parent[at]]
    places = [i for i, rule in enumerate(donor) if rules.lhs[rule] == symbol]
    if not places:
      continue
    child = _graft(rules, parent, at, donor, _cut(rules, donor, places, rng))
    if child is not None:
      return child
  return parent


def hoist(
  rules: Rules, parent: Derivation, rng: np.random.Generator
) -> Derivation:
  """A subtree of a subtree in the place of that: trees get smaller."""
  for _ in range(evolution.ATTEMPTS):
    at = _cut(rules, parent, range(len(parent)), rng)
    symbol, end = rules.lhs[parent[at]], evolution.end_of(rules, parent, at)
    below = [i for i in range(at, end) if rules.lhs[parent[i]] == symbol]
    child = _graft(rules, parent, at, parent, _cut(rules, parent, below, rng))
    if child is not None:
      return child
  return parent


def point(
  rules: Rules,
  parent: Derivation,
  replace: float,
  rng: np.random.Generator,
) -> Derivation:
  """Nodes exchanged for others with the same operands, each by chance.

  One after the other, and none that would exceed the bound.
  """
  child = list(parent)
  for at in np.flatnonzero(rng.random(len(parent)) < replace).tolist():
    alike = rules.alike[child[at]]
    if not alike:
      continue
    kept = child[at]
    child[at] = alike[int(rng.integers(len(alike)))]
    if evolution.length(rules, tuple(child)) > rules.bound:
      child[at] = kept
  return tuple(child)


def _cut(rules, derivation, places, rng) -> int:
  """One of the places, operators nine times as likely as leaves."""
  weights = np.array(
    [INNER if is_operator(rules, derivation[i]) else LEAF for i in places]
  )
  return places[int(rng.choice(len(places), p=weights / weights.sum()))]


def _graft(rules, parent, at, donor, place) -> Derivation | None:
  """The parent with the donor's subtree; None beyond the bound."""
  run = donor[place : evolution.end_of(rules, donor, place)]
  child = parent[:at] + run + parent[evolution.end_of(rules, parent, at) :]
  return child if evolution.length(rules, child) <= rules.bound else None
