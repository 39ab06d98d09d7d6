"""What a formula is worth, by the daily series of the pool or its own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from alphajax import lookup
from alphajax.factor import objectives
from alphajax.factor.objectives import Objective

Reward = Callable[[Any, Objective], float]  # Of an `archive.Outcome`.


def _of_factor(outcome, objective: Objective) -> float:
  is_ic = objective == objectives.make('ic')
  return abs(outcome.own_ic) if is_ic else outcome.own_ic


# The worth of the `pool` after a formula, what the pool `gain`s by it, that of
# the `factor` alone, or what the pool before it left `unexplained`: its
# correlation with the rest of the label, whatever its sign.
REWARDS: Mapping[str, Reward] = {
  'pool': lambda outcome, _: outcome.ic,
  'gain': lambda outcome, _: outcome.gain,
  'factor': _of_factor,
  'unexplained': lambda outcome, _: abs(outcome.unexplained),
}


def reward_of(name: str) -> Reward:
  """The reward that `config.value.reward` names.

  name: one of `REWARDS`, or the import path of `reward(outcome, objective)`.

  Raises:
    ValueError: neither of both. The function of an import path raises it where
      a formula is worth no finite number.
  """
  function = lookup.function(
    name, REWARDS, 'reward(outcome, objective)', key='config.value.reward'
  )
  if name in REWARDS:
    return function

  def reward(outcome, objective: Objective) -> float:
    worth = np.asarray(function(outcome, objective))
    if worth.shape or worth.dtype.kind not in 'fiub' or not np.isfinite(worth):
      raise ValueError(
        f'config.value.reward is {name!r}: it gave {worth}: expected a finite '
        'number'
      )
    return float(worth)

  return reward


def objective_of(config) -> Objective:
  """The config's; the IC for methods whose config has no rewards.

  Raises:
    ValueError: an unknown objective, or one that a pool cannot have.
  """
  value = config.get('value')
  if value is None:
    return objectives.make('ic')
  objective = objectives.make(
    value.objective, value.beta, 'config.value.objective'
  )
  if objective.series != 'ic' and value.reward in ('pool', 'gain'):
    raise ValueError(
      f'config.value.objective is {value.objective!r}: the RankIC of a pool '
      'needs the ranks of its signal after every formula, and the pool keeps '
      "daily correlations alone; set config.value.reward = 'factor', or take "
      "the objective 'ic', 'icir' or 'lcb'"
    )
  return objective


def strongest(ics: Iterable[float | None]) -> float:
  """The largest |`Outcome.own_ic`| of formulas, 1 where none has any."""
  return max((abs(ic) for ic in ics if ic), default=1.0)


def normalized(worths, is_new, how: str, unit: float = 1.0):
  """What the network learns of the worths of an iteration's formulas.

  Worths differ by a hundredth of what the search explores by, and by less as
  the pool grows; ranks do not.

  Args:
    worths: f[B], scaled.
    is_new: bool[B], those not evaluated before; without any all ranks are 0.
    how: 'none', 'clip' at 1, 'strongest': the same in units of `unit`, or
      'rank': the share of the new ones that are worth less, those alike
      counted by half.
    unit: see `strongest`.

  Returns:
    f[B].
  """
  if how in ('clip', 'strongest'):
    return np.minimum(worths / (unit if how == 'strongest' else 1.0), 1.0)
  if how == 'rank':
    new = np.sort(worths[is_new])
    below, upto = (np.searchsorted(new, worths, s) for s in ('left', 'right'))
    return (below + upto) / max(2 * len(new), 1)
  return worths


def value_target(worth: float, likeness: float) -> float:
  """`(1 - similarity) * worth` of Eq. 5.

  A lower bound can be below 0, and there likeness must not raise it.
  """
  sign = 1.0 if worth >= 0 else -1.0
  return (1.0 - sign * likeness) * worth
