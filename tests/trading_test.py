"""The backtest against trading by hand, and what must hold of any."""

import numpy as np
import pytest
import trading_oracle as oracle
from real_data_test import FOLDER
from trading_cases import (
  FREE,
  S,
  T,
  best,
  clean_case,
  messy_case,
  random_spec,
)

from alphajax import judge
from alphajax.data import market
from alphajax.data import panel as panel_lib
from alphajax.judge import boards, execution, quotes, trading
from alphajax.judge.rules import BacktestSpec


def by_hand(signal, panel, spec):
  limits = np.full(signal.shape, np.inf)
  if spec.limits == 'board':
    limits = boards.limits(panel.symbols, panel.dates)
  elif spec.limits is not None:
    limits[:] = spec.limits
  opens, closes, volumes = (
    panel_lib.feature(panel, name).astype(float).tolist()
    for name in ('open', 'close', 'volume')
  )
  lists = signal.astype(float).tolist(), opens, closes, volumes
  return oracle.simulate(*lists, panel.mask.tolist(), limits.tolist(), spec)


def check(signal, panel, spec):
  """Compares a backtest with one by hand, day by day; returns both."""
  result = trading.backtest(signal, panel, spec)
  expected = by_hand(signal, panel, spec)
  for name in ('nav', 'cash', 'turnover', 'cost'):
    np.testing.assert_allclose(
      getattr(result, name), expected[name], rtol=1e-9, atol=1e-11, err_msg=name
    )
  for name in ('left_index', 'left_data', 'blocked'):
    np.testing.assert_array_equal(getattr(result, name), expected[name], name)
  weights = np.zeros(signal.shape)
  for t, held in enumerate(expected['weights']):
    weights[t, list(held)] = list(held.values())
  np.testing.assert_allclose(result.weights, weights, atol=1e-6)
  read = 'close', quotes.DEALS[spec.deal][0]
  prices = np.isfinite([panel_lib.feature(panel, name) for name in read])
  frozen = np.where(prices.any(0), 0.0, np.abs(weights))
  np.testing.assert_allclose(result.frozen, frozen.sum(1), atol=1e-9)
  rich = result.nav > 0
  np.testing.assert_array_equal(
    result.frozen_stocks[rich], (frozen > 0).sum(1)[rich]
  )
  nav = np.array([1.0, *expected['nav']])
  rich = nav[:-1] > 0
  returns = (nav[1:] / nav[:-1])[rich] - 1
  np.testing.assert_allclose(result.returns[rich], returns, atol=1e-9)
  assert not result.returns[~rich].any()
  return result, expected


@pytest.mark.parametrize('seed', range(60))
def test_as_by_hand(seed):
  panel, signal = messy_case(seed)
  spec = random_spec(seed)
  # As many days are traded by any deal: they share programs.
  days = slice(T - 1 + quotes.DEALS[spec.deal][1])
  check(signal[days], panel_lib.select_days(panel, days), spec)


# --- What must hold of any backtest -------------------------------------------


def test_all_exchanged_without_costs_is_the_mean_return_of_the_best():
  panel, signal = clean_case()
  close = panel_lib.feature(panel, 'close').astype(float)
  change = close[1:] / close[:-1] - 1
  mean = np.take_along_axis(change, best(signal, 4)[:-1], 1).mean(1)
  result = trading.backtest(signal, panel, FREE._replace(deal='close'))
  np.testing.assert_allclose(result.returns, [0.0, *mean], atol=1e-12)
  # At the close of the day after, each set earns the return of a day later.
  mean = np.take_along_axis(change[1:], best(signal, 4)[:-2], 1).mean(1)
  result = trading.backtest(signal, panel, FREE._replace(deal='next_close'))
  np.testing.assert_allclose(result.returns, [0, 0, *mean], atol=1e-12)


