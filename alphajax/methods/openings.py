"""Openings: games that begin with a part of a formula of the pool.

A new formula seldom beats those of a pool, but a variation of one of them may.
Some first moves of its derivation are played, as refinement keeps the left part
of a formula (section 5 of AlphaCFG), or any one node of it is left open; the
search plays the rest. Not in the paper, where every game begins at the start
symbol.
"""

import contextlib
from collections.abc import Sequence

import jax
import numpy as np

from alphajax.factor import pool_rules
from alphajax.language import environment
from alphajax.language import grammar as grammar_lib
from alphajax.language.formula import Formula
from alphajax.language.grammar import Grammar, State
from alphajax.methods import archive
from alphajax.methods import memory as memory_lib
from alphajax.search import evolution

NICHES, NICHE_CORR = 30, 0.7  # As evolution's parents.


def formulas_of(
  config, bench: archive.Bench, mined: archive.Mined
) -> list[Formula]:
  """The formulas that games may begin with a part of."""
  if config.search.openings_from == 'pool':
    return archive.members(bench, mined)[0]
  if bench.chooser is None or not mined.memory.ids:
    return []
  evidence = memory_lib.evidence(bench.chooser.recorder, mined.memory)
  chosen = pool_rules.niches(evidence, NICHES, NICHE_CORR)
  known = list(mined.book)
  keys = [known[mined.memory.ids[i]] for i in chosen.tolist()]
  return archive.read(keys, bench.features)


def draw(
  language: environment.Language,
  rng_key: jax.Array,
  formulas: Sequence[Formula],
  num_games: int,
  share: float,
) -> np.ndarray:
  """First actions of games, i32[B, max_steps], -1 from where they are free.

  Args:
    language: that of the games.
    rng_key: decides which games, formulas and lengths.
    formulas: those of the pool; without any, every game is free.
    num_games: B.
    share: of the games that begin as one of the formulas does, as many moves
      long as chance has it, from none to all but the last.
  """
  openings = np.full((num_games, language.max_steps), -1, np.int32)
  written = _derivations(language, formulas)
  if not written:
    return openings
  rng = np.random.default_rng(np.asarray(jax.random.key_data(rng_key)))
  for game in np.flatnonzero(rng.random(num_games) < share):
    actions = written[rng.integers(len(written))]
    length = rng.integers(len(actions))
    openings[game, :length] = actions[:length]
  return openings


def draw_forms(
  grammar: Grammar,
  rng_key: jax.Array,
  formulas: Sequence[Formula],
  num_games: int,
  share: float,
) -> State:
  """States `[B, ...]` at which games begin: formulas with a node left open.

  Args:
    grammar: that of the games.
    rng_key: decides which games, formulas and nodes.
    formulas: whose nodes are opened; without any, games begin at the start.
    num_games: B.
    share: of the games that begin at a form and not at the start symbol.
  """
  rules = evolution.read_rules(grammar)
  written = _derivations(grammar, formulas)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(rng_key)))
  tokens = np.zeros((num_games, grammar.max_tokens), np.int32)
  tokens[:, 0] = grammar.start
  lengths = np.zeros(num_games, np.int32)
  for game in np.flatnonzero(rng.random(num_games) < share):
    if written:
      derivation = tuple(written[rng.integers(len(written))])
      at = int(rng.integers(len(derivation)))
      form, lengths[game] = evolution.opened(rules, derivation, at)
      tokens[game] = 0
      tokens[game, : len(form)] = form
  return _observe(grammar, tokens, lengths)


_observe = jax.jit(jax.vmap(grammar_lib.observe, (None, 0, 0)))


def _derivations(
  language: environment.Language, formulas: Sequence[Formula]
) -> list[list[int]]:
  """The actions that write formulas, where the language writes them so.

  A pool keeps the canonical form of a formula, and rules of one's own may know
  only another.
  """
  written = []
  for formula in formulas:
    with contextlib.suppress(ValueError):
      written.append(environment.derivation(language, formula))
  return written
