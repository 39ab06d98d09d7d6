"""Where digits, gradients and types get lost elsewhere."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphajax.data import panel as panel_lib
from alphajax.factor import metrics
from alphajax.language import vocab

ROOT = Path(__file__).parent.parent
T, S = 40, 300


def levelled(ratio, seed=0):
  """A factor whose level is `ratio` times its spread, as float32 holds it."""
  rng = np.random.default_rng(seed)
  values = (ratio + rng.normal(size=(T, S))).astype(np.float32)
  values *= rng.lognormal(0, 5, (T, 1)).astype(np.float32)
  target = (
    0.3 * rng.normal(size=(T, S))
    + 0.1 * (values - values.mean(1)[:, None]) / values.std(1)[:, None]
  )  # noqa: E501
  return values, target.astype(np.float32), rng.random((T, S)) < 0.9


@pytest.mark.parametrize('ratio', [1.0, 1e4, 1e5, 9e5])
def test_a_high_level_costs_no_digits(ratio):
  values, target, mask = levelled(ratio)
  exact = oracle.daily_ic(values.astype(float), target.astype(float), mask)
  assert np.abs(exact).mean() > 0.1
  daily = metrics.daily_ic(values, target, mask)
  np.testing.assert_allclose(daily, exact, atol=2e-6)
  goal = metrics.make_target(jnp.asarray(target), jnp.asarray(mask))
  np.testing.assert_allclose(
    metrics.target_ic(jnp.asarray(values), goal), exact, atol=2e-6
  )
  z = np.asarray(panel_lib.standardize(values, mask))
  for t in range(T):
    day = values[t, mask[t]].astype(float)
    np.testing.assert_allclose(
      z[t, mask[t]], (day - day.mean()) / day.std(), atol=1e-5
    )


def test_ratios_of_constants_and_series_that_are_none():
  assert metrics.information_ratio(np.full(50, 0.1)) == 0.0
  assert metrics.information_ratio(np.zeros(50)) == 0.0
  series = np.array([0.1, 0.3])
  assert metrics.information_ratio(series) == pytest.approx(2.0)
  for bad in (np.nan, np.inf):
    with pytest.raises(ValueError, match='expected a finite number a day'):
      metrics.mean_interval(np.array([0.1, bad, 0.2]), lag=1)


OPERATORS = [
  name for name, row in vocab.OPERATORS.items() if row.kind in vocab.WINDOWED
]
