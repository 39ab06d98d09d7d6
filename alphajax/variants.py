"""Runs of a sweep: configs by the name of their variant, and their seeds."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alphajax import cli, experiment, markets
from alphajax.methods import registry
from alphajax.run import config as config_lib

_NAME = re.compile(r"[\w(=+-][\w.,=+()' -]*")  # Of a folder, on any system.


class Member(NamedTuple):
  """One run of a sweep."""

  variant: str
  seed: int
  config: Any
  workdir: Path


def variants_of(
  configs: Sequence[str],
  varied: Sequence[str] = (),
  named: Sequence[str] = (),
  settings: Sequence[str] = (),
  seed_keys: Sequence[str] = ('seed',),
) -> dict[str, Any]:
  """Configs by the name of their variant.

  A name says the config, where there are several, and what is changed in it;
  `base` is the only config as it is.

  Args:
    configs: `alphacfg.py:csi300`.
    varied: `key=value,value`; all combinations are taken.
    named: `name:key=value key=value`, besides them.
    settings: `key=value` of all.
    seed_keys: those of `plan`, which nothing else sets.

  Raises:
    ValueError: a config, key or value that cannot be, or a name twice.
  """
  grid = [_values(each) for each in varied]
  changes = [(','.join(each), list(each)) for each in itertools.product(*grid)]
  for each in named:
    name, colon, words = each.partition(':')
    if not (name and colon):
      raise ValueError(f'--variant={each}: expected NAME:KEY=VALUE KEY=VALUE')
    changes.append((name, words.split()))
  _check_seeds(
    [*settings, *itertools.chain(*(x for _, x in changes))], seed_keys
  )
  found: dict[str, Any] = {}
  for config in configs:
    file, _, variant = config.partition(':')
    label = re.sub('[:,]', '-', f'{Path(file).stem}:{variant}').strip('-')
    for name, given in changes:
      parts = [label] if len(configs) > 1 else []
      name = ','.join([*parts, *([name] if name else [])]) or 'base'
      if name in found:
        raise ValueError(
          f'the variant {name} is there twice: name it otherwise'
        )
      found[name] = cli.read_config(config, [*settings, *given])
  return found


def _check_seeds(settings: Sequence[str], seed_keys: Sequence[str]) -> None:
  """Refuses what the seeds of the sweep would be put over."""
  for setting in settings:
    key, _, value = setting.partition('=')
    if key in seed_keys:
      raise ValueError(
        f'{setting}: a sweep puts its own seeds into {key}: give the first one '
        f'with --first_seed={value} and their number with --seeds'
      )


def _values(varied: str) -> list[str]:
  """`key=a,b` as `key=a` and `key=b`; a comma in brackets parts nothing."""
  key, equals, values = varied.partition('=')
  if not (key and equals and values):
    raise ValueError(f'--vary={varied}: expected KEY=VALUE,VALUE')
  return [f'{key}={x}' for x in re.split(r',(?![^(\[]*[)\]])', values)]


def plan(
  variants: Mapping[str, Any],
  workdir: Path,
  seed_numbers: Sequence[int],
  seed_keys: Sequence[str] = ('seed',),
) -> list[Member]:
  """The runs of a sweep in their order, each with its config and folder.

  Every variant soon has a seed: all run with one before any with the next.

  Args:
    variants: configs by name.
    workdir: of the sweep.
    seed_numbers: the seeds.
    seed_keys: keys of the config that a seed is put in; `data.simulate.seed`
      gives each a market of its own.

  Raises:
    ValueError: a name, key or config that cannot be, or the folder of a run
      that another config made; names the variant.
  """
  members = []
  for seed, (name, config) in itertools.product(seed_numbers, variants.items()):
    if not _NAME.fullmatch(name):
      raise ValueError(
        f'variant {name!r}: no name for a folder; --variant=NAME:KEY=VALUE '
        'gives one of letters, digits and _.,=+-'
      )
    member = Member(name, seed, config, Path(workdir) / name / f'seed_{seed}')
    try:
      members.append(member._replace(config=_seeded(member, seed_keys)))
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f'variant {name}: {error.args[0]}') from error
  return members


def _seeded(member: Member, seed_keys: Sequence[str]):
  """The config of a run, checked as `train` does it."""
  config = member.config.copy_and_resolve_references()
  if config.num_seeds != 1:
    raise ValueError(
      f'config.num_seeds is {config.num_seeds}: a sweep has --seeds for that'
    )
  for key in set(seed_keys) - set(config_lib.flatten(config.to_dict())):
    raise ValueError(f'--seed_keys: the config has no key {key}')
  config.update_from_flattened_dict(dict.fromkeys(seed_keys, member.seed))
  registry.module(config)
  markets.check_splits(config)
  return experiment.check(config, member.workdir)[0]
