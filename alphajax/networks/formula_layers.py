"""Layers of the formula Transformer: embeddings, attention, with its cache."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

# Inputs are scaled to be about 1; beyond this nothing is to be learned, and no
# sum over them overflows.
BOUND = 30.0


class Sizes(NamedTuple):
  """Model S; what is shipped has four layers of latents."""

  width: int = 128  # D
  heads: int = 4  # H
  hidden: int = 512  # Of the dense layers.
  latents: int = 32  # Q
  latent_layers: int = 2
  decoder_layers: int = 4


def bounded(x: jax.Array) -> jax.Array:
  """Numbers as the network reads them: finite, at most `BOUND`."""
  return jnp.where(jnp.isfinite(x), jnp.clip(x, -BOUND, BOUND), 0.0)


class Perceptron(nn.Module):
  """One hidden layer, `[..., F] -> [..., outputs]`."""

  hidden: int
  outputs: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return nn.Dense(self.outputs)(nn.gelu(nn.Dense(self.hidden)(x)))


class Embedding(nn.Module):
  """Numbers to a row of the set, `[..., F] -> [..., D]`."""

  sizes: Sizes

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = bounded(x)
    width = self.sizes.width
    # Flags say what a row is: they add a vector of their own.
    x = nn.Dense(width, use_bias=False)(x) + Perceptron(width, width)(x)
    return nn.LayerNorm()(x)


class Attention(nn.Module):
  """Heads over rows; queries and rows are projected apart, for the cache."""

  sizes: Sizes

  def setup(self) -> None:
    width = self.sizes.width
    self.query = nn.Dense(width)
    self.row = nn.Dense(2 * width)
    self.out = nn.Dense(width)

  def rows(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and values of rows, `[..., D] -> [..., H, D / H]` each."""
    heads = self.sizes.heads
    keys, values = jnp.split(self.row(x), 2, axis=-1)
    shape = (*x.shape[:-1], heads, -1)
    return keys.reshape(shape), values.reshape(shape)

  def read(
    self, x: jax.Array, keys: jax.Array, values: jax.Array, there: jax.Array
  ) -> jax.Array:
    """What queries `[..., D]` find in rows `[M, H, D / H]`.

    there: bool[..., M] rows that a query sees, at least one.
    """
    heads, width = self.sizes.heads, self.sizes.width
    query = self.query(x).reshape(*x.shape[:-1], heads, -1)
    query = query * (width // heads) ** -0.5
    scores = jnp.einsum('...hd,mhd->...hm', query, keys)
    scores = jnp.where(there[..., None, :], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores)
    found = jnp.einsum('...hm,mhd->...hd', weights, values)
    return self.out(found.reshape(*x.shape[:-1], width))

  def read_own(
    self, x: jax.Array, keys: jax.Array, values: jax.Array, there: jax.Array
  ) -> jax.Array:
    """`read` of one query `[D]` whose rows no other query shares.

    Sums in place of products: many small matrix products are slower on a CPU.
    """
    heads, width = self.sizes.heads, self.sizes.width
    query = self.query(x).reshape(1, heads, -1) * (width // heads) ** -0.5
    scores = jnp.sum(query * keys, axis=-1)
    scores = jnp.where(there[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=0)
    found = jnp.sum(weights[:, :, None] * values, axis=0)
    return self.out(found.reshape(width))


class Block(nn.Module):
  """Pre-norm attention of queries to rows, then dense layers.

  `[Q, D], [E, D] -> [Q, D]`; where both are the same it is self-attention.
  """

  sizes: Sizes

  @nn.compact
  def __call__(
    self, x: jax.Array, rows: jax.Array, there: jax.Array
  ) -> jax.Array:
    attention = Attention(self.sizes)
    norm = nn.LayerNorm()
    keys, values = attention.rows(norm(rows))
    y = attention.read(norm(x), keys, values, there[None])
    x = x + y
    return x + Perceptron(self.sizes.hidden, self.sizes.width)(
      nn.LayerNorm()(x)
    )


class Layer(nn.Module):
  """Of the decoder: causal attention, attention to the memory, dense layers."""

  sizes: Sizes

  def setup(self) -> None:
    self.self_norm = nn.LayerNorm()
    self.self_attention = Attention(self.sizes)
    self.cross_norm = nn.LayerNorm()
    self.cross_attention = Attention(self.sizes)
    self.dense_norm = nn.LayerNorm()
    self.dense = Perceptron(self.sizes.hidden, self.sizes.width)

  def memory(self, latents: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and values of what the decoder attends to."""
    return self.cross_attention.rows(latents)

  def __call__(
    self,
    x: jax.Array,
    causal: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    there: jax.Array,
  ) -> jax.Array:
    """A whole sequence, `[L, D] -> [L, D]`."""
    y = self.self_norm(x)
    past = self.self_attention.rows(y)
    x = x + self.self_attention.read(y, *past, causal)
    return self._finish(x, keys, values, there[None])

  def advance(
    self,
    x: jax.Array,
    position: jax.Array,
    past: tuple[jax.Array, jax.Array],
    keys: jax.Array,
    values: jax.Array,
    there: jax.Array,
  ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The row of one position, `[D] -> [D]`, and the past with it."""
    y = self.self_norm(x)
    past = tuple(
      jax.lax.dynamic_update_index_in_dim(old, new, position, 0)
      for old, new in zip(past, self.self_attention.rows(y), strict=True)
    )
    seen = jnp.arange(past[0].shape[0]) <= position
    x = x + self.self_attention.read_own(y, *past, seen)
    return self._finish(x, keys, values, there), past

  def _finish(
    self, x: jax.Array, keys: jax.Array, values: jax.Array, there: jax.Array
  ) -> jax.Array:
    """Attention to the memory and dense layers."""
    x = x + self.cross_attention.read(self.cross_norm(x), keys, values, there)
    return x + self.dense(self.dense_norm(x))
