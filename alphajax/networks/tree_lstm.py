"""Tree-LSTM over prefix tokens (Appendix F).

Every symbol's `W x + b` is a row of a table. A node reads its children through
`message = U h`: position 1 and position 2 of the N-ary cell (for Cov and Corr
the unordered operands are position 1 and the window is position 2), or the
shared `U` of the Child-Sum cell. Isomorphic formulas get the same bits. Where
the language has operators of three ordered children, which the paper's has not,
there is a position 3.
"""

from typing import NamedTuple, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from alphajax.language import rows, tree
from alphajax.language.environment import Language
from alphajax.language.grammar import Grammar

# Which kernel reads the child in slot 0, 1, 2 of a parent with each role.
_FIRST, _SECOND, _SUM, _THIRD = range(4)
READERS = np.zeros((5, tree.MAX_ARITY), np.int32)
READERS[rows.ORDERED] = _FIRST, _SECOND, _SECOND
READERS[rows.SYMMETRIC] = _SUM
READERS[rows.PAIRED] = _FIRST, _FIRST, _SECOND
READERS[rows.TRIPLE] = _FIRST, _SECOND, _THIRD
# Roles whose first two children are averaged in the gates.
_AVERAGED = (rows.SYMMETRIC, rows.PAIRED)


class Tables(NamedTuple):
  """Everything the cell reads; made once per set of parameters.

  Gates are input, output, update and forget, in this order.
  """

  inputs: jax.Array  # [V, 4D] W x + b of each symbol.
  kernels: jax.Array  # [3 or 4, D, 4D] U of each reader.
  arity: jax.Array  # [V]
  role: jax.Array  # [V]


class TreeLSTM(nn.Module):
  """Encodes a formula, whole or partial.

  arity, role: of each symbol of the vocabulary.
  width: of the symbol embeddings and of the hidden state, D.
  """

  arity: tuple[int, ...]
  role: tuple[int, ...]
  width: int = 128

  is_incremental = True  # `networks.incremental` follows it by its tables.
  ignores_padding = True  # Fewer zeros after a formula give the same bits.

  def setup(self) -> None:
    gates = 4 * self.width
    self.embed = nn.Embed(len(self.arity), self.width)
    self.ordered = nn.Dense(gates)
    self.symmetric = nn.Dense(gates)
    kernel_init = nn.initializers.lecun_normal(batch_axis=0)
    count = _THIRD + (rows.TRIPLE in self.role)
    self.kernels = self.param(
      'kernels', kernel_init, (count, self.width, gates)
    )

  def tables(self) -> Tables:
    """The tables of `encode`."""
    role = jnp.asarray(self.role)
    x = self.embed.embedding
    is_symmetric = (role == rows.SYMMETRIC)[:, None]
    inputs = jnp.where(is_symmetric, self.symmetric(x), self.ordered(x))
    return Tables(inputs, self.kernels, jnp.asarray(self.arity), role)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Root hidden state, `[L] -> [D]`."""
    return encode(self.tables(), tokens)


def make(language: Language, width: int = 128) -> TreeLSTM:
  """The encoder of formulas that are written in prefix order.

  Raises:
    ValueError: the language writes them otherwise.
  """
  if not language.writes_prefix_trees:
    raise ValueError(
      "config.network.encoder is 'tree_lstm', which reads trees in prefix "
      "order, and the language writes others, as config.language.name = 'rpn' "
      "does: take 'lstm', 'cnn' or 'transformer'"
    )
  grammar = cast(Grammar, language)  # Of which these two are read.
  arity, role = np.asarray(grammar.arity), np.asarray(grammar.role)
  return TreeLSTM(tuple(arity.tolist()), tuple(role.tolist()), width)


def encode(tables: Tables, tokens: jax.Array) -> jax.Array:
  """Root hidden state of prefix tokens, `[L] -> [D]`."""
  chex.assert_rank(tokens, 1)
  children = tree.children(tables.arity, tokens)
  h, _ = cell(
    tables.inputs[tokens[0]],
    said_below(tables, tokens, children)[children[0]],
    is_averaged(tables.role[tokens[0]]),
  )
  return h


def said_below(
  tables: Tables, tokens: jax.Array, children: jax.Array
) -> jax.Array:
  """Message to its parent and cell of every node but the root, `[L + 1, 5D]`.

  A scan in reverse: children come after their parent, so theirs are ready.
  children: of each token, i32[L, 3]. Row L stays zero: what an absent child
    says.
  """
  reader = readers(tables, tokens, children)
  width = tables.inputs.shape[1] // 4
  kernels = tables.kernels.reshape(-1, 4 * width)
  rows = jnp.zeros((tokens.shape[0] + 1, 5 * width), jnp.float32)

  def visit(rows, at):
    below = rows[children[at]]  # Absent: -1, the last row.
    h, c = cell(
      tables.inputs[tokens[at]], below, is_averaged(tables.role[tokens[at]])
    )
    row = jnp.concatenate([read(kernels, reader[at], h), c])
    return rows.at[at].set(row), None

  order = jnp.arange(tokens.shape[0] - 1, 0, -1)
  return jax.lax.scan(visit, rows, order)[0]


def readers(
  tables: Tables, tokens: jax.Array, children: jax.Array
) -> jax.Array:
  """The kernel with which each token's parent reads it, `[L] -> i32[L]`."""
  wanted = jnp.asarray(READERS)[tables.role[tokens]]  # [L, 3] per child.
  found = jnp.zeros(tokens.shape[0] + 1, jnp.int32)
  # The root and padding are read by nobody; absent children write to row L.
  return found.at[children].set(wanted)[:-1]


