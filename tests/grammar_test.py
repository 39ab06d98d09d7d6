"""Grammars: tables, play, derivations, errors."""

import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import row_text
from alphajax.language import vocab as vocab_lib

# Table 7: what a node of each kind adds to the length.
_GROWTH = {
  'unary': 1,
  'binary': 2,
  'binary_asym': 2,
  'rolling': 2,
  'paired': 3,
}


@functools.cache
def sem_k(max_length=10):
  return grammar_lib.make(max_length=max_length)


def length_of(formula):
  """Length by Table 7, counted on the tree; the Abs inside Log is free."""
  total = 0
  for node in formula_lib.nodes(formula):
    row = vocab_lib.OPERATORS.get(node.symbol)
    total += _GROWTH[row.kind] if row else 0
    total -= node.symbol == 'Log'
  return total


def play(grammar, actions):
  state = grammar_lib.init(grammar)
  step = jax.jit(grammar_lib.step)
  for action in actions:
    assert not bool(state.invalid_actions[action])
    state = step(grammar, state, action)
  return state


def test_sem_k_has_the_rows_of_definition_3():
  rows = sem_k().rules
  heads = {}
  for lhs, text, growth in rows:
    word, *rest = text.split()
    row = vocab_lib.OPERATORS.get(word)
    heads.setdefault(
      (lhs, row.kind if row else 'leaf', *rest, growth), []
    ).append(word)
  counts = {key: len(words) for key, words in heads.items()}
  assert counts == {
    ('Expr', 'leaf', 0): 6,
    ('Expr', 'unary', 'Expr', 1): 3,
    ('Expr', 'unary', 'Abs', 'Expr', 1): 1,
    ('Expr', 'binary', 'Expr', 'Expr', 2): 4,
    ('Expr', 'binary_asym', 'Expr', 'Expr', 2): 3,
    ('Expr', 'binary', 'Expr', 'Constant', 2): 4,
    ('Expr', 'binary_asym', 'Expr', 'Constant', 2): 3,
    ('Expr', 'binary_asym', 'Constant', 'Expr', 2): 3,
    ('Expr', 'rolling', 'Expr', 'Num', 2): 15,
    ('Expr', 'paired', 'Expr', 'Expr', 'Num', 3): 2,
    ('Num', 'leaf', 0): 3,
    ('Constant', 'leaf', 0): 6,
  }


@pytest.mark.parametrize('max_length', [0, 1, 4, 7])
def test_bounds_are_reached_and_never_passed(max_length):
  """Exhaustively over one small table: the bounds are the exact maxima."""
  grammar = grammar_lib.make(
    max_length=max_length,
    features=['close'],
    constants=[0.1],
    windows=[5],
    operators=['Abs', 'Log', 'Sub', 'Ref', 'Cov'],
  )
  lhs, growth = np.asarray(grammar.lhs), np.asarray(grammar.growth)
  bodies = [[w for w in row if w] for row in np.asarray(grammar.rhs).tolist()]
  nonterminal = np.asarray(grammar.is_nonterminal)
  todo, tokens, steps, history = [([grammar.start], 0, 0)], 0, 0, 0
  seen = set()
  while todo:
    form, length, moves = todo.pop()
    if (tuple(form), moves) in seen:
      continue
    seen.add((tuple(form), moves))
    sites = [i for i, s in enumerate(form) if nonterminal[s]]
    if not sites:
      tokens, steps = max(tokens, len(form)), max(steps, moves)
      formula = grammar_lib.formula_of(grammar, np.asarray(form))
      history = max(history, formula_lib.lookback(formula))
      continue
    for rule in np.flatnonzero(lhs == form[sites[0]]).tolist():
      if length + growth[rule] <= max_length:
        head, tail = form[: sites[0]], form[sites[0] + 1 :]
        todo.append(
          (head + bodies[rule] + tail, length + growth[rule], moves + 1)
        )
  assert (grammar.max_tokens, grammar.max_steps) == (tokens, steps)
  assert grammar_lib.lookback(grammar) == history


def test_default_bounds():
  grammar = sem_k()
  # Ten times Log(Abs(.)) and a feature; K + 1 rules; five times Ref(., 40).
  assert grammar.max_tokens == 21
  assert grammar.max_steps == 11
  assert grammar_lib.lookback(grammar) == 200


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
  seed=st.integers(0, 2**31 - 1), max_length=st.sampled_from([0, 3, 10])
)
def test_random_play_ends_in_a_formula_within_the_bound(seed, max_length):
  grammar = sem_k(max_length)
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(seed), 8)
  for formula in formulas:
    assert formula_lib.parse(formula_lib.to_text(formula)) == formula
    assert length_of(formula) <= max_length
    assert formula_lib.lookback(formula) <= grammar_lib.lookback(grammar)


