"""Masks, forms, and the grammar that fills them."""

import everything
import jax
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import masks, vocab

LANGUAGE = grammar_lib.make(max_length=6)
# Originals and improved forms of Table 3, with the right half open; the second
# one's operator was open too.
TABLE_3 = [
  ('open/Ref(close,1)-1', None, 'open/_-_', 'open/0.1-Cov(volume,high,20)'),
  ('Mean(close,6)-close', '_(Mean(_,_),_)', '_(Mean(_,_),_)',
   'Mean(Cov(vwap,volume,20)/(-0.01),20)/0.05'),
  ('close-Ref(close,5)', None, 'close-_',
   'close-Greater(Cov(volume,|vwap|,30),-0.1)'),
  ('-Corr(open,volume,10)', None, 'Corr(open,_,_)*_',
   'Corr(open,Log(|open|),40)*CSRank(high)'),
  ('-Rank(CSRank(low),9)', None, 'Rank(CSRank(_),_)*_',
   'Rank(CSRank(CSRank(Sign(vwap))),30)*CSRank(high)'),
  ('Pow(high*low,0.5)-vwap', None, 'Pow(_*_,_)-_',
   'Pow(CSRank(|open|)*open,CSRank(close))-vwap'),
]  # fmt: skip


def parse(text):
  return formula_lib.parse(text)


def parse_mask(text):
  return formula_lib.parse(text, holes=True)


def form_of(formula, mask=None):
  """(original, form) as `refinement.make_task` makes them."""
  original = parse(formula)
  if mask is None:
    original = masks.numbers_last(original)
    return original, masks.lay_over(masks.right_half(original), original)
  return original, masks.lay_over(parse_mask(mask), original)


@pytest.mark.parametrize('formula, mask, shown, improved', TABLE_3)
def test_table_3(formula, mask, shown, improved):
  """The paper's improved formulas are fillings of the originals' masks."""
  original, form = form_of(formula, mask)
  if mask is None:
    assert str(masks.right_half(original)) == shown
  bound = masks.length(original) + 5
  grammar = masks.make_grammar(LANGUAGE, form, bound)
  filled = parse(improved)
  rules = grammar_lib.derivation(grammar, filled)
  state = grammar_lib.init(grammar)
  for rule in rules:
    assert not state.invalid_actions[rule]
    state = grammar_lib.step(grammar, state, rule)
  assert bool(state.terminated)
  assert grammar_lib.formula_of(grammar, state.tokens) == filled


@pytest.mark.parametrize(
  'formula, mask, call_text',
  [
    ('Mean(close,6)-close', 'Mean(_,6)-_', 'Sub(Mean(Expr,6),Operand)'),
    ('Mean(close,20)', '_(close,20)', 'RollingOp(close,20)'),
    ('Mean(close,20)', '_', 'Expr'),
    ('|close|', '_(close)', 'UnaryOp(close)'),
    ('Corr(close,open,5)', '_(close,_,_)', 'PairedOp(close,Expr,Num)'),
    ('close/(-0.1)', '_(_,-0.1)', 'BinaryOp(Expr,-0.1)'),
    ('-0.1/close', '_/close', 'Div(Operand,close)'),
    ('close*open', '_*_', 'Mul(Expr,Operand)'),
    ('Ref(close,3)', 'Ref(close,_)', 'Ref(close,Num)'),
    ('If(Gt(open,2),open,3)', 'If(_,_,3)', 'If(Cond,Expr,3)'),
    ('If(Gt(open,2),open,3)', 'If(Gt(_,2),open,3)', 'If(Gt(Expr,2),open,3)'),
    ('If(Gt(open,2),open,3)', 'If(Gt(open,_),_,_)',
     'If(Gt(open,Operand),Expr,Expr)'),
    ('Quantile(open,0.8,5)', 'Quantile(_,_,_)', 'Quantile(Expr,Level,Num)'),
    ('Not(Gt(open,2))', 'Not(_)', 'Not(Cond)'),
    ('Slope(open,5)', '_(open,5)', 'RollingOp(open,5)'),
  ],
)  # fmt: skip
def test_forms(formula, mask, call_text):
  form = form_of(formula, mask)[1]
  assert formula_lib.call_text(form) == call_text
  # Keys of forms are used for similarity: masked operators have one too.
  assert formula_lib.key(form)


