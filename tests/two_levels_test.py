"""Bars split in a common path and what it leaves."""

import numpy as np
import pytest

from alphajax.data import bars, controls, simulate, two_levels


@pytest.fixture(scope='module')
def source():
  panel = simulate.simulate(
    seed=1, num_days=400, num_stocks=24, alphas=(), strength=0.0
  ).panel
  return controls.make_source(panel, 14)


def test_what_is_split_is_joined(source):
  for independent in (False, True):
    levels = two_levels.split(source, independent)
    joined = two_levels.join(levels.common, levels.left, levels.loadings)
    np.testing.assert_allclose(joined, source.values, atol=1e-5)


def test_the_path_is_of_unit_size_and_explains_the_market(source):
  levels = two_levels.split(source)
  assert levels.common.shape == (400, 8) and levels.left.shape == (400, 14, 6)
  np.testing.assert_allclose(levels.common.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(levels.common.std(0), 1, atol=1e-5)
  # No bar of this market is without an upper wick: the last says nothing.
  expected = [1] * 7 + [0]
  np.testing.assert_allclose(levels.covariates.std(0), expected, atol=1e-5)

  def together(body):
    matrix = np.corrcoef(np.nan_to_num(body).T)
    return matrix[np.triu_indices(14, 1)].mean()

  before = together(source.values[bars.BODY])
  after = together(levels.left[..., bars.BODY])
  assert before > 0.15 and abs(after) < 0.1


def test_independent_stocks_have_no_path(source):
  levels = two_levels.split(source, independent=True)
  assert not levels.common.any() and not levels.loadings.any()
  # What tells stocks apart by themselves stays.
  assert levels.covariates[:, -3:-1].std() > 0.5


def test_loadings_of_a_market_that_is_made_of_them():
  """One factor with known loadings, no noise."""
  rng = np.random.default_rng(0)
  factor = rng.normal(size=4000)
  slope = np.linspace(0.5, 1.5, 6)
  values = np.zeros((6, 4000, 6), np.float32)
  values[bars.BODY] = np.outer(factor, slope)
  values[bars.VOLUME] = rng.normal(size=(4000, 6))
  by = bars.Anchors(np.full(6, 0.02), np.full(6, 10.0), np.full(6, 9.0))
  mask = np.ones((4000, 6), bool)
  names = tuple('ABCDEF')
  levels = two_levels.split(controls.Source(values, by, mask, names, False))
  assert np.abs(levels.left[..., bars.BODY]).max() < 0.03
  # Body and the factor are one here: both share the loading.
  found = levels.loadings[1, two_levels.COMMON.index('body')]
  np.testing.assert_allclose(found / found.mean(), slope, rtol=0.02)


def test_what_has_no_path_is_refused(source):
  few = source._replace(values=source.values[:, :, :4])
  with pytest.raises(ValueError, match='0 days without a bar and 4 stocks'):
    two_levels.split(few)
  with pytest.raises(ValueError, match='8 days are too few for a path of 8'):
    two_levels.split(source._replace(values=source.values[:, :8]))
