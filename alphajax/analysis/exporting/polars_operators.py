"""The operators in polars, float64 inside. Exported source is cut from it.

A frame is in long format, see `prepare`; missing is null. Operators take the
frame and names of its columns, and give an expression. Windows count the rows
of a stock, so each has one of every trading day.
"""

import polars as pl

DTYPE = pl.Float32  # Values are kept as alphajax keeps them.


def prepare(frame, features):
  """One row of each stock and day, `date`, `symbol`, sorted, and `members`.

  Without a column `members` every stock is one when it has a close.
  """
  if 'members' not in frame.columns:
    frame = frame.with_columns(members=pl.col('close').is_not_null())
  days = frame.select('date').unique()
  grid = frame.select('symbol').unique().join(days, how='cross')
  frame = grid.join(frame, on=['date', 'symbol'], how='left')
  frame = frame.sort('symbol', 'date').with_columns(
    pl.col('members').fill_null(False)
  )
  return frame.with_columns(**{name: store(value(name)) for name in features})


def value(name):
  return pl.col(name).cast(pl.Float64)


def number(constant):
  return store(pl.lit(constant))


def store(x):
  """What is not finite is missing."""
  x = x.cast(DTYPE)
  return pl.when(x.is_finite()).then(x)


def absolute(frame, x):
  return pl.col(x).abs()


def sign(frame, x):
  return pl.col(x).sign()


def log(frame, x):
  """Natural logarithm; missing for x <= 0."""
  return pl.when(pl.col(x) > 0).then(value(x)).log()


def add(frame, x, y):
  return pl.col(x) + pl.col(y)


def sub(frame, x, y):
  return pl.col(x) - pl.col(y)


def mul(frame, x, y):
  return pl.col(x) * pl.col(y)


def div(frame, x, y):
  return value(x) / value(y)


def power(frame, x, y):
  """x^y; missing where either is."""
  return pl.when(known(x, y)).then(value(x).pow(value(y)))


def signed_power(frame, x, y):
  """sign(x) |x|^y."""
  return pl.col(x).sign() * value(x).abs().pow(value(y))


def greater(frame, x, y):
  return choice(pl.col(x) > pl.col(y), x, y)


def less(frame, x, y):
  return choice(pl.col(x) < pl.col(y), x, y)


def choice(first, x, y):
  """`first` is null where either is, and then neither is taken."""
  return pl.when(first).then(pl.col(x)).when(~first).then(pl.col(y))


def gt(frame, x, y):
  return pl.col(x) > pl.col(y)


def lt(frame, x, y):
  return pl.col(x) < pl.col(y)


def ge(frame, x, y):
  return pl.col(x) >= pl.col(y)


def le(frame, x, y):
  return pl.col(x) <= pl.col(y)


def eq(frame, x, y):
  return pl.col(x) == pl.col(y)


def ne(frame, x, y):
  return pl.col(x) != pl.col(y)


def known(*names):
  """True where none is missing: `false and missing` is missing here."""
  return pl.all_horizontal(pl.col(name).is_not_null() for name in names)


def both(frame, x, y):
  return pl.when(known(x, y)).then((pl.col(x) != 0) & (pl.col(y) != 0))


def either(frame, x, y):
  return pl.when(known(x, y)).then((pl.col(x) != 0) | (pl.col(y) != 0))


def negation(frame, x):
  return pl.col(x) == 0


def choose(frame, condition, x, y):
  """x where the condition is not 0, else y; what is not taken may be null."""
  return choice(pl.col(condition) != 0, x, y)


def among(x, *by):
  """(the values of members with a code, what they are compared within)."""
  inside = pl.col('members') & known(x, *by)
  return pl.when(inside).then(value(x)), ('date', *by)


def cs_rank(frame, x, *group):
  """Average rank / count among the members with a value, in (0, 1]."""
  values, within = among(x, *group)
  return values.rank().over(within) / values.count().over(within)


def cs_scale(frame, x):
  """x over the sum of |x| of the members; missing where that is 0."""
  values, within = among(x)
  total = values.abs().sum().over(within)
  return values / pl.when(total > 0).then(total)


