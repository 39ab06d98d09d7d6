"""Tests of alphajax.data.noise: real noise makes a mean IC as uncertain."""

import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from alphajax.data import market, noise, simulate
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib

# Of random formulas (K = 10), those with a value on most days.
FORMULAS = (
  'Delta(volume,40)',
  'open/0.1',
  'Max(volume,20)/0.01',
  'CSRank(open)',
  'Greater(Abs(Sign(Less(high/(-0.05),low))),low)*volume',
  'CSRank(Std(volume,20))',
  'volume',
  '0.1/volume',
  'Delta(Greater(high,0.01),30)',
  'Delta(low,40)',
)
# Of the kind that `analysis.planting` plants.
LONG = (
  'Cov(CSRank(Skew(volume,20))-0.1,Kurt(high,20),20)',
  'Delta(Mad(volume/(close/low),20),40)/volume',
  'Ref(Std(open/(volume/volume),30),20)/high',
  'Min(volume*Kurt(volume,20)-volume,20)/volume',
)
# On the CSI 300, 2010-2017, by `figures` below.
REAL = dict(
  error=0.5312,
  long_error=0.4235,
  deviation=0.1366,
  overlap_5=0.6986,
  overlap_10=0.4433,
  overlap_40=-0.0292,
  market=0.0169,
  spread=0.0173,
  clustering=0.6042,
  label=0.0774,
)
HERE = pathlib.Path(__file__).resolve().parents[1]
FOLDER = pathlib.Path(
  os.environ.get('ALPHAJAX_DATA', HERE.parent / 'shared' / 'data')
)
LOOKBACK, LAG = 100, 19


def figures(panel):
  """What a panel's daily ICs and returns are like.

  error, long_error: the standard error of a mean IC over n days is this over
    sqrt(n), of FORMULAS and of LONG.
  deviation: of the daily IC.
  overlap: its autocorrelation after so many days.
  market, spread, label: daily deviation of the mean return, of returns across
    stocks, and of labels across stocks.
  clustering: autocorrelation of that spread after 5 days.
  """
  days = panel.dates
  split = panel_lib.split(panel, 'all', days[0], days[-1], lookback=LOOKBACK)
  members, target = jnp.asarray(panel.mask), jnp.asarray(split.target)
  store = evaluate.make_store(panel)
  formulas = [formula_lib.parse(text) for text in (*FORMULAS, *LONG)]
  values = store.take(formulas)
  daily = [metrics.daily_ic(each, target, members) for each in values]
  daily = np.asarray(daily)[:, split.scored]
  errors = [error(each) for each in daily]
  daily = daily[: len(FORMULAS)]
  close = np.asarray(panel.features[3], np.float64)
  change = np.where(panel.mask[:-1], close[1:] / close[:-1] - 1, np.nan)
  spread = np.nanstd(change, axis=1)
  label = np.where(panel.mask, split.target, np.nan)[split.scored]
  return dict(
    error=float(np.mean(errors[: len(FORMULAS)])),
    long_error=float(np.mean(errors[len(FORMULAS) :])),
    deviation=float(np.mean(daily.std(axis=1))),
    overlap_5=memory(daily, 5),
    overlap_10=memory(daily, 10),
    overlap_40=memory(daily, 40),
    market=float(np.nanstd(np.nanmean(change, axis=1))),
    spread=float(np.nanmedian(spread)),
    clustering=memory(spread[None, 1:], 5),
    label=float(np.median(np.nanstd(label, axis=1))),
  )


def error(daily):
  """Standard error of the mean, times the root of the number of days."""
  interval = metrics.mean_interval(daily, LAG)
  count = int(min(daily.size / (2 * (LAG + 1)), 0.4 * daily.size ** (2 / 3)))
  half = special.stdtrit(count, 0.975)  # Of an interval around 0 of error 1.
  return (interval.high - interval.mean) / half * np.sqrt(daily.size)


def memory(series, lag):
  """Median autocorrelation of series `[N, T]`."""
  x = series - series.mean(axis=1, keepdims=True)
  products = (x[:, lag:] * x[:, :-lag]).mean(axis=1)
  return float(np.median(products / (x * x).mean(axis=1)))


@pytest.fixture(scope='module')
def simulated():
  return figures(simulate.simulate(0, 1944, 375, alphas=(), noise='real').panel)


@pytest.mark.parametrize('name', REAL)
def test_real_noise_is_like_that_of_the_csi_300(simulated, name):
  if name == 'overlap_40':  # No memory beyond the labels' overlap.
    assert abs(simulated[name]) < 0.15 and abs(REAL[name]) < 0.15
    return
  assert simulated[name] == pytest.approx(REAL[name], rel=0.2)


def test_plain_noise_is_not():
  plain = figures(simulate.simulate(0, 700, 375, alphas=()).panel)
  assert plain['error'] < 0.7 * REAL['error']


def test_the_reference_is_what_the_data_say(tmp_path):
  path = FOLDER / 'cn_csi300.parquet'
  if not path.is_file():
    pytest.skip(f'no file {path}; set ALPHAJAX_DATA')
  panel = market.load(
    path, cache_dir=tmp_path, start='2010-01-01', end='2017-12-31',
    warmup=LOOKBACK,
  )  # fmt: skip
  assert figures(panel) == pytest.approx(REAL, rel=0.01, abs=1e-3)


def streams(seed=0):
  return {
    name: np.random.default_rng([seed, key])
    for key, name in enumerate(simulate.STREAMS)
  }


def test_longer_noise_continues_shorter():
  long, short = (noise.make('real', streams(), n, 30) for n in (90, 40))
  for name in ('returns', 'variance', 'premia'):
    np.testing.assert_array_equal(
      getattr(long, name)[:40], getattr(short, name)
    )


def test_unknown_noise():
  with pytest.raises(ValueError, match="'pink': expected one of plain, real"):
    noise.make('pink', streams(), 10, 30)


def test_loadings_are_ranks_of_what_is_past():
  rng = np.random.default_rng(0)
  close = np.exp(rng.normal(size=(70, 9)).cumsum(axis=0) * 0.02)
  volume = np.exp(rng.normal(size=(70, 9)))
  loadings = noise.loadings(close, volume)
  assert loadings.shape == (len(noise.STYLES), 9)
  np.testing.assert_allclose(loadings.mean(axis=1), 0.0, atol=1e-12)
  np.testing.assert_allclose(loadings.var(axis=1), 1.0)
  by_name = dict(zip(noise.STYLES, loadings, strict=True))
  order = {
    'price': close[-1],
    'reversal': close[-1] / close[-11],
    'momentum': close[-1] / close[-61],
    'volatility': np.abs(np.diff(np.log(close[-21:]), axis=0)).mean(axis=0),
    'agreement': [
      np.corrcoef(np.log(close[-20:, s]), np.log(volume[-20:, s]))[0, 1]
      for s in range(9)
    ],
  }
  for name, values in order.items():
    np.testing.assert_array_equal(
      np.argsort(by_name[name]), np.argsort(values), err_msg=name
    )
  # Older days do not count, and without enough days there are none.
  np.testing.assert_array_equal(noise.loadings(close[9:], volume[9:]), loadings)
  assert not noise.loadings(close[:60], volume[:60]).any()
