"""Exact sizes of languages (Appendix E), by dynamic programming on big ints.

Formulas are counted, not derivations: a tree that several rules can write
counts once, at its least length. For this a tree is known by its *profile*, the
least length at which each nonterminal derives it, and the profile of a node
follows from those of its children. Isomorphic formulas share one profile too:
the least over their orders. So both counts go through one table.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from alphajax.language import grammar as grammar_lib
from alphajax.language import rows as rows_lib
from alphajax.language import vocab as vocab_lib

# Least length from each nonterminal that can write the tree, sorted by name.
Profile = tuple[tuple[str, int], ...]
# Root symbol -> rules (nonterminal, names of its children's, increment).
Table = Mapping[str, tuple[tuple[str, tuple[str, ...], int], ...]]
Numbers = dict[int, dict[Profile, int]]  # Size -> profile -> how many trees.


def sizes(grammar: grammar_lib.Grammar, *, distinct: bool = False) -> list[int]:
  """How many formulas have length 0, 1, ... `max_length`, exactly.

  Args:
    grammar: any; its length is what its increments count.
    distinct: count isomorphic formulas (Definition 6) once.
  """
  rules, units = _flatten(grammar)
  start = grammar.vocab.symbols[grammar.start].name
  totals = Counter()
  for trees in _trees(rules, units, grammar, distinct).values():
    for profile, number in trees.items():
      totals[dict(profile).get(start)] += number
  return [totals[length] for length in range(grammar.max_length + 1)]


def sequences(vocab: vocab_lib.Vocab, length: int) -> int:
  """Sequences of `length` symbols, well-formed or not: r^n of E.1."""
  return num_symbols(vocab) ** length


def num_symbols(vocab: vocab_lib.Vocab) -> int:
  """r of E.1: features, constants, windows and operators."""
  return sum(symbol.kind in vocab_lib.KINDS for symbol in vocab.symbols)


def _flatten(
  grammar: grammar_lib.Grammar,
) -> tuple[Table, list[tuple[str, str, int]]]:
  """Rules of one symbol each, and unit rules (nonterminal, other, increment).

  An inner part of a right-hand side becomes a nonterminal of its own, which
  costs nothing. A masked operator becomes each operator it can be.
  """
  symbols = grammar.vocab.symbols
  rows = rows_lib.read_rows(grammar.rules, grammar.vocab)
  becomes = {}  # Masked operator -> (operator, least increment).
  for lhs, rhs, growth in rows:
    if rows_lib.arity_of(symbols[lhs]):
      becomes.setdefault(symbols[lhs].name, []).append(
        (symbols[rhs[0]].name, growth)
      )
  table, units, parts = {}, [], set()

  def add(lhs: str, body: Sequence[int], growth: int) -> None:
    root = symbols[body[0]]
    if len(body) == 1 and root.kind == 'nonterminal':
      units.append((lhs, root.name, growth))
      return
    children = [
      part(tuple(child)) for child in rows_lib.children_of(body, symbols)
    ]
    for name, more in becomes.get(root.name, [(root.name, 0)]):
      table.setdefault(name, []).append((lhs, tuple(children), growth + more))

  def part(body: tuple[int, ...]) -> str:
    """A nonterminal that writes `body` alone."""
    if len(body) == 1 and symbols[body[0]].kind == 'nonterminal':
      return symbols[body[0]].name
    name = ' '.join(symbols[s].name for s in body)
    name = f'<{name}>'  # No symbol is spelled like this.
    if name not in parts:
      parts.add(name)
      add(name, body, 0)
    return name

  for lhs, rhs, growth in rows:
    if not rows_lib.arity_of(symbols[lhs]):
      add(symbols[lhs].name, rhs, growth)
  return {name: tuple(found) for name, found in table.items()}, units


def _trees(rules: Table, units, grammar, distinct: bool) -> Numbers:
  """Trees within the bound by their number of symbols and their profile."""
  known, ids = [], {}  # Profiles, and their positions: integers hash faster.
  groups = _groups(rules, distinct)

  @functools.cache
  def parent(group: int, children: tuple[int, ...]) -> int | None:
    """The profile of a node; None for a tree that no rule can use."""
    signature, unordered = groups[group][0]
    orders = [tuple(known[child] for child in children)]
    if unordered:
      first, second, *rest = orders[0]
      orders.append((second, first, *rest))
    profile = _profile(signature, units, orders, grammar.max_length)
    if profile and profile not in ids:
      ids[profile] = len(known)
      known.append(profile)
    return ids.get(profile)

  @functools.cache
  def fitting(size: int, names: frozenset[str]) -> list[tuple[int, int]]:
    """(profile, number) of the trees that one of these can write."""
    return [
      (profile, number)
      for profile, number in found[size].items()
      if not names.isdisjoint(name for name, _ in known[profile])
    ]

  found = {}
  for size in range(1, grammar.max_tokens + 1):
    trees = Counter()
    for group, ((signature, unordered), number) in enumerate(groups):
      places = [*zip(*(children for _, children, _ in signature), strict=True)]
      if unordered:
        places[:2] = [places[0] + places[1]] * 2
      sets = [*map(frozenset, places)]
      for children, ways in _choose(fitting, size - 1, sets, unordered):
        profile = parent(group, children)
        if profile is not None:
          trees[profile] += number * ways
    found[size] = trees
  return {
    size: {known[profile]: number for profile, number in trees.items()}
    for size, trees in found.items()
  }


def _groups(rules: Table, distinct: bool) -> list:
  """Operators that differ by name alone: (rules, operands unordered) -> n."""
  groups = Counter()
  for name, signature in rules.items():
    row = vocab_lib.OPERATORS.get(name)
    commutes = row is not None and row.kind in vocab_lib.COMMUTATIVE
    unordered = distinct and commutes
    groups[tuple(sorted(set(signature))), unordered] += 1
  return list(groups.items())


def _choose(
  fitting: Callable,
  size: int,
  places: Sequence[frozenset[str]],
  unordered: bool,
) -> Iterator[tuple[tuple[int, ...], int]]:
  """Profiles of children of `size` symbols together, and how many trees.

  fitting: (size, place) -> (profile, number) of the trees for that place.
  unordered: the first two are a multiset.
  """
  if not places:
    if size == 0:
      yield (), 1
    return
  for split in _splits(size, len(places)):
    if unordered and split[0] > split[1]:
      continue
    for chosen in itertools.product(*map(fitting, split, places)):
      profiles = tuple(profile for profile, _ in chosen)
      numbers = [number for _, number in chosen]
      if unordered and split[0] == split[1]:
        if profiles[0] > profiles[1]:
          continue
        if profiles[0] == profiles[1]:
          numbers[:2] = [numbers[0] * (numbers[0] + 1) // 2]
      yield profiles, math.prod(numbers)


def _splits(size: int, parts: int) -> Iterator[tuple[int, ...]]:
  """The ways to write `size` as an ordered sum of `parts` positive numbers."""
  if parts == 1:
    if size > 0:
      yield (size,)
    return
  for first in range(1, size - parts + 2):
    for rest in _splits(size - first, parts - 1):
      yield (first, *rest)


def _profile(signature, units, orders, max_length) -> Profile:
  """The profile of a node whose children have these profiles, in some order.

  Lengths over `max_length` are left out.
  """
  best = {}
  for profiles in orders:
    lengths = [dict(profile) for profile in profiles]
    for lhs, children, growth in signature:
      parts = [
        length[child]
        for length, child in zip(lengths, children, strict=True)
        if child in length
      ]
      if len(parts) == len(children):
        total = growth + sum(parts)
        best[lhs] = min(best.get(lhs, total), total)
  for _ in units:  # A chain of unit rules is no longer than there are.
    for lhs, other, growth in units:
      if other in best:
        total = growth + best[other]
        best[lhs] = min(best.get(lhs, total), total)
  return tuple(sorted((a, n) for a, n in best.items() if n <= max_length))


def by_symbols(
  rows: Sequence[rows_lib.Row], vocab: vocab_lib.Vocab
) -> list[rows_lib.Row]:
  """The same rows, length being the number of symbols of the formula."""
  terminal = {s.name for s in vocab.symbols if s.kind in vocab_lib.KINDS}
  return [
    (lhs, text, sum(word in terminal for word in text.split()))
    for lhs, text, _ in rows
  ]


def printed_syn(vocab: vocab_lib.Vocab, length: int) -> list[int]:
  """h_0 ... h_length of E.2 as printed: windows are terminals of any place."""
  count = Counter(symbol.kind for symbol in vocab.symbols)
  leaves = sum(count[kind] for kind in vocab_lib.LEAVES)
  two = count['binary'] + count['binary_asym'] + count['rolling']
  h = [0, leaves]
  for n in range(2, length + 1):
    pairs = [_convolve(h, h, m) for m in range(n)]
    triples = _convolve(h, pairs, n - 1)
    h.append(
      count['unary'] * h[n - 1] + two * pairs[n - 1] + count['paired'] * triples
    )
  return h[: length + 1]


def printed_sem(vocab: vocab_lib.Vocab, length: int) -> list[int]:
  """f_0 ... f_length of E.3 as printed, f_1 being the features.

  As printed, Sub, Div and Pow take a constant first and no other operands, and
  Log is one symbol.
  """
  count = Counter(symbol.kind for symbol in vocab.symbols)
  leaf = (count['binary'] + count['binary_asym']) * count['constant']
  leaf += count['rolling'] * count['window']
  f = [0, count['feature']]
  for n in range(2, length + 1):
    f.append(
      count['unary'] * f[n - 1]
      + count['binary'] * _convolve(f, f, n - 1)
      + leaf * f[n - 2]
      + count['paired'] * count['window'] * _convolve(f, f, n - 2)
    )
  return f[: length + 1]


def _convolve(a: Sequence[int], b: Sequence[int], n: int) -> int:
  return sum(a[i] * b[n - i] for i in range(max(n, -1) + 1))
