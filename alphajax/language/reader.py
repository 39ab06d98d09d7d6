"""Reads formulas in the notations of `dialects`.

Through `formula.parse(text, dialect=...)`.
"""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import lark

from alphajax.language import definitions, dialects
from alphajax.language import formula as formula_lib
from alphajax.language.definitions import Definition, Table
from alphajax.language.formula import Formula, FormulaError, fault, start

# Of a parse tree -> the operator.
_INFIX = {
  **{name: name.capitalize() for name in 'add sub mul div pow'.split()},
  **{name: name.capitalize() for name in 'gt lt ge le eq ne'.split()},
  'either': 'Or',
  'both': 'And',
  'choice': 'If',
}
# The letters of what operators take, where it is not all values.
_TAKES = {'Or': 'ce', 'And': 'ce', 'If': 'cxy'}


class _Source(NamedTuple):
  """What is being read."""

  text: str
  table: Table
  features: tuple[str, ...]


def parse(text: str, dialect: str, features: Sequence[str]) -> Formula:
  """Reads a text in a dialect.

  Raises:
    FormulaError: no formula of the dialect, or one that has no equal here.
    ValueError: no dialect of that name.
  """
  source = _Source(text, definitions.table(dialect), tuple(features))
  tree = formula_lib.read(text, source.table.parser, lambda rest: '')
  built = {}
  # Operands stand after their operator in this order: reversed, before it.
  for node in reversed(list(_nodes(tree))):
    args = tuple(built[id(child)] for child in _operands(node))
    built[id(node)] = _read(source, node, args)
  whole = built[id(tree)]
  wrong = definitions.misfit('x', whole, source.table)
  if wrong:
    raise fault(text, start(tree), wrong)
  level = [whole]
  for _ in range(formula_lib.MAX_DEPTH):
    level = [
      arg
      for node in level
      for arg in node.args
      if not formula_lib.is_number(arg)
    ]
  if level:
    what = f'nested deeper than {formula_lib.MAX_DEPTH} levels, read as ours,'
    raise fault(text, start(tree), what)
  return whole


def readings(text: str, features: Sequence[str]) -> str:
  """What text means that is not ours: a line per reading; empty if none."""
  found = {}
  for dialect in dialects.DIALECTS:
    try:
      formula = parse(text, dialect, features)
    except FormulaError:
      continue
    found.setdefault(formula_lib.to_text(formula), dialect)
  return '\n'.join(
    f'  in the dialect {dialect} it is {ours}'
    for ours, dialect in found.items()
  )


def _operands(node: lark.Tree) -> list[lark.Tree]:
  return [child for child in node.children if isinstance(child, lark.Tree)]


def _nodes(tree: lark.Tree) -> Iterable[lark.Tree]:
  stack = [tree]
  while stack:
    node = stack.pop()
    yield node
    stack += _operands(node)


def _read(
  source: _Source, node: lark.Tree, args: tuple[Formula, ...]
) -> Formula:
  """One node, its operands being read."""
  if node.data == 'number':
    return formula_lib.literal(node, source.text)
  if node.data == 'days':
    return Formula(str(node.children[0]))
  if node.data == 'name':
    return _name(source, node)
  if node.data == 'call':
    return _call(source, node, args)
  if node.data == 'negative':
    if formula_lib.is_number(args[0]) and not definitions.is_days(args[0]):
      return formula_lib.number(-float(args[0].symbol))
    body = Formula('Mul', (Formula('-1'), Formula('x')))
    return _fill(source, node, Definition('-', 'x', False, body), args)
  symbol = _INFIX[node.data]
  params = _TAKES.get(symbol, 'xy')
  body = Formula(symbol, tuple(map(Formula, params)))
  return _fill(source, node, Definition(symbol, params, False, body), args)


