"""What of a simulated market's planted alphas a result has found."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import behaviour
from alphajax.data import simulate
from alphajax.data.panel import PAPER_LABEL, Split
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

HORIZON = PAPER_LABEL.exit - PAPER_LABEL.entry
THRESHOLD = 0.9  # A formula behaves as a planted one does from here on.


class Recovery(NamedTuple):
  """A result beside what was planted, on one split.

  share: IC of its signal over the IC of the planted combination. Both have
    the noise of the labels.
  expected: the same without that noise: how much drift it foresees over the
    horizon of the label, over what the planted combination foresees.
  closest: largest |mean daily correlation| of each planted formula with one of
    the result's; 0 for a result without formulas.
  """

  share: float
  expected: float
  closest: tuple[float, ...]

  def recovered(self, threshold: float = THRESHOLD) -> float:
    """Share of the planted formulas that one of the result's behaves like."""
    return float(np.mean(np.array(self.closest) > threshold))


def recovery(
  simulation: simulate.Simulation,
  split: Split,
  signal: jax.Array | np.ndarray,
  formulas: Sequence[Formula] = (),
  horizon: int = HORIZON,
) -> Recovery:
  """Compares a result with the planted alphas, on the scored days of a split.

  Train flatters it; what a search has learned is seen on the others.

  Args:
    simulation: the market, with what was planted.
    split: of that market.
    signal: of the result, f32[T, S] on the split's panel; NaN where none.
    formulas: those that the result is made of, any number.
    horizon: days of the label.

  Raises:
    ValueError: nothing was planted.
  """
  if not simulation.alphas or not simulation.strength:
    raise ValueError(
      'nothing was planted in this market: take one with '
      '--config.data.simulate.planted=4 (simulated_deep) or '
      '--config.data.simulate.strength=0.05 (simulated)'
    )
  members = jnp.asarray(split.panel.mask)
  days = np.flatnonzero(split.scored)
  signal, target = jnp.asarray(signal), jnp.asarray(split.target)
  earned = metrics.daily_ic(signal, target, members)[days].mean()
  planted = simulate.on_split(simulation, split)
  ahead = _ahead(planted, horizon)[days]
  foreseen = [
    float(
      (
        np.asarray(behaviour.unit(each, members, jnp.asarray(days))) * ahead
      ).sum()
    )
    for each in (signal, jnp.asarray(planted))
  ]
  return Recovery(
    share=float(earned) / simulate.ceiling(simulation, split),
    expected=foreseen[0] / foreseen[1],
    closest=_closest(simulation.alphas, formulas, split, days),
  )


def _ahead(planted, horizon) -> np.ndarray:
  """Planted values of a day and those after it, summed over the horizon."""
  total = np.cumsum(np.nan_to_num(planted.astype(np.float64)), axis=0)
  total = np.concatenate([np.zeros_like(total[:1]), total])
  stop = np.minimum(np.arange(len(planted)) + horizon, len(planted))
  return total[stop] - total[:-1]


def _closest(alphas, formulas, split, days) -> tuple[float, ...]:
  """Largest |mean daily correlation| of each alpha with a formula."""
  if not formulas:
    return (0.0,) * len(alphas)
  store = evaluate.make_store(split.panel)
  members = jnp.asarray(split.panel.mask)
  units = jnp.stack(
    [
      behaviour.unit(values, members, days)
      for values in store.take([formula_lib.parse(text) for text in alphas])
    ]
  )
  found = store.map(list(formulas), _correlate, units, members, days)
  return tuple(np.abs(found).max(axis=0).tolist())


def _correlate(values, units, members, days):
  """Mean daily correlation with each of `units f32[P, D, S]`, f32[P]."""
  unit = behaviour.unit(values, members, days)
  return jnp.sum(units * unit, axis=(1, 2)) / len(days)
