"""Formulas: text, trees and canonical keys.

Formula text is calls, infix `+ - * /`, unary minus, `|x|`, numbers and
feature names, `$close` being an alias of `close`:
`Mean(Corr(Sum(open,40),high-volume,20),20)`. A window is a positive integer,
so the language cannot look ahead.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Iterator, Sequence

import lark

from alphajax.language import vocab

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
NAME: /[A-Za-z_][A-Za-z_0-9]*/
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
%ignore /\s+/
"""
# Nested calls and operators of a formula; all that walks formulas can so far.
MAX_DEPTH = 200
# Punctuation as Chinese keyboards write it.
_NARROW = str.maketrans('（）［］，．＋－＊／｜＄　', '()[],.+-*/|$ ')
# What other languages call it -> how it is typed here.
_MEANT = {
  'rank': 'CSRank(x) ranks a day over the stocks, Rank(x,20) over a window',
  'cs_rank': 'CSRank(x)',
  'ts_rank': 'Rank(x,20)',
  'tsrank': 'Rank(x,20)',
  **dict.fromkeys(('delay', 'shift', 'lag', 'ts_delay'), 'Ref(x,5)'),
  **dict.fromkeys(('delta', 'diff', 'ts_delta'), 'Delta(x,5)'),
  **dict.fromkeys(('correlation', 'corr', 'ts_corr'), 'Corr(x,y,20)'),
  **dict.fromkeys(('covariance', 'cov', 'ts_cov'), 'Cov(x,y,20)'),
  **dict.fromkeys(('stddev', 'std', 'ts_std'), 'Std(x,20)'),
  **dict.fromkeys(('sma', 'ma', 'ts_mean', 'mean', 'average'), 'Mean(x,20)'),
  **dict.fromkeys(('ts_sum', 'sum'), 'Sum(x,20)'),
  **dict.fromkeys(('ewm', 'ewma', 'ema'), 'EMA(x,20)'),
  **dict.fromkeys(('decay_linear', 'decaylinear', 'wma'), 'WMA(x,20)'),
  'min': 'Less(x,y) of two, Min(x,20) over a window',
  'max': 'Greater(x,y) of two, Max(x,20) over a window',
  'ts_min': 'Min(x,20)',
  'ts_max': 'Max(x,20)',
  'add': 'Add(x,y) or x+y',
  **dict.fromkeys(('sub', 'subtract', 'minus'), 'Sub(x,y) or x-y'),
  **dict.fromkeys(('mul', 'multiply', 'times'), 'Mul(x,y) or x*y'),
  **dict.fromkeys(('div', 'divide'), 'Div(x,y) or x/y'),
  'neg': '-x',
  **dict.fromkeys(('power', 'pow'), 'Pow(x,y)'),
  'signedpower': 'Sign(x)*Pow(Abs(x),y)',
  **dict.fromkeys(('abs', 'fabs'), 'Abs(x)'),
  **dict.fromkeys(('log', 'ln'), 'Log(x)'),
  'inv': '1/x',
  'sqrt': 'Pow(x,0.5)',
}
# What an operator with the wrong arguments may have been meant for.
_INSTEAD = {
  'Rank': 'CSRank(x) ranks a day over the stocks',
  'Min': 'Less(x,y) is the smaller of two',
  'Max': 'Greater(x,y) is the larger of two',
}
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


def to_text(formula: Formula) -> str:
  """Prints a formula so that `parse` gives it back."""
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
def _parser() -> lark.Lark:
  return lark.Lark(
    _GRAMMAR, parser='lalr', propagate_positions=True, maybe_placeholders=False
  )


def parse(
  text: str,
  features: Sequence[str] = vocab.FEATURES,
  holes: bool = False,
) -> Formula:
  """Parses formula text.

  holes: `_` may stand for an operand, a window or an operator, as in
    `Mean(_,6)-_` and `_(close,20)`.

  Raises:
    FormulaError: not a formula; names the symbol and its position, says what
      was expected.
  """
  if not isinstance(text, str) or not text.strip():
    raise FormulaError('empty formula: expected text such as Mean(close,20)')
  text = text.translate(_NARROW)
  try:
    tree = _parser().parse(text)
  except lark.exceptions.UnexpectedEOF as error:
    raise _error(text, len(text), 'the formula ends too early') from error
  except lark.exceptions.UnexpectedInput as error:
    at = getattr(error, 'pos_in_stream', None)
    token = getattr(error, 'token', None)
    if token is not None and token.type == '$END':
      raise _error(text, len(text), 'the formula ends too early') from error
    at = len(text) if at is None else at
    raise _error(text, at, f'unexpected {text[at : at + 1]!r}') from error
  _check_depth(tree, text)
  return _build(tree, text, tuple(features), holes)


