"""Tests of alphajax.data.market: formats, adjustment, errors, cache."""

import os
import time

import jax
import numpy as np
import pandas as pd
import pytest

from alphajax.data import market, panel_cache
from alphajax.run import cache

OPTIONS = dict(cache=False)


def table(num_days=6, symbols=('A', 'B', 'C'), seed=0):
  """A small consistent table in the order symbol, date."""
  rng = np.random.default_rng(seed)
  days = pd.bdate_range('2020-01-01', periods=num_days)
  rows = len(symbols) * num_days
  low = rng.uniform(9, 10, rows)
  high = low + rng.uniform(0, 1, rows)
  start, end = rng.random((2, rows))
  return pd.DataFrame(
    dict(
      date=np.tile(days, len(symbols)),
      symbol=np.repeat(list(symbols), num_days),
      open=low + start * (high - low),
      high=high,
      low=low,
      close=low + end * (high - low),
      volume=rng.integers(1000, 9000, rows).astype(float),
      member=True,
    )
  )


def wide(frame, column):
  return frame.pivot(index='date', columns='symbol', values=column).to_numpy()


def expect(panel, frame, name, values=None):
  values = wide(frame, name) if values is None else values
  actual = panel.features[panel.feature_names.index(name)]
  np.testing.assert_allclose(actual, values, rtol=1e-6)


@pytest.mark.parametrize('suffix', ['parquet', 'csv', 'csv.gz'])
def test_files_give_what_memory_gives(tmp_path, suffix):
  frame = table(symbols=('000001', 'NA', 'B')).drop(index=[3])
  frame.loc[4, 'open'] = np.nan
  frame.loc[5, 'member'] = False
  path = tmp_path / f'prices.{suffix}'
  if suffix == 'parquet':
    frame.to_parquet(path)
  else:
    frame.to_csv(path, index=False)
  panel = market.load(path, **OPTIONS)
  memory = market.load(frame)
  assert panel.symbols == memory.symbols == ('000001', 'B', 'NA')
  assert panel.dates == memory.dates and panel.dates[0] == '2020-01-01'
  np.testing.assert_array_equal(panel.features, memory.features)
  np.testing.assert_array_equal(panel.mask, memory.mask)
  expect(panel, frame, 'high')
  assert panel.mask[:3, 0].all() and not panel.mask[[3, 5], 0].any()
  assert np.isnan(panel.features[:, 3, 0]).all()  # Nothing is filled forward.
  assert np.isnan(panel.features[0, 4, 0]) and panel.mask[4, 0]


def test_an_unknown_option_is_refused():
  with pytest.raises(
    ValueError, match="no option 'adjsut'; known: adjust, vwa"
  ):
    market.load(table(), adjsut='none')


def test_arrays_in_memory():
  frame = table()
  arrays = {n: wide(frame, n) for n in frame.columns[2:]}
  arrays |= dict(date=sorted(frame['date'].unique()), symbol=list('ABC'))
  panel = market.load(arrays)
  np.testing.assert_array_equal(panel.features, market.load(frame).features)
  with pytest.raises(ValueError, match=r'open has shape \(2, 3\)'):
    market.load(arrays | dict(open=np.ones((2, 3))))


def test_row_orders_and_renamed_columns_give_the_same_panel():
  frame = table()
  panel = market.load(frame)
  by_date = frame.sort_values(['date', 'symbol'])
  np.testing.assert_array_equal(market.load(by_date).features, panel.features)
  renamed = frame.rename(columns=dict(symbol='ticker', member='sp500'))
  again = market.load(renamed, columns=dict(ticker='symbol'), universe='sp500')
  np.testing.assert_array_equal(again.features, panel.features)
  indexed = market.load(frame.set_index(['date', 'symbol']))
  np.testing.assert_array_equal(indexed.features, panel.features)
  compact = frame.assign(date=frame['date'].dt.strftime('%Y%m%d').astype(int))
  assert market.load(compact).dates == panel.dates


def test_only_members_become_columns_and_keep_their_history():
  frame = table()
  frame.loc[frame['symbol'] == 'B', 'member'] = False
  frame.loc[12:15, 'member'] = False  # C joins on its fifth day.
  panel = market.load(frame)
  assert panel.symbols == ('A', 'C')
  assert np.isfinite(panel.features[:, :, 1]).all()
  np.testing.assert_array_equal(panel.mask[:, 1], [False] * 4 + [True] * 2)
  assert '2 of 3 stocks are members at some time' in panel.notes
  assert market.load(frame, members_only=False).symbols == ('A', 'B', 'C')
  # Membership counts in the loaded span only.
  assert market.load(frame, end='2020-01-06').symbols == ('A',)
  everyone = market.load(frame, universe=None)
  assert everyone.mask.all()
  assert any('no membership' in note for note in everyone.notes)


