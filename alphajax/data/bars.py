"""Daily bars as free numbers: any numbers at all decode to a bar that can be.

A bar is coded against the close before it, p, in logarithms:

  gap     ln(open / p)
  body    ln(close / open)
  up      ln(high / max(open, close)), the upper wick
  down    ln(min(open, close) / low), the lower wick
  place   logit of where vwap lies from low to high, in logarithms
  volume  ln(volume)

`to_logs` and `from_logs` go between a panel and these. `scale` and `unscale`
go on to what a network sees: gap, body and wicks in units of the stock's recent
deviation, volume as distance from its recent level. Both are held by the
stock's long mean, so that a long sampled path keeps its size: were the recent
ones alone the unit, it would be a random walk.

A wick at or below 0 decodes to none, since a tenth of real bars has none.
Computed in float64 on the host: the sums of a long path keep their digits.
"""

from typing import NamedTuple

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.features import FEATURES
from alphajax.data.panel import Panel

CHANNELS = ('gap', 'body', 'up', 'down', 'place', 'volume')
GAP, BODY, UP, DOWN, PLACE, VOLUME = range(len(CHANNELS))

# Share of the recent part in a unit; below 1, or nothing holds the size.
RECENT = 0.8
DEVIATION_RATE = 2 / 61  # Of a mean over about 60 days,
LEVEL_RATE = 2 / 21  # and over about 20.
BOUND = 50.0  # Of gap, body and wicks in units, and of volume.
EDGE = 1e-6  # A vwap nearer to low or high than this share is moved here.
MAX_SQUARE = 1e4  # Of a recent unit, in those of the stock's long mean.
FLAT = 1e-4  # Least deviation of a stock's daily returns.
# Logarithms of prices and volumes stay where float32 has numbers.
MAX_LOG, MAX_WICK = 60.0, 20.0
TYPICAL = 1e-4  # Relative distance from the typical price that is rounding.


class Logs(NamedTuple):
  """Bars in logarithms.

  values: by CHANNELS; NaN in all of them where there is no bar. Place is NaN
    also where the vwap alone is missing.
  close: the close before the first bar, where that opens without a gap.
  typical: whether vwap is the typical price (high + low + close) / 3, so that
    place says nothing.
  """

  values: np.ndarray  # f64[6, T, S]
  close: np.ndarray  # f64[S]
  typical: bool = False


class Anchors(NamedTuple):
  """What a stock's bars are measured by, besides their own past.

  deviation: of its daily log returns.
  volume: mean of its ln(volume).
  close: as of `Logs`.
  """

  deviation: np.ndarray  # f64[S]
  volume: np.ndarray  # f64[S]
  close: np.ndarray  # f64[S]


def to_logs(panel: Panel) -> Logs:
  """The bars of a panel that have open, high, low, close and volume above 0.

  Other rows are no bars. What comes after a gap in the data is coded against
  the last close before it.

  Raises:
    ValueError: a stock without any bar.
  """
  raw = {n: np.asarray(panel_lib.feature(panel, n), float) for n in FEATURES}
  names = [name for name in FEATURES if name != 'vwap']
  known = np.all([raw[n] > 0 for n in names], axis=0)  # NaN is not above 0.
  empty = np.flatnonzero(~known.any(0))
  if empty.size:
    raise ValueError(
      f'{empty.size} stocks have no bar with prices and a volume above 0, '
      f'first {panel.symbols[empty[0]]}; leave them out with take_symbols'
    )
  with np.errstate(divide='ignore', invalid='ignore'):
    log = {n: np.where(known, np.log(raw[n]), np.nan) for n in FEATURES}
  before, first = _last_close(log['close'], log['open'], known)
  top = np.fmax(log['open'], log['close'])
  bottom = np.fmin(log['open'], log['close'])
  values = np.stack(
    [
      log['open'] - before,
      log['close'] - log['open'],
      np.maximum(log['high'] - top, 0.0),
      np.maximum(bottom - log['low'], 0.0),
      _place(log['low'], log['high'], log['vwap']),
      log['volume'],
    ]
  )
  return Logs(values, np.exp(first), _is_typical(raw, known))


