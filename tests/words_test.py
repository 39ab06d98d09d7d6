"""Readings: complete, and not to be taken for those of other formulas."""

import jax
import pytest

from alphajax.analysis import words
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab


@pytest.mark.parametrize(
  'text, expected',
  [
    ('close', 'the closing price'),
    ('turnover', 'the turnover'),
    ('-Delta(close,5)', 'the negative of the change over 5 days of the closing '
     'price'),
    ('Corr(close,Log(volume),20)', 'the 20-day correlation of the closing '
     'price and the logarithm of the volume'),
    ('(high-low)/close', "(the day's high less the day's low) over the closing "
     'price'),
    ('If(Gt(close,Ref(close,1)),volume,-volume)', 'the volume in the case of '
     '(the closing price being above (the closing price 1 days ago)), else '
     '(the negative of the volume)'),
    ('Quantile(close/open,0.8,20)', 'the 20-day quantile 0.8 of (the closing '
     'price over the opening price)'),
    ('GroupNeutral(Slope(close,5),industry)', 'the slope of the 5-day line of '
     'the closing price less its mean within the industry'),
    ('Greater(Ref(open,2)*3,0.01)', 'the larger of ((the opening price 2 days '
     'ago) times 3) and 0.01'),
  ],
)  # fmt: skip
def test_reading(text, expected):
  formula = formula_lib.parse(text, (*vocab.FEATURES, 'turnover', 'industry'))
  assert words.reading(formula) == expected


def test_every_operator_has_a_phrase():
  assert all(row.phrase for row in vocab.OPERATORS.values())


def test_different_formulas_read_differently():
  formulas = [
    formula
    for operators in (None, tuple(vocab.OPERATORS))
    for formula in grammar_lib.random_formulas(
      grammar_lib.make(
        max_length=8,
        operators=operators,
        features=(*vocab.FEATURES, 'industry'),
      ),
      jax.random.key(0),
      3000,
    )
  ]
  texts = {formula_lib.call_text(formula): formula for formula in formulas}
  readings = {words.reading(formula) for formula in texts.values()}
  assert len(readings) == len(texts)
