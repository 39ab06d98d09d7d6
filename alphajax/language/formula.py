"""Formulas: text, trees and canonical keys.

Formula text is calls, infix `+ - * /`, unary minus, `|x|`, numbers and
feature names, `$close` being an alias of `close`:
`Mean(Corr(Sum(open,40),high-volume,20),20)`. A window is a positive integer,
so the language cannot look ahead. Other notations: see `dialects`.
"""

import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Iterator, Sequence

import lark

from alphajax.data.features import GROUPS
from alphajax.language import groups, hints, vocab

_GRAMMAR = r"""
?start: sum
?sum: product
  | sum "+" product -> add
  | sum "-" product -> sub
?product: signed
  | product "*" signed -> mul
  | product "/" signed -> div
?signed: "-" signed -> negative
  | atom
?atom: NUMBER -> number
  | NAME "(" [sum ("," sum)*] ")" -> call
  | "$" NAME -> name
  | NAME -> name
  | "(" sum ")"
  | "|" sum "|" -> absolute
NAME: /[^\W\d]\w*/
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
%ignore /\s+/
"""
# Nested calls and operators of a formula; all that walks formulas can so far.
MAX_DEPTH = 200
# Characters as Chinese keyboards and typesetting write them.
_NARROW = {0xFF01 + i: 0x21 + i for i in range(94)} | str.maketrans(
  '　×÷−–', ' */--'
)
OURS = 'ours'  # The dialect of `Formula`; the others are in `dialects`.
# What the fault of a window that reads the future says.
LOOKS_AHEAD = 'which would look ahead'
HOLE = '_'  # What a mask writes for a part to fill; see `masks`.
_INFIX = {'Add': ('+', 1), 'Sub': ('-', 1), 'Mul': ('*', 2), 'Div': ('/', 2)}


class FormulaError(ValueError):
  """Formula text that is not a formula; the message points at the place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Formula:
  """A formula, whole or partial, as an immutable tree.

  symbol: operator, feature, number text or nonterminal.
  args: the operands, then the window of a rolling or paired operator.
  """

  symbol: str
  args: tuple['Formula', ...] = ()

  def __str__(self) -> str:
    return to_text(self)


def number(value: float) -> Formula:
  """A constant or a window."""
  return Formula(vocab.number_text(value))


def is_number(formula: Formula) -> bool:
  """True for a constant or a window leaf."""
  return formula.symbol[0] in '-.0123456789'


def kind(formula: Formula) -> str | None:
  """Kind of the operator, masked or not, at the root; None for a leaf."""
  if formula.symbol in vocab.MASKED:
    return vocab.MASKED[formula.symbol]
  row = vocab.OPERATORS.get(formula.symbol)
  return None if row is None else row.kind


def is_windowed(formula: Formula) -> bool:
  """True when the last argument of the formula's root is a window."""
  return kind(formula) in vocab.WINDOWED


def nodes(formula: Formula) -> Iterator[Formula]:
  """All nodes in prefix order, windows included."""
  stack = [formula]
  while stack:
    node = stack.pop()
    yield node
    stack.extend(reversed(node.args))


def size(formula: Formula) -> int:
  """Number of nodes, windows included: N(T) of Appendix G."""
  return sum(1 for _ in nodes(formula))


def lookback(formula: Formula) -> int:
  """Days before today that the value of today needs."""
  below = max((lookback(arg) for arg in formula.args), default=0)
  if not is_windowed(formula):
    return below
  window = int(formula.args[-1].symbol)
  row = vocab.OPERATORS.get(formula.symbol)
  return below + window - (row is None or not row.reaches_back)


def canonical(formula: Formula) -> Formula:
  """Sorts commutative operands, numbers last.

  Isomorphic formulas (Definition 6 of AlphaCFG) have one canonical form:
  operands of Add, Mul, Greater, Less, Eq, Ne, And, Or and the two operands of
  Cov and Corr.
  """
  if not formula.args:
    return formula
  args = tuple(canonical(arg) for arg in formula.args)
  if kind(formula) in vocab.COMMUTATIVE:
    pair = sorted(args[:2], key=lambda arg: (is_number(arg), call_text(arg)))
    args = (*pair, *args[2:])
  return Formula(formula.symbol, args)


def call_text(formula: Formula) -> str:
  """The formula in pure call notation: `Sub(high,Mul(low,0.1))`."""
  if not formula.args:
    return formula.symbol
  return f'{formula.symbol}({",".join(map(call_text, formula.args))})'


def key(formula: Formula) -> str:
  """One text for all isomorphic formulas; duplicates are recognised by it."""
  return call_text(canonical(formula))


