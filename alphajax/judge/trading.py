"""Backtest: what holding a portfolio by a signal would have earned.

The signal of day t is known after its close and is traded at the open of t + 1.
A day has one round of trades, sales first, so what is bought can be sold a day
later at the earliest: T + 1 holds by construction. Money begins as 1, and
shares are of adjusted prices, not whole lots.
"""

from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.device import put
from alphajax.data.panel import Panel
from alphajax.judge import boards, execution, portfolios, quotes, rules
from alphajax.judge.quotes import DEALS
from alphajax.judge.rules import BASIS_POINT, PAPER, YEAR, BacktestSpec

# Signals in a program: enough that a day's few hundred stocks hide what a step
# of a scan costs, few enough that all they hold stays in a core's cache.
CHUNK = 16
FROZEN = 0.01  # Of the money, in stocks without a price: worth a word.
WORKERS = 2  # Chunks at a time: XLA runs one scan on one core.


class BacktestResult(NamedTuple):
  """What a backtest gives.

  Of `backtest_many` the arrays are `[N, ...]`, but for the benchmark.

  nav: money at the close of each day; it begins as 1.
  returns: nav[t] / nav[t - 1] - 1, after costs; of the first day, from 1; 0
    after a short side has lost all there was.
  benchmark: daily return of what `BacktestSpec.benchmark` says.
  turnover: half of what was bought and sold, over the equity before it: 1 is a
    portfolio exchanged whole.
  weights: held after the trades of day t, as shares of nav[t] at its close;
    negative where short. What they lack of 1 is cash.
  traded: bought (sold: negative) on day t, over the equity before.
  cash: money not in stocks, at the close.
  cost: paid on day t, over the equity before the trades.
  left_index: positions closed since their stock had left the universe.
  left_data: positions paid out at their last price.
  blocked: orders that could not be placed, for want of a price or at a limit.
  frozen: share of nav[t], of either side, in stocks without a price on day t:
    they count at their last one and cannot be sold, see `gone_after`.
  frozen_stocks: how many these are.
  silent: days whose signal had no value for any member: nothing was exchanged.
  notes: what happened, one sentence each.
  """

  nav: np.ndarray  # f64[T]
  returns: np.ndarray  # f64[T]
  benchmark: np.ndarray  # f64[T]
  turnover: np.ndarray  # f64[T]
  weights: np.ndarray | None  # f32[T, S]; None of many signals
  traded: np.ndarray | None  # f32[T, S]; None of many signals
  cash: np.ndarray  # f64[T]
  cost: np.ndarray  # f64[T]
  left_index: np.ndarray  # i32[T]
  left_data: np.ndarray  # i32[T]
  blocked: np.ndarray  # i32[T]
  frozen: np.ndarray  # f64[T]
  frozen_stocks: np.ndarray  # i32[T]
  silent: np.ndarray  # bool[T]
  dates: tuple[str, ...]
  notes: tuple[str, ...]


def backtest(
  signal: jax.Array | np.ndarray,
  panel: Panel,
  spec: BacktestSpec = PAPER,
) -> BacktestResult:
  """Trades a signal `f32[T, S]`, NaN where there is none, on a panel.

  Only members of the universe are bought; a value for others is not read. An
  infinite value is none. Nothing of a day depends on a later one.

  Raises:
    ValueError: a signal of another shape than the panel, a rule that cannot be
      followed, or a panel without the prices that the deal needs.
  """
  signal = np.asarray(signal)
  _check_signal(signal, panel)
  market = _prepare(panel, spec)
  record = _run(signal[:, None], market, spec, True)
  record = jax.tree.map(lambda x: x[0], record)
  silent = _silent(signal[:, None], panel)[0]
  return _result(record, silent, market, panel, spec)


