"""Refinement of one factor (section 5 and Table 3 of AlphaCFG).

Games begin at a form, the formula with parts left open, instead of the start
symbol. The reward is an objective of the finished formula itself; there is no
pool, and the result is one formula. What search and network do is AlphaCFG's;
random search is the control.
"""

import functools
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax import lookup
from alphajax.analysis import tune as tune_lib
from alphajax.data import universe
from alphajax.data.device import put
from alphajax.data.panel import Split
from alphajax.factor import evaluate, metrics, objectives
from alphajax.language import environment, masks
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import Formula
from alphajax.methods import archive, linear, random_search, stopping
from alphajax.methods import bench as bench_lib
from alphajax.methods import learner as learner_lib
from alphajax.methods.base import Found, Market, Method
from alphajax.run.clock import Clock


class Task(NamedTuple):
  """What is to be refined.

  mask, form: the formula with holes, and with nonterminals in their place.
  grammar: writes the fillings of the form.
  bound: largest length of a filling.
  """

  original: Formula
  mask: Formula
  form: Formula
  grammar: grammar_lib.Grammar
  bound: int


class Bench(NamedTuple):
  """The train split on the device, ready to score single formulas."""

  store: evaluate.AnyStore
  label: jax.Array  # f32[T, M], members side by side.
  target: metrics.Target  # The same standardised.
  scored: jax.Array  # bool[T]
  objective: objectives.Objective
  signed: bool


class State(NamedTuple):
  """Everything found so far.

  book: canonical key -> score on train, None for a formula without a value.
  best, best_score: the original until something is better.
  best_iteration: when it was found, 0 for the original.
  ics: IC of the best on train and validation, with the sign that scores.
  learner: None where nothing is learned.
  """

  book: dict[str, float | None]
  best: Formula
  best_score: float
  best_iteration: int
  ics: tuple[float, float]
  proposed: int
  iteration: int
  learner: learner_lib.Learner | None


class Searcher(NamedTuple):
  """What proposes fillings.

  init: rng_key -> learner.
  step: (State, rng_key, clock) -> (State, losses).
  """

  init: Callable[..., Any]
  step: Callable[..., tuple[State, dict[str, float]]]


def make_task(config) -> Task:
  """Reads formula, mask and bound of the config.

  Raises:
    ValueError: a formula or mask that cannot be read, do not match, or leave
      nothing to fill; a part that the language cannot fill; a bound that
      nothing satisfies; targets that follow a pool.
  """
  learner_lib.check_without_pool(config)
  options = config.refine
  features = config.language.get('features', vocab_lib.FEATURES)
  original = formula_lib.parse(options.formula, features)
  if options.mask:
    mask = formula_lib.parse(options.mask, features, holes=True)
  else:
    original = masks.numbers_last(original)
    mask = masks.right_half(original)
  language = environment.make(**config.language)
  if not language.writes_prefix_trees:
    raise ValueError(
      f'config.language.name is {config.language.name!r}: open parts are '
      'filled by a grammar, such as sem_k'
    )
  language = typing.cast(grammar_lib.Grammar, language)  # As it has been asked.
  start = language.vocab.symbols[language.start].name
  form = masks.lay_over(mask, original, start)
  bound = options.max_length or masks.length(original) + options.extra_length
  grammar = masks.make_grammar(language, form, bound)
  return Task(original, mask, form, grammar, bound)


def make_bench(config, split: Split) -> Bench:
  """Puts the train split on the device."""
  store = bench_lib.make_store(config, split.panel)
  return Bench(
    store=store,
    label=universe.gather(store.universe, split.target),
    target=bench_lib.make_target(store.universe, split.target),
    scored=put(split.scored),
    objective=make_objective(config),
    signed=config.refine.signed,
  )


def make_objective(config) -> objectives.Objective:
  """The objective that the config names."""
  options = config.refine
  return objectives.make(
    options.objective, options.beta, 'config.refine.objective'
  )


def _daily_ic(values, members, label, target):
  del label
  return metrics.target_ic(universe.gather(members, values), target)


