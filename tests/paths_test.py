"""Fitting and sampling markets by networks."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.analysis import market_quality
from alphajax.data import bars, controls, simulate
from alphajax.methods import path_fit, paths
from alphajax.run import checkpoint

SIZES = dict(
  width=8, common_width=8, num_updates=2 * path_fit.EVERY, batch_size=6,
  window=20, learning_rate=1e-2,
)  # fmt: skip
OPTIONS = {
  'gru': SIZES | dict(num_components=2),
  'transformer': SIZES | dict(num_components=2, num_layers=1, num_heads=2),
  'diffusion': SIZES
  | dict(
    num_blocks=1, num_heads=2, num_given=4, num_steps=10, sample_steps=6
  ),
}  # fmt: skip


@pytest.fixture(scope='module')
def source():
  panel = simulate.simulate(
    seed=1, num_days=300, num_stocks=20, alphas=(), strength=0.0
  ).panel
  return controls.make_source(panel, 12)


@pytest.fixture(scope='module', params=OPTIONS)
def family(request):
  return request.param


@pytest.fixture(scope='module')
def fitted(source, family, tmp_path_factory):
  said = []
  folder = tmp_path_factory.mktemp('paths') / family
  options = OPTIONS[family]
  generator = paths.fit(source, family, options, 0, folder, say=said.append)
  return generator, said


def losses(said):
  """Of the stock model on held-out days."""
  lines = [line for line in said if ' stock: ' in line]
  return [float(line.split(', ')[2].split()[0]) for line in lines]


def test_it_learns_and_keeps_the_best(fitted):
  generator, said = fitted
  first, last = losses(said)
  # Noise takes longer to learn from: path_diffusion_test.py.
  assert last < first - 0.1 or generator.family == 'diffusion'
  assert generator.common_params is not None


def test_what_is_sampled_is_a_market(fitted, source):
  generator, _ = fitted
  made = paths.sample(generator, seed=0, num_days=250)
  assert made.mask.all() and made.symbols == source.symbols
  start, high, low, close, volume, vwap = made.features
  for price in (start, close, vwap):
    assert ((low <= price) & (price <= high)).all()
  assert (low > 0).all() and (volume > 0).all()
  # A market: stocks move together, at the size of the real ones.
  found = market_quality.figures(made)
  logs = bars.unscale(source.values, source.anchors).values
  size = np.nanstd(logs[bars.GAP] + logs[bars.BODY])
  assert found['pair_correlation'] > 0.1
  assert 0.5 < found['deviation'] / size < 2
  again = paths.sample(generator, seed=0, num_days=250)
  np.testing.assert_array_equal(again.features, made.features)
  other = paths.sample(generator, seed=1, num_days=250)
  assert (other.features != made.features).any()


@pytest.mark.parametrize('family', ['diffusion'], indirect=True)
def test_a_killed_fit_goes_on_with_the_same_bits(
  fitted, family, source, tmp_path
):
  """The fit of the others is the same, without noise of its own."""

  def stop(text):
    if 'stock: update 50' in text:
      raise KeyboardInterrupt

  fit = functools.partial(
    paths.fit, source, family, OPTIONS[family], 0, tmp_path / family
  )
  with pytest.raises(KeyboardInterrupt):
    fit(say=stop)
  said = []
  again = fit(say=said.append)
  assert [line.split()[1] for line in said] == ['stock:']
  one, two = (
    paths.sample(g, seed=3, num_days=250).features for g in (fitted[0], again)
  )
  np.testing.assert_array_equal(one, two)


def test_a_damaged_checkpoint_of_a_fit_is_set_aside(tmp_path):
  days = np.random.default_rng(0).normal(size=(200, 5, 2)).astype(np.float32)
  none = np.zeros((200, 0), np.float32), np.zeros((5, 0), np.float32)
  network = path_fit.Network(
    lambda key: {'w': 3 * jax.random.normal(key, (2,))},
    lambda params, days, context, key: jnp.mean((days - params['w']) ** 2),
    None,
  )
  said = []
  fit = functools.partial(
    path_fit.fit, network, path_fit.Series(days, *none),
    path_fit.Training('gru', 100, 8, 20, 1e-1), jax.random.key(0),
  )  # fmt: skip
  whole = fit(folder=tmp_path / 'whole', say=said.append)

  def stop(text):
    if 'update 75' in text:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fit(folder=tmp_path / 'damaged', say=stop)
  newest = checkpoint.iterations(tmp_path / 'damaged')[-1]
  shutil.rmtree(tmp_path / 'damaged' / f'iteration_{newest:06d}' / 'arrays')
  again = fit(folder=tmp_path / 'damaged', say=said.append)
  np.testing.assert_array_equal(again['w'], whole['w'])
  assert any('It is kept as' in text for text in said)


def test_too_few_days_are_refused(source, tmp_path):
  wide = OPTIONS['gru'] | dict(window=200)
  message = '300 days are too few .* of 200: 400 .*config.gru.window'
  with pytest.raises(ValueError, match=message):
    paths.fit(source, 'gru', wide, 0, tmp_path)


def test_drifts_are_taken_out_and_the_market_keeps_its_own():
  rng = np.random.default_rng(0)
  values = np.zeros((6, 900, 400))
  market = 0.1 + rng.normal(size=(900, 1))
  noise = rng.normal(size=(900, 400))
  values[bars.BODY] = market + noise + rng.normal(0, 0.2, 400)
  out = paths.without_drift(values, rng)
  change = out[bars.BODY]
  np.testing.assert_allclose(
    change.mean(1), values[bars.BODY].mean(1), atol=1e-12
  )
  own = change.mean(0) - change.mean()
  assert own.std() * 30 == pytest.approx(1.0, abs=0.12)
  assert np.corrcoef(own, values[bars.BODY].mean(0))[0, 1] < 0.15
  # Only levels move, and only those of bodies.
  moved = change - values[bars.BODY]
  np.testing.assert_allclose(moved.std(0), 0, atol=1e-12)
  assert not out[bars.GAP].any() and not out[bars.VOLUME].any()
