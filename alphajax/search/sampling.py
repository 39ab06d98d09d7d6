"""Formulas drawn from a formula Transformer, many at once.

Every sequence is played through its language, whose masks keep it completable,
so each ends in a formula. One memory is shared by all samples of a call.
"""

import functools
from collections.abc import Collection
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.language.orders import Orders
from alphajax.networks import formula_transformer, heads
from alphajax.networks.formula_transformer import FormulaTransformer, Memory


class Samples(NamedTuple):
  """N finished formulas.

  log_probs: of whole sequences under the network as it is, that is, at
    temperature 1 and without `top_p`, whatever they were drawn with.
  """

  tokens: jax.Array  # i32[N, K] of the language of the order.
  symbols: jax.Array  # i32[N, L] the sequences, as `orders.encode`.
  log_probs: jax.Array  # f32[N]


def nucleus(log_policy: jax.Array, top_p: jax.Array | float) -> jax.Array:
  """Probabilities of the likeliest actions that hold `top_p`, `[A] -> [A]`.

  An action stays when what is likelier holds less than `top_p` (Holtzman et
  al., 2020), so the likeliest always does and equal ones stay together.
  """
  policy = jnp.exp(log_policy)
  # A sort of each row takes longer than all pairs of so few actions.
  likelier = policy[None, :] > policy[:, None]
  before = jnp.sum(jnp.where(likelier, policy[None, :], 0.0), axis=1)
  kept = jnp.where((before < top_p) | (before <= 0), policy, 0.0)
  return kept / jnp.sum(kept)


def draw(policy: jax.Array, uniform: jax.Array) -> jax.Array:
  """The action at which the sum of `policy [A]` passes `uniform` in [0, 1)."""
  # Sums made in another order step back and forward by rounding; those at an
  # action that cannot be drawn say nothing.
  total = jnp.where(policy > 0, jnp.cumsum(policy), 0.0)
  return jnp.argmax(total > uniform * jnp.max(total))


def sample(
  network: FormulaTransformer,
  orders: Orders,
  params: Any,
  memory: Memory,
  rng_key: jax.Array,
  num: int,
  *,
  order: str = 'rpn',
  temperature: jax.Array | float = 1.0,
  top_p: jax.Array | float = 1.0,
) -> Samples:
  """Draws `num` formulas in an order. Pure; see `sampler` for a jitted one.

  temperature: that logits are divided by, above 0.
  top_p: see `nucleus`.
  """
  language = orders_lib.language(orders, order)
  first, moves = orders_lib.offset(orders, order), language.max_steps
  states = environment.starts(language, num)
  step = jax.vmap(environment.step, (None, 0, 0))
  axes = formula_transformer.SHARED_MEMORY
  advance = jax.vmap(network.advance, (None, axes, None, 0), out_axes=(0, axes))
  cache = network.start(params, memory)
  cache = cache._replace(
    past=jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num, *x.shape)), cache.past
    )
  )
  symbols = jnp.zeros((num, orders.length), jnp.int32)
  symbols = symbols.at[:, 0].set(orders_lib.begin(order))
  uniform = jax.random.uniform(rng_key, (moves, num))

  def is_open(carry):
    return (carry[0] < moves) & ~jnp.all(carry[1].terminated)

  def move(carry):
    position, states, cache, symbols, log_probs = carry
    logits, cache = advance(params, cache, position, symbols[:, position])
    logits = logits[:, first : first + language.num_actions]
    invalid = states.invalid_actions
    log_policy = heads.log_probs(logits, invalid)
    warm = heads.log_probs(logits / temperature, invalid)
    policy = jax.vmap(nucleus, (0, None))(warm, top_p)
    actions = jax.vmap(draw)(policy, uniform[position])
    taken = jnp.take_along_axis(log_policy, actions[:, None], axis=1)[:, 0]
    active = ~states.terminated
    written = jnp.where(active, actions + first, orders_lib.PAD)
    return (
      position + 1,
      step(language, states, actions),
      cache,
      symbols.at[:, position + 1].set(written.astype(jnp.int32)),
      log_probs + jnp.where(active, taken, 0.0),
    )

  carry = jnp.int32(0), states, cache, symbols, jnp.zeros(num)
  _, states, _, symbols, log_probs = jax.lax.while_loop(is_open, move, carry)
  return Samples(states.tokens, symbols, log_probs)


def sampler(network: FormulaTransformer, orders: Orders) -> Any:
  """`sample` with the network and the orders given, jitted.

  `(params, memory, rng_key, num, *, order, temperature, top_p) -> Samples`.
  """
  run = functools.partial(sample, network, orders)
  return jax.jit(run, static_argnums=3, static_argnames='order')


def log_probs(
  network: FormulaTransformer,
  orders: Orders,
  params: Any,
  memory: Memory,
  symbols: jax.Array,
) -> jax.Array:
  """Log-probability of a whole sequence `i32[L]`, `f32[]`. Unbatched.

  Gradients flow to `params` and `memory`.
  """
  chex.assert_rank(symbols, 1)
  logits = network.logits(params, memory, symbols)
  policy = heads.log_probs(logits, orders_lib.forbidden(orders, symbols))
  after = jnp.append(symbols[1:], orders_lib.PAD)
  taken = jnp.take_along_axis(policy, after[:, None], axis=1)[:, 0]
  return jnp.sum(jnp.where(after > 0, taken, 0.0))


def distinct(
  orders: Orders,
  order: str,
  samples: Samples,
  known: Collection[str] = (),
) -> tuple[list[Formula], np.ndarray]:
  """Formulas that differ by canonical key, and which samples they are.

  known: keys that are not wanted, as `formula.key`. Of equal ones the first
    stays.
  """
  language = orders_lib.language(orders, order)
  seen, formulas, places = set(known), [], []
  for i, formula in enumerate(
    environment.formulas_of(language, samples.tokens)
  ):
    key = formula_lib.key(formula)
    if key not in seen:
      seen.add(key)
      formulas.append(formula)
      places.append(i)
  return formulas, np.asarray(places, int)
