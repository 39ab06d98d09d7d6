"""Seconds that the backtests of many signals take."""

import time
from pathlib import Path

import numpy as np

from alphajax.data import market
from alphajax.judge import trading
from scripts.benchmark import tools

SIGNALS, DISTINCT = 1000, 50
DAYS, STOCKS = 969, 423  # CSI 300, 2021-2024.


def backtest_part(quick: bool, data: str) -> dict:
  """The paper's top-k/drop-n of slow signals with holes, on the test span."""
  path = Path(data) / 'cn_csi300.parquet'
  if quick or not path.is_file():
    panel = tools.synthetic(*((60, 100) if quick else (DAYS, STOCKS)))
  else:
    panel = market.load(path, start='2021-01-01', end='2024-12-31')
  count = 40 if quick else SIGNALS
  distinct = _signals(panel.mask.shape, min(count, DISTINCT))
  signals = [distinct[i % len(distinct)] for i in range(count)]
  spec = trading.PAPER
  trading.backtest_many(signals[: 2 * trading.CHUNK], panel, spec)  # Compiles.
  seconds, busy = [], []
  for _ in range(1 if quick else 3):
    start, used = time.perf_counter(), time.process_time()
    trading.backtest_many(signals, panel, spec)
    seconds.append(time.perf_counter() - start)
    busy.append(time.process_time() - used)
  start = time.perf_counter()
  trading.backtest(signals[0], panel, spec)  # With weights; compiles.
  first = time.perf_counter() - start
  start = time.perf_counter()
  trading.backtest(signals[0], panel, spec)
  return {
    'signals': count,
    'days_stocks': panel.mask.shape,
    'seconds': tools.summary(seconds),
    'core_seconds': tools.summary(busy),
    'one': {'first': first, 'seconds': time.perf_counter() - start},
  }


def _signals(shape: tuple[int, int], count: int) -> np.ndarray:
  """Each remembers nine tenths of the day before; 3 % are missing."""
  rng = np.random.default_rng(0)
  values = rng.standard_normal((count, *shape), np.float32)
  for t in range(1, shape[0]):
    values[:, t] += np.float32(0.9) * values[:, t - 1]
  values[rng.random(values.shape, np.float32) < 0.03] = np.nan
  return values
