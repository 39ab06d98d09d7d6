"""The tear sheet: its parts are those of the functions, and JSON holds it."""

import functools
import json
import os
import pathlib

import jax
import numpy as np
import oracle
import pandas as pd
import pytest

from alphajax.data import market
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import evaluate, metrics
from alphajax.judge import figures, series, sheet, signals, styles
from alphajax.language import formula

T, S = 320, 24
LABEL = LabelSpec(1, 6)
HERE = pathlib.Path(__file__).resolve().parents[1]
FOLDER = pathlib.Path(
  os.environ.get('ALPHAJAX_DATA', HERE.parent / 'shared' / 'data')
)


@functools.cache
def case():
  """A messy split, a signal with gaps, and its sheet."""
  features, members = oracle.messy_panel(9, T, S)
  dates = [str(d.date()) for d in pd.bdate_range('2018-06-01', periods=T)]
  names = [f's{i}' for i in range(S)]
  planes = np.stack(list(features.values()))
  panel = panel_lib.make(planes, members, dates, names)
  split = panel_lib.split(
    panel, 'valid', dates[0], dates[-1], lookback=60, label=LABEL
  )
  rng = np.random.default_rng(0)
  signal = 0.03 * rng.normal(size=(T, S)) + np.nan_to_num(split.target)
  signal[rng.random((T, S)) < 0.1] = np.nan
  signal[100] = np.nan
  signal = signal.astype(np.float32)
  options = {'horizons': (1, 5, 300), 'groups': (5, 10, 30), 'lags': (1, 5)}
  return split, signal, sheet.tear_sheet(
    signal, split, LABEL, judged=100, **options
  )  # fmt: skip


def test_json_holds_it():
  _, _, found = case()
  text = json.dumps(found, allow_nan=False)
  assert json.loads(text) == found
  assert all(type(key) is str for key in found)


def test_figures_and_their_p_values():
  split, signal, found = case()
  expected, daily = figures.of_signal(jax.numpy.asarray(signal), split, LABEL)
  own = found['figures']
  for key, value in expected.items():
    assert own[key] == pytest.approx(value)
  one, many = (series.mean(daily['ic'], 4, judged) for judged in (1, 100))
  assert own['p_value']['ic'] == pytest.approx(one.p_value)
  assert own['of_judged']['judged'] == 100
  assert own['of_judged']['ic'] == pytest.approx(many._asdict())
  assert own['ic']['mean'] > 0.3 and own['of_judged']['ic']['low'] > 0


def test_parts():
  split, signal, found = case()
  panel, days = split.panel, np.asarray(split.scored)
  assert [row['horizon'] for row in found['decay']] == [1, 5, 300]
  decay = signals.decay(signal, panel, (5,), label=LABEL, days=days)
  assert found['decay'][1] == sheet.plain({'horizon': 5, **decay[5]})
  assert found['decay'][2]['ic']['low'] is None  # Ten days left.
  (_, five) = found['autocorrelation']
  daily = signals.rank_autocorrelation(signal, panel, 5)[days]
  assert five == {'lag': 5, 'mean': pytest.approx(np.nanmean(daily))}
  assert [row['groups'] for row in found['quantiles']] == [5, 10]
  returns = signals.quantile_returns(
    signal, panel, 10, label=LABEL, target=split.target, days=days
  )
  ten = found['quantiles'][1]
  assert ten['mean'] == pytest.approx(list(returns.mean))
  assert ten['spread'] == pytest.approx(returns.spread_mean._asdict())
  assert ten['monotonicity'] > 0.9 and len(ten['excess']) == 10
  shares = [(row['groups'], row['lag']) for row in found['turnover']]
  assert shares == [(5, 1), (5, 5), (10, 1), (10, 5)]
  share = signals.turnover(signal, panel, 5, 5)[:, days]
  means = np.nanmean(share, 1)
  assert found['turnover'][1]['mean'] == pytest.approx(list(means))
  styled, _ = styles.of_signal(signal, split, LABEL)
  for name in ('styles', 'explained', 'left'):
    assert found[name] == sheet.plain(styled[name])
  (note,) = found['notes']
  assert note.startswith('no returns of 30 groups: no scored day has more than')


