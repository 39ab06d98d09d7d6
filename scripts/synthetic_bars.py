r"""Ten million random bars: whatever is decoded is a bar that can be.

python scripts/synthetic_bars.py --out=runs/bars.csv

Heavy-tailed numbers of five sizes, half of the wicks 0 or below, are decoded by
`alphajax.data.bars`; every one is held against low <= open, close, vwap <= high
and volume > 0. Takes a quarter of a minute. Ends with an error where one fails.

python scripts/synthetic_bars.py --out=runs/bars.csv --panels=runs/synthetic

does the same with every panel that `alphajax synthesize` has written there.
"""

from pathlib import Path

import numpy as np
from absl import app, flags

from alphajax.data import bars, market

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


def drawn():
  """As many random bars as are wanted."""
  for seed in range(-(-flags.FLAGS.bars // (DAYS * STOCKS))):
    yield draw(seed)


def written():
  """The bars of a folder's panels, f32[6, 1, N]."""
  paths = sorted((Path(flags.FLAGS.panels) / 'panels').glob('*.parquet'))
  if not paths:
    raise SystemExit(f'{flags.FLAGS.panels} has no panels/*.parquet')
  for path in paths:
    print(path.name)
    features = np.asarray(market.load(path, cache=False).features)
    yield features[:, None, np.isfinite(features).any(0)]


def main(argv):
  del argv
  tested = failed = 0
  for features in written() if flags.FLAGS.panels else drawn():
    good = holds(features)
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
  flags.DEFINE_string('panels', '', 'Folder of panels to test in their place.')
  app.run(main)
