"""The fit of weights against scikit-learn, on factors that are nearly one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

from alphajax.factor import lasso

# Its test of convergence asks for more digits than cancelling weights have.
pytestmark = pytest.mark.filterwarnings('ignore:Objective did not converge')

fit = jax.jit(lasso.fit, static_argnums=4)
descend = jax.jit(lasso._descend, static_argnums=3)


def twins(seed, num, difference):
  """Correlations of factors that come in pairs, told apart by the label."""
  rng = np.random.default_rng(seed)
  label = rng.normal(size=(3000, 1))
  first = rng.normal(size=(3000, num // 2))
  apart = label * rng.uniform(0.3, 1, num // 2) + rng.normal(size=first.shape)
  factors = np.hstack([first, first + difference * apart])
  factors = (factors - factors.mean(0)) / factors.std(0)
  label = (label[:, 0] - label.mean()) / label.std()
  gram = np.float32(factors.T @ factors / 3000)
  return gram, np.float32(factors.T @ label / 3000)


def expected(gram, with_label, l1):
  """The same problem by scikit-learn, in float64, from a root of the Gram."""
  values, vectors = np.linalg.eigh(gram.astype(np.float64))
  root = (vectors * np.sqrt(values)).T
  aim = np.linalg.solve(root.T, with_label.astype(np.float64))
  model = Lasso(l1 / (2 * len(aim)), fit_intercept=False, tol=1e-14)
  return model.set_params(max_iter=1_000_000).fit(root, aim).coef_


def objective(weights, gram, with_label, l1):
  w = np.asarray(weights, np.float64)
  return w @ gram @ w - 2 * with_label @ w + l1 * np.abs(w).sum()


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize(
  'num, l1, difference',
  [(2, 0.005, 0.01), (10, 0.0005, 0.003), (10, 0.005, 0.02), (40, 0.005, 0.01)],
)
def test_near_duplicates(num, l1, difference, seed):
  gram, with_label = twins(seed, num, difference)
  config = lasso.FitConfig(l1=l1)
  used, start = np.ones(num, bool), np.zeros(num, np.float32)
  best = objective(expected(gram, with_label, l1), gram, with_label, l1)

  def gap(weights):
    return objective(weights, gram, with_label, l1) - best

  weights = fit(gram, with_label, used, start, config)
  assert abs(gap(weights)) < 1e-7
  # Weights that cancel all but their last digits; gradient steps creep there.
  crept, settled = descend(gram, with_label, start, config)
  if num == 40 and seed == 2:
    assert not settled and gap(crept) > 1e-5
  if settled and jax.default_backend() == 'cpu':  # Nothing is left to do.
    np.testing.assert_array_equal(weights, crept)


def test_twins_share_or_oppose():
  """Exact duplicates: any split of their weight is as good, and finite."""
  gram, with_label = np.ones((2, 2), np.float32), np.full(2, 0.1, np.float32)
  config = lasso.FitConfig(l1=0.01)
  w = fit(gram, with_label, np.ones(2, bool), np.zeros(2, np.float32), config)
  assert np.sum(w) == pytest.approx(0.095) and np.all(w >= 0)


def test_empty_slots_and_batches():
  cases = [twins(seed, 10, 0.003) for seed in range(3)]
  used = np.ones((3, 10), bool)
  used[1, [2, 7]] = False
  start = np.zeros((3, 10), np.float32)
  config = lasso.FitConfig(l1=0.0005)
  grams, with_labels = map(jnp.asarray, zip(*cases, strict=True))
  batch = jax.vmap(lasso.fit, (0, 0, 0, 0, None))(
    grams, with_labels, used, start, config
  )
  assert np.all(batch[1][np.array([2, 7])] == 0)
  for n, (gram, with_label) in enumerate(cases):
    kept = np.flatnonzero(used[n])
    part = gram[np.ix_(kept, kept)], with_label[kept]
    best = objective(expected(*part, 0.0005), *part, 0.0005)
    assert abs(objective(batch[n][kept], *part, 0.0005) - best) < 1e-7


def test_a_sum_in_halves_is_that_of_float64():
  rng = np.random.default_rng(0)
  matrix = rng.normal(size=(7, 101)).astype(np.float32)
  vector = np.float32(rng.normal(size=101) * 10.0 ** rng.uniform(-4, 4, 101))
  exact = matrix.astype(np.float64) @ vector.astype(np.float64)
  actual = jax.jit(lasso._precise_sum)(matrix, vector)
  np.testing.assert_allclose(actual, exact, rtol=1e-7)
  # Opposites leave the last digits only.
  pair = np.hstack([matrix, -matrix * np.float32(1 + 2**-20)])
  twice = np.append(vector, vector)
  exact = pair.astype(np.float64) @ twice.astype(np.float64)
  actual = jax.jit(lasso._precise_sum)(pair, twice)
  np.testing.assert_allclose(actual, exact, rtol=1e-5)
