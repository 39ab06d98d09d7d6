"""Formulas from files of any origin, and which lines are none.

Text of a formula a line, a run's `pool.json`, JSON lines, or CSV. A line that
cannot be read is told of with its place and the reason, and the rest is read.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alphajax.language import formula as formula_lib
from alphajax.language import groups
from alphajax.language.formula import Formula

FIELD = 'formula'  # The column of CSV, the key of JSON.
KINDS = '.txt, .json, .jsonl or .csv'


class Source(NamedTuple):
  """One formula as a file has it.

  where: file and line, or factor of a pool.
  weight: in a pool; None where there is none.
  fault: why there is no text; empty where there is.
  """

  where: str
  text: str
  weight: float | None = None
  fault: str = ''


class Refused(NamedTuple):
  """A line that is not judged.

  looks_ahead: it was refused because it reads the future.
  """

  where: str
  text: str
  reason: str
  looks_ahead: bool


class Batch(NamedTuple):
  """Formulas that could be read, in their order, each once.

  where: of each formula, the first place.
  repeated: lines that say a formula again.
  weights: those of a pool; None unless every factor of it could be read.
  refused: the other lines.
  """

  formulas: tuple[Formula, ...]
  where: tuple[str, ...]
  repeated: int
  weights: tuple[float, ...] | None
  refused: tuple[Refused, ...]


def without_codes(batch: Batch, coded: Collection[str]) -> Batch:
  """Refuses what reads codes of groups as values, see `language.groups`.

  coded: features that hold codes in the data that formulas are judged on.
  """
  wrong = [groups.misread(formula, coded) for formula in batch.formulas]
  if not any(wrong):
    return batch
  rows = zip(batch.formulas, batch.where, wrong, strict=True)
  told, kept = [], []
  for formula, where, name in rows:
    if name:
      reason = groups.NO_VALUES.format(name)
      told.append(Refused(where, str(formula), reason, False))
    else:
      kept.append((formula, where))
  return batch._replace(
    formulas=tuple(formula for formula, _ in kept),
    where=tuple(where for _, where in kept),
    weights=None,
    refused=(*batch.refused, *told),
  )


def read(path: str) -> list[Source]:
  """The formulas of a file, not parsed.

  Raises:
    ValueError: no such file, no text, JSON or CSV of another kind, or nothing
      in it; says what is read.
  """
  place = Path(path).expanduser()
  if not place.is_file():
    raise ValueError(f'{path}: no such file; expected {KINDS}')
  try:
    text = place.read_text(encoding='utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is no text in UTF-8: {error}; expected {KINDS}'
    ) from error
  readers = {'.json': _pool, '.jsonl': _json_lines, '.csv': _table}
  reader = readers.get(place.suffix.lower(), _lines)
  found = list(reader(path, text))
  if not found:
    raise ValueError(f'{path} holds no formula; expected {KINDS}')
  return found


def _lines(path: str, text: str) -> Iterator[Source]:
  for number, line in enumerate(text.splitlines(), 1):
    if line.strip() and not line.lstrip().startswith('#'):
      yield Source(f'{path}, line {number}', line.strip())


def _pool(path: str, text: str) -> Iterator[Source]:
  try:
    value = json.loads(text)
  except ValueError as error:
    raise ValueError(
      f'{path} is not JSON: {error}; of JSON lines the name ends in .jsonl'
    ) from error
  factors = value.get('factors') if isinstance(value, dict) else value
  if not isinstance(factors, list):
    raise ValueError(
      f'{path}: expected a pool.json with a list "factors" of which each has '
      f'a "{FIELD}", or a list of formulas'
    )
  for number, factor in enumerate(factors, 1):
    yield _item(f'{path}, factor {number}', factor)


def _json_lines(path: str, text: str) -> Iterator[Source]:
  for number, line in enumerate(text.splitlines(), 1):
    where = f'{path}, line {number}'
    if not line.strip():
      continue
    try:
      value = json.loads(line)
    except ValueError as error:
      yield Source(where, line.strip(), fault=f'it is not JSON: {error}')
    else:
      yield _item(where, value)


def _item(where: str, value: Any) -> Source:
  """A formula in JSON: text, or an object that has it."""
  if isinstance(value, str):
    return Source(where, value)
  if not isinstance(value, dict) or not isinstance(value.get(FIELD), str):
    fault = f'expected {{"{FIELD}": "..."}}'
    return Source(where, json.dumps(value), fault=fault)
  weight = value.get('weight')
  if isinstance(weight, bool) or not isinstance(weight, int | float):
    return Source(where, value[FIELD])
  return Source(where, value[FIELD], float(weight))


def _table(path: str, text: str) -> Iterator[Source]:
  rows = csv.DictReader(io.StringIO(text, newline=''))
  names = {name.strip().lower(): name for name in rows.fieldnames or ()}
  if FIELD not in names:
    raise ValueError(
      f'{path}: expected a column {FIELD!r}, it has '
      f'{", ".join(rows.fieldnames or ()) or "none"}'
    )
  for row in rows:
    where = f'{path}, line {rows.line_num}'
    cell = row[names[FIELD]] or ''
    if None in row:
      fault = 'more cells than columns: put a formula with commas in quotes'
      yield Source(where, cell, fault=fault)
    else:
      yield Source(where, cell)


def check_notation(text: str, dialect: str, option: str) -> None:
  """Refuses text of another notation that would be read with our meaning.

  Raises:
    ValueError: a `$` in ours.
  """
  if dialect == formula_lib.OURS and '$' in text:
    raise ValueError(
      f'{text} has a $, as columns are written in qlib and AlphaGen, where '
      'operators of the same name mean other things: name the notation, '
      f'{option}=qlib or alphagen, or leave the $ out of a formula in ours'
    )


def parse(
  sources: Sequence[Source],
  features: Sequence[str],
  dialect: str = formula_lib.OURS,
  option: str = '--dialect',
) -> Batch:
  """Parses what was read; what cannot be is refused line by line.

  features: names that formulas may read.
  option: how a user names the dialect.
  """
  known: dict[str, tuple[Formula, str, float | None]] = {}
  refused, repeated = [], 0
  for source in sources:
    try:
      if source.fault:
        raise ValueError(source.fault)
      formula = formula_lib.parse(source.text, features, dialect=dialect)
      check_notation(source.text, dialect, option)
    except ValueError as error:
      reason = str(error)
      ahead = formula_lib.LOOKS_AHEAD in reason
      refused.append(Refused(source.where, source.text, reason, ahead))
      continue
    key = formula_lib.key(formula)
    repeated += key in known
    known.setdefault(key, (formula, source.where, source.weight))
  weights = [weight for _, _, weight in known.values() if weight is not None]
  whole = len(weights) == len(sources)
  return Batch(
    formulas=tuple(formula for formula, _, _ in known.values()),
    where=tuple(where for _, where, _ in known.values()),
    repeated=repeated,
    weights=tuple(weights) if whole and weights else None,
    refused=tuple(refused),
  )
