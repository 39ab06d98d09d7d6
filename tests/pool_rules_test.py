"""Rules that choose from everything, against scikit-learn and by hand."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from alphajax.factor import pool_rules
from alphajax.factor.pool_rules import Evidence, Options

DAYS, WIDTH, TOTAL = 40, 50, 400  # Days kept, stocks, all days.


def make_evidence(num_formulas=60, seed=0, copies=3, signal=0.06, noise=0.1):
  """Formulas in families of alike ones, of which some say something."""
  rng = np.random.default_rng(seed)
  cells = DAYS * WIDTH
  heads = rng.normal(size=(-(-num_formulas // copies), cells))
  rows = np.repeat(heads, copies, 0)[:num_formulas]
  rows = rows + 0.7 * rng.normal(size=rows.shape)
  rows /= rows.std(1, keepdims=True)
  rows = rows.astype(np.float16)
  says = signal * np.linspace(1.0, 0.3, 10) * (-1) ** np.arange(10)
  goal = says @ heads[:10] + rng.normal(size=cells) * 0.01
  mean = rows.astype(np.float64) @ goal / cells
  daily = rng.normal(size=(num_formulas, TOTAL)) * noise
  daily += mean[:, None] - daily.mean(1, keepdims=True)
  cut = num_formulas // 3
  return Evidence(
    rows=(rows[:cut], rows[cut:]),
    scale=1 / cells,
    daily=daily.astype(np.float32),
    overlap=4,
  )


@pytest.fixture(scope='module')
def evidence():
  return make_evidence()


def matrix(evidence):
  rows = np.concatenate(evidence.rows).astype(np.float64)
  return rows @ rows.T * evidence.scale


def test_products_are_those_of_the_whole_matrix(evidence):
  whole = matrix(evidence)
  chosen = np.array([3, 41, 7])
  np.testing.assert_allclose(
    pool_rules.gram(evidence, chosen), whole[np.ix_(chosen, chosen)], atol=1e-5
  )
  rows = pool_rules.take(evidence, chosen)
  np.testing.assert_allclose(
    pool_rules.products(evidence, rows.T), whole[:, chosen], atol=1e-5
  )
  np.testing.assert_allclose(
    pool_rules.power(evidence), np.diag(whole), rtol=1e-5
  )


@pytest.mark.parametrize('ridge', [0.0, 0.3])
@pytest.mark.parametrize('penalty', [0.5, 1.0, 2.0])
def test_the_elastic_net_is_that_of_scikit_learn(evidence, penalty, ridge):
  rows = np.concatenate(evidence.rows).astype(np.float64)
  with_label = evidence.daily.mean(1, dtype=np.float64)
  # A design and a label with these products.
  label = np.linalg.lstsq(rows / rows.shape[1], with_label, rcond=None)[0]
  l1 = penalty * pool_rules.noise(evidence)
  oracle = ElasticNet(
    alpha=l1 + ridge,
    l1_ratio=l1 / (l1 + ridge),
    fit_intercept=False,
    tol=1e-10,
    max_iter=100_000,
  ).fit(rows.T, label)
  weights = pool_rules.elastic_net(
    evidence, Options(penalty=penalty, ridge=ridge)
  )
  np.testing.assert_allclose(weights, oracle.coef_, atol=1e-4)
  assert 0 < np.count_nonzero(weights) < len(weights)


def test_the_working_set_grows_until_nothing_is_left_out(monkeypatch):
  """In parts of few formulas the same weights come out."""
  evidence = make_evidence(num_formulas=90, seed=1)
  whole = pool_rules.elastic_net(evidence, Options(penalty=0.2))
  monkeypatch.setattr(pool_rules, 'JOINING', 8)
  parts = pool_rules.elastic_net(evidence, Options(penalty=0.2))
  np.testing.assert_allclose(parts, whole, atol=1e-5)
  assert np.count_nonzero(whole) > 10


def test_noise_is_the_standard_error_of_a_mean():
  rng = np.random.default_rng(0)
  daily = rng.normal(size=(200, 4000)) * 0.2
  rows = (rng.normal(size=(200, 50)).astype(np.float16),)
  evidence = Evidence(rows, 1 / 50, daily.astype(np.float32), 10)
  assert pool_rules.noise(evidence) == pytest.approx(0.2 / 4000**0.5, rel=0.05)
  # Sums over ten days, as labels that overlap are: ten times the error.
  sums = np.stack([np.convolve(d, np.ones(10), 'valid') for d in daily])
  evidence = evidence._replace(daily=sums.astype(np.float32))
  assert pool_rules.noise(evidence) == pytest.approx(
    10 * 0.2 / 4000**0.5, rel=0.1
  )


def test_pure_noise_gets_few_formulas():
  evidence = make_evidence(num_formulas=300, copies=1, signal=0.0)
  rng = np.random.default_rng(5)
  daily = rng.normal(size=evidence.daily.shape) * 0.1
  evidence = evidence._replace(daily=daily.astype(np.float32))
  weights = pool_rules.elastic_net(evidence, Options(penalty=3.0))
  # Beyond three standard errors lie 0.27 % of them.
  assert np.count_nonzero(weights) <= 5


def planted(strength, error, seed):
  """60 families of three, of which ten say something; and what is true.

  error: standard error of a mean IC, of alike formulas alike.
  """
  rng = np.random.default_rng(seed)
  heads = rng.normal(size=(60, 800))
  rows = np.repeat(heads, 3, 0) + 0.7 * rng.normal(size=(180, 800))
  rows /= rows.std(1, keepdims=True)
  says = strength * np.linspace(1.0, 0.3, 10) * (-1) ** np.arange(10)
  goal = says @ heads[:10]
  shocks = rng.normal(size=(200, 800)) * error * (200 / 800) ** 0.5
  daily = rows @ goal[:, None] / 800 + rows @ shocks.T
  evidence = Evidence(
    (rows.astype(np.float16),), 1 / 800, daily.astype(np.float32), 1
  )
  return evidence, rows, goal


@pytest.mark.parametrize(
  'strength, error',
  # As on the CSI 300, as on the S&P 500 and weaker, and on a planted market.
  [(0.05, 0.012), (0.02, 0.012), (0.012, 0.01), (0.2, 0.01)],
)
def test_the_penalty_follows_the_strength_of_what_is_there(strength, error):
  """In errors of a mean IC one number does where others would each in turn."""
  penalties = 0.0, 0.25, 0.5, 1.0, Options().penalty, 2.0, 3.0
  share = dict.fromkeys(penalties, 0.0)
  for seed in range(4):
    evidence, rows, goal = planted(strength, error, seed)
    for penalty in penalties:
      weights = pool_rules.elastic_net(evidence, Options(penalty=penalty))
      signal = weights @ rows
      if weights.any():
        share[penalty] += signal @ goal / (signal.std() * goal.std()) / 800 / 4
  best = max(share.values())
  assert share[Options().penalty] > 0.8 * best
  # A net without a penalty, and one of twice the default, are not.
  if strength == 0.05:
    assert share[0.0] < 0.9 * best
  if strength < 0.05:
    assert share[3.0] < 0.5 * best


def brute_distinct(strengths, matrix, size, max_corr):
  """The greedy choice, pair by pair."""
  chosen = []
  for i in sorted(range(len(strengths)), key=lambda i: -abs(strengths[i])):
    alike = [
      abs(matrix[i, j]) / (matrix[i, i] * matrix[j, j]) ** 0.5 for j in chosen
    ]
    if strengths[i] and len(chosen) < size and all(a < max_corr for a in alike):
      chosen.append(i)
  return chosen


@pytest.mark.parametrize('weighting', ['equal', 'ridge'])
def test_best_distinct_is_the_greedy_choice(evidence, weighting):
  options = Options(capacity=8, max_corr=0.5, weighting=weighting)
  weights = pool_rules.best_distinct(evidence, options)
  strengths = pool_rules.strength(evidence)
  whole = matrix(evidence)
  chosen = brute_distinct(strengths, whole, 8, 0.5)
  assert sorted(np.flatnonzero(weights)) == sorted(chosen)
  if weighting == 'equal':
    expected = np.sign(strengths[chosen])
  else:
    part = whole[np.ix_(chosen, chosen)] + 0.3 * np.eye(8)
    expected = np.linalg.solve(part, strengths[chosen])
  np.testing.assert_allclose(weights[chosen], expected, atol=1e-5)


def test_distilled_reproduces_the_signal_of_the_net(evidence):
  options = Options(penalty=0.5)
  wide = pool_rules.elastic_net(evidence, options)
  whole = matrix(evidence)

  def likeness(weights):
    norms = (wide @ whole @ wide) * (weights @ whole @ weights)
    return wide @ whole @ weights / norms**0.5

  found = [
    likeness(pool_rules.distilled(evidence, options._replace(capacity=size)))
    for size in (2, 5, 10, 20)
  ]
  assert np.count_nonzero(wide) > 10
  assert found == sorted(found) and found[-1] > 0.95
  few = pool_rules.distilled(evidence, options._replace(capacity=2))
  pairs = itertools.combinations(range(60), 2)
  best = 0.0
  for pair in pairs:
    place = list(pair)
    weights = np.zeros(60)
    weights[place] = np.linalg.lstsq(
      whole[np.ix_(place, place)], (whole @ wide)[place], rcond=None
    )[0]
    best = max(best, likeness(weights))
  assert likeness(few) > 0.9 * best
  # A net of fewer formulas is small enough.
  small = options._replace(penalty=3.0, capacity=60)
  np.testing.assert_array_equal(
    pool_rules.distilled(evidence, small),
    pool_rules.elastic_net(evidence, small),
  )


def test_bagged_trusts_what_holds_on_most_days():
  """A formula whose IC comes from one block loses to one with it on all."""
  evidence = make_evidence(copies=1, noise=0.001)
  daily = np.zeros_like(evidence.daily)
  daily[4] = 0.01
  daily[5, :8] = 0.6  # The larger mean, .012.
  evidence = evidence._replace(daily=daily)
  assert pool_rules.strength(evidence)[5] > pool_rules.strength(evidence)[4]
  options = Options(capacity=1, bags=200)
  weights = np.abs(pool_rules.bagged(evidence, options, seed=1))
  assert weights[4] > 0.3 * weights[5] > 0
  one = pool_rules.best_distinct(evidence, options)
  assert np.flatnonzero(one) == [5]
  np.testing.assert_array_equal(
    weights, np.abs(pool_rules.bagged(evidence, options, seed=1))
  )


@pytest.mark.parametrize('rule', pool_rules.RULES)
def test_the_nearly_silent_are_in_no_pool(evidence, rule):
  rows = [part.copy() for part in evidence.rows]
  rows[0][0] *= 0.1
  strong = evidence.daily.copy()
  strong[0] += 1.0
  quiet = evidence._replace(rows=tuple(rows), daily=strong)
  weights = pool_rules.RULES[rule](quiet, Options(), 0)
  assert weights[0] == 0 and weights.any()


@pytest.mark.parametrize('rule', pool_rules.RULES)
def test_formulas_that_say_nothing_make_no_pool(evidence, rule):
  mute = evidence._replace(daily=np.zeros_like(evidence.daily))
  assert not pool_rules.RULES[rule](mute, Options(), 0).any()
