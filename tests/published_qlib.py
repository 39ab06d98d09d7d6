"""qlib's notation, read by Python's own parser and evaluated in float64.

Written from qlib's documentation of its operators, without reading `alphajax`
or `oracle.py`. A window that is not full is missing, where qlib takes what
there is; a correlation with a constant window is missing, as in qlib.
"""

import ast

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view


def _windows(function):
  """An operator on whole windows `[..., d]`, today last."""

  def apply(*operands):
    *operands, d = operands
    d = int(d)
    out = pd.DataFrame(np.nan, *operands[0].axes)
    views = [sliding_window_view(x.to_numpy(), d, axis=0) for x in operands]
    out.iloc[d - 1 :] = function(*views)
    missing = sum(x.isna().rolling(d).sum() for x in operands) > 0
    return out.mask(missing)

  return apply


def _rolling(function):
  return lambda x, d: function(x.rolling(int(d)))


def _std(x):
  return np.sqrt(
    ((x - x.mean(-1, keepdims=True)) ** 2).sum(-1) / (x.shape[-1] - 1)
  )


def _correlation(x, y):
  dx, dy = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
  flat = [np.ptp(w, axis=-1) <= 1e-6 * np.abs(w).max(-1) for w in (x, y)]
  norm = np.sqrt((dx**2).sum(-1) * (dy**2).sum(-1))
  return np.where(flat[0] | flat[1], np.nan, (dx * dy).sum(-1) / norm)


def _days(x):
  return np.broadcast_to(np.arange(1.0, x.shape[-1] + 1), x.shape)


def _slope(x):
  days = _days(x) - (x.shape[-1] + 1) / 2
  return (x * days).sum(-1) / (days**2).sum(-1)


def _residual(x):
  """Of the last day from the line through the window."""
  n = x.shape[-1]
  return x[..., -1] - x.mean(-1) - _slope(x) * (n - (n + 1) / 2)


_OPERATORS = {
  'Ref': lambda x, d: x.shift(int(d)),
  'Mean': _rolling(lambda r: r.mean()),
  'Sum': _windows(lambda x: x.sum(-1)),
  'Std': _windows(_std),
  'Max': _rolling(lambda r: r.max()),
  'Min': _rolling(lambda r: r.min()),
  'Quantile': lambda x, d, q: x.rolling(int(d)).quantile(q),
  'Rank': _rolling(lambda r: r.rank(pct=True)),
  'IdxMax': _windows(lambda x: x.argmax(-1) + 1.0),
  'IdxMin': _windows(lambda x: x.argmin(-1) + 1.0),
  'Corr': _windows(_correlation),
  'Slope': _windows(_slope),
  'Rsquare': _windows(lambda x: _correlation(x, _days(x)) ** 2),
  'Resi': _windows(_residual),
  'Abs': np.abs,
  'Log': np.log,
  'Greater': lambda x, y: _both(np.maximum, x, y),
  'Less': lambda x, y: _both(np.minimum, x, y),
}
_INFIX = {
  ast.Add: lambda x, y: x + y,
  ast.Sub: lambda x, y: x - y,
  ast.Mult: lambda x, y: x * y,
  ast.Div: lambda x, y: x / y,
  ast.Gt: lambda x, y: _both(np.greater, x, y),
  ast.Lt: lambda x, y: _both(np.less, x, y),
}


def _both(function, x, y):
  """Missing where an operand is."""
  missing = x.isna() | (y.isna() if isinstance(y, pd.DataFrame) else False)
  return function(x, y).astype(float).mask(missing)


def evaluate(text, features):
  """Values `[T, S]` of an expression such as `Mean($close, 5)/$close`."""
  names = {name: pd.DataFrame(plane) for name, plane in features.items()}

  def visit(node):
    if isinstance(node, ast.Constant):
      return float(node.value)
    if isinstance(node, ast.Name):
      return names[node.id]
    if isinstance(node, ast.Call):
      return clean(_OPERATORS[node.func.id](*map(visit, node.args)))
    if isinstance(node, ast.Compare):
      (operator,), (right,) = node.ops, node.comparators
      return _INFIX[type(operator)](visit(node.left), visit(right))
    function = _INFIX[type(node.op)]
    return clean(function(visit(node.left), visit(node.right)))

  def clean(values):  # A quotient by 0 is missing.
    return (
      values if isinstance(values, float) else values.where(np.isfinite(values))
    )

  with np.errstate(all='ignore'):
    tree = ast.parse(text.replace('$', ''), mode='eval')
    return visit(tree.body).to_numpy()