def backtest_many(
  signals: Sequence[jax.Array] | jax.Array | np.ndarray,
  panel: Panel,
  spec: BacktestSpec = PAPER,
) -> BacktestResult:
  """Trades N signals `f32[N, T, S]` apart, each as `backtest` does.

  Weights and what was traded are left out: of 1,000 signals they are gigabytes.
  A sequence of `[T, S]` is never stacked whole.

  Raises:
    ValueError: as `backtest`, or no signal.
  """
  if len(signals) == 0:
    raise ValueError('no signal to backtest')
  for each in signals:
    _check_signal(each, panel)
  market = _prepare(panel, spec)
  size = min(CHUNK, len(signals))

  def chunk(start):
    part = [np.asarray(x) for x in signals[start : start + size]]
    count = len(part)
    part += part[-1:] * (size - count)  # The last one: the program needs all.
    stacked = np.stack(part, 1)
    record = _run(stacked, market, spec, False)
    silent = _silent(stacked, panel)[:count]
    return jax.tree.map(lambda x: x[:count], record), silent

  starts = range(0, len(signals), size)
  with futures.ThreadPoolExecutor(WORKERS) as pool:
    parts = list(pool.map(chunk, starts))
  records = jax.tree.map(lambda *x: np.concatenate(x), *[r for r, _ in parts])
  silent = np.concatenate([s for _, s in parts])
  return _result(records, silent, market, panel, spec)


class _Market(NamedTuple):
  """What all signals share.

  member: bool[T - lag, S], of the days whose signal is traded.
  days: the days of these trades.
  """

  member: np.ndarray
  days: execution.Day
  benchmark: np.ndarray


def _prepare(panel: Panel, spec: BacktestSpec) -> _Market:
  """Checks the rules against the panel and lays out its days."""
  rules.check(spec, panel)
  mask = np.asarray(panel.mask)
  quoted = quotes.make(panel, spec.deal, spec.limits)
  lag = DEALS[spec.deal][1]
  num_days = len(panel.dates)
  member = mask[: num_days - lag]
  slippage = np.full(num_days, BASIS_POINT * spec.slippage)
  duty = BASIS_POINT * _stamp_duty(spec, panel.dates)
  before = np.vstack([quoted.mark[:1], quoted.mark[:-1]])

  def traded(values):  # Of the days with a signal to trade on.
    return put(values[lag:])

  with jax.enable_x64(True):
    days = execution.Day(
      price=traded(quoted.price),
      mark=traded(quoted.mark),
      before=traded(before),
      can_buy=traded(quoted.can_buy),
      can_sell=traded(quoted.can_sell),
      member=put(member),
      gone=traded(quoted.idle >= spec.gone_after),
      unpriced=traded(quoted.idle > 0),
      buy_tax=traded(slippage),
      sell_tax=traded(slippage + duty),
      active=put(np.arange(num_days - lag) % spec.every == 0),
    )
  given = spec.benchmark
  if given is None:
    given = quotes.benchmark(quoted, mask)
  elif isinstance(given, str):
    given = quotes.index_return(panel, given)
  return _Market(member, days, np.asarray(given, np.float64))


def _run(
  signals: np.ndarray, market: _Market, spec: BacktestSpec, keep: bool
) -> execution.Record:
  """Records `[N, T - lag, ...]` of signals `[T, N, S]`, NumPy's."""
  member = market.member[:, None]
  signals = signals[: len(member)].astype(np.float32, copy=False)
  keys = np.where(member & np.isfinite(signals), -signals, np.float32(np.inf))
  with jax.enable_x64(True):
    sizes = portfolios.Sizes(
      top_k=jnp.int32(spec.top_k),
      drop_n=jnp.int32(spec.drop_n),
      rebalance=jnp.bool_(spec.rebalance),
      groups=jnp.int32(spec.groups),
      short=jnp.bool_(spec.short),
    )
    record = execution.simulate(
      keys, np.sort(keys, -1), market.days, sizes, _fees(spec),
      spec.portfolio, keep,
    )  # fmt: skip
    record = jax.device_get(record)
    return jax.tree.map(lambda x: np.swapaxes(x, 0, 1), record)


def _fees(spec: BacktestSpec) -> execution.Fees:
  borrow = BASIS_POINT * spec.borrow_cost / YEAR
  return execution.Fees(
    buy=jnp.float64(BASIS_POINT * spec.buy_cost),
    sell=jnp.float64(BASIS_POINT * spec.sell_cost),
    minimum=jnp.float64(spec.min_fee / spec.capital) if spec.min_fee else None,
    borrow=jnp.float64(borrow) if spec.borrow_cost else None,
  )


