"""The notation of Alpha101 and GTJA191, parsed and evaluated in float64.

Written from the two papers' own definitions, without reading `alphajax`, its
translations or `oracle.py`: a parser of the published text and NumPy operators.
Values are planes `[T, S]`, NaN where missing; truth is 0, 1 or NaN.
"""

import re

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import stats

# --- Parser: nested tuples (operation, argument, ...) -------------------------

_TOKEN = re.compile(
  r'\s*(\d+\.?\d*|\.\d+|[A-Za-z_]\w*(?:\.[A-Za-z]\w*)?|\.[*/]|\|\||&&|[<>=]=|.)'
)
_BINARY = {  # Operator: (strength, name).
  'OR': (1, 'or'), '||': (1, 'or'), '&': (2, 'and'), '&&': (2, 'and'),
  '<': (3, '<'), '>': (3, '>'), '<=': (3, '<='), '>=': (3, '>='),
  '=': (3, '=='), '==': (3, '=='), '+': (4, '+'), '-': (4, '-'),
  '*': (5, '*'), '/': (5, '/'), '.*': (5, '*'), './': (5, '/'), '^': (7, '^'),
}  # fmt: skip
_UNARY = 6  # Stronger than a product, weaker than a power.


def parse(text):
  """The tree of a formula in either source's notation."""
  tokens = _TOKEN.findall(text.strip())
  tree, at = _expression(tokens, 0, 0)
  assert at == len(tokens), f'{text}: stopped at {"".join(tokens[at:])!r}'
  return tree


def _expression(tokens, at, strength):
  left, at = _operand(tokens, at)
  while at < len(tokens):
    if tokens[at] == '?' and strength == 0:
      yes, at = _expression(tokens, at + 1, 0)
      assert tokens[at] == ':', tokens[at:]
      no, at = _expression(tokens, at + 1, 0)
      left = ('if', left, yes, no)
      continue
    own, name = _BINARY.get(tokens[at], (0, ''))
    if own <= strength:
      break
    right, at = _expression(tokens, at + 1, own)
    left = (name, left, right)
  return left, at


def _operand(tokens, at):
  token = tokens[at]
  if token == '-':
    inner, at = _expression(tokens, at + 1, _UNARY)
    return ('negative', inner), at
  if token == '(':
    inner, at = _expression(tokens, at + 1, 0)
    assert tokens[at] == ')', tokens[at:]
    return inner, at + 1
  if token[0].isdigit() or token[0] == '.':
    return float(token), at + 1
  if at + 1 < len(tokens) and tokens[at + 1] == '(':
    arguments, at = [], at + 1
    while tokens[at] != ')':
      argument, at = _expression(tokens, at + 1, 0)
      arguments.append(argument)
      assert tokens[at] in ',)', tokens[at:]
    return (token.lower(), *arguments), at + 1
  return token.lower(), at + 1


# --- Operators ---------------------------------------------------------------

# Correlations and weighted means of ranks tie exactly, and are ranked again:
# without rounding the last bit would decide.
DIGITS = {'corr': 8, 'cov': 8, 'decay': 10}


def _trailing(x, d):
  """Windows `[T, S, d]`, NaN before there are d days; today last."""
  before = np.full((d - 1, x.shape[1]), np.nan)
  return sliding_window_view(np.concatenate([before, x]), d, axis=0)


def _delay(x, d):
  return np.concatenate([np.full((d, x.shape[1]), np.nan), x[:-d]])


def _comoment(x, y, d):
  x, y = _trailing(x, d), _trailing(y, d)
  dx = x - np.mean(x, axis=2, keepdims=True)
  dy = y - np.mean(y, axis=2, keepdims=True)
  # A correlation with a constant window is missing.
  flat = [w.std(2) <= 1e-6 * np.abs(w.mean(2)) for w in (x, y)]
  return np.sum(dx * dy, 2), np.sum(dx**2, 2), np.sum(dy**2, 2), np.any(flat, 0)


def _correlation(x, y, d):
  xy, xx, yy, flat = _comoment(x, y, d)
  return np.where(flat, np.nan, np.round(xy / np.sqrt(xx * yy), DIGITS['corr']))


