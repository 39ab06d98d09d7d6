"""A small market of random prices whose label is made of yesterday's bars."""

import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Split
from alphajax.methods.base import Market

NUM_DAYS, NUM_STOCKS, WARMUP = 180, 40, 5
CUT = 120  # Train before it, validation after it.


def panel(seed=0, num_days=NUM_DAYS, num_stocks=NUM_STOCKS):
  """Bars around geometric random walks, some stocks and days missing."""
  rng = np.random.default_rng(seed)
  shape = num_days, num_stocks
  close = 20 * np.exp(np.cumsum(0.02 * rng.normal(size=shape), 0))
  others = close * np.exp(0.01 * rng.normal(size=(4, *shape)))
  volume = np.exp(10 + 0.5 * rng.normal(size=shape))
  values = {
    'open': others[0],
    'close': close,
    'high': np.maximum(others[1], close),
    'low': np.minimum(others[2], close),
    'volume': volume,
    'vwap': others[3],
  }
  features = np.stack([values[n] for n in panel_lib.FEATURES])
  features[:, 40:60, 0] = np.nan  # Suspended.
  features[:, :90, 1] = np.nan  # Listed late.
  mask = rng.random(shape) < 0.9
  days = np.busday_offset('2015-01-05', np.arange(num_days), roll='forward')
  return panel_lib.make(
    features.astype(np.float32),
    mask,
    [str(day) for day in days],
    [f's{i}' for i in range(num_stocks)],
  )


def zscores(whole, name, ago=0):
  """z-scores among members of a price over the close, volume over volume."""
  at = whole.feature_names.index
  close = whole.features[at('volume' if name == 'volume' else 'close')]
  then = np.roll(whole.features[at(name)].astype(np.float64), ago, 0)
  then[:ago] = np.nan
  ratio = np.where(whole.mask, then / close, np.nan)
  known = np.isfinite(ratio)
  count = np.maximum(known.sum(1, keepdims=True), 1)
  mean = np.nansum(ratio, 1, keepdims=True) / count
  spread = np.sqrt(np.nansum((ratio - mean) ** 2, 1, keepdims=True) / count)
  return (ratio - mean) / np.where(spread > 1e-6, spread, np.nan)


def market(shape, noise=2.0, seed=0):
  """Train and validation; `shape` makes the label of z-scores by name."""
  whole = panel(seed)
  label = shape(lambda name, ago=0: zscores(whole, name, ago))
  label = label + noise * np.random.default_rng(9).normal(size=label.shape)
  splits = []
  for name, start, stop in (
    ('train', 0, CUT),
    ('valid', CUT - WARMUP, NUM_DAYS),
  ):
    cut = panel_lib.select_days(whole, slice(start, stop))
    scored = np.arange(stop - start) >= WARMUP
    target = label[start:stop].astype(np.float32)
    splits.append(Split(cut, target, scored, name))
  return Market(*splits)


def linear(z):
  return z('open') - 0.5 * z('close', 1) + 0.5 * z('volume', 2)


def bent(z):
  return np.abs(z('open')) - z('vwap') * z('volume', 1)
