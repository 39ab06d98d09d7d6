"""Figures of return series: by hand, against peers, and their intervals."""

import numpy as np
import pandas as pd
import pytest
from trading_cases import FREE, T, clean_case, messy_case

from alphajax.judge import performance, trading

DAYS = tuple(
  np.busday_offset('2020-01-01', np.arange(500), roll='forward').astype(str)
)


def returns_case(seed=0, mean=0.0005, num_days=500):
  rng = np.random.default_rng(seed)
  market = 0.01 * rng.standard_t(4, num_days)
  own = market + mean + 0.005 * rng.normal(size=num_days)
  own[rng.random(num_days) < 0.02] = 0.0
  return (
    own,
    market,
    rng.uniform(0, 0.2, num_days),
    rng.uniform(0, 2e-4, num_days),
  )


def result_of(returns, benchmark=None, turnover=None, cost=None):
  """A backtest with these series."""
  panel, signal = clean_case()
  empty = trading.backtest(signal, panel, FREE)
  zeros = np.zeros(len(returns))
  return empty._replace(
    returns=returns,
    nav=np.cumprod(1 + returns),
    benchmark=zeros if benchmark is None else benchmark,
    turnover=zeros + 0.1 if turnover is None else turnover,
    cost=zeros if cost is None else cost,
    dates=DAYS[: len(returns)],
  )


def test_by_hand():
  returns = np.array([0.02, -0.01, 0.03, 0.0, -0.02])
  benchmark = np.array([0.01, -0.02, 0.01, 0.01, -0.01])
  found = performance.point(
    returns, benchmark, np.full(5, 0.05), np.full(5, 0.001), risk_free=0.0
  )
  grown = 1.02 * 0.99 * 1.03 * 0.98
  assert found['annual_return'] == pytest.approx(grown ** (252 / 5) - 1)
  mean, spread = 0.004, np.sqrt(np.sum((returns - 0.004) ** 2) / 4)
  assert found['volatility'] == pytest.approx(spread * 252**0.5)
  assert found['sharpe'] == pytest.approx(mean / spread * 252**0.5)
  below = np.sqrt((0.01**2 + 0.02**2) / 5)
  assert found['sortino'] == pytest.approx(mean / below * 252**0.5)
  assert found['hit_rate'] == 0.5  # Of the four days that moved.
  excess = np.array([0.01, 0.01, 0.02, -0.01, -0.01])
  ratio = excess.mean() / excess.std(ddof=1) * 252**0.5
  assert found['information_ratio'] == pytest.approx(ratio)
  assert found['turnover'] == pytest.approx(0.05)
  assert found['cost'] == pytest.approx(0.252)
  # 0.004 of excess and 0.001 of cost on 0.1 traded a day: 5 %.
  assert found['break_even'] == pytest.approx(500)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('rate', [0.0, 0.03])
def test_as_empyrical(seed, rate):
  empyrical = pytest.importorskip('empyrical')
  own, market, turnover, cost = returns_case(seed)
  found = performance.point(own, market, turnover, cost, rate)
  daily = 1.03 ** (1 / 252) - 1 if rate else 0.0
  for name, expected in {
    'annual_return': empyrical.cagr(own),
    'volatility': empyrical.annual_volatility(own),
    'sharpe': empyrical.sharpe_ratio(own, risk_free=daily),
    'sortino': empyrical.sortino_ratio(own, required_return=daily),
    'benchmark_return': empyrical.annual_return(market),
    'information_ratio': 252**0.5 * empyrical.excess_sharpe(own, market),
  }.items():
    assert found[name] == pytest.approx(expected, rel=1e-10), name
  fall = performance.drawdown(own, DAYS)
  assert fall.depth == pytest.approx(empyrical.max_drawdown(own), rel=1e-12)
  figures = performance.summary(
    result_of(own, market), risk_free=rate, resamplings=0
  )
  calmar = empyrical.calmar_ratio(own)
  assert figures['calmar'].value == pytest.approx(calmar, rel=1e-10)