def is_averaged(role: jax.Array) -> jax.Array:
  """True where the gates take the mean of the first two children."""
  return (role == _AVERAGED[0]) | (role == _AVERAGED[1])


def read(kernels: jax.Array, reader: jax.Array, h: jax.Array) -> jax.Array:
  """`U h` with the kernel `reader`, `[kD, 4D], [n], [n, D] -> [n, 4D]`."""
  width = h.shape[-1]
  readers = jnp.arange(kernels.shape[0] // width)
  chosen = jnp.expand_dims(readers, range(reader.ndim)) == reader[..., None]
  # One product over the stacked kernels: a gathered kernel per example costs
  # far more than the zeros.
  wide = chosen[..., None] * h[..., None, :]
  return wide.reshape(*h.shape[:-1], -1) @ kernels


def cell(
  inputs: jax.Array, below: jax.Array, averaged: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """One node, `[..., 4D], [..., 3, 5D], [...] -> h, c [..., D]`.

  below: the children's messages [4D] and cell states [D]; zero if absent.
  averaged: the gates take the mean of the first two children.
  """
  width = inputs.shape[-1] // 4
  chex.assert_shape(below, (*inputs.shape[:-1], tree.MAX_ARITY, 5 * width))
  message, cells = below[..., : 4 * width], below[..., 4 * width :]
  said, forget = message[..., : 3 * width], message[..., 3 * width :]
  share = jnp.where(averaged, 0.5, 1.0)[..., None]
  pair = (said[..., 0, :] + said[..., 1, :]) * share
  gates = inputs[..., : 3 * width] + pair + said[..., 2, :]
  i, o, u = jnp.split(gates, 3, axis=-1)
  f = jax.nn.sigmoid(inputs[..., None, 3 * width :] + forget)
  pair = unordered_dot(
    f[..., 0, :], f[..., 1, :], cells[..., 0, :], cells[..., 1, :]
  )
  kept = pair + f[..., 2, :] * cells[..., 2, :]
  c = jax.nn.sigmoid(i) * jnp.tanh(u) + kept
  return jax.nn.sigmoid(o) * jnp.tanh(c), c


def unordered_dot(
  f1: jax.Array, f2: jax.Array, c1: jax.Array, c2: jax.Array
) -> jax.Array:
  """`f1 c1 + f2 c2` to the same bits when 1 and 2 change places.

  Written plainly, a compiler fuses one product into the addition and rounds
  only the other. Every operation here gives the same bits either way.
  """
  return 0.5 * ((f1 + f2) * (c1 + c2) + (f1 - f2) * (c1 - c2))
