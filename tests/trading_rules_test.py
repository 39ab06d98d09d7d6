"""The rules of a backtest one by one, and those that cannot be followed."""

import numpy as np
import pytest
from trading_cases import (
  DAYS,
  FREE,
  S,
  T,
  clean_case,
  messy_case,
)

from alphajax.data import panel as panel_lib
from alphajax.judge import boards, trading
from alphajax.judge.rules import BacktestSpec

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
  on_none = "are on none of China's boards and had no price limit"
  others = sum(boards.board(symbol) is None for symbol in up.symbols)
  assert any(f'{others} of {S} stocks {on_none}' in x for x in result.notes)
  names = ('1', *up.symbols[1:])  # As a table of numbers would have it.
  lost = trading.backtest(signal, up.replace(symbols=names), spec)
  assert any(f'{others + 1} of {S} stocks {on_none}' in x for x in lost.notes)
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
  # What stays frozen to the end is counted and said.
  assert never.frozen_stocks.tolist() == [0] * 11 + [1] * 59
  np.testing.assert_allclose(never.frozen[11:], never.weights[11:, 0], 1e-6)
  share = f'{100 * never.frozen[-1]:.1f} % of the money is in 1 stock without'
  assert any(note.startswith(share) for note in never.notes)
  many = trading.backtest_many([signal] * 2, panel, spec)
  np.testing.assert_array_equal(many.frozen, [result.frozen] * 2)


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


def with_index(panel, level):
  features = np.concatenate([panel.features, level[None].astype(np.float32)])
  names = (*panel.feature_names, 'index')
  return panel.replace(features=features, feature_names=names)


def test_the_benchmark_may_be_a_column():
  panel, signal = clean_case()
  index = np.linspace(100, 120, T)
  level = np.repeat(index[:, None], S, 1)
  level[5] = np.nan  # No index that day.
  level[7, 1:] = np.nan  # Only one stock has a row.
  spec = FREE._replace(benchmark='index')
  result = trading.backtest(signal, with_index(panel, level), spec)
  index[5] = index[4]
  expected = [0.0, *(index[1:] / index[:-1] - 1)]
  np.testing.assert_allclose(result.benchmark, expected, atol=1e-6)
  level[9, 3] *= 1.01
  with pytest.raises(ValueError, match=f'on 1 days, first {DAYS[9]}: expected'):
    trading.backtest(signal, with_index(panel, level), spec)
  level[:] = np.nan
  with pytest.raises(ValueError, match='the feature has no level on any day'):
    trading.backtest(signal, with_index(panel, level), spec)
  with pytest.raises(ValueError, match="unknown feature 'index'; known: open"):
    trading.backtest(signal, panel, spec)


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
