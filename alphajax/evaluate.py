r"""Opens the test split of a run: figures of its result on unseen days.

python -m alphajax.evaluate --workdir=runs/csi300
python -m alphajax.evaluate --workdir=runs/csi300 --split=2025-01-01:2025-12-31

Every opening is counted in `results.json`: a split looked at twice is no longer
a split never looked at. `--data` names the data where they have moved since
training. Other days, or with `--name` other data, are an evaluation of its own
with a count of its own, beside the test split.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import config_dict

from alphajax import cli, experiment, markets
from alphajax.data import panel as panel_lib
from alphajax.data.panel import SPLITS, Split
from alphajax.judge import assessment, judgement, ledger, selection
from alphajax.judge import result as result_lib
from alphajax.judge.rules import BacktestSpec
from alphajax.language import formula as formula_lib
from alphajax.methods import given, linear
from alphajax.methods.base import Found
from alphajax.report.evaluation import table
from alphajax.run import cache, files, folder
from alphajax.run import results as results_lib
from alphajax.run.files import RunError, read_json


class Request(NamedTuple):
  """Days and data to evaluate on.

  name: of the evaluation; `test` is that of the config's test split.
  split: first and last day; None for the config's test split.
  data_path: where the data lie, if not where the config says.
  columns: what theirs are called, as `config.data.columns`; None: as there.
  ledger: where judgements are counted; None: see `ledger.place`.
  backtest: its rules, all of them, or by name those that are others than in
    `config.backtest`; None: neither tear sheet nor backtest.
  best_of: random formulas at most that the best by validation is taken of, as
    many as the run evaluated; 0: no such control.
  cards: whether to add decay, turnover and the published formula that is most
    alike to each factor; the first time on a split takes half a minute.
  """

  name: str = 'test'
  split: tuple[str, str] | None = None
  data_path: str | None = None
  columns: str | None = None
  ledger: str | None = None
  backtest: BacktestSpec | Mapping[str, Any] | None = MappingProxyType({})
  best_of: int = 0
  cards: bool = False


TEST_SPLIT = Request()
MOVED = '{}: no such data; say where they are now with --data'


@jax.enable_x64(False)  # As the run was.
def evaluate(
  workdir: str | os.PathLike, request: Request = TEST_SPLIT
) -> dict[str, Any]:
  """Writes `results.json` and `daily_NAME.npz` of a run.

  A pool of formulas is the one in `pool.json`, formulas and weights exactly:
  what a reader sees is what is scored. Any other result is restored from the
  newest checkpoint.

  Returns:
    What `results.json` holds: of the test split `opened`, `iteration`, `test`,
    `ceiling`, `factors`, `judged` (how many distinct formulas and pools ever
    were on these days, by the `ledger`), and `sheet` and `backtest` of
    `judgement`, and where asked for `best_of`, see `selection.control`;
    of others the same under `evaluations`, by name.

  Raises:
    RunError: no run, no result, one that cannot be read, other data than the
      run was made with, or a name that other days or data have; nothing is
      counted then.
    ValueError: the days or the data cannot be loaded; nothing is counted.
  """
  workdir = Path(workdir).expanduser()
  config, predict, found = result_of(workdir, request.data_path)
  split, spec, data_hash = _load(workdir, config, request)
  drawn = experiment.random_formulas(config, workdir, request.best_of)
  valid = markets.load_split(config, 'valid') if drawn else None
  # From here on the days are open: counted, also if what follows fails.
  counted = _judged(config, found, request.ledger)
  results_lib.keep(workdir, request.name, {}, openings=1)
  label = markets.label_spec(config)
  part = result_lib.describe(predict, found.formulas, split, label)
  entry: dict[str, Any] = {
    'iteration': found.iteration,
    **counted,
    'test': part['pool'],
    'ceiling': markets.ceiling(config, split),
    'factors': _factors(found, part['factors']),
  }
  if request.cards and found.formulas:
    key = f'{data_hash} {markets.load_options(config)}'
    cards = assessment.cards(found.formulas, split, label, key)
    entry['factors'] = [
      factor | {'card': card}
      for factor, card in zip(entry['factors'], cards, strict=True)
    ]
  if request.name != 'test':
    entry |= {'split': list(config.splits.test), 'data_hash': data_hash}
  if spec is not None:
    figures, series = judgement.judgement(
      predict(split.panel), split, label, spec, judged=entry['judged']
    )
    entry |= figures
    part['series'] = series | part['series']
  if valid is not None:
    ic = part['series']['ic']
    entry['best_of'] = selection.control(drawn, valid, split, label, ic)
  files.write_arrays(workdir / f'daily_{request.name}.npz', part['series'])
  return results_lib.keep(workdir, request.name, entry)


def _load(
  workdir: Path, config, request: Request
) -> tuple[Split, BacktestSpec | None, str]:
  """The days, their rules, and the hash of the data; fills in the config."""
  if request.data_path is not None:
    config.data.path = request.data_path
  if request.columns is not None:
    config.data.columns = request.columns
  data_hash = _check_data(workdir, config, request)
  if request.split is not None:
    config.splits.test = request.split
  _check_name(workdir, request.name, [*config.splits.test], data_hash)
  spec = _rules(config, request)
  try:
    split = experiment.load_test(config, workdir)
  except ValueError as error:
    if request.split is None:
      raise
    raise ValueError(f'--split={":".join(request.split)}: {error}') from error
  if spec is not None:
    asked = request.backtest if isinstance(request.backtest, Mapping) else ()
    judgement.check_rules(spec, split.panel, asked)
  return split, spec, data_hash


def _check_name(
  workdir: Path, name: str, days: Sequence[str], data_hash: str
) -> None:
  """Refuses a name under which other days or data were evaluated."""
  results = read_json(workdir / 'results.json') or {}
  entry = results.get('evaluations', {}).get(name, {})
  then = {'split': days, 'data_hash': data_hash} | entry
  if [then['split'], then['data_hash']] != [days, data_hash]:
    raise RunError(
      f'{workdir / "results.json"} has an evaluation {name!r} already, of '
      f'{":".join(then["split"])} and data with the hash '
      f'{then["data_hash"][:12]}; now it is {":".join(days)} and '
      f'{data_hash[:12]}: give this one a name of its own, --name={name}_2'
    )


def _factors(found: Found, figures: Sequence[Any]) -> list[dict[str, Any]]:
  texts = map(formula_lib.to_text, found.formulas)
  return [
    {'formula': x, 'test': y} for x, y in zip(texts, figures, strict=True)
  ]


def _rules(config, request: Request) -> BacktestSpec | None:
  """The rules of the backtest; the config gets the column of its benchmark.

  Raises:
    ValueError: see `markets.backtest_spec`.
  """
  if request.backtest is None or isinstance(request.backtest, BacktestSpec):
    return request.backtest
  try:
    spec = markets.backtest_spec(config, request.backtest)
  except ValueError as error:
    raise ValueError(
      f'{error} (evaluate takes each rule as a flag, such as --drop_n=1)'
    ) from error
  with config.unlocked():
    config.backtest = {'benchmark': spec.benchmark or ''}
  return spec


def keys_of(config, found: Found) -> list[str]:
  """How the ledger knows a result: its formulas and their pool, or a signal."""
  keys = [formula_lib.key(formula) for formula in found.formulas]
  if keys:
    keys.append(ledger.pool_key(found.formulas, found.weights))
  else:
    # By whatever rules it is traded, it is the same signal.
    made = {k: x for k, x in config.to_dict().items() if k != 'backtest'}
    text = config_dict.ConfigDict(made).to_json()
    keys.append(ledger.signal_key(f'{text} {found.iteration}'))
  return keys


def _judged(config, found: Found, path: str | None) -> dict[str, Any]:
  """Writes a result into the ledger; its count."""
  keys = keys_of(config, found)
  days = tuple(config.splits.test)
  tally, place = markets.count(config, 'evaluate', days, keys, path)
  return {'judged': tally.judged, 'ledger': str(place)}


def result_of(
  workdir: Path, data_path: str | None = None
) -> tuple[Any, Callable, Found]:
  """The config of a run, what gives the signal of its result, and the result.

  data_path: of data that a result which is no pool of formulas, and so comes
    from a checkpoint, is restored with where its own have moved.

  Raises:
    RunError: no run, no result, or one that cannot be read.
  """
  config = config_dict.ConfigDict(_read(workdir, 'config.json'))
  pool = _read(workdir, 'pool.json')
  return config, *_predictor(config, workdir, pool, data_path)


def _predictor(
  config, workdir: Path, pool: Mapping[str, Any], data_path: str | None
) -> tuple[Callable, Found]:
  """What gives the signal of a run's result on a panel, and the result."""
  if pool['factors']:
    found = read_pool(workdir / 'pool.json', pool, _features(config))
    return functools.partial(linear.predict, found), found
  if config.data.path and not Path(config.data.path).expanduser().exists():
    if data_path is None:
      raise RunError(MOVED.format(config.data.path))
    config = config.copy_and_resolve_references()
    config.data.path = data_path
  method, state = experiment.restore(config, workdir)
  return functools.partial(method.predict, state), Found(pool['iteration'])


