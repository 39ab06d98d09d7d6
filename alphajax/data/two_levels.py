"""Bars of a cross-section as a common path and what it leaves of each stock.

Stocks that are drawn one by one share nothing. So their bars are split in two:
a path of the whole market, and loadings on it, which a stock's gaps and bodies
add up from, beside what is left. A generator draws a path first, then every
stock given it.
"""

from typing import NamedTuple

import numpy as np

from alphajax.data.bars import BODY, DOWN, GAP, UP, VOLUME
from alphajax.data.controls import Source

NUM_FACTORS = 4
COMMON = ('gap', 'body', 'range', 'volume') + tuple(
  f'factor{i}' for i in range(NUM_FACTORS)
)
NUM_COVARIATES = 4 + NUM_FACTORS
RIDGE = 5.0  # Days' worth of evidence for a loading of 0.
JOINED = (GAP, BODY)  # The channels that the path is a part of.


class Levels(NamedTuple):
  """The two levels of some bars.

  common: the path by COMMON, each of mean 0 and deviation 1.
  left: bars without the path's part, NaN where missing.
  loadings: of gap and body on the path.
  covariates: what is lasting about a stock, each of mean 0 and deviation 1:
    loadings of its body on the market and the factors, ln deviation, mean
    ln volume, share of bars without an upper wick.
  """

  common: np.ndarray  # f32[T, 8]
  left: np.ndarray  # f32[T, S, 6]
  loadings: np.ndarray  # f32[2, 8, S]
  covariates: np.ndarray  # f32[S, 8]


def split(source: Source, independent: bool = False) -> Levels:
  """Splits bars; `independent`: there is no path, and all of a bar is left.

  Raises:
    ValueError: fewer stocks than factors, a day without a bar, or fewer days
      than the path has channels.
  """
  values = source.values.astype(np.float64)
  _, num_days, num_stocks = values.shape
  known = np.isfinite(values[BODY])
  if not known.any(1).all() or num_stocks <= NUM_FACTORS:
    raise ValueError(
      f'{int((~known.any(1)).sum())} days without a bar and {num_stocks} '
      f'stocks: a common path needs a bar on every day, and more than '
      f'{NUM_FACTORS} stocks'
    )
  if num_days <= len(COMMON):
    raise ValueError(
      f'{num_days} days are too few for a path of {len(COMMON)} channels'
    )
  loadings = np.zeros((2, len(COMMON), num_stocks))
  common = np.zeros((num_days, len(COMMON)))
  if not independent:
    common = _unit(_path(values))
    for k, channel in enumerate(JOINED):
      loadings[k] = _fit(common, values[channel])
      values[channel] -= common @ loadings[k]
  up = values[UP]
  none = (up <= 0).sum(0) / np.maximum(np.isfinite(up).sum(0), 1)
  lasting = [loadings[1, 1], *loadings[1, -NUM_FACTORS:]]
  lasting += [np.log(source.anchors.deviation), source.anchors.volume, none]
  return Levels(
    common.astype(np.float32),
    np.moveaxis(values, 0, 2).astype(np.float32),
    loadings.astype(np.float32),
    _unit(np.stack(lasting, 1)).astype(np.float32),
  )


def join(
  common: np.ndarray, left: np.ndarray, loadings: np.ndarray
) -> np.ndarray:
  """The bars f32[6, T, S] of a path `[T, 8]` and what is left `[T, S, 6]`."""
  values = np.moveaxis(np.asarray(left), 2, 0).copy()
  for k, channel in enumerate(JOINED):
    values[channel] += np.asarray(common) @ loadings[k]
  return values


def _path(values: np.ndarray) -> np.ndarray:
  """The common path before it is standardised, f64[T, 8]."""
  gap, body, volume = (np.nanmean(values[c], 1) for c in (GAP, BODY, VOLUME))
  span = values[UP] + values[DOWN] + np.abs(values[BODY])
  span = np.log(np.maximum(np.nanmean(span, 1), 1e-3))
  change = values[GAP] + values[BODY]
  market = _unit((gap + body)[:, None])
  rest = np.nan_to_num(change - market @ _fit(market, change))
  scores, strength, _ = np.linalg.svd(rest, full_matrices=False)
  factors = (scores * strength)[:, :NUM_FACTORS]
  return np.column_stack([gap, body, span, volume, factors])


def _fit(common: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Ridge loadings of every stock on the days it has, `[C], [T, S] -> [C, S]`.

  The stock's mean is not explained.
  """
  known = np.isfinite(values)
  count = np.maximum(known.sum(0), 1)
  filled = np.where(known, values, 0.0)
  filled = np.where(known, filled - filled.sum(0) / count, 0.0)
  loadings = np.empty((common.shape[1], values.shape[1]))
  ridge = RIDGE * np.eye(common.shape[1])
  for s in range(values.shape[1]):
    days = common[known[:, s]]
    loadings[:, s] = np.linalg.solve(
      days.T @ days + ridge, days.T @ filled[known[:, s], s]
    )
  return loadings


def _unit(columns: np.ndarray) -> np.ndarray:
  """Columns of mean 0 and deviation 1; a constant one is 0."""
  columns = columns - columns.mean(0)
  spread = columns.std(0)
  return columns / np.where(spread > 1e-9, spread, 1.0)
