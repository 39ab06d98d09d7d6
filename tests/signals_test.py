"""Decay, persistence, groups and coverage of a signal against slow loops."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pandas as pd
import pytest
from scipy import stats

from alphajax import judge
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import metrics
from alphajax.judge import figures, series, signals

T, S = 150, 40
DAYS = ('2020-02-03', '2020-07-10')


@functools.cache
def market():
  """A messy panel, and a signal with gaps, ties and bad days."""
  features, members = oracle.messy_panel(3, T, S)
  dates = [str(d.date()) for d in pd.bdate_range('2020-01-01', periods=T)]
  symbols = [f's{i}' for i in range(S)]
  members = members & (np.random.default_rng(1).random((T, S)) < 0.98)
  members[30] = False
  members[31] = False
  members[31, 8] = True  # One stock alone.
  panel = panel_lib.make(
    np.stack(list(features.values())), members, dates, symbols
  )
  rng = np.random.default_rng(0)
  level = np.cumsum(rng.normal(size=(T, S)), 0)
  signal = level + 5 * rng.normal(size=S)
  signal[:, ::4] = np.round(signal[:, ::4])  # Ties.
  signal[rng.random((T, S)) < 0.05] = np.nan
  signal[40] = np.nan
  signal[41] = 3.0
  signal[42, 9:] = np.nan
  signal[43, 10] = np.inf
  return panel, signal.astype(np.float32)


def seen(panel, signal, t):
  return np.flatnonzero(panel.mask[t] & np.isfinite(signal[t]))


def groups_of(panel, signal, groups):
  """{stock: group} of each day, from the definition."""
  found = []
  for t in range(T):
    stocks = seen(panel, signal, t)
    place = stats.rankdata(signal[t, stocks]) - 1 if stocks.size else []
    day, n = {}, len(stocks)
    for stock, i in zip(stocks, place, strict=True):
      if n >= groups:
        edges = [k * (n - 1) / groups for k in range(1, groups + 1)]
        day[stock] = next(k for k, edge in enumerate(edges) if i <= edge + 1e-9)
    found.append(day)
  return found


@pytest.mark.parametrize('groups', [2, 5, 10])
def test_groups_from_their_definition(groups):
  panel, signal = market()
  rank = signals.ranks(signal, panel.mask)
  found = np.asarray(signals.quantile_groups(rank, groups))
  expected = np.full((T, S), -1)
  for t, day in enumerate(groups_of(panel, signal, groups)):
    expected[t, list(day)] = list(day.values())
  np.testing.assert_array_equal(found, expected)
  assert (expected[[30, 31, 40]] == -1).all() and expected.max() == groups - 1
  if groups == 10:
    assert (expected[42] == -1).all()  # Nine stocks.


@pytest.mark.parametrize('groups', [5, 10])
@pytest.mark.parametrize('num', [10, 41, 301])
def test_groups_of_distinct_values_are_those_of_pandas(groups, num):
  values = np.random.default_rng(num).normal(size=(20, num)).astype(np.float32)
  rank = signals.ranks(values, np.ones(values.shape, bool))
  found = np.asarray(signals.quantile_groups(rank, groups))
  for row, each in zip(values.astype(float), found, strict=True):
    np.testing.assert_array_equal(each, pd.qcut(row, groups, labels=False))


@pytest.mark.parametrize('groups', [5, 10])
def test_quantile_returns(groups):
  panel, signal = market()
  label = LabelSpec(1, 6)
  found = judge.quantile_returns(signal, panel, groups, label=label, days=DAYS)
  target = np.asarray(panel_lib.forward_return(panel, label), float)
  expected, whole = np.full((groups, T), np.nan), np.full(T, np.nan)
  for t, day in enumerate(groups_of(panel, signal, groups)):
    labelled = [s for s in day if np.isfinite(target[t, s])]
    for g in range(groups):
      own = [target[t, s] for s in labelled if day[s] == g]
      expected[g, t] = np.mean(own) if own else np.nan
    whole[t] = np.mean(target[t, labelled]) if labelled else np.nan
  np.testing.assert_allclose(found.daily, expected, atol=1e-6)
  np.testing.assert_allclose(found.market, whole, atol=1e-6)
  assert np.isnan(found.daily[:, -6:]).all()
  days = (np.array(panel.dates) >= DAYS[0]) & (np.array(panel.dates) <= DAYS[1])
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    means = np.nanmean(expected[:, days], 1)
  np.testing.assert_allclose(found.mean, means, atol=1e-6)
  spread = expected[-1] - expected[0]
  np.testing.assert_allclose(found.spread, spread, atol=2e-6)
  known = spread[days & ~np.isnan(spread)]
  interval = metrics.mean_interval(known, 4)
  np.testing.assert_allclose(found.spread_mean[:3], interval, atol=1e-5)
  assert found.spread_mean.days == len(known) < days.sum()
  rho = stats.spearmanr(range(groups), means).statistic
  assert found.monotonicity == pytest.approx(rho)
  excess = [np.nanmean((row - whole)[days]) for row in expected]
  np.testing.assert_allclose([e.mean for e in found.excess], excess, atol=1e-6)


def test_a_signal_that_knows_the_return_is_monotone():
  panel, _ = market()
  target = np.asarray(panel_lib.forward_return(panel, LabelSpec(0, 5)))
  found = judge.quantile_returns(target, panel, 5, label=LabelSpec(0, 5))
  assert found.monotonicity == pytest.approx(1) and found.spread_mean.low > 0
  reverse = judge.quantile_returns(-target, panel, 5, target=target)
  assert reverse.monotonicity == pytest.approx(-1)
  assert reverse.spread_mean.high < 0


@pytest.mark.parametrize('lag', [1, 5])
def test_rank_autocorrelation(lag):
  panel, signal = market()
  found = signals.rank_autocorrelation(signal, panel, lag)
  expected = np.full(T, np.nan)
  for t in range(lag, T):
    ranks = [
      dict(zip(stocks, stats.rankdata(signal[day, stocks]), strict=True))
      for day in (t, t - lag)
      for stocks in [seen(panel, signal, day)]
    ]
    both = sorted(set(ranks[0]) & set(ranks[1]))
    x, y = ([each[s] for s in both] for each in ranks)
    if len(both) > 1 and len(set(x)) > 1 and len(set(y)) > 1:
      expected[t] = np.corrcoef(x, y)[0, 1]
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert np.isnan(found[[30, 40, 41]]).all() and np.isnan(found[:lag]).all()
  assert np.isfinite(found).sum() > 100


@pytest.mark.parametrize('lag', [1, 5])
def test_turnover(lag):
  panel, signal = market()
  found = judge.turnover(signal, panel, 5, lag)
  days = groups_of(panel, signal, 5)
  expected = np.full((5, T), np.nan)
  for t in range(lag, T):
    for g in range(5):
      now, before = (
        {s for s, own in day.items() if own == g}
        for day in (days[t], days[t - lag])
      )
      if now and before:
        expected[g, t] = len(now - before) / len(now)
  np.testing.assert_allclose(found, expected, atol=1e-6)
  assert np.isfinite(found).sum() > 500


def test_decay():
  panel, signal = market()
  found = judge.decay(
    signal, panel, (1, 20), label=LabelSpec(1, 2, 'open'), days=DAYS
  )
  days = (np.array(panel.dates) >= DAYS[0]) & (np.array(panel.dates) <= DAYS[1])
  price = np.asarray(panel_lib.feature(panel, 'open'), float)
  for horizon, each in found.items():
    target = np.full((T, S), np.nan)
    last = T - 1 - horizon
    target[:last] = price[1 + horizon :] / price[1 : last + 1] - 1
    own = days & ((np.isfinite(target) & panel.mask).sum(1) > 1)
    for name, function in (
      ('ic', oracle.daily_ic), ('rank_ic', oracle.daily_rank_ic)
    ):  # fmt: skip
      daily = function(signal, target, panel.mask)[own]
      interval = metrics.mean_interval(daily, horizon - 1)
      shown = [each[name][key] for key in ('mean', 'low', 'high')]
      np.testing.assert_allclose(shown, interval, atol=1e-5)
      ratio = daily.mean() / daily.std()
      assert each[name.replace('ic', 'icir')] == pytest.approx(ratio, abs=1e-3)
    assert each['days'] == own.sum()
  assert set(found) == {1, 20} and found[20]['days'] < days.sum()


def test_decay_of_many_signals_standardises_the_returns_once():
  panel, signal = market()
  targets = [
    metrics.make_target(each, jnp.asarray(panel.mask))
    for each in signals.returns_over(panel, (1, 5))
  ]
  daily = np.asarray(jax.jit(signals.daily_decay)(signal, targets))
  for row, horizon in zip(daily, (1, 5), strict=True):
    target = panel_lib.forward_return(panel, LabelSpec(0, horizon))
    expected = np.asarray(figures.daily(signal, target, panel.mask))[0]
    np.testing.assert_allclose(row, expected, atol=1e-5)


def test_coverage():
  panel, signal = market()
  found = signals.coverage(signal, panel)
  assert np.isnan(found[30]) and found[40] == 0 and found[41] == 1
  expected = [
    len(seen(panel, signal, t)) / panel.mask[t].sum() for t in range(100, T)
  ]
  np.testing.assert_allclose(found[100:], expected)


def test_the_future_changes_nothing_of_the_past():
  panel, signal = market()
  changed = signal.copy()
  changed[100:] = -changed[100:]
  for function in (
    signals.rank_autocorrelation, judge.turnover, signals.coverage
  ):  # fmt: skip
    before, after = (function(x, panel) for x in (signal, changed))
    np.testing.assert_array_equal(before[..., :100], after[..., :100])


def alphalens_data(panel, signal, target, groups):
  """What alphalens' `get_clean_factor` makes of a signal with labels."""
  utils = pytest.importorskip('alphalens.utils')
  days, stocks = np.nonzero(
    panel.mask & np.isfinite(signal) & np.isfinite(target)
  )
  dates, symbols = pd.to_datetime(np.array(panel.dates)), panel.symbols
  index = pd.MultiIndex.from_arrays(
    [dates[days], np.array(symbols)[stocks]], names=['date', 'asset']
  )
  factor = pd.Series(signal[days, stocks].astype(float), index, name='factor')
  forward = pd.DataFrame({'5D': target[days, stocks].astype(float)}, index)
  return utils.get_clean_factor(factor, forward, quantiles=groups, max_loss=1)


