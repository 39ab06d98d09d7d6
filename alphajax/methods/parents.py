"""Which formulas evolution varies: the strongest, one of every niche."""

from collections.abc import Sequence

import numpy as np

from alphajax.factor import pool_rules
from alphajax.methods import archive, unexplained
from alphajax.methods import screen as screen_lib
from alphajax.search.evolution import Derivation

SOURCES = ('niches', 'pool')
FITNESS = ('own', 'unexplained')
SHORTLIST = 400  # Formulas among which niches are looked for.


def check(config) -> None:
  """Refuses options of parents that cannot be, by their key."""
  options = config.evolution
  for name, choices in (('parents', SOURCES), ('fitness', FITNESS)):
    if options[name] not in choices:
      raise ValueError(
        f'config.evolution.{name} is {options[name]!r}: expected one of '
        f'{choices}'
      )
  if options.num_parents < 1:
    raise ValueError(
      f'config.evolution.num_parents is {options.num_parents}: expected >= 1'
    )
  if not 0 < options.niche_corr <= 1:
    raise ValueError(
      f'config.evolution.niche_corr is {options.niche_corr}: expected a '
      'correlation above 0, up to 1'
    )
  if not options.start >= 0:
    raise ValueError(
      f'config.evolution.start is {options.start}: expected >= 0'
    )
  if not config.screen.twin:
    raise ValueError(
      'config.screen.twin is 0: evolution tells niches apart by what the '
      'screen keeps; set it to 1.0 to turn no formula away as a twin'
    )
  if options.fitness == 'unexplained' and config.pool.rule == 'algorithm1':
    raise ValueError(
      "config.evolution.fitness is 'unexplained', by the pool that a rule "
      "chooses from all: set config.pool.rule, such as 'elastic_net', or take "
      "the fitness 'own'"
    )


def choose(
  options,
  bench: archive.Bench,
  mined: archive.Mined,
  known: screen_lib.Known,
  derivations: Sequence[Derivation],
) -> list[int]:
  """Positions in the book of what is varied; none at the beginning.

  options: `config.evolution`.
  derivations: of every formula of the book; empty where there is none.
  """
  if len(mined.book) < options.start:
    return []
  if options.parents == 'pool':
    ids = np.asarray(mined.pool.ids)
    return [i for i in ids[ids >= 0].tolist() if derivations[i]]
  strengths = np.abs(fitness(options, bench, mined))
  # What was given and the language cannot write is nobody's parent.
  strengths *= [bool(derivation) for derivation in derivations]
  short = np.argsort(-strengths, kind='stable')[:SHORTLIST]
  matrix = screen_lib.correlations(known, short)
  chosen = pool_rules.distinct(
    strengths[short], matrix, options.num_parents, options.niche_corr
  )
  return short[chosen].tolist()


def fitness(options, bench: archive.Bench, mined: archive.Mined) -> np.ndarray:
  """What parents are chosen by, of every formula; 0 for one without value."""
  if bench.chooser is None or options.fitness == 'own':
    return unexplained.own_ics(mined)
  return unexplained.of_formulas(bench, mined)
