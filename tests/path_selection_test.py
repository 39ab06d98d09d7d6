"""Choosing paths by how likely they are: shares, quotas, the evaluator."""

import numpy as np
import pytest

from alphajax.data import bars, controls, simulate
from alphajax.methods import path_selection

NAMES = ('dull', 'right', 'wild')


def some(centers, spread=1.0, num_candidates=4, num_stocks=120, seed=0):
  """Scores `[F, K, S]` of families with these means."""
  rng = np.random.default_rng(seed)
  shape = (len(centers), num_candidates, num_stocks)
  return rng.normal(np.reshape(centers, (-1, 1, 1)), spread, shape)


@pytest.fixture(scope='module')
def real():
  return np.random.default_rng(9).normal(0, 1, 2000)


def taken(scores, choice):
  return scores[choice.family, choice.candidate, np.arange(scores.shape[2])]


def test_a_mixture_of_families_gets_the_spread_of_the_real_ones(real):
  """One family too likely, one too unlikely: together as real ones are."""
  scores = some((1.2, 0.0, -1.2), spread=0.7)
  choice = path_selection.choose(scores, real, NAMES)
  found = taken(scores, choice)
  before, after = choice.log['off_histogram']
  assert after < 0.06 < before
  assert after == pytest.approx(path_selection.off_histogram(found, real))
  assert np.mean(found) == pytest.approx(0, abs=0.1)
  assert np.std(found) == pytest.approx(np.std(real), abs=0.12)
  low, high = np.quantile(real, [0.02, 0.98])
  assert ((found >= low) & (found <= high)).all()
  assert choice.log['chosen_outside'] == 0
  assert choice.log['accepted']['right'] == pytest.approx(1, abs=0.02)
  for name in NAMES:
    assert 36 <= choice.log['chosen'][name] <= 44


def test_argmax_takes_the_likeliest_and_no_other(real):
  scores = some((1.2, 0.0, -1.2))
  choice = path_selection.choose(scores, real, NAMES, 'argmax')
  np.testing.assert_array_equal(taken(scores, choice), scores.max((0, 1)))
  assert choice.log['chosen']['dull'] > 100
  assert choice.log['mean_score']['chosen'] > 2


def test_a_family_that_never_looks_real_keeps_its_share_and_is_named(real):
  scores = some((0.0, 0.0, -40.0))
  choice = path_selection.choose(scores, real, NAMES)
  assert choice.log['chosen']['wild'] == 36
  assert choice.log['chosen_outside'] == 36
  assert choice.log['accepted']['wild'] == 0
  found = taken(scores, choice)
  assert path_selection.off_histogram(found[found > -20], real) < 0.06


@pytest.mark.parametrize(
  'stocks, expected', [(200, (60, 73)), (3, (1, 1)), (2, (0, 1)), (10, (3, 4))]
)
def test_shares_may_differ_by_a_tenth(stocks, expected):
  assert path_selection.quota(stocks, 3) == expected
  assert 3 * expected[0] <= stocks <= 3 * expected[1]


def test_nothing_real_to_compare_with_is_refused():
  with pytest.raises(ValueError, match='no real path .*num_days'):
    path_selection.choose(some((0, 0, 0)), np.array([]), NAMES)


@pytest.fixture(scope='module')
def panel():
  return simulate.simulate(
    seed=1, num_days=300, num_stocks=36, alphas=(), strength=0.0
  ).panel


def test_others_are_stocks_that_the_source_does_not_have(panel):
  source = controls.make_source(panel, 12)
  others = path_selection.other_stocks(panel, source, 5)
  assert len(others.symbols) == 5
  assert not set(others.symbols) & set(source.symbols)
  members = int(np.asarray(panel.mask).any(0).sum())
  whole = controls.make_source(panel, members - 1)
  with pytest.raises(ValueError, match='needs 2 stocks or more'):
    path_selection.other_stocks(panel, whole, 5)


def test_the_evaluator_prefers_real_bars_to_wild_ones(panel, tmp_path):
  source = controls.make_source(panel, 12)
  options = dict(
    width=8, num_components=2, num_updates=50, batch_size=6, window=20,
    learning_rate=1e-2,
  )  # fmt: skip
  evaluator = path_selection.fit(
    path_selection.other_stocks(panel, source, 6), options, 0, tmp_path,
    lambda text: None,
  )  # fmt: skip
  known = path_selection.real_scores(evaluator, source, 150)
  assert len(known) > 20 and np.isfinite(known).all()
  values = np.nan_to_num(source.values)
  wild = values.copy()
  wild[bars.BODY] *= 6
  one, other = (path_selection.scores(evaluator, x) for x in (values, wild))
  assert one.shape == (12,) and (one > other + 0.3).all()
  # The place of a vwap that says nothing is not judged.
  blind = evaluator._replace(typical=True)
  moved = values.copy()
  moved[bars.PLACE] += 1
  np.testing.assert_array_equal(
    *(path_selection.scores(blind, x) for x in (values, moved))
  )
