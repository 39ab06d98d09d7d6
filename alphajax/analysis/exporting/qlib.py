"""Formulas as expressions of qlib, as far as it has their operators."""

import math
from collections.abc import Mapping

from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula, FormulaError

# Operators without an equal among qlib's expressions -> why.
ABSENT = {
  'CSRank': 'expressions see one stock; the processor CSRankNorm ranks columns',
  'Scale': 'expressions see one stock',
  'GroupRank': 'expressions see one stock',
  'GroupNeutral': 'expressions see one stock',
  'WMA': 'its WMA is divided by the window once more',
  'EMA': 'its EMA is a mean over all days so far',
  'Product': 'it has no product over a window',
}
# Unbiased in qlib -> the longest window that has no such moment.
_UNBIASED = {'Skew': 2, 'Kurt': 3}
_HEAD = '''"""Factors for qlib, exported from alphajax.

QlibDataLoader(config={'feature': (FIELDS, NAMES)}). Here a window is full or
the value is missing; qlib takes what days there are, so the first days of a
stock and those after a missing day differ.
"""
'''


def write(formulas: Mapping[str, Formula]) -> tuple[str, dict[str, str]]:
  """(the source, why those that are not in it cannot be written)."""
  fields, absent = {}, {}
  for name, formula in formulas.items():
    try:
      fields[name] = formula_lib.to_text(rewritten(formula), 'qlib')
    except FormulaError as error:
      absent[name] = why(formula) or str(error).splitlines()[0]
  lines = [f'  {text!r},  # {name}' for name, text in fields.items()]
  missing = [f'# {name} is left out: {text}' for name, text in absent.items()]
  parts = [
    _HEAD,
    '\n'.join(['FIELDS = [', *lines, ']']),
    f'NAMES = {list(fields)!r}',
    *missing,
  ]
  return '\n'.join(parts) + '\n', absent


def writable(formulas: Mapping[str, Formula]) -> dict[str, Formula]:
  """Those that qlib has the operators for."""
  absent = write(formulas)[1]
  return {name: f for name, f in formulas.items() if name not in absent}


def why(formula: Formula) -> str:
  """Which operators of a formula qlib lacks."""
  used = dict.fromkeys(n.symbol for n in formula_lib.nodes(formula))
  return '; '.join(f'{s}: {ABSENT[s]}' for s in used if s in ABSENT)


def rewritten(formula: Formula) -> Formula:
  """The same by operators of qlib, where it lacks one that they make."""
  args = tuple(map(rewritten, formula.args))
  formula = Formula(formula.symbol, args)
  if formula.symbol == 'SignedPower':
    x, y = args
    size = Formula('Pow', (Formula('Abs', (x,)), y))
    return Formula('Mul', (Formula('Sign', (x,)), size))
  days = int(args[-1].symbol) if formula.symbol in _UNBIASED else 0
  if days > _UNBIASED.get(formula.symbol, days):
    return _biased(formula, days)
  return formula


def _biased(formula: Formula, days: int) -> Formula:
  """Population moments from the unbiased ones of qlib."""
  unbiased = formula_lib.parse(
    f'{formula.symbol}(close,{days})', dialect='qlib'
  )
  value = _replaced(unbiased, formula.args[0])
  if formula.symbol == 'Skew':
    return _times(value, (days - 2) / math.sqrt(days * (days - 1)))
  share = (days - 2) * (days - 3) / ((days - 1) * (days + 1))
  shift = formula_lib.number(6 / (days + 1))
  return Formula('Sub', (_times(value, share), shift))


def _times(formula: Formula, factor: float) -> Formula:
  return Formula('Mul', (formula, formula_lib.number(factor)))


def _replaced(formula: Formula, operand: Formula) -> Formula:
  if formula == Formula('close'):
    return operand
  args = tuple(_replaced(arg, operand) for arg in formula.args)
  return Formula(formula.symbol, args)
