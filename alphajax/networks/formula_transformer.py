"""A Transformer that reads a market as a set of formulas and writes formulas.

The encoder sees formulas by what they did on a market, never its cells, so
stocks may come in any order and number. A few learned latents attend to the
set (Perceiver, Jaegle et al. 2021; PMA of the Set Transformer, Lee et al.
2019); a causal decoder attends to the latents. All functions are pure and
unbatched; the caller vmaps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from alphajax.language.orders import Orders
from alphajax.networks import sequence
from alphajax.networks.formula_layers import (
  Block,
  Embedding,
  Layer,
  Perceptron,
  Sizes,
  bounded,
)


class Inputs(NamedTuple):
  """What there is to know of one task: a market's split and a pool.

  A number that is NaN or infinite counts as 0, as unknown.
  """

  tokens: jax.Array  # f32[E, F] a formula and what it did on the market.
  mask: jax.Array  # bool[E] True where there is a formula.
  context: jax.Array  # f32[C] of the task as a whole.
  # i32[R, L] sequences of `orders` that the decoder may look at, such as the
  # formulas of a library that fit best, the best first; a row of 0: none. R
  # may be 0.
  formulas: jax.Array


class Memory(NamedTuple):
  """What the encoder says of a task."""

  latents: jax.Array  # f32[M, D] what the decoder attends to.
  mask: jax.Array  # bool[M] True where the decoder may attend.
  summary: jax.Array  # f32[D] mean of the learned latents.


class Candidate(NamedTuple):
  """A formula that was not evaluated yet, as the score head reads it.

  A number that is NaN or infinite counts as 0, as unknown.
  """

  token: jax.Array  # f32[F] as in `Inputs.tokens`; what it did is predicted.
  bag: jax.Array  # f32[V] see `orders.bag`.
  expected: jax.Array  # f32[] what a regression expects of it, in any unit.


class Cache(NamedTuple):
  """What the decoder keeps of a memory and of the symbols so far."""

  memory: tuple  # Keys and values f32[M, H, D / H] of each layer.
  mask: jax.Array  # bool[M]
  past: tuple  # Keys and values f32[L, H, D / H] of each layer.


# Axes for vmap over sequences that share a memory.
SHARED_MEMORY = Cache(None, None, 0)  # type: ignore[arg-type]


S = Sizes()
M = Sizes(width=256, heads=8, hidden=1024, latents=40, latent_layers=4)
SIZES = {'S': S, 'M': M}


class FormulaTransformer(NamedTuple):
  """The network as functions of its parameters.

  init: (rng_key, inputs) -> params, of inputs with the widths of all others.
  encode: (params, inputs) -> memory.
  logits: (params, memory, symbols i32[L]) -> f32[L, V] of what follows
    `symbols[: t + 1]`, not masked.
  start: (params, memory) -> cache.
  advance: (params, cache, position, symbol) -> (f32[V], cache): as `logits`, a
    symbol at a time.
  value: (params, memory) -> f32[], V(market, pool).
  score: (params, memory, candidate) -> f32[], what a formula would add, in the
    unit of `Candidate.expected`, which it is before anything is learned.
  """

  sizes: Sizes
  init: Callable
  encode: Callable
  logits: Callable
  start: Callable
  advance: Callable
  value: Callable
  score: Callable


def make(sizes: Sizes, orders: Orders) -> FormulaTransformer:
  """The network that writes the sequences of `orders`.

  Raises:
    ValueError: sizes that do not fit together.
  """
  if sizes.width % sizes.heads:
    raise ValueError(
      f'a formula Transformer of width {sizes.width} cannot have '
      f'{sizes.heads} heads: make width a multiple of heads'
    )
  module = Network(sizes, orders.size, orders.length)

  def init(rng_key: jax.Array, inputs: Inputs) -> dict:
    return jax.jit(module.init)(rng_key, inputs)

  def call(method: str) -> Callable:
    def run(params: dict, *args: Any) -> Any:
      return module.apply(params, *args, method=method)

    return run

  names = ('encode', 'logits', 'start', 'advance', 'value', 'score')
  return FormulaTransformer(sizes, init, *map(call, names))


def num_parameters(params: dict) -> int:
  """Numbers in all."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