@pytest.mark.parametrize('groups', [5, 10])
def test_against_alphalens(groups):
  performance = pytest.importorskip('alphalens.performance')
  panel, signal = market()
  # Distinct values, and returns wherever there is one: alphalens refuses the
  # first and leaves out what lacks the second. A day of few stocks, it drops.
  noise = np.random.default_rng(5).normal(size=(T, S))
  signal = (signal + noise).astype(np.float32)
  target = np.array(panel_lib.forward_return(panel, LabelSpec(0, 5)))
  signal[~np.isfinite(target)] = np.nan
  signal[[30, 31, 42]] = np.nan
  few = (panel.mask & np.isfinite(signal)).sum(1) < groups
  signal[few] = np.nan
  data = alphalens_data(panel, signal, target, groups)
  # Where a day has no value, alphalens compares with the last that has.
  known = pd.to_datetime(np.array(panel.dates)[~few])
  after = ~few & ~np.roll(few, 1) & (np.arange(T) > 0)
  days = pd.to_datetime(np.array(panel.dates)[after])

  found = judge.quantile_returns(signal, panel, groups, label=LabelSpec(0, 5))
  theirs, _ = performance.mean_return_by_quantile(
    data, by_date=True, demeaned=False
  )
  table = theirs['5D'].unstack('factor_quantile').reindex(known).to_numpy().T
  np.testing.assert_allclose(found.daily[:, ~few], table, atol=1e-6)
  demeaned, _ = performance.mean_return_by_quantile(data, demeaned=True)
  np.testing.assert_allclose(
    [each.mean for each in found.excess], demeaned['5D'], atol=1e-6
  )
  for group in (1, groups):
    share = performance.quantile_turnover(data['factor_quantile'], group)
    ours = judge.turnover(signal, panel, groups)[group - 1, after]
    np.testing.assert_allclose(ours, share.reindex(days), atol=1e-6)
  correlation = performance.factor_rank_autocorrelation(data).reindex(days)
  ours = signals.rank_autocorrelation(signal, panel)[after]
  np.testing.assert_allclose(ours, correlation, atol=1e-5)


