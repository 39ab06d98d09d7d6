"""A transposition table: rewards of formulas scored before, for the search.

A score cache by canonical key is a host's dictionary. Here isomorphic formulas
share a hash of 64 bits, made bottom-up over the tree with an operation that
does not mind the order where the operator does not, and the rewards lie beside
the sorted hashes on the device.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.language import grammar as grammar_lib
from alphajax.language import tree
from alphajax.networks import tree_lstm
from alphajax.search.evaluators import Evaluator

# One for each half of the hash and each way to be read by the parent, which
# are those of the Tree-LSTM; then one for each half's symbols.
_SALTS = np.array(
  [
    [0x9E3779B9, 0x7F4A7C15, 0xF39CC060, 0x5CEDC834],
    [0x2FE12A6D, 0x4786BEC3, 0xD1B54A32, 0xABC98388],
  ],
  np.uint32,
)
_UNUSED = np.uint32(0xFFFFFFFF)
# Hashes that agree in their first half and are looked through. Of a million
# formulas, five agree there with a probability below 1e-10.
_SAME_HALF = 4


@struct.dataclass
class Table:
  """C rewards; rows not in use have the largest hash.

  hashes: in ascending order.
  """

  hashes: jax.Array  # u32[C, 2]
  rewards: jax.Array  # f32[C]


def empty(capacity: int) -> Table:
  """A table without rewards."""
  hashes = jnp.full((capacity, 2), _UNUSED, jnp.uint32)
  return Table(hashes, jnp.zeros(capacity, jnp.float32))


def formula_hash(grammar: grammar_lib.Grammar, tokens: jax.Array) -> jax.Array:
  """A hash that isomorphic formulas share, `[L] -> u32[2]`.

  tokens: in prefix order, whole or partial.
  """
  children = tree.children(grammar.arity, tokens)
  reader = jnp.asarray(tree_lstm.READERS)[grammar.role[tokens]]  # [L, 3]
  salts = jnp.asarray(_SALTS)
  # The last row stays zero: an absent child.
  hashes = jnp.zeros((tokens.shape[0] + 1, 2), jnp.uint32)

  def visit(hashes, at):
    below = hashes[children[at]]  # [3, 2]
    # Sums of integers are exact: the order of the addends does not matter.
    said = jnp.sum(_scramble(below ^ salts[:, reader[at]].T), axis=0)
    symbol = _scramble(tokens[at].astype(jnp.uint32) ^ salts[:, 3])
    return hashes.at[at].set(_scramble(said ^ symbol)), None

  order = jnp.arange(tokens.shape[0] - 1, -1, -1)
  return jax.lax.scan(visit, hashes, order)[0][0]


def _scramble(x: jax.Array) -> jax.Array:
  """Every bit of the result depends on every bit; the finaliser of Murmur3."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


@jax.jit
def add(table: Table, hashes: jax.Array, rewards: jax.Array) -> Table:
  """Adds `u32[N, 2]` and f32[N]; of equal hashes the last one counts.

  A table that is too small loses the rows of the largest hashes.
  """
  chex.assert_shape(hashes, (*rewards.shape, 2))
  hashes = jnp.concatenate([table.hashes, hashes])
  rewards = jnp.concatenate([table.rewards, rewards])
  order = jnp.lexsort((hashes[:, 1], hashes[:, 0]))  # Stable.
  hashes, rewards = hashes[order], rewards[order]
  is_old = jnp.all(hashes[:-1] == hashes[1:], axis=1)
  is_old = jnp.append(is_old, False)
  hashes = jnp.where(is_old[:, None], _UNUSED, hashes)
  order = jnp.lexsort((hashes[:, 1], hashes[:, 0]))
  order = order[: table.rewards.shape[0]]
  return Table(hashes[order], rewards[order])


def look_up(table: Table, code: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The reward of a hash `u32[2]`, and whether it is there."""
  chex.assert_shape(code, (2,))
  first = jnp.searchsorted(table.hashes[:, 0], code[0])
  rows = first + jnp.arange(_SAME_HALF)
  rows = jnp.minimum(rows, table.rewards.shape[0] - 1)
  found = jnp.all(table.hashes[rows] == code[None], axis=1)
  return table.rewards[rows[jnp.argmax(found)]], jnp.any(found)


def with_table(evaluator: Evaluator, grammar: grammar_lib.Grammar) -> Evaluator:
  """An evaluator whose value of a formula scored before is its reward.

  Its parameters are `(params, Table)`. Other formulas, and partial ones, keep
  the network's value.
  """

  def prepare(params):
    params, table = params
    return evaluator.prepare(params), table

  def init(prepared, states):
    return evaluator.init(prepared[0], states)

  def step(prepared, memory, states, actions, next_states):
    inner, table = prepared
    logits, value, memory = evaluator.step(
      inner, memory, states, actions, next_states
    )

    def one(tokens, terminated, value):
      reward, found = look_up(table, formula_hash(grammar, tokens))
      return jnp.where(terminated & found, reward, value)

    value = jax.vmap(one)(next_states.tokens, next_states.terminated, value)
    return logits, value, memory

  return Evaluator(prepare, init, step)
