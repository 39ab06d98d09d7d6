"""Trees in prefix tokens; similarity."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import tree
from alphajax.language.formula import parse


@functools.cache
def random_formulas(n=200):
  return grammar_lib.random_formulas(grammar_lib.make(), jax.random.key(3), n)


def walk(formula, at, parent, out):
  """Slow oracle: parent and children of every node by recursion."""
  me = len(out)
  out.append((parent, []))
  if parent >= 0:
    out[parent][1].append(me)
  for arg in formula.args:
    walk(arg, at, me, out)
  return out


def test_children_and_parents_equal_the_recursion():
  grammar = grammar_lib.make()
  tokens = grammar_lib.random_tokens(grammar, jax.random.key(0), 200)
  children = jax.jit(jax.vmap(tree.children, (None, 0)))(grammar.arity, tokens)
  parents = jax.jit(jax.vmap(tree.parents, (None, 0)))(grammar.arity, tokens)
  for i, formula in enumerate(grammar_lib.formulas_of(grammar, tokens)):
    expected = walk(formula, 0, -1, [])
    for at in range(grammar.max_tokens):
      parent, below = expected[at] if at < len(expected) else (-1, [])
      assert int(parents[i, at]) == parent
      assert children[i, at].tolist() == below + [-1] * (3 - len(below))


def test_similarity_by_hand():
  f = parse('Mean(Abs(close),20)+high')  # 6 nodes.
  assert tree.similarity(f, parse('Mean(Abs(close),20)')) == 4 / 6
  assert tree.similarity(f, parse('Std(Abs(close),20)')) == 2 / 6
  assert tree.similarity(f, parse('Abs(high)')) == 1 / 6
  assert tree.similarity(f, parse('Abs(low)')) == 0
  assert tree.max_similarity(f, [parse('low'), parse('high')]) == 1 / 6
  assert tree.max_similarity(f, []) == 0


@pytest.mark.parametrize(
  ('one', 'two', 'same'),
  [
    ('high+low', 'low+high', True),
    ('Greater(high*low,open)', 'Greater(open,low*high)', True),
    ('Cov(high,low,20)', 'Cov(low,high,20)', True),
    ('Mean(close+0.1,20)', 'Mean(0.1+close,20)', True),
    ('$close-$open', 'Sub(close,open)', True),  # Two spellings.
    ('high-low', 'low-high', False),
    ('high/low', 'low/high', False),
    ('Cov(high,low,20)', 'Cov(high,low,30)', False),
    ('Cov(high,low,20)', 'Corr(high,low,20)', False),
  ],
)
def test_isomorphic_formulas_have_similarity_1_and_no_others(one, two, same):
  value = tree.similarity(parse(one), parse(two))
  assert value == 1 if same else value < 1


def brute(f, g):
  """Appendix G literally: all pairs of subtrees."""
  best = 0
  for a in formula_lib.nodes(f):
    for b in formula_lib.nodes(g):
      if isomorphic(a, b):
        best = max(best, formula_lib.size(a))
  return best / max(formula_lib.size(f), formula_lib.size(g))


def isomorphic(a, b):
  if a.symbol != b.symbol or len(a.args) != len(b.args):
    return False
  orders = [(0, 1, 2)]
  if a.symbol in ('Add', 'Mul', 'Greater', 'Less', 'Cov', 'Corr'):
    orders.append((1, 0, 2))
  return any(
    all(isomorphic(x, b.args[order[i]]) for i, x in enumerate(a.args))
    for order in orders
  )


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.integers(0, 199), st.integers(0, 199))
def test_similarity_is_appendix_g(i, j):
  f, g = random_formulas()[i], random_formulas()[j]
  value = tree.similarity(f, g)
  assert value == brute(f, g) == tree.similarity(g, f)
  assert 0 <= value <= 1
  assert tree.similarity(f, f) == 1
  pool = random_formulas()[:20]
  assert tree.max_similarity(f, pool) == max(brute(f, p) for p in pool)


def test_partial_formulas():
  grammar = grammar_lib.make()
  state = grammar_lib.step(
    grammar,
    grammar_lib.init(grammar),
    [text for _, text, _ in grammar.rules].index('Add Expr Expr'),
  )
  partial = grammar_lib.formula_of(grammar, np.asarray(state.tokens))
  assert tree.similarity(partial, partial) == 1
  assert tree.similarity(partial, parse('close+high')) == 0
