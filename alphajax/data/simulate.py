"""The embedded market: a simulated panel with planted alphas.

Close prices are martingales plus the planted drift: the simple return of day
t + 1 is

  market + sector + own shock + strength * own volatility * planted[t],

symmetric shocks of mean 0 with Student tails, times one market-wide volatility
that clusters (GARCH). All stocks share the loadings and the volatility, so at
strength 0 the next returns of any two stocks have the same distribution given
the past, and no function of the past predicts the cross-section, in mean or in
rank. (Were volatilities different, compounding alone would give the volatile
stocks a lower median return over 20 days.) Volume, listings, suspensions and
index changes never enter a return; hidden prices move on while a stock is
suspended.

Every kind of noise has its own random stream, drawn day after day, so a longer
simulation continues a shorter one with the same seed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from alphajax.data import cross_section
from alphajax.data import noise as noise_lib
from alphajax.data import panel as panel_lib
from alphajax.data.device import by_days
from alphajax.data.noise import MARKET, NUM_SECTORS, OWN, SECTOR
from alphajax.data.panel import Panel, Split

# An easy, a middling and a harder one to find; about uncorrelated, stationary,
# and slow enough to matter 20 days ahead.
ALPHAS = (
  'Corr(close,volume,30)',
  'Mean(close/vwap,20)',
  'Std(volume,40)/Mean(volume,40)',
)
FIRST_DAY = '2010-01-04'

LISTED_AT_START = 0.85
LISTING_DAYS = 600.0  # Mean wait of the others.
DELISTING = 1 / 8000  # A day.
SUSPENSION, RESUMPTION = 1 / 400, 1 / 4  # A day.
INDEX_SHARE = 0.7
INDEX_REVIEW = 60  # Days.
VWAP_MISSING = 1 / 1000  # Of the rows.

# Streams of noise, by name; the position is the key of the stream.
STREAMS = (
  'static',
  'market',
  'sector',
  'own',
  'open',
  'up',
  'down',
  'trades',
  'activity',
  'volume',
  'life',
  'pause',
  'vwap',
  'nature',
  'temper',
  'style',
)


class Simulation(NamedTuple):
  """A simulated market and what was planted in it.

  planted: the combination, per-day standardised sum of the standardised
    alphas, on the day it is known; it drives the return of the next day. NaN
    where no alpha has a value.
  strength: expected own return of the next day, in units of its volatility,
    of a stock whose planted value is 1. The daily IC with the next own return
    is about this; with the label 20 days ahead, about 0.12 at 0.05.
  """

  panel: Panel
  planted: np.ndarray  # [T, S]
  alphas: tuple[str, ...]
  strength: float


def simulate(
  seed: int = 0,
  num_days: int = 1500,
  num_stocks: int = 200,
  alphas: Sequence[str] = ALPHAS,
  strength: float = 0.05,
  compile_fn: Callable | None = None,
  noise: str = 'plain',
) -> Simulation:
  """Simulates a market, the same one for the same arguments.

  compile_fn: maps formula text to `(lookback, fn)`, where
    `fn(features f32[6, lookback + 1, S], mask bool[lookback + 1, S])` is the
    formula's value on the last of these days, `f32[S]`, NaN where unknown.
  noise: `plain`, or `real` with the dependence of real panels, see `noise`.

  Raises:
    ValueError: a negative strength, too few stocks or days, unknown noise, or
      alphas without a `compile_fn`.
  """
  if strength < 0 or num_days < 2 or num_stocks < 2 * NUM_SECTORS:
    raise ValueError(
      f'strength={strength}, num_days={num_days}, num_stocks={num_stocks}: '
      f'need strength >= 0, 2 days and {2 * NUM_SECTORS} stocks'
    )
  if alphas and compile_fn is None:
    raise ValueError(
      'planted alphas need a compile_fn that evaluates them: give alphas=() '
      'for a market without, or take that of a config: '
      "markets.simulated(cli.read_config('random.py:simulated')), "
      'after `from alphajax import cli, markets`'
    )
  compiled = [compile_fn(text) for text in alphas]
  features, mask, planted = _play(
    seed, num_days, num_stocks, compiled, strength, noise
  )
  panel = panel_lib.make(
    features,
    mask,
    _calendar(num_days),
    tuple(f'S{i:04d}' for i in range(num_stocks)),
    notes=(
      f'simulated: seed {seed}, planted {", ".join(alphas)} with strength '
      f'{strength:g}',
    ),
  )
  return Simulation(panel, planted, tuple(alphas), float(strength))


def _play(seed, num_days, num_stocks, compiled, strength, noise_name):
  """Day after day: features `[6, T, S]`, mask and planted `[T, S]`."""
  rngs = {
    name: np.random.default_rng([seed, key]) for key, name in enumerate(STREAMS)
  }
  noise = noise_lib.make(noise_name, rngs, num_days, num_stocks)
  shape = _day_shape(rngs, num_days, num_stocks)
  present = _present(rngs, num_days, num_stocks)
  size = np.exp(rngs['static'].normal(15.0, 1.0, num_stocks))  # Shares.
  close = np.exp(rngs['static'].normal(3.0, 0.7, num_stocks))
  features = np.full((6, num_days, num_stocks), np.nan, np.float32)
  mask = np.zeros((num_days, num_stocks), bool)
  planted = np.full((num_days, num_stocks), np.nan, np.float32)
  # Prices and volumes of all stocks, listed or not, which styles go by.
  hidden = np.empty((2, num_days, num_stocks))
  member = np.zeros(num_stocks, bool)
  drift = np.zeros(num_stocks)
  for t in range(num_days):
    scale = np.sqrt(noise.variance[t])
    change = noise.returns[t]
    if noise.premia is not None:
      past = slice(max(0, t - noise_lib.HISTORY - 1), t)
      styles = noise.premia[t] @ noise_lib.loadings(*hidden[:, past])
      change = noise_lib.cut(change + styles)
    change = change + strength * OWN * scale * drift
    previous, close = close, close * (1 + change)
    bar = _bar(previous, change, scale, {k: v[t] for k, v in shape.items()})
    bar['volume'] *= size
    hidden[:, t] = close, bar['volume']
    for f, name in enumerate(panel_lib.FEATURES):
      features[f, t] = np.where(present[t], bar[name], np.nan)
    if t % INDEX_REVIEW == 0:
      # Decided on yesterday's price; who is not listed yet cannot join.
      member = _largest(previous * size, present[t], INDEX_SHARE)
    mask[t] = member & present[t]
    features[5, t, shape['no_vwap'][t]] = np.nan
    planted[t] = _combine(compiled, features, mask, t)
    drift = np.nan_to_num(planted[t])
  return features, mask, planted


def on_split(simulation: Simulation, split: Split) -> np.ndarray:
  """The planted combination on the days and stocks of a split, `[T, S]`."""
  row = {date: t for t, date in enumerate(simulation.panel.dates)}
  planted = simulation.planted[[row[date] for date in split.panel.dates]]
  width = len(split.panel.symbols) - planted.shape[1]  # Padded stocks.
  return np.pad(planted, ((0, 0), (0, width)), constant_values=np.nan)


def planted_ic(simulation: Simulation, split: Split) -> np.ndarray:
  """Daily IC of the planted combination with a split's label, `[T]`.

  Pearson over members with a planted value and a known label. NaN on days
  that are not scored, 0 on scored days without a value.
  """
  planted = on_split(simulation, split)
  both = np.isfinite(planted) & np.isfinite(split.target)
  both &= np.asarray(split.panel.mask)
  signal = by_days(panel_lib.standardize, planted, both)
  target = by_days(panel_lib.standardize, split.target, both)
  product = np.nan_to_num(signal * target).sum(axis=1)
  daily = product / np.maximum(both.sum(axis=1), 1)
  return np.where(split.scored, daily, np.nan)


def ceiling(simulation: Simulation, split: Split) -> float:
  """Mean of `planted_ic` over the scored days.

  The IC of a miner that finds all planted alphas and weighs them as planted.
  A yardstick and no strict bound: chance correlation with the noise of the
  split goes into it, and a pool may profit from chance of its own.
  """
  return float(np.nanmean(planted_ic(simulation, split)))


def _day_shape(rngs, num_days, num_stocks):
  """What makes a day's bar out of its return, each `[T, ...]`."""
  size = (num_days, num_stocks)
  activity = np.zeros(size)  # Slow interest in a stock, an AR(1).
  fresh = rngs['activity'].normal(size=size)
  activity[0] = 0.3 * fresh[0]
  for t in range(1, num_days):
    activity[t] = 0.95 * activity[t - 1] + 0.3 * np.sqrt(1 - 0.95**2) * fresh[t]
  return dict(
    open=rngs['open'].normal(size=size),
    up=np.abs(rngs['up'].normal(size=size)),
    down=np.abs(rngs['down'].normal(size=size)),
    trades=rngs['trades'].dirichlet(np.ones(4), size),
    turnover=activity + 0.25 * rngs['volume'].normal(size=size),
    no_vwap=rngs['vwap'].random(size) < VWAP_MISSING,
  )