@pytest.mark.parametrize('seed', range(4))
def test_as_quantstats(seed):
  stats = pytest.importorskip('quantstats').stats
  own, market, turnover, cost = returns_case(seed)
  index = pd.DatetimeIndex(DAYS)
  own_days, market_days = pd.Series(own, index), pd.Series(market, index)
  found = performance.point(own, market, turnover, cost)
  for name, expected in {
    'volatility': stats.volatility(own_days),
    'sharpe': stats.sharpe(own_days),
    'sortino': stats.sortino(own_days),
    'hit_rate': stats.win_rate(own_days),
    'information_ratio': 252**0.5
    * stats.information_ratio(own_days, market_days),
  }.items():
    assert found[name] == pytest.approx(expected, rel=1e-8), name
  fall = performance.drawdown(own, DAYS)
  details = stats.drawdown_details(stats.to_drawdown_series(own_days))
  worst = details.sort_values('max drawdown').iloc[0]
  assert fall.depth == pytest.approx(worst['max drawdown'] / 100, rel=1e-10)
  assert fall.trough == str(worst['valley'])[:10]
  # Its start is the first day under water, the one after our peak.
  after = DAYS[DAYS.index(fall.peak) + 1] if fall.peak else DAYS[0]
  assert after == str(worst['start'])[:10]


def test_a_drawdown_has_its_dates():
  returns = np.array([0.1, -0.1, -0.1, 0.3, 0.1, -0.05, 0.0])
  fall = performance.drawdown(returns, DAYS)
  assert fall.depth == pytest.approx(-0.19)
  assert (fall.peak, fall.trough, fall.recovery) == (DAYS[0], DAYS[2], DAYS[3])
  assert fall.days == 3
  series = performance.drawdown_series(returns)
  expected = [0, -0.1, -0.19, 0, 0, -0.05, -0.05]
  np.testing.assert_allclose(series, expected, atol=1e-12)
  begin = performance.drawdown(np.array([-0.2, -0.1, 0.05]), DAYS)
  assert begin.peak is None and begin.recovery is None
  assert begin.trough == DAYS[1] and begin.days == 3
  assert begin.depth == pytest.approx(-0.28)
  never = performance.drawdown(np.array([0.0, 0.1]), DAYS)
  assert never == performance.Drawdown(0.0, None, None, None, 0)


def test_intervals_hold_the_figures_and_follow_the_seed():
  own, market, turnover, cost = returns_case()
  result = result_of(own, market, turnover, cost)
  figures = performance.summary(result, resamplings=300, seed=1)
  for name, figure in figures.items():
    if name in ('max_drawdown', 'days'):
      continue
    if name in ('calmar', 'benchmark_return'):
      assert figure.low is None and figure.high is None
    else:
      assert figure.low < figure.value < figure.high, name
  assert figures == performance.summary(result, resamplings=300, seed=1)
  other = performance.summary(result, resamplings=300, seed=2)
  assert other['sharpe'] != figures['sharpe']
  assert other['sharpe'].value == figures['sharpe'].value
  # Of independent days, the error of a Sharpe ratio is known (Lo 2002).
  ratio = figures['sharpe'].value / 252**0.5
  error = np.sqrt(252 * (1 + ratio**2 / 2) / 500)
  width = (figures['sharpe'].high - figures['sharpe'].low) / 2
  assert width == pytest.approx(1.96 * error, rel=0.25)


def test_intervals_hold_the_truth_as_often_as_they_say():
  """Days that hang together, AR(1) of 0.3: of 100 intervals 95 should."""
  rng = np.random.default_rng(0)
  held = 0
  for repetition in range(100):
    noise = 0.01 * rng.normal(size=500)
    for t in range(1, 500):
      noise[t] += 0.3 * noise[t - 1]
    result = result_of(0.001 + noise)
    sharpe = performance.summary(result, resamplings=150, seed=repetition)
    truth = 0.001 / (0.01 / np.sqrt(1 - 0.09)) * 252**0.5
    held += sharpe['sharpe'].low <= truth <= sharpe['sharpe'].high
  assert 87 <= held <= 99


def test_what_is_not_defined_is_none():
  flat = performance.summary(result_of(np.full(300, 0.001)))
  assert flat['sharpe'].value is None and flat['sortino'].value is None
  assert flat['calmar'].value is None and flat['max_drawdown'].depth == 0
  assert flat['annual_return'].value == pytest.approx(1.001**252 - 1)
  assert flat['annual_return'].low is None
  nothing = result_of(np.zeros(300), turnover=np.append(0.5, np.zeros(299)))
  figures = performance.summary(nothing)
  assert figures['hit_rate'].value is None
  idle = performance.point(*np.zeros((4, 10)))
  assert np.isnan(idle['break_even'])


def test_days_before_the_first_trade_do_not_count():
  panel, signal = clean_case()
  signal[:20] = np.nan
  result = trading.backtest(signal, panel, FREE)
  figures = performance.summary(result, resamplings=0)
  assert figures['days'] == T - 21
  assert figures['volatility'].value == pytest.approx(
    252**0.5 * result.returns[21:].std(ddof=1)
  )


