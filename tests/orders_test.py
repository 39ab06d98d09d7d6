"""Two orders of the same formulas: sequences, masks, bags, vocabularies."""

import functools

import jax
import numpy as np
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.orders import NAMES

# Vocabularies that are not the paper's.
UNUSUAL = {
  'one feature': dict(
    features=('close',), constants=(), windows=(), operators=('Abs', 'Sub')
  ),
  'all kinds': dict(
    features=('close', 'industry'),
    constants=(0.2, -3.0),
    windows=(5,),
    operators=('Gt', 'Ne', 'And', 'Not', 'If', 'Quantile', 'GroupRank', 'Corr'),
  ),
  'paired alone': dict(
    features=('a', 'b'), constants=(), windows=(3, 7), operators=('Cov',)
  ),
}


@functools.cache
def orders_of(name='sem_k', vocabulary=None, max_length=5):
  options = UNUSUAL[vocabulary] if vocabulary else {}
  return orders_lib.make(name, max_length=max_length, **options)


def formulas_of(orders, order, num=40):
  language = orders_lib.language(orders, order)
  return environment.random_formulas(language, jax.random.key(0), num)


def test_a_sequence_is_the_actions_behind_the_symbol_of_the_order():
  orders = orders_of()
  names = orders_lib.symbols(orders)
  formula = formula_lib.parse('Mean(close-open,20)')
  found = {
    order: [names[i] for i in orders_lib.encode(orders, formula, order) if i]
    for order in NAMES
  }
  assert found['rpn'] == [
    '<rpn>',
    'feature close',
    'feature open',
    'binary_asym Sub',
    'window 20',
    'rolling Mean',
    'marker <end>',
  ]
  assert found['rules'] == [
    '<rules>',
    'Expr -> Mean Expr Num',
    'Expr -> Sub Expr Expr',
    'Expr -> close',
    'Expr -> open',
    'Num -> 20',
  ]
  assert orders_lib.encode(orders, formula, 'rpn').shape == (orders.length,)


@pytest.mark.parametrize('order', NAMES)
def test_forbidden_is_what_the_language_forbids(order):
  orders = orders_of()
  language = orders_lib.language(orders, order)
  first = orders_lib.offset(orders, order)
  forbidden = jax.jit(orders_lib.forbidden)
  step = jax.jit(environment.step)
  for formula in formulas_of(orders, order, 12):
    row = orders_lib.encode(orders, formula, order)
    expected = np.ones((orders.length, orders.size), bool)
    state = environment.init(language)
    for t in range(orders.length):
      if state.terminated:
        expected[t, orders_lib.PAD] = False
        continue
      allowed = np.flatnonzero(~np.asarray(state.invalid_actions))
      expected[t, first + allowed] = False
      state = step(language, state, row[t + 1] - first)
    np.testing.assert_array_equal(forbidden(orders, row), expected)
    # What was written was allowed where it was written.
    after = np.append(row[1:], 0)
    assert not expected[np.arange(orders.length), after].any()


def test_both_orders_write_most_formulas_of_the_paper():
  orders = orders_of(max_length=10)
  formulas = formulas_of(orders, 'rules', 200)
  refused = 0
  for formula in formulas:
    try:
      row = orders_lib.encode(orders, formula, 'rpn')
    except ValueError as error:
      refused += 1
      assert 'over the bound 12' in str(error)
      assert str(formula).count('Log(Abs(') > 1
    else:
      assert row[0] == orders_lib.begin('rpn')
  assert refused < 10


def test_symbols_are_distinct_and_have_names():
  for name in ('sem_k', 'typed_k', 'syn', 'rpn'):
    orders = orders_of(name)
    names = orders_lib.symbols(orders)
    assert len(set(names)) == len(names) == orders.size
    first = orders_lib.offset(orders, 'rpn')
    assert names[first].startswith('feature ')
    assert '->' in names[orders_lib.offset(orders, 'rules')]
    assert '->' not in names[orders_lib.offset(orders, 'rules') - 1]


def test_a_bag_counts_symbols_whatever_the_order_and_the_length():
  orders = orders_of()
  names = orders_lib.symbols(orders)
  text = 'Corr(close*close,Mean(close+(-0.01),20),20)+Log(Abs(open))'
  bag = orders_lib.bag(orders, formula_lib.parse(text))
  found = {names[i]: bag[i] for i in np.flatnonzero(bag)}
  assert found == {
    'feature close': 3,
    'feature open': 1,
    'constant -0.01': 1,
    'window 20': 2,
    'binary Add': 2,
    'binary Mul': 1,
    'rolling Mean': 1,
    'paired Corr': 1,
    'unary Log': 1,
    'unary Abs': 1,
  }


@pytest.mark.parametrize('vocabulary', [None, 'all kinds'])
def test_columns_count_tokens_as_a_bag_does(vocabulary):
  orders = orders_of(vocabulary=vocabulary)
  columns = orders_lib.columns(orders)
  for formula in formulas_of(orders, 'rules', 20):
    tokens = np.asarray(environment.tokens_of(orders.rules, formula))
    counts = np.bincount(columns[tokens], minlength=orders.size)
    np.testing.assert_array_equal(counts, orders_lib.bag(orders, formula))


def test_rpn_as_the_language_has_rules_beside_it():
  orders = orders_lib.make('rpn', max_length=5)
  assert orders.rpn.max_length == 5
  assert orders.rules.max_length == 4
  with pytest.raises(ValueError, match='max_length is 1'):
    orders_lib.make('rpn', max_length=1)


def test_bad_input_is_named():
  orders = orders_of()
  with pytest.raises(ValueError, match='unknown order .postfix.; known: rpn'):
    orders_lib.language(orders, 'postfix')
  with pytest.raises(ValueError, match="symbol 'turnover'"):
    orders_lib.encode(orders, formula_lib.unchecked('Abs(turnover)'), 'rpn')
  with pytest.raises(ValueError, match="symbol 'turnover'"):
    orders_lib.bag(orders, formula_lib.unchecked('Abs(turnover)'))
  with pytest.raises(ValueError, match="<begin>|not finished: it has 'Expr'"):
    orders_lib.bag(orders, formula_lib.Formula('Expr'))
