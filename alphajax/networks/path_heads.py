"""Heavy-tailed distributions of a day's channels, given a state.

Whatever network sums up the past, its state ends here: each channel is drawn
given the state, what is known of the day from outside, and the channels before
it. A channel is a mixture of Student's t; a wick is nothing with a probability,
and else the softplus of such a mixture: at its upper end as heavy-tailed as the
others. (A mixture cut at 0 would say the same by its distribution function,
whose gradient by the tail index JAX lacks.)
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

MIN_TAIL = 2.5  # Least index of a tail: its variance is finite.
MIN_SCALE = 0.01
HEAD_WIDTH = 32
LARGEST = 12.0  # Of what is drawn, in the channel's own units.
SMALLEST = 1e-4  # A wick that small counts as this much.


class Heads(NamedTuple):
  """Parameters of the heads of C channels, all in one array each.

  I numbers are known before any channel, H units are hidden, and O numbers
  describe a channel of K components.
  """

  from_past: jax.Array  # f32[C, I, H]
  from_former: jax.Array  # f32[C, C, H]
  bias: jax.Array  # f32[C, H]
  to_mixture: jax.Array  # f32[C, H, O], O = 4 K + 1
  mixture_bias: jax.Array  # f32[C, O]


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


def make(module: nn.Module, seen: int) -> Heads:
  """The parameters of a network's heads, which the network holds.

  It has `num_channels` and `num_components`; `seen`: I of `Heads`.
  """
  count, size = module.num_channels, 4 * module.num_components + 1
  init = nn.initializers.lecun_normal(batch_axis=0)
  zeros = nn.initializers.zeros
  return Heads(
    module.param('past', init, (count, seen, HEAD_WIDTH)),
    module.param('former', init, (count, count, HEAD_WIDTH)),
    module.param('bias', zeros, (count, HEAD_WIDTH)),
    module.param('head', init, (count, HEAD_WIDTH, size)),
    module.param('head_bias', zeros, (count, size)),
  )


def log_likelihood(
  heads: Heads, seen: jax.Array, day: jax.Array, wicks: tuple[int, ...]
) -> jax.Array:
  """Log likelihood of every channel of a day, f32[C]; 0 where missing.

  seen: f32[I], state and context. wicks: channels that are 0 or above.
  """
  known = jnp.isfinite(day)
  day = jnp.where(known, day, 0.0)
  shape = (day.size, day.size)
  former = jnp.tril(jnp.broadcast_to(squash(day), shape), -1)
  hidden = _hidden(heads, seen)
  hidden += jnp.einsum('cj,cjh->ch', former, heads.from_former)
  raw = jnp.einsum('ch,cho->co', nn.gelu(hidden), heads.to_mixture)
  mixture, nothing = _read(raw + heads.mixture_bias)
  value = density(day, mixture, nothing, _are_wicks(wicks, day.size))
  return jnp.where(known, value, 0.0)


def sample(
  heads: Heads, uniforms: jax.Array, seen: jax.Array, wicks: tuple[int, ...]
) -> jax.Array:
  """A day f32[C], one channel after the other, of numbers f32[C, 4]."""
  count = len(heads.bias)
  hidden, is_wick = _hidden(heads, seen), _are_wicks(wicks, count)

  def draw_channel(channel, day):
    # Those not drawn yet are 0.
    inner = hidden[channel] + squash(day) @ heads.from_former[channel]
    raw = nn.gelu(inner) @ heads.to_mixture[channel]
    mixture, nothing = _read(raw + heads.mixture_bias[channel])
    x = draw(uniforms[channel, :3], mixture)
    x = jnp.clip(x, -LARGEST, LARGEST)
    none = uniforms[channel, 3] < jax.nn.sigmoid(nothing)
    wick = jnp.where(none, 0.0, jax.nn.softplus(x))
    return day.at[channel].set(jnp.where(is_wick[channel], wick, x))

  return jax.lax.fori_loop(0, count, draw_channel, jnp.zeros(count))


def squash(x: jax.Array) -> jax.Array:
  """Keeps rare large values from moving a state far."""
  return jnp.arcsinh(x)


def _hidden(heads: Heads, seen: jax.Array) -> jax.Array:
  """What heads know before any channel of the day, f32[C, H]."""
  return jnp.einsum('i,cih->ch', seen, heads.from_past) + heads.bias


def _are_wicks(wicks: tuple[int, ...], count: int) -> jax.Array:
  return jnp.array([c in wicks for c in range(count)])


def _read(raw: jax.Array) -> tuple[Mixture, jax.Array]:
  """Mixture and logit of nothing, f32[..., 4 K + 1]."""
  logits, center, scale, tail = jnp.split(raw[..., :-1], 4, axis=-1)
  count = raw.shape[-1] // 4
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
