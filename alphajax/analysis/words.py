"""Plain-words readings of formulas, generated from their trees (Table 9)."""

from alphajax.data import features
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula


def reading(formula: Formula) -> str:
  """What a formula says: `the 20-day correlation of the volume and ...`.

  Operands of more than a leaf stand in brackets wherever a reader could take
  them for two. The phrases are those of the symbol table.
  """
  if formula_lib.is_number(formula):
    return formula.symbol
  if not formula.args:
    return f'the {features.meaning(formula.symbol)}'
  args, window = formula.args, None
  if formula_lib.is_windowed(formula):
    args, window = args[:-1], args[-1].symbol
  if formula.symbol == 'Mul' and args[0] == formula_lib.number(-1):
    return f'the negative of {_operand(args[1])}'
  return _phrase(formula.symbol).format(*map(_operand, args), n=window)


def _phrase(name: str) -> str:
  """An operator with {0}, {1} for its operands and {n} for its window."""
  row = vocab.OPERATORS[name]
  if row.phrase:
    return row.phrase
  operands = [f'{{{i}}}' for i in range(vocab.OPERANDS[row.kind])]
  window = 'the {n}-day ' if row.kind in vocab.WINDOWED else ''
  return f'{window}{name} of {" and ".join(operands)}'


def _operand(formula: Formula) -> str:
  """In brackets when it has operands of its own, two of them or a delay."""
  text = reading(formula)
  is_joined = len(formula.args) > 1 and (
    not formula_lib.is_windowed(formula)
    or len(formula.args) > 2
    or _phrase(formula.symbol).startswith('{0}')
  )
  return f'({text})' if is_joined else text
