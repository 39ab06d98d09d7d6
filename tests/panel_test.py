"""Tests of alphajax.data.panel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec


def days(count, first='2020-01-01'):
  start = np.datetime64(first)
  return tuple(str(start + i) for i in range(count))


def tiny(num_days=12, num_stocks=3, seed=0):
  rng = np.random.default_rng(seed)
  features = rng.uniform(1, 2, (6, num_days, num_stocks)).astype(np.float32)
  mask = np.ones((num_days, num_stocks), bool)
  return panel_lib.make(
    features, mask, days(num_days), [f's{i}' for i in range(num_stocks)]
  )


@pytest.mark.parametrize(
  'change, message',
  [
    (dict(dates=days(11)), '6 feature names, 11 dates and 3 symbols'),
    (dict(mask=np.ones((12, 2), bool)), 'mask is bool'),
    (dict(mask=np.ones((12, 3))), 'mask is float64'),
    (dict(symbols=('a', 'b', 'a')), 'repeated symbol: a'),
    (dict(dates=days(12)[::-1]), 'dates are not ascending'),
    (dict(dates=('20200101',) + days(12)[1:]), 'not a day like'),
    (dict(dates=('2020-13-01',) + days(12)[1:]), 'not a day like'),
    (dict(feature_names=('open', 'close')), '2 feature names'),
    (dict(features=np.full((6, 12, 3), 'x')), 'expected float32'),
  ],
)
def test_make_refuses(change, message):
  panel = tiny()
  parts = dict(
    features=panel.features,
    mask=panel.mask,
    dates=panel.dates,
    symbols=panel.symbols,
  )
  with pytest.raises(ValueError, match=message):
    panel_lib.make(**(parts | change))


@pytest.mark.parametrize(
  'label',
  [LabelSpec(0, 4), LabelSpec(1, 5), LabelSpec(1, 3, 'open'), LabelSpec(0, 20)],
)
def test_forward_return_is_the_loop(label):
  panel = tiny()
  panel.features[3, 6, 1] = np.nan
  price = panel.features[panel.feature_names.index(label.price)]
  expected = np.full((12, 3), np.nan)
  for t in range(12 - label.exit):
    expected[t] = price[t + label.exit] / price[t + label.entry] - 1
  actual = panel_lib.forward_return(panel, label)
  assert actual.dtype == jnp.float32
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
  jitted = jax.jit(panel_lib.forward_return, static_argnums=1)(panel, label)
  np.testing.assert_allclose(jitted, actual, rtol=1e-6, atol=1e-6)


def test_a_stock_that_left_the_universe_keeps_its_label():
  panel = tiny()
  panel.mask[2:, 0] = False
  target = panel_lib.forward_return(panel, LabelSpec(0, 4))
  assert np.isfinite(np.asarray(target)[:8, 0]).all()


@pytest.mark.parametrize(
  'label', [LabelSpec(3, 3), LabelSpec(-1, 2), LabelSpec(0, 2, 'price')]
)
def test_forward_return_refuses(label):
  with pytest.raises(ValueError, match='entry < exit|unknown feature'):
    panel_lib.forward_return(tiny(), label)


def test_split_has_warm_up_and_purge_and_nothing_later():
  panel = tiny(40)
  label = LabelSpec(0, 3)
  part = panel_lib.split(
    panel, 'valid', panel.dates[10], panel.dates[29], lookback=4, label=label
  )
  assert part.panel.dates == panel.dates[6:30]
  assert part.panel.notes == ()
  scored = np.flatnonzero(part.scored)
  assert (scored[0], scored[-1], scored.size) == (4, 20, 17)
  assert np.isnan(part.target[21:]).all()
  assert np.isfinite(part.target[part.scored]).all()
  # A change after the end reaches nothing in the split.
  later = panel.features.copy()
  later[:, 30:] *= 2
  again = panel_lib.split(
    panel.replace(features=later),
    'valid',
    panel.dates[10],
    panel.dates[29],
    lookback=4,
    label=label,
  )
  jax.tree.map(np.testing.assert_array_equal, part, again)


def test_split_takes_warm_up_from_the_span_when_the_data_begin_late():
  panel = tiny(40)
  part = panel_lib.split(
    panel,
    'train',
    panel.dates[1],
    panel.dates[29],
    lookback=5,
    label=LabelSpec(0, 3),
  )
  assert part.panel.dates[0] == panel.dates[0]
  assert np.flatnonzero(part.scored)[0] == 5
  assert 'the first 5 bars are warm-up' in part.panel.notes[-1]
  assert panel.dates[5] in part.panel.notes[-1]


@pytest.mark.parametrize(
  'dates, expected',
  [
    (('2024-03-07', '2024-03-08', '2024-03-11', '2024-03-12'), 'days'),
    (('2024-03-08', '2024-03-15', '2024-03-22'), 'bars'),
    (('2024-01-31', '2024-02-29'), 'bars'),
    (np.array(['2024-03-08'], 'datetime64[D]'), 'days'),
  ],
)
def test_what_bars_are_called(dates, expected):
  assert panel_lib.bar_word(dates) == expected


def test_split_may_begin_and_end_on_a_holiday():
  panel = tiny(40)
  part = panel_lib.split(
    panel, 'all', '2019-12-28', '2020-02-12', lookback=2, label=LabelSpec(0, 3)
  )
  assert part.panel.dates == panel.dates


@pytest.mark.parametrize(
  'start, end, message',
  [
    ('2019-01-01', '2020-02-01', 'lies outside the data, which cover 2020-01'),
    ('2020-01-05', '2021-02-01', 'lies outside the data'),
    ('2020-01-09', '2020-01-05', 'is after end'),
    ('2020-01-01', '2020-01-07', 'look-back of 5 bars and a label 3 bars'),
    ('2020-01-x1', '2020-01-07', 'not a day like'),
  ],
)
def test_split_refuses(start, end, message):
  with pytest.raises(ValueError, match=message):
    panel_lib.split(
      tiny(40), 'train', start, end, lookback=5, label=LabelSpec(0, 3)
    )


def test_split_refuses_an_empty_universe():
  panel = tiny(40)
  panel.mask[[12, 20]] = False
  with pytest.raises(
    ValueError, match='empty on 2 scored days, first 2020-01-'
  ):
    panel_lib.split(
      panel, 'a', '2020-01-01', '2020-02-01', lookback=5, label=LabelSpec(0, 3)
    )
  panel.mask[[12, 20]] = True
  panel.mask[3] = False  # Warm-up is not scored, so may be empty.
  panel_lib.split(
    panel, 'a', '2020-01-01', '2020-02-01', lookback=5, label=LabelSpec(0, 3)
  )


def test_pad_take_and_select():
  panel = tiny()
  padded = panel_lib.pad_stocks(panel, 8)
  assert padded.features.shape == (6, 12, 8) and len(set(padded.symbols)) == 8
  assert (
    not padded.mask[:, 3:].any() and np.isnan(padded.features[..., 3:]).all()
  )
  back = panel_lib.take_symbols(padded, ('s2', 's0'))
  np.testing.assert_array_equal(back.features, panel.features[:, :, [2, 0]])
  with pytest.raises(ValueError, match='unknown symbols: nope'):
    panel_lib.take_symbols(panel, ('nope',))
  with pytest.raises(ValueError, match='cannot pad 3 stocks'):
    panel_lib.pad_stocks(panel, 2)
  for index in (slice(2, 5), np.array([2, 3, 4])):
    part = panel_lib.select_days(panel, index)
    assert part.dates == panel.dates[2:5]
    np.testing.assert_array_equal(part.features, panel.features[:, 2:5])


def slow_standardize(values, mask):
  """The definition, day by day in float64."""
  out = np.full(values.shape, np.nan)
  for t in range(values.shape[0]):
    valid = mask[t] & np.isfinite(values[t])
    if valid.any():
      x = values[t, valid].astype(np.float64)
      if x.std() > 1e-6 * abs(x.mean()):
        out[t, valid] = (x - x.mean()) / x.std()
  return out


@pytest.mark.parametrize(
  'scale, shift',
  [(1, 0), (1e10, 3e10), (1e30, 0), (1e37, 1e37), (1e-20, 0), (1e-3, 1)],
)
def test_standardize_is_the_loop(scale, shift):
  rng = np.random.default_rng(0)
  values = (rng.normal(size=(20, 50)) * scale + shift).astype(np.float32)
  values[rng.random(values.shape) < 0.1] = np.nan
  values[3, 4] = np.inf
  values[4, 4] = -np.inf
  values[5] = 7.0
  values[6] = np.nan
  mask = rng.random(values.shape) < 0.8
  mask[7] = False
  actual = panel_lib.standardize(values, mask)
  expected = slow_standardize(values, mask)
  np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
  assert np.isnan(expected[5:8]).all() and np.isfinite(expected[3]).any()
  np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)
  stacked = panel_lib.standardize(np.stack([values, -values]), mask)
  np.testing.assert_allclose(stacked[1], -actual, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('ratio', [1e4, 1e5, 9e5])
def test_standardize_of_a_level_far_above_the_spread(ratio):
  rng = np.random.default_rng(1)
  values = np.float32(3e9 * (1 + rng.normal(size=(20, 50)) / ratio))
  mask = rng.random(values.shape) < 0.8
  actual = panel_lib.standardize(values, mask)
  expected = slow_standardize(values, mask)
  np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6)
