"""The day of each row, from whatever a user's table calls a date.

A bar belongs to the exchange's day. Stamps with a zone are read as they are
written where that is midnight; another midnight, such as Shanghai's written in
UTC, needs the exchange's zone.
"""

import zoneinfo

import numpy as np
import pandas as pd

from alphajax.data import checks

FIRST, LAST = '1700-01-01', '2199-12-31'  # Anything else is a mistake.
# Digits of seconds, milli-, micro- and nanoseconds since 1970, in this century.
_EPOCHS = {10: 's', 13: 'ms', 16: 'us', 19: 'ns'}
_ZONED = (
  r'(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d+)?)?)'
  r'\s?(?P<zone>Z|UTC|[+-]\d\d(?::?\d\d)?)'
)
# Where exchanges are; of several zones with the same midnights any will do.
_EXCHANGES = (
  'Asia/Shanghai', 'Asia/Hong_Kong', 'America/New_York', 'Asia/Tokyo',
  'Europe/London', 'Europe/Berlin', 'Asia/Kolkata', 'Asia/Seoul',
  'Australia/Sydney', 'America/Sao_Paulo', 'America/Chicago',
)  # fmt: skip
_DAILY = (
  'alphajax reads daily, weekly or monthly bars; make daily ones with '
  "frame.groupby(['symbol', frame.date.dt.normalize()]).agg({'open': "
  "'first', 'high': 'max', 'low': 'min', 'close': 'last', 'volume': 'sum'})"
)
_DROP_HOUR = "frame['date'] = pd.to_datetime(frame['date']).dt.normalize()"


def parse(
  frame: pd.DataFrame, source: str, timezone: str = ''
) -> tuple[pd.DataFrame, list[str]]:
  """Turns `date` into datetime64 days; notes what was decided.

  Read are days as 2010-01-04 or 20100104, timestamps at midnight, and whole
  seconds, milli-, micro- or nanoseconds since 1970 in UTC.

  Args:
    frame: with a column `date`.
    source: its name in errors.
    timezone: of the exchange, such as Asia/Shanghai, for stamps in another.

  Raises:
    ValueError: no rows, a date that cannot be read, bars within the day, an
      unknown time zone, or stamps that need one.
  """
  if frame.empty:
    raise ValueError(f'{source}: empty, it has no rows; check the export')
  zone = _zone(timezone)
  stamps, utc, notes = _stamps(frame, source)
  if utc is not None and zone is not None:
    stamps = utc.dt.tz_convert(zone).dt.tz_localize(None)
    notes = [f'days are those of {timezone}']
  elif zone is not None:
    local = _local(stamps, timezone)
    # Midnights of the exchange, written in UTC without saying so.
    if (stamps != stamps.dt.normalize()).any() and (
      local == local.dt.normalize()
    ).all():
      stamps, notes = local, [f'days are those of {timezone}, written in UTC']
  within = (stamps != stamps.dt.normalize()).to_numpy()
  if within.any():
    _refuse_hours(frame, source, stamps, utc, within)
  days = stamps.dt.normalize().astype('datetime64[s]')
  outside = ~days.between(pd.Timestamp(FIRST), pd.Timestamp(LAST))
  checks.refuse(
    frame, outside, source, 'date', 'implausible day',
    f'expected days between {FIRST} and {LAST}',
  )  # fmt: skip
  return frame.assign(date=days), notes


def _zone(timezone: str) -> zoneinfo.ZoneInfo | None:
  if not timezone:
    return None
  try:
    return zoneinfo.ZoneInfo(timezone)
  except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
    raise ValueError(
      f'timezone={timezone!r} is unknown; expected a name such as '
      'Asia/Shanghai or America/New_York'
    ) from error


