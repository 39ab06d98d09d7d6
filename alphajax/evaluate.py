r"""Opens the test split of a run: figures of its pool on days never looked at.

python -m alphajax.evaluate --workdir=runs/csi300

Every opening is counted in `results.json`, also one that fails afterwards: a
split looked at twice is no longer a split never looked at. `--data` names the
data where they have moved since training.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from ml_collections import config_dict

from alphajax import experiment
from alphajax.data.panel import SPLITS, LabelSpec
from alphajax.language import formula as formula_lib
from alphajax.methods.base import Found
from alphajax.run import writer
from alphajax.run.folder import RunError, read_json


def evaluate(workdir: Path, data_path: str | None = None) -> dict[str, Any]:
  """Writes `results.json` and `daily_test.npz` of a run.

  The pool is the one in `pool.json`, formulas and weights exactly: what a
  reader sees is what is scored, and no method has to be restored.

  Args:
    workdir: folder of a run with a pool.
    data_path: where the data lie now, if not where the config says.

  Returns:
    What `results.json` holds.

  Raises:
    RunError: no run, no pool, or other data than the run was made with.
  """
  config = config_dict.ConfigDict(_read(workdir, 'config.json'))
  pool = _read(workdir, 'pool.json')
  if data_path is not None:
    config.data.path = data_path
  _check_data(workdir, config)
  results_path = workdir / 'results.json'
  results = read_json(results_path) or {'opened': 0}
  # Counted before the split is loaded.
  results['opened'] += 1
  writer.write_json(results_path, results)

  split = experiment.load_split(config, 'test')
  found = restore(pool, split.panel.feature_names)
  part = experiment.describe(found, split, LabelSpec(**config.label))
  results = {
    'opened': results['opened'],
    'iteration': found.iteration,
    'test': part['pool'],
    'ceiling': experiment.ceiling(config, split),
    'factors': [
      {'formula': formula_lib.to_text(formula), 'test': figures}
      for formula, figures in zip(found.formulas, part['factors'], strict=True)
    ],
  }
  draft = workdir / '.daily_test.tmp.npz'
  np.savez(draft, **part['series'])
  os.replace(draft, workdir / 'daily_test.npz')
  writer.write_json(results_path, results)
  return results


def restore(pool: Mapping[str, Any], features: Sequence[str]) -> Found:
  """The pool that `pool.json` tells of, bit for bit."""
  factors = pool['factors']
  return Found(
    pool['iteration'],
    tuple(formula_lib.parse(f['formula'], features) for f in factors),
    tuple(f['weight'] for f in factors),
  )


def _read(workdir: Path, name: str) -> dict[str, Any]:
  """A file that a run must have."""
  if not workdir.is_dir():
    raise RunError(f'{workdir}: no such folder')
  value = read_json(workdir / name)
  if value is None:
    missing = {
      'pool.json': 'the run has found no pool yet; train it first',
      'config.json': 'it is not the folder of a run',
    }
    raise RunError(
      f'{workdir / name} is missing: {missing.get(name, "train again")}'
    )
  return value


def _check_data(workdir: Path, config) -> None:
  """Refuses to open the test split of other data."""
  path = config.data.path
  if path and not Path(path).exists():
    raise RunError(f'{path}: no such data; say where they are now with --data')
  expected = _read(workdir, 'provenance.json')['data_hash']
  actual = experiment.data_hash(config)
  if actual != expected:
    raise RunError(
      f'{path or "the simulated market"} is not what {workdir} was trained '
      f'on: hash {actual}, then {expected}'
    )


def table(workdir: Path, results: Mapping[str, Any]) -> str:
  """The figures of all splits as text."""
  pool = _read(workdir, 'pool.json')
  figures = {**pool['pool'], 'test': results['test']}
  ceilings = {**pool.get('ceiling', {}), 'test': results['ceiling']}
  rows = [('', *SPLITS)]
  for name, key in (('IC', 'ic'), ('RankIC', 'rank_ic')):
    rows.append((name, *(_interval(figures[s][key]) for s in SPLITS)))
  for name, key in (('ICIR', 'icir'), ('RankICIR', 'rank_icir')):
    rows.append((name, *(f'{figures[s][key]:.2f}' for s in SPLITS)))
  rows.append(('days', *(f'{figures[s]["days"]:,}' for s in SPLITS)))
  if results['ceiling'] is not None:
    rows.append(('planted IC', *(f'{ceilings[s]:.4f}' for s in SPLITS)))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    '  '.join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip()
    for row in rows
  ]
  times = 'time' if results['opened'] == 1 else 'times'
  return '\n'.join(
    [
      f'Pool of {len(pool["factors"])} from iteration {pool["iteration"]}',
      *lines,
      'Brackets are 95 % intervals of the mean. '
      f'The test split was opened {results["opened"]} {times}.',
    ]
  )


def _interval(x: Mapping[str, float]) -> str:
  return f'{x["mean"]:.4f} [{x["low"]:.4f}, {x["high"]:.4f}]'


def main(argv: Sequence[str]) -> None:
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {" ".join(argv[1:])}')
  experiment.use_disk_cache()
  workdir = Path(flags.FLAGS.workdir)
  try:
    results = evaluate(workdir, flags.FLAGS.data)
    print(table(workdir, results))
  except RunError as error:
    sys.exit(f'evaluate: {error}')
  print(f'Written to {workdir / "results.json"}')


if __name__ == '__main__':
  # Here, since `train` and `report` have a flag of the same name and a process
  # may import all three.
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_string('data', None, 'Where the data lie, if they moved.')
  app.run(main)
