"""Runs of several methods side by side: figures, differences, the set."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alphajax.judge import bench, comparison, rules, series
from alphajax.judge.anytime import Curve
from alphajax.judge.bench import Entry
from alphajax.report import referee
from alphajax.run.files import RunError
from alphajax.run.folder import Run

DAYS = 400
DATES = np.datetime_as_string(
  np.busday_offset('2021-01-04', np.arange(DAYS), roll='forward')
)
LAG = 4


def daily(seed, mean):
  """A daily IC around a mean, whose labels overlap on LAG days."""
  noise = np.random.default_rng(seed).normal(size=DAYS + LAG)
  return mean + 0.02 * np.convolve(noise, np.ones(LAG + 1), 'valid')


def make_entry(method, seed, ic, **figures):
  known = {
    'ic': ic.mean(), 'rank_ic': ic.mean() + 0.01, 'icir': 0.5, 'rank_icir': 0.6,
    'sharpe': 1.0 + seed, 'max_drawdown': -0.1, 'evaluated': 300,
    'seconds': 10.0 * (seed + 1), 'opened': 1,
  }  # fmt: skip
  counts = np.array([100.0, 200, 300])
  curve = Curve(counts, counts / 10, counts / 3000, counts / 6000)
  worth = {
    'dates': DATES,
    'portfolio': np.cumprod(1 + 0.001 * ic),
    'benchmark': np.linspace(1, 1.2, DAYS),
  }
  return Entry(
    method, seed, known | figures, DATES, ic, ic + 0.01, worth, curve,
    rules.PAPER._asdict(),
  )  # fmt: skip


@pytest.fixture(scope='module')
def entries():
  """Two seeds of `good`, of `same`, which is it again, and of `random`."""
  found = []
  for seed in (0, 1):
    good = daily(seed, 0.06)
    found.append(make_entry('good', seed, good))
    found.append(make_entry('same', seed, good))
    found.append(make_entry('random', seed, daily(10 + seed, 0.0)))
  return found


@pytest.fixture(scope='module')
def table(entries):
  return bench.table(entries, LAG, ('random', 'alphacfg'), 0.9)


def test_figures_are_means_and_deviations_over_seeds(table):
  frame, _ = table
  assert list(frame.index) == ['good', 'same', 'random']  # By RankIC.
  row = frame.loc['good']
  ics = [daily(seed, 0.06).mean() for seed in (0, 1)]
  assert row['seeds'] == 2
  assert row['ic'] == pytest.approx(np.mean(ics))
  assert row['ic_sd'] == pytest.approx(abs(ics[0] - ics[1]) / 2**0.5)
  assert (row['sharpe'], row['sharpe_sd']) == (1.5, pytest.approx(0.5**0.5))
  assert row['seconds'] == 15 and row['evaluated'] == 300


def test_intervals_are_those_of_the_mean_daily_series(table):
  mean = (daily(0, 0.06) + daily(1, 0.06)) / 2
  expected = series.mean(mean, LAG)
  row = table[0].loc['good']
  assert (row['ic_low'], row['ic_high']) == pytest.approx(
    (expected.low, expected.high)
  )


def test_differences_are_paired_by_day(table):
  frame, notes = table
  good, control = (
    (daily(s, m) + daily(s + 1, m)) / 2 for s, m in ((0, 0.06), (10, 0.0))
  )
  expected = comparison.paired(good, control, lag=LAG)
  row = frame.loc['good']
  assert row['less_random'] == pytest.approx(expected.mean)
  assert row['less_random_low'] == pytest.approx(expected.low)
  assert row['less_random_q'] == pytest.approx(expected.p_value)  # Both alike.
  assert np.isnan(frame.loc['random', 'less_random'])
  assert notes == ['alphacfg has no run: nothing is compared with it.']


def test_no_method_is_better_than_the_control_however_many(table, entries):
  frame, _ = table
  good, control = (
    bench.mean_daily([e for e in entries if e.method == name])
    for name in ('good', 'random')
  )
  found = comparison.superior(control, {'good': good}, lag=LAG)  # Once.
  assert set(frame['spa_random']) == {found.hansen}
  assert set(frame['white_random']) == {found.white}
  assert set(frame['best_random']) == {'good'}
  board = referee.Board('csi300', ('a', 'b'), {}, frame, entries, ())
  assert (
    'Of all methods together one is better than random: that none is has '
    f'p {found.hansen:.3f} by Hansen (superior predictive ability) and '
    f'{found.white:.3f} by White (reality check); the strongest is good.'
  ) in list(referee.sentences(board, 0.9))
  said = [x for x in referee.sentences(board, 0.9) if 'Sharpe' in x]
  assert len(said) == 1 and 'Holds the 60 highest' in said[0]
  few = [entries[0]._replace(rules=entries[0].rules | {'top_k': 6})]
  board = board._replace(
    entries=[*few, *entries[1:], entries[0]._replace(rules=None)]
  )
  said = [x for x in referee.sentences(board, 0.9) if 'Sharpe' in x]
  assert len(said) == 2 and 'Holds the 6 highest' in said[0]
  # A method that is the control again cannot be better than it.
  twins = [e for e in entries if e.method != 'random']
  frame, notes = bench.table(twins, LAG, ('same',), 0.9)
  assert 'spa_same' not in frame
  assert 'No test that none is better than same: nothing to compare' in notes[0]
  short = [e._replace(dates=DATES[:20], ic=e.ic[:20], rank_ic=e.rank_ic[:20])
           for e in entries]  # fmt: skip
  _, notes = bench.table(short, LAG, ('random',), 0.9)
  assert 'better than random: 20 common days are too few' in notes[0]


def test_the_set_holds_what_is_not_shown_to_be_worse(table):
  frame, _ = table
  assert frame['in_set'].to_dict() == {
    'good': True, 'same': True, 'random': False
  }  # fmt: skip
  assert frame.loc['good', 'set_p'] == frame.loc['same', 'set_p'] == 1.0
  assert frame.loc['random', 'set_p'] <= 0.1
  assert frame.loc['good', 'rank_in_set']


def test_one_method_has_no_set_and_says_so(entries):
  frame, notes = bench.table(entries[:1], LAG, ('random',), 0.9)
  assert frame['in_set'].isna().all()
  assert notes == [
    'random has no run: nothing is compared with it.',
    'No confidence set of the ic: it needs two methods or more that differ.',
    'No confidence set of the rank_ic: it needs two methods or more that '
    'differ.',
  ]


def test_few_days_have_no_set_and_say_so(entries):
  short = [e._replace(dates=DATES[:20], ic=e.ic[:20], rank_ic=e.rank_ic[:20])
           for e in entries]  # fmt: skip
  frame, notes = bench.table(short, LAG, (), 0.9)
  assert frame['in_set'].isna().all()
  assert 'ic: 20 common days are too few where labels overlap' in notes[0]


def test_what_is_not_known_is_left_out(entries):
  missing = [
    e._replace(figures=e.figures | {'sharpe': None, 'evaluated': None})
    for e in entries[:1]
  ]
  frame, _ = bench.table(missing, LAG, (), 0.9)
  assert frame[['sharpe', 'evaluated', 'ic_sd']].isna().all(axis=None)


def test_predictors_have_no_pool_rule_beside_pools_that_have(entries):
  mixed = [
    e._replace(figures=e.figures | {'pool_rule': rule})
    for e, rule in zip(entries[:2], ('bagged', None), strict=True)
  ]
  frame, _ = bench.table(mixed, LAG, (), 0.9)
  board = referee.Board('m', ('2021-01-01', '2021-12-31'), {}, frame, (), ())
  _, rows = referee._cells(board)
  rules = {row[0]: row[-3] for row in rows}
  assert rules == {'good': 'bagged', 'same': referee.DASH}


def make_run(data_hash='a', test='2024-12-31', horizon=20, **config):
  return Run(
    name='run', workdir=Path('run'), metrics=[],
    config={'splits': {'test': ['2021-01-01', test]}, **config},
    provenance={'data_hash': data_hash}, pool={'label': {'horizon': horizon}},
    results=None, daily={},
  )  # fmt: skip


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'data_hash': 'b'},
      'csi300: x/seed_0 and y/seed_0 disagree in their data',
    ),
    ({'test': '2023-12-31'}, 'disagree in their splits: .*2024.* and .*2023'),
    ({'horizon': 5}, 'disagree in their label: .*20.* and .*5'),
  ],
)
def test_runs_that_disagree_are_refused(changes, message):
  runs = {'x/seed_0': make_run(), 'y/seed_0': make_run(**changes)}
  with pytest.raises(RunError, match=message):
    bench.check_same('csi300', runs)
  bench.check_same('csi300', {'x': make_run(), 'y': make_run()})
  rules = [make_run(backtest={'sell_cost': cost}) for cost in (5, 15)]
  bench.check_same('csi300', {'x': make_run(), 'y': rules[0]})
  with pytest.raises(RunError, match='disagree in their rules: .*5.* and .*15'):
    bench.check_same('csi300', {'x': rules[0], 'y': rules[1]})


def test_markets_are_units_of_a_confidence_set():
  """Of equally good methods on few markets one is rarely found worse."""
  rng = np.random.default_rng(0)
  out = 0
  for trial in range(60):
    values = 0.2 * rng.normal(size=(10, 4)) + rng.normal(size=(10, 1))
    named = {str(i): values[:, i] for i in range(4)}
    found = comparison.confidence_set(
      named, lag=None, level=0.9, num_samples=200, seed=trial
    )
    assert found.days == 10
    out += len(found.included) < 4
  assert out <= 10  # 6 of 60 are expected.
  worse = named | {'0': values[:, 0] - 1.0}
  found = comparison.confidence_set(worse, lag=None, level=0.9)
  assert '0' not in found.included and found.p_values['0'] < 0.05
  with pytest.raises(ValueError, match='4 independent units: 5 or more'):
    comparison.confidence_set(
      {name: each[:4] for name, each in named.items()}, lag=None
    )


def test_the_mean_of_seeds_is_by_day():
  first = make_entry('a', 0, daily(0, 0.0))
  later = first._replace(dates=DATES[1:], ic=first.ic[1:] + 2)
  mean = bench.mean_daily([first, later])
  assert isinstance(mean, pd.Series) and len(mean) == DAYS
  assert mean.iloc[0] == first.ic[0]
  np.testing.assert_allclose(mean.iloc[1:], first.ic[1:] + 1)
