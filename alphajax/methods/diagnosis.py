"""Whether anything is learned: what iterations of games say of themselves."""

import numpy as np

from alphajax.methods import foresight


def learned(games, targets: np.ndarray) -> np.ndarray:
  """The target of the last move of every game, f32[B]; 0 without a move."""
  active = np.asarray(games.active)
  last = len(active) - 1 - np.argmax(active[::-1], axis=0)
  return np.where(active.any(0), targets[last, np.arange(active.shape[1])], 0.0)


def diagnostics(predicted, worths, outcomes) -> dict[str, float | None]:
  """Whether anything is learned, of the new formulas of an iteration.

  target_spread: standard deviation of what the finished formulas are worth.
  value_rank: rank correlation of the value predicted before with that worth;
    value_own, value_unexplained: with |own IC|, and with the correlation with
    what the pool left of the label. None where one of them is constant.
  mean_own_ic: mean |own IC|; dead, duplicates: shares of all proposed.
  """
  new = np.array([outcome.is_new for outcome in outcomes])
  own = np.array([abs(outcome.own_ic) for outcome in outcomes])
  left = np.array([abs(outcome.unexplained) for outcome in outcomes])
  alive = new & (own > 0)

  def rank_correlation(others):
    return foresight.rank_correlation(
      predicted[alive], np.asarray(others)[alive]
    )

  return {
    'target_spread': float(np.std(worths[new])) if new.any() else None,
    'value_rank': rank_correlation(worths),
    'value_own': rank_correlation(own),
    'value_unexplained': rank_correlation(left),
    'mean_own_ic': float(own[new].mean()) if new.any() else None,
    'dead': float(np.mean(new & ~alive)),
    'duplicates': float(np.mean(~new)),
  }
