r"""For a quant: what formulas are worth on your prices, alone and as a pool.

python scripts/examples/quant.py prices.csv

A file in long format: date, symbol, open, high, low, close, volume.
"""

import sys

import jax.numpy as jnp
import numpy as np

import alphajax
from alphajax.factor import metrics, pool

FORMULAS = (
  '-Delta(close,5)/close',
  'CSRank(Std(close,20)/close)',
  'Corr(close,volume,30)',
  'Mean(close/vwap,20)',
)
HORIZON = 20  # Days ahead of the label.


def main(path):
  """Prints the IC of each formula and of the pool; returns the latter."""
  panel = alphajax.load(path)
  for note in panel.notes:
    print(note)
  split = alphajax.split(
    panel, 'all', panel.dates[0], panel.dates[-1], lookback=40,
    label=alphajax.LabelSpec(exit=HORIZON),
  )  # fmt: skip
  formulas = [alphajax.parse(text) for text in FORMULAS]
  values = jnp.asarray(alphajax.values(formulas, split.panel))  # [N, T, S]
  label, members = jnp.asarray(split.target), jnp.asarray(split.panel.mask)
  scored = jnp.asarray(split.scored)
  daily = np.asarray(alphajax.daily_ic(values, label, members))
  for text, series in zip(FORMULAS, daily[:, split.scored], strict=True):
    ic = alphajax.mean_interval(series, lag=HORIZON - 1)
    print(f'{text:30}{ic.mean:8.4f} [{ic.low:.4f}, {ic.high:.4f}]')

  target = metrics.make_target(label, members)
  factors = [pool.prepare(each, members, target) for each in values]
  found, trace = alphajax.insert(
    pool.empty(3, *label.shape), factors, jnp.arange(len(factors)), target,
    scored,
  )  # fmt: skip
  for index, weight in zip(found.ids, found.weights, strict=True):
    if index >= 0:
      print(f'{FORMULAS[index]:30} weight {weight:8.4f}')
  print(f'IC of the pool {trace.ic[-1]:.4f}, on the days it was fitted to')
  return found, trace


if __name__ == '__main__':
  main(sys.argv[1])
