"""How like a real market a panel is: figures that are put side by side.

`figures` of one panel: what its series look like in time and across stocks.
`against` of a panel and the real one it was made from: distances of
distributions and of windows. Each is a dictionary of numbers with one name per
figure; None where the panel is too short or too narrow to have it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from alphajax.analysis import two_samples
from alphajax.data import bars
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel

Figures = dict[str, float | None]

SHARED = 0.5  # Of the days that a correlation of two stocks needs both on.
TAIL = 0.05  # Share of the returns, on each side, that Hill's index looks at.
LAGS = (1, 5, 20, 60, 100)
LEVERAGE_LAGS = 10
HORIZONS = (1, 5, 20)
PASSAGE, LONGEST = 3.0, 60  # Deviations of a day, and days, of `gain_loss`.
WINDOW = 20  # Days of one stock,
WIDTH, SPAN = 20, 5  # and stocks and days of a piece of the cross-section.
NUM_WINDOWS = 300
NUM_QUANTILES = 2000
FLAT = 1e-9  # Deviation of an integral that is always the same, of time say.
CHUNK = 20_000  # Windows that distances are taken to at once.


class Moves(NamedTuple):
  """Daily series of a panel's stocks, each f64[T, S], NaN where missing."""

  change: np.ndarray  # ln(close / close before)
  gap: np.ndarray
  body: np.ndarray
  span: np.ndarray  # ln(high / low)
  volume: np.ndarray  # ln(volume), less the stock's mean.


def moves(panel: Panel) -> Moves:
  """The series of the stocks that have bars.

  Raises:
    ValueError: no stock has any.
  """
  names = ('open', 'high', 'low', 'close', 'volume')
  known = np.all([panel_lib.feature(panel, n) > 0 for n in names], axis=0)
  symbols = [s for s, k in zip(panel.symbols, known.any(0), strict=True) if k]
  if not symbols:
    raise ValueError('no stock of the panel has prices and a volume above 0')
  values = bars.to_logs(panel_lib.take_symbols(panel, symbols)).values
  gap, body, up, down, _, volume = values
  span = up + down + np.abs(body)
  return Moves(gap + body, gap, body, span, volume - np.nanmean(volume, 0))


def figures(panel: Panel) -> Figures:
  """What the series of a panel look like."""
  return of_moves(moves(panel))


def of_moves(found: Moves) -> Figures:
  """As `figures`, of the series themselves."""
  return _in_time(found) | _across(found.change)


def _in_time(found: Moves) -> Figures:
  """Tails, memory and what moves with what."""
  change = found.change
  size = np.abs(change)
  out: Figures = {'deviation': float(np.nanstd(change))}
  for days in HORIZONS:
    out[f'kurtosis_{days}'] = _kurtosis(_summed(change, days))
  out['skew_20'] = _skew(_summed(change, 20))
  out['hill_up'], out['hill_down'] = hill(change), hill(-change)
  out['acf_return_1'] = lagged(change, change, 1)
  for lag in LAGS:
    out[f'acf_size_{lag}'] = lagged(size, size, lag)
  leverage = [lagged(change, size**2, k + 1) for k in range(LEVERAGE_LAGS)]
  out['leverage'] = _mean(leverage)
  out['gain_loss'] = gain_loss(change)
  out['acf_volume_1'] = lagged(found.volume, found.volume, 1)
  out['acf_volume_20'] = lagged(found.volume, found.volume, 20)
  out['volume_with_size'] = lagged(found.volume, size, 0)
  out['span_with_size'] = lagged(found.span, size, 0)
  out['no_range'] = float((found.span[np.isfinite(found.span)] <= 0).mean())
  return out


def gain_loss(change: np.ndarray) -> float | None:
  """Mean days to a gain of PASSAGE deviations over those to such a loss.

  Above 1: losses come sooner. Each stock's mean is taken out; a wait ends after
  LONGEST days. Days without a bar count as no change.
  """
  change = change - np.nanmean(change, 0)
  spread = np.nanstd(change, axis=0)
  scaled = np.nan_to_num(change / np.where(spread > 0, spread, np.nan))
  if len(scaled) <= LONGEST:
    return None
  level = np.concatenate([np.zeros((1, scaled.shape[1])), scaled.cumsum(0)])
  starts = level[: len(level) - LONGEST]
  waits = np.full((2, *starts.shape), LONGEST)
  for days in range(LONGEST - 1, 0, -1):
    moved = level[days : days + len(starts)] - starts
    waits[0][moved >= PASSAGE] = days
    waits[1][moved <= -PASSAGE] = days
  return float(waits[0].mean() / waits[1].mean())


