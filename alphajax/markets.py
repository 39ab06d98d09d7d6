"""From a config to its market: the splits, and what is planted in them."""

import datetime
import hashlib
import json
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphajax.analysis import simulated as simulated_lib
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data import panel_cache, simulate
from alphajax.data.features import GROUPS
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.factor import regressors
from alphajax.judge import ledger, rules
from alphajax.judge.result import describe_label
from alphajax.judge.rules import BacktestSpec
from alphajax.language import environment
from alphajax.methods import given, registry
from alphajax.methods.base import Market

# How commands are told where data are.
HOW_TO_NAME = (
  '--config.data.path=PATH (of a sweep --set=data.path=PATH, of a referee '
  '--config.markets.MARKET.set="(\'data.path=PATH\',)")'
)


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


def backtest_spec(
  config, changes: Mapping[str, Any] | None = None
) -> BacktestSpec:
  """The rules of `config.backtest`; configs of older versions have the default.

  changes: rules by name, in place of those of the config.

  Raises:
    ValueError: an unknown rule or a bad value, see `rules.read`.
  """
  given = {**config.get('backtest', {}), **(changes or {})}
  return rules.read(given, 'config.backtest.')


def lookback(config) -> int:
  """Warm-up bars: the config's, or what its method or language can need.

  In any case what the regressors of the label need.
  """
  module = registry.module(config)
  if hasattr(module, 'lookback'):
    needed = module.lookback(config)
    if not isinstance(needed, numbers.Integral) or needed < 0:
      raise ValueError(
        f'config.method is {config.method!r}: its lookback(config) is '
        f'{needed!r}: expected a whole number of bars, 0 or more'
      )
  elif config.lookback:
    needed = config.lookback
  else:
    language = environment.make(**config.language)
    needed = max(environment.lookback(language), given.lookback(config))
  return max(needed, regressors.lookback(label_spec(config).neutralize))


def check_source(config) -> None:
  """Refuses a config of a market in a file that names no file.

  Raises:
    ValueError: says what to type.
  """
  # Runs of before there was the key were of what their hash says.
  if not config.data.path and config.data.get('source', 'simulated') == 'file':
    raise ValueError(
      'config.data.path is not set, and the market of this config lies in a '
      f'file: name it with {HOW_TO_NAME}, or take a market that needs none '
      'by the variant, as in --config=alphacfg.py:simulated'
    )


def load_options(config) -> dict[str, Any]:
  """What `market.load` takes of `config.data`."""
  return {
    name: value
    for name, value in config.data.to_dict().items()
    if name not in ('path', 'source', 'simulate')
  }


def check_splits(config) -> None:
  """Refuses splits that are no days, overlap or are out of order.

  Raises:
    ValueError: names the key and the days.
  """
  before = None
  for name in panel_lib.SPLITS:
    days = config.splits[name]
    try:
      if isinstance(days, str):
        raise ValueError('they are a text')
      start, end = days
      for day in (start, end):
        panel_lib.parse_day(day)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f'config.splits.{name} is {days!r}: expected its first and last day, '
        f"as in --config.splits.{name}=\"('2010-01-01','2017-12-31')\""
      ) from error
    if before is not None and start <= config.splits[before][1]:
      raise ValueError(
        f'config.splits.{name} begins {start}, and config.splits.{before} ends '
        f'{config.splits[before][1]}: what is judged may not be what was '
        f'trained on; let {name} begin after it'
      )
    before = name


def load_market(config) -> tuple[Market, str]:
  """The train and validation splits, and a hash of the data they come from.

  Nothing after the validation split is loaded.

  Raises:
    ValueError: data or splits that cannot be; see `market.load`.
  """
  check_source(config)
  check_splits(config)
  if not config.data.path:
    _check_simulated(config)
  try:
    panel = _load(config, 'train', 'valid')
    _check_codes(config, panel)
    market = Market(_cut(config, panel, 'train'), _cut(config, panel, 'valid'))
  except panel_lib.OutsideError as error:
    raise ValueError(f'{error}, as in {_of_days(*error.covers)}') from error
  return market, data_hash(config)


