"""A formula Transformer as what a search expects before it has learned.

Its probabilities of the rules are the prior of the search, its score of a
finished formula a part of the formula's value; the rest of the value is the
network's that learns while it plays. The decoder's cache goes along with every
node of the tree, so that an evaluation is one symbol, not a sequence.
"""

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
  behaviour_width: int,
) -> Evaluator:
  """An evaluator with the Transformer's policy and, in part, its score.

  Its parameters are `(params, parameters of the Transformer, its memory of a
  market)`. Games are of `orders.rules` and begin at the start symbol.

  Args:
    evaluator: whose value is kept; of its policy nothing.
    network, orders: of the Transformer.
    uniform: share of the prior that goes to all valid rules alike, so that
      none is never tried.
    score: added to the value of a finished formula so many times. What the
      formula does on the market is not known within a search: the score is
      that of its symbols, with a behaviour of zeros.
    behaviour_width: B of the score head.
  """
  axes = formula_transformer.SHARED_MEMORY
  advance = jax.vmap(network.advance, (None, axes, 0, 0), out_axes=(0, axes))
  first = orders_lib.offset(orders, 'rules')
  columns = jnp.asarray(orders_lib.columns(orders))
  unknown = jnp.zeros(behaviour_width)

  def prepare(params):
    own, frozen, memory = params
    cache = network.start(frozen, memory)
    return evaluator.prepare(own), frozen, memory, cache

  def evaluate(prepared, past, position, symbols, states):
    """(log prior, past) once the symbols are written at their positions."""
    _, frozen, _, cache = prepared
    logits, cache = advance(
      frozen, cache._replace(past=past), position, symbols
    )
    logits = logits[:, first : first + orders.rules.num_actions]
    return mixed(logits, states.invalid_actions, uniform), cache.past

  def init(prepared, states):
    _, value, inner = evaluator.init(prepared[0], states)
    num = states.length.shape[0]
    past = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num, *x.shape)), prepared[3].past
    )
    position = jnp.zeros(num, jnp.int32)
    begin = jnp.full(num, orders_lib.begin('rules'))
    logits, past = evaluate(prepared, past, position, begin, states)
    return logits, value, (inner, past, position)

  def step(prepared, memory, states, actions, next_states):
    inner, past, position = memory
    own, frozen, market, _ = prepared
    _, value, inner = evaluator.step(own, inner, states, actions, next_states)
    # A finished game goes on; what is written then nobody reads.
    position = jnp.minimum(position + 1, orders.length - 1)
    logits, past = evaluate(
      prepared, past, position, actions + first, next_states
    )
    if score:

      def of_formula(tokens):
        bag = jnp.zeros(orders.size).at[columns[tokens]].add(1.0).at[0].set(0.0)
        return network.score(frozen, market, unknown, bag)

      more = score * jax.vmap(of_formula)(next_states.tokens)
      value = value + jnp.where(next_states.terminated, more, 0.0)
    return logits, value, (inner, past, position)

  return Evaluator(prepare, init, step)


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
