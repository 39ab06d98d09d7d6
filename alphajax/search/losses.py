"""Losses. Each takes params and a batch and returns (loss, metrics)."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from alphajax.networks import heads


class Batch(NamedTuple):
  """States of self-play with what the search and the pool said of them."""

  tokens: jax.Array  # i32[B, L]
  action_weights: jax.Array  # [B, A] sums to 1 over the valid actions.
  invalid_actions: jax.Array  # bool[B, A]
  value_target: jax.Array  # [B] z of Eq. 5.


def row(max_tokens: int, num_actions: int) -> Batch:
  """One row of a batch, zeros: what `replay.empty` is shaped by."""
  return Batch(
    tokens=jnp.zeros(max_tokens, jnp.int32),
    action_weights=jnp.zeros(num_actions, jnp.float32),
    invalid_actions=jnp.zeros(num_actions, bool),
    value_target=jnp.zeros((), jnp.float32),
  )


def policy_value_loss(
  params: dict,
  apply_fn: Callable,
  batch: Batch,
  rng_key: jax.Array,
  *,
  l2: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """`(z - v)^2 - pi . log p + l2 ||theta||^2`, the first two as batch means.

  apply_fn: `(params, tokens [B, L], rng_key) -> (logits [B, A], value [B])`.
  """
  chex.assert_equal_shape([batch.action_weights, batch.invalid_actions])
  logits, value = apply_fn(params, batch.tokens, rng_key)
  chex.assert_equal_shape([logits, batch.action_weights])
  chex.assert_equal_shape([value, batch.value_target])
  value_loss = jnp.mean(jnp.square(value - batch.value_target))
  log_probs = heads.log_probs(logits, batch.invalid_actions)
  # A forbidden action has weight 0 and a huge negative logarithm.
  log_probs = jnp.where(batch.invalid_actions, 0.0, log_probs)
  policy_loss = -jnp.mean(jnp.sum(batch.action_weights * log_probs, axis=-1))
  entropy = -jnp.mean(jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1))
  squares = [jnp.sum(jnp.square(p)) for p in jax.tree.leaves(params)]
  weight_norm = jnp.asarray(sum(squares))
  loss = value_loss + policy_loss + l2 * weight_norm
  return loss, {
    'loss': loss,
    'value_loss': value_loss,
    'policy_loss': policy_loss,
    'entropy': entropy,
    'weight_norm': weight_norm,
  }