def test_canonical_sorts_below_masked_operators():
  a, b = (form_of(f'Corr({x},5)', f'_({x},5)')[1]
          for x in ('open*close,high', 'high,close*open'))  # fmt: skip
  assert formula_lib.key(a) == formula_lib.key(b)
  a, b = (form_of(f'{x}', f'_({y})')[1]
          for x, y in (('open-close', 'open,close'),
                       ('close-open', 'close,open')))  # fmt: skip
  assert formula_lib.key(a) != formula_lib.key(b)


@pytest.mark.parametrize(
  'mask, message',
  [
    ('Mean(close,6)-close', 'has nothing to fill'),
    ('Mean(open,6)-_', 'has open where the formula has close, symbol 3'),
    ('Mean(_,5)-_', 'has 5 where the formula has 6, symbol 4'),
    ('Mean(_,6)+_', 'has Add of 2 arguments where the formula has Sub of 2'),
    ('_(_)', 'has _ of 1 arguments where the formula has Sub of 2 arguments'),
    ('_(_,6)-_(_)', '_ of 1 arguments where the formula has close, symbol 5'),
  ],
)
def test_masks_that_do_not_fit(mask, message):
  with pytest.raises(masks.MaskError, match=message):
    form_of('Mean(close,6)-close', mask)


@pytest.mark.parametrize(
  'formula, mask',
  [
    ('Gt(open,close)', '_(open,close)'),
    ('If(Gt(open,2),open,3)', '_(_,open,3)'),
    ('Quantile(open,0.8,5)', '_(open,0.8,5)'),
  ],
)
def test_operators_that_cannot_be_left_open(formula, mask):
  with pytest.raises(masks.MaskError, match='cannot be left open: no other'):
    form_of(formula, mask)


@pytest.mark.parametrize(
  'formula, mask',
  [
    ('If(Gt(open,close),high,low)', 'If(_,high,low)'),
    ('If(Gt(open,close),high,low)', 'If(Gt(open,_),_,low)'),
    ('Quantile(close,0.5,6)/close', 'Quantile(close,_,6)/_'),
    ('GroupRank(close,industry)', 'GroupRank(_,_)'),
    ('And(Gt(open,close),Lt(high,low))', 'And(_,Lt(high,_))'),
  ],
)
def test_fillings_of_what_is_not_in_the_paper(formula, mask):
  features = everything.FEATURES
  original = formula_lib.parse(formula, features)
  form = masks.lay_over(formula_lib.parse(mask, features, holes=True), original)
  language = everything.make(max_length=6)
  bound = masks.length(original) + 3
  grammar = masks.make_grammar(language, form, bound)
  found = grammar_lib.random_formulas(grammar, jax.random.key(0), 50)
  assert len(set(found)) > 3
  for filled in found:
    assert masks.length(filled) <= bound
    assert filled.symbol == original.symbol
    assert masks.edits(form, original, filled) or filled == original
  # In the paper's language there is nothing to fill a condition with.
  if '(_,' in mask and 'Gt' in formula and 'And' not in formula:
    with pytest.raises(ValueError, match='Cond in If.* has no rule for it'):
      masks.make_grammar(LANGUAGE, form, bound)


@pytest.mark.parametrize('text', ['_', 'Mean(_,6)', '_(close,20)', 'Mean(a,_)'])
def test_holes_are_no_formula(text):
  with pytest.raises(formula_lib.FormulaError, match='unknown|window'):
    parse(text)


@pytest.mark.parametrize('text', ['Mean(_)', 'Mean(_,-1)', 'Foo(_)', '_ _'])
def test_masks_are_checked_as_formulas_are(text):
  with pytest.raises(formula_lib.FormulaError, match='position'):
    parse_mask(text)


