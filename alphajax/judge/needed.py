"""How many formulas one search needs for what another one reaches.

Both are judged on the same days after the same numbers of evaluated formulas.
The level is the best that the other has reached by its last number; what is
said is the number that either needs for it, one over the other. Days come in
blocks, since their labels overlap, and so do seeds in a bootstrap: all points
of both searches see the same days in a draw.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # Of the interval.


class Ratio(NamedTuple):
  """Formulas that ours needs, over those that the other does.

  ratio: infinite where ours never gets there.
  low, high: its 95 % interval by the bootstrap; may be infinite.
  reached: share of the draws in which ours gets there at all.
  """

  ratio: float
  low: float
  high: float
  reached: float


def first(points: np.ndarray, curve: np.ndarray, level: float) -> float:
  """The number of formulas at which a curve first reaches a level.

  In between it is a line over the logarithm of the number. The first point,
  where the curve begins at the level or above; infinite, where it never gets
  there.

  Args:
    points: f64[P], rising; curve: f64[P].
    level: to be reached.

  Raises:
    ValueError: a curve with a missing value.
  """
  if not np.isfinite(curve).all():
    raise ValueError(
      'a curve has a missing value: expected a number at every point'
    )
  best = np.maximum.accumulate(curve)
  if level > best[-1]:
    return np.inf
  i = int(np.argmax(best >= level))
  if i == 0:
    return float(points[0])
  share = (level - best[i - 1]) / (best[i] - best[i - 1])
  low, high = np.log(points[i - 1 : i + 1])
  return float(np.exp(low + share * (high - low)))


def ratio(
  points: Sequence[int],
  ours: Sequence[np.ndarray],
  other: Sequence[np.ndarray],
  *,
  weights: Sequence[float] | None = None,
  block: int = 40,
  draws: int = 1000,
  seed: int = 0,
) -> Ratio:
  """The ratio, and its interval over seeds and days.

  Args:
    points: numbers of evaluated formulas, rising, two or more.
    ours, other: of each span the daily figures f64[seeds, P, D]; seeds may
      differ in number, days may not.
    weights: of the spans; by default all alike.
    block: days that are drawn together: more than a label is long.
    draws: of the bootstrap.
    seed: of it.

  Raises:
    ValueError: points that do not rise, or arrays that do not fit.
  """
  counts = np.asarray(points, float)
  if len(counts) < 2 or (np.diff(counts) <= 0).any() or counts[0] < 1:
    raise ValueError(f'points are {list(points)}: expected two or more, rising')
  for a, b in zip(ours, other, strict=True):
    if a.shape[1:] != b.shape[1:] or a.shape[1] != len(counts):
      raise ValueError(
        f'a span is {a.shape} of ours and {b.shape} of the other: expected '
        f'[seeds, {len(counts)}, days], of the same days'
      )
  share = np.ones(len(ours)) if weights is None else np.asarray(weights, float)
  share = share / share.sum()
  rng = np.random.default_rng(seed)
  whole = _ratio(counts, *(_curve(x, share) for x in (ours, other)))
  found = np.empty(draws)
  for n in range(draws):
    days = [_draw_days(rng, span.shape[2], block) for span in ours]
    found[n] = _ratio(counts, *(
      _curve(x, share, days, _draw(rng, x[0].shape[0])) for x in (ours, other)
    ))  # fmt: skip
  ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
  # No interpolation: some may be infinite.
  low, high = np.quantile(found, ends, method='inverted_cdf')
  return Ratio(whole, float(low), float(high), float(np.isfinite(found).mean()))


def _ratio(points, ours: np.ndarray, other: np.ndarray) -> float:
  level = float(other.max())
  return first(points, ours, level) / first(points, other, level)


def _curve(spans, share, days=None, seeds=None) -> np.ndarray:
  """Mean figure after each number of formulas, f64[P].

  days: by span, how often each is taken; seeds: how often each.
  """
  total = np.zeros(spans[0].shape[1])
  for i, span in enumerate(spans):
    by_seed = np.average(
      span, axis=2, weights=None if days is None else days[i]
    )
    total += share[i] * np.average(by_seed, axis=0, weights=seeds)
  return total


def _draw(rng, count: int) -> np.ndarray:
  """How often each is drawn, f64[count]."""
  return np.bincount(
    rng.integers(count, size=count), minlength=count
  ).astype(float)  # fmt: skip


def _draw_days(rng, count: int, block: int) -> np.ndarray:
  """The same of days in blocks, the first one after the last, f64[count]."""
  starts = rng.integers(count, size=-(-count // block))
  days = (starts[:, None] + np.arange(block)).ravel()[:count] % count
  return np.bincount(days, minlength=count).astype(float)
