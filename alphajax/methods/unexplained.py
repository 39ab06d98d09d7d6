"""What every formula knows of the label, and what of it a pool does not.

Both move as a run goes on: what was worth something when it was evaluated may
be worth nothing beside the pool of today.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alphajax.factor import pool_rules
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, choice
from alphajax.methods import memory as memory_lib


def check(config, why: str, value: Mapping[str, Any]) -> None:
  """Refuses options under which it is not known of every formula.

  Args:
    why: what needs it; begins the message.
    value: what that needs of `config.value` beside.

  Raises:
    ValueError: names the key, what it is and what it must be.
  """
  needed = {
    'value.reward': 'unexplained', 'value.objective': 'ic',
    'value.similarity': 'none', 'search.known_rewards': False, 'pool.keep': 0,
    **{f'value.{name}': wanted for name, wanted in value.items()},
  }  # fmt: skip
  for key, wanted in needed.items():
    part, _, name = key.partition('.')
    if (given := config[part].get(name, wanted)) != wanted:
      raise ValueError(
        f'{why} by what the pool leaves unexplained: set '
        f'config.{key}={wanted!r}, which is {given!r}'
      )
  if config.pool.rule == choice.ALGORITHM_1:
    raise ValueError(
      f'{why} by what is kept of all formulas: set config.pool.rule, such as '
      'elastic_net'
    )


def own_ics(mined: archive.Mined) -> np.ndarray:
  """`Outcome.own_ic` of every formula of the book, 0 for one without value."""
  return np.array([ic or 0.0 for ic in mined.book.values()])


def of_formulas(bench: archive.Bench, mined: archive.Mined) -> np.ndarray:
  """Correlation of every formula with what the pool leaves of the label.

  The label is the one that pools are fitted to, `config.pool.labels`, and what
  a pool explains of it is its regression on the pool's signal.

  Args:
    bench: with a chooser: what is kept of formulas is read.
    mined: its pool is that of `archive.beside`; before there is one all is
      left, of which formulas know their own IC.

  Returns:
    f64[N] in the order of the book; 0 for a formula without value or forgotten.
  """
  formulas, weights = archive.beside(bench, mined)
  if not formulas:
    return own_ics(mined)
  assert bench.chooser is not None
  evidence = memory_lib.evidence(bench.chooser.recorder, mined.memory)
  place = {key: i for i, key in enumerate(mined.book)}
  row_of = {i: n for n, i in enumerate(mined.memory.ids)}
  pool = np.array([row_of[place[formula_lib.key(f)]] for f in formulas])
  known = pool_rules.strength(evidence)
  signal = np.asarray(weights) @ pool_rules.take(evidence, pool)
  signal = signal.astype(np.float32)
  # Weights of equal size, or shrunk ones, say how signals are mixed, not how
  # much of the label they explain.
  power = float(signal @ signal) * evidence.scale
  size = weights @ known[pool] / power if power > 0 else 0.0
  explained = size * pool_rules.products(evidence, signal[:, None])[:, 0]
  left = np.zeros(len(mined.book))
  left[list(mined.memory.ids)] = known - explained
  return left