def _features(config) -> Sequence[str]:
  names = config.get('language', {}).get('features', ())
  names = (*panel_lib.FEATURES, *names, *given.columns(config))
  return tuple(dict.fromkeys(names))


def read_pool(
  path: Path, pool: Mapping[str, Any], features: Sequence[str]
) -> Found:
  """The pool that `pool.json` tells of, bit for bit.

  Raises:
    RunError: a formula or weight that is none; names the factor.
  """
  formulas, weights = [], []
  for number, factor in enumerate(pool['factors'], 1):
    where = f'{path}, factor {number}'
    try:
      formulas.append(formula_lib.parse(factor['formula'], features))
    except ValueError as error:
      raise RunError(f'{where}: {error}') from error
    weight = factor.get('weight')
    if not isinstance(weight, int | float) or not math.isfinite(weight):
      raise RunError(f'{where}: its weight is {weight!r}, expected a number')
    weights.append(weight)
  return Found(pool['iteration'], tuple(formulas), tuple(weights))


def _read(workdir: Path, name: str) -> dict[str, Any]:
  """A file that a run must have."""
  if not workdir.is_dir():
    raise RunError(f'{workdir}: no such folder')
  value = read_json(workdir / name)
  if value is None:
    missing = {
      'pool.json': 'the run has found no pool yet; train it first',
      'config.json': 'it is not the folder of a run' + folder.such_as(workdir),
    }
    raise RunError(
      f'{workdir / name} is missing: {missing.get(name, "train again")}'
    )
  return value


