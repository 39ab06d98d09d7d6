"""Objectives: the score of a signal, from its daily correlations.

An objective is a small pure function of a daily series, so that it scores one
formula, a batch of them or a pool alike, and can be differentiated.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alphajax import lookup
from alphajax.factor import metrics
from alphajax.factor.metrics import Target

SERIES = ('ic', 'rank_ic')


class Objective(NamedTuple):
  """What to maximise.

  series: the daily series it reads, one of `SERIES`.
  score: `(daily f32[..., T], scored bool[T]) -> f32[...]`, finite. Days that do
    not count are 0 in `daily`, never NaN (see `metrics.daily_ic`).
  """

  series: str
  score: Callable


# Over the scored days: IC or RankIC (Eq. 2 of AlphaCFG), and their ratios.
mean, deviation = metrics.series_mean, metrics.series_deviation
ratio = metrics.information_ratio


def lower_bound(
  daily: jax.Array, scored: jax.Array, *, beta: float
) -> jax.Array:
  """Lower confidence bound, mean - beta * std.

  The deviation is divided by the share of days that count. Otherwise, since
  the bound is mostly negative, a signal would gain by being silent: it is the
  days left out, 0 in the series, that make a deviation small. One without any
  day that counts gets -beta.
  """
  share = mean((daily != 0).astype(jnp.float32), scored)
  heard = share > 0
  spread = deviation(daily, scored) / jnp.where(heard, share, 1.0)
  return mean(daily, scored) - beta * jnp.where(heard, spread, 1.0)


def make(name: str, beta: float = 1.0, key: str = 'the objective') -> Objective:
  """The objective of that name; `beta` is that of the lower bounds.

  name: one of ours, or the import path of an `Objective`.
  key: of the config, for the error.

  Raises:
    ValueError: an unknown name, or a beta below 0.
  """
  if beta < 0:
    raise ValueError(f'{key}: beta is {beta}: expected a number >= 0')
  found = lookup.resolve(name, _known(beta), key=key)
  if not isinstance(found, Objective) or found.series not in SERIES:
    raise ValueError(
      f'{key} is {name!r}: expected an Objective(series, score) whose series '
      f'is one of {SERIES}, see alphajax/factor/objectives.py'
    )
  if name not in _known(beta):
    _try(found, f'{key} is {name!r}')
  return found


def _try(objective: Objective, named: str) -> None:
  """Scores two small series by an objective of the user's.

  Otherwise a NaN would be taken for a formula without a value.

  Raises:
    ValueError: the score is not a finite number for each series.
  """
  daily = jnp.asarray([[0.1, -0.2, 0.0, 0.3], [0.0, 0.0, 0.0, 0.0]])
  scores = objective.score(daily, jnp.asarray([True, True, True, False]))
  if jnp.shape(scores) != (2,):
    raise ValueError(
      f'{named}: of daily series f32[2, 4] its score is of shape '
      f'{list(jnp.shape(scores))}: expected [2], the days reduced'
    )
  if not bool(jnp.all(jnp.isfinite(scores))):
    raise ValueError(
      f'{named}: its score of {daily.tolist()}, the last day not scored, is '
      f'{jnp.asarray(scores).tolist()}: expected finite numbers, also of a '
      'series of zeros; guard what is divided by'
    )


# One object for each: programs are compiled by its identity.
@functools.cache
def _known(beta: float) -> dict[str, Objective]:
  bound = functools.partial(lower_bound, beta=beta)
  return {
    'ic': Objective('ic', mean),
    'rank_ic': Objective('rank_ic', mean),
    'icir': Objective('ic', ratio),
    'rank_icir': Objective('rank_ic', ratio),
    'lcb': Objective('ic', bound),
    'rank_lcb': Objective('rank_ic', bound),
  }


def oriented(
  objective: Objective, daily: jax.Array, scored: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The better score of a signal and its negative, and the sign of that.

  A factor of IC -0.05 is as good as one of 0.05: the paper's Table 3 has
  absolute values. `f32[..., T] -> (f32[...], f32[...] of 1 or -1)`.
  """
  plus, minus = (objective.score(s * daily, scored) for s in (1.0, -1.0))
  return jnp.maximum(plus, minus), jnp.where(minus > plus, -1.0, 1.0)


def of_pool(objective: Objective) -> Callable:
  """The function of a pool's daily IC that goes with an objective.

  Where single factors are paid by their ranks, the pool is judged by its IC.
  """
  return objective.score if objective.series == 'ic' else mean


@jax.default_matmul_precision('highest')
def of_factor(
  values: jax.Array,
  target: Target,
  scored: jax.Array,
  objective: Objective,
) -> jax.Array:
  """The reward of a factor f32[T, M] alone, `f32[]`.

  By the IC, its mean with its sign; by another objective, that of the factor
  or of its negative, whichever is better, since the pool can weigh it
  negatively.
  """
  if objective.series == 'ic':
    daily = metrics.target_ic(values, target)
  else:
    daily = metrics.daily_rank_ic(values, target.raw, target.labelled)
  if objective == make('ic'):
    return daily @ scored / jnp.sum(scored)
  return oriented(objective, daily, scored)[0]
