"""AlphaQCM as a method: returns, exploration, resume, what is logged."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.configs import alphaqcm as alphaqcm_config
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import alphaqcm, archive


def config_of(**changes):
  config = tiny.get_config('alphaqcm')
  config.network.encoder = 'flat.make'
  for key, value in changes.items():
    config[key].update(value)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def method(market):
  config = config_of()
  config.max_evaluated = 16
  return experiment.make_method(config, market)


@pytest.fixture(scope='module')
def trained(method):
  return tiny.run(method, 3)


def test_a_run_that_was_saved_goes_on_with_the_same_bits(method, trained):
  whole, records = trained
  half, _ = tiny.run(method, 2)
  arrays, host = method.save(half)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, 1, state, first=2)
  assert rest == records[2:]
  assert method.found(state) == method.found(whole)
  jax.tree.map(np.testing.assert_array_equal, state.learner, whole.learner)


def test_it_says_what_it_learns(method, trained):
  state, records = trained
  steps = [record['steps'] for record in records]
  assert 6 <= steps[0] < steps[1] < steps[2]
  # The first moves are random, and nothing is learned before there are 20.
  assert records[0]['random_share'] == 1.0
  assert ('quantile_loss' in records[0]) == (steps[0] >= 20)
  expected = 1 - 0.99 * min(steps[1] / 60, 1.0)
  np.testing.assert_allclose(records[2]['random_share'], expected)
  assert records[2]['quantile_loss'] > 0 and records[2]['mean_loss'] > 0
  assert {'value_rank', 'mean_own_ic', 'dead', 'duplicates'} <= set(records[2])
  assert records[2]['evaluated'] <= 16
  assert int(state.learner.replay.size) == steps[2]
  language = environment.make(**config_of().language)
  for key in state.mined.book:
    environment.derivation(language, formula_lib.parse(key))


def test_the_share_of_random_moves():
  options = alphaqcm_config.get_config().qcm
  shares = [
    alphaqcm.random_share(options, steps)
    for steps in (0, 9_999, 10_000, 12_500, 25_000, 99_999)
  ]
  np.testing.assert_allclose(shares, [1, 1, 0.604, 0.505, 0.01, 0.01])


def test_what_formulas_return(market):
  config = config_of(value={'scale': 10.0})
  bench = archive.make_bench(config, market)
  outcomes = [
    archive.Outcome(0.04, -0.02, 0.01, True, ()),
    archive.Outcome(0.05, 0.03, 0.0, False, ()),
  ]

  def worths(**changes):
    config.value.update(changes)
    return alphaqcm.worths_of(config.value, bench, outcomes)

  np.testing.assert_allclose(worths(), [0.4, 0.0])
  np.testing.assert_allclose(worths(duplicates='same'), [0.4, 0.5])
  np.testing.assert_allclose(worths(reward='factor'), [0.2, 0.3])


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'value': {'reward': 'gold'}}, "config.value.reward is 'gold'"),
    ({'value': {'duplicates': 'yes'}}, "config.value.duplicates is 'yes'"),
    ({'qcm': {'kappa': 0.0}}, 'config.qcm.kappa is 0.0'),
    ({'qcm': {'discount': 1.5}}, 'config.qcm.discount is 1.5'),
    ({'qcm': {'num_moment_levels': 3}}, 'config.qcm.num_moment_levels is 3'),
    ({'training': {'target_interval': 0}}, 'target_interval is 0'),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)


def test_published_numbers_are_the_default():
  config = alphaqcm_config.get_config()
  assert config.training.learning_rate == 5e-5
  assert config.training.batch_size == 128
  assert config.training.replay_size == 100_000
  assert config.training.target_interval == 5_000
  assert config.qcm.num_levels == config.qcm.num_target_levels == 64
  assert config.qcm.num_moment_levels == 32
  assert config.qcm.bonus == config.qcm.discount == config.qcm.kappa == 1.0
  assert config.pool.capacity == config.language.max_length == 20
