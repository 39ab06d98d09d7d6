"""Formula text: numbers exactly, deep formulas, hints by meaning."""

import math
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate
from alphajax.language import formula, vocab
from alphajax.language.formula import FormulaError, parse, to_text


@given(st.integers(0, 2**64 - 1))
def test_numbers_go_through_text_exactly(bits):
  (value,) = struct.unpack('<d', struct.pack('<Q', bits))
  if not math.isfinite(value):
    return
  text = vocab.number_text(value)
  assert float(text) == value and 'e' not in text
  assert parse(text) == formula.Formula(text)


@pytest.mark.parametrize(
  'text, expected',
  [
    ('1e-21*close', '0.000000000000000000001*close'),
    ('1.5e-20', '0.000000000000000000015'),
    ('1e16', '10000000000000000'),
    ('2e-5', '0.00002'),
    ('100000', '100000'),
    ('-.050', '-0.05'),
  ],
)
def test_numbers_as_they_are_printed(text, expected):
  assert to_text(parse(text)) == expected
  assert parse(expected) == parse(text)


@pytest.mark.parametrize('text', ['1e400', '9' * 5000, '-1e999*close'])
def test_numbers_beyond_the_largest_are_refused(text):
  with pytest.raises(FormulaError, match='a number beyond 1.8e308 at position'):
    parse(text)


DEEP = {
  'terms': lambda n: '+'.join(['close'] * n),
  'calls': lambda n: 'Abs(' * n + 'close' + ')' * n,
  'signs': lambda n: '-' * n + 'close',
  'operands': lambda n: 'close-(' * n + 'close' + ')' * n,
}


@pytest.mark.parametrize('kind', DEEP)
@pytest.mark.parametrize('n', [331, 497, 5000])
def test_too_deep_is_an_error_of_the_formula(kind, n):
  with pytest.raises(FormulaError, match='nested deeper than 200 levels at'):
    parse(DEEP[kind](n))


@pytest.mark.parametrize('kind', DEEP)
def test_all_that_walks_formulas_can_as_deep_as_the_parser(kind):
  deep = parse(DEEP[kind](formula.MAX_DEPTH - 1))
  assert parse(to_text(deep)) == deep
  assert parse(formula.key(deep)) == formula.canonical(deep)
  assert formula.lookback(deep) == 0
  ones = jnp.ones((6, 3, 2), jnp.float32)
  market = panel_lib.make(
    np.asarray(ones), np.ones((3, 2), bool), ('2020-01-01', '2020-01-02',
    '2020-01-03'), ('a', 'b')
  )  # fmt: skip
  store = evaluate.Store(market, 1 << 20)
  (value,) = store.take([deep])
  np.testing.assert_array_equal(value, evaluate.compile(deep)(market))


@pytest.mark.parametrize(
  'text, hint',
  [
    ('rank(close)', r'here: CSRank\(x\)'),
    ('delay(close,1)', r'here: Ref\(x,5\)'),
    ('min(open,close)', r'here: Less\(x,y\)'),
    ('MAX(open,close)', r'here: Greater\(x,y\)'),
    ('ts_rank(close,5)', r'here: Rank\(x,20\)'),
    ('add(open,close)', r'here: Add\(x,y\) or x\+y'),
    ('decay_linear(close,5)', r'here: WMA\(x,20\)'),
    ('Maen(close,5)', r'did you mean Mean\?'),
    ('Rank(close)', r'takes 2 .*CSRank\(x\) ranks a day'),
    ('Min(open,close)', r'not close \(Less\(x,y\) is the smaller of two'),
    ('Max(open,close)', r'Greater\(x,y\) is the larger'),
    ('Ref(close,-1)', 'not -1, which would look ahead at position 11'),
    ('Delta(close,-5)', 'which would look ahead'),
    ('Mean(close,0)', 'positive integer, not 0'),
  ],
)
def test_hints_are_by_meaning(text, hint):
  with pytest.raises(FormulaError, match=hint):
    parse(text)


