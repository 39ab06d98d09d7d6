r"""Trains year after year on what came before, and joins what was unseen.

python -m alphajax.walk_forward --config=configs/best.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/walk

For each test year: train on what came before it, all of it or --window years,
validate on the year before it, keep the result, and only then score the year,
once. WORKDIR/2013 is a run like any other; killed at any moment, all goes on
where it stopped and ends with the same bits. `walk_forward.npz` has the joined
days: signal, IC, RankIC; `walk_forward.json` what they say, their tear sheet
and backtest too, which `alphajax report --workdir=WORKDIR` shows.
`config.splits` are not read, but for the day on which training begins.

--compare=WORKDIR pairs the days with those of another walk (--seeds=B,C and
--compare=D,E,F: the means of several seeds of each), --average=A,B makes
a walk of the mean signal of others, of any methods and seeds.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from alphajax import (
  apart,
  cli,
  evaluate,
  experiment,
  markets,
  parts,
  sweep,
  train,
  walks,
)
from alphajax import folds as folds_lib
from alphajax.data import panel as panel_lib
from alphajax.factor import runtime
from alphajax.folds import Fold
from alphajax.judge import joined as joined_lib
from alphajax.judge import result as result_lib
from alphajax.language import formula as formula_lib
from alphajax.methods import ensemble, registry
from alphajax.methods.base import Found
from alphajax.report import walk as walk_text
from alphajax.run import files, writer
from alphajax.run.files import RunError
from alphajax.run.progress import say

SIGNAL = 'signal_test.npz'  # Of a fold: its days of the joined signal.
DAILY = 'daily_test.npz'  # Likewise, its daily series.
DONE = 'scored.json'  # Of a fold that was trained and scored: all of it.


def plan(
  config, workdir: Path, options: folds_lib.Options = folds_lib.DEFAULT
) -> list[Fold]:
  """The folds, each with its config as it is run.

  Raises:
    ValueError: see `folds.plan`; or a fold's folder was made by another config.
  """
  if config.num_seeds != 1:
    raise ValueError(
      f'config.num_seeds is {config.num_seeds}: a walk is of one seed; give '
      'each a --workdir and --config.seed of its own, and join them as an '
      'ensemble (configs/ensemble.py)'
    )
  experiment.check_start(config)
  registry.module(config)
  planned = folds_lib.plan(config, markets.all_days(config), options)
  return [
    fold._replace(
      config=experiment.check(fold.config, Path(workdir) / str(fold.year))[0]
    )
    for fold in planned
  ]


def walk(
  planned: Sequence[Fold],
  workdir: str | os.PathLike,
  *,
  only: Sequence[int] = (),
  jobs: int = 1,
  joins: bool = True,
) -> dict[str, Any] | None:
  """Trains and scores the folds that are not, and joins them.

  Args:
    planned: of `plan`.
    workdir: holds their folders; gets `walk_forward.json` and `.npz`.
    only: years to train now; none: all.
    jobs: processes, each with the memory of a training.
    joins: False: only trains and scores.

  Returns:
    What `walk_forward.json` holds; None while a fold of the plan is not done.

  Raises:
    ValueError, RunError: a fold that cannot be trained or scored.
  """
  workdir = Path(workdir).expanduser()
  unknown = set(only) - {fold.year for fold in planned}
  if unknown or jobs < 1:
    raise ValueError(
      f'--folds={",".join(map(str, only))} --jobs={jobs}: expected years of '
      f'{planned[0].year}:{planned[-1].year}, and one job or more'
    )
  wanted = [
    fold
    for fold in planned
    if (not only or fold.year in only) and not is_done(fold, workdir)
  ]
  if jobs > 1 and len(wanted) > 1:
    _run_apart(wanted, workdir, jobs)
  else:
    for number, fold in enumerate(wanted, start=1):
      say(f'[{number}/{len(wanted)}] {fold.year}')
      if number > 1:
        runtime.forget()  # The last fold had other days.
      run_fold(fold, workdir)
  if joins and all(is_done(fold, workdir) for fold in planned):
    return join(planned, workdir)
  return None


def is_done(fold: Fold, workdir: Path) -> bool:
  """Whether a fold was trained to its end and its result scored."""
  place = workdir / str(fold.year)
  if not sweep.is_finished(place, fold.config, DONE):
    return False
  if not all((place / name).exists() for name in (SIGNAL, DAILY)):
    return False
  known = files.read_json(place / DONE) or {}
  return known.get('pool') == files.digest(place / 'pool.json')


@jax.enable_x64(False)  # As `train` is.
def run_fold(fold: Fold, workdir: Path) -> None:
  """Trains a fold where it stopped, then opens its test year.

  One that is killed while the year is open is scored anew, and counts twice.

  Raises:
    ValueError, RunError: as `train` and `evaluate`; names the year.
  """
  place = workdir / str(fold.year)
  trained = train.train(fold.config, place)
  reason = trained.reason
  del trained  # Its device memory is for what follows.
  if not (place / 'pool.json').exists():
    raise RunError(
      f'{place}: nothing was found before {fold.year} ({reason}); give it more '
      'iterations or another language'
    )
  # The years are judged together, see `join`.
  evaluate.evaluate(place, evaluate.TEST_SPLIT._replace(backtest=None))
  files.write_arrays(place / SIGNAL, _signal(fold, place))
  files.write_json(
    place / DONE,
    {
      'reason': reason,
      'pool': files.digest(place / 'pool.json'),
      'config': fold.config.to_dict(),
    },
  )


def _signal(fold: Fold, place: Path) -> dict[str, np.ndarray]:
  """What the result of a fold says on every day of its year."""
  _, predict, _ = evaluate.result_of(place)
  split = markets.load_split(fold.config, 'test')
  signal = panel_lib.standardize(predict(split.panel), split.panel.mask)
  dates = np.array(split.panel.dates)
  days = (dates >= f'{fold.year}-01-01') & (dates <= f'{fold.year}-12-31')
  return {
    'dates': dates[days],
    'symbols': np.array(split.panel.symbols),
    'signal': np.asarray(signal)[days],
  }


def _run_apart(wanted: Sequence[Fold], workdir: Path, jobs: int) -> None:
  """Runs folds in processes of their own, `jobs` at a time.

  Raises:
    RunError: folds that failed; what each said stands before.
  """

  def begin(number, fold):
    say(f'[{number}/{len(wanted)}] {fold.year}')

  work = functools.partial(run_fold, workdir=workdir)
  ended = apart.run(wanted, work, jobs, begin)
  failed = [str(fold.year) for fold, went_well in ended if not went_well]
  if failed:
    raise RunError(
      f'{workdir}: the folds {", ".join(failed)} failed, see above; the same '
      'command goes on where they stopped'
    )


@jax.enable_x64(False)  # As the folds were.
def join(planned: Sequence[Fold], workdir: Path) -> dict[str, Any]:
  """Writes what the folds say together, and returns it.

  The joined signal is counted in the ledger before it is judged; joined again
  it is the same signal, which adds nothing.
  """
  joined = joined_lib.join([_part(fold, workdir) for fold in planned])
  label = markets.label_spec(planned[0].config)
  found = joined_lib.figures(joined, max(label.exit - label.entry - 1, 0))
  rows, before, made_of = [], None, []
  for fold in planned:
    row, before, keys = _row(fold, workdir, before)
    rows.append(row | found['folds'][str(fold.year)])
    made_of += keys
  whole = found['all'] | _of_ceiling(rows, found['all']['ic']['mean'])
  summary = {
    'method': planned[0].config.method,
    'seed': planned[0].config.seed,
    'label': result_lib.describe_label(label),
    'rules': planned[0].config.to_dict().get('backtest', {}),
    **walks.count(planned[0].config, joined.signal, joined.dates, made_of),
    'parts': made_of,
    'all': whole,
    'folds': rows,
  }
  walks.keep(workdir, summary, joined)
  return walks.judge(workdir)


def _part(fold: Fold, workdir: Path) -> joined_lib.Part:
  """The days of one fold, as it wrote them."""
  place = workdir / str(fold.year)
  signal = files.read_arrays(place / SIGNAL)
  daily = files.read_arrays(place / DAILY)
  dates = signal['dates']
  series = {}
  for name in ('ic', 'rank_ic'):
    series[name] = np.full(len(dates), np.nan, np.float32)
    at = np.isin(dates, daily['dates'])
    series[name][at] = daily[name][np.isin(daily['dates'], dates)]
  return joined_lib.Part(str(fold.year), **signal, **series)


def _row(fold: Fold, workdir: Path, before):
  """What a fold was made of, and how much of it was there the year before.

  before: keys and `predict` of the last fold's pool; None for a result of
    another kind, or no fold.

  Returns:
    (the row, the same of this fold, how the ledger knows its result and the
    pools that it joins).
  """
  place = workdir / str(fold.year)
  config, predict, found = evaluate.result_of(place)
  results = files.read_json(place / 'results.json') or {}
  keys = [formula_lib.key(formula) for formula in found.formulas]
  row = {
    'year': fold.year,
    'splits': fold.config.splits.to_dict(),
    'iteration': found.iteration,
    'formulas': len(keys) or None,
    'kept': None,
    'like_before': None,
    'ceiling': results.get('ceiling'),
    'opened': results.get('opened'),
    'seconds': _seconds(place),
  }
  if keys and before is not None:
    row['kept'] = joined_lib.kept(before[0], keys)
    split = markets.load_split(fold.config, 'test')
    last = panel_lib.standardize(before[1](split.panel), split.panel.mask)
    days = np.isin(
      split.panel.dates, files.read_arrays(place / SIGNAL)['dates']
    )
    row['like_before'] = joined_lib.likeness(
      np.asarray(last)[days], files.read_arrays(place / SIGNAL)['signal']
    )
  now = (keys, predict) if keys else None
  made_of = evaluate.keys_of(config, found)
  for formulas, weights in ensemble.pools_of(config):
    made_of += evaluate.keys_of(config, Found(0, formulas, weights))
  return row, now, made_of


def _seconds(place: Path) -> float:
  """What the iterations of a run took, however often it was started."""
  records = writer.read(place / 'metrics.jsonl')
  return round(sum(record['seconds']['total'] for record in records), 1)


def _of_ceiling(rows, mean: float) -> dict[str, float]:
  """IC of what is planted, and the share of it that was reached."""
  if any(row['ceiling'] is None for row in rows):
    return {}
  days = np.array([row['days'] for row in rows])
  ceiling = float(days @ [row['ceiling'] for row in rows] / days.sum())
  return {'ceiling': ceiling, 'share': mean / ceiling}


def define_flags() -> None:
  """The flags of the command."""
  config_flags.DEFINE_config_file('config', None, 'Path of a config.')
  flags.DEFINE_string('workdir', None, 'Folder of the walk.', required=True)
  flags.DEFINE_string(
    'years', '', 'First and last test year, 2013:2024; by default all whole '
    'years that have two years of train days and the validation before them.'
  )  # fmt: skip
  flags.DEFINE_integer(
    'window', 0, 'Years to train on; 0: all before validation.', lower_bound=0
  )
  flags.DEFINE_integer(
    'valid_years', 1, 'Years of validation, right before the test year.',
    lower_bound=1,
  )  # fmt: skip
  flags.DEFINE_integer(
    'jobs', 1, 'Folds at a time, in processes of their own; each needs the '
    'memory of a training.', lower_bound=1,
  )  # fmt: skip
  flags.DEFINE_list(
    'folds', [], 'Years to train now, 2013,2014; others may be trained by '
    'another process.'
  )  # fmt: skip
  parts.define_flag()
  flags.DEFINE_list(
    'compare', [], 'Folder of another walk, or of several seeds of it.'
  )
  flags.DEFINE_list(
    'seeds', [], 'With --compare: other seeds of --workdir; daily figures are '
    'averaged over the seeds of each side before they are paired.'
  )  # fmt: skip
  flags.DEFINE_list('average', [], 'Folders of walks whose mean is judged.')
  flags.DEFINE_string('data', None, 'Of --average: where the data lie now.')


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  given = flags.FLAGS
  workdir = Path(given.workdir).expanduser()
  if given.seeds and not given.compare:
    raise ValueError('--seeds are of --compare=WORKDIR,...: add it')
  if given.config is not None and given.average:
    raise ValueError('--average joins walks that are done: it has no --config')
  if given.average:
    walks.average(given.average, workdir, given.data)
  elif given.config is not None:
    if not _train(given, workdir):
      return
  elif not given.compare:
    raise ValueError(
      'a walk needs --config=..., or --average=WORKDIR,WORKDIR; two that are '
      'done, --compare=WORKDIR'
    )
  print(walk_text.table(walks.load(workdir)[0]))
  if given.compare:
    found = walks.compare([workdir, *given.seeds], given.compare)
    print(walk_text.difference(found, ', '.join(given.compare)))
  print(f'Written to {workdir / walks.SUMMARY} and {workdir / walks.SERIES}')


def _train(given, workdir: Path) -> bool:
  """Runs the folds that the flags ask for; whether all of the walk are done."""
  train.prepare()
  options = folds_lib.Options(
    folds_lib.read_years(given.years), given.window, given.valid_years
  )
  planned = plan(given.config, workdir, options)
  only = folds_lib.read_list(given.folds)
  if part := parts.read(given.part):
    only = parts.of(part, only or [fold.year for fold in planned])
    if only:
      walk(planned, workdir, only=only, jobs=given.jobs, joins=False)
    print(parts.done(part, len(only)))
    return False
  if walk(planned, workdir, only=only, jobs=given.jobs) is not None:
    return True
  done = sum(is_done(fold, workdir) for fold in planned)
  print(f'{done} of {len(planned)} folds are done; joined when all are.')
  return False


if __name__ == '__main__':
  cli.run('alphajax.walk_forward')
