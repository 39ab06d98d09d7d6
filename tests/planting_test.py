"""Tests of analysis.planting, analysis.recovery and analysis.behaviour."""

import jax
import numpy as np
import pytest
from sklearn import linear_model

from alphajax import markets
from alphajax.analysis import behaviour, planting, simulated
from alphajax.analysis import recovery as recovery_lib
from alphajax.configs import common
from alphajax.configs import random as random_config
from alphajax.data import panel as panel_lib
from alphajax.data import simulate
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib

SIZES = dict(num_days=260, num_stocks=40)


def get_config(market='simulated_deep', **options):
  config = random_config.get_config(market)
  common.use_simulated_market(config, **SIZES)
  config.data.simulate.update(dict(planted=2, summed=planting.ANY) | options)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.simulated(get_config())


def whole(simulation):
  days = simulation.panel.dates
  return panel_lib.split(
    simulation.panel, 'all', days[0], days[-1], lookback=planting.WARMUP
  )


def bare(seed=0):
  return simulate.simulate(
    seed, alphas=(), strength=0.0, noise='real', **SIZES
  ).panel


def correlation(x, y, members):
  """Mean daily correlation of `[T, S]` and `[T, S]`, day by day."""
  found = []
  for t in range(planting.WARMUP, len(x), planting.STEP):
    both = members[t] & np.isfinite(x[t] + y[t])
    found.append(np.corrcoef(x[t, both], y[t, both])[0, 1])
  return float(np.mean(found))


def test_planted_formulas_are_long_alive_and_apart(market):
  formulas = [formula_lib.parse(text) for text in market.alphas]
  assert len(formulas) == 2
  panel = bare()
  values = np.asarray(evaluate.values(formulas, panel))
  for formula, value in zip(formulas, values, strict=True):
    assert 6 <= planting.length(formula) <= 10
    assert formula_lib.lookback(formula) <= planting.WARMUP
    known = np.isfinite(value)[planting.WARMUP :: planting.STEP]
    members = panel.mask[planting.WARMUP :: planting.STEP]
    assert (known & members).sum() >= 0.9 * members.sum()
  one, two = values
  assert abs(correlation(one, two, panel.mask)) < 0.55
  # No part of it says the same, now or 20 days earlier.
  for formula, value in zip(formulas, values, strict=True):
    for part in formula_lib.nodes(formula):
      if part.args and planting._is_short(part):
        other = np.asarray(evaluate.values([part], panel)[0])
        if np.isfinite(other[planting.WARMUP :]).any():
          assert abs(correlation(other, value, panel.mask)) < 0.7


def test_the_seed_decides(market):
  again = planting.draw(0, bare(), 2)
  assert [formula_lib.to_text(f) for f in again] == list(market.alphas)
  (other,) = planting.draw(1, bare(1), 1)
  assert formula_lib.to_text(other) not in market.alphas


def test_a_market_is_made_once(market, monkeypatch, tmp_path):
  """What is on disk is the market to the last bit, or it is made again."""
  options = get_config().data.simulate.to_dict()
  monkeypatch.setenv('ALPHAJAX_CACHE', str(tmp_path))
  simulated._market.cache_clear()
  made = simulated.market(options)
  (path,) = tmp_path.glob('*.panel')
  again = []
  for damaged in (False, True):
    simulated._market.cache_clear()
    if damaged:
      path.write_bytes(path.read_bytes()[:-1])
      with pytest.warns(UserWarning, match='damaged cache file'):
        again.append(simulated.market(options))
    else:
      with monkeypatch.context() as patch:
        patch.setattr(simulate, 'simulate', None)
        again.append(simulated.market(options))
  simulated._market.cache_clear()
  for one in (made, *again):
    np.testing.assert_array_equal(one.planted, market.planted)
    np.testing.assert_array_equal(one.panel.features, market.panel.features)
    np.testing.assert_array_equal(one.panel.mask, market.panel.mask)
    assert one.panel.features.dtype == market.panel.features.dtype
    assert one[2:] == market[2:]
    for name in ('dates', 'symbols', 'feature_names', 'notes', 'covers'):
      assert getattr(one.panel, name) == getattr(market.panel, name)
  assert simulated._path_of('{}') != path
  monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=true')
  assert simulated._path_of(simulated.as_text(options)) != path


