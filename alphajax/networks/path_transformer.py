"""A causal Transformer that draws a series day by day.

A day attends to itself and the window - 1 days before it, in every layer, by
content and by how long ago they are: a learned number per head and lag, so that
no day has a position that training did not have. Keys and values of the last
`window` days are kept, and a day costs the same however long the path is.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from alphajax.networks import path_heads
from alphajax.networks.path_models import joined

WIDEN = 2  # Hidden units of a layer's dense part, times D.
FIRST_SLOPE = 0.5  # How much less the first head begins to hear a day earlier.


class TransformerPaths(nn.Module):
  """Draws days of C channels, see `path_models`.

  context_size: E, numbers that are known of a day from outside.
  wicks: channels that are 0 or above.
  window: days that a layer attends to.
  """

  num_channels: int
  context_size: int = 0
  wicks: tuple[int, ...] = ()
  width: int = 128
  num_components: int = 3
  num_layers: int = 3
  num_heads: int = 4
  window: int = 128

  def setup(self):
    self.embed = nn.Dense(self.width)
    self.layers = [
      _Layer(self.width, self.num_heads, self.window)
      for _ in range(self.num_layers)
    ]
    self.last = nn.LayerNorm()
    self.heads = path_heads.make(self, self.width + self.context_size)

  @nn.nowrap
  def start(self):
    """An empty cache of keys and values, f32[layers, 2, window, heads, D/h]."""
    each = (self.window, self.num_heads, self.width // self.num_heads)
    return jnp.zeros((self.num_layers, 2, *each))

  def step(self, carry, t, before, context):
    """Cache and state of day t: `before` f32[C] is the day before it.

    NaN is a missing day. context: f32[E], known of the day itself.
    """
    x = self.embed(joined(before, context))
    place = t % self.window
    # Days ago of what each place of the cache holds; above t: nothing yet.
    lag = (t - jnp.arange(self.window)) % self.window
    for i, layer in enumerate(self.layers):
      query, key, value = layer.project(x)
      carry = carry.at[i, 0, place].set(key).at[i, 1, place].set(value)
      key, value = carry[i]
      heard = layer.hear(query[None], key, value, lag[None], (lag <= t)[None])
      x = layer.take(x, heard[0])
    return carry, self.last(x)

  @nn.nowrap
  def states(self, params, before, context) -> jax.Array:
    """States of all days at once, f32[T, D]."""
    return jnp.asarray(self.apply(params, before, context, method='_states'))

  def _states(self, before, context):
    x = self.embed(joined(before, context))
    days = jnp.arange(len(x))
    lag = days[:, None] - days
    there = (lag >= 0) & (lag < self.window)
    for layer in self.layers:
      query, key, value = layer.project(x)
      heard = layer.hear(query, key, value, lag, there)
      x = layer.take(x, heard)
    return self.last(x)

  def log_likelihood(self, state, context, day) -> jax.Array:
    """See `path_heads.log_likelihood`."""
    seen = jnp.concatenate([state, context])
    return path_heads.log_likelihood(self.heads, seen, day, self.wicks)

  def sample(self, uniforms, state, context) -> jax.Array:
    """See `path_heads.sample`."""
    seen = jnp.concatenate([state, context])
    return path_heads.sample(self.heads, uniforms, seen, self.wicks)


class _Layer(nn.Module):
  """Attention and a dense part, each added to what it normalises first."""

  width: int
  num_heads: int
  window: int

  def setup(self):
    self.norm, self.dense_norm = nn.LayerNorm(), nn.LayerNorm()
    self.to_three = nn.Dense(3 * self.width)
    self.out = nn.Dense(self.width)
    self.up = nn.Dense(WIDEN * self.width)
    self.down = nn.Dense(self.width)
    self.bias = self.param('lag', _slopes, (self.num_heads, self.window))

  def project(self, x):
    """Query, key and value, `[..., D] -> 3 x [..., heads, D / heads]`."""
    three = self.to_three(self.norm(x))
    shape = (*x.shape[:-1], 3, self.num_heads, -1)
    return jnp.moveaxis(three.reshape(shape), -3, 0)

  def hear(self, query, key, value, lag, there):
    """What L days hear of M days, f32[L, D].

    query: `[L, heads, d]`. key, value: `[M, heads, d]`. lag, there: `[L, M]`.
    """
    scores = jnp.einsum('lhd,mhd->hlm', query, key) / query.shape[-1] ** 0.5
    scores += self.bias[:, jnp.clip(lag, 0, self.window - 1)]
    scores = jnp.where(there[None], scores, jnp.finfo(scores.dtype).min)
    shares = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum('hlm,mhd->lhd', shares, value).reshape(len(query), -1)

  def take(self, x, heard):
    """`[..., D]` with what attention heard, through the dense part."""
    x = x + self.out(heard)
    return x + self.down(nn.gelu(self.up(self.dense_norm(x))))


def _slopes(rng_key, shape):
  """The start of the numbers of lags: heads hear ever further (ALiBi)."""
  del rng_key
  num_heads, window = shape
  slope = FIRST_SLOPE * 4.0 ** -jnp.arange(num_heads)
  return -slope[:, None] * jnp.arange(window)
