"""Hints in errors: what a name or a sign of another language is called here."""

import difflib
import re
from collections.abc import Collection

from alphajax.language import vocab

# What other languages call it -> how it is typed here.
_MEANT = {
  'rank': 'CSRank(x) ranks a day over the stocks, Rank(x,20) over a window',
  'cs_rank': 'CSRank(x)',
  'ts_rank': 'Rank(x,20)',
  'tsrank': 'Rank(x,20)',
  **dict.fromkeys(('delay', 'shift', 'lag', 'ts_delay'), 'Ref(x,5)'),
  **dict.fromkeys(('delta', 'diff', 'ts_delta'), 'Delta(x,5)'),
  **dict.fromkeys(('correlation', 'corr', 'ts_corr'), 'Corr(x,y,20)'),
  **dict.fromkeys(('covariance', 'cov', 'ts_cov'), 'Cov(x,y,20)'),
  **dict.fromkeys(('stddev', 'std', 'ts_std'), 'Std(x,20)'),
  **dict.fromkeys(('sma', 'ma', 'ts_mean', 'mean', 'average'), 'Mean(x,20)'),
  **dict.fromkeys(('ts_sum', 'sum'), 'Sum(x,20)'),
  **dict.fromkeys(('ewm', 'ewma', 'ema'), 'EMA(x,20)'),
  **dict.fromkeys(('decay_linear', 'decaylinear', 'wma'), 'WMA(x,20)'),
  'min': 'Less(x,y) of two, Min(x,20) over a window',
  'max': 'Greater(x,y) of two, Max(x,20) over a window',
  'ts_min': 'Min(x,20)',
  'ts_max': 'Max(x,20)',
  'add': 'Add(x,y) or x+y',
  **dict.fromkeys(('sub', 'subtract', 'minus'), 'Sub(x,y) or x-y'),
  **dict.fromkeys(('mul', 'multiply', 'times'), 'Mul(x,y) or x*y'),
  **dict.fromkeys(('div', 'divide'), 'Div(x,y) or x/y'),
  'neg': '-x',
  **dict.fromkeys(('power', 'pow'), 'Pow(x,y)'),
  'signedpower': 'SignedPower(x,y)',
  **dict.fromkeys(('abs', 'fabs'), 'Abs(x)'),
  **dict.fromkeys(('log', 'ln'), 'Log(x)'),
  'inv': '1/x',
  'sqrt': 'Pow(x,0.5)',
  **dict.fromkeys(('ts_argmax', 'idxmax'), 'ArgMax(x,20)'),
  **dict.fromkeys(('ts_argmin', 'idxmin'), 'ArgMin(x,20)'),
  **dict.fromkeys(('product', 'prod', 'ts_product'), 'Product(x,20)'),
  **dict.fromkeys(('regbeta', 'ts_slope'), 'Slope(x,20)'),
  **dict.fromkeys(('indneutralize', 'group_neutralize'), 'GroupNeutral(x,g)'),
  **dict.fromkeys(('where', 'if_else', 'iif'), 'If(Gt(x,y),x,y)'),
}
# What a sign that is not ours stands for elsewhere.
_SIGNS = {
  '^': 'Pow(x,y)',
  '**': 'Pow(x,y)',
  '>': 'Gt(x,y)',
  '<': 'Lt(x,y)',
  '>=': 'Ge(x,y)',
  '<=': 'Le(x,y)',
  '=': 'Eq(x,y)',
  '==': 'Eq(x,y)',
  '!=': 'Ne(x,y)',
  '&': 'And(x,y)',
  '&&': 'And(x,y)',
  '||': 'Or(x,y)',
  '?': 'If(x,y,z)',
}
# What an operator with the wrong arguments may have been meant for.
_INSTEAD = {
  'Rank': 'CSRank(x) ranks a day over the stocks',
  'Min': 'Less(x,y) is the smaller of two',
  'Max': 'Greater(x,y) is the larger of two',
}
_CALLED = re.compile(r'([A-Za-z]+)\(')


def instead(name: str) -> str:
  """What an operator with the wrong arguments may have been meant for."""
  return f' ({_INSTEAD[name]})' if name in _INSTEAD else ''


def unknown(name: str, kind: str, known: Collection[str]) -> str:
  """Says that a name is not known, and which one may be meant.

  kind: what it should be, such as `operator`; hints by meaning are for those.
  """
  meant = _MEANT.get(name.lower())
  if kind == 'operator' and meant and _is_ours(meant):
    return f'unknown operator {name!r} (here: {meant})'
  close = difflib.get_close_matches(name, known, n=1)
  hint = f'did you mean {close[0]}?' if close else f'known: {", ".join(known)}'
  return f'unknown {kind} {name!r} ({hint})'


def sign(text: str) -> str:
  """How that is typed here which a text begins with; empty for no such sign."""
  for length in (2, 1):
    meant = _SIGNS.get(text[:length])
    if meant and _is_ours(meant):
      return f' (here: {meant})'
  return ''


def _is_ours(meant: str) -> bool:
  return vocab.OPERATORS.keys() >= set(_CALLED.findall(meant))
