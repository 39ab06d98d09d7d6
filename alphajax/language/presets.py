"""The rows of the languages that have a name: alpha-Sem-k and its kin."""

from collections.abc import Callable

from alphajax.language import rows as rows_lib
from alphajax.language import typed
from alphajax.language import vocab as vocab_lib
from alphajax.language.rows import Row


def _by_kind(vocab: vocab_lib.Vocab) -> dict[str, list[str]]:
  """Names of each kind, windows left out where nothing takes them."""
  names = rows_lib.by_kind(vocab)
  if not any(names[kind] for kind in vocab_lib.WINDOWED):
    names['window'] = []
  return names


def _takes_constants(names: dict[str, list[str]]) -> bool:
  """True where an operator may have a constant beside an expression."""
  kinds = ('binary', 'binary_asym', 'comparison', 'equality', 'choice')
  return any(names[kind] for kind in kinds)


def _more_rows(
  names: dict[str, list[str]],
  growth: Callable[[int], int],
  *,
  constants: bool,
  leaf: int = 0,
) -> list[Row]:
  """Rows of the kinds of operators that the paper does not have.

  `Cond` is a comparison, or what And, Or and Not make of comparisons: the first
  operand of If. As an expression it is 1 or 0.

  Args:
    names: of each kind.
    growth: of an operator with so many children.
    constants: one may stand beside an expression, and both branches of If may.
    leaf: growth of a level or a group.
  """
  rows = [('Expr', 'Cond', 0)] if names['condition'] else []
  values = ['Expr', 'Constant'] if constants else ['Expr']
  for name in names['condition']:
    rows.append(('Cond', f'{name} Expr Expr', growth(2)))
    if constants:
      rows.append(('Cond', f'{name} Expr Constant', growth(2)))
      rows.append(('Cond', f'{name} Constant Expr', growth(2)))
  rows += [
    ('Cond', f'{name} Cond Cond', growth(2)) for name in names['logical']
  ]
  rows += [('Cond', f'{name} Cond', growth(1)) for name in names['negation']]
  rows += [
    ('Expr', f'{name} Cond {left} {right}', growth(3))
    for name in names['choice']
    for left in values
    for right in values
  ]
  for name in names['quantile']:
    rows.append(('Expr', f'{name} Expr Level Num', growth(3)))
  rows += [
    ('Expr', f'{name} Expr Group', growth(2)) for name in names['grouped']
  ]
  if names['quantile']:
    rows += [('Level', name, leaf) for name in names['level']]
  if names['grouped']:
    rows += [('Group', name, leaf) for name in names['group']]
  return rows


def sem_k_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """alpha-Sem of Definition 3 with the increments of Table 7."""
  names = _by_kind(vocab)
  if 'Log' in names['unary'] and 'Abs' not in names['unary']:
    raise ValueError('Log is written Log(Abs(.)): add the operator Abs')
  asym = names['binary_asym']
  binary = names['binary'] + asym
  constants = names['constant'] if _takes_constants(names) else []
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
  rows += _more_rows(
    names, lambda children: children, constants=bool(constants)
  )
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
  rows += _more_rows(names, lambda _: 1, constants=False)
  rows += [('Num', name, 0) for name in names['window']]
  return rows


def rpn_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """The trees of the formulas that RPN can write, their length in tokens.

  A constant is an operand of a binary operator beside one that is not
  constant; operands are not typed further.
  """
  names = _by_kind(vocab)
  binary = names['binary'] + names['binary_asym']
  constants = names['constant'] if _takes_constants(names) else []
  rows = [('Expr', name, 1) for name in names['feature']]
  rows += [('Expr', f'{name} Expr', 1) for name in names['unary']]
  rows += [('Expr', f'{name} Expr Expr', 1) for name in binary]
  if constants:
    rows += [('Expr', f'{name} Expr Constant', 1) for name in binary]
    rows += [('Expr', f'{name} Constant Expr', 1) for name in binary]
  rows += [('Expr', f'{name} Expr Num', 1) for name in names['rolling']]
  rows += [('Expr', f'{name} Expr Expr Num', 1) for name in names['paired']]
  rows += _more_rows(names, lambda _: 1, constants=bool(constants), leaf=1)
  rows += [('Num', name, 1) for name in names['window']]
  rows += [('Constant', name, 1) for name in constants]
  return rows


PRESETS: dict[str, Callable[[vocab_lib.Vocab], list[Row]]] = {
  'sem_k': sem_k_rows,
  'sem': sem_rows,
  'syn': syn_rows,
  'typed_k': typed.typed_k_rows,
}
