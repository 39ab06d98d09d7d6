"""Novelty: what a formula behaves most like, against slow oracles."""

import numpy as np
import pytest

from alphajax.analysis import novelty
from alphajax.data import panel as panel_lib
from alphajax.data.features import FEATURES
from alphajax.factor import evaluate
from alphajax.judge import published
from alphajax.language import formula as formula_lib
from alphajax.language import library

DAYS, STOCKS = 40, 12


@pytest.fixture(scope='module')
def market():
  rng = np.random.default_rng(0)
  close = np.exp(np.cumsum(0.02 * rng.normal(size=(DAYS, STOCKS)), 0))
  spread = np.exp(0.01 * rng.normal(size=(6, DAYS, STOCKS)))
  features = (close * spread).astype(np.float32)
  mask = rng.random((DAYS, STOCKS)) < 0.9
  days = np.busday_offset('2020-01-01', np.arange(DAYS), roll='forward')
  return panel_lib.make(
    features, mask, days.astype(str).tolist(), [f's{i}' for i in range(STOCKS)]
  )


def known(market, formulas):
  days = np.arange(10, DAYS, 3)
  store = evaluate.make_store(market)
  return novelty.behave(formulas, store, market.mask[days], days)


def parse(*texts):
  return {text: formula_lib.parse(text) for text in texts}


def oracle(market, left, right):
  """Mean daily correlation of two formulas without missing values."""
  x, y = (np.asarray(v) for v in evaluate.values([left, right], market))
  return np.mean(
    [
      np.corrcoef(x[t, market.mask[t]], y[t, market.mask[t]])[0, 1]
      for t in range(10, DAYS, 3)
    ]
  )


def test_correlations_are_means_of_daily_ones(market):
  formulas = parse('close', 'open', 'volume', 'close-open', 'Delta(close,3)')
  # Rows are of one length, so that days of few members count for a bit less.
  mask = np.ones_like(market.mask)
  market = market.replace(mask=mask)
  rows = known(market, formulas).rows
  found = novelty.correlations(rows, rows)
  assert found.shape == (5, 5)
  for i, left in enumerate(formulas.values()):
    for j, right in enumerate(formulas.values()):
      expected = oracle(market, left, right)
      assert found[i, j] == pytest.approx(expected, abs=2e-3)


def test_the_nearest_is_named_with_its_sign(market):
  texts = ('close/open', 'volume', 'high-low')
  there = known(market, parse(*texts))
  asked = parse('2*volume', '-close/open', 'Add(low,-1*high)')
  found = novelty.nearest(known(market, asked).rows, there)
  assert [near.name for near in found] == ['volume', 'close/open', 'high-low']
  correlations = [near.correlation for near in found]
  np.testing.assert_allclose(correlations, [1, -1, -1], atol=1e-4)
  assert all(abs(each) <= 1 for each in correlations)


def test_nothing_is_near_a_formula_without_values_or_to_nobody(market):
  dead = known(market, parse('close-close', 'Log(-1*volume)'))
  there = known(market, parse('close'))
  assert not dead.rows.any()
  assert novelty.nearest(dead.rows, there) == [None, None]
  nobody = known(market, {})
  assert novelty.nearest(there.rows, nobody) == [None]


def test_half_of_the_members_must_have_a_value(market):
  close = np.array(market.features)
  close[:, 10:, : STOCKS // 2 + 1] = np.nan
  assert not known(market.replace(features=close), parse('close')).rows.any()
  close = np.array(market.features)
  close[:, 10:, : STOCKS // 4] = np.nan
  assert known(market.replace(features=close), parse('close')).rows.any()


def test_published_formulas_have_their_names():
  found = novelty.published(FEATURES)
  texts = library.load('alpha101')
  assert found['alpha101 #12'] == formula_lib.parse(texts[12])
  assert 'alpha158 KMID' in found
  keys = [formula_lib.key(formula) for formula in found.values()]
  assert len(set(keys)) == len(keys) > 300
  names = {name.split()[0] for name in found}
  assert names == set(library.LIBRARIES)


def test_published_formulas_given_back_are_found(market):
  some = {
    name: formula
    for name, formula in novelty.published(FEATURES).items()
    if name in ('alpha101 #12', 'alpha101 #101', 'gtja191 #14', 'alpha158 KMID')
  }
  there = known(market, some)
  found = novelty.nearest(there.rows, there)
  assert [near.name for near in found] == list(some)
  np.testing.assert_allclose([n.correlation for n in found], 1, atol=1e-4)
  asked = known(market, parse(f'-({some["alpha101 #12"]})'))
  (near,) = novelty.nearest(asked.rows, there)
  assert near.name == 'alpha101 #12' and near.formula == str(
    some['alpha101 #12']
  )
  assert near.correlation == pytest.approx(-1, abs=1e-4)


def test_behaviours_are_made_once(market, tmp_path, monkeypatch):
  monkeypatch.setenv('ALPHAJAX_CACHE', str(tmp_path))
  made = []

  def make():
    made.append(known(market, parse('close', 'volume')))
    return made[-1]

  for _ in range(2):
    found = published.kept('a', make)
    assert found.names == ('close', 'volume') == found.formulas
    np.testing.assert_array_equal(found.rows, made[0].rows)
  assert len(made) == 1
  published.kept('b', make)
  assert len(made) == 2
  for path in (tmp_path / 'novelty').glob('*.npz'):
    path.write_bytes(b'damaged')
  published.kept('a', make)
  assert len(made) == 3
  published.kept('a', make)
  assert len(made) == 3


def test_a_cache_that_cannot_be_written_costs_only_time(
  market, tmp_path, monkeypatch
):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('ALPHAJAX_CACHE', str(tmp_path / 'file'))
  with pytest.warns(UserWarning, match='behaviours are not kept'):
    found = published.kept('a', lambda: known(market, parse('close')))
  assert found.names == ('close',)
