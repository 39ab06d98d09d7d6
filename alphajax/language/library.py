"""Published formulas in our language: Alpha101, GTJA191 and Alpha158.

`alpha101.csv`: Kakushadze, "101 Formulaic Alphas" (arXiv 1601.00991).
`gtja191.csv`: Guotai Junan Securities, 191 short-period price-volume alphas
(quantitative series no. 93, 2017). `alpha158.csv`: the features of qlib's
Alpha158. Columns: id, the formula as published, the reading where the print is
wrong, kind, the formula in our language, a note.

Conventions: returns are `close/Ref(close,1)-1`; adv{d} is the mean dollar
volume `Mean(vwap*volume,d)`, as the paper says, where public code takes shares;
AMOUNT is `vwap*volume`; windows are floored, as the paper says, and full, where
qlib takes what there is; ranks lie in (0, 1]; decay_linear is WMA; deviations
have n - 1 in the denominator; days of a window are counted from the oldest, 1.
Industries are the features sector, industry and subindustry, cap is market_cap.
"""

import csv
import difflib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from alphajax.data.features import EXTRA_FEATURES
from alphajax.language import formula as formula_lib
from alphajax.language import vocab

LIBRARIES = ('alpha101', 'gtja191', 'alpha158')
KINDS = ('exact', 'rewrite', 'absent')
_COLUMNS = ('id', 'published', 'corrected', 'kind', 'formula', 'note')


class Entry(NamedTuple):
  """One published formula.

  id: the source's own number, or name in Alpha158.
  published: the source's text and notation.
  corrected: the reading adopted where the print is wrong, else empty.
  kind: `exact`, a translation operator by operator; `rewrite`, equal in value
    through an identity that `note` names; `absent`, it needs an input or an
    operator that we do not have.
  formula: text in our language; empty where absent.
  note: the identity, a convention, or what is missing.
  """

  id: int | str
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
  number = int(row['id']) if row['id'].isdigit() else row['id']
  return Entry(number, *(row[column] for column in _COLUMNS[1:]))


def parse(entry: Entry) -> formula_lib.Formula:
  """The formula of an entry that is not absent."""
  return formula_lib.parse(entry.formula, (*vocab.FEATURES, *EXTRA_FEATURES))


def _lacks(entry: Entry, features: Sequence[str]) -> str:
  """What stands against an entry on data of these features; empty: nothing."""
  if entry.kind == 'absent':
    return entry.note
  symbols = {node.symbol for node in formula_lib.nodes(parse(entry))}
  needed = [name for name in EXTRA_FEATURES if name in symbols]
  return ', '.join(name for name in needed if name not in features)


def load(
  name: str,
  *,
  exact_only: bool = False,
  features: Sequence[str] = vocab.FEATURES,
) -> dict[int | str, str]:
  """Formula texts of a library by number; `formula.parse` reads each.

  exact_only: without the rewrites.
  features: that the data have; formulas that need others are left out.
  """
  kinds = KINDS[: 1 if exact_only else 2]
  return {
    e.id: e.formula
    for e in entries(name)
    if e.kind in kinds and not _lacks(e, features)
  }


def left_out(
  name: str, *, features: Sequence[str] = vocab.FEATURES
) -> dict[int | str, str]:
  """What each formula that is absent from `load` would need, by number."""
  lacks = {e.id: _lacks(e, features) for e in entries(name)}
  return {number: what for number, what in lacks.items() if what}


def find(name: str, number: int | str) -> formula_lib.Formula:
  """One formula of a library, parsed; it may read `EXTRA_FEATURES`.

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
      return parse(entry)
  known = [entry.id for entry in entries(name)]
  numbers = [each for each in known if isinstance(each, int)]
  if numbers:
    raise ValueError(
      f'{name} has no number {number}: expected {min(numbers)}..{max(numbers)}'
    )
  names = list(map(str, known))
  close = difflib.get_close_matches(str(number).upper(), names, n=3)
  raise ValueError(
    f'{name} has no formula {number!r}: expected such as '
    f'{", ".join(close or names[:3])}'
  )
