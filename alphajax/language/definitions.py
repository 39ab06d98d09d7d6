"""The tables of `dialects` ready for use, and what fits a definition."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import lark

from alphajax.language import dialects, vocab
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

SEQUENCE = 'SEQUENCE'


class Definition(NamedTuple):
  """What a name of a dialect is here.

  name: as it is written, `#` standing for digits.
  params: letters of what it takes; see `dialects`.
  is_call: it is written with parentheses.
  body: what it becomes, the letters standing for what is given.
  """

  name: str
  params: str
  is_call: bool
  body: Formula


class Table(NamedTuple):
  """A dialect ready for use; `by_name` has folded names where case is."""

  name: str
  dialect: dialects.Dialect
  parser: lark.Lark
  by_name: dict[str, tuple[Definition, ...]]
  by_root: dict[str, tuple[Definition, ...]]
  absent: dict[str, str]


@functools.cache
def table(name: str) -> Table:
  """The table of a dialect.

  Raises:
    ValueError: none of that name.
  """
  if name not in dialects.DIALECTS:
    raise ValueError(
      f'unknown dialect {name!r}: expected one of {", ".join(dialects.NAMES)}'
    )
  dialect = dialects.DIALECTS[name]
  rows = [_definition(line) for line in dialect.definitions.strip().split('\n')]
  by_name, by_root = {}, {}
  for row in rows:
    by_name.setdefault(fold(row.name, dialect), []).append(row)
    by_root.setdefault(row.body.symbol, []).append(row)
  for those in by_root.values():
    # The largest first, then what takes least; sorting keeps other orders.
    those.sort(key=lambda row: (-formula_lib.size(row.body), len(row.params)))
  parser = lark.Lark(
    dialect.grammar,
    start='start',
    parser='lalr',
    propagate_positions=True,
    maybe_placeholders=False,
  )
  absent = {fold(key, dialect): why for key, why in dialect.absent.items()}
  return Table(name, dialect, parser, by_name, by_root, absent)


def fold(name: str, dialect: dialects.Dialect) -> str:
  """A name as the tables of a dialect have it."""
  return name.lower() if dialect.folds_case else name


def _definition(line: str) -> Definition:
  head, body = line.split(' = ')
  name, called, params = head.rstrip(')').partition('(')
  letters = 'd' if name.endswith('#') else params.replace(',', '')
  return Definition(name, letters, bool(called), formula_lib.unchecked(body))


def is_days(formula: Formula) -> bool:
  """True for a number of days, such as AlphaGen's 20d."""
  return formula_lib.is_number(formula) and formula.symbol.endswith('d')


def fits(row: Definition, args: Sequence[Formula], table: Table) -> bool:
  """True where a definition takes these arguments."""
  return len(row.params) == len(args) and not any(
    misfit(letter, arg, table)
    for letter, arg in zip(row.params, args, strict=True)
  )


def misfit(letter: str, arg: Formula, table: Table) -> str:
  """Why an argument cannot be given for a letter; empty if it can."""
  is_number = formula_lib.is_number(arg)
  if letter == 'd':
    if not is_number:
      return 'a window is a number'
    days = float(arg.symbol.removesuffix('d'))
    is_whole = table.dialect.floors or days.is_integer()
    fits_in = 1 <= days < math.inf and is_whole
    return '' if fits_in else 'a window is a positive integer'
  if letter == 's':
    return '' if arg.symbol == SEQUENCE else f'expected {SEQUENCE}(n)'
  if arg.symbol == SEQUENCE:
    return f'{SEQUENCE}(n) is only the last argument of REGBETA'
  if is_days(arg):
    return f'{arg} is a window: expected a value'
  if letter == 'n':
    return '' if is_number else f'expected a number, not {arg}'
  if letter == 'q':
    is_level = is_number and 0 <= float(arg.symbol) <= 1
    return '' if is_level else f'expected a number in [0, 1], not {arg}'
  if letter == 'g':
    is_name = not arg.args and not is_number
    return '' if is_name else f'expected the name of groups, not {arg}'
  if letter in 'ce' and formula_lib.kind(arg) not in vocab.CONDITIONS:
    return f'expected a condition such as a comparison, not {arg}'
  return ''
