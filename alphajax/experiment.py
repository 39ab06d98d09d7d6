"""From a config to the market, the method, and the figures of a result."""

import datetime
import functools
import hashlib
import importlib
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import invariance
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data import simulate
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.factor import evaluate, metrics
from alphajax.factor import pool as pool_lib
from alphajax.language import environment, row_text
from alphajax.language import formula as formula_lib
from alphajax.methods.base import Found, Market, Method

METHODS = ('alphacfg', 'random_search')


def make_method(config, data: Market) -> Method:
  """The method that the config names, a module of `alphajax.methods`."""
  if config.method not in METHODS:
    raise ValueError(
      f'config.method is {config.method!r}: expected one of {METHODS}'
    )
  module = importlib.import_module(f'alphajax.methods.{config.method}')
  return module.make(config, data)


def with_rules(config):
  """The config with the rows of its grammar instead of the file's name.

  A run then holds its language, whatever becomes of the file.

  Raises:
    ValueError: the language of the config cannot be made.
  """
  config = config.copy_and_resolve_references()
  config.language.rules = row_text.read(config.language.get('rules', ''))
  environment.make(**config.language)
  return config


def lookback(config) -> int:
  """Warm-up days: the config's, or what its language can need."""
  language = environment.make(**config.language)
  return config.lookback or environment.lookback(language)


def load_market(config) -> tuple[Market, str]:
  """The train and validation splits, and a hash of the data they come from.

  Nothing after the validation split is loaded.
  """
  panel = _load(config, 'train', 'valid')
  market = Market(_cut(config, panel, 'train'), _cut(config, panel, 'valid'))
  return market, data_hash(config)


def load_split(config, name: str) -> Split:
  """One split, with its warm-up."""
  return _cut(config, _load(config, name, name), name)


def data_hash(config) -> str:
  """Hash of the data that the config names, whichever split is taken."""
  if config.data.path:
    return market_lib.content_hash(config.data.path)
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
  start = datetime.date.fromisoformat(config.splits[first][0])
  end = config.splits[last][1]
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
  # About 240 trading days a year; a month more for holidays.
  days = lookback(config) * 365 // 240 + 31
  return market_lib.load(
    data.path,
    adjust=data.adjust,
    vwap=data.vwap,
    universe=data.universe,
    features=extra,
    start=str(start - datetime.timedelta(days=days)),
    end=end,
  )


def _extra_features(config) -> tuple[str, ...]:
  """Features of the language that are none of the panel's own."""
  names = config.language.get('features', ())
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

  return simulate.simulate(**json.loads(options), compile_fn=compile_formula)


def ceiling(config, split: Split) -> float | None:
  """IC of the planted combination on a split; None where none is planted."""
  if config.data.path or not config.data.simulate.strength:
    return None
  return simulate.ceiling(simulated(config), split)


def describe(found: Found, split: Split, label: LabelSpec) -> dict:
  """Figures of a pool and its factors on a split.

  Returns:
    `pool` and `factors` as they stand in `pool.json`; `series`: dates, ic,
    rank_ic `[T]`, factor_ic `[P, T]`, correlation `[P, P]`, scored days only.
  """
  members, target = jnp.asarray(split.panel.mask), jnp.asarray(split.target)
  days = np.flatnonzero(split.scored)
  values = evaluate.values(found.formulas, split.panel)
  weights = jnp.asarray(found.weights, jnp.float32)
  signal = _signal(weights, values, members)
  # One after the other: pools of any size share the compiled programs.
  daily = [_daily(v, target, members) for v in (signal, *values)]
  ic, rank_ic = np.asarray(daily)[..., days].swapaxes(0, 1)
  lag = max(label.exit - label.entry - 1, 0)
  figures = [
    metrics.summary(*pair, lag) for pair in zip(ic, rank_ic, strict=True)
  ]
  goal = metrics.make_target(target, members)
  units = jnp.stack([_unit_days(v, members, goal) for v in values])
  correlation = jnp.einsum('pts,qts->pqt', units, units)[..., days].mean(-1)
  return {
    'pool': figures[0],
    'factors': figures[1:],
    'series': {
      'dates': np.array(split.panel.dates)[days],
      'ic': ic[0],
      'rank_ic': rank_ic[0],
      'factor_ic': ic[1:],
      'correlation': np.asarray(correlation),
    },
  }


_signal = jax.jit(pool_lib.signal)


@jax.jit
def _daily(values, target, members):
  """IC and RankIC of one signal, `[2, T]`."""
  return jnp.stack(
    [
      metrics.daily_ic(values, target, members),
      metrics.daily_rank_ic(values, target, members),
    ]
  )


@jax.jit
def _unit_days(values, members, target):
  """A factor of length 1 on every day: inner products are correlations."""
  z = pool_lib.prepare(values, members, target)
  norm = jnp.sqrt(jnp.sum(z * z, -1, keepdims=True))
  return z / jnp.where(norm > 0, norm, 1.0)


def summarize(config, found: Found, market: Market) -> tuple[dict, dict]:
  """What `pool.json` and `daily.npz` say of a result."""
  label = LabelSpec(**config.label)
  parts = {split.name: describe(found, split, label) for split in market}
  rescaled = _rescaled(found, market.valid)
  summary = {
    'iteration': found.iteration,
    'label': {'horizon': label.exit - label.entry, **label._asdict()},
    'pool': {name: part['pool'] for name, part in parts.items()},
    'ceiling': {split.name: ceiling(config, split) for split in market},
    'factors': [
      {
        'formula': formula_lib.to_text(formula),
        'weight': weight,
        **{name: part['factors'][i] for name, part in parts.items()},
        'rescaled': rescaled[i],
      }
      for i, (formula, weight) in enumerate(
        zip(found.formulas, found.weights, strict=True)
      )
    ],
  }
  daily = {'correlation': parts['train']['series']['correlation']}
  for name, part in parts.items():
    for key in ('dates', 'ic', 'rank_ic', 'factor_ic'):
      daily[f'{key}_{name}'] = part['series'][key]
  return summary, daily


def _rescaled(found: Found, split: Split) -> list[dict | None]:
  """Shares of days and ranks that another base of prices, volumes changes.

  None for a factor without a rank on the scored days.
  """
  checked = invariance.check(found.formulas, split.panel, split.scored)
  return [
    {
      name: {'days': float(change.days), 'ranks': float(change.moved)}
      for name, change in each._asdict().items()
    }
    if each.price.count
    else None
    for each in checked
  ]


def use_disk_cache() -> None:
  """Keeps compiled programs on disk, so that the next start is quick."""
  home = os.environ.get('ALPHAJAX_CACHE', '~/.cache/alphajax')
  jax.config.update(
    'jax_compilation_cache_dir', str(Path(home).expanduser() / 'xla')
  )
  # Small programs too: a start has some hundred of them.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
