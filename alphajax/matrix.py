"""A matrix of runs: methods by markets by seeds, each a run like any other.

What a config of `configs/referee.py` says becomes the members of a sweep whose
variants are named MARKET,METHOD: checked before anything runs, resumed, and run
by `sweep.train_all`.
"""

import difflib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alphajax import cli, lookup, sweep
from alphajax.factor import pool_rules
from alphajax.methods import choice, schedules
from alphajax.run import config as config_lib
from alphajax.run import files, folder
from alphajax.variants import Member

MATRIX = 'matrix.json'  # In the folder: what all of its runs share.
# Of a config: what is compared on, and by which rules it is traded.
SHARED = ('data', 'splits', 'label', 'backtest')
# Libraries that an extra of alphajax brings, see pyproject.toml.
EXTRAS = {'lightgbm': 'gbdt', 'xgboost': 'gbdt'}
# What other commands leave in their folders.
_OTHERS = {
  'config.json': 'a run',
  'runs.csv': 'a sweep',
  'walk_forward.json': 'a walk',
}


class Matrix(NamedTuple):
  """The runs of a matrix.

  members: in their order; variants are MARKET,METHOD.
  skipped: methods that are left out, and why.
  """

  members: list[Member]
  skipped: dict[str, str]


def names_of(member: Member) -> tuple[str, str]:
  """Market and method of a run."""
  market, _, method = member.variant.partition(',')
  return market, method


def plan(
  config,
  workdir: Path,
  methods: Sequence[str] = (),
  markets: Sequence[str] = (),
) -> Matrix:
  """The runs that a config asks for.

  Args:
    config: see `configs/referee.py`.
    workdir: of the matrix.
    methods, markets: those alone; none: all.

  Raises:
    ValueError: a method, market, pool rule, budget or number of seeds that
      cannot be, runs that disagree in data, splits or label, or the folder of
      something else.
  """
  if config.seeds < 1:
    raise ValueError(f'config.seeds is {config.seeds}: expected 1 or more')
  _check_rule(config.pool_rule)
  chosen = _chosen(methods, config.methods, 'method')
  places = _chosen(markets, config.markets, 'market')
  if not methods:
    chosen = [
      name
      for name in chosen
      if config.methods[name].default or _is_begun(workdir, places, name)
    ]
  skipped = {}
  for name in chosen:
    missing = _missing(name, config.methods[name])
    if missing and name in methods:
      raise ValueError(f'method {name}: {missing}')
    if missing:
      skipped[name] = missing
  kept = [name for name in chosen if name not in skipped]
  if not kept:
    said = '; '.join(f'{name}: {why}' for name, why in skipped.items())
    raise ValueError(f'no method is left to run: {said}')
  budget = _scheduled(config, workdir)
  variants = {
    f'{market},{name}': _config(config, market, name, budget)
    for market in places
    for name in kept
  }
  _check_agreement(variants)
  _check_folder(workdir, config, variants)
  numbers = range(config.first_seed, config.first_seed + config.seeds)
  return Matrix(sweep.plan(variants, workdir, numbers), skipped)


def begin(config, matrix: Matrix, workdir: Path) -> None:
  """Writes down what the runs of a folder share, before they begin."""
  path = Path(workdir) / MATRIX
  files.check_folder('--workdir', path.parent)
  with files.naming(path.parent):
    path.parent.mkdir(parents=True, exist_ok=True)
  known = files.read_json(path) or {}
  shared = {
    names_of(member)[0]: _shared(member.config) for member in matrix.members
  }
  files.write_json(
    path,
    {
      'budget': config.budget,
      'scheduled': _scheduled(config, workdir),
      'markets': known.get('markets', {}) | shared,
    },
  )


def _scheduled(config, workdir: Path) -> int:
  """The budget that schedules are cut to: that which a folder began with.

  Runs that go on with a larger one keep theirs.
  """
  known = files.read_json(Path(workdir) / MATRIX) or {}
  return known.get('scheduled', known.get('budget', config.budget))


def _is_begun(workdir: Path, markets: Sequence[str], name: str) -> bool:
  """Whether a method that is no default was asked for here before."""
  return any((Path(workdir) / f'{each},{name}').exists() for each in markets)


def _check_rule(name: str) -> None:
  """Refuses a pool rule that cannot be, and says which can."""
  if name and name != choice.ALGORITHM_1:
    known = {choice.ALGORITHM_1: None, **pool_rules.RULES}
    lookup.resolve(name, known, key='config.pool_rule')


def _chosen(asked: Sequence[str], known, what: str) -> list[str]:
  """The names that are asked for, or all, in the order of the config."""
  for name in asked:
    if name not in known:
      near = difflib.get_close_matches(name, list(known), n=1)
      hint = f'; did you mean {near[0]}?' if near else ''
      raise ValueError(
        f'unknown {what} {name!r}: config.{what}s has {", ".join(known)}{hint}'
      )
  for name in known:
    if ',' in name:
      raise ValueError(f'config.{what}s.{name}: a name has no comma')
  if not known:
    raise ValueError(f'config.{what}s is empty: expected one or more')
  return [name for name in known if not asked or name in asked]