def test_by_year_and_month():
  dates = [str(d.date()) for d in pd.bdate_range('2018-11-01', '2019-12-31')]
  daily = np.random.default_rng(0).normal(0.1, 1, len(dates))
  daily[3] = np.nan
  frame = pd.Series(daily, pd.to_datetime(dates))
  years = series.by_period(dates, daily, 4, 'year')
  assert [row['period'] for row in years] == ['2018', '2019']
  for row in years:
    own = frame[row['period']].dropna()
    assert row['mean'] == pytest.approx(own.mean()) and row['days'] == len(own)
    assert row['ratio'] == pytest.approx(own.mean() / own.std(ddof=0))
    interval = metrics.mean_interval(own.to_numpy(), 4)
    np.testing.assert_allclose([row['low'], row['high']], interval[1:])
  months = series.by_period(dates, daily, 19, 'month')
  assert len(months) == 14 and months[2]['period'] == '2019-01'
  assert months[2]['mean'] == pytest.approx(frame['2019-01'].mean())
  assert np.isnan(months[2]['low'])


@pytest.mark.parametrize('name', judge.__all__)
def test_public_names_are_there(name):
  assert callable(getattr(judge, name)) and name in dir(judge)
  with pytest.raises(AttributeError, match="'alphajax.judge' has no attri"):
    _ = judge.dekay