def _last_close(
  close: np.ndarray, start: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """ln of the close before each bar `[T, S]`, and before the first one `[S]`.

  Before the first bar that is its own open.
  """
  stocks = np.arange(known.shape[1])
  first = start[known.argmax(0), stocks]
  day = np.where(known, np.arange(len(known))[:, None], -1)
  latest = np.maximum.accumulate(day, axis=0)
  latest = np.vstack([np.full((1, known.shape[1]), -1), latest[:-1]])
  before = np.where(latest < 0, first, close[latest, stocks])
  return before, first


def _place(low: np.ndarray, high: np.ndarray, vwap: np.ndarray) -> np.ndarray:
  """Logit of the vwap's place; 0 where the bar has no range."""
  span = high - low
  wide = span > 0
  share = np.where(wide, (vwap - low) / np.where(wide, span, 1.0), 0.5)
  share = np.where(np.isfinite(vwap), np.clip(share, EDGE, 1 - EDGE), np.nan)
  return np.log(share) - np.log1p(-share)


def _is_typical(raw: dict[str, np.ndarray], known: np.ndarray) -> bool:
  """Whether every known vwap is the typical price, up to rounding."""
  vwap = raw['vwap'][known]
  typical = (raw['high'] + raw['low'] + raw['close'])[known] / 3
  with np.errstate(invalid='ignore'):
    apart = np.abs(vwap / typical - 1) > TYPICAL
  return bool(np.isfinite(vwap).any() and not apart.any())


def from_logs(logs: Logs) -> np.ndarray:
  """Features f32[6, T, S] in the order of FEATURES, NaN where there is no bar.

  Whatever the values are, 0 < low <= open, close, vwap <= high < inf and
  0 < volume < inf.
  """
  values = np.asarray(logs.values, np.float64)
  exists = np.isfinite(values[[GAP, BODY, UP, DOWN, VOLUME]]).all(0)
  gap, body, up, down = np.where(exists, values[:PLACE], 0.0)
  close = _walk(np.log(logs.close), gap, body)
  start = close[:-1] + gap
  close = close[1:]
  start = np.clip(start, -MAX_LOG, MAX_LOG)
  high = np.maximum(start, close) + np.clip(up, 0.0, MAX_WICK)
  low = np.minimum(start, close) - np.clip(down, 0.0, MAX_WICK)
  # Rounding to float32 keeps an order, except that exp may be an ulp off.
  bar = {
    name: np.exp(x).astype(np.float32)
    for name, x in dict(open=start, high=high, low=low, close=close).items()
  }
  bar['high'] = np.maximum(bar['high'], np.maximum(bar['open'], bar['close']))
  bar['low'] = np.minimum(bar['low'], np.minimum(bar['open'], bar['close']))
  if logs.typical:
    vwap = (bar['high'] + bar['low'] + bar['close']) / np.float32(3)
  else:
    share = 0.5 * (1 + np.tanh(0.5 * values[PLACE]))
    vwap = np.exp(low + share * (high - low)).astype(np.float32)
  bar['vwap'] = np.clip(vwap, bar['low'], bar['high'])
  volume = np.clip(values[VOLUME], -MAX_LOG, MAX_LOG)
  bar['volume'] = np.exp(volume).astype(np.float32)
  return np.stack([np.where(exists, bar[n], np.nan) for n in FEATURES])


def _walk(first: np.ndarray, gap: np.ndarray, body: np.ndarray) -> np.ndarray:
  """ln(close) f64[T + 1, S] from the one before the first bar on, bounded."""
  path = np.concatenate([first[None], gap + body]).cumsum(0)
  if np.abs(path).max(initial=0.0) <= MAX_LOG:
    return path
  path[0] = np.clip(first, -MAX_LOG, MAX_LOG)
  for t, change in enumerate(gap + body):
    path[t + 1] = np.clip(path[t] + change, -MAX_LOG, MAX_LOG)
  return path


def anchors(logs: Logs) -> Anchors:
  """Long means of every stock of these bars."""
  change = logs.values[GAP] + logs.values[BODY]
  square = np.nanmean(np.square(change), axis=0)
  deviation = np.maximum(np.sqrt(square), FLAT)
  return Anchors(deviation, np.nanmean(logs.values[VOLUME], axis=0), logs.close)


def scale(logs: Logs, by: Anchors) -> np.ndarray:
  """What a network sees, f32[6, T, S]; NaN as in `logs`.

  Gaps, bodies and wicks are cut at BOUND units.
  """
  values = np.asarray(logs.values, np.float64)
  unit = deviations(values[GAP], values[BODY], by.deviation)
  scaled = np.clip(values[:PLACE] / unit, -BOUND, BOUND)
  levels = _levels(values[VOLUME], by.volume)
  volume = np.clip(values[VOLUME] - levels, -BOUND, BOUND)
  return np.concatenate([scaled, values[PLACE][None], volume[None]]).astype(
    np.float32
  )


def unscale(values: np.ndarray, by: Anchors, typical: bool = False) -> Logs:
  """The inverse of `scale`, of values `[6, T, S]` of any size."""
  values = np.asarray(values, np.float64).copy()
  inside = [GAP, BODY, UP, DOWN, VOLUME]
  values[inside] = np.clip(values[inside], -BOUND, BOUND)
  square = np.ones_like(by.deviation)
  level = np.zeros_like(by.volume)
  for day in np.moveaxis(values, 1, 0):  # A view: changed in place.
    unit = np.sqrt(1 - RECENT + RECENT * square)
    square = _follow(square, ((day[GAP] + day[BODY]) * unit) ** 2)
    square = np.minimum(square, MAX_SQUARE)
    day[:PLACE] *= unit * by.deviation
    day[VOLUME] += RECENT * level
    level = _follow(level, day[VOLUME], LEVEL_RATE)
    day[VOLUME] += by.volume
  return Logs(values, by.close, typical)


def deviations(
  gap: np.ndarray, body: np.ndarray, deviation: np.ndarray
) -> np.ndarray:
  """Unit of every day before it is known, `[T, S]` twice, `[S] -> [T, S]`."""
  units = np.empty(gap.shape)
  square = np.ones_like(deviation)
  for t, parts in enumerate(np.stack([gap, body], 1) / deviation):
    units[t] = np.sqrt(1 - RECENT + RECENT * square)
    bound = BOUND * units[t]
    square = _follow(square, np.clip(parts, -bound, bound).sum(0) ** 2)
    square = np.minimum(square, MAX_SQUARE)
  return units * deviation


def _levels(volume: np.ndarray, mean: np.ndarray) -> np.ndarray:
  """Level of ln(volume) of every day before it is known, `[T, S]`."""
  levels = np.empty(volume.shape)
  level = np.zeros_like(mean)
  for t, of_day in enumerate(volume - mean):
    levels[t] = RECENT * level
    of_day = np.clip(of_day, levels[t] - BOUND, levels[t] + BOUND)
    level = _follow(level, of_day, LEVEL_RATE)
  return levels + mean


def _follow(
  mean: np.ndarray, value: np.ndarray, rate: float = DEVIATION_RATE
) -> np.ndarray:
  """A moving mean one day on; it stays where the value is missing."""
  return np.where(np.isfinite(value), mean + rate * (value - mean), mean)
