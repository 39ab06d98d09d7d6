"""The rows of the languages that have a name: alpha-Sem-k and its kin."""

from collections.abc import Callable

from alphajax.language import typed
from alphajax.language import vocab as vocab_lib
from alphajax.language.rows import Row


def _by_kind(vocab: vocab_lib.Vocab) -> dict[str, list[str]]:
  """Names of each kind, those of kinds that cannot be used left out."""
  names = {}
  for symbol in vocab.symbols:
    names.setdefault(symbol.kind, []).append(symbol.name)
  windowed = names.get('rolling', []) + names.get('paired', [])
  if windowed and 'window' not in names:
    raise ValueError(
      f'{windowed[0]} needs a window and there is none: add one to '
      'language.windows'
    )
  if not windowed:
    names['window'] = []
  return {kind: names.get(kind, []) for kind in vocab_lib.KINDS}


def sem_k_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """alpha-Sem of Definition 3 with the increments of Table 7."""
  names = _by_kind(vocab)
  if 'Log' in names['unary'] and 'Abs' not in names['unary']:
    raise ValueError('Log is written Log(Abs(.)): add the operator Abs')
  asym = names['binary_asym']
  binary = names['binary'] + asym
  constants = names['constant'] if binary else []
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
  rows += [('Num', name, 0) for name in names['window']]
  return rows


def rpn_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """The trees of the formulas that RPN can write, their length in tokens.

  A constant is an operand of a binary operator beside one that is not
  constant; operands are not typed further.
  """
  names = _by_kind(vocab)
  binary = names['binary'] + names['binary_asym']
  constants = names['constant'] if binary else []
  rows = [('Expr', name, 1) for name in names['feature']]
  rows += [('Expr', f'{name} Expr', 1) for name in names['unary']]
  rows += [('Expr', f'{name} Expr Expr', 1) for name in binary]
  if constants:
    rows += [('Expr', f'{name} Expr Constant', 1) for name in binary]
    rows += [('Expr', f'{name} Constant Expr', 1) for name in binary]
  rows += [('Expr', f'{name} Expr Num', 1) for name in names['rolling']]
  rows += [('Expr', f'{name} Expr Expr Num', 1) for name in names['paired']]
  rows += [('Num', name, 1) for name in names['window']]
  rows += [('Constant', name, 1) for name in constants]
  return rows


PRESETS: dict[str, Callable[[vocab_lib.Vocab], list[Row]]] = {
  'sem_k': sem_k_rows,
  'sem': sem_rows,
  'syn': syn_rows,
  'typed_k': typed.typed_k_rows,
}
