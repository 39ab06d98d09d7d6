"""Random search: rules drawn uniformly among the valid ones.

The control of every claim: the same grammar, pool and number of evaluated
formulas, and nothing learned.
"""

from collections.abc import Collection
from typing import NamedTuple

import jax

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import archive, linear
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock

# A small language runs out of new formulas; then a batch stays short.
MAX_DRAWS = 50


class State(NamedTuple):
  """What was found; nothing is learned."""

  mined: archive.Mined


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/random.py`."""
  grammar = environment.make(**config.language)
  bench = archive.make_bench(config, market)

  def init(rng_key):
    del rng_key
    return State(archive.start(bench))

  def step(state, rng_key):
    clock = Clock()
    with clock('search'):
      formulas = propose(
        grammar, state.mined.book, rng_key, config.num_trajectories,
        config.max_evaluated,
      )  # fmt: skip
    mined, _ = archive.commit(bench, state.mined, formulas, clock)
    mined, metrics = archive.validate(bench, mined, clock)
    return State(mined), {**metrics, 'seconds': clock.seconds}

  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: linear.predict(
      archive.found(state.mined), panel
    ),
    found=lambda state: archive.found(state.mined),
    finished=lambda state: archive.finished(config, state.mined),
    save=lambda state: archive.save(state.mined),
    load=lambda arrays, host: State(archive.load(bench, arrays, host)),
  )


def propose(
  grammar: environment.Language,
  book: Collection[str],
  rng_key: jax.Array,
  num_formulas: int,
  max_evaluated: int = 0,
) -> list[Formula]:
  """Draws formulas until `num_formulas` of them are new.

  book: keys of the formulas known so far.
  max_evaluated: fewer when the book would outgrow it; 0: no limit.
  """
  wanted = num_formulas
  if max_evaluated:
    wanted = min(wanted, max_evaluated - len(book))
  drawn, new = [], set()
  for draw in range(MAX_DRAWS):
    key = jax.random.fold_in(rng_key, draw)
    for formula in environment.random_formulas(grammar, key, num_formulas):
      drawn.append(formula)
      name = formula_lib.key(formula)
      if name not in book:
        new.add(name)
      if len(new) == wanted:
        return drawn
  return drawn
