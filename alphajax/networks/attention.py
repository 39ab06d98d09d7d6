"""Transformer layers that read a set at once, or a series token by token.

Pre-norm, so that training needs no warm-up. Unbatched: the caller vmaps.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Attention(nn.Module):
  """`num_heads` heads over D units."""

  width: int
  num_heads: int

  def setup(self) -> None:
    self.query = nn.Dense(self.width)
    self.key_value = nn.Dense(2 * self.width)
    self.out = nn.Dense(self.width)

  def remember(self, x: jax.Array) -> jax.Array:
    """Keys and values of `[N, D]`, what queries are put to: `[2, N, D]`."""
    return jnp.stack(jnp.split(self.key_value(x), 2, axis=-1))

  def ask(self, x: jax.Array, memory: jax.Array, there: jax.Array) -> jax.Array:
    """What queries `[M, D]` find in `memory [2, N, D]`, `[M, D]`.

    there: bool[M, N] or bool[N], what may be looked at; where nothing may, the
      mean of all comes of it.
    """
    heads = self.num_heads, self.width // self.num_heads
    query = self.query(x).reshape(-1, *heads)
    key, value = (part.reshape(-1, *heads) for part in memory)
    scores = jnp.einsum('mhd,nhd->hmn', query, key) * heads[1] ** -0.5
    scores = jnp.where(there, scores, jnp.finfo(scores.dtype).min)
    found = jnp.einsum('hmn,nhd->mhd', jax.nn.softmax(scores), value)
    return self.out(found.reshape(-1, self.width))

  def __call__(self, x: jax.Array, there: jax.Array) -> jax.Array:
    return self.ask(x, self.remember(x), there)


class Feed(nn.Module):
  """The layer of each position by itself."""

  hidden: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return nn.Dense(x.shape[-1])(nn.relu(nn.Dense(self.hidden)(x)))


class Encoder(nn.Module):
  """Layers over a set: no positions, so its order does not matter."""

  width: int
  num_layers: int = 2
  num_heads: int = 4
  hidden: int = 512

  @nn.compact
  def __call__(self, x: jax.Array, there: jax.Array) -> jax.Array:
    """`[N, D], bool[N] -> [N, D]`; what is not there says nothing to others."""
    for _ in range(self.num_layers):
      x = x + Attention(self.width, self.num_heads)(nn.LayerNorm()(x), there)
      x = x + Feed(self.hidden)(nn.LayerNorm()(x))
    return nn.LayerNorm()(x)


class Decoder(nn.Module):
  """Layers over a series, each of which also looks at a set."""

  width: int
  num_layers: int = 4
  num_heads: int = 4
  hidden: int = 512

  def setup(self) -> None:
    count = range(self.num_layers)
    self.own = [Attention(self.width, self.num_heads) for _ in count]
    self.cross = [Attention(self.width, self.num_heads) for _ in count]
    self.feed = [Feed(self.hidden) for _ in count]
    self.norms = [[nn.LayerNorm() for _ in range(3)] for _ in count]
    self.last_norm = nn.LayerNorm()

  def remember(self, x: jax.Array) -> jax.Array:
    """What all layers look at of a set: `[N, D] -> [layers, 2, N, D]`."""
    return jnp.stack([layer.remember(x) for layer in self.cross])

  def __call__(
    self, x: jax.Array, memory: jax.Array, there: jax.Array
  ) -> jax.Array:
    """A whole series `[L, D] -> [L, D]`; nothing looks ahead.

    memory: of `remember`; there: bool[N] of it.
    """
    past = jnp.tril(jnp.ones((x.shape[0],) * 2, bool))
    for n in range(self.num_layers):
      x = x + self.own[n](self.norms[n][0](x), past)
      x = self._rest(n, x, memory, there)
    return self.last_norm(x)

  def follow(
    self,
    cache: jax.Array,
    place: jax.Array,
    x: jax.Array,
    memory: jax.Array,
    there: jax.Array,
  ) -> tuple[jax.Array, jax.Array]:
    """One position more.

    Args:
      cache: `[layers, 2, L, D]`, what was said of the positions before.
      place: i32[], the position.
      x: `[D]` of it.
      memory, there: as of `__call__`.

    Returns:
      (`[D]`, the cache with it).
    """
    x, past = x[None], jnp.arange(cache.shape[2]) <= place
    for n in range(self.num_layers):
      normed = self.norms[n][0](x)
      new = self.own[n].remember(normed)
      cache = cache.at[n, :, place].set(new[:, 0])
      x = x + self.own[n].ask(normed, cache[n], past)
      x = self._rest(n, x, memory, there)
    return self.last_norm(x)[0], cache

  def _rest(self, n, x, memory, there):
    x = x + self.cross[n].ask(self.norms[n][1](x), memory[n], there)
    return x + self.feed[n](self.norms[n][2](x))
