"""Which formulas depend on the base of prices and volumes."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import oracle
import pytest
from scipy import stats

from alphajax.analysis import invariance
from alphajax.data import simulate
from alphajax.data.features import PRICES, VOLUMES
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib

T, S = 160, 60


@functools.cache
def market():
  """(panel, features for the oracle, members)."""
  panel = simulate.simulate(num_days=T, num_stocks=S, alphas=()).panel
  planes = np.asarray(panel.features, np.float64)
  features = dict(zip(panel.feature_names, planes, strict=True))
  members = np.asarray(panel.mask)
  return panel, features, members


@functools.cache
def language(name):
  return grammar_lib.make(name, max_length=8, windows=(5, 10))


def random_formulas(name, seed, n):
  grammar = language(name)
  return grammar_lib.random_formulas(grammar, jax.random.key(seed), n)


KNOWN = [
  # Text, ranks are the same for other prices, and for other volumes.
  ('close', False, True),
  ('volume', True, False),
  ('close*volume', False, False),
  ('close/open-1', True, True),
  ('Corr(close,volume,20)', True, True),
  ('CSRank(close)', False, True),
  ('Rank(close,20)', True, True),
  ('Log(close/Ref(close,5))', True, True),
  ('Log(close)', False, True),
  ('Std(close,20)/Mean(close,20)', True, True),
  ('Var(close,20)/Mean(close,20)', False, True),
  ('Sign(Delta(close,5))*volume', True, False),
  ('volume/Mean(volume,20)+0.01', True, True),
  ('close-0.01', False, True),
  ('Greater(close,volume)', True, False),
]


def test_known_formulas():
  panel, *_ = market()
  found = invariance.check([formula_lib.parse(t) for t, *_ in KNOWN], panel)
  for (text, *expected), each in zip(KNOWN, found, strict=True):
    assert [each.price_invariant, each.volume_invariant] == expected, text
    for change in each:
      assert 0 <= change.moved <= 1 and 0 <= change.days <= 1
      assert (change.moved > 0) == (change.days > 0)
      assert change.count > 0


def oracle_moves(text, names, factor):
  """Shares of days and ranks that differ, by float64 ranks of the oracle."""
  _, features, members = market()
  scaled = {k: v * factor if k in names else v for k, v in features.items()}
  formula = formula_lib.parse(text)
  days, ranks, counted, count = 0, 0, 0, 0
  before = oracle.evaluate(formula, features, members)
  after = oracle.evaluate(formula, scaled, members)
  for day in range(T):
    known = members[day] & ~np.isnan(before[day])
    np.testing.assert_array_equal(known, members[day] & ~np.isnan(after[day]))
    if known.any():
      a, b = (stats.rankdata(x[day, known]) for x in (before, after))
      counted, count = counted + 1, count + known.sum()
      days, ranks = days + (a != b).any(), ranks + (a != b).sum()
  return days / counted, ranks / count


@pytest.mark.parametrize('text', ['close', 'Delta(close,5)', 'close*volume'])
def test_shares_are_those_of_the_oracle(text):
  panel, *_ = market()
  (found,) = invariance.check([formula_lib.parse(text)], panel, seed=7)
  for k, (change, names) in enumerate(
    zip(found, (PRICES, VOLUMES), strict=True)
  ):
    expected = oracle_moves(text, names, invariance.factors(S, 7 + k))
    np.testing.assert_allclose([change.days, change.moved], expected, 1e-5)


@pytest.mark.compiled_fully
@hypothesis.settings(max_examples=8, deadline=None)
@hypothesis.given(st.integers(0, 2**31))
def test_typed_formulas_are_invariant_to_the_bit(seed):
  panel, *_ = market()
  formulas = random_formulas('typed_k', seed, 16)
  for formula, each in zip(
    formulas, invariance.check(formulas, panel, seed=seed % 1000), strict=True
  ):
    assert each.price.moved == each.volume.moved == 0, str(formula)


def test_typed_formulas_are_invariant_up_to_noise_for_any_factor():
  """Rounding breaks ties, so that a few formulas show noise."""
  panel, *_ = market()
  found = invariance.check(
    random_formulas('typed_k', 1, 100), panel, powers_of_two=False
  )
  moved = [max(float(c.moved) for c in each) for each in found]
  assert np.mean(np.array(moved) < 0.01) > 0.85
  assert np.median(moved) < 1e-3


def test_untyped_formulas_often_are_not():
  panel, *_ = market()
  formulas = [f for f in random_formulas('sem_k', 1, 200) if f.args]
  found = [e for e in invariance.check(formulas, panel) if e.price.count > 0]
  both = [e.price_invariant and e.volume_invariant for e in found]
  assert len(both) > 50
  assert 0.1 < np.mean(both) < 0.6


def test_days_that_do_not_count():
  panel, *_ = market()
  formula = formula_lib.parse('Ref(close,50)')
  days = np.arange(T) < 50
  (warm_up,) = invariance.check([formula], panel, days)
  assert warm_up.price.count == 0 and warm_up.price.moved == 0
  (all_days,) = invariance.check([formula], panel)
  (later,) = invariance.check([formula], panel, ~days)
  assert all_days.price == later.price and later.price.days == 1
  for bad in (np.ones(T), np.ones(T - 1, bool)):
    with pytest.raises(ValueError, match=r'expected bool\[160\]'):
      invariance.check([formula], panel, bad)


def test_factors_and_rescaling():
  panel, features, _ = market()
  for powers_of_two in (True, False):
    factor = invariance.factors(1000, 1, powers_of_two)
    assert factor.dtype == np.float32 and (factor > 0).all()
    assert np.abs(np.log2(factor)).max() <= invariance.MAX_EXPONENT
    assert np.abs(np.log2(factor)).min() > 0.09
    whole = np.log2(factor) == np.round(np.log2(factor))
    assert whole.all() == powers_of_two
  factor = invariance.factors(S)
  scaled = invariance.rescale(panel, ('close', 'turnover'), factor)
  for i, name in enumerate(panel.feature_names):
    by = factor if name == 'close' else 1
    np.testing.assert_array_equal(scaled.features[i], features[name] * by)
