"""A grammar typed by units, whose formulas survive a change of adjustment.

Adjusted prices and volumes are known up to one positive factor per stock, the
base of the adjustment. The types say what such a factor does to a value: a
`Price` is multiplied by that of the prices, a `Volume` by that of the volumes,
a `Ratio` stays as it is. A formula is a Ratio, so its ranks, and its values,
do not depend on the base. Increments are those of alpha-Sem-k.
"""

from collections.abc import Sequence

from alphajax.data.features import PRICES, VOLUMES
from alphajax.language import rows as rows_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.rows import Row

START = 'Ratio'

# They have rows of their own: what a unit does is not said by one word, or the
# two operands may have different units.
_OWN = ('Sign', 'Mul', 'Div', 'Cov', 'Corr')
# Of operators that keep a unit, those that come first: rows are actions, and
# their order is that of a network's outputs.
_FIRST = ('Abs', 'Add', 'Sub', 'Greater', 'Less')


def typed_k_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """Rows of the typed grammar, the start symbol `Ratio` first.

  Features that are neither prices nor volumes count as ratios. A type without
  features is left out. Adding a number to a price, ranking prices across
  stocks or taking their logarithm depends on the base, and has no row.

  Raises:
    ValueError: Log without Abs, or a windowed operator without windows.
  """
  names = rows_lib.by_kind(vocab)
  known = {symbol.name for symbol in vocab.symbols} & set(vocab_lib.OPERATORS)
  if 'Log' in known and 'Abs' not in known:
    raise ValueError('Log is written Log(Abs(.)): add the operator Abs')
  leaves = _leaves(names['feature'])
  units = [kind for kind in ('Price', 'Volume') if kind in leaves]
  rows = _ratio_rows(units, bool(names['constant']))
  for unit in units:
    rows += _unit_rows(unit)
  rows = [
    (lhs, text, growth)
    for lhs, text, growth in rows
    if known.issuperset(set(text.split()) & set(vocab_lib.OPERATORS))
  ]
  if not names['condition']:
    rows.remove((START, 'Cond', 0))
  rows += [(lhs, name, 0) for lhs, those in leaves.items() for name in those]
  used = {word for _, text, _ in rows for word in text.split()}
  ends = {'Num': 'window', 'Constant': 'constant'}
  for lhs, kind in (ends | {'Level': 'level', 'Group': 'group'}).items():
    if lhs in used:
      rows += [(lhs, name, 0) for name in names[kind]]
  return rows


def _leaves(features: Sequence[str]) -> dict[str, list[str]]:
  """The features of each type that has any."""
  leaves = {}
  for name in features:
    unit = 'Price' if name in PRICES else START
    unit = 'Volume' if name in VOLUMES else unit
    leaves.setdefault(unit, []).append(name)
  return leaves


def _row(symbol: vocab_lib.Symbol, unit: str, lhs: str) -> Row:
  """An operator on values of one type: `Quantile Price Level Num`."""
  slots = vocab_lib.SLOTS[symbol.kind]
  writers = vocab_lib.WRITERS | {'value': unit}
  text = ' '.join([symbol.name, *(writers[slot] for slot in slots)])
  lhs = 'Cond' if symbol.kind in vocab_lib.CONDITIONS else lhs
  return lhs, text, len(slots)


def _of(units: str, *kinds: str) -> list[vocab_lib.Symbol]:
  """The operators that do this to a unit, those with rows of their own not."""
  return [
    symbol
    for symbol in vocab_lib.OPERATORS.values()
    if symbol.units == units
    and symbol.name not in _OWN
    and symbol.kind in (kinds or vocab_lib.SLOTS)
  ]


def _ratio_rows(units: Sequence[str], with_constants: bool) -> list[Row]:
  """Everything that makes a Ratio, in the order of Table 6."""
  names = {}
  for symbol in vocab_lib.OPERATORS.values():
    names.setdefault(symbol.kind, []).append(symbol.name)
  rows = [
    (START, 'Log Abs Ratio' if name == 'Log' else f'{name} Ratio', 1)
    for name in names['unary']
  ]
  for unit in units:
    # The sign of a price or a volume is 1; that of a difference is not.
    rows += [(START, f'Sign Sub {unit} {unit}', 3)]
    rows += [(START, f'Sign Delta {unit} Num', 3)]
    rows += [(START, f'Div {unit} {unit}', 2)]
    rows += [
      _row(symbol, unit, START)
      for symbol in _of(vocab_lib.FREES)
      if 'value' in vocab_lib.SLOTS[symbol.kind]
    ]
  symmetric, ordered = names['binary'], names['binary_asym']
  rows += [(START, f'{name} Ratio Ratio', 2) for name in symmetric + ordered]
  if with_constants:
    rows += [
      (START, f'{name} Ratio Constant', 2) for name in symmetric + ordered
    ]
    rows += [(START, f'{name} Constant Ratio', 2) for name in ordered]
  for does in (vocab_lib.KEEPS, '', vocab_lib.FREES):
    rows += [_row(symbol, START, START) for symbol in _of(does, 'rolling')]
  types = [*units, START]
  # A correlation has no unit; its operands commute.
  rows += [
    (START, f'Corr {a} {b} Num', 3)
    for i, a in enumerate(types)
    for b in types[i:]
  ]
  rows += [(START, 'Cov Ratio Ratio Num', 3), (START, 'Cond', 0)]
  return [*rows, *_more_ratio_rows(with_constants)]


def _more_ratio_rows(with_constants: bool) -> list[Row]:
  """The kinds that the paper does not have, and paired operators beyond it."""
  rows = []
  for symbol in vocab_lib.OPERATORS.values():
    if symbol.kind in ('unary', 'binary', 'binary_asym', 'rolling'):
      continue
    if symbol.name in _OWN:
      continue
    whole = _row(symbol, START, START)
    rows.append(whole)
    if with_constants and symbol.kind in ('comparison', 'equality', 'choice'):
      head = whole[1].removesuffix(' Ratio Ratio')
      pairs = ['Ratio Constant', 'Constant Ratio']
      pairs += ['Constant Constant'] * (symbol.kind == 'choice')
      rows += [(whole[0], f'{head} {pair}', whole[2]) for pair in pairs]
  return rows


def _unit_rows(unit: str) -> list[Row]:
  """Everything that makes a Price, or a Volume."""
  first = [vocab_lib.OPERATORS[name] for name in _FIRST]
  rest = [s for s in _of(vocab_lib.KEEPS) if s.name not in _FIRST]
  return [
    *(_row(symbol, unit, unit) for symbol in first),
    *((unit, f'{name} {unit} Ratio', 2) for name in ('Mul', 'Div')),
    *(_row(symbol, unit, unit) for symbol in rest),
    (unit, f'Cov {unit} Ratio Num', 3),
  ]
