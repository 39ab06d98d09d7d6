"""Ridge, trees and networks learn what is planted, and only from the past."""

import functools
import importlib
import warnings
from typing import NamedTuple

import jax
import numpy as np
import planted
import pytest
import tiny
from sklearn.linear_model import Ridge

from alphajax import evaluate, experiment, score, train
from alphajax.data import panel as panel_lib
from alphajax.methods import boosting, characteristics, ridge
from alphajax.methods.base import Method
from alphajax.report import page
from alphajax.run import checkpoint

NETWORKS = ('lstm', 'alstm', 'tcn', 'transformer')
BOOSTERS = ('lightgbm', 'xgboost')
DAYS = 3


def needs(name):
  """Skips where a library is absent that is not required."""
  if name in BOOSTERS:
    pytest.importorskip(name, reason='needs pip install alphajax[gbdt]')


def config_of(name, **changes):
  module = importlib.import_module(f'alphajax.configs.{name}')
  config = tiny.shrink_predictor(module.get_config('simulated'))
  config.features.days = DAYS
  config.update_from_flattened_dict(changes)
  return config


def trained(config, market, steps=2):
  """The method, its state after some steps, and the metrics of the last."""
  method = experiment.make_method(config, market)
  state = method.init(jax.random.key(0))
  for i in range(1, steps + 1):
    state, metrics = method.step(state, jax.random.key(i))
  return method, state, metrics


def mean_ic(signal, split):
  """Mean daily correlation over members with a label and a value."""
  daily = []
  for t in np.flatnonzero(split.scored):
    seen = split.panel.mask[t] & np.isfinite(signal[t] + split.target[t])
    daily.append(np.corrcoef(signal[t, seen], split.target[t, seen])[0, 1])
  return np.mean(daily)


def table(split, scaled):
  """Rows as the slow loop makes them: (days, stocks, columns, label)."""
  at = split.panel.feature_names.index
  columns = []
  for ago in reversed(range(DAYS)):
    for name in characteristics.RAW:
      if scaled:
        plane = planted.zscores(split.panel, name, ago).clip(-3, 3)
      else:
        then = np.roll(split.panel.features[at(name)], ago, 0)
        then[:ago] = np.nan
        over = 'volume' if name == 'volume' else 'close'
        plane = then / split.panel.features[at(over)]
      columns.append(plane)
  columns = np.stack(columns, -1)
  days, stocks = np.nonzero(
    split.panel.mask
    & np.isfinite(columns).any(-1)
    & np.isfinite(split.target)
    & split.scored[:, None]
  )
  label = np.where(split.panel.mask, split.target, np.nan)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # Days before any label.
    label -= np.nanmean(label, 1, keepdims=True)
    label /= np.nanstd(label, 1, keepdims=True)
  return days, stocks, columns[days, stocks], label[days, stocks]


def as_signal(split, days, stocks, values):
  plane = np.full(split.target.shape, np.nan)
  plane[days, stocks] = values
  return plane


@pytest.fixture(scope='module')
def linear_market():
  return planted.market(planted.linear)


@pytest.fixture(scope='module')
def bent_market():
  return planted.market(planted.bent, noise=1.0)


def test_ridge_is_that_of_scikit_learn(linear_market):
  config = config_of(
    'linear', **{'ridge.penalties': (30.0,), 'features.dtype': 'float32'}
  )
  method, state, metrics = trained(config, linear_market, steps=1)
  *_, columns, label = table(linear_market.train, scaled=True)
  oracle = Ridge(alpha=30.0).fit(np.nan_to_num(columns), label)
  np.testing.assert_allclose(state.model.weights, oracle.coef_, atol=2e-4)
  days, stocks, columns, label = table(linear_market.valid, scaled=True)
  said = oracle.predict(np.nan_to_num(columns))
  signal = np.asarray(method.predict(state, linear_market.valid.panel))
  np.testing.assert_allclose(signal[days, stocks], said, atol=1e-3)
  expected = mean_ic(
    as_signal(linear_market.valid, days, stocks, said), linear_market.valid
  )
  assert metrics['valid_ic'] == pytest.approx(expected, abs=1e-3)
  assert expected > 0.4
  assert metrics['valid_loss'] == pytest.approx(
    np.mean((said - label) ** 2), abs=1e-4
  )


