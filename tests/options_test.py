"""Encoders and options of the search train a step, resume, and refuse."""

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets

# Options that do not meet share a run: each has programs of its own to compile.
OPTIONS = {
  'lstm_openings': {'network.encoder': 'lstm', 'search.openings': 1.0},
  'cnn_gumbel': {
    'network.encoder': 'cnn',
    'search.policy': 'gumbel',
    'value.objective': 'icir',
  },
  'transformer_mctx': {
    'network.encoder': 'transformer',
    'search.engine': 'mctx',
    'search.openings': 1.0,
  },
  'mctx_gumbel': {'search.engine': 'mctx', 'search.policy': 'gumbel'},
  'known': {
    'search.known_rewards': True,
    'search.reuse_subtree': True,
    'search.backup': 'max',
    'search.branch_adapted': False,
    'search.dirichlet_fraction': 0.25,
    'search.temperature.end': 0.1,
    'search.temperature.iterations': 2,
    'value.similarity': 'state',
    'value.objective': 'rank_ic',
    'value.reward': 'factor',
  },
}


@pytest.fixture(autouse=True)
def strict():
  """No array gains an axis unasked, as some have JAX refuse it."""
  with jax.numpy_rank_promotion('raise'):
    yield


@pytest.fixture(scope='module')
def market():
  return markets.load_market(tiny.get_config())[0]


def make(market, **changes):
  config = tiny.get_config()
  config.update_from_flattened_dict(changes)
  return experiment.make_method(config, market)


def bits(tree):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize('name', OPTIONS)
def test_trains_and_resumes(market, name):
  method = make(market, **OPTIONS[name])
  first = method.init(jax.random.key(0))
  state, metrics = method.step(first, jax.random.key(1))
  for key in ('policy_loss', 'value_loss', 'train_ic', 'valid_ic'):
    assert np.isfinite(metrics[key])
  before, after = bits(first.learner.params), bits(state.learner.params)
  assert sum(x != y for x, y in zip(before, after, strict=True)) > 4
  if name == 'known':
    rewards = np.asarray(state.learner.table.rewards)
    in_use = np.asarray(state.learner.table.hashes[:, 0]) != 0xFFFFFFFF
    assert in_use.sum() == metrics['evaluated'] and rewards[in_use].any()
  again = method.load(*method.save(state))
  ends = [method.step(s, jax.random.key(2))[0] for s in (state, again)]
  assert bits(ends[0].learner) == bits(ends[1].learner)


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'network.encoder': 'gru'}, "network.encoder is 'gru': expected one of"),
    (
      {'search.engine': 'mcts'},
      "search.engine is 'mcts': expected one of tree",
    ),
    (
      {'search.engine': 'mctx', 'search.reuse_subtree': True},
      "search.reuse_subtree needs config.search.engine = 'tree'",
    ),
    (
      {'search.engine': 'mctx', 'search.backup': 'max'},
      "search.backup = 'max' needs config.search.engine = 'tree'",
    ),
    ({'search.policy': 'ucb'}, "search.policy is 'ucb': expected"),
    ({'search.openings': 1.5}, 'search.openings is 1.5: expected a share'),
    ({'value.similarity': 'text'}, "value.similarity is 'text': expected"),
    (
      {'search.temperature.end': 0.5},
      'a schedule has an end other than its start and either',
    ),
    (
      {
        'search.policy': 'gumbel',
        'search.temperature.end': 0.5,
        'search.temperature.moves': 3,
      },
      "search.temperature is of policy 'puct'",
    ),
  ],
)
def test_refusals(market, changes, said):
  with pytest.raises(ValueError, match=said):
    make(market, **changes)
