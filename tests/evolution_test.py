"""Derivations: what is made of them is a formula of the language."""

import collections

import jax
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.search import evolution

LANGUAGES = {
  'sem_k': environment.make('sem_k', max_length=7),
  'sem': environment.make('sem', max_length=4),
  'syn': environment.make('syn', max_length=4),
  'typed_k': environment.make('typed_k', max_length=8),
  'rpn': environment.make('rpn', max_length=8).trees,
}


@pytest.fixture(params=LANGUAGES, scope='module')
def language(request):
  grammar = LANGUAGES[request.param]
  return grammar, evolution.read_rules(grammar)


def grown(rules, count, seed=0):
  rng = np.random.default_rng(seed)
  return [
    evolution.grow(rules, rules.start, rules.bound, rng) for _ in range(count)
  ]


def test_a_grown_derivation_is_one_of_the_language(language):
  grammar, rules = language
  for derivation in grown(rules, 50):
    formula = evolution.formula_of(grammar, rules, derivation)
    # The cheapest derivation, where there are two of one formula.
    again = environment.derivation(grammar, formula)
    assert evolution.formula_of(grammar, rules, tuple(again)) == formula
    assert evolution.length(rules, derivation) <= rules.bound
    assert evolution.end_of(rules, derivation, 0) == len(derivation)


@pytest.mark.parametrize('operator', evolution.OPERATORS)
def test_every_child_is_a_formula_of_the_language(language, operator):
  grammar, rules = language
  parents = grown(rules, 20, seed=1)
  rng = np.random.default_rng(2)
  changed = 0
  for _ in range(60):
    child = evolution.propose(
      rules, parents, rng, fresh=0.0, operators=(operator,)
    )
    formula = evolution.formula_of(grammar, rules, child)
    environment.derivation(grammar, formula)  # Raises where it cannot be.
    assert evolution.length(rules, child) <= rules.bound
    changed += child not in parents
  assert changed > 30


def test_growth_is_the_play_of_the_environment():
  """Share of formulas by the symbol at their root, against random play."""
  grammar = environment.make(
    'sem_k', max_length=4, operators=('Add', 'Mean', 'Abs'), windows=(20, 40)
  )
  rules, count = evolution.read_rules(grammar), 3000
  ours = collections.Counter(
    evolution.formula_of(grammar, rules, d).symbol for d in grown(rules, count)
  )
  played = collections.Counter(
    f.symbol
    for f in environment.random_formulas(grammar, jax.random.key(0), count)
  )
  assert set(ours) == set(played)
  for symbol, times in played.items():
    assert abs(ours[symbol] - times) < 5 * (2 * times) ** 0.5


def children(operator, text, grammar, rules, count=300):
  parent = environment.derivation(grammar, formula_lib.parse(text))
  rng = np.random.default_rng(0)
  return {
    str(evolution.formula_of(grammar, rules, child))
    for child in (
      evolution.propose(
        rules, [tuple(parent)], rng, fresh=0.0, operators=(operator,)
      )
      for _ in range(count)
    )
  }


@pytest.fixture(scope='module')
def small():
  grammar = environment.make(
    'sem_k',
    max_length=4,
    features=('close', 'open'),
    operators=('Add', 'Sub', 'Mean', 'Std', 'Abs'),
    windows=(20, 40),
    constants=(),
  )
  return grammar, evolution.read_rules(grammar)


def test_point_changes_one_symbol(small):
  assert children('point', 'Mean(close,20)', *small) == {
    'Mean(open,20)',
    'Mean(close,40)',
    'Std(close,20)',
  }


def test_hoist_takes_a_part(small):
  assert children('hoist', 'Mean(close-open,20)', *small) == {
    'close-open',
    'Mean(close,20)',
    'Mean(open,20)',
    'close',
    'open',
  }


def test_insert_keeps_the_parent_below(small):
  found = children('insert', 'Mean(close,20)', *small)
  assert {'Abs(Mean(close,20))', 'Mean(Abs(close),20)'} <= found
  assert 'Std(Mean(close,20),40)' in found
  assert all('close' in text for text in found)


def test_without_parents_a_formula_is_new(small):
  grammar, rules = small
  first, second = (
    evolution.propose(rules, [], np.random.default_rng(0), fresh=0.0)
    for _ in range(2)
  )
  assert first == second == grown(rules, 1)[0]