def test_at_the_open_the_night_is_of_the_old_and_the_day_of_the_new():
  panel, signal = clean_case()
  opens, close = (
    panel_lib.feature(panel, name).astype(float) for name in ('open', 'close')
  )
  chosen = best(signal, 4)
  nav = [1.0]
  for t in range(1, T):
    night = 1.0
    if t > 1:
      old = chosen[t - 2]
      day = close[t - 1, old] / opens[t - 1, old]
      night = (day * opens[t, old] / close[t - 1, old]).mean() / day.mean()
    new = chosen[t - 1]
    nav.append(nav[-1] * night * (close[t, new] / opens[t, new]).mean())
  result = trading.backtest(signal, panel, FREE)
  np.testing.assert_allclose(result.nav, nav, rtol=1e-12)
  assert ((result.weights > 0).sum(1) == [0, *[4] * (T - 1)]).all()


def test_costs_are_what_the_rates_say():
  panel, signal = clean_case()
  spec = FREE._replace(deal='close', buy_cost=30.0, sell_cost=70.0)
  result = trading.backtest(signal, panel, spec)
  bought = np.maximum(result.traded, 0).sum(1)
  sold = np.maximum(-result.traded, 0).sum(1)
  expected = 30e-4 * bought + 70e-4 * sold
  np.testing.assert_allclose(result.cost, expected, atol=1e-8)
  np.testing.assert_allclose(result.turnover, (bought + sold) / 2, atol=1e-7)
  assert result.nav[0] == pytest.approx(1 / 1.003, rel=1e-12)
  # Slippage and duty come on top of the same amounts.
  more = spec._replace(buy_cost=10.0, sell_cost=40.0, slippage=20.0)
  same = trading.backtest(signal, panel, more._replace(stamp_duty=10.0))
  np.testing.assert_allclose(same.nav, result.nav, rtol=1e-12)


def test_the_stamp_duty_of_china_was_halved():
  panel, signal = clean_case()
  days = np.busday_offset('2023-08-28', np.arange(T) - 30, roll='forward')
  panel = panel.replace(dates=tuple(days.astype(str)))
  china = FREE._replace(deal='close', stamp_duty='china')
  result = trading.backtest(signal, panel, china)
  sold = np.maximum(-result.traded, 0).sum(1)
  rate = np.where(np.array(panel.dates) < '2023-08-28', 10e-4, 5e-4)
  np.testing.assert_allclose(result.cost, rate * sold, atol=1e-9)
  assert rate[29] == 10e-4 and rate[30] == 5e-4


def test_nothing_is_lost():
  """What was traded and paid explains cash and positions on every day."""
  for seed in range(0, 24, 3):
    panel, signal = messy_case(seed)
    spec = random_spec(seed)._replace(borrow_cost=0.0)
    result = trading.backtest(signal, panel, spec)
    stocks = result.nav - result.cash
    np.testing.assert_allclose(
      result.weights.sum(1) * result.nav, stocks, atol=2e-6
    )
    if spec.portfolio == 'top_k' or not spec.short:
      assert (result.cash >= 0).all() and (result.weights >= 0).all()
    assert (result.cost >= 0).all() and (result.turnover >= 0).all()


def test_all_cash_is_spent_and_never_more():
  panel, signal = clean_case()
  result = trading.backtest(signal, panel, FREE._replace(buy_cost=50.0))
  assert (result.cash >= 0).all()
  assert result.cash[1:].max() < 1e-15


@pytest.mark.parametrize('seed', [0, 1, 2, 3, 5, 6])
def test_the_future_changes_no_past_day(seed):
  panel, signal = messy_case(seed)
  spec = random_spec(seed)
  past = trading.backtest(signal, panel, spec)
  other, noise = messy_case(seed + 100)
  day = 37
  features, mask = panel.features.copy(), panel.mask.copy()
  features[:, day:], mask[day:] = other.features[:, day:], other.mask[day:]
  changed = signal.copy()
  changed[day:] = noise[day:]
  future = trading.backtest(
    changed, panel.replace(features=features, mask=mask), spec
  )
  assert (future.nav != past.nav).any()
  for name in result_arrays(past):
    first, second = getattr(past, name), getattr(future, name)
    np.testing.assert_array_equal(first[:day], second[:day], name)


