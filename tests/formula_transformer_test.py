"""The formula Transformer: sets, extremes, the cache, gradients, sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import orders as orders_lib
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import Candidate, Inputs, Sizes

TINY = Sizes(16, 2, 32, latents=4, latent_layers=1, decoder_layers=2)
WIDTH, CONTEXT = 12, 5
# Sums of the set in another order: some units in the last place of float32.
TOLERANCE = 2e-6


@functools.cache
def orders_of():
  return orders_lib.make(
    max_length=4, operators=('Abs', 'Add', 'Mean', 'Corr'), windows=(5,)
  )


def random_params(network, inputs, scale=0.2):
  """Parameters that all count, drawn without compiling `init`."""
  shapes = jax.eval_shape(network.init, jax.random.key(0), inputs)
  rng = np.random.default_rng(0)

  def one(leaf):
    x = rng.normal(size=leaf.shape, scale=scale)
    return jnp.asarray(x, jnp.float32)

  return jax.tree.map(one, shapes)


@functools.cache
def network_of():
  network = formula_transformer.make(TINY, orders_of())
  return network, random_params(network, inputs_of())


def noise(shape, seed=0):
  x = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(x, jnp.float32)


@functools.cache
def sequence_of(seed, order='rpn'):
  language = orders_lib.language(orders_of(), order)
  formula = environment.random_formulas(language, jax.random.key(seed), 1)[0]
  return orders_lib.encode(orders_of(), formula, order)


def inputs_of(num=7, seed=0):
  return Inputs(
    noise((num, WIDTH), seed),
    jnp.arange(num) % 3 > 0,
    noise((CONTEXT,), seed + 1),
    jnp.stack([sequence_of(1), sequence_of(2, 'rules')]),
  )


@functools.cache
def said():
  """All that the network says of inputs, jitted."""
  network, _ = network_of()

  def run(params, inputs, symbols, candidate):
    memory = network.encode(params, inputs)
    return (
      network.logits(params, memory, symbols),
      network.value(params, memory),
      network.score(params, memory, candidate),
    )

  return jax.jit(run)


def candidate_of(expected=0.7):
  bag = jnp.zeros(orders_of().size).at[3].set(2.0)
  return Candidate(noise((WIDTH,)), bag, jnp.float32(expected))


def say(inputs, symbols=None, candidate=None):
  symbols = sequence_of(0) if symbols is None else symbols
  candidate = candidate_of() if candidate is None else candidate
  return said()(network_of()[1], inputs, symbols, candidate)


def assert_same(one, other):
  for a, b in zip(one, other, strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


def test_the_order_of_the_set_changes_nothing():
  inputs = inputs_of()
  order = np.random.default_rng(0).permutation(7)
  moved = inputs._replace(tokens=inputs.tokens[order], mask=inputs.mask[order])
  assert_same(say(moved), say(inputs))


def test_padding_changes_nothing_whatever_it_holds():
  inputs = inputs_of()
  padding = jnp.array([jnp.nan, jnp.inf, 1e30, 0.0])[:, None]
  padded = inputs._replace(
    tokens=jnp.concatenate(
      [inputs.tokens, jnp.broadcast_to(padding, (4, WIDTH))]
    ),
    mask=jnp.concatenate([inputs.mask, jnp.zeros(4, bool)]),
  )
  rows = jnp.zeros((1, orders_of().length), jnp.int32)
  padded = padded._replace(formulas=jnp.concatenate([inputs.formulas, rows]))
  assert_same(say(padded), say(inputs))


@pytest.mark.parametrize('part', ['tokens', 'mask', 'context', 'formulas'])
def test_every_input_counts(part):
  inputs = inputs_of()
  other = inputs_of(seed=5)._replace(
    mask=~inputs.mask, formulas=inputs.formulas[::-1]
  )
  changed = inputs._replace(**{part: getattr(other, part)})
  candidate = candidate_of(expected=0.0)  # The rest is the network's.
  logits, value, score = say(inputs, candidate=candidate)
  other_logits, other_value, other_score = say(changed, candidate=candidate)
  assert np.abs(logits - other_logits).max() > 1e-4
  if part != 'formulas':  # Those are not for the value head.
    assert abs(value - other_value) > 1e-3 * abs(value)
    assert abs(score - other_score) > 1e-3 * abs(score)


def test_a_score_begins_with_what_a_regression_expects():
  """To the bit, of fresh parameters; those of tests are random."""
  network, _ = network_of()
  inputs, candidate = inputs_of(), candidate_of()
  fresh = network.init(jax.random.key(0), inputs)
  assert said()(fresh, inputs, sequence_of(0), candidate)[2] == jnp.float32(0.7)


def test_a_score_reads_all_that_there_is_of_a_formula():
  candidate = candidate_of()
  _, _, score = say(inputs_of())
  changes = dict(token=candidate.token[::-1], bag=candidate.bag * 0,
                 expected=jnp.float32(1.7))  # fmt: skip
  moved = {
    name: say(inputs_of(), None, candidate._replace(**{name: value}))[2]
    for name, value in changes.items()
  }
  assert all(abs(other - score) > 1e-4 for other in moved.values())
  assert moved['expected'] - score == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
  'value', [0.0, 1e30, -1e30, 3e38, np.inf, -np.inf, np.nan]
)
def test_all_is_finite_on_extreme_inputs(value):
  def fill(x):
    return jnp.full_like(x, value)

  inputs = inputs_of()
  extreme = inputs._replace(
    tokens=fill(inputs.tokens), context=fill(inputs.context)
  )
  for mask in (inputs.mask, jnp.zeros(7, bool), jnp.ones(7, bool)):
    found = say(
      extreme._replace(mask=mask),
      candidate=Candidate(*map(fill, candidate_of())),
    )
    assert all(np.isfinite(x).all() for x in found)


def test_a_missing_number_counts_as_zero():
  inputs = inputs_of()
  one = inputs._replace(tokens=inputs.tokens.at[1, 2].set(jnp.nan))
  other = inputs._replace(tokens=inputs.tokens.at[1, 2].set(0.0))
  assert_same(say(one), say(other))


def test_later_symbols_do_not_reach_earlier_logits():
  symbols = jnp.asarray(sequence_of(0))
  before = say(inputs_of(), symbols)[0]
  for t in range(1, len(symbols)):
    after = say(inputs_of(), symbols.at[t].add(1))[0]
    np.testing.assert_array_equal(after[:t], before[:t])
    assert np.abs(after[t] - before[t]).max() > 1e-4


@pytest.mark.parametrize('order', orders_lib.NAMES)
def test_the_cache_equals_teacher_forcing(order):
  network, params = network_of()
  inputs, symbols = inputs_of(), sequence_of(3, order)

  def run(params, inputs, symbols):
    memory = network.encode(params, inputs)

    def move(cache, inputs):
      row, cache = network.advance(params, cache, *inputs)
      return cache, row

    moves = jnp.arange(len(symbols)), symbols
    return jax.lax.scan(move, network.start(params, memory), moves)[1]

  expected = say(inputs, symbols)[0]
  found = jax.jit(run)(params, inputs, symbols)
  np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_the_gradient_reaches_all_parameters():
  network, params = network_of()
  inputs, symbols = inputs_of(), sequence_of(0)

  def loss(params):
    memory = network.encode(params, inputs)
    logits = network.logits(params, memory, symbols)
    bag = jnp.ones(orders_of().size)
    score = network.score(params, memory, candidate_of()._replace(bag=bag))
    value = network.value(params, memory)
    # Squares: the sum of a softmax or of a norm has no gradient.
    return jnp.sum(jax.nn.log_softmax(logits) ** 2) + value**2 + score**2

  gradients = jax.jit(jax.grad(loss))(params)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    name = jax.tree_util.keystr(path)
    assert np.isfinite(leaf).all(), name
    # What keys have in common does not change a softmax, nor does their bias.
    values = np.asarray(leaf)
    if name.endswith("['row']['bias']"):
      values = values[TINY.width :]
    assert np.abs(values).max() > 1e-6, name


@pytest.mark.parametrize('name, expected', [('S', 1_965_671), ('M', 9_264_743)])
def test_the_parameters_of_the_sizes(name, expected):
  orders = orders_lib.make()
  sizes = formula_transformer.SIZES[name]
  network = formula_transformer.make(sizes, orders)
  rows = jnp.zeros((2, orders.length), jnp.int32)
  inputs = Inputs(
    jnp.zeros((240, 88)), jnp.ones(240, bool), jnp.zeros(16), rows
  )
  params = jax.eval_shape(network.init, jax.random.key(0), inputs)
  assert formula_transformer.num_parameters(params) == expected


def test_sizes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='width 16 cannot have 3 heads'):
    formula_transformer.make(TINY._replace(heads=3), orders_of())
