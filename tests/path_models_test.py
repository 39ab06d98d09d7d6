"""Mixtures and networks that draw days: densities, draws, causality."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from alphajax.networks import path_heads, path_models
from alphajax.networks.path_transformer import TransformerPaths

likelihood = jax.jit(path_models.likelihood, static_argnums=0)


def some_mixture(shape=()):
  parts = dict(
    logits=[0.0, 1.0, -1.0], center=[0.0, 0.5, -2.0], scale=[0.2, 1.0, 2.0],
    tail=[2.5, 5.0, 30.0],
  )  # fmt: skip
  return path_heads.Mixture(
    *(
      np.broadcast_to(np.array(p, np.float32), (*shape, 3))
      for p in parts.values()
    )
  )


def scipy_mixture(function):
  weights = np.exp([0.0, 1.0, -1.0]) / np.exp([0.0, 1.0, -1.0]).sum()

  def call(x):
    each = [
      getattr(stats.t(tail, center, scale), function)(x)
      for tail, center, scale in ((2.5, 0, 0.2), (5, 0.5, 1), (30, -2, 2))
    ]
    return sum(w * one for w, one in zip(weights, each, strict=True))

  return call


SIZES = dict(num_channels=3, context_size=2, wicks=(1,), width=8)
MODELS = {
  'gru': path_models.RecurrentPaths(**SIZES),
  'lstm': path_models.RecurrentPaths(**SIZES, kind='lstm'),
  'transformer': TransformerPaths(**SIZES, num_layers=2, num_heads=2, window=5),
}


@pytest.fixture(scope='module', params=['gru', 'transformer'])
def model(request):
  return MODELS[request.param]


def init(model):
  return jax.jit(lambda key: path_models.init(model, key))(jax.random.key(0))


@pytest.fixture(scope='module')
def params(model):
  return init(model)


@pytest.fixture(scope='module')
def sample(model):
  return path_models.make_sampler(model)


def test_density_is_that_of_scipy():
  x = np.linspace(-12, 12, 101)
  log_density = jax.jit(path_heads.log_density)
  found = log_density(x.astype(np.float32), some_mixture())
  expected = np.log(scipy_mixture('pdf')(x))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_draws_have_the_distribution():
  uniforms = jax.random.uniform(jax.random.key(0), (40_000, 3))
  drawn = jax.jit(path_heads.draw)(uniforms, some_mixture((40_000,)))
  result = stats.kstest(np.asarray(drawn), scipy_mixture('cdf'))
  assert result.pvalue > 0.01


def test_a_wick_is_a_mass_and_a_density():
  nothing = jnp.float32(-1.2)

  @jax.jit
  def density(x):
    mixture = some_mixture(x.shape)
    value = path_heads.density(x, mixture, nothing, jnp.array(True))
    return jnp.exp(value)

  [mass] = np.asarray(density(np.zeros(1, np.float32))).tolist()
  assert mass == pytest.approx(1 / (1 + np.exp(1.2)), rel=1e-5)
  points = np.concatenate([[1e-4], np.geomspace(2e-4, 200, 2500)])
  values = np.asarray(density(points.astype(np.float32)))
  assert integrate.trapezoid(values, points) == pytest.approx(
    1 - mass, rel=0.01
  )


def test_the_likelihood_of_a_day_reads_no_later_one(model, params):
  rng = np.random.default_rng(0)
  series = np.abs(rng.normal(size=(12, 3))).astype(np.float32)
  context = rng.normal(size=(12, 2)).astype(np.float32)
  changed, other = series.copy(), context.copy()
  changed[8:], other[8:] = 5.0, -3.0
  one, two = (
    np.asarray(likelihood(model, params, s, c))
    for s, c in ((series, context), (changed, other))
  )
  np.testing.assert_array_equal(one[:8], two[:8])
  assert (one[8:] != two[8:]).any()
  # And a channel none that comes after it.
  changed = series.copy()
  changed[5, 2] = 4.0
  two = np.asarray(likelihood(model, params, changed, context))
  np.testing.assert_array_equal(one[5, :2], two[5, :2])
  assert one[5, 2] != two[5, 2]


@pytest.mark.parametrize('name', MODELS)
def test_a_day_at_a_time_gives_the_states_of_all_at_once(name):
  """Beyond the window too, where the cache of a Transformer goes round."""
  model = MODELS[name]
  params = init(model)
  rng = np.random.default_rng(0)
  before = rng.normal(size=(13, 3)).astype(np.float32)
  before[4, 1] = np.nan
  context = rng.normal(size=(13, 2)).astype(np.float32)
  states = jax.jit(model.states)
  whole = np.asarray(states(params, before, context))
  step = jax.jit(functools.partial(model.apply, method='step'))
  carry = model.start()
  for t in range(13):
    carry, state = step(params, carry, t, before[t], context[t])
    np.testing.assert_allclose(state, whole[t], atol=2e-6)
  # And the days of a window are all that a layer of a Transformer hears.
  before[:4] += 1.0
  again = np.asarray(states(params, before, context))
  same = bool((whole[12] == again[12]).all())
  assert same == isinstance(model, TransformerPaths)


def test_missing_days_and_channels_count_nothing(model, params):
  series, context = np.ones((6, 3), np.float32), np.zeros((6, 2), np.float32)
  series[2] = series[4, 1] = np.nan
  value = np.asarray(likelihood(model, params, series, context))
  assert np.isfinite(value).all()
  assert not value[2].any() and value[4, 1] == 0 and value[4, 0] != 0

  def loss(params):
    return likelihood(model, params, series, context).sum()

  gradient = jax.jit(jax.grad(loss))(params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_series_are_drawn_alike_in_any_batch(params, sample):
  context = np.random.default_rng(1).normal(size=(20, 200, 2))
  context = context.astype(np.float32)
  key = jax.random.key(2)
  whole = np.asarray(sample(params, key, context))
  assert whole.shape == (20, 200, 3) and np.isfinite(whole).all()
  assert (whole[..., 1] >= 0).all() and (whole[..., 1] == 0).any()
  assert np.abs(whole).max() <= path_heads.LARGEST + 1e-3
  part = np.asarray(sample(params, key, context[:, :2]))
  np.testing.assert_allclose(part, whole[:, :2], atol=1e-4)
  other = np.asarray(sample(params, jax.random.key(3), context))
  assert (other != whole).any()


def test_draws_are_as_likely_as_the_model_says(model, params, sample):
  """Mean log density of what it draws is minus the entropy: no other does
  better than the model itself."""
  context = np.zeros((20, 200, 2), np.float32)
  drawn = np.asarray(sample(params, jax.random.key(0), context))
  drawn = np.moveaxis(drawn, 1, 0)

  @jax.jit
  def mean(p):
    each = jax.vmap(
      lambda s: path_models.likelihood(model, p, s, jnp.zeros((20, 2)))
    )
    return each(drawn).sum(-1).mean()

  rng = np.random.default_rng(5)
  worse = jax.tree.map(
    lambda x: x + 0.15 * rng.normal(size=x.shape).astype(np.float32),
    jax.device_get(params),
  )
  assert mean(params) > mean(worse) + 0.01
