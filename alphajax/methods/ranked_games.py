"""AlphaCFG that plays more games than it evaluates formulas.

A screen sees what the finished formula of every game does on a part of the
market, and formulas evaluated let expect what it is worth (`surrogate`). The
best are evaluated, and all games are learned from: what a formula is worth is
foreseen from its behaviour, where the network knows its structure alone. That
holds for those evaluated, too, whose own figure has the noise of the days, and
for those that the screen turns away: what does nothing is worth nothing.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import (
  archive,
  diagnosis,
  foresight,
  miner,
  openings,
  random_search,
  rewards,
  surrogate,
  unexplained,
  validation,
)
from alphajax.methods import learner as learner_lib
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock


class State(NamedTuple):
  """What was found, what was learned, and what the screen knows."""

  mined: archive.Mined
  learner: Any
  known: screen_lib.Known


class Worth(NamedTuple):
  """Of the finished formulas of games.

  left: f64[B], the correlation with what the pool leaves of the label, by its
    size, as foreseen; that of formulas evaluated before there is a forecast.
  known: bool[B], whether anything is known of it.
  alive: bool[B], it has a value on the screen.
  is_new: bool[B], neither it nor a twin was evaluated before, as far as the
    screen has looked, and no earlier game came to it.
  """

  left: np.ndarray
  known: np.ndarray
  alive: np.ndarray
  is_new: np.ndarray


def make(config, market: Market) -> Method:
  """Makes the method; see `config.screen.rank` and `configs/alphacfg.py`."""
  check(config)
  grammar = environment.make(**config.language)
  bench = archive.make_bench(config, market)
  screen = screen_lib.make(config, market.train)
  assert screen is not None  # `check` has seen to it.
  wide = config.copy_and_resolve_references()
  wide.num_trajectories = config.num_trajectories * config.screen.candidates
  agent = learner_lib.make(wide, grammar)
  read = functools.partial(surrogate.read, config.screen, bench)

  def init(rng_key):
    mined = archive.start(bench)
    formulas = archive.formulas(bench, mined)
    known = screen_lib.start(screen, formulas)
    return State(mined, agent.init(rng_key), known)

  def step(state, rng_key):
    mined, learner, known = state
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    with clock('search'):
      games = jax.block_until_ready(
        agent.play(
          learner, play_key, mined.iteration,
          openings.formulas_of(config, bench, mined), (),
        )
      )  # fmt: skip
    finals = environment.formulas_of(grammar, games.final_tokens)
    predicted = np.asarray(agent.value(learner, games.final_tokens))
    before, evidence = mined.book, read(mined, known)
    formulas, known = screen_lib.fill(
      screen, known, before, lambda number: () if number else finals,
      random_search.to_evaluate(
        config.num_trajectories, before, config.max_evaluated
      ),
      clock, **surrogate.ranking(config.screen, evidence) | {'candidates': 0},
    )  # fmt: skip
    mined, outcomes = archive.commit(bench, mined, formulas, clock)
    with clock('targets'):
      old = {*before, *known.turned_away}
      worth = _worth(screen, bench, mined, read(mined, known), finals, old)
      unit = rewards.strongest(mined.book.values())
      games, targets, learned = lesson(config.value, games, worth, unit)
    with clock('update'):
      learner, fitted = agent.learn(learner, learn_key, games, targets, learned)
    mined, metrics = validation.validate(bench, mined, clock)
    place = {f: game for game, f in reversed([*enumerate(finals)])}
    first = [place[formula] for formula in formulas]
    return State(mined, learner, known), {
      **metrics,
      **fitted,
      **known.tally(len(mined.book)),
      **surrogate.figures(config.screen, evidence, mined, known, len(formulas)),
      **diagnosis.diagnostics(predicted[first], learned[first], outcomes),
      'value_rank': _value_rank(predicted, learned, worth),
      'dead': float(np.mean(~worth.alive)),
      'duplicates': float(np.mean(worth.alive & ~worth.is_new)),
      'seconds': clock.seconds,
    }

  def save(state):
    arrays, host = archive.save(state.mined)
    parts = {'mined': arrays, 'learner': state.learner}
    return parts, {**host, **screen_lib.save(state.known)}

  def load(arrays, host):
    mined = archive.load(bench, arrays['mined'], host)
    known = screen_lib.load(screen, host, archive.formulas(bench, mined))
    return State(mined, arrays['learner'], known)

  return miner.make(
    config, bench, init=init, step=step, save=save, load=load, screen=screen
  )


def check(config) -> None:
  """Refuses options under which no formula's worth can be foreseen.

  Raises:
    ValueError: names the key, what it is and what it must be.
  """
  surrogate.check(config)
  why = f'config.screen.rank is {config.screen.rank!r}, and AlphaCFG'
  if 'prior' in config:
    raise ValueError(f'{why} has no prior then: set it to none')
  unexplained.check(config, f'{why} ranks and learns', {'refresh': False})


def _worth(screen, bench, mined, evidence, finals, old) -> Worth:
  """What the finished formulas of games are worth beside the pool of now.

  old: keys of formulas evaluated before, or turned away.
  """
  keys = [formula_lib.key(formula) for formula in finals]
  first = {key: game for game, key in reversed([*enumerate(keys)])}
  distinct = [finals[game] for game in first.values()]
  rows = screen_lib.behaviours(screen, distinct)
  left = unexplained.of_formulas(bench, mined)
  if evidence is not None:
    figures = surrogate.foresee(evidence, rows, left[evidence.ids])
    is_known = np.ones(len(distinct), bool)
  else:
    place = {key: i for i, key in enumerate(mined.book)}
    places = np.array([place.get(key, -1) for key in first])
    figures, is_known = np.where(places < 0, 0.0, left[places]), places >= 0
  of_key = {key: i for i, key in enumerate(first)}
  games = np.array([of_key[key] for key in keys])
  alive = np.asarray(rows.any(axis=1))
  is_new = np.array(
    [key not in old and first[key] == i for i, key in enumerate(keys)]
  )
  # What has no value needs no forecast.
  return Worth(
    np.where(alive, np.abs(figures), 0.0)[games],
    (is_known | ~alive)[games],
    alive[games],
    is_new,
  )


def _value_rank(predicted, learned, worth: Worth) -> float | None:
  """As in `diagnosis`, of all new formulas: those evaluated were chosen."""
  some = worth.is_new & worth.alive & worth.known
  return foresight.rank_correlation(predicted[some], learned[some])


def lesson(
  options, games, worth: Worth, unit: float = 1.0
) -> tuple[Any, np.ndarray, np.ndarray]:
  """What is learned of games: (games, targets f32[M, B], of their ends f32[B]).

  Games of whose end nothing is known teach nothing: none of their moves is
  active.

  options: `config.value`.
  unit: of the normalization `strongest`.
  """
  ends = rewards.normalized(
    options.scale * worth.left, worth.is_new & worth.alive & worth.known,
    options.normalize, unit,
  )  # fmt: skip
  paid = worth.alive & worth.known
  if options.duplicates == 'nothing':
    paid &= worth.is_new
  ends = np.where(paid, ends, 0.0).astype(np.float32)
  active = np.asarray(games.active) & worth.known
  targets = np.where(active, ends, 0.0).astype(np.float32)
  return games.replace(active=active), targets, ends
