"""Networks that predict from the last days of a stock: LSTM, ALSTM, TCN and a
Transformer, as qlib's benchmarks have them.

Each reads f32[B, D, C], the oldest day first, and gives f32[B]. Recurrent
layers, dense layers and those of the Transformer begin where PyTorch's do,
uniform within one over the root of what a unit reads, as the published
hyper-parameters were found with that.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def _uniform(fan: int):
  """Uniform numbers within 1 / sqrt(fan), for kernels and biases."""
  bound = 1.0 / np.sqrt(fan)

  def init(rng_key, shape, dtype=jnp.float32):
    return jax.random.uniform(rng_key, shape, dtype, -bound, bound)

  return init


def dense(width: int, fan: int, use_bias: bool = True) -> nn.Dense:
  """A dense layer that reads `fan` numbers."""
  init = _uniform(fan)
  return nn.Dense(width, use_bias=use_bias, kernel_init=init, bias_init=init)


class Recurrent(nn.Module):
  """A layer of LSTM or GRU cells, f32[B, D, C] -> f32[B, D, W].

  What it reads of the days is computed for all of them at once.
  """

  width: int
  cell: str  # lstm or gru

  @nn.compact
  def __call__(self, x):
    gates = {'lstm': 4, 'gru': 3}[self.cell] * self.width
    init = _uniform(self.width)
    read = nn.Dense(gates, kernel_init=init, bias_init=init, name='read')(x)
    kernel = self.param('kernel', init, (self.width, gates))
    bias = self.param('bias', init, (gates,))
    advance = {'lstm': _lstm, 'gru': _gru}[self.cell]

    def day(state, inputs):
      return advance(state, inputs, state[0] @ kernel + bias)

    first = jnp.zeros((x.shape[0], self.width))
    _, states = jax.lax.scan(day, (first, first), read.swapaxes(0, 1))
    return states.swapaxes(0, 1)


def _lstm(state, read, recalled):
  hidden, cell = state
  take, forget, new, give = jnp.split(read + recalled, 4, axis=-1)
  cell = nn.sigmoid(forget) * cell + nn.sigmoid(take) * jnp.tanh(new)
  hidden = nn.sigmoid(give) * jnp.tanh(cell)
  return (hidden, cell), hidden


def _gru(state, read, recalled):
  hidden, unused = state
  reset, update, new = jnp.split(read, 3, axis=-1)
  old_reset, old_update, old_new = jnp.split(recalled, 3, axis=-1)
  update = nn.sigmoid(update + old_update)
  new = jnp.tanh(new + nn.sigmoid(reset + old_reset) * old_new)
  hidden = (1.0 - update) * new + update * hidden
  return (hidden, unused), hidden


class Lstm(nn.Module):
  """Layers of LSTM, and a dense layer on the last state."""

  width: int = 64
  layers: int = 2
  dropout: float = 0.0  # Between layers.

  @nn.compact
  def __call__(self, x, *, train: bool):
    x = _stack(self, x, 'lstm', train)
    return dense(1, self.width)(x[:, -1])[:, 0]


def _stack(module, x, cell: str, train: bool):
  """Recurrent layers one on the other, with dropout between them."""
  for i in range(module.layers):
    if i:
      x = nn.Dropout(module.dropout, deterministic=not train)(x)
    x = Recurrent(module.width, cell)(x)
  return x


class Alstm(nn.Module):
  """A GRU over dense features, and attention over its states."""

  width: int = 64
  layers: int = 2
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, *, train: bool):
    x = jnp.tanh(dense(self.width, x.shape[-1])(x))
    states = _stack(self, x, 'gru', train)
    half = self.width // 2
    score = dense(half, self.width)(states)
    score = nn.Dropout(self.dropout, deterministic=not train)(score)
    score = dense(1, half, use_bias=False)(jnp.tanh(score))
    heard = jnp.sum(states * nn.softmax(score, axis=1), axis=1)
    both = jnp.concatenate([states[:, -1], heard], axis=-1)
    return dense(1, 2 * self.width)(both)[:, 0]


class CausalConv(nn.Module):
  """A convolution of days with earlier ones, its weights normed per channel.

  Days are counted back from the last, f32[B, N, C] -> f32[B, M, W]: of the N
  that it reads it gives every `stride`-th. Before the first day are zeros.
  """

  width: int
  kernel: int

  @nn.compact
  def __call__(self, x, stride: int = 1):
    count, channels = x.shape[1:]
    shape = (self.kernel, channels, self.width)
    direction = self.param('direction', nn.initializers.normal(0.01), shape)
    size = jnp.sqrt(jnp.sum(jnp.square(direction), (0, 1)))
    length = self.param('length', lambda rng_key: size)
    init = _uniform(self.kernel * channels)
    bias = self.param('bias', init, (self.width,))
    # A product over days and channels, as XLA's convolutions of days are slow
    # on CPUs; what only reads zeros is left out.
    taps = min(self.kernel, count)
    padded = jnp.pad(x, ((0, 0), (0, taps - 1), (0, 0)))
    read = jnp.concatenate(
      [padded[:, i : i + count : stride] for i in range(taps)], axis=-1
    )
    weights = (direction * (length / size))[::-1][:taps]
    return read @ weights.reshape(taps * channels, self.width) + bias


class Tcn(nn.Module):
  """Residual blocks of causal convolutions, dilated 1, 2, 4, ...

  Of a block only the days are computed that reach the last one: every second
  that the block before has, on which its dilation is 1.
  """

  width: int = 32
  layers: int = 5
  kernel: int = 7
  dropout: float = 0.5

  @nn.compact
  def __call__(self, x, *, train: bool):
    drop = nn.Dropout(self.dropout, deterministic=not train)
    x = x[:, ::-1]
    for i in range(self.layers):
      stride = 2 if i + 1 < self.layers else x.shape[1]
      inner = x
      for step in (1, stride):
        inner = nn.relu(CausalConv(self.width, self.kernel)(inner, step))
        inner = drop(inner)
      x = x[:, ::stride]
      if x.shape[-1] != self.width:
        x = nn.Dense(
          self.width, kernel_init=nn.initializers.normal(0.01),
          bias_init=_uniform(x.shape[-1]),
        )(x)  # fmt: skip
      x = nn.relu(inner + x)
    return dense(1, self.width)(x[:, 0])[:, 0]


class Transformer(nn.Module):
  """Encoder layers over days with sinusoidal positions; reads the last day."""

  width: int = 64
  layers: int = 2
  heads: int = 2
  feed_forward: int = 2048
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, *, train: bool):
    drop = nn.Dropout(self.dropout, deterministic=not train)
    x = dense(self.width, x.shape[-1])(x)
    x = x + positions(x.shape[1], self.width)[None]
    for i in range(self.layers):
      # What the last layer says of earlier days is not read.
      asked = x if i + 1 < self.layers else x[:, -1:]
      heard = nn.MultiHeadDotProductAttention(
        self.heads, dropout_rate=self.dropout, deterministic=not train
      )(asked, x)
      x = nn.LayerNorm(epsilon=1e-5)(asked + drop(heard))
      inner = nn.relu(dense(self.feed_forward, self.width)(x))
      inner = dense(self.width, self.feed_forward)(drop(inner))
      x = nn.LayerNorm(epsilon=1e-5)(x + drop(inner))
    return dense(1, self.width)(x[:, -1])[:, 0]


def positions(days: int, width: int) -> jax.Array:
  """Sines in even, cosines in odd channels, f32[D, W]."""
  rate = jnp.exp(-jnp.log(10_000.0) * jnp.arange(0, width, 2) / width)
  angles = jnp.arange(days)[:, None] * rate[None]
  both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return both.reshape(days, -1)[:, :width]