def test_bounds():
  original, form = form_of('Mean(close,6)-close')
  assert masks.length(original) == 4
  with pytest.raises(ValueError, match=r'nothing fits a length of 3: .*max_le'):
    masks.make_grammar(LANGUAGE, form, 3)
  assert masks.make_grammar(LANGUAGE, form, 4).max_length == 0


def test_length_is_that_of_the_language():
  """The bound of a whole formula counts as alpha-Sem-k does."""
  for formula in grammar_lib.random_formulas(LANGUAGE, jax.random.key(0), 50):
    rules = grammar_lib.derivation(LANGUAGE, formula)
    growth = int(np.asarray(LANGUAGE.growth)[rules].sum())
    assert masks.length(formula) == growth


def test_a_part_that_the_language_cannot_fill():
  language = grammar_lib.make(max_length=4, operators=['Add', 'Sub'])
  form = form_of('Mean(close,6)-close', 'Mean(close,_)-close')[1]
  with pytest.raises(ValueError, match='Num.* no rule.*config.language'):
    masks.make_grammar(language, form, 9)
  form = form_of('Mean(close,6)-close', '_(close,6)-close')[1]
  with pytest.raises(ValueError, match='RollingOp.* no rule'):
    masks.make_grammar(language, form, 9)


def random_mask(formula, draw):
  """Opens nodes of a formula at random."""
  if draw(st.integers(0, 3)) == 0:
    return formula_lib.Formula(formula_lib.HOLE)
  is_operator_open = formula.args and draw(st.integers(0, 3)) == 0
  args = tuple(random_mask(arg, draw) for arg in formula.args)
  symbol = formula_lib.HOLE if is_operator_open else formula.symbol
  return formula_lib.Formula(symbol, args)


def matches(mask, formula):
  if mask == formula_lib.Formula(formula_lib.HOLE):
    return True
  return (
    mask.symbol in (formula_lib.HOLE, formula.symbol)
    and len(mask.args) == len(formula.args)
    and all(map(matches, mask.args, formula.args))
  )


FOREIGN = 'Corr(Ref(close,3)-turnover*7,Mean(Sign(open),250),9)'


# Shrinking would compile a grammar per try, for minutes.
@settings(
  max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate]
)
@given(st.data())
def test_random_play_fills_the_form(data):
  """Fuzz: a filling keeps the rest, obeys the bound, parses, is derivable."""
  features = (*vocab.FEATURES, 'turnover')
  original = formula_lib.parse(FOREIGN, features)
  mask = random_mask(original, data.draw)
  if mask == original:
    return
  # Masks are text, and forms differ from the original where they are open.
  assert formula_lib.parse(str(mask), features, holes=True) == mask
  form = masks.lay_over(mask, original)
  bound = masks.length(original) + 3
  grammar = masks.make_grammar(LANGUAGE, form, bound)
  for formula in grammar_lib.random_formulas(grammar, jax.random.key(0), 10):
    assert matches(mask, formula)
    assert masks.length(formula) <= bound
    assert formula_lib.parse(str(formula), features) == formula
    assert grammar_lib.derivation(grammar, formula)
    assert formula_lib.lookback(formula) <= grammar_lib.lookback(grammar)
    edits = masks.edits(form, original, formula)
    assert (formula == original) == (not edits)
    new = sum(e.after.count('turnover') + e.after.count('250') for e in edits)
    assert new == 0  # Symbols of the fixed part are not used to fill.


def test_edits_name_the_parts():
  original, form = form_of('Mean(close,6)-close', '_(Mean(_,_),_)')
  found = masks.edits(form, original, parse('Mean(high/low,20)/close'))
  assert found == [
    masks.Edit(1, 'operator', 'Sub', 'Div'),
    masks.Edit(3, 'operand', 'close', 'high/low'),
    masks.Edit(4, 'window', '6', '20'),
  ]
