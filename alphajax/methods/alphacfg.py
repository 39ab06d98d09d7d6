"""AlphaCFG: grammar-guided search for a pool of factors (Algorithm 4).

An iteration plays one game per trajectory, every move a tree search guided by
the network; commits the finished formulas to the pool; gives every state of a
trajectory the diversity-aware value target of Eq. 5; and fits the network to
what search and pool said.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from alphajax.language import environment, tree
from alphajax.methods import archive, linear, rewards, stopping, validation
from alphajax.methods import learner as learner_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock

SIMILARITIES = ('formula', 'state', 'none')
REWARDS = ('pool', 'factor', 'unexplained')
DUPLICATES = ('same', 'nothing')
VALUE_OPTIONS = ('similarity', 'reward', 'scale', 'duplicates')


class State(NamedTuple):
  """What was found, and the network that finds it."""

  mined: archive.Mined
  learner: learner_lib.Learner


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphacfg.py`."""
  _check_choices(config.value)
  grammar = environment.make(**config.language)
  bench = archive.make_bench(config, market)
  agent = learner_lib.make(config, grammar)
  targets_of: Callable[..., tuple] = functools.partial(
    value_targets,
    grammar,
    objective=bench.objective,
    **{name: config.value[name] for name in VALUE_OPTIONS},
  )

  def init(rng_key):
    return State(archive.start(bench), agent.init(rng_key))

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    with clock('search'):
      games = jax.block_until_ready(
        agent.play(
          state.learner,
          play_key,
          state.mined.iteration,
          archive.members(bench, state.mined)[0],
        )
      )
    formulas = environment.formulas_of(grammar, games.final_tokens)
    mined, outcomes = archive.commit(bench, state.mined, formulas, clock)
    with clock('targets'):
      targets, worths = targets_of(games, outcomes)
    with clock('update'):
      learner, fitted = agent.learn(
        state.learner, learn_key, games, targets, worths
      )
    mined, metrics = validation.validate(bench, mined, clock)
    return State(mined, learner), {
      **metrics, **fitted, 'seconds': clock.seconds
    }  # fmt: skip

  def save(state):
    arrays, host = archive.save(state.mined)
    return {'mined': arrays, 'learner': state.learner}, host

  def load(arrays, host):
    return State(archive.load(bench, arrays['mined'], host), arrays['learner'])

  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: linear.predict(
      archive.found(state.mined), panel
    ),
    found=lambda state: archive.found(state.mined),
    finished=lambda state: stopping.finished(config, state.mined),
    save=save,
    load=load,
  )


def _check_choices(value) -> None:
  """Refuses an unknown word in `config.value`."""
  for name, choices in (
    ('similarity', SIMILARITIES),
    ('reward', REWARDS),
    ('duplicates', DUPLICATES),
  ):
    if value[name] not in choices:
      raise ValueError(
        f'config.value.{name} is {value[name]!r}: expected one of {choices}'
      )


def value_targets(
  grammar, games, outcomes, *, similarity, reward, objective, scale, duplicates
):
  """Value targets of all states of all trajectories (Eq. 5).

  z = scale * (1 - max similarity to the pool) * IC, where the pool is the one
  that the finished formula met.

  Args:
    grammar: that of the games.
    games: `mcts.Trajectories`.
    outcomes: one `archive.Outcome` per game.
    similarity: of the finished `formula`, of each `state`, or `none`.
    reward: the IC of the `pool` after the formula (the paper), that of the
      `factor` itself, whatever its sign, since the pool can weigh it
      negatively, or its correlation with what the pool left `unexplained`.
    objective: what the IC stands for, see `rewards`.
    scale: 1 in the paper.
    duplicates: what a formula that was evaluated before is worth: the `same`
      as ever (the paper), or `nothing`, since it adds nothing.

  Returns:
    (f32[M, B], and what the finished formulas are worth from now on, f32[B]).
  """
  active = np.asarray(games.active)
  targets = np.zeros(active.shape, np.float32)
  final = np.zeros(active.shape[1], np.float32)
  finals = environment.formulas_of(grammar, games.final_tokens)

  def target(formula, outcome, worth):
    likeness = 0.0
    if similarity != 'none':
      likeness = tree.max_similarity(formula, outcome.pool_before)
    return scale * rewards.value_target(worth, likeness)

  for game, outcome in enumerate(outcomes):
    if duplicates == 'nothing' and not outcome.is_new:
      continue
    worth = rewards.of_outcome(outcome, reward, objective)
    final[game] = target(finals[game], outcome, worth)
    targets[active[:, game], game] = final[game]
    if similarity == 'state':
      for move in np.flatnonzero(active[:, game]):
        partial = environment.formula_of(grammar, games.tokens[move, game])
        targets[move, game] = target(partial, outcome, worth)
  return targets, final if duplicates == 'same' else np.zeros_like(final)
