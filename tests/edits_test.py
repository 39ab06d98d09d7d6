"""Edits that can be made, and what is learned of them."""

import numpy as np
import pytest
from sklearn import linear_model

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.search import edits, evolution

OPERATORS = evolution.OPERATORS
LANGUAGES = {
  'sem_k': environment.make('sem_k', max_length=7),
  'typed_k': environment.make('typed_k', max_length=8),
  'rpn': environment.make('rpn', max_length=8).trees,
}
OPTIONS = edits.Options(explore=1.0, temperature=0.2, uniform=0.0, ridge=2.0)


@pytest.fixture(params=LANGUAGES, scope='module')
def drawn(request):
  """Rules of a language, parents, and the table of their edits."""
  rules = evolution.read_rules(LANGUAGES[request.param])
  rng = np.random.default_rng(0)
  parents = [
    evolution.grow(rules, rules.start, rules.bound, rng) for _ in range(8)
  ]
  return rules, parents, table_of(rules, parents)


def table_of(rules, parents, varied=0):
  strengths = np.linspace(0.04, 0.01, len(parents))
  varied = np.full(len(parents), varied)
  return edits.table(rules, parents, strengths, varied, OPERATORS)


def test_what_is_not_in_the_table_cannot_be_made(drawn):
  rules, parents, table = drawn
  rng = np.random.default_rng(1)
  there, missing = set(table.edits), 0
  assert len(there) == len(table.edits)
  for number, parent in enumerate(parents):
    for at in range(len(parent)):
      for name in OPERATORS:
        edit = evolution.Edit(number, name, at)
        made = [
          evolution.apply(rules, parents, edit, other, rng) for other in parents
        ]
        assert edit in there or not any(made)
        missing += edit not in there
  assert missing > 0
  made = [evolution.vary(rules, parents, rng) for _ in range(100)]
  assert {each[1] for each in made if each} <= there


def test_features_of_a_place():
  grammar = LANGUAGES['sem_k']
  rules = evolution.read_rules(grammar)
  parents = [
    tuple(environment.derivation(grammar, formula_lib.parse(text)))
    for text in ('Mean(Abs(open)+close,20)', 'high')
  ]
  table = table_of(rules, parents[::-1], varied=99)
  width = edits.num_features(rules, OPERATORS)
  assert table.features.shape == (len(table.edits), width)
  # Abs(open), the third production of the second parent, written anew.
  found = table.features[table.edits.index(evolution.Edit(1, 'regrow', 2))]
  # Two operators above; 1 of a length of 5; |own IC|, rank, children.
  expected = [
    2 / 7, 1 / 7, 4 / 5, 5 / 7, 0.01 / 0.04, 1 / 2, np.log(100) / np.log(101)
  ]  # fmt: skip
  seen, crossed = np.split(found[-7 * 6 :], [7])
  np.testing.assert_allclose(seen, expected)
  by_operator = crossed.reshape(5, 7)
  np.testing.assert_allclose(by_operator[0], expected)
  assert not by_operator[1:].any()
  one_hot = found[: -7 * 6]
  # Production, nonterminal, operator, and the last two together.
  kinds, count = len(rules.of), len(rules.lhs)
  kind = sorted(rules.of).index(rules.lhs[parents[0][2]])
  there = [parents[0][2], count + kind, count + kinds, count + kinds + 5 + kind]
  assert np.flatnonzero(one_hot).tolist() == there
  assert set(one_hot) == {0.0, 1.0}


def test_the_model_is_a_ridge_regression_of_all_children(drawn):
  rules, _, table = drawn
  rng = np.random.default_rng(2)
  tried = rng.integers(len(table.edits), size=60)
  features, came = table.features[tried], rng.standard_normal(60)
  beliefs = edits.start(rules, OPERATORS)
  for part in np.array_split(np.arange(60), 4):
    beliefs = edits.learn(beliefs, features[part], came[part])
  found = edits.posterior(beliefs, OPTIONS)
  oracle = linear_model.Ridge(alpha=2.0, fit_intercept=False, tol=1e-12)
  mean = oracle.fit(features, came).coef_
  np.testing.assert_allclose(found.mean, mean, atol=1e-5)
  covariance = np.linalg.inv(features.T @ features + 2.0 * np.eye(len(mean)))
  root = np.linalg.inv(found.root @ found.root.T)
  np.testing.assert_allclose(root, covariance, atol=1e-5)
  # The likeliest noise of normal outcomes, the weights integrated out.
  marginal = np.eye(60) + features @ features.T / 2.0
  noise = np.sqrt(came @ np.linalg.solve(marginal, came) / 60)
  np.testing.assert_allclose(found.noise, noise, rtol=1e-5)
  np.testing.assert_allclose(found.spread, came.std(), rtol=1e-5)


def test_nothing_known_makes_all_edits_as_likely(drawn):
  rules, _, table = drawn
  believed = edits.posterior(edits.start(rules, OPERATORS), OPTIONS)
  rng = np.random.default_rng(3)
  chances = edits.probabilities(table, believed, OPTIONS, rng, 2)
  np.testing.assert_allclose(chances, 1 / len(table.edits))
  np.testing.assert_allclose(
    edits.effective(chances[0]), len(table.edits), rtol=1e-9
  )


def taught(rules, table, options, count, seed=4):
  """Beliefs after children of which insertions alone come to something."""
  rng = np.random.default_rng(seed)
  tried = rng.integers(len(table.edits), size=count)
  is_good = np.array([edit.operator == 'insert' for edit in table.edits])
  came = is_good[tried] + 0.1 * rng.standard_normal(count)
  beliefs = edits.start(rules, OPERATORS)
  beliefs = edits.learn(beliefs, table.features[tried], came)
  return edits.posterior(beliefs, options), is_good


def test_chances_are_a_softmax_of_what_is_expected(drawn):
  rules, _, table = drawn
  greedy = OPTIONS._replace(explore=0.0)
  believed, _ = taught(rules, table, greedy, 200)
  rng = np.random.default_rng(5)
  chances = edits.probabilities(table, believed, greedy, rng, 3)
  expected = np.exp(table.features @ believed.mean / (0.2 * believed.spread))
  np.testing.assert_allclose(chances[2], expected / expected.sum())
  np.testing.assert_array_equal(chances[0], chances[2])


def test_what_comes_to_something_is_drawn_and_the_unknown_is_tried(drawn):
  rules, _, table = drawn
  share, wide = {}, {}
  for count in (10, 1000):
    believed, is_good = taught(rules, table, OPTIONS, count)
    rng = np.random.default_rng(6)
    chances = edits.probabilities(table, believed, OPTIONS, rng, 200)
    share[count] = chances[:, is_good].sum(1).mean()
    wide[count] = edits.effective(chances.mean(0))
  assert share[1000] > 0.9 > share[10] > 0
  assert wide[10] > wide[1000]


def test_a_child_is_what_its_edit_makes(drawn):
  rules, parents, table = drawn
  rng = np.random.default_rng(7)
  chances = np.zeros(len(table.edits))
  place = [edit.operator for edit in table.edits].index('hoist')
  chances[place] = 1.0
  child, edit = edits.draw(rules, parents, table, chances, rng)
  assert edit == place
  parent = parents[table.edits[place].parent]
  assert len(child) < len(parent)
  assert set(child) <= set(parent)
