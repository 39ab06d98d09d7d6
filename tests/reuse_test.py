"""Going on with the chosen subtree."""

import functools

import jax
import numpy as np
from mcts_test import batched_step, linear_apply, random_params, sem_k, start

from alphajax.language import grammar as grammar_lib
from alphajax.networks import heads
from alphajax.search import evaluators, mcts, puct, reuse, tree_search

SIMULATIONS, BATCH = 32, 8
keep = jax.jit(reuse.keep, static_argnums=(2, 3))


@functools.cache
def searched():
  """A search, the moves that its visits favour, and what they keep.

  On the host, where the tests walk through them.
  """
  grammar = sem_k()
  params = random_params(grammar)
  states = start(grammar, BATCH)
  tree = search(params, states)
  actions = tree.visits[:, 0].argmax(axis=1).astype(np.int32)
  kept = keep(tree, actions, SIMULATIONS, grammar.max_steps)
  return params, *jax.device_get((states, tree, actions, kept))


def search(params, states, kept=None, fraction=0.0):
  evaluator = evaluators.from_apply(linear_apply)

  @jax.jit
  def run(params, states, kept):
    return mcts.search(
      params,
      jax.random.key(0),
      states,
      evaluator.init(params, states),
      evaluator=evaluator,
      grammar=sem_k(),
      num_simulations=SIMULATIONS,
      policy=puct.make(c_puct=2.0, dirichlet_fraction=fraction),
      kept=kept,
    )[0]

  return jax.device_get(run(params, states, kept))


def test_a_new_index_for_every_node_below_the_move():
  _, _, tree, actions, kept = searched()
  children, kept_children = tree.children, kept.children
  for game in range(BATCH):
    # The slow way: walk both trees from their roots.
    pairs = [(int(children[game, 0, actions[game]]), 0)]
    seen = 0
    while pairs:
      old, new = pairs.pop()
      seen += 1
      for name in ('prior', 'visits', 'returns', 'raw_value', 'reward'):
        np.testing.assert_array_equal(
          getattr(kept, name)[game, new], getattr(tree, name)[game, old]
        )
      np.testing.assert_array_equal(
        kept.embedding[0].tokens[game, new], tree.embedding[0].tokens[game, old]
      )
      is_edge = children[game, old] != tree_search.NO_NODE
      there = kept_children[game, new] != tree_search.NO_NODE
      np.testing.assert_array_equal(is_edge, there)
      pairs += zip(
        children[game, old][is_edge], kept_children[game, new][there],
        strict=True,
      )  # fmt: skip
    assert seen > 1
    # Nothing else is in the tree.
    assert not kept.visits[game, seen:].any()


def test_a_search_goes_on_with_its_visits():
  grammar = sem_k()
  params, states, tree, actions, kept = searched()
  after = batched_step(grammar, states, actions)
  again = search(params, after, kept)
  before = kept.visits[:, 0]
  gained = again.visits[:, 0] - before
  assert (gained >= 0).all()
  np.testing.assert_array_equal(gained.sum(axis=1), SIMULATIONS)
  assert before.sum() > 0
  # Old nodes keep their places, new ones come behind them.
  np.testing.assert_array_equal(
    np.where(kept.children >= 0, again.children, -1)[:, :SIMULATIONS],
    kept.children[:, :SIMULATIONS],
  )
  # A finished formula, found again as root, has nothing before it.
  np.testing.assert_array_equal(again.reward[:, 0], np.zeros(BATCH))


def test_a_search_in_two_parts_is_a_search():
  """With every node of the first part kept, the second goes on as one."""
  params, states, tree, *_ = searched()
  nodes = SIMULATIONS + 1
  evaluator = evaluators.from_apply(linear_apply)
  run = functools.partial(
    mcts.search,
    params,
    jax.random.key(0),
    states,
    evaluator=evaluator,
    grammar=sem_k(),
    policy=puct.make(c_puct=2.0),
  )

  @jax.jit
  def second(tree):
    room = reuse.nothing((states, ()), nodes, sem_k().num_actions)
    kept = jax.tree.map(lambda x, y: x.at[:, :nodes].set(y), room, tree)
    return run(evaluator.init(params, states), num_simulations=nodes, kept=kept)

  @jax.jit
  def whole():
    evaluation = evaluator.init(params, states)
    return run(evaluation, num_simulations=SIMULATIONS + nodes)

  (rest, _), (expected, _) = jax.device_get((second(tree), whole()))
  np.testing.assert_array_equal(rest.visits[:, 0], expected.visits[:, 0])
  np.testing.assert_allclose(
    rest.returns[:, 0], expected.returns[:, 0], atol=1e-5
  )


def test_an_action_never_taken_keeps_nothing():
  _, _, tree, _, _ = searched()
  never = np.where(tree.prior[:, 0] > 0, tree.visits[:, 0], 99).argmin(axis=1)
  assert not tree.visits[np.arange(BATCH), 0, never].any()
  kept = keep(tree, never.astype(np.int32), SIMULATIONS, sem_k().max_steps)
  kept = jax.device_get(kept)
  assert not kept.visits.any()
  assert (kept.children == tree_search.NO_NODE).all()


def test_the_reused_root_gets_noise():
  grammar = sem_k()
  params, states, tree, actions, kept = searched()
  after = batched_step(grammar, states, actions)
  noisy = search(params, after, kept, fraction=0.25)

  @jax.jit
  def prior(params, states):
    logits, _ = linear_apply(params, states.tokens)
    return jax.nn.softmax(heads.mask_logits(logits, states.invalid_actions))

  plain = np.asarray(prior(params, after))
  live = ~np.asarray(after.terminated)
  assert np.abs(noisy.prior[:, 0] - plain)[live].max() > 0.01


def test_self_play_with_reuse():
  grammar = sem_k()
  play = functools.partial(
    mcts.self_play,
    evaluator=evaluators.from_apply(linear_apply),
    grammar=grammar,
    num_games=8,
    num_simulations=16,
    reuse_subtree=True,
  )
  games = jax.jit(play)(random_params(grammar), jax.random.key(0))
  games = jax.device_get(games)
  for game, formula in enumerate(
    grammar_lib.formulas_of(grammar, games.final_tokens)
  ):
    moves = grammar_lib.derivation(grammar, formula)
    assert len(moves) == games.active[:, game].sum()
    for move, action in enumerate(moves):
      assert games.action_weights[move, game, action] > 0