def test_span():
  frame = table()
  panel = market.load(frame, start='2020-01-02', end='2020-01-06')
  assert panel.dates == ('2020-01-02', '2020-01-03', '2020-01-06')
  with pytest.raises(ValueError, match='the data cover 2020-01-01..2020-01-08'):
    market.load(frame, start='2021-01-01')


def test_total_return_by_factor():
  frame = table().assign(factor=np.linspace(1, 3, 18))
  frame['amount'] = frame['volume'] * (frame['low'] + frame['high']) / 2
  frame.loc[7, 'amount'] = np.nan
  panel = market.load(frame)
  factor = wide(frame, 'factor')
  for name in ('open', 'high', 'low', 'close'):
    expect(panel, frame, name, wide(frame, name) * factor)
  expect(panel, frame, 'volume', wide(frame, 'volume') / factor)
  # One definition a column: a row without an amount has no vwap.
  vwap = wide(frame.assign(vwap=frame['amount'] / frame['volume']), 'vwap')
  assert np.isnan(vwap).sum() == 1
  expect(panel, frame, 'vwap', vwap * factor)
  assert any('on 1 of 18 rows without it' in note for note in panel.notes)
  raw = market.load(frame, adjust='none')
  expect(raw, frame, 'close')
  expect(raw, frame, 'volume')
  expect(raw, frame, 'vwap', vwap)
  typical = (frame['low'] + frame['high'] + frame['close']) / 3
  asked = market.load(frame, adjust='none', vwap='typical')
  expect(asked, frame, 'vwap', wide(frame.assign(vwap=typical), 'vwap'))
  with pytest.raises(ValueError, match='column factor: one factor carries'):
    market.load(frame, adjust='split')


def test_total_return_by_adjusted_close():
  frame = table()
  ratio = np.linspace(0.5, 1, 18)
  frame['adj_close'] = frame['close'] * ratio
  panel = market.load(frame)
  first = wide(frame, 'adj_close')[0]
  factor = ratio.reshape(3, 6).T * 100 / first
  expect(panel, frame, 'open', wide(frame, 'open') * factor)
  expect(panel, frame, 'close', wide(frame, 'adj_close') * 100 / first)
  np.testing.assert_allclose(panel.features[3][0], 100, rtol=1e-6)
  # Price times volume stays the money that was traded.
  expect(panel, frame, 'volume', wide(frame, 'volume') / factor)
  typical = (frame['low'] + frame['high'] + frame['close']) / 3
  typical = wide(frame.assign(vwap=typical), 'vwap')
  expect(panel, frame, 'vwap', typical * factor)
  assert any('the typical price' in note for note in panel.notes)
  # The first row of the table, not of the days that are loaded.
  late = market.load(frame, start='2020-01-03')
  np.testing.assert_array_equal(late.features, panel.features[:, 2:])
  split = market.load(frame, adjust='split')
  expect(split, frame, 'close')


def divided(frame, by, names=('open', 'high', 'low', 'close')):
  """A table whose prices of stock A are rewritten by a later split."""
  frame, rows = frame.copy(), frame['symbol'] == 'A'
  for name in names:
    frame.loc[rows, name] /= by
  frame.loc[rows, 'volume'] *= by
  return frame


@pytest.mark.parametrize('how', ['adj_close', 'factor', 'rebase'])
def test_later_splits_and_dividends_change_no_level(how):
  """What vendors rewrite of the past is not seen, in no price and volume."""
  frame, options = table(), {}
  ratio = np.linspace(0.5, 1, 18)
  if how == 'adj_close':
    frame['adj_close'] = frame['close'] * ratio
    later = divided(frame, 4)
    later['adj_close'] *= np.where(frame['symbol'] == 'A', 0.97 / 4, 1)
  elif (
    how == 'factor'
  ):  # Scaled to the last row, and the price is the true one.
    ends = np.tile(ratio[:6] / ratio[5], 3)
    frame['factor'] = ends
    later = frame.assign(factor=ends)
    later.loc[frame['symbol'] == 'A', 'factor'] *= 0.97 / 4
    # The day of the split itself comes after the table: another row ends at 1.
    more = frame[frame['symbol'] == 'A'].tail(1)
    more = more.assign(date=more['date'] + pd.Timedelta(days=1), factor=1.0)
    later = pd.concat([later, more]).sort_values(['symbol', 'date'])
    options['end'] = '2020-01-08'
  else:
    options['adjust'] = 'rebase'
    later = divided(frame, 4)
  before, after = market.load(frame, **options), market.load(later, **options)
  np.testing.assert_allclose(after.features, before.features, rtol=1e-5)
  assert before.features[3].std() > 0
  if how == 'factor':  # Levels begin at true prices.
    expect(
      before, frame, 'close', wide(frame, 'close') * ends[:6, None] / ends[0]
    )
    assert any('factor / its first' in note for note in before.notes)


