"""Policy and value heads (Appendix H) and the network that the search asks.

An encoder is a flax module `tokens i32[L] -> f32[D]`, unbatched, made by a
function `make(language, width)`; id 0 is padding and should not matter to it.
The config names it by a short name of `ENCODERS`, or by the import path of such
a function or of a module that has it.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax import lookup
from alphajax.language.environment import Language
from alphajax.networks import sequence, tree_lstm

ENCODERS: dict[str, Callable[..., nn.Module]] = {
  'tree_lstm': tree_lstm.make,
  **{
    name: functools.partial(sequence.make, name) for name in sequence.ENCODERS
  },
}


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

  context_width: C of a vector that joins the encoding before the heads, such as
    what another network says of a panel or a pool; 0: there is none.
  """

  encoder: nn.Module  # `tokens [L] -> [D]`.
  num_actions: int
  dropout_rate: float = 0.1
  context_width: int = 0

  def setup(self) -> None:
    self.policy = PolicyHead(self.num_actions)
    self.value = ValueHead()
    self.dropout = nn.Dropout(self.dropout_rate)

  def __call__(
    self,
    tokens: jax.Array,
    context: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    x = self.encoder(tokens)
    if x.ndim != tokens.ndim:  # Of a user's, say; games would be mixed up.
      raise ValueError(
        f'the encoder (config.network.encoder) gave {list(x.shape)} of tokens '
        f'{list(tokens.shape)}: expected one vector [D]'
      )
    x = self.dropout(x, deterministic=not train)
    return self.heads(x, context)

  def heads(
    self, x: jax.Array, context: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Both heads on encodings, `[..., D], [..., C] -> ([..., A], [...])`.

    Raises:
      ValueError: a context where the network has none, or the reverse.
    """
    if (context is None) == (self.context_width > 0):
      raise ValueError(
        f'a network of context_width {self.context_width} was given '
        f'{"no" if context is None else "a"} context'
      )
    if context is not None:
      chex.assert_shape(context, (*x.shape[:-1], self.context_width))
      x = jnp.concatenate([x, context], axis=-1)
    return self.policy(x), self.value(x)

  @property
  def is_incremental(self) -> bool:
    """Whether `networks.incremental` can follow the encoder, by `tables`."""
    return getattr(self.encoder, 'is_incremental', False)

  @property
  def ignores_padding(self) -> bool:
    """Whether tokens may end where the longest formula of a batch does."""
    return getattr(self.encoder, 'ignores_padding', False)

  def tables(self) -> tree_lstm.Tables:
    """The tables of an incremental encoder."""
    return self.encoder.tables()


def make(
  language: Language,
  *,
  encoder: str = 'tree_lstm',
  width: int = 128,
  dropout_rate: float = 0.1,
  context_width: int = 0,
) -> PolicyValue:
  """The network of a language; sizes of Appendix H by default.

  encoder: a key of `ENCODERS`, or an import path.

  Raises:
    ValueError: an unknown encoder, or one that cannot read the language.
  """
  return PolicyValue(
    find_encoder(encoder)(language, width),
    language.num_actions,
    dropout_rate,
    context_width,
  )


def find_encoder(name: str) -> Callable[..., nn.Module]:
  """What makes an encoder, by a key of `ENCODERS` or an import path."""
  return lookup.function(
    name, ENCODERS, 'make(language, width)', key='config.network.encoder'
  )


def init(network: PolicyValue, language: Language, rng_key: jax.Array) -> dict:
  """Parameters."""
  return make_init(network, language)(rng_key)


def make_init(network: PolicyValue, language: Language) -> Callable:
  """`rng_key -> parameters`, traced once."""
  run = jax.jit(network.init)
  tokens = jnp.zeros(language.max_tokens, jnp.int32)
  context = None
  if network.context_width:
    context = jnp.zeros(network.context_width, jnp.float32)
  return lambda rng_key: run(rng_key, tokens, context)


def mask_logits(logits: jax.Array, invalid_actions: jax.Array) -> jax.Array:
  """Forbidden actions get the lowest finite value: no NaN in a softmax."""
  return jnp.where(invalid_actions, jnp.finfo(logits.dtype).min, logits)


def log_probs(logits: jax.Array, invalid_actions: jax.Array) -> jax.Array:
  """Logarithms of the policy, `[..., A]`; about -3e38 where forbidden."""
  return jax.nn.log_softmax(mask_logits(logits, invalid_actions))


def entropy(log_probs: jax.Array, invalid_actions: jax.Array) -> jax.Array:
  """Of policies `[..., A]` as `log_probs` has them."""
  finite = jnp.where(invalid_actions, 0.0, log_probs)
  weights = jnp.where(invalid_actions, 0.0, jnp.exp(log_probs))
  return -jnp.sum(weights * finite, axis=-1)


def apply_batch(
  network: PolicyValue,
  params: dict,
  tokens: jax.Array,
  rng_key: jax.Array | None = None,
  context: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """`tokens [B, L] -> (logits [B, A], values [B])`.

  rng_key: dropout of training, one mask per formula, or the keys `[B]` of
    each; None: no dropout.
  context: `[B, C]` for a network that takes one.
  """
  chex.assert_rank(tokens, 2)
  if rng_key is None:
    run = jax.vmap(lambda t, c: network.apply(params, t, c))
    found: Any = run(tokens, context)
    return found

  def one(rng_key, tokens, context):
    return network.apply(
      params, tokens, context, train=True, rngs={'dropout': rng_key}
    )

  if not rng_key.ndim:
    rng_key = jax.random.split(rng_key, tokens.shape[0])
  return jax.vmap(one)(rng_key, tokens, context)
