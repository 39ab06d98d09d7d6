"""Networks that draw a series day by day: a GRU with heavy-tailed outputs.

A day is C channels, each drawn given the past, what is known of the day from
outside, and the channels before it. A channel is a mixture of Student's t; a
wick is nothing with a probability, and else the softplus of such a mixture: at
its upper end as heavy-tailed as the others. (A mixture cut at 0 would say the
same by its distribution function, whose gradient by the tail index JAX lacks.)
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

MIN_TAIL = 2.5  # Least index of a tail: its variance is finite.
MIN_SCALE = 0.01
HEAD_WIDTH = 32
LARGEST = 12.0  # Of what is drawn, in the channel's own units.
SMALLEST = 1e-4  # A wick that small counts as this much.


class Mixture(NamedTuple):
  """Mixtures of K Student distributions, each f32[..., K]."""

  logits: jax.Array
  center: jax.Array
  scale: jax.Array
  tail: jax.Array


def log_density(x: jax.Array, mixture: Mixture) -> jax.Array:
  """Log density of x `[...]`."""
  _, center, scale, tail = mixture
  z = (x[..., None] - center) / scale
  each = (
    jax.scipy.special.gammaln((tail + 1) / 2)
    - jax.scipy.special.gammaln(tail / 2)
    - 0.5 * jnp.log(jnp.pi * tail)
    - jnp.log(scale)
    - (tail + 1) / 2 * jnp.log1p(z**2 / tail)
  )
  return jax.nn.logsumexp(each + jax.nn.log_softmax(mixture.logits), axis=-1)


def draw(uniforms: jax.Array, mixture: Mixture) -> jax.Array:
  """One value of every mixture `[...]` from uniform numbers `[..., 3]`.

  Student's t is drawn in closed form (Bailey 1994): a gamma variate would loop
  until it is accepted.
  """
  which, size, turn = jnp.moveaxis(uniforms, -1, 0)
  above = jnp.cumsum(jax.nn.softmax(mixture.logits), axis=-1)
  # The last bound is left out: rounding may leave it below 1.
  which = jnp.sum(which[..., None] > above[..., :-1], axis=-1, keepdims=True)
  center, scale, tail = (
    jnp.take_along_axis(x, which, axis=-1)[..., 0] for x in mixture[1:]
  )
  size = jnp.maximum(size, jnp.finfo(jnp.float32).tiny)
  # expm1: most of the values lie where size ** (-2 / tail) is near 1.
  length = jnp.sqrt(tail * jnp.expm1(-2.0 / tail * jnp.log(size)))
  return center + scale * length * jnp.cos(2 * jnp.pi * turn)


class GruPaths(nn.Module):
  """Draws days of C channels; unbatched, the caller vmaps.

  context_size: E, numbers that are known of a day from outside.
  wicks: channels that are 0 or above.
  """

  num_channels: int
  context_size: int = 0
  wicks: tuple[int, ...] = ()
  width: int = 96
  num_components: int = 3

  def setup(self):
    # Orthogonal kernels, the default, take longer to compile than to train.
    self.cell = nn.GRUCell(
      self.width, recurrent_kernel_init=nn.initializers.lecun_normal()
    )
    count, size = self.num_channels, 4 * self.num_components + 1
    init = nn.initializers.lecun_normal(batch_axis=0)
    zeros = nn.initializers.zeros
    seen = self.width + self.context_size
    # A head for every channel, all in one array.
    self.from_past = self.param('past', init, (count, seen, HEAD_WIDTH))
    self.from_former = self.param('former', init, (count, count, HEAD_WIDTH))
    self.bias = self.param('bias', zeros, (count, HEAD_WIDTH))
    self.to_mixture = self.param('head', init, (count, HEAD_WIDTH, size))
    self.mixture_bias = self.param('head_bias', zeros, (count, size))

  def __call__(self, state, before, context) -> jax.Array:
    """The state of a day: `before` f32[C] is the day before it, NaN missing.

    context: f32[E], known of the day itself.
    """
    known = jnp.isfinite(before)
    seen = _squash(jnp.where(known, before, 0.0))
    inputs = jnp.concatenate([seen, known.astype(jnp.float32), context])
    return self.cell(state, inputs)[0]

  def _hidden(self, state, context) -> jax.Array:
    """What heads know before any channel of the day, f32[C, H]."""
    seen = jnp.concatenate([state, context])
    return jnp.einsum('i,cih->ch', seen, self.from_past) + self.bias

  def log_likelihood(self, state, context, day) -> jax.Array:
    """Log likelihood of every channel of a day, f32[C]; 0 where missing."""
    known = jnp.isfinite(day)
    day = jnp.where(known, day, 0.0)
    shape = (self.num_channels, self.num_channels)
    former = jnp.tril(jnp.broadcast_to(_squash(day), shape), -1)
    hidden = self._hidden(state, context)
    hidden += jnp.einsum('cj,cjh->ch', former, self.from_former)
    raw = jnp.einsum('ch,cho->co', nn.gelu(hidden), self.to_mixture)
    mixture, nothing = _read(raw + self.mixture_bias, self.num_components)
    value = density(day, mixture, nothing, self._is_wick())
    return jnp.where(known, value, 0.0)

  def sample(self, uniforms, state, context) -> jax.Array:
    """A day f32[C], one channel after the other, of numbers f32[C, 4]."""
    hidden, is_wick = self._hidden(state, context), self._is_wick()

    def draw_channel(channel, day):
      # Those not drawn yet are 0.
      inner = hidden[channel] + _squash(day) @ self.from_former[channel]
      raw = nn.gelu(inner) @ self.to_mixture[channel]
      mixture, nothing = _read(
        raw + self.mixture_bias[channel], self.num_components
      )
      x = draw(uniforms[channel, :3], mixture)
      x = jnp.clip(x, -LARGEST, LARGEST)
      none = uniforms[channel, 3] < jax.nn.sigmoid(nothing)
      wick = jnp.where(none, 0.0, jax.nn.softplus(x))
      return day.at[channel].set(jnp.where(is_wick[channel], wick, x))

    first = jnp.zeros(self.num_channels)
    return jax.lax.fori_loop(0, self.num_channels, draw_channel, first)

  def _is_wick(self) -> jax.Array:
    return jnp.array([c in self.wicks for c in range(self.num_channels)])


def _read(raw: jax.Array, count: int) -> tuple[Mixture, jax.Array]:
  """Mixture and logit of nothing, f32[..., 4 K + 1]."""
  logits, center, scale, tail = jnp.split(raw[..., :-1], 4, axis=-1)
  # Components begin apart: a narrow, a middling and a wide one.
  spread = jnp.broadcast_to(jnp.linspace(-1.5, 0.5, count), scale.shape)
  mixture = Mixture(
    logits=logits,
    center=center,
    scale=MIN_SCALE + jax.nn.softplus(scale + spread),
    tail=MIN_TAIL + jax.nn.softplus(tail + 2.0),
  )
  return mixture, raw[..., -1]


def density(
  x: jax.Array, mixture: Mixture, nothing: jax.Array, is_wick: jax.Array
) -> jax.Array:
  """Log density of channels `[...]`: of a mixture, or of a wick.

  A wick has a mass at 0, and else is the softplus of the mixture.
  """
  above = jnp.maximum(x, SMALLEST)
  steep = jnp.log(-jnp.expm1(-above))  # ln of the slope of softplus.
  inner = log_density(jnp.where(is_wick, above + steep, x), mixture)
  some = jax.nn.log_sigmoid(-nothing) + inner - steep
  wick = jnp.where(x > 0, some, jax.nn.log_sigmoid(nothing))
  return jnp.where(is_wick, wick, inner)


def likelihood(
  model: GruPaths, params, series: jax.Array, context: jax.Array
) -> jax.Array:
  """Log likelihoods f32[T, C] of a series f32[T, C], context f32[T, E]."""

  def day(state, inputs):
    before, now, known = inputs
    state = model.apply(params, state, before, known)
    return state, state

  missing = jnp.full_like(series[:1], jnp.nan)
  before = jnp.concatenate([missing, series[:-1]])
  first = jnp.zeros(model.width)
  _, states = jax.lax.scan(day, first, (before, series, context))
  of_day = functools.partial(model.apply, params, method='log_likelihood')
  return jnp.asarray(jax.vmap(of_day)(states, context, series))


def make_sampler(model: GruPaths) -> Callable:
  """A jitted `(params, rng_key, context f32[T, B, E]) -> f32[T, B, C]`.

  Series are drawn side by side, each with a key of its own, so that another
  batch gives the same series.
  """

  def one_day(params, rng_key, state, before, context):
    state = model.apply(params, state, before, context)
    uniforms = jax.random.uniform(rng_key, (model.num_channels, 4))
    now = model.apply(params, uniforms, state, context, method='sample')
    return state, now

  batched = jax.vmap(one_day, in_axes=(None, 0, 0, 0, 0))

  def sample(params, rng_key, context):
    num_days, size, _ = context.shape
    keys = jax.vmap(lambda i: jax.random.fold_in(rng_key, i))(jnp.arange(size))

    def day(carry, inputs):
      state, before = carry
      t, known = inputs
      day_keys = jax.vmap(lambda key: jax.random.fold_in(key, t))(keys)
      state, now = batched(params, day_keys, state, before, known)
      return (state, now), now

    first = (
      jnp.zeros((size, model.width)),
      jnp.full((size, model.num_channels), jnp.nan),
    )
    return jax.lax.scan(day, first, (jnp.arange(num_days), context))[1]

  return jax.jit(sample)


def _squash(x: jax.Array) -> jax.Array:
  """Keeps rare large values from moving a state far."""
  return jnp.arcsinh(x)