def _bar(previous, change, scale, shape) -> dict[str, np.ndarray]:
  """Open, high, low, close, vwap and turnover of one day, each `[S]`."""
  close = previous * (1 + change)
  spread = 0.4 * OWN * scale  # Of the prices inside a day.
  start = previous * (1 + 0.3 * change) * np.exp(spread * shape['open'])
  high = np.maximum(start, close) * np.exp(spread * shape['up'])
  low = np.minimum(start, close) * np.exp(-spread * shape['down'])
  prices = np.stack([start, high, low, close], axis=-1)
  vwap = (shape['trades'] * prices).sum(axis=-1)
  usual = np.sqrt(MARKET**2 + SECTOR**2 + OWN**2)
  # Volume follows the common volatility and the stock's own move.
  turnover = np.exp(
    -5.0
    + 0.5 * np.log(scale)
    + 0.35 * np.minimum(np.abs(change) / usual, 5.0)
    + shape['turnover']
  )
  return dict(
    open=start,
    high=high,
    low=low,
    close=close,
    volume=turnover,
    # Rounding must not push the average out of the day's range.
    vwap=np.clip(vwap, low, high),
  )


def _present(rngs, num_days, num_stocks):
  """True `[T, S]` on days a stock has a row: listed, not suspended."""
  rng = rngs['static']
  wait = rng.exponential(LISTING_DAYS, num_stocks).astype(int) + 1
  first = np.where(rng.random(num_stocks) < LISTED_AT_START, 0, wait)
  day = np.arange(num_days)[:, None]
  gone = rngs['life'].random((num_days, num_stocks)) < DELISTING
  listed = (day >= first) & ~np.logical_or.accumulate(gone & (day > first))
  chance = rngs['pause'].random((num_days, num_stocks))
  paused = np.zeros((num_days, num_stocks), bool)
  for t in range(1, num_days):
    paused[t] = chance[t] < np.where(paused[t - 1], 1 - RESUMPTION, SUSPENSION)
  return listed & ~paused