def _check_data(workdir: Path, config, request: Request) -> str:
  """The hash of the data; refuses others than the run was trained on.

  Other data need a name of their own.
  """
  path = config.data.path
  if path and not Path(path).expanduser().exists():
    raise RunError(MOVED.format(path))
  expected = _read(workdir, 'provenance.json')['data_hash']
  actual = markets.data_hash(config)
  if actual != expected and request.name == 'test':
    raise RunError(
      f'{path or "the simulated market"} is not what {workdir} was trained '
      f'on: hash {actual}, then {expected}. To evaluate on other data, give '
      'them days and a name: --split=2025-01-01:2025-12-31 --name=later'
    )
  return actual


def make_request(
  split: str | None,
  name: str | None,
  data_path: str | None,
  backtest: BacktestSpec | Mapping[str, Any] = MappingProxyType({}),
) -> Request:
  """What the flags ask for.

  Raises:
    ValueError: days that are none, or a name that cannot be that of a file.
  """
  days = None
  if split is not None:
    start, colon, end = split.partition(':')
    if not colon:
      raise ValueError(
        f'--split is {split!r}: expected --split=2025-01-01:2025-12-31'
      )
    days = (start, end)
    for day in days:
      panel_lib.parse_day(day)
  if name is None:
    name = 'test' if days is None else f'{days[0]}_{days[1]}'
  elif days is None:
    raise ValueError('--name needs days: --split=2025-01-01:2025-12-31')
  plain = name.replace('-', '').replace('_', '')
  if not plain.isalnum() or (days is not None and name in SPLITS):
    raise ValueError(
      f'--name is {name!r}: expected letters, digits, - and _, and none of '
      f'{", ".join(SPLITS)}'
    )
  return Request(name, days, data_path, backtest=backtest)


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_string('data', None, 'Where the data lie, if they moved.')
  flags.DEFINE_string('split', None, 'Other days: 2025-01-01:2025-12-31.')
  flags.DEFINE_string('name', None, 'Of the evaluation on these days.')
  flags.DEFINE_string(
    'ledger', None, 'Where judgements are counted; else beside the data.'
  )
  flags.DEFINE_integer(
    'best_of', 0, 'Beside the result, the best by validation of as many random '
    'formulas as the run evaluated, so many at most; 0: none.', lower_bound=0,
  )  # fmt: skip
  flags.DEFINE_bool(
    'cards', True, 'Decay, turnover and the most alike published formula of '
    'each factor, for the report; the first time takes half a minute.'
  )  # fmt: skip
  cli.define_columns()
  cli.define_rules()


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  workdir, options = Path(flags.FLAGS.workdir).expanduser(), flags.FLAGS
  changes = cli.given_rules()
  request = make_request(options.split, options.name, options.data, changes)
  request = request._replace(
    ledger=options.ledger, best_of=options.best_of, cards=options.cards,
    columns=options.columns,
  )  # fmt: skip
  print(table(workdir, evaluate(workdir, request), request.name))
  print(f'Written to {workdir / "results.json"}')


if __name__ == '__main__':
  cli.run('alphajax.evaluate')
