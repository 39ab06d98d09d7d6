"""What is paid: objectives of factors and pools, value targets."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.factor import evaluate, metrics, objectives
from alphajax.factor import pool as pool_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import tree
from alphajax.language.formula import parse
from alphajax.methods import alphacfg, archive, rewards, validation
from alphajax.run.clock import Clock

TEXTS = (
  'Corr(close,volume,10)', 'open/high+low', '-Delta(close,5)/close',
  'Std(close,10)/close', 'CSRank(volume)', 'Abs(close)/close',
)  # fmt: skip


@pytest.fixture(scope='module')
def market():
  return markets.load_market(tiny.get_config())[0]


def config_of(**value):
  config = tiny.get_config()
  config.value.update(value)
  return config


def score(name, daily, beta=1.0):
  """The slow way, in float64, of one sign."""
  mean, std = np.mean(daily), np.std(daily)
  share = np.mean(daily != 0)
  return {
    'ic': mean,
    'icir': mean / std if std else 0.0,
    'lcb': mean - beta * (std / share if share else 1.0),
  }[name.removeprefix('rank_').replace('rank', 'ic')]


NAMES = ('ic', 'icir', 'lcb', 'rank_ic', 'rank_icir', 'rank_lcb')


@pytest.mark.parametrize('name', NAMES)
def test_worth_of_a_factor(market, name):
  config = config_of(objective=name, beta=0.5, reward='factor')
  bench = archive.make_bench(config, market)
  formulas = [parse(text) for text in TEXTS]
  _, outcomes = archive.commit(bench, archive.start(bench), formulas, Clock())
  split = market.train
  series = metrics.daily_rank_ic if 'rank' in name else metrics.daily_ic
  daily = series(
    evaluate.values(formulas, split.panel),
    jnp.asarray(split.target),
    split.panel.mask,
  )
  daily = np.asarray(daily, np.float64)[:, split.scored]
  for text, series, outcome in zip(TEXTS, daily, outcomes, strict=True):
    worth = rewards.reward_of('factor')(outcome, bench.objective)
    if text == 'Abs(close)/close':  # A constant has no value.
      assert (outcome.own_ic, outcome.ic) == (0.0, 0.0)
      continue
    signs = [score(name, sign * series, 0.5) for sign in (1.0, -1.0)]
    assert worth == pytest.approx(max(signs), abs=2e-5)
    if name == 'ic':
      assert outcome.own_ic == pytest.approx(signs[0], abs=1e-5)


@pytest.mark.parametrize('name', ['ic', 'icir', 'lcb'])
def test_worth_of_a_pool(market, name):
  bench = archive.make_bench(config_of(objective=name, beta=0.5), market)
  formulas = [parse(text) for text in TEXTS[:5]]
  mined, outcomes = archive.commit(
    bench, archive.start(bench), formulas, Clock()
  )
  daily = np.asarray(pool_lib.daily_ic(mined.pool), np.float64)
  expected = score(name, daily[np.asarray(bench.scored)], 0.5)
  assert outcomes[-1].ic == pytest.approx(expected, abs=2e-5)
  # A formula that comes again meets the same.
  again, (twin,) = archive.commit(bench, mined, formulas[:1], Clock())
  assert twin.ic == pytest.approx(expected, abs=2e-5)
  assert twin.own_ic == outcomes[0].own_ic
  # What is reported stays the IC.
  _, counts = validation.validate(bench, again, Clock())
  mean = daily[np.asarray(bench.scored)].mean()
  assert counts['train_ic'] == pytest.approx(mean, abs=1e-5)


def test_a_pool_improves_by_the_objective(market):
  config = config_of(objective='icir')
  config.pool.accept = 'improve'
  bench = archive.make_bench(config, market)
  mined, seen = archive.start(bench), []
  for text in TEXTS:
    mined, (outcome,) = archive.commit(bench, mined, [parse(text)], Clock())
    if outcome.own_ic:
      seen.append(outcome.ic)
  assert seen == sorted(seen) and seen[-1] > 0


def test_refusals(market):
  with pytest.raises(ValueError, match="objective is 'sharpe': expected one"):
    rewards.objective_of(config_of(objective='sharpe'))
  with pytest.raises(ValueError, match='RankIC of a pool needs the ranks'):
    experiment.make_method(config_of(objective='rank_ic'), market)
  with pytest.raises(ValueError, match='objective: beta is -1'):
    rewards.objective_of(config_of(objective='lcb', beta=-1.0))


def only_new(outcome, objective):
  """A reward of one's own."""
  return float(outcome.is_new)


def test_a_reward_of_ones_own():
  new = archive.Outcome(0.05, -0.03, 0.0, True, ())
  assert rewards.reward_of(f'{__name__}.only_new')(new, None) == 1.0
  with pytest.raises(ValueError, match="value.reward is 'gold': expected one"):
    rewards.reward_of('gold')


