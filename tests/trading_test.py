"""The backtest against trading by hand, and what must hold of any."""

import numpy as np
import pytest
import trading_oracle as oracle
from real_data_test import FOLDER

from alphajax import judge
from alphajax.data import market
from alphajax.data import panel as panel_lib
from alphajax.judge import boards, execution, trading
from alphajax.judge.rules import BacktestSpec

T, S = 70, 14
DAYS = np.busday_offset('2020-06-01', np.arange(T), roll='forward').astype(str)
# Boards with limits of 10 %, 10 then 20 %, 20 % and 30 %, and none.
CODES = [
  'SH600000', 'SH600001', 'SZ000001', 'SZ000002', 'SZ300001', 'SZ300002',
  'SH688001', 'SH688002', 'BJ830001', 'AAPL', 'MSFT', 'IBM', 'SH600003',
  'SZ300003',
]  # fmt: skip


def messy_case(seed):
  """A panel with all that goes wrong, and a signal with ties and holes."""
  rng = np.random.default_rng(seed)
  shape = (T, S)
  close = 10 * np.exp(np.cumsum(0.06 * rng.standard_t(3, shape), 0))
  opens = close * np.exp(0.04 * rng.normal(size=shape))
  volume = rng.uniform(1e5, 1e7, shape)
  features = np.stack([opens, opens, close, close, volume, close])
  features[:, rng.random(shape) < 0.04] = np.nan  # Suspended for a day.
  features[0, rng.random(shape) < 0.02] = np.nan  # No open alone.
  features[3, rng.random(shape) < 0.02] = np.nan  # No close alone.
  features[4, rng.random(shape) < 0.02] = 0  # Listed, not traded.
  for s in rng.choice(S, 3, replace=False):
    start = rng.integers(T)
    features[:, start : start + rng.integers(5, T), s] = (
      np.nan
    )  # Gone, or long.
  spells = rng.random((T // 7, S)) < 0.8
  mask = np.repeat(spells, 7, 0)
  signal = rng.normal(size=shape).round(1).astype(np.float32)  # With ties.
  signal[rng.random(shape) < 0.1] = np.nan
  signal[rng.random(shape) < 0.02] = np.inf
  signal[rng.random(T) < 0.06] = np.nan  # Days without any.
  return panel_lib.make(features, mask, DAYS, CODES), signal


def random_spec(seed):
  rng = np.random.default_rng(seed)
  top_k = int(rng.integers(1, 7))
  portfolio = ['top_k', 'top_k', 'quantile', 'signal'][seed % 4]
  return BacktestSpec(
    top_k=top_k,
    drop_n=int(rng.integers(0, top_k + 1)),
    buy_cost=rng.choice([0.0, 5.0, 50.0]),
    sell_cost=rng.choice([0.0, 15.0, 80.0]),
    deal=str(rng.choice(['next_open', 'next_close', 'close'])),
    portfolio=portfolio,
    rebalance=bool(rng.random() < 0.5),
    groups=int(rng.integers(2, 5)),
    short=bool(rng.random() < 0.6),
    every=int(rng.choice([1, 1, 3])),
    stamp_duty=rng.choice([0.0, 10.0]),
    slippage=rng.choice([0.0, 20.0]),
    min_fee=rng.choice([0.0, 5.0]),
    borrow_cost=rng.choice([0.0, 800.0]),
    capital=2e3,
    limits=[None, 'board', 0.05][rng.integers(3)],
    gone_after=int(rng.choice([3, 10, 252])),
  )


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
  nav = np.array([1.0, *expected['nav']])
  rich = nav[:-1] > 0
  returns = (nav[1:] / nav[:-1])[rich] - 1
  np.testing.assert_allclose(result.returns[rich], returns, atol=1e-9)
  assert not result.returns[~rich].any()
  return result, expected


@pytest.mark.parametrize('seed', range(60))
def test_as_by_hand(seed):
  panel, signal = messy_case(seed)
  check(signal, panel, random_spec(seed))


# --- What must hold of any backtest -------------------------------------------


def clean_case(seed=0, spread=0.02):
  """All stocks members and priced on all days; a signal without ties."""
  rng = np.random.default_rng(seed)
  shape = (T, S)
  close = 10 * np.exp(np.cumsum(spread * rng.normal(size=shape), 0))
  opens = close * np.exp(spread / 2 * rng.normal(size=shape))
  features = np.stack([opens, opens, close, close, np.full(shape, 1e6), close])
  mask = np.ones(shape, bool)
  signal = rng.normal(size=shape).astype(np.float32)
  return panel_lib.make(features, mask, DAYS, CODES), signal


FREE = BacktestSpec(top_k=4, drop_n=4, buy_cost=0.0, sell_cost=0.0, limits=None)


def best(signal, count):
  return np.argsort(-signal, axis=1, kind='stable')[:, :count]


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


# --- Rules, one by one --------------------------------------------------------


def test_at_most_drop_n_are_exchanged():
  panel, signal = clean_case()
  result = trading.backtest(
    signal, panel, FREE._replace(top_k=6, drop_n=2, rebalance=False)
  )
  held = result.weights > 0
  come = (held[2:] & ~held[1:-1]).sum(1)
  assert come.max() == 2 and (held[1:].sum(1) == 6).all()
  keep = trading.backtest(
    signal, panel, FREE._replace(drop_n=0, rebalance=False)
  )
  assert (keep.turnover[2:] == 0).all() and keep.turnover[1] == 0.5


def test_what_is_bought_is_not_sold_on_the_day():
  panel, signal = messy_case(4)
  result = trading.backtest(signal, panel, BacktestSpec(top_k=5, drop_n=5))
  held = result.weights != 0
  new = (result.traded > 0)[1:] & ~held[:-1]
  assert new.sum() > 50 and held[1:][new].all()


def price_of(panel, name, day, stock, value):
  features = panel.features.copy()
  features[panel.feature_names.index(name), day, stock] = value
  return panel.replace(features=features)


def test_a_stock_at_its_limit():
  """Stock 0, of Shanghai's main board, opens 10 % up, then 10 % down."""
  panel, signal = clean_case(spread=0.001)
  signal[:] = -np.arange(S)  # Stock 0 is wanted, and after it the first ones.
  close = panel_lib.feature(panel, 'close')
  spec = FREE._replace(top_k=2, drop_n=2, limits='board')
  up = price_of(panel, 'open', 1, 0, close[0, 0] * 1.1)
  result = trading.backtest(signal, up, spec)
  assert list(np.flatnonzero(result.weights[1])) == [1, 2]
  assert list(np.flatnonzero(result.weights[2])) == [0, 1]
  # 20 % is the limit of stock 4, ChiNext, from August 2020 on; 10 % of it not.
  signal[:, 4] = 9
  for day, moves, kept in ((1, 1.1, False), (65, 1.1, True), (65, 1.2, False)):
    moved = price_of(panel, 'open', day, 4, close[day - 1, 4] * moves)
    start = signal.copy()
    start[: day - 1] = np.nan
    held = trading.backtest(start, moved, spec).weights[day, 4] > 0
    assert held == kept, (panel.dates[day], moves)
  # What is held cannot be sold at the lower limit; a day later it can.
  signal[30:, 0], signal[:, 4] = -99, -50
  down = price_of(panel, 'open', 31, 0, close[30, 0] * 0.9)
  result = trading.backtest(signal, down, spec)
  assert (result.weights[30:33, 0] > 0).tolist() == [True, True, False]
  free = trading.backtest(signal, down, spec._replace(limits=None))
  assert (free.weights[30:33, 0] > 0).tolist() == [True, False, False]


def test_a_suspended_stock_waits():
  panel, signal = clean_case()
  signal[:] = -np.arange(S)
  signal[20:, 0] = -99
  features = panel.features.copy()
  features[:, 21:25, 0] = np.nan
  panel = panel.replace(features=features)
  result = trading.backtest(signal, panel, FREE._replace(rebalance=False))
  assert (result.weights[:, 0] > 0).tolist() == [
    False,
    *[True] * 24,
    *[False] * 45,
  ]
  # And is worth its last close meanwhile: its weight moves with the others.
  value = result.weights[20:25, 0] * result.nav[20:25]
  np.testing.assert_allclose(value, value[0], rtol=1e-6)


def test_what_leaves_the_index_is_sold_and_counted():
  panel, signal = clean_case()
  signal[:] = -np.arange(S)
  mask = panel.mask.copy()
  mask[10:, 0] = False
  features = panel.features.copy()
  features[:, 11:13, 0] = np.nan  # No price on the first two days.
  panel = panel.replace(mask=mask, features=features)
  spec = FREE._replace(drop_n=0)  # It goes all the same, and one comes.
  result = trading.backtest(signal, panel, spec)
  assert (result.weights[10:14, 0] > 0).tolist() == [True] * 3 + [False]
  assert np.flatnonzero(result.left_index).tolist() == [13]
  assert result.blocked[11:14].tolist() == [1, 1, 0]
  assert (result.weights[1:] > 0).sum(1).tolist() == [4] * (T - 1)
  assert any('1 positions were closed' in note for note in result.notes)
  every = trading.backtest(signal, panel, spec._replace(every=40))
  assert np.flatnonzero(every.left_index).tolist() == [13]


def test_what_leaves_the_data_is_paid_out_at_its_last_price():
  panel, signal = clean_case()
  signal[:] = -np.arange(S)
  features = panel.features.copy()
  features[:, 11:, 0] = np.nan
  panel = panel.replace(features=features)
  spec = FREE._replace(gone_after=20, rebalance=False)
  result = trading.backtest(signal, panel, spec)
  assert (result.weights[:, 0] > 0).tolist() == [
    False,
    *[True] * 29,
    *[False] * 40,
  ]
  assert np.flatnonzero(result.left_data).tolist() == [30]
  assert any('after 20 days without' in note for note in result.notes)
  # It costs nothing, and the money buys the next one.
  assert result.weights[30, 4] == pytest.approx(result.weights[29, 0], rel=0.1)
  never = trading.backtest(signal, panel, spec._replace(gone_after=252))
  assert never.left_data.sum() == 0 and never.weights[-1, 0] > 0


def test_silent_days_keep_what_is_held():
  panel, signal = clean_case()
  signal[10:15] = np.nan
  signal[12, 3] = np.inf  # No value either.
  result = trading.backtest(signal, panel, FREE)
  assert result.silent.sum() == 5 and result.silent[10:15].all()
  assert (result.turnover[11:16] == 0).all() and (result.turnover[16] > 0)
  assert any('5 days had no signal' in note for note in result.notes)
  nothing = trading.backtest(np.full_like(signal, np.nan), panel, FREE)
  assert (nothing.nav == 1).all() and nothing.silent.all()


def test_fewer_members_than_places_leave_cash():
  panel, signal = clean_case()
  mask = panel.mask.copy()
  mask[20:, 2:] = False
  result = trading.backtest(signal, panel.replace(mask=mask), FREE)
  assert (result.weights[21:] > 0).sum(1).tolist() == [2] * (T - 21)
  assert result.cash[-1] / result.nav[-1] == pytest.approx(0.5, abs=0.02)
  assert any('50 days had fewer than top_k=4' in n for n in result.notes)


def test_a_minimum_fee_by_capital():
  panel, signal = clean_case()
  spec = FREE._replace(deal='close', buy_cost=1.0, min_fee=5.0, capital=1e4)
  result = trading.backtest(signal, panel, spec)
  assert result.cost[0] == pytest.approx(4 * 5 / 1e4)  # Rates would be 1e-4.
  rich = trading.backtest(signal, panel, spec._replace(capital=1e9))
  assert rich.cost[0] == pytest.approx(1e-4, rel=1e-3)


def test_long_and_short_sides():
  panel, signal = clean_case()
  spec = FREE._replace(portfolio='quantile', groups=7, deal='close')
  close = panel_lib.feature(panel, 'close').astype(float)
  change = close[1:] / close[:-1] - 1
  ranked = np.argsort(-signal, axis=1)[:-1]
  sides = [
    np.take_along_axis(change, part, 1).mean(1)
    for part in (ranked[:, :2], ranked[:, -2:])
  ]
  result = trading.backtest(signal, panel, spec)
  expected = [0.0, *(sides[0] - sides[1]) / 2]
  np.testing.assert_allclose(result.returns, expected, atol=1e-12)
  long = trading.backtest(signal, panel, spec._replace(short=False))
  np.testing.assert_allclose(long.returns, [0.0, *sides[0]], atol=1e-12)
  # In proportion to the signal.
  apart = signal.astype(float) - signal.astype(float).mean(1, keepdims=True)
  share = (apart / np.abs(apart).sum(1, keepdims=True))[:-1]
  result = trading.backtest(signal, panel, spec._replace(portfolio='signal'))
  expected = [0.0, *(share * change).sum(1)]
  np.testing.assert_allclose(result.returns, expected, atol=1e-12)
  same = trading.backtest(
    np.ones_like(signal), panel, spec._replace(portfolio='signal')
  )
  assert not same.turnover.any()


def test_borrowing_costs_by_the_day():
  panel, signal = clean_case(spread=1e-6)
  spec = FREE._replace(portfolio='quantile', groups=7, deal='close')
  free = trading.backtest(signal, panel, spec)
  paid = trading.backtest(signal, panel, spec._replace(borrow_cost=504.0))
  drop = np.log(free.nav / paid.nav)
  np.testing.assert_allclose(np.diff(drop), 0.5 * 504e-4 / 252, rtol=1e-3)


def test_a_ruined_account_is_said():
  panel, signal = clean_case()
  signal[:] = -np.arange(S)
  features = panel.features.copy()
  features[:4, 40:, -1] *= 50  # What is short goes up to 50 times its price.
  result = trading.backtest(
    signal,
    panel.replace(features=features),
    FREE._replace(portfolio='quantile', groups=7, deal='close'),
  )
  assert (result.nav[40:] < 0).all() and not result.returns[41:].any()
  assert not (result.weights[42:] != 0).any()
  assert any('1 accounts were ruined' in note for note in result.notes)


def test_the_benchmark_is_all_members_or_what_is_given():
  panel, signal = messy_case(3)
  close = panel_lib.feature(panel, 'close').astype(float)
  result = trading.backtest(signal, panel, FREE._replace(deal='next_close'))
  expected, last = [0.0], dict(enumerate(close[0]))
  for t in range(1, T):
    changes = []
    for s in range(S):
      price = close[t, s] if np.isfinite(close[t, s]) else last[s]
      if panel.mask[t - 1, s] and np.isfinite(last[s]):
        changes.append(price / last[s] - 1)
      last[s] = price
    expected.append(np.mean(changes))
  np.testing.assert_allclose(result.benchmark, expected, atol=1e-12)
  given = trading.backtest(signal, panel, FREE._replace(benchmark=[0.01] * T))
  assert given.benchmark.dtype == np.float64 and (given.benchmark == 0.01).all()


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


# --- Bad input ----------------------------------------------------------------


@pytest.mark.parametrize(
  'changed, message',
  [
    (dict(deal='open'), "unknown deal 'open': one of next_open, next_close"),
    (dict(portfolio='best'), "unknown portfolio 'best': one of top_k, quan"),
    (dict(buy_cost=-1.0), 'buy_cost=-1.0: expected basis points, 0 or more'),
    (dict(slippage=np.nan), 'slippage=nan: expected basis points, 0 or more'),
    (dict(min_fee=-5.0), 'min_fee=-5.0: expected money, 0 or more'),
    (dict(stamp_duty='CN'), "stamp_duty='CN': expected basis points or 'ch"),
    (dict(sell_cost=9e3, slippage=2e3), 'take all that is traded'),
    (dict(top_k=15), r'top_k=15, but the universe has 14 members at most \(14'),
    (dict(portfolio='quantile', groups=15), 'groups=15, but the universe has'),
    (dict(top_k=3, drop_n=4), 'drop_n=4 is more than top_k=3'),
    (dict(top_k=0), 'top_k=0: expected a whole number, 1 or more'),
    (dict(every=0.5), 'every=0.5: expected a whole number, 1 or more'),
    (dict(capital=0.0), 'capital=0.0: expected money above 0'),
    (dict(limits='main'), "limits='main': expected 'board', a share such as"),
    (dict(limits=-0.1), "limits=-0.1: expected 'board', a share such as"),
    (dict(benchmark=[0.0] * 9), r'the benchmark has shape \(9,\), but the pan'),
    (dict(benchmark=[np.nan] * T), 'the benchmark has no value on 70 days'),
  ],
)
def test_rules_that_cannot_be_followed(changed, message):
  panel, signal = clean_case()
  with pytest.raises(ValueError, match=message):
    trading.backtest(signal, panel, FREE._replace(**changed))


def test_signals_that_do_not_fit():
  panel, signal = clean_case()
  expected = r'shape \(70, 13\), but the panel has 70 days and 14 stocks'
  with pytest.raises(ValueError, match=expected):
    trading.backtest(signal[:, :-1], panel, FREE)
  with pytest.raises(ValueError, match=expected):
    trading.backtest_many([signal, signal[:, :-1]], panel, FREE)
  with pytest.raises(ValueError, match=r'shape \(1, 70, 14\)'):
    trading.backtest(signal[None], panel, FREE)
  with pytest.raises(ValueError, match='the signal is bool, expected float32'):
    trading.backtest(signal > 0, panel, FREE)
  with pytest.raises(ValueError, match='no signal to backtest'):
    trading.backtest_many([], panel, FREE)


def test_a_panel_without_the_price_of_the_deal():
  panel, signal = clean_case()
  names = ('first', *panel.feature_names[1:])
  without = panel.replace(feature_names=names)
  with pytest.raises(ValueError, match="needs the feature 'open', and the pan"):
    trading.backtest(signal, without, FREE)
  assert trading.backtest(signal, without, FREE._replace(deal='next_close'))
  features = panel.features.copy()
  features[0] = np.nan
  with pytest.raises(ValueError, match="use deal='next_close'"):
    trading.backtest(signal, panel.replace(features=features), FREE)
  empty = panel.replace(mask=np.zeros_like(panel.mask))
  with pytest.raises(ValueError, match='the universe is empty on every day'):
    trading.backtest(signal, empty, FREE)


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