def _result(
  record: execution.Record,
  silent: np.ndarray,
  market: _Market,
  panel: Panel,
  spec: BacktestSpec,
) -> BacktestResult:
  """Puts the days before the first trade in front."""
  axis = record.nav.ndim - 1
  lag = len(panel.dates) - record.nav.shape[axis]

  def whole(values, before=0):
    width = [(0, 0)] * values.ndim
    width[axis] = (lag, 0)
    return np.pad(values, width, constant_values=before)

  record = jax.tree.map(whole, record)._replace(
    nav=whole(record.nav, 1.0), cash=whole(record.cash, 1.0)
  )
  before = np.concatenate(
    [np.ones_like(record.nav[..., :1]), record.nav[..., :-1]], -1
  )
  rich = before > 0
  growth = np.where(rich, record.nav / np.where(rich, before, 1.0), 1.0)
  return BacktestResult(
    returns=growth - 1.0,
    benchmark=market.benchmark,
    silent=silent,
    dates=panel.dates,
    notes=_notes(record, silent, panel, spec),
    **record._asdict(),
  )


def _stamp_duty(spec: BacktestSpec, dates: Sequence[str]) -> np.ndarray:
  """Basis points by day, f64[T]."""
  if spec.stamp_duty == 'china':
    return boards.dated(boards.STAMP_DUTY, dates)
  return np.full(len(dates), float(spec.stamp_duty))


def _silent(signals: np.ndarray, panel: Panel) -> np.ndarray:
  """Days on which no member has a value, bool[N, T] of `[T, N, S]`."""
  member = np.asarray(panel.mask)[:, None]
  return ~(np.isfinite(signals) & member).any(-1).T


def _check_signal(signal: jax.Array | np.ndarray, panel: Panel) -> None:
  shape = (len(panel.dates), len(panel.symbols))
  if np.shape(signal) != shape:
    raise ValueError(
      f'the signal has shape {np.shape(signal)}, but the panel has '
      f'{shape[0]} days and {shape[1]} stocks: expected {shape}'
    )
  if signal.dtype.kind not in 'fiu':
    raise ValueError(f'the signal is {signal.dtype}, expected float32')


def _notes(
  record: execution.Record, silent: np.ndarray, panel: Panel, spec: BacktestSpec
) -> tuple[str, ...]:
  """What a reader of the figures should know, summed over all signals."""
  notes = []
  if record.left_index.any():
    notes.append(
      f'{record.left_index.sum()} positions were closed since their stock had '
      'left the universe'
    )
  if record.left_data.any():
    notes.append(
      f'{record.left_data.sum()} positions were paid out at their last price '
      f'after {spec.gone_after} days without one'
    )
  if record.frozen.max(initial=0.0) > FROZEN:
    notes.append(_of_frozen(record, panel.dates))
  if record.blocked.any():
    notes.append(
      f'{record.blocked.sum()} orders could not be placed, for want of a price '
      'or at a price limit'
    )
  ruined = (record.nav <= 0).any(-1)
  if ruined.any():
    notes.append(
      f'{ruined.sum()} accounts were ruined: the short side lost more than '
      'there was, and nothing was opened since'
    )
  if silent.any():
    notes.append(
      f'{silent.sum()} days had no signal for any member: holdings stayed'
    )
  if spec.limits == 'board':
    on_one = [boards.board(symbol) is not None for symbol in panel.symbols]
    if any(on_one) and not all(on_one):
      notes.append(
        f'{len(on_one) - sum(on_one)} of {len(on_one)} stocks are on none of '
        "China's boards and had no price limit"
      )
  few = np.asarray(panel.mask).sum(1) < spec.top_k
  if spec.portfolio == 'top_k' and few.any():
    notes.append(
      f'{few.sum()} days had fewer than top_k={spec.top_k} members: the rest '
      'was cash'
    )
  return tuple(notes)


def _of_frozen(record: execution.Record, dates: Sequence[str]) -> str:
  """How much is held that cannot be sold; of many signals the worst."""
  worst = record.frozen.max(axis=tuple(range(record.frozen.ndim - 1)))
  day = int(worst.argmax())
  end = record.frozen_stocks[..., -1].max()
  what = '1 stock' if end == 1 else f'{end} stocks'
  return (
    f'{100 * worst[-1]:.1f} % of the money is in {what} without a price '
    f'at the end, and {100 * worst[day]:.1f} % was on {dates[day]}: they count '
    'at their last price and cannot be sold'
  )
