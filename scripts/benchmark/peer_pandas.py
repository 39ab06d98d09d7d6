"""Formulas in pandas, as most research notebooks have them: frames, float64."""

import numpy as np
import pandas as pd

BY_NAME = ('Mean', 'Sum', 'Max', 'Min', 'Std', 'Var', 'Skew', 'Kurt')
PLAIN = {
  'Abs': np.abs,
  'Sign': np.sign,
  'Log': np.log,
  'Add': lambda x, y: x + y,
  'Sub': lambda x, y: x - y,
  'Mul': lambda x, y: x * y,
  'Div': lambda x, y: x / y,
  'Pow': lambda x, y: x**y,
  'Greater': np.maximum,
  'Less': np.minimum,
}


def prepare(features, members, label):
  """(leaves, apply, daily IC) of a panel, see `peers.one_by_one`."""
  leaves = {name: pd.DataFrame(plane) for name, plane in features.items()}
  universe, target = pd.DataFrame(members), pd.DataFrame(label)

  def apply(name, operands, window):
    if name == 'CSRank':
      return operands[0].where(universe).rank(axis=1, pct=True)
    if window is None:
      return PLAIN[name](*operands)
    return _windowed(name, operands, window)

  return leaves, apply, lambda values: values.corrwith(target, axis=1)


def _windowed(name, operands, window):
  x = operands[0]
  if name == 'Ref':
    return x.shift(window)
  if name == 'Delta':
    return x.diff(window)
  if name == 'EMA':
    return x.ewm(span=window, adjust=False).mean()
  rolling = x.rolling(window)
  if name in BY_NAME:
    return getattr(rolling, name.lower())()
  if name == 'Med':
    return rolling.median()
  if name == 'Rank':
    return rolling.rank(pct=True)
  if name == 'Mad':
    return rolling.apply(lambda v: np.abs(v - v.mean()).mean(), raw=True)
  if name == 'WMA':
    weights = np.arange(1, window + 1) / (window * (window + 1) / 2)
    return rolling.apply(lambda v: v @ weights, raw=True)
  return getattr(rolling, name.lower())(operands[1])  # Cov, Corr.