def _check_depth(tree: lark.Tree, text: str) -> None:
  """Refuses a tree that recursion could not walk."""
  level = [tree]
  for _ in range(MAX_DEPTH):
    level = [
      child
      for node in level
      for child in node.children
      if isinstance(child, lark.Tree) and child.data != 'number'
    ]
  if level:
    raise _error(
      text, level[0].meta.start_pos, f'nested deeper than {MAX_DEPTH} levels'
    )


def _error(text: str, position: int, what: str) -> FormulaError:
  return FormulaError(
    f'{what} at position {position + 1} of the formula\n  {text}\n'
    f'  {" " * position}^'
  )


def _build(
  tree: lark.Tree, text: str, features: tuple[str, ...], holes: bool
) -> Formula:
  """Turns a parse tree into a Formula, checking names, arity and windows."""
  build = functools.partial(_build, text=text, features=features, holes=holes)
  start = tree.meta.start_pos
  if tree.data == 'number':
    value = float(tree.children[0])
    if math.isinf(value):
      raise _error(text, start, 'a number beyond 1.8e308')
    return number(value)
  if tree.data == 'name':
    name = str(tree.children[0])
    if name not in features and not (holes and name == HOLE):
      raise _error(text, start, _unknown(name, 'feature', features))
    return Formula(name)
  if tree.data == 'negative':
    child = build(tree.children[0])
    if is_number(child):
      return number(-float(child.symbol))
    return Formula('Mul', (Formula('-1'), child))
  if tree.data == 'absolute':
    return Formula('Abs', (build(tree.children[0]),))
  if tree.data == 'call':
    return _call(tree, text, build, holes)
  return Formula(tree.data.capitalize(), tuple(map(build, tree.children)))


def _call(tree: lark.Tree, text: str, build, holes: bool) -> Formula:
  """Builds a call, checking its operator, arity and window."""
  name, start = str(tree.children[0]), tree.meta.start_pos
  if holes and name == HOLE:
    return Formula(HOLE, tuple(map(build, tree.children[1:])))
  row = vocab.OPERATORS.get(name)
  if row is None:
    raise _error(text, start, _unknown(name, 'operator', vocab.OPERATORS))
  operands = tree.children[1:]
  if len(operands) != row.arity:
    window = ', the last a window' if row.kind in vocab.WINDOWED else ''
    what = f'{name} takes {row.arity} arguments{window}, not {len(operands)}'
    raise _error(text, start, what + _instead(name))
  args = tuple(map(build, operands))
  _check_levels(row, args, operands, text)
  if row.kind in vocab.WINDOWED:
    window = args[-1].symbol
    is_hole = holes and args[-1] == Formula(HOLE)
    if not is_hole and (not window.isdigit() or int(window) < 1):
      what = f'the window of {name} must be a positive integer, not'
      at = operands[-1].meta.start_pos
      what = f'{what} {to_text(args[-1])}'
      if window.removeprefix('-').isdigit() and name in ('Ref', 'Delta'):
        raise _error(text, at, f'{what}, which would look ahead')
      raise _error(text, at, what + _instead(name))
  return Formula(name, args)


def _instead(name: str) -> str:
  return f' ({_INSTEAD[name]})' if name in _INSTEAD else ''


def _unknown(name: str, kind: str, known) -> str:
  meant = _MEANT.get(name.lower())
  if kind == 'operator' and meant and name not in known:
    return f'unknown operator {name!r} (here: {meant})'
  close = difflib.get_close_matches(name, known, n=1)
  hint = f'did you mean {close[0]}?' if close else f'known: {", ".join(known)}'
  return f'unknown {kind} {name!r} ({hint})'


def _check_levels(row: vocab.Symbol, args, operands, text: str) -> None:
  """Refuses a quantile level that is no number in [0, 1]."""
  slots = vocab.SLOTS[row.kind]
  for slot, arg, operand in zip(slots, args, operands, strict=True):
    if slot != 'level' or arg.symbol == HOLE:
      continue
    if not is_number(arg) or not 0 <= float(arg.symbol) <= 1:
      what = f'the level of {row.name} must be a number in [0, 1], not'
      example = f'{row.name}(close,0.8,20)'
      at = operand.meta.start_pos
      raise _error(text, at, f'{what} {to_text(arg)}, as in {example}')
