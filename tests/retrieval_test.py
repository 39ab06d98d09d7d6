"""Retrieval: the kernel against oracles, the library, resume, calibration."""

import json

import jax
import numpy as np
import pytest
import tiny
from sklearn import kernel_ridge

from alphajax import experiment, markets
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, retrieval
from alphajax.search import kernel


def config_of(**changes):
  config = tiny.get_config('retrieval')
  config.pool.rule = 'elastic_net'
  config.retrieval.update(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


def unit_rows(rng, count, size):
  """Formulas of mean square 1 that have a few directions in common."""
  rows = rng.normal(size=(count, 4)) @ rng.normal(size=(4, size))
  rows += rng.normal(size=(count, size))
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize('ridge', [0.03, 0.3, 3.0])
def test_prediction_is_kernel_ridge_regression(ridge):
  rng = np.random.default_rng(0)
  rows, others = unit_rows(rng, 40, 200), unit_rows(rng, 30, 200)
  ics = 0.05 * rng.normal(size=(40, 3))
  oracle = kernel_ridge.KernelRidge(alpha=ridge, kernel='linear')
  expected = oracle.fit(rows, ics).predict(others)
  found = kernel.predict(rows @ rows.T, others @ rows.T, ics, ridge)
  np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_gains_are_those_of_a_regression_with_one_formula_more(monkeypatch):
  """Where the ridges vanish and the formulas were evaluated themselves."""
  monkeypatch.setattr(kernel, 'POOL_RIDGE', 1e-10)
  rng = np.random.default_rng(1)
  rows = unit_rows(rng, 30, 200)
  label = rng.normal(size=200)
  label /= np.linalg.norm(label)
  gram, ics = rows @ rows.T, rows @ label
  pool = np.array([3, 8, 20])

  def multiple_correlation(chosen):
    fit, *_ = np.linalg.lstsq(rows[chosen].T, label, rcond=None)
    return np.linalg.norm(rows[chosen].T @ fit)

  before = multiple_correlation(pool)
  others = [i for i in range(30) if i not in pool]
  expected = [multiple_correlation([*pool, i]) - before for i in others]
  # All must be new enough for the floor not to matter.
  across, blocks = gram[others], np.repeat(ics[:, None], 8, 1)
  found = kernel.forecast(gram, across, blocks, pool, 1e-10)
  np.testing.assert_allclose(found.ic, ics[others], atol=1e-7)
  np.testing.assert_allclose(found.gain, expected, rtol=1e-5, atol=1e-8)
  assert found.trust == pytest.approx(1.0)
  # Without a pool the gain is the IC itself, and of a member nothing.
  alone = kernel.forecast(gram, across, blocks, pool[:0], 1e-10)
  np.testing.assert_allclose(alone.gain, np.abs(ics[others]), atol=1e-7)
  member = kernel.forecast(gram, gram[pool], blocks, pool, 1e-10)
  np.testing.assert_allclose(member.gain, 0.0, atol=1e-8)


def test_spread_is_that_of_a_gaussian_process():
  """And more is hoped for where less is known."""
  rng = np.random.default_rng(5)
  rows, others = unit_rows(rng, 20, 80), unit_rows(rng, 10, 80)
  ics, ridge = 0.03 * rng.normal(size=20), 0.3
  scale = ics @ np.linalg.inv(rows @ rows.T + ridge * np.eye(20)) @ ics / 20
  # Of rows that are directions of the same prior variance.
  precision = np.eye(80) + rows.T @ rows / ridge
  expected = np.sqrt(
    scale * np.sum(others * np.linalg.solve(precision, others.T).T, 1)
  )
  blocks, pool = np.repeat(ics[:, None], 8, 1), np.arange(0)
  across = others @ rows.T
  found = kernel.forecast(rows @ rows.T, across, blocks, pool, ridge, 2.0)
  np.testing.assert_allclose(found.spread, expected, rtol=1e-8)
  hoped = np.sqrt(found.ic**2 + 2.0 * expected**2)
  np.testing.assert_allclose(found.hoped, hoped, rtol=1e-8)
  greedy = kernel.forecast(rows @ rows.T, across, blocks, pool, ridge, 0.0)
  np.testing.assert_array_equal(greedy.hoped, greedy.gain)


def test_trust_is_the_share_that_is_no_noise():
  """ICs of blocks whose noise is as correlated as the formulas are."""
  rng = np.random.default_rng(2)
  rows = unit_rows(rng, 50, 120)
  gram, ridge = rows @ rows.T, 0.3
  inverse = np.linalg.inv(gram + ridge * np.eye(50))
  signal = rows @ (0.02 * rng.normal(size=120))
  noise = 0.04
  energy = signal @ inverse @ signal
  of_noise = noise**2 * np.trace(gram @ inverse) / 8
  found = []
  for _ in range(300):
    blocks = signal[:, None] + rows @ (noise * rng.normal(size=(120, 8)))
    found.append(kernel.trust(gram, blocks, ridge))
  assert np.mean(found) == pytest.approx(energy / (energy + of_noise), abs=0.03)
  nothing = [
    kernel.trust(gram, rows @ rng.normal(size=(120, 8)), ridge)
    for _ in range(300)
  ]
  assert np.median(nothing) < 0.05 and np.mean(nothing) < 0.1
  assert kernel.trust(gram, signal[:, None] * np.ones(8), ridge) > 0.999
  assert kernel.trust(gram, signal[:, None] * np.ones(2), ridge) == 0.0


def test_neighbouring_blocks_are_not_compared():
  """What only neighbours share, as labels that overlap, is no evidence."""
  rng = np.random.default_rng(3)
  shocks = rng.normal(size=(400, 9))
  blocks = shocks[:, :-1] + shocks[:, 1:]
  assert kernel.trust(np.eye(400), blocks, 0.1) < 0.15
  centred = np.mean([blocks[:, i] @ blocks[:, i + 1] for i in range(7)])
  assert centred / np.mean(blocks**2) / 400 > 0.4


def test_pivots_are_what_the_others_explain_least():
  rng = np.random.default_rng(4)
  rows = unit_rows(rng, 25, 60)
  rows[7] = 0.0  # One without spread.
  found = kernel.pivots(rows @ rows.T, 10)
  chosen = [int(np.argmax(np.sum((rows @ rows.T) ** 2, 1)))]
  for _ in range(9):
    fit, *_ = np.linalg.lstsq(rows[chosen].T, rows.T, rcond=None)
    left = np.sum((rows.T - rows[chosen].T @ fit) ** 2, 0)
    chosen.append(int(np.argmax(left)))
  assert found.tolist() == chosen
  everything = kernel.pivots(rows @ rows.T, 60)
  assert sorted(everything.tolist()) == [i for i in range(25) if i != 7]
  twice = np.concatenate([rows, rows])
  assert len(kernel.pivots(twice @ twice.T, 60)) == 24


@pytest.mark.parametrize('rule', ['elastic_net', 'algorithm1'])
def test_a_run_that_was_saved_goes_on_with_the_same_bits(market, rule):
  config = config_of()
  config.pool.rule = rule
  whole, records = tiny.run(experiment.make_method(config, market), 4)
  method = experiment.make_method(config, market)
  half, _ = tiny.run(method, 2)
  arrays, host = method.save(half)
  method = experiment.make_method(config, market)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, 2, state, first=2)
  assert rest == records[2:]
  assert method.found(state) == method.found(whole)
  assert list(state.mined.book.items()) == list(whole.mined.book.items())