def _stamps(frame: pd.DataFrame, source: str):
  """(stamps as written, the same in UTC where they have a zone, notes)."""
  column = frame['date']
  if isinstance(column.dtype, pd.DatetimeTZDtype):
    wall = column.dt.tz_localize(None)
    return wall, column.dt.tz_convert('UTC'), []
  if pd.api.types.is_datetime64_any_dtype(column):
    _known(frame, column, source)
    return column, None, []
  if pd.api.types.is_float_dtype(column) or pd.api.types.is_bool_dtype(column):
    raise ValueError(
      f'{source}: column date: {column.dtype} numbers are no days; write them '
      'as text or whole numbers: frame.date.astype("int64")'
    )
  text = column.astype('string').str.strip()
  _known(frame, text, source)
  digits = text.str.fullmatch(r'\d+').fillna(False)
  if digits.all() and not (text.str.len() == 8).all():
    return _epochs(frame, text, source)
  zoned = text.str.extract(f'^{_ZONED}$')
  if zoned['zone'].notna().all():
    wall = pd.to_datetime(zoned['day'] + ' ' + zoned['time'], format='ISO8601')
    zone = zoned['zone'].replace('UTC', 'Z')
    joined = zoned['day'] + 'T' + zoned['time'] + zone
    utc = pd.to_datetime(joined, format='ISO8601', utc=True)
    return wall, utc, []
  compact = text.where(digits)
  plain = text.where(~digits & zoned['zone'].isna())
  stamps = pd.to_datetime(plain, format='ISO8601', errors='coerce').fillna(
    pd.to_datetime(compact, format='%Y%m%d', errors='coerce')
  )
  _known(frame, stamps, source)
  return stamps, None, []


def _known(frame, values, source) -> None:
  checks.refuse(
    frame, values.isna(), source, 'date', 'unparsable date',
    'write days as 2010-01-04 or 20100104',
  )  # fmt: skip


def _epochs(frame, text, source):
  """Whole numbers that are no days: since 1970, by how many digits they have.

  Days before September 2001 have a digit less.
  """
  longest = int(text.str.len().max())
  unit = next((u for n, u in _EPOCHS.items() if longest in (n - 1, n)), None)
  if unit is None:
    _known(frame, text.where(text.str.len() == 8), source)
  utc = pd.to_datetime(text.astype('int64'), unit=unit, utc=True)
  note = f'date: whole numbers read as {unit} since 1970 in UTC'
  return utc.dt.tz_localize(None), utc, [note]


def _refuse_hours(frame, source, stamps, utc, within) -> None:
  """Refuses stamps within the day: midnights of another zone, or bars in it.

  utc: the stamps in UTC where they have a zone, else None.
  """
  times = pd.Series(stamps.unique())
  distinct = times.dt.strftime('%H:%M').unique()
  as_utc = stamps if utc is None else utc
  written, first = pd.Series(as_utc.unique()), as_utc[within].iloc[0]
  zones = _midnight_in(written)
  ends = ''
  if utc is None:
    local = written if not zones else _local(written, zones[0])
    weekends, then = _has_weekend(written), _has_weekend(local)
    if not weekends and then:  # Days of trade as they are written.
      zones = []
    if weekends == then:
      ends = f'; if a bar has the time of its end instead: {_DROP_HOUR}'
  if zones:
    more = f' ({", ".join(zones[1:])} too)' if zones[1:] else ''
    raise ValueError(
      f'{source}: column date: {first} is not midnight, but every row is '
      f'midnight in {zones[0]}{more}'
      f'{", written in UTC" if utc is None else ""}; the day is that of the '
      f'exchange: give its zone, --config.data.timezone={zones[0]} '
      f"(timezone='{zones[0]}' in Python){ends}"
    )
  once = not pd.DataFrame(
    {'day': stamps.dt.normalize(), 'symbol': frame.get('symbol')}
  ).duplicated().any()  # fmt: skip
  remedy = _DAILY
  if once and len(distinct) <= 2:
    remedy = (
      f'every row is at {" or ".join(distinct)}, and a stock has one a day; if '
      f'these are days of the exchange, leave out the time: {_DROP_HOUR}'
    )
  checks.refuse(frame, within, source, 'date', 'a time within the day', remedy)


def _midnight_in(utc: pd.Series) -> list[str]:
  """The zones of exchanges in which all these stamps of UTC are midnight."""
  found = []
  for name in _EXCHANGES:
    local = _local(utc, name)
    if (local == local.dt.normalize()).all():
      found.append(name)
  return found


def _local(utc: pd.Series, zone: str) -> pd.Series:
  """Stamps of UTC as the clocks of a zone show them."""
  return pd.to_datetime(utc, utc=True).dt.tz_convert(zone).dt.tz_localize(None)


def _has_weekend(stamps: pd.Series) -> bool:
  return bool((stamps.dt.day_of_week >= 5).any())


def count_before(days: np.ndarray, start: np.datetime64, bars: int):
  """The day `bars` distinct days before the first one from `start` on."""
  distinct = np.unique(days)
  first = int(np.searchsorted(distinct, start))
  return distinct[max(min(first, distinct.size - 1) - bars, 0)]