def to_text(
  formula: Formula,
  dialect: str = OURS,
  features: Sequence[str] = vocab.FEATURES,
) -> str:
  """Prints a formula so that `parse` gives it back.

  dialect: the notation, one of `dialects.NAMES`.
  features: names in the order that a dialect counts them by, as gplearn does.

  Raises:
    FormulaError: the dialect has no equal of an operator.
    ValueError: no dialect of that name.
  """
  if dialect != OURS:
    return _late('writer').to_text(formula, dialect, tuple(features))
  return _print(formula, 0)


def _print(formula: Formula, outer: int) -> str:
  """Prints with parentheses where the operator binds weaker than `outer`."""
  symbol, args = formula.symbol, formula.args
  if not args:
    # A negative number needs them as the right operand of an infix operator.
    return f'({symbol})' if symbol[0] == '-' and outer > 1 else symbol
  if symbol == 'Mul' and args[0] == Formula('-1') and not is_number(args[1]):
    text, strength = f'-{_print(args[1], 3)}', 1
  elif symbol in _INFIX:
    sign, strength = _INFIX[symbol]
    # A right operand of equal strength needs parentheses: a-(b+c).
    text = f'{_print(args[0], strength)}{sign}{_print(args[1], strength + 1)}'
  else:
    return f'{symbol}({",".join(_print(arg, 0) for arg in args)})'
  return f'({text})' if strength < outer else text


@functools.cache
def _parser(positions: bool) -> lark.Lark:
  return lark.Lark(
    _GRAMMAR,
    parser='lalr',
    lexer='basic',
    propagate_positions=positions,
    maybe_placeholders=False,
  )


def parse(
  text: str,
  features: Sequence[str] = vocab.FEATURES,
  holes: bool = False,
  dialect: str = OURS,
) -> Formula:
  """Parses formula text.

  holes: `_` may stand for an operand, a window or an operator, as in
    `Mean(_,6)-_` and `_(close,20)`.
  dialect: the notation of the text, one of `dialects.NAMES`.

  Raises:
    FormulaError: not a formula, or one that reads codes of groups as values;
      names the symbol and its position, says what was expected.
    ValueError: no dialect of that name; holes in another dialect than ours; a
      feature that cannot be written.
  """
  if not isinstance(text, str):
    raise FormulaError(
      f'{text!r} is {type(text).__name__}: expected text such as Mean(close,20)'
    )
  if not text.strip():
    raise FormulaError('empty formula: expected text such as Mean(close,20)')
  text, features = text.translate(_NARROW), tuple(features)
  vocab.check_features(features)
  if dialect != OURS:
    if holes:
      raise ValueError(f'holes are written in our notation, not in {dialect}')
    formula = _late('reader').parse(text, dialect, features)
  else:
    try:
      formula = _parse(text, features, holes)
    except FormulaError as error:
      readings = _late('reader').readings(text, features)
      if not readings:
        raise
      raise FormulaError(f'{error}\n{readings}') from error
  wrong = groups.misread(formula, set(GROUPS).intersection(features))
  if wrong:
    raise fault(text, max(text.find(wrong), 0), groups.NO_VALUES.format(wrong))
  return formula


def _late(module: str):
  """What reads or writes other dialects; it is itself made of formulas."""
  return importlib.import_module(f'alphajax.language.{module}')


@functools.lru_cache(maxsize=1 << 13)
def _parse(text: str, features: tuple[str, ...], holes: bool) -> Formula:
  """Parses without positions, which cost 40 % of the time; again on errors."""
  try:
    return _build(read(text, _parser(False)), text, features, holes)
  except FormulaError:
    return _build(read(text, _parser(True)), text, features, holes)


def read(
  text: str, parser: lark.Lark, hint: Callable[[str], str] = hints.sign
) -> lark.Tree:
  """The parse tree of a text, not deeper than `MAX_DEPTH`.

  hint: what to say of what is not expected, of the text from there on.

  Raises:
    FormulaError: the text does not follow the grammar, or is too deep.
  """
  try:
    tree = parser.parse(text)
  except lark.exceptions.UnexpectedEOF as error:
    raise fault(text, len(text), 'the formula ends too early') from error
  except lark.exceptions.UnexpectedInput as error:
    at = getattr(error, 'pos_in_stream', None)
    token = getattr(error, 'token', None)
    if token is not None and token.type == '$END':
      raise fault(text, len(text), 'the formula ends too early') from error
    at = len(text) if at is None else at
    what = f'unexpected {text[at : at + 1]!r}{hint(text[at:])}'
    raise fault(text, at, what) from error
  level = [tree]
  for _ in range(MAX_DEPTH):
    level = [
      child
      for node in level
      for child in node.children
      if isinstance(child, lark.Tree) and child.data != 'number'
    ]
  if level:
    raise fault(text, start(level[0]), f'nested deeper than {MAX_DEPTH} levels')
  return tree


