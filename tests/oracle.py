"""What every operator and metric should return: slow NumPy, float64.

Written from sections 3, 4 and 7 of the design alone, without reading
`alphajax.factor`. Planes are `f64[T, S]`, days by stocks; missing is NaN.

The design leaves three corners open, which are read here as follows. An
infinite operand is missing, as an infinite result is. The system computes in
float32, so a result above its range is infinite there and NaN here, and one
below its normal numbers is 0. In the metrics a value that is not finite is
missing and a day is constant when all its values are equal.
"""

import functools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import stats

CONSTANT = 1e-12  # Population variance at most this share of squared mean.
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)


# --- Elementwise ------------------------------------------------------------


def _log(x):
  return np.log(np.where(x > 0, x, np.nan))


def _truth(compare):
  def function(*operands):
    missing = np.any([np.isnan(x) for x in operands], axis=0)
    return np.where(missing, np.nan, compare(*operands).astype(float))

  return function


def _if(condition, x, y):
  return np.where(np.isnan(condition), np.nan, np.where(condition != 0, x, y))


ELEMENTWISE = {
  'Abs': np.abs,
  'Sign': np.sign,
  'Log': _log,
  'Add': np.add,
  'Sub': np.subtract,
  'Mul': np.multiply,
  'Div': np.divide,
  'Pow': np.power,
  'Greater': np.maximum,  # Both give NaN if either operand is.
  'Less': np.minimum,
  'SignedPower': lambda x, a: np.sign(x) * np.abs(x) ** a,
  'Gt': _truth(lambda x, y: x > y),
  'Lt': _truth(lambda x, y: x < y),
  'Ge': _truth(lambda x, y: x >= y),
  'Le': _truth(lambda x, y: x <= y),
  'Eq': _truth(lambda x, y: x == y),
  'Ne': _truth(lambda x, y: x != y),
  'And': _truth(lambda x, y: (x != 0) & (y != 0)),
  'Or': _truth(lambda x, y: (x != 0) | (y != 0)),
  'Not': _truth(lambda x: x == 0),
  'If': _if,
}


# --- One window: [..., w] -> [...], today last, all values finite ------------


def _constant(x):
  mean = x.mean(-1)
  return ((x - mean[..., None]) ** 2).mean(-1) <= CONSTANT * mean**2


def _deviation(x):
  """From the mean; exactly 0 where all are equal: today is taken off first."""
  x = x - x[..., -1:]
  return x - x.mean(-1, keepdims=True)


def _moment(x, order):
  x = _deviation(x)
  # As a power it would take many times as long.
  return functools.reduce(np.multiply, [x] * order).mean(-1)


def _skew(x):
  value = _moment(x, 3) / _moment(x, 2) ** 1.5
  return np.where(_constant(x), np.nan, value)


def _kurt(x):
  value = _moment(x, 4) / _moment(x, 2) ** 2 - 3
  return np.where(_constant(x), np.nan, value)


def _var(x):
  return _cov(x, x)


def _cov(x, y):
  products = _deviation(x) * _deviation(y)
  return products.sum(-1) / np.float64(x.shape[-1] - 1)


def _corr(x, y):
  dx, dy = _deviation(x), _deviation(y)
  norm = np.sqrt((dx**2).sum(-1)) * np.sqrt((dy**2).sum(-1))
  flat = _constant(x) | _constant(y)
  return np.where(flat, np.nan, (dx * dy).sum(-1) / norm)


