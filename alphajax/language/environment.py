"""Any language as one environment: search and methods play through this.

A language is a `grammar.Grammar` (alpha-Syn, alpha-Sem, alpha-Sem-k, rows of
your own) or an `rpn.Rpn`. Both have `num_actions`, `max_tokens`, `max_steps`
and `vocab`, and share the type of their states.
"""

from collections.abc import Sequence

import jax
import numpy as np

from alphajax.language import grammar, presets, rpn
from alphajax.language.formula import Formula
from alphajax.language.grammar import State

Language = grammar.Grammar | rpn.Rpn
NAMES = (*presets.PRESETS, 'rpn', 'custom')


def make(name: str = 'sem_k', *, rules: str = '', **options) -> Language:
  """The language that `config.language` describes.

  name: one of `NAMES`.
  rules: rows of `custom`, or the file that holds them; see `row_text`.
  options: max_length, features, constants, windows, operators.

  Raises:
    ValueError: an unknown name or symbol, rules that cannot be used, a bound
      that no formula satisfies.
  """
  if name not in NAMES:
    raise ValueError(
      f'language.name is {name!r}: expected one of {", ".join(NAMES)}'
    )
  if name != 'rpn':
    return grammar.make(name, rules=rules, **options)
  if rules:
    raise ValueError(
      "language.rules is given, but language.name is 'rpn', which has none: "
      "set it to 'custom' to play those rules"
    )
  return rpn.make(**options)


def _module(language: Language):
  return rpn if isinstance(language, rpn.Rpn) else grammar


def init(language: Language) -> State:
  """The state before the first action. Unbatched."""
  return _module(language).init(language)


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
