"""What a signal is worth on a split: daily series and their figures."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
  return daily(signal, split.target, split.panel.mask)[:, split.scored]


def of_factors(
  values: Sequence[jax.Array], split: Split, label: LabelSpec
) -> tuple[list[dict[str, Any]], Series]:
  """Figures and daily series of several signals, and how alike they are.

  Returns:
    The figures of each; and `factor_ic [P, days]`, `correlation [P, P]`, the
    mean over scored days of their cross-sectional correlation.
  """
  # One after the other: any number of them shares the compiled programs.
  parts = [of_signal(each, split, label) for each in values]
  days = np.flatnonzero(split.scored)
  units = [_unit_days(each, split.target, split.panel.mask) for each in values]
  correlation = _mean_product(units, days)
  return [figures for figures, _ in parts], {
    'factor_ic': np.stack([series['ic'] for _, series in parts]),
    'correlation': np.asarray(correlation),
  }


def daily(
  values: jax.Array | np.ndarray,
  target: jax.Array | np.ndarray,
  members: jax.Array | np.ndarray,
) -> np.ndarray:
  """IC and RankIC of one signal, f32[2, T]."""
  # Ranks take long to compile.
  return by_days(_some_days, values, target, members, axis=1)


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


@jax.jit
def _mean_product(units, days):
  """Mean over days of the inner products of factors, `[P, P]`."""
  units = jnp.stack(units)
  daily = jnp.einsum('pts,qts->pqt', units, units, precision='highest')
  return daily[..., days].mean(-1)
