"""Published formulas in our language: Alpha101 and GTJA191.

`alpha101.csv`: Kakushadze, "101 Formulaic Alphas" (arXiv 1601.00991).
`gtja191.csv`: Guotai Junan Securities, 191 short-period price-volume alphas
(quantitative series no. 93, 2017). Columns: id, the formula as published, the
reading where the print is wrong, kind, the formula in our language, a note.

Conventions: returns are `close/Ref(close,1)-1`; adv{d} is the mean dollar
volume `Mean(vwap*volume,d)`, as the paper says, where public code takes shares;
AMOUNT is `vwap*volume`; windows are floored, as the paper says; ranks lie in
(0, 1]; decay_linear is WMA; deviations have n - 1 in the denominator.
"""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

from alphajax.language import formula as formula_lib

LIBRARIES = ('alpha101', 'gtja191')
KINDS = ('exact', 'rewrite', 'absent')
_COLUMNS = ('id', 'published', 'corrected', 'kind', 'formula', 'note')


class Entry(NamedTuple):
  """One published formula.

  id: the source's own number.
  published: the source's text and notation.
  corrected: the reading adopted where the print is wrong, else empty.
  kind: `exact`, a translation operator by operator; `rewrite`, equal in value
    through an identity that `note` names, except that a missing value in the
    branch of a condition that is not taken makes it missing; `absent`, it
    needs an input or an operator that we do not have.
  formula: text in our language; empty where absent.
  note: the identity, or what is missing.
  """

  id: int
  published: str
  corrected: str
  kind: str
  formula: str
  note: str


@functools.cache
def entries(name: str) -> tuple[Entry, ...]:
  """All entries of a library, by number.

  Raises:
    ValueError: no library of that name; a row of its table is wrong.
  """
  if name not in LIBRARIES:
    raise ValueError(
      f'unknown library {name!r}: expected one of {", ".join(LIBRARIES)}'
    )
  path = Path(__file__).parent / f'{name}.csv'
  with path.open(encoding='utf-8', newline='') as file:
    reader = csv.DictReader(file)
    if tuple(reader.fieldnames or ()) != _COLUMNS:
      raise ValueError(f'{path}: expected the columns {", ".join(_COLUMNS)}')
    return tuple(_entry(row, f'{path}:{reader.line_num}') for row in reader)


def _entry(row: dict[str, str], where: str) -> Entry:
  if row['kind'] not in KINDS:
    raise ValueError(
      f'{where}: kind {row["kind"]!r}, expected one of {", ".join(KINDS)}'
    )
  if (row['kind'] == 'absent') == bool(row['formula']):
    raise ValueError(f'{where}: a formula, or kind absent, but not both')
  return Entry(int(row['id']), *(row[column] for column in _COLUMNS[1:]))


def load(name: str, *, exact_only: bool = False) -> dict[int, str]:
  """Formula texts of a library by number; `formula.parse` reads each.

  exact_only: without the rewrites.
  """
  kinds = KINDS[: 1 if exact_only else 2]
  return {e.id: e.formula for e in entries(name) if e.kind in kinds}


def left_out(name: str) -> dict[int, str]:
  """What each formula that is absent from `load` would need, by number."""
  return {e.id: e.note for e in entries(name) if e.kind == 'absent'}


def find(name: str, number: int) -> formula_lib.Formula:
  """One formula of a library, parsed.

  Raises:
    ValueError: there is none of that number, or it cannot be written in our
      language; says what it needs.
  """
  for entry in entries(name):
    if entry.id == number:
      if entry.kind == 'absent':
        raise ValueError(
          f'{name} {number} has no translation: it needs {entry.note}'
        )
      return formula_lib.parse(entry.formula)
  numbers = [entry.id for entry in entries(name)]
  raise ValueError(
    f'{name} has no number {number}: expected {min(numbers)}..{max(numbers)}'
  )
