"""Objectives against NumPy, and against what a search could exploit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.factor import metrics, objectives

RNG = np.random.default_rng(0)
SCORED = np.arange(60) >= 10
# Three signals; what stands outside the scored days must not count.
DAILY = RNG.normal([[0.02], [-0.05], [0.0]], 0.1, (3, 60)).astype(np.float32)
NAMES = ('ic', 'rank_ic', 'icir', 'rank_icir', 'lcb', 'rank_lcb')


def score(name, daily=DAILY, beta=1.0):
  objective = objectives.make(name, beta)
  return np.asarray(objective.score(jnp.asarray(daily), jnp.asarray(SCORED)))


def test_agree_with_numpy():
  days = DAILY[:, SCORED].astype(np.float64)
  mean, std = days.mean(1), days.std(1)
  for prefix in ('', 'rank_'):
    np.testing.assert_allclose(score(f'{prefix}ic'), mean, atol=1e-6)
    np.testing.assert_allclose(score(f'{prefix}icir'), mean / std, rtol=1e-4)
    np.testing.assert_allclose(
      score(f'{prefix}lcb', beta=0.5), mean - 0.5 * std, atol=1e-6
    )
  for value, row in zip(score('icir'), days, strict=True):
    assert value == pytest.approx(metrics.information_ratio(row), rel=1e-4)


def test_names_say_which_series_they_read():
  for name in NAMES:
    series = objectives.make(name).series
    assert series == ('rank_ic' if name.startswith('rank') else 'ic')


@pytest.mark.parametrize('name', NAMES)
def test_silence_never_pays(name):
  """The fewer days a signal speaks on, the less it is worth."""
  daily = np.tile(DAILY[0], (4, 1))
  daily[:, SCORED] += 0.02 - daily[0, SCORED].mean()  # The mean is positive.
  for row, kept in enumerate((60, 40, 15, 0)):
    daily[row, kept:] = 0.0
  values = score(name, daily)
  assert np.all(np.isfinite(values))
  assert values[0] > values[1] > values[2]
  assert values[0] > values[3]
  assert np.argmax(values) == 0


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('row', [0, 1, 2])
def test_gradients_are_finite(name, row):
  objective = objectives.make(name)
  for daily in (DAILY[row], np.zeros(60, np.float32)):
    gradient = jax.grad(objective.score)(jnp.asarray(daily), SCORED)
    assert np.all(np.isfinite(gradient))


def test_oriented_takes_the_better_sign():
  objective = objectives.make('ic')
  values, signs = objectives.oriented(objective, jnp.asarray(DAILY), SCORED)
  mean = DAILY[:, SCORED].mean(1)
  np.testing.assert_allclose(values, np.abs(mean), atol=1e-6)
  np.testing.assert_array_equal(signs, np.where(mean < 0, -1, 1))


MEDIAN = objectives.Objective('ic', lambda daily, scored: jnp.median(daily, -1))


def test_an_objective_of_ones_own():
  assert objectives.make(f'{__name__}.MEDIAN') is MEDIAN
  with pytest.raises(ValueError, match='config.value.objective is .*DAILY'):
    objectives.make(f'{__name__}.DAILY', 1.0, 'config.value.objective')


def test_refusals():
  with pytest.raises(ValueError, match="'sharpe': expected one of ic"):
    objectives.make('sharpe')
  with pytest.raises(ValueError, match='beta is -1'):
    objectives.make('lcb', -1)


def _days_kept(daily, scored):
  return daily * scored


def _unguarded(daily, scored):
  return jnp.sum(daily * scored, -1) / jnp.sum(daily != 0, -1)


shape_kept = objectives.Objective('ic', _days_kept)
unguarded = objectives.Objective('ic', _unguarded)


@pytest.mark.parametrize(
  ('name', 'said'),
  [
    ('shape_kept', r'shape \[2, 4\]: expected \[2\]'),
    ('unguarded', 'nan.*expected finite numbers'),
  ],
)
def test_an_objective_of_ones_own_is_tried_when_it_is_named(name, said):
  with pytest.raises(ValueError, match=said):
    objectives.make(f'{__name__}.{name}')
