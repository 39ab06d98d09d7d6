"""Formulas in other notations: what is read, refused and written back."""

import random

import pytest

from alphajax.data.features import EXTRA_FEATURES
from alphajax.language import definitions, dialects, formula, vocab
from alphajax.language.formula import Formula, FormulaError, parse, to_text

FEATURES = (*vocab.FEATURES, *EXTRA_FEATURES)
READ = [
  ('alpha101', 'rank(close)', 'CSRank(close)'),
  ('alpha101', 'Ts_Rank(delay(VWAP, 5), 10)', 'Rank(Ref(vwap,5),10)'),
  ('alpha101', '(-1 * correlation(open, volume, 10))',
   '-1*Corr(open,volume,10)'),
  ('alpha101', 'sum(returns, 5)', 'Sum(close/Ref(close,1)-1,5)'),
  ('alpha101', 'adv20 / adv180', 'Mean(vwap*volume,20)/Mean(vwap*volume,180)'),
  ('alpha101', 'decay_linear(high, 7.89291)', 'WMA(high,7)'),
  ('alpha101', 'max(close, 5)', 'Max(close,5)'),
  ('alpha101', 'max(close, open)', 'Greater(close,open)'),
  ('alpha101', 'SignedPower(close, 2.)', 'SignedPower(close,2)'),
  ('alpha101', '-high^2^low', '-Pow(high,Pow(2,low))'),
  ('alpha101', 'scale(close, 2)', '2*Scale(close)'),
  ('alpha101', 'stddev(cap, 5)', 'Std(market_cap,5)'),
  ('alpha101', 'indneutralize(close, IndClass.sector)',
   'GroupNeutral(close,sector)'),
  ('alpha101', '(open < close) ? 1 : high == low ? ts_argmax(low, 3) : 0',
   'If(Lt(open,close),1,If(Eq(high,low),ArgMax(low,3),0))'),
  ('alpha101', 'open < 1 || close > 2 && high != low ? 1 : 0',
   'If(Or(Lt(open,1),And(Gt(close,2),Ne(high,low))),1,0)'),
  ('gtja191', 'DELAY(CLOSE,1)', 'Ref(close,1)'),
  ('gtja191', 'SUM(CLOSE./OPEN.*VOLUME,6)', 'Sum(close/open*volume,6)'),
  ('gtja191', 'MAX(CLOSE-1,3)', 'Greater(close-1,3)'),
  ('gtja191', 'CLOSE=OPEN?0:(CLOSE>OPEN&HIGH<=LOW)OR(OPEN>=1)?1:-VOLUME',
   'If(Eq(close,open),0,If(Or(And(Gt(close,open),Le(high,low)),Ge(open,1)),'
   '1,-volume))'),
  ('gtja191', 'COUNT(CLOSE>OPEN,20)', 'Sum(Gt(close,open),20)'),
  ('gtja191', 'SUMIF(VOLUME,20,CLOSE>OPEN)', 'Sum(volume*Gt(close,open),20)'),
  ('gtja191', 'REGBETA(CLOSE,SEQUENCE(20))', 'Slope(close,20)'),
  ('gtja191', 'HIGHDAY(HIGH,20)', '20-ArgMax(high,20)'),
  ('gtja191', 'LD', 'Ref(low,1)-low'),
  ('gtja191', 'AMOUNT', 'vwap*volume'),
  ('joinquant', 'TS_MAX(CLOSE，5)', 'Max(close,5)'),
  ('qlib', 'Ref($close, 1)/$close', 'Ref(close,1)/close'),
  ('qlib', 'Quantile($close, 5, 0.8)', 'Quantile(close,0.8,5)'),
  ('qlib', 'Mean($close>Ref($close, 1), 5)', 'Mean(Gt(close,Ref(close,1)),5)'),
  ('qlib', 'If(($close>$open) & ($low<$high), Power($close, 2), $low**0.5)',
   'If(And(Gt(close,open),Lt(low,high)),Pow(close,2),Pow(low,0.5))'),
  ('qlib', 'IdxMax($high, 5)-IdxMin($low, 5)', 'ArgMax(high,5)-ArgMin(low,5)'),
  ('qlib', 'Skew($close, 5)', 'Skew(close,5)*Pow(5*(5-1),0.5)/(5-2)'),
  ('qlib', '$high-$low+1e-12', 'high-low+0.000000000001'),
  ('alphagen', 'Mul(Ref($close,20d),-0.01)', 'Ref(close,20)*(-0.01)'),
  ('alphagen', 'TsMean($close,20d)', 'Mean(close,20)'),
  ('alphagen', 'Corr($open,TsStd($vwap,10),30d)', 'Corr(open,Std(vwap,10),30)'),
  ('alphagen', 'Add(Constant(-30.0),$low)', '-30+low'),
  ('gplearn', 'add(X0,X3)', 'open+close'),
  ('gplearn', 'sub(neg(X1), mul(0.5, log(X4)))', '-high-0.5*Log(Abs(volume))'),
  ('gplearn', 'max(sqrt(low), inv(div(close, X5)))',
   'Greater(Pow(Abs(low),0.5),1/(close/vwap))'),
]  # fmt: skip
REFUSED = [
  ('qlib', 'Ref($close,-1)', r'Ref must be .*not -1, which would look ahead at '
   'position 12'),
  ('alpha101', 'delta(close, -2)', 'not -2, which would look ahead at .* 14'),
  ('alpha101', 'delay(close, 0.5)', 'of delay .* not 0.5 at position 14'),
  ('qlib', 'Mean($close, 20.5)', 'positive integer, not 20.5'),
  ('qlib', 'Mean($close, 0)', 'positive integer, not 0'),
  ('qlib', 'Mean($close, $open)', 'positive integer, not open at position 14'),
  ('qlib', 'Mean(1, EMA($close, 5))', 'EMA of qlib is not in the language: it '
   'is a mean over all days so far.* at position 9'),
  ('qlib', 'Quantile($close, 5, 8)', r'in \[0, 1\], not 8 at position 21'),
  ('qlib', 'Slpoe($close, 5)', r"'Slpoe' is not .* qlib \(.* mean Slope\?"),
  ('qlib', '$close>$open>$low', "unexpected '>' at position 13"),
  ('gtja191', 'LOW+SMA(CLOSE,5,1)', r'SMA of gtja191 .*EMA\(x,d\) .*tion 5'),
  ('gtja191', 'COUNT(CLOSE,5)', 'condition .*, not close at position 7'),
  ('gtja191', 'CLOSE?1:2', 'condition .*, not close at position 1'),
  ('gtja191', 'SEQUENCE(5)+1', r'SEQUENCE\(n\) is only the last argument'),
  ('gtja191', 'SEQUENCE(5)', r'SEQUENCE\(n\) is only the last argument'),
  ('gtja191', 'REGBETA(CLOSE,5)', 'window of REGBETA .* not 5 at position 15'),
  ('gtja191', 'BANCHMARKINDEXCLOSE', 'the benchmark index'),
  ('alpha101', 'rank(close, 5)', 'rank takes 1 argument, not 2 at position 1'),
  ('alpha101', 'scale(close, 5, 1)', 'scale takes 1 or 2 arguments, not 3'),
  ('alpha101', 'close + clsoe', 'mean close.* at position 9'),
  ('alpha101', 'rank(close', 'ends too early at position 11'),
  ('alpha101', 'adv20 + 1e999', 'a number beyond 1.8e308 at position 9'),
  ('alpha101', 'adv0', 'window of adv# must be .*, not 0'),
  ('alpha101', 'adv' + '9' * 5000, 'window of adv# must be'),
  ('alphagen', 'Mean($close,' + '9' * 5000 + 'd)', 'window of Mean must be'),
  ('alphagen', 'Add($close,20d)', '20d is a window: expected a value .* 12'),
  ('alphagen', '20d', '20d is a window'),
  ('gplearn', 'add(X0,X6)', 'X6 of 6 features, X0 to X5 at position 8'),
  ('gplearn', 'sin(X0)', 'sin of gplearn is not in the language'),
]  # fmt: skip


