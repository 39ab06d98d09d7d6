"""Gumbel MuZero: against mctx, on a bandit, in self-play."""

import functools

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest
from mcts_test import linear_apply, random_params, sem_k, start

from alphajax.language import grammar as grammar_lib
from alphajax.language.formula import parse
from alphajax.networks import heads
from alphajax.search import evaluators, gumbel, mcts, mctx_search, tree_search


@pytest.mark.parametrize('engine', [tree_search, mctx_search])
def test_equals_mctx(engine):
  """The same visits, move and target as mctx from the same Gumbel noise."""
  # After a move, some roots have more valid actions than are compared, some
  # fewer.
  grammar, batch, simulations, moves, considered = sem_k(), 12, 40, 1, 8
  params = random_params(grammar)
  states = start(grammar, batch, moves)
  evaluator = evaluators.from_apply(linear_apply)
  rng_key = jax.random.key(3)
  noise_key = jax.random.split(rng_key)[1]  # As mctx draws it.
  noise = jax.random.gumbel(noise_key, (batch, grammar.num_actions))
  policy = gumbel.make(num_simulations=simulations, num_considered=considered)
  policy = policy._replace(begin=lambda key, logits, invalid: (logits, noise))

  @jax.jit
  def ours(params, states):
    trees, noise = mcts.search(
      params,
      rng_key,
      states,
      evaluator.init(params, states),
      evaluator=evaluator,
      grammar=grammar,
      num_simulations=simulations,
      policy=policy,
      engine=engine,
    )
    roots = engine.roots(trees)
    return roots[1], policy.conclude(rng_key, noise, *roots, temperature=1.0)

  @jax.jit
  def theirs(params, states):
    logits, value = linear_apply(params, states.tokens)
    return mctx.gumbel_muzero_policy(
      params,
      rng_key,
      mctx.RootFnOutput(
        prior_logits=heads.mask_logits(logits, states.invalid_actions),
        value=value,
        embedding=(states, ()),
      ),
      recurrent_fn=lambda params, *rest: mcts.recurrent_fn(
        (grammar, evaluator.step, params), *rest
      ),
      num_simulations=simulations,
      invalid_actions=states.invalid_actions,
      max_depth=simulations,
      max_num_considered_actions=considered,
    )

  visits, (actions, weights) = ours(params, states)
  expected = theirs(params, states)
  live = ~np.asarray(states.terminated)
  valid = np.sum(~np.asarray(states.invalid_actions)[live], axis=1)
  assert valid.min() < considered < valid.max()
  found = np.asarray(visits)
  np.testing.assert_array_equal(
    found[live], expected.search_tree.children_visits[live, 0]
  )
  np.testing.assert_array_equal(actions[live], expected.action[live])
  np.testing.assert_allclose(
    weights[live], expected.action_weights[live], atol=1e-5
  )
  assert (found[live] > 0).sum(axis=1).max() <= considered
  assert not np.asarray(weights)[np.asarray(states.invalid_actions)].any()


def test_finds_the_best_arm():
  """The value is 0.05 for one product of features, deep in the language."""
  grammar = grammar_lib.make(
    max_length=2, constants=[], operators=['Add', 'Mul', 'Abs', 'Mean']
  )
  best = jnp.asarray(grammar_lib.tokens_of(grammar, parse('high*volume')))

  def apply_fn(params, tokens):
    del params
    value = 0.05 * jnp.mean(tokens[:, :3] == best, axis=1)
    return jnp.zeros((len(tokens), grammar.num_actions)), value

  play = functools.partial(
    mcts.self_play,
    evaluator=evaluators.from_apply(apply_fn),
    grammar=grammar,
    num_games=8,
    num_simulations=100,
    policy='gumbel',
    num_considered=16,
  )
  played = jax.jit(play)({}, jax.random.key(0))
  texts = [
    str(f) for f in grammar_lib.formulas_of(grammar, played.final_tokens)
  ]
  assert texts.count('high*volume') >= 5
  weights = np.asarray(played.action_weights)[np.asarray(played.active)]
  np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_refusals():
  make = functools.partial(mcts.make_policy, num_simulations=8)
  with pytest.raises(ValueError, match="search.policy is 'ucb'"):
    make('ucb')
  with pytest.raises(ValueError, match='dirichlet_fraction must be 0'):
    make('gumbel', dirichlet_fraction=0.25)
  with pytest.raises(ValueError, match="reuse_subtree needs .* 'puct'"):
    make('gumbel', reuse_subtree=True)
  with pytest.raises(ValueError, match="search.q_transform is 'rank'"):
    make('puct', q_transform='rank')


def test_halving_by_hand():
  """Four actions twice each, then the better two four times more."""
  assert gumbel.halving(4, 16) == [0] * 4 + [1] * 4 + [2, 2, 3, 3, 4, 4, 5, 5]
  assert gumbel.halving(1, 3) == gumbel.halving(0, 3) == [0, 1, 2]
  # Too few simulations for every round: what there is, no more.
  assert gumbel.halving(8, 5) == [0] * 5
  for considered in range(2, 17):
    schedule = gumbel.halving(considered, 64)
    assert len(schedule) == 64 and schedule == sorted(schedule)
    assert schedule.count(0) == considered
