"""Formulas in bottleneck and numba, as a good programmer would write them."""

import bottleneck
import numba
import numpy as np

PLAIN = {
  'Abs': np.abs,
  'Sign': np.sign,
  'Log': np.log,
  'Add': np.add,
  'Sub': np.subtract,
  'Mul': np.multiply,
  'Div': np.divide,
  'Pow': np.power,
  'Greater': np.maximum,
  'Less': np.minimum,
}
MOVING = {
  'Mean': bottleneck.move_mean,
  'Sum': bottleneck.move_sum,
  'Max': bottleneck.move_max,
  'Min': bottleneck.move_min,
  'Med': bottleneck.move_median,
}
MOMENTS = {'Mad': 1, 'Skew': 3, 'Kurt': 4}


def prepare(features, members, label):
  """(leaves, apply, daily IC) of a panel, see `peers.one_by_one`."""

  def apply(name, operands, window):
    with np.errstate(all='ignore'):
      if name == 'CSRank':
        masked = np.where(members, operands[0], np.float32(np.nan))
        known = np.maximum(np.isfinite(masked).sum(1), 1)
        ranks = bottleneck.nanrankdata(masked, axis=1) / known[:, None]
        return ranks.astype(np.float32)
      if window is None:
        return PLAIN[name](*map(_single, operands)).astype(np.float32)
      planes = [_plane(x, label.shape) for x in operands]
      return _windowed(name, planes, window)

  def daily_ic(values):
    return _daily_ic(_plane(values, label.shape), label)

  return features, apply, daily_ic


def _single(x):
  return np.float32(x) if np.isscalar(x) else x


def _plane(x, shape):
  return np.ascontiguousarray(np.broadcast_to(x, shape), np.float32)


def _windowed(name, operands, window):
  x = operands[0]
  if name in ('Ref', 'Delta'):
    before = np.full_like(x, np.nan)
    before[window:] = x[:-window]
    return before if name == 'Ref' else x - before
  if name in MOVING:
    return MOVING[name](x, window, axis=0)
  if name in ('Std', 'Var'):
    move = bottleneck.move_std if name == 'Std' else bottleneck.move_var
    return move(x, window, axis=0, ddof=1)
  if name in MOMENTS:
    return _moment(x, window, MOMENTS[name])
  if name == 'Rank':
    return _rank(x, window)
  if name in ('WMA', 'EMA'):
    ages = np.arange(window)
    weights = window - ages if name == 'WMA' else (1 - 2 / (window + 1)) ** ages
    return _weighted(x, (weights / weights.sum()).astype(np.float32))
  return _paired(x, operands[1], window, name == 'Cov')


@numba.njit(cache=True)
def _paired(x, y, window, is_covariance):
  """Running sums in float64."""
  days, stocks = x.shape
  out = np.full((days, stocks), np.nan, np.float32)
  sums = np.zeros((6, stocks))
  for t in range(days):
    for s in range(stocks):
      for sign, day in ((1.0, t), (-1.0, t - window)):
        if day < 0:
          continue
        a, b = np.float64(x[day, s]), np.float64(y[day, s])
        if a == a and b == b:
          sums[0, s] += sign
          sums[1, s] += sign * a
          sums[2, s] += sign * b
          sums[3, s] += sign * a * a
          sums[4, s] += sign * b * b
          sums[5, s] += sign * a * b
      if sums[0, s] == window:
        both = sums[5, s] - sums[1, s] * sums[2, s] / window
        if is_covariance:
          out[t, s] = both / (window - 1)
        else:
          one = sums[3, s] - sums[1, s] * sums[1, s] / window
          two = sums[4, s] - sums[2, s] * sums[2, s] / window
          if one > 0 and two > 0:
            out[t, s] = both / np.sqrt(one * two)
  return out


@numba.njit(cache=True)
def _moment(x, window, power):
  """Two passes over every window; 1: mean absolute deviation."""
  days, stocks = x.shape
  out = np.full((days, stocks), np.nan, np.float32)
  for t in range(window - 1, days):
    mean, squares, total = np.zeros(stocks), np.zeros(stocks), np.zeros(stocks)
    for i in range(window):
      for s in range(stocks):
        mean[s] += x[t - i, s] / window
    for i in range(window):
      for s in range(stocks):
        d = x[t - i, s] - mean[s]
        squares[s] += d * d
        if power == 1:
          total[s] += abs(d)
        else:
          total[s] += d * d * (d if power == 3 else d * d)
    for s in range(stocks):
      variance = squares[s] / window
      if power == 1:
        out[t, s] = total[s] / window
      elif variance > 0:
        moment = total[s] / window
        if power == 3:
          out[t, s] = moment / variance**1.5
        else:
          out[t, s] = moment / (variance * variance) - 3
  return out


@numba.njit(cache=True)
def _weighted(x, weights):
  """weights: of the newest day first."""
  days, stocks = x.shape
  window = len(weights)
  out = np.full((days, stocks), np.nan, np.float32)
  for t in range(window - 1, days):
    total = np.zeros(stocks)
    for i in range(window):
      for s in range(stocks):
        total[s] += weights[i] * x[t - i, s]
    out[t] = total
  return out


@numba.njit(cache=True)
def _rank(x, window):
  days, stocks = x.shape
  out = np.full((days, stocks), np.nan, np.float32)
  for t in range(window - 1, days):
    doubled, known = np.ones(stocks, np.float32), np.ones(stocks, np.bool_)
    for i in range(window):
      for s in range(stocks):
        old, new = x[t - i, s], x[t, s]
        doubled[s] += 2.0 if old < new else (1.0 if old == new else 0.0)
        known[s] &= old == old
    for s in range(stocks):
      if known[s]:
        out[t, s] = doubled[s] / (2 * window)
  return out


@numba.njit(cache=True)
def _daily_ic(x, label):
  days, stocks = x.shape
  out = np.zeros(days, np.float32)
  for t in range(days):
    n, sx, sy = 0, 0.0, 0.0
    for s in range(stocks):
      if np.isfinite(x[t, s]) and np.isfinite(label[t, s]):
        n += 1
        sx += x[t, s]
        sy += label[t, s]
    if n < 2:
      continue
    xx, yy, xy = 0.0, 0.0, 0.0
    for s in range(stocks):
      if np.isfinite(x[t, s]) and np.isfinite(label[t, s]):
        dx, dy = x[t, s] - sx / n, label[t, s] - sy / n
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    if xx > 0 and yy > 0:
      out[t] = xy / np.sqrt(xx * yy)
  return out
