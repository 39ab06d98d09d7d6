"""The grammar typed by units: its rows, its play, and that it trains."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.data.features import PRICES, VOLUMES
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab

# What a factor on all prices does to a value: its degree in prices and in
# volumes. Worked out here from the formula alone, as a physicist would.
_SAME = {'Ref', 'Delta', 'Mean', 'Sum', 'Max', 'Min', 'Std', 'Med', 'Mad'}
_SAME |= {'WMA', 'EMA', 'Abs'}
_NONE = {'Rank', 'Skew', 'Kurt', 'Corr', 'Sign'}
_LIKE = {'Add', 'Sub', 'Greater', 'Less'}
_PURE = {'Pow', 'Log', 'CSRank'}


def degree(formula):
  """(prices, volumes), or an assertion fails where units do not fit."""
  symbol = formula.symbol
  if not formula.args:
    is_volume = symbol in VOLUMES
    return (int(symbol in PRICES), int(is_volume))
  operands = formula.args
  if formula_lib.is_windowed(formula):
    operands = operands[:-1]
  degrees = [degree(operand) for operand in operands]
  if symbol in _LIKE:
    assert degrees[0] == degrees[1], formula
  if symbol in _PURE:
    assert set(degrees) == {(0, 0)}, formula
  if symbol in _NONE | _PURE:
    return (0, 0)
  if symbol in _SAME | _LIKE:
    return degrees[0]
  if symbol == 'Var':
    return tuple(2 * d for d in degrees[0])
  sign = -1 if symbol == 'Div' else 1
  assert symbol in ('Mul', 'Div', 'Cov'), symbol
  return tuple(a + sign * b for a, b in zip(*degrees, strict=True))


@functools.cache
def typed_k(max_length=10):
  return grammar_lib.make('typed_k', max_length=max_length)


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(st.integers(0, 2**31), st.sampled_from([2, 10]))
def test_random_play_ends_in_a_formula_without_a_unit(seed, max_length):
  grammar = typed_k(max_length)
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(seed), 32)
  for formula in formulas:
    assert degree(formula) == (0, 0)
    assert formula_lib.parse(formula_lib.to_text(formula)) == formula
    assert formula_lib.lookback(formula) <= grammar_lib.lookback(grammar)
    actions = grammar_lib.derivation(grammar, formula)
    assert sum(grammar.rules[a][2] for a in actions) <= max_length


def test_every_rule_is_used_and_every_operator_has_one():
  grammar = typed_k()
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(0), 4000)
  used = {a for f in formulas for a in grammar_lib.derivation(grammar, f)}
  assert used == set(range(grammar.num_actions))
  words = {word for _, text, _ in grammar.rules for word in text.split()}
  assert words >= set(vocab.PAPER_OPERATORS)


@pytest.mark.parametrize(
  ('text', 'fits'),
  [
    ('close/open', True),
    ('Log(Abs(close/Ref(close,20)))', True),
    ('(close-open)*(volume/Mean(volume,20))/Std(close,20)', True),
    ('Corr(close,volume,20)', True),
    ('Sign(close-open)*CSRank(Std(volume,20)/volume)', True),
    ('Greater(high,Max(close,20))/low', True),
    ('Cov(close,volume/Mean(volume,20),20)/close', True),
    ('Rank(close,20)-Rank(volume,20)', True),
    ('close', False),
    ('close*volume', False),
    ('CSRank(close)', False),
    ('Sign(close)', False),  # No error, but always 1.
    ('Log(Abs(close))', False),
    ('close+0.01', False),
    ('(close+volume)/close', False),
    ('Var(close,20)/close', False),
    ('Cov(close,open,20)/close', False),
    ('volume/close', False),
  ],
)
def test_what_has_a_derivation(text, fits):
  grammar = typed_k(15)
  formula = formula_lib.parse(text)
  if fits:
    grammar_lib.derivation(grammar, formula)
    return
  with pytest.raises(ValueError, match='cannot write'):
    grammar_lib.derivation(grammar, formula)


def test_symbols_that_are_left_out():
  grammar = grammar_lib.make('typed_k', features=('close', 'turnover'))
  lhs = {row[0] for row in grammar.rules}
  assert lhs == {'Ratio', 'Price', 'Num', 'Constant'}
  assert ('Ratio', 'turnover', 0) in grammar.rules
  grammar = grammar_lib.make('typed_k', operators=('Div', 'Add'), constants=())
  assert {row[0] for row in grammar.rules} == {'Ratio', 'Price', 'Volume'}


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'operators': ('Log', 'Div')}, 'add the operator Abs'),
    ({'windows': ()}, 'needs a window'),
    ({'max_length': 1}, 'the shortest formula has 2'),
    ({'operators': ('Add',)}, 'cannot terminate'),
    ({'features': ()}, 'cannot terminate'),
    ({'features': (), 'operators': (), 'constants': ()}, 'no rows'),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    grammar_lib.make('typed_k', **options)


@pytest.mark.parametrize('method', ['random_search', 'alphacfg'])
def test_trains(method):
  config = tiny.get_config(method)
  config.language.name = 'typed_k'
  config.language.max_length = 5
  config.language.operators = ('Div', 'Add', 'Mean', 'Corr')
  config.language.windows = (5,)
  market, _ = markets.load_market(config)
  trainer = experiment.make_method(config, market)
  state = trainer.init(jax.random.key(0))
  state, metrics = trainer.step(state, jax.random.key(1))
  assert metrics['evaluated'] > 0
  assert np.isfinite(metrics.get('policy_loss', 0.0))
  found = trainer.found(state)
  assert found.formulas
  assert all(degree(formula) == (0, 0) for formula in found.formulas)
  if method == 'alphacfg':
    return
  summary, _ = experiment.summarize(
    config, found, functools.partial(trainer.predict, state), market
  )
  for factor in summary['factors']:
    for unit in ('price', 'volume'):
      assert factor['rescaled'][unit] == {'days': 0.0, 'ranks': 0.0}
