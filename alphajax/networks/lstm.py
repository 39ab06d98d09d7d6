"""LSTM layers that read a series at once, or go on with it step by step.

Initialised as in PyTorch: uniform, within one over the root of the width.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn


class LSTM(nn.Module):
  """`num_layers` layers of D units over f32[L, C]; unbatched.

  dropout_rate: of what a layer says to the next one.
  """

  width: int
  num_layers: int = 2
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(
    self, x: jax.Array, state: jax.Array | None = None, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """What the last layer says of every step, and the state after the last.

    Args:
      x: f32[L, C].
      state: f32[num_layers, 2, D], where an earlier call stopped; None: the
        start, zeros.
      train: with dropout, whose rng the caller passes.

    Returns:
      (f32[L, D], state).
    """
    chex.assert_rank(x, 2)
    if state is None:
      state = start(self.num_layers, self.width)
    after = []
    for n in range(self.num_layers):
      if n > 0:
        x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
      x, last = self._layer(n, x, state[n])
      after.append(last)
    return x, jnp.stack(after)

  def _layer(self, n, x, state):
    width = self.width
    init = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
    inner = self.param(f'inner_{n}', init, (width, 4 * width))
    outer = self.param(f'outer_{n}', init, (x.shape[1], 4 * width))
    bias = self.param(f'bias_{n}', nn.initializers.zeros, (4 * width,))
    step = functools.partial(_step, inner)
    last, outputs = jax.lax.scan(step, state, x @ outer + bias[None])
    return outputs, last


def _step(inner, state, seen):
  """One step of a layer: seen, f32[4D], is what the input says to the gates."""
  h, c = state
  i, f, g, o = jnp.split(seen + h @ inner, 4)
  c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
  h = jax.nn.sigmoid(o) * jnp.tanh(c)
  return jnp.stack([h, c]), h


def start(num_layers: int, width: int) -> jax.Array:
  """The state before the first step, f32[num_layers, 2, D]."""
  return jnp.zeros((num_layers, 2, width), jnp.float32)