@pytest.mark.parametrize(
  'text, hint',
  [
    ('IdxMax(close,5)', r'here: ArgMax\(x,20\)'),
    ('close>open', r"unexpected '>' \(here: Gt\(x,y\)\) at position 6"),
    ('close>=open', r'here: Ge\(x,y\)'),
    ('close^2', r'here: Pow\(x,y\)'),
    ('close?1:2', r'here: If\(x,y,z\)'),
    (
      'Quantile(close,8,5)',
      r'level of Quantile .* \[0, 1\], not 8.* position 16',
    ),
    ('Quantile(close,open,5)', r'in \[0, 1\], not open'),
    ('GroupRank(close,5)', 'groups of GroupRank must be a feature, not 5 at'),
    ('Ref(close,Abs(open))', r'positive integer, not Abs\(open\)'),
  ],
)
def test_signs_and_slots(text, hint):
  with pytest.raises(FormulaError, match=hint):
    parse(text)


@pytest.mark.parametrize(
  'text, position',
  [
    ('industry', 1),
    ('-industry', 2),
    ('close*industry', 7),
    ('GroupRank(Mean(industry,5),industry)', 16),
    ('If(Gt(sector,1),close,open)', 7),
  ],
)
def test_codes_of_groups_are_no_values(text, position):
  features = (*vocab.FEATURES, 'industry', 'sector')
  with pytest.raises(FormulaError, match=f'no values.*position {position} '):
    parse(text, features)


def test_operators_of_groups_read_codes():
  features = (*vocab.FEATURES, 'industry')
  text = 'GroupNeutral(GroupRank(close,industry),industry)'
  assert str(parse(text, features)) == text
  with pytest.raises(FormulaError, match='industry holds codes'):
    parse('rank(industry)', features, dialect='alpha101')


@pytest.mark.parametrize(
  'text, line',
  [
    ('rank(close)', 'in the dialect alpha101 it is CSRank(close)'),
    ('Ref($close,5)>$low', 'in the dialect qlib it is Gt(Ref(close,5),low)'),
    ('Mean(close,20d)', 'in the dialect alphagen it is Mean(close,20)'),
    ('add(X0,X3)', 'in the dialect gplearn it is open+close'),
    ('max(low,5)', 'in the dialect alpha101 it is Max(low,5)'),
    ('max(low,5)', 'in the dialect gtja191 it is Greater(low,5)'),
  ],
)
def test_an_error_says_what_the_text_is_elsewhere(text, line):
  with pytest.raises(FormulaError) as caught:
    parse(text)
  assert f'  {line}' in str(caught.value).split('\n')
  assert parse(line.rpartition(' ')[2])


def test_no_other_reading_is_made_up():
  with pytest.raises(FormulaError, match='look ahead') as caught:
    parse('Ref($close,-1)')
  assert 'dialect' not in str(caught.value)


@pytest.mark.parametrize(
  'name, message',
  [
    ('Mean', 'has a name that the language has given away'),
    ('Expr', 'has a name that the language has given away'),
    ('a b', 'is not made of letters, digits and _'),
    ('5d', 'is not made of letters'),
    ('_', 'is not made of letters'),
  ],
)
def test_features_that_cannot_be_written_are_refused(name, message):
  remedy = (
    f'the feature \'{name}\' {message}.*data.columns="{name}=other" '
    r"--config.language.features=\"\('close','other'\)\""
  )
  with pytest.raises(ValueError, match=remedy):
    parse('close', ('close', name))
  with pytest.raises(ValueError, match=remedy):
    vocab.make_vocab(features=('close', name))


def test_features_in_any_alphabet():
  turnover = parse('Mean(换手率,5)', ('换手率',))
  assert turnover.args[0].symbol == '换手率'
  assert parse(to_text(turnover), ('换手率',)) == turnover


def test_equal_texts_are_parsed_once_for_a_set_of_features():
  assert parse('Mean(low,5)') is parse('Mean(low,5)')
  with pytest.raises(FormulaError, match="unknown feature 'low'"):
    parse('Mean(low,5)', ('close',))


def test_wide_punctuation_is_read():
  assert parse('Mean（close＋open，20）') == parse('Mean(close+open,20)')


def test_what_is_no_text_is_named():
  with pytest.raises(formula.FormulaError, match="b'close' is bytes"):
    formula.parse(b'close')
