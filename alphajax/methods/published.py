"""Published pools, and formulas of your own, as a method: nothing is searched.

`config.published.name` is a library of the field, or the pool that the paper
shows, or `file` for the formulas of `config.formulas`. Their weights are fitted
on train by `config.pool.rule`, as those of any pool are. What of a library
reads columns that there are not is left out, and the run tells of it; lines of
a file that are no formula are refused, unless the config lets the rest through.
"""

import collections
import functools
import json
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.language import dialects, formula_files, library
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import linear
from alphajax.methods import weights as weights_lib
from alphajax.methods.base import Found, Market, Method
from alphajax.run.clock import Clock

FILE = 'file'
TABLE_9 = 'table9'
NAMES = (TABLE_9, *library.LIBRARIES, FILE)
# Table 9 of the paper (arXiv 2601.22119), an example of a pool of the CSI 300.
# Its weights are not taken: all pools are weighted by one rule.
TABLE_9_FORMULAS = (
  'Mean(Corr(Sum(open,40),high-volume,20),20)',
  'volume',
  'Std(close,40)',
  'Pow(Med(Cov(high,low,30),30),0.1)',
  'Delta(Log(Abs(Min(high,30)/0.01)),30)',
  'Cov(-0.1-Sum(close,40),volume,20)+low',
  '0.01*Greater(-0.1/Corr(high,close,30),volume)',
  'Log(Abs(Std(0.05-volume,40)))',
  'Greater(-0.01,Log(Abs(Log(Abs(low)))))',
  'Cov(volume,vwap,40)',
)


class State(NamedTuple):
  """The pool: nothing before the first iteration, all after it.

  ics: mean IC on train and on validation.
  """

  found: Found | None
  ics: tuple[float, float] = (0.0, 0.0)


def as_text(config) -> str:
  """What `config.published` names as the config of a run holds it, JSON.

  `formulas` in our notation, and `left_out`: [where, why] each.

  Raises:
    ValueError: an unknown name, a file that cannot be read, lines that are no
      formula unless `config.published.strict` is False, or no formula at all.
  """
  options = config.published
  if options.name not in NAMES:
    raise ValueError(
      f'config.published.name is {options.name!r}: expected one of '
      f'{", ".join(NAMES)}'
    )
  if config.formulas and options.name != FILE:
    raise ValueError(
      f'config.formulas is {config.formulas!r}, and config.published.name is '
      f'{options.name!r}: for the formulas of a file set '
      f'--config.published.name={FILE}'
    )
  features = tuple(
    dict.fromkeys((*panel_lib.FEATURES, *config.language.features))
  )
  if options.name == TABLE_9:
    texts, left_out = list(TABLE_9_FORMULAS), []
  elif options.name == FILE:
    texts, left_out = _of_file(config, features)
  else:
    texts = list(library.load(options.name, features=features).values())
    lacks = library.left_out(options.name, features=features)
    left_out = [(f'{options.name} {n}', what) for n, what in lacks.items()]
  return json.dumps({'formulas': texts, 'left_out': left_out})


def left_out(config) -> list[str]:
  """What is said of a library of which not all is weighted."""
  if config.method != 'published' or config.published.name == FILE:
    return []  # Of a file it is said where it is read.
  held = json.loads(config.published.held or as_text(config))
  reasons = collections.Counter(what for _, what in held['left_out'])
  if not reasons:
    return []
  count, known = reasons.total(), len(held['formulas'])
  told = ', '.join(f'{what} ({n})' for what, n in reasons.most_common())
  return [
    f'{config.published.name}: {count} of {count + known} formulas are left '
    f'out, for what they need: {told}; columns that the data have are read if '
    'config.language.features names them'
  ]


