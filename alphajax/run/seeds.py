"""Several seeds of one config: runs apart, and what they say together."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import special

from alphajax.run import writer


def train_each(config, workdir: Path, train: Callable) -> None:
  """Runs `config.num_seeds` trainings and writes `seeds.json` about them all.

  Each has a folder `seed_N` of its own, as if it were run alone, so that this
  too continues where it was killed. One after the other: a training keeps all
  cores busy, and the later ones find their programs compiled.

  Args:
    config: of all of them.
    workdir: holds their folders.
    train: `(config, folder)`, trains one.

  Raises:
    ValueError: `config.num_seeds` is no positive number.
  """
  if config.num_seeds < 1:
    raise ValueError(f'config.num_seeds is {config.num_seeds}: expected >= 1')
  if config.num_seeds == 1:
    train(config, workdir)
    return
  runs = []
  for seed in range(config.seed, config.seed + config.num_seeds):
    one = config.copy_and_resolve_references()
    one.seed, one.num_seeds = seed, 1
    folder = workdir / f'seed_{seed}'
    train(one, folder)
    runs.append({'seed': seed, **writer.read(folder / 'metrics.jsonl')[-1]})
  summary = seed_summary(runs)
  writer.write_json(workdir / 'seeds.json', summary)
  print(seed_table(summary))


SEED_FIGURES = ('train_ic', 'valid_ic', 'best_valid_ic', 'evaluated')


def seed_summary(runs: Sequence[dict]) -> dict:
  """Mean, standard deviation and 95 % Student interval over seeds.

  Args:
    runs: the last metrics of each, two or more.
  """
  figures = {}
  for name in SEED_FIGURES:
    # A run without any pool has no opinion, which is worth 0.
    values = np.array([run[name] or 0.0 for run in runs], np.float64)
    deviation = float(values.std(ddof=1))
    half = special.stdtrit(len(values) - 1, 0.975) * deviation
    half /= len(values) ** 0.5
    figures[name] = {
      'mean': float(values.mean()),
      'sd': deviation,
      'low': float(values.mean() - half),
      'high': float(values.mean() + half),
      'values': values.tolist(),
    }
  return {'seeds': [run['seed'] for run in runs], 'figures': figures}


def seed_table(summary: dict) -> str:
  """The summary as text."""
  lines = [f'{len(summary["seeds"])} seeds   mean      sd        95 % interval']
  for name, row in summary['figures'].items():
    digits = 0 if name == 'evaluated' else 4
    mean, sd, low, high = (
      f'{row[key]:.{digits}f}' for key in ('mean', 'sd', 'low', 'high')
    )
    lines.append(f'{name:13}{mean:<10}{sd:<10}[{low}, {high}]')
  return '\n'.join(lines)