BAD = (
  (lambda p, x: judge.decay(x[:-1], p), r'shape \[149, 40\], but the panel'),
  (lambda p, x: judge.decay(x, p, (5, 0)), 'horizons=.5, 0.: expected whole'),
  (lambda p, x: judge.decay(x, p, (2.5,)), 'whole numbers of days above 0'),
  (lambda p, x: judge.decay(x, p, ()), 'whole numbers of days above 0'),
  (lambda p, x: judge.quantile_returns(x, p, 1), 'groups=1: expected a whole'),
  (lambda p, x: judge.quantile_returns(x, p, 41),
   'groups=41, but no day has more than 3. members'),
  (lambda p, x: judge.turnover(x, p, 41), 'groups=41, but no day'),
  (lambda p, x: judge.turnover(x, p, 5, 0), 'lag=0: expected a whole number'),
  (lambda p, x: judge.turnover(x[:, :3], p), r'has shape \[150, 3\]'),
  (lambda p, x: judge.decay(x, p, days=('2030-01-01', '2030-12-31')),
   'outside the data, which cover 2020-01-01..2020-07-28'),
  (lambda p, x: judge.decay(x, p, days=np.ones(3, bool)),
   r'days is bool\[3\]: expected bool\[150\]'),
  (lambda p, x: series.by_period(p.dates, np.zeros(3), 1), '150 dates for a'),
  (lambda p, x: series.by_period(p.dates, np.zeros(T), 1, 'week'),
   "period='week': expected year or month"),
  (lambda p, x: series.mean(np.zeros(9), 1, judged=0), 'judged=0 series'),
)  # fmt: skip


@pytest.mark.parametrize('call, message', BAD)
def test_bad_input_is_refused_with_what_was_expected(call, message):
  with pytest.raises(ValueError, match=message):
    call(*market())


def test_a_signal_without_any_value():
  panel, signal = market()
  nothing = np.full_like(signal, np.nan)
  found = judge.decay(nothing, panel, (5,))[5]
  assert found['ic']['mean'] == 0 and found['days'] == T - 5 - 2
  assert np.isnan(signals.rank_autocorrelation(nothing, panel)).all()
  with pytest.raises(ValueError, match='more than 0 members with a value'):
    judge.quantile_returns(nothing, panel)


def test_a_span_shorter_than_the_horizon_has_no_figures():
  panel, signal = market()
  found = judge.decay(signal, panel, (40,), days=('2020-06-29', '2020-07-28'))
  assert found[40]['days'] == 0 and np.isnan(found[40]['ic']['mean'])


def test_a_signal_of_other_stocks_has_no_figures():
  panel, signal = market()[:2]
  split = panel_lib.split(panel, 'judged', '2020-02-14', DAYS[1], lookback=5)
  with pytest.raises(ValueError, match=r'expected that of the panel'):
    figures.on_scored_days(np.asarray(signal)[:, :-1], split)