def test_random_play_reaches_the_bound_and_every_rule():
  grammar = sem_k()
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(0), 2000)
  assert max(map(length_of, formulas)) == 10
  used = {a for f in formulas for a in grammar_lib.derivation(grammar, f)}
  assert used == set(range(grammar.num_actions))


def test_derivation_plays_back_to_the_formula():
  grammar = sem_k()
  for formula in grammar_lib.random_formulas(grammar, jax.random.key(1), 50):
    state = play(grammar, grammar_lib.derivation(grammar, formula))
    assert bool(state.terminated)
    assert grammar_lib.formula_of(grammar, state.tokens) == formula
    assert int(state.length) == length_of(formula)


def test_derivation_of_a_partial_formula():
  grammar = sem_k()
  state = play(
    grammar, grammar_lib.derivation(grammar, formula_lib.parse('close'))[:0]
  )
  partial = formula_lib.Formula(
    'Add', (formula_lib.Formula('close'), formula_lib.Formula('Expr'))
  )
  state = play(grammar, grammar_lib.derivation(grammar, partial))
  assert not bool(state.terminated)
  assert grammar_lib.formula_of(grammar, state.tokens) == partial


def test_window_and_constant_of_one_value_are_two_symbols():
  grammar = grammar_lib.make(constants=[20, 0.5], windows=[20, 30])
  formula = formula_lib.parse('Mean(close*20,20)')
  tokens = grammar_lib.tokens_of(grammar, formula)
  kinds = [grammar.vocab.symbols[token].kind for token in tokens]
  assert kinds == ['rolling', 'binary', 'feature', 'constant', 'window']
  state = play(grammar, grammar_lib.derivation(grammar, formula))
  assert grammar_lib.formula_of(grammar, state.tokens) == formula


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('Log(close)', 'cannot write'),
    ('0.01+close', 'cannot write'),
    ('Mean(close,25)', "window '25' is not in the vocabulary"),
    ('Abs(turnover)', "symbol 'turnover' is not in the vocabulary"),
    ('Cov(Mean(high-low,20),Mean(open*low,30),40)', 'over the bound 10'),
  ],
)
def test_derivation_errors(text, message):
  grammar = sem_k()
  formula = formula_lib.parse(text, features=(*vocab_lib.FEATURES, 'turnover'))
  with pytest.raises(ValueError, match=message.replace('(', r'\(')):
    grammar_lib.derivation(grammar, formula)


def test_valid_actions_shrink_at_the_bound():
  grammar = sem_k(3)
  state = grammar_lib.init(grammar)
  valid = [grammar.rules[a] for a in np.flatnonzero(~state.invalid_actions)]
  assert {growth for _, _, growth in valid} == {0, 1, 2, 3}
  cov = [r[1] for r in grammar.rules].index('Cov Expr Expr Num')
  state = grammar_lib.step(grammar, state, cov)
  valid = [grammar.rules[a] for a in np.flatnonzero(~state.invalid_actions)]
  assert [text for _, text, _ in valid] == list(vocab_lib.FEATURES)


def test_costly_leaves_are_never_out_of_reach():
  """Where leaves cost, a rule must leave room to finish what it opens."""
  rows = [
    ('Expr', 'close', 1),
    ('Expr', 'Add Expr Expr', 1),
    ('Expr', 'Abs Expr', 1),
  ]
  grammar = grammar_lib.from_rows(
    rows, vocab_lib.make_vocab(['close'], [], []), max_length=5
  )
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(0), 500)
  sizes = {formula_lib.size(formula) for formula in formulas}
  assert sizes == {1, 2, 3, 4, 5}
  assert grammar.max_tokens == 5


def test_terminal_states_absorb_and_allow_everything():
  grammar = sem_k()
  state = play(
    grammar, grammar_lib.derivation(grammar, formula_lib.parse('Abs(low)'))
  )
  assert bool(state.terminated)
  assert not np.any(state.invalid_actions)
  for action in range(grammar.num_actions):
    chex.assert_trees_all_equal(grammar_lib.step(grammar, state, action), state)


