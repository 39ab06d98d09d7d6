"""AlphaGen: what is paid, what is logged, resume, and what is refused."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.configs import alphagen as config_lib
from alphajax.factor import pool as pool_lib
from alphajax.language import formula as formula_lib
from alphajax.methods import alphagen, archive
from alphajax.run.clock import Clock

STEPS = 3


def config_of(**changes):
  config = tiny.get_config('alphagen')
  config.update_from_flattened_dict(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def trained(market):
  method = experiment.make_method(config_of(), market)
  return method, *tiny.run(method, STEPS)


def test_a_run_that_was_saved_goes_on_with_the_same_bits(market, trained):
  _, whole, records = trained
  method = experiment.make_method(config_of(), market)
  half, _ = tiny.run(method, 1)
  arrays, host = method.save(half)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, STEPS - 1, state, first=1)
  assert rest == records[1:]
  assert method.found(state) == method.found(whole)
  assert state.twins == whole.twins
  jax.tree.map(np.testing.assert_array_equal, state.learner, whole.learner)


def test_says_how_learning_goes(trained):
  _, state, records = trained
  for record in records:
    assert 0 < record['entropy'] < np.log(40)
    assert abs(record['kl']) < 1 and 0 <= record['clip_share'] <= 1
    assert record['explained_variance'] <= 1
    assert 1 <= record['length'] <= 4
    assert 0 <= record['dead'] + record['duplicates'] <= 1
    assert record['far'] == 0
    assert record['proposed'] >= record['evaluated']
  learner = state.learner
  fresh = trained[0].init(jax.random.key(0)).learner
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), *(
    x.params for x in (learner, fresh)
  ))  # fmt: skip
  assert min(jax.tree.leaves(moved['params']['policy'])) > 0
  assert min(jax.tree.leaves(moved['params']['value'])) > 0


def commit(market, config, texts, state=None):
  """Offers formulas to a pool; what they are paid, and what comes of it."""
  bench = archive.make_bench(config, market)
  mined, twins = state or (archive.start(bench), ())
  formulas = [formula_lib.parse(text, bench.features) for text in texts]
  mined, outcomes = archive.commit(bench, mined, formulas, Clock())
  worths, twins = alphagen.worths_of(config, bench, formulas, outcomes, twins)
  return worths, outcomes, (mined, twins)


def test_pays_the_pool_after_each_formula(market):
  """The IC after every single one, as the pool grows."""
  config = config_of()
  texts = ['Mean(close,5)/close', 'Std(volume,10)', 'Delta(vwap,5)', 'open/low']
  worths, outcomes, (mined, _) = commit(market, config, texts)
  np.testing.assert_allclose(
    worths, [outcome.ic for outcome in outcomes], rtol=1e-6
  )
  bench = archive.make_bench(config, market)
  assert len(set(worths.tolist())) > 1
  np.testing.assert_allclose(
    worths[-1], archive.mean_ic(mined.pool, bench.scored), rtol=1e-5
  )


def test_twins_are_turned_away_and_paid_nothing(market):
  config = config_of()
  # A scale of standardised values is none; nor is a formula that comes again.
  texts = ['Delta(close,5)/close', 'Abs(open)-high', '2*(Abs(open)-high)']
  more = [
    '2*(Abs(open)-high)',
    'Abs(open)-high',
    'Std(close,5)/close',
    'open-1',
  ]
  worths, outcomes, state = commit(market, config, texts)
  assert [outcome.is_twin for outcome in outcomes] == [False, False, True]
  assert worths[2] == 0 and worths[1] != 0
  assert len(archive.members(
    archive.make_bench(config, market), state[0]
  )[0]) == 2  # fmt: skip
  later, outcomes, (_, twins) = commit(market, config, more, state)
  assert later[0] == 0, 'it was turned away'
  assert later[1] == 0, 'it is in the pool'
  assert later[2] == np.float32(outcomes[2].ic)
  assert twins[0] == formula_lib.key(formula_lib.parse(texts[2]))
  # The paper's Algorithm 1 takes twins, and pays the pool.
  config.pool.accept = 'always'
  paid, outcomes, (_, twins) = commit(market, config, texts)
  assert outcomes[2].is_twin and paid[2] == np.float32(outcomes[2].ic) != 0
  assert not twins


def test_a_formula_without_values_is_paid_nothing(market):
  config = config_of()
  worths, outcomes, _ = commit(market, config, ['open/low', 'Log(low-high-1)'])
  assert worths[0] != 0 and worths[1] == 0
  assert outcomes[0].own_ic != 0 and outcomes[1].own_ic == 0


def test_what_looks_back_too_far_is_paid_nothing_unseen(market):
  config = config_of(lookback=4)
  config.language.features = ('close', 'volume')
  config.language.constants = (1.0,)
  config.language.operators = ('Abs', 'Mean', 'Std', 'Delta')
  state, records = tiny.run(experiment.make_method(config, market), 4)
  far = sum(record['far'] for record in records)
  again = sum(record['duplicates'] for record in records)
  # Every window of the language is longer.
  assert 0 < far < 4 and records[-1]['proposed'] == 24
  known = [formula_lib.parse(key) for key in state.mined.book]
  assert all(formula_lib.lookback(formula) <= 4 for formula in known)
  np.testing.assert_allclose(far + again + len(known) / 6, 4)


def test_published_settings():
  config = config_lib.get_config()
  assert config.language.max_length == 20 and config.language.name == 'rpn'
  assert len(config.language.operators) == 22
  assert len(config.language.constants) == 14
  assert config.ppo.learning_rate == 3e-4 and config.ppo.clip == 0.2
  assert config.ppo.discount == 1.0 and config.ppo.entropy_weight == 0.01
  assert config.lookback == 100
  assert config.network.width == 128 and config.network.num_layers == 2
  assert pool_lib.TWIN == 0.99


@pytest.mark.parametrize(
  'key, value, text',
  [
    ('value.reward', 'ic', "config.value.reward is 'ic': expected one of"),
    ('value.objective', 'rank_ic', 'the RankIC of a pool'),
    ('network.dropout', 1.0, 'config.network.dropout is 1.0: expected >= 0'),
    ('network.width', 0, 'config.network.width is 0: expected >= 1'),
    ('network.num_layers', 0, 'config.network.num_layers is 0: expected 1'),
    ('num_trajectories', 7, 'num_minibatches = 2 does not divide'),
    ('pool.accept', 'new', "accept is 'new': expected one of"),
  ],
)
def test_bad_options_are_refused(market, key, value, text):
  with pytest.raises(ValueError, match=text):
    method = experiment.make_method(config_of(**{key: value}), market)
    method.step(method.init(jax.random.key(0)), jax.random.key(1))
