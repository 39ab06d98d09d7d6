"""The backtest against trading by hand, and what must hold of any."""

import numpy as np
import pytest
import trading_oracle as oracle

from alphajax.data import panel as panel_lib
from alphajax.judge import boards, trading
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
