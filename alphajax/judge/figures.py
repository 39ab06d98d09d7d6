"""What a signal is worth on a split: daily series and their figures."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import universe
from alphajax.data.device import by_days
from alphajax.data.panel import LabelSpec, Split
from alphajax.factor import metrics
from alphajax.factor import pool as pool_lib

Series = dict[str, np.ndarray]


def of_signal(
  signal: jax.Array, split: Split, label: LabelSpec
) -> tuple[dict[str, Any], Series]:
  """Figures and daily series of any signal.

  Args:
    signal: f32[T, S]; NaN where there is none.
    split: the days; those scored count.
    label: says how far the labels of neighbouring days overlap.

  Returns:
    `metrics.summary` and the coverage, the share of the members' cells on
    scored days that have a value; and `ic`, `rank_ic`, `[days]` each.

  Raises:
    ValueError: a signal of another shape than the panel.
  """
  days = np.flatnonzero(split.scored)
  ic, rank_ic = on_scored_days(signal, split)
  lag = max(label.exit - label.entry - 1, 0)
  cells = np.asarray(split.panel.mask)[days]
  known = np.isfinite(np.asarray(signal)[days]) & cells
  coverage = float(known.sum() / max(cells.sum(), 1))
  figures = {**metrics.summary(ic, rank_ic, lag), 'coverage': coverage}
  return figures, {'ic': ic, 'rank_ic': rank_ic}


def on_scored_days(signal: jax.Array, split: Split) -> np.ndarray:
  """IC and RankIC of a signal on the scored days of a split, `[2, days]`."""
  return daily(*_scored(signal, split))


def _scored(signal: jax.Array, split: Split) -> tuple[np.ndarray, ...]:
  """The signal, the label and the members on the scored days, on the host."""
  days, shape = np.flatnonzero(split.scored), split.panel.mask.shape
  # Cells are taken by their number: another shape would be other stocks.
  if np.shape(signal) != shape:
    raise ValueError(
      f'signal of shape {list(np.shape(signal))}: expected that of the panel, '
      f'[T, S] = {list(shape)}'
    )
  planes = signal, split.target, split.panel.mask
  return tuple(np.asarray(plane)[days] for plane in planes)


def of_factors(
  values: Iterable[jax.Array], split: Split, label: LabelSpec
) -> tuple[list[dict[str, Any]], Series]:
  """Figures and daily series of several signals, and how alike they are.

  Args:
    values: of one factor after the other, f32[T, S] each, one or more.
    split, label: as in `of_signal`.

  Returns:
    The figures of each; and `factor_ic [P, days]`, `correlation [P, P]`, the
    mean over scored days of their cross-sectional correlation.
  """
  # One after the other: any number of them shares the compiled programs.
  parts, units = [], []
  for each in values:
    parts.append(of_signal(each, split, label))
    units.append(by_days(_unit_days, *_side_by_side(*_scored(each, split))))
  # Every day has length 1, so that all days at once have their mean.
  rows = np.stack(units).reshape(len(units), -1)
  correlation = rows @ rows.T / max(len(units[0]), 1)
  return [figures for figures, _ in parts], {
    'factor_ic': np.stack([series['ic'] for _, series in parts]),
    'correlation': correlation,
  }


def daily(
  values: jax.Array | np.ndarray,
  target: jax.Array | np.ndarray,
  members: jax.Array | np.ndarray,
) -> np.ndarray:
  """IC and RankIC of one signal, f32[2, T]."""
  # Ranks take long to compile, and their time grows with the square of stocks.
  planes = _side_by_side(values, target, members)
  return by_days(_some_days, *planes, axis=1)


def _side_by_side(values, target, members) -> tuple[np.ndarray, ...]:
  """The same of members alone, `[T, M]` each; missing in the padding."""
  values, target, members = map(np.asarray, (values, target, members))
  columns, present = universe.side_by_side(members)
  if columns is None:
    return values, target, members
  return values.reshape(-1)[columns], target.reshape(-1)[columns], present


@jax.jit
def _some_days(values, target, members):
  return jnp.stack(
    [
      metrics.daily_ic(values, target, members),
      metrics.daily_rank_ic(values, target, members),
    ]
  )


@jax.jit
def _unit_days(values, target, members):
  """A factor of length 1 on every day: inner products are correlations."""
  z = pool_lib.prepare(values, members, metrics.make_target(target, members))
  norm = jnp.sqrt(jnp.sum(z * z, -1, keepdims=True))
  return z / jnp.where(norm > 0, norm, 1.0)
