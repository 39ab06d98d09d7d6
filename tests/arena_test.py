"""What methods found of what is planted, over several markets."""

import bench_test
import numpy as np
import pytest

from alphajax import arena

SHARES = {'good': 0.8, 'random': 0.5}


def make_entry(method, seed, share, closest=(0.95, 0.2), **figures):
  planted = {} if not closest else {
    'share': share, 'expected': share + 0.1,
    'recovered': float(np.mean(np.array(closest) > 0.9)),
  }  # fmt: skip
  counts = {'pool_claims': 0, 'claims': 1, 'formulas': 10, 'valid_ceiling': 0.1}
  return bench_test.make_entry(
    method, seed, bench_test.daily(seed, 0.05),
    **planted, **counts, closest=list(closest), **figures,
  )  # fmt: skip


@pytest.fixture(scope='module')
def rows():
  """Six planted markets that differ, and one of noise; two seeds of each."""
  boards = {}
  for number in range(6):
    boards[f'deep_{number}'] = [
      make_entry(method, seed, share + 0.02 * number + 0.01 * seed
                 + 0.003 * number * (method == 'good'))
      for method, share in SHARES.items()
      for seed in (0, 1)
    ]  # fmt: skip
  boards['noise'] = [
    make_entry(method, seed, None, closest=())
    for method in SHARES
    for seed in (0, 1)
  ]
  return arena.by_market(boards, (100, 250, 300))


def test_shares_are_those_of_the_curve_over_the_planted_ic(rows):
  row = rows.loc['deep_1', 'good']
  # The curve is at evaluated / 6000 of an IC, the ceiling 0.1.
  assert row['share_100'] == pytest.approx(100 / 6000 / 0.1)
  assert row['share_250'] == pytest.approx(200 / 6000 / 0.1)
  assert row['share_300'] == pytest.approx(300 / 6000 / 0.1)
  assert row['share'] == pytest.approx(0.8 + 0.02 + 0.003 + 0.005)
  assert row['planted'] == 2 and row['seeds'] == 2
  assert row['recovered'] == 0.5
  assert (row['claims'], row['formulas'], row['pool_claims']) == (2, 20, 0)


def test_a_method_without_formulas_has_what_it_ended_with():
  entry = make_entry('trees', 0, 0.4)
  none = np.full(3, np.nan)
  entry = entry._replace(curve=entry.curve._replace(evaluated=none))
  row = arena.by_market({'deep': [entry]}, (100,)).loc['deep', 'trees']
  assert row['share_100'] == pytest.approx(300 / 6000 / 0.1)


def test_before_the_first_pool_nothing_is_known():
  entries = [make_entry('a', 0, 0.4)]
  late = entries[0].curve._replace(evaluated=np.array([10.0, 60.0, 70.0]))
  boards = {'deep': entries, 'other': [entries[0]._replace(curve=late)]}
  rows = arena.by_market(boards, (50, 300))
  assert np.isnan(rows.loc[('deep', 'a'), 'share_50'])
  assert np.isfinite(rows.loc[('other', 'a'), 'share_50'])
  ranked, _ = arena.ranking(rows, 0.9)
  assert np.isnan(ranked.loc['a', 'share_50'])  # Not that of one market.
  assert np.isfinite(ranked.loc['a', 'share_300'])


def test_the_ranking_is_over_planted_markets(rows):
  ranked, notes = arena.ranking(rows, 0.9)
  assert list(ranked.index) == ['good', 'random'] and not notes
  assert ranked['markets'].tolist() == [6, 6]
  assert ranked.loc['random', 'share'] == pytest.approx(0.5 + 0.05 + 0.005)
  assert ranked['in_set'].tolist() == [True, False]
  row = ranked.loc['good']
  assert (row['noise_runs'], row['claims'], row['formulas']) == (2, 2, 20)


def test_few_markets_have_no_set_and_say_so(rows):
  few = rows.loc[['deep_0', 'deep_1', 'deep_2', 'noise']]
  ranked, notes = arena.ranking(few, 0.9)
  assert ranked['in_set'].isna().all()
  assert notes == [
    'No confidence set over markets: 3 independent units: 5 or more are needed.'
  ]


def test_what_is_told_from_0_is_a_claim():
  def of(low, high):
    return {'ic': {'low': low, 'high': high}}

  entry = {
    'test': of(0.01, 0.02),
    'factors': [{'test': of(-0.02, -0.01)}, {'test': of(-0.01, 0.02)}],
  }
  assert arena.claims(entry) == {
    'pool_claims': 1, 'claims': 1, 'formulas': 2
  }  # fmt: skip