def test_periods_and_days():
  split, _, found = case()
  days = np.flatnonzero(split.scored)
  daily = found['daily']
  assert daily['dates'] == [split.panel.dates[t] for t in days]
  assert {len(each) for each in daily.values()} == {len(days)}
  assert daily['coverage'][100 - days[0]] == 0
  assert daily['spread_5'][100 - days[0]] is None
  frame = pd.Series(daily['ic'], pd.to_datetime(daily['dates']))
  assert [row['period'] for row in found['years']['ic']] == ['2018', '2019']
  for row in found['years']['ic']:
    own = frame[row['period']].to_numpy()
    interval = metrics.mean_interval(own, 4)
    shown = [row[key] for key in ('mean', 'low', 'high')]
    np.testing.assert_allclose(shown, interval, atol=1e-6)
  months = {row['period']: row['mean'] for row in found['months']['rank_ic']}
  expected = pd.Series(daily['rank_ic'], frame.index)['2019-03'].mean()
  assert months['2019-03'] == pytest.approx(expected)
  ends = daily['turnover_5_1']
  assert 0 < np.mean([each for each in ends if each is not None]) < 1


@pytest.mark.parametrize(
  'options, message',
  [
    ({'horizons': (0,)}, r'horizons=\(0,\)'),
    ({'groups': (1,)}, 'groups=1: expected a whole number, 2 or more'),
    ({'groups': (2.5,)}, 'groups=2.5: expected a whole number'),
    ({'lags': (-1,)}, 'lag=-1'),
    ({'judged': 0}, 'judged=0'),
    ({'style_values': {'x': np.zeros(3)}}, 'the style x has shape'),
  ],
)
def test_bad_input_is_refused_with_what_was_expected(options, message):
  split, signal, _ = case()
  with pytest.raises(ValueError, match=message):
    sheet.tear_sheet(signal, split, LABEL, **options)


def test_a_signal_of_another_panel():
  split, signal, _ = case()
  with pytest.raises(ValueError, match=r'the signal has shape \[319, 24\]'):
    sheet.tear_sheet(signal[1:], split, LABEL)


def test_a_signal_that_says_nothing():
  split, signal, _ = case()
  found = sheet.tear_sheet(np.full_like(signal, np.nan), split, LABEL)
  json.dumps(found, allow_nan=False)
  assert found['figures']['coverage'] == 0 and not found['quantiles']
  assert found['figures']['ic']['mean'] == 0 and found['explained'] is None
  assert len(found['notes']) == 2


def test_plain():
  value = {1: (np.float32(0.5), np.nan), 'x': np.array([0.1, np.inf], 'f4')}
  assert sheet.plain(value) == {'1': [0.5, None], 'x': [0.1, None]}
  assert sheet.plain([np.int64(3), np.bool_(True), None, 'text']) == [
    3, True, None, 'text',
  ]  # fmt: skip


@pytest.mark.parametrize('name', ['cn_csi300', 'us_sp500'])
def test_a_real_panel(name, tmp_path):
  path = FOLDER / f'{name}.parquet'
  if not path.is_file():
    pytest.skip(f'no file {path}')
  whole = market.load(
    path, start='2018-01-01', end='2018-12-31', cache_dir=tmp_path
  )
  # Of one shape, so that both panels share the compiled programs.
  whole = panel_lib.take_symbols(whole, whole.symbols[:150])
  whole = panel_lib.select_days(whole, slice(240))
  split = panel_lib.split(
    whole, 'valid', whole.dates[0], whole.dates[-1], lookback=40
  )
  text = 'Corr(close,volume,20)'
  (signal,) = evaluate.values([formula.parse(text)], split.panel)
  found = sheet.tear_sheet(-signal, split)
  json.dumps(found, allow_nan=False)
  days = np.flatnonzero(split.scored)
  ic = oracle.daily_ic(-np.asarray(signal), split.target, split.panel.mask)
  np.testing.assert_allclose(found['daily']['ic'], ic[days], atol=1e-5)
  # The decay at the label's own horizon is the IC.
  twenty = next(row for row in found['decay'] if row['horizon'] == 20)
  assert twenty['ic']['mean'] == pytest.approx(ic[days].mean(), abs=1e-6)
  for t in days[::40]:
    own = np.isfinite(np.asarray(signal)[t]) & split.panel.mask[t]
    places = pd.qcut(-np.asarray(signal, float)[t, own], 5, labels=False)
    target = np.asarray(split.target, float)[t, own]
    spread = np.nanmean(target[places == 4]) - np.nanmean(target[places == 0])
    position = int(np.searchsorted(days, t))
    assert found['daily']['spread_5'][position] == pytest.approx(
      spread, abs=1e-5
    )
  assert found['figures']['coverage'] > 0.8
  assert 0 < found['explained'] < 1
  assert found['styles']['size']['known'] > 0.8
