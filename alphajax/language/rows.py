"""Rows of a grammar: read, checked, and turned into ids.

A row is `(nonterminal, right-hand side, increment)`, for example
`('Expr', 'Add Expr Expr', 2)`: prefix order, symbols apart by a space. Host
code, run once per grammar.
"""

from collections.abc import Sequence

from alphajax.data.features import GROUPS
from alphajax.language import vocab as vocab_lib

Row = tuple[str, str, int]


# A rule as ids: (left-hand side, right-hand side, increment).
Rule = tuple[int, tuple[int, ...], int]


# How the children of a symbol count, for isomorphism and the Tree-LSTM.
# SYMMETRIC: the two children commute; PAIRED: so do the first two, a window
# follows; TRIPLE: three in their order.
LEAF, ORDERED, SYMMETRIC, PAIRED, TRIPLE = range(5)


# What an operator lacks where nothing fills a slot, and what to do about it.
_REMEDIES = {
  'window': 'a window and there is none: add one to language.windows',
  'condition': (
    'a condition and there is none: add a comparison such as Gt to '
    'language.operators'
  ),
  'level': (
    'a level in [0, 1] and there is none: add one such as 0.8 to '
    'language.constants'
  ),
  'group': (
    'a feature of group codes and there is none: add one of '
    f'{", ".join(GROUPS)} to language.features'
  ),
}


def by_kind(vocab: vocab_lib.Vocab) -> dict[str, list[str]]:
  """Names of the symbols of each kind, `[]` for kinds without any.

  Group codes are no features but of the kind `group`. The kind `level` repeats
  the constants in [0, 1], and `condition` the comparisons.

  Raises:
    ValueError: nothing can stand where an operator takes a window, a condition,
      a level or a group; names both and the remedy.
  """
  names = {kind: [] for kind in (*vocab_lib.KINDS, 'group', 'level')}
  for symbol in vocab.symbols:
    is_group = symbol.kind == 'feature' and symbol.name in GROUPS
    kind = 'group' if is_group else symbol.kind
    names.setdefault(kind, []).append(symbol.name)
  names['level'] = [c for c in names['constant'] if 0 <= float(c) <= 1]
  names['condition'] = names['comparison'] + names['equality']
  for kind, slots in vocab_lib.SLOTS.items():
    for slot in slots:
      if names[kind] and slot in _REMEDIES and not names[slot]:
        raise ValueError(f'{names[kind][0]} needs {_REMEDIES[slot]}')
  return names


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
  """LEAF, ORDERED, SYMMETRIC, PAIRED or TRIPLE; derived from the kind."""
  kind, arity = _unmasked(symbol).kind, arity_of(symbol)
  if not arity:
    return LEAF
  if kind in vocab_lib.COMMUTATIVE:
    return PAIRED if kind in vocab_lib.WINDOWED else SYMMETRIC
  return TRIPLE if arity == 3 else ORDERED


def is_windowed(symbol: vocab_lib.Symbol) -> bool:
  """True where the last child of the symbol is a window."""
  return _unmasked(symbol).kind in vocab_lib.WINDOWED


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
      is no integer >= 0, a right-hand side that is not one whole tree, or has
    something else where an operator takes a window.
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
  _check_windows(rules, vocab, rows)
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


def _check_windows(
  rules: Sequence[Rule], vocab: vocab_lib.Vocab, rows: Sequence[Row]
) -> None:
  """Refuses an operand in the place of a window; it could not be evaluated."""
  symbols = vocab.symbols
  # All that can become nothing but a window: what is none goes, to the end.
  windows = {
    i for i, s in enumerate(symbols) if s.kind in ('window', 'nonterminal')
  }
  while gone := {
    lhs
    for lhs, rhs, _ in rules
    if lhs in windows and (len(rhs) > 1 or rhs[0] not in windows)
  }:
    windows -= gone
  for (_, rhs, _), row in zip(rules, rows, strict=True):
    for at, symbol in enumerate(map(symbols.__getitem__, rhs)):
      children = children_of(rhs[at:], symbols)[: arity_of(symbol)]
      if is_windowed(symbol) and children and children[-1][0] not in windows:
        raise ValueError(
          f'row {row}: {symbol.name} takes a window last, and '
          f'{symbols[children[-1][0]].name!r} is none: expected a number of '
          'language.windows, or a nonterminal such as Num that has only those'
        )
