"""Postfix formulas as an environment (RPN).

A state is `<begin>`, the tokens so far in postfix order, and `<end>` once the
formula is finished; an action appends one token. The masks keep every state
completable within the bound. `init` and `step` as in `grammar`, pure and
unbatched.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.data.features import GROUPS
from alphajax.language import grammar as grammar_lib
from alphajax.language import presets
from alphajax.language import rows as rows_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import Formula, size
from alphajax.language.grammar import State

BEGIN, END = '<begin>', '<end>'
# What lies on the stack: nothing, a value that varies, a number, a window; a
# value that is 1 or 0, a number in [0, 1], group codes.
NOTHING, VARYING, CONSTANT, WINDOW, CONDITION, LEVEL, GROUP = range(7)
# Actions by the kind of their token, the keys of what `_conditions` returns.
_KINDS = (*vocab_lib.KINDS, 'group', 'marker')
_NEVER = 1 << 20


@struct.dataclass
class Rpn:
  """Postfix language with at most `max_length` tokens a formula."""

  token: jax.Array  # i32[A] the symbol that an action appends; <end> is last.
  kind: jax.Array  # i32[A] position of the token's kind in `_KINDS`.
  item: jax.Array  # i32[V] what the symbol leaves on top of the stack.
  change: jax.Array  # i32[V] items that it adds to the stack.
  trees: grammar_lib.Grammar  # The same formulas as trees, for host code.
  vocab: vocab_lib.Vocab = struct.field(pytree_node=False)
  max_length: int = struct.field(pytree_node=False)
  kinds: frozenset[str] = struct.field(pytree_node=False)  # Those in use.

  writes_prefix_trees, appends = False, True  # See `environment.Language`.

  @property
  def num_actions(self) -> int:
    """A, the number of symbols that can be written, <end> included."""
    return self.token.shape[0]

  @property
  def max_tokens(self) -> int:
    """L: the formula between its two markers."""
    return self.max_length + 2

  @property
  def max_steps(self) -> int:
    """Longest game: at the bound a formula ends by itself."""
    return self.max_length


def make(
  *,
  max_length: int = 10,
  features: Sequence[str] = vocab_lib.FEATURES,
  constants: Sequence[float] = vocab_lib.CONSTANTS,
  windows: Sequence[int] = vocab_lib.WINDOWS,
  operators: Sequence[str] | None = None,
) -> Rpn:
  """The language of the given symbols (None: the paper's).

  Raises:
    ValueError: as `grammar.from_rows`: no feature, or no formula that short.
  """
  vocab = vocab_lib.make_vocab(features, constants, windows, operators)
  rows = presets.rpn_rows(vocab)
  trees = grammar_lib.from_rows(rows, vocab, max_length=max_length)
  markers = (vocab_lib.Symbol(name, 'marker') for name in (BEGIN, END))
  vocab = vocab_lib.Vocab((*vocab.symbols, *markers))
  written = {symbol for _, rhs, _ in rows_lib.read_rows(rows, trees.vocab)
             for symbol in rhs}  # fmt: skip
  actions = [
    (i, symbol)
    for i, symbol in enumerate(vocab.symbols)
    if symbol.name == END or symbol.kind in vocab_lib.KINDS and i in written
  ]

  def ints(values: Sequence) -> jax.Array:
    return jax.device_put(np.asarray(values, np.int32))

  known = [symbol.kind in vocab_lib.KINDS for symbol in vocab.symbols]
  return Rpn(
    token=ints([i for i, _ in actions]),
    kind=ints([_KINDS.index(_kind_of(symbol)) for _, symbol in actions]),
    item=ints([_item_of(symbol) for symbol in vocab.symbols]),
    change=ints(
      [
        1 - symbol.arity if is_known else 0
        for symbol, is_known in zip(vocab.symbols, known, strict=True)
      ]
    ),
    trees=trees,
    vocab=vocab,
    max_length=max_length,
    kinds=frozenset(_kind_of(symbol) for _, symbol in actions),
  )


def _kind_of(symbol: vocab_lib.Symbol) -> str:
  """One of `_KINDS`."""
  is_group = symbol.kind == 'feature' and symbol.name in GROUPS
  return 'group' if is_group else symbol.kind


def _item_of(symbol: vocab_lib.Symbol) -> int:
  """What a symbol leaves on top of the stack."""
  kind = _kind_of(symbol)
  if kind not in _KINDS or kind == 'marker':
    return NOTHING
  if kind == 'constant':
    return LEVEL if 0 <= float(symbol.name) <= 1 else CONSTANT
  if kind in vocab_lib.CONDITIONS:
    return CONDITION
  return {'window': WINDOW, 'group': GROUP}.get(kind, VARYING)


def lookback(rpn: Rpn) -> int:
  """Days before today that the longest-looking formula needs."""
  return grammar_lib.lookback(rpn.trees)


@functools.partial(jax.jit, inline=True)
def init(rpn: Rpn) -> State:
  """`<begin>` alone."""
  tokens = jnp.zeros(rpn.max_tokens, jnp.int32)
  tokens = tokens.at[0].set(_marker(rpn, BEGIN))
  return observe(rpn, tokens, jnp.zeros((), jnp.int32))


def step(rpn: Rpn, state: State, action: jax.Array) -> State:
  """Appends the token of `action`, and <end> to a formula at the bound.

  The action must be valid. A terminal state is absorbing.
  """
  end = _marker(rpn, END)
  token = rpn.token[action]
  tokens = state.tokens.at[state.length + 1].set(token)
  length = state.length + (token != end)
  is_full = (length == rpn.max_length) & (token != end)
  tokens = jnp.where(is_full, tokens.at[-1].set(end), tokens)
  next_state = observe(rpn, tokens, length)
  return jax.tree.map(
    lambda old, new: jnp.where(state.terminated, old, new), state, next_state
  )


def observe(rpn: Rpn, tokens: jax.Array, length: jax.Array) -> State:
  """The state with these tokens `[L]`. At a terminal state all is valid."""
  terminated = jnp.any(tokens == _marker(rpn, END))
  depth = jnp.cumsum(rpn.change[tokens])
  items = rpn.item[tokens]
  count = depth[-1]

  def below(n):
    """What lies n items below the top: its last token left it there."""
    there = (depth == count - n) & (items != NOTHING)
    return items[jnp.max(jnp.where(there, jnp.arange(tokens.shape[0]), 0))]

  first, second, third = (_serves(below(n)) for n in range(3))
  stack = _Stack(first, second, third, count)
  merge: Callable[[int], jax.Array] = functools.partial(
    _merge, rpn.kinds, count
  )
  if 'choice' in rpn.kinds:
    places = jnp.arange(rpn.max_tokens + 4)
    lies = jax.vmap(below)(places) == CONDITION
    merge = _merge_by_choice(lies & (places < count), count).__getitem__
  conditions = _conditions(rpn.kinds, stack, merge)
  allowed, need = zip(*(conditions[kind] for kind in _KINDS), strict=True)
  fits = length + 1 + jnp.stack(need) <= rpn.max_length
  # <end> is no token of the formula.
  fits = fits.at[_KINDS.index('marker')].set(True)
  valid = (jnp.stack(allowed) & fits)[rpn.kind]
  return State(tokens, length, terminated, ~valid & ~terminated)


class _Item(NamedTuple):
  """What an item of the stack can serve as; bool[] each."""

  varies: jax.Array
  is_constant: jax.Array
  is_window: jax.Array
  is_condition: jax.Array
  is_level: jax.Array
  is_group: jax.Array


def _serves(item: jax.Array) -> _Item:
  return _Item(
    varies=(item == VARYING) | (item == CONDITION),
    is_constant=(item == CONSTANT) | (item == LEVEL),
    is_window=item == WINDOW,
    is_condition=item == CONDITION,
    is_level=item == LEVEL,
    is_group=item == GROUP,
  )


class _Stack(NamedTuple):
  """The three items on top of the stack, and how many there are."""

  top: _Item
  second: _Item
  third: _Item
  # Hides the method of a tuple, which nobody calls.
  count: jax.Array  # type: ignore[assignment]


def _merge(kinds: frozenset[str], count: jax.Array, taken: int) -> jax.Array:
  """Tokens that make one item of a varying one put in the place of `taken`.

  Those are the items on top that an action replaces; it remains to join the
  new one with what lies below.
  """
  joins = {'binary', 'binary_asym', 'comparison', 'equality'}
  if kinds & joins:
    join = 1  # Tokens that make one item of two.
  else:
    join = 2 if 'paired' in kinds else _NEVER
  return (count - taken) * join


def _merge_by_choice(is_condition: jax.Array, count: jax.Array) -> jax.Array:
  """`_merge` of 0, 1, ... items where `If` may join three items at once.

  is_condition: bool[n] of the items from the top down.
  """

  def read(carry, item):
    after_one, after_two = carry
    exists, next_is_condition = item
    # A language with If has comparisons, which join two.
    by_choice = jnp.where(next_is_condition, after_two, _NEVER)
    need = jnp.where(exists, 1 + jnp.minimum(after_one, by_choice), 0)
    return (need, after_one), need

  exists = jnp.arange(is_condition.shape[0]) < count
  below = jnp.append(is_condition[1:], False)
  none = (jnp.int32(0), jnp.int32(0))
  return jax.lax.scan(read, none, (exists, below), reverse=True)[1]


def _conditions(
  kinds: frozenset[str], stack: _Stack, merge: Callable[[int], jax.Array]
) -> dict[str, tuple]:
  """(the stack allows it, tokens needed after it) of each kind of action.

  merge: tokens that join a new item with what lies below so many of the top.
  """
  top, second, third, count = stack
  # Beside a window or group codes, an operand of the operator that takes them.
  is_open = ~(top.is_window | top.is_group)
  both = top.varies & (second.varies | second.is_constant)
  two = (both | (top.is_constant & second.varies), merge(2))
  branches = (top.varies | top.is_constant) & (
    second.varies | second.is_constant
  )
  under_level = top.is_level & second.varies & ('quantile' in kinds)
  return {
    'feature': (is_open, merge(0)),
    'constant': (is_open, _after_constant(kinds, stack, merge)),
    'window': (top.varies | under_level, _after_window(kinds, stack, merge)),
    'unary': (top.varies, merge(1)),
    'binary': two,
    'binary_asym': two,
    'rolling': (top.is_window & second.varies, merge(2)),
    'paired': (
      top.is_window & second.varies & third.varies,
      merge(3),
    ),
    'comparison': two,
    'equality': two,
    'logical': (top.is_condition & second.is_condition, merge(2)),
    'negation': (top.is_condition, merge(1)),
    'choice': (branches & third.is_condition, merge(3)),
    'quantile': (
      top.is_window & second.is_level & third.varies,
      merge(3),
    ),
    'group': (top.varies & ('grouped' in kinds), 1 + merge(1)),
    'grouped': (top.is_group, merge(2)),
    'marker': (top.varies & (count == 1), jnp.zeros_like(count)),  # <end>
  }


def _after_constant(
  kinds: frozenset[str], stack: _Stack, merge: Callable[[int], jax.Array]
) -> jax.Array:
  """Tokens needed after a constant that is put on the stack.

  On a varying item it is joined with that. On another, or alone, it first needs
  a feature that is joined with it, or an If that takes both constants.
  """
  alone = 1 + _merge(kinds, jnp.int32(1), 0) + merge(0)
  if 'choice' in kinds:
    both = stack.top.is_constant & stack.second.is_condition
    alone = jnp.where(both, jnp.minimum(alone, 1 + merge(2)), alone)
  return jnp.where(stack.top.varies, merge(0), alone)


def _after_window(
  kinds: frozenset[str], stack: _Stack, merge: Callable[[int], jax.Array]
) -> jax.Array:
  """Tokens needed after a window that is put on the stack."""
  need = jnp.asarray(_NEVER)
  if 'rolling' in kinds:
    need = 1 + merge(1)
  if 'paired' in kinds:
    closes_pair = jnp.where(stack.second.varies, 1 + merge(2), _NEVER)
    need = jnp.minimum(need, closes_pair)
  if 'quantile' in kinds:
    need = jnp.where(stack.top.is_level, 1 + merge(2), need)
  return need


def _marker(rpn: Rpn, name: str) -> int:
  return rpn.vocab.ids()['marker', name]


@functools.partial(jax.jit, static_argnames='num_formulas')
def random_tokens(rpn: Rpn, rng_key: jax.Array, num_formulas: int) -> jax.Array:
  """Plays uniformly over the valid tokens. Returns tokens `[N, L]`."""
  moves = functools.partial(step, rpn)
  return grammar_lib.play_out(init(rpn), moves, rng_key, num_formulas)


def formula_of(rpn: Rpn, tokens: jax.Array) -> Formula:
  """The formula that `tokens [L]` spell.

  Of an unfinished one, the largest formula on its stack; `<begin>` before
  there is any.

  Raises:
    ValueError: tokens that no game can reach.
  """
  ids = [int(token) for token in np.asarray(tokens) if token]
  symbols = [rpn.vocab.symbols[token] for token in ids]
  if not symbols or symbols[0].name != BEGIN:
    raise ValueError(f'tokens must begin with {BEGIN}: {ids}')
  is_finished = symbols[-1].name == END
  stack = []
  for symbol in symbols[1 : -1 if is_finished else None]:
    split = len(stack) - symbol.arity
    if split < 0 or symbol.kind not in vocab_lib.KINDS:
      raise ValueError(f'{symbol.name} has too few operands in {ids}')
    stack[split:] = [Formula(symbol.name, tuple(stack[split:]))]
  if is_finished and len(stack) != 1:
    raise ValueError(f'tokens are {len(stack)} formulas, not one: {ids}')
  return max(stack, key=size, default=Formula(BEGIN))


def tokens_of(rpn: Rpn, formula: Formula) -> list[int]:
  """Postfix token ids of a finished formula with both markers, no padding.

  Raises:
    ValueError: the vocabulary lacks a symbol of the formula.
  """
  prefix = grammar_lib.tokens_of(rpn.trees, formula)
  arity = [symbol.arity for symbol in rpn.vocab.symbols]

  def read(at):
    """(postfix ids, end) of the tree at `at`."""
    symbol, written, end = prefix[at], [], at + 1
    for _ in range(arity[symbol]):
      part, end = read(end)
      written += part
    return [*written, symbol], end

  return [_marker(rpn, BEGIN), *read(0)[0], _marker(rpn, END)]


def derivation(rpn: Rpn, formula: Formula) -> list[int]:
  """The actions that write a finished formula.

  Raises:
    ValueError: the language cannot write the formula within its bound.
  """
  grammar_lib.derivation(rpn.trees, formula)
  action_of = {token: i for i, token in enumerate(rpn.token.tolist())}
  tokens = tokens_of(rpn, formula)[1:]
  unknown = [token for token in tokens if token not in action_of]
  if unknown:
    name = rpn.vocab.symbols[unknown[0]].name
    raise ValueError(f'{formula} is not finished: RPN cannot write {name!r}')
  # A formula at the bound ends by itself.
  return [action_of[token] for token in tokens][: rpn.max_length]
