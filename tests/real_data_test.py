"""The two real panels, where they are at hand."""

import os
import pathlib

import numpy as np
import pandas as pd
import pytest

from alphajax.data import market, panel

HERE = pathlib.Path(__file__).resolve().parents[1]
FOLDER = pathlib.Path(
  os.environ.get('ALPHAJAX_DATA', HERE.parent / 'shared' / 'data')
)
pytestmark = pytest.mark.skipif(
  not FOLDER.is_dir(), reason=f'no data folder {FOLDER}; set ALPHAJAX_DATA'
)


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


def load(name, store, **options):
  path = FOLDER / f'{name}.parquet'
  if not path.is_file():
    pytest.skip(f'no file {path}')
  return market.load(path, cache_dir=store, **options)


def compare(loaded, frame, columns, seed=0, count=2000):
  """Random cells of the panel against pandas' columns of the file."""
  rows = frame.sample(count, random_state=seed)
  day = [loaded.dates.index(d) for d in rows['date'].astype(str)]
  stock = [loaded.symbols.index(s) for s in rows['symbol']]
  for name, values in columns(rows).items():
    f = loaded.feature_names.index(name)
    np.testing.assert_allclose(
      loaded.features[f, day, stock], values, rtol=1e-5
    )
  np.testing.assert_array_equal(loaded.mask[day, stock], rows['member'])


def test_cn_csi300(store):
  loaded = load('cn_csi300', store, end='2019-12-31')
  frame = pd.read_parquet(FOLDER / 'cn_csi300.parquet')
  frame = frame[frame['date'] <= '2019-12-31']
  frame = frame[frame['symbol'].isin(loaded.symbols)]
  compare(
    loaded,
    frame,
    lambda r: dict(
      close=r['close'] * r['factor'],
      open=r['open'] * r['factor'],
      volume=r['volume'] / r['factor'],
      vwap=r['amount'] / r['volume'] * r['factor'],
    ),
  )
  assert np.isfinite(loaded.features[3]).sum() == len(frame)
  assert len(loaded.dates) == 2431
  # README of the data: 272 members with a row a day in 2010.
  first_year = [d.startswith('2010') for d in loaded.dates]
  assert round(loaded.mask[first_year].sum(axis=1).mean()) == 272
  assert 'vwap = amount / volume' in loaded.notes


def test_cn_amounts_missing_after_2023_are_said(store):
  loaded = load('cn_csi300', store, start='2021-01-01')
  note = next(n for n in loaded.notes if 'rows without it' in n)
  assert note.startswith('vwap is missing on ')
  prices = np.isfinite(loaded.features[3])
  known = np.isfinite(loaded.features[5])
  assert (known <= prices).all()
  early = np.array(loaded.dates) < '2023-03-18'
  same = (known == prices).mean(1)
  assert same[early].mean() > 0.999 > 0.99 > same[~early].mean()


def test_us_sp500(store):
  loaded = load('us_sp500', store, start='2010-01-01', end='2019-12-31')
  frame = pd.read_parquet(FOLDER / 'us_sp500.parquet')
  frame = frame[frame['symbol'].isin(loaded.symbols)]
  first = frame.sort_values('date').groupby('symbol')['adj_close'].first()
  base = 100 / frame['symbol'].map(first).astype(float)
  frame['by'] = frame['adj_close'] / frame['close'] * base
  frame = frame[frame['date'].between('2010-01-01', '2019-12-31')]
  compare(
    loaded,
    frame,
    lambda r: dict(
      close=r['close'] * r['by'],
      high=r['high'] * r['by'],
      volume=r['volume'] / r['by'],
      vwap=(r['high'] + r['low'] + r['close']) / 3 * r['by'],
    ),
  )
  assert any('typical price' in note for note in loaded.notes)


@pytest.mark.parametrize('name', ['cn_csi300', 'us_sp500'])
def test_the_paper_splits(name, store):
  loaded = load(name, store, start='2010-01-01', end='2019-12-31')
  train = panel.split(loaded, 'train', '2010-01-01', '2017-12-31', lookback=200)
  valid = panel.split(loaded, 'valid', '2018-01-01', '2019-12-31', lookback=200)
  assert train.panel.dates[-1] < '2018' and not train.scored[:200].any()
  assert valid.scored.sum() > 440 and valid.panel.dates[0] < '2018'
  for part in (train, valid):
    labelled = np.isfinite(part.target) & np.asarray(part.panel.mask)
    assert (labelled[part.scored].sum(axis=1) > 150).all()
    standard = panel.standardize(part.target, part.panel.mask)
    days = np.asarray(standard)[part.scored]
    np.testing.assert_allclose(np.nanmean(days, axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(days, axis=1), 1, atol=1e-4)
