"""What the probes of a network say on another market, for an ablation.

If a network does as well with the ICs that its probes have elsewhere, it reads
nothing of the market that it writes for.
"""

import numpy as np

from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import bench as bench_lib
from alphajax.methods import choice, linear, weights
from alphajax.methods import memory as memory_lib
from alphajax.methods.formula_model import Model

ABLATION = 'other_market'  # Of config.alphaformer.ablate.


def check(config) -> None:
  """Refuses the ablation without a market, and a market without it."""
  options = config.alphaformer
  path = options.get('other', '')
  if options.ablate == ABLATION and not path:
    raise ValueError(
      f'config.alphaformer.ablate is {ABLATION!r}: name the panel of the other '
      'market, --config.alphaformer.other=PATH'
    )
  if path and options.ablate != ABLATION:
    raise ValueError(
      f'config.alphaformer.other is {path!r}, which is read with '
      f'--config.alphaformer.ablate={ABLATION} alone'
    )


def probe_blocks(config, model: Model) -> dict[str, np.ndarray]:
  """ICs of the probes in blocks of the train days there, f64[B] by their keys.

  0 of one that has no value there.

  Raises:
    ValueError: a panel that cannot be read, or has none of the train days.
  """
  path = config.alphaformer.other
  panel = market_lib.load(path)
  reach = config.lookback or environment.lookback(
    environment.make(**config.language)
  )
  start, end = config.splits.train
  split = panel_lib.split(
    panel, path, start, end, lookback=reach,
    label=LabelSpec(**config.label)._replace(neutralize=()),
  )  # fmt: skip
  store = bench_lib.make_store(config, split.panel)
  target = bench_lib.make_target(store.universe, split.target)
  recorder = choice.make_recorder(config, split, store.universe, target)
  formulas = [model.library[i] for i in model.probes.tolist()]
  memory = memory_lib.Memory()
  for n in range(0, len(formulas), linear.CHUNK):
    factors, speak = weights.prepared(
      store, target, split, formulas[n : n + linear.CHUNK]
    )
    ids = [n + i if speaks else -1 for i, speaks in enumerate(speak)]
    memory = memory_lib.record(recorder, memory, ids, factors)
  found = {formula_lib.key(f): np.zeros(model.blocks) for f in formulas}
  daily = np.concatenate(memory.daily).astype(np.float64)
  for i, series in zip(memory.ids, daily, strict=True):
    parts = np.array_split(series, model.blocks)
    found[formula_lib.key(formulas[i])] = np.array([p.mean() for p in parts])
  return found
