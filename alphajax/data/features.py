"""The features that are known by name: their units, and their names in words.

A panel has those of `FEATURES` in any case. Others are columns of the data that
a language or a label names; those not in the table are numbers without a unit.
"""

from typing import NamedTuple

PRICE, VOLUME, MONEY, GROUP = 'price', 'volume', 'money', 'group'


class Feature(NamedTuple):
  """One feature.

  name: how columns and formulas spell it.
  unit: `PRICE` and `VOLUME` are known up to the base of their adjustment, one
    factor a stock each; `GROUP` holds codes, which are no values.
  meaning: in words, as in `the closing price`.
  """

  name: str
  unit: str
  meaning: str


# In the order in which a panel holds them.
PANEL = (
  Feature('open', PRICE, 'opening price'),
  Feature('high', PRICE, "day's high"),
  Feature('low', PRICE, "day's low"),
  Feature('close', PRICE, 'closing price'),
  Feature('volume', VOLUME, 'volume'),
  Feature('vwap', PRICE, 'volume-weighted price'),
)
EXTRA = (
  Feature('sector', GROUP, 'sector'),
  Feature('industry', GROUP, 'industry'),
  Feature('subindustry', GROUP, 'subindustry'),
  Feature('market_cap', MONEY, 'market capitalisation'),
)
FEATURES = tuple(row.name for row in PANEL)
EXTRA_FEATURES = tuple(row.name for row in EXTRA)


def of_unit(unit: str) -> tuple[str, ...]:
  """Names of the features of a unit, in the order of the table."""
  return tuple(row.name for row in (*PANEL, *EXTRA) if row.unit == unit)


def meaning(name: str) -> str:
  """A feature in words; of one that is not in the table, its name."""
  known = {row.name: row.meaning for row in (*PANEL, *EXTRA)}
  return known.get(name, name)


PRICES, VOLUMES, GROUPS = map(of_unit, (PRICE, VOLUME, GROUP))
