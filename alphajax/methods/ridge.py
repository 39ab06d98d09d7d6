"""Ridge regression on characteristics: the linear predictor.

One pass over the train rows gives their covariances; an iteration then fits one
penalty of `config.ridge.penalties`, and the one of the least loss on validation
is kept. Characteristics without a value count as their middle, 0.
"""

from typing import NamedTuple

import numpy as np

from alphajax.methods import characteristics, predictor
from alphajax.methods.base import Market, Method
from alphajax.methods.predictor import Learner

BLOCK = 1 << 16  # Rows in float64 at a time.

lookback = characteristics.lookback


class Line(NamedTuple):
  """The best fit so far, and how many penalties were tried."""

  weights: np.ndarray  # f64[D * C]
  intercept: np.ndarray  # f64[]
  loss: float = float('inf')
  tried: int = 0


class Moments(NamedTuple):
  """Means and centred products of rows, enough to fit any penalty."""

  num_rows: int
  mean: np.ndarray  # f64[C]
  label_mean: float
  products: np.ndarray  # f64[C, C]
  with_label: np.ndarray  # f64[C]
  label_power: float


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/linear.py`."""
  penalties = config.ridge.penalties
  if not penalties or not all(p > 0 for p in penalties):
    raise ValueError(
      f'config.ridge.penalties is {penalties!r}: expected numbers above 0, as '
      'in --config.ridge.penalties="(1000.0,10000.0)"'
    )
  columns = characteristics.make_columns(config)
  width = len(columns.sources)
  known: list[Moments] = []  # Of train, which are the same every iteration.

  def advance(line, train, valid, rng_key):
    del rng_key
    if not known:
      known.append(moments(train.columns, train.label))
    fitted = fit(known[0], penalties[line.tried])
    loss = float(
      np.mean(np.square(values(fitted, valid.columns) - valid.label))
    )
    better = loss < line.loss
    kept = fitted._replace(loss=loss) if better else line
    losses = {'train_loss': _loss(known[0], fitted), 'valid_loss': loss}
    return kept._replace(tried=line.tried + 1), losses, better

  def ended(line):
    if line.tried < len(penalties):
      return None
    return f'{len(penalties)} penalties tried'

  learner = Learner(
    init=lambda rng_key: Line(np.zeros(width), np.zeros(())),
    advance=advance,
    values=values,
    ended=ended,
    save=_save,
    load=_load,
  )
  return predictor.make(config, market, columns, learner)


def moments(columns: np.ndarray, label: np.ndarray) -> Moments:
  """The moments of rows, a block of them at a time."""
  count, width = columns.shape
  total, power = np.zeros(width + 1), np.zeros((width + 1, width + 1))
  for i in range(0, count, BLOCK):
    block = np.nan_to_num(columns[i : i + BLOCK].astype(np.float64))
    block = np.column_stack([block, label[i : i + BLOCK]])
    total += block.sum(0)
    power += block.T @ block
  mean = total / count
  power -= count * np.outer(mean, mean)
  return Moments(
    count, mean[:-1], float(mean[-1]), power[:-1, :-1], power[:-1, -1],
    float(power[-1, -1]),
  )  # fmt: skip


def fit(known: Moments, penalty: float) -> Line:
  """Least squares plus `penalty` times the squared weights, not the intercept.

  The squares are summed over the rows, as scikit-learn's `Ridge` sums them.
  """
  width = len(known.mean)
  matrix = known.products + penalty * np.eye(width)
  weights = np.linalg.solve(matrix, known.with_label)
  return Line(weights, np.asarray(known.label_mean - weights @ known.mean))


def _loss(known: Moments, line: Line) -> float:
  """Mean squared error on the rows of the moments."""
  w = line.weights
  rest = known.label_power - 2 * w @ known.with_label + w @ known.products @ w
  return float(rest / known.num_rows)


def values(line: Line, columns: np.ndarray) -> np.ndarray:
  """What the fit says of rows, f32[N]."""
  parts = [
    np.nan_to_num(columns[i : i + BLOCK].astype(np.float64)) @ line.weights
    for i in range(0, len(columns), BLOCK)
  ]
  said = np.concatenate(parts) if parts else np.zeros(0)
  return (said + line.intercept).astype(np.float32)


def _save(line: Line):
  arrays = {'weights': line.weights, 'intercept': line.intercept}
  loss = line.loss if line.tried else None
  return arrays, {'loss': loss, 'tried': line.tried}


def _load(arrays, host) -> Line:
  loss = float('inf') if host['loss'] is None else host['loss']
  return Line(**arrays, loss=loss, tried=host['tried'])
