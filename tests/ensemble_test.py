"""Several runs joined into one signal."""

import json
import shutil

import numpy as np
import pytest
import tiny

from alphajax import evaluate, experiment, folds, markets, train, walk_forward
from alphajax.configs import common, ensemble
from alphajax.data import panel as panel_lib
from alphajax.run.files import RunError

YEARS = folds.Options(years=(2012, 2013))


def shrink(config, seed=0):
  tiny.shrink(config)
  common.use_simulated_market(config, num_days=1060, num_stocks=30)
  config.data.simulate.strength = 0.2
  config.language.operators = ('CSRank', 'Mean', 'Div', 'Corr')
  config.language.windows = (10,)
  config.num_iterations = 2
  config.seed = seed
  return config


def config_of(runs, **changes):
  config = shrink(ensemble.get_config('simulated'))
  config.num_iterations = 1
  config.runs = tuple(map(str, runs))
  config.ensemble.update(changes)
  return config


@pytest.fixture(scope='module')
def walks(tmp_path_factory):
  """Two walks of other seeds, of which only the fold of 2012 is done."""
  folder = tmp_path_factory.mktemp('walks')
  for seed in (0, 1):
    config = shrink(tiny.get_config('random_search'), seed)
    place = folder / f'seed_{seed}'
    planned = walk_forward.plan(config, place, YEARS)
    walk_forward.walk(planned, place, only=(2012,))
  return folder


@pytest.fixture(scope='module')
def runs(walks):
  return [walks / f'seed_{seed}' / '2012' for seed in (0, 1)]


def splits_of(config, run):
  made = json.loads((run / 'config.json').read_text())
  for name, days in made['splits'].items():
    config.splits[name] = tuple(days)
  return config


