r"""Trains several variants with several seeds, and compares them.

python -m alphajax.sweep --config=configs/alphacfg.py:simulated --seeds=5 \
  --vary=search.num_simulations=32,64 --vary=pool.capacity=5,10 \
  --control=search.num_simulations=64,pool.capacity=10 --workdir=runs/sweep

Every --config is combined with every value of --vary; a --variant is some other
values under a name. All is checked before anything runs. A run has the folder
VARIANT/seed_N. Started again a sweep skips what is finished and continues the
rest. It writes runs.csv, a row a run, and summary.csv: means over seeds, and
differences to the --control paired by seed, with 95 % intervals. --part=I/N
does a part of the runs, for several machines that share the folder.
"""

import functools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd
from absl import flags

from alphajax import apart, cli, experiment, markets, parts, train
from alphajax.run import compare, files, folder, lock, seeds
from alphajax.run import config as config_lib
from alphajax.run.files import RunError
from alphajax.run.progress import say
from alphajax.variants import Member, plan, variants_of

FAILED = 'failed.json'  # In the folder of a run that an error ended.


Then = Callable[[Path], None]


def train_all(
  members: Sequence[Member], jobs: int | None = None, then: Then | None = None
) -> Iterator[tuple[Member, folder.Run]]:
  """Trains what is not finished; gives each run at its end.

  One after the other in this process, which keeps their programs and shares
  the market, or `jobs` at a time in processes of their own. Before that each
  method whose variant has no run yet is made once, for options that it does not
  know. What a user can mend, such as a loss that is not finite, ends its own
  run alone; it is named at once and at the end, and the folder keeps why.

  Args:
    members: of `plan`.
    jobs: processes, each with the memory of a training; None: this one.
    then: is called with the folder of every finished run, by the process that
      trained it; a function of a module.

  Raises:
    ValueError: a method or market that cannot be made; names the variant.
    RunError: at the end; names the runs that failed, and why.
  """
  load_market = markets.sharing_market()
  _try_methods(members, load_market)
  if jobs is not None:
    del load_market  # Each process has its own.
    ended = _apart(members, jobs, then)
  else:
    ended = _in_turn(members, load_market, then)
  failed = {}
  for member, crashed in ended:
    why = 'see above' if crashed else failure(member.workdir)
    if why is None:
      yield member, folder.load_run(member.workdir)
    else:
      failed[str(member.workdir)] = why
  if failed:
    lines = [f'  {name}: {why}' for name, why in failed.items()]
    raise RunError('\n'.join([
      f'{len(failed)} of {len(members)} runs failed; the same command goes on '
      'where they stopped:', *lines,
    ]))  # fmt: skip


def failure(workdir: Path) -> str | None:
  """Why a run failed when it was last tried; None where it did not."""
  return (files.read_json(workdir / FAILED) or {}).get('error')


def _in_turn(members, load_market, then) -> Iterator[tuple[Member, bool]]:
  for number, member in enumerate(members, start=1):
    if not is_finished(member.workdir, member.config):
      _tell(len(members), number, member)
    _train_one(member, load_market, then)
    yield member, False


def _apart(members, jobs, then) -> Iterator[tuple[Member, bool]]:
  """Those that are not finished in processes, then the finished ones.

  With each, whether its process crashed; then no more are begun.
  """
  wanted = [m for m in members if not is_finished(m.workdir, m.config)]
  work = functools.partial(_train_one, load_market=None, then=then)
  begin = functools.partial(_tell, len(wanted))
  crashed = False
  for member, went_well in apart.run(wanted, work, jobs, begin):
    crashed = crashed or not went_well
    yield member, not went_well
  for member in members:
    if not crashed and all(member is not each for each in wanted):
      _train_one(member, None, then)
      yield member, False


def _train_one(member: Member, load_market, then: Then | None) -> None:
  """Brings a run to its end, or says and keeps why it failed.

  Raises:
    InUseError: another process trains it, and will say what became of it.
  """
  kept = member.workdir / FAILED
  try:
    _finish(member, load_market, then)
    kept.unlink(missing_ok=True)
  except lock.InUseError:
    raise
  except (ValueError, RunError, FloatingPointError) as error:
    if cli.wants_debug(sys.argv):
      traceback.print_exc()
    say(f'error: {member.variant}, seed {member.seed}: {error}')
    member.workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(kept, {'error': str(error)})


def _finish(member: Member, load_market, then: Then | None) -> None:
  """Brings a run to its end, and does with it what is done then."""
  if not is_finished(member.workdir, member.config):
    trained = train.train(member.config, member.workdir, load_market)
    files.write_json(
      member.workdir / 'finished.json',
      {'reason': trained.reason, 'config': member.config.to_dict()},
    )
    del trained  # Its device memory is for the next.
  if then is not None:
    then(member.workdir)


def _tell(count: int, number: int, member: Member) -> None:
  say(f'[{number}/{count}] {member.variant}, seed {member.seed}')


@jax.enable_x64(False)  # As `train` is.
def _try_methods(members: Sequence[Member], load_market) -> None:
  begun = {m.variant for m in members if (m.workdir / 'config.json').exists()}
  first = {m.variant: m for m in reversed(members) if m.variant not in begun}
  for name, member in reversed(first.items()):
    try:
      experiment.make_method(member.config, load_market(member.config)[0])
    except ValueError as error:
      raise ValueError(f'variant {name}: {error}') from error


