"""What runs had reached after so much was spent."""

import numpy as np

from alphajax.judge import anytime
from alphajax.judge.anytime import Curve


def curve(evaluated, train, valid=None, seconds=None):
  count = len(train)
  return Curve(
    np.array(evaluated, float),
    np.arange(1.0, count + 1) if seconds is None else np.array(seconds, float),
    np.array(train, float),
    np.array(train if valid is None else valid, float),
  )


def test_what_was_reached_is_that_of_the_last_iteration_by_then():
  found = anytime.at(
    np.array([10.0, 20.0, 30.0]), np.array([1.0, 2.0, 3.0]),
    [9, 10, 19.9, 20, 35],
  )  # fmt: skip
  np.testing.assert_array_equal(found, [np.nan, 1, 1, 2, 3])


def test_a_band_is_the_mean_and_the_range_of_what_runs_hold():
  one = curve([10, 20, 40], [0.1, 0.2, 0.4])
  two = curve([20, 30], [0.4, 0.6])  # It ended, and holds its 0.6.
  found = anytime.band([one, two], 'evaluated', 'train_ic')
  assert found.spent[0] == 20 and found.spent[-1] == 40
  np.testing.assert_allclose(found.mean[[0, -1]], [0.3, 0.5])
  np.testing.assert_allclose(found.low[[0, -1]], [0.2, 0.4])
  np.testing.assert_allclose(found.high[[0, -1]], [0.4, 0.6])


def test_what_is_not_known_yet_is_left_out():
  late = curve([10, 20, 30], [np.nan, 0.2, 0.3])
  found = anytime.band([late], 'evaluated', 'train_ic')
  assert found.spent[0] >= 20 and found.mean[0] == 0.2


def test_folds_are_one_curve():
  one = curve([10, 20], [0.1, 0.2], [0.0, 0.1], [3, 5])
  two = curve([10, 20], [0.3, 0.4], [0.2, 0.3], [1, 2])
  found = anytime.together([one, two])
  np.testing.assert_allclose(found.evaluated[[0, -1]], [10, 20])
  np.testing.assert_allclose(found.seconds[[0, -1]], [4, 7])
  np.testing.assert_allclose(found.train_ic[[0, -1]], [0.2, 0.3])
  np.testing.assert_allclose(found.valid_ic[[0, -1]], [0.1, 0.2])
  assert anytime.together([]) is None


def test_where_there_is_no_band():
  one = curve([10, 20], [0.1, 0.2])
  no_formulas = curve([np.nan, np.nan], [0.1, 0.2])
  nothing = curve([10, 20], [np.nan, np.nan])
  for curves in ([], [one, no_formulas], [one, nothing]):
    assert anytime.band(curves, 'evaluated', 'train_ic') is None
  assert anytime.band([one, no_formulas], 'seconds', 'train_ic') is not None
