"""Whether two samples are of one distribution: MMD and its kernels."""

from collections.abc import Callable

import numpy as np

NUM_SHUFFLES = 200


def mmd(
  one: np.ndarray,
  other: np.ndarray,
  rng: np.random.Generator,
  kernel: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
  """Squared MMD of `[N, D]` and `[M, D]`, unbiased, and its permutation p.

  kernel: `[K, D] -> [K, K]`; `gaussian` by default.
  """
  products = (kernel or gaussian)(np.concatenate([one, other]))
  np.fill_diagonal(products, 0.0)
  n, m = len(one), len(other)

  def statistic(order):
    side = np.zeros(n + m)
    side[order[:n]] = 1.0
    rest = 1.0 - side
    inside = side @ products @ side / (n * (n - 1))
    outside = rest @ products @ rest / (m * (m - 1))
    return inside + outside - 2 * side @ products @ rest / (n * m)

  found = statistic(np.arange(n + m))
  chance = [statistic(rng.permutation(n + m)) for _ in range(NUM_SHUFFLES)]
  above = 1 + sum(value >= found for value in chance)
  return float(found), above / (1 + NUM_SHUFFLES)


def gaussian(both: np.ndarray) -> np.ndarray:
  """Mean of three Gaussian kernels, of half, one and two median distances."""
  square = distances(both, both) ** 2
  middle = np.median(square[np.triu_indices(len(both), 1)])
  return np.mean(
    [np.exp(-square / (2 * middle * s**2)) for s in (0.5, 1, 2)], axis=0
  )


def linear(both: np.ndarray) -> np.ndarray:
  """Inner products: the distance is that of the means."""
  return both @ both.T


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Euclidean, `[N, D], [M, D] -> [N, M]`."""
  square = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
  return np.sqrt(np.maximum(square, 0.0))


def signatures(steps: np.ndarray) -> np.ndarray:
  """Signatures to level 3 of paths of straight steps `[N, L, D]`.

  Returns:
    `[N, D + D^2 + D^3]`, the iterated integrals, by Chen's identity.
  """
  count, _, size = steps.shape
  first = np.zeros((count, size))
  second = np.zeros((count, size, size))
  third = np.zeros((count, size, size, size))
  for step in np.moveaxis(steps, 1, 0):
    pair = step[:, :, None] * step[:, None, :] / 2
    third += second[..., None] * step[:, None, None, :]
    third += first[:, :, None, None] * pair[:, None]
    third += pair[..., None] * step[:, None, None, :] / 3
    second += first[:, :, None] * step[:, None, :] + pair
    first += step
  parts = [
    x.reshape(count, size**level)
    for level, x in enumerate((first, second, third), 1)
  ]
  return np.concatenate(parts, axis=1)
