"""New formulas from old ones, as derivations of a grammar.

A formula is the productions that write it, leftmost first, so whatever one
nonterminal became is a run of them, and another run from the same nonterminal
may take its place (grammar-guided genetic programming, Whigham 1995). What is
made this way is always a formula of the language, within its bound: nothing is
proposed and thrown away. Plain integers on the host; no array is as large as a
formula is long.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alphajax.language import grammar as grammar_lib
from alphajax.language.formula import Formula
from alphajax.language.grammar import Grammar

Derivation = tuple[int, ...]  # Productions, leftmost first.

OPERATORS = ('regrow', 'point', 'crossover', 'insert', 'hoist')
ATTEMPTS = 20  # Places tried before a formula is written afresh instead.


class Edit(NamedTuple):
  """How a child is made: position of its parent, operator, place in it."""

  parent: int
  operator: str
  at: int


class Rules(NamedTuple):
  """A grammar as the host reads it, one entry a production.

  bodies: the symbols of the right-hand side, in order.
  children: the nonterminals among them.
  rest: the least growth that finishes them.
  of: nonterminal -> its productions.
  alike: the other productions of the same nonterminal with the same children.
  need: nonterminal -> the least growth that finishes it.
  depth: the least number of operators above each other that it can end in.
  """

  lhs: tuple[int, ...]
  bodies: tuple[tuple[int, ...], ...]
  children: tuple[tuple[int, ...], ...]
  growth: tuple[int, ...]
  rest: tuple[int, ...]
  of: dict[int, tuple[int, ...]]
  alike: tuple[tuple[int, ...], ...]
  need: dict[int, int]
  depth: tuple[int, ...]
  start: int
  bound: int


def read_rules(grammar: Grammar) -> Rules:
  """The tables of a grammar."""
  lhs = tuple(np.asarray(grammar.lhs).tolist())
  widths = np.asarray(grammar.rhs_len).tolist()
  bodies = tuple(
    tuple(body[:width])
    for body, width in zip(
      np.asarray(grammar.rhs).tolist(), widths, strict=True
    )
  )
  of: dict[int, tuple[int, ...]] = {}
  for rule, symbol in enumerate(lhs):
    of[symbol] = (*of.get(symbol, ()), rule)
  children = tuple(tuple(s for s in body if s in of) for body in bodies)
  need = np.asarray(grammar.need).tolist()
  return Rules(
    lhs=lhs,
    bodies=bodies,
    children=children,
    growth=tuple(np.asarray(grammar.growth).tolist()),
    rest=tuple(np.asarray(grammar.rhs_need).tolist()),
    of=of,
    alike=tuple(
      tuple(q for q in of[lhs[p]] if q != p and children[q] == children[p])
      for p in range(len(lhs))
    ),
    need={symbol: need[symbol] for symbol in of},
    depth=_depths(lhs, bodies, children, of),
    start=grammar.start,
    bound=grammar.max_length,
  )


def _depths(lhs, bodies, children, of) -> tuple[int, ...]:
  """`Rules.depth`; every nonterminal can end, as a grammar has checked."""
  lowest = dict.fromkeys(of, len(lhs))
  depths = [len(lhs)] * len(lhs)
  for _ in of:  # A flattest tree repeats no nonterminal on a path.
    for rule, symbol in enumerate(lhs):
      below = max((lowest[child] for child in children[rule]), default=0)
      depths[rule] = (len(bodies[rule]) > 1) + below
      lowest[symbol] = min(lowest[symbol], depths[rule])
  return tuple(depths)


def grow(
  rules: Rules, symbol: int, budget: int, rng: np.random.Generator
) -> Derivation:
  """Writes out a nonterminal by rules drawn uniformly among the valid ones.

  The same distribution as `environment.random_tokens` plays.

  budget: the most that it may add to the length; at least what it needs.
  """
  pending, written = [symbol], []
  spare = budget - rules.need[symbol]  # Beyond what `pending` needs.
  while pending:
    symbol = pending.pop()
    least = rules.need[symbol]
    valid = [
      rule
      for rule in rules.of[symbol]
      if rules.growth[rule] + rules.rest[rule] - least <= spare
    ]
    rule = valid[int(rng.integers(len(valid)))]
    spare -= rules.growth[rule] + rules.rest[rule] - least
    pending.extend(reversed(rules.children[rule]))
    written.append(rule)
  return tuple(written)


def end_of(rules: Rules, derivation: Derivation, start: int) -> int:
  """Where the run ends that writes out the nonterminal at `start`."""
  pending, at = 1, start
  while pending:
    pending += len(rules.children[derivation[at]]) - 1
    at += 1
  return at


def length(rules: Rules, derivation: Derivation) -> int:
  """What a run of productions adds to the length of a formula."""
  return sum(rules.growth[rule] for rule in derivation)


def propose(
  rules: Rules,
  parents: Sequence[Derivation],
  rng: np.random.Generator,
  *,
  fresh: float,
  operators: Sequence[str] = OPERATORS,
) -> Derivation:
  """One child of the parents, or with probability `fresh` a new formula.

  Every operator is as likely as another, and every parent; a child that is
  none, since nothing at the places tried fits the bound, is written afresh.

  Args:
    rules: of the language.
    parents: derivations; none of them: the formula is new.
    rng: consumed.
    fresh: the share of formulas that owe nothing to a parent.
    operators: names in `OPERATORS`.
  """
  new = functools.partial(grow, rules, rules.start, rules.bound, rng)
  if not parents or rng.random() < fresh:
    return new()
  made = vary(rules, parents, rng, operators)
  return made[0] if made else new()


def vary(
  rules: Rules,
  parents: Sequence[Derivation],
  rng: np.random.Generator,
  operators: Sequence[str] = OPERATORS,
) -> tuple[Derivation, Edit] | None:
  """A child by an edit drawn uniformly; None where no place tried had one."""
  parent = int(rng.integers(len(parents)))
  other = parents[int(rng.integers(len(parents)))]
  operator = operators[int(rng.integers(len(operators)))]
  for _ in range(ATTEMPTS):
    edit = Edit(parent, operator, int(rng.integers(len(parents[parent]))))
    child = apply(rules, parents, edit, other, rng)
    if child is not None:
      return child, edit
  return None


def apply(
  rules: Rules,
  parents: Sequence[Derivation],
  edit: Edit,
  other: Derivation,
  rng: np.random.Generator,
) -> Derivation | None:
  """What an edit makes of its parent; None where that is nothing new.

  other: whose parts a crossover takes.
  """
  parent = parents[edit.parent]
  child = _VARY[edit.operator](rules, parent, edit.at, other, rng)
  return None if child == parent else child


def _replace(rules, parent, at, run) -> Derivation | None:
  """The parent with another run at `at`; None where it would be too long."""
  child = parent[:at] + run + parent[end_of(rules, parent, at) :]
  return child if length(rules, child) <= rules.bound else None


def _regrow(rules, parent, at, other, rng):
  """Another expression in the place of one."""
  del other
  end = end_of(rules, parent, at)
  kept = length(rules, parent[:at]) + length(rules, parent[end:])
  run = grow(rules, rules.lhs[parent[at]], rules.bound - kept, rng)
  return _replace(rules, parent, at, run)


def _point(rules, parent, at, other, rng):
  """Another operator, window, constant or feature, all else as it was."""
  del other
  alike = rules.alike[parent[at]]
  if not alike:
    return None
  child = (
    *parent[:at],
    alike[int(rng.integers(len(alike)))],
    *parent[at + 1 :],
  )
  return child if length(rules, child) <= rules.bound else None


def _crossover(rules, parent, at, other, rng):
  """An expression of another parent of the same kind."""
  symbol = rules.lhs[parent[at]]
  places = [i for i, rule in enumerate(other) if rules.lhs[rule] == symbol]
  if not places:
    return None
  place = places[int(rng.integers(len(places)))]
  run = other[place : end_of(rules, other, place)]
  return _replace(rules, parent, at, run)


def _insert(rules, parent, at, other, rng):
  """An operator above an expression, its other operands new."""
  del other
  symbol, end = rules.lhs[parent[at]], end_of(rules, parent, at)
  above = [r for r in rules.of[symbol] if symbol in rules.children[r]]
  if not above:
    return None
  rule = above[int(rng.integers(len(above)))]
  children = rules.children[rule]
  places = [i for i, child in enumerate(children) if child == symbol]
  place = places[int(rng.integers(len(places)))]
  least = rules.rest[rule] - rules.need[symbol]
  spare = rules.bound - length(rules, parent) - rules.growth[rule] - least
  if spare < 0:
    return None
  run: Derivation = (rule,)
  for i, child in enumerate(children):
    if i == place:
      run += parent[at:end]
      continue
    part = grow(rules, child, rules.need[child] + spare, rng)
    spare -= length(rules, part) - rules.need[child]
    run += part
  return _replace(rules, parent, at, run)


def _hoist(rules, parent, at, other, rng):
  """A part of an expression in the place of the whole."""
  del other
  symbol, end = rules.lhs[parent[at]], end_of(rules, parent, at)
  below = [i for i in range(at + 1, end) if rules.lhs[parent[i]] == symbol]
  if not below:
    return None
  place = below[int(rng.integers(len(below)))]
  return _replace(
    rules, parent, at, parent[place : end_of(rules, parent, place)]
  )


_VARY = dict(
  zip(OPERATORS, (_regrow, _point, _crossover, _insert, _hoist), strict=True)
)


def opened(
  rules: Rules, derivation: Derivation, at: int
) -> tuple[list[int], int]:
  """A formula with the expression at one place left open.

  Returns:
    (the tokens in prefix order, in which a nonterminal stands for what the
    productions from `at` on wrote, and the length that is left).
  """
  end = end_of(rules, derivation, at)
  kept = (*derivation[:at], *derivation[end:])
  left = length(rules, kept)
  remaining = iter(derivation)
  pending, tokens, place = [rules.start], [], 0
  while pending:
    symbol = pending.pop()
    if symbol not in rules.of:
      tokens.append(symbol)
      continue
    if place == at:
      tokens.append(symbol)
      for _ in range(end - at):
        next(remaining)
      place = end
      continue
    pending.extend(reversed(rules.bodies[next(remaining)]))
    place += 1
  return tokens, left


def formula_of(
  grammar: Grammar, rules: Rules, derivation: Derivation
) -> Formula:
  """The formula that a derivation writes."""
  remaining = iter(derivation)
  pending, tokens = [rules.start], []
  while pending:
    symbol = pending.pop()
    if symbol in rules.of:
      pending.extend(reversed(rules.bodies[next(remaining)]))
    else:
      tokens.append(symbol)
  return grammar_lib.formula_of(grammar, np.array(tokens))