@pytest.fixture(scope='module')
def retrieved(market):
  """Four iterations, of six formulas each."""
  return tiny.run(experiment.make_method(config_of(), market), 4)


def library_of(config, market):
  bench = archive.make_bench(config, market)
  return bench, retrieval.make_library(config, market.train, bench)


def test_probes_come_first_and_nothing_twice(market, retrieved):
  state, records = retrieved
  _, library = library_of(config_of(), market)
  keys = list(state.mined.book)
  probes = [library.formulas[i] for i in library.probes]
  assert keys[:8] == [formula_lib.key(each) for each in probes[:8]]
  assert [r['retrieved'] for r in records] == [0, 4, 6, 6]
  assert [r['evaluated'] for r in records] == [6, 12, 18, 24]
  assert records[-1]['proposed'] == len(set(keys)) == 24
  assert set(keys) <= set(library.place)
  assert [r['library'] for r in records] == [54, 48, 42, 36]
  assert records[0]['predicted_rank'] is records[0]['trust'] is None
  last = records[-1]
  assert -1 <= last['predicted_rank'] <= 1 and 0 <= last['trust'] <= 1
  assert last['predicted_gain'] >= 0 and last['realised_ic'] > 0


def test_the_library_is_of_distinct_formulas_of_one_seed(market):
  config = config_of()
  _, library = library_of(config, market)
  assert len(library.formulas) == len(library.place) == 60
  assert np.abs(np.diag(library.gram) - 1).max() < 2e-3
  apart = np.abs(library.gram[~np.eye(60, dtype=bool)])
  assert apart.max() <= config.screen.twin + 2e-3
  sizes = [formula_lib.size(library.formulas[i]) for i in library.probes[:4]]
  assert max(sizes) <= config.retrieval.probe_size
  config.seed = 1
  _, other = library_of(config, market)
  assert set(other.place) != set(library.place)


