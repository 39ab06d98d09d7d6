"""The symbol table: what a formula is written with.

One row per symbol. Ids, arities, printing, parsing, grammar rules, masks,
embedding sizes, units and readings in words are derived from these rows. A new
operator is one row here and one function in `alphajax.factor.operators`.
"""

import decimal
import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from alphajax.data.features import FEATURES

CONSTANTS = (-0.1, -0.05, -0.01, 0.01, 0.05, 0.1)  # Table 5 of the paper.
WINDOWS = (20, 30, 40)  # Table 5.
PAD = '<pad>'

# What each kind of operator takes, in order: values, a condition (1 true, 0
# false), a quantile level in [0, 1], a feature of group codes, a window.
SLOTS = {
  'unary': ('value',),
  'binary': ('value', 'value'),
  'binary_asym': ('value', 'value'),
  'rolling': ('value', 'window'),
  'paired': ('value', 'value', 'window'),
  'comparison': ('value', 'value'),
  'equality': ('value', 'value'),
  'logical': ('condition', 'condition'),
  'negation': ('condition',),
  'choice': ('condition', 'value', 'value'),
  'quantile': ('value', 'level', 'window'),
  'grouped': ('value', 'group'),
}
# The nonterminal that writes each of those in a grammar.
WRITERS = {
  'value': 'Expr',
  'condition': 'Cond',
  'level': 'Level',
  'group': 'Group',
  'window': 'Num',
}
# Operands each kind takes before its window.
OPERANDS = {
  kind: len(slots) - ('window' in slots) for kind, slots in SLOTS.items()
}
WINDOWED = tuple(kind for kind, slots in SLOTS.items() if 'window' in slots)
# Kinds whose operands may be swapped without changing the value.
COMMUTATIVE = ('binary', 'paired', 'equality', 'logical')
CONDITIONS = ('comparison', 'equality', 'logical', 'negation')  # 1 or 0.
LEAVES = ('feature', 'constant', 'window')
KINDS = (*LEAVES, *OPERANDS)  # Of symbols that a formula is made of.

KEEPS, FREES = 'keeps', 'frees'


class Symbol(NamedTuple):
  """One symbol of the language.

  name: how formula text spells it.
  kind: a key of `SLOTS`, one of `LEAVES`, `nonterminal`, `marker` or `pad`.
  phrase: an operator in words; {0}, {1}: the operands, {n}: the window. Empty:
    one made of the name.
  units: what comes of a positive factor on all values that it takes: `KEEPS`,
    the result has the factor too; `FREES`, it is gone; empty: neither, so that
    only values without a unit may be taken.
  reaches_back: it reads the day `window` days ago, which is before its window.
  """

  name: str
  kind: str
  phrase: str = ''
  units: str = ''
  reaches_back: bool = False

  @property
  def arity(self) -> int:
    """Children of a node with this symbol, the window included."""
    return len(SLOTS.get(self.kind, ()))


