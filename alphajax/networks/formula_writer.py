"""Writes the next formula of a pool for a market (AlphaFormer).

The market is a vector, every formula of the pool is another, made by an LSTM
over its tokens; their sums are what an encoder reads, and a decoder writes the
next formula, token by token. The value is that of the market and the pool.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax.language.environment import Language
from alphajax.networks import attention, lstm, sequence
from alphajax.networks.market_encoder import MarketEncoder


class Sizes(NamedTuple):
  """The keys of `config.network`; see `configs/alphaformer_paper.py`."""

  width: int = 128
  num_heads: int = 4
  hidden: int = 512
  lstm_layers: int = 2
  encoder_layers: int = 2
  decoder_layers: int = 4


class Context(NamedTuple):
  """What a formula is written for: a market and a pool."""

  memory: jax.Array  # f32[layers, 2, K + 1, D] what the decoder looks at.
  there: jax.Array  # bool[K + 1] of it.
  value: jax.Array  # f32[]


class Memory(NamedTuple):
  """What has been written of a formula so far."""

  cache: jax.Array  # f32[layers, 2, L, D]
  length: jax.Array  # i32[] tokens.


class FormulaWriter(nn.Module):
  """Unbatched; see the methods. Id 0 is padding."""

  vocab_size: int
  num_actions: int
  max_tokens: int
  sizes: Sizes = Sizes()

  def setup(self) -> None:
    sizes = self.sizes
    layers = sizes.num_heads, sizes.hidden
    self.embed = nn.Embed(self.vocab_size, sizes.width)
    self.read_formula = lstm.LSTM(sizes.width, sizes.lstm_layers)
    self.encoder = attention.Encoder(sizes.width, sizes.encoder_layers, *layers)
    self.decoder = attention.Decoder(sizes.width, sizes.decoder_layers, *layers)
    self.policy = nn.Dense(self.num_actions)
    self.value_hidden = nn.Dense(sizes.width)
    self.value = nn.Dense(1)

  def context(self, market: jax.Array, pool: jax.Array) -> Context:
    """What a formula is written for.

    Args:
      market: f32[D] of a `MarketEncoder`.
      pool: i32[K, L], tokens of its formulas; padding alone in an empty slot.
    """
    used = jnp.any(pool > 0, axis=1)
    # The market alone where the pool is empty, else the market with each.
    there = jnp.concatenate([~jnp.any(used, keepdims=True), used])
    formulas = jax.vmap(self._formula)(pool)
    x = market + jnp.concatenate([jnp.zeros((1, market.shape[0])), formulas])
    encoded = self.encoder(x, there)
    mean = sequence.mean(encoded, there)
    value = self.value(nn.relu(self.value_hidden(mean)))[0]
    return Context(self.decoder.remember(encoded), there, value)

  def _formula(self, tokens: jax.Array) -> jax.Array:
    """The last state of the LSTM over the tokens that are there, f32[D]."""
    said, _ = self.read_formula(self.embed(tokens))
    return said[jnp.maximum(jnp.sum(tokens > 0) - 1, 0)]

  def game(self, context: Context, tokens: jax.Array) -> jax.Array:
    """Logits after every beginning of the tokens: `[L] -> [L, A]`."""
    x = self._embedded(tokens, jnp.arange(tokens.shape[0]))
    return self.policy(self.decoder(x, context.memory, context.there))

  def follow(
    self, context: Context, memory: Memory, token: jax.Array
  ) -> tuple[jax.Array, jax.Array, Memory]:
    """Logits and value after one token more, and the memory of it."""
    x = self._embedded(token[None], memory.length[None])[0]
    x, cache = self.decoder.follow(
      memory.cache, memory.length, x, context.memory, context.there
    )
    memory = Memory(cache, memory.length + 1)
    return self.policy(x), context.value, memory

  def _embedded(self, tokens, places):
    scale = self.sizes.width**0.5  # An embedding has a norm of about 1.
    return scale * self.embed(tokens) + sequence.sines(places, self.sizes.width)

  def everything(self, market: jax.Array, pool: jax.Array) -> jax.Array:
    """Touches all parameters, for `init`."""
    return self.game(self.context(market, pool), pool[0])


def make(
  language: Language, sizes: Sizes
) -> tuple[MarketEncoder, FormulaWriter]:
  """Both networks of a language.

  Raises:
    ValueError: sizes below 1, or a width that the heads do not divide.
  """
  for name, value in sizes._asdict().items():
    if value < 1:
      raise ValueError(f'config.network.{name} is {value}: expected 1 or more')
  if sizes.width % sizes.num_heads:
    raise ValueError(
      f'config.network.width is {sizes.width}, which config.network.num_heads '
      f'= {sizes.num_heads} does not divide: set one to a multiple of the other'
    )
  market = MarketEncoder(
    sizes.width, sizes.lstm_layers, sizes.num_heads, sizes.hidden
  )
  writer = FormulaWriter(
    language.vocab.size, language.num_actions, language.max_tokens, sizes
  )
  return market, writer


def start(writer: FormulaWriter) -> Memory:
  """Before any token."""
  sizes = writer.sizes
  shape = sizes.decoder_layers, 2, writer.max_tokens, sizes.width
  return Memory(jnp.zeros(shape, jnp.float32), jnp.int32(0))
