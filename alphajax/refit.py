r"""Fits the pool of a run to other days: its formulas stay, the weights do not.

python -m alphajax.refit --workdir=runs/best --end=2020-12-31 --out=runs/later

Weights are fitted by the run's own rule (`config.pool`) to --start..--end, by
default from where the run began to train; no label reads past --end. It says
whose sign flipped. --out is a run folder of its own, whose pool.json `evaluate`
and others read; its test split begins after --end. There is no validation: all
days up to --end are fitted to.
"""

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from alphajax import cli, evaluate, experiment, markets, teacher
from alphajax.data import panel as panel_lib
from alphajax.language import formula as formula_lib
from alphajax.methods import linear
from alphajax.methods import weights as weights_lib
from alphajax.methods.base import Found
from alphajax.run import cache, files, lock, provenance
from alphajax.run import state as state_lib
from alphajax.run.files import RunError


@jax.enable_x64(False)  # As the run was.
def refit(
  workdir: str | os.PathLike,
  out: str | os.PathLike,
  *,
  end: str,
  start: str | None = None,
  data_path: str | None = None,
  columns: str | None = None,
) -> dict[str, Any]:
  """Writes a run folder with the pool of another run, fitted to other days.

  Args:
    workdir: of the run.
    out: the new folder.
    end, start: last and first day that is fitted to; labels and all.
    data_path: where the data lie, if not where the config says; they may be
      others than the run was made with, longer ones say.
    columns: of these data, as `config.data.columns`; None: as there.

  Returns:
    What `pool.json` holds; `refit` in it says where the formulas come from and
    of every formula the weight before, the one now, and what came of it.

  Raises:
    RunError: no run, a result that is no pool, or a folder that is taken.
    ValueError: days or data that cannot be.
  """
  workdir, out = Path(workdir).expanduser(), Path(out).expanduser()
  config, _, found = evaluate.result_of(workdir)
  if not found.formulas:
    raise RunError(
      f'{workdir / "pool.json"} has no factors: the result of {config.method} '
      'is no pool of formulas, so there are no weights to refit'
    )
  if out.is_dir() and any(out.iterdir()):
    raise RunError(f'--out={out} is not empty: take another folder')
  files.check_folder('--out', out)
  if data_path is not None:
    config.data.path = data_path
  if columns is not None:
    config.data.columns = columns
  experiment.check_start(config)
  _set_days(config, start or config.splits.train[0], end)
  try:
    split = markets.load_split(config, 'train')
  except ValueError as error:
    raise ValueError(f'--start, --end: {error}') from error
  weights = weights_lib.fit(
    config, teacher.teach(config, split), found.formulas
  )
  if not any(weights):
    raise ValueError(
      f'the fit of {config.splits.train[0]}..{end} gives no formula of '
      f'{workdir} a weight: there is nothing left of this pool on these days'
    )
  new = Found(found.iteration, found.formulas, tuple(weights))
  summary, daily = experiment.summarize(
    config, new, lambda panel: linear.predict(new, panel), (split,)
  )
  summary['refit'] = {
    'of': str(workdir),
    'days': list(config.splits.train),
    'changes': changes(found, new),
  }
  _write(out, config, workdir, summary, daily)
  return summary


def _write(out: Path, config, workdir: Path, summary, daily) -> None:
  """The run folder `out` of what the run in `workdir` became."""
  with files.naming(out):
    out.mkdir(parents=True, exist_ok=True)
  with lock.hold(out):
    made = provenance.record(out, config.seed, markets.data_hash(config))
    files.write_json(out / 'provenance.json', made | {'refit': str(workdir)})
    files.write_json(out / 'config.json', config.to_dict())
    state_lib.write_result(out, summary, daily)


def _set_days(config, start: str, end: str) -> None:
  """The splits of a refit: all is train, and the test is what comes after.

  The validation split stays where it begins after the days that are fitted to.
  """
  if panel_lib.parse_day(start) >= panel_lib.parse_day(end):
    raise ValueError(f'--start={start} --end={end}: expected days in order')
  after = panel_lib.parse_day(end) + datetime.timedelta(days=1)
  splits = config.splits
  splits.train = (start, end)
  # A refit of a refit has none perhaps.
  if 'valid' in splits and splits.valid[0] <= end:
    del splits['valid']
  first, last = splits.test
  if first <= end:
    first = after.isoformat()
  splits.test = (first, max(first, last))


def changes(before: Found, after: Found) -> list[dict[str, Any]]:
  """What became of every weight: `kept` its sign, `flipped` it, or `silent`.

  Weights of the two are of different scales where the rule is.
  """
  rows = []
  for formula, old, new in zip(
    before.formulas, before.weights, after.weights, strict=True
  ):
    what = 'silent' if new == 0 else 'kept' if old * new > 0 else 'flipped'
    rows.append(
      {
        'formula': formula_lib.to_text(formula),
        'before': float(old),
        'after': float(new),
        'sign': what,
      }
    )
  return rows


def table(summary: Mapping[str, Any]) -> str:
  """What a refit changed, as text."""
  rows = summary['refit']['changes']
  width = max(len(row['formula']) for row in rows)
  lines = [f'{"before":>9}{"after":>9}  {"formula":{width}}  sign']
  lines += [
    f'{row["before"]:9.4f}{row["after"]:9.4f}  {row["formula"]:{width}}  '
    f'{row["sign"]}'
    for row in rows
  ]
  counts = {
    what: sum(row['sign'] == what for row in rows)
    for what in ('kept', 'flipped', 'silent')
  }
  start, end = summary['refit']['days']
  ic = summary['pool']['train']['ic']
  lines.append(
    f'Fitted to {start}..{end}: {counts["kept"]} kept their sign, '
    f'{counts["flipped"]} flipped it, {counts["silent"]} have no weight left. '
    f'IC of these days, on which it was fitted: {ic["mean"]:.4f}.'
  )
  return '\n'.join(lines)


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_string('out', None, 'The new folder.', required=True)
  flags.DEFINE_string('end', None, 'Last day that is fitted to.', required=True)
  flags.DEFINE_string('start', None, 'The first; by default that of the run.')
  flags.DEFINE_string('data', None, 'Where the data lie, if not as before.')
  cli.define_columns()


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  given = flags.FLAGS
  print(
    table(
      refit(
        given.workdir,
        given.out,
        end=given.end,
        start=given.start,
        data_path=given.data,
        columns=given.columns,
      )
    )
  )
  print(f'Written to {Path(given.out).expanduser() / "pool.json"}')


if __name__ == '__main__':
  cli.run('alphajax.refit')
