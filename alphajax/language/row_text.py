"""Grammars as text: rows from a config value or from a file.

    # One row a line (or after a semicolon); alternatives apart by |.
    Expr -> close | volume
    Expr -> Mean Expr Num | Std Expr Num : 2
    Num  -> 5 | 10

Right-hand sides are in prefix order. What follows the colon is the increment of
each alternative, 0 where there is none.
"""

import re
from pathlib import Path

from alphajax.language import rows as rows_lib

_ROW = re.compile(
  r'(?P<lhs>\S+)\s*->\s*(?P<rhs>[^:>]*?)\s*(?::\s*(?P<growth>\S+)\s*)?'
)


def read(text: str, key: str = 'language.rules') -> str:
  """The rows that a config value names: themselves, or those of a file.

  Raises:
    ValueError: it is neither; names the config key.
  """
  if '->' in text or '\n' in text or not text.strip():
    return text
  path = Path(text).expanduser()
  if not path.is_file():
    raise ValueError(
      f'{key}: {text!r} is neither rows such as "Expr -> close" nor a file'
    )
  return path.read_text(encoding='utf-8-sig')  # Editors put a mark in front.


def parse(text: str) -> list[rows_lib.Row]:
  """Rows of a grammar.

  Raises:
    ValueError: no rows, or a line that is not one; names the line.
  """
  rows = []
  for number, line in enumerate(text.splitlines(), 1):
    for part in filter(str.strip, line.partition('#')[0].split(';')):
      rows += _row(part.strip(), number)
  if not rows:
    raise ValueError(
      'the grammar is empty: language.rules has no row such as "Expr -> close"'
    )
  return rows


def _row(text: str, number: int) -> list[rows_lib.Row]:
  where = f'language.rules, line {number}: {text!r}'
  match = _ROW.fullmatch(text)
  if match is None:
    raise ValueError(
      f'{where} is not a row; expected "Expr -> Mean Expr Num : 2"'
    )
  growth = match['growth'] or '0'
  if not growth.isdecimal():
    raise ValueError(
      f'{where}: the increment {growth!r} must be an integer >= 0'
    )
  bodies = [' '.join(body.split()) for body in match['rhs'].split('|')]
  if not all(bodies):
    raise ValueError(f'{where}: an alternative is empty')
  return [(match['lhs'], body, int(growth)) for body in bodies]
