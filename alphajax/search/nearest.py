"""The nearest of many behaviours, without a product with each.

A behaviour is a row of thousands of numbers, and an archive has thousands of
them. What lies in the span of the first ones bounds all products: for unit
rows |x y| <= |Px Py| + |x - Px| |y - Py|, P being the projection. Few pairs
reach a high bound, and only those are multiplied; so what is found is exact.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SPAN = 128  # Rows that are spanned.
SLACK = 1e-3  # Of a bound; rounding takes 6e-4 where a row is in the span.


class Shadow(NamedTuple):
  """What bounds the products of rows; a value.

  basis: f32[D, k], orthonormal, of the first rows; k is SPAN, or D if less.
  inside: f32[n, k], the coordinates of each row of length 1.
  outside: f32[n], the length of the rest of it.
  """

  basis: np.ndarray
  inside: np.ndarray
  outside: np.ndarray


def take(parts: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
  """Rows by their positions in all parts, f32[len(places), D]."""
  ends = np.cumsum([len(part) for part in parts])
  which = np.searchsorted(ends, places, side='right')
  starts = ends - [len(part) for part in parts]
  rows = np.zeros((len(places), parts[0].shape[1]), np.float32)
  for part in np.unique(which):
    here = which == part
    rows[here] = parts[part][places[here] - starts[part]]
  return rows


def cast(parts: Sequence[np.ndarray]) -> Shadow | None:
  """The shadow of all rows f16[n, D]; None of fewer than `SPAN`."""
  if sum(map(len, parts)) < SPAN:
    return None
  first = take(parts, np.arange(SPAN)).astype(np.float64)
  basis = np.linalg.qr(first.T)[0].astype(np.float32)
  shadow = Shadow(
    basis, np.zeros((0, basis.shape[1]), np.float32), np.zeros(0, np.float32)
  )
  for part in parts:
    shadow = extend(shadow, part)
  return shadow


def extend(shadow: Shadow, rows: np.ndarray) -> Shadow:
  """The shadow of these rows as well."""
  inside, outside = _project(shadow.basis, rows)
  return shadow._replace(
    inside=np.concatenate([shadow.inside, inside]),
    outside=np.concatenate([shadow.outside, outside]),
  )


def _project(basis, rows):
  unit = rows.astype(np.float32) / np.sqrt(np.float32(rows.shape[1]))
  inside = unit @ basis
  rest = np.sum(unit * unit, 1) - np.sum(inside * inside, 1)
  return inside, np.sqrt(np.maximum(rest, 0.0))


def nearest(
  parts: Sequence[np.ndarray],
  shadow: Shadow | None,
  rows: np.ndarray,
  least: float,
) -> np.ndarray:
  """The largest correlation by its size of each row with any in the parts.

  Args:
    parts: f16[n, D] each, rows of length sqrt(D).
    shadow: of all of them, or None: every product is taken.
    rows: f16[M, D].
    least: what does not reach it may count 0.

  Returns:
    f32[M].
  """
  if shadow is None:
    near = np.zeros(len(rows), np.float32)
    for part in parts:
      near = np.maximum(near, likeness(rows, part).max(1))
    return near
  inside, outside = _project(shadow.basis, rows)
  bound = np.abs(inside @ shadow.inside.T)
  bound += outside[:, None] * shadow.outside
  close = bound >= least - SLACK
  ours, theirs = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
  near = np.zeros(len(rows), np.float32)
  if ours.size:
    exact = likeness(rows[ours], take(parts, theirs))
    near[ours] = np.where(close[np.ix_(ours, theirs)], exact, 0.0).max(1)
  return near


def likeness(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Correlations by their size, f32[N, M]."""
  left = rows.astype(np.float32)
  return np.abs(left @ others.astype(np.float32).T) / left.shape[1]