@pytest.mark.parametrize('dialect, text, ours', READ)
def test_texts_are_read(dialect, text, ours):
  expected = parse(ours, FEATURES)
  assert parse(text, FEATURES, dialect=dialect) == expected
  again = to_text(expected, dialect, FEATURES)
  assert parse(again, FEATURES, dialect=dialect) == expected


@pytest.mark.parametrize('dialect, text, message', REFUSED)
def test_refusals_name_the_place(dialect, text, message):
  with pytest.raises(FormulaError, match=message):
    parse(text, dialect=dialect)


def test_what_definitions_need_is_said():
  with pytest.raises(FormulaError, match='made of vwap, which is not among'):
    parse('adv20', ('close', 'volume'), dialect='alpha101')
  # A column of one's own goes before a definition.
  assert parse('Returns', ('returns',), dialect='alpha101').symbol == 'returns'


def test_unknown_dialects_and_holes_are_refused():
  with pytest.raises(
    ValueError, match="'zipline': expected one of ours, alpha"
  ):
    parse('close', dialect='zipline')
  with pytest.raises(
    ValueError, match="'zipline': expected one of ours, alpha"
  ):
    to_text(parse('close'), 'zipline')
  with pytest.raises(ValueError, match='written in our notation, not in qlib'):
    parse('Mean(_,5)', holes=True, dialect='qlib')
  assert parse('close', dialect=dialects.NAMES[0]) == Formula('close')