def _missing(name: str, row) -> str:
  """Why a method cannot run on this machine; empty where it can.

  A config that is not there is an error, unless the row is `optional`.
  """
  try:
    cli.find_config(row.config)
  except ValueError as error:
    if not row.optional:
      raise ValueError(f'method {name}: {error}') from error
    return f'there is no config {row.config}'
  if row.needs and importlib.util.find_spec(row.needs) is None:
    extra = EXTRAS.get(row.needs)
    what = f'"alphajax[{extra}]"' if extra else row.needs
    return f'it needs {row.needs}: pip install {what}'
  return ''


def _config(config, market: str, name: str, scheduled: int):
  """The config of a method on a market, with its budget.

  scheduled: the budget that schedules are cut to, of a row without its own.
  """
  place, row = config.markets[market], config.methods[name]
  variant = ','.join(part for part in (place.variant, row.variant) if part)
  settings = [*place.set, *row.set]
  if row.formulas:
    settings = [*_budget(config, name, row), *settings]
  source = f'{row.config}:{variant}' if variant else row.config
  try:
    made = cli.read_config(source, settings)
    if config.pool_rule and (row.formulas or made.method == 'published'):
      settings.append(f'pool.rule={config.pool_rule}')
      made = cli.read_config(source, settings)
    if row.formulas:
      # What is set goes before what a budget asks for.
      cut = schedules.of_budget(made, row.budget or scheduled)
      made = cli.read_config(source, [*cut, *settings])
  except ValueError as error:
    raise ValueError(f'method {name} on {market}: {error}') from error
  if row.formulas and not any(
    x.startswith('num_iterations=') for x in settings
  ):
    rounds = config.patience * made.max_evaluated / made.num_trajectories
    unpaid = schedules.unpaid(made)
    made = made.copy_and_resolve_references()
    made.num_iterations = max(round(rounds), 1) + unpaid
  return made


def _budget(config, name: str, row) -> list[str]:
  """Settings under which the budget, and nothing else, ends a run."""
  budget, key = row.budget, f'config.methods.{name}.budget'
  if budget is None:
    budget, key = config.budget, 'config.budget'
  if budget < 1:
    raise ValueError(
      f'{key} is {budget}: expected how many formulas a run evaluates, 1 or '
      'more'
    )
  if config.patience < 1:
    raise ValueError(
      f'config.patience is {config.patience}: expected how often the budget '
      'may be proposed, 1 or more'
    )
  return [f'max_evaluated={budget}', 'early_stop=0.0']


def _shared(config) -> dict[str, Any]:
  """What a table compares on, as JSON has it."""
  return json.loads(json.dumps({k: config[k].to_dict() for k in SHARED}))


def _check_agreement(variants: Mapping[str, Any]) -> None:
  """Refuses methods that are not run on the same data, splits and label."""
  first: dict[str, tuple[str, dict[str, Any]]] = {}
  for variant, config in variants.items():
    market, _, name = variant.partition(',')
    mine = config_lib.flatten(_shared(config))
    other, theirs = first.setdefault(market, (name, mine))
    differing = config_lib.differences(theirs, mine)
    if differing:
      lines = '\n'.join(f'  {line}' for _, line in differing)
      raise ValueError(
        f'{market}: {other} and {name} disagree ({other} -> {name}):\n{lines}\n'
        'A table compares runs on the same data, splits and label, traded by '
        f'the same rules: set them in '
        f'config.markets.{market}.set, for all methods'
      )


def _check_folder(workdir: Path, config, variants: Mapping[str, Any]) -> None:
  """Refuses the folder of something else, or of another matrix."""
  workdir = Path(workdir)
  known = files.read_json(workdir / MATRIX)
  if known is None:
    for name, what in _OTHERS.items():
      if (workdir / name).exists():
        raise ValueError(
          f'{workdir} is the folder of {what}, it holds {name}: take another '
          '--workdir'
        )
    return
  if config.budget < known['budget']:
    raise ValueError(
      f'{workdir} is the folder of another matrix, of a budget of '
      f'{known["budget"]} formulas and not {config.budget}: it goes on with '
      'that or more, or take another --workdir'
    )
  for variant, made in variants.items():
    market = variant.partition(',')[0]
    if market not in known['markets']:
      continue
    old, new = (
      config_lib.flatten(each)
      for each in (known['markets'][market], _shared(made))
    )
    # Folders of older versions say nothing of these keys.
    for key in new.keys() - old.keys():
      if key == 'data.source' or key.startswith('backtest.'):
        old[key] = new[key]
    lines = [
      f'  {line}'
      for key, line in config_lib.differences(old, new)
      if key not in folder.MAY_CHANGE
    ]
    if lines:
      text = '\n'.join(lines)
      raise ValueError(
        f'{workdir} is the folder of another matrix: its {market} is not this '
        f'one (old -> new):\n{text}\nTake another --workdir'
      )