def test_columns_are_those_of_qlib():
  config = config_of('linear', **{'features.name': 'alpha158'})
  config.features.days = 1
  columns = characteristics.make_columns(config)
  assert columns.shape == (1, 158) and len(columns.formulas) == 158
  assert characteristics.lookback(config) == 60
  config.update_from_flattened_dict(
    {'features.name': 'selected', 'features.days': 20}
  )
  columns = characteristics.make_columns(config)
  assert columns.shape == (20, 20)
  # Oldest day first; each day has the 20 in the order of Alpha158.
  assert columns.sources[:20] == tuple((i, 19) for i in range(20))
  assert columns.sources[-1] == (19, 0)
  assert str(columns.formulas[0]) == '(high-low)/open'  # KLEN
  assert characteristics.lookback(config) == 60 + 19


def test_robust_scaling_and_rank_labels(linear_market):
  config = config_of(
    'linear', **{'features.scale': 'robust', 'features.dtype': 'float32'}
  )
  split = linear_market.train
  columns = characteristics.make_columns(config)
  scaling = characteristics.fit_scaling(config, columns, split)
  close, volume = (
    split.panel.features[split.panel.feature_names.index(name)]
    for name in ('close', 'volume')
  )
  members = split.panel.mask & split.scored[:, None]
  ratio = volume[1:-1] / volume[2:]  # Of the day before, its column.
  seen = ratio[members[2:] & np.isfinite(ratio)]
  center = np.median(seen)
  spread = 1.4826 * np.median(np.abs(seen - center))
  column = 11  # Day 1 of 3, the last of six.
  assert scaling.center[column] == pytest.approx(center, rel=1e-5)
  assert scaling.spread[column] == pytest.approx(spread, rel=1e-5)
  # close / close is 1 for all, and left as it is.
  assert (scaling.center[12], scaling.spread[12]) == (0, 1)
  found = characteristics.rows(config, columns, scaling, split.panel)
  t, s = found.days[50], found.stocks[50]
  expected = (volume[t - 1, s] / volume[t, s] - center) / spread
  assert found.columns[50, column] == pytest.approx(
    np.clip(expected, -3, 3), abs=1e-4
  )
  assert np.isfinite(close[found.days, found.stocks]).all()
  label = np.asarray(characteristics.labels('rank', config, split))[t]
  known = np.flatnonzero(split.panel.mask[t] & np.isfinite(split.target[t]))
  ranks = np.argsort(np.argsort(split.target[t, known])) + 1
  np.testing.assert_allclose(
    label[known], (ranks / len(known) - 0.5) * 3.46, atol=1e-5
  )
  assert np.isnan(np.delete(label, known)).all()


def test_the_algebra_of_ridge_is_exact():
  rng = np.random.default_rng(0)
  x, y = rng.normal(1, 2, (300, 7)), rng.normal(size=300)
  oracle = Ridge(alpha=5.0).fit(x, y)
  line = ridge.fit(ridge.moments(x, y), 5.0)
  np.testing.assert_allclose(line.weights, oracle.coef_, rtol=1e-9)
  np.testing.assert_allclose(line.intercept, oracle.intercept_, rtol=1e-9)


def test_the_best_penalty_on_validation_is_kept(linear_market):
  penalties = (1e6, 10.0, 1e7)
  config = config_of('linear', **{'ridge.penalties': penalties})
  method, state, _ = trained(config, linear_market, steps=3)
  assert method.found(state).iteration == 2
  assert method.finished(state) == '3 penalties tried'


