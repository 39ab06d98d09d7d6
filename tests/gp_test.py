"""Genetic programming as a method: generations, fitness, resume."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.configs import gp as gp_config
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.search import evolution


def config_of(**changes):
  config = tiny.get_config('gp')
  config.gp.update(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def evolved(market):
  return tiny.run(experiment.make_method(config_of(), market), 4)


def test_a_run_that_was_saved_goes_on_with_the_same_bits(market, evolved):
  whole, records = evolved
  method = experiment.make_method(config_of(), market)
  half, _ = tiny.run(method, 2)
  arrays, host = method.save(half)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, 2, state, first=2)
  assert rest == records[2:]
  assert method.found(state) == method.found(whole)
  assert state.population == whole.population
  assert list(state.mined.book.items()) == list(whole.mined.book.items())


def test_a_generation_is_formulas_with_their_own_ic(evolved):
  state, records = evolved
  language = environment.make(**config_of().language)
  rules = evolution.read_rules(language)
  assert len(state.population) == 6
  for each in state.population:
    formula = evolution.formula_of(language, rules, each.derivation)
    environment.derivation(language, formula)
    own = state.mined.book[formula_lib.key(formula)]
    assert each.fitness == abs(own or 0.0)
    assert each.size == formula_lib.size(formula)
  assert [r['proposed'] for r in records] == [6, 12, 18, 24]
  # A copy of a parent is proposed again and costs no evaluation.
  assert records[-1]['evaluated'] < 24
  assert records[-1]['duplicates'] > 0


def test_fitness_rises_with_nothing_but_copies_of_the_best(market):
  config = config_of(
    crossover=0.0, subtree=0.0, hoist=0.0, point=0.0, tournament=100
  )
  state, records = tiny.run(experiment.make_method(config, market), 2)
  assert len({each.derivation for each in state.population}) == 1
  assert records[1]['mean_fitness'] == pytest.approx(records[0]['best_fitness'])
  assert records[1]['made_by_reproduction'] == 1.0
  assert records[1]['distinct'] == pytest.approx(1 / 6)


@pytest.mark.parametrize('language', ['rpn', 'typed_k', 'syn'])
def test_any_language(market, language):
  config = config_of()
  config.language.name = language
  state, records = tiny.run(experiment.make_method(config, market), 2)
  assert records[-1]['proposed'] == 12
  assert all(ic is None or np.isfinite(ic) for ic in state.mined.book.values())


def test_it_stops_at_the_budget_and_takes_any_rule(market):
  config = config_of(crossover=0.5, subtree=0.3)
  config.pool.rule, config.max_evaluated = 'best_distinct', 9
  method = experiment.make_method(config, market)
  state, records = tiny.run(method, 3)
  assert records[-1]['evaluated'] == 9
  assert '9 formulas evaluated' in method.finished(state)
  assert method.found(state).formulas


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'init_depth': (3, 2)}, r'config.gp.init_depth is \(3, 2\)'),
    ({'tournament': 0}, 'config.gp.tournament is 0'),
    ({'parsimony': -1.0}, 'config.gp.parsimony is -1.0'),
    ({'hoist': 1.5}, 'config.gp.hoist is 1.5'),
    ({'crossover': 0.9}, 'add up to 1.11'),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)


def test_published_numbers_are_the_default():
  config = gp_config.get_config()
  assert (config.num_iterations, config.num_trajectories) == (40, 1000)
  assert config.gp.to_dict() == {
    'tournament': 600,
    'init_depth': (2, 6),
    'crossover': 0.3,
    'subtree': 0.1,
    'hoist': 0.01,
    'point': 0.1,
    'point_replace': 0.6,
    'parsimony': 0.0,
  }
