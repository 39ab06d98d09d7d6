"""Plain-words readings of formulas, generated from their trees (Table 9)."""

from collections.abc import Sequence

from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

FEATURES = {
  'open': 'opening price',
  'high': "day's high",
  'low': "day's low",
  'close': 'closing price',
  'volume': 'volume',
  'vwap': 'volume-weighted price',
}
# {0}, {1}: the operands; {n}: the window.
_PHRASES = {
  'Abs': 'the absolute value of {0}',
  'Sign': 'the sign of {0}',
  'Log': 'the logarithm of {0}',
  'CSRank': 'the rank among the stocks of {0}',
  'Add': '{0} plus {1}',
  'Sub': '{0} less {1}',
  'Mul': '{0} times {1}',
  'Div': '{0} over {1}',
  'Pow': '{0} to the power of {1}',
  'Greater': 'the larger of {0} and {1}',
  'Less': 'the smaller of {0} and {1}',
  'Ref': '{0} {n} days ago',
  'Delta': 'the change over {n} days of {0}',
  'Mean': 'the {n}-day mean of {0}',
  'Sum': 'the {n}-day sum of {0}',
  'Max': 'the {n}-day maximum of {0}',
  'Min': 'the {n}-day minimum of {0}',
  'Std': 'the {n}-day standard deviation of {0}',
  'Var': 'the {n}-day variance of {0}',
  'Skew': 'the {n}-day skewness of {0}',
  'Kurt': 'the {n}-day kurtosis of {0}',
  'Med': 'the {n}-day median of {0}',
  'Mad': 'the {n}-day mean absolute deviation of {0}',
  'Rank': 'the rank within its last {n} days of {0}',
  'WMA': 'the {n}-day linearly weighted mean of {0}',
  'EMA': 'the {n}-day exponential mean of {0}',
  'Cov': 'the {n}-day covariance of {0} and {1}',
  'Corr': 'the {n}-day correlation of {0} and {1}',
}


def reading(formula: Formula) -> str:
  """What a formula says: `the 20-day correlation of the volume and ...`.

  Operands of more than a leaf stand in brackets wherever a reader could take
  them for two. An operator without a phrase of its own is read as its call.
  """
  if formula_lib.is_number(formula):
    return formula.symbol
  if not formula.args:
    return f'the {FEATURES.get(formula.symbol, formula.symbol)}'
  args, window = formula.args, None
  if formula_lib.is_windowed(formula):
    args, window = args[:-1], args[-1].symbol
  if formula.symbol == 'Mul' and args[0] == formula_lib.number(-1):
    return f'the negative of {_operand(args[1])}'
  phrase = _PHRASES.get(formula.symbol)
  if phrase is None:
    return f'{formula.symbol} of {_all(formula.args)}'
  return phrase.format(*map(_operand, args), n=window)


def _operand(formula: Formula) -> str:
  """In brackets when it has operands of its own, two of them or a delay."""
  text = reading(formula)
  is_joined = len(formula.args) > 1 and (
    not formula_lib.is_windowed(formula)
    or len(formula.args) > 2
    or formula.symbol == 'Ref'
  )
  return f'({text})' if is_joined else text


def _all(formulas: Sequence[Formula]) -> str:
  return ', '.join(map(_operand, formulas))
