"""From a config to the method, and what a run of it keeps."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphajax import markets
from alphajax.configs import common
from alphajax.data import panel_cache
from alphajax.data.panel import Split
from alphajax.judge import result as result_lib
from alphajax.judge import selection
from alphajax.judge.result import Predict
from alphajax.language import environment, row_text
from alphajax.language.formula import Formula
from alphajax.methods import (
  choice,
  ensemble,
  given,
  published,
  registry,
  screen,
  synthetic_tasks,
  teaching,
)
from alphajax.methods.base import Found, Market, Method
from alphajax.run import config as config_lib
from alphajax.run import files, folder, ranges, writer
from alphajax.run import rows as rows_lib
from alphajax.run import state as state_lib
from alphajax.run.files import RunError
from alphajax.search import chunks, dealing


def make_method(config, data: Market) -> Method:
  """The method that the config names.

  Raises:
    ValueError: a config of which it cannot be made.
  """
  _check_values(config)
  dealing.check(dealing.wanted(config))
  dealing.stocks(config)
  method = registry.module(config).make(config, data)
  if not isinstance(method, Method):
    raise ValueError(
      f'config.method is {config.method!r}: its make(config, market) gave '
      f'{type(method).__name__}: expected alphajax.Method(init=..., step=..., '
      '...)'
    )
  return method._replace(
    step=_pairs(config, method.step, 'step(state, rng_key)', 'state, metrics'),
    save=_pairs(config, method.save, 'save(state)', 'arrays, host'),
  )


def _pairs(config, function: Callable, call: str, pair: str) -> Callable:
  """A function of a method, which says so where it gives no such pair."""

  def checked(*args):
    given = function(*args)
    if isinstance(given, tuple) and len(given) == 2:
      if isinstance(given[1], Mapping):
        return given
      what = f'a pair of which the second is {type(given[1]).__name__}'
    elif isinstance(given, tuple):
      what = f'{len(given)} values'
    else:
      what = type(given).__name__
    raise ValueError(
      f'config.method is {config.method!r}: its {call} gave {what}: expected '
      f'the pair ({pair}), the second a dictionary'
    )

  return checked


def with_rules(config):
  """The config with what it names files of: rules, base formulas, other runs.

  A run then holds its language, its base and the pools that it joins, whatever
  becomes of the files, and what its teacher was.

  Raises:
    ValueError: the language of the config cannot be made, or runs be joined or
      learned from.
  """
  config = config.copy_and_resolve_references()
  if 'language' in config:
    config.language.rules = row_text.read(config.language.get('rules', ''))
    environment.make(**config.language)
  if 'pool' in config:
    config.pool.base = given.as_text(config)
  if 'ensemble' in config:
    config.ensemble.pools = ensemble.as_text(config)
  if 'published' in config:
    config.published.held = published.as_text(config)
  if 'teacher' in config:
    config.teacher.held = teaching.as_text(config)
  return config


def inputs(config) -> dict[str, str]:
  """Digests of what a run reads anew whenever it goes on, by key.

  The formulas of `config.archive`, a network of one's own, panels to learn on.

  Raises:
    ValueError: there is no such archive, file or panel.
  """
  found = {}
  if archive := config.get('archive', ''):
    texts = [text for _, text in given.in_ours(config, archive, 'archive')]
    found['archive'] = hashlib.sha256('\n'.join(texts).encode()).hexdigest()
  for key, paths in _files(config).items():
    gone = [path for path in paths if not path.exists()]
    if gone:
      raise ValueError(f'config.{key}: {gone[0]}: no such file or folder')
    each = ''.join(map(panel_cache.content_hash, paths))
    found[key] = hashlib.sha256(each.encode()).hexdigest()
  return found


def _files(config) -> dict[str, list[Path]]:
  """Files that a run reads beside its market, by key."""
  other = config.get('alphaformer', {}).get('other', '')
  panels = config.get('pretrain', {}).get('panels', '')
  single = {
    'checkpoint': config.get('checkpoint', ''),
    'alphaformer.other': other,
  }
  named = {k: [Path(path).expanduser()] for k, path in single.items() if path}
  if panels and isinstance(panels, str):  # Elsewhere it is a number.
    # What fits markets takes a second to import, which few runs need.
    from alphajax.methods import pretraining_markets

    named['pretrain.panels'] = list(pretraining_markets.files(panels))
  if config.get('panels', {}).get('folder', ''):
    named['panels.folder'] = synthetic_tasks.files(config.panels)
  return {key: paths for key, paths in named.items() if paths}


def check_start(config) -> None:
  """Refuses what would be found out late.

  Raises:
    ValueError: no data where the config says, a number that cannot be, or rules
      of a backtest that cannot be.
  """
  markets.check_source(config)
  path = config.data.path
  if path and not Path(path).expanduser().exists():
    raise ValueError(
      f'{path}: no such file or folder; say where the data are with '
      f'{markets.HOW_TO_NAME}'
    )
  _check_values(config)
  markets.backtest_spec(config)


def _check_values(config) -> None:
  """Refuses values that no method could read."""
  ranges.check(config)
  choice.check(config)
  screen.check(config)


def check(config, workdir: Path) -> tuple[Any, list[str]]:
  """A config as it is run, and what differs from before in its folder.

  What can be refused without the data is: see `check_start`.

  Raises:
    ValueError: a config that cannot be, or a folder made by another one.
  """
  check_start(config)
  config = with_rules(config)
  return config, config_lib.check_config(
    workdir, config.to_dict(), folder.may_change(config), defaults_of(config)
  )


def notes(config, market: Sequence[Split]) -> list[str]:
  """What a user should know before a run begins, each once."""
  of_data = [note for split in market for note in split.panel.notes]
  of_config = [
    *screen.without_effect(config),
    *given.without_effect(config),
    *given.seen_later(config),
    *_short_warmup(config),
    *_not_dealt(config),
    *published.left_out(config),
    *teaching.note(config),
  ]
  return list(dict.fromkeys([*of_config, *of_data]))


def _short_warmup(config) -> list[str]:
  """What is said of a warm-up in which not all formulas begin to speak."""
  if not config.get('lookback') or hasattr(registry.module(config), 'lookback'):
    return []
  needed = environment.lookback(environment.make(**config.language))
  if needed <= config.lookback:
    return []
  return [
    f'config.lookback = {config.lookback}: formulas of this language look back '
    f'{needed} bars at most; those that do for longer than the warm-up, and '
    'pools of which one is a part, have no value on the first days of a split, '
    'which count as 0'
  ]


def _not_dealt(config) -> list[str]:
  """What is said where `config.mesh.learning` changes nothing."""
  if not config.get('mesh', {}).get('learning', False):
    return []
  said = 'config.mesh.learning = True changes nothing'
  method = config.method
  if method == 'refinement':
    method = config.refine.search
  if method != 'alphacfg' and method in registry.METHODS:
    return [f'{said} of {method}: it is read by alphacfg']
  if method == 'alphacfg' and chunks.mesh_of(config) is None:
    return [
      f'{said} here: it takes two devices (config.mesh.devices) and an even '
      f'config.training.batch_size, which is {config.training.batch_size}'
    ]
  return []


def defaults_of(config) -> dict[str, Any]:
  """What was done before there were the keys of a config, nested."""
  defaults = common.get_config()
  # Where a folder is older than this key, the hash of its data decides.
  defaults.data.source = config.data.get('source', defaults.data.source)
  defaults.pretrain = {'markets': 'real'}
  defaults.alphaformer = {'other': ''}
  defaults.value = {'refresh': False}
  return defaults.to_dict()


def restore(config, workdir: Path) -> tuple[Method, Any]:
  """The method of a run and its newest state.

  Raises:
    RunError: there is no checkpoint.
  """
  market, _ = markets.load_market(config)
  method = make_method(config, market)
  for name, rows in method.kept:
    rows.read(rows_lib.path_of(workdir, name))
  start = method.init(jax.random.key(0))
  iteration, state = state_lib.restore(workdir, method, start, set_aside=False)
  if not iteration:
    raise RunError(f'{workdir / "checkpoints"} is empty: train the run first')
  return method, state


def load_test(config, workdir: Path) -> Split:
  """The test split of a run.

  Raises:
    ValueError: see `markets.load_split`; of a refit, whose data may end with
      the days that it was fitted to, it is said what would do.
  """
  try:
    return markets.load_split(config, 'test')
  except ValueError as error:
    made = files.read_json(workdir / 'provenance.json') or {}
    if 'refit' not in made:
      raise
    raise ValueError(
      f'{error}. {workdir} is a refit, fitted up to {config.splits.train[1]}: '
      '--split=START:END --data=PATH judges it on later days of longer data'
    ) from error


def random_formulas(config, workdir: Path, most: int) -> Sequence[Formula]:
  """As many random formulas as a run evaluated, `most` at most; maybe none.

  Raises:
    RunError: the run has evaluated none.
    ValueError: its language has fewer.
  """
  if not most:
    return ()
  path = workdir / 'metrics.jsonl'
  records = writer.read(path) if path.exists() else []  # A refit has none.
  count = min((records[-1].get('evaluated') or 0) if records else 0, most)
  if not count or 'language' not in config:
    raise RunError(
      f'--best_of={most}: {workdir} has evaluated no formulas that a random '
      'one could be compared with; leave it out'
    )
  language = environment.make(**config.language)
  return selection.draw(language, count, config.seed)


def summarize(config, found: Found, predict: Predict, market: Sequence[Split]):
  """What `pool.json` and `daily.npz` say of a result, see `judge.result`.

  Raises:
    ValueError: what the method found is no `Found` of its formulas.
  """
  _check_found(config, found)
  summary, daily = result_lib.summarize(
    predict,
    found.formulas,
    found.weights,
    market,
    markets.label_spec(config),
    {split.name: markets.ceiling(config, split) for split in market},
  )
  return {'iteration': found.iteration, **summary}, daily


def _check_found(config, found: Found) -> None:
  formulas, weights = found.formulas, found.weights
  said = f'config.method is {config.method!r}: its Found has'
  if not all(isinstance(each, Formula) for each in formulas):
    raise ValueError(
      f'{said} formulas that are none: expected what alphajax.parse(text) gives'
    )
  if len(formulas) != len(weights) or not np.all(np.isfinite(weights)):
    raise ValueError(
      f'{said} {len(formulas)} formulas and the weights {list(weights)}: '
      'expected a finite number for each formula'
    )


def keep_result(
  config, workdir: Path, method: Method, market: Market, state: Any
) -> None:
  """Writes `pool.json` and `daily.npz` of the best result so far."""
  found = method.found(state)
  if found is not None:
    predict = functools.partial(method.predict, state)
    summary, daily = summarize(config, found, predict, market)
    state_lib.write_result(workdir, summary, daily)