@pytest.mark.parametrize('score', ['gain', 'ic'])
def test_the_best_by_prediction_are_taken(market, retrieved, score):
  state, _ = retrieved
  config = config_of(score=score, max_corr=1.0)
  bench, library = library_of(config, market)
  plan = retrieval.plan_step(config.retrieval, library, bench, state.mined, 5)
  tried = {library.place[key] for key in state.mined.book}
  others = np.array([i for i in range(60) if i not in tried])
  forecast = retrieval.forecast_of(
    config.retrieval, library, bench, state.mined, others
  )
  hoped = np.sqrt(forecast.ic**2 + forecast.spread**2)
  worth = forecast.hoped if score == 'gain' else hoped
  assert plan.chosen.tolist() == others[np.argsort(-worth)[:5]].tolist()
  np.testing.assert_array_equal(plan.ic, forecast.ic[np.argsort(-worth)[:5]])
  # Unlike each other, where it is asked for, as long as there are such.
  config = config_of(score=score, max_corr=0.6)
  plan = retrieval.plan_step(config.retrieval, library, bench, state.mined, 5)
  among = library.gram[np.ix_(plan.chosen, plan.chosen)]
  assert np.abs(among[~np.eye(5, dtype=bool)]).max() < 0.6


def labelled(market, values, rng, noise):
  """The market whose train label is a formula's values in noise."""
  split = market.train
  members = np.asarray(split.panel.mask)
  z = np.asarray(panel_lib.standardize(values, members))
  known = members & np.isfinite(np.asarray(split.target))
  label = np.where(np.isfinite(z), z, 0.0) + noise * rng.normal(size=z.shape)
  label = np.where(known, label, np.nan).astype(np.float32)
  return market._replace(train=split.replace(target=label))


def test_a_planted_formula_is_foreseen_from_its_neighbours(market):
  """Not a probe itself, but like one; its label is nine tenths noise."""
  config = config_of(num_probes=20)
  config.num_trajectories = 20
  _, library = library_of(config, market)
  rng = np.random.default_rng(0)
  others = np.setdiff1d(np.arange(60), library.probes[:20])
  near = np.abs(library.gram[np.ix_(others, library.probes[:20])]).max(1)
  planted = others[np.flatnonzero(near > 0.7)[:3]]
  assert len(planted) == 3
  store = evaluate.make_store(market.train.panel)
  for place in planted.tolist():
    (values,) = store.take([library.formulas[place]])
    changed = labelled(market, values, rng, 3.0)
    method = experiment.make_method(config, changed)
    state, _ = tiny.run(method, 1)
    bench, same = library_of(config, changed)
    assert same.place == library.place  # Labels have no part in it.
    forecast = retrieval.forecast_of(
      config.retrieval, same, bench, state.mined, others
    )
    order = others[np.argsort(-np.abs(forecast.ic))].tolist()
    assert order.index(place) < 4 and forecast.trust > 0.9
    assert forecast.ic[others.tolist().index(place)] > 0.1


