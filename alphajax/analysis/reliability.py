"""Whether forecasts are as large as what comes: means in bins of a forecast."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
  """Forecasts of about the same size.

  error: standard error of what came on average, where what belongs to one
    group counts as one observation.
  """

  size: int
  predicted: float
  real: float
  error: float


def reliability(
  predicted: np.ndarray,
  real: np.ndarray,
  group: np.ndarray,
  shares: Sequence[float],
) -> list[Bin]:
  """What was forecast and what came, by the size of the forecast.

  Args:
    predicted, real: f[n], finite.
    group: i[n], what belongs together.
    shares: ends of the bins in shares of the forecasts, smallest first, without
      0 and 1.

  Returns:
    The bins that have a forecast, smallest first.
  """
  order = np.argsort(predicted, kind='stable')
  cuts = [round(share * len(order)) for share in shares]
  return [
    _bin(predicted[part], real[part], group[part])
    for part in np.split(order, cuts)
    if len(part)
  ]


def _bin(predicted, real, group) -> Bin:
  _, place = np.unique(group, return_inverse=True)
  mean = float(np.mean(real))
  sums = np.bincount(place, weights=real - mean)
  some = len(sums)
  scale = np.sqrt(some / max(some - 1, 1)) / len(real)
  error = float(scale * np.sqrt(np.sum(np.square(sums))))
  return Bin(len(real), float(np.mean(predicted)), mean, error)