def _largest(value, eligible, share):
  """True for the largest eligible stocks, `share` of all stocks at most."""
  count = int(share * value.size)
  order = np.argsort(np.where(eligible, -value, np.inf), kind='stable')
  chosen = np.zeros(value.size, bool)
  chosen[order[:count]] = True
  return chosen & eligible


def _combine(compiled, features, mask, t) -> np.ndarray:
  """The planted combination of day t, `[S]`; NaN where no alpha is known."""
  scores = []
  for lookback, fn in compiled:
    if t < lookback:
      continue
    window = slice(t - lookback, t + 1)
    value = np.asarray(fn(features[:, window], mask[window]))
    scores.append(_standardize(value, mask[t]))
  if not scores:
    return np.full(mask.shape[1], np.nan)
  known = np.isfinite(scores).any(axis=0)
  total = np.nansum(scores, axis=0)
  return _standardize(np.where(known, total, np.nan), mask[t])


def _standardize(value, member) -> np.ndarray:
  """`panel.standardize` of one day on the host; a device call costs more."""
  value = np.asarray(value, np.float64)
  valid = member & np.isfinite(value)
  out = np.full(value.size, np.nan)
  if not valid.any():
    return out
  known = value[valid]
  variance = known.var()
  if variance > cross_section.CONSTANT * known.mean() ** 2:
    out[valid] = (known - known.mean()) / np.sqrt(variance)
  return out


def _calendar(num_days) -> tuple[str, ...]:
  days = np.busday_offset(FIRST_DAY, np.arange(num_days), roll='forward')
  return tuple(np.datetime_as_string(days, 'D').tolist())
