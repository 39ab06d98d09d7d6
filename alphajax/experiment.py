"""From a config to the market and the method."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphajax import lookup
from alphajax.analysis import planting
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data import panel_cache, simulate
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.factor import evaluate
from alphajax.judge import result as result_lib
from alphajax.judge.result import Predict
from alphajax.language import environment, row_text
from alphajax.language import formula as formula_lib
from alphajax.methods.base import Found, Market, Method
from alphajax.run import state as state_lib
from alphajax.run.files import RunError

# Short names; any other is an import path.
METHODS = {
  name: f'alphajax.methods.{name}'
  for name in ('alphacfg', 'random_search', 'refinement')
}


def method_module(config):
  """The module of the method that the config names, see `methods.base`."""
  return lookup.resolve(config.method, METHODS, key='config.method')


def make_method(config, data: Market) -> Method:
  """The method that the config names."""
  return method_module(config).make(config, data)


def with_rules(config):
  """The config with the rows of its grammar instead of the file's name.

  A run then holds its language, whatever becomes of the file.

  Raises:
    ValueError: the language of the config cannot be made.
  """
  config = config.copy_and_resolve_references()
  if 'language' in config:
    config.language.rules = row_text.read(config.language.get('rules', ''))
    environment.make(**config.language)
  return config


def lookback(config) -> int:
  """Warm-up bars: the config's, or what its method or language can need."""
  module = method_module(config)
  if hasattr(module, 'lookback'):
    return module.lookback(config)
  if config.lookback:
    return config.lookback
  return environment.lookback(environment.make(**config.language))


def check_splits(config) -> None:
  """Refuses splits that overlap or are out of order.

  Raises:
    ValueError: names the days.
  """
  before = None
  for name in panel_lib.SPLITS:
    start, end = config.splits[name]
    for day in (start, end):
      panel_lib.parse_day(day)
    if before is not None and start <= config.splits[before][1]:
      raise ValueError(
        f'config.splits.{name} begins {start}, and config.splits.{before} ends '
        f'{config.splits[before][1]}: what is judged may not be what was '
        f'trained on; let {name} begin after it'
      )
    before = name


def check_start(config) -> None:
  """Refuses what would be found out late.

  Raises:
    ValueError: no data where the config says, or nothing to do.
  """
  path = config.data.path
  if path and not Path(path).expanduser().exists():
    raise ValueError(
      f'{path}: no such file or folder; say where the data are with '
      '--config.data.path=PATH'
    )
  if config.num_iterations < 1:
    raise ValueError(
      f'config.num_iterations is {config.num_iterations}: expected >= 1'
    )


def load_market(config) -> tuple[Market, str]:
  """The train and validation splits, and a hash of the data they come from.

  Nothing after the validation split is loaded.

  Raises:
    ValueError: data or splits that cannot be; see `market.load`.
  """
  check_splits(config)
  panel = _load(config, 'train', 'valid')
  market = Market(_cut(config, panel, 'train'), _cut(config, panel, 'valid'))
  return market, data_hash(config)


def load_split(config, name: str) -> Split:
  """One split, with its warm-up."""
  return _cut(config, _load(config, name, name), name)


def data_hash(config) -> str:
  """Hash of the data that the config names, whichever split is taken."""
  if config.data.path:
    return panel_cache.content_hash(config.data.path)
  digest = hashlib.sha256(_simulation_text(config).encode())
  return f'simulated:{digest.hexdigest()}'


def _cut(config, panel: Panel, name: str) -> Split:
  start, end = config.splits[name]
  return panel_lib.split(
    panel, name, start, end, lookback=lookback(config),
    label=LabelSpec(**config.label),
  )  # fmt: skip


def _load(config, first: str, last: str) -> Panel:
  """The panel from the warm-up of split `first` to the end of `last`."""
  start, end = config.splits[first][0], config.splits[last][1]
  data = config.data
  extra = _extra_features(config)
  if not data.path:
    if extra:
      raise ValueError(
        f'config.language.features: the simulated market has no {extra[0]!r}, '
        f'it has {", ".join(panel_lib.FEATURES)}; give data that have it in '
        'config.data.path'
      )
    panel = simulated(config).panel
    return panel_lib.select_days(panel, np.array(panel.dates) <= end)
  options = data.to_dict()
  del options['path'], options['simulate']
  return market_lib.load(
    data.path,
    features=extra,
    start=start,
    warmup=lookback(config),
    end=end,
    **options,
  )


def _extra_features(config) -> tuple[str, ...]:
  """Features of the language that are none of the panel's own."""
  names = config.get('language', {}).get('features', ())
  return tuple(name for name in names if name not in panel_lib.FEATURES)


def simulated(config) -> simulate.Simulation:
  """The embedded market of the config, with its planted alphas."""
  return _simulated(_simulation_text(config))


def _simulation_text(config) -> str:
  return json.dumps(config.data.simulate.to_dict(), sort_keys=True)


@functools.lru_cache(maxsize=1)  # Market and ceiling come from one simulation.
def _simulated(options: str) -> simulate.Simulation:
  def compile_formula(text):
    formula = formula_lib.parse(text)
    run = evaluate.compile(formula)

    def today(features, members):
      return np.asarray(run(Panel(features, members, (), ())))[-1]

    return formula_lib.lookback(formula), today

  given = json.loads(options)
  make = planting.simulated if 'planted' in given else simulate.simulate
  return make(**given, compile_fn=compile_formula)


def ceiling(config, split: Split) -> float | None:
  """IC of the planted combination on a split; None where none is planted."""
  if config.data.path or not _planted(config.data.simulate):
    return None
  return simulate.ceiling(simulated(config), split)


def _planted(options) -> bool:
  """Whether the options of a simulated market plant anything."""
  if 'planted' in options:
    return bool(options.planted and options.ic)
  return bool(options.strength)


def restore(config, workdir: Path) -> tuple[Method, Any]:
  """The method of a run and its newest state.

  Raises:
    RunError: there is no checkpoint.
  """
  market, _ = load_market(config)
  method = make_method(config, market)
  start = method.init(jax.random.key(0))
  iteration, state = state_lib.restore(workdir, method, start, set_aside=False)
  if not iteration:
    raise RunError(f'{workdir / "checkpoints"} is empty: train the run first')
  return method, state


def summarize(config, found: Found, predict: Predict, market: Market):
  """What `pool.json` and `daily.npz` say of a result, see `judge.result`."""
  summary, daily = result_lib.summarize(
    predict,
    found.formulas,
    found.weights,
    market,
    LabelSpec(**config.label),
    {split.name: ceiling(config, split) for split in market},
  )
  return {'iteration': found.iteration, **summary}, daily
