"""The operators in plain NumPy, float64 inside. Exported source is cut from it.

A plane is `[T, S]`, days by stocks; missing is NaN. A function is exported with
those that it calls, so they use nothing but NumPy and each other. Definitions,
not fast code: a window is full or the result is NaN.
"""

import numpy as np

DTYPE = np.float32  # Values are kept as alphajax keeps them.


def feature(data, name):
  """A plane of the data."""
  return store(np.asarray(data[name], np.float64))


def number(data, value):
  """A plane of one number."""
  return np.full(np.shape(data['members']), value, DTYPE)


def store(x):
  """What is not finite is missing."""
  x = np.asarray(x).astype(DTYPE)
  return np.where(np.isfinite(x), x, np.asarray(np.nan, DTYPE))


def absolute(x):
  return np.abs(x)


def sign(x):
  return np.sign(x)


def log(x):
  """Natural logarithm; missing for x <= 0."""
  return np.log(np.where(x > 0, x, np.nan).astype(np.float64))


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
  value = np.power(x.astype(np.float64), y.astype(np.float64))
  return np.where(np.isnan(x) | np.isnan(y), np.nan, value)


def signed_power(x, y):
  """sign(x) |x|^y."""
  return np.sign(x) * power(np.abs(x), y)


def greater(x, y):
  """The larger one; missing where either is."""
  return np.maximum(x, y)


def less(x, y):
  """The smaller one; missing where either is."""
  return np.minimum(x, y)


def truth(value, *operands):
  """1 or 0; missing where an operand is."""
  missing = np.any([np.isnan(x) for x in operands], axis=0)
  return np.where(missing, np.nan, value)


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
  return np.where(np.isnan(condition), np.nan, np.where(condition != 0, x, y))


def ranks(values):
  """Average rank / count of a vector without missing values, in (0, 1]."""
  _, place, count = np.unique(values, return_inverse=True, return_counts=True)
  average = np.cumsum(count) - (count - 1) / 2
  return average[place] / len(values)


def within(function, x, members, group=None):
  """`function(values)` of each day's members with a value, of a group each."""
  out = np.full(np.shape(x), np.nan)
  group = np.zeros(np.shape(x)) if group is None else group
  known = np.asarray(members, bool) & ~np.isnan(x) & ~np.isnan(group)
  for t in range(len(out)):
    for code in np.unique(group[t][known[t]]):
      inside = known[t] & (group[t] == code)
      out[t, inside] = function(x[t, inside].astype(np.float64))
  return out


def cs_rank(x, members):
  """Average rank / count among the members with a value, in (0, 1]."""
  return within(ranks, x, members)


def shares(values):
  total = np.abs(values).sum()
  return values / (total if total > 0 else np.nan)


def cs_scale(x, members):
  """x over the sum of |x| of the members; missing where that is 0."""
  return within(shares, x, members)


def group_rank(x, group, members):
  """As `cs_rank`, among the members with the same code."""
  return within(ranks, x, members, group)


def centred(values):
  return values - values.mean()


def group_neutral(x, group, members):
  """x less its mean over the members with the same code."""
  return within(centred, x, members, group)


def delay(x, days):
  """The value so many days before."""
  days = min(days, len(x))
  before = np.full((days, x.shape[1]), np.nan, x.dtype)
  return np.concatenate([before, x[: len(x) - days]])


def delta(x, days):
  return x - delay(x, days)


def rolling(function, days, *planes):
  """`function(windows [N, days], today last)` wherever the window is full."""
  out = np.full(np.shape(planes[0]), np.nan)
  if days > len(out):
    return out
  for s in range(out.shape[1]):
    views = [
      np.lib.stride_tricks.sliding_window_view(
        plane[:, s].astype(np.float64), days
      )
      for plane in planes
    ]
    known = np.all([np.isfinite(view).all(1) for view in views], axis=0)
    if known.any():
      out[days - 1 :][known, s] = function(*(view[known] for view in views))
  return out


def ts_mean(x, days):
  return rolling(lambda w: w.mean(1), days, x)


def ts_sum(x, days):
  return rolling(lambda w: w.sum(1), days, x)


def ts_max(x, days):
  return rolling(lambda w: w.max(1), days, x)


def ts_min(x, days):
  return rolling(lambda w: w.min(1), days, x)


def deviations(windows):
  return windows - windows.mean(1, keepdims=True)


def is_constant(windows):
  """The variance is at most 1e-12 of the squared mean."""
  variance = np.square(deviations(windows)).mean(1)
  return np.sqrt(variance) <= 1e-6 * np.abs(windows.mean(1))


def products(x, y):
  """Mean product of deviations, n - 1 in the denominator; NaN for one day."""
  return (deviations(x) * deviations(y)).sum(1) / (x.shape[1] - 1 or np.nan)


def ts_var(x, days):
  return rolling(lambda w: products(w, w), days, x)


def ts_std(x, days):
  return np.sqrt(ts_var(x, days))


