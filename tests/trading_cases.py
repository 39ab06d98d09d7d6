"""Panels, signals and rules that the tests of the backtest share."""

import numpy as np

from alphajax.data import panel as panel_lib
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
