"""Formulas that may be evaluated next: of a network, or of its library."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import screen as screen_lib
from alphajax.methods import shelf as shelf_lib
from alphajax.methods.formula_model import Model
from alphajax.search import sampling

PROPOSALS = ('model', 'library', 'both')


class Candidates(NamedTuple):
  """Formulas that may be evaluated, n of them.

  facts: see `task_bank.facts_of`.
  written: by the network; others are of the library.
  """

  formulas: list[Formula]
  rows: np.ndarray  # f16[n, D]
  facts: np.ndarray  # f32[n, 2]
  written: np.ndarray  # bool[n]


def find(
  model: Model,
  shelf: shelf_lib.Shelf,
  screen: screen_lib.Screen,
  write: Callable[[], sampling.Samples],
  proposals: str,
  seen: Collection[str],
) -> Candidates:
  """New formulas that have values.

  Args:
    model, shelf, screen: what looks at the market.
    write: draws samples of the network, in RPN.
    proposals: one of `PROPOSALS`.
    seen: canonical keys that are not wanted.
  """
  written: list[Formula] = []
  parts, facts = [shelf.rows[:0]], [shelf.facts[:0]]
  if proposals != 'library':
    written, _ = sampling.distinct(model.orders, 'rpn', write(), seen)
    on_shelf = shelf.place if proposals == 'both' else ()
    written = [f for f in written if formula_lib.key(f) not in on_shelf]
    if written:
      rows, of_written = shelf_lib.look(screen, written)
      lively = np.flatnonzero(rows.any(1))
      written = [written[i] for i in lively.tolist()]
      parts.append(rows[lively])
      facts.append(of_written[lively])
  library = np.zeros(0, int)
  if proposals != 'model':
    unseen = [i for i, key in enumerate(shelf.keys) if key not in seen]
    library = np.array(unseen, int)
    library = library[shelf.alive[library]]
    parts.append(shelf.rows[library])
    facts.append(shelf.facts[library])
  formulas = written + [model.library[i] for i in library.tolist()]
  return Candidates(
    formulas, np.concatenate(parts), np.concatenate(facts),
    np.arange(len(formulas)) < len(written),
  )  # fmt: skip