def _covariance(x, y, d):
  return np.round(_comoment(x, y, d)[0] / (d - 1), DIGITS['cov'])


def _rank(x, members):
  known = members & np.isfinite(x)
  # Whoever is not ranked goes behind the others, and moves none of them.
  ranks = stats.rankdata(np.where(known, x, np.inf), axis=1)
  size = np.maximum(known.sum(1, keepdims=True), 1)
  return np.where(known, ranks / size, np.nan)


def _ts_rank(x, d):
  window = _trailing(x, d)
  today = window[:, :, -1:]
  less, same = (window < today).sum(2), (window == today).sum(2)
  missing = np.isnan(window).any(2)
  return np.where(missing, np.nan, (less + (same + 1) / 2) / d)


def _weighted(x, weights):
  return _trailing(x, len(weights)) @ (weights / np.sum(weights))


def _decay_linear(x, d):
  return np.round(_weighted(x, np.arange(1.0, d + 1)), DIGITS['decay'])


def _scale(x, members):
  size = np.nansum(np.where(members, np.abs(x), 0), axis=1, keepdims=True)
  return x / size


def _neutral(x, group, members):
  """x less its mean over the members of the same group, day by day."""
  out = np.full(x.shape, np.nan)
  known = members & np.isfinite(x) & np.isfinite(group)
  for today, line, codes, use in zip(out, x, group, known, strict=True):
    for code in set(codes[use]):
      inside = use & (codes == code)
      today[inside] = line[inside] - line[inside].mean()
  return out


def _first_extreme(pick):
  """Day of the first extreme of the window, 1 the oldest."""

  def function(x, d):
    window = _trailing(x, d)
    missing = np.isnan(window).any(2)
    first = pick(np.where(np.isnan(window), 0, window), axis=2)
    return np.where(missing, np.nan, first + 1.0)

  return function


def _slope(x, d):
  """Slope of the regression of the last d values on 1..d."""
  time = np.arange(d) - (d - 1) / 2
  return _trailing(x, d) @ time / np.sum(time**2)


def _sma(x, n, m):
  """Y = (m X + (n - m) Y before) / n, begun at the first value."""
  out, state = np.full(x.shape, np.nan), np.full(x.shape[1], np.nan)
  for today, line in zip(out, x, strict=True):
    step = np.where(np.isnan(state), line, (m * line + (n - m) * state) / n)
    state = np.where(np.isnan(line), state, step)
    today[:] = np.where(np.isnan(line), np.nan, state)
  return out


def _logical(function, *operands):
  """A comparison, missing where an operand is."""
  missing = np.any([np.isnan(x) for x in operands], axis=0)
  return np.where(missing, np.nan, function(*operands).astype(float))


