"""Dead parts: those known by hand, and random formulas against float64."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import oracle
import pytest
from scipy import stats

from alphajax.analysis import ranks, simplify
from alphajax.data import simulate
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib

T, S = 160, 60


@functools.cache
def market():
  """(panel, features for the oracle, members, a store)."""
  panel = simulate.simulate(num_days=T, num_stocks=S, alphas=()).panel
  planes = np.asarray(panel.features, np.float64)
  features = dict(zip(panel.feature_names, planes, strict=True))
  members = np.asarray(panel.mask)
  return panel, features, members, evaluate.make_store(panel)


def shorten(text, **options):
  panel, _, _, store = market()
  formula = formula_lib.parse(text) if isinstance(text, str) else text
  return simplify.simplify(formula, panel, store=store, **options)


@pytest.mark.parametrize(
  ('text', 'shortest'),
  [
    ('Abs(volume)', 'volume'),
    ('close*0.1', 'close'),
    ('Greater(close,low)', 'close'),
    ('CSRank(Log(volume))', 'volume'),
    ('close+0.01', 'close'),
    ('0.05-(0.01-close)', 'close'),  # No single operand would do.
    ('close*Sign(volume)', 'close'),  # 1 wherever there is a volume.
    ('Mean(volume,1)', 'volume'),
    ('CSRank(Delta(close*0.1,5))', 'Delta(close,5)'),
    ('Std(close*0.1,10)/Mean(Abs(close),5)', 'Std(close,10)/Mean(close,5)'),
    ('Corr(Less(low,high),Abs(volume)*5,10)', 'Corr(low,volume,10)'),
    ('Log(Abs(close/open))', 'close/open'),
    ('Sign(volume)*Sign(close)', '1'),  # Both are missing on the same days.
    ('Add(Mul(CSRank(low),0),close)', 'close'),
  ],
)
def test_known_dead_parts_go(text, shortest):
  found = shorten(text)
  assert found[-1].formula == formula_lib.parse(shortest)
  sizes = [formula_lib.size(each.formula) for each in found]
  assert sizes == sorted(set(sizes), reverse=True)
  assert all(0 <= each.moved <= ranks.MAX_MOVED for each in found)
  assert all(-1 <= each.correlation <= 1.0001 for each in found)


@pytest.mark.parametrize(
  'text',
  [
    'close',
    'Delta(close,5)',
    '-close',  # The reverse of close.
    '0.01-close',
    'CSRank(close)+CSRank(volume)',
    'Greater(close,open)',
    'close-open',
    'Abs(close-open)',
    'Sign(close-open)',
    'Corr(close,Log(volume),10)',
    'Mean(Log(close),10)',  # Not the order of the mean of close.
    'Less(Std(close,5),Std(open,5))',
    'Pow(close/open-1,2)',
    'Mean(close,5)/close',
    'Ref(volume,1)',
  ],
)
def test_live_parts_stay(text):
  assert shorten(text) == []


def float64_ranks(formula):
  """Ranks by the oracle; numbers equal to 12 digits tie, `[T, S]`."""
  _, features, members, _ = market()
  values = oracle.evaluate(formula, features, members)
  out = np.full(values.shape, np.nan)
  for day in range(formula_lib.lookback(formula), T):
    known = members[day] & ~np.isnan(values[day])
    near = [float(f'{x:.11e}') for x in values[day, known]]
    out[day, known] = stats.rankdata(near)
  return out


@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.example(4234)  # Cov(1,close,10), which is 0, as Cov(0.01,close,10).
@hypothesis.given(st.integers(0, 2**31))
def test_nothing_that_matters_in_float64_is_removed(seed):
  """Every offer ranks as the original does, also without float32's noise."""
  grammar = grammar_lib.make(max_length=7, windows=(5, 10))
  drawn = grammar_lib.random_formulas(grammar, jax.random.key(seed), 24)
  for formula in [f for f in drawn if f.args][:8]:
    before = float64_ranks(formula)
    if not np.isfinite(before).any():
      continue
    if noisy(formula):
      continue
    for each in shorten(formula):
      after = float64_ranks(each.formula)
      after[: formula_lib.lookback(formula)] = np.nan
      np.testing.assert_array_equal(np.isnan(before), np.isnan(after))
      moved = np.abs(before - after)[np.isfinite(before)]
      where = f'{formula} -> {each.formula}'
      assert np.mean(moved > 0) <= 2 * ranks.MAX_MOVED, where
      assert moved.max() <= 2, where


def noisy(formula):
  """True where float32 alone moves many ranks: there is nothing to compare."""
  panel, *_, store = market()
  (values,) = store.take([formula])
  actual = np.asarray(ranks.rank(values, store.universe))
  expected = float64_ranks(formula)
  expected /= np.isfinite(expected).sum(1, keepdims=True)
  on = np.isfinite(expected)
  if np.isnan(actual[on]).any():
    return True
  return np.mean(np.abs(actual - expected)[on] > 1e-3) > ranks.MAX_MOVED


def test_days_and_tolerance():
  panel, *_ = market()
  # Short windows fill up sooner than the original's.
  text = 'Greater(close,Ref(low,30)*0)'
  assert [str(s.formula) for s in shorten(text)] == []
  days = np.zeros(T, bool)
  days[100:104] = True
  assert shorten('Abs(close)', days=days)[-1].moved == 0
  strict = shorten('CSRank(Abs(volume))', max_moved=0.0)
  assert str(strict[-1].formula) == 'volume'
  with pytest.raises(ValueError, match='no rank on any of the 4 days'):
    shorten('Ref(close,150)', days=days)
  with pytest.raises(ValueError, match='no rank'):
    shorten('Log(-close)')
  with pytest.raises(ValueError, match=r'expected bool\[160\]'):
    shorten('Abs(close)', days=days[1:])


def test_one_call_without_a_store_and_the_correlation():
  panel, *_ = market()
  (found,) = simplify.simplify(formula_lib.parse('CSRank(close)'), panel)
  assert str(found.formula) == 'close'
  assert 0.3 < found.correlation < 0.99  # Ranks are not values.
  (found,) = shorten('close*0.1')
  assert found.correlation == pytest.approx(1, abs=1e-4)
