"""gplearn's scheme on derivations: what it makes, and how often."""

import collections

import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.search import evolution, genetic
from alphajax.search.genetic import Individual, Scheme

LANGUAGES = {
  'sem_k': environment.make('sem_k', max_length=9),
  'syn': environment.make('syn', max_length=4),
  'typed_k': environment.make('typed_k', max_length=9),
  'rpn': environment.make('rpn', max_length=10).trees,
}
SCHEME = Scheme(
  tournament=3,
  init_depth=(1, 3),
  crossover=0.3,
  subtree=0.1,
  hoist=0.01,
  point=0.1,
  point_replace=0.6,
  parsimony=0.0,
)


@pytest.fixture(params=LANGUAGES, scope='module')
def language(request):
  grammar = LANGUAGES[request.param]
  return grammar, evolution.read_rules(grammar)


def depth(formula):
  """Operators above each other; `Log(Abs(.))` is one production."""
  below = max((depth(arg) for arg in formula.args), default=0)
  is_log = formula.symbol == 'Log' and formula.args[0].symbol == 'Abs'
  return below + (bool(formula.args) and not is_log)


def sem_k(**options):
  grammar = environment.make('sem_k', **options)
  return grammar, evolution.read_rules(grammar)


def test_the_first_generation_is_of_the_language(language):
  grammar, rules = language
  rng = np.random.default_rng(0)
  for _ in range(100):
    derivation = genetic.half_and_half(rules, SCHEME, rng)
    formula = evolution.formula_of(grammar, rules, derivation)
    environment.derivation(grammar, formula)  # Raises where it cannot be.
    assert evolution.length(rules, derivation) <= rules.bound
    assert evolution.end_of(rules, derivation, 0) == len(derivation)
    assert formula.args  # An operator first.


def test_full_trees_reach_the_depth_with_every_branch_and_grown_ones_not():
  options = {'operators': ('Abs', 'Add'), 'constants': ()}
  grammar, rules = sem_k(max_length=40, **options)
  rng = np.random.default_rng(0)
  depths = collections.defaultdict(set)
  for full in (True, False):
    for _ in range(60):
      run = genetic.write(rules, rules.start, 40, 3, full, rng)
      formula = evolution.formula_of(grammar, rules, run)
      depths[full].add(depth(formula))
      leaves = collections.Counter()

      def count(node, level, leaves=leaves):
        for arg in node.args:
          count(arg, level + 1)
        if not node.args:
          leaves[level] += 1

      count(formula, 0)
      assert not full or set(leaves) == {3}
  assert depths[True] == {3} and depths[False] == {1, 2, 3}


def test_what_does_not_fit_the_budget_is_not_written():
  grammar, rules = sem_k(max_length=2)
  rng = np.random.default_rng(0)
  for _ in range(50):
    run = genetic.write(rules, rules.start, 2, 6, True, rng)
    formula = evolution.formula_of(grammar, rules, run)
    assert 1 <= evolution.length(rules, run) <= 2 and formula.args


@pytest.mark.parametrize('name', genetic.OPERATORS)
def test_every_child_is_a_formula_of_the_language(language, name):
  grammar, rules = language
  rng = np.random.default_rng(1)
  only = dict.fromkeys(genetic.OPERATORS, 0.0) | {name: 1.0}
  scheme = SCHEME._replace(**only)
  parents = [
    Individual(genetic.half_and_half(rules, scheme, rng), i, 1)
    for i in range(20)
  ]
  changed = 0
  for _ in range(60):
    child, made_by = genetic.child_of(rules, parents, scheme, rng)
    assert made_by == name
    formula = evolution.formula_of(grammar, rules, child)
    environment.derivation(grammar, formula)
    assert evolution.length(rules, child) <= rules.bound
    changed += child not in [parent.derivation for parent in parents]
  assert changed > 10  # A part that is hoisted may be the whole.


def test_operators_come_as_often_as_the_scheme_says():
  _, rules = sem_k(max_length=6)
  rng = np.random.default_rng(0)
  parents = [Individual(genetic.half_and_half(rules, SCHEME, rng), 1.0, 3)]
  names = [
    genetic.child_of(rules, parents, SCHEME, rng)[1] for _ in range(4000)
  ]
  counts = collections.Counter(names)
  for name in genetic.OPERATORS:
    share = getattr(SCHEME, name)
    error = 4 * np.sqrt(share * (1 - share) / 4000)
    assert abs(counts[name] / 4000 - share) < error
  assert abs(counts[genetic.REPRODUCTION] / 4000 - 0.49) < 0.04


def test_reproduction_copies_the_fittest_of_the_tournament():
  _, rules = sem_k(max_length=6)
  rng = np.random.default_rng(0)
  none = SCHEME._replace(crossover=0.0, subtree=0.0, hoist=0.0, point=0.0)
  best = Individual(genetic.half_and_half(rules, none, rng), 2.0, 9)
  other = Individual(genetic.half_and_half(rules, none, rng), 1.0, 3)
  everyone = none._replace(tournament=100)
  for population in ([best, other], [other, best]):
    child, _ = genetic.child_of(rules, population, everyone, rng)
    assert child == best.derivation
    # A node costs .2, so that 6 more are worth more than a fitness of 1.
    frugal = everyone._replace(parsimony=0.2)
    child, _ = genetic.child_of(rules, population, frugal, rng)
    assert child == other.derivation
  # Of one contestant either wins, as often as the other.
  wins = [
    genetic.tournament([best, other], none._replace(tournament=1), rng)
    for _ in range(400)
  ]
  assert abs(wins.count(best.derivation) - 200) < 60


def test_a_hoisted_tree_is_a_part_in_the_place_of_a_part():
  rng = np.random.default_rng(0)
  formula = formula_lib.parse('Add(Abs(Mean(close,5)),Std(open,5))')
  grammar, rules = sem_k(max_length=10, windows=(5,))
  parent = tuple(environment.derivation(grammar, formula))
  seen = set()
  for _ in range(200):
    child = genetic.hoist(rules, parent, rng)
    seen.add(str(evolution.formula_of(grammar, rules, child)))
  sizes = [formula_lib.size(formula_lib.parse(text)) for text in seen]
  assert max(sizes) == formula_lib.size(formula)  # A tree of itself.
  assert 'Add(Abs(close),Std(open,5))' in map(
    formula_lib.call_text, map(formula_lib.parse, seen)
  )
  assert len(seen) > 5


def test_a_point_mutation_keeps_the_shape():
  grammar, rules = sem_k(max_length=10)
  formula = formula_lib.parse('Add(Abs(Mean(close,20)),Std(open,30))')
  parent = tuple(environment.derivation(grammar, formula))
  rng = np.random.default_rng(0)
  assert genetic.point(rules, parent, 0.0, rng) == parent
  replaced = [genetic.point(rules, parent, 0.6, rng) for _ in range(300)]
  shares = np.mean([np.not_equal(c, parent) for c in replaced], axis=0)
  # Every node that has others of its kind is replaced six times in ten.
  assert np.abs(shares - 0.6).max() < 0.12
  for child in replaced:
    kinds = [rules.children[rule] for rule in child]
    assert kinds == [rules.children[rule] for rule in parent]


def test_cuts_are_at_operators_nine_times_as_often():
  grammar, rules = sem_k(max_length=10)
  formula = formula_lib.parse('Abs(close)')
  parent = tuple(environment.derivation(grammar, formula))
  rng = np.random.default_rng(0)
  cuts = [genetic._cut(rules, parent, range(2), rng) for _ in range(2000)]
  assert abs(np.mean(cuts) - 0.1) < 0.03