@pytest.mark.parametrize('dialect', dialects.DIALECTS)
@pytest.mark.parametrize(
  'text', ['open' + '+open' * 331, '(' * 5000 + 'open', '-' * 400 + 'open']
)
def test_depth_is_bounded(dialect, text):
  with pytest.raises(FormulaError, match='deeper than 200|ends too early'):
    parse(text, dialect=dialect)


def test_definitions_may_not_deepen_a_formula_beyond_the_bound():
  text = 'HIGHDAY(' * 150 + 'CLOSE' + ',5)' * 150
  with pytest.raises(FormulaError, match='deeper than 200 levels, read as'):
    parse(text, dialect='gtja191')


@pytest.mark.parametrize(
  'wide, narrow',
  [
    ('ＳＵＭ（ＣＬＯＳＥ，２）', 'SUM(CLOSE,2)'),
    ('CLOSE＞＝OPEN？１：0', 'CLOSE>=OPEN?1:0'),
    ('CLOSE≥OPEN?HIGH×2:LOW÷2', 'CLOSE>=OPEN?HIGH*2:LOW/2'),
    ('CLOSE≠OPEN?−1:–2', 'CLOSE!=OPEN?-1:-2'),
  ],
)
def test_wide_characters_are_read(wide, narrow):
  assert parse(wide, dialect='gtja191') == parse(narrow, dialect='gtja191')


@pytest.mark.parametrize('dialect', dialects.DIALECTS)
def test_tables_hold(dialect):
  """Bodies are formulas of ours, and no value occurs in one twice."""
  for rows in definitions.table(dialect).by_name.values():
    for row in rows:
      heads = [node for node in formula.nodes(row.body) if node.args]
      assert {node.symbol for node in heads} <= {*vocab.OPERATORS, 'SEQUENCE'}
      leaves = [n.symbol for n in formula.nodes(row.body) if not n.args]
      for letter in row.params:
        assert leaves.count(letter) == 1 or letter == 'd' in leaves, row
  absent = definitions.table(dialect).absent
  assert not absent.keys() & definitions.table(dialect).by_name.keys()


# Operators of ours that a dialect has no equal of.
UNWRITABLE = {
  'alpha101': 'Mean Var Skew Kurt Med Mad EMA Slope Rsquare Resi Not '
  'Quantile GroupRank',
  'gtja191': 'Var Skew Kurt Med Mad EMA Scale SignedPower ArgMax ArgMin '
  'Rsquare Resi Not Quantile GroupRank GroupNeutral',
  'qlib': 'CSRank Skew Kurt WMA EMA Scale SignedPower Product GroupRank '
  'GroupNeutral',
  'alphagen': 'Scale SignedPower ArgMax ArgMin Slope Rsquare Resi Product Gt '
  'Lt Ge Le Eq Ne And Or Not If Quantile GroupRank GroupNeutral',
  'gplearn': 'Sign Log CSRank Pow Ref Delta Mean Sum Max Min Std Var Skew Kurt '
  'Med Mad Rank WMA EMA Cov Corr Scale SignedPower ArgMax ArgMin Slope Rsquare '
  'Resi Product Gt Lt Ge Le Eq Ne And Or Not If Quantile GroupRank '
  'GroupNeutral',
}


def example(name):
  """One operator on the simplest operands."""
  condition = Formula('Gt', (Formula('close'), Formula('open')))
  slots = {
    'value': Formula('close'),
    'condition': condition,
    'level': Formula('0.8'),
    'group': Formula('sector'),
    'window': Formula('20'),
  }
  kind = vocab.OPERATORS[name].kind
  return Formula(name, tuple(slots[slot] for slot in vocab.SLOTS[kind]))


