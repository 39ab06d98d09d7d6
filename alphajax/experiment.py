"""From a config to the market and the method."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphajax import lookup
from alphajax.analysis import planting
from alphajax.configs import common
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data import panel_cache, simulate
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.factor import evaluate, regressors
from alphajax.judge import result as result_lib
from alphajax.judge.result import Predict
from alphajax.language import environment, row_text
from alphajax.language import formula as formula_lib
from alphajax.methods import ensemble, given
from alphajax.methods.base import Found, Market, Method
from alphajax.run import config as config_lib
from alphajax.run import folder
from alphajax.run import state as state_lib
from alphajax.run.files import RunError

# Short names; any other is an import path.
METHODS = {
  name: f'alphajax.methods.{name}'
  for name in (
    'alphacfg',
    'ensemble',
    'evolution',
    'random_search',
    'refinement',
  )
}


def method_module(config):
  """The module of the method that the config names, see `methods.base`."""
  return lookup.resolve(config.method, METHODS, key='config.method')


def make_method(config, data: Market) -> Method:
  """The method that the config names."""
  return method_module(config).make(config, data)


def with_rules(config):
  """The config with what it names files of: rules, base formulas, other runs.

  A run then holds its language, its base and the pools that it joins, whatever
  becomes of the files.

  Raises:
    ValueError: the language of the config cannot be made, or runs be joined.
  """
  config = config.copy_and_resolve_references()
  if 'language' in config:
    config.language.rules = row_text.read(config.language.get('rules', ''))
    environment.make(**config.language)
  if 'pool' in config:
    config.pool.base = given.as_text(config.pool.get('base', ''))
  if 'ensemble' in config:
    config.ensemble.pools = ensemble.as_text(config)
  return config


def lookback(config) -> int:
  """Warm-up bars: the config's, or what its method or language can need.

  In any case what the regressors of the label need.
  """
  module = method_module(config)
  if hasattr(module, 'lookback'):
    needed = module.lookback(config)
  elif config.lookback:
    needed = config.lookback
  else:
    language = environment.make(**config.language)
    needed = max(environment.lookback(language), given.lookback(config))
  return max(needed, regressors.lookback(label_spec(config).neutralize))


def label_spec(config) -> LabelSpec:
  """The label of the config.

  Raises:
    ValueError: `neutralize` is no list of names.
  """
  spec = LabelSpec(**config.label)
  names = spec.neutralize
  if isinstance(names, str) or not all(isinstance(n, str) for n in names):
    raise ValueError(
      f'config.label.neutralize is {names!r}: expected names, as in '
      "--config.label.neutralize=\"('industry','log_market_cap')\""
    )
  return spec._replace(neutralize=tuple(names))


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


def check(config, workdir: Path) -> tuple[Any, list[str]]:
  """A config as it is run, and what differs from before in its folder.

  What can be refused without the data is: see `check_start`.

  Raises:
    ValueError: a config that cannot be, or a folder made by another one.
  """
  check_start(config)
  config = with_rules(config)
  defaults = common.get_config()
  return config, config_lib.check_config(
    workdir, config.to_dict(), folder.may_change(config), defaults.to_dict()
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


def market_key(config) -> str:
  """The same for configs whose market is the same."""
  parts = [config[name].to_dict() for name in ('data', 'splits', 'label')]
  return json.dumps(
    [*parts, lookback(config), _extra_features(config)], sort_keys=True
  )


def sharing_market(size: int = 2) -> Callable[..., tuple[Market, str]]:
  """A `load_market` that keeps the last `size` markets for further runs."""
  kept: dict[str, tuple[Market, str]] = {}

  def load(config) -> tuple[Market, str]:
    key = market_key(config)
    found = kept.pop(key, None)
    while found is None and len(kept) >= size:
      del kept[next(iter(kept))]  # The one that was not taken the longest.
    kept[key] = found or load_market(config)
    return kept[key]

  return load


def load_split(config, name: str) -> Split:
  """One split, with its warm-up."""
  return _cut(config, _load(config, name, name), name)


def all_days(config) -> tuple[str, ...]:
  """The days of the data that the config names, those of all splits."""
  if not config.data.path:
    return simulated(config).panel.dates
  options = config.data.to_dict()
  del options['path'], options['simulate']
  return market_lib.load(config.data.path, **options).dates


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
    label=label_spec(config), compute=regressors.values,
  )  # fmt: skip


def _load(config, first: str, last: str) -> Panel:
  """The panel from the warm-up of split `first` to the end of `last`."""
  start, end = config.splits[first][0], config.splits[last][1]
  data = config.data
  extra = _extra_features(config)
  if not data.path:
    if extra:
      raise ValueError(
        'config.language.features, config.label.neutralize: the simulated '
        f'market has no {extra[0]!r}, it has {", ".join(panel_lib.FEATURES)}; '
        'give data that have it in config.data.path'
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
  """Features of language, base and label that are none of the panel's own."""
  names = (
    *config.get('language', {}).get('features', ()),
    *given.columns(config),
  )
  known = dict.fromkeys((*panel_lib.FEATURES, *names))
  read = regressors.columns(label_spec(config).neutralize, known)
  every = known | dict.fromkeys(read)
  return tuple(name for name in every if name not in panel_lib.FEATURES)


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


def summarize(config, found: Found, predict: Predict, market: Sequence[Split]):
  """What `pool.json` and `daily.npz` say of a result, see `judge.result`."""
  summary, daily = result_lib.summarize(
    predict,
    found.formulas,
    found.weights,
    market,
    label_spec(config),
    {split.name: ceiling(config, split) for split in market},
  )
  return {'iteration': found.iteration, **summary}, daily


def keep_result(
  config, workdir: Path, method: Method, market: Market, state: Any
) -> None:
  """Writes `pool.json` and `daily.npz` of the best result so far."""
  found = method.found(state)
  if found is not None:
    predict = functools.partial(method.predict, state)
    summary, daily = summarize(config, found, predict, market)
    state_lib.write_result(workdir, summary, daily)