def result_arrays(result):
  return [
    name for name, x in result._asdict().items() if isinstance(x, np.ndarray)
  ]


@pytest.mark.parametrize('portfolio', ['top_k', 'quantile', 'signal'])
def test_many_are_as_one_by_one(portfolio):
  panel, _ = messy_case(0)
  signals = np.stack([messy_case(seed)[1] for seed in range(5)])
  spec = BacktestSpec(top_k=4, drop_n=2, portfolio=portfolio, groups=3)
  together = trading.backtest_many(signals, panel, spec)
  assert together.nav.shape == (5, T) and together.weights is None
  for i, signal in enumerate(signals):
    alone = trading.backtest(signal, panel, spec)
    for name in set(result_arrays(together)) - {'benchmark'}:
      np.testing.assert_allclose(
        getattr(together, name)[i], getattr(alone, name), atol=1e-13
      )
  np.testing.assert_array_equal(together.benchmark, alone.benchmark)


def test_many_in_chunks(monkeypatch):
  panel, _ = messy_case(0)
  signals = [messy_case(seed)[1] for seed in range(5)]
  spec = BacktestSpec(top_k=4, drop_n=2)
  whole = trading.backtest_many(signals, panel, spec)
  monkeypatch.setattr(trading, 'CHUNK', 2)  # The last one is half empty.
  parts = trading.backtest_many(signals, panel, spec)
  for name in result_arrays(whole):
    np.testing.assert_allclose(
      getattr(parts, name), getattr(whole, name), atol=1e-13
    )
  assert parts.notes == whole.notes


def test_other_numbers_do_not_compile():
  panel, signal = clean_case()
  trading.backtest(signal, panel, FREE)
  compiled = execution.simulate._cache_size()
  for changed in (
    dict(top_k=3, drop_n=1), dict(buy_cost=7.0, slippage=3.0),
    dict(deal='next_close', limits=0.1), dict(rebalance=False, every=2),
  ):  # fmt: skip
    trading.backtest(signal * 2, panel, FREE._replace(**changed))
  assert execution.simulate._cache_size() == compiled


def test_the_contract():
  assert judge.backtest is trading.backtest
  assert judge.BacktestSpec is BacktestSpec
  panel, signal = clean_case()
  result = judge.backtest(signal, panel, judge.BacktestSpec(top_k=4, drop_n=1))
  assert isinstance(result, judge.BacktestResult)
  for name in ('nav', 'returns', 'benchmark', 'turnover'):
    values = getattr(result, name)
    assert values.dtype == np.float64 and values.shape == (T,)
  assert result.weights.dtype == np.float32
  assert result.weights.shape == (T, S)
  assert judge.BacktestSpec().top_k == 60 and judge.BacktestSpec().drop_n == 5
  assert judge.BacktestSpec().deal == 'next_open'


def test_a_single_day():
  panel, signal = clean_case()
  day = panel_lib.select_days(panel, slice(0, 1))
  result = trading.backtest(signal[:1], day, FREE)
  assert result.nav.tolist() == [1.0] and result.turnover.tolist() == [0.0]


# --- Real panels --------------------------------------------------------------


@pytest.mark.parametrize('name', ['cn_csi300', 'us_sp500'])
def test_a_real_panel_as_by_hand(name, tmp_path):
  path = FOLDER / f'{name}.parquet'
  if not path.is_file():
    pytest.skip(f'no file {path}')
  panel = market.load(
    path, start='2015-06-01', end='2015-08-31', cache_dir=tmp_path
  )
  # Last week's losers: what stood at its limits in the summer of 2015.
  close = panel_lib.feature(panel, 'close')
  signal = np.full_like(close, np.nan)
  signal[5:] = 1 - close[5:] / close[:-5]
  spec = BacktestSpec(top_k=60, drop_n=5, gone_after=40)
  result, _ = check(signal, panel, spec)
  held = (result.weights[7:] > 0).sum(1)
  assert (held == 60).all()
  if name == 'cn_csi300':
    assert result.blocked.sum() > 100
