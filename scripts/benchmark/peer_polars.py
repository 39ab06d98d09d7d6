"""Formulas in polars: a long table, a column for every windowed node.

Window expressions cannot be nested, so that each becomes a column of its own,
as generators of polars code write it.
"""

import numpy as np
import polars as pl

PLAIN = {
  'Abs': lambda x: x.abs(),
  'Sign': lambda x: x.sign(),
  'Log': lambda x: x.log(),
  'Add': lambda x, y: x + y,
  'Sub': lambda x, y: x - y,
  'Mul': lambda x, y: x * y,
  'Div': lambda x, y: x / y,
  'Pow': lambda x, y: x.pow(y),
  'Greater': pl.max_horizontal,
  'Less': pl.min_horizontal,
}
BY_NAME = ('Mean', 'Sum', 'Max', 'Min', 'Std', 'Var')


def prepare(features, members, label):
  """(leaves, apply, daily IC) of a panel, see `peers.one_by_one`."""
  days, stocks = members.shape
  planes = {**features, 'label': label}
  table = pl.DataFrame(
    {
      'day': np.repeat(np.arange(days, dtype=np.int32), stocks),
      'stock': np.tile(np.arange(stocks, dtype=np.int32), days),
      'member': members.ravel(),
      **{name: plane.ravel() for name, plane in planes.items()},
    }
  ).sort('stock', 'day')
  table = table.with_columns(
    [pl.col(name).fill_nan(None) for name in (*features, 'label')]
  )
  columns: list[pl.Expr] = []  # Of the formula at hand.

  def apply(name, operands, window):
    operands = [_expression(x) for x in operands]
    if name != 'CSRank' and window is None:
      return PLAIN[name](*operands)
    if name == 'CSRank':
      known = pl.when(pl.col('member')).then(operands[0])
      value = (known.rank('average') / known.count()).over('day')
    else:
      value = _windowed(name, operands, window).over('stock')
    columns.append(value.alias(f'node_{len(columns)}'))
    return pl.col(f'node_{len(columns) - 1}')

  def daily_ic(value):
    lazy = table.lazy()
    for column in columns:
      lazy = lazy.with_columns(column)
    columns.clear()
    lazy = lazy.select('day', 'label', _expression(value).alias('value'))
    daily = lazy.group_by('day').agg(pl.corr('value', 'label')).sort('day')
    return daily.collect()['value'].to_numpy()

  return {name: pl.col(name) for name in features}, apply, daily_ic


def _expression(x):
  return x if isinstance(x, pl.Expr) else pl.lit(x, dtype=pl.Float32)


def _windowed(name, operands, window):
  x = operands[0]
  if name == 'Ref':
    return x.shift(window)
  if name == 'Delta':
    return x.diff(window)
  if name in BY_NAME:
    return getattr(x, f'rolling_{name.lower()}')(window)
  if name == 'Med':
    return x.rolling_median(window)
  if name == 'Skew':
    return x.rolling_skew(window)
  if name == 'Kurt':
    return x.rolling_kurtosis(window)
  if name == 'Rank':
    return x.rolling_rank(window) / window
  if name == 'WMA':
    # `rolling_mean` takes weights only where nothing is missing.
    total = window * (window + 1) / 2
    return sum((window - i) / total * x.shift(i) for i in range(window))
  if name == 'EMA':
    return x.ewm_mean(span=window, adjust=False)
  if name == 'Mad':
    return x.rolling_map(lambda v: (v - v.mean()).abs().mean(), window)
  paired = pl.rolling_cov if name == 'Cov' else pl.rolling_corr
  return paired(x, operands[1], window_size=window)
