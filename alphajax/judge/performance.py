"""Figures of a return series: what a backtest earned, risked and could bear.

Annual figures count 252 days. Intervals are percentiles of a stationary block
bootstrap, whose blocks keep what one day has to do with the next; days of
portfolio, benchmark, turnover and cost are drawn together. Depth and length of
a drawdown have none: they hang on the order of all days, which blocks do not
keep.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.judge.rules import BASIS_POINT, YEAR
from alphajax.judge.trading import BacktestResult

LEVEL = 0.95
RESAMPLINGS = 1000
# A series is constant when it varies by less than this share of its mean.
CONSTANT = 1e-9
AMOUNT_DAYS = 20  # Whose mean is what a stock usually trades.


class Figure(NamedTuple):
  """A figure with its interval; None where it is not defined."""

  value: float | None
  low: float | None = None
  high: float | None = None


class Drawdown(NamedTuple):
  """The deepest fall of a NAV from its highest point so far.

  depth: below 0, a share of the NAV at `peak`; 0 of one that never falls.
  peak, trough, recovery: days; peak is None where the fall begins with the
    first day, recovery where the NAV has not come back.
  days: from peak to recovery or to the end.
  """

  depth: float
  peak: str | None
  trough: str | None
  recovery: str | None
  days: int


class Capacity(NamedTuple):
  """Money that could have been traded.

  capital: at the start of the backtest; None where nothing was traded.
  unknown: share of what was traded, of stocks whose amount is not known; they
    are left out.
  """

  capital: float | None
  unknown: float


def point(
  returns: np.ndarray,
  benchmark: np.ndarray,
  turnover: np.ndarray,
  cost: np.ndarray,
  risk_free: float = 0.0,
) -> dict[str, np.ndarray]:
  """Figures of daily series `[..., T]`, each `[...]`; NaN where not defined.

  annual_return: compounded. volatility: of a year, n - 1 in the denominator.
  sharpe, sortino: of what is above the risk-free rate; sortino divides by the
    root mean square of what falls short of it.
  hit_rate: days above 0, of those that are not 0.
  benchmark_return, excess_return: of a year, and what the portfolio has more.
  information_ratio: of a year, of the daily excess over the benchmark.
  turnover: of a day, 1 is a portfolio exchanged whole. cost: of a year, paid.
  break_even: basis points of what is traded, either side, that would take the
    whole excess over the benchmark, before costs, on average.

  Args:
    risk_free: of a year.
  """
  returns, benchmark = np.asarray(returns), np.asarray(benchmark)
  above = returns - ((1.0 + risk_free) ** (1.0 / YEAR) - 1.0)
  excess = returns - benchmark
  below = np.sqrt(np.mean(np.square(np.minimum(above, 0.0)), -1))
  moved = np.sum(returns != 0, -1)
  traded = 2.0 * np.mean(turnover, -1)
  gross = np.mean(excess + cost, -1)
  annual, of_benchmark = _annual(returns), _annual(benchmark)
  return {
    'annual_return': annual,
    'volatility': np.sqrt(YEAR) * _deviation(returns),
    'sharpe': np.sqrt(YEAR) * _ratio(np.mean(above, -1), _spread(above)),
    'sortino': np.sqrt(YEAR) * _ratio(np.mean(above, -1), below),
    'hit_rate': _ratio(np.sum(returns > 0, -1), moved),
    'benchmark_return': of_benchmark,
    'excess_return': annual - of_benchmark,
    'information_ratio': np.sqrt(YEAR)
    * _ratio(np.mean(excess, -1), _spread(excess)),
    'turnover': traded / 2.0,
    'cost': YEAR * np.mean(cost, -1),
    'break_even': _ratio(gross, traded) / BASIS_POINT,
  }


def summary(
  result: BacktestResult,
  *,
  risk_free: float = 0.0,
  resamplings: int = RESAMPLINGS,
  seed: int = 0,
) -> dict[str, Any]:
  """Everything about one backtest: `Figure`s by name, and its `Drawdown`.

  From the day of the first trade on: before it nothing is held. Besides those
  of `point` there are `max_drawdown`, `calmar`, the annual return over the
  depth of the drawdown, and the number of `days`.

  Args:
    risk_free: of a year.
    resamplings: of the bootstrap; 0 leaves the intervals out.
    seed: of the bootstrap.

  Raises:
    ValueError: several signals, a NAV that fell to 0, fewer than two days
      with something held, or a rate of -1 or below.
  """
  series = _series(result, risk_free)
  values = _point(series, risk_free)
  bounds = _intervals(series, risk_free, resamplings, seed)
  figures: dict[str, Any] = {
    name: Figure(_number(value), *map(_number, bounds.get(name, ())))
    for name, value in values.items()
  }
  fall = drawdown(series[0], result.dates[-series.shape[1] :])
  ratio = values['annual_return'] / -fall.depth if fall.depth else np.nan
  figures |= {'max_drawdown': fall, 'calmar': Figure(_number(ratio))}
  return figures | {'days': series.shape[1]}


def drawdown_series(returns: np.ndarray) -> np.ndarray:
  """NAV over its highest so far, its start counted, less 1; `[..., T]`."""
  nav = np.cumprod(1.0 + np.asarray(returns, np.float64), -1)
  highest = np.maximum.accumulate(np.maximum(nav, 1.0), -1)
  return nav / highest - 1.0


def drawdown(returns: np.ndarray, dates: Sequence[str]) -> Drawdown:
  """The deepest drawdown of a return series f64[T] with its dates."""
  falls = drawdown_series(returns)
  trough = int(np.argmin(falls))
  if falls[trough] >= 0:
    return Drawdown(0.0, None, None, None, 0)
  tops = np.flatnonzero(falls[:trough] == 0)
  peak = int(tops[-1]) if tops.size else -1  # The money of the start.
  back = np.flatnonzero(falls[trough:] == 0)
  end = trough + int(back[0]) if back.size else len(falls) - 1
  return Drawdown(
    depth=float(falls[trough]),
    peak=dates[peak] if tops.size else None,
    trough=dates[trough],
    recovery=dates[end] if back.size else None,
    days=end - peak,
  )


def capacity(
  result: BacktestResult,
  panel: Panel,
  *,
  participation: float = 0.05,
  share: float = 0.9,
) -> Capacity:
  """Capital at which `share` of what is traded stays below `participation`.

  An order is compared with what its stock traded a day, on average of the 20
  days before: volume times vwap, or times close where the panel has no vwap.
  5 % is what a desk can trade without being most of what moves the price.
  Amounts are right where prices and volumes are adjusted by one factor, as
  loading does.

  Raises:
    ValueError: a result of many signals, no volume in the panel, or shares
      that are not between 0 and 1.
  """
  for name, value in (('participation', participation), ('share', share)):
    if not 0 < value <= 1:
      raise ValueError(f'{name}={value}: expected a share, above 0 and up to 1')
  if result.traded is None:
    raise ValueError(
      'what was traded is not kept of many signals; use the result of '
      '`backtest` for the one in question'
    )
  before = np.append(1.0, result.nav[:-1])
  order = np.abs(result.traded) * np.maximum(before, 0.0)[:, None]
  usual = _usual_amount(panel)
  known = (order > 0) & np.isfinite(usual) & (usual > 0)
  total = order.sum()
  if not known.any():
    return Capacity(None, float(total > 0))
  room = participation * usual[known] / order[known]
  weight = order[known]
  ranked = np.argsort(-room)
  reached = np.cumsum(weight[ranked]) >= share * weight.sum() * (1 - 1e-12)
  return Capacity(
    float(room[ranked][np.argmax(reached)]), float(order[~known].sum() / total)
  )


def _usual_amount(panel: Panel) -> np.ndarray:
  """Mean money traded a day over the days before, f64[T, S]; NaN: unknown."""
  price = 'vwap' if 'vwap' in panel.feature_names else 'close'
  money = np.asarray(panel_lib.feature(panel, 'volume'), np.float64)
  money = money * np.asarray(panel_lib.feature(panel, price), np.float64)
  known = np.isfinite(money)
  sums = np.cumsum(np.where(known, money, 0.0), 0)
  counts = np.cumsum(known, 0)

  def past(x):  # Of the days t - 20 .. t - 1.
    x = np.vstack([np.zeros((1, x.shape[1])), x])
    days = np.arange(len(money))
    return x[days] - x[np.maximum(days - AMOUNT_DAYS, 0)]

  count = past(counts)
  return np.where(count > 0, past(sums) / np.maximum(count, 1), np.nan)


def first_trade(result: BacktestResult) -> int:
  """The day of the first trade, from which on figures are; T without one."""
  traded = np.flatnonzero(result.turnover > 0)
  return int(traded[0]) if traded.size else len(result.nav)


def _series(result: BacktestResult, risk_free: float) -> np.ndarray:
  """Returns, benchmark, turnover and cost from the first trade on, [4, T]."""
  if result.nav.ndim != 1:
    raise ValueError(
      f'{len(result.nav)} signals: summary takes one; `point` takes many'
    )
  if not risk_free > -1:
    raise ValueError(
      f'risk_free={risk_free}: expected a rate of a year, as .02'
    )
  if (result.nav <= 0).any():
    day = result.dates[int(np.argmax(result.nav <= 0))]
    raise ValueError(f'the account is ruined on {day}: it has no return since')
  first = first_trade(result)
  if len(result.nav) - first < 2:
    raise ValueError(
      f'{len(result.nav) - first} days with something held, of '
      f'{len(result.nav)}: figures need two or more'
    )
  columns = (result.returns, result.benchmark, result.turnover, result.cost)
  return np.stack(columns)[:, first:]


def _intervals(
  series: np.ndarray, risk_free: float, resamplings: int, seed: int
) -> dict[str, np.ndarray]:
  """(low, high) by figure, those of the benchmark left out; maybe none."""
  from arch import bootstrap  # Takes as long as all else that a command loads.

  if not resamplings or _spread(series[0]) == 0:
    return {}
  sampler = bootstrap.StationaryBootstrap(
    _block(series[0]), series.T, seed=np.random.default_rng(seed)
  )
  names = [n for n in _point(series, risk_free) if n != 'benchmark_return']

  def figures(days):
    values = _point(days.T, risk_free)
    return np.array([values[name] for name in names])

  low, high = sampler.conf_int(
    figures, resamplings, method='percentile', size=LEVEL
  )
  return {
    name: np.array(pair) for name, *pair in zip(names, low, high, strict=True)
  }


def _point(series: np.ndarray, risk_free: float) -> dict[str, np.ndarray]:
  returns, benchmark, turnover, cost = series
  return point(returns, benchmark, turnover, cost, risk_free)


def _block(returns: np.ndarray) -> int:
  """Mean length of the blocks, by Politis and White, as `arch` has it."""
  from arch import bootstrap

  with warnings.catch_warnings():
    # Of a few days its autocorrelations divide by 0.
    warnings.simplefilter('ignore', RuntimeWarning)
    found = bootstrap.optimal_block_length(returns)['stationary'].iloc[0]
  longest = max(len(returns) // 4, 1)
  return int(np.clip(np.ceil(np.nan_to_num(found, nan=1.0)), 1, longest))


def _annual(returns: np.ndarray) -> np.ndarray:
  """Compounded return of a year; -1 where all was lost."""
  grown = np.maximum(np.prod(1.0 + returns, -1), 0.0)
  return grown ** (YEAR / returns.shape[-1]) - 1.0


def _deviation(values: np.ndarray) -> np.ndarray:
  return np.std(values, -1, ddof=1)


def _spread(values: np.ndarray) -> np.ndarray:
  """Standard deviation, exactly 0 of what varies by rounding alone."""
  spread = _deviation(values)
  return np.where(spread <= CONSTANT * np.abs(np.mean(values, -1)), 0.0, spread)


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
  return np.where(under > 0, over / np.where(under > 0, under, 1.0), np.nan)


def _number(value: float | np.ndarray) -> float | None:
  return float(value) if np.isfinite(value) else None
