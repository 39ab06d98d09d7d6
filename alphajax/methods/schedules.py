"""What of a published schedule is cut to a budget of evaluated formulas.

Methods that learn have sizes and schedules for a hundred thousand formulas or
millions of moves. Here is, in one place, what a run that ends after `budget`
formulas takes instead. Sizes and lengths are cut, never raised, and with a
large budget are the published ones; a learning rate for millions of steps is
raised where there are few, and a pool is chosen as often as a curve needs. (The
novelty of a GFlowNet reads
`config.max_evaluated` itself.)
"""

from collections.abc import Callable, Mapping

from alphajax.methods import choice

POOL_EVERY = 100  # Formulas from one chosen pool to the next, at most,
POOLS = 10  # and so many pools a run, at least.
# A budget below which gradient steps are so few that a published learning rate
# moves nothing: 5e-5 of AlphaQCM is for a step after each of 2 million moves.
FEW_FORMULAS = 10_000
LEARNING_RATE = 1e-3
ITERATIONS = 20  # That a method has at least to learn in.


def of_budget(config, budget: int) -> list[str]:
  """What is set otherwise in a config, KEY=VALUE each.

  Args:
    config: of a method, its pool rule decided.
    budget: formulas that it evaluates, 1 or more.
  """
  changes = _BY_METHOD.get(config.method, lambda *_: {})(config, budget)
  rule = config.get('pool', {}).get('rule', choice.ALGORITHM_1)
  if rule != choice.ALGORITHM_1:
    batch = changes.get('num_trajectories', config.num_trajectories)
    apart = min(POOL_EVERY, budget // POOLS)
    changes['pool.every'] = max(apart // batch, 1)
  return [f'{key}={value}' for key, value in changes.items()]


def unpaid(config) -> int:
  """Iterations of a run that evaluate nothing: those of a pre-training."""
  if config.method != 'alphaformer_paper':
    return 0
  return config.pretrain.num_updates


def _alphaqcm(config, budget: int) -> dict[str, float]:
  """Of all moves 12 % are random, and within half of them ever fewer are."""
  moves = budget * config.language.max_length  # Of the longest games.
  qcm, training = config.qcm, config.training
  return {
    'num_trajectories': _batch(config, budget),
    'qcm.start_steps': min(qcm.start_steps, max(moves * 12 // 100, 1)),
    'qcm.random_decay_steps': min(qcm.random_decay_steps, max(moves // 2, 1)),
    'training.target_interval': min(
      training.target_interval, max(moves * 8 // 100, 1)
    ),
    **_rate(config, budget),
  }


def _gflownet(config, budget: int) -> dict[str, float]:
  return {
    'num_trajectories': _batch(config, budget),
    **_rate(config, budget),
  }


def _gp(config, budget: int) -> dict[str, float]:
  """Ten generations at least, a tournament of six in ten, as published."""
  size = min(config.num_trajectories, max(budget // 10, 2))
  return {
    'num_trajectories': size,
    'gp.tournament': min(config.gp.tournament, max(size * 6 // 10, 1)),
  }


def _batch(config, budget: int) -> int:
  """Games of an iteration."""
  return min(config.num_trajectories, max(budget // ITERATIONS, 1))


def _rate(config, budget: int) -> dict[str, float]:
  if budget >= FEW_FORMULAS:
    return {}
  return {
    'training.learning_rate': max(config.training.learning_rate, LEARNING_RATE)
  }


_BY_METHOD: Mapping[str, Callable[..., dict[str, float]]] = {
  'alphaqcm': _alphaqcm,
  'gflownet': _gflownet,
  'gp': _gp,
}