def _daily_rank_ic(values, members, label, target):
  del target
  values = universe.gather(members, values)
  return metrics.daily_rank_ic(values, label, members.present)


_DAILY = {'ic': _daily_ic, 'rank_ic': _daily_rank_ic}


def daily(bench: Bench, formulas: Sequence[Formula]) -> np.ndarray:
  """The series that the objective reads, of each formula, f32[N, T]."""
  return bench.store.map(
    formulas, _DAILY[bench.objective.series],
    bench.store.universe, bench.label, bench.target,
  )  # fmt: skip


def score(bench: Bench, formulas: Sequence[Formula]) -> list[float | None]:
  """The objective of each formula on train; None without a day that counts."""
  series = daily(bench, formulas)
  heard = np.any((series != 0) & np.asarray(bench.scored), axis=1)
  # Row by row: a batch rounds differently, and another size would compile.
  return [
    float(_rate(bench, row)[0]) if h else None
    for row, h in zip(series, heard, strict=True)
  ]


def sign(bench: Bench, formula: Formula) -> float:
  """1, or -1 where the negative of the formula is what scores."""
  return float(_rate(bench, daily(bench, [formula])[0])[1])


def tune(
  config, bench: Bench, formula: Formula, rng_key: jax.Array
) -> tune_lib.Tuned:
  """The formula with its constants optimised on train; never worse there."""
  return tune_lib.tune(
    formula,
    bench.store,
    bench.target,
    bench.scored,
    rate=lambda series: _rate(bench, series)[0],
    score=functools.partial(score, bench),
    rng_key=rng_key,
    num_steps=config.refine.tune_steps,
    num_starts=config.refine.tune_starts,
  )


def _rate(bench: Bench, series) -> tuple[jax.Array, jax.Array]:
  """Score and sign of a daily series `[T]`."""
  series = jnp.asarray(series)
  if bench.signed:
    scores = bench.objective.score(series, bench.scored)
    return scores, jnp.ones_like(scores)
  return objectives.oriented(bench.objective, series, bench.scored)


def lookback(config) -> int:
  """Bars that the original and its fillings need before the first scored one.

  Raises:
    ValueError: the config sets fewer than the original formula needs.
  """
  task = make_task(config)
  own = formula_lib.lookback(task.original)
  if config.lookback and config.lookback < own:
    raise ValueError(
      f'config.lookback is {config.lookback}; {task.original} looks back {own} '
      'bars: give at least as many, or 0 for as many as are needed'
    )
  return config.lookback or max(own, grammar_lib.lookback(task.grammar))


def make(config, market: Market) -> Method:
  """Makes the method; see `config.refine`."""
  task, bench = make_task(config), make_bench(config, market.train)
  searcher = lookup.resolve(
    config.refine.search, SEARCHERS, key='config.refine.search'
  )(config, task, bench)

  def init(rng_key):
    value = score(bench, [task.original])[0]
    state = State(
      book={formula_lib.key(task.original): value},
      best=task.original,
      best_score=float('-inf') if value is None else value,
      best_iteration=0,
      ics=(0.0, 0.0),
      proposed=0,
      iteration=0,
      learner=searcher.init(rng_key),
    )
    return state._replace(ics=_ics(bench, market, state.best))

  def step(state, rng_key):
    clock, before = Clock(), state.best
    state, fitted = searcher.step(state, rng_key, clock)
    if state.best != before:
      with clock('validation'):
        state = state._replace(ics=_ics(bench, market, state.best))
    return state, {
      'score': _finite(state.best_score),
      'original_score': state.book[formula_lib.key(task.original)],
      'best': formula_lib.to_text(state.best),
      'train_ic': state.ics[0],
      'valid_ic': state.ics[1],
      'proposed': state.proposed,
      'evaluated': len(state.book),
      **fitted,
      'seconds': clock.seconds,
    }

  def found(state):
    if not np.isfinite(state.best_score):
      return None
    sign_ = sign(bench, state.best)
    return Found(state.best_iteration, (state.best,), (sign_,))

  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: linear.predict(found(state), panel),
    found=found,
    finished=functools.partial(_finished, config),
    save=_save,
    load=functools.partial(_load, bench),
  )