def _of_file(config, features: Sequence[str]):
  """Formulas of `config.formulas` in our notation, and what is left out."""
  options = config.published
  if not config.formulas:
    raise ValueError(
      'config.formulas is empty: name a file of formulas, such as '
      '--config.formulas=ideas.txt'
    )
  if options.dialect not in dialects.NAMES:
    raise ValueError(
      f'config.published.dialect is {options.dialect!r}: expected one of '
      f'{", ".join(dialects.NAMES)}'
    )
  batch = formula_files.parse(
    formula_files.read(config.formulas), features, options.dialect,
    '--config.published.dialect',
  )  # fmt: skip
  refused = [(each.where, each.reason) for each in batch.refused]
  told = '\n'.join(f'{where}: {reason}' for where, reason in refused)
  if refused and (options.strict or not batch.formulas):
    rest = '; --config.published.strict=False takes the others'
    raise ValueError(
      f'config.formulas is {config.formulas}: {len(refused)} of its lines are '
      f'no formula{rest if batch.formulas else ""}\n{told}'
    )
  if refused:
    warnings.warn(f'{len(refused)} lines are left out\n{told}', stacklevel=2)
  return [formula_lib.call_text(f) for f in batch.formulas], refused


def _texts(config) -> list[str]:
  return json.loads(config.published.held or as_text(config))['formulas']


def lookback(config) -> int:
  """Bars that the longest-looking formula needs."""
  return max(
    formula_lib.lookback(formula_lib.unchecked(text)) for text in _texts(config)
  )


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/published.py`."""
  features = tuple(market.train.panel.feature_names)
  known: dict[str, Formula] = {}
  for text in _texts(config):
    formula = formula_lib.parse(text, features)
    known.setdefault(formula_lib.key(formula), formula)
  formulas = tuple(known.values())

  def init(rng_key):
    del rng_key
    return State(None)

  def step(state, rng_key):
    del state, rng_key
    clock = Clock()
    with clock('pool'):
      found = _fit(config, market, formulas)
    with clock('evaluation'):
      train_ic, valid_ic = (
        float(np.mean(linear.daily_ic(found, split))) for split in market
      )
    return State(found, (train_ic, valid_ic)), {
      'train_ic': train_ic,
      'valid_ic': valid_ic,
      'best_valid_ic': valid_ic,
      'proposed': len(formulas),
      'evaluated': len(formulas),
      'pool_size': len(found.formulas),
      'seconds': clock.seconds,
    }

  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: linear.predict(state.found, panel),
    found=lambda state: state.found,
    finished=lambda state: state.found and f'{len(formulas)} formulas weighted',
    save=_save,
    load=functools.partial(_load, features),
  )


def _fit(config, market: Market, formulas: Sequence[Formula]) -> Found:
  """The pool of the formulas, those that the fit leaves out not in it.

  Raises:
    ValueError: it leaves out all.
  """
  weights = weights_lib.fit(config, market.train, formulas)
  kept = [(f, w) for f, w in zip(formulas, weights, strict=True) if w != 0]
  if not kept:
    raise ValueError(
      f'config.pool.rule={config.pool.rule} leaves out all {len(formulas)} '
      'formulas: take a smaller --config.pool.penalty, or '
      '--config.pool.rule=algorithm1'
    )
  return Found(1, *map(tuple, zip(*kept, strict=True)))


def _save(state: State) -> tuple[dict, dict[str, Any]]:
  """The state for a checkpoint; it has no arrays but the ICs."""
  found = state.found or Found(0)
  return {'ics': np.array(state.ics, np.float32)}, {
    'formulas': [formula_lib.call_text(f) for f in found.formulas],
    'weights': list(found.weights),
    'ics': list(state.ics),
  }


def _load(features: Sequence[str], arrays: dict, host: dict) -> State:
  """The state that `_save` was given."""
  del arrays
  if not host['formulas']:
    return State(None)
  formulas = tuple(formula_lib.parse(t, features) for t in host['formulas'])
  ics = host['ics'][0], host['ics'][1]
  return State(Found(1, formulas, tuple(host['weights'])), ics)