def test_jit_and_vmap_agree_with_plain_calls():
  grammar = sem_k()
  step = chex.assert_max_traces(grammar_lib.step, n=1)
  batched = jax.jit(jax.vmap(step, in_axes=(None, 0, 0)))
  states = jax.tree.map(
    lambda x: jnp.stack([x] * grammar.num_actions), grammar_lib.init(grammar)
  )
  actions = jnp.arange(grammar.num_actions)
  for _ in range(2):
    batched(grammar, states, actions)
  out = batched(grammar, states, actions)
  for action in np.flatnonzero(~np.asarray(states.invalid_actions[0])):
    expected = grammar_lib.step(grammar, grammar_lib.init(grammar), action)
    chex.assert_trees_all_equal(
      jax.tree.map(lambda x, a=action: x[a], out), expected
    )


def test_masked_operators_rewrite_in_place():
  """Rows of the refinement: an operator nonterminal keeps its operands."""
  vocab = vocab_lib.make_vocab(['close'], [], [20, 30])
  rows = [
    ('Expr', 'close', 0),
    ('Expr', 'RollingOp Expr 20', 2),
    ('RollingOp', 'Mean', 0),
    ('RollingOp', 'Std', 0),
  ]
  grammar = grammar_lib.from_rows(rows, vocab, max_length=2)
  state = play(grammar, [1, 3, 0])
  assert grammar_lib.formula_of(grammar, state.tokens) == formula_lib.parse(
    'Std(close,20)'
  )
  assert grammar.vocab.symbols[int(state.tokens[2])].kind == 'window'


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    ([], 'empty'),
    ([('Expr', 'Frob Expr', 1)], "unknown symbol 'Frob'"),
    ([('Expr', 'close', 0), ('close', 'open', 0)], 'is a terminal'),
    ([('Expr', 'close', -1)], 'increment'),
    ([('Expr', 'close', 0.5)], 'increment'),
    ([('Expr', 'close', 0), ('Expr', 'close', 0)], 'repeated'),
    ([('Expr', 'Add close', 2)], 'not a whole tree'),
    ([('Expr', '', 2)], 'not a whole tree'),
    ([('Expr', 'close close', 2)], 'too many'),
    ([('Expr', 'Mean close Num', 2)], "'Num' has no rule"),
    ([('Expr', 'Abs Expr', 1)], "'Expr' cannot terminate"),
    ([('Expr', 'close', 0), ('Expr', 'Abs Expr', 0)], 'no bound holds'),
    ([('Expr', 'close', 0), ('Expr', 'Expr', 1)], 'rewrite to itself'),
    ([('Expr', 'close', 9)], 'the shortest formula has 9'),
    ([('Num', '20', 0)], "start symbol 'Expr' has no rule"),
    ([('Expr', 'Mean close 25', 0)], "unknown window '25'"),
  ],
)
def test_bad_rows(rows, message):
  with pytest.raises(ValueError, match=message):
    grammar_lib.from_rows(rows, vocab_lib.make_vocab(), max_length=5)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'name': 'sem_j'}, "unknown grammar 'sem_j'"),
    ({'operators': ['Log']}, 'add the operator Abs'),
    ({'windows': []}, 'needs a window'),
    ({'features': []}, 'cannot terminate'),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    grammar_lib.make(**options)


def test_tokens_that_are_no_tree():
  grammar = sem_k()
  add = grammar_lib.tokens_of(grammar, formula_lib.parse('high+low'))
  for tokens in ([*add, add[1]], add[:2], [0, 0]):
    with pytest.raises(ValueError, match='tokens'):
      grammar_lib.formula_of(grammar, np.asarray(tokens))


@pytest.mark.parametrize('window', ['Expr', 'Const', 'close', 'Either'])
def test_an_operand_in_the_place_of_a_window_is_refused(window):
  def make(window):
    own = (
      f'Expr -> close\nExpr -> Mean close {window} : 1\nConst -> 0.1\n'
      'Either -> Short | close\nShort -> Num\nNum -> 20\n'
    )
    return grammar_lib.make('custom', max_length=3, rules=own)

  with pytest.raises(ValueError, match=f"window last, and '{window}' is none"):
    make(window)
  make('Short')


def test_a_file_of_rows_as_it_is_typed_and_saved(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  text = 'Expr -> close | volume'
  (tmp_path / 'rows.txt').write_text(text, encoding='utf-8-sig')
  assert row_text.read('~/rows.txt') == text
