"""Writes formulas in the notations of `dialects`.

Through `formula.to_text(formula, dialect=...)`.
"""

from collections.abc import Iterable, Sequence

from alphajax.language import definitions, vocab
from alphajax.language import formula as formula_lib
from alphajax.language.definitions import SEQUENCE, Definition, Table
from alphajax.language.formula import Formula, FormulaError


def to_text(formula: Formula, dialect: str, features: Sequence[str]) -> str:
  """Writes a formula in a dialect.

  Raises:
    FormulaError: it has no equal of an operator.
    ValueError: no dialect of that name.
  """
  return _write(formula, 0, definitions.table(dialect), features)


def _write(
  formula: Formula, outer: int, table: Table, features: Sequence[str]
) -> str:
  """Writes with parentheses where the operator binds weaker than `outer`."""
  symbol, args = formula.symbol, formula.args
  sign, strength = table.dialect.signs.get(symbol, ('', 0))
  row, bound = _match(formula, table, 2 if sign else 0)
  if row is not None:
    if not row.is_call:
      return row.name.replace('#', bound.get('d', formula).symbol)
    parts = [
      _argument(letter, bound[letter], table, features) for letter in row.params
    ]
    return f'{row.name}({",".join(parts)})'
  if not args:
    return _leaf(symbol, outer, table, features)
  if not sign:
    raise FormulaError(f'{_no_equal(symbol, table)}, in\n  {formula}')
  minus = symbol == 'Mul' and args[0] == Formula('-1')
  if minus and table.dialect.negates and not formula_lib.is_number(args[1]):
    text, strength = f'-{_write(args[1], 7, table, features)}', 5
  elif symbol == 'If':
    condition, yes, no = (_write(arg, 2, table, features) for arg in args)
    text = f'{condition}?{yes}:{no}'
  else:
    # Equals on the left need no parentheses, but for powers and comparisons.
    left = strength + (strength in (4, 8))
    text = _write(args[0], left, table, features) + sign
    text += _write(args[1], strength + 1, table, features)
  return f'({text})' if strength < outer else text


def _argument(
  letter: str, arg: Formula, table: Table, features: Sequence[str]
) -> str:
  if letter == 'd':
    return table.dialect.days.format(arg)
  text = _write(arg, 0, table, features)
  return f'{SEQUENCE}({text})' if letter == 's' else text


def _leaf(
  symbol: str, outer: int, table: Table, features: Sequence[str]
) -> str:
  if formula_lib.is_number(Formula(symbol)):
    # A negative number needs them as a right operand and in a power.
    return f'({symbol})' if symbol[0] == '-' and outer > 5 else symbol
  style = table.dialect.feature
  if symbol in vocab.NONTERMINALS or symbol == formula_lib.HOLE:
    raise FormulaError(f'{symbol} is a part of a formula that is still open')
  if 'place' not in style:
    return style.format(name=symbol, upper=symbol.upper())
  if symbol not in features:
    raise FormulaError(
      f'{symbol} has no number in {table.name}: the features are '
      f'{", ".join(features)}'
    )
  return style.format(place=features.index(symbol))


def _no_equal(symbol: str, table: Table) -> str:
  why = table.dialect.absent.get(symbol)
  there = f': {symbol} of {table.name} is {why}' if why else ''
  return f'{symbol} has no equal in the dialect {table.name}{there}'


def _match(
  formula: Formula, table: Table, least: int
) -> tuple[Definition | None, dict[str, Formula]]:
  """The definition that a formula is written by, and what it takes.

  least: depth that the body must exceed, since signs are better for less.
  """
  for row in table.by_root.get(formula.symbol, ()):
    if least and all(not arg.args for arg in row.body.args):
      continue
    for each in _orders(formula):
      bound = {}
      if not _binds(row.body, each, row.params, bound):
        continue
      if _is_read(row, bound, table):
        return row, bound
  return None, {}


def _orders(formula: Formula) -> Iterable[Formula]:
  """A formula, and with its operands swapped where that is the same."""
  yield formula
  if formula_lib.kind(formula) == 'binary':
    yield Formula(formula.symbol, formula.args[::-1])


def _binds(
  body: Formula, formula: Formula, params: str, bound: dict[str, Formula]
) -> bool:
  """Whether a formula is the body; `bound` then says what it takes."""
  if not body.args and body.symbol in params:
    return bound.setdefault(body.symbol, formula) == formula
  return (
    body.symbol == formula.symbol
    and len(body.args) == len(formula.args)
    and all(
      _binds(part, arg, params, bound)
      for part, arg in zip(body.args, formula.args, strict=True)
    )
  )


def _is_read(row: Definition, bound: dict, table: Table) -> bool:
  """Whether what is written by a definition is read by it."""
  args = [
    Formula(SEQUENCE, (bound[p],)) if p == 's' else bound[p] for p in row.params
  ]
  if row.body.symbol == SEQUENCE or not definitions.fits(row, args, table):
    return False
  same = table.by_name[definitions.fold(row.name, table.dialect)]
  return (
    next(each for each in same if definitions.fits(each, args, table)) is row
  )
