"""Families of synthetic markets by name: what each fits, and its panels.

`make` gives a function from a seed to a panel. What it fits is kept in the
folder, under the family's name, and made once for all panels: by a family and
by the ensemble of several alike.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alphajax.data import controls
from alphajax.data.controls import Source
from alphajax.data.panel import Panel
from alphajax.methods import path_selection, paths
from alphajax.run import files

# The position decides the seeds of a family's panels: new ones come last.
FAMILIES = (
  'bootstrap', 'garch', 'gru', 'gru_independent', 'transformer',
  'transformer_independent', 'diffusion', 'diffusion_independent', 'ensemble',
  'ensemble_independent',
)  # fmt: skip
INDEPENDENT = '_independent'
Make = Callable[[int], Panel]  # From a seed.


class Given(NamedTuple):
  """What all families are made from.

  config: see configs/synthesize.py.
  workdir: holds what was fitted.
  train: days of the training split.
  source: its chosen stocks.
  say: is told what is fitted.
  """

  config: Any
  workdir: Path
  train: Panel
  source: Source
  say: Callable[[str], None]


def make(family: str, given: Given) -> Make:
  """Fits a family, or reads what was fitted."""
  name = family.removesuffix(INDEPENDENT)
  independent = name != family
  if name in _CONTROLS:
    return _CONTROLS[name](given)
  if name == 'ensemble':
    return _ensemble(given, independent)
  generator = _fitted(given, name, independent)
  days = given.config.synthetic.num_days
  return lambda seed: paths.sample(generator, seed, days)


def check(config) -> None:
  """Refuses sizes of networks that cannot be, key by key."""
  for family in paths.FAMILIES:
    group = config[family]
    for name in ('width', 'common_width', 'num_updates', 'batch_size'):
      _at_least(config, family, name, 1)
    _at_least(config, family, 'window', 2)
    _at_least(config, family, 'learning_rate', 0)
    if family != 'diffusion':
      _at_least(config, family, 'num_components', 1)
    for name in ('width', 'common_width'):
      heads = group.get('num_heads', 1)
      if heads < 1 or group[name] % heads:
        raise ValueError(
          f'config.{family}.{name} is {group[name]}: expected a multiple of '
          f'config.{family}.num_heads, {heads}'
        )
  _at_least(config, 'transformer', 'num_layers', 1)
  for name in ('num_blocks', 'num_given'):
    _at_least(config, 'diffusion', name, 1)
  for name in ('num_steps', 'sample_steps'):
    _at_least(config, 'diffusion', name, 2)
  own = config.diffusion
  if own.num_given >= own.window:
    raise ValueError(
      f'config.diffusion.num_given is {own.num_given}: expected fewer days '
      f'than config.diffusion.window, {own.window}'
    )
  for name in ('num_stocks', 'width', 'window'):
    _at_least(config, 'evaluator', name, 2)
  for name in ('num_components', 'num_updates', 'batch_size'):
    _at_least(config, 'evaluator', name, 1)
  _at_least(config, 'ensemble', 'num_candidates', 1)
  if config.ensemble.rule not in path_selection.RULES:
    raise ValueError(
      f'config.ensemble.rule is {config.ensemble.rule!r}: expected one of '
      f'{", ".join(path_selection.RULES)}'
    )


def _at_least(config, group: str, name: str, least: float) -> None:
  if config[group][name] < least:
    raise ValueError(
      f'config.{group}.{name} is {config[group][name]}: expected {least} or '
      'more'
    )


def _bootstrap(given: Given) -> Make:
  own = given.config.synthetic
  return lambda seed: controls.bootstrap(
    given.source, seed, own.num_days, own.block
  )


def _garch(given: Given) -> Make:
  own = given.config.synthetic
  path = given.workdir / 'garch.npz'
  kept = files.read_arrays(path)
  if not kept:
    given.say(
      f'garch: {own.num_factors} factors and {own.num_stocks} stocks are fitted'
    )
    kept = controls.fit_garch(given.source, own.num_factors)._asdict()
    files.write_arrays(path, kept)
  model = controls.Garch(**kept)
  return lambda seed: controls.garch(given.source, model, seed, own.num_days)


_CONTROLS: Mapping[str, Callable[[Given], Make]] = {
  'bootstrap': _bootstrap,
  'garch': _garch,
}


def _fitted(given: Given, name: str, independent: bool) -> paths.Generator:
  """A network's generator; its checkpoints are in a folder of its name."""
  config = given.config
  folder = given.workdir / (name + INDEPENDENT * independent)
  return paths.fit(
    given.source, name, config[name].to_dict(), config.seed, folder,
    independent, given.say,
  )  # fmt: skip


def _ensemble(given: Given, independent: bool) -> Make:
  """What was chosen, and why, is a file for each seed."""
  config, own = given.config, given.config.ensemble
  days = config.synthetic.num_days
  others = path_selection.other_stocks(
    given.train, given.source, config.evaluator.num_stocks
  )
  generators = {
    name: _fitted(given, name, independent) for name in paths.FAMILIES
  }
  evaluator = path_selection.fit(
    others, config.evaluator.to_dict(), config.seed,
    given.workdir / 'evaluator', given.say,
  )  # fmt: skip
  real = path_selection.real_scores(evaluator, given.source, days)
  sample = functools.partial(
    path_selection.sample, generators, evaluator, real, num_days=days,
    num_candidates=own.num_candidates, rule=own.rule,
  )  # fmt: skip
  name = 'ensemble' + INDEPENDENT * independent

  def draw(seed: int) -> Panel:
    panel, log = sample(seed)
    files.write_json(given.workdir / f'{name}_{seed}.json', log)
    shares = ', '.join(
      f'{family} {share:.0%}' for family, share in log['accepted'].items()
    )
    given.say(f'{name}: within the band are {shares}')
    return panel

  return draw