def test_of_noise_next_to_nothing_is_expected(market):
  """Labels of nothing but noise, and the same noise with a signal in it."""
  config = config_of(num_probes=20)
  config.num_trajectories, config.pool.every = 20, 1
  _, library = library_of(config, market)
  rng = np.random.default_rng(1)
  zeros = np.zeros(market.train.panel.mask.shape, np.float32)
  gains, raw = [], []
  for _ in range(8):
    method = experiment.make_method(config, labelled(market, zeros, rng, 1.0))
    _, records = tiny.run(method, 3)  # In the third there is a pool.
    gains.append(records[2]['predicted_gain'])
    raw.append(records[2]['predicted_ic'])
  assert np.mean(gains) < 0.2 * np.mean(raw) and np.median(gains) < 0.003


@pytest.mark.parametrize(
  'rule', ['lasso', 'best_distinct', 'bagged', 'distilled']
)
def test_any_rule_chooses_the_pool(market, rule):
  config = config_of()
  config.pool.rule = rule
  method = experiment.make_method(config, market)
  state, records = tiny.run(method, 3)
  assert records[-1]['evaluated'] == 18 and records[-1]['pool_size'] > 0
  assert method.found(state).formulas


def test_a_library_that_is_read_out_ends_the_run(market):
  config = config_of(library=15)
  config.pool.every = 100
  method = experiment.make_method(config, market)
  start = method.init(jax.random.key(0))
  assert method.finished(start) is None
  state, records = tiny.run(method, 3, start)
  assert [r['evaluated'] for r in records] == [6, 12, 15]
  assert 'all 15 formulas of the library' in method.finished(state)
  assert method.found(state).iteration == 3


def test_it_stops_at_the_budget(market):
  config = config_of()
  config.max_evaluated = 9
  method = experiment.make_method(config, market)
  state, records = tiny.run(method, 2)
  assert records[-1]['evaluated'] == 9
  assert '9 formulas evaluated' in method.finished(state)


def test_formulas_that_are_given_say_something_too(market, tmp_path):
  path = tmp_path / 'formulas.txt'
  path.write_text('Mean(close,5)/close\nStd(volume,10)\nAbs(close)*0\n')
  config = config_of()
  config.archive = str(path)
  method = experiment.make_method(config, market)
  state, records = tiny.run(method, 1)
  keys = list(state.mined.book)
  assert len(keys) == 9 and records[0]['library'] == 60 - 6
  # With their ICs known there are forecasts once the probes are through.
  state, records = tiny.run(method, 2, state, first=1)
  assert [r['retrieved'] for r in records] == [4, 6]


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'library': 1}, 'config.retrieval.library is 1: expected >= 2'),
    ({'num_probes': 0}, 'config.retrieval.num_probes is 0: expected >= 1'),
    ({'num_probes': 61}, 'at most the 60 formulas of config.retrieval.libr'),
    ({'probe_size': 0}, 'config.retrieval.probe_size is 0: expected >= 1'),
    ({'blocks': 2}, 'config.retrieval.blocks is 2: expected >= 3'),
    ({'explore': -1.0}, 'config.retrieval.explore is -1.0: expected >= 0'),
    ({'ridge': 0.0}, 'config.retrieval.ridge is 0.0: expected above 0'),
    ({'max_corr': 1.5}, 'config.retrieval.max_corr is 1.5: expected above 0'),
    ({'score': 'luck'}, "config.retrieval.score is 'luck': expected one of"),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)


def test_it_needs_the_screen(market):
  config = config_of()
  config.screen.twin = 0.0
  with pytest.raises(ValueError, match='config.screen.twin is 0'):
    experiment.make_method(config, market)
