"""LSTM, CNN and Transformer over the tokens of a formula (Figure 9).

What the Tree-LSTM is compared with: the same states, read as a sequence of
tokens, `[L] -> [D]`. Id 0 is padding and never influences the result: it is
kept out of every layer, and the encoding is a mean over the other positions.

The paper gives no sizes. These have about as many parameters as the Tree-LSTM,
for the paper's language and D = 128: Tree-LSTM 335,232, LSTM 269,696, CNN
336,000, Transformer 337,536 (heads apart).
"""

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax.language.environment import Language

LSTM_LAYERS = 2
CNN_LAYERS = 4
CNN_WINDOW = 5
TRANSFORMER_LAYERS = 2
TRANSFORMER_HEADS = 4
TRANSFORMER_WIDEN = 3  # Hidden units of its dense layers, times D.
# The last normalisation of CNN and Transformer starts at so much in place of 1,
# about the size of an encoding of the Tree-LSTM. Otherwise a fresh network
# values formulas at random by 0.2, several times the largest IC, and the search
# goes for the same few formulas over and over.
FIRST_SCALE = 0.04


class LSTM(nn.Module):
  """Two layers; the order of the tokens is in the recurrence.

  It reads from the left, so the padding behind a formula cannot reach it.
  """

  vocab_size: int
  width: int = 128

  @nn.compact
  def __call__(self, tokens: jax.Array) -> jax.Array:
    chex.assert_rank(tokens, 1)
    x = nn.Embed(self.vocab_size, self.width)(tokens)
    for _ in range(LSTM_LAYERS):
      x = nn.RNN(nn.OptimizedLSTMCell(self.width))(x)
    return mean(x, tokens > 0)


class CNN(nn.Module):
  """Residual convolutions that see 17 tokens in the end."""

  vocab_size: int
  width: int = 128

  @nn.compact
  def __call__(self, tokens: jax.Array) -> jax.Array:
    x = _embed(self, tokens)
    there = (tokens > 0)[:, None]
    for _ in range(CNN_LAYERS):
      # A convolution reaches over the end of the formula: zeros are there.
      y = jnp.where(there, nn.LayerNorm()(x), 0.0)
      x = x + nn.relu(nn.Conv(self.width, (CNN_WINDOW,), padding='SAME')(y))
    return mean(_last_norm()(x), tokens > 0)


class Transformer(nn.Module):
  """Pre-norm self-attention; nothing attends to padding."""

  vocab_size: int
  width: int = 128

  @nn.compact
  def __call__(self, tokens: jax.Array) -> jax.Array:
    x = _embed(self, tokens)
    there = tokens > 0
    mask = jnp.broadcast_to(there, (1, len(tokens), len(tokens)))
    for _ in range(TRANSFORMER_LAYERS):
      y = nn.LayerNorm()(x)
      x = x + nn.MultiHeadDotProductAttention(TRANSFORMER_HEADS)(y, mask=mask)
      y = nn.Dense(TRANSFORMER_WIDEN * self.width)(nn.LayerNorm()(x))
      x = x + nn.Dense(self.width)(nn.relu(y))
    return mean(_last_norm()(x), there)


ENCODERS = {'lstm': LSTM, 'cnn': CNN, 'transformer': Transformer}


def make(name: str, language: Language, width: int = 128) -> nn.Module:
  """The encoder of that name, a key of `ENCODERS`, for any language.

  Raises:
    ValueError: a width that does not fit the Transformer.
  """
  if name == 'transformer' and width % TRANSFORMER_HEADS:
    raise ValueError(
      f'config.network.width is {width}: the Transformer has '
      f'{TRANSFORMER_HEADS} heads and needs a multiple of that'
    )
  return ENCODERS[name](language.vocab.size, width)


def mean(x: jax.Array, there: jax.Array) -> jax.Array:
  """Mean over the positions that are there, `[L, D], [L] -> [D]`; 0 if none."""
  total = jnp.sum(jnp.where(there[:, None], x, 0.0), axis=0)
  return total / jnp.maximum(jnp.sum(there), 1)


def positions(length: int, width: int) -> jax.Array:
  """`sines` of the positions `0 .. length - 1`, `[L, D]`."""
  return sines(jnp.arange(length), width)


def sines(place: jax.Array, width: int) -> jax.Array:
  """Sines and cosines of positions, `[L] -> [L, D]`, as in the Transformer.

  No table bounds the length, and a position means the same in any padding.
  """
  pair = jnp.arange(width) // 2
  rate = 10_000.0 ** (-2.0 * pair / width)
  angle = place[:, None] * rate[None, :]
  even = (jnp.arange(width) % 2 == 0)[None, :]
  return jnp.where(even, jnp.sin(angle), jnp.cos(angle))


def _last_norm() -> nn.Module:
  return nn.LayerNorm(scale_init=nn.initializers.constant(FIRST_SCALE))


def _embed(module: nn.Module, tokens: jax.Array) -> jax.Array:
  """Symbols at their positions, `[L] -> [L, D]`."""
  chex.assert_rank(tokens, 1)
  # The scale of the sines: an embedding starts with a norm of about 1.
  scale = module.width**0.5
  x = scale * nn.Embed(module.vocab_size, module.width)(tokens)
  return x + positions(tokens.shape[0], module.width)