@pytest.mark.parametrize('name', BOOSTERS)
@pytest.mark.parametrize('market', ['linear_market', 'bent_market'])
def test_trees_reach_what_the_library_reaches(name, market, request):
  needs(name)
  market = request.getfixturevalue(market)
  rate = 'learning_rate' if name == 'lightgbm' else 'eta'
  params = {rate: 0.1, 'max_depth': 4}
  config = config_of(name, **{'booster.rounds': 20})
  config.booster.params = params
  method, state, _ = trained(config, market, steps=4)
  signal = np.asarray(method.predict(state, market.valid.panel))
  *_, columns, label = table(market.train, scaled=False)
  days, stocks, unseen, wanted = table(market.valid, scaled=False)
  if name == 'lightgbm':
    import lightgbm

    data = lightgbm.Dataset(columns, label)
    model = lightgbm.train(
      {**params, 'verbosity': -1, 'num_threads': 1}, data, 80,
      valid_sets=[lightgbm.Dataset(unseen, wanted, reference=data)],
      callbacks=[lightgbm.early_stopping(50, verbose=False)],
    )  # fmt: skip
    said = model.predict(unseen, num_iteration=model.best_iteration)
    best = model.best_iteration
  else:
    import xgboost

    held_out = xgboost.DMatrix(unseen, wanted)
    model = xgboost.train(
      {**params, 'nthread': 1, 'verbosity': 0},
      xgboost.DMatrix(columns, label), 80, evals=[(held_out, 'valid')],
      early_stopping_rounds=50, verbose_eval=False,
    )  # fmt: skip
    best = model.best_iteration + 1
    said = model.predict(held_out, iteration_range=(0, best))
  expected = mean_ic(as_signal(market.valid, days, stocks, said), market.valid)
  assert expected > 0.3
  assert mean_ic(signal, market.valid) == pytest.approx(expected, abs=0.005)
  assert abs(boosting._best(state.model) - best) <= 20


class Run(NamedTuple):
  """A method, its states after one, two and three steps, and the metrics."""

  method: Method
  states: list
  metrics: list


@pytest.fixture(scope='module')
def runs(linear_market):
  """Of every predictor, trained when it is first asked for."""

  @functools.cache
  def run(name):
    needs(name)
    method = experiment.make_method(config_of(name), linear_market)
    states, told = [method.init(jax.random.key(0))], []
    for i in (1, 2, 3):
      state, metrics = method.step(states[-1], jax.random.key(i))
      states.append(state)
      told.append(metrics)
    return Run(method, states[1:], told)

  return run


ALL = ('linear', *BOOSTERS, *NETWORKS)


@pytest.mark.parametrize('name', ALL)
def test_every_predictor_learns_what_is_planted(runs, linear_market, name):
  method, (*_, state), (*_, metrics) = runs(name)
  for key in ('train_ic', 'valid_ic', 'train_loss', 'valid_loss'):
    assert np.isfinite(metrics[key])
  signal = np.asarray(method.predict(state, linear_market.valid.panel))
  assert mean_ic(signal, linear_market.valid) > 0.1
  if method.found(state).iteration == 3:
    assert metrics['valid_ic'] == pytest.approx(
      mean_ic(signal, linear_market.valid), abs=1e-3
    )
  assert method.found(state).formulas == ()
  assert method.finished(state) is None
  known = np.isfinite(signal)[linear_market.valid.scored]
  members = linear_market.valid.panel.mask[linear_market.valid.scored]
  assert not known[~members].any() and known[members].mean() > 0.9


def bits(tree):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize('name', ALL)
def test_goes_on_to_the_same_bits(runs, linear_market, tmp_path, name):
  method, (first, second, _), (_, metrics, _) = runs(name)
  checkpoint.save(tmp_path, 1, *method.save(first))
  # Another process has made no rows or margins yet.
  other = experiment.make_method(config_of(name), linear_market)
  like, _ = other.save(other.init(jax.random.key(7)))
  _, arrays, host = checkpoint.restore(tmp_path, like)
  again, figures = other.step(other.load(arrays, host), jax.random.key(2))
  assert {**metrics, 'seconds': 0} == {**figures, 'seconds': 0}
  (one, host_one), (two, host_two) = method.save(second), other.save(again)
  assert bits(one) == bits(two) and host_one == host_two
  panel = linear_market.valid.panel
  np.testing.assert_array_equal(
    method.predict(second, panel), other.predict(again, panel)
  )


@pytest.mark.parametrize('name', ALL)
def test_the_future_and_strangers_change_nothing(runs, linear_market, name):
  method, (state, *_), _ = runs(name)
  panel = linear_market.valid.panel
  before = np.asarray(method.predict(state, panel))
  assert np.isfinite(before).mean() > 0.5
  changed = np.array(panel.features)
  changed[:, 40:] *= np.float32(1.7)
  changed[:, 50:, ::3] = np.nan
  after = method.predict(state, panel.replace(features=changed))
  np.testing.assert_array_equal(before[:40], after[:40])
  wide = method.predict(state, panel_lib.pad_stocks(panel, 50))
  np.testing.assert_allclose(before, wide[:, :40], atol=1e-4)
  assert not np.isfinite(wide[:, 40:]).any()


