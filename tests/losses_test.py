"""The losses, by hand and as gradients."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alphajax.language import grammar as grammar_lib
from alphajax.networks import heads
from alphajax.search import losses


def batch_of_two():
  return losses.Batch(
    tokens=np.zeros((2, 3), np.int32),
    action_weights=np.float32([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0]]),
    invalid_actions=np.array([[False, False, True], [True, False, True]]),
    value_target=np.float32([0.5, -1.0]),
  )


def fixed_apply(params, tokens, rng_key):
  del rng_key
  logits = jnp.array([[1.0, 2.0, 50.0], [90.0, -3.0, 4.0]])
  return logits * params['scale'], params['value'] * jnp.ones(len(tokens))


def test_loss_by_hand():
  params = {'scale': np.float32(1.0), 'value': np.float32(0.2)}
  loss_of = jax.jit(losses.policy_value_loss, static_argnums=1)
  loss, metrics = loss_of(
    params, fixed_apply, batch_of_two(), jax.random.key(0), l2=0.1
  )
  value = (0.3**2 + 1.2**2) / 2
  log_p = np.array([1.0, 2.0]) - np.log(np.exp(1) + np.exp(2))
  # The second state has one valid action: no choice, no loss.
  policy = -(0.25 * log_p[0] + 0.75 * log_p[1]) / 2
  np.testing.assert_allclose(metrics['value_loss'], value, rtol=1e-6)
  np.testing.assert_allclose(metrics['policy_loss'], policy, rtol=1e-6)
  np.testing.assert_allclose(metrics['weight_norm'], 1.04, rtol=1e-6)
  np.testing.assert_allclose(loss, value + policy + 0.104, rtol=1e-6)
  entropy = -(np.exp(log_p) * log_p).sum() / 2
  np.testing.assert_allclose(metrics['entropy'], entropy, rtol=1e-5)


def test_forbidden_logits_get_no_gradient():
  def loss(logits):
    def apply_fn(params, tokens, rng_key):
      return params, jnp.zeros(2)

    return losses.policy_value_loss(
      logits, apply_fn, batch_of_two(), jax.random.key(0), l2=0.0
    )[0]

  logits = np.float32([[1.0, 2.0, 50.0], [90.0, -3.0, 4.0]])
  gradient = np.asarray(jax.jit(jax.grad(loss))(logits))
  assert np.all(np.isfinite(gradient))
  assert not gradient[np.asarray(batch_of_two().invalid_actions)].any()
  assert np.abs(gradient[0, :2]).max() > 0


@pytest.mark.parametrize('encoder', heads.ENCODERS)
def test_the_network_learns_what_the_batch_says(encoder):
  grammar = grammar_lib.make()
  network = heads.make(grammar, encoder=encoder, width=16)
  params = heads.init(network, grammar, jax.random.key(0))
  tokens = grammar_lib.random_tokens(grammar, jax.random.key(1), 16)
  actions = np.random.default_rng(2).integers(0, 6, 16)
  batch = losses.Batch(
    tokens=tokens,
    action_weights=np.eye(grammar.num_actions, dtype=np.float32)[actions],
    invalid_actions=np.zeros((16, grammar.num_actions), bool),
    value_target=np.linspace(-0.5, 0.5, 16, dtype=np.float32),
  )
  apply_fn = functools.partial(heads.apply_batch, network)
  optimizer = optax.adam(3e-3)
  chex.clear_trace_counter()  # Of the encoder before.

  @jax.jit
  @chex.assert_max_traces(n=1)
  def update(params, opt_state, rng_key):
    gradient, metrics = jax.grad(losses.policy_value_loss, has_aux=True)(
      params, apply_fn, batch, rng_key, l2=1e-6
    )
    updates, opt_state = optimizer.update(gradient, opt_state)
    return optax.apply_updates(params, updates), opt_state, metrics

  opt_state = jax.jit(optimizer.init)(params)
  for step in range(200):
    rng_key = jax.random.fold_in(jax.random.key(3), step)
    params, opt_state, metrics = update(params, opt_state, rng_key)
    if step == 0:
      first = metrics
  # Without dropout, whose noise hides what was learned.
  _, metrics = jax.jit(
    lambda params: losses.policy_value_loss(
      params, apply_fn, batch, None, l2=1e-6
    )
  )(params)
  assert metrics['value_loss'] < 0.2 * first['value_loss']
  assert metrics['policy_loss'] < 0.4 * first['policy_loss']
