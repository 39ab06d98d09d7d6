"""A pool chosen by a rule from everything that was evaluated."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from alphajax import lookup
from alphajax.data import universe
from alphajax.data.panel import LabelSpec, Split
from alphajax.factor import metrics, pool_rules
from alphajax.factor import pool as pool_lib
from alphajax.methods import memory as memory_lib
from alphajax.run import ranges

ALGORITHM_1 = 'algorithm1'
WEIGHTINGS = ('ridge', 'equal')


class Chooser(NamedTuple):
  """How and when a pool is chosen; made once a run.

  rule: (evidence, options, seed) -> weights f64[N]; see `pool_rules`.
  every: iterations from one choice to the next.
  last: the iteration after which the run ends.
  base: how many formulas at the front of the book are in every pool.
  """

  recorder: memory_lib.Recorder
  label: np.ndarray  # f32[n, M] the plain label on the days that are kept.
  rule: Callable[..., np.ndarray]
  options: pool_rules.Options
  every: int
  last: int
  seed: int
  base: int


class Choice(NamedTuple):
  """What a rule chose.

  ids: of the formulas in the book.
  weights: of their standardised values, none of them 0.
  train_ic: of the pool, over the days that are kept of every formula.
  """

  ids: tuple[int, ...]
  weights: tuple[float, ...]
  train_ic: float


def make(
  config,
  split: Split,
  members: universe.Universe,
  target: metrics.Target,
  base: int = 0,
) -> Chooser | None:
  """What `config.pool` asks for; None for the pool of Algorithm 1.

  base: formulas, the first in the book, that are in every pool.

  Raises:
    ValueError: an unknown rule, or an option that it cannot have.
  """
  check(config)
  pool = config.pool
  name = pool.get('rule', ALGORITHM_1)
  if name == ALGORITHM_1:
    return None
  recorder = make_recorder(config, split, members, target)
  return Chooser(
    recorder=recorder,
    label=np.asarray(target.label)[recorder.days],
    rule=_rule(name, 'config.pool.rule'),
    options=options_of(pool),
    every=pool.every,
    last=config.num_iterations,
    seed=config.seed,
    base=base,
  )


def make_recorder(
  config, split: Split, members: universe.Universe, target: metrics.Target
) -> memory_lib.Recorder:
  """How what stays of a formula is taken, as `config.pool` says."""
  recorder = memory_lib.make_recorder(
    split, members, target,
    labels=config.pool.labels, num_days=config.pool.days,
    spec=LabelSpec(**config.label),
  )  # fmt: skip
  value = config.get('value', {})
  objective = value.get('objective', 'ic')
  if objective != 'ic':
    objective = f'{objective}, beta {value.beta}'
  return memory_lib.with_kept(config, recorder, split, target, objective)


def options_of(pool) -> pool_rules.Options:
  """The options of rules in `config.pool`."""
  return pool_rules.Options(
    **{name: pool[name] for name in pool_rules.Options._fields}
  )


def _rule(name: str, key: str) -> Callable[..., np.ndarray]:
  """The rule of a name other than `algorithm1`; key: for the message."""
  if name == 'average':
    raise ValueError(
      f'{key} is {name!r}: no rule averages pools, configs/ensemble.py does '
      "with --config.runs=\"('runs/a','runs/b')\""
    )
  return lookup.function(
    # The first is named, where none is found, and never looked up.
    name, {ALGORITHM_1: '', **pool_rules.RULES},
    'choose(evidence, options, seed)', key=key,
  )  # fmt: skip


def parse(text: str, options: pool_rules.Options):
  """A rule by its name, maybe with options of its own.

  text: `distilled` or `distilled@capacity=20`, `elastic_net@penalty=3@ridge=1`,
    or the import path of a rule in place of the name.

  Returns:
    (rule, options).

  Raises:
    ValueError: an unknown rule or option, or a value that it cannot have.
  """
  name, *changes = text.split('@')
  if name == ALGORITHM_1:
    raise ValueError(
      f'--rules has {text!r}: {name} takes what config.pool says, as in '
      '--config.pool.capacity=20'
    )
  rule = _rule(name, '--rules')
  for change in changes:
    key, _, value = change.partition('=')
    if key not in options._fields:
      raise ValueError(
        f'--rules has {text!r}: expected NAME@option=value, an option being '
        f'one of {", ".join(options._fields)}'
      )
    kind = type(getattr(options, key))
    try:
      options = options._replace(**{key: kind(value)})
    except ValueError as error:
      raise ValueError(
        f'--rules has {text!r}: {value!r} is no {kind.__name__}'
      ) from error
    named = f'--rules has {text!r}: {key}'
    if key == 'weighting':
      _check_word(value, WEIGHTINGS, named)
    else:
      ranges.check_number(f'pool.{key}', getattr(options, key), named)
  return rule, options


def check(config) -> None:
  """Refuses what `config.pool` cannot hold, whether it is read or not.

  Raises:
    ValueError: names the key and what is expected.
  """
  pool = config.get('pool', {})
  ranges.check(config, 'pool.')
  for name, known in (('accept', pool_lib.ACCEPTS), ('weighting', WEIGHTINGS)):
    _check_word(pool.get(name, known[0]), known, f'config.pool.{name}')
  memory_lib.check_labels(pool.get('labels', memory_lib.LABELS))
  if (rule := pool.get('rule', ALGORITHM_1)) != ALGORITHM_1:
    _rule(rule, 'config.pool.rule')


def _check_word(value: str, known: tuple[str, ...], name: str) -> None:
  if value not in known:
    raise ValueError(f'{name} is {value!r}: expected one of {known}')


def due(chooser: Chooser, iteration: int, ends: bool) -> bool:
  """A pool is chosen now: at first, every few iterations, and at the end.

  ends: the run ends here for another reason than its number of iterations.
  """
  outer = iteration == 1 or iteration >= chooser.last
  return ends or outer or not iteration % chooser.every


def choose(
  chooser: Chooser, memory: memory_lib.Memory, rule: str | None = None
) -> Choice:
  """The pool of the rule; of another one that `parse` reads."""
  if not memory.ids:
    return Choice((), (), 0.0)
  evidence = memory_lib.evidence(chooser.recorder, memory)
  function, options = chooser.rule, chooser.options
  if rule is not None:
    function, options = parse(rule, options)
  base = np.flatnonzero(np.array(memory.ids) < chooser.base)
  if base.size:
    function = pool_rules.beyond(function, base)
  weights = _checked(function(evidence, options, chooser.seed), evidence)
  chosen = np.flatnonzero(weights)
  if not chosen.size:
    return Choice((), (), 0.0)
  signal = weights[chosen] @ pool_rules.take(evidence, chosen)
  return Choice(
    tuple(memory.ids[i] for i in chosen.tolist()),
    tuple(weights[chosen].tolist()),
    _mean_ic(signal.reshape(chooser.label.shape), chooser.label),
  )


def _checked(weights, evidence: pool_rules.Evidence) -> np.ndarray:
  """What a rule gave, f64[N]; a rule may be the user's.

  Raises:
    ValueError: it is not one finite number for each formula.
  """
  given, count = np.asarray(weights), len(evidence.daily)
  if given.shape != (count,) or given.dtype.kind not in 'fiub':
    raise ValueError(
      f'the rule of the pool (config.pool.rule) gave {given.dtype}'
      f'{list(given.shape)}: expected weights f64[{count}], one of each formula'
    )
  if not np.all(np.isfinite(given)):
    raise ValueError(
      f'the rule of the pool (config.pool.rule) gave '
      f'{np.sum(~np.isfinite(given))} of {count} formulas a weight that is not '
      'finite; 0 is the weight of those left out'
    )
  return given.astype(np.float64)


def _mean_ic(signal: np.ndarray, label: np.ndarray) -> float:
  """Mean correlation of signal and label, `[n, M]`, both 0 where unknown."""
  product = np.sum(signal * label, -1)
  norm = np.sqrt(np.sum(signal**2, -1) * np.sum(label**2, -1))
  return float(np.mean(product / np.where(norm > 0, norm, 1.0)))
