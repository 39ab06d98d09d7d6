"""Text rows of a grammar: the presets, their checks and their bounds.

A row is `(nonterminal, right-hand side, increment)`, for example
`('Expr', 'Add Expr Expr', 2)`: prefix order, symbols apart by a space. Host
code, run once per grammar.
"""

from collections.abc import Callable, Sequence

from alphajax.language import typed
from alphajax.language import vocab as vocab_lib

Row = tuple[str, str, int]
# A rule as ids: (left-hand side, right-hand side, increment).
Rule = tuple[int, tuple[int, ...], int]

# How the children of a symbol count, for isomorphism and the Tree-LSTM.
LEAF, ORDERED, SYMMETRIC, PAIRED = range(4)
_ROLES = {
  'unary': ORDERED,
  'binary': SYMMETRIC,
  'binary_asym': ORDERED,
  'rolling': ORDERED,
  'paired': PAIRED,
}
_INFINITE = 10**9


def _unmasked(symbol: vocab_lib.Symbol) -> vocab_lib.Symbol:
  """The symbol; a masked operator as one of the kind that it stands for."""
  return symbol._replace(kind=vocab_lib.MASKED.get(symbol.name, symbol.kind))


def arity_of(symbol: vocab_lib.Symbol) -> int:
  """Children of a node, also of a masked operator."""
  return _unmasked(symbol).arity


def children_of(
  body: Sequence[int], symbols: Sequence[vocab_lib.Symbol]
) -> list[Sequence[int]]:
  """The subtrees below the root of a prefix tree, slices of `body`."""
  children, at = [], 1
  while at < len(body):
    end, missing = at, 1
    while missing:
      missing += arity_of(symbols[body[end]]) - 1
      end += 1
    children.append(body[at:end])
    at = end
  return children


def role_of(symbol: vocab_lib.Symbol) -> int:
  """LEAF, ORDERED, SYMMETRIC or PAIRED."""
  return _ROLES.get(_unmasked(symbol).kind, LEAF)


def is_windowed(symbol: vocab_lib.Symbol) -> bool:
  """True where the last child of the symbol is a window."""
  return _unmasked(symbol).kind in vocab_lib.WINDOWED


def _by_kind(vocab: vocab_lib.Vocab) -> dict[str, list[str]]:
  """Names of each kind, those of kinds that cannot be used left out."""
  names = {}
  for symbol in vocab.symbols:
    names.setdefault(symbol.kind, []).append(symbol.name)
  windowed = names.get('rolling', []) + names.get('paired', [])
  if windowed and 'window' not in names:
    raise ValueError(
      f'{windowed[0]} needs a window and there is none: add one to '
      'language.windows'
    )
  if not windowed:
    names['window'] = []
  return {kind: names.get(kind, []) for kind in vocab_lib.KINDS}


def sem_k_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """alpha-Sem of Definition 3 with the increments of Table 7."""
  names = _by_kind(vocab)
  if 'Log' in names['unary'] and 'Abs' not in names['unary']:
    raise ValueError('Log is written Log(Abs(.)): add the operator Abs')
  asym = names['binary_asym']
  binary = names['binary'] + asym
  constants = names['constant'] if binary else []
  rows = [('Expr', name, 0) for name in names['feature']]
  rows += [
    # The domain of Log: numerical validity, constraint (iii) of section 3.2.
    ('Expr', 'Log Abs Expr' if name == 'Log' else f'{name} Expr', 1)
    for name in names['unary']
  ]
  rows += [('Expr', f'{name} Expr Expr', 2) for name in binary]
  if constants:
    rows += [('Expr', f'{name} Expr Constant', 2) for name in binary]
    rows += [('Expr', f'{name} Constant Expr', 2) for name in asym]
  rows += [('Expr', f'{name} Expr Num', 2) for name in names['rolling']]
  rows += [('Expr', f'{name} Expr Expr Num', 3) for name in names['paired']]
  rows += [('Num', name, 0) for name in names['window']]
  rows += [('Constant', name, 0) for name in constants]
  return rows


def sem_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """alpha-Sem, cut off at `max_length` operators.

  The paper leaves its length unbounded and its released code drops a game that
  is not over after "max length" moves. Here every game ends in a formula. The
  number of symbols would be alpha-Sem-k again, since Table 7 is the number of
  symbols less 1; operators are the wider bound, which holds all of
  alpha-Sem-k of the same `max_length`.
  """
  return [
    (lhs, text, min(growth, 1)) for lhs, text, growth in sem_k_rows(vocab)
  ]


def syn_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """alpha-Syn of Definition 2: operands untyped, constants among them.

  Windows stay `Num`, as in the paper's experiments (I.2); cut off at
  `max_length` operators, as `sem_rows`.
  """
  names = _by_kind(vocab)
  rows = [('Expr', name, 0) for name in names['feature'] + names['constant']]
  rows += [('Expr', f'{name} Expr', 1) for name in names['unary']]
  for name in names['binary'] + names['binary_asym']:
    rows.append(('Expr', f'{name} Expr Expr', 1))
  rows += [('Expr', f'{name} Expr Num', 1) for name in names['rolling']]
  rows += [('Expr', f'{name} Expr Expr Num', 1) for name in names['paired']]
  rows += [('Num', name, 0) for name in names['window']]
  return rows


