"""Published formulas, read in their own notation, against `published.py`.

In float64. Correlations and weighted means are rounded on both sides, so that
exact ties stay ties.
"""

import functools

import numpy as np
import oracle
import published
import pytest

from alphajax.data import simulate
from alphajax.language import formula as formula_lib
from alphajax.language import library, vocab

T = 320  # The longest look-back is some 260 days.
STOCKS = 20
# Correlations of slow ranks: few stocks seldom change their ranks.
MANY = 120
NEED_MANY = {
  ('alpha101', 92), ('alpha101', 97), ('gtja191', 64), ('gtja191', 138),
}  # fmt: skip
# A correlation of ranks over 3 days is missing now and then, and whatever it is
# in for 39 days after: always, at any number of stocks.
NEVER = {('alpha101', 96)}
GROUPS = ('sector', 'industry', 'subindustry')
FEATURES = (*vocab.FEATURES, *GROUPS, 'market_cap')
# Those that have no equal here, and why.
UNREADABLE = {
  'alpha101': {},
  'gtja191': {
    'SMA of gtja191 is not in the language': {
      9, 22, 23, 24, 28, 47, 57, 63, 67, 68, 72, 79, 81, 82, 89, 96, 102, 109,
      111, 122, 135, 146, 151, 152, 155, 158, 160, 162, 164, 169, 173, 174, 188,
    },
    'WMA of gtja191 is not in the language': {27},
    'MKT of gtja191 is not in the language': {30},
    'BANCHMARKINDEXCLOSE of gtja191 is not in the language':
      {75, 149, 181, 182},
    'SELF of gtja191 is not in the language': {143},
    'SUMAC of gtja191 is not in the language': {165, 183},
    "unexpected '('": {166},
    'DELAY takes 2 arguments, not 1': {190},
  },
}  # fmt: skip


@functools.cache
def market(stocks):
  """(features in float64 by name, also by Alpha101's, members)."""
  panel = simulate.simulate(num_days=T, num_stocks=stocks, alphas=()).panel
  planes = np.asarray(panel.features, np.float64)
  features = dict(zip(panel.feature_names, planes, strict=True))
  for i, name in enumerate(GROUPS):
    codes = np.arange(stocks) % (i + 2)
    features[name] = np.broadcast_to(codes.astype(float), (T, stocks))
    features[f'indclass.{name}'] = features[name]
  features['market_cap'] = features['close'] * np.arange(1.0, stocks + 1)
  features['cap'] = features['market_cap']
  return features, np.asarray(panel.mask)


def text_of(entry):
  return entry.corrected or entry.published


def reason(text, dialect):
  with pytest.raises(formula_lib.FormulaError) as caught:
    formula_lib.parse(text, FEATURES, dialect=dialect)
  return str(caught.value).split(' at position')[0].split(':')[0]


def readable(name):
  refused = set().union(*UNREADABLE[name].values())
  return [e for e in library.entries(name) if e.id not in refused]


@pytest.mark.parametrize('name, count', [('alpha101', 101), ('gtja191', 147)])
def test_how_many_are_read(name, count):
  for entry in readable(name):
    formula = formula_lib.parse(text_of(entry), FEATURES, dialect=name)
    text = formula_lib.to_text(formula)
    assert formula_lib.parse(text, FEATURES) == formula
  assert len(readable(name)) == count
  found = {}
  for entry in library.entries(name):
    if entry not in readable(name):
      found.setdefault(reason(text_of(entry), name), set()).add(entry.id)
  assert found == UNREADABLE[name]


@pytest.mark.skipif(
  'alpha158' not in library.LIBRARIES, reason='Alpha158 is not among the tables'
)
def test_alpha158_is_read_whole():
  entries = library.entries('alpha158')
  for entry in entries:
    formula = formula_lib.parse(entry.published, dialect='qlib')
    ours = formula_lib.parse(entry.formula)
    assert formula_lib.key(formula) == formula_lib.key(ours), entry.id
    again = formula_lib.to_text(formula, 'qlib')
    assert formula_lib.parse(again, dialect='qlib') == formula
  assert len(entries) == 158


def day_of(pick):
  """Day of an extreme in the window, 1 the oldest; missing if any day is."""

  def function(x, days):
    window = published._trailing(x, days)
    missing = np.isnan(window).any(2)
    return np.where(missing, np.nan, pick(window, axis=2) + 1.0)

  return function


def less_group_mean(x, groups):
  """What a member has above the mean of its group."""
  _, members = market(x.shape[1])
  out = np.full(x.shape, np.nan)
  for t, today in enumerate(x):
    for code in np.unique(groups[t]):
      those = members[t] & np.isfinite(today) & (groups[t] == code)
      if any(those):
        out[t, those] = today[those] - today[those].mean()
  return out


def patch(monkeypatch):
  """What `published` lacks; the rounding of ties; 1^NaN is missing."""
  digits = published.DIGITS
  for symbol, key in (('Corr', 'corr'), ('Cov', 'cov'), ('WMA', 'decay')):
    function = oracle.ROLLING[symbol]
    monkeypatch.setitem(
      oracle.ROLLING,
      symbol,
      lambda *x, f=function, k=key: np.round(f(*x), digits[k]),
    )
  power = published._ELEMENTWISE['^']
  monkeypatch.setitem(oracle.ELEMENTWISE, 'Pow', power)
  monkeypatch.setitem(published._ELEMENTWISE, 'indneutralize', less_group_mean)
  most, least = day_of(np.argmax), day_of(np.argmin)
  for name, function in {
    'ts_argmax': most,
    'ts_argmin': least,
    'highday': lambda x, d: d - most(x, d),
    'lowday': lambda x, d: d - least(x, d),
  }.items():
    monkeypatch.setitem(published._WINDOWED, name, function)


@pytest.mark.parametrize('name', UNREADABLE)
def test_values_are_those_of_the_published_text(name, monkeypatch):
  patch(monkeypatch)
  for entry in readable(name):
    many = (name, entry.id) in NEED_MANY
    features, members = market(MANY if many else STOCKS)
    text = text_of(entry)
    formula = formula_lib.parse(text, FEATURES, dialect=name)
    days = min(formula_lib.lookback(formula) + 40, T)
    features = {key: plane[:days] for key, plane in features.items()}
    members = members[:days]
    expected = published.evaluate(text, features, members, name == 'alpha101')
    actual = oracle.evaluate(formula, features, members)
    is_known = np.isfinite(expected[members]).any()
    assert is_known != ((name, entry.id) in NEVER), entry.id
    np.testing.assert_allclose(
      np.where(members, actual, np.nan),
      np.where(members, expected, np.nan),
      rtol=1e-7,
      atol=1e-9,
      err_msg=f'{name} {entry.id}: {formula}',
    )
