r"""The referee: methods by markets by seeds, and one table of all of them.

python -m alphajax.referee --config=configs/referee.py --workdir=runs/table2
python -m alphajax.referee --config=configs/referee.py:arena \
  --workdir=runs/arena --config.budget=1000 --jobs=2

WORKDIR/MARKET,METHOD/seed_N is a run like any other. Killed at any moment, the
same command goes on; `--methods=random,gp` and `--markets=csi300` run a part,
the table is always of all that is done. When a run is finished its test split
is opened, once, as its ledger shows; `--validation` judges on the validation
days instead and opens nothing. Writes `table.csv`, `table.md`, `runs.csv`,
`curves.csv` and `referee.html`; where alphas are planted `arena.csv` and
`ranking.csv` too. `--part=I/N` does a part of the runs, for several machines
that share the folder, and no table.

`--add="NAME:CONFIG KEY=VALUE ..."` adds a method; with `formulas=False` one
that evaluates no formulas, with `budget=N` one that has its own budget.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags
from ml_collections import config_flags

from alphajax import arena, cli, evaluate, matrix, parts, sweep, train, walks
from alphajax.configs import referee as rows
from alphajax.judge import bench
from alphajax.judge.bench import Entry
from alphajax.report import referee as page
from alphajax.report.referee import Board
from alphajax.run import files, folder
from alphajax.run.files import RunError
from alphajax.run.progress import say
from alphajax.variants import Member

JUDGED = 'judged.json'  # Of a run: the result that a span was opened for.


def judge(workdir: Path, name: str) -> None:
  """Opens a span of a finished run, unless it was for this result.

  One that is killed while the days are open is judged anew, and counts twice.
  One that has found nothing is told of, and left out of the table.

  Args:
    workdir: of the run.
    name: `test`, or `validation`, which opens no test day.
  """
  result = files.digest(workdir / 'pool.json')
  known = files.read_json(workdir / JUDGED) or {}
  if result is None:
    say(f'{workdir}: nothing was found; a larger --config.budget may help')
    return
  if known.get(name) == result:
    return
  config, _, _ = evaluate.result_of(workdir)
  days = config.splits.test if name == 'test' else config.splits.valid
  request = evaluate.TEST_SPLIT
  if name != 'test':
    request = evaluate.Request(name, tuple(days))
  evaluate.evaluate(workdir, request)
  arena.recover(workdir, name, days)
  files.write_json(workdir / JUDGED, known | {name: result})


def run(
  config,
  workdir: Path,
  *,
  methods: Sequence[str] = (),
  markets: Sequence[str] = (),
  jobs: int | None = None,
  name: str = 'test',
  train_now: bool = True,
  part: parts.Part | None = None,
) -> list[Board]:
  """Runs what is not done, and writes what all that is done says.

  Args:
    config: of `configs/referee.py`.
    workdir: of the matrix.
    methods, markets: to run now; none: all.
    jobs: runs at a time in processes of their own; None: in this one.
    name: the span that is judged on, `test` or `validation`.
    train_now: False: only the tables of what is done.
    part: only those runs, and no table, which others might write: none comes
      back.

  Raises:
    ValueError, RunError: see `matrix.plan`, `sweep.train_all`; or nothing is
      done; at the end, of runs that failed, which are no part of the table.
  """
  workdir = Path(workdir).expanduser()
  wanted = matrix.plan(config, workdir, methods, markets)
  for method, why in wanted.skipped.items():
    say(f'{method} is left out: {why}')
  if part is not None and not train_now:
    raise ValueError('--table is of all runs, and --part trains some: take one')
  if part is not None:
    _train(config, workdir, wanted, jobs, name, part)
    return []
  try:
    if train_now:
      _train(config, workdir, wanted, jobs, name)
  finally:  # What there is until it is stopped is shown as well.
    whole = matrix.plan(config, workdir) if methods or markets else wanted
    boards = read(config, whole.members, name)
    if boards:
      write(config, workdir, boards, whole.skipped)
  if not boards:
    raise RunError(
      f'{workdir} holds no finished run that was judged on the {name} days: '
      'without --table they are trained'
    )
  return boards


def _train(config, workdir, wanted, jobs, name, part=None) -> None:
  """Trains and judges what is not done of a plan, or of a part of it."""
  matrix.begin(config, wanted, workdir)
  own = parts.of(part, wanted.members)
  for _ in sweep.train_all(own, jobs, functools.partial(judge, name=name)):
    pass
  if part is not None:
    say(parts.done(part, len(own)))


def read(config, members: Sequence[Member], name: str) -> list[Board]:
  """What is finished and judged, a board a market; walks come last.

  Raises:
    RunError: runs that disagree in data, splits or label.
  """
  runs: dict[str, dict[str, tuple[Member, folder.Run]]] = {}
  missing: dict[str, list[str]] = {}
  failed: dict[str, dict[str, str]] = {}
  for member in members:
    market, method = matrix.names_of(member)
    which = f'{method}, seed {member.seed}'
    if not is_judged(member, name):
      why = sweep.failure(member.workdir)
      if why is not None:
        failed.setdefault(market, {})[which] = why
        continue
      missing.setdefault(market, []).append(which)
      continue
    loaded = folder.load_run(member.workdir)
    runs.setdefault(market, {})[str(member.workdir)] = member, loaded
  boards = []
  for market, each in runs.items():
    bench.check_same(market, {place: run for place, (_, run) in each.items()})
    entries = [_entry(member, run, name) for member, run in each.values()]
    member, loaded = next(iter(each.values()))
    assert loaded.pool is not None  # It was judged.
    days = member.config.splits['test' if name == 'test' else 'valid']
    board = _board(config, market, entries, loaded.pool['label'], days)
    board = _with_failed(board, failed.get(market, {}))
    if market in missing:
      said = f'Not done, or nothing was found: {"; ".join(missing[market])}.'
      board = board._replace(notes=[*board.notes, said])
    boards.append(board)
  return boards + _walked(config)


def _with_failed(board: Board, failed: Mapping[str, str]) -> Board:
  """A board that marks the runs that failed, by `METHOD, seed N`."""
  methods = dict.fromkeys(which.rpartition(', seed')[0] for which in failed)
  none = tuple(name for name in methods if name not in board.table.index)
  # An error may have lines of its own.
  told = [
    f'{which} failed: {" ".join(why.split())}' for which, why in failed.items()
  ]
  return board._replace(failed=none, notes=[*board.notes, *told])


def is_judged(member: Member, name: str) -> bool:
  """Whether a run is finished and a span was opened for its result."""
  if not sweep.is_finished(member.workdir, member.config):
    return False
  known = files.read_json(member.workdir / JUDGED) or {}
  return known.get(name) == files.digest(member.workdir / 'pool.json')


def _entry(member: Member, loaded: folder.Run, name: str) -> Entry:
  """A run as the table has it."""
  results: dict[str, Any] = loaded.results or {}
  entry = results if name == 'test' else results['evaluations'][name]
  more = {
    **arena.found_in(member.workdir, name),
    **arena.claims(entry),
  }
  daily = files.read_arrays(member.workdir / f'daily_{name}.npz')
  _, method = matrix.names_of(member)
  return bench.of_run(loaded, method, member.seed, entry, daily, more)


def _board(config, title: str, entries, label, days) -> Board:
  lag = max(label['horizon'] - 1, 0)
  table, notes = bench.table(entries, lag, config.controls, config.level)
  return Board(title, tuple(days), label, table, entries, notes)


def _walked(config) -> list[Board]:
  """Walks as a board of their own; their days are not those of a split.

  Raises:
    ValueError: a walk without a name, or of another label or other days.
    RunError: it is none, or not done.
  """
  entries: list[Entry] = []
  label = None
  for text in config.walks:
    method, equals, place = text.partition('=')
    if not (method and equals and place):
      raise ValueError(f'config.walks has {text!r}: expected NAME=FOLDER')
    summary, joined = walks.load(place)
    curves = [
      bench.curve_of(
        folder.load_run(Path(place).expanduser() / str(row['year']))
      )
      for row in summary['folds']
      if 'runs' not in summary  # An average has no folds of its own.
    ]
    daily = files.read_arrays(Path(place).expanduser() / walks.DAILY)
    seed = sum(entry.method == method for entry in entries)
    entry = bench.of_walk(summary, joined, daily, method, seed, curves)
    label = label or summary['label']
    if summary['label'] != label:
      raise ValueError(
        f'config.walks: {place} was judged by another label than the first, '
        f'{summary["label"]} and {label}'
      )
    if entries and entries[0].dates.tolist() != entry.dates.tolist():
      raise ValueError(
        f'config.walks: {place} has other days than the first: '
        f'{entry.dates[0]} to {entry.dates[-1]}, and {entries[0].dates[0]} to '
        f'{entries[0].dates[-1]}; walk both with the same --years'
      )
    entries.append(entry)
  if not entries:
    return []
  dates = entries[0].dates
  return [
    _board(config, 'Years walked forward', entries, label, dates[[0, -1]])
  ]


def write(config, workdir: Path, boards: Sequence[Board], skipped) -> None:
  """Writes the tables and the page, and prints the tables."""
  _csv(workdir / 'table.csv', pd.concat(
    {board.title: board.table for board in boards}, names=['market']
  ))  # fmt: skip
  _csv(workdir / 'runs.csv', _runs(boards))
  _csv(workdir / 'curves.csv', _curves(boards))
  found = _arena(config, workdir, boards)
  text = page.markdown(boards, found, skipped, config.level)
  files.write_text(workdir / 'table.md', text)
  files.write_text(
    workdir / 'referee.html',
    page.render(workdir.resolve().name, boards, found, skipped, config.level),
  )
  print(text)
  print(f'Written to {workdir / "referee.html"} and the tables beside it')


def _arena(config, workdir: Path, boards) -> page.Arena | None:
  """Writes and returns what is said of planted markets, if there are any."""
  simulated = {
    board.title: board.entries
    for board in boards
    if all('closest' in entry.figures for entry in board.entries)
  }
  if not any(entries[0].figures['closest'] for entries in simulated.values()):
    return None
  counts = [n for n in config.checkpoints if n <= config.budget]
  markets = arena.by_market(simulated, counts)
  ranked, notes = arena.ranking(markets, config.level)
  _csv(workdir / 'arena.csv', markets)
  _csv(workdir / 'ranking.csv', ranked)
  return page.Arena(markets, ranked, counts, notes)


def _runs(boards: Sequence[Board]) -> pd.DataFrame:
  rows = [
    {
      'market': board.title, 'method': entry.method, 'seed': entry.seed,
      **{k: x for k, x in entry.figures.items() if k != 'closest'},
    }
    for board in boards
    for entry in board.entries
  ]  # fmt: skip
  return pd.DataFrame(rows).set_index(['market', 'method', 'seed'])


def _curves(boards: Sequence[Board]) -> pd.DataFrame:
  parts = {
    (board.title, entry.method, entry.seed): pd.DataFrame(entry.curve._asdict())
    for board in boards
    for entry in board.entries
    if entry.curve is not None
  }
  if not parts:
    return pd.DataFrame()
  names = ['market', 'method', 'seed', 'iteration']
  return pd.concat(parts, names=names)


def _csv(path: Path, frame: pd.DataFrame) -> None:
  with files.replacing(path) as file:
    frame.to_csv(file)


def add(config, text: str) -> None:
  """Adds the method that --add names.

  Args:
    config: gets it in `methods`.
    text: NAME:CONFIG KEY=VALUE KEY=VALUE; CONFIG may have a variant. Besides
      keys of it, `formulas=False` and `budget=N` of the row.

  Raises:
    ValueError: another form, or a name that is there.
  """
  name, colon, words = text.partition(':')
  source, *settings = words.split() or ['']
  if not (name and colon and source):
    raise ValueError(
      f'--add={text}: expected --add="NAME:CONFIG KEY=VALUE ...", as in '
      '--add="mine:random.py method=my_package.my_method"'
    )
  if name in config.methods:
    raise ValueError(f'--add={text}: config.methods has {name} already')
  path, _, variant = source.partition(':')
  options: dict[str, Any] = {}
  for word in list(settings):
    key, _, value = word.partition('=')
    # Of published.py `formulas` is a file.
    if key == 'formulas' and value in ('True', 'False'):
      options[key] = value == 'True'
    elif key == 'budget' and value.lstrip('-').isdecimal():
      options[key] = int(value)
    else:
      continue
    settings.remove(word)
  with config.methods.unlocked():  # Flags lock it.
    config.methods[name] = rows.method(path, variant, settings, **options)


def define_flags() -> None:
  """The flags of the command."""
  config_flags.DEFINE_config_file('config', None, 'Path of a config.')
  flags.DEFINE_string('workdir', None, 'Folder of the matrix.')
  flags.DEFINE_list('methods', [], 'Those to run now; by default all.')
  flags.DEFINE_list('markets', [], 'Those to run on now; by default all.')
  flags.DEFINE_multi_string(
    'add', [], 'NAME:CONFIG KEY=VALUE, a method besides those of the config.'
  )
  flags.DEFINE_integer(
    'jobs', 1, 'Runs at a time, each in a process of its own, with the memory '
    'of a training.', lower_bound=1,
  )  # fmt: skip
  flags.DEFINE_bool(
    'validation', False, 'Judge on validation; no test split is opened.'
  )
  flags.DEFINE_bool('table', False, 'Only the tables of what is done.')
  parts.define_flag()
  flags.mark_flags_as_required(['config', 'workdir'])


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  train.prepare()
  given = flags.FLAGS
  for text in given.add:
    add(given.config, text)
  run(
    given.config,
    Path(given.workdir),
    methods=given.methods,
    markets=given.markets,
    jobs=given.jobs,
    name='validation' if given.validation else 'test',
    train_now=not given.table,
    part=parts.read(given.part),
  )


if __name__ == '__main__':
  cli.run('alphajax.referee')
