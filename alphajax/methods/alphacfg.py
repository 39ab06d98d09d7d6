"""AlphaCFG: grammar-guided search for a pool of factors (Algorithm 4).

An iteration plays one game per trajectory, every move a tree search guided by
the network; commits the finished formulas to the pool; gives every state of a
trajectory the diversity-aware value target of Eq. 5; and fits the network to
what search and pool said.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from alphajax.language import environment, tree
from alphajax.language import formula as formula_lib
from alphajax.methods import (
  advice,
  archive,
  choice,
  diagnosis,
  miner,
  openings,
  ranked_games,
  rewards,
  unexplained,
  validation,
)
from alphajax.methods import learner as learner_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock

SIMILARITIES = ('formula', 'state', 'none')
DUPLICATES = ('same', 'nothing')
NORMALIZE = ('none', 'rank', 'clip', 'strongest')
SOURCES = ('pool', 'niches')
VALUE_OPTIONS = ('similarity', 'reward', 'scale', 'normalize', 'duplicates')


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphacfg.py`."""
  _check_choices(config)
  # Older runs say nothing of a screen.
  if config.get('screen', {}).get('rank', 'none') != 'none':
    return ranked_games.make(config, market)
  grammar = environment.make(**config.language)
  bench = archive.make_bench(config, market)
  adviser, prior = None, None
  if 'prior' in config:
    adviser, bench = advice.make(config, market, bench, config.prior.num_probes)
    prior = advice.prior_of(config, grammar, adviser.model)
  refreshes = config.value.get('refresh', False)  # Older runs do not say.
  agent = learner_lib.make(config, grammar, prior=prior, numbered=refreshes)
  targets_of: Callable[..., tuple] = functools.partial(
    value_targets,
    grammar,
    objective=bench.objective,
    **{name: config.value[name] for name in VALUE_OPTIONS},
  )

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    told = ()
    if adviser is not None:
      with clock('read'):
        told = adviser.tell(bench, state.mined)
    with clock('search'):
      games = jax.block_until_ready(
        agent.play(
          state.learner,
          play_key,
          state.mined.iteration,
          openings.formulas_of(config, bench, state.mined),
          told,
        )
      )
    formulas = environment.formulas_of(grammar, games.final_tokens)
    mined, outcomes = archive.commit(bench, state.mined, formulas, clock)
    with clock('targets'):
      predicted = np.asarray(agent.value(state.learner, games.final_tokens))
      if refreshes:
        now = worths_now(config, bench, mined)
        numbers = numbers_of(games, formulas, mined.book)
        targets, lesson = now[numbers], (numbers, None, now)
      else:
        unit = rewards.strongest(mined.book.values())
        targets, worths = targets_of(games, outcomes, unit=unit)
        lesson = (targets, worths, None)
    with clock('update'):
      learner, fitted = agent.learn(state.learner, learn_key, games, *lesson)
    mined, metrics = validation.validate(bench, mined, clock)
    return miner.State(mined, learner), {
      **metrics,
      **fitted,
      **diagnosis.diagnostics(
        predicted, diagnosis.learned(games, targets), outcomes
      ),
      'seconds': clock.seconds,
    }

  return miner.make_learning(config, bench, init=agent.init, step=step)


def _check_choices(config) -> None:
  """Refuses an unknown word in `config.value`, or openings of no niches."""
  rewards.reward_of(config.value.reward)
  for name, choices in (
    ('similarity', SIMILARITIES),
    ('normalize', NORMALIZE),
    ('duplicates', DUPLICATES),
  ):
    if config.value[name] not in choices:
      raise ValueError(
        f'config.value.{name} is {config.value[name]!r}: expected one of '
        f'{choices}'
      )
  _check_refresh(config)
  source = config.search.openings_from
  if source not in SOURCES:
    raise ValueError(
      f'config.search.openings_from is {source!r}: expected one of {SOURCES}'
    )
  if source == 'niches' and config.pool.rule == choice.ALGORITHM_1:
    raise ValueError(
      "config.search.openings_from = 'niches' tells formulas apart by what "
      'is kept of all of them: set config.pool.rule, such as elastic_net'
    )


