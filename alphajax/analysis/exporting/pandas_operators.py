"""The operators in pandas, float64 inside. Exported source is cut from it.

A plane is a frame of days by stocks; missing is NaN. Windows count the rows of
the frame, so it has one of every trading day. pandas' own `skew`, `kurt`,
`corr` and `ewm` have other definitions, and its `var` runs along; these are
sums over the days of a window.
"""

import functools

import numpy as np
import pandas as pd

DTYPE = 'float32'  # Values are kept as alphajax keeps them.


def feature(data, name):
  """A plane of the data."""
  return store(data[name])


def number(data, value):
  """A plane of one number."""
  members = data['members']
  return pd.DataFrame(value, members.index, members.columns, dtype=DTYPE)


def store(x):
  """What is not finite is missing."""
  x = x.astype(DTYPE)
  return x.where(np.isfinite(x))


def absolute(x):
  return x.abs()


def sign(x):
  return np.sign(x)


def log(x):
  """Natural logarithm; missing for x <= 0."""
  return np.log(x.where(x > 0).astype('float64'))


def add(x, y):
  return x + y


def sub(x, y):
  return x - y


def mul(x, y):
  return x * y


def div(x, y):
  return x / y


def power(x, y):
  """x^y; missing where either is, NaN^0 and 1^NaN as well."""
  value = x.astype('float64') ** y.astype('float64')
  return value.where(x.notna() & y.notna())


def signed_power(x, y):
  """sign(x) |x|^y."""
  return np.sign(x) * power(x.abs(), y)


def greater(x, y):
  """The larger one; missing where either is."""
  return np.maximum(x, y)


def less(x, y):
  """The smaller one; missing where either is."""
  return np.minimum(x, y)


def truth(value, *operands):
  """1 or 0; missing where an operand is."""
  known = functools.reduce(lambda a, b: a & b, [x.notna() for x in operands])
  return value.astype('float64').where(known)


def gt(x, y):
  return truth(x > y, x, y)


def lt(x, y):
  return truth(x < y, x, y)


def ge(x, y):
  return truth(x >= y, x, y)


def le(x, y):
  return truth(x <= y, x, y)


def eq(x, y):
  return truth(x == y, x, y)


def ne(x, y):
  return truth(x != y, x, y)


def both(x, y):
  return truth((x != 0) & (y != 0), x, y)


def either(x, y):
  return truth((x != 0) | (y != 0), x, y)


def negation(x):
  return truth(x == 0, x)


def choose(condition, x, y):
  """x where the condition is not 0, else y; what is not taken may be NaN."""
  return x.where(condition != 0, y).where(condition.notna())


def cs_rank(x, members):
  """Average rank / count among the members with a value, in (0, 1]."""
  return x.where(members).rank(axis=1, pct=True)


def cs_scale(x, members):
  """x over the sum of |x| of the members; missing where that is 0."""
  x = x.where(members).astype('float64')
  total = x.abs().sum(axis=1)
  return x.div(total.where(total > 0), axis=0)


def in_groups(x, group, members):
  """(values of members with a code, by day and code; back to a plane)."""
  known = members & group.notna()
  values = x.astype('float64').where(known).T.unstack()
  codes = group.where(known).T.unstack()
  days = values.index.get_level_values(0)

  def plane(result):
    return result.unstack().reindex(index=x.index, columns=x.columns)

  return values.groupby([days, codes.to_numpy()]), plane


def group_rank(x, group, members):
  """As `cs_rank`, among the members with the same code."""
  groups, plane = in_groups(x, group, members)
  return plane(groups.rank(pct=True))


def group_neutral(x, group, members):
  """x less its mean over the members with the same code."""
  groups, plane = in_groups(x, group, members)
  return x.where(members) - plane(groups.transform('mean'))


def delay(x, days):
  """The value so many days before."""
  return x.shift(days)


def delta(x, days):
  return x - x.shift(days)


def over(function, days, *planes):
  """Sum of `function(days ago, values of that day)` over the window."""
  wide = [x.astype('float64') for x in planes]
  terms = (function(ago, *[x.shift(ago) for x in wide]) for ago in range(days))
  return functools.reduce(lambda a, b: a + b, terms)


def ts_mean(x, days):
  return ts_sum(x, days) / days


def ts_sum(x, days):
  return over(lambda _, past: past, days, x)


def ts_max(x, days):
  return x.rolling(days).max()


def ts_min(x, days):
  return x.rolling(days).min()


def moment(x, mean, order, days):
  """Mean power of the deviations from the window's mean."""
  return over(lambda _, past: (past - mean) ** order, days, x) / days


def is_constant(mean, variance):
  """The variance is at most 1e-12 of the squared mean."""
  return np.sqrt(variance) <= 1e-6 * mean.abs()


def ts_var(x, days):
  """n - 1 in the denominator; NaN for one day."""
  return ts_cov(x, x, days)


def ts_std(x, days):
  return np.sqrt(ts_var(x, days))


def standardized_moment(x, order, days):
  """m_order / m2^(order / 2), population moments; NaN for a constant."""
  mean = ts_mean(x, days)
  variance = moment(x, mean, 2, days)
  variance = variance.where(~is_constant(mean, variance))
  return moment(x, mean, order, days) / variance ** (order / 2)


