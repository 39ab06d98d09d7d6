r"""Ten million random bars: whatever is decoded is a bar that can be.

python scripts/synthetic_bars.py --out=runs/bars.csv

Heavy-tailed numbers of five sizes, half of the wicks 0 or below, are decoded by
`alphajax.data.bars`; every one is held against low <= open, close, vwap <= high
and volume > 0. Takes a quarter of a minute. Ends with an error where one fails.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

from alphajax.data import bars

DAYS, STOCKS = 400, 500


def draw(seed):
  """Features f32[6, T, S] of random channels."""
  rng = np.random.default_rng(seed)
  size = 10.0 ** rng.integers(-2, 3)
  values = size * rng.standard_t(2, (6, DAYS, STOCKS))
  values[[bars.UP, bars.DOWN]] *= rng.random((2, DAYS, STOCKS)) < 0.5
  by = bars.Anchors(
    rng.uniform(0.005, 0.05, STOCKS),
    rng.normal(15, 2, STOCKS),
    rng.uniform(1, 500, STOCKS),
  )
  return bars.from_logs(bars.unscale(values, by, typical=bool(seed % 2)))


def holds(features):
  """Whether each bar is one, `[T, S]`."""
  start, high, low, close, volume, vwap = features
  good = np.isfinite(features).all(0) & (low > 0) & (volume > 0)
  for price in (start, close, vwap):
    good &= (low <= price) & (price <= high)
  return good


def main(argv):
  del argv
  tested = failed = 0
  for seed in range(-(-flags.FLAGS.bars // (DAYS * STOCKS))):
    good = holds(draw(seed))
    tested, failed = tested + good.size, failed + int((~good).sum())
  out = Path(flags.FLAGS.out)
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(f'tested,failed\n{tested},{failed}\n')
  print(f'{tested:,} bars, {failed} of them impossible; written to {out}')
  if failed:
    raise SystemExit(1)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'runs/bars.csv', 'File of the counts.')
  flags.DEFINE_integer('bars', 10_000_000, 'How many.')
  app.run(main)
