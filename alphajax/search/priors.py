"""A formula Transformer as what a search expects before it has learned.

Its probabilities of the rules are the prior of the search. What it expects of a
formula by the symbols in it may be a part of the formula's value; the rest is
the network's that learns while it plays. The decoder's cache goes along with
every node of the tree, so that an evaluation is one symbol, not a sequence.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from alphajax.language import orders as orders_lib
from alphajax.language.orders import Orders
from alphajax.networks import formula_transformer, heads
from alphajax.networks.formula_transformer import FormulaTransformer
from alphajax.search.evaluators import Evaluator


def with_prior(
  evaluator: Evaluator,
  network: FormulaTransformer,
  orders: Orders,
  *,
  uniform: float,
  score: float,
) -> Evaluator:
  """An evaluator with the Transformer's policy and, in part, its score.

  Its parameters are `(params, parameters of the Transformer, its memory of a
  market, worths f32[V])`, the worth of every symbol as `orders.bag` has them,
  and that of any formula at the place of padding. Games are of `orders.rules`
  and begin at the start symbol.

  Args:
    evaluator: whose value is kept; of its policy nothing.
    network, orders: of the Transformer.
    uniform: share of the prior that goes to all valid rules alike, so that
      none is never tried.
    score: the worths of a finished formula's symbols are added to its value
      so many times.
  """
  first = orders_lib.offset(orders, 'rules')
  columns = jnp.asarray(orders_lib.columns(orders))
  policy = _make_policy(network, orders, uniform)

  def prepare(params):
    own, frozen, memory, worths = params
    cache = network.start(frozen, memory)
    return evaluator.prepare(own), frozen, worths, cache

  def init(prepared, states):
    _, value, inner = evaluator.init(prepared[0], states)
    num = states.length.shape[0]
    past = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num, *x.shape)), prepared[3].past
    )
    position = jnp.zeros(num, jnp.int32)
    begin = jnp.full(num, orders_lib.begin('rules'))
    logits, past = policy(prepared, past, position, begin, states)
    return logits, value, (inner, past, position)

  def step(prepared, memory, states, actions, next_states):
    inner, past, position = memory
    own, _, worths, _ = prepared
    _, value, inner = evaluator.step(own, inner, states, actions, next_states)
    # A finished game goes on; what is written then nobody reads.
    position = jnp.minimum(position + 1, orders.length - 1)
    logits, past = policy(
      prepared, past, position, actions + first, next_states
    )
    if score:
      of_symbols = jnp.where(columns > 0, worths[columns], 0.0)
      more = jnp.sum(of_symbols[next_states.tokens], axis=1) + worths[0]
      value = value + jnp.where(next_states.terminated, score * more, 0.0)
    return logits, value, (inner, past, position)

  return Evaluator(prepare, init, step)


def _make_policy(
  network: FormulaTransformer, orders: Orders, uniform: float
) -> Callable:
  """(prepared, past, position, symbols, states) -> (log prior, past).

  Once the symbols are written at their positions.
  """
  axes = formula_transformer.SHARED_MEMORY
  advance = jax.vmap(network.advance, (None, axes, 0, 0), out_axes=(0, axes))
  first = orders_lib.offset(orders, 'rules')

  def policy(prepared, past, position, symbols, states):
    _, frozen, _, cache = prepared
    logits, cache = advance(
      frozen, cache._replace(past=past), position, symbols
    )
    logits = logits[:, first : first + orders.rules.num_actions]
    return mixed(logits, states.invalid_actions, uniform), cache.past

  return policy


def mixed(
  logits: jax.Array, invalid_actions: jax.Array, uniform: float
) -> jax.Array:
  """Logarithms of a policy with a share for all valid actions, `[..., A]`."""
  policy = jnp.exp(heads.log_probs(logits, invalid_actions))
  valid = ~invalid_actions
  even = valid / jnp.maximum(jnp.sum(valid, axis=-1, keepdims=True), 1)
  policy = (1 - uniform) * policy + uniform * even
  tiny = jnp.finfo(policy.dtype).tiny
  return heads.mask_logits(jnp.log(policy + tiny), invalid_actions)
