"""Every config file, in every variant, trains a step on a small market."""

import importlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from ml_collections import config_dict

from alphajax import experiment, markets, show_configs
from alphajax.configs import alphacfg, common
from alphajax.judge.rules import PAPER, BacktestSpec

FOLDER = Path(__file__).parent.parent / 'configs'
MARKETS = (
  'csi300',
  'sp500',
  'simulated',
  'simulated_large',
  'simulated_deep',
  'simulated_noise',
)
# Others train on one market, to spare the compiling; all are loaded below.
ONE = ('csi300',)
VARIANTS = {
  'alphacfg': (*MARKETS, 'best', 'sp500,best', 'csi300,learning'),
  'random': MARKETS,
  'alphagen': ('simulated',),
  'evolution': MARKETS,
  'retrieval': MARKETS,
  'best': MARKETS,
  'alphaqcm': ONE,
  'gflownet': ONE,
  'gp': ONE,
  'quickstart': (None,),
}
# They find no formulas, and train a step in predictors_test.py.
PREDICTORS = (
  'linear', 'lightgbm', 'xgboost', 'lstm', 'alstm', 'tcn', 'transformer',
)  # fmt: skip
CASES = [(name, v) for name, variants in VARIANTS.items() for v in variants]
# Configs of one market after each other: it is made once.
CASES.sort(key=lambda case: (case[1] or '').partition(',')[0])


def load(name, variant):
  module = importlib.import_module(f'alphajax.configs.{name}')
  return module.get_config(*() if variant is None else (variant,))


def test_no_config_is_left_out():
  files = {path.stem for path in FOLDER.glob('*.py')}
  # An ensemble trains on other runs: see ensemble_test.py. Synthetic markets
  # train nothing of ours: synthesize_test.py. Published pools are done after an
  # iteration: published_pools_test.py. A matrix: referee_test.py. What learns
  # from synthetic markets takes long to compile: alphaformer_paper_test.py.
  # AlphaFormer mines with what was pre-trained: alphaformer_test.py.
  others = {
    'published', 'ensemble', 'synthesize', 'referee', 'alphaformer',
    'alphaformer_paper', 'common', '__init__',
  }  # fmt: skip
  assert files == {*VARIANTS, *PREDICTORS, *others}


@pytest.mark.parametrize('name, variant', CASES)
def test_trains_a_step(name, variant):
  config = tiny.shrink(load(name, variant))
  market, _ = markets.load_market(config)
  method = experiment.make_method(config, market)
  state = method.init(jax.random.key(0))
  state, metrics = method.step(state, jax.random.key(1))
  assert metrics['proposed'] >= metrics['evaluated'] > 0
  for key in ('train_ic', 'valid_ic', 'policy_loss', 'value_loss'):
    assert np.isfinite(metrics.get(key, 0.0))
  learns = config.method in ('alphacfg', 'alphagen')
  assert ('policy_loss' in metrics) == learns
  assert ('balance_loss' in metrics) == (config.method == 'gflownet')
  assert ('quantile_loss' in metrics) == (config.method == 'alphaqcm')
  assert method.found(state).formulas
  assert method.finished(state) is None
  signal = np.asarray(method.predict(state, market.valid.panel))
  members = np.asarray(market.valid.panel.mask)
  assert not np.isfinite(signal)[~members].any()
  days = market.valid.scored
  assert np.isfinite(signal)[days].sum() > 0.5 * members[days].sum()


@pytest.mark.parametrize('name', [n for n in VARIANTS if n != 'quickstart'])
def test_every_market_is_a_variant(name):
  labels = {load(name, market).data.simulate.to_json() for market in MARKETS}
  assert len(labels) == 4  # Of the two real ones it is not read.


@pytest.mark.parametrize('name', [*PREDICTORS, 'alphagen', 'alphaformer_paper'])
def test_markets_are_the_same_for_all(name):
  for variant in MARKETS:
    config, random = load(name, variant), load('random', variant)
    for key in ('data', 'splits', 'label'):
      assert config[key].to_dict() == random[key].to_dict()
    assert config.method == name


@pytest.mark.parametrize('name', [*VARIANTS, *PREDICTORS, 'alphaformer'])
def test_a_real_market_needs_a_file(name, tmp_path):
  """It is refused before anything else, whatever else is wrong with it."""
  if name != 'quickstart':
    config = load(name, 'sp500')
    config.splits.train = ('2010-01-04',)
    with pytest.raises(ValueError, match=r'--config.data.path=PATH .*or take'):
      experiment.check(config, tmp_path)
    with pytest.raises(ValueError, match='data.path is not set'):
      markets.load_market(config)
    config.data.path = str(FOLDER)
    experiment.check_start(config)
  experiment.check_start(
    load(name, 'simulated' if name != 'quickstart' else None)
  )


def test_a_run_of_before_there_was_the_source_goes_on(tmp_path):
  config = tiny.get_config('random_search')
  old = config.to_dict()
  del old['data']['source']
  (tmp_path / 'config.json').write_text(json.dumps(old))
  assert experiment.check(config, tmp_path)[1] == []
  markets.check_source(config_dict.ConfigDict(old))


@pytest.mark.parametrize('name', ['alphacfg', 'alphagen', 'linear', 'random'])
def test_unknown_variant(name):
  with pytest.raises(ValueError, match="unknown variant 'nikkei'"):
    load(name, 'nikkei')
  with pytest.raises(ValueError, match="unknown variant 'sp500,worst'"):
    load(name, 'sp500,worst')


