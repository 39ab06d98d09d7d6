"""Any language as one environment: search and methods play through this.

A language is a struct with the fields of `Language`, and the module that
defines its type has the functions below: `init`, `step`, `lookback`,
`random_tokens`, `formula_of`, `tokens_of` and `derivation`. `grammar` (alpha-
Syn, alpha-Sem, alpha-Sem-k, rows of your own) and `rpn` are such modules. All
share the type of their states.

The config names a language by a short name or by the import path of a module
of your own, whose `make(**options)` gets the options of `config.language` but
`name` and `rules`. It may return a `Grammar` whose rows a program has written.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from alphajax import lookup
from alphajax.language import grammar, presets, rpn
from alphajax.language.formula import Formula
from alphajax.language.grammar import State
from alphajax.language.vocab import Vocab


class Language(Protocol):
  """What search, networks and methods read of a language.

  writes_prefix_trees: the tokens of every state spell a tree in prefix order.
    Such a language has `arity` and `role`, i32[V], of its symbols, as a
    `Grammar`; the Tree-LSTM and the table of rewards need them.
  A language whose actions append tokens says so, see `appends`.
  """

  vocab: Vocab
  max_tokens: int  # L
  max_steps: int  # Actions of the longest game.
  writes_prefix_trees: bool

  @property
  def num_actions(self) -> int:
    """A"""


_GRAMMARS = {
  name: functools.partial(grammar.make, name)
  for name in (*presets.PRESETS, 'custom')
}
_MAKERS: dict[str, Callable] = {**_GRAMMARS, 'rpn': rpn.make}
NAMES = tuple(_MAKERS)


def make(name: str = 'sem_k', *, rules: str = '', **options) -> Language:
  """The language that `config.language` describes.

  name: one of `NAMES`, or the import path of a module.
  rules: rows of `custom`, or the file that holds them; see `row_text`.
  options: max_length, features, constants, windows, operators.

  Raises:
    ValueError: an unknown name or symbol, rules that cannot be used, a bound
      that no formula satisfies.
  """
  make_language = lookup.function(
    name, _MAKERS, 'make(**options)', key='config.language.name'
  )
  if name in _GRAMMARS:
    return make_language(rules=rules, **options)
  if rules:
    raise ValueError(
      f'language.rules is given, but language.name is {name!r}, which has '
      "none: set it to 'custom' to play those rules"
    )
  language = make_language(**options)
  if not hasattr(language, 'max_tokens'):
    raise ValueError(
      f'language.name is {name!r}: its make(**options) gave '
      f'{type(language).__name__}: expected a language, as grammar.from_rows '
      'gives'
    )
  return language


def _module(language: Language) -> ModuleType:
  """Where the type of a language is defined, its functions are too."""
  return sys.modules[type(language).__module__]


def productions(language: Language) -> grammar.Grammar | None:
  """The grammar whose productions are the actions; None: actions are others."""
  return language if isinstance(language, grammar.Grammar) else None


def appends(language: Language) -> bool:
  """Whether an action puts a token behind those that are there, as in RPN."""
  return getattr(language, 'appends', False)


def init(language: Language) -> State:
  """The state before the first action. Unbatched."""
  return _module(language).init(language)


def starts(
  language: Language, num_games: int, start: State | None = None
) -> State:
  """The states at which B games begin, `[B, ...]`.

  start: one state for all of them, or one of each, `[B, ...]`; None: `init`.
  """
  one = init(language) if start is None else start
  if one.length.ndim:
    chex.assert_shape(one.length, (num_games,))
    return one
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (num_games, *x.shape)), one)


def step(language: Language, state: State, action: jax.Array) -> State:
  """The state after a valid action. Unbatched; a terminal state absorbs."""
  return _module(language).step(language, state, action)


def lookback(language: Language) -> int:
  """Days before today that the longest-looking formula needs."""
  return _module(language).lookback(language)


def random_tokens(
  language: Language, rng_key: jax.Array, num_formulas: int
) -> jax.Array:
  """Tokens `[N, L]` of formulas that uniformly random play ends in."""
  return _module(language).random_tokens(language, rng_key, num_formulas)


def random_formulas(
  language: Language, rng_key: jax.Array, num_formulas: int
) -> list[Formula]:
  """As `random_tokens`, on the host."""
  return formulas_of(language, random_tokens(language, rng_key, num_formulas))


def formula_of(language: Language, tokens: jax.Array) -> Formula:
  """The formula of a state's `tokens [L]`, also of an unfinished one.

  Raises:
    ValueError: tokens that no game can reach.
  """
  return _module(language).formula_of(language, tokens)


def formulas_of(language: Language, tokens: jax.Array) -> list[Formula]:
  """The formulas of `tokens [N, L]`."""
  return [formula_of(language, row) for row in np.asarray(tokens)]


def tokens_of(language: Language, formula: Formula) -> Sequence[int]:
  """Token ids that spell a formula, without padding.

  Raises:
    ValueError: the vocabulary lacks a symbol of the formula.
  """
  return _module(language).tokens_of(language, formula)


def derivation(language: Language, formula: Formula) -> list[int]:
  """The actions that write a formula.

  Raises:
    ValueError: the language cannot write it within its bound.
  """
  return _module(language).derivation(language, formula)
