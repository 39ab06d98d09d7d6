"""Policy and value heads (Appendix H) and the network that the search asks."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax.language import environment
from alphajax.language import grammar as grammar_lib
from alphajax.networks import sequence, tree_lstm

ENCODERS = ('tree_lstm', *sequence.ENCODERS)


class PolicyHead(nn.Module):
  """Logits of the productions, not masked yet: `[D] -> [A]`."""

  num_actions: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = nn.relu(nn.Dense(64)(x))
    x = nn.relu(nn.Dense(128)(x))
    return nn.Dense(self.num_actions)(x)


class ValueHead(nn.Module):
  """Expected value of the finished formula: `[D] -> []`."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    x = nn.relu(nn.Dense(64)(x))
    x = nn.relu(nn.Dense(64)(x))
    return nn.Dense(1)(x)[..., 0]


class PolicyValue(nn.Module):
  """`tokens [L] -> (logits [A], value [])`; the caller vmaps.

  Dropout acts on the encoding, and only where the caller passes a `dropout`
  rng and `train=True`.
  """

  encoder: nn.Module  # `tokens [L] -> [D]`.
  num_actions: int
  dropout_rate: float = 0.1

  def setup(self):
    self.policy = PolicyHead(self.num_actions)
    self.value = ValueHead()
    self.dropout = nn.Dropout(self.dropout_rate)

  def __call__(
    self, tokens: jax.Array, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    x = self.dropout(self.encoder(tokens), deterministic=not train)
    return self.heads(x)

  def heads(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both heads on encodings, `[..., D] -> ([..., A], [...])`."""
    return self.policy(x), self.value(x)

  def tables(self) -> tree_lstm.Tables:
    """The tables of a Tree-LSTM."""
    return self.encoder.tables()


def make(
  grammar: environment.Language,
  *,
  encoder: str = 'tree_lstm',
  width: int = 128,
  dropout_rate: float = 0.1,
) -> PolicyValue:
  """The network of a language; sizes of Appendix H by default.

  Raises:
    ValueError: an unknown encoder, or one that cannot read the language.
  """
  if encoder not in ENCODERS:
    raise ValueError(
      f'config.network.encoder is {encoder!r}: expected one of {ENCODERS}'
    )
  if encoder != 'tree_lstm':
    reader = sequence.make(encoder, grammar.vocab.size, width)
  elif isinstance(grammar, grammar_lib.Grammar):
    reader = tree_lstm.make(grammar, width)
  else:
    raise ValueError(
      "config.network.encoder is 'tree_lstm', which reads trees in prefix "
      "order, and config.language.name = 'rpn' writes postfix tokens: take "
      f'one of {tuple(sequence.ENCODERS)}'
    )
  return PolicyValue(reader, grammar.num_actions, dropout_rate)


def init(
  network: PolicyValue, grammar: environment.Language, rng_key: jax.Array
) -> dict:
  """Parameters."""
  tokens = jnp.zeros(grammar.max_tokens, jnp.int32)
  return jax.jit(network.init)(rng_key, tokens)


def mask_logits(logits: jax.Array, invalid_actions: jax.Array) -> jax.Array:
  """Forbidden actions get the lowest finite value: no NaN in a softmax."""
  return jnp.where(invalid_actions, jnp.finfo(logits.dtype).min, logits)


def apply_batch(
  network: PolicyValue,
  params: dict,
  tokens: jax.Array,
  rng_key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """`tokens [B, L] -> (logits [B, A], values [B])`.

  rng_key: dropout of training, one mask per formula; None: no dropout.
  """
  if rng_key is None:
    return jax.vmap(lambda t: network.apply(params, t))(tokens)

  def one(rng_key, tokens):
    return network.apply(params, tokens, train=True, rngs={'dropout': rng_key})

  return jax.vmap(one)(jax.random.split(rng_key, tokens.shape[0]), tokens)
