"""GFlowNet as a method: rewards, novelty, resume, what is logged."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, gflownet, likeness, stopping
from alphajax.run.clock import Clock

BUDGET = 13


def config_of(**changes):
  config = tiny.get_config('gflownet')
  config.network.encoder = 'flat.make'
  config.gflownet.update(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def method(market):
  config = config_of()
  config.max_evaluated = BUDGET
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
  weights = [record['novelty_weight'] for record in records]
  # By what is evaluated: the budget has room for 7 before the last batch of 6.
  done = [0, *(record['evaluated'] for record in records)]
  left = [max(min(1 - n / 7, 1 - i / 3), 0) for i, n in enumerate(done[:3])]
  np.testing.assert_allclose(weights, 0.3 * np.array(left))
  assert left[-1] == 0
  assert records[0]['novelty'] == 1.0  # Nothing in the pool yet.
  assert 0 < records[1]['novelty'] < 1
  assert all(record['balance_loss'] >= 0 for record in records)
  assert records[0]['log_z'] != records[2]['log_z'] != 0.0
  assert {'value_rank', 'mean_own_ic', 'dead', 'duplicates'} <= set(records[2])
  language = environment.make(**config_of().language)
  assert language.writes_prefix_trees is False  # RPN.
  for key in state.mined.book:
    environment.derivation(language, formula_lib.parse(key))


def test_log_rewards():
  own, bonus = np.array([0.05, 0.0, 0.02]), np.array([0.1, 0.3, 0.0])
  options = config_of(beta=2.0).gflownet
  np.testing.assert_allclose(
    gflownet.log_reward(options, own, bonus),
    2 * np.log([0.15, 1e-6, 0.02]),
    rtol=1e-6,
  )
  options.transform = 'exp'
  np.testing.assert_allclose(
    gflownet.log_reward(options, own, bonus), [0.3, 0.0, 0.04], rtol=1e-6
  )


def test_likeness_to_the_pool_against_a_slow_loop(market):
  config = config_of()
  bench = archive.make_bench(config, market)
  language = environment.make(**config.language)
  formulas = environment.random_formulas(language, jax.random.key(3), 6)
  mined = archive.start(bench)
  assert not likeness.to_pool(bench, mined, formulas).any()
  mined, _ = archive.commit(bench, mined, formulas, Clock())
  members, _ = archive.members(bench, mined)
  mask, scored = market.train.panel.mask, market.train.scored
  labelled = mask & np.isfinite(market.train.target)

  def prepared(formula):
    [values] = bench.train.take([formula])
    factor = np.zeros(mask.shape)
    for day in range(len(mask)):
      x = np.where(mask[day], values[day], np.nan)
      seen = np.isfinite(x)
      if 2 * (seen & labelled[day]).sum() < labelled[day].sum():
        continue
      if not labelled[day].any() or np.std(x[seen]) == 0:
        continue
      z = np.where(seen, (x - x[seen].mean()) / x[seen].std(), 0.0)
      factor[day, labelled[day]] = z[labelled[day]] - z[labelled[day]].mean()
    return factor

  found = likeness.to_pool(bench, mined, formulas)
  others = [prepared(member) for member in members]
  for formula, each in zip(formulas, found, strict=True):
    products = [(prepared(formula) * other).sum(1) for other in others]
    daily = [p / labelled.sum(1).clip(1) for p in products]
    expected = min(max(abs(d[scored].mean()) for d in daily), 1.0)
    np.testing.assert_allclose(each, expected, atol=1e-4)
  keys = [formula_lib.key(formula) for formula in formulas]
  for member in members:  # Each is like itself.
    assert found[keys.index(formula_lib.key(member))] > 0.98


def test_it_evaluates_no_more_than_it_may(method, trained):
  state, records = trained
  assert records[1]['evaluated'] < records[2]['evaluated'] == BUDGET
  assert f'{BUDGET} formulas evaluated' in method.finished(state)
  # Games beyond the budget have no reward, and nothing is learned of them.
  assert records[2]['proposed'] < 18
  assert int(state.learner.replay.size) == records[2]['proposed']


def test_formulas_within_a_budget():
  config = config_of()
  texts = ['Abs(close)', 'close', 'Abs(close)', 'open', 'close', 'high']
  formulas = [formula_lib.parse(text) for text in texts]
  book = {formula_lib.key(formulas[1]): 0.1}
  assert stopping.within_budget(config, book, formulas) == formulas
  for most, kept in ((1, 0), (2, 3), (3, 5), (4, 6)):
    config.max_evaluated = most
    assert len(stopping.within_budget(config, book, formulas)) == kept


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'transform': 'log'}, "config.gflownet.transform is 'log'"),
    ({'beta': 0.0}, 'config.gflownet.beta is 0.0'),
    ({'novelty': -0.1}, 'config.gflownet.novelty is -0.1'),
    ({'entropy': -1.0}, 'config.gflownet.entropy is -1.0'),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)