class Network(nn.Module):
  """The parts of `FormulaTransformer` that have parameters."""

  sizes: Sizes
  vocabulary: int  # V
  length: int  # L

  def setup(self) -> None:
    sizes, width = self.sizes, self.sizes.width
    small = nn.initializers.normal(0.02)
    self.embed_token = Embedding(sizes)
    self.embed_context = Embedding(sizes)
    self.queries = self.param('queries', small, (sizes.latents, width))
    self.pool = Block(sizes)
    self.mix = [Block(sizes) for _ in range(sizes.latent_layers)]
    self.latent_norm = nn.LayerNorm()
    self.embed = nn.Embed(self.vocabulary, width, embedding_init=small)
    self.position = self.param('position', small, (self.length, width))
    self.reference_norm = nn.LayerNorm()
    self.decoder = [Layer(sizes) for _ in range(sizes.decoder_layers)]
    self.last_norm = nn.LayerNorm()
    self.head = nn.Dense(self.vocabulary, kernel_init=small)
    self.value_head = Perceptron(width // 2, 1)
    self.score_bag = nn.Dense(width, use_bias=False)
    self.score_block = Block(sizes)
    self.score_norm = nn.LayerNorm()
    self.score_head = nn.Dense(2, kernel_init=nn.initializers.zeros)

  def __call__(self, inputs: Inputs) -> tuple:
    """All parts once, so that all parameters are made."""
    memory = self.encode(inputs)
    symbols = jnp.zeros(self.length, jnp.int32)
    nothing = Candidate(
      jnp.zeros(inputs.tokens.shape[1]),
      jnp.zeros(self.vocabulary),
      jnp.zeros(()),
    )
    score = self.score(memory, nothing)
    return self.logits(memory, symbols), self.value(memory), score

  def encode(self, inputs: Inputs) -> Memory:
    chex.assert_rank(inputs, [2, 1, 1, 2])
    chex.assert_equal_shape_prefix([inputs.tokens, inputs.mask], 1)
    x = self.embed_token(inputs.tokens)
    context = self.embed_context(inputs.context)[None]
    # The context is there when no formula is.
    x = jnp.concatenate([context, x])
    there = jnp.concatenate([jnp.ones(1, bool), inputs.mask])
    x = self.pool(self.queries, x, there)
    for block in self.mix:
      x = block(x, x, jnp.ones(x.shape[0], bool))
    x = self.latent_norm(x)
    references, is_symbol = self._references(inputs.formulas)
    latents = jnp.concatenate([x, context, references])
    known = jnp.ones(x.shape[0] + 1, bool)
    return Memory(
      latents, jnp.concatenate([known, is_symbol]), jnp.mean(x, axis=0)
    )

  def _references(self, formulas: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Formulas to look at, a row a symbol, and where there is one."""
    chex.assert_shape(formulas, (None, self.length))
    # As large as a fresh embedding: the first formula fits best.
    rank = 0.02 * sequence.positions(formulas.shape[0], self.sizes.width)
    x = self.embed(formulas) + self.position[None] + rank[:, None]
    x = self.reference_norm(x).reshape(-1, self.sizes.width)
    return x, formulas.reshape(-1) > 0

  def logits(self, memory: Memory, symbols: jax.Array) -> jax.Array:
    chex.assert_shape(symbols, (self.length,))
    x = self.embed(symbols) + self.position
    causal = jnp.tril(jnp.ones((self.length, self.length), bool))
    for layer in self.decoder:
      x = layer(x, causal, *layer.memory(memory.latents), memory.mask)
    return self.head(self.last_norm(x))

  def start(self, memory: Memory) -> Cache:
    sizes = self.sizes
    shape = self.length, sizes.heads, sizes.width // sizes.heads
    empty = (jnp.zeros(shape), jnp.zeros(shape))
    kept = tuple(layer.memory(memory.latents) for layer in self.decoder)
    return Cache(kept, memory.mask, (empty,) * sizes.decoder_layers)

  def advance(
    self, cache: Cache, position: jax.Array, symbol: jax.Array
  ) -> tuple[jax.Array, Cache]:
    place = jax.lax.dynamic_index_in_dim(self.position, position, 0, False)
    x = self.embed(symbol) + place
    past = []
    for layer, (keys, values), old in zip(
      self.decoder, cache.memory, cache.past, strict=True
    ):
      x, new = layer.advance(x, position, old, keys, values, cache.mask)
      past.append(new)
    logits = self.head(self.last_norm(x))
    return logits, cache._replace(past=tuple(past))

  def value(self, memory: Memory) -> jax.Array:
    return self.value_head(memory.summary)[0]

  def score(self, memory: Memory, candidate: Candidate) -> jax.Array:
    chex.assert_rank(candidate, [1, 1, 0])
    chex.assert_shape(candidate.bag, (self.vocabulary,))
    # Read as a formula of the set is, and by its symbols.
    x = self.embed_token(candidate.token)
    x = x + self.score_bag(bounded(candidate.bag))
    x = self.score_block(x[None], memory.latents, memory.mask)[0]
    trust, more = self.score_head(self.score_norm(x))
    # The regression is where it begins: a network has to learn what is wrong
    # with it, not a matrix inverse.
    return bounded(candidate.expected) * (1.0 + trust) + more
