"""Whether what came is in the order in which it was expected."""

import numpy as np
import pytest

from alphajax.methods.foresight import rank_correlation


def test_by_hand():
  expected, came = (
    np.array([0.1, 0.3, 0.2, 0.9]),
    np.array([5.0, 7.0, 9.0, 8.0]),
  )
  # Ranks 1 3 2 4 and 1 2 4 3: squares of the differences add up to 6.
  assert rank_correlation(expected, came) == pytest.approx(1 - 6 * 6 / 60)
  assert rank_correlation(expected, -expected) == pytest.approx(-1)


@pytest.mark.parametrize('came', [[1.0, 2.0], [], [4.0, 4.0, 4.0]])
def test_there_is_none(came):
  came = np.array(came)
  assert rank_correlation(np.arange(len(came)), came) is None
  assert rank_correlation(came, np.arange(len(came))) is None
