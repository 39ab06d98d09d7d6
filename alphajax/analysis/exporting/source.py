"""Formulas as self-contained Python: plain NumPy, pandas or polars.

The functions of the operators that occur are cut from `numpy_operators`,
`pandas_operators` and `polars_operators`, with those that they call: what is
exported is the code that is tested. None of these modules is imported.
"""

import ast
import functools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

# Operator -> its function in each of the three modules.
FUNCTIONS = {
  'Abs': 'absolute', 'Sign': 'sign', 'Log': 'log', 'CSRank': 'cs_rank',
  'Add': 'add', 'Mul': 'mul', 'Greater': 'greater', 'Less': 'less',
  'Sub': 'sub', 'Div': 'div', 'Pow': 'power', 'Ref': 'delay', 'Delta': 'delta',
  'Mean': 'ts_mean', 'Sum': 'ts_sum', 'Max': 'ts_max', 'Min': 'ts_min',
  'Std': 'ts_std', 'Var': 'ts_var', 'Skew': 'ts_skew', 'Kurt': 'ts_kurt',
  'Med': 'ts_med', 'Mad': 'ts_mad', 'Rank': 'ts_rank', 'WMA': 'ts_wma',
  'EMA': 'ts_ema', 'Cov': 'ts_cov', 'Corr': 'ts_corr', 'Scale': 'cs_scale',
  'SignedPower': 'signed_power', 'ArgMax': 'ts_argmax', 'ArgMin': 'ts_argmin',
  'Slope': 'ts_slope', 'Rsquare': 'ts_rsquare', 'Resi': 'ts_resi',
  'Product': 'ts_product', 'Gt': 'gt', 'Lt': 'lt', 'Ge': 'ge', 'Le': 'le',
  'Eq': 'eq', 'Ne': 'ne', 'And': 'both', 'Or': 'either', 'Not': 'negation',
  'If': 'choose', 'Quantile': 'ts_quantile', 'GroupRank': 'group_rank',
  'GroupNeutral': 'group_neutral',
}  # fmt: skip
ACROSS = ('CSRank', 'Scale', 'GroupRank', 'GroupNeutral')  # Take the members.
MODULES = {
  'python': 'numpy_operators',
  'pandas': 'pandas_operators',
  'polars': 'polars_operators',
}
_HEADS = {
  'python': '`data` maps names to planes, arrays [T, S] of days by stocks: '
  '{features}, and `members`, bool, the stocks that are ranked. NaN is '
  'missing. The factors are `compute(data)`.',
  'pandas': '`data` maps names to frames of days by stocks: {features}, and '
  '`members`, bool, the stocks that are ranked. One row a trading day; NaN is '
  'missing. The factors are `compute(data)`.',
  'polars': '`frame` is long: date, symbol, {features} and, if not all are '
  'ranked, `members`, bool. Stocks get a row of every day; null is missing. '
  'The factors are columns of `compute(frame)`.',
}
_SIGNAL = {
  'python': ' The signal is `signal(compute(data), data, WEIGHTS)`.',
  'pandas': ' The signal is `signal(compute(data), data, WEIGHTS)`.',
  'polars': ' The signal is `signal(compute(frame), WEIGHTS)`.',
}


def write(
  formulas: Mapping[str, Formula],
  target: str,
  weights: Mapping[str, float] | None = None,
) -> str:
  """The source of a module with a function for each formula.

  Its `FACTORS` maps names to functions, its `compute` gives them all.

  Args:
    formulas: by name, which is that of the function.
    target: a key of `MODULES`.
    weights: of the standardised factors, by name; then a `signal` is written
      too.

  Raises:
    ValueError: no formula, or a name that is none of a function.
  """
  if not formulas:
    raise ValueError('no formulas to export')
  for name in formulas:
    if not name.isidentifier():
      raise ValueError(f'{name!r} is not the name of a function')
  bodies = [_function(n, f, target) for n, f in formulas.items()]
  features = sorted(set().union(*map(_features, formulas.values())))
  used = {FUNCTIONS[s] for f in formulas.values() for s in _operators(f)}
  used |= {'store', 'number', 'prepare', 'feature'}
  used |= {'signal'} if weights else set()
  head = _HEADS[target].format(features=', '.join(features))
  head = textwrap.fill(head + (_SIGNAL[target] if weights else ''), 79)
  parts = [
    f'"""Factors, exported from alphajax.\n\n{head}\n"""',
    *_cut(MODULES[target], used),
    *bodies,
    _table(formulas, target, features),
    *([_weights(weights)] if weights else []),
  ]
  return '\n\n\n'.join(part.strip('\n') for part in parts) + '\n'


def _operators(formula: Formula) -> set[str]:
  return {n.symbol for n in formula_lib.nodes(formula) if n.args}


