"""Styles from their definitions, and what a fit on them leaves of a signal."""

import functools

import jax.numpy as jnp
import numpy as np
import oracle
import pandas as pd
import pytest

from alphajax.data import neutral
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.judge import figures, signals, styles

T, S = 330, 24
LABEL = LabelSpec(0, 5)


@functools.cache
def split():
  features, members = oracle.messy_panel(5, T, S)
  dates = [str(d.date()) for d in pd.bdate_range('2019-01-01', periods=T)]
  members[300] = np.arange(S) < 4  # Too few for a fit on five styles.
  members[301] = np.arange(S) < 1
  panel = panel_lib.make(
    np.stack(list(features.values())), members, dates,
    [f's{i}' for i in range(S)],
  )  # fmt: skip
  return panel_lib.split(
    panel, 'valid', dates[0], dates[-1], lookback=255, label=LABEL
  )


@functools.cache
def found():
  return {k: np.asarray(v) for k, v in styles.values(split().panel).items()}


def signal():
  """Styles, noise, gaps, a day without values and one with the same for all."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(T, S)).astype(np.float32)
  values += 0.5 * np.nan_to_num(scores('momentum'))
  values[rng.random((T, S)) < 0.1] = np.nan
  values[302], values[303] = np.nan, 2.0
  return values


def scores(name):
  """Z-scores of members, at most 3, 0 where unknown."""
  panel = split().panel
  z = np.zeros((T, S))
  for t in range(T):
    seen = panel.mask[t] & np.isfinite(found()[name][t])
    own = found()[name][t, seen].astype(float)
    if own.size and np.ptp(own) > 0:
      z[t, seen] = np.clip((own - own.mean()) / own.std(), -3, 3)
  return z


def test_styles_that_are_formulas():
  panel = split().panel
  close, volume = (
    np.asarray(panel_lib.feature(panel, name), float)
    for name in ('close', 'volume')
  )
  expected = {name: np.full((T, S), np.nan) for name in styles.FORMULAS}
  expected['reversal'][20:] = 1 - close[20:] / close[:-20]
  expected['momentum'][250:] = close[230:-20] / close[:-250]
  money = pd.DataFrame(close * volume)
  expected['size'] = np.log(money.rolling(20).mean().to_numpy())
  for name, each in expected.items():
    np.testing.assert_allclose(found()[name], each, rtol=1e-4, atol=1e-5)
  assert tuple(found()) == styles.NAMES


def test_volatility_and_beta():
  panel = split().panel
  close = pd.DataFrame(np.asarray(panel_lib.feature(panel, 'close'), float))
  returns = close.pct_change(fill_method=None)
  volatility = returns.rolling(60, min_periods=30).std()
  np.testing.assert_allclose(
    found()['volatility'], volatility, rtol=1e-3, atol=1e-6
  )
  market = returns.where(panel.mask).mean(axis=1)
  beta = np.full((T, S), np.nan)
  for t in range(T):
    for s in range(S):
      own = returns[s].to_numpy()[max(t - 249, 0) : t + 1]
      other = market.to_numpy()[max(t - 249, 0) : t + 1]
      known = np.isfinite(own) & np.isfinite(other)
      if known.sum() >= 125:
        c = np.cov(own[known], other[known])
        beta[t, s] = c[0, 1] / c[1, 1]
  np.testing.assert_allclose(found()['beta'], beta, rtol=1e-3, atol=1e-3)
  assert np.isfinite(beta).sum() > 3000


def test_what_is_left_is_the_residual_of_least_squares():
  panel, values = split().panel, signal()
  columns = np.stack([scores(name) for name in styles.NAMES])
  left, exposures, explained = styles.regress(
    values, jnp.asarray(columns, jnp.float32), panel.mask
  )
  left, exposures, explained = map(np.asarray, (left, exposures, explained))
  residual = neutral.residual(values, panel.mask, (), list(columns))
  seen = panel.mask & np.isfinite(values)
  for t in range(T):
    own = values[t, seen[t]].astype(float)
    if seen[t].sum() < 7 or np.ptp(own) == 0:
      assert np.isnan(left[t]).all() and np.isnan(explained[t])
      continue
    expected = residual[t, seen[t]] / own.std()
    np.testing.assert_allclose(left[t, seen[t]], expected, atol=1e-3)
    share = 1 - np.mean(expected**2)
    assert explained[t] == pytest.approx(share, abs=1e-3)
    for k in range(5):
      column = columns[k, t, seen[t]]
      if np.ptp(column) > 0:
        correlation = np.corrcoef(own, column)[0, 1]
        assert exposures[k, t] == pytest.approx(correlation, abs=1e-4)
      else:
        assert np.isnan(exposures[k, t])
  assert np.isnan(left[300:304]).all() and np.isfinite(explained[260:300]).all()


def test_the_future_changes_no_style():
  panel = split().panel
  rng = np.random.default_rng(2)
  features = np.array(panel.features)
  features[:, 300:] *= rng.uniform(0.5, 2, features[:, 300:].shape)
  changed = styles.values(panel.replace(features=features.astype(np.float32)))
  for name, each in found().items():
    np.testing.assert_array_equal(each[:300], changed[name][:300])
    assert (np.nan_to_num(each) != np.nan_to_num(changed[name]))[300:].any()


def test_figures_of_a_signal():
  part, values = split(), signal()
  result, daily = styles.of_signal(values, part, LABEL)
  columns = jnp.stack([scores(name) for name in styles.NAMES])
  left, exposures, explained = styles.regress(
    values, columns.astype(jnp.float32), part.panel.mask
  )
  days = np.flatnonzero(part.scored)
  ic, rank_ic = (
    function(np.asarray(left), part.target, part.panel.mask)[days]
    for function in (oracle.daily_ic, oracle.daily_rank_ic)
  )
  np.testing.assert_allclose(daily['left_ic'], ic, atol=1e-4)
  np.testing.assert_allclose(daily['left_rank_ic'], rank_ic, atol=2e-3)
  summary = signals.summary(ic, rank_ic, 4)
  assert result['left']['ic'] == pytest.approx(summary['ic'], abs=1e-3)
  assert result['left']['days'] == len(days)
  for k, name in enumerate(styles.NAMES):
    expected = np.nanmean(np.asarray(exposures)[k, days])
    row = result['styles'][name]
    assert row['exposure'] == pytest.approx(expected, abs=1e-4)
    cells = part.panel.mask[days]
    known = np.isfinite(found()[name][days]) & cells
    assert row['known'] == pytest.approx(known.sum() / cells.sum())
  assert result['styles']['momentum']['exposure'] > 0.25
  mean = np.nanmean(np.asarray(explained)[days])
  assert result['explained'] == pytest.approx(mean, abs=1e-4)


def test_of_a_signal_that_is_a_style_nothing_is_left():
  part = split()
  own = jnp.asarray(scores('size'), jnp.float32)
  result, daily = styles.of_signal(
    3 * own - 7, part, LABEL, {'own': own, 'twice': 2 * own}
  )
  assert result['explained'] == pytest.approx(1, abs=1e-5)
  assert result['styles']['own']['exposure'] == pytest.approx(1, abs=1e-5)
  assert (daily['left_ic'] == 0).all() and result['left']['icir'] == 0


def test_noise_for_a_style_leaves_the_ic():
  part, rng = split(), np.random.default_rng(1)
  values = np.nan_to_num(part.target) + rng.normal(size=(T, S)) / 10
  noise = {'noise': rng.normal(size=(T, S))}
  result, _ = styles.of_signal(values, part, LABEL, noise)
  whole, _ = figures.of_signal(jnp.asarray(values), part, LABEL)
  assert result['explained'] < 0.15
  assert result['left']['ic']['mean'] == pytest.approx(
    whole['ic']['mean'], abs=0.03
  )


@pytest.mark.parametrize(
  'values, given, message',
  [
    (np.zeros((3, S)), None, r'the signal has shape \[3, 24\]'),
    (np.zeros((T, S)), {'x': np.zeros((T, 2))}, r'the style x has shape'),
    (np.zeros((T, S)), {}, 'styles is empty'),
  ],
)
def test_bad_input_is_refused_with_what_was_expected(values, given, message):
  with pytest.raises(ValueError, match=message):
    styles.of_signal(values, split(), LABEL, given)