_ELEMENTWISE = {
  '+': np.add, '-': np.subtract, '*': np.multiply, '/': np.divide,
  '^': lambda x, y: np.where(np.isnan(x + y), np.nan, np.power(x, y)),
  'negative': np.negative, 'abs': np.abs, 'sign': np.sign,
  'log': lambda x: np.log(np.where(x > 0, x, np.nan)),
  'signedpower': lambda x, a: np.sign(x) * np.abs(x) ** a,
  'if': lambda c, a, b: np.where(np.isnan(c), np.nan, np.where(c == 1, a, b)),
  '<': lambda a, b: _logical(np.less, a, b),
  '>': lambda a, b: _logical(np.greater, a, b),
  '<=': lambda a, b: _logical(np.less_equal, a, b),
  '>=': lambda a, b: _logical(np.greater_equal, a, b),
  '==': lambda a, b: _logical(np.equal, a, b),
  'and': lambda a, b: _logical(lambda x, y: (x == 1) & (y == 1), a, b),
  'or': lambda a, b: _logical(lambda x, y: (x == 1) | (y == 1), a, b),
}  # fmt: skip
_WINDOWED = {
  'delay': _delay,
  'delta': lambda x, d: x - _delay(x, d),
  'sum': lambda x, d: _trailing(x, d).sum(2),
  'mean': lambda x, d: _trailing(x, d).mean(2),
  'stddev': lambda x, d: _trailing(x, d).std(2, ddof=1),
  'product': lambda x, d: _trailing(x, d).prod(2),
  'ts_min': lambda x, d: _trailing(x, d).min(2),
  'ts_max': lambda x, d: _trailing(x, d).max(2),
  'ts_rank': _ts_rank,
  'decay_linear': _decay_linear,
  'wma': lambda x, d: _weighted(x, 0.9 ** np.arange(d - 1.0, -1.0, -1.0)),
  'count': lambda x, d: _trailing(x, d).sum(2),
  'regbeta': _slope,
  'ts_argmax': _first_extreme(np.argmax),
  'ts_argmin': _first_extreme(np.argmin),
  # Days since: today is 0.
  'highday': lambda x, d: d - _first_extreme(np.argmax)(x, d),
  'lowday': lambda x, d: d - _first_extreme(np.argmin)(x, d),
}
_PAIRED = {'correlation': _correlation, 'covariance': _covariance}
_SPELLINGS = {
  'std': 'stddev', 'tsmin': 'ts_min', 'tsmax': 'ts_max', 'tsrank': 'ts_rank',
  'decaylinear': 'decay_linear', 'corr': 'correlation',
  'coviance': 'covariance', 'prod': 'product',
}  # fmt: skip
_DERIVED = {  # Tables of the GTJA report, returns and cap of Alpha101.
  'cap': 'market_cap',
  'returns': 'close/delay(close,1)-1',
  'ret': 'close/delay(close,1)-1',
  'amount': 'vwap*volume',
  'hd': 'high-delay(high,1)',
  'ld': 'delay(low,1)-low',
  'tr': 'max(max(high-low,abs(high-delay(close,1))),abs(low-delay(close,1)))',
  'dtm': 'open<=delay(open,1)?0:max(high-open,open-delay(open,1))',
  'dbm': 'open>=delay(open,1)?0:max(open-low,open-delay(open,1))',
}


def evaluate(text, features, members, min_is_rolling):
  """Values `[T, S]` of a published formula.

  min_is_rolling: min(x, 5) is the least of 5 days (Alpha101), or the lesser of
    two numbers (the GTJA report).
  """
  shape = members.shape

  def visit(tree):
    # A quotient by 0 is missing.
    values = compute(tree)
    return np.where(np.isfinite(values), values, np.nan)

  def compute(tree):
    if isinstance(tree, float):
      return np.full(shape, tree)
    if isinstance(tree, str):
      return leaf(tree)
    name, *arguments = tree
    name = _SPELLINGS.get(name, name)
    if name in ('min', 'max'):
      rolling = min_is_rolling and isinstance(arguments[1], float)
      if not rolling:
        pick = np.minimum if name == 'min' else np.maximum
        return pick(*map(visit, arguments))
      name = f'ts_{name}'
    if name in _ELEMENTWISE:
      return _ELEMENTWISE[name](*map(visit, arguments))
    if name == 'rank':
      return _rank(visit(*arguments), members)
    if name == 'scale':
      return _scale(visit(*arguments), members)
    if name == 'indneutralize':
      return _neutral(*map(visit, arguments), members)
    if name == 'sma':
      return _sma(visit(arguments[0]), *arguments[1:])
    if name == 'sumif':  # Values, window, condition.
      values, days, condition = arguments
      return _WINDOWED['sum'](visit(('*', values, condition)), int(days))
    if name == 'regbeta':  # On SEQUENCE(d).
      arguments[1] = arguments[1][1]
    *operands, days = arguments
    function = (_PAIRED if name in _PAIRED else _WINDOWED)[name]
    return function(*map(visit, operands), int(days))

  def leaf(name):
    name = name.removeprefix('indclass.')
    if name in features:
      return features[name]
    if name in _DERIVED:
      return visit(parse(_DERIVED[name]))
    days = re.fullmatch(r'adv(\d+)', name)
    return _WINDOWED['mean'](
      features['vwap'] * features['volume'], int(days.group(1))
    )

  with np.errstate(all='ignore'):
    return visit(parse(text))