def _features(formula: Formula) -> set[str]:
  return {
    node.symbol
    for node in formula_lib.nodes(formula)
    if not node.args and not formula_lib.is_number(node)
  }


def _table(
  formulas: Mapping[str, Formula], target: str, features: Sequence[str]
) -> str:
  lines = [f"  '{name}': {name}," for name in formulas]
  table = '\n'.join(['FACTORS = {', *lines, '}'])
  if target != 'polars':
    return f'''{table}


def compute(data):
  """The factors by name."""
  return {{name: factor(data) for name, factor in FACTORS.items()}}'''
  return f'''{table}


def compute(frame):
  """The factors as columns, by stock and day."""
  frame = prepare(frame, {list(features)!r})
  columns = {{name: factor(frame) for name, factor in FACTORS.items()}}
  return frame.select('date', 'symbol', 'members').with_columns(**columns)'''


def _weights(weights: Mapping[str, float]) -> str:
  lines = [f"  '{name}': {weight!r}," for name, weight in weights.items()]
  return '\n'.join(['WEIGHTS = {  # Of `signal`.', *lines, '}'])


def _function(name: str, formula: Formula, target: str) -> str:
  """One formula as a function, an operator a line."""
  lines: list[str] = []
  write_node = _column if target == 'polars' else _plane
  known: dict[Formula, str] = {}

  def visit(node: Formula) -> str:
    if node not in known:
      args = [
        arg.symbol if slot in ('window', 'level') else visit(arg)
        for slot, arg in zip(_slots(node), node.args, strict=True)
      ]
      known[node] = write_node(node, args, lines)
    return known[node]

  result = visit(formula)
  text = formula_lib.to_text(formula)
  if target == 'polars':
    argument, guard = 'frame', ''
    result = f'frame.get_column({result})'
  else:
    argument, guard = 'data', "@np.errstate(all='ignore')\n"
  return '\n'.join(
    [
      f'{guard}def {name}({argument}):',
      f'  """{text}"""',
      *lines,
      f'  return {result}',
    ]
  )


def _slots(node: Formula) -> tuple[str, ...]:
  return vocab.SLOTS[vocab.OPERATORS[node.symbol].kind] if node.args else ()


def _plane(node: Formula, args: list[str], lines: list[str]) -> str:
  """Adds the line of a node of planes; returns the name of its value."""
  name = f'x{len(lines) + 1}'
  if node.args:
    members = ["data['members']"] * (node.symbol in ACROSS)
    call = f'{FUNCTIONS[node.symbol]}({", ".join([*args, *members])})'
    lines.append(f'  {name} = store({call})')
  elif formula_lib.is_number(node):
    lines.append(f'  {name} = number(data, {node.symbol})')
  else:
    lines.append(f"  {name} = feature(data, '{node.symbol}')")
  return name


def _column(node: Formula, args: list[str], lines: list[str]) -> str:
  """Adds the line of a node of columns; returns the name of its column."""
  name = f'_{len(lines) + 1}'
  if node.args:
    call = f'{FUNCTIONS[node.symbol]}({", ".join(["frame", *args])})'
    made = f'store({call})'
  elif formula_lib.is_number(node):
    made = f'number({node.symbol})'
  else:
    return f"'{node.symbol}'"
  lines.append(f'  frame = frame.with_columns({name}={made})')
  return f"'{name}'"


@functools.cache
def definitions(module: str) -> dict[str, tuple[str, frozenset[str]]]:
  """What a module defines: name -> (source, names that it reads).

  Imports are of the names that they bind.
  """
  path = Path(__file__).parent / f'{module}.py'
  text = path.read_text(encoding='utf-8')
  found = {}
  for node in ast.parse(text).body:
    if isinstance(node, ast.FunctionDef):
      name = node.name
    elif isinstance(node, ast.Import):
      (alias,) = node.names
      name = alias.asname or alias.name
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
      name = node.targets[0].id
    else:
      continue
    reads = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - {name}
    found[name] = ast.get_source_segment(text, node) or '', frozenset(reads)
  return found


def _cut(module: str, names: Iterable[str]) -> list[str]:
  """The parts of a module that some of its names need, in its order."""
  known = definitions(module)
  needed: set[str] = set()
  stack = [*names, 'DTYPE']
  stack += [
    {'numpy_operators': 'np', 'pandas_operators': 'np'}.get(module, 'pl')
  ]
  while stack:
    name = stack.pop()
    if name in known and name not in needed:
      needed.add(name)
      stack += known[name][1]
  parts = [(name, known[name][0]) for name in known if name in needed]
  short = [text for _, text in parts if not text.startswith('def ')]
  imports = '\n'.join(text for text in short if text.startswith('import '))
  values = '\n'.join(text for text in short if not text.startswith('import '))
  return [f'{imports}\n\n{values}'] + [
    text for _, text in parts if text.startswith('def ')
  ]
