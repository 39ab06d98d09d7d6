"""A pool chosen by a rule from everything that was evaluated."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from alphajax import lookup
from alphajax.data import universe
from alphajax.data.panel import LabelSpec, Split
from alphajax.factor import metrics, pool_rules
from alphajax.methods import memory as memory_lib

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
  pool = config.pool
  name = pool.get('rule', ALGORITHM_1)
  if name == ALGORITHM_1:
    return None
  rule = lookup.function(
    name, pool_rules.RULES, 'choose(evidence, options, seed)',
    key='config.pool.rule',
  )  # fmt: skip
  check_options(pool)
  recorder = make_recorder(config, split, members, target)
  return Chooser(
    recorder=recorder,
    label=np.asarray(target.label)[recorder.days],
    rule=rule,
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
  return memory_lib.make_recorder(
    split, members, target,
    labels=config.pool.labels, num_days=config.pool.days,
    spec=LabelSpec(**config.label),
  )  # fmt: skip


def options_of(pool) -> pool_rules.Options:
  """The options of rules in `config.pool`."""
  return pool_rules.Options(
    **{name: pool[name] for name in pool_rules.Options._fields}
  )


def parse(text: str, options: pool_rules.Options):
  """A rule by its name, maybe with options of its own.

  text: `distilled` or `distilled@capacity=20`, `elastic_net@penalty=3@ridge=1`.

  Returns:
    (rule, options).

  Raises:
    ValueError: an unknown rule or option, or a value that is none.
  """
  name, *changes = text.split('@')
  if name not in pool_rules.RULES:
    known = ', '.join((ALGORITHM_1, *pool_rules.RULES))
    raise ValueError(f'--rules has {name!r}: expected some of {known}')
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
  return pool_rules.RULES[name], options


def check_options(pool) -> None:
  """Refuses options that no rule can have, by their key."""
  for name, least in (
    ('penalty', 0), ('ridge', 0), ('bags', 1), ('every', 1), ('keep', 0),
  ):  # fmt: skip
    if not pool.get(name, least) >= least:
      raise ValueError(
        f'config.pool.{name} is {pool[name]}: expected >= {least}'
      )
  if not 0 < pool.max_corr <= 1:
    raise ValueError(
      f'config.pool.max_corr is {pool.max_corr}: expected above 0, up to 1'
    )
  if pool.weighting not in WEIGHTINGS:
    raise ValueError(
      f'config.pool.weighting is {pool.weighting!r}: expected one of '
      f'{WEIGHTINGS}'
    )


def due(chooser: Chooser, iteration: int, ends: bool) -> bool:
  """A pool is chosen now: every few iterations, and at the end.

  ends: the run ends here for another reason than its number of iterations.
  """
  return ends or not iteration % chooser.every or iteration >= chooser.last


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
  weights = function(evidence, options, chooser.seed)
  chosen = np.flatnonzero(weights)
  if not chosen.size:
    return Choice((), (), 0.0)
  signal = weights[chosen] @ pool_rules.take(evidence, chosen)
  return Choice(
    tuple(memory.ids[i] for i in chosen.tolist()),
    tuple(weights[chosen].tolist()),
    _mean_ic(signal.reshape(chooser.label.shape), chooser.label),
  )


def _mean_ic(signal: np.ndarray, label: np.ndarray) -> float:
  """Mean correlation of signal and label, `[n, M]`, both 0 where unknown."""
  product = np.sum(signal * label, -1)
  norm = np.sqrt(np.sum(signal**2, -1) * np.sum(label**2, -1))
  return float(np.mean(product / np.where(norm > 0, norm, 1.0)))
