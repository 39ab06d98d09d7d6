"""What a formula is worth, by the daily series of the pool or its own."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from alphajax.factor import metrics, objectives
from alphajax.factor.metrics import Target
from alphajax.factor.objectives import Objective

# One object for each: programs are compiled by its identity.
_make = functools.cache(objectives.make)


def objective_of(config) -> Objective:
  """The config's; the IC for methods whose config has no rewards.

  Raises:
    ValueError: an unknown objective, or one that a pool cannot have.
  """
  value = config.get('value')
  if value is None:
    return _make('ic')
  try:
    objective = _make(value.objective, value.beta)
  except ValueError as error:
    raise ValueError(f'config.value.objective: {error}') from error
  if objective.series != 'ic' and value.reward == 'pool':
    raise ValueError(
      f'config.value.objective is {value.objective!r}: the RankIC of a pool '
      'needs the ranks of its signal after every formula, and the pool keeps '
      "daily correlations alone; set config.value.reward = 'factor', or take "
      "the objective 'ic', 'icir' or 'lcb'"
    )
  return objective


def of_pool(objective: Objective) -> Callable:
  """The function of a pool's daily IC that goes with an objective.

  Where single factors are paid by their ranks, the pool is judged by its IC.
  """
  return objective.score if objective.series == 'ic' else objectives.mean


def of_factor(
  values: jax.Array,
  members: jax.Array,
  target: Target,
  scored: jax.Array,
  objective: Objective,
) -> jax.Array:
  """What a factor f32[T, M] is worth alone, `f32[]`.

  By the IC, its mean with its sign; by another objective, that of the factor
  or of its negative, whichever is better, since the pool can weigh it
  negatively.
  """
  if objective.series == 'ic':
    daily = metrics.target_ic(values, target)
  else:
    label = jnp.where(target.labelled, target.label, jnp.nan)
    daily = metrics.daily_rank_ic(values, label, members)
  if objective == _make('ic'):
    return daily @ scored / jnp.sum(scored)
  return objectives.oriented(objective, daily, scored)[0]


def of_outcome(outcome, reward: str, objective: Objective) -> float:
  """The worth of a formula.

  reward: that of the `pool` after it, that of the `factor` alone, or what the
    pool before it left `unexplained`: its correlation with the rest of the
    label, whatever its sign.
  """
  if reward == 'pool':
    return outcome.ic
  if reward == 'unexplained':
    return abs(outcome.unexplained)
  return abs(outcome.own_ic) if objective == _make('ic') else outcome.own_ic


def value_target(worth: float, likeness: float) -> float:
  """`(1 - similarity) * worth` of Eq. 5.

  A lower bound can be below 0, and there likeness must not raise it.
  """
  sign = 1.0 if worth >= 0 else -1.0
  return (1.0 - sign * likeness) * worth
