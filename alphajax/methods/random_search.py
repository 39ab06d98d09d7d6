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
from alphajax.methods import archive, miner, surrogate, validation
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock

# A small language runs out of new formulas; then a batch stays short.
MAX_DRAWS = 50


class State(NamedTuple):
  """What was found, and what the screen knows; nothing is learned."""

  mined: archive.Mined
  known: screen_lib.Known


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/random.py`."""
  grammar = environment.make(**config.language)
  surrogate.check(config)
  bench = surrogate.with_recorder(
    config, market, archive.make_bench(config, market, reads_pool=False)
  )
  screen = screen_lib.make(config, market.train)

  def init(rng_key):
    del rng_key
    mined = archive.start(bench)
    formulas = archive.formulas(bench, mined)
    return State(mined, screen_lib.start(screen, formulas))

  def step(state, rng_key):
    clock = Clock()
    with clock('search'):
      evidence = surrogate.read(config.screen, bench, state.mined, state.known)
    formulas, known = _propose(state, evidence, rng_key, clock)
    mined, _ = archive.commit(bench, state.mined, formulas, clock)
    mined, metrics = validation.validate(bench, mined, clock)
    if screen is not None:
      metrics |= known.tally(len(mined.book))
    else:
      metrics['duplicates'] = mined.proposed - len(mined.book)
    metrics |= surrogate.figures(
      config.screen, evidence, mined, known, len(formulas)
    )
    return State(mined, known), {**metrics, 'seconds': clock.seconds}

  def _propose(state, evidence, rng_key, clock):
    book, count = state.mined.book, config.num_trajectories
    if screen is None:
      with clock('search'):
        formulas = propose(grammar, book, rng_key, count, config.max_evaluated)
      return formulas, state.known

    def draw(number):
      with clock('search'):
        key = jax.random.fold_in(rng_key, number)
        return environment.random_formulas(grammar, key, 2 * count)

    return screen_lib.fill(
      screen, state.known, book, draw,
      to_evaluate(count, book, config.max_evaluated), clock,
      **surrogate.ranking(config.screen, evidence),
    )  # fmt: skip

  def save(state):
    arrays, host = archive.save(state.mined)
    return arrays, {**host, **screen_lib.save(state.known)}

  def load(arrays, host):
    mined = archive.load(bench, arrays, host)
    known = screen_lib.load(screen, host, archive.formulas(bench, mined))
    return State(mined, known)

  return miner.make(
    config, bench, init=init, step=step, save=save, load=load, screen=screen
  )


def to_evaluate(count: int, book: Collection[str], max_evaluated: int) -> int:
  """How many formulas an iteration may evaluate; 0 as a limit is none."""
  return min(count, max_evaluated - len(book)) if max_evaluated else count


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
  wanted = to_evaluate(num_formulas, book, max_evaluated)
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
