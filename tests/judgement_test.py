"""What a page needs of a signal: its sheet, its backtest, and where not why."""

import functools
import json

import numpy as np
import oracle
import pandas as pd
import pytest

from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.judge import (
  judgement,
  performance,
  selection,
  sheet,
  trading,
)
from alphajax.judge.rules import BacktestSpec

T, S, WARM = 300, 24, 60
LABEL = LabelSpec(1, 6)


@functools.cache
def case():
  """A messy split, and a signal that ends three days before it does."""
  features, members = oracle.messy_panel(9, T, S)
  dates = [str(d.date()) for d in pd.bdate_range('2018-06-01', periods=T)]
  names = [f's{i}' for i in range(S)]
  planes = np.stack(list(features.values()))
  panel = panel_lib.make(planes, members, dates, names)
  split = panel_lib.split(
    panel, 'test', dates[WARM], dates[-1], lookback=WARM, label=LABEL
  )
  rng = np.random.default_rng(0)
  signal = 0.03 * rng.normal(size=(T, S)) + np.nan_to_num(split.target)
  signal[-3:] = np.nan
  return split, signal.astype(np.float32)


@functools.cache
def found():
  split, signal = case()
  return judgement.judgement(signal, split, LABEL, judged=7)


def test_json_holds_the_figures():
  figures, _ = found()
  assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_the_sheet_is_the_tear_sheet_and_its_days_stand_apart():
  split, signal = case()
  expected = sheet.tear_sheet(signal, split, LABEL, judged=7)
  daily = expected.pop('daily')
  figures, arrays = found()
  assert figures['sheet'] == expected
  assert figures['sheet']['figures']['of_judged']['judged'] == 7
  np.testing.assert_array_equal(arrays['dates'], daily['dates'])
  for name in ('ic', 'coverage', 'left_ic', 'spread_10', 'turnover_5_1'):
    np.testing.assert_array_equal(arrays[name], np.array(daily[name], float))


def test_the_backtest_is_of_the_scored_days_and_a_fifth_of_the_members():
  split, signal = case()
  figures, arrays = found()
  traded = figures['backtest']
  days = slice(WARM, T - 3)
  panel = panel_lib.select_days(split.panel, days)
  usual = int(np.median(np.asarray(panel.mask).sum(1)))
  top_k = usual // 5
  spec = BacktestSpec(top_k=top_k, drop_n=1)
  assert (traded['spec']['top_k'], traded['spec']['drop_n']) == (top_k, 1)
  assert traded['notes'][0] == (
    f'the universe has {usual} members on the median day and not more than '
    f'top_k=60: {top_k} were held, 1 exchanged a day'
  )
  result = trading.backtest(signal[days], panel, spec)
  np.testing.assert_array_equal(arrays['backtest_dates'], result.dates)
  np.testing.assert_array_equal(arrays['backtest_nav'], result.nav)
  np.testing.assert_array_equal(arrays['backtest_turnover'], result.turnover)
  growth = np.cumprod(1 + result.benchmark)
  np.testing.assert_array_equal(arrays['backtest_benchmark'], growth)
  summary = performance.summary(result)
  assert traded['days'] == summary['days']
  assert traded['drawdown'] == summary['max_drawdown']._asdict()
  assert traded['figures']['sharpe'] == summary['sharpe']._asdict()
  assert arrays['backtest_drawdown'].min() == traded['drawdown']['depth']
  day = int(result.frozen.argmax())
  assert traded['frozen'] == {
    'end': result.frozen[-1], 'stocks': result.frozen_stocks[-1],
    'most': result.frozen[day], 'day': result.dates[day],
  }  # fmt: skip
  # Every rule is told.
  assert traded['spec'] == spec._asdict()
  given = spec._replace(benchmark=np.zeros(3))
  assert judgement.plain_rules(given)['benchmark'] == 'returns that were given'


def test_years_multiply_to_the_whole():
  figures, arrays = found()
  rows = figures['backtest']['years']
  assert [row['period'] for row in rows] == ['2018', '2019']
  for key, nav in (('portfolio', 'nav'), ('benchmark', 'benchmark')):
    whole = np.prod([1 + row[key] for row in rows])
    assert whole == pytest.approx(arrays[f'backtest_{nav}'][-1])
  for row in rows:
    assert row['excess'] == row['portfolio'] - row['benchmark']
    assert -1 < row['drawdown'] < 0 < row['turnover'] < 1
  held = arrays['backtest_turnover'].nonzero()[0][
    0
  ]  # The first day trades not.
  assert held == 1
  assert sum(row['days'] for row in rows) == len(arrays['backtest_nav']) - held


