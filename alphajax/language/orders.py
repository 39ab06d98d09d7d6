"""Two orders in which one decoder writes the same formulas.

`rpn`: postfix tokens, the shorter and better known way. `rules`: the leftmost
productions of the language that is mined, whose probabilities a search over
that language asks for; they cannot be had from those of the other order.

A sequence is the symbol of its order, then an action after the other, then 0.
Masks and ends are those of the two languages' own states.
"""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.language import environment, grammar, rpn
from alphajax.language.environment import Language, State
from alphajax.language.formula import Formula

NAMES = ('rpn', 'rules')
PAD, FIRST = 0, 1 + len(NAMES)  # Actions begin at FIRST.
# Of these a formula with length k has k + 1 tokens, and one more with each
# Log(Abs(.)), whose two operators count one: there is room for one of them.
_LENGTH_IS_CHILDREN = ('sem_k', 'typed_k')


@struct.dataclass
class Orders:
  """The languages of both orders over the same symbols."""

  rpn: rpn.Rpn
  rules: grammar.Grammar

  @property
  def size(self) -> int:
    """V: padding, a symbol of each order, the actions of both."""
    return FIRST + self.rpn.num_actions + self.rules.num_actions

  @property
  def length(self) -> int:
    """L of the longest sequence."""
    return 1 + max(self.rpn.max_steps, self.rules.max_steps)


def make(name: str = 'sem_k', *, max_length: int = 10, **options) -> Orders:
  """Both orders of the language that `config.language` describes.

  Where that is RPN itself, the rules are alpha-Sem-k of the same bound.

  Raises:
    ValueError: as `environment.make`, or a language without productions.
  """
  if name == 'rpn':
    if max_length < 2:
      raise ValueError(
        f'language.max_length is {max_length}: rules beside RPN need 2'
      )
    made = environment.make('sem_k', max_length=max_length - 1, **options)
  else:
    made = environment.make(name, max_length=max_length, **options)
  rules = environment.productions(made)
  if rules is None:
    raise ValueError(
      f'config.language.name is {name!r}, which has no productions: a formula '
      f'Transformer writes {", ".join(environment.NAMES)}'
    )
  tokens = rules.max_tokens
  if name == 'rpn':
    tokens = max_length
  elif name in _LENGTH_IS_CHILDREN:
    tokens = min(tokens, max_length + 2)
  options.pop('rules', None)
  return Orders(rpn.make(max_length=tokens, **options), rules)


def language(orders: Orders, order: str) -> Language:
  """What is played in an order.

  Raises:
    ValueError: an order that is none.
  """
  if order not in NAMES:
    raise ValueError(f'unknown order {order!r}; known: {", ".join(NAMES)}')
  return cast(Language, {'rpn': orders.rpn, 'rules': orders.rules}[order])


def begin(order: str) -> int:
  """The symbol that every sequence of an order starts with."""
  return 1 + NAMES.index(order)


def offset(orders: Orders, order: str) -> int:
  """The symbol of action 0 of an order."""
  return FIRST + (orders.rpn.num_actions if order == 'rules' else 0)


def symbols(orders: Orders) -> list[str]:
  """Each symbol in words, for what is kept beside parameters."""
  postfix = [orders.rpn.vocab.symbols[i] for i in orders.rpn.token.tolist()]
  return [
    '<pad>',
    *(f'<{name}>' for name in NAMES),
    *(f'{symbol.kind} {symbol.name}' for symbol in postfix),
    *(f'{lhs} -> {text}' for lhs, text, _ in orders.rules.rules),
  ]


def encode(orders: Orders, formula: Formula, order: str) -> np.ndarray:
  """The sequence that writes a formula, `i32[L]`.

  Raises:
    ValueError: the language of the order cannot write it within its bound.
  """
  actions = environment.derivation(language(orders, order), formula)
  row = np.zeros(orders.length, np.int32)
  row[0] = begin(order)
  row[1 : 1 + len(actions)] = np.asarray(actions) + offset(orders, order)
  return row


def bag(orders: Orders, formula: Formula) -> np.ndarray:
  """How often the formula has each symbol of RPN, `f32[V]`, 0 elsewhere.

  Raises:
    ValueError: the vocabulary lacks a symbol of the formula.
  """
  action_of = {token: i for i, token in enumerate(orders.rpn.token.tolist())}
  counts = np.zeros(orders.size, np.float32)
  for token in rpn.tokens_of(orders.rpn, formula)[1:-1]:
    if token not in action_of:
      name = orders.rpn.vocab.symbols[token].name
      raise ValueError(f'{formula} is not finished: it has {name!r}')
    counts[FIRST + action_of[token]] += 1
  return counts


def columns(orders: Orders) -> np.ndarray:
  """Where `bag` counts each symbol of the rules' vocabulary, i32[symbols].

  0, the place of padding, for one that no finished formula has.
  """
  ids = orders.rpn.vocab.ids()
  action_of = {token: i for i, token in enumerate(orders.rpn.token.tolist())}
  places = [
    action_of.get(ids.get((symbol.kind, symbol.name), PAD))
    for symbol in orders.rules.vocab.symbols
  ]
  return np.asarray(
    [PAD if place is None else FIRST + place for place in places], np.int32
  )


def forbidden(orders: Orders, sequence: jax.Array) -> jax.Array:
  """bool[L, V], True where a symbol may not follow `sequence[: t + 1]`.

  Behind the end of a formula only padding may. Pure and unbatched; the
  sequence is one that `encode` returns.
  """
  rows = [_forbidden(orders, sequence, order) for order in NAMES]
  return jnp.where(sequence[0] == begin('rules'), rows[1], rows[0])


def _forbidden(orders: Orders, sequence: jax.Array, order: str) -> jax.Array:
  """`forbidden` of a sequence of this order; of another anything."""
  played, first = language(orders, order), offset(orders, order)

  def move(state: State, symbol: jax.Array):
    action = jnp.clip(symbol - first, 0, played.num_actions - 1)
    after = environment.step(played, state, action)
    return after, allow(orders, after, order)

  start = environment.init(played)
  _, rows = jax.lax.scan(move, start, sequence[1:])
  return jnp.concatenate([allow(orders, start, order)[None], rows])


def allow(orders: Orders, state: State, order: str) -> jax.Array:
  """bool[V], True where a symbol may not come after a state."""
  first, size = offset(orders, order), orders.size
  row = jnp.ones(size, bool).at[PAD].set(~state.terminated)
  invalid = state.invalid_actions | state.terminated
  return row.at[first : first + invalid.shape[0]].set(invalid)