def _check_refresh(config) -> None:
  """Refuses targets of now that are not known of every formula."""
  if config.value.get('refresh', False):
    unexplained.check(
      config, 'config.value.refresh sets targets anew', {'duplicates': 'same'}
    )


def numbers_of(games, formulas, book) -> np.ndarray:
  """The place in the book of what each state came to, i32[M, B]."""
  place = {key: i for i, key in enumerate(book)}
  ends = [place[formula_lib.key(formula)] for formula in formulas]
  return np.broadcast_to(
    np.array(ends, np.int32), np.asarray(games.active).shape
  )


def worths_now(config, bench: archive.Bench, mined: archive.Mined):
  """What every formula of the book is worth beside the pool of now, f32[C].

  C, at least the formulas of the book, does not change as a run goes on.
  """
  left = np.abs(unexplained.of_formulas(bench, mined))
  options = config.value
  worths = rewards.normalized(
    options.scale * left, np.ones(len(left), bool), options.normalize,
    rewards.strongest(mined.book.values()),
  )  # fmt: skip
  given = sum(map(len, bench.given))
  most = given + config.num_iterations * config.num_trajectories
  table = np.zeros(max(most, len(worths)), np.float32)
  table[: len(worths)] = worths
  return table


def value_targets(
  grammar,
  games,
  outcomes,
  *,
  similarity,
  reward,
  objective,
  scale,
  normalize='none',
  unit=1.0,
  duplicates,
):
  """Value targets of all states of all trajectories (Eq. 5).

  z = scale * (1 - max similarity to the pool) * IC, where the pool is the one
  that the finished formula met.

  Args:
    grammar: that of the games.
    games: `mcts.Trajectories`.
    outcomes: one `archive.Outcome` per game.
    similarity: of the finished `formula`, of each `state`, or `none`.
    reward: the IC of the `pool` after the formula (the paper), its `gain` by
      the formula, the IC of the `factor` itself, whatever its sign, since the
      pool can weigh it negatively, or its correlation with what the pool left
      `unexplained`.
    objective: what the IC stands for, see `rewards`.
    scale: 1 in the paper.
    normalize: what is learned of the scaled reward, see `rewards.normalized`;
      none in the paper.
    unit: of the normalization `strongest`.
    duplicates: what a formula that was evaluated before is worth: the `same`
      as ever (the paper), or `nothing`, since it adds nothing.

  Returns:
    (f32[M, B], and what the finished formulas are worth from now on, f32[B]).
  """
  active = np.asarray(games.active)
  targets = np.zeros(active.shape, np.float32)
  final = np.zeros(active.shape[1], np.float32)
  finals = environment.formulas_of(grammar, games.final_tokens)
  worths = _worths(outcomes, reward, objective, scale, normalize, unit)

  def target(formula, outcome, worth):
    likeness = 0.0
    if similarity != 'none':
      likeness = tree.max_similarity(formula, outcome.pool_before)
    return rewards.value_target(worth, likeness)

  for game, outcome in enumerate(outcomes):
    if duplicates == 'nothing' and not outcome.is_new:
      continue
    final[game] = target(finals[game], outcome, worths[game])
    targets[active[:, game], game] = final[game]
    if similarity == 'state':
      for move in np.flatnonzero(active[:, game]):
        partial = environment.formula_of(grammar, games.tokens[move, game])
        targets[move, game] = target(partial, outcome, worths[game])
  return targets, final if duplicates == 'same' else np.zeros_like(final)


def _worths(outcomes, reward, objective, scale, normalize, unit) -> np.ndarray:
  """What the formulas are worth, similar to others or not; `value_targets`."""
  worth = rewards.reward_of(reward)
  worths = scale * np.array([worth(outcome, objective) for outcome in outcomes])
  is_new = np.array([outcome.is_new for outcome in outcomes])
  return rewards.normalized(worths, is_new, normalize, unit)