def _median(x):
  ordered = np.sort(x, axis=-1)
  n = x.shape[-1]
  return (ordered[..., (n - 1) // 2] + ordered[..., n // 2]) / 2


def _mad(x):
  return np.abs(_deviation(x)).mean(-1)


def _rank(x):
  today = x[..., -1:]
  below = (x < today).sum(-1)
  equal = (x == today).sum(-1)  # Today itself included.
  return (below + (equal + 1) / 2) / x.shape[-1]


def _weighted(x, weights):
  return (x * (weights / weights.sum())).sum(-1)


def _wma(x):
  return _weighted(x, np.arange(1.0, x.shape[-1] + 1))


def _ema(x):
  n = x.shape[-1]
  decay = 1 - 2 / (n + 1)
  return _weighted(x, decay ** np.arange(n - 1.0, -1.0, -1.0))


def _line(x):
  """(slope, residuals) of the regression on 1..w, by solving it."""
  n = x.shape[-1]
  days = np.arange(1.0, n + 1)
  design = np.stack([np.ones(n), days], axis=1)
  # Less today, so that the solver keeps its digits.
  x = x - x[..., -1:]
  solved = x @ np.linalg.pinv(design).T  # [..., 2]
  residuals = x - solved @ design.T
  noise = 1e-13 * np.abs(x).max(-1, keepdims=True)
  return solved[..., 1], np.where(np.abs(residuals) <= noise, 0.0, residuals)


def _slope(x):
  return _line(x)[0] if x.shape[-1] > 1 else np.full(x.shape[:-1], np.nan)


def _resi(x):
  residual = _line(x)[1][..., -1]
  return residual if x.shape[-1] > 1 else np.full(x.shape[:-1], np.nan)


def _rsquare(x):
  squares = (_deviation(x) ** 2).sum(-1)
  share = 1 - (_line(x)[1] ** 2).sum(-1) / squares
  return np.where(_constant(x), np.nan, share)


def _product(x):
  """By logarithms: parts of it leave float64's range."""
  size = np.exp(np.log(np.abs(x)).sum(-1))
  return np.sign(x).prod(-1) * size


def _quantile(x, level):
  """Linear between the two nearest of the sorted values; NaN off [0, 1]."""
  ordered = np.sort(x, axis=-1)
  place = level * (x.shape[-1] - 1)
  known = (level >= 0) & (level <= 1)
  low = np.where(known, np.floor(place), 0).astype(int)
  high = np.minimum(low + 1, x.shape[-1] - 1)
  pick = [np.take_along_axis(ordered, i[..., None], -1)[..., 0]
          for i in (low, high)]  # fmt: skip
  return np.where(known, pick[0] + (place - low) * (pick[1] - pick[0]), np.nan)


ROLLING = {
  'Mean': lambda x: x.mean(-1),
  'Sum': lambda x: x.sum(-1),
  'Max': lambda x: x.max(-1),
  'Min': lambda x: x.min(-1),
  'Std': lambda x: np.sqrt(_var(x)),
  'Var': _var,
  'Skew': _skew,
  'Kurt': _kurt,
  'Med': _median,
  'Mad': _mad,
  'Rank': _rank,
  'WMA': _wma,
  'EMA': _ema,
  'Cov': _cov,
  'Corr': _corr,
  'ArgMax': lambda x: x.argmax(-1) + 1.0,
  'ArgMin': lambda x: x.argmin(-1) + 1.0,
  'Slope': _slope,
  'Resi': _resi,
  'Rsquare': _rsquare,
  'Product': _product,
}
WINDOWED = ('Ref', 'Delta', *ROLLING, 'Quantile')
PAIRED = ('Cov', 'Corr')
UNARY = ('Abs', 'Sign', 'Log', 'CSRank', 'Not', 'Scale')
CROSS_SECTIONAL = ('CSRank', 'Scale', 'GroupRank', 'GroupNeutral')
NAMES = (*CROSS_SECTIONAL, *ELEMENTWISE, *WINDOWED)


def arity(name: str) -> int:
  """Operands of an operator, its window not counted."""
  if name == 'If':
    return 3
  two = (*PAIRED, 'Quantile')
  single = name in UNARY or (name in WINDOWED and name not in two)
  return 1 if single else 2


# --- Whole planes -----------------------------------------------------------


def _windows(x, window):
  return sliding_window_view(x, window, axis=0)  # [T - window + 1, S, window]


def _rolling(function, operands, window):
  out = np.full(operands[0].shape, np.nan)
  if window > len(out):
    return out
  views = [_windows(x, window) for x in operands]
  known = np.all([np.isfinite(v).all(-1) for v in views], axis=0)
  full = out[window - 1 :]  # A view: days whose window is full.
  full[known] = function(*(v[known] for v in views))
  return out


def _quantile_of(x, level, window):
  """The level is that of today; earlier days of it may be missing."""
  out = _rolling(lambda w: w[..., -1], [x], window)  # NaN where incomplete.
  known = ~np.isnan(out) & np.isfinite(level)
  if known.any():
    full = _windows(x, window)[known[window - 1 :]]
    out[known] = _quantile(full, level[known])
  return np.where(known, out, np.nan)


def _ref(x, window):
  out = np.full_like(x, np.nan)
  out[window:] = x[: max(len(x) - window, 0)]
  return out


def _csrank(x, members):
  known = members & ~np.isnan(x)
  # The others go behind all who have a value, which is finite.
  ranks = stats.rankdata(np.where(known, x, np.inf), method='average', axis=1)
  return np.where(known, ranks / known.sum(1, keepdims=True), np.nan)


def _scale(x, members):
  size = np.nansum(np.where(members, np.abs(x), 0), axis=1, keepdims=True)
  return np.where(members, x / size, np.nan)


def _by_group(function, x, group, members):
  """`function` of the members' values that share a code, one day at a time."""
  out = np.full_like(x, np.nan)
  known = members & ~np.isnan(x) & ~np.isnan(group)
  for day in range(len(x)):
    for code in np.unique(group[day, known[day]]):
      inside = known[day] & (group[day] == code)
      out[day, inside] = function(x[day, inside])
  return out


_GROUPED = {
  'GroupRank': lambda x: stats.rankdata(x, method='average') / len(x),
  'GroupNeutral': lambda x: x - x.mean(),
}


def _dispatch(name, operands, window, members):
  if name in ELEMENTWISE:
    return ELEMENTWISE[name](*operands)
  if name == 'CSRank':
    return _csrank(operands[0], members)
  if name == 'Scale':
    return _scale(operands[0], members)
  if name in _GROUPED:
    return _by_group(_GROUPED[name], *operands, members)
  if name == 'Quantile':
    return _quantile_of(*operands, window)
  if name == 'Ref':
    return _ref(operands[0], window)
  if name == 'Delta':
    return operands[0] - _ref(operands[0], window)
  return _rolling(ROLLING[name], operands, window)


def apply(
  name: str,
  operands: Sequence[np.ndarray],
  window: int | None,
  members: np.ndarray,
) -> np.ndarray:
  """Applies one operator to `operands`, planes `[T, S]`; NaN is missing.

  Args:
    name: an operator of `NAMES`.
    operands: one to three planes; what is not finite is missing.
    window: days, for the operators that take one, else None.
    members: `bool[T, S]`, read by `CROSS_SECTIONAL` only.

  Raises:
    KeyError: an unknown operator.
    ValueError: a wrong number of operands, a window missing or not wanted.
  """
  operands = [np.asarray(x, np.float64) for x in operands]
  operands = [np.where(np.isfinite(x), x, np.nan) for x in operands]
  if name not in NAMES:
    raise KeyError(name)
  if len(operands) != arity(name):
    raise ValueError(f'{name} takes {arity(name)} operands')
  if (window is not None) != (name in WINDOWED):
    raise ValueError(f'{name} with window {window}')
  with np.errstate(all='ignore'):
    out = _dispatch(name, operands, window, members)
  out = np.where(np.abs(out) < SMALLEST, 0.0, out)
  return np.where(np.abs(out) <= LARGEST, out, np.nan)


def _key(formula):
  return formula.symbol, tuple(_key(arg) for arg in formula.args)


def evaluate(
  formula,
  features: dict[str, np.ndarray],
  members: np.ndarray,
  perturb: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
  """Values `[T, S]` of a formula, one node after the other.

  Args:
    formula: anything with `.symbol` and `.args`; a leaf is a feature or a
      number, and the last argument of a windowed operator is its window.
    features: planes `[T, S]` by name.
    members: `bool[T, S]`.
    perturb: changes the value of every leaf and of every operator. Equal
      subformulas share one value, and so one perturbation.
  """
  shape = members.shape
  done = {}

  def compute(node):
    if node.symbol in features:
      x = np.asarray(features[node.symbol], np.float64)
      return np.where(np.isfinite(x), x, np.nan)
    if not node.args:
      return np.full(shape, float(node.symbol))
    args, window = node.args, None
    if node.symbol in WINDOWED:
      args, window = args[:-1], int(args[-1].symbol)
    return apply(node.symbol, [visit(a) for a in args], window, members)

  def visit(node):
    key = _key(node)
    if key not in done:
      done[key] = compute(node) if perturb is None else perturb(compute(node))
    return done[key]

  return visit(formula)


# --- Metrics ----------------------------------------------------------------


def _pearson(x, y, known):
  """Of each day over the stocks known; NaN where one of both is constant."""

  def unit(z):
    z = z - z.mean(1, keepdims=True, where=known)
    # Scaled, so that the squares of very large or small values stay in range.
    return z / np.abs(z).max(1, keepdims=True, where=known, initial=0)

  dx, dy = unit(x), unit(y)
  sums = [a.sum(1, where=known) for a in (dx * dy, dx**2, dy**2)]
  return sums[0] / np.sqrt(sums[1] * sums[2])


def _varies(x, known):
  low = x.min(1, where=known, initial=np.inf)
  return low < x.max(1, where=known, initial=-np.inf)


def _daily(transform, values, target, mask):
  values = np.asarray(values, np.float64)
  target = np.asarray(target, np.float64)
  labelled = mask & np.isfinite(target)
  covered = labelled & np.isfinite(values)
  count = covered.sum(1)
  counts = (count > 0) & (2 * count >= labelled.sum(1))
  counts &= _varies(values, covered) & _varies(target, covered)
  with np.errstate(all='ignore'), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # A day without values has no mean.
    x, y = (transform(z, covered) for z in (values, target))
    return np.where(counts, _pearson(x, y, covered), 0.0)


def daily_ic(
  values: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> np.ndarray:
  """Pearson correlation with the label per day, `[T, S]` three times -> `[T]`.

  Over members (`mask`) with a label and a value. 0, never NaN, on a day that
  covers fewer than half of the labelled members or has nothing to correlate.
  """
  return _daily(lambda x, known: x, values, target, mask)


def daily_rank_ic(
  values: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> np.ndarray:
  """Spearman correlation with average ties; else as `daily_ic`."""

  def ranks(x, known):
    # The others go behind all who have a value, which is finite.
    return stats.rankdata(np.where(known, x, np.inf), axis=1)

  return _daily(ranks, values, target, mask)


# --- Messy data -------------------------------------------------------------


def _stretch(rng, days, length):
  start = int(rng.integers(0, max(days - length, 1)))
  return slice(start, start + length)


def _prices(rng, days, stocks):
  market = 0.01 * rng.standard_t(4, (days, 1))
  own = 0.02 * rng.standard_t(4, (days, stocks))
  returns = np.clip(market + own, -0.2, 0.2)
  close = np.exp(rng.normal(3, 1, stocks) + np.cumsum(returns, 0))
  gap = np.exp(0.005 * rng.standard_normal((days, stocks)))
  open_ = close * gap * np.exp(-returns)
  wick = np.exp(0.01 * np.abs(rng.standard_normal((2, days, stocks))))
  high = np.maximum(open_, close) * wick[0]
  low = np.minimum(open_, close) / wick[1]
  vwap = (open_ + high + low + close) / 4
  return dict(open=open_, high=high, low=low, close=close, vwap=vwap)


def _freeze(features, stock, days):
  """Makes every price one number and the volume another: a constant window."""
  price = features['close'][days.start, stock]
  for name, plane in features.items():
    plane[days, stock] = 2e6 if name == 'volume' else price


def messy_panel(
  seed: int, days: int, stocks: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Prices as bad as real ones: `(features {name: f64[T, S]}, bool[T, S])`.

  Prices are rounded to cents in a third of the stocks (ties over time), two
  stocks are the same (ties on a day), one is listed mid-way and one delisted;
  some are suspended or do not move for weeks, single values and many vwaps are
  missing, volumes run from 1e5 to 1e10. Every number is exact in float32, so
  that both sides of a comparison read the same. Needs at least 8 stocks.
  """
  rng = np.random.default_rng(seed)
  features = _prices(rng, days, stocks)
  size = rng.uniform(np.log(3e5), np.log(3e9), stocks)
  volume = np.exp(size + 0.5 * rng.standard_normal((days, stocks)))
  features['volume'] = np.clip(volume, 1e5, 1e10)
  cents = rng.permutation(stocks)[: stocks // 3]
  for plane in features.values():
    plane[:, cents] = np.maximum(np.round(plane[:, cents], 2), 0.01)
    plane[:, 1] = plane[:, 0]
  for stock in rng.choice(stocks, stocks // 8, replace=False):
    _freeze(features, stock, _stretch(rng, days, 60))
  for plane in features.values():
    plane[rng.random(plane.shape) < 1e-3] = np.nan
    plane[: days // 2, 2] = np.nan  # Listed mid-way.
    plane[2 * days // 3 :, 3] = np.nan  # Delisted.
  for stock in rng.choice(stocks, stocks // 4, replace=False):
    halt = _stretch(rng, days, int(rng.integers(3, 30)))
    for plane in features.values():
      plane[halt, stock] = np.nan
  features['vwap'][rng.random((days, stocks)) < 0.01] = np.nan
  features['vwap'][:, 4] = np.nan
  members = np.ones((days, stocks), bool)
  members[:, 5] = False  # Never a member.
  members[: days // 3, 6] = False  # Joins the universe late.
  members[days // 2 :, 7] = False  # Leaves it.
  members[: days // 2, 2] = False
  members[2 * days // 3 :, 3] = False
  order = ('open', 'high', 'low', 'close', 'volume', 'vwap')
  exact = {k: features[k].astype(np.float32).astype(float) for k in order}
  return exact, members
