"""The library of a model, and what it writes, on the screen of a market."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.methods import screen as screen_lib
from alphajax.methods import task_bank
from alphajax.methods.formula_model import Model


class Shelf(NamedTuple):
  """The library of a model on the market's screen.

  keys, place: canonical keys, and the position of each.
  rows: f16[N, D], see `screen.behaviours`; facts: f32[N, 2].
  alive: those with a value that differs between stocks.
  sequences: i32[N, L], in RPN; bags: f32[N, V], see `orders.bag`.
  """

  keys: tuple[str, ...]
  place: dict[str, int]
  rows: np.ndarray
  facts: np.ndarray
  alive: np.ndarray
  sequences: np.ndarray
  bags: np.ndarray


def make(model: Model, screen: screen_lib.Screen) -> Shelf:
  """Looks at the library on the screen; seconds."""
  formulas = list(model.library)
  keys = tuple(formula_lib.key(f) for f in formulas)
  rows, facts = look(screen, formulas)
  return Shelf(
    keys=keys,
    place={key: i for i, key in enumerate(keys)},
    rows=rows,
    facts=facts,
    alive=np.asarray(rows.any(1)),
    sequences=np.stack(
      [orders_lib.encode(model.orders, f, 'rpn') for f in formulas]
    ),
    bags=np.stack([orders_lib.bag(model.orders, f) for f in formulas]),
  )


def look(
  screen: screen_lib.Screen, formulas: Sequence[Formula]
) -> tuple[np.ndarray, np.ndarray]:
  """Rows f16[N, D], see `screen.behaviours`, and facts f32[N, 2], at once."""
  return screen.store.map(
    formulas, _look, screen.members, screen.store.universe.mask, screen.days
  )


def _look(values, on_days, members, days):
  return (
    screen_lib.behaviour(values, on_days, days),
    task_bank.facts_of(values, members, days),
  )


def facts_of(
  screen: screen_lib.Screen, formulas: Sequence[Formula]
) -> np.ndarray:
  """f32[N, 2], see `task_bank.facts_of`."""
  if not formulas:
    return np.zeros((0, 2), np.float32)
  members = screen.store.universe.mask
  return screen.store.map(
    formulas, task_bank.facts_of, members, screen.days
  )  # fmt: skip