def rpn_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """The trees of the formulas that RPN can write, their length in tokens.

  A constant is an operand of a binary operator beside one that is not
  constant; operands are not typed further.
  """
  names = _by_kind(vocab)
  binary = names['binary'] + names['binary_asym']
  constants = names['constant'] if binary else []
  rows = [('Expr', name, 1) for name in names['feature']]
  rows += [('Expr', f'{name} Expr', 1) for name in names['unary']]
  rows += [('Expr', f'{name} Expr Expr', 1) for name in binary]
  if constants:
    rows += [('Expr', f'{name} Expr Constant', 1) for name in binary]
    rows += [('Expr', f'{name} Constant Expr', 1) for name in binary]
  rows += [('Expr', f'{name} Expr Num', 1) for name in names['rolling']]
  rows += [('Expr', f'{name} Expr Expr Num', 1) for name in names['paired']]
  rows += [('Num', name, 1) for name in names['window']]
  rows += [('Constant', name, 1) for name in constants]
  return rows


PRESETS: dict[str, Callable[[vocab_lib.Vocab], list[Row]]] = {
  'sem_k': sem_k_rows,
  'sem': sem_rows,
  'syn': syn_rows,
  'typed_k': typed.typed_k_rows,
}


def extend_vocab(
  vocab: vocab_lib.Vocab, rows: Sequence[Row]
) -> vocab_lib.Vocab:
  """Adds the nonterminals that only the rows know."""
  known = {symbol.name for symbol in vocab.symbols}
  new = dict.fromkeys(lhs for lhs, _, _ in rows if lhs not in known)
  more = (vocab_lib.Symbol(name, 'nonterminal') for name in new)
  return vocab_lib.Vocab((*vocab.symbols, *more))


def read_rows(rows: Sequence[Row], vocab: vocab_lib.Vocab) -> list[Rule]:
  """Rows as ids.

  A number in the last place of a windowed operator, or alone in a row of
  `Num`, is a window; any other number is a constant.

  Raises:
    ValueError: no rows, an unknown symbol, a repeated row, an increment that
      is no integer >= 0, a right-hand side that is not one whole tree.
  """
  if not rows:
    raise ValueError('the grammar is empty: it has no rows')
  rules = []
  arity = [arity_of(symbol) for symbol in vocab.symbols]
  for row in rows:
    lhs, text, growth = row
    if growth != int(growth) or growth < 0:
      raise ValueError(f'row {row}: the increment must be an integer >= 0')
    words = text.split()
    places = _window_places(lhs, words, vocab)
    rhs = tuple(
      _symbol_id(word, i in places, vocab, row) for i, word in enumerate(words)
    )
    rule = (_nonterminal_id(lhs, vocab, row), rhs, int(growth))
    _check_tree(rule, arity, row)
    if rule in rules:
      raise ValueError(f'row {row} is repeated')
    rules.append(rule)
  _check_units(rules, vocab)
  return rules


def _nonterminal_id(name: str, vocab: vocab_lib.Vocab, row: Row) -> int:
  key = ('nonterminal', name)
  if key not in vocab.ids():
    raise ValueError(f'row {row}: {name!r} is a terminal and has no rules')
  return vocab.ids()[key]


def _symbol_id(
  word: str, is_window: bool, vocab: vocab_lib.Vocab, row: Row
) -> int:
  found = {s.kind: i for i, s in enumerate(vocab.symbols) if s.name == word}
  found.pop('pad', None)
  if is_window and 'window' in found:
    return found['window']
  found.pop('window', None)
  if not found:
    what = 'window' if is_window else 'symbol'
    known = [s.name for s in vocab.symbols if (s.kind == 'window') == is_window]
    raise ValueError(
      f'row {row}: unknown {what} {word!r}; the language has '
      f'{", ".join(name for name in known if name != vocab_lib.PAD)}'
    )
  return next(iter(found.values()))


def _window_places(
  lhs: str, words: Sequence[str], vocab: vocab_lib.Vocab
) -> set[int]:
  """Positions at which a number would be a window."""
  symbols = {s.name: s for s in vocab.symbols}
  places = {0} if lhs == 'Num' else set()

  def read(at: int) -> int:
    """Skips the tree at `at`."""
    symbol = symbols.get(words[at]) if at < len(words) else None
    end = last = at + 1
    for _ in range(arity_of(symbol) if symbol else 0):
      last, end = end, read(end)
    if symbol and is_windowed(symbol):
      places.add(last)
    return end

  read(0)
  return places


def _check_tree(rule: Rule, arity: Sequence[int], row: Row) -> None:
  lhs, rhs, _ = rule
  missing = 1
  for i, symbol in enumerate(rhs):
    if missing == arity[lhs] and i > 0:
      raise ValueError(f'row {row}: {len(rhs) - i} symbols too many')
    missing += arity[symbol] - 1
  if not rhs or missing != arity[lhs]:
    raise ValueError(f'row {row}: the right-hand side is not a whole tree')


def _check_units(rules: Sequence[Rule], vocab: vocab_lib.Vocab) -> None:
  """Refuses a nonterminal that rewrites to itself alone, in some steps."""
  after = {
    lhs: {rhs[0] for a, rhs, _ in rules if a == lhs and len(rhs) == 1}
    for lhs, _, _ in rules
  }
  for lhs in after:
    seen, new = set(), {lhs}
    while new:
      new = {b for a in new for b in after.get(a, ())} - seen
      seen |= new
    if lhs in seen:
      raise ValueError(f'{vocab.symbols[lhs].name!r} can rewrite to itself')


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
    reaches_back = symbol.name in ('Ref', 'Delta', 'RollingOp')
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
