"""Going on with the chosen subtree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from mcts_test import linear_apply, random_params, sem_k, start

from alphajax.language import grammar as grammar_lib
from alphajax.networks import heads
from alphajax.search import evaluators, mcts, puct, reuse, tree_search

SIMULATIONS, BATCH = 32, 8


@functools.cache
def searched():
  """A search, the moves that its visits favour, and what they keep."""
  grammar = sem_k()
  params = random_params(grammar)
  states = start(grammar, BATCH)
  tree = search(params, states)
  actions = jnp.argmax(tree.visits[:, 0], axis=1)
  kept = reuse.keep(tree, actions, SIMULATIONS, grammar.max_steps)
  return params, states, tree, actions, kept


def search(params, states, kept=None, fraction=0.0):
  evaluator = evaluators.from_apply(linear_apply)
  run = functools.partial(
    mcts.search,
    evaluator=evaluator,
    grammar=sem_k(),
    num_simulations=SIMULATIONS,
    policy=puct.make(c_puct=2.0, dirichlet_fraction=fraction),
  )
  evaluation = evaluator.init(params, states)
  return jax.jit(run)(params, jax.random.key(0), states, evaluation, kept=kept)[
    0
  ]


def test_a_new_index_for_every_node_below_the_move():
  _, _, tree, actions, kept = searched()
  children, kept_children = np.asarray(tree.children), np.asarray(kept.children)
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
    rest = np.asarray(kept.visits[game, seen:])
    assert not rest.any()


def test_a_search_goes_on_with_its_visits():
  grammar = sem_k()
  params, states, tree, actions, kept = searched()
  after = jax.vmap(grammar_lib.step, (None, 0, 0))(grammar, states, actions)
  again = search(params, after, kept)
  before = np.asarray(kept.visits[:, 0])
  gained = np.asarray(again.visits[:, 0]) - before
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
  run = functools.partial(
    mcts.search,
    evaluator=(evaluator := evaluators.from_apply(linear_apply)),
    grammar=sem_k(),
    policy=puct.make(c_puct=2.0),
  )
  inputs = (params, jax.random.key(0), states, evaluator.init(params, states))
  room = reuse.nothing((states, ()), nodes, sem_k().num_actions)
  kept = jax.tree.map(lambda x, y: x.at[:, :nodes].set(y), room, tree)
  second = functools.partial(run, num_simulations=nodes)
  rest, _ = jax.jit(second)(*inputs, kept=kept)
  whole = functools.partial(run, num_simulations=SIMULATIONS + nodes)
  expected, _ = jax.jit(whole)(*inputs)
  np.testing.assert_array_equal(rest.visits[:, 0], expected.visits[:, 0])
  np.testing.assert_allclose(
    rest.returns[:, 0], expected.returns[:, 0], atol=1e-5
  )


def test_an_action_never_taken_keeps_nothing():
  _, _, tree, _, _ = searched()
  never = jnp.argmin(
    jnp.where(tree.prior[:, 0] > 0, tree.visits[:, 0], 99), axis=1
  )
  assert not np.asarray(tree.visits)[np.arange(BATCH), 0, never].any()
  kept = reuse.keep(tree, never, SIMULATIONS, sem_k().max_steps)
  assert not kept.visits.any()
  assert (np.asarray(kept.children) == tree_search.NO_NODE).all()


def test_the_reused_root_gets_noise():
  grammar = sem_k()
  params, states, tree, actions, kept = searched()
  after = jax.vmap(grammar_lib.step, (None, 0, 0))(grammar, states, actions)
  noisy = search(params, after, kept, fraction=0.25)
  logits, _ = linear_apply(params, after.tokens)
  plain = jax.nn.softmax(heads.mask_logits(logits, after.invalid_actions))
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
  for game, formula in enumerate(
    grammar_lib.formulas_of(grammar, games.final_tokens)
  ):
    moves = grammar_lib.derivation(grammar, formula)
    assert len(moves) == games.active[:, game].sum()
    for move, action in enumerate(moves):
      assert games.action_weights[move, game, action] > 0