def is_finished(workdir: Path, config, name: str = 'finished.json') -> bool:
  """Whether this config was brought to its end there, on the data of now.

  Rules of the backtest do not count, for they are asked of what was found, nor
  do devices, which change nothing of it, nor what became of bad lines.

  name: of the file that says so, with the `config`.
  """
  finished = files.read_json(workdir / name)
  if finished is None:
    return False
  changes = config_lib.changes(
    finished['config'], config.to_dict(), experiment.defaults_of(config)
  )
  aside = 'backtest.', 'mesh.devices', 'strict', 'published.strict'
  if any(not key.startswith(aside) for key, _ in changes):
    return False
  known = files.read_json(workdir / 'provenance.json') or {}
  return known.get('data_hash') == markets.data_hash(config)


def sweep(
  members: Sequence[Member],
  workdir: Path,
  figures: Sequence[str] = (),
  control: str | None = None,
  jobs: int | None = None,
) -> pd.DataFrame:
  """Trains the members, writes and prints what they say together.

  Args:
    members: of `plan`.
    workdir: gets `runs.csv` after each run, and `summary.csv`.
    figures: of `compare.figures_of`; by default those of `seeds.SEED_FIGURES`
      that there are.
    control: the variant that the others are compared with.
    jobs: runs at a time, see `train_all`.

  Returns:
    A row a run: `variant`, `seed`, and all of its figures.

  Raises:
    ValueError: a figure or control that there is none of, or see `train_all`.
    RunError: see `train_all`.
  """
  variants = dict.fromkeys(member.variant for member in members)
  if control is not None and control not in variants:
    raise ValueError(
      f'--control={control}: the variants are {", ".join(variants)}'
    )
  workdir, rows = Path(workdir), {}
  place = {member.workdir: number for number, member in enumerate(members)}
  try:
    for member, run in train_all(members, jobs):
      key = {'variant': member.variant, 'seed': member.seed}
      row = compare.figures_of(run)
      if not rows:
        _say_missing(figures, member, row)
      rows[place[member.workdir]] = {**key, **row}
      _write(workdir / 'runs.csv', _in_order(rows), index=False)
  finally:  # What there is until it is stopped is shown as well.
    if rows:
      runs = _in_order(rows)
      chosen = figures or [f for f in seeds.SEED_FIGURES if f in runs]
      is_there = (runs['variant'] == control).any()
      summary = compare.summary(runs, chosen, control if is_there else None)
      _write(workdir / 'summary.csv', summary)
      print(compare.text(summary, control if is_there else None))
  return _in_order(rows)


def _say_missing(figures, member: Member, row: Mapping[str, Any]) -> None:
  """Says of the first run which figures it lacks; others may have them."""
  missing = [name for name in figures if name not in row]
  if missing:
    say(
      f'{member.workdir} has no figure {", ".join(missing)} for --figures; it '
      f'has {", ".join(sorted(row))}'
    )


def _in_order(rows: Mapping[int, dict[str, Any]]) -> pd.DataFrame:
  """The runs as they were planned, in whatever order they ended."""
  return pd.DataFrame([rows[number] for number in sorted(rows)])


def _write(path: Path, frame: pd.DataFrame, **options) -> None:
  with files.replacing(path) as file:
    frame.to_csv(file, **options)


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_multi_string('config', None, 'Path of a config; repeat it.')
  flags.DEFINE_string('workdir', None, 'Folder of the sweep.')
  flags.DEFINE_multi_string(
    'vary', [], 'KEY=VALUE,VALUE of the config; repeated: all combinations.'
  )
  flags.DEFINE_multi_string(
    'variant', [], 'NAME:KEY=VALUE KEY=VALUE, besides these; repeat it.'
  )
  flags.DEFINE_multi_string('set', [], 'KEY=VALUE of all runs; repeat it.')
  flags.DEFINE_integer('seeds', 1, 'Number of seeds.', lower_bound=1)
  flags.DEFINE_integer('first_seed', 0, 'The first of them.')
  flags.DEFINE_list(
    'seed_keys', ['seed'], 'Keys of the config that take the seed.'
  )
  flags.DEFINE_list(
    'figures', [], 'Columns of runs.csv for the table; by default '
    + ', '.join(seeds.SEED_FIGURES)
  )  # fmt: skip
  flags.DEFINE_string('control', None, 'The variant to compare with.')
  flags.DEFINE_integer(
    'jobs', None, 'Runs at a time in processes of their own; by default all '
    'are run in this one.', lower_bound=1,
  )  # fmt: skip
  parts.define_flag()
  flags.mark_flags_as_required(['config', 'workdir'])


def main(argv):
  """The command."""
  cli.no_more(argv)
  train.prepare()
  given = flags.FLAGS
  variants = variants_of(
    given.config, given.vary, given.variant, given.set, given.seed_keys
  )
  numbers = range(given.first_seed, given.first_seed + given.seeds)
  workdir = Path(given.workdir).expanduser()
  members = plan(variants, workdir, numbers, given.seed_keys)
  part = parts.read(given.part)
  if part is None:
    sweep(members, workdir, given.figures, given.control, given.jobs)
    return
  own = parts.of(part, members)
  for _ in train_all(own, given.jobs):
    pass
  say(parts.done(part, len(own)))


if __name__ == '__main__':
  cli.run('alphajax.sweep')