def group_rank(frame, x, group):
  return cs_rank(frame, x, group)


def group_neutral(frame, x, group):
  """x less its mean over the members with the same code."""
  values, within = among(x, group)
  return values - values.mean().over(within)


def delay(frame, x, days):
  """The value so many days before."""
  return pl.col(x).shift(days).over('symbol')


def delta(frame, x, days):
  return pl.col(x) - pl.col(x).shift(days).over('symbol')


def combine(function, terms):
  """By halves, so that no expression is deep."""
  while len(terms) > 1:
    pairs = list(map(function, terms[::2], terms[1::2]))
    terms = pairs + terms[2 * len(pairs) :]
  return terms[0]


def over(function, days, *names):
  """Sum of `function(days ago, values of that day)` over the window."""
  terms = [
    function(ago, *[value(name).shift(ago) for name in names])
    for ago in range(days)
  ]
  return combine(pl.Expr.add, terms).over('symbol')


def with_means(frame, days, *names):
  """The frame with the means of the window in `_mean0`, `_mean1`."""
  means = {f'_mean{i}': ts_mean(frame, x, days) for i, x in enumerate(names)}
  return frame.with_columns(**means)


def deviation(past, i=0):
  return past - pl.col(f'_mean{i}')


def moment(i, name, order, days):
  """Mean power of the deviations from the window's mean."""
  return over(lambda _, past: deviation(past, i) ** order, days, name) / days


def series(frame, **columns):
  """Expressions of columns that the frame alone has, as one series."""
  return pl.lit(frame.select(**columns).to_series())


def is_constant(i, variance):
  """The variance is at most 1e-12 of the squared mean."""
  return variance.sqrt() <= 1e-6 * pl.col(f'_mean{i}').abs()


def ts_mean(frame, x, days):
  return ts_sum(frame, x, days) / days


def ts_sum(frame, x, days):
  return over(lambda _, past: past, days, x)


def ts_max(frame, x, days):
  return pl.col(x).rolling_max(days).over('symbol')


def ts_min(frame, x, days):
  return pl.col(x).rolling_min(days).over('symbol')


def ts_var(frame, x, days):
  """n - 1 in the denominator; null for one day."""
  return ts_cov(frame, x, x, days)


def ts_std(frame, x, days):
  return ts_var(frame, x, days).sqrt()


def standardized_moment(frame, x, order, days):
  """m_order / m2^(order / 2), population moments; null for a constant."""
  frame = with_means(frame, days, x)
  frame = frame.with_columns(_variance=moment(0, x, 2, days))
  variance = pl.col('_variance')
  scale = pl.when(~is_constant(0, variance)).then(variance ** (order / 2))
  return series(frame, value=moment(0, x, order, days) / scale)


def ts_skew(frame, x, days):
  return standardized_moment(frame, x, 3, days)


def ts_kurt(frame, x, days):
  """Excess kurtosis."""
  return standardized_moment(frame, x, 4, days) - 3


def ts_med(frame, x, days):
  return value(x).rolling_median(days).over('symbol')


def ts_mad(frame, x, days):
  """Mean absolute deviation from the mean."""
  frame = with_means(frame, days, x)
  total = over(lambda _, past: deviation(past).abs(), days, x)
  return series(frame, value=total / days)


def ts_quantile(frame, x, level, days):
  """Linear between the two nearest of the sorted values."""
  quantile = value(x).rolling_quantile(level, 'linear', window_size=days)
  return quantile.over('symbol')


def ts_rank(frame, x, days):
  """Percentile of today in the window, average of ties."""

  def twice(_, past):
    today = value(x)
    return 2 * (past < today).cast(pl.Float64) + (past == today)

  return (over(twice, days, x) + 1) / (2 * days)


def ts_wma(frame, x, days):
  """Weights 1..days, today the largest."""
  total = days * (days + 1) / 2
  return over(lambda ago, past: (days - ago) / total * past, days, x)