@pytest.mark.parametrize('dialect', UNWRITABLE)
def test_each_operator_is_written_or_refused(dialect):
  refused = []
  for name in vocab.OPERATORS:
    formula = example(name)
    try:
      text = to_text(formula, dialect, FEATURES)
    except FormulaError as error:
      assert f'has no equal in the dialect {dialect}' in str(error)
      refused.append(name)
    else:
      assert parse(text, FEATURES, dialect=dialect) == formula
  assert refused == UNWRITABLE[dialect].split()


def random_formula(rng, names, depth):
  """One of these operators, with at least one operand that is no number."""
  if not depth or rng.random() < 0.2:
    return Formula(rng.choice(vocab.FEATURES))
  name = rng.choice(names)
  args = [
    random_operand(rng, slot, names, depth - 1)
    for slot in vocab.SLOTS[vocab.OPERATORS[name].kind]
  ]
  values = [
    i
    for i, slot in enumerate(vocab.SLOTS[vocab.OPERATORS[name].kind])
    if slot == 'value'
  ]
  if values and all(formula.is_number(args[i]) for i in values):
    args[rng.choice(values)] = random_formula(rng, names, depth - 1)
  return Formula(name, tuple(args))


def random_operand(rng, slot, names, depth):
  if slot == 'window':
    return Formula(rng.choice(['1', '5', '20']))
  if slot == 'level':
    return Formula('0.8')
  if slot == 'group':
    return Formula('industry')
  if slot == 'condition':
    inner = random_formula(rng, names, depth)
    return Formula('Lt', (inner, random_operand(rng, 'value', names, 0)))
  if rng.random() < 0.3:
    return Formula(rng.choice(['-1', '-0.05', '0.01', '2', '5', '20', '1.5']))
  return random_formula(rng, names, depth)


@pytest.mark.parametrize('dialect', UNWRITABLE)
def test_round_trips(dialect):
  rng = random.Random(0)
  left_out = UNWRITABLE[dialect].split()
  names = [name for name in vocab.OPERATORS if name not in left_out]
  for _ in range(400):
    each = random_formula(rng, names, 4)
    text = to_text(each, dialect, FEATURES)
    again = parse(text, FEATURES, dialect=dialect)
    assert formula.canonical(again) == formula.canonical(each), text


def test_our_own_round_trip():
  rng = random.Random(0)
  for _ in range(400):
    each = random_formula(rng, list(vocab.OPERATORS), 4)
    assert parse(to_text(each), FEATURES) == each


@pytest.mark.parametrize(
  'dialect, ours, text',
  [
    ('alpha101', '-CSRank(Corr(close-open,volume,10))',
     '-rank(correlation(close-open,volume,10))'),
    ('alpha101', 'Greater(close,5)', 'max(5,close)'),
    ('alpha101', 'Less(Gt(close,open),1)/Pow(low,-2)',
     'min(1,close>open)/low^(-2)'),
    ('alpha101', 'Std(close/Ref(close,1)-1,20)', 'stddev(returns,20)'),
    ('alpha101', 'Mean(vwap*volume,20)', 'adv20'),
    ('gtja191', 'Sum(volume*Gt(close,Ref(close,1)),5)',
     'SUMIF(VOLUME,5,CLOSE>DELAY(CLOSE,1))'),
    ('gtja191', 'If(Lt(open,close),1,2)+1', '(OPEN<CLOSE?1:2)+1'),
    ('qlib', 'Quantile(close,0.8,5)/-low',
     'Quantile($close,5,0.8)/((-1)*$low)'),
    ('alphagen', '(close-Mean(close,20))/close',
     'Div(Sub($close,Mean($close,20d)),$close)'),
    ('gplearn', '-close+Log(Abs(volume))/2', 'add(neg(X3),div(log(X4),2))'),
  ],
)  # fmt: skip
def test_texts_are_written(dialect, ours, text):
  assert to_text(parse(ours), dialect) == text


def test_what_cannot_be_written_is_said():
  with pytest.raises(
    FormulaError,
    match='EMA has no equal in the dialect qlib: EMA of qlib is a mean over '
    r'all days so far; EMA\(x,d\) here is over d days, in\n  EMA\(close,5\)',
  ):
    to_text(parse('1+EMA(close,5)'), 'qlib')
  with pytest.raises(FormulaError, match='turnover has no number in gplearn'):
    to_text(Formula('turnover'), 'gplearn')
  with pytest.raises(FormulaError, match='Expr is a part .* still open'):
    to_text(Formula('Expr'), 'qlib')
