"""A method of one's own beside the others: ratios of two moving means.

Evaluation, pool, folder and judgement are those of every method. The second
command adds it to a table:

python scripts/examples/own_method.py
alphajax referee --config=referee.py:simulated --workdir=runs/mine \
  --add="ratios:random.py method=scripts.examples.own_method" \
  --methods=random,ratios --config.budget=100 --config.controls="('random',)"
"""

from typing import NamedTuple

import jax

from alphajax.language import formula as formula_lib
from alphajax.methods import archive, miner, validation
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock


class State(NamedTuple):
  mined: archive.Mined  # A method that learns has more.


def propose(rng_key, features, windows, count):
  """`count` formulas, drawn by the key."""
  a, b = jax.random.choice(rng_key, len(features), (2, count)).tolist()
  n, m = jax.random.choice(rng_key, len(windows), (2, count)).tolist()
  texts = (
    f'Mean({features[i]},{windows[j]})/Mean({features[k]},{windows[h]})'
    for i, j, k, h in zip(a, n, b, m, strict=True)
  )
  return [formula_lib.parse(text) for text in texts]


def make(config, market: Market) -> Method:
  bench, spec = archive.make_bench(config, market), config.language

  def step(state, rng_key):
    clock = Clock()
    count = config.num_trajectories
    formulas = propose(rng_key, spec.features, spec.windows, count)
    mined, _ = archive.commit(bench, state.mined, formulas, clock)
    mined, metrics = validation.validate(bench, mined, clock)
    return State(mined), {**metrics, 'seconds': clock.seconds}

  return miner.make(
    config,
    bench,
    init=lambda rng_key: State(archive.start(bench)),
    step=step,
    save=lambda state: archive.save(state.mined),
    load=lambda arrays, host: State(archive.load(bench, arrays, host)),
  )


if __name__ == '__main__':
  for each in propose(jax.random.key(0), ('close', 'volume'), (5, 20), 5):
    print(formula_lib.to_text(each))