def _check_simulated(config) -> None:
  """Refuses splits beyond a simulated market, whose length is a key as well."""
  days = simulated(config).panel.dates
  for name in ('train', 'valid'):
    try:
      panel_lib.locate(days, name, *config.splits[name])
    except ValueError as error:
      raise ValueError(
        f'{error}: config.data.simulate.num_days is {len(days)}, and config.'
        f'splits.{name} is set as in --config.splits.{name}="'
        f"('{days[len(days) // 2]}','{days[-1]}')\""
      ) from error


def _of_days(first: str, last: str) -> str:
  """Flags of splits that days can have: six tenths, and two each."""
  begin, end = map(panel_lib.parse_day, (first, last))
  after = [begin + share * (end - begin) for share in (0.0, 0.6, 0.8)]
  before = [day - datetime.timedelta(days=1) for day in after[1:]]
  return ' '.join(
    f"--config.splits.{name}=\"('{start.isoformat()}','{stop.isoformat()}')\""
    for name, start, stop in zip(
      panel_lib.SPLITS, after, (*before, end), strict=True
    )
  )


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
  return market_lib.load(config.data.path, **load_options(config)).dates


def data_hash(config) -> str:
  """Hash of the data that the config names, whichever split is taken."""
  if config.data.path:
    return panel_cache.content_hash(config.data.path)
  text = simulated_lib.as_text(config.data.simulate.to_dict())
  digest = hashlib.sha256(text.encode())
  return f'simulated:{digest.hexdigest()}'


def count(
  config,
  by: str,
  days: tuple[str, str],
  keys: Sequence[str],
  path: str | None = None,
  parts: Sequence[str] = (),
) -> tuple[ledger.Tally, Path]:
  """Writes what is to be judged on days of the config's data into the ledger.

  Args:
    config: its data and label count.
    by: the command.
    days: first and last, ISO.
    keys: see `ledger.Judgement`.
    path: of the ledger; None: see `ledger.place`.
    parts: what these are made of, see `ledger.append`.

  Returns:
    (its count, where it is).

  Raises:
    RunError: it cannot be written, or is damaged; nothing is counted then.
  """
  digest = data_hash(config)
  label = ledger.label_key(describe_label(label_spec(config)))
  place = ledger.place(config.data.path, digest, path)
  name = ledger.data_name(config.data.path)
  judgement = ledger.Judgement(by, digest, *days, label, tuple(keys), name)
  return ledger.append(place, judgement, parts), place


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
        'config.language.features, config.label.neutralize, '
        'config.backtest.benchmark: the simulated '
        f'market has no {extra[0]!r}, it has {", ".join(panel_lib.FEATURES)}; '
        'give data that have it in config.data.path'
      )
    panel = simulated(config).panel
    panel_lib.locate(panel.dates, first, *config.splits[first])
    panel = panel.replace(covers=(panel.dates[0], panel.dates[-1]))
    return panel_lib.select_days(panel, np.array(panel.dates) <= end)
  return market_lib.load(
    data.path,
    features=extra,
    start=start,
    warmup=lookback(config),
    end=end,
    **load_options(config),
  )


def _check_codes(config, panel: Panel) -> None:
  """Refuses text among what a language draws as numbers: see `Panel.groups`.

  Formulas that are given are looked at one by one, where they are evaluated.
  """
  if config.method == 'published':
    return
  drawn = set(config.get('language', {}).get('features', ())) - set(GROUPS)
  if panel.coded & drawn:
    name = min(panel.coded & drawn)
    raise ValueError(
      f'{config.data.path}: column {name} is text, and config.language.'
      f'features has it beside the numbers; a language knows the groups '
      f'{", ".join(GROUPS)}: load it as one of them, --config.data.columns='
      f'{name}={GROUPS[1]}, and put {GROUPS[1]} into config.language.features'
    )


def _extra_features(config) -> tuple[str, ...]:
  """Features of language, base, label and benchmark that a panel has not."""
  index = config.get('backtest', {}).get('benchmark')
  names = (
    *config.get('language', {}).get('features', ()),
    *given.columns(config),
    *((index,) if index and index != 'none' else ()),
  )
  known = dict.fromkeys((*panel_lib.FEATURES, *names))
  read = regressors.columns(label_spec(config).neutralize, known)
  every = known | dict.fromkeys(read)
  return tuple(name for name in every if name not in panel_lib.FEATURES)


def simulated(config) -> simulate.Simulation:
  """The embedded market of the config, with its planted alphas."""
  return simulated_lib.market(config.data.simulate.to_dict())


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
