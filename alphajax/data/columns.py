"""Which column of a user's table is which of ours, and in what units."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from alphajax.data.features import FEATURES

# A vwap can be made of others.
REQUIRED = ('date', 'symbol', *(n for n in FEATURES if n != 'vwap'))
# Names as vendors and pandas write them, without case, blanks and <>: tushare,
# akshare (Chinese), baostock, yfinance, ccxt, Alpaca, qlib, JoinQuant, Stooq.
ALIASES = {
  'date': (
    'trade_date', 'datetime', 'timestamp', 'time', 'day', 'dt', 't',
    '__index_level_0__',
    '日期', '交易日期', '时间',
  ),
  'symbol': (
    'ts_code', 'code', 'ticker', 'instrument', 'stock_code', 'order_book_id',
    'sec_code', '股票代码', '代码', '证券代码',
  ),
  'open': ('o', 'open_price', '开盘', '开盘价'),
  'high': ('h', 'high_price', '最高', '最高价'),
  'low': ('l', 'low_price', '最低', '最低价'),
  'close': ('c', 'close_price', '收盘', '收盘价'),
  'volume': ('vol', 'v', '成交量'),
  'amount': ('money', 'turnover_value', 'total_turnover', '成交额', '成交金额'),
  'vwap': ('vw', 'avg_price', '均价', '成交均价'),
  'factor': ('adj_factor', 'adjfactor', '复权因子'),
  'adj_close': ('adjclose', 'adjusted_close'),
}  # fmt: skip
UNITS = {'shares': 1.0, 'lots': 100.0, 'thousands': 1000.0, 'millions': 1e6}


class Vendor(NamedTuple):
  """Whose table it is, known by columns that only it writes, and its units."""

  name: str
  columns: tuple[str, ...]
  volume: float
  amount: float


VENDORS = (
  Vendor('tushare', ('ts_code', 'trade_date', 'vol'), 100.0, 1000.0),
  Vendor('akshare', ('日期', '成交量', '成交额'), 100.0, 1.0),
)


def plain(name: object) -> str:
  """A name without case, blanks, <> and BOM, to compare by."""
  text = str(name).strip().lstrip('\N{ZERO WIDTH NO-BREAK SPACE}').strip('<>')
  return text.lower().replace(' ', '_')


def read_renames(columns: Mapping[str, str] | str | None) -> dict[str, str]:
  """Renames {theirs: ours}, also as the text `theirs=ours,theirs=ours`.

  Raises:
    ValueError: a piece of the text that is none.
  """
  if not isinstance(columns, str):
    return dict(columns or {})
  renames = {}
  for piece in filter(None, map(str.strip, columns.split(','))):
    theirs, equals, ours = piece.rpartition('=')
    if not equals or not theirs or not ours:
      raise ValueError(
        f'columns: {piece!r} is no rename; write theirs=ours, for example '
        '--config.data.columns=Kurs=close,Tag=date'
      )
    renames[theirs.strip()] = ours.strip()
  return renames


def match(
  names: Sequence[object],
  given: Mapping[Any, str],
  source: str,
  needed: Iterable[str] = REQUIRED,
  allowed: Collection[str] | None = None,
) -> tuple[dict[object, str], list[str]]:
  """What each column is called here, and notes.

  A column that has our name is ours; `given` goes before that; what is then
  still missing is looked for under the names of vendors.

  allowed: what columns may be renamed to; anything where it is None.

  Raises:
    ValueError: a rename of a column that does not exist or to a name that is
      none of ours, two columns of one
      name, or a needed column that is not there; lists those of the table.
  """
  listed = ', '.join(map(str, names))
  for theirs in given:
    if theirs not in names:
      raise ValueError(
        f'{source}: columns: there is no {theirs!r} to rename; the table has '
        f'{listed}'
      )
  for theirs, ours in given.items():
    if allowed is not None and ours not in allowed:
      known = sorted(map(str, filter(None, allowed)))
      raise ValueError(
        f'{source}: columns: {theirs}={ours} renames to {ours!r}, which is '
        f'none of {", ".join(known)}'
      )
  mapping: dict[object, Any] = {name: given.get(name, name) for name in names}
  taken = set(mapping.values())
  said = []
  for ours, aliases in ALIASES.items():
    if ours in taken:
      continue
    # In the order of the aliases: a date goes before a time.
    for alias in (ours, *aliases):
      found = [n for n in names if plain(n) == alias and n not in given]
      if found:
        mapping[found[0]] = ours
        said.append(f'{found[0]} as {ours}')
        break
  twice = [n for n in mapping.values() if list(mapping.values()).count(n) > 1]
  if twice or len(mapping) < len(names):
    name = twice[0] if twice else _first_twice(names)
    raise ValueError(f'{source}: column {name} occurs twice; drop one of them')
  missing = [name for name in needed if name not in mapping.values()]
  if missing:
    raise ValueError(
      f'{source}: missing column {", ".join(missing)}; the table has {listed}; '
      f'rename with columns={{"theirs": "{missing[0]}"}}, by --columns=theirs='
      f'{missing[0]} where a command has that flag, or else '
      f'--config.data.columns=theirs={missing[0]}'
    )
  return mapping, [f'columns: {", ".join(said)}'] if said else []


def _first_twice(names: Sequence[object]) -> object:
  return next(n for n in names if list(names).count(n) > 1)


def vendor_of(names: Sequence[object]) -> Vendor | None:
  """The vendor that writes such columns, None where none is known."""
  have = {plain(name) for name in names}
  return next((v for v in VENDORS if have.issuperset(v.columns)), None)


def unit(value: str | float, key: str) -> float:
  """Shares, or money, that 1 of a column stands for.

  Raises:
    ValueError: neither a unit nor a positive number.
  """
  if value in UNITS:
    return UNITS[value]
  try:
    number = float(value)
  except ValueError:
    number = 0.0
  if not 0 < number < float('inf'):
    raise ValueError(
      f'{key}={value!r}: expected {", ".join(UNITS)}, or a positive number'
    )
  return number
