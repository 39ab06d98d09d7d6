"""Grammars as integer tables; writing a formula as an environment.

A grammar is built from text rows `(nonterminal, right-hand side, increment)`.
A state is a sentential form in prefix order; an action is a row, which rewrites
the leftmost nonterminal in place. `init` and `step` are pure and unbatched.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.language import bounds, presets, row_text
from alphajax.language import rows as rows_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import Formula


@struct.dataclass
class Grammar:
  """Context-free grammar with a length bound, one row per production.

  A production applies while the formula can still be finished within
  `max_length`: length so far + its growth + the least growth that the
  nonterminals then pending need. Where leaves cost nothing, as in
  alpha-Sem-k, that is Algorithm 2's `k + increment <= K`.
  """

  lhs: jax.Array  # [A] the nonterminal it rewrites.
  rhs: jax.Array  # [A, W] the symbols it writes, zero-padded.
  rhs_len: jax.Array  # [A]
  growth: jax.Array  # [A] what it adds to the length of the formula.
  rhs_need: jax.Array  # [A] least growth that finishes its right-hand side.
  need: jax.Array  # [V] least growth that finishes the symbol, 0 if terminal.
  is_nonterminal: jax.Array  # [V] over the vocabulary.
  arity: jax.Array  # [V]
  role: jax.Array  # [V] LEAF, ORDERED, SYMMETRIC or PAIRED.
  vocab: vocab_lib.Vocab = struct.field(pytree_node=False)
  start: int = struct.field(pytree_node=False)  # Id of the start symbol.
  max_length: int = struct.field(pytree_node=False)  # K
  max_tokens: int = struct.field(pytree_node=False)  # L
  max_steps: int = struct.field(pytree_node=False)  # Longest derivation.
  rules: tuple[rows_lib.Row, ...] = struct.field(pytree_node=False)

  writes_prefix_trees = True  # See `environment.Language`.

  @property
  def num_actions(self) -> int:
    """A, the number of productions."""
    return len(self.rules)


@struct.dataclass
class State:
  """A partial or finished formula. Unbatched; the caller vmaps."""

  tokens: jax.Array  # i32[L] prefix order, 0 after the end.
  length: jax.Array  # i32[] growth so far, k.
  terminated: jax.Array  # bool[] no nonterminal is left.
  invalid_actions: jax.Array  # bool[A] True where forbidden.


def make(
  name: str = 'sem_k',
  *,
  max_length: int = 10,
  features: Sequence[str] = vocab_lib.FEATURES,
  constants: Sequence[float] = vocab_lib.CONSTANTS,
  windows: Sequence[int] = vocab_lib.WINDOWS,
  operators: Sequence[str] | None = None,
  rules: str = '',
) -> Grammar:
  """A grammar over the given symbols (None: the paper's).

  name: a preset of `rules.PRESETS`, or `custom` for rows of your own.
  rules: those rows, or the file that holds them; see `row_text`.

  Raises:
    ValueError: an unknown name, rows without `custom` or the reverse, and
      whatever `from_rows` finds.
  """
  if name not in (*presets.PRESETS, 'custom'):
    known = ', '.join((*presets.PRESETS, 'custom'))
    raise ValueError(f'unknown grammar {name!r}; known: {known}')
  vocab = vocab_lib.make_vocab(features, constants, windows, operators)
  if name == 'custom':
    rows = row_text.parse(row_text.read(rules))
  elif rules:
    raise ValueError(
      f'language.rules is given, but language.name is {name!r}: set it to '
      "'custom' to play those rules"
    )
  else:
    rows = presets.PRESETS[name](vocab)
  # Rows begin with their start symbol; without rows is an error below.
  start = rows[0][0] if rows else 'Expr'
  return from_rows(rows, vocab, max_length=max_length, start=start)


def from_rows(
  rows: Sequence[rows_lib.Row],
  vocab: vocab_lib.Vocab,
  *,
  max_length: int,
  start: str = 'Expr',
) -> Grammar:
  """A grammar from rows of your own; see `rules.read_rows` for the text.

  Raises:
    ValueError: a row is wrong, a nonterminal has no rule or cannot terminate,
      or nothing fits into `max_length`.
  """
  vocab = rows_lib.extend_vocab(vocab, rows)
  rules = rows_lib.read_rows(rows, vocab)
  need = bounds.needs(rules, vocab)
  start_id = vocab.ids().get(('nonterminal', start))
  if start_id not in {lhs for lhs, _, _ in rules}:
    raise ValueError(f'the start symbol {start!r} has no rule')
  if max_length < need[start_id]:
    raise ValueError(
      f'language.max_length is {max_length}; the shortest formula has '
      f'{need[start_id]}'
    )
  count = functools.partial(bounds.most, rules, need, max_length, start_id)
  width = max(len(rhs) for _, rhs, _ in rules)

  def ints(values: Sequence) -> jax.Array:
    return jax.device_put(np.asarray(values, np.int32))

  return Grammar(
    lhs=ints([lhs for lhs, _, _ in rules]),
    rhs=ints([(*rhs, *[0] * (width - len(rhs))) for _, rhs, _ in rules]),
    rhs_len=ints([len(rhs) for _, rhs, _ in rules]),
    growth=ints([growth for _, _, growth in rules]),
    rhs_need=ints([sum(need[s] for s in rhs) for _, rhs, _ in rules]),
    need=ints(need),
    is_nonterminal=jax.device_put(
      np.array([s.kind == 'nonterminal' for s in vocab.symbols])
    ),
    arity=ints([rows_lib.arity_of(s) for s in vocab.symbols]),
    role=ints([rows_lib.role_of(s) for s in vocab.symbols]),
    vocab=vocab,
    start=start_id,
    max_length=max_length,
    max_tokens=count(leaf=1, per_rule=0),
    max_steps=count(leaf=0, per_rule=1),
    rules=tuple((lhs, text, int(growth)) for lhs, text, growth in rows),
  )


def lookback(grammar: Grammar) -> int:
  """Days before today that the longest-looking formula needs."""
  rules = rows_lib.read_rows(grammar.rules, grammar.vocab)
  return bounds.most_history(
    rules, grammar.max_length, grammar.start, grammar.vocab
  )


@functools.partial(jax.jit, inline=True)
def init(grammar: Grammar) -> State:
  """The start symbol alone."""
  tokens = jnp.zeros(grammar.max_tokens, jnp.int32).at[0].set(grammar.start)
  return observe(grammar, tokens, jnp.zeros((), jnp.int32))


def step(grammar: Grammar, state: State, action: jax.Array | int) -> State:
  """Rewrites the leftmost nonterminal with production `action`.

  The action must be valid. A terminal state is absorbing.
  """
  site = leftmost(grammar, state.tokens)
  offset = jnp.arange(grammar.max_tokens) - site
  width = grammar.rhs_len[action]
  body = jnp.take(grammar.rhs[action], offset, mode='clip')
  tail = jnp.take(state.tokens, offset + site - width + 1, mode='clip')
  tokens = jnp.where(
    offset < 0, state.tokens, jnp.where(offset < width, body, tail)
  )
  next_state = observe(grammar, tokens, state.length + grammar.growth[action])
  return jax.tree.map(
    lambda old, new: jnp.where(state.terminated, old, new), state, next_state
  )


def observe(grammar: Grammar, tokens: jax.Array, length: jax.Array) -> State:
  """The state with these tokens `[L]`. At a terminal state all is valid."""
  pending = grammar.is_nonterminal[tokens]
  terminated = ~jnp.any(pending)
  symbol = tokens[jnp.argmax(pending)]
  others = jnp.sum(grammar.need[tokens]) - grammar.need[symbol]
  finished = length + grammar.growth + others + grammar.rhs_need
  invalid = (grammar.lhs != symbol) | (finished > grammar.max_length)
  return State(tokens, length, terminated, invalid & ~terminated)


def leftmost(grammar: Grammar, tokens: jax.Array) -> jax.Array:
  """Position of the leftmost nonterminal in `tokens [L]`; 0 if none is."""
  return jnp.argmax(grammar.is_nonterminal[tokens])


@functools.partial(jax.jit, static_argnames='num_formulas')
def random_tokens(
  grammar: Grammar, rng_key: jax.Array, num_formulas: int
) -> jax.Array:
  """Plays uniformly over the valid rules. Returns tokens `[N, L]`."""
  moves = functools.partial(step, grammar)
  return play_out(init(grammar), moves, rng_key, num_formulas)


def play_out(
  state: State, step_fn: Callable, rng_key: jax.Array, num_games: int
) -> jax.Array:
  """Plays uniformly over valid actions to the end. Returns tokens `[N, L]`.

  step_fn: (state, action) -> state, of any language.
  """

  def move(carry):
    rng_key, states = carry
    rng_key, act_key = jax.random.split(rng_key)
    logits = jnp.where(states.invalid_actions, -jnp.inf, 0.0)
    actions = jax.random.categorical(act_key, logits)
    return rng_key, jax.vmap(step_fn)(states, actions)

  states = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (num_games, *x.shape)), state
  )
  _, states = jax.lax.while_loop(
    lambda carry: ~jnp.all(carry[1].terminated), move, (rng_key, states)
  )
  return states.tokens


def random_formulas(
  grammar: Grammar, rng_key: jax.Array, num_formulas: int
) -> list[Formula]:
  """As `random_tokens`, on the host."""
  return formulas_of(grammar, random_tokens(grammar, rng_key, num_formulas))


def formula_of(grammar: Grammar, tokens: jax.Array | np.ndarray) -> Formula:
  """The formula, finished or not, that `tokens [L]` spell in prefix order.

  Raises:
    ValueError: the tokens are not one whole prefix tree, padded with 0.
  """
  ids = [int(token) for token in np.asarray(tokens)]
  arity = np.asarray(grammar.arity).tolist()
  names = [symbol.name for symbol in grammar.vocab.symbols]
  formula, end = _read(ids, 0, arity, names)
  if any(ids[end:]):
    raise ValueError(f'tokens after the end of the formula: {ids}')
  return formula


def formulas_of(grammar: Grammar, tokens: jax.Array) -> list[Formula]:
  """The formulas of `tokens [N, L]`."""
  return [formula_of(grammar, row) for row in np.asarray(tokens)]


def _read(
  ids: list[int], at: int, arity: list[int], names: list[str]
) -> tuple[Formula, int]:
  if at >= len(ids) or ids[at] == 0:
    raise ValueError(f'tokens end inside the formula: {ids}')
  symbol = ids[at]
  at += 1
  args = []
  for _ in range(arity[symbol]):
    arg, at = _read(ids, at, arity, names)
    args.append(arg)
  return Formula(names[symbol], tuple(args)), at


def tokens_of(grammar: Grammar, formula: Formula) -> list[int]:
  """Prefix token ids of a formula, finished or not, without padding.

  Raises:
    ValueError: the vocabulary lacks a symbol of the formula.
  """
  return list(_spell(grammar.vocab, formula, is_window=False))


def _spell(
  vocab: vocab_lib.Vocab, formula: Formula, is_window: bool
) -> Iterator[int]:
  ids = _by_name(vocab)
  if (formula.symbol, is_window) not in ids:
    what = 'window' if is_window else 'symbol'
    raise ValueError(f'{what} {formula.symbol!r} is not in the vocabulary')
  yield ids[formula.symbol, is_window]
  windowed = rows_lib.is_windowed(vocab.symbols[ids[formula.symbol, is_window]])
  for i, arg in enumerate(formula.args):
    yield from _spell(vocab, arg, windowed and i == len(formula.args) - 1)


@functools.cache
def _by_name(vocab: vocab_lib.Vocab) -> dict[tuple[str, bool], int]:
  """Maps (name, it is in a window's place) to the id."""
  table = {}
  for i, symbol in enumerate(vocab.symbols):
    if symbol.kind in ('window', 'nonterminal'):
      table[symbol.name, True] = i
    if symbol.kind != 'window' and symbol.kind != 'pad':
      table[symbol.name, False] = i
  return table


def derivation(grammar: Grammar, formula: Formula) -> list[int]:
  """The productions, leftmost first, that write `formula`.

  A nonterminal leaf of a partial formula stays as it is.

  Raises:
    ValueError: the grammar cannot write the formula within its bound.
  """
  tokens = tokens_of(grammar, formula)
  lhs, growth = np.asarray(grammar.lhs), np.asarray(grammar.growth)
  bodies = [
    body[:width].tolist()
    for body, width in zip(
      np.asarray(grammar.rhs), np.asarray(grammar.rhs_len), strict=True
    )
  ]

  @functools.cache
  def derive(symbol: int, at: int) -> tuple[int, tuple[int, ...], int] | None:
    """(growth, rules, end) of the cheapest way to read one `symbol`."""
    if at >= len(tokens):
      return None
    if tokens[at] == symbol:
      return 0, (), at + 1
    found = []
    for rule in np.flatnonzero(lhs == symbol).tolist():
      if bodies[rule][0] in (tokens[at], *heads):
        part: tuple[int, tuple[int, ...], int]
        part = int(growth[rule]), (rule,), at
        for child in bodies[rule]:
          rest = derive(child, part[2])
          if rest is None:
            break
          part = (part[0] + rest[0], part[1] + rest[1], rest[2])
        else:
          found.append(part)
    return min(found, default=None)

  heads = frozenset(lhs.tolist())
  whole = derive(grammar.start, 0)
  if whole is None or whole[2] != len(tokens):
    raise ValueError(f'the grammar cannot write {formula}')
  if whole[0] > grammar.max_length:
    raise ValueError(
      f'{formula} has length {whole[0]}, over the bound {grammar.max_length}'
    )
  return list(whole[1])