def test_lengths_are_those_that_are_asked_for():
  formulas = planting.draw(0, bare(), 2, (3, 4))
  assert [planting.length(each, 4) in (3, 4) for each in formulas] == [True] * 2
  config = get_config('planted_3_4_2_0', planted=2)
  assert config.data.simulate.lengths == (3, 4)
  for lengths in ((6,), (2, 4), (5, 4)):
    config.data.simulate.lengths = lengths
    with pytest.raises(ValueError, match=r'lengths=.*expected the least and'):
      markets.simulated(config)


def test_sums_of_random_formulas_come_as_near_as_they_shall():
  """By a regression of scikit-learn's, on random formulas of another seed."""
  panel = bare(1)
  free = planting.draw(1, panel, 3)
  far = planting.draw(1, panel, 1, summed=(-1.0, 0.2))
  near = planting.draw(1, panel, 1, summed=(0.6, 0.8))
  store = evaluate.make_store(panel)
  keys = jax.random.split(jax.random.key(9))
  terms = planting._look(store, panel, planting._random(keys, 10, 1000)).unit
  half = terms.shape[1] // 2

  def reached(formulas):
    found = []
    for unit in planting._look(store, panel, formulas).unit:
      model = linear_model.RidgeCV([0.01, 0.1, 1.0], fit_intercept=False)
      model.fit(terms[:, :half].reshape(len(terms), -1).T, unit[:half].ravel())
      total = np.tensordot(model.coef_, terms[:, half:], 1)
      both = (total * unit[half:]).sum(1) / np.linalg.norm(total, axis=1)
      found.append(both.mean())
    return found

  assert far == free[1:2] and reached(far)[0] < 0.25
  assert near == free[2:] and reached(near)[0] > 0.55
  for summed in ((0.5,), (0.6, 0.6), (0.5, 1.1)):
    config = get_config(summed=summed)
    with pytest.raises(ValueError, match=r'summed=.*: expected the least and'):
      markets.simulated(config)


def test_cuts_of_a_formula():
  cuts = planting._cut_down(formula_lib.parse('Mean(close/vwap,20)+0.1'))
  assert {formula_lib.to_text(cut) for cut in cuts} == {
    'Mean(close/vwap,20)+0.1', 'Mean(close/vwap,20)', 'close/vwap', 'close',
    'vwap', '0.1', 'Mean(close,20)', 'Mean(vwap,20)', 'Mean(close,20)+0.1',
    'Mean(vwap,20)+0.1', 'close/vwap+0.1', 'close+0.1', 'vwap+0.1',
  }  # fmt: skip


def test_length_is_that_of_alpha_sem_k():
  assert planting.length(formula_lib.parse('close')) == 0
  with pytest.raises(ValueError, match='cannot write'):
    planting.length(formula_lib.parse('Less(0.1,high)'))


def test_a_later_copy_is_not_ahead():
  rng = np.random.default_rng(0)
  unit = rng.normal(size=(1, 40, 30)).astype(np.float32)
  unit /= np.sqrt((unit**2).sum(axis=2, keepdims=True))
  other = rng.normal(size=unit.shape).astype(np.float32)
  other /= np.sqrt((other**2).sum(axis=2, keepdims=True))
  assert planting._is_ahead(unit, other)
  assert not planting._is_ahead(unit, -unit)
  sooner = np.concatenate([unit[:, 2:], other[:, :2]], axis=1)  # 20 days.
  assert not planting._is_ahead(unit, sooner)
  later = np.concatenate([other[:, :2], unit[:, :-2]], axis=1)
  assert planting._is_ahead(unit, later)
  assert planting._is_ahead(unit, other[:0])