def _across(change: np.ndarray) -> Figures:
  """How stocks move together."""
  matrix = correlations(change)
  out: Figures = dict.fromkeys(
    ('pair_correlation', 'first_factor', 'ten_factors', 'bottom_half')
  )
  if matrix is not None:
    count = len(matrix)
    out['pair_correlation'] = float((matrix.sum() - count) / (count**2 - count))
    share = spectrum(matrix)
    out['first_factor'] = float(share[0])
    out['ten_factors'] = float(share[:10].sum())
    out['bottom_half'] = float(share[count // 2 :].sum())
  with np.errstate(invalid='ignore'):
    dispersion = _row_deviation(change)[:, None]
  known = dispersion[np.isfinite(dispersion)]
  out['dispersion'] = float(known.mean()) if known.size else np.nan
  for lag in (1, 20):
    out[f'acf_dispersion_{lag}'] = lagged(dispersion, dispersion, lag)
  return out


def _row_deviation(values: np.ndarray) -> np.ndarray:
  """Deviation of every day `[T]`; NaN where fewer than two stocks are known."""
  known = np.isfinite(values)
  count = known.sum(1)
  filled = np.where(known, values, 0.0)
  mean = filled.sum(1) / np.maximum(count, 1)
  square = np.where(known, (values - mean[:, None]) ** 2, 0.0).sum(1)
  return np.where(count > 1, np.sqrt(square / np.maximum(count, 1)), np.nan)


def lagged(left: np.ndarray, right: np.ndarray, lag: int) -> float | None:
  """Correlation of left[t] with right[t + lag], mean over stocks `[T, S]`."""
  if len(left) <= lag + 2:
    return None
  left, right = left[: len(left) - lag], right[lag:]
  both = np.isfinite(left) & np.isfinite(right)
  count = np.maximum(both.sum(0), 1)
  a, b = (np.where(both, x, 0.0) for x in (left, right))
  a, b = (np.where(both, x - x.sum(0) / count, 0.0) for x in (a, b))
  norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
  enough = (both.sum(0) > 2) & (norm > 0)
  if not enough.any():
    return None
  return float(((a * b).sum(0)[enough] / norm[enough]).mean())


def _summed(values: np.ndarray, days: int) -> np.ndarray:
  """Sums over spans of days that do not overlap, NaN where a day is missing."""
  count = len(values) // days
  return values[: count * days].reshape(count, days, values.shape[1]).sum(1)


def _kurtosis(values: np.ndarray) -> float | None:
  """Excess kurtosis of each stock's series, the median."""
  return _median_of(values, lambda x: stats.kurtosis(x, bias=False))


def _skew(values: np.ndarray) -> float | None:
  return _median_of(values, lambda x: stats.skew(x, bias=False))


def _median_of(values: np.ndarray, statistic) -> float | None:
  """The median over stocks with 20 values that are not all alike."""
  known = [x[np.isfinite(x)] for x in values.T]
  found = [float(statistic(x)) for x in known if x.size >= 20 and np.ptp(x) > 0]
  return float(np.median(found)) if found else None


def _mean(values: Sequence[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return float(np.mean(known)) if known else None


def hill(values: np.ndarray) -> float | None:
  """Hill's index of the upper tail of values in each stock's deviations.

  About 3 for real returns; a smaller one is a heavier tail.
  """
  spread = np.nanstd(values, axis=0)
  scaled = values / np.where(spread > 0, spread, np.nan)
  scaled = np.sort(scaled[np.isfinite(scaled)])[::-1]
  count = int(TAIL * scaled.size)
  if count < 10 or scaled[count] <= 0:
    return None
  mean = float(np.log(scaled[:count] / scaled[count]).mean())
  return 1.0 / mean if mean > 0 else None


def correlations(change: np.ndarray) -> np.ndarray | None:
  """Correlations of stocks that are there on most days, `[N, N]`.

  A missing day counts as the stock's mean.
  """
  known = np.isfinite(change)
  kept = known.mean(0) > SHARED
  change = change[:, kept]
  change = np.where(known[:, kept], change - np.nanmean(change, 0), 0.0)
  norm = np.sqrt((change**2).sum(0))
  change = change[:, norm > 0] / norm[norm > 0]
  return change.T @ change if change.shape[1] > 1 else None


def spectrum(matrix: np.ndarray) -> np.ndarray:
  """Shares of the variance, the largest first, `[N, N] -> [N]`."""
  values = np.linalg.eigvalsh(matrix)[::-1]
  return np.maximum(values, 0.0) / np.trace(matrix)


def against(panel: Panel, real: Panel, seed: int = 0) -> Figures:
  """How far a panel is from a real one; 0 is none.

  `w1_x`: Wasserstein distance of the values of x, in the real deviations.
  `mmd_time`, `mmd_across`, `mmd_signature`: squared MMD of windows of one
  stock, of pieces of the cross-section, and of signatures of the windows as
  paths in the real deviations, and `p_...`, how often two samples of one market
  are as far apart.
  """
  one, other = moves(panel), moves(real)
  out: Figures = {}
  for name in Moves._fields:
    out[f'w1_{name}'] = wasserstein(getattr(one, name), getattr(other, name))
  out['w1_size'] = wasserstein(np.abs(one.change), np.abs(other.change))
  rng = np.random.default_rng(seed)
  windows, pieces = (
    [cut(found, rng) for found in (one, other)]
    for cut in (in_windows, in_pieces)
  )
  # As they are, the few large integrals would drown the others.
  paths = [two_samples.signatures(as_paths(x)) for x in windows]
  spread = paths[1].std(0) if len(paths[1]) else np.ones(1)
  paths = [x / np.where(spread > FLAT, spread, 1.0) for x in paths]
  for name, pair, kernel in (
    ('time', windows, two_samples.gaussian),
    ('across', pieces, two_samples.gaussian),
    ('signature', paths, two_samples.linear),
  ):
    out[f'mmd_{name}'] = out[f'p_{name}'] = None
    left, right = pair
    if min(len(left), len(right)) > 1:
      distance, chance = two_samples.mmd(left, right, rng, kernel)
      out[f'mmd_{name}'], out[f'p_{name}'] = distance, chance
  return out


def wasserstein(values: np.ndarray, real: np.ndarray) -> float:
  """Distance of two distributions by their quantiles, in real deviations."""
  levels = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
  one, other = (np.quantile(x[np.isfinite(x)], levels) for x in (values, real))
  return float(np.abs(one - other).mean() / np.nanstd(real))


def in_windows(found: Moves, rng: np.random.Generator) -> np.ndarray:
  """Random spans of WINDOW days of one stock: change, range and volume.

  Each series in the stock's own deviations; those with a gap are left out.

  Returns:
    `[N, 3 * WINDOW]`, N up to NUM_WINDOWS.
  """
  stacked = _own_units(found)
  _, num_days, num_stocks = stacked.shape
  if num_days < WINDOW:
    return np.empty((0, 3 * WINDOW))
  starts = rng.integers(0, num_days - WINDOW + 1, 4 * NUM_WINDOWS)
  stocks = rng.integers(0, num_stocks, 4 * NUM_WINDOWS)
  days = starts[:, None] + np.arange(WINDOW)
  cut = stacked[:, days, stocks[:, None]]  # [3, N, WINDOW]
  cut = np.moveaxis(cut, 1, 0).reshape(len(starts), -1)
  return cut[np.isfinite(cut).all(1)][:NUM_WINDOWS]


def as_paths(windows: np.ndarray) -> np.ndarray:
  """Steps of time, price, range and volume, `[N, 3 W] -> [N, W - 1, 4]`.

  windows: as `in_windows` gives them. Each of the last three goes a way of
  about 1, and time goes to 1.
  """
  count, width = windows.shape
  three = windows.reshape(count, 3, width // 3)
  change, span, volume = np.moveaxis(three, 1, 0)
  size = change.shape[1] ** 0.5
  steps = [np.full_like(change[:, 1:], 1 / (change.shape[1] - 1))]
  steps += [x / size for x in (change[:, 1:], np.diff(span), np.diff(volume))]
  return np.stack(steps, axis=-1)


def _own_units(found: Moves) -> np.ndarray:
  """Change, range and volume in each stock's deviations, f64[3, T, S].

  A series that never moves is 0.
  """
  stacked = np.stack([found.change, found.span, found.volume])
  stacked = stacked - np.nanmean(stacked, 1, keepdims=True)
  spread = np.nanstd(stacked, axis=1, keepdims=True)
  return stacked / np.where(spread > 0, spread, 1.0)


def in_pieces(found: Moves, rng: np.random.Generator) -> np.ndarray:
  """Random pieces of SPAN days of WIDTH stocks: changes in own deviations.

  Returns:
    `[N, SPAN * WIDTH]`; the stocks in the order of their mean, since their
    names mean nothing.
  """
  change = _own_units(found)[0]
  num_days, num_stocks = change.shape
  if num_days < SPAN or num_stocks < WIDTH:
    return np.empty((0, SPAN * WIDTH))
  pieces = []
  for start in rng.integers(0, num_days - SPAN + 1, 2 * NUM_WINDOWS):
    rows = change[start : start + SPAN]
    known = np.flatnonzero(np.isfinite(rows).all(0))
    if known.size < WIDTH or len(pieces) == NUM_WINDOWS:
      continue
    piece = rows[:, rng.choice(known, WIDTH, replace=False)]
    pieces.append(piece[:, np.argsort(piece.mean(0))].ravel())
  return np.array(pieces).reshape(len(pieces), SPAN * WIDTH)


def memorised(
  panel: Panel, train: Panel, valid: Panel, seed: int = 0
) -> Figures:
  """Whether a panel repeats what it was made from.

  `nearest`: median distance of its windows to the nearest one of train, over
  that of windows of validation. Far below 1 is a copy. `copies`: share of
  windows nearer to train than 99 % of those of validation are; about .01 by
  chance.
  """
  rng = np.random.default_rng(seed)
  known = _all_windows(moves(train))
  new, unseen = (in_windows(moves(x), rng) for x in (panel, valid))
  if not (len(known) and len(new) and len(unseen)):
    return dict.fromkeys(('nearest', 'copies'))
  new, unseen = (nearest(x, known) for x in (new, unseen))
  return {
    'nearest': float(np.median(new) / np.median(unseen)),
    'copies': float((new < np.quantile(unseen, 0.01)).mean()),
  }


def nearest(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Distance to the nearest of `other`, `[N, D], [M, D] -> [N]`."""
  parts = np.array_split(other, -(-len(other) // CHUNK))
  return np.min(
    [two_samples.distances(one, part).min(1) for part in parts], axis=0
  )


def _all_windows(found: Moves) -> np.ndarray:
  """As `in_windows`, those that begin on any day, f32."""
  stacked = _own_units(found).astype(np.float32)
  if stacked.shape[1] < WINDOW:
    return np.empty((0, 3 * WINDOW), np.float32)
  whole = np.isfinite(stacked).all(0)
  run = np.lib.stride_tricks.sliding_window_view(whole, WINDOW, axis=0)
  start, stock = np.nonzero(run.all(-1))
  cut = stacked[:, start[:, None] + np.arange(WINDOW), stock[:, None]]
  return np.moveaxis(cut, 1, 0).reshape(len(start), -1)


def curves(panel: Panel) -> dict[str, Any]:
  """What the page draws of a panel: lists of numbers."""
  found = moves(panel)
  size = np.abs(found.change)
  matrix = correlations(found.change)
  scaled = np.abs(_own_units(found)[0])
  scaled = scaled[np.isfinite(scaled)]
  levels = 1 - np.geomspace(0.5, 1e-4, 40)
  return {
    'acf_size': [lagged(size, size, lag) for lag in range(1, 101, 3)],
    'leverage': [
      lagged(found.change, size**2, lag) for lag in range(1, 31)
    ],
    'tail': np.quantile(scaled, levels).tolist(),
    'spectrum': [] if matrix is None else spectrum(matrix)[:100].tolist(),
  }  # fmt: skip
