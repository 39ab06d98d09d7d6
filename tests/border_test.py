"""Tables as vendors and users have them: read rightly, or refused by name."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.data import columns, market, panel, panel_cache, qlib_binary

CASES = Path(
  os.environ.get(
    'ALPHAJAX_CASES', Path(__file__).parents[2] / 'shared' / 'cases'
  )
)
STOCKS = ('000001', 'NA')
DAYS = ('2024-03-08', '2024-03-11', '2024-03-12')
ORDER = ['open', 'high', 'low', 'close', 'volume']


def table(stocks=STOCKS, days=DAYS):
  """Two stocks of three days, every number another one."""
  rows = []
  for s, symbol in enumerate(stocks):
    for d, day in enumerate(days):
      low = 9.0 + s + 0.25 * d
      rows.append((day, symbol, low + 0.5, low + 2, low, low + 1,
                   1000.0 + 10 * s + d))  # fmt: skip
  return pd.DataFrame(rows, columns=['date', 'symbol', *ORDER])


def load(source, **options):
  return market.load(source, cache=False, **options)


EXPECTED = load(table())


def check(loaded, stocks=STOCKS, scale=1.0):
  """Days, stocks and values are those of `table`."""
  assert loaded.dates == DAYS and loaded.symbols == stocks
  np.testing.assert_allclose(loaded.features[:4], EXPECTED.features[:4])
  np.testing.assert_allclose(loaded.features[4], EXPECTED.features[4] * scale)
  assert loaded.mask.all()


def said(loaded, text):
  assert any(text in note for note in loaded.notes), loaded.notes


HEADERS = {
  'yfinance, one stock after the other': {
    'date': 'Date', 'symbol': 'Ticker', **{n: n.title() for n in ORDER},
  },
  'tushare': {'date': 'trade_date', 'symbol': 'ts_code', 'volume': 'vol'},
  'akshare': {
    'date': '日期', 'symbol': '股票代码', 'open': '开盘', 'close': '收盘',
    'high': '最高', 'low': '最低', 'volume': '成交量',
  },
  'baostock': {'symbol': 'code'},
  'ccxt': {'date': 'timestamp', 'symbol': 'Symbol'},
  'Alpaca': {
    'date': 't', 'symbol': 'symbol', 'open': 'o', 'high': 'h', 'low': 'l',
    'close': 'c', 'volume': 'v',
  },
  'qlib': {'date': 'datetime', 'symbol': 'instrument'},
  'JoinQuant': {'date': 'time', 'symbol': 'code'},
  'Stooq': {
    'date': '<DATE>', 'symbol': '<TICKER>', 'volume': '<VOL>',
    **{n: f'<{n.upper()}>' for n in ORDER[:4]},
  },
}  # fmt: skip


@pytest.mark.parametrize('vendor', HEADERS)
def test_headers_of_vendors(tmp_path, vendor):
  path = tmp_path / 'prices.csv'
  table().rename(columns=HEADERS[vendor]).to_csv(path, index=False)
  loaded = load(path)
  check(loaded, scale=100.0 if vendor == 'tushare' else 1.0)
  said(loaded, 'columns: ')


def test_our_own_name_goes_before_that_of_a_vendor(tmp_path):
  frame = table().assign(time='10:00', code='x', vol=7.0)
  check(load(frame))


def test_tushare_has_lots_and_thousands():
  frame = table().rename(columns=HEADERS['tushare'])
  frame['amount'] = frame['vol'] * 100 * frame['close'] / 1000
  loaded = load(frame)
  check(loaded, scale=100.0)
  said(loaded, 'volume = volume * 100 (the columns are those of tushare)')
  np.testing.assert_allclose(loaded.features[5], loaded.features[3], rtol=1e-6)


@pytest.mark.parametrize(
  'volume, amount, remedy',
  [
    (100.0, 1.0, 'volume_unit=lots'),
    (1.0, 1000.0, 'amount_unit=thousands'),
    (100.0, 1000.0, 'volume_unit=lots --config.data.amount_unit=thousands'),
  ],
)
def test_units_that_do_not_fit_are_offered_and_work(volume, amount, remedy):
  frame = table()
  frame['amount'] = frame['volume'] * frame['close'] / amount
  frame['volume'] /= volume
  with pytest.raises(ValueError, match='units do not fit') as error:
    load(frame)
  assert f'set --config.data.{remedy},' in str(error.value)
  options = dict(
    part.split('=') for part in remedy.replace(' --config.data.', ' ').split()
  )
  check(load(frame, **options))


def wide_table(tickers_first=False, named=True):
  """As yfinance downloads."""
  wide = table().pivot(index='date', columns='symbol', values=ORDER)
  wide.columns = wide.columns.set_names(['Price', 'Ticker'])
  wide.index.name = 'Date'
  wide = wide.rename(columns={n: n.title() for n in ORDER}, level=0)
  wide = wide.rename(columns={'NA': '600000'}, level=1)
  if tickers_first:
    wide = wide.swaplevel(axis=1).sort_index(axis=1)
  return wide if named else wide.rename_axis(columns=[None, None])


@pytest.mark.parametrize('named', [True, False])
@pytest.mark.parametrize('tickers_first', [False, True])
@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_yfinance_has_two_headers(tmp_path, suffix, tickers_first, named):
  """One level of prices and one of tickers, whichever comes first."""
  wide = wide_table(tickers_first, named)
  path = tmp_path / f'prices.{suffix}'
  getattr(wide, f'to_{suffix}')(path)
  loaded = load(path)
  check(loaded, stocks=('000001', '600000'))
  said(loaded, 'two levels of columns: prices and tickers')
  check(load(wide), stocks=('000001', '600000'))


def test_two_headers_that_name_a_column_twice(tmp_path):
  wide = wide_table(named=False)
  pd.concat([wide, wide.iloc[:, :1]], axis=1).to_csv(tmp_path / 'a.csv')
  with pytest.raises(ValueError, match='Open of 000001 occurs twice'):
    load(tmp_path / 'a.csv')
  # One header, one column too many: no data row is a header.
  frame = table()
  frame = pd.concat([frame, frame[['close']]], axis=1).set_index('symbol')
  frame.to_csv(tmp_path / 'b.csv')
  with pytest.raises(ValueError, match='column close occurs twice'):
    load(tmp_path / 'b.csv')
  frame = table()[['symbol', 'date', *ORDER]]
  frame.loc[0, 'symbol'] = ''
  frame.to_csv(tmp_path / 'c.csv', index=False)
  with pytest.raises(ValueError, match='missing symbol in 1 rows'):
    load(tmp_path / 'c.csv')


def test_layouts_of_pandas(tmp_path):
  table().to_csv(tmp_path / 'unnamed.csv')  # An index without a name.
  indexed = table().set_index(['date', 'symbol'])
  indexed.to_csv(tmp_path / 'indexed.csv')
  indexed.to_parquet(tmp_path / 'indexed.parquet')
  table().to_feather(tmp_path / 'prices.feather')
  for path in tmp_path.iterdir():
    check(load(path))


def test_one_file_a_stock(tmp_path):
  for name, write in (('csv', 'to_csv'), ('parquet', 'to_parquet')):
    folder = tmp_path / name
    folder.mkdir()
    for symbol, rows in table().groupby('symbol'):
      rows = rows.drop(columns='symbol')
      getattr(rows, write)(folder / f'{symbol}.{name}', index=False)
    loaded = load(folder)
    check(loaded)
    said(loaded, '2 files of a folder')


def test_every_stock_of_a_folder_is_loaded(tmp_path):
  """Whatever the case of its suffix; what is no table is said."""
  stocks = [f'00000{n}' for n in range(6)]
  names = ['{}.CSV', '{}.csv', '{}.Txt', '{}.us.txt', '{}.tsv', '{}.CSV.GZ']
  for symbol, name in zip(stocks, names, strict=True):
    rows = table((symbol,)).drop(columns='symbol')
    rows.to_csv(
      tmp_path / name.format(symbol), index=False,
      sep='\t' if name.endswith('tsv') else ',',
      compression='gzip' if name.endswith('GZ') else None,
    )  # fmt: skip
  for name in ('README.txt', 'delisted.us.txt', 'more.xlsx', '.hidden.csv'):
    (tmp_path / name).write_text('' if 'us' in name else 'A text, of ours\n')
  loaded = load(tmp_path)
  expected = [*stocks[:3], '000003.us', *stocks[4:]]
  assert list(loaded.symbols) == expected and loaded.mask.all()
  said(loaded, '6 files of a folder, one table')
  said(loaded, '4 files of the folder are no tables and left out: .hidden.csv,')


def test_a_bulk_folder_of_stooq(tmp_path):
  names = {**HEADERS['Stooq'], 'per': '<PER>', 'time': '<TIME>'}
  for symbol, rows in table().groupby('symbol'):
    rows['date'] = rows['date'].str.replace('-', '')
    rows = rows.assign(per='D', time='000000').rename(columns=names)
    rows.to_csv(tmp_path / f'{symbol.lower()}.us.txt', index=False)
  check(load(tmp_path))


def test_partitioned_parquet(tmp_path):
  frame = table().assign(year=2024)
  frame.to_parquet(tmp_path / 'parts', partition_cols=['year'])
  (tmp_path / 'parts' / 'README.md').write_text('What this is')
  loaded = load(tmp_path / 'parts')
  check(loaded)
  said(loaded, '1 files of the folder are no tables and left out: README.md')


@pytest.mark.parametrize(
  'encoding, note',
  [
    ('utf-8', ''), ('utf-8-sig', ''), ('utf-16', 'utf-16'),
    ('gbk', 'gb18030'), ('gb18030', 'gb18030'),
  ],
)  # fmt: skip
def test_encodings(tmp_path, encoding, note):
  frame = table().rename(columns=HEADERS['akshare']).assign(名称='平安银行')
  frame.to_csv(tmp_path / 'a.csv', index=False, encoding=encoding)
  loaded = load(tmp_path / 'a.csv')
  check(loaded)
  if note:
    said(loaded, f'text read as {note}')


def test_gzip_and_home(tmp_path, monkeypatch):
  table().to_csv(tmp_path / 'prices.csv.gz', index=False)
  monkeypatch.setenv('HOME', str(tmp_path))
  check(load('~/prices.csv.gz'))
  table().to_csv(tmp_path / 'false.csv.gz', index=False, compression=None)
  with pytest.raises(ValueError, match='false.csv.gz: not a whole gzip file'):
    load(tmp_path / 'false.csv.gz')
  whole = gzip.compress(table().to_csv(index=False).encode())
  (tmp_path / 'cut.csv.gz').write_bytes(whole[:-20])
  with pytest.raises(ValueError, match='cut.csv.gz: not a whole gzip file'):
    load(tmp_path / 'cut.csv.gz')


def midnights(zone):
  return pd.to_datetime(pd.Series(DAYS * 2)).dt.tz_localize(zone)


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
@pytest.mark.parametrize(
  'zone', ['Asia/Shanghai', 'Europe/Berlin', 'America/New_York', 'UTC']
)
def test_days_with_a_zone(tmp_path, zone, suffix):
  """The exchange's day, however its midnight is written.

  New York's clock changes on the 10th: two offsets in one column.
  """
  path = tmp_path / f'prices.{suffix}'

  def save(dates):
    frame = table().assign(date=dates)
    if suffix == 'csv':
      frame.to_csv(path, index=False)
    else:
      frame.to_parquet(path)

  save(midnights(zone))
  check(load(path))
  check(load(path, timezone=zone))
  save(midnights(zone).dt.tz_convert('UTC'))
  if zone != 'UTC':
    with pytest.raises(ValueError, match='--config.data.timezone=') as error:
      load(path)
    assert zone in str(error.value)
  loaded = load(path, timezone=zone)
  check(loaded)
  said(loaded, f'days are those of {zone}')


@pytest.mark.parametrize('unit', ['s', 'ms', 'us', 'ns'])
def test_numbers_since_1970(tmp_path, unit):
  stamps = midnights('UTC').dt.tz_localize(None).astype(f'datetime64[{unit}]')
  frame = table().assign(date=stamps.astype('int64'))
  frame.to_csv(tmp_path / 'a.csv', index=False)
  frame.to_parquet(tmp_path / 'a.parquet')
  for path in tmp_path.iterdir():
    loaded = load(path)
    check(loaded)
    said(loaded, f'read as {unit} since 1970')


def test_newest_first_but_no_muddle():
  loaded = load(table()[::-1])
  check(loaded)
  said(loaded, 'newest rows come first')
  frame = table()
  muddle = frame.iloc[[1, 0, 2, 3, 4, 5]]
  with pytest.raises(ValueError, match='unsorted dates'):
    load(muddle)


def test_days_without_a_trade():
  frame = table()
  frame.loc[1, ['open', 'high', 'low', 'volume']] = 0.0  # As some vendors do.
  loaded = load(frame)
  assert np.isnan(loaded.features[:, 1, 0]).all() and not loaded.mask[1, 0]
  assert loaded.mask.sum() == 5
  said(loaded, '1 rows of volume 0 are days without a trade')
  frame.loc[1, ['open', 'high', 'low']] = frame.loc[1, 'close']
  kept = load(frame, filled_days='keep')
  assert kept.mask.all() and kept.features[4, 1, 0] == 0


def test_groups_are_codes():
  frame = table().assign(industry=['b', 'b', 'a', None, 'a', 'a'])
  loaded = load(frame, features=('industry',))
  assert loaded.groups == (('industry', ('a', 'b')),)
  np.testing.assert_array_equal(
    loaded.features[6].T, [[1, 1, 0], [np.nan, 0, 0]]
  )
  said(loaded, 'industry: 2 groups')


def test_symbols_that_are_numbers():
  frame = table(stocks=('000001', '600519'))
  whole = frame.assign(symbol=frame['symbol'].astype(int))
  said(load(whole), 'whole numbers, which have no leading zeros; if yours')
  with pytest.raises(ValueError, match='decimal point, such as 1.0; write'):
    load(frame.assign(symbol=frame['symbol'].astype(float)))
  long = whole.assign(symbol=whole['symbol'] % 1000 + 10_000)  # CRSP's.
  assert not any('whole numbers' in note for note in load(long).notes)
  assert not any('whole numbers' in note for note in load(frame).notes)


def test_few_stocks_are_said():
  said(load(table()), 'only 2 members')
  many = load(table(stocks=[f'{n:03}' for n in range(20)]))
  assert not any('members on a usual day' in note for note in many.notes)
  with pytest.raises(ValueError, match='000001 is the only stock'):
    load(table(stocks=('000001',)))


def test_blanks_around_a_symbol_make_no_other_stock():
  frame = table()
  frame.loc[1, 'symbol'] = ' 000001'
  loaded = load(frame)
  check(loaded)
  said(loaded, 'blanks around symbols')


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda f: f.assign(date=f['date'].str.replace('2024', '9999')),
     'implausible day in 6 rows'),
    (lambda f: f.assign(close=f['close'] * 2), r'close outside \[low, high\]'),
    (lambda f: f.assign(close=True), 'True and False are no numbers'),
    (lambda f: f.assign(volume=1e39), 'negative or infinite volume'),
    (lambda f: f.assign(volume=0.0), '0 in every row'),
    (lambda f: f.assign(close=-f['close']), r'CRSP.*\.abs\(\)'),
    (lambda f: f.assign(date=20240308.0), 'float64 numbers are no days'),
    (lambda f: f.assign(date=f['date'] + ' 10:00'), 'a time within the day'),
    (lambda f: f.assign(date='08/03/2024'), 'unparsable date'),
    (lambda f: f.drop(columns='close').rename(columns={'low': 'lo'}),
     'missing column low, close; the table has date, symbol, open, high, lo'),
    (lambda f: pd.concat([f, f[['close']]], axis=1),
     'column close occurs twice'),
  ],
)  # fmt: skip
def test_refused(change, message):
  with pytest.raises(ValueError, match=message):
    load(change(table()))


def test_the_way_to_daily_bars_works():
  frame = pd.concat([table(), table().assign(volume=table()['volume'] + 5)])
  frame['date'] = pd.to_datetime(frame['date'])
  frame['date'] += pd.to_timedelta(np.repeat([10, 15], 6), 'h')
  with pytest.raises(ValueError, match=r"frame\.groupby\(\['symbol'"):
    load(frame)
  daily = frame.groupby(['symbol', frame.date.dt.normalize()]).agg(
    {'open': 'first', 'high': 'max', 'low': 'min', 'close': 'last',
     'volume': 'sum'}
  )  # fmt: skip
  loaded = load(daily)
  expected = EXPECTED.features[4] * 2 + 5
  np.testing.assert_array_equal(loaded.features[4], expected)


@pytest.mark.parametrize(
  'line, message',
  [
    ('2020-01-03,A,10,11,9,10,1,234,567', 'line 3 has 9 fields, the header 7'),
    ('2020-01-03,A,10,11', 'line 3 has 4 fields, the header 7'),
    ('2020-01-03,A,10,11,9,10,"1,234"', 'no thousands separators'),
  ],
)
def test_rows_that_are_misread_elsewhere(tmp_path, line, message):
  path = tmp_path / 'prices.csv'
  head = 'date,symbol,open,high,low,close,volume\n2020-01-02,A,10,11,9,10,1\n'
  path.write_text(f'{head}{line}\n2020-01-02,B,10,11,9,10,1\n')
  with pytest.raises(ValueError, match=message):
    load(path)


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('a.parquet', b'PAR1 garbage', 'not a .parquet file that can be read'),
    ('a.feather', b'garbage', 'not a .feather file that can be read'),
    ('a.csv', b'\x00\xff\x00\xff', 'neither UTF-8, UTF-16 nor GB18030'),
  ],
)
def test_garbage(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=message):
    load(tmp_path / name)


def test_renames():
  frame = table().rename(columns={'close': 'Kurs', 'date': 'Tag'})
  check(load(frame, columns='Kurs=close, Tag=date'))
  check(load(frame, columns={'Kurs': 'close', 'Tag': 'date'}))
  with pytest.raises(ValueError, match='--config.data.columns=theirs=date'):
    load(frame)
  with pytest.raises(ValueError, match="there is no 'Zzz' to rename; the tabl"):
    load(table(), columns={'Zzz': 'close'})
  with pytest.raises(ValueError, match="'Kurs' is no rename"):
    load(frame, columns='Kurs')


@pytest.mark.parametrize(
  'options, message',
  [
    ({'warmup': -1}, 'warmup=-1: expected'),
    ({'volume_unit': 'dozens'}, "volume_unit='dozens': expected shares, lots"),
    ({'amount_unit': -1.0}, 'amount_unit=-1.0'),
    ({'filled_days': 'fill'}, "filled_days='fill'; known: drop, keep"),
    ({'timezone': 'Asia/Peking'}, "timezone='Asia/Peking' is unknown"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    load(table(), **options)


def test_warm_up_is_counted_in_bars():
  """As many bars before the start as asked for, of weeks as of days."""
  days = [
    str(d.date())
    for d in pd.date_range('2015-01-02', periods=300, freq='W-FRI')
  ]  # noqa: E501
  weekly = load(table(days=days), start='2018-01-01', warmup=50)
  first = next(n for n, day in enumerate(days) if day >= '2018-01-01')
  assert weekly.dates == tuple(days[first - 50 :])
  # More than there are: all of them.
  whole = load(table(days=days), start='2018-01-01', warmup=999)
  assert whole.dates[0] == days[0]


def test_the_data_cover_what_the_file_does():
  """Not the days that were loaded of it, in messages and notes."""
  days = pd.date_range('2020-01-01', periods=60).strftime('%Y-%m-%d')
  frame = table(days=tuple(days))
  loaded = load(frame, start=days[20], end=days[40], warmup=5)
  cover = f'cover {days[0]}..{days[-1]} .loaded: {days[15]}..{days[40]}'
  with pytest.raises(ValueError, match=cover):
    panel.split(loaded, 'train', '2019-01-01', days[40], lookback=5)
  label = panel.LabelSpec(exit=1)
  for lookback, first in ((5, 20), (9, 24)):
    split = panel.split(
      loaded, 'train', days[20], days[40], lookback=lookback, label=label
    )
    assert np.flatnonzero(split.scored)[0] == first - 15
  said(split.panel, f'the loaded days begin {days[15]}')
  whole = panel.split(load(frame), 'train', days[0], days[40], lookback=5)
  said(whole.panel, f'the data begin {days[0]}')


def test_monthly_data_lose_no_bar_to_the_edge_of_a_split():
  days = [
    str(d.date()) for d in pd.date_range('2000-01-31', periods=240, freq='ME')
  ]  # noqa: E501
  monthly = load(table(days=days))
  split = panel.split(
    monthly, 'train', '2000-01-01', '2019-12-31', lookback=12,
    label=panel.LabelSpec(exit=1),
  )  # fmt: skip
  assert split.scored.sum() == 240 - 12 - 1


def test_a_bad_day_in_the_calendar_of_qlib(tmp_path):
  (tmp_path / 'calendars').mkdir()
  (tmp_path / 'calendars' / 'day.txt').write_text('2020-01-02\n2020-13-03\n')
  with pytest.raises(ValueError, match=r"day.txt: line 2: '2020-13-03' is no"):
    load(tmp_path)
  assert qlib_binary._INDEX.fullmatch('SH000300')
  assert not qlib_binary._INDEX.fullmatch('SH600000')
  assert not qlib_binary._INDEX.fullmatch('SZ000001')


SPELLINGS = {
  'iso': lambda d: d,
  'compact': lambda d: d.str.replace('-', ''),
  'stamp': lambda d: d + 'T00:00:00',
  'zoned': lambda d: d + ' 00:00:00+08:00',
  'zulu': lambda d: d + 'T00:00:00Z',
}


@settings(max_examples=60, deadline=None)
@given(
  order=st.permutations(['date', 'symbol', *ORDER]),
  separator=st.sampled_from([',', ';', '\t', '|']),
  encoding=st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16', 'gb18030']),
  spelling=st.sampled_from(sorted(SPELLINGS)),
  header=st.sampled_from(sorted(set(HEADERS) - {'tushare'})),
  ending=st.sampled_from(['\n', '\r\n']),
  by_day=st.booleans(),
  newest_first=st.booleans(),
)
def test_any_layout_gives_the_same_panel(
  tmp_path_factory, order, separator, encoding, spelling, header, ending,
  by_day, newest_first,
):  # fmt: skip
  frame = table()
  frame['date'] = SPELLINGS[spelling](frame['date'])
  if by_day:
    frame = frame.sort_values(['date', 'symbol'])
  if newest_first:
    frame = frame[::-1]
  frame = frame[order].rename(columns=HEADERS[header])
  path = tmp_path_factory.mktemp('fuzz') / 'a.csv'
  frame.to_csv(
    path, index=False, sep=separator, encoding=encoding, lineterminator=ending
  )
  check(load(path))


def test_a_decimal_comma(tmp_path):
  table().to_csv(tmp_path / 'a.csv', index=False, sep=';', decimal=',')
  check(load(tmp_path / 'a.csv'))


@pytest.mark.parametrize('number', ['1,234', '12,345,678'])
def test_a_comma_that_may_be_either_is_refused(tmp_path, number):
  path = tmp_path / 'a.csv'
  row = f'2024-03-08;{{}};10;11;9;10;{number}\n'
  head = 'date;symbol;open;high;low;close;volume\n'
  path.write_text(head + row.format('A') + row.format('B'))
  with pytest.raises(ValueError, match='no thousands separators'):
    load(path)


def test_partitions_by_symbol_keep_their_zeros(tmp_path):
  table().to_parquet(tmp_path / 'parts', partition_cols=['symbol'])
  check(load(tmp_path / 'parts'))
  (tmp_path / 'parts' / 'symbol=NA' / 'more.parquet').write_bytes(b'garbage')
  with pytest.raises(
    ValueError, match='not parts of one Parquet table that can'
  ):
    load(tmp_path / 'parts')


def test_a_stock_named_by_its_file_keeps_its_points(tmp_path):
  for symbol in ('BRK.A', 'BRK.B'):
    rows = table(stocks=(symbol,)).drop(columns='symbol')
    rows.to_csv(tmp_path / f'{symbol}.csv', index=False)
  assert load(tmp_path).symbols == ('BRK.A', 'BRK.B')


def test_a_rename_to_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match="renames to 'adj_clsoe', which is none"):
    load(table().assign(Adj=1.0), columns='Adj=adj_clsoe')


def test_lots_by_the_header_that_are_shares():
  frame = table().assign(amount=lambda f: f['volume'] * f['close'])
  frame = frame.rename(columns={**HEADERS['akshare'], 'amount': '成交额'})
  with pytest.raises(ValueError, match='config.data.volume_unit=shares'):
    load(frame)
  check(load(frame, volume_unit='shares'))


def test_errors_name_the_rows_of_the_file():
  frame = table()
  frame.loc[1, 'volume'] = 0.0
  frame.loc[5, 'close'] = -1.0
  with pytest.raises(ValueError, match='first row 5: '):
    load(frame)
  frame = table()[::-1].reset_index(drop=True)
  frame.loc[0, 'close'] = -1.0
  with pytest.raises(ValueError, match='first row 0: '):
    load(frame)


def test_days_without_any_trade_are_no_warm_up():
  days = [str(d.date()) for d in pd.date_range('2020-01-01', periods=60)]
  frame = table(days=days)
  weekend = pd.to_datetime(frame['date']).dt.day_of_week > 4
  frame.loc[weekend, 'volume'] = 0.0
  loaded = load(frame, start='2020-02-10', warmup=20)
  assert sum(day < '2020-02-10' for day in loaded.dates) == 20


def test_a_start_after_the_data_is_refused():
  with pytest.raises(ValueError, match='the data cover 2024-03-08..2024-03-12'):
    load(table(), start='2025-01-01', warmup=5)


def test_the_hash_of_data_at_home(tmp_path, monkeypatch):
  table().to_csv(tmp_path / 'a.csv')
  monkeypatch.setenv('HOME', str(tmp_path))
  whole = panel_cache.content_hash(tmp_path / 'a.csv')
  assert panel_cache.content_hash('~/a.csv') == whole


@pytest.mark.parametrize(
  'spelling', ['{} 00:00:00 UTC', '{} 00:00:00+08', '{}T00:00:00.000Z']
)
def test_more_zones(spelling):
  frame = table()
  check(load(frame.assign(date=frame['date'].map(spelling.format))))


def test_midnights_in_utc_that_do_not_say_so():
  stamps = midnights('Asia/Shanghai').dt.tz_convert('UTC').dt.tz_localize(None)
  loaded = load(table().assign(date=stamps), timezone='Asia/Shanghai')
  check(loaded)
  said(loaded, 'written in UTC')


@pytest.mark.parametrize(
  'zone', ['Asia/Shanghai', 'America/New_York', 'Asia/Tokyo', 'Europe/London']
)
def test_naive_midnights_name_their_zone(tmp_path, zone):
  """The zone that the message says is the one that loads them."""
  days = pd.Series(['2024-03-28', '2024-03-29', '2024-04-01'] * 2)
  stamps = pd.to_datetime(days).dt.tz_localize(zone).dt.tz_convert('UTC')
  frame = table().assign(date=stamps.dt.strftime('%Y-%m-%d %H:%M:%S'))
  frame.to_csv(tmp_path / 'a.csv', index=False)
  with pytest.raises(ValueError, match='is not midnight') as error:
    load(tmp_path / 'a.csv')
  assert f'--config.data.timezone={zone} ' in str(error.value)
  assert 'groupby' not in str(error.value)
  loaded = load(tmp_path / 'a.csv', timezone=zone)
  assert loaded.dates == tuple(days[:3])


@pytest.mark.parametrize('time', ['16:00', '15:00+08:00'])
def test_bars_stamped_with_their_end_are_no_midnights(time):
  """At 16:00 New York closes; a midnight of Shanghai would be on a weekend."""
  frame = table().assign(date=lambda f: f['date'] + ' ' + time)
  with pytest.raises(ValueError, match='a time within the day') as error:
    load(frame)
  remedy = str(error.value).split('leave out the time: ')[1].rstrip('.')
  exec(remedy, {'frame': frame, 'pd': pd})
  check(load(frame))


def test_odd_line_ends_and_blank_files(tmp_path):
  text = table().to_csv(index=False)
  (tmp_path / 'a.csv').write_bytes(text.replace('\n', '\r').encode())
  (tmp_path / 'b.csv').write_text('\n\n' + text)
  for path in sorted(tmp_path.iterdir()):
    check(load(path))
  (tmp_path / 'c.csv').write_text('\n \n')
  with pytest.raises(ValueError, match='c.csv: the file is blank'):
    load(tmp_path / 'c.csv')


@pytest.mark.parametrize('level', [0, 1])
def test_yfinance_in_memory(level):
  """As it downloads; with `group_by='ticker'` the tickers come first."""
  wide = table().pivot(index='date', columns='symbol', values=ORDER)
  wide = wide.rename(columns=str.title, level=0)
  wide = wide.rename(columns=str.upper, level=1)
  if level:
    wide = wide.swaplevel(axis=1)
  wide.index = pd.to_datetime(wide.index)
  check(load(wide))


def test_indices_without_names(tmp_path):
  frame = table().assign(date=lambda f: pd.to_datetime(f['date']))
  by_day = frame.set_index('date').rename_axis(None)
  both = frame.set_index(['date', 'symbol']).rename_axis([None, None])
  check(load(by_day))
  check(load(both))
  by_day.to_csv(tmp_path / 'a.csv')
  by_day.to_parquet(tmp_path / 'a.parquet')
  for path in tmp_path.iterdir():
    check(load(path))


def test_vendors_are_known_by_their_columns():
  assert columns.vendor_of(['ts_code', 'trade_date', 'vol']).name == 'tushare'
  assert columns.vendor_of(['date', 'symbol', 'vol']) is None


LOADED = {
  'tushare.csv', 'chinese_header.csv', 'semicolon.csv', 'tz_one_offset.csv',
  'multiindex.parquet', 'newest_first.csv', 'epoch_ms.csv',
  'suspended_zero.csv', 'arrow_epoch_ms_int.parquet', 'arrow_date32.parquet',
  'arrow_decimal.parquet', 'arrow_dictionary_symbol.parquet',
  'arrow_int_symbol.parquet', 'arrow_str_compact.parquet',
  'arrow_ts_us.parquet', 'arrow_ts_ns_tz_utc.parquet', 'arrow_half.parquet',
}  # fmt: skip
REFUSED = {
  'arrow_float_date.parquet', 'ddmmyyyy.csv', 'crsp_negative_close.csv',
  'hourly.csv', 'excel_thousands.csv',
}  # fmt: skip


@pytest.mark.skipif(not CASES.is_dir(), reason=f'no cases in {CASES}')
@pytest.mark.parametrize('name', sorted(LOADED | REFUSED))
def test_cases(tmp_path, name):
  path = tmp_path / name
  shutil.copy(CASES / name, path)
  if name in REFUSED:
    with pytest.raises(ValueError, match='row|float|only') as error:
      load(path)
    assert name in str(error.value) and 'column' in str(error.value)
    return
  if name == 'tushare.csv':
    with pytest.raises(ValueError, match='000001.SZ is the only stock'):
      load(path)  # As it should be: the case is about columns.
    text = path.read_text()
    path.write_text(text + text.split('\n', 1)[1].replace('000001', '000002'))
  loaded = load(path)
  assert loaded.dates == ('2024-03-08', '2024-03-11')
  close = loaded.features[3]
  assert np.isfinite(close).sum() >= 3
  np.testing.assert_allclose(close[np.isfinite(close)], 10.5)


@pytest.mark.skipif(not CASES.is_dir(), reason=f'no cases in {CASES}')
def test_a_weekly_case(tmp_path):
  """Warm-up is counted in weeks: 257 of 261 are scored, 4 are purged."""
  loaded = load(CASES / 'weekly.csv', start='2012-01-01', end='2016-12-31',
                warmup=200)  # fmt: skip
  split = panel.split(
    loaded, 'train', '2012-01-01', '2016-12-31', lookback=200,
    label=panel.LabelSpec(exit=4),
  )  # fmt: skip
  assert split.scored.sum() == 257
  assert not any('the data begin' in note for note in split.panel.notes)