def test_strength_makes_the_ic_that_is_asked_for():
  """Of a slow alpha, over seeds; labels overlap, so the error is wide."""
  text = 'Mean(close/vwap,20)'
  formula = formula_lib.parse(text)
  run = jax.jit(lambda f: (f[3] / f[5]).mean(axis=0))
  compiled = (formula_lib.lookback(formula), lambda f, m: np.asarray(run(f)))
  sizes = dict(num_days=700, num_stocks=100, noise='real')
  gained = []
  for seed in range(3):
    panel = simulate.simulate(seed, alphas=(), strength=0.0, **sizes).panel
    strength = planting.strength_of([formula], panel, 0.2)
    both = [
      simulate.simulate(
        seed, alphas=(text,), strength=s, compile_fn=lambda _: compiled, **sizes
      )
      for s in (strength, 0.0)
    ]
    ceilings = [simulate.ceiling(each, whole(each)) for each in both]
    gained.append(ceilings[0] - ceilings[1])  # The noise is the same.
  assert np.mean(gained) == pytest.approx(0.2, abs=0.03)


def test_what_was_planted_is_recovered(market):
  split = whole(market)
  signal = market.planted
  formulas = [formula_lib.parse(text) for text in market.alphas]
  found = recovery_lib.recovery(market, split, signal, formulas)
  assert found.share == pytest.approx(1.0, abs=1e-4)
  assert found.expected == pytest.approx(1.0, abs=1e-4)
  assert found.closest == pytest.approx((1.0, 1.0), abs=0.02)
  assert found.recovered() == 1.0
  # Its negative foresees the opposite, and behaves alike.
  turned = recovery_lib.recovery(
    market,
    split,
    -signal,
    [formula_lib.Formula('Mul', (formulas[0], formula_lib.number(-0.1)))],
  )
  assert turned.expected == pytest.approx(-1.0, abs=1e-4)
  assert turned.recovered() == 0.5
  noise = np.random.default_rng(0).normal(size=signal.shape)
  nothing = recovery_lib.recovery(market, split, noise.astype(np.float32))
  assert abs(nothing.expected) < 0.1
  assert nothing.closest == (0.0, 0.0) and nothing.recovered() == 0.0


def test_ahead_adds_up_the_horizon():
  planted = np.array([[1.0], [2.0], [np.nan], [4.0]])
  np.testing.assert_array_equal(
    recovery_lib._ahead(planted, 2), [[3.0], [2.0], [4.0], [4.0]]
  )


def test_units_are_correlations():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 6, 9)).astype(np.float32)
  members = np.ones((6, 9), bool)
  members[:, 0] = False
  x[2] = 1.0  # One value for all: no opinion.
  days = np.array([1, 2, 5])
  unit = jax.jit(behaviour.unit)
  units = [np.asarray(unit(v, members, days)) for v in (x, y)]
  assert not units[0][1].any()
  expected = [np.corrcoef(x[t, 1:], y[t, 1:])[0, 1] for t in (1, 5)]
  np.testing.assert_allclose(
    (units[0] * units[1]).sum(axis=1)[[0, 2]], expected, atol=1e-5
  )
  both = np.stack(units)
  alike = behaviour.alike(both, both[1:])
  assert alike.shape == (2, 1)
  assert alike[0, 0] == pytest.approx(abs(sum(expected)) / 3, abs=1e-5)
  assert alike[1, 0] == pytest.approx(1.0, abs=1e-5)


def test_ceiling_and_pure_noise(market):
  config = get_config()
  split = whole(market)
  assert markets.ceiling(config, split) == simulate.ceiling(market, split)
  noise = get_config('simulated_noise', planted=0)
  assert random_config.get_config('simulated_noise').data.simulate.planted == 0
  empty = markets.simulated(noise)
  assert markets.ceiling(noise, whole(empty)) is None
  assert not empty.alphas and np.isnan(empty.planted).all()
  # The noise is the same with and without alphas, but for what they add.
  np.testing.assert_array_equal(empty.panel.mask, market.panel.mask)
  with pytest.raises(ValueError, match='nothing was planted.*planted=4'):
    recovery_lib.recovery(empty, whole(empty), empty.planted)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(planted=-1), 'planted=-1 formulas'),
    (dict(ic=1.0), 'ic=1.0'),
    (dict(num_days=100), 'num_days is 100: .* at least 160 days'),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    planting.simulated(None, **options)
