"""Implicit quantile networks: the distribution of what an action will return.

Dabney et al. 2018: a quantile level enters as cosines, multiplies the encoding,
and the head says the quantile of every action.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax import lookup
from alphajax.language.environment import Language
from alphajax.networks import heads


class QuantileNetwork(nn.Module):
  """`tokens [L], levels [N] -> quantiles [N, A]`; the caller vmaps."""

  encoder: nn.Module  # `tokens [L] -> [D]`.
  num_actions: int
  num_cosines: int = 64

  @nn.compact
  def __call__(self, tokens: jax.Array, levels: jax.Array) -> jax.Array:
    chex.assert_rank([tokens, levels], 1)
    x = self.encoder(tokens)
    waves = jnp.pi * jnp.arange(1, self.num_cosines + 1)
    cosines = jnp.cos(levels[:, None] * waves[None, :])
    embedded = nn.relu(nn.Dense(x.shape[0])(cosines))
    hidden = nn.relu(nn.Dense(x.shape[0])(embedded * x[None, :]))
    return nn.Dense(self.num_actions)(hidden)


def make(
  language: Language, *, encoder: str, width: int, num_cosines: int
) -> QuantileNetwork:
  """The network of a language.

  encoder: a key of `heads.ENCODERS`, or an import path.

  Raises:
    ValueError: an unknown encoder, or one that cannot read the language.
  """
  make_encoder = lookup.function(
    encoder, heads.ENCODERS, 'make(language, width)',
    key='config.network.encoder',
  )  # fmt: skip
  return QuantileNetwork(
    make_encoder(language, width), language.num_actions, num_cosines
  )


def apply_batch(
  network: QuantileNetwork, params: dict, tokens: jax.Array, levels: jax.Array
) -> jax.Array:
  """`tokens [B, L], levels [B, N] -> [B, N, A]`; levels [N] are of all."""
  chex.assert_rank(tokens, 2)
  axis = 0 if levels.ndim == 2 else None
  found: Any = jax.vmap(network.apply, (None, 0, axis))(params, tokens, levels)
  return found
