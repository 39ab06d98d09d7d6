"""Noise of simulated returns: plain, or with the dependence of real panels.

Either has mean 0 given the past. Plain noise is a market, sectors and a
stock's own shock, the same for all stocks. A real mean IC is less certain than
under it: whatever a formula measures, the stocks it ranks high move together.
So `real` adds styles, characteristics that a stock's own past decides, whose
premia are symmetric shocks of every day, and stocks of unlike volatility.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

NAMES = ('plain', 'real')

MARKET, SECTOR, OWN = 0.010, 0.006, 0.016  # Daily volatilities.
NUM_SECTORS = 10
TAIL = 5.0  # Degrees of freedom of the shocks.
LARGEST = 0.3  # Daily returns are cut, symmetrically, at this size.
ARCH, GARCH = 0.08, 0.90  # Weights of yesterday's shock and variance.

# Of real noise; tuned until the CSI 300's figures in noise_test.py came out.
REAL_MARKET, REAL_SECTOR, REAL_OWN = 0.0175, 0.006, 0.015
BETA = 0.2  # Deviation of the loadings on the market.
SPREAD = 0.15  # Deviation of the logarithm of own volatilities, for good,
SWING, MEMORY = 0.35, 0.97  # and of the part that comes and goes, an AR(1).

HISTORY = 60  # Days that a style looks back.
# Daily volatilities of the premia of the styles, see `loadings`.
STYLES = dict(
  volatility=0.0055,
  reversal=0.0055,
  momentum=0.0055,
  price=0.0026,
  volume=0.0026,
  activity=0.0042,
  agreement=0.0040,
  range=0.0040,
)


class Noise(NamedTuple):
  """The part of all returns that nothing predicts.

  returns: of simple returns, what no style explains; see `cut`.
  variance: common to all stocks, 1 on average.
  premia: returns of a loading of 1 on each style; None without styles.
  """

  returns: np.ndarray  # [T, S]
  variance: np.ndarray  # [T]
  premia: np.ndarray | None  # [T, len(STYLES)]


def make(
  name: str,
  rngs: Mapping[str, np.random.Generator],
  num_days: int,
  num_stocks: int,
) -> Noise:
  """Draws noise; each stream day after day, so that longer continues shorter.

  Raises:
    ValueError: an unknown name.
  """
  if name not in NAMES:
    raise ValueError(
      f'unknown noise {name!r}: expected one of {", ".join(NAMES)}'
    )
  unit = np.sqrt(TAIL / (TAIL - 2))  # Deviation of a Student variable.
  market = rngs['market'].standard_t(TAIL, num_days) / unit
  sector = rngs['sector'].standard_t(TAIL, (num_days, NUM_SECTORS)) / unit
  own = rngs['own'].standard_t(TAIL, (num_days, num_stocks)) / unit
  sectors = rngs['static'].integers(NUM_SECTORS, size=num_stocks)
  variance = np.ones(num_days)
  for t in range(1, num_days):
    shock = market[t - 1] ** 2
    variance[t] = 1 - ARCH - GARCH + variance[t - 1] * (ARCH * shock + GARCH)
  premia = None
  if name == 'plain':
    noise = MARKET * market[:, None] + SECTOR * sector[:, sectors] + OWN * own
  else:
    size = rngs['nature'].normal(size=num_stocks)  # How nervous a stock is.
    own = own * np.exp(SPREAD * size + _swing(rngs['temper'], own.shape))
    noise = REAL_MARKET * market[:, None] * (1 + BETA * size)
    noise = noise + REAL_SECTOR * sector[:, sectors] + REAL_OWN * own
    premia = rngs['style'].standard_t(TAIL, (num_days, len(STYLES))) / unit
    premia *= np.sqrt(variance)[:, None] * np.array([*STYLES.values()])
  noise = np.sqrt(variance)[:, None] * noise
  return Noise(cut(noise), variance, premia)


def cut(returns: np.ndarray) -> np.ndarray:
  """Returns of no day larger than LARGEST, up or down."""
  return np.clip(returns, -LARGEST, LARGEST)


def _swing(rng, shape) -> np.ndarray:
  """The part of a logarithm of own volatility that comes and goes, `[T, S]`."""
  fresh = SWING * np.sqrt(1 - MEMORY**2) * rng.normal(size=shape)
  swing = np.zeros(shape)
  for t in range(1, len(swing)):
    swing[t] = MEMORY * swing[t - 1] + fresh[t]
  return swing


def loadings(close: np.ndarray, volume: np.ndarray) -> np.ndarray:
  """Loadings on the styles after the last of these days, `[K, S]`.

  Ranks, centred and of variance 1, since the premium of an outlier would be
  a return of its own. 0 before there are HISTORY + 1 days.

  Args:
    close: f64[T, S] of all stocks, listed or not.
    volume: f64[T, S], the same.
  """
  num_days, num_stocks = close.shape
  if num_days <= HISTORY:
    return np.zeros((len(STYLES), num_stocks))
  close = np.log(close[-HISTORY - 1 :])
  volume = np.log(volume[-HISTORY - 1 :])
  change, month = np.diff(close, axis=0), slice(-20, None)
  size = np.abs(change[month])
  values = np.stack(
    [
      size.mean(axis=0),
      close[-1] - close[-11],
      close[-1] - close[0],
      close[-1],
      volume[month].mean(axis=0),
      volume[-10:].mean(axis=0) - volume.mean(axis=0),
      _corr(close[month], volume[month]),
      size.max(axis=0) / size.mean(axis=0),
    ]
  )
  ranks = values.argsort(axis=1, kind='stable').argsort(axis=1)
  return (ranks - (num_stocks - 1) / 2) * np.sqrt(12 / (num_stocks**2 - 1))


def _corr(x, y) -> np.ndarray:
  """Correlation over the days of each stock, `[T, S], [T, S] -> [S]`."""
  x, y = x - x.mean(axis=0), y - y.mean(axis=0)
  return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
