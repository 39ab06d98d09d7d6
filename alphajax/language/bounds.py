"""What a grammar can write in a length: least growth, most symbols, days."""

from collections.abc import Sequence

from alphajax.language import vocab as vocab_lib
from alphajax.language.rows import Rule, arity_of, is_windowed

_INFINITE = 10**9


def needs(rules: Sequence[Rule], vocab: vocab_lib.Vocab) -> list[int]:
  """Least growth that finishes each symbol, `[V]`; 0 for terminals.

  Raises:
    ValueError: a nonterminal in use has no rule, or none that ends.
  """
  need = [
    _INFINITE if symbol.kind == 'nonterminal' else 0 for symbol in vocab.symbols
  ]
  for _ in vocab.symbols:  # A cheapest tree repeats no symbol on a path.
    for lhs, rhs, growth in rules:
      need[lhs] = min(need[lhs], growth + sum(need[s] for s in rhs))
  with_rules = {lhs for lhs, _, _ in rules}
  used = {s for _, rhs, _ in rules for s in rhs} | with_rules
  used = {s for s in used if vocab.symbols[s].kind == 'nonterminal'}
  for symbol in sorted(used - with_rules):
    raise ValueError(f'nonterminal {vocab.symbols[symbol].name!r} has no rule')
  for symbol in sorted(used):
    if need[symbol] >= _INFINITE:
      name = vocab.symbols[symbol].name
      raise ValueError(f'nonterminal {name!r} cannot terminate')
  # Those no rule mentions cannot appear.
  return [0 if n >= _INFINITE else n for n in need]


def most(
  rules: Sequence[Rule],
  need: Sequence[int],
  max_length: int,
  start: int,
  *,
  leaf: int,
  per_rule: int,
) -> int:
  """The largest total of a derivation from `start` within `max_length`.

  The total is `leaf` for every terminal written and `per_rule` for every rule
  applied: tokens are (1, 0), steps are (0, 1).

  Raises:
    ValueError: it is unbounded, since rules of increment 0 can repeat.
  """
  nonterminals = {lhs for lhs, _, _ in rules}
  # best[A][g]: the most that A can write with growth g or less.
  best = {a: [-_INFINITE] * (max_length + 1) for a in nonterminals}
  for _ in range(len(nonterminals) * (max_length + 1) + 1):
    changed = False
    for lhs, rhs, growth in rules:
      if growth + sum(need[s] for s in rhs) > max_length:
        continue
      total = [per_rule] * (max_length + 1 - growth)
      for symbol in rhs:
        part = best.get(symbol, [leaf] * (max_length + 1))
        total = [
          max(total[i] + part[g - i] for i in range(g + 1))
          for g in range(len(total))
        ]
      for g, value in enumerate(total, start=growth):
        if value > best[lhs][g] and value > 0:
          best[lhs][g], changed = value, True
    if not changed:
      return best[start][max_length]
  raise ValueError('rules of increment 0 can repeat for ever: no bound holds')


def most_history(
  rules: Sequence[Rule], max_length: int, start: int, vocab: vocab_lib.Vocab
) -> int:
  """Days before today that the longest-looking formula needs."""
  symbols = vocab.symbols
  # Those that a rule writes in the place of a nonterminal.
  windows = [
    int(symbols[rhs[0]].name)
    for _, rhs, _ in rules
    if len(rhs) == 1 and symbols[rhs[0]].kind == 'window'
  ]
  deepest = max(windows, default=1)
  best = {lhs: [0] * (max_length + 1) for lhs, _, _ in rules}
  need = needs(rules, vocab)

  def read(rhs: tuple[int, ...], at: int, spare: int) -> tuple[int, int]:
    """(history, end) of the tree at `at`, any one branch taking `spare`."""
    symbol, below, end = symbols[rhs[at]], 0, at + 1
    if rhs[at] in best:
      below = best[rhs[at]][spare + need[rhs[at]]]
    for _ in range(arity_of(symbol) if end < len(rhs) else 0):
      last = end
      days, end = read(rhs, end, spare)
      below = max(below, days)
    if not is_windowed(symbol) or end == at + 1:
      return below, end
    name = symbols[rhs[last]].name
    window = int(name) if name.isdigit() else deepest
    # A masked operator may become Ref.
    reaches_back = symbol.reaches_back or symbol.name == 'RollingOp'
    return below + window - (not reaches_back), end

  changed = True
  while changed:
    changed = False
    for lhs, rhs, growth in rules:
      least = growth + sum(need[s] for s in rhs)
      for g in range(least, max_length + 1):
        days = read(rhs, 0, g - least)[0]
        if days > best[lhs][g]:
          best[lhs][g], changed = days, True
  return best[start][max_length]