def test_prices_adjusted_before_are_taken_with_a_word():
  panel = market.load(table())
  assert any("adjust='rebase' begins every stock" in n for n in panel.notes)


def test_a_vwap_column_is_taken():
  frame = table()
  frame['vwap'] = (frame['low'] + frame['high']) / 2
  expect(market.load(frame), frame, 'vwap')
  typical = market.load(frame, vwap='typical').features[5]
  assert not np.allclose(typical, wide(frame, 'vwap'))


def cell(row, column, value):
  def change(frame):
    if frame[column].dtype != object and isinstance(value, str):
      frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    return frame

  return change


BAD = {
  'missing column': (
    lambda f: f.drop(columns=['high', 'volume']),
    'missing column high, volume; the table has date, symbol',
  ),
  'duplicate': (
    lambda f: pd.concat([f, f.iloc[[4]]]),
    r'column date, symbol: duplicated \(date, symbol\) in 2 rows, first row 4:'
    ' date=2020-01-07, symbol=A',
  ),
  'unsorted': (
    lambda f: f.iloc[[0, 2, 1, *range(3, 18)]],
    'column date: unsorted dates: .* in 1 rows, first row 2: '
    r'date=2020-01-02, symbol=A. Remedy: .*sort_values',
  ),
  'unparsable date': (
    lambda f: f.assign(date=['01/02/2020'] + ['2020-01-02'] * 17),
    'column date: unparsable date in 1 rows, first row 0: date=01/02/2020, '
    'symbol=A. Remedy: write days as 2010-01-04',
  ),
  'missing date': (cell(3, 'date', pd.NaT), 'unparsable date in 1 rows'),
  'high < low': (
    cell(2, 'high', 1.0),
    'column high, low: high < low in 1 rows, first row 2: date=2020-01-03, '
    'symbol=A, high=1, low=9.',
  ),
  'zero price': (
    cell(8, 'close', 0.0),
    'column close: non-positive or infinite price in 1 rows, first row 8: '
    'date=2020-01-03, symbol=B, close=0. Remedy',
  ),
  'infinite price': (cell(8, 'open', np.inf), 'column open: non-positive or'),
  'negative volume': (
    cell(8, 'volume', -5.0),
    'column volume: negative or infinite volume in 1 rows, first row 8',
  ),
  'all missing': (
    lambda f: f.assign(open=np.nan),
    'column open: missing in every row; fill it in',
  ),
  'all missing, optional': (
    lambda f: f.assign(amount=np.nan),
    'column amount: missing in every row; fill it in or drop the column',
  ),
  'no number': (
    cell(8, 'close', '1,5'),
    'column close: not a number in 1 rows, first row 8: .* close=1,5',
  ),
  'no symbol': (
    cell(8, 'symbol', None),
    'column symbol: missing symbol in 1 rows, first row 8: date=2020-01-03',
  ),
  'empty': (lambda f: f.iloc[:0], 'empty, it has no rows'),
  'no member': (
    lambda f: f.assign(member=False),
    'column member: no stock is ever a member',
  ),
  'no flag': (
    cell(1, 'member', 'maybe'),
    'column member: not a membership flag in 1 rows, first row 1',
  ),
  'units': (
    lambda f: f.assign(amount=f['close'] * f['volume'] / 1000),
    'vwap / close is 0.001 in the median, so the units do not fit',
  ),
}


@pytest.mark.parametrize('kind', BAD)
@pytest.mark.parametrize('form', ['memory', 'csv'])
def test_bad_input(tmp_path, kind, form):
  change, message = BAD[kind]
  source = change(table())
  name = 'table in memory'
  if form == 'csv':
    path = tmp_path / 'prices.csv'
    source.to_csv(path, index=False)
    source, name = path, str(path)
  with pytest.raises(ValueError, match=message) as error:
    market.load(source, **OPTIONS)
  assert str(error.value).startswith(name)


