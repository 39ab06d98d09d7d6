"""Diffusion of windows: ranks, the solver, chained windows, causes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from alphajax.networks import path_diffusion

WINDOW, GIVEN = 8, 2


def make_sampler(model, ranks):
  return path_diffusion.make_sampler(
    model, ranks, window=WINDOW, num_given=GIVEN, num_steps=50, sample_steps=20
  )


@pytest.fixture(scope='module')
def model():
  return path_diffusion.Denoiser(
    num_channels=2, context_size=1, width=8, num_blocks=1, num_heads=2
  )


@pytest.fixture(scope='module')
def params(model):
  init = jax.jit(lambda key: path_diffusion.init(model, key, WINDOW))
  # The last layer begins at 0.
  return jax.tree.map(lambda x: x + 0.1, init(jax.random.key(0)))


@pytest.fixture(scope='module')
def ranks():
  rng = np.random.default_rng(0)
  series = rng.standard_t(3, (400, 50, 2))
  series[:, :, 1] *= rng.random((400, 50)) < 0.7
  return path_diffusion.make_ranks(series, wicks=(1,))


def test_channels_become_normal_and_come_back(ranks):
  rng = np.random.default_rng(1)
  days = rng.standard_t(3, (20_000, 2)).astype(np.float32)
  days[:, 1] = np.maximum(days[:, 1] * (rng.random(20_000) < 0.7), 0)
  key = jax.random.key(0)
  normal = path_diffusion.to_normal(ranks, key, jnp.array(days))
  for channel in np.asarray(normal).T:
    assert stats.kstest(channel, 'norm').statistic < 0.015
  back = np.asarray(path_diffusion.from_normal(ranks, normal))
  inside = np.abs(days[:, 0]) < 10
  np.testing.assert_allclose(back[inside, 0], days[inside, 0], atol=0.02)
  none = days[:, 1] == 0
  assert none.mean() == pytest.approx(0.65, abs=0.02)
  assert not back[none, 1].any() and (back[~none, 1] > 0).mean() > 0.99
  far = path_diffusion.from_normal(ranks, jnp.full((1, 2), 40.0))
  assert (far == ranks.values[:, -1]).all()
  with pytest.raises(ValueError, match='channel 1 has no value'):
    path_diffusion.make_ranks(np.array([[[1.0, np.nan]]]), ())


@pytest.mark.parametrize('center, spread', [(0.7, 1.6), (-0.4, 1.0), (0, 0.3)])
def test_the_true_denoiser_of_a_normal_recovers_its_moments(center, spread):
  """E[x | noisy] in closed form."""
  shares = path_diffusion.kept_shares(50)

  def denoise(noisy, step):
    share = shares[step]
    gain = jnp.sqrt(share) * spread**2 / (share * spread**2 + 1 - share)
    return center + gain * (noisy - jnp.sqrt(share) * center)

  noise = jax.random.normal(jax.random.key(0), (20_000,))
  found = {}
  for order in (1, 2):
    steps = path_diffusion.make_steps(50, 20)
    if order == 1:
      steps = steps._replace(back=0 * steps.back)
    found[order] = path_diffusion.denoised(denoise, noise, steps)
  assert len(steps.step) <= 20 and steps.step[0] == 49
  scale = spread * noise.std()
  assert found[2].mean() == pytest.approx(center, abs=0.02)
  assert found[2].std() / scale == pytest.approx(1, abs=0.03)
  assert found[1].std() / scale < 0.9  # What DDIM makes of it.


def test_noise_is_all_in_the_end():
  shares = np.asarray(path_diffusion.kept_shares(50))
  assert shares[0] == pytest.approx(1 - 1e-4) and shares[-1] < 1e-4
  beta = 1 - shares[1:] / shares[:-1]
  assert beta[-1] == pytest.approx(0.5, rel=1e-3)


def test_windows_follow_one_another(model, params, ranks):
  context = jax.random.normal(jax.random.key(1), (30, 3, 1))
  key = jax.random.key(2)
  sample = make_sampler(model, ranks)
  whole = np.asarray(sample(params, key, context))
  assert whole.shape == (30, 3, 2) and np.isfinite(whole).all()
  assert (whole[..., 1] >= 0).all()
  part = np.asarray(sample(params, key, context[:, :2]))
  np.testing.assert_allclose(part, whole[:, :2], atol=1e-4)
  # A window knows its own days and the two before it, and nothing later.
  late = jnp.where(jnp.arange(30)[:, None, None] >= 14, 3.0, context)
  other = np.asarray(sample(params, key, late))
  np.testing.assert_allclose(other[:14], whole[:14], atol=1e-5)
  assert (other[14:] != whole[14:]).any()
  short = np.asarray(sample(params, key, context[:5]))
  assert short.shape == (5, 3, 2)


def loss_of(model, ranks):
  def loss(params, days, key):
    context = jnp.zeros((*days.shape[:2], 1))
    return path_diffusion.loss(
      model, ranks, params, days, context, key, num_given=GIVEN, num_steps=10
    )

  return jax.jit(jax.value_and_grad(loss))


def test_the_loss_counts_what_is_known_and_not_given(model, params, ranks):
  days = np.ones((64, WINDOW, 2), np.float32)
  loss = loss_of(model, ranks)
  key = jax.random.key(0)
  value, gradient = loss(params, jnp.array(days), key)
  assert np.isfinite(value)
  days[:, 5] = np.nan
  value, gradient = loss(params, jnp.array(days), key)
  assert np.isfinite(value)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
  days[:] = np.nan
  assert loss(params, jnp.array(days), key)[0] == 0


def test_untrained_it_draws_days_by_themselves(model, params, ranks):
  silent = jax.tree.map(jnp.zeros_like, params)
  sample = make_sampler(model, ranks)
  several = [
    sample(silent, jax.random.key(i), jnp.zeros((30, 3, 1))) for i in range(30)
  ]
  drawn = np.stack(several).reshape(-1, 2)
  rng = np.random.default_rng(0)
  wicks = rng.standard_t(3, 50_000) * (rng.random(50_000) < 0.7)
  for found, like in zip(
    drawn.T, (rng.standard_t(3, 50_000), np.maximum(wicks, 0)), strict=True
  ):
    assert np.abs(
      np.quantile(found, [0.1, 0.5, 0.9]) - np.quantile(like, [0.1, 0.5, 0.9])
    ).max() < 0.15  # fmt: skip
  assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05
  # And errs by 1 in units of what is unknown.
  days = rng.standard_t(3, (200, WINDOW, 2)).astype(np.float32)
  days[..., 1] *= rng.random((200, WINDOW)) < 0.7
  days[..., 1] = np.maximum(days[..., 1], 0)
  value, _ = loss_of(model, ranks)(silent, jnp.array(days), jax.random.key(1))
  assert value == pytest.approx(1, abs=0.08)


def test_it_learns_that_days_are_alike(model, params, ranks):
  """Of windows whose days are all the same, one day tells the others."""
  rng = np.random.default_rng(0)
  loss = loss_of(model, ranks)
  optimizer = optax.adam(2e-2)
  params = jax.tree.map(lambda x: x - 0.1, params)
  state = optimizer.init(params)
  advance = jax.jit(optimizer.update)
  values = []
  for i in range(60):
    days = np.abs(rng.standard_t(3, (64, 1, 2))).repeat(WINDOW, axis=1)
    days = jnp.array(days, jnp.float32)
    value, gradient = loss(params, days, jax.random.key(i))
    change, state = advance(gradient, state)
    params = optax.apply_updates(params, change)
    values.append(float(value))
  assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5])
