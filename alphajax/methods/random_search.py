"""Random search: rules drawn uniformly among the valid ones.

The control of every claim: the same grammar, pool and number of evaluated
formulas, and nothing learned.
"""

from typing import NamedTuple

import jax

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import mining
from alphajax.methods.base import Market, Method

# A small language runs out of new formulas; then a batch stays short.
MAX_DRAWS = 50


class State(NamedTuple):
  mined: mining.Mined


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/random.py`."""
  grammar = environment.make(**config.language)
  bench = mining.make_bench(config, market)

  def init(rng_key):
    del rng_key
    return State(mining.start(bench))

  def propose(book, rng_key):
    """Draws formulas until `num_trajectories` of them are new."""
    wanted = config.num_trajectories
    if config.max_evaluated:
      wanted = min(wanted, config.max_evaluated - len(book))
    drawn, new = [], set()
    for draw in range(MAX_DRAWS):
      key = jax.random.fold_in(rng_key, draw)
      for formula in environment.random_formulas(
        grammar, key, config.num_trajectories
      ):
        drawn.append(formula)
        name = formula_lib.key(formula)
        if name not in book:
          new.add(name)
        if len(new) == wanted:
          return drawn
    return drawn

  def step(state, rng_key):
    clock = mining.Clock()
    with clock('search'):
      formulas = propose(state.mined.book, rng_key)
    mined, _ = mining.commit(bench, state.mined, formulas, clock)
    mined, metrics = mining.validate(bench, mined, clock)
    return State(mined), {**metrics, 'seconds': clock.seconds}

  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: mining.predict(state.mined, panel),
    found=lambda state: state.mined.found,
    finished=lambda state: mining.finished(config, state.mined),
    save=lambda state: mining.save(state.mined),
    load=lambda arrays, host: State(mining.load(bench, arrays, host)),
  )