def test_bad_files(tmp_path):
  path = tmp_path / 'prices.csv'
  path.touch()
  with pytest.raises(ValueError, match='prices.csv: the file is empty'):
    market.load(path, **OPTIONS)
  path = tmp_path / 'prices.xlsx'
  path.write_text('?')
  with pytest.raises(ValueError, match="unknown extension '.xlsx'; use .parq"):
    market.load(path, **OPTIONS)
  (tmp_path / 'no_tables').mkdir()
  with pytest.raises(ValueError, match='neither tables nor a qlib folder'):
    market.load(tmp_path / 'no_tables', **OPTIONS)
  with pytest.raises(FileNotFoundError, match='nowhere.csv'):
    market.load(tmp_path / 'nowhere.csv', **OPTIONS)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(adjust='dividends'), 'known: total_return, rebase, split, none'),
    (dict(vwap='x'), 'known: auto'),
    (dict(start='2020'), 'not a day like'),
    (dict(start='2020-02-01', end='2020-01-01'), 'is after end'),
    (dict(universe='csi300'), 'missing column csi300'),
    (dict(vwap='amount'), 'missing column amount'),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    market.load(table(), **options)


def test_cache_follows_content_and_options(tmp_path, monkeypatch):
  path, store = tmp_path / 'prices.csv', tmp_path / 'store'
  frame = table()
  frame.to_csv(path, index=False)
  first = market.load(path, cache_dir=store)
  (stored,) = store.iterdir()
  # A hit does not read the source: building is forbidden now.
  with monkeypatch.context() as patch:
    patch.setattr(market, 'build', None)
    second = market.load(path, cache_dir=store)
  np.testing.assert_array_equal(first.features, second.features)
  np.testing.assert_array_equal(first.mask, second.mask)
  assert first.replace(features=0, mask=0) == second.replace(features=0, mask=0)
  market.load(path, cache_dir=store, end='2020-01-06')
  assert len(list(store.iterdir())) == 2
  frame.assign(volume=frame['volume'] + 1).to_csv(path, index=False)
  third = market.load(path, cache_dir=store)
  assert len(list(store.iterdir())) == 3
  expect(third, frame, 'volume', wide(frame, 'volume') + 1)
  assert stored.suffix == '.panel'