def test_markets_are_traded_by_their_rules():
  assert markets.backtest_spec(load('best', 'csi300')) == PAPER
  assert markets.backtest_spec(load('linear', 'sp500')) == PAPER._replace(
    buy_cost=5.0, sell_cost=5.0, limits=None
  )
  default = common.get_config()
  # Every rule is a key of the config, and of a meaning.
  assert {*default.backtest} == {*BacktestSpec._fields}
  known = show_configs.meanings([FOLDER / 'common.py'])
  for name in BacktestSpec._fields:
    assert known[f'backtest.{name}']
  default.backtest.update(limits='0.2', stamp_duty='china', benchmark='level')
  spec = markets.backtest_spec(default, {'short': False})
  assert spec == PAPER._replace(
    limits=0.2, stamp_duty='china', benchmark='level', short=False
  )
  del default.backtest
  assert markets.backtest_spec(default) == PAPER


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'topk': 5}, r'config\.backtest\.topk: there is no such rule; known are'),
    ({'top_k': 2.5}, r'config\.backtest\.top_k=2\.5: expected a whole number'),
    ({'short': 1}, r'config\.backtest\.short=1: expected True or False'),
    ({'every': True}, r'config\.backtest\.every=True: expected a whole'),
    ({'every': 0}, r'config\.backtest\.every=0: expected a whole number, 1'),
    ({'slippage': 'low'}, r"backtest\.slippage='low': expected a number"),
    ({'sell_cost': -1}, r'config\.backtest\.sell_cost=-1: expected basis'),
    (
      {'stamp_duty': 'uk'},
      r"backtest\.stamp_duty='uk': expected basis",
    ),
    (
      {'drop_n': 61},
      r'backtest\.drop_n=61 is more than config\.backtest\.top_k',
    ),
    ({'limits': '-0.1'}, r"config\.backtest\.limits=-0\.1: expected 'board'"),
    ({'limits': True}, r"config\.backtest\.limits=True: expected 'board'"),
    (
      {'stamp_duty': True},
      r'config\.backtest\.stamp_duty=True: expected basis',
    ),
    ({'deal': 'open'}, r"unknown config\.backtest\.deal 'open': one of next_o"),
  ],
)
def test_bad_rules_are_named(changes, message):
  config = common.get_config()
  config.data.source = 'simulated'
  config.backtest = config_dict.ConfigDict(
    config.backtest.to_dict() | changes
  )  # Whose types are others.
  with pytest.raises(ValueError, match=message):
    experiment.check_start(config)


def test_the_paper_is_the_default():
  config = alphacfg.get_config()
  assert config.num_trajectories == config.num_iterations == 100
  assert config.search.num_simulations == 64
  assert config.language.max_length == config.pool.capacity == 10
  assert config.network.width == 128 and config.network.dropout == 0.1
  assert config.training.learning_rate == 1e-4
  assert config.training.replay_size == 20_000
  assert config.label.exit - config.label.entry == 20
  assert config.splits.train == ('2010-01-01', '2017-12-31')
  assert config.splits.valid == ('2018-01-01', '2019-12-31')
  assert config.splits.test == ('2021-01-01', '2024-12-31')


def test_predictors_have_the_settings_of_qlib():
  # ../shared/facts/qlib_benchmarks.md, section 3, the columns of Alpha158.
  trees = load('lightgbm', 'csi300')
  assert trees.booster.params.to_dict() == {
    'learning_rate': 0.2, 'max_depth': 8, 'num_leaves': 210,
    'feature_fraction': 0.8879, 'lambda_l1': 205.6999, 'lambda_l2': 580.9768,
  }  # fmt: skip
  assert load('xgboost', 'csi300').booster.params.to_dict() == {
    'eta': 0.0421, 'max_depth': 8, 'colsample_bytree': 0.8879,
    'subsample': 0.8789,
  }  # fmt: skip
  assert trees.booster.rounds * trees.num_iterations == 1000
  assert trees.booster.patience == 50
  published = {
    'lstm': (64, 2, 0.0, 200, 1e-3, 0.0, 10, 800),
    'alstm': (64, 2, 0.0, 200, 1e-3, 0.0, 10, 800),
    'tcn': (32, 5, 0.5, 200, 1e-4, 0.0, 20, 2000),
    'transformer': (64, 2, 0.0, 100, 1e-4, 1e-3, 5, 8192),
  }
  for name, expected in published.items():
    config = load(name, 'csi300')
    network, training = config.network, config.training
    assert expected == (
      network.width, network.layers, network.dropout, config.num_iterations,
      training.learning_rate, training.weight_decay, training.patience,
      training.batch_size,
    )  # fmt: skip
    assert network.name == config.method == name
    assert config.features.name == 'selected' and config.features.days == 20
    assert training.label == 'rank' and config.features.scale == 'robust'


@pytest.mark.parametrize('variant', MARKETS)
def test_random_search_differs_from_alphacfg_in_the_method_alone(variant):
  random = load('random', variant).to_dict()
  other = load('alphacfg', variant).to_dict()
  differing = {key for key in other if random.get(key) != other[key]}
  assert differing == {'method', 'search', 'network', 'training', 'value'}


def test_unknown_method_and_bad_pool():
  config = tiny.get_config('random_search')
  market, _ = markets.load_market(config)
  config.method = 'alphacgf'
  with pytest.raises(ValueError, match="'alphacgf': .*mean 'alphacfg'"):
    experiment.make_method(config, market)
  config.method = 'random_search'
  config.pool.capacity = 0
  with pytest.raises(ValueError, match='pool.capacity is 0'):
    experiment.make_method(config, market)