def ts_skew(x, days):
  return standardized_moment(x, 3, days)


def ts_kurt(x, days):
  """Excess kurtosis."""
  return standardized_moment(x, 4, days) - 3


def ts_med(x, days):
  return x.astype('float64').rolling(days).median()


def ts_mad(x, days):
  """Mean absolute deviation from the mean."""
  mean = ts_mean(x, days)
  return over(lambda _, past: (past - mean).abs(), days, x) / days


def ts_quantile(x, level, days):
  """Linear between the two nearest of the sorted values."""
  return x.astype('float64').rolling(days).quantile(level)


def ts_rank(x, days):
  """Percentile of today in the window, average of ties."""
  return x.rolling(days).rank(pct=True)


def ts_wma(x, days):
  """Weights 1..days, today the largest."""
  total = days * (days + 1) / 2
  return over(lambda ago, past: (days - ago) / total * past, days, x)


def ts_ema(x, days):
  """Weights (1 - a)^i of i days ago, a = 2 / (days + 1), normalised."""
  keep = 1 - 2 / (days + 1)
  total = sum(keep**ago for ago in range(days))
  return over(lambda ago, past: keep**ago / total * past, days, x)


def ts_cov(x, y, days):
  """n - 1 in the denominator; NaN for one day."""
  a, b = ts_mean(x, days), ts_mean(y, days)
  total = over(lambda _, p, q: (p - a) * (q - b), days, x, y)
  return total / (days - 1 or np.nan)


def ts_corr(x, y, days):
  """Pearson; missing where either window is constant."""
  a, b = ts_mean(x, days), ts_mean(y, days)
  v, w = moment(x, a, 2, days), moment(y, b, 2, days)
  product = over(lambda _, p, q: (p - a) * (q - b), days, x, y) / days
  value = (product / (np.sqrt(v) * np.sqrt(w))).clip(-1, 1)
  return value.where(~(is_constant(a, v) | is_constant(b, w)))


def day_of(value, x, days):
  """The first day of the window that has the value, 1 the oldest."""
  day = value * np.nan
  for ago in range(days):  # The oldest comes last.
    day = day.where(x.shift(ago) != value, days - ago)
  return day.where(value.notna())


def ts_argmax(x, days):
  """Day of the largest value, 1 the oldest; the first of ties."""
  return day_of(ts_max(x, days), x, days)


def ts_argmin(x, days):
  """Day of the smallest value, 1 the oldest; the first of ties."""
  return day_of(ts_min(x, days), x, days)


def ts_product(x, days):
  """Fractions and exponents apart, since parts of it may overflow."""
  fraction, exponent = np.frexp(x.to_numpy('float64'))
  fraction = pd.DataFrame(fraction, x.index, x.columns)
  exponent = pd.DataFrame(exponent, x.index, x.columns)
  product = functools.reduce(
    lambda a, b: a * b, (fraction.shift(ago) for ago in range(days))
  )
  variance_of_two = ts_sum(exponent, days).fillna(0).to_numpy('int64')
  return pd.DataFrame(np.ldexp(product, variance_of_two), x.index, x.columns)


def steps(days):
  """(day less the mean of 1..days by days ago, sum of squares or NaN)."""
  line = (days - 1) / 2 - np.arange(days)
  return line, np.square(line).sum() or np.nan


def ts_slope(x, days):
  """Slope of the regression of the window on 1..days."""
  line, squares = steps(days)
  total = over(lambda ago, past: line[ago] * (past - x), days, x)
  return total / squares


def ts_resi(x, days):
  """Today's value less that of the regression line."""
  line, squares = steps(days)
  leverage = 1 / days + line * line[0] / squares
  return over(lambda ago, past: leverage[ago] * (x - past), days, x)


def ts_rsquare(x, days):
  """Share of the variance on the regression line; NaN for a constant."""
  line, squares = steps(days)
  mean = ts_mean(x, days)
  variance = moment(x, mean, 2, days)
  along = over(lambda ago, past: line[ago] * (past - mean), days, x)
  share = (along**2 / (variance * days) / squares).clip(0, 1)
  return share.where(~is_constant(mean, variance))


def standardized(x, members):
  """Of the day's members; 0 on a constant day.

  Missing where x is, and on a day on which fewer than half have a value.
  """
  x = x.where(members).astype('float64')
  mean = x.mean(axis=1)
  d = x.sub(mean, axis=0)
  variance = np.square(d).mean(axis=1)
  z = d.div(np.sqrt(variance.where(variance > 1e-12 * np.square(mean))), axis=0)
  counts = 2 * x.notna().sum(axis=1) >= members.sum(axis=1)
  return z.fillna(0.0).where(x.notna().mul(counts, axis=0))


def signal(factors, data, weights):
  """Weighted sum of what `compute` gave; missing where no factor is known."""
  z = {name: standardized(factors[name], data['members']) for name in weights}
  total = sum(weights[name] * z[name].fillna(0.0) for name in weights)
  heard = [z[name].notna() for name in weights if weights[name]]
  return store(total.where(functools.reduce(lambda a, b: a | b, heard)))
