"""Figures of many formulas are those of each alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pandas as pd
import pytest

from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import evaluate
from alphajax.judge import batch, figures, series, signals
from alphajax.language import formula

T, S = 160, 30
LABEL = LabelSpec(0, 5)
TEXTS = ('Corr(close,volume,10)', 'close-close', 'Sign(close-open)')


@functools.cache
def split():
  features, members = oracle.messy_panel(11, T, S)
  dates = [str(d.date()) for d in pd.bdate_range('2019-01-01', periods=T)]
  members[100] = np.arange(S) == 8  # One stock alone.
  panel = panel_lib.make(
    np.stack(list(features.values())), members, dates,
    [f's{i}' for i in range(S)],
  )  # fmt: skip
  made = panel_lib.split(
    panel, 'valid', dates[0], dates[-1], lookback=40, label=LABEL
  )
  target = np.round(np.asarray(made.target), 2)  # Ties.
  scored = np.array(made.scored)
  scored[70:73] = False
  return made.replace(target=target, scored=scored)


def test_each_is_as_it_is_alone():
  part = split()
  panel, days = part.panel, np.asarray(part.scored)
  formulas = [formula.parse(text) for text in TEXTS]
  found = batch.of_formulas(formulas, part, LABEL, horizons=(1, 20), judged=50)
  for values, each in zip(evaluate.values(formulas, panel), found, strict=True):
    expected, daily = figures.of_signal(values, part, LABEL)
    for name in ('ic', 'rank_ic'):
      shown = {key: each[name][key] for key in ('mean', 'low', 'high')}
      assert shown == pytest.approx(expected[name], abs=1e-5)
      many = series.mean(daily[name], 4, 50)._asdict()
      assert each['of_judged'][name] == pytest.approx(many, abs=1e-3)
    assert each['rank_icir'] == pytest.approx(expected['rank_icir'], abs=1e-3)
    assert each['days'] == days.sum()
    shares = signals.coverage(values, panel)[days]
    assert each['coverage'] == pytest.approx(np.nanmean(shares), abs=1e-6)
    again = signals.rank_autocorrelation(values, panel)[days]
    ends = signals.turnover(values, panel, 5)[[0, 4]][:, days].mean(0)
    for name, daily in (('autocorrelation', again), ('turnover', ends)):
      if np.isnan(daily).all():
        assert np.isnan(each[name])
      else:
        assert each[name] == pytest.approx(np.nanmean(daily), abs=1e-5)
    decay = signals.decay(values, panel, (1, 20), label=LABEL, days=days)
    for horizon, one in decay.items():
      expected = one['ic']['mean']
      assert each['decay'][horizon] == pytest.approx(expected, abs=1e-5)
  assert decay[20]['days'] < days.sum() - 1  # Beyond the last label.
  assert np.isnan(found[1]['turnover']) and found[1]['rank_ic']['mean'] == 0
  assert 0 < found[0]['turnover'] < 1


def test_the_days_of_a_signal_with_gaps():
  part, rng = split(), np.random.default_rng(0)
  values = np.round(rng.normal(size=(T, S)), 1).astype(np.float32)
  values[rng.random((T, S)) < 0.3] = np.nan
  values[90] = np.nan
  bench = batch.make_bench(part, LABEL)
  daily = jax.jit(batch.statistics)(jnp.asarray(values), bench)
  days = np.asarray(bench.days)
  assert days[0] == np.flatnonzero(part.scored)[0] - 1
  for name, function in (
    ('ic', oracle.daily_ic), ('rank_ic', oracle.daily_rank_ic)
  ):  # fmt: skip
    expected = function(values, part.target, part.panel.mask)[days]
    np.testing.assert_allclose(getattr(daily, name), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.2
  # All but the first day have the day before to compare with.
  again = signals.rank_autocorrelation(values, part.panel)[days]
  np.testing.assert_allclose(daily.autocorrelation[1:], again[1:], atol=1e-6)


def test_noise_is_claimed_no_more_often_than_said():
  """Sets of 40 signals of noise, on labels that overlap by five days."""
  part, rng = split(), np.random.default_rng(3)
  bench, claims, count = batch.make_bench(part, LABEL, (1,)), 0, 50
  scored = np.asarray(part.scored)[np.asarray(bench.days)]
  ics = jax.jit(jax.vmap(lambda x: batch.statistics(x, bench).ic))
  for _ in range(count):
    values = jnp.asarray(rng.normal(size=(40, T, S)), jnp.float32)
    daily = np.asarray(ics(values), np.float64)[:, scored]
    found = [series.mean(each, 4, judged=40) for each in daily]
    claims += min(each.p_value for each in found) < 0.05
  # 9 of 50 are more, were it 5 %, less than one time in a thousand.
  assert claims <= 8


def test_bad_input_is_refused_with_what_was_expected():
  with pytest.raises(ValueError, match='horizons='):
    batch.of_formulas([formula.parse('close')], split(), horizons=(0,))
  with pytest.raises(ValueError, match='no formulas'):
    batch.of_formulas([], split())