def test_a_damaged_cache_is_rebuilt_with_a_warning(tmp_path):
  path, store = tmp_path / 'prices.csv', tmp_path / 'store'
  table().to_csv(path, index=False)
  first = market.load(path, cache_dir=store)
  (stored,) = store.iterdir()
  whole = stored.read_bytes()
  flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
  for damaged in (whole[: len(whole) // 2], flipped, b''):
    stored.write_bytes(damaged)
    with pytest.warns(UserWarning, match='damaged cache file'):
      again = market.load(path, cache_dir=store)
    np.testing.assert_array_equal(first.features, again.features)
    assert stored.read_bytes() == whole


def test_panels_that_nobody_reads_are_forgotten(tmp_path):
  path, store = tmp_path / 'prices.csv', tmp_path / 'store'
  table().to_csv(path, index=False)
  long_ago = time.time() - 24 * 3600 * (panel_cache.KEPT_DAYS + 1)
  market.load(path, cache_dir=store)
  (unread,) = store.iterdir()
  market.load(path, cache_dir=store, end='2020-01-06')
  (read,) = set(store.iterdir()) - {unread}
  ledgers = store / 'ledgers'
  ledgers.mkdir()
  for kept in (unread, read, ledgers):
    os.utime(kept, (long_ago, long_ago))
  market.load(path, cache_dir=store, end='2020-01-06')  # Is in use again.
  market.load(path, cache_dir=store, end='2020-01-07')
  assert not unread.exists()
  assert read.exists() and ledgers.exists() and len(list(store.iterdir())) == 3


def test_cache_folder_from_the_environment(tmp_path, monkeypatch):
  path = tmp_path / 'prices.csv'
  table().to_csv(path, index=False)
  monkeypatch.setenv('ALPHAJAX_CACHE', str(tmp_path / 'store'))
  market.load(path)
  assert len(list((tmp_path / 'store').glob('*.panel'))) == 1
  (tmp_path / 'file').touch()
  with pytest.warns(UserWarning, match='panel not cached'):
    market.load(path, cache_dir=tmp_path / 'file' / 'store')


def write_qlib(folder, frame, universe):
  """Writes qlib's layout; `frame` holds adjusted prices and `factor`."""
  days = sorted(frame['date'].unique())
  (folder / 'calendars').mkdir(parents=True)
  text = '\n'.join(str(np.datetime64(d, 'D')) for d in days)
  (folder / 'calendars' / 'day.txt').write_text(text)
  (folder / 'instruments').mkdir()
  for name, lines in universe.items():
    (folder / 'instruments' / f'{name}.txt').write_text('\n'.join(lines))
  for symbol, part in frame.groupby('symbol'):
    place = folder / 'features' / symbol.lower()
    place.mkdir(parents=True)
    positions = [days.index(d) for d in part['date'].tolist()]
    for field in ('open', 'high', 'low', 'close', 'volume', 'factor'):
      series = np.full(positions[-1] - positions[0] + 1, np.nan)
      series[np.array(positions) - positions[0]] = part[field]
      np.append(positions[0], series).astype('<f4').tofile(
        place / f'{field}.day.bin'
      )


def test_qlib_folder(tmp_path):
  frame = table().drop(index=[6, 7, 10])  # B begins late and is suspended.
  frame['factor'] = np.linspace(1, 2, len(frame))
  universe = {
    'all': [
      'A\t2020-01-01\t2020-01-08',
      'B 2020-01-03 2020-01-08',
      'C 2020-01-01 2020-01-08',
    ],
    'csi300': [
      'A\t2020-01-01\t2020-01-02',
      'A\t2020-01-07\t2020-01-08',
      'B\t2020-01-01\t2020-01-08',
      'GONE\t2020-01-01\t2020-01-08',
    ],
  }
  write_qlib(tmp_path, frame, universe)
  panel = market.load(tmp_path, universe='csi300', **OPTIONS)
  assert panel.symbols == ('A', 'B')
  for f, name in enumerate(('open', 'high', 'low', 'close', 'volume')):
    np.testing.assert_allclose(
      panel.features[f], wide(frame, name)[:, :2], rtol=1e-6
    )
  np.testing.assert_array_equal(
    panel.mask.T,
    [
      [True, True, False, False, True, True],
      [False, False, True, True, False, True],
    ],
  )
  assert any('GONE' in note for note in panel.notes)
  raw = market.load(tmp_path, universe='csi300', adjust='none', **OPTIONS)
  expected = wide(frame, 'close') / wide(frame, 'factor')
  np.testing.assert_allclose(raw.features[3], expected[:, :2], rtol=1e-6)
  both = market.load(tmp_path, universe='csi300', members_only=False, **OPTIONS)
  assert both.symbols == ('A', 'B', 'C') and not both.mask[:, 2].any()
  assert market.load(tmp_path, universe=None, **OPTIONS).symbols == tuple('ABC')
  with pytest.raises(ValueError, match='pass universe= one of all, csi300'):
    market.load(tmp_path, **OPTIONS)


@pytest.mark.parametrize(
  'content, message',
  [
    (b'abc', '3 bytes are not float32'),
    (np.array([5, 1, 2], '<f4').tobytes(), '2 days from calendar position 5'),
    (np.array([-1, 1], '<f4').tobytes(), 'do not fit a calendar of 6 days'),
  ],
)
def test_bad_qlib_files(tmp_path, content, message):
  frame = table().assign(factor=1.0)
  write_qlib(tmp_path, frame, {'all': ['A 2020-01-01 2020-01-08']})
  path = tmp_path / 'features' / 'a' / 'close.day.bin'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f'close.day.bin: .*{message}'):
    market.load(tmp_path, universe='all', **OPTIONS)


def test_content_hash(tmp_path):
  write_qlib(tmp_path / 'q', table().assign(factor=1.0), {'all': []})
  first = panel_cache.content_hash(tmp_path / 'q')
  assert first == panel_cache.content_hash(tmp_path / 'q') and len(first) == 64
  (tmp_path / 'q' / 'instruments' / 'all.txt').write_text('A')
  assert panel_cache.content_hash(tmp_path / 'q') != first


@pytest.mark.parametrize('value', [None, '', '~/elsewhere'])
def test_one_place_for_panels_and_programs(monkeypatch, tmp_path, value):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('ALPHAJAX_CACHE', raising=False)
  if value is not None:
    monkeypatch.setenv('ALPHAJAX_CACHE', value)
  home = tmp_path / ('elsewhere' if value else '.cache/alphajax')
  assert panel_cache.home() == home
  assert panel_cache.path_of({}, None).parent == home
  assert panel_cache.home('~/mine') == tmp_path / 'mine'
  before = jax.config.jax_compilation_cache_dir
  try:
    cache.use_disk_cache()
    assert jax.config.jax_compilation_cache_dir == str(home / 'xla')
  finally:
    jax.config.update('jax_compilation_cache_dir', before)
