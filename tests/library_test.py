"""The published libraries against their own text, float64 and float32.

`published.py` and `published_qlib.py` evaluate that text with operators of
their own. In
float64 the translations agree with it to rounding, where correlations and
weighted means are rounded on both sides, so that exact ties stay ties. In
float32 noise breaks the ties of ranks: such formulas are judged by their
coverage alone there.
"""

import functools

import numpy as np
import oracle
import published
import published_qlib
import pytest

from alphajax.data import simulate
from alphajax.data.features import EXTRA_FEATURES
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language import library, vocab

T, S = 320, 120  # The longest look-back is some 260 days.
COUNTS = {
  'alpha101': (101, 0, 0),
  'gtja191': (148, 1, 42),
  'alpha158': (158, 0, 0),
}
# Correlations over three days of ranks that hardly move: one in 38 is NaN.
EMPTY = {('alpha101', 96)}
# Written without industries and market cap.
PLAIN = {'alpha101': 82, 'gtja191': 149, 'alpha158': 158}
# They rank a correlation, a sum of ranks, or ranks over time: exact ties.
TIES = {
  'alpha101': {
    4, 13, 15, 16, 34, 45, 50, 68, 75, 78, 85, 88, 92, 94, 97, 98,
  },
  'gtja191': {
    16, 32, 83, 90, 99, 113, 115, 119, 121, 138, 140, 141, 179,
  },
  'alpha158': set(),
}  # fmt: skip


