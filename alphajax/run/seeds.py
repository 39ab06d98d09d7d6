"""Several seeds of one config: runs apart, and what they say together."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import special

from alphajax.run import config as config_lib
from alphajax.run import files, hosts, writer


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
    ValueError: `config.num_seeds` is no positive number, or the folder is one
      run where several are wanted, or the other way round.
  """
  if config.num_seeds < 1:
    raise ValueError(f'config.num_seeds is {config.num_seeds}: expected >= 1')
  workdir = Path(workdir).expanduser()
  _check_folder(workdir, config.num_seeds)
  if config.num_seeds == 1:
    train(config, workdir)
    return
  runs = []
  for seed in range(config.seed, config.seed + config.num_seeds):
    one = config.copy_and_resolve_references()
    one.seed, one.num_seeds = seed, 1
    folder = workdir / f'seed_{seed}'
    train(one, folder)
    if not hosts.is_first():
      continue  # The first process of a job tells of them all.
    runs.append({'seed': seed, **writer.read(folder / 'metrics.jsonl')[-1]})
  if runs:
    summary = seed_summary(runs)
    files.write_json(workdir / 'seeds.json', summary)
    print(seed_table(summary))


def _check_folder(workdir: Path, num_seeds: int) -> None:
  """Refuses to begin anew beside what a folder holds, as if it were empty."""
  alone = (workdir / 'config.json').exists()
  seeds = sorted(
    int(path.parent.name.removeprefix('seed_'))
    for path in workdir.glob('seed_*/config.json')
    if path.parent.name.removeprefix('seed_').isdecimal()
  )
  if num_seeds > 1 and alone:
    raise ValueError(
      f'{workdir} is the folder of one run, and config.num_seeds is '
      f'{num_seeds}: take another --workdir for the runs of several seeds'
    )
  if num_seeds == 1 and seeds and not alone:
    raise ValueError(
      f'{workdir} holds the runs of several seeds: go on with them by '
      f'--config.seed={seeds[0]} --config.num_seeds={max(2, len(seeds))}, or '
      'take another --workdir for one run'
    )


# What comes first in the table.
SEED_FIGURES = ('train_ic', 'valid_ic', 'best_valid_ic', 'evaluated')


class Interval(NamedTuple):
  """Mean and sample deviation of a few values, and where their mean lies."""

  mean: float
  sd: float
  low: float
  high: float


def student_interval(values: Sequence[float]) -> Interval:
  """95 % interval of the mean by Student's t, of independent values.

  For days in a row, which are not, see `factor.metrics.mean_interval`.

  Raises:
    ValueError: fewer than two values, which tell nothing of their spread.
  """
  if len(values) < 2:
    raise ValueError(f'{len(values)} value: an interval needs two or more')
  array = np.asarray(values, np.float64)
  mean, deviation = float(array.mean()), float(array.std(ddof=1))
  half = float(special.stdtrit(len(values) - 1, 0.975)) * deviation
  half /= len(values) ** 0.5
  return Interval(mean, deviation, mean - half, mean + half)


def seed_summary(runs: Sequence[dict]) -> dict:
  """Mean, standard deviation and 95 % Student interval over seeds.

  Of every number that all runs have, nested ones as `seconds.total`. A run
  without any pool has no opinion: an IC that is None is worth 0.

  Args:
    runs: the last metrics of each, and its `seed`; two or more.
  """
  runs = [config_lib.flatten(run) for run in runs]
  names = sorted(set.intersection(*(set(run) for run in runs)) - {'seed'})
  figures = {}
  for name in sorted(names, key=_place):
    values = [run[name] for run in runs]
    if name.endswith('_ic'):
      values = [0.0 if value is None else value for value in values]
    if all(isinstance(value, int | float) for value in values):
      interval = student_interval(values)
      figures[name] = {**interval._asdict(), 'values': values}
  return {'seeds': [run['seed'] for run in runs], 'figures': figures}


def _place(name: str) -> int:
  known = SEED_FIGURES.index(name) if name in SEED_FIGURES else None
  return len(SEED_FIGURES) if known is None else known


def seed_table(summary: dict) -> str:
  """The summary as text, without the seconds."""
  figures = {
    name: row
    for name, row in summary['figures'].items()
    if not name.startswith(('seconds', 'compile_seconds'))
  }
  width = max(len(name) for name in ('10 seeds', *figures)) + 2
  title = f'{len(summary["seeds"])} seeds'
  lines = [f'{title:{width}}{"mean":12}{"sd":12}95 % interval']
  for name, row in figures.items():
    whole = all(isinstance(value, int) for value in row['values'])
    mean, sd, low, high = (
      f'{row[key]:.{0 if whole else 4}f}'
      for key in ('mean', 'sd', 'low', 'high')
    )
    lines.append(f'{name:{width}}{mean:12}{sd:12}[{low}, {high}]')
  return '\n'.join(lines)