def test_likeness_never_pays():
  assert rewards.value_target(0.08, 0.25) == pytest.approx(0.06)
  assert rewards.value_target(-0.08, 0.25) == pytest.approx(-0.1)
  assert rewards.value_target(-0.08, 0.0) == -0.08


def games_of(grammar, texts):
  """Games as self-play returns them, by the derivations of formulas."""
  rows, finals = [], []
  for text in texts:
    state, tokens = grammar_lib.init(grammar), []
    for action in grammar_lib.derivation(grammar, parse(text)):
      tokens.append(np.asarray(state.tokens))
      state = jax.jit(grammar_lib.step)(grammar, state, action)
    rows.append(tokens)
    finals.append(np.asarray(state.tokens))
  moves = grammar.max_steps
  tokens = np.zeros((moves, len(texts), grammar.max_tokens), np.int32)
  active = np.zeros((moves, len(texts)), bool)
  for game, states in enumerate(rows):
    tokens[: len(states), game] = states
    active[: len(states), game] = True
  return types.SimpleNamespace(
    tokens=tokens, active=active, final_tokens=np.stack(finals)
  )


@pytest.mark.parametrize('reward', ['pool', 'gain', 'factor', 'unexplained'])
@pytest.mark.parametrize('similarity', ['formula', 'state', 'none'])
def test_value_targets(similarity, reward):
  """Eq. 5 of the finished formula, of each state, and without likeness."""
  grammar = grammar_lib.make(max_length=6)
  texts = ('Mean(high+low,20)', 'close/open')
  games = games_of(grammar, texts)
  pool = (parse('Std(low+high,20)'), parse('Abs(close)'))
  outcomes = [
    archive.Outcome(0.05, -0.03, -0.01, True, pool, gain=0.002),
    archive.Outcome(0.06, 0.02, 0.02, True, (), gain=0.01),
  ]
  targets, final = alphacfg.value_targets(
    grammar, games, outcomes, similarity=similarity, reward=reward,
    objective=objectives.make('ic'), scale=1.0, duplicates='same',
  )  # fmt: skip
  worth = {
    'pool': (0.05, 0.06),
    'gain': (0.002, 0.01),
    'factor': (0.03, 0.02),
    'unexplained': (0.01, 0.02),
  }[reward]
  # high+low is shared: 3 nodes of 5.
  likeness = 0.0 if similarity == 'none' else 3 / 5
  assert final[0] == pytest.approx((1 - likeness) * worth[0])
  assert final[1] == pytest.approx(worth[1])
  assert not targets[~games.active].any()
  for game in range(2):
    for move in np.flatnonzero(games.active[:, game]):
      expected = final[game]
      if similarity == 'state':
        state = grammar_lib.formula_of(grammar, games.tokens[move, game])
        likeness = tree.max_similarity(state, outcomes[game].pool_before)
        expected = (1 - likeness) * worth[game]
      assert targets[move, game] == pytest.approx(expected)
  if similarity == 'state':
    # The start symbol shares nothing; `high` in `Mean(high+Expr,Num)` does.
    assert targets[0, 0] == pytest.approx(worth[0])
    assert len(set(targets[games.active[:, 0], 0].tolist())) > 2


def test_value_targets_are_scaled_and_duplicates_are_worth_nothing():
  grammar = grammar_lib.make(max_length=6)
  games = games_of(grammar, ('Mean(high+low,20)', 'close/open'))
  outcomes = [
    archive.Outcome(0.05, -0.03, 0.0, False, ()),
    archive.Outcome(0.06, 0.02, 0.02, True, ()),
  ]
  targets_of = functools.partial(
    alphacfg.value_targets, grammar, games, outcomes, similarity='none',
    reward='pool', objective=objectives.make('ic'), scale=10.0,
  )  # fmt: skip
  targets, final = targets_of(duplicates='same')
  np.testing.assert_allclose(final, [0.5, 0.6], rtol=1e-6)
  np.testing.assert_allclose(targets[0], final)
  targets, final = targets_of(duplicates='nothing')
  # Both are known from now on.
  np.testing.assert_array_equal(final, 0.0)
  np.testing.assert_allclose(targets[0], [0.0, 0.6], rtol=1e-6)


def worth_given(outcome, objective):
  del objective
  return outcome


@pytest.mark.parametrize('given', [None, np.nan, np.zeros(2), 'much'])
def test_a_reward_that_is_no_finite_number_is_named(given):
  reward = rewards.reward_of(f'{__name__}.worth_given')
  with pytest.raises(ValueError, match="worth_given': it gave .*finite number"):
    reward(given, None)
