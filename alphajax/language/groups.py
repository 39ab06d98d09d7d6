"""Features that hold codes of groups, and what may read them."""

from collections.abc import Collection
from typing import Any

from alphajax.language import vocab

NO_VALUES = (
  '{0} holds codes of groups, which are no values: expected what takes groups, '
  'as GroupRank(close,{0}) and GroupNeutral(close,{0}) do'
)


def misread(formula: Any, groups: Collection[str]) -> str:
  """A feature of `groups` that a formula takes for values; empty if none.

  Codes follow the order of the names that a table happens to have, so what is
  computed from them would move with other rows, those of later days too.
  """
  if not groups:
    return ''
  if formula.symbol in groups:
    return formula.symbol
  row = vocab.OPERATORS.get(formula.symbol)
  slots = vocab.SLOTS[row.kind] if row else ('value',) * len(formula.args)
  found = (
    misread(arg, groups)
    for slot, arg in zip(slots, formula.args, strict=True)
    if slot != 'group'
  )
  return next(filter(None, found), '')
