"""How many formulas one search needs for what another reaches."""

import numpy as np
import pytest

from alphajax.judge import needed

POINTS = (10, 30, 100, 300, 1000)


def curves(counts, speed, seeds=5, days=400, noise=0.02, seed=0):
  """Daily ICs that rise with the logarithm of the formulas; shared days."""
  days_rng, rng = (np.random.default_rng(s) for s in (99, seed))
  mean = 0.01 * np.log(speed * np.asarray(counts, float))
  common = noise * days_rng.normal(size=days)
  own = 0.2 * noise * rng.normal(size=(seeds, 1, days))
  return mean[None, :, None] + common + own


def test_a_level_is_reached_on_a_line_over_the_logarithm():
  points = np.array([10.0, 100.0, 1000.0])
  curve = np.array([0.1, 0.3, 0.2])
  assert needed.first(points, curve, 0.05) == 10
  assert needed.first(points, curve, 0.2) == pytest.approx(10**1.5)
  assert needed.first(points, curve, 0.3) == pytest.approx(100)
  assert needed.first(points, curve, 0.31) == np.inf


def test_a_search_that_is_three_times_as_fast_needs_a_third():
  two = [curves(POINTS, 3.0, seed=i) for i in (1, 2)]
  one = [curves(POINTS, 1.0, seeds=4, seed=i) for i in (3, 4)]
  found = needed.ratio(POINTS, two, one, draws=300)
  assert found.ratio == pytest.approx(1 / 3, rel=0.2)
  assert found.low < 1 / 3 < found.high < 0.6 and found.reached == 1
  assert needed.ratio(POINTS, two, one, draws=300) == found  # By the seed.
  back = needed.ratio(POINTS, one, two, draws=300)
  assert back.ratio == np.inf and back.high == np.inf and back.reached < 0.2


def test_equal_searches_need_as_many():
  spans = [curves(POINTS, 1.0)]
  assert needed.ratio(POINTS, spans, spans, draws=50).ratio == 1.0
  wide = needed.ratio(
    POINTS, [curves(POINTS, 1.0, noise=0.2, seed=1)],
    [curves(POINTS, 1.0, noise=0.2, seed=2)], draws=300,
  )  # fmt: skip
  assert wide.low < 1 < wide.high


def test_spans_count_by_their_weights():
  fast, slow = curves(POINTS, 9.0), curves(POINTS, 1.0)
  spans = [fast, slow], [slow, slow]
  less, more = (
    needed.ratio(POINTS, *spans, weights=w, draws=2).ratio
    for w in ((1, 3), (3, 1))
  )
  assert more < less < 1


@pytest.mark.parametrize(
  'points, days, message',
  [
    ((10,), 400, 'points are .*: expected two or more, rising'),
    ((10, 30, 30, 300, 1000), 400, 'expected two or more, rising'),
    (POINTS, 399, r'a span is .*of ours.* expected \[seeds, 5, days\]'),
  ],
)
def test_what_does_not_fit_is_refused(points, days, message):
  ours = [curves(POINTS, 1.0)]
  with pytest.raises(ValueError, match=message):
    needed.ratio(points, ours, [curves(POINTS, 1.0, days=days)])


def test_a_missing_value_is_refused():
  with pytest.raises(ValueError, match='a curve has a missing value'):
    needed.first(np.array([10.0, 100.0]), np.array([0.1, np.nan]), 0.05)
