"""What the ICs of some formulas say about those of all others.

A mean IC is linear in a formula's standardised values, so the correlations
among formulas, which need no label, are its kernel: a ridge regression on the
formulas evaluated predicts the others. All is float64 on the host.
"""

from typing import NamedTuple

import numpy as np

# Least share of a formula that the pool does not explain, as gains see it:
# below it a residual IC is divided by the errors of the correlations.
LEAST_NEW = 0.1
# Ridge of the fit of the pool's own members, against twins among them.
POOL_RIDGE = 1e-2
MIN_RESIDUAL = 1e-6


class Forecast(NamedTuple):
  """What is expected of formulas on the days of the fit.

  ic: mean IC.
  gain: what the pool's IC gains by it, the weights fitted anew; >= 0.
  spread: standard deviation of the IC, of what the formulas evaluated do not
    explain of this one.
  hoped: the gain where the square of the IC is what is expected of it, by so
    many times the square of its spread higher than that of the expected IC.
  trust: the share of IC and gain that is more than the noise of the days, 0 to
    1.
  """

  ic: np.ndarray  # f64[M]
  gain: np.ndarray  # f64[M]
  spread: np.ndarray  # f64[M]
  hoped: np.ndarray  # f64[M]
  trust: float


def pivots(gram: np.ndarray, count: int) -> np.ndarray:
  """Formulas that span the others best, by pivoted Cholesky.

  Each is the one of which those before it explain the least; of several alike
  the first.

  Args:
    gram: f[N, N], correlations; 0 on the diagonal of one without spread.
    count: as many at most; fewer where they explain everything.

  Returns:
    i[n] positions, the first the one that explains most by itself.
  """
  left = np.array(np.diag(gram), np.float64)
  factor = np.zeros((count, len(left)))
  chosen: list[int] = []
  total = np.sum(np.asarray(gram, np.float64) ** 2, axis=1)
  best = int(np.argmax(np.where(left > MIN_RESIDUAL, total, -1.0)))
  while len(chosen) < count and len(left) and left[best] > MIN_RESIDUAL:
    n = len(chosen)
    row = gram[best] - factor[:n, best] @ factor[:n]
    factor[n] = row / np.sqrt(left[best])
    left = left - factor[n] ** 2
    chosen.append(best)
    left[chosen] = 0.0
    best = int(np.argmax(left))
  return np.array(chosen, int)


def predict(
  gram: np.ndarray, across: np.ndarray, ics: np.ndarray, ridge: float
) -> np.ndarray:
  """Kernel ridge regression, `across (gram + ridge I)^-1 ics`.

  Args:
    gram: f64[N, N], correlations among the formulas evaluated.
    across: f64[M, N], of others with them.
    ics: f64[N], or f64[N, k] of several labels.
    ridge: in units of a formula's variance, above 0.
  """
  return across @ np.linalg.solve(gram + ridge * np.eye(len(gram)), ics)


def trust(gram: np.ndarray, blocks: np.ndarray, ridge: float) -> float:
  """The share of the fitted direction that blocks of days agree about.

  The squared length of the label's projection on the formulas, as the ridge
  sees it, is estimated twice: from the mean of all blocks, to which noise adds,
  and from products of different blocks that are not neighbours, whose labels
  overlap: to those noise adds nothing on average.

  Args:
    gram: f64[N, N].
    blocks: f64[N, B], ICs of spans of days equally long.
    ridge: as in `predict`.

  Returns:
    Between 0 and 1; 0 of fewer than three blocks.
  """
  count = blocks.shape[1]
  apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) > 1
  energy = blocks.T @ predict(gram, np.eye(len(gram)), blocks, ridge)
  whole = float(energy.mean())
  if not apart.any() or whole <= 0:
    return 0.0
  return float(np.clip(energy[apart].mean() / whole, 0.0, 1.0))


def forecast(
  gram: np.ndarray,
  across: np.ndarray,
  blocks: np.ndarray,
  pool: np.ndarray,
  ridge: float,
  explore: float = 1.0,
) -> Forecast:
  """What is expected of formulas that are not evaluated yet.

  A gain is sqrt(IC^2 + r^2 / (1 - R^2)) - IC, with r the IC of what the pool
  leaves of the label and R^2 the share of the formula that the pool explains.

  Args:
    gram: f64[N, N], correlations among the formulas evaluated.
    across: f64[M, N], of the others with them.
    blocks: f64[N, B], ICs of the formulas evaluated in spans of days.
    pool: i[P], those of the N that are in the pool; may be empty.
    ridge: as in `predict`.
    explore: how often the square of the spread is added; 1 expects, more hopes.
  """
  ics = blocks.mean(1)
  within = gram[np.ix_(pool, pool)] + POOL_RIDGE * np.eye(len(pool))
  weights = np.linalg.solve(within, ics[pool])
  residual = ics - gram[:, pool] @ weights
  with_pool = across[:, pool]
  explained = np.sum(with_pool * np.linalg.solve(within, with_pool.T).T, 1)
  solved = np.linalg.solve(
    gram + ridge * np.eye(len(gram)),
    np.concatenate([np.stack([ics, residual], 1), across.T], 1),
  )
  ic, left = across @ solved[:, 0], across @ solved[:, 1]
  # The mean square of an IC beside what is known: that of those evaluated.
  unknown = np.maximum(1.0 - np.sum(across * solved[:, 2:].T, 1), 0.0)
  spread = np.sqrt(max(float(ics @ solved[:, 0]), 0.0) / len(gram) * unknown)
  of_pool = max(float(ics[pool] @ weights), 0.0)
  new = np.maximum(1.0 - explained, LEAST_NEW)

  def gain(squared):
    return np.sqrt(of_pool + squared / new) - np.sqrt(of_pool)

  return Forecast(
    ic=ic,
    gain=gain(left**2),
    spread=spread,
    hoped=gain(left**2 + explore * spread**2),
    trust=trust(gram, blocks, ridge),
  )
