"""Curves of runs: what each had reached after so much was spent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POINTS = 120  # Of a curve over several runs.


class Curve(NamedTuple):
  """What a run had spent and reached by iteration, f64[N] each; NaN: unknown.

  evaluated: distinct formulas so far; NaN of what evaluates none.
  seconds: since it began.
  train_ic, valid_ic: of its result by then.
  """

  evaluated: np.ndarray
  seconds: np.ndarray
  train_ic: np.ndarray
  valid_ic: np.ndarray


class Band(NamedTuple):
  """Several runs of a method, f64[P] each.

  spent: formulas or seconds, from where all runs hold something to the last
    end; a run that ended holds what it had.
  mean: over the runs.
  low, high: the least and the greatest of them.
  """

  spent: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray


def at(spent: np.ndarray, reached: np.ndarray, points) -> np.ndarray:
  """What was reached by the time that `points` were spent.

  That of the last iteration by then; NaN before the first one ended.
  """
  index = np.searchsorted(spent, points, side='right') - 1
  return np.where(index >= 0, reached[np.maximum(index, 0)], np.nan)


def band(curves: Sequence[Curve], axis: str, figure: str) -> Band | None:
  """Mean and range over the runs of a method.

  None where a run does not count what is spent, or one holds nothing.

  Args:
    curves: one a run.
    axis: 'evaluated' or 'seconds'.
    figure: 'train_ic' or 'valid_ic'.
  """
  ways = [getattr(curve, axis) for curve in curves]
  if not ways or not all(np.isfinite(way).all() for way in ways):
    return None
  start, end = (max(way[i] for way in ways) for i in (0, -1))
  points = np.unique(np.linspace(start, end, POINTS))
  values = np.stack(
    [
      at(way, getattr(curve, figure), points)
      for way, curve in zip(ways, curves, strict=True)
    ]
  )
  known = np.isfinite(values).all(0)
  if not known.any():
    return None
  values, points = values[:, known], points[known]
  return Band(points, values.mean(0), values.min(0), values.max(0))


def together(curves: Sequence[Curve]) -> Curve | None:
  """One curve of several runs that are one result, as the folds of a walk.

  ICs are means over them after so many formulas each, seconds are summed. None
  where there is none or one counts no formulas.
  """
  found = {
    name: band(curves, 'evaluated', name) for name in ('train_ic', 'valid_ic')
  }
  train, valid = found['train_ic'], found['valid_ic']
  if train is None or valid is None:
    return None
  points = np.intersect1d(train.spent, valid.spent)
  seconds = [at(curve.evaluated, curve.seconds, points) for curve in curves]
  return Curve(
    points,
    np.sum(seconds, axis=0),
    train.mean[np.isin(train.spent, points)],
    valid.mean[np.isin(valid.spent, points)],
  )
