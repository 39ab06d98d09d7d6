"""Seconds that each method takes for a formula evaluated, end to end."""

import time
from pathlib import Path

import jax

from alphajax import experiment, markets
from alphajax.configs import alphacfg, evolution, random
from alphajax.run import clock
from scripts.benchmark import parts, tools

# Iterations before it is timed, so that evolution has parents and most programs
# are compiled; and timed ones.
WARM, TIMED = 6, 14


def methods_part(quick: bool, data: str) -> dict:
  """Random search, the same screened, evolution and AlphaCFG, one by one."""
  path = Path(data) / 'cn_csi300.parquet'
  market, found = None, {}
  for name, config in _configs(quick).items():
    if market is None and not quick and path.is_file():
      config.data.path = str(path)
      market, _ = markets.load_market(config)
    elif market is None:
      market = parts.synthetic_market(config, quick)
    found[name] = _measure(
      config, market, *((2, 2) if quick else (WARM, TIMED))
    )
  return found


def _configs(quick: bool) -> dict:
  """Every method under the same budget; pools are chosen first and last."""
  found = {
    'random search': random.get_config(),
    'random search, screened': random.get_config(),
    'evolution': evolution.get_config(),
    'AlphaCFG, paper': alphacfg.get_config(),
  }
  found['random search, screened'].screen.twin = 0.99
  for config in found.values():
    config.num_iterations, config.num_trajectories = 1000, 50
    config.pool.every = 1000
    if quick:
      tools.shrink(config)
  return found


def _measure(config, market, warm: int, timed: int) -> dict:
  """Seconds of some iterations, compile time apart, and their new formulas."""
  method = experiment.make_method(config, market)
  state, compiling = method.init(jax.random.key(0)), clock.CompileClock()
  evaluated = []
  for number in range(warm + timed):
    if number == warm:
      compiling.take()
      start = time.perf_counter()
    state, metrics = method.step(state, jax.random.key(number))
    evaluated.append(metrics['evaluated'])
  seconds = time.perf_counter() - start - compiling.take()
  # A game may end in a formula that is known.
  formulas = evaluated[-1] - evaluated[warm - 1]
  return {
    'formulas': formulas,
    'seconds': seconds,
    'seconds_each': seconds / max(formulas, 1),
  }