def unchecked(text: str) -> Formula:
  """Reads text in our notation whose names are checked elsewhere."""

  def build(tree):
    if tree.data == 'number':
      return literal(tree, text)
    if tree.data in SIGNS:
      return SIGNS[tree.data](build(tree.children[0]))
    head, *rest = tree.children
    if tree.data in ('call', 'name'):
      return Formula(str(head), tuple(map(build, rest)))
    return Formula(tree.data.capitalize(), tuple(map(build, tree.children)))

  return build(read(text, _parser(True)))


def start(tree: lark.Tree) -> int:
  """Where a part of a text begins; 0 where positions are not kept."""
  return getattr(tree.meta, 'start_pos', 0)


def _negative(operand: Formula) -> Formula:
  """`-x`: a number with its sign, or -1 times a formula."""
  if is_number(operand):
    return number(-float(operand.symbol))
  return Formula('Mul', (Formula('-1'), operand))


# What is written by a sign and not by a name, as a formula of its operand.
SIGNS = {
  'negative': _negative,
  'absolute': lambda operand: Formula('Abs', (operand,)),
}


def literal(tree: lark.Tree, text: str) -> Formula:
  """The number that a part of a text writes."""
  value = float(str(tree.children[0]))
  if math.isinf(value):
    raise fault(text, start(tree), 'a number beyond 1.8e308')
  return number(value)


def fault(text: str, position: int, what: str) -> FormulaError:
  """An error that points at its place in a text."""
  return FormulaError(
    f'{what} at position {position + 1} of the formula\n  {text}\n'
    f'  {" " * position}^'
  )


def _build(
  tree: lark.Tree, text: str, features: tuple[str, ...], holes: bool
) -> Formula:
  """Turns a parse tree into a Formula, checking names, arity and windows."""
  build = functools.partial(_build, text=text, features=features, holes=holes)
  if tree.data == 'number':
    return literal(tree, text)
  if tree.data == 'name':
    name = str(tree.children[0])
    if name not in features and not (holes and name == HOLE):
      raise fault(text, start(tree), hints.unknown(name, 'feature', features))
    return Formula(name)
  if tree.data in SIGNS:
    return SIGNS[tree.data](build(tree.children[0]))
  if tree.data == 'call':
    return _call(tree, text, build, holes)
  return Formula(tree.data.capitalize(), tuple(map(build, tree.children)))


def _call(tree: lark.Tree, text: str, build, holes: bool) -> Formula:
  """Builds a call, checking its operator, arity and window."""
  name = str(tree.children[0])
  if holes and name == HOLE:
    return Formula(HOLE, tuple(map(build, tree.children[1:])))
  row = vocab.OPERATORS.get(name)
  if row is None:
    what = hints.unknown(name, 'operator', vocab.OPERATORS)
    raise fault(text, start(tree), what)
  operands = tree.children[1:]
  if len(operands) != row.arity:
    window = ', the last a window' if row.kind in vocab.WINDOWED else ''
    what = f'{name} takes {row.arity} arguments{window}, not {len(operands)}'
    raise fault(text, start(tree), what + hints.instead(name))
  args = tuple(map(build, operands))
  for slot, arg, tree in zip(
    vocab.SLOTS[row.kind], args, operands, strict=True
  ):
    if not holes or arg != Formula(HOLE):
      what = _misfit(name, slot, arg)
      if what:
        raise fault(text, start(tree), what)
  return Formula(name, args)


def _misfit(name: str, slot: str, arg: Formula) -> str:
  """Why an operator does not take an argument in a slot; empty if it does."""
  if slot == 'window':
    if arg.symbol.isdigit() and int(arg.symbol) >= 1:
      return ''
    what = f'the window of {name} must be a positive integer, not'
    what = f'{what} {to_text(arg)}'
    if arg.symbol.removeprefix('-').isdigit() and name in ('Ref', 'Delta'):
      return f'{what}, {LOOKS_AHEAD}'
    return what + hints.instead(name)
  if slot == 'level':
    if is_number(arg) and 0 <= float(arg.symbol) <= 1:
      return ''
    what = f'the level of {name} must be a number in [0, 1], not'
    return f'{what} {to_text(arg)}, as in {name}(close,0.8,20)'
  if slot == 'group' and (arg.args or is_number(arg)):
    return f'the groups of {name} must be a feature, not {to_text(arg)}'
  return ''
