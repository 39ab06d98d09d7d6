"""The table of features, and that all who name features take them from it."""

import pytest

from alphajax.analysis import words
from alphajax.data import checks, columns, features, panel, qlib_binary
from alphajax.language import formula, typed, vocab


def test_the_table():
  assert features.FEATURES == (
    'open', 'high', 'low', 'close', 'volume', 'vwap',
  )  # fmt: skip
  assert features.PRICES == ('open', 'high', 'low', 'close', 'vwap')
  assert features.VOLUMES == ('volume',)
  assert features.GROUPS == ('sector', 'industry', 'subindustry')
  assert features.EXTRA_FEATURES == (*features.GROUPS, 'market_cap')
  rows = (*features.PANEL, *features.EXTRA)
  assert len({row.name for row in rows}) == len(rows)


def test_panels_and_languages_have_the_features_of_the_table():
  assert panel.FEATURES is features.FEATURES is vocab.FEATURES


def test_columns_of_files():
  assert columns.REQUIRED == (
    'date', 'symbol', 'open', 'high', 'low', 'close', 'volume',
  )  # fmt: skip
  assert checks.NUMERIC == (
    'open', 'high', 'low', 'close', 'vwap', 'factor', 'adj_close', 'volume',
    'amount',
  )  # fmt: skip
  assert qlib_binary.FIELDS == (*features.FEATURES, 'amount', 'factor')


def test_units_type_the_grammar():
  names = (*features.FEATURES, 'market_cap', 'industry', 'turnover')
  table = vocab.make_vocab(names, operators=tuple(vocab.OPERATORS))
  leaves = {}
  for lhs, text, growth in typed.typed_k_rows(table):
    if text in names and not growth:
      leaves.setdefault(lhs, []).append(text)
  assert leaves == {
    'Price': list(features.PRICES),
    'Volume': list(features.VOLUMES),
    'Ratio': ['market_cap', 'turnover'],
    'Group': ['industry'],
  }


@pytest.mark.parametrize(
  'text, expected',
  [
    ('close', 'the closing price'),
    ('market_cap', 'the market capitalisation'),
    ('turnover', 'the turnover'),
  ],
)
def test_features_in_words(text, expected):
  names = (*features.FEATURES, 'market_cap', 'turnover')
  assert words.reading(formula.parse(text, names)) == expected
