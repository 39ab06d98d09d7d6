"""AlphaFormer's networks: sets, padding, masks, extreme markets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import parameters
import pytest

from alphajax.data import panel as panel_lib
from alphajax.data import simulate
from alphajax.language import environment
from alphajax.networks import attention, formula_writer, market_encoder

SIZES = formula_writer.Sizes(
  width=8, num_heads=2, hidden=16, encoder_layers=1, decoder_layers=2
)
# Sums over stocks in another order, in float32.
CLOSE = {'rtol': 1e-4, 'atol': 1e-5}


@functools.cache
def made():
  language = environment.make(
    'rpn', max_length=5, features=('close', 'volume'), windows=(10,),
    constants=(1.0,), operators=('Abs', 'Add', 'Mean'),
  )  # fmt: skip
  market, writer = formula_writer.make(language, SIZES)
  paths = jnp.zeros((6, 12, market_encoder.CHANNELS))
  of_market = parameters.of(market.init, paths, jnp.ones(6, bool))
  pool = jnp.ones((3, language.max_tokens), jnp.int32)
  init = functools.partial(writer.init, method='everything')
  of_writer = parameters.of(init, jnp.zeros(8), pool)
  return language, market, of_market, writer, of_writer


@functools.cache
def market_panel():
  panel = simulate.simulate(
    seed=0, num_days=12, num_stocks=20, alphas=(), strength=0.0
  ).panel
  seen = np.isfinite(panel_lib.feature(panel, 'close')).all(0)
  symbols = np.array(panel.symbols)[seen][:6]
  return panel_lib.take_symbols(panel, symbols.tolist())


@functools.cache
def writer_of(method):
  """A method of the writer, jitted."""
  _, _, _, writer, params = made()
  return jax.jit(functools.partial(writer.apply, params, method=method))


@functools.cache
def embedder():
  _, market, params, _, _ = made()
  return jax.jit(functools.partial(market.apply, params))


def change(panel, **features):
  values = np.array(panel.features)
  for name, value in features.items():
    values[panel.feature_names.index(name)] = value
  return panel.replace(features=values)


def test_the_order_of_stocks_and_padding_do_not_matter():
  paths, there = market_encoder.paths(market_panel())
  assert paths.shape == (6, 12, market_encoder.CHANNELS)
  embedding = embedder()(paths, there)
  assert np.abs(embedding).max() > 0.01
  order = np.random.default_rng(0).permutation(6)
  np.testing.assert_allclose(
    embedder()(paths[order], there[order]), embedding, **CLOSE
  )
  some = there.copy()
  some[4:] = False
  padded = paths.copy()
  padded[4:] = 7.0  # Whatever lies there.
  np.testing.assert_allclose(
    embedder()(padded, some), embedder()(paths, some), **CLOSE
  )
  one = embedder()(paths[:1], there[:1])  # A market, and without the places.
  assert np.isfinite(one).all() and np.abs(one).max() > 0.01
  some[1:] = False
  np.testing.assert_allclose(embedder()(paths, some), one, **CLOSE)
  assert np.abs(embedder()(paths * 0.5, there) - embedding).max() > 1e-3


def test_channels_are_free_of_scale():
  panel = market_panel()
  paths, there = market_encoder.paths(panel)
  other = panel.replace(features=np.array(panel.features) * 8.0)
  scaled, _ = market_encoder.paths(other)
  np.testing.assert_allclose(scaled, paths, atol=1e-3)
  known = np.isfinite(panel_lib.feature(panel, 'close')).T
  np.testing.assert_array_equal(paths[..., -1], known)
  np.testing.assert_array_equal(there, known.any(1))
  close = np.asarray(panel_lib.feature(panel, 'close'), np.float64)[:, 0]
  change = np.diff(np.log(close))
  np.testing.assert_allclose(
    paths[0, 1:, 0],
    (change - np.nanmean(change)) / np.nanstd(change),
    atol=1e-3,
  )


EXTREME = {
  'constant': lambda p: change(
    p, **dict.fromkeys(p.feature_names, np.float32(7.0))
  ),
  'huge': lambda p: change(p, volume=np.float32(3e38)),
  'nothing': lambda p: change(p, **dict.fromkeys(p.feature_names, np.nan)),
  'zeros': lambda p: change(p, **dict.fromkeys(p.feature_names, 0.0)),
  'a day missing': lambda p: p.replace(
    features=np.where(np.arange(12)[:, None] == 5, np.nan, p.features)
  ),
}


@pytest.mark.parametrize('name', EXTREME)
def test_extreme_markets_have_a_finite_policy_and_value(name):
  language = made()[0]
  paths, there = market_encoder.paths(EXTREME[name](market_panel()))
  assert there.any() == (name not in ('nothing', 'zeros'))
  embedding = embedder()(paths, there)
  assert np.isfinite(paths).all() and np.isfinite(embedding).all()
  pool = jnp.zeros((3, language.max_tokens), jnp.int32)
  context = writer_of('context')(embedding, pool)
  tokens = environment.init(language).tokens
  logits = writer_of('game')(context, tokens)
  assert np.isfinite(logits).all() and np.isfinite(context.value)


def tokens_of(count):
  language = made()[0]
  return environment.random_tokens(language, jax.random.key(3), count)


def test_the_pool_is_a_set():
  market = jnp.linspace(-1.0, 1.0, 8)
  pool, see, game = tokens_of(3), writer_of('context'), writer_of('game')
  start = environment.init(made()[0]).tokens

  def said(pool):
    context = see(market, pool)
    return game(context, start)[0], context.value

  whole = said(pool)
  for other in (pool[::-1], pool[jnp.array([1, 2, 0])]):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, **CLOSE),
      said(other), whole,
    )  # fmt: skip
  fewer = said(pool.at[2].set(0))
  moved = said(jnp.stack([pool[0] * 0, pool[1], pool[0]]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), moved, fewer
  )
  assert abs(float(fewer[1] - whole[1])) > 1e-4
  none = see(market, pool * 0)
  np.testing.assert_array_equal(none.there, [True, False, False, False])
  assert see(market, pool).there.tolist() == [False, True, True, True]


def test_a_formula_is_read_to_its_last_token():
  _, _, _, writer, params = made()
  tokens = tokens_of(1)[0]
  longer = jnp.concatenate([tokens, jnp.zeros(3, jnp.int32)])
  one, two = (
    writer.apply(params, t, method='_formula') for t in (tokens, longer)
  )
  np.testing.assert_allclose(one, two, atol=1e-6)


def test_written_token_by_token_is_read_at_once():
  context = writer_of('context')(jnp.linspace(-1.0, 1.0, 8), tokens_of(3))
  tokens = tokens_of(1)[0]
  whole = writer_of('game')(context, tokens)
  memory, follow = formula_writer.start(made()[3]), writer_of('follow')
  for n in range(int(jnp.sum(tokens > 0))):
    logits, value, memory = follow(context, memory, tokens[n])
    np.testing.assert_allclose(logits, whole[n], **CLOSE)
  assert value == context.value
  later = tokens.at[3:].set(1)  # Nothing looks ahead.
  np.testing.assert_allclose(
    writer_of('game')(context, later)[:3], whole[:3], **CLOSE
  )


def test_attention_is_a_slow_one():
  layer = attention.Attention(width=4, num_heads=2)
  x = jax.random.normal(jax.random.key(0), (3, 4))
  there = jnp.array([True, True, False])
  params = layer.init(jax.random.key(1), x, there)
  weights = params['params']
  query = x @ weights['query']['kernel'] + weights['query']['bias']
  key, value = np.split(
    np.asarray(x @ weights['key_value']['kernel']), 2, axis=-1
  )
  found = np.zeros((3, 4))
  for head in (slice(0, 2), slice(2, 4)):
    score = np.exp(np.asarray(query)[:, head] @ key[:2, head].T / 2**0.5)
    share = score / score.sum(1, keepdims=True)
    found[:, head] = share @ value[:2, head]
  np.testing.assert_allclose(
    layer.apply(params, x, there),
    found @ weights['out']['kernel'],
    atol=1e-5,
  )


@pytest.mark.parametrize(
  'sizes, text',
  [
    (SIZES._replace(width=9), 'width is 9, which .* = 2 does not divide'),
    (SIZES._replace(decoder_layers=0), 'decoder_layers is 0: expected 1'),
  ],
)
def test_sizes_that_cannot_be(sizes, text):
  with pytest.raises(ValueError, match=text):
    formula_writer.make(made()[0], sizes)