def _name(source: _Source, node: lark.Tree) -> Formula:
  """A feature, or a name that stands for a formula."""
  name = str(node.children[0])
  features, dialect = source.features, source.table.dialect
  if name in features:
    return Formula(name)
  key = definitions.fold(name, dialect)
  for feature in features:
    if definitions.fold(feature, dialect) == key:
      return Formula(feature)
  if 'place' in dialect.feature and re.fullmatch(r'X\d+', name):
    if int(name[1:]) < len(features):
      return Formula(features[int(name[1:])])
    what = f'{name} of {len(features)} features, X0 to X{len(features) - 1}'
    raise fault(source.text, start(node), what)
  match = re.fullmatch(r'(.*?)(\d*)', key)
  stem, digits = match.groups() if match else (key, '')
  name_of = f'{stem}#' if digits else key
  for row in source.table.by_name.get(name_of, ()):
    if not row.is_call:
      return _fill(source, node, row, (Formula(digits),) * len(row.params))
  raise fault(source.text, start(node), _unknown(source, name, features))


def _call(
  source: _Source, node: lark.Tree, args: tuple[Formula, ...]
) -> Formula:
  """A call, by the first definition that fits."""
  name = str(node.children[0])
  key = definitions.fold(name, source.table.dialect)
  rows = [row for row in source.table.by_name.get(key, ()) if row.is_call]
  if not rows:
    known = {
      row.name: None
      for those in source.table.by_name.values()
      for row in those
      if row.is_call
    }
    raise fault(source.text, start(node), _unknown(source, name, known))
  fitting = [row for row in rows if len(row.params) == len(args)]
  if not fitting:
    counts = ' or '.join(sorted({str(len(row.params)) for row in rows}))
    plural = '' if counts == '1' else 's'
    what = f'{name} takes {counts} argument{plural}, not {len(args)}'
    raise fault(source.text, start(node), what)
  for row in fitting[:-1]:
    if definitions.fits(row, args, source.table):
      return _fill(source, node, row, args)
  return _fill(source, node, fitting[-1], args)


def _unknown(source: _Source, name: str, known: Iterable[str]) -> str:
  """Says that a dialect has no such name, or that we have no equal of it."""
  dialect = source.table.name
  why = source.table.absent.get(definitions.fold(name, source.table.dialect))
  if why:
    return f'{name} of {dialect} is not in the language: it is {why}'
  close = difflib.get_close_matches(name, list(known), n=1)
  hint = f'did you mean {close[0]}?' if close else f'known: {", ".join(known)}'
  return f'{name!r} is not in the dialect {dialect} ({hint})'


def _fill(
  source: _Source,
  node: lark.Tree,
  row: Definition,
  args: tuple[Formula, ...],
) -> Formula:
  """The body of a definition with what is given in it."""
  places = [start(child) for child in _operands(node)] or [start(node)]
  for letter, arg, place in zip(row.params, args, places, strict=False):
    wrong = definitions.misfit(letter, arg, source.table)
    if not wrong:
      continue
    if letter in 'ds':
      wrong = f'the window of {row.name} must be a positive integer, not {arg}'
      if arg.symbol.startswith('-') and row.body.symbol in ('Ref', 'Delta'):
        wrong += f', {formula_lib.LOOKS_AHEAD}'
    raise fault(source.text, place, wrong)
  given = {
    letter: _given(letter, arg)
    for letter, arg in zip(row.params, args, strict=True)
  }
  for part in formula_lib.nodes(row.body):
    is_name = not part.args and not formula_lib.is_number(part)
    if is_name and part.symbol not in (*given, *source.features):
      what = f'{row.name} is made of {part.symbol}, which is not among the'
      what = f'{what} features {", ".join(source.features)}'
      raise fault(source.text, start(node), what)
  return _substitute(row.body, given)


def _given(letter: str, arg: Formula) -> Formula:
  """What an argument is in a body."""
  if letter == 's':
    return arg.args[0]
  if letter == 'd':
    return formula_lib.number(math.floor(float(arg.symbol.removesuffix('d'))))
  return arg


def _substitute(body: Formula, given: dict[str, Formula]) -> Formula:
  if not body.args:
    return given.get(body.symbol, body)
  args = tuple(_substitute(arg, given) for arg in body.args)
  return Formula(body.symbol, args)
