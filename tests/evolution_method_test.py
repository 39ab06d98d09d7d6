"""Evolution as a method: niches, resume, what is logged."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import evolution
from alphajax.methods import screen as screen_lib


def config_of(method='evolution', **changes):
  config = tiny.get_config(method)
  config.screen.twin = 0.99
  config.pool.rule = 'elastic_net'
  config.pool.penalty = 0.5
  config.evolution = config.get('evolution') or {}
  config.evolution.update(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.mark.parametrize('name', ['evolution', 'random_search'])
def test_a_run_that_was_saved_goes_on_with_the_same_bits(market, name):
  config = config_of(name)
  whole, records = tiny.run(experiment.make_method(config, market), 4)
  method = experiment.make_method(config, market)
  half, _ = tiny.run(method, 2)
  arrays, host = method.save(half)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, 2, state, first=2)
  assert rest == records[2:]
  assert method.found(state) == method.found(whole)
  assert list(state.mined.book.items()) == list(whole.mined.book.items())
  assert state.known.turned_away == whole.known.turned_away


@pytest.fixture(scope='module')
def evolved(market):
  return tiny.run(experiment.make_method(config_of(fresh=0.0), market), 4)


def test_everything_evaluated_has_its_derivation(evolved):
  state, records = evolved
  grammar = environment.make(**config_of().language)
  rules = evolution.evolution.read_rules(grammar)
  assert len(state.derivations) == len(state.mined.book) == 24
  for key, derivation in zip(state.mined.book, state.derivations, strict=True):
    formula = evolution.evolution.formula_of(grammar, rules, derivation)
    assert formula_lib.key(formula) == key
  assert [r['parents'] for r in records] == [0, 4, 4, 4]
  assert records[-1]['evaluated'] == records[-1]['proposed'] == 24
  assert records[-1]['dead'] + records[-1]['twins'] > 0


def test_niches_are_the_strongest_that_are_unlike(evolved, market):
  state, _ = evolved
  config = config_of(num_parents=5)
  bench = evolution.archive.make_bench(config, market)
  places = evolution.choose_parents(config.evolution, bench, state)
  strengths = np.abs([ic or 0.0 for ic in state.mined.book.values()])
  assert places[0] == strengths.argmax() and len(places) == 5
  assert list(strengths[places]) == sorted(strengths[places], reverse=True)
  alike = screen_lib.correlations(state.known, np.array(places))
  assert np.abs(alike[~np.eye(5, dtype=bool)]).max() < 0.7
  # Whoever is stronger than the last and no parent is like a parent.
  everyone = np.abs(screen_lib.correlations(state.known, np.arange(24)))
  for i in np.flatnonzero(strengths > strengths[places[-1]]):
    assert everyone[i, places].max() > 0.69 or i in places


def test_unexplained_is_what_the_pool_leaves_of_the_label(evolved, market):
  state, _ = evolved
  bench = evolution.archive.make_bench(config_of(), market)
  options = config_of(fitness='unexplained').evolution
  left = evolution._fitness(options, bench, state.mined)
  own = evolution._fitness(config_of().evolution, bench, state.mined)
  known = list(state.mined.book)
  pool = [known.index(formula_lib.key(f)) for f in state.mined.found.formulas]
  # The elastic net explains its members down to penalty and ridge.
  assert np.abs(left[pool]).mean() < np.abs(own[pool]).mean()


def test_parents_of_the_pool(evolved, market):
  state, _ = evolved
  bench = evolution.archive.make_bench(config_of(), market)
  options = config_of(parents='pool').evolution
  parents = evolution.choose_parents(options, bench, state)
  ids = [i for i in np.asarray(state.mined.pool.ids).tolist() if i >= 0]
  assert parents == ids


@pytest.mark.parametrize('language', ['rpn', 'typed_k', 'syn'])
def test_any_language(market, language):
  config = config_of()
  config.language.name = language
  state, records = tiny.run(experiment.make_method(config, market), 2)
  assert records[-1]['evaluated'] == 12
  assert all(ic is None or np.isfinite(ic) for ic in state.mined.book.values())


def test_it_stops_at_the_budget(market):
  config = config_of()
  config.max_evaluated = 9
  method = experiment.make_method(config, market)
  state, records = tiny.run(method, 2)
  assert records[-1]['evaluated'] == 9
  assert '9 formulas evaluated' in method.finished(state)
  assert method.found(state).iteration == 2


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'parents': 'elders'}, "config.evolution.parents is 'elders'"),
    ({'fitness': 'luck'}, "config.evolution.fitness is 'luck'"),
    ({'operators': ('melt',)}, r"config.evolution.operators is \('melt',\)"),
    ({'fresh': 2.0}, 'config.evolution.fresh is 2.0'),
    ({'num_parents': 0}, 'config.evolution.num_parents is 0'),
    ({'candidates': 0}, 'config.evolution.candidates is 0'),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)


def test_options_that_need_each_other(market):
  config = config_of(fitness='unexplained')
  config.pool.rule = 'algorithm1'
  with pytest.raises(ValueError, match='set config.pool.rule'):
    experiment.make_method(config, market)
  config = config_of()
  config.screen.twin = 0.0
  with pytest.raises(ValueError, match='config.screen.twin is 0'):
    experiment.make_method(config, market)