@pytest.fixture(scope='module')
def equal(runs, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('ensemble') / 'equal'
  config = splits_of(config_of(runs), runs[0])
  return config, train.train(config, workdir), workdir


def signals(runs, split):
  """The signals of runs, standardised per day."""
  found = []
  for run in runs:
    _, predict, _ = evaluate.result_of(run)
    found.append(
      np.asarray(panel_lib.standardize(predict(split.panel), split.panel.mask))
    )
  return found


def test_equal_weights_are_the_mean_of_the_signals(equal, runs):
  config, trained, workdir = equal
  split = markets.load_split(config, 'test')
  one, other = signals(runs, split)
  known = np.isfinite(one) | np.isfinite(other)
  expected = (np.nan_to_num(one) + np.nan_to_num(other)) / 2
  actual = np.asarray(trained.method.predict(trained.state, split.panel))
  np.testing.assert_array_equal(np.isfinite(actual), known)
  np.testing.assert_allclose(actual[known], expected[known], atol=2e-4)
  assert known.mean() > 0.5
  assert (one[known] != other[known]).any()
  # And so it is evaluated, from what the folder holds alone.
  results = evaluate.evaluate(workdir)
  label = np.asarray(split.target)
  t = int(np.flatnonzero(split.scored)[7])
  both = known[t] & np.isfinite(label[t])
  daily = np.load(workdir / 'daily_test.npz')['ic']
  assert daily[7] == pytest.approx(
    np.corrcoef(expected[t, both], label[t, both])[0, 1], abs=2e-3
  )
  assert results['factors'] == []


def test_it_is_done_after_one_iteration(equal):
  config, trained, workdir = equal
  assert trained.reason == '2 pools joined'
  (record,) = map(json.loads, (workdir / 'metrics.jsonl').open())
  pools = json.loads(config.ensemble.pools or '[]')
  assert pools == []  # The caller's config stays as it was.
  held = json.loads((workdir / 'config.json').read_text())['ensemble']['pools']
  texts = [[text for text, _ in pool] for pool in json.loads(held)]
  assert record['proposed'] == sum(map(len, texts))
  assert record['evaluated'] == len({t for pool in texts for t in pool})
  valid = json.loads((workdir / 'pool.json').read_text())['pool']['valid']
  assert record['valid_ic'] == pytest.approx(valid['ic']['mean'], abs=1e-5)


def test_one_pool_is_itself(runs, tmp_path):
  config = splits_of(config_of(runs[:1]), runs[0])
  trained = train.train(config, tmp_path)
  split = trained.market.valid
  (expected,) = signals(runs[:1], split)
  actual = np.asarray(trained.method.predict(trained.state, split.panel))
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_fit_is_a_pool_of_all_their_formulas(runs, tmp_path):
  config = splits_of(config_of(runs, weighting='fit'), runs[0])
  config.pool.penalty = 0.01
  trained = train.train(config, tmp_path)
  found = trained.method.found(trained.state)
  known = {
    factor['formula']
    for run in runs
    for factor in json.loads((run / 'pool.json').read_text())['factors']
  }
  pool = json.loads((tmp_path / 'pool.json').read_text())
  chosen = {factor['formula'] for factor in pool['factors']}
  assert 2 <= len(chosen) <= len(known) and chosen <= known
  assert len(found.formulas) == len(chosen)
  # Least squares on train is no worse there than any of the two.
  ics = [
    json.loads((run / 'pool.json').read_text())['pool']['train']['ic']['mean']
    for run in runs
  ]
  assert pool['pool']['train']['ic']['mean'] > max(ics) - 0.01
  # Restored, it is the same.
  _, state = experiment.restore(config, tmp_path)
  assert state.found == found and state.ics == trained.state.ics


def test_walked_forward_each_fold_joins_its_own_year(walks, runs, tmp_path):
  config = config_of([walks / 'seed_0', walks / 'seed_1'])
  planned = walk_forward.plan(
    config, tmp_path, YEARS._replace(years=(2012, 2012))
  )
  (fold,) = planned
  assert fold.config.runs == tuple(map(str, runs))
  summary = walk_forward.walk(planned, tmp_path)
  assert summary['method'] == 'ensemble'
  (row,) = summary['folds']
  assert row['formulas'] is None and row['kept'] is None
  for run in runs:  # Nobody chose between the whole and what it is made of.
    made, _, found = evaluate.result_of(run)
    assert {*evaluate.keys_of(made, found)} <= {*summary['parts']}
  whole = np.load(tmp_path / 'walk_forward.npz')
  parts = [dict(np.load(run / 'signal_test.npz')) for run in runs]
  stocks = [np.isin(p['symbols'], whole['symbols']) for p in parts]
  total = sum(
    np.nan_to_num(p['signal'][:, s]) for p, s in zip(parts, stocks, strict=True)
  )
  spread = np.nanstd(np.where(np.isfinite(whole['signal']), total, np.nan), 1)
  known = np.isfinite(whole['signal'])
  np.testing.assert_allclose(
    whole['signal'][known], (total / spread[:, None])[known], atol=1e-2
  )


@pytest.mark.parametrize(
  'change, message',
  [
    ({'runs': ()}, r'config.runs is \(\): expected folders of runs'),
    ({'runs': ('nowhere',)}, 'nowhere: no pool.json and config.json there'),
    ({'weighting': 'best'}, "weighting is 'best': expected one of equal, fit"),
    ({'weighting': 'fit', 'rule': 'algorithm1'}, 'rule=algorithm1 is none'),
    ({'weighting': 'fit', 'penalty': 1e6}, 'leaves out all .* formulas'),
    ({'valid': '2011-06-30'}, 'made on days until 2011-12-31, and'),
  ],
)
def test_bad_input(runs, tmp_path, change, message):
  config = splits_of(config_of(change.get('runs', runs)), runs[0])
  config.ensemble.weighting = change.get('weighting', 'equal')
  config.pool.rule = change.get('rule', 'elastic_net')
  config.pool.penalty = change.get('penalty', 1.0)
  if 'valid' in change:
    config.splits.valid = (config.splits.valid[0], change['valid'])
  with pytest.raises((ValueError, RunError), match=message):
    train.train(config, tmp_path / 'out')


def test_runs_of_another_kind(equal, runs, tmp_path):
  _, _, workdir = equal
  config = splits_of(config_of([workdir]), runs[0])
  with pytest.raises(ValueError, match='its result is no pool of formulas'):
    train.train(config, tmp_path / 'out')
  shutil.copytree(runs[0], tmp_path / 'run')
  pool = json.loads((tmp_path / 'run' / 'pool.json').read_text())
  pool['factors'][0]['formula'] = 'turnover'
  (tmp_path / 'run' / 'pool.json').write_text(json.dumps(pool))
  config = splits_of(config_of([tmp_path / 'run']), runs[0])
  with pytest.raises(ValueError, match='run, factor 1: .*turnover'):
    train.train(config, tmp_path / 'out')
