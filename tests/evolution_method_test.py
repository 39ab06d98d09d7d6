"""Evolution as a method: niches, resume, what is logged."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import edit_policy, evolution, parents, surrogate
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


def learning(**changes):
  """The config of evolution with a policy that learns."""
  config = config_of(policy='learned')
  config.evolution.learned.update(changes)
  return config


def ranking():
  """The config of evolution that evaluates the best of its candidates."""
  config = config_of()
  config.screen.update({'rank': 'gain', 'candidates': 3})
  return config


@pytest.mark.parametrize(
  'config',
  [
    config_of(),
    ranking(),
    config_of('random_search'),
    learning(),
    learning(outcome='unexplained'),
  ],
  ids=['evolution', 'ranked', 'random_search', 'learned', 'unexplained'],
)
def test_a_run_that_was_saved_goes_on_with_the_same_bits(
  market, config, monkeypatch
):
  monkeypatch.setattr(surrogate, 'LEAST', 8)
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
  is_ranked = records[-1].get('trust') is not None
  assert is_ranked == (config.screen.rank != 'none')


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
  assert records[-1]['dead'] + records[-1]['twins'] > 0
  for record in records:
    parts = ('evaluated', 'dead', 'twins', 'duplicates', 'passed_over')
    assert record['proposed'] == sum(record[part] for part in parts)
  # Some candidates at a time for each that is evaluated.
  assert records[-1]['evaluated'] == 24
  assert records[-1]['proposed'] % (3 * 6) == 0


def test_niches_are_the_strongest_that_are_unlike(evolved, market):
  state, _ = evolved
  config = config_of(num_parents=5)
  bench = evolution.archive.make_bench(config, market)
  places = parents.choose(config.evolution, bench, *state[:3])
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
  left = parents.fitness(options, bench, state.mined)
  own = parents.fitness(config_of().evolution, bench, state.mined)
  known = list(state.mined.book)
  pool = [known.index(formula_lib.key(f)) for f in state.mined.found.formulas]
  # The elastic net explains its members down to penalty and ridge.
  assert np.abs(left[pool]).mean() < np.abs(own[pool]).mean()
  # How large the weights are says nothing of what is explained, as of a rule
  # that weighs all of a pool alike.
  weights = tuple(100 * w for w in state.mined.found.weights)
  found = state.mined.found._replace(weights=weights)
  same = parents.fitness(options, bench, state.mined._replace(found=found))
  np.testing.assert_allclose(same, left, atol=1e-6)


def test_parents_of_the_pool(evolved, market):
  state, _ = evolved
  bench = evolution.archive.make_bench(config_of(), market)
  options = config_of(parents='pool').evolution
  chosen = parents.choose(options, bench, *state[:3])
  ids = [i for i in np.asarray(state.mined.pool.ids).tolist() if i >= 0]
  assert chosen == ids


@pytest.mark.parametrize('language', ['rpn', 'typed_k', 'syn'])
@pytest.mark.parametrize('policy', ['uniform', 'learned'])
def test_any_language(market, language, policy):
  config = config_of(policy=policy)
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
    ({'niche_corr': 0.0}, 'config.evolution.niche_corr is 0.0'),
    ({'niche_corr': 1.5}, 'config.evolution.niche_corr is 1.5'),
    ({'niche_corr': float('nan')}, 'config.evolution.niche_corr is nan'),
    ({'start': -1}, 'config.evolution.start is -1'),
    ({'policy': 'wise'}, "config.evolution.policy is 'wise'"),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'outcome': 'luck'}, "learned.outcome is 'luck'"),
    ({'explore': -1.0}, 'learned.explore is -1.0'),
    ({'temperature': 0.0}, 'learned.temperature is 0.0'),
    ({'ridge': 0.0}, 'learned.ridge is 0.0'),
    ({'uniform': 1.5}, 'learned.uniform is 1.5'),
  ],
)
def test_bad_options_of_the_policy(market, changes, message):
  with pytest.raises(ValueError, match=f'config.evolution.{message}'):
    experiment.make_method(learning(**changes), market)


def test_options_that_need_each_other(market):
  config = config_of(fitness='unexplained')
  config.pool.rule = 'algorithm1'
  with pytest.raises(ValueError, match='set config.pool.rule'):
    experiment.make_method(config, market)
  config = config_of()
  config.screen.twin = 0.0
  with pytest.raises(ValueError, match='config.screen.twin is 0'):
    experiment.make_method(config, market)


def opened_of(policy, parents, made):
  """A round of two parents of the language of `config_of`."""
  config = learning()
  grammar = environment.make(**config.language)
  rules = evolution.evolution.read_rules(grammar)
  derivations = [
    tuple(environment.derivation(grammar, formula_lib.parse(text)))
    for text in ('Abs(open)', 'Add(close,high)')
  ]
  opened = edit_policy.begin(
    config.evolution, rules, policy or edit_policy.start(
      config.evolution, rules, 4
    ),
    parents, derivations, np.array([0.01, 0.04, 0.0, 0.02]),
  )  # fmt: skip
  opened.made.extend(made)
  return config.evolution, rules, opened


def test_what_is_learned_of_the_children():
  # Parents are the formulas 1 and 3 of the book, with .04 and .02.
  options, rules, opened = opened_of(None, [1, 3], [])
  edits = opened.table.edits
  first = next(i for i, edit in enumerate(edits) if edit.parent == 0)
  other = next(i for i, edit in enumerate(edits) if edit.parent == 1)
  opened.made.extend(
    [
      ('better', first),
      ('worse', other),
      ('better', other),  # Known by now.
      ('twin', first),
      ('old', other),
      ('of nobody', -1),
      ('not looked at', first),
    ]
  )
  results = edit_policy.Results(
    fitness={'better': 0.05, 'worse': 0.015, 'of nobody': 0.9},
    worths={'better': 0.03, 'worse': 0.01, 'of nobody': 0.8},
    of_parents=np.array([0.04, 0.02]),
    turned_away={'twin'},
    known={'old'},
    total=7,
  )
  for outcome, expected in (('gain', [0.01, 0.0]), ('own', [0.03, 0.01])):
    options.learned.outcome = outcome
    found = edit_policy._children(options, opened, results)
    assert [child.edit for child in found] == [
      first,
      other,
      other,
      first,
      other,
    ]
    outcomes = [child.outcome for child in found]
    np.testing.assert_allclose(outcomes, [*expected, 0, 0, 0])
    assert [c.better for c in found] == [True, False, None, None, None]
  options.learned.outcome = 'gain'
  start = edit_policy.start(options, rules, 4)
  policy, metrics = edit_policy.learn(options, start, opened, results)
  assert policy.varied == (0, 2, 0, 3, 0, 0, 0)
  assert policy.beliefs.children == 5
  np.testing.assert_allclose(policy.beliefs.total, 0.01)
  assert metrics['better'] == 0.5 and metrics['wasted'] == 0.6
  assert metrics['made_by_fresh'] == 1 / 3
  assert sum(v for k, v in metrics.items() if k.startswith('made_by')) == 1
  assert metrics['predicted_rank'] is None  # All are expected to be alike.


def test_a_policy_learns_and_says_so(market):
  config = learning()
  state, records = tiny.run(experiment.make_method(config, market), 4)
  again, same = tiny.run(experiment.make_method(config, market), 4)
  assert records == same
  first, last = records[0], records[-1]
  assert first['edits'] is None and first['made_by_fresh'] == 1.0
  assert 1 <= last['edits_effective'] <= last['edits']
  assert 1 <= last['operators_effective'] <= 5
  assert -1 <= last['predicted_rank'] <= 1
  assert sum(state.policy.varied) == state.policy.beliefs.children > 0
  assert len(state.policy.varied) == len(state.mined.book)


def test_a_policy_beside_an_adviser_gets_the_rest(market):
  options, rules, opened = opened_of(None, [1, 3], [])
  grammar = environment.make(**learning().language)
  parents = [
    tuple(environment.derivation(grammar, formula_lib.parse(text)))
    for text in ('Abs(open)', 'Add(close,high)')
  ]
  rng = np.random.default_rng(0)
  write = edit_policy.writer(options, rules, parents, opened, rng, 300)
  written = iter([(-1, n) for n in range(300)])
  children = list(evolution._advised(write, 0.4, 0.5, rng, 300, written))
  of_model = [child for child, _ in children if child[0] < 0]
  fresh = [c for c, edit in children if edit < 0 and c[0] >= 0]
  assert len(children) == 300
  assert abs(len(of_model) - 60) < 25 and abs(len(fresh) - 60) < 25
  by_edit = [edit for _, edit in children if edit >= 0]
  assert {opened.table.edits[i].parent for i in by_edit} == {0, 1}
