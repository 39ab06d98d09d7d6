"""Whether what came is in the order in which it was expected."""

import numpy as np


def rank_correlation(expected: np.ndarray, came: np.ndarray) -> float | None:
  """Spearman's; None of fewer than three pairs, or where one is constant."""
  if len(came) < 3 or not (np.ptp(expected) > 0 and np.ptp(came) > 0):
    return None
  from scipy import stats  # Takes a second to load, in every process.

  return float(stats.spearmanr(expected, came).statistic)
