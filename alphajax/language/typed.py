"""A grammar typed by units, whose formulas survive a change of adjustment.

Adjusted prices and volumes are known up to one positive factor per stock, the
base of the adjustment. The types say what such a factor does to a value: a
`Price` is multiplied by that of the prices, a `Volume` by that of the volumes,
a `Ratio` stays as it is. A formula is a Ratio, so its ranks, and its values,
do not depend on the base. Increments are those of alpha-Sem-k.
"""

from collections.abc import Sequence

from alphajax.language import vocab as vocab_lib

PRICES = ('open', 'high', 'low', 'close', 'vwap')
VOLUMES = ('volume',)
START = 'Ratio'

# Rolling operators f with f(c x) = c f(x) for c > 0, so that a type is kept,
# and those with f(c x) = f(x). `Var` is of degree 2 and takes Ratios alone.
KEEPING = 'Ref Delta Mean Sum Max Min Std Med Mad WMA EMA'.split()
FREEING = 'Skew Kurt Rank'.split()

Row = tuple[str, str, int]


def typed_k_rows(vocab: vocab_lib.Vocab) -> list[Row]:
  """Rows of the typed grammar, the start symbol `Ratio` first.

  Features that are neither prices nor volumes count as ratios. A type without
  features is left out. Adding a number to a price, ranking prices across
  stocks or taking their logarithm depends on the base, and has no row.

  Raises:
    ValueError: Log without Abs, or a windowed operator without windows.
  """
  names = {}
  for symbol in vocab.symbols:
    names.setdefault(symbol.kind, []).append(symbol.name)
  known = {symbol.name for symbol in vocab.symbols} & set(vocab_lib.OPERATORS)
  windowed = names.get('rolling', []) + names.get('paired', [])
  if 'Log' in known and 'Abs' not in known:
    raise ValueError('Log is written Log(Abs(.)): add the operator Abs')
  if windowed and 'window' not in names:
    raise ValueError(f'{windowed[0]} needs a window and there is none')
  leaves = _leaves(names.get('feature', []))
  units = [kind for kind in ('Price', 'Volume') if kind in leaves]
  rows = _ratio_rows(units, 'constant' in names)
  for unit in units:
    rows += _unit_rows(unit)
  rows = [
    (lhs, text, growth)
    for lhs, text, growth in rows
    if known.issuperset(set(text.split()) & set(vocab_lib.OPERATORS))
  ]
  rows += [(lhs, name, 0) for lhs, those in leaves.items() for name in those]
  used = {word for _, text, _ in rows for word in text.split()}
  for lhs, kind in (('Num', 'window'), ('Constant', 'constant')):
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


def _ratio_rows(units: Sequence[str], with_constants: bool) -> list[Row]:
  """Everything that makes a Ratio, in the order of Table 6."""
  rows = [
    (START, 'Abs Ratio', 1),
    (START, 'Sign Ratio', 1),
    (START, 'Log Abs Ratio', 1),
    (START, 'CSRank Ratio', 1),
  ]
  for unit in units:
    # The sign of a price or a volume is 1; that of a difference is not.
    rows += [(START, f'Sign Sub {unit} {unit}', 3)]
    rows += [(START, f'Sign Delta {unit} Num', 3)]
    rows += [(START, f'Div {unit} {unit}', 2)]
    rows += [(START, f'{name} {unit} Num', 2) for name in FREEING]
  symmetric = 'Add Mul Greater Less'.split()
  ordered = 'Sub Div Pow'.split()
  rows += [(START, f'{name} Ratio Ratio', 2) for name in symmetric + ordered]
  if with_constants:
    rows += [
      (START, f'{name} Ratio Constant', 2) for name in symmetric + ordered
    ]
    rows += [(START, f'{name} Constant Ratio', 2) for name in ordered]
  rows += [
    (START, f'{name} Ratio Num', 2) for name in [*KEEPING, 'Var', *FREEING]
  ]
  types = [*units, START]
  # A correlation has no unit; its operands commute.
  rows += [
    (START, f'Corr {a} {b} Num', 3)
    for i, a in enumerate(types)
    for b in types[i:]
  ]
  return [*rows, (START, 'Cov Ratio Ratio Num', 3)]


def _unit_rows(unit: str) -> list[Row]:
  """Everything that makes a Price, or a Volume."""
  same = ('Add', 'Sub', 'Greater', 'Less')
  return [
    (unit, f'Abs {unit}', 1),
    *((unit, f'{name} {unit} {unit}', 2) for name in same),
    *((unit, f'{name} {unit} Ratio', 2) for name in ('Mul', 'Div')),
    *((unit, f'{name} {unit} Num', 2) for name in KEEPING),
    (unit, f'Cov {unit} Ratio Num', 3),
  ]
