"""Notations of formulas other than ours, as tables.

A dialect is a grammar, definitions and reasons. A definition is one line, what
is written there and what it is here: `delay(x,d) = Ref(x,d)`. Its letters say
what is taken: x, y, z a value; c, e a condition; d a window; n a number; q one
in [0, 1]; g a feature of group codes; s the d of `SEQUENCE(d)`. Of several
definitions of one name the first that fits is read; of several that fit a
formula the largest is written, of equals the one that takes least and stands
first. `adv#` stands for adv5, adv20 and so on.

A value occurs once in what it becomes, so that no text can grow.
"""

import functools
from typing import NamedTuple

# Arithmetic; the other grammars say what stands above `sum`, in `{top}`.
_ARITHMETIC = r"""
?start: {top}
?sum: product
  | sum "+" product -> add
  | sum "-" product -> sub
?product: signed
  | product ({times}) signed -> mul
  | product ({over}) signed -> div
?signed: "-" signed -> negative
  | power
?power: atom
  | atom "{power}" signed -> pow
?atom: NUMBER -> number{days}
  | NAME "(" [{top} ("," {top})*] ")" -> call
  | "$" NAME -> name
  | NAME -> name
  | "(" {top} ")"
NAME: /[^\W\d]\w*(\.[^\W\d]\w*)?/
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
DAYS.2: /\d+d\b/
%ignore /\s+/
"""
_COMPARED = r"""
  | {below} ">" {below} -> gt
  | {below} "<" {below} -> lt
  | {below} (">=" | "≥") {below} -> ge
  | {below} ("<=" | "≤") {below} -> le
  | {below} {equal} {below} -> eq
  | {below} ("!=" | "≠") {below} -> ne
"""
# As in C: a choice binds weakest, then or, and, comparisons.
_LIKE_C = (
  _ARITHMETIC.format(
    top='choice', times='"*" | ".*"', over='"/" | "./"', power='^', days=''
  )
  + r"""
?choice: either
  | either "?" choice ":" choice -> choice
?either: both
  | either ("||" | "|" | _OR) both -> either
?both: compared
  | both ("&&" | "&" | _AND) compared -> both
?compared: sum
"""
  + _COMPARED.format(below='sum', equal='("==" | "=")')
  + r"""
_OR.2: /or\b/i
_AND.2: /and\b/i
"""
)
# As in Python: comparisons bind weakest.
_LIKE_PYTHON = (
  _ARITHMETIC.format(
    top='compared', times='"*"', over='"/"', power='**', days=''
  )
  + '?compared: either'
  + _COMPARED.format(below='either', equal='"=="')
  + r"""
?either: both
  | either "|" both -> either
?both: sum
  | both "&" sum -> both
"""
)
_CALLS = functools.partial(
  _ARITHMETIC.format, top='sum', times='"*"', over='"/"', power='^'
)

# How operators are written between their operands, and how strongly they bind.
_SUMS = {'Add': ('+', 5), 'Sub': ('-', 5), 'Mul': ('*', 6), 'Div': ('/', 6)}
_ORDER = {'Gt': ('>', 4), 'Lt': ('<', 4), 'Ge': ('>=', 4), 'Le': ('<=', 4)}
_SIGNS_OF_C = {
  'If': ('?', 1),
  'Or': ('||', 2),
  'And': ('&&', 3),
  **_ORDER,
  'Eq': ('==', 4),
  'Ne': ('!=', 4),
  **_SUMS,
  'Pow': ('^', 8),
}
_SIGNS_OF_PYTHON = {
  **_ORDER,
  'Eq': ('==', 4),
  'Ne': ('!=', 4),
  **_SUMS,
}


class Dialect(NamedTuple):
  """One notation.

  grammar: its syntax, for lark.
  definitions: lines `what it writes = what that is here`.
  absent: names that have no equal here -> why, and what is nearest.
  signs: operators written as signs -> (sign, strength); a comparison's
    operands bind more strongly than itself on both sides.
  negates: `-x` is written for -1 times x.
  feature: how a feature is written, of its name, `upper` case or `place`.
  folds_case: names are read whatever their case.
  floors: windows may be fractions, which are rounded down.
  days: how a window is written.
  """

  grammar: str
  definitions: str
  absent: dict[str, str]
  signs: dict[str, tuple[str, int]]
  negates: bool = False
  feature: str = '{name}'
  folds_case: bool = False
  floors: bool = False
  days: str = '{}'


