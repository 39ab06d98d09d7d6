"""Genetic programming, the paper's baseline: gplearn's scheme on our trees.

An iteration is a generation. The fitness of a formula is the size of its own IC
on train, whatever its sign, since a pool can weigh it negatively. Formulas met
before cost nothing. The pool is that of `config.pool.rule`, made of all.
"""

import collections
from typing import NamedTuple

import jax
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.language.grammar import Grammar
from alphajax.methods import (
  archive,
  evolution,
  miner,
  random_search,
  validation,
)
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock
from alphajax.search import genetic
from alphajax.search.evolution import Derivation, Rules, formula_of, read_rules
from alphajax.search.genetic import Individual


class State(NamedTuple):
  """What was found, and the generation that the next one is made of."""

  mined: archive.Mined
  population: tuple[Individual, ...]


class Bred(NamedTuple):
  """A generation before it is evaluated; `made` names what made each."""

  derivations: list[Derivation]
  formulas: list[Formula]
  made: list[str]


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/gp.py`."""
  scheme = scheme_of(config)
  grammar = evolution.trees_of(environment.make(**config.language), config)
  rules = read_rules(grammar)
  bench = archive.make_bench(config, market, reads_pool=False)

  def init(rng_key):
    del rng_key
    return State(archive.start(bench), ())

  def step(state, rng_key):
    clock = Clock()
    seed = np.asarray(jax.random.key_data(rng_key)).tolist()
    rng = np.random.default_rng(seed)
    with clock('search'):
      bred = breed(config, grammar, rules, scheme, state, rng)
    mined, _ = archive.commit(bench, state.mined, bred.formulas, clock)
    population = individuals(bred, mined)
    new = len(mined.book) - len(state.mined.book)
    mined, metrics = validation.validate(bench, mined, clock)
    return State(mined, population), {
      **metrics,
      **diagnostics(population, bred.made),
      'mean_own_ic': evolution.mean_own_ic(mined, new),
      'duplicates': 1 - new / max(len(bred.formulas), 1),
      'seconds': clock.seconds,
    }

  def save(state):
    arrays, host = archive.save(state.mined)
    return arrays, {**host, 'population': state.population}

  def load(arrays, host):
    population = tuple(
      Individual(tuple(derivation), fitness, size)
      for derivation, fitness, size in host['population']
    )
    return State(archive.load(bench, arrays, host), population)

  return miner.make(config, bench, init=init, step=step, save=save, load=load)


def breed(
  config,
  grammar: Grammar,
  rules: Rules,
  scheme: genetic.Scheme,
  state: State,
  rng: np.random.Generator,
) -> Bred:
  """A generation; it ends early with the budget of evaluations."""
  book = state.mined.book
  room = random_search.to_evaluate(
    config.num_trajectories, book, config.max_evaluated
  )
  bred, new = Bred([], [], []), set()
  while len(bred.derivations) < config.num_trajectories:
    if state.population:
      child, name = genetic.child_of(rules, state.population, scheme, rng)
    else:
      child, name = genetic.half_and_half(rules, scheme, rng), 'first'
    formula = formula_of(grammar, rules, child)
    key = formula_lib.key(formula)
    if key not in book and key not in new:
      if len(new) == room:
        break
      new.add(key)
    bred.derivations.append(child)
    bred.formulas.append(formula)
    bred.made.append(name)
  return bred


def individuals(bred: Bred, mined: archive.Mined) -> tuple[Individual, ...]:
  """A generation with its fitness, once all of it is in the book."""
  return tuple(
    Individual(
      derivation,
      abs(mined.book[formula_lib.key(formula)] or 0.0),
      formula_lib.size(formula),
    )
    for derivation, formula in zip(bred.derivations, bred.formulas, strict=True)
  )


def diagnostics(population, made) -> dict[str, float | None]:
  """What a generation is made of; None of one without formulas.

  best_fitness, mean_fitness, mean_size: of its formulas.
  distinct: share of formulas written differently.
  made_by_*: share of each operator.
  """
  if not population:
    return {}
  fitness = [individual.fitness for individual in population]
  counts = collections.Counter(made)
  written = {individual.derivation for individual in population}
  return {
    'best_fitness': max(fitness),
    'mean_fitness': float(np.mean(fitness)),
    'mean_size': float(np.mean([each.size for each in population])),
    'distinct': len(written) / len(population),
    **{
      f'made_by_{name}': counts[name] / len(population)
      for name in (*genetic.OPERATORS, genetic.REPRODUCTION)
    },
  }


def scheme_of(config) -> genetic.Scheme:
  """The scheme of `config.gp`.

  Raises:
    ValueError: an option that cannot be; names its key.
  """
  options = config.gp.to_dict()
  low, high = options['init_depth']
  if not 1 <= low <= high:
    raise ValueError(
      f'config.gp.init_depth is {(low, high)}: expected a least depth of 1 or '
      'more and a largest that is not below it'
    )
  if options['tournament'] < 1:
    raise ValueError(
      f'config.gp.tournament is {options["tournament"]}: expected >= 1'
    )
  if options['parsimony'] < 0:
    raise ValueError(
      f'config.gp.parsimony is {options["parsimony"]}: expected >= 0'
    )
  for name in (*genetic.OPERATORS, 'point_replace'):
    if not 0 <= options[name] <= 1:
      raise ValueError(
        f'config.gp.{name} is {options[name]}: expected a probability, 0 to 1'
      )
  total = sum(options[name] for name in genetic.OPERATORS)
  if total > 1 + 1e-9:
    raise ValueError(
      f'config.gp: {", ".join(genetic.OPERATORS)} add up to {total:.3g}: '
      'expected probabilities of at most 1 together'
    )
  return genetic.Scheme(**{**options, 'init_depth': (low, high)})
