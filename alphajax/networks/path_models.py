"""Networks that draw a series day by day: a GRU, an LSTM, a Transformer.

A day is C channels. A network sums up the days before it and what is known of
the day itself in a state; the heads of `path_heads` draw the channels from
there. A network has

  start() -> carry, before the first day
  step(carry, t, before, context) -> (carry, state) of day t
  states(params, before [T, C], context [T, E]) -> [T, D], all at once
  log_likelihood(state, context, day), sample(uniforms, state, context)

and knows one series; the caller vmaps.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from alphajax.networks import path_heads

CELLS = {'gru': nn.GRUCell, 'lstm': nn.OptimizedLSTMCell}


class RecurrentPaths(nn.Module):
  """Draws days of C channels from the state of a cell.

  context_size: E, numbers that are known of a day from outside.
  wicks: channels that are 0 or above.
  kind: a key of CELLS.
  """

  num_channels: int
  context_size: int = 0
  wicks: tuple[int, ...] = ()
  width: int = 96
  num_components: int = 3
  kind: str = 'gru'

  def setup(self):
    # Orthogonal kernels, the default, take longer to compile than to train.
    self.cell = CELLS[self.kind](
      self.width, recurrent_kernel_init=nn.initializers.lecun_normal()
    )
    self.heads = path_heads.make(self, self.width + self.context_size)

  @nn.nowrap
  def start(self):
    """What is carried before the first day."""
    state = jnp.zeros(self.width)
    return (state, state) if self.kind == 'lstm' else state

  def step(self, carry, t, before, context):
    """Carry and state of a day: `before` f32[C] is the day before it.

    NaN is a missing day. context: f32[E], known of the day itself.
    """
    del t
    return self.cell(carry, joined(before, context))

  @nn.nowrap
  def states(self, params, before, context) -> jax.Array:
    """States of all days, f32[T, D]."""

    def day(carry, inputs):
      return self.apply(params, carry, 0, *inputs, method='step')

    return jax.lax.scan(day, self.start(), (before, context))[1]

  def log_likelihood(self, state, context, day) -> jax.Array:
    """See `path_heads.log_likelihood`."""
    seen = jnp.concatenate([state, context])
    return path_heads.log_likelihood(self.heads, seen, day, self.wicks)

  def sample(self, uniforms, state, context) -> jax.Array:
    """See `path_heads.sample`."""
    seen = jnp.concatenate([state, context])
    return path_heads.sample(self.heads, uniforms, seen, self.wicks)


def joined(before: jax.Array, context: jax.Array) -> jax.Array:
  """What a network reads of a day, `[..., C], [..., E] -> [..., 2 C + E]`."""
  known = jnp.isfinite(before)
  seen = path_heads.squash(jnp.where(known, before, 0.0))
  return jnp.concatenate([seen, known.astype(jnp.float32), context], axis=-1)


def init(model, rng_key: jax.Array):
  """Parameters of a network."""
  days, context = jnp.zeros(model.num_channels), jnp.zeros(model.context_size)
  return model.init(rng_key, model.start(), 0, days, context, method='step')


def likelihood(
  model, params, series: jax.Array, context: jax.Array
) -> jax.Array:
  """Log likelihoods f32[T, C] of a series f32[T, C], context f32[T, E]."""
  missing = jnp.full_like(series[:1], jnp.nan)
  before = jnp.concatenate([missing, series[:-1]])
  states = model.states(params, before, context)
  of_day = functools.partial(model.apply, params, method='log_likelihood')
  return jnp.asarray(jax.vmap(of_day)(states, context, series))


def make_sampler(model) -> Callable:
  """A jitted `(params, rng_key, context f32[T, B, E]) -> f32[T, B, C]`.

  Series are drawn side by side, each with a key of its own, so that another
  batch gives the same series.
  """

  def one_day(params, rng_key, carry, t, before, context):
    carry, state = model.apply(params, carry, t, before, context, method='step')
    uniforms = jax.random.uniform(rng_key, (model.num_channels, 4))
    now = model.apply(params, uniforms, state, context, method='sample')
    return carry, now

  # Not the day: a cache is written at one place for all.
  batched = jax.vmap(one_day, in_axes=(None, 0, 0, None, 0, 0))

  def sample(params, rng_key, context):
    num_days, size, _ = context.shape
    keys = jax.vmap(lambda i: jax.random.fold_in(rng_key, i))(jnp.arange(size))

    def day(carry, inputs):
      of_model, before = carry
      t, known = inputs
      day_keys = jax.vmap(lambda key: jax.random.fold_in(key, t))(keys)
      of_model, now = batched(params, day_keys, of_model, t, before, known)
      return (of_model, now), now

    first = (
      jax.tree.map(
        lambda x: jnp.broadcast_to(x, (size, *x.shape)), model.start()
      ),
      jnp.full((size, model.num_channels), jnp.nan),
    )
    return jax.lax.scan(day, first, (jnp.arange(num_days), context))[1]

  return jax.jit(sample)