def ts_ema(frame, x, days):
  """Weights (1 - a)^i of i days ago, a = 2 / (days + 1), normalised."""
  keep = 1 - 2 / (days + 1)
  total = sum(keep**ago for ago in range(days))
  return over(lambda ago, past: keep**ago / total * past, days, x)


def product_of(days, x, y):
  """Sum of the products of two deviations."""
  return over(lambda _, p, q: deviation(p) * deviation(q, 1), days, x, y)


def ts_cov(frame, x, y, days):
  """n - 1 in the denominator; null for one day."""
  total = pl.when(days > 1).then(product_of(days, x, y) / max(days - 1, 1))
  return series(with_means(frame, days, x, y), value=total)


def ts_corr(frame, x, y, days):
  """Pearson; missing where either window is constant."""
  frame = with_means(frame, days, x, y).with_columns(
    _variance0=moment(0, x, 2, days), _variance1=moment(1, y, 2, days)
  )
  v, w = pl.col('_variance0'), pl.col('_variance1')
  varies = ~(is_constant(0, v) | is_constant(1, w))
  share = product_of(days, x, y) / days / (v.sqrt() * w.sqrt())
  return series(frame, value=pl.when(varies).then(share.clip(-1, 1)))


def day_of(extreme, x, days):
  """The first day of the window that has the value, 1 the oldest."""
  oldest = [
    pl.when(pl.col(x).shift(ago).over('symbol') == extreme).then(days - ago)
    for ago in range(days)
  ]
  return pl.when(extreme.is_not_null()).then(pl.min_horizontal(oldest))


def ts_argmax(frame, x, days):
  """Day of the largest value, 1 the oldest; the first of ties."""
  return day_of(ts_max(frame, x, days), x, days)


def ts_argmin(frame, x, days):
  return day_of(ts_min(frame, x, days), x, days)


def ts_product(frame, x, days):
  """By logarithms, since parts of it may overflow."""
  size = over(lambda _, past: past.abs().log(), days, x).exp()
  signs = combine(pl.Expr.mul, [pl.col(x).sign().shift(i) for i in range(days)])
  return size * signs.over('symbol')


def steps(days):
  """(day less the mean of 1..days by days ago, sum of squares)."""
  line = [(days - 1) / 2 - ago for ago in range(days)]
  return line, sum(each**2 for each in line) or float('nan')


def ts_slope(frame, x, days):
  """Slope of the regression of the window on 1..days."""
  line, squares = steps(days)
  total = over(lambda ago, past: line[ago] * (past - value(x)), days, x)
  return total / squares


def ts_resi(frame, x, days):
  """Today's value less that of the regression line."""
  line, squares = steps(days)
  leverage = [1 / days + each * line[0] / squares for each in line]
  return over(lambda ago, past: leverage[ago] * (value(x) - past), days, x)


def ts_rsquare(frame, x, days):
  """Share of the variance on the regression line; null for a constant."""
  line, squares = steps(days)
  frame = with_means(frame, days, x)
  frame = frame.with_columns(_variance=moment(0, x, 2, days))
  variance = pl.col('_variance')
  along = over(lambda ago, past: line[ago] * deviation(past), days, x)
  share = pl.when(~is_constant(0, variance)).then(along**2 / variance)
  return series(frame, value=(share / days / squares).clip(0, 1))


def standardized(x):
  """Of the day's members; missing where fewer than half have one."""
  values, day = among(x)
  mean, variance = (each.over(day) for each in (values.mean(), values.var(0)))
  z = pl.when(variance > 1e-12 * mean**2).then(
    (values - mean) / variance.sqrt()
  )
  counts = 2 * values.count().over(day) >= pl.col('members').sum().over(day)
  return pl.when(values.is_not_null() & counts).then(z.fill_null(0.0))


def signal(frame, weights):
  """Weighted sum of what `compute` gave; missing where no factor is known."""
  z = {name: standardized(name) for name in weights}
  terms = [weights[name] * z[name].fill_null(0.0) for name in weights]
  heard = [z[name].is_not_null() for name in weights if weights[name]]
  total = pl.when(pl.any_horizontal(heard)).then(combine(pl.Expr.add, terms))
  return frame.select('date', 'symbol', signal=store(total))
