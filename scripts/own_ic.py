"""Do the formulas that a method writes get better? Their |IC| as they came.

python scripts/own_ic.py --runs=runs/small/alphaqcm_0,runs/small/random_0 \
  --out=own_ic.csv

Of every run the formulas that it evaluated, in their order, in equal parts: the
mean |IC| on train of each part, how many are above --above, and the largest of
all. Random search's parts are level; a method that learns what a formula is
worth writes better ones later.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import app, flags

from alphajax import evaluate, experiment, markets, train
from alphajax.factor import evaluate as evaluate_lib
from alphajax.factor import metrics
from alphajax.methods import archive
from alphajax.run.files import RunError


@jax.enable_x64(False)  # As the runs were.
def sizes_of(workdir: Path) -> np.ndarray:
  """|mean daily IC| on train of the formulas of a run, as they came, f64[N].

  Raises:
    RunError: no run, or one that keeps no formulas.
  """
  config, _, _ = evaluate.result_of(workdir)
  _, state = experiment.restore(config, workdir)
  mined = getattr(state, 'mined', None)
  if mined is None:
    raise RunError(f'{workdir}: {config.method} keeps no formulas')
  split = markets.load_split(config, 'train')
  panel = split.panel
  target = metrics.make_target(jnp.asarray(split.target), panel.mask)
  formulas = archive.read(list(mined.book), tuple(panel.feature_names))
  store = evaluate_lib.make_store(panel)
  daily = store.map(formulas, metrics.target_ic, target)
  return np.abs(daily[:, np.asarray(split.scored)].mean(1, dtype=np.float64))


def row_of(sizes: np.ndarray, parts: int, above: float) -> dict[str, float]:
  """The figures of a run, by name."""
  cut = np.array_split(sizes, parts)
  means = {f'mean {i}': part.mean() for i, part in enumerate(cut, 1)}
  counts = {f'above {i}': (part > above).sum() for i, part in enumerate(cut, 1)}
  return {'formulas': len(sizes), **means, **counts, 'largest': sizes.max()}


def main(argv: Sequence[str]) -> None:
  del argv
  train.prepare()
  given = flags.FLAGS
  rows = {}
  for run in given.runs:
    rows[run] = row_of(sizes_of(Path(run)), given.parts, given.above)
  table = pd.DataFrame(rows).T
  table.to_csv(given.out)
  print(table.round(4).to_string())


if __name__ == '__main__':
  flags.DEFINE_list('runs', None, 'Folders of runs.', required=True)
  flags.DEFINE_string('out', 'own_ic.csv', 'CSV file.')
  flags.DEFINE_integer(
    'parts', 3, 'Equal parts of the formulas.', lower_bound=1
  )
  flags.DEFINE_float('above', 0.15, '|IC| that is counted.')
  app.run(main)