def test_many_signals_have_figures_at_once():
  panel, _ = clean_case()
  signals = [clean_case(seed)[1] for seed in range(3)]
  many = trading.backtest_many(signals, panel, FREE)
  found = performance.point(
    many.returns, many.benchmark, many.turnover, many.cost
  )
  for i, signal in enumerate(signals):
    one = trading.backtest(signal, panel, FREE)
    alone = performance.point(
      one.returns, one.benchmark, one.turnover, one.cost
    )
    for name, value in alone.items():
      each = np.broadcast_to(found[name], 3)[i]
      assert each == pytest.approx(value, rel=1e-9), name


def test_at_the_break_even_cost_nothing_is_left():
  """Trading again at that cost earns the benchmark, on average."""
  panel, _ = clean_case()
  close = panel.features[3].astype(float)
  signal = np.zeros_like(close)
  signal[:-1] = close[1:] / close[:-1] - 1  # It knows the next day.
  signal[-1] = signal[-2]
  spec = FREE._replace(deal='close', drop_n=1)
  free = trading.backtest(signal, panel, spec)
  cost = performance.summary(free, resamplings=0)['break_even'].value
  assert 20 < cost < 500
  paid = trading.backtest(
    signal, panel, spec._replace(buy_cost=cost, sell_cost=cost)
  )
  before = (free.returns - free.benchmark).mean()
  left = (paid.returns - paid.benchmark).mean()
  assert abs(left) < 0.05 * before


def test_capacity_by_hand():
  panel, signal = clean_case()
  result = trading.backtest(signal, panel, FREE)
  features = panel.features.copy()
  features[4], features[5] = 2e5, 5.0  # A million a day.
  panel = panel.replace(features=features)
  found = performance.capacity(result, panel, participation=0.1, share=1.0)
  order = np.abs(result.traded) * np.append(1, result.nav[:-1])[:, None]
  assert found.capital == pytest.approx(0.1 * 1e6 / order.max(), rel=1e-6)
  assert found.unknown == pytest.approx(0, abs=1e-6)
  half = performance.capacity(result, panel, participation=0.1, share=0.5)
  weights = np.sort(order[order > 0])
  middle = weights[np.searchsorted(np.cumsum(weights), weights.sum() / 2)]
  assert half.capital == pytest.approx(0.1 * 1e6 / middle, rel=1e-6)
  # Twice the volume, twice the money.
  features = features.copy()
  features[4] *= 2
  double = performance.capacity(
    result, panel.replace(features=features), participation=0.1, share=0.5
  )
  assert double.capital == pytest.approx(2 * half.capital)


def test_usual_amounts_are_of_the_days_before():
  panel, _ = messy_case(1)
  usual = performance._usual_amount(panel)
  money = panel.features[4].astype(float) * panel.features[5]
  for t, s in ((0, 0), (7, 3), (33, 5), (69, 13)):
    known = money[max(t - 20, 0) : t, s]
    known = known[np.isfinite(known)]
    expected = known.mean() if known.size else np.nan
    assert usual[t, s] == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_capacity_counts_what_it_does_not_know():
  panel, signal = clean_case()
  result = trading.backtest(signal, panel, FREE)
  features = panel.features.copy()
  features[4, :, :7] = np.nan
  partly = performance.capacity(result, panel.replace(features=features))
  traded = np.abs(result.traded) * np.append(1, result.nav[:-1])[:, None]
  share = traded[:, :7].sum() / traded.sum()
  assert partly.unknown == pytest.approx(share, rel=1e-6)
  features[4] = np.nan
  none = performance.capacity(result, panel.replace(features=features))
  assert none == performance.Capacity(None, 1.0)


def test_bad_input():
  panel, signal = clean_case()
  result = trading.backtest(signal, panel, FREE)
  with pytest.raises(ValueError, match='participation=0: expected a share'):
    performance.capacity(result, panel, participation=0)
  many = trading.backtest_many([signal, signal], panel, FREE)
  with pytest.raises(ValueError, match='not kept of many signals'):
    performance.capacity(many, panel)
  with pytest.raises(ValueError, match='2 signals: summary takes one'):
    performance.summary(many)
  with pytest.raises(ValueError, match='risk_free=-1.0: expected a rate'):
    performance.summary(result, risk_free=-1.0)
  with pytest.raises(ValueError, match='0 days with something held, of 70'):
    performance.summary(result._replace(turnover=np.zeros(T)))
  ruined = result._replace(nav=np.where(np.arange(T) < 9, 1.0, -1.0))
  with pytest.raises(ValueError, match=f'ruined on {panel.dates[9]}'):
    performance.summary(ruined)
