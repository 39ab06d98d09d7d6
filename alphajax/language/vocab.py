"""The symbol table: what a formula is written with.

One row per symbol. Ids, arities, printing, parsing, grammar rules, masks and
embedding sizes are derived from these rows. A new operator is one row here and
one function in `alphajax.factor.operators`.
"""

import decimal
from collections.abc import Sequence
from typing import NamedTuple

FEATURES = ('open', 'high', 'low', 'close', 'volume', 'vwap')
CONSTANTS = (-0.1, -0.05, -0.01, 0.01, 0.05, 0.1)  # Table 5 of the paper.
WINDOWS = (20, 30, 40)  # Table 5.
PAD = '<pad>'

# Operands each kind takes before its window, and whether it takes a window.
OPERANDS = {
  'unary': 1,
  'binary': 2,
  'binary_asym': 2,
  'rolling': 1,
  'paired': 2,
}
WINDOWED = ('rolling', 'paired')
# Kinds whose operands may be swapped without changing the value.
COMMUTATIVE = ('binary', 'paired')
LEAVES = ('feature', 'constant', 'window')
KINDS = (*LEAVES, *OPERANDS)  # Of symbols that a formula is made of.


class Symbol(NamedTuple):
  """One symbol of the language.

  name: how formula text spells it.
  kind: one of `KINDS`, `nonterminal`, `marker` or `pad`.
  """

  name: str
  kind: str

  @property
  def arity(self) -> int:
    """Children of a node with this symbol, the window included."""
    return OPERANDS.get(self.kind, 0) + (self.kind in WINDOWED)


# Table 6 of the paper. `CSRank` takes one operand and no window.
_TABLE = {
  'unary': 'Abs Sign Log CSRank',
  'binary': 'Add Mul Greater Less',
  'binary_asym': 'Sub Div Pow',
  'rolling': (
    'Ref Delta Mean Sum Max Min Std Var Skew Kurt Med Mad Rank WMA EMA'
  ),
  'paired': 'Cov Corr',
}
OPERATORS = {
  name: Symbol(name, kind)
  for kind, names in _TABLE.items()
  for name in names.split()
}

# Nonterminals of the grammars. The last four mask an operator of a formula
# that is being refined and rewrite to one symbol of their kind.
NONTERMINALS = (
  'Expr',
  'Constant',
  'Num',
  'UnaryOp',
  'BinaryOp',
  'RollingOp',
  'PairedOp',
)
# The kind of operator that each of those stands for. `BinaryOp` may become Sub,
# so the order of its operands counts.
MASKED = {
  'UnaryOp': 'unary',
  'BinaryOp': 'binary_asym',
  'RollingOp': 'rolling',
  'PairedOp': 'paired',
}


class Vocab(NamedTuple):
  """Symbols with their ids, which are positions; id 0 is padding only."""

  symbols: tuple[Symbol, ...]

  @property
  def size(self) -> int:
    return len(self.symbols)

  def ids(self) -> dict[tuple[str, str], int]:
    """Maps `(kind, name)` to the id. A window 20 and a constant 20 differ."""
    return {(s.kind, s.name): i for i, s in enumerate(self.symbols)}


def number_text(value: float) -> str:
  """Prints a number without exponent, shortest form: -0.05, 20, 0.821596.

  `float` of the text is the number again, exactly.
  """
  value = float(value)
  if value == int(value) and abs(value) < 1e15:
    return str(int(value))
  return format(decimal.Decimal(repr(value)), 'f')


def make_vocab(
  features: Sequence[str] = FEATURES,
  constants: Sequence[float] = CONSTANTS,
  windows: Sequence[int] = WINDOWS,
  operators: Sequence[str] | None = None,
) -> Vocab:
  """Builds the table of a language; the default is the paper's.

  Raises:
    ValueError: an unknown operator, a repeated symbol, a window that is not a
      positive integer.
  """
  names = tuple(OPERATORS if operators is None else operators)
  for name in names:
    if name not in OPERATORS:
      raise ValueError(
        f'unknown operator {name!r}; known: {", ".join(OPERATORS)}'
      )
  for window in windows:
    if window != int(window) or window < 1:
      raise ValueError(f'window {window!r} is not a positive integer')
  symbols = (
    Symbol(PAD, 'pad'),
    *(Symbol(name, 'nonterminal') for name in NONTERMINALS),
    *(Symbol(name, 'feature') for name in features),
    *(Symbol(number_text(value), 'constant') for value in constants),
    *(Symbol(str(int(window)), 'window') for window in windows),
    *(OPERATORS[name] for name in names),
  )
  repeated = sorted({s.name for s in symbols if symbols.count(s) > 1})
  if repeated:
    raise ValueError(f'repeated symbols: {", ".join(repeated)}')
  return Vocab(symbols)