def moment(windows, order):
  """m_order / m2^(order / 2), population moments; NaN for a constant."""
  d = deviations(windows)
  flat = is_constant(windows)
  variance = np.where(flat, np.nan, np.square(d).mean(1))
  return (d**order).mean(1) / variance ** (order / 2)


def ts_skew(x, days):
  return rolling(lambda w: moment(w, 3), days, x)


def ts_kurt(x, days):
  """Excess kurtosis."""
  return rolling(lambda w: moment(w, 4) - 3, days, x)


def ts_med(x, days):
  return rolling(lambda w: np.median(w, axis=1), days, x)


def ts_mad(x, days):
  """Mean absolute deviation from the mean."""
  return rolling(lambda w: np.abs(deviations(w)).mean(1), days, x)


def ts_quantile(x, level, days):
  """Linear between the two nearest of the sorted values."""
  return rolling(lambda w: np.quantile(w, level, axis=1), days, x)


def ts_rank(x, days):
  """Percentile of today in the window, average of ties."""

  def rank(w):
    today = w[:, -1:]
    below, level = (w < today).sum(1), (w == today).sum(1)
    return (below + (level + 1) / 2) / days

  return rolling(rank, days, x)


def ts_wma(x, days):
  """Weights 1..days, today the largest."""
  weights = np.arange(1.0, days + 1)
  return rolling(lambda w: w @ (weights / weights.sum()), days, x)


def ts_ema(x, days):
  """Weights (1 - a)^i of i days ago, a = 2 / (days + 1), normalised."""
  weights = (1 - 2 / (days + 1)) ** np.arange(days - 1.0, -1.0, -1.0)
  return rolling(lambda w: w @ (weights / weights.sum()), days, x)


def ts_cov(x, y, days):
  return rolling(products, days, x, y)


def ts_corr(x, y, days):
  """Pearson; missing where either window is constant."""

  def correlation(v, w):
    flat = is_constant(v) | is_constant(w)
    norm = np.sqrt(products(v, v)) * np.sqrt(products(w, w))
    value = products(v, w) / np.where(flat, np.nan, norm)
    return np.clip(value, -1.0, 1.0)

  return rolling(correlation, days, x, y)


def ts_argmax(x, days):
  """Day of the largest value, 1 the oldest; the first of ties."""
  return rolling(lambda w: w.argmax(1) + 1.0, days, x)


def ts_argmin(x, days):
  """Day of the smallest value, 1 the oldest; the first of ties."""
  return rolling(lambda w: w.argmin(1) + 1.0, days, x)


def ts_product(x, days):
  """Fractions and exponents apart, since parts of it may overflow."""

  def product(w):
    fraction, exponent = np.frexp(w)
    return np.ldexp(fraction.prod(1), exponent.sum(1))

  return rolling(product, days, x)


def steps(days):
  """(1..days about its mean, the sum of squares; NaN for one day)."""
  line = np.arange(1.0, days + 1) - (days + 1) / 2
  return line, np.square(line).sum() or np.nan


def ts_slope(x, days):
  """Slope of the regression of the window on 1..days."""
  line, squares = steps(days)
  return rolling(lambda w: (w - w[:, -1:]) @ line / squares, days, x)


def ts_resi(x, days):
  """Today's value less that of the regression line."""
  line, squares = steps(days)
  leverage = 1 / days + line * line[-1] / squares
  return rolling(lambda w: (w[:, -1:] - w) @ leverage, days, x)


def ts_rsquare(x, days):
  """Share of the variance on the regression line; NaN for a constant."""
  line, squares = steps(days)

  def share(w):
    total = np.where(is_constant(w), np.nan, np.square(deviations(w)).sum(1))
    along = deviations(w) @ line
    return np.clip(along**2 / total / squares, 0.0, 1.0)

  return rolling(share, days, x)


def standardized(x, members):
  """Of the day's members; 0 on a constant day.

  Missing where x is, and on a day on which fewer than half have a value.
  """
  known = members & ~np.isnan(x)
  x = np.where(known, x, 0.0).astype(np.float64)
  count = known.sum(1, keepdims=True)
  mean = x.sum(1, keepdims=True) / np.maximum(count, 1)
  d = np.where(known, x - mean, 0.0)
  variance = np.square(d).sum(1, keepdims=True) / np.maximum(count, 1)
  varies = variance > 1e-12 * np.square(mean)
  z = np.where(varies, d / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
  spoken = known & (2 * count >= members.sum(1, keepdims=True))
  return np.where(spoken, z, np.nan)


def signal(factors, data, weights):
  """Weighted sum of what `compute` gave; missing where no factor is known."""
  members = np.asarray(data['members'], bool)
  z = {name: standardized(factors[name], members) for name in weights}
  total = sum(weights[name] * np.nan_to_num(z[name]) for name in weights)
  heard = np.any([~np.isnan(z[name]) for name in weights if weights[name]], 0)
  return store(np.where(heard, total, np.nan))