_ALPHA101 = """
rank(x) = CSRank(x)
delay(x,d) = Ref(x,d)
correlation(x,y,d) = Corr(x,y,d)
covariance(x,y,d) = Cov(x,y,d)
scale(x,n) = n*Scale(x)
scale(x) = Scale(x)
delta(x,d) = Delta(x,d)
signedpower(x,y) = SignedPower(x,y)
decay_linear(x,d) = WMA(x,d)
indneutralize(x,g) = GroupNeutral(x,g)
ts_min(x,d) = Min(x,d)
ts_max(x,d) = Max(x,d)
ts_argmax(x,d) = ArgMax(x,d)
ts_argmin(x,d) = ArgMin(x,d)
ts_rank(x,d) = Rank(x,d)
min(x,d) = Min(x,d)
max(x,d) = Max(x,d)
min(x,y) = Less(x,y)
max(x,y) = Greater(x,y)
sum(x,d) = Sum(x,d)
product(x,d) = Product(x,d)
stddev(x,d) = Std(x,d)
abs(x) = Abs(x)
log(x) = Log(x)
sign(x) = Sign(x)
returns = close/Ref(close,1)-1
adv# = Mean(vwap*volume,d)
cap = market_cap
IndClass.sector = sector
IndClass.industry = industry
IndClass.subindustry = subindustry
"""

_GTJA191 = """
RANK(x) = CSRank(x)
MAX(x,y) = Greater(x,y)
MIN(x,y) = Less(x,y)
STD(x,d) = Std(x,d)
ABS(x) = Abs(x)
LOG(x) = Log(x)
SIGN(x) = Sign(x)
CORR(x,y,d) = Corr(x,y,d)
COVIANCE(x,y,d) = Cov(x,y,d)
COVARIANCE(x,y,d) = Cov(x,y,d)
DELAY(x,d) = Ref(x,d)
DELTA(x,d) = Delta(x,d)
SUMIF(x,d,c) = Sum(x*c,d)
COUNT(c,d) = Sum(c,d)
SUM(x,d) = Sum(x,d)
MEAN(x,d) = Mean(x,d)
TSRANK(x,d) = Rank(x,d)
TSMAX(x,d) = Max(x,d)
TSMIN(x,d) = Min(x,d)
TS_RANK(x,d) = Rank(x,d)
TS_MAX(x,d) = Max(x,d)
TS_MIN(x,d) = Min(x,d)
PROD(x,d) = Product(x,d)
DECAYLINEAR(x,d) = WMA(x,d)
HIGHDAY(x,d) = d-ArgMax(x,d)
LOWDAY(x,d) = d-ArgMin(x,d)
SEQUENCE(d) = SEQUENCE(d)
REGBETA(x,s) = Slope(x,s)
RET = close/Ref(close,1)-1
AMOUNT = vwap*volume
HD = high-Ref(high,1)
LD = Ref(low,1)-low
TR = Greater(Greater(high-low,Abs(high-Ref(close,1))),Abs(low-Ref(close,1)))
DTM = If(Le(open,Ref(open,1)),0,Greater(high-open,open-Ref(open,1)))
DBM = If(Ge(open,Ref(open,1)),0,Greater(open-low,open-Ref(open,1)))
"""
_FACTOR = 'a return of factors, which is not in a panel of stocks'
_INDEX = 'the benchmark index, which is not in a panel of stocks'
_NOT_GTJA191 = {
  'SMA': 'a mean over all days so far; EMA(x,d) is the nearest, over d days',
  'WMA': 'a mean with weights 0.9^lag; DECAYLINEAR has linear ones',
  'REGRESI': 'what a regression on other series leaves',
  'FILTER': 'a series with days left out',
  'SUMAC': 'a running sum',
  'SELF': 'the formula itself, a day before',
  'BANCHMARKINDEXCLOSE': _INDEX,
  'BANCHMARKINDEXOPEN': _INDEX,
  'MKT': _FACTOR,
  'SMB': _FACTOR,
  'HML': _FACTOR,
}