def test_the_sharpe_ratio_is_that_of_the_best_of_seven():
  figures, arrays = found()
  nav, other = (
    np.append(1.0, arrays[f'backtest_{name}']) for name in ('nav', 'benchmark')
  )
  excess = (nav[1:] / nav[:-1] - other[1:] / other[:-1])[1:]
  best = figures['backtest']['deflated']
  sharpe = excess.mean() / excess.std(ddof=1)
  assert best['sharpe'] == pytest.approx(np.sqrt(252) * sharpe)
  expected = selection.deflated_sharpe(excess, 7)
  assert best['threshold'] == pytest.approx(np.sqrt(252) * expected.threshold)
  assert best['probability'] == pytest.approx(expected.probability)
  assert best['judged'] == 7


def test_days_before_the_first_trade_count_for_nothing():
  split, signal = case()
  late = signal.copy()
  late[: WARM + 100] = np.nan
  days = slice(WARM, T - 3)
  panel = panel_lib.select_days(split.panel, days)
  spec = BacktestSpec(top_k=5, drop_n=2)
  result = trading.backtest(late[days], panel, spec)
  assert not result.turnover[:101].any() and result.turnover[101] > 0
  excess = (result.returns - result.benchmark)[101:]
  expected = selection.deflated_sharpe(excess, 7)
  found = judgement.deflated(result, 7)
  assert found['sharpe'] == pytest.approx(np.sqrt(252) * expected.sharpe)
  assert found['probability'] == pytest.approx(expected.probability)
  rows = judgement.years(result)
  assert sum(row['days'] for row in rows) == len(excess)
  whole = np.prod([1 + row['benchmark'] for row in rows])
  assert whole == pytest.approx(np.prod(1 + result.benchmark[101:]))
  nothing = trading.backtest(np.full_like(late[days], np.nan), panel, spec)
  assert judgement.deflated(nothing, 7) is None
  assert judgement.years(nothing) == []


def test_no_sharpe_ratio_of_a_portfolio_that_is_its_benchmark():
  split, signal = case()
  days = slice(WARM, T - 3)
  panel = panel_lib.select_days(split.panel, days)
  result = trading.backtest(signal[days], panel, BacktestSpec(top_k=5))
  same = result._replace(returns=result.benchmark)
  assert judgement.deflated(same, 3) is None


def test_rules_fit_small_universes_alone():
  panel = case()[0].panel
  spec = BacktestSpec(top_k=5, drop_n=2)
  assert judgement.fitted(spec, panel) == (spec, [])
  by_groups = BacktestSpec(portfolio='quantile')
  assert judgement.fitted(by_groups, panel) == (by_groups, [])
  with pytest.raises(ValueError, match='buy_cost=-1.0: expected basis points'):
    judgement.check_rules(spec._replace(buy_cost=-1.0), panel)
  large = BacktestSpec(drop_n=0)
  held, (note,) = judgement.fitted(large, panel)
  assert held.top_k == 4 and held.drop_n == 0 and '4 were held' in note
  judgement.check_rules(large, panel)
  with pytest.raises(ValueError, match='top_k=60, but the universe has 22'):
    judgement.check_rules(large, panel, {'top_k': 60})


def test_a_benchmark_that_is_no_index_is_refused_before_days_are_opened():
  panel = case()[0].panel
  with pytest.raises(ValueError, match="benchmark='close' differs between"):
    judgement.check_rules(BacktestSpec(top_k=5, benchmark='close'), panel)


def test_says_why_there_is_no_backtest():
  split, signal = case()
  silent = np.where(np.isfinite(signal), np.nan, signal)
  figures, arrays = judgement.judgement(silent, split, LABEL)
  assert figures['backtest'] == {
    'missing': f'0 days with something held, of {T - WARM}: figures need two '
    'or more'
  }
  assert not any(name.startswith('backtest') for name in arrays)
  assert figures['sheet']['figures']['coverage'] == 0