def test_copies_train_beside_each_other(runs, linear_market):
  config = config_of('lstm', **{'network.copies': 2})
  method, state, _ = trained(config, linear_market, steps=1)
  leaves = jax.tree.leaves(state.model.params)
  assert all(leaf.shape[0] == 2 for leaf in leaves)
  assert all(not np.array_equal(leaf[0], leaf[1]) for leaf in leaves)
  # Of equal copies the mean is each of them.
  twice = jax.tree.map(lambda x: np.stack([x[1], x[1]]), state.model.best)
  alone = jax.tree.map(lambda x: x[1:], state.model.best)
  panel = linear_market.valid.panel
  one = runs('lstm').method
  np.testing.assert_allclose(
    method.predict(
      state._replace(model=state.model._replace(best=twice)), panel
    ),
    one.predict(state._replace(model=state.model._replace(best=alone)), panel),
    atol=1e-5,
  )


def test_a_run_is_evaluated_reported_and_scored(tmp_path):
  config = config_of('linear')
  config.ridge.penalties = (10.0, 1000.0)
  result = train.train(config, tmp_path)
  assert result.reason == '2 penalties tried'
  request = evaluate.TEST_SPLIT._replace(backtest=None)
  results = evaluate.evaluate(tmp_path, request)
  assert results['factors'] == [] and results['test']['coverage'] > 0.9
  assert 'Result from iteration' in evaluate.table(tmp_path, results)
  assert 'IC' in page.write_report(tmp_path).read_text()
  scores = score.score(tmp_path)
  assert np.isfinite(scores.signal).sum() > 10 and not scores.factors


@pytest.mark.parametrize('name', BOOSTERS)
def test_a_missing_library_is_named(monkeypatch, linear_market, name):
  real = importlib.import_module

  def missing(path, package=None):
    if path == name:
      raise ModuleNotFoundError(f'No module named {path!r}', name=path)
    return real(path, package)

  monkeypatch.setattr(importlib, 'import_module', missing)
  package = {'lightgbm': 'lightgbm', 'xgboost': 'xgboost-cpu'}[name]
  with pytest.raises(ValueError, match=f'not installed: pip install {package}'):
    experiment.make_method(config_of(name), linear_market)


@pytest.mark.parametrize(
  'name, change, message',
  [
    ('linear', {'features.name': 'alpha360'}, "features.name is 'alpha360': "),
    ('linear', {'features.scale': 'rank'}, 'expected one of none, day, robust'),
    ('linear', {'features.scale': 'none'}, 'set --config.features.dtype='),
    ('linear', {'features.clip': 0.0}, 'set --config.features.dtype=float32'),
    ('lstm', {'features.scale': 'none'}, 'set --config.features.scale=robust'),
    ('linear', {'features.days': 0}, 'features.days is 0: expected >= 1'),
    ('linear', {'ridge.penalties': (0.0,)}, 'expected numbers above 0'),
    ('lstm', {'network.name': 'lsmt'}, "did you mean 'lstm'"),
    ('lstm', {'network.copies': 0}, 'network.copies is 0: expected >= 1'),
    ('lightgbm', {'booster.library': 'catboost'}, "library is 'catboost'"),
    ('lightgbm', {'booster.rounds': 0}, 'booster.rounds is 0: expected >= 1'),
  ],
)
def test_bad_input(linear_market, name, change, message):
  needs(name)
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(name, **change), linear_market)


def test_bad_label(linear_market):
  method = experiment.make_method(
    config_of('linear', **{'training.label': 'ranks'}), linear_market
  )
  state = method.init(jax.random.key(0))
  with pytest.raises(ValueError, match="label is 'ranks': expected one of"):
    method.step(state, jax.random.key(1))
  with pytest.raises(ValueError, match='has learned nothing yet'):
    method.predict(state, linear_market.valid.panel)