_QLIB = """
Abs(x) = Abs(x)
Sign(x) = Sign(x)
Log(x) = Log(x)
Power(x,y) = Pow(x,y)
Add(x,y) = Add(x,y)
Sub(x,y) = Sub(x,y)
Mul(x,y) = Mul(x,y)
Div(x,y) = Div(x,y)
Greater(x,y) = Greater(x,y)
Less(x,y) = Less(x,y)
Gt(x,y) = Gt(x,y)
Ge(x,y) = Ge(x,y)
Lt(x,y) = Lt(x,y)
Le(x,y) = Le(x,y)
Eq(x,y) = Eq(x,y)
Ne(x,y) = Ne(x,y)
And(c,e) = And(c,e)
Or(c,e) = Or(c,e)
Not(c) = Not(c)
If(c,x,y) = If(c,x,y)
Ref(x,d) = Ref(x,d)
Mean(x,d) = Mean(x,d)
Sum(x,d) = Sum(x,d)
Std(x,d) = Std(x,d)
Var(x,d) = Var(x,d)
Skew(x,d) = Skew(x,d)*Pow(d*(d-1),0.5)/(d-2)
Kurt(x,d) = ((d+1)*Kurt(x,d)+6)*(d-1)/((d-2)*(d-3))
Max(x,d) = Max(x,d)
Min(x,d) = Min(x,d)
IdxMax(x,d) = ArgMax(x,d)
IdxMin(x,d) = ArgMin(x,d)
Quantile(x,d,q) = Quantile(x,q,d)
Med(x,d) = Med(x,d)
Mad(x,d) = Mad(x,d)
Rank(x,d) = Rank(x,d)
Delta(x,d) = Delta(x,d)
Slope(x,d) = Slope(x,d)
Rsquare(x,d) = Rsquare(x,d)
Resi(x,d) = Resi(x,d)
Corr(x,y,d) = Corr(x,y,d)
Cov(x,y,d) = Cov(x,y,d)
"""
_NOT_QLIB = {
  'EMA': 'a mean over all days so far; EMA(x,d) here is over d days',
  'WMA': 'a mean divided by its window once more; WMA(x,d) here is not',
  'Count': 'the number of known days',
  'Mask': 'the values of another stock',
  'ChangeInstrument': 'the values of another stock',
  'TResample': 'another frequency',
}

_ALPHAGEN_PLAIN = """
Abs(x) = Abs(x)
Sign(x) = Sign(x)
Log(x) = Log(x)
CSRank(x) = CSRank(x)
Add(x,y) = Add(x,y)
Sub(x,y) = Sub(x,y)
Mul(x,y) = Mul(x,y)
Div(x,y) = Div(x,y)
Pow(x,y) = Pow(x,y)
Greater(x,y) = Greater(x,y)
Less(x,y) = Less(x,y)
Constant(n) = n
"""
_ALPHAGEN_ROLLING = (
  'Ref Mean Sum Std Var Skew Kurt Max Min Med Mad Rank Delta WMA EMA'.split()
)


def _alphagen() -> str:
  """The operators of AlphaGen, those over a window also as `TsMean`."""
  lines = [_ALPHAGEN_PLAIN.strip()]
  for prefix in ('', 'Ts'):
    lines += [f'{prefix}{r}(x,d) = {r}(x,d)' for r in _ALPHAGEN_ROLLING]
    lines += [f'{prefix}{r}(x,y,d) = {r}(x,y,d)' for r in ('Cov', 'Corr')]
  return '\n'.join(lines)


# gplearn protects div, inv and log where |x| <= 0.001; here that is missing or
# the plain value.
_GPLEARN = """
add(x,y) = x+y
sub(x,y) = x-y
mul(x,y) = x*y
div(x,y) = x/y
sqrt(x) = Pow(Abs(x),0.5)
log(x) = Log(Abs(x))
abs(x) = Abs(x)
neg(x) = -1*x
inv(x) = 1/x
max(x,y) = Greater(x,y)
min(x,y) = Less(x,y)
"""
_NOT_GPLEARN = dict.fromkeys(('sin', 'cos', 'tan'), 'of trigonometry') | {
  'sig': 'the logistic function'
}

DIALECTS = {
  'alpha101': Dialect(
    grammar=_LIKE_C,
    definitions=_ALPHA101,
    absent={},
    signs=_SIGNS_OF_C,
    negates=True,
    folds_case=True,
    floors=True,
  ),
  'gtja191': Dialect(
    grammar=_LIKE_C,
    definitions=_GTJA191,
    absent=_NOT_GTJA191,
    signs=_SIGNS_OF_C,
    negates=True,
    feature='{upper}',
    folds_case=True,
  ),
  'qlib': Dialect(
    grammar=_LIKE_PYTHON,
    definitions=_QLIB,
    absent=_NOT_QLIB,
    signs=_SIGNS_OF_PYTHON,
    feature='${name}',
  ),
  'alphagen': Dialect(
    grammar=_CALLS(days='| DAYS -> days'),
    definitions=_alphagen(),
    absent={},
    signs={},
    feature='${name}',
    days='{}d',
  ),
  'gplearn': Dialect(
    grammar=_CALLS(days=''),
    definitions=_GPLEARN,
    absent=_NOT_GPLEARN,
    signs={},
    feature='X{place}',
  ),
}
DIALECTS['joinquant'] = DIALECTS['gtja191']
NAMES = ('ours', *DIALECTS)
