"""Policy and value of formulas that are written token by token (AlphaGen).

An LSTM reads the tokens at their positions; a state is the mean of what it has
said of them. Where a move appends a token, one reading of a finished game holds
all of its states, and a game is followed without reading anything twice.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax.language.environment import Language
from alphajax.networks import lstm, sequence

HEAD_WIDTH = 64  # Two hidden layers each, the default of stable-baselines3.
# The last layer of the policy starts at so much, so that it is nearly uniform.
FIRST_SCALE = 0.01


class Memory(NamedTuple):
  """What has been read of a formula so far."""

  state: jax.Array  # f32[layers, 2, D] of the LSTM.
  total: jax.Array  # f32[D] of what it said.
  length: jax.Array  # i32[] tokens read.


class TokenPolicy(nn.Module):
  """`tokens [L] -> (logits [A], value [])`; id 0 is padding. Unbatched."""

  vocab_size: int
  num_actions: int
  width: int = 128
  num_layers: int = 2
  dropout_rate: float = 0.1

  def setup(self) -> None:
    self.embed = nn.Embed(
      self.vocab_size, self.width,
      embedding_init=nn.initializers.normal(1.0),  # As in PyTorch.
    )  # fmt: skip
    self.lstm = lstm.LSTM(self.width, self.num_layers, self.dropout_rate)
    first = nn.initializers.variance_scaling(
      FIRST_SCALE**2, 'fan_in', 'truncated_normal'
    )
    self.policy = _Head(self.num_actions, first)
    self.value = _Head(1, nn.initializers.lecun_normal())

  def __call__(
    self, tokens: jax.Array, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Logits, not masked yet, and the value of a state."""
    said, _ = self._read(tokens, None, train)
    return self._heads(sequence.mean(said, tokens > 0))

  def game(
    self, tokens: jax.Array, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """The same of every beginning of the tokens: `([L, A], [L])`."""
    said, _ = self._read(tokens, None, train)
    there = tokens > 0
    total = jnp.cumsum(jnp.where(there[:, None], said, 0.0), axis=0)
    count = jnp.maximum(jnp.cumsum(there), 1)
    return self._heads(total / count[:, None])

  def follow(
    self, memory: Memory, token: jax.Array
  ) -> tuple[jax.Array, jax.Array, Memory]:
    """Logits and value after one token more, and the memory of it."""
    said, state = self._read(token[None], memory, False)
    total = memory.total + said[0]
    memory = Memory(state, total, memory.length + 1)
    return *self._heads(total / memory.length), memory

  def _read(self, tokens, memory, train):
    chex.assert_rank(tokens, 1)
    first = 0 if memory is None else memory.length
    place = sequence.sines(first + jnp.arange(tokens.shape[0]), self.width)
    state = None if memory is None else memory.state
    return self.lstm(self.embed(tokens) + place, state, train)

  def _heads(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return self.policy(x), self.value(x)[..., 0]


class _Head(nn.Module):
  """Two hidden layers, and one whose kernel starts as it is told."""

  size: int
  last_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    for _ in range(2):
      x = jnp.tanh(nn.Dense(HEAD_WIDTH)(x))
    return nn.Dense(self.size, kernel_init=self.last_init)(x)


def make(
  language: Language,
  *,
  width: int = 128,
  num_layers: int = 2,
  dropout_rate: float = 0.1,
) -> TokenPolicy:
  """The network of a language; AlphaGen's sizes by default."""
  return TokenPolicy(
    language.vocab.size, language.num_actions, width, num_layers, dropout_rate
  )


def init(network: TokenPolicy, language: Language, rng_key: jax.Array) -> dict:
  """Parameters."""
  tokens = jnp.zeros(language.max_tokens, jnp.int32)
  return jax.jit(network.init)(rng_key, tokens)


def start(network: TokenPolicy) -> Memory:
  """Before any token."""
  return Memory(
    lstm.start(network.num_layers, network.width),
    jnp.zeros(network.width, jnp.float32),
    jnp.int32(0),
  )
