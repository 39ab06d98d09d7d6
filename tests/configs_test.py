"""Every config file, in every variant, trains a step on a small market."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.configs import alphacfg

FOLDER = Path(__file__).parent.parent / 'configs'
MARKETS = (
  'csi300',
  'sp500',
  'simulated',
  'simulated_large',
  'simulated_deep',
  'simulated_noise',
)
VARIANTS = {
  'alphacfg': (*MARKETS, 'best', 'sp500,best'),
  'random': MARKETS,
  'evolution': MARKETS,
  'retrieval': MARKETS,
  'best': MARKETS,
  'quickstart': (None,),
}
CASES = [(name, v) for name, variants in VARIANTS.items() for v in variants]
# Configs of one market after each other: it is made once.
CASES.sort(key=lambda case: (case[1] or '').partition(',')[0])


def load(name, variant):
  module = importlib.import_module(f'alphajax.configs.{name}')
  return module.get_config(*() if variant is None else (variant,))


def test_no_config_is_left_out():
  files = {path.stem for path in FOLDER.glob('*.py')}
  # An ensemble trains on other runs: see ensemble_test.py. Synthetic markets
  # train nothing of ours: synthesize_test.py. AlphaFormer mines with what was
  # pre-trained: alphaformer_test.py.
  others = {'ensemble', 'synthesize', 'alphaformer', 'common', '__init__'}
  assert files == {*VARIANTS, *others}


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
  assert ('policy_loss' in metrics) == (config.method == 'alphacfg')
  assert method.found(state).formulas
  assert method.finished(state) is None
  signal = np.asarray(method.predict(state, market.valid.panel))
  members = np.asarray(market.valid.panel.mask)
  assert not np.isfinite(signal)[~members].any()
  days = market.valid.scored
  assert np.isfinite(signal)[days].sum() > 0.5 * members[days].sum()


@pytest.mark.parametrize('name', ['alphacfg', 'random'])
def test_unknown_variant(name):
  with pytest.raises(ValueError, match="unknown variant 'nikkei'"):
    load(name, 'nikkei')
  with pytest.raises(ValueError, match="unknown variant 'sp500,worst'"):
    load(name, 'sp500,worst')


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