@functools.cache
def market():
  """(panel, features in float64, members); rows are missing now and then."""
  panel = simulate.simulate(num_days=T, num_stocks=S, alphas=()).panel
  rng = np.random.default_rng(0)
  codes = np.arange(S) % 16.0
  codes[3] = np.nan  # A stock of no known industry.
  extra = {
    'sector': np.broadcast_to(codes // 4, (T, S)),
    'industry': np.broadcast_to(codes // 2, (T, S)),
    'subindustry': np.broadcast_to(codes, (T, S)),
    'market_cap': np.exp(rng.normal(20, 1, S) + 0.1 * rng.normal(size=(T, S))),
  }
  planes = np.concatenate(
    [panel.features, np.stack([*extra.values()])], dtype=np.float32
  )
  panel = panel.replace(
    features=planes, feature_names=(*panel.feature_names, *extra)
  )
  planes = planes.astype(np.float64)
  features = dict(zip(panel.feature_names, planes, strict=True))
  assert 0.02 < np.isnan(features['close']).mean() < 0.3
  return panel, features, np.asarray(panel.mask)


def translated(name):
  return [e for e in library.entries(name) if e.kind != 'absent']


@functools.cache
def expected(name):
  """Values by the published text, `[T, S]` each, NaN off the universe."""
  _, features, members = market()
  values = {}
  for entry in translated(name):
    text = entry.corrected or entry.published
    if name == 'alpha158':
      plane = published_qlib.evaluate(text, features)
    else:
      plane = published.evaluate(text, features, members, name == 'alpha101')
    values[entry.id] = np.where(members, plane, np.nan)
  return values


def compare(entry, name, actual, tolerance):
  """Shares of values that are missing here, missing there, that disagree.

  A disagreement is more than `tolerance` of the value and the day's spread. Of
  formulas with ranks, days count on which the same stocks have a value.
  """
  members = market()[2]
  actual = np.where(members, actual, np.nan)
  wanted = expected(name)[entry.id]
  known = ~np.isnan(wanted)
  lost = (known & np.isnan(actual)).sum() / members.sum()
  gained = (~known & ~np.isnan(actual)).sum() / members.sum()
  shared = known & ~np.isnan(actual)
  if 'CSRank' in entry.formula:
    shared &= (known == ~np.isnan(actual)).all(1, keepdims=True)
  if (name, entry.id) in EMPTY:
    assert not known.any()
    return lost, gained, 0.0
  assert shared.any(), f'{name} {entry.id}: nothing to compare'
  mean = np.sum(wanted, 1, where=known) / np.maximum(known.sum(1), 1)
  spread = np.sqrt(
    np.sum((wanted - mean[:, None]) ** 2, 1, where=known)
    / np.maximum(known.sum(1), 1)
  )
  allowed = tolerance * (np.abs(wanted) + spread[:, None])
  bad = (np.abs(wanted - actual) > allowed) & shared
  return lost, gained, bad.sum() / shared.sum()


@pytest.mark.parametrize('name', library.LIBRARIES)
def test_tables(name):
  entries = library.entries(name)
  if name == 'alpha158':
    assert len({e.id for e in entries}) == 158 and entries[0].id == 'KMID'
  else:
    assert [e.id for e in entries] == list(range(1, len(entries) + 1))
  kinds = [e.kind for e in entries]
  assert tuple(map(kinds.count, library.KINDS)) == COUNTS[name]
  texts = library.load(name)
  assert texts.keys() | library.left_out(name).keys() == {e.id for e in entries}
  for number, text in texts.items():
    formula = library.find(name, number)
    assert formula_lib.parse(formula_lib.to_text(formula)) == formula
    assert formula == formula_lib.parse(text)
  assert all(library.left_out(name).values())
  assert all(e.note for e in entries if e.kind == 'rewrite')
  assert len(texts) == PLAIN[name]
  everything = (*vocab.FEATURES, *EXTRA_FEATURES)
  whole = library.load(name, exact_only=True, features=everything)
  assert len(whole) == COUNTS[name][0]


@pytest.mark.parametrize('name', library.LIBRARIES)
def test_translations_equal_the_published_text(name, monkeypatch):
  """In float64, operator by operator of the oracle."""
  _, features, members = market()
  digits = published.DIGITS
  for symbol, key in (('Corr', 'corr'), ('Cov', 'cov'), ('WMA', 'decay')):
    function = oracle.ROLLING[symbol]
    monkeypatch.setitem(
      oracle.ROLLING,
      symbol,
      lambda *x, f=function, k=key: np.round(f(*x), digits[k]),
    )
  # As in the package, a power of something missing is missing; 1^NaN too.
  monkeypatch.setitem(
    oracle.ELEMENTWISE, 'Pow', published._ELEMENTWISE['^']
  )  # fmt: skip
  for entry in translated(name):
    formula = library.parse(entry)
    actual = oracle.evaluate(formula, features, members)
    lost, gained, bad = compare(entry, name, actual, 1e-7)
    assert gained == 0, f'{name} {entry.id}'
    assert bad == 0, f'{name} {entry.id}: {bad:.2%} of the values differ'
    assert lost == 0, f'{name} {entry.id}'


@pytest.mark.parametrize('name', library.LIBRARIES)
def test_package_values_equal_the_published_text(name):
  """In float32."""
  panel, *_ = market()
  entries = translated(name)
  values = evaluate.values([*map(library.parse, entries)], panel)
  wrong = []
  for entry, actual in zip(entries, np.asarray(values), strict=True):
    lost, gained, bad = compare(entry, name, actual, 1e-3)
    bad = 0.0 if entry.id in TIES[name] else bad
    # Noise decides whether a window is constant where it nearly is.
    if max(lost, gained) > 1e-3 or bad > 5e-3:
      wrong.append((entry.id, lost, gained, bad))
  assert not wrong


@pytest.mark.parametrize(
  ('text', 'tree'),
  [
    ('a - b - c', ('-', ('-', 'a', 'b'), 'c')),
    ('-1 * a^2', ('*', ('negative', 1.0), ('^', 'a', 2.0))),
    ('-a^2', ('negative', ('^', 'a', 2.0))),
    ('A<B?1:C=D?.5:0', ('if', ('<', 'a', 'b'), 1.0,
                        ('if', ('==', 'c', 'd'), 0.5, 0.0))),
    ('a > b & c > d || e', ('or', ('and', ('>', 'a', 'b'), ('>', 'c', 'd')),
                            'e')),
    ('Sum(X./Y.*Z, 6)', ('sum', ('*', ('/', 'x', 'y'), 'z'), 6.0)),
  ],
)  # fmt: skip
def test_the_notation_is_read_as_printed(text, tree):
  assert published.parse(text) == tree


def test_errors_are_clear():
  with pytest.raises(ValueError, match="'alpha360': expected one of alpha101"):
    library.load('alpha360')
  with pytest.raises(ValueError, match='gtja191 81 .* needs recursive SMA'):
    library.find('gtja191', 81)
  with pytest.raises(ValueError, match="'rsv7': expected such as RSV"):
    library.find('alpha158', 'rsv7')
  assert library.left_out('alpha101')[56] == 'market_cap'
  assert library.left_out('alpha101')[67] == 'sector, subindustry'
  assert 'sector' in {n.symbol for n in formula_lib.nodes(
    library.find('alpha101', 67))}  # fmt: skip
  with pytest.raises(ValueError, match=r'no number 102: expected 1\.\.101'):
    library.find('alpha101', 102)