# Table 6 of the paper. `CSRank` takes one operand and no window.
_PAPER = (
  Symbol('Abs', 'unary', 'the absolute value of {0}', KEEPS),
  Symbol('Sign', 'unary', 'the sign of {0}'),
  Symbol('Log', 'unary', 'the logarithm of {0}'),
  Symbol('CSRank', 'unary', 'the rank among the stocks of {0}'),
  Symbol('Add', 'binary', '{0} plus {1}', KEEPS),
  Symbol('Mul', 'binary', '{0} times {1}'),
  Symbol('Greater', 'binary', 'the larger of {0} and {1}', KEEPS),
  Symbol('Less', 'binary', 'the smaller of {0} and {1}', KEEPS),
  Symbol('Sub', 'binary_asym', '{0} less {1}', KEEPS),
  Symbol('Div', 'binary_asym', '{0} over {1}', FREES),
  Symbol('Pow', 'binary_asym', '{0} to the power of {1}'),
  Symbol('Ref', 'rolling', '{0} {n} days ago', KEEPS, reaches_back=True),
  Symbol(
    'Delta',
    'rolling',
    'the change over {n} days of {0}',
    KEEPS,
    reaches_back=True,
  ),
  Symbol('Mean', 'rolling', 'the {n}-day mean of {0}', KEEPS),
  Symbol('Sum', 'rolling', 'the {n}-day sum of {0}', KEEPS),
  Symbol('Max', 'rolling', 'the {n}-day maximum of {0}', KEEPS),
  Symbol('Min', 'rolling', 'the {n}-day minimum of {0}', KEEPS),
  Symbol('Std', 'rolling', 'the {n}-day standard deviation of {0}', KEEPS),
  Symbol('Var', 'rolling', 'the {n}-day variance of {0}'),
  Symbol('Skew', 'rolling', 'the {n}-day skewness of {0}', FREES),
  Symbol('Kurt', 'rolling', 'the {n}-day kurtosis of {0}', FREES),
  Symbol('Med', 'rolling', 'the {n}-day median of {0}', KEEPS),
  Symbol('Mad', 'rolling', 'the {n}-day mean absolute deviation of {0}', KEEPS),
  Symbol('Rank', 'rolling', 'the rank within its last {n} days of {0}', FREES),
  Symbol('WMA', 'rolling', 'the {n}-day linearly weighted mean of {0}', KEEPS),
  Symbol('EMA', 'rolling', 'the {n}-day exponential mean of {0}', KEEPS),
  Symbol('Cov', 'paired', 'the {n}-day covariance of {0} and {1}'),
  Symbol('Corr', 'paired', 'the {n}-day correlation of {0} and {1}', FREES),
)
# Beyond the paper: in a language only where `config.language.operators` names
# them. For what Alpha101, GTJA191 and qlib's Alpha158 are written with.
_MORE = (
  Symbol('Scale', 'unary', 'the share among the stocks of {0}'),
  Symbol('SignedPower', 'binary_asym', 'the signed power {1} of {0}'),
  Symbol('ArgMax', 'rolling', 'the day of the {n}-day maximum of {0}', FREES),
  Symbol('ArgMin', 'rolling', 'the day of the {n}-day minimum of {0}', FREES),
  Symbol('Slope', 'rolling', 'the slope of the {n}-day line of {0}', KEEPS),
  Symbol('Rsquare', 'rolling', 'the fit of the {n}-day line of {0}', FREES),
  Symbol(
    'Resi', 'rolling', 'what lies today off the {n}-day line of {0}', KEEPS
  ),
  Symbol('Product', 'rolling', 'the {n}-day product of {0}'),
  Symbol('Gt', 'comparison', '{0} being above {1}', FREES),
  Symbol('Lt', 'comparison', '{0} being below {1}', FREES),
  Symbol('Ge', 'comparison', '{0} being at least {1}', FREES),
  Symbol('Le', 'comparison', '{0} being at most {1}', FREES),
  Symbol('Eq', 'equality', '{0} being {1}', FREES),
  Symbol('Ne', 'equality', '{0} differing from {1}', FREES),
  Symbol('And', 'logical', '{0} and {1}', FREES),
  Symbol('Or', 'logical', '{0} or {1}', FREES),
  Symbol('Not', 'negation', 'the contrary of {0}', FREES),
  Symbol('If', 'choice', '{1} in the case of {0}, else {2}', KEEPS),
  Symbol('Quantile', 'quantile', 'the {n}-day quantile {1} of {0}', KEEPS),
  Symbol('GroupRank', 'grouped', 'the rank within {1} of {0}'),
  Symbol('GroupNeutral', 'grouped', '{0} less its mean within {1}'),
)
OPERATORS = {row.name: row for row in (*_PAPER, *_MORE)}
PAPER_OPERATORS = tuple(row.name for row in _PAPER)  # The default.

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
_NAME = re.compile(r'[^\W\d]\w*')


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


@functools.lru_cache
def check_features(features: tuple[str, ...]) -> None:
  """Refuses names of features that formula text could not tell from others.

  Raises:
    ValueError: one is no name, or that of an operator or of a nonterminal.
  """
  for name in features:
    what = ''
    if not _NAME.fullmatch(name) or name == '_':
      what = 'is not made of letters, digits and _, the first no digit'
    elif name in OPERATORS or name in NONTERMINALS:
      what = 'has a name that the language has given away'
    if what:
      others = ','.join(repr('other' if f == name else f) for f in features)
      raise ValueError(
        f'the feature {name!r} {what}: load its column by another name, as in '
        f'--config.data.columns="{name}=other" '
        f'--config.language.features="({others})"'
      )


def make_vocab(
  features: Sequence[str] = FEATURES,
  constants: Sequence[float] = CONSTANTS,
  windows: Sequence[int] = WINDOWS,
  operators: Sequence[str] | None = None,
) -> Vocab:
  """Builds the table of a language; the default is the paper's.

  Raises:
    ValueError: an unknown operator, a repeated symbol, a window that is not a
      positive integer, a feature that cannot be written.
  """
  check_features(tuple(features))
  names = tuple(PAPER_OPERATORS if operators is None else operators)
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