def _finite(value: float) -> float | None:
  return value if np.isfinite(value) else None


def _ics(bench: Bench, market: Market, formula: Formula) -> tuple[float, float]:
  """IC of a formula on both splits, with the sign that scores on train."""
  (train, valid) = (
    float(np.mean(linear.daily_ic(Found(0, (formula,), (1.0,)), split)))
    for split in market
  )
  sign_ = sign(bench, formula)
  return sign_ * train, sign_ * valid


def _finished(config, state: State) -> str | None:
  return stopping.reason_to_end(
    config, len(state.book), state.iteration - state.best_iteration,
    'nothing better',
  )  # fmt: skip


def _save(state: State) -> tuple[dict, dict]:
  host = state._asdict()
  arrays = {'learner': host.pop('learner')}
  host |= {
    'book': list(state.book.items()),
    'best': formula_lib.call_text(state.best),
    'best_score': _finite(state.best_score),
  }
  return arrays, host


def _load(bench: Bench, arrays: dict, host: dict) -> State:
  best_score = host['best_score']
  return State(
    **{
      **host,
      'book': dict(host['book']),
      'best': formula_lib.parse(host['best'], bench.store.feature_names),
      'best_score': float('-inf') if best_score is None else best_score,
      'ics': tuple(host['ics']),
    },
    learner=arrays['learner'],
  )


def commit(
  bench: Bench, state: State, formulas: Sequence[Formula], clock: Clock
) -> tuple[State, list[float | None]]:
  """Scores formulas, those seen before from the book, and keeps the best."""
  keys, new = archive.new_ones(state.book, formulas)
  book = dict(state.book)
  iteration = state.iteration + 1
  state = state._replace(
    book=book, proposed=state.proposed + len(formulas), iteration=iteration
  )
  if new:
    with clock('evaluation'):
      scores = score(bench, list(new.values()))
    book.update(zip(new, scores, strict=True))
    for formula, value in zip(new.values(), scores, strict=True):
      if value is not None and value > state.best_score:
        state = state._replace(
          best=formula, best_score=value, best_iteration=iteration
        )
  return state, [book[key] for key in keys]


def _make_random(config, task: Task, bench: Bench) -> Searcher:
  """Rules drawn uniformly among the valid ones."""

  def step(state, rng_key, clock):
    with clock('search'):
      formulas = random_search.propose(
        task.grammar, state.book, rng_key, config.num_trajectories,
        config.max_evaluated,
      )  # fmt: skip
    return commit(bench, state, formulas, clock)[0], {}

  return Searcher(lambda rng_key: None, step)


def _after(grammar: grammar_lib.Grammar, action: int) -> grammar_lib.State:
  """The state after a first move."""
  return grammar_lib.step(grammar, grammar_lib.init(grammar), action)


def _make_alphacfg(config, task: Task, bench: Bench) -> Searcher:
  """Search guided by a network, which reads whole formulas."""
  grammar = task.grammar
  form_rule = grammar.num_actions - 1  # Its last row; the only first move.
  form = jax.jit(_after)(grammar, form_rule)
  agent = learner_lib.make(config, grammar, form)
  # What the objective gives a formula without any value.
  silence = float(_rate(bench, jnp.zeros(bench.scored.shape, jnp.float32))[0])

  def step(state, rng_key, clock):
    play_key, fit_key = jax.random.split(rng_key)
    with clock('search'):
      games = jax.block_until_ready(
        agent.play(state.learner, play_key, state.iteration)
      )
    formulas = grammar_lib.formulas_of(grammar, games.final_tokens)
    state, scores = commit(bench, state, formulas, clock)
    rewards = np.array(
      [silence if s is None else s for s in scores], np.float32
    )
    rewards *= config.value.scale
    targets = np.where(np.asarray(games.active), rewards, np.float32(0))
    with clock('update'):
      learner, losses = agent.learn(
        state.learner, fit_key, games, targets, rewards
      )
    return state._replace(learner=learner), losses

  return Searcher(agent.init, step)


SEARCHERS = {'alphacfg': _make_alphacfg, 'random_search': _make_random}
