"""Refinement of one factor (section 5 and Table 3 of AlphaCFG).

Games begin at a form, the formula with parts left open, instead of the start
symbol. The reward is an objective of the finished formula itself; there is no
pool. What search and network do is AlphaCFG's; random search is the control.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import tune as tune_lib
from alphajax.data import universe
from alphajax.data.panel import Split
from alphajax.factor import evaluate, metrics, objectives
from alphajax.language import environment, masks
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language.formula import Formula
from alphajax.methods import learner as learner_lib
from alphajax.methods import random_search


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

  store: evaluate.Store
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
  learner: None where nothing is learned.
  """

  book: dict[str, float | None]
  best: Formula
  best_score: float
  best_iteration: int
  proposed: int
  iteration: int
  learner: learner_lib.Learner | None


class Refiner(NamedTuple):
  """init: rng_key -> State. step: (State, rng_key) -> State.

  finished: State -> str | None; why the search should end.
  """

  init: Callable
  step: Callable
  finished: Callable


def make_task(config, features: Sequence[str]) -> Task:
  """Reads formula, mask and bound of the config.

  features: those that the formula may read.

  Raises:
    ValueError: a formula or mask that cannot be read, do not match, or leave
      nothing to fill; a part that the language cannot fill; a bound that
      nothing satisfies.
  """
  options = config.refine
  original = formula_lib.parse(options.formula, features)
  if options.mask:
    mask = formula_lib.parse(options.mask, features, holes=True)
  else:
    original = masks.numbers_last(original)
    mask = masks.right_half(original)
  language = environment.make(**config.language)
  if not isinstance(language, grammar_lib.Grammar):
    raise ValueError(
      f'config.language.name is {config.language.name!r}: open parts are '
      'filled by a grammar, such as sem_k'
    )
  start = language.vocab.symbols[language.start].name
  form = masks.lay_over(mask, original, start)
  bound = options.max_length or masks.length(original) + options.extra_length
  grammar = masks.make_grammar(language, form, bound)
  return Task(original, mask, form, grammar, bound)


def make_bench(config, split: Split) -> Bench:
  """Puts the train split on the device."""
  store = evaluate.Store(split.panel, config.store_bytes)
  label = universe.gather(store.universe, jnp.asarray(split.target))
  return Bench(
    store=store,
    label=label,
    target=metrics.make_target(label, store.universe.present),
    scored=jnp.asarray(split.scored),
    objective=make_objective(config),
    signed=config.refine.signed,
  )


def make_objective(config) -> objectives.Objective:
  """The objective that the config names."""
  try:
    return objectives.make(config.refine.objective, config.refine.beta)
  except ValueError as error:
    raise ValueError(f'config.refine.objective and beta: {error}') from error


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


def make(config, task: Task, bench: Bench) -> Refiner:
  """The search that `config.method` names."""
  makers = {'alphacfg': _make_alphacfg, 'random_search': _make_random}
  if config.method not in makers:
    raise ValueError(
      f'config.method is {config.method!r}: expected one of {tuple(makers)}'
    )
  init_learner, step = makers[config.method](config, task, bench)

  def init(rng_key):
    value = score(bench, [task.original])[0]
    return State(
      book={formula_lib.key(task.original): value},
      best=task.original,
      best_score=float('-inf') if value is None else value,
      best_iteration=0,
      proposed=0,
      iteration=0,
      learner=init_learner(rng_key),
    )

  return Refiner(init, step, functools.partial(_finished, config))


def _finished(config, state: State) -> str | None:
  """Early stopping or the budget of evaluations, as in mining."""
  if config.max_evaluated and len(state.book) >= config.max_evaluated:
    return f'{len(state.book)} formulas evaluated (config.max_evaluated)'
  patience = round(config.early_stop * config.num_iterations)
  waited = state.iteration - state.best_iteration
  if patience and waited >= patience:
    return f'nothing better for {waited} iterations (config.early_stop)'
  return None


def commit(
  bench: Bench, state: State, formulas: Sequence[Formula]
) -> tuple[State, list[float | None]]:
  """Scores formulas, those seen before from the book, and keeps the best."""
  keys = [formula_lib.key(formula) for formula in formulas]
  new = {}
  for key, formula in zip(keys, formulas, strict=True):
    if key not in state.book:
      new.setdefault(key, formula)
  book = dict(state.book)
  iteration = state.iteration + 1
  state = state._replace(
    book=book, proposed=state.proposed + len(formulas), iteration=iteration
  )
  if new:
    scores = score(bench, list(new.values()))
    book.update(zip(new, scores, strict=True))
    for formula, value in zip(new.values(), scores, strict=True):
      if value is not None and value > state.best_score:
        state = state._replace(
          best=formula, best_score=value, best_iteration=iteration
        )
  return state, [book[key] for key in keys]


def _make_random(config, task: Task, bench: Bench):
  """Rules drawn uniformly among the valid ones."""

  def step(state, rng_key):
    formulas = random_search.propose(
      task.grammar, state.book, rng_key, config.num_trajectories,
      config.max_evaluated,
    )  # fmt: skip
    return commit(bench, state, formulas)[0]

  return lambda rng_key: None, step


def _make_alphacfg(config, task: Task, bench: Bench):
  """Search guided by a network, which reads whole formulas."""
  grammar = task.grammar
  form_rule = grammar.num_actions - 1  # Its last row; the only first move.
  form = grammar_lib.step(grammar, grammar_lib.init(grammar), form_rule)
  agent = learner_lib.make(config, grammar, form)
  # What the objective gives a formula without any value.
  silence = float(_rate(bench, jnp.zeros(bench.scored.shape))[0])

  def step(state, rng_key):
    play_key, fit_key = jax.random.split(rng_key)
    games = agent.play(state.learner, play_key, state.iteration)
    formulas = grammar_lib.formulas_of(grammar, games.final_tokens)
    state, scores = commit(bench, state, formulas)
    worths = np.array([silence if s is None else s for s in scores], np.float32)
    worths *= config.value.scale
    targets = np.where(np.asarray(games.active), worths, np.float32(0))
    learner, _ = agent.learn(state.learner, fit_key, games, targets, worths)
    return state._replace(learner=learner)

  return agent.init, step
