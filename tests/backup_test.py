"""What an edge is worth, the mean or the best found: against a slow search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.language import grammar as grammar_lib
from alphajax.search import evaluators, mcts, reuse, transpositions, tree_search

# Few leaves, where a walk ends, and many ways to go on.
GRAMMAR = grammar_lib.make(
  max_length=6,
  constants=[],
  features=('close', 'open'),
  windows=(5, 10),
  operators=('Abs', 'Sub', 'Mean', 'CSRank'),
)
SIMULATIONS, GAMES, ROWS = 60, 3, 4093
PUCT = {'c_puct': 4.0, 'base_branches': 10}
GUMBEL = {'policy': 'gumbel', 'backup': 'max'}
PLACE = np.random.default_rng(1).integers(1, 10**6, GRAMMAR.max_tokens)
VALUES = np.random.default_rng(2).normal(0, 0.3, (GAMES, ROWS)).astype('f')
LOGITS = np.random.default_rng(3).normal(
  0, 1, (ROWS, GRAMMAR.num_actions)
).astype('f')  # fmt: skip


def apply_fn(params, tokens):
  """Fixed values and logits, each game with values of its own."""
  values, logits = params
  row = tokens @ jnp.asarray(PLACE, jnp.int32) % ROWS
  return logits[row], values[jnp.arange(tokens.shape[0]), row]


@functools.cache
def searched(**options):
  """A program: trees of a search, and of a second one below its best move."""
  evaluator = transpositions.with_table(
    evaluators.from_apply(apply_fn), GRAMMAR
  )
  policy, _ = mcts.make_searcher(num_simulations=SIMULATIONS, **options)
  run = functools.partial(
    mcts.search, evaluator=evaluator, grammar=GRAMMAR,
    num_simulations=SIMULATIONS, policy=policy,
  )  # fmt: skip

  @jax.jit
  def search(params, states, table):
    params = evaluator.prepare((params, table))
    evaluation = evaluator.init(params, states)
    room = reuse.nothing(
      (states, ()), SIMULATIONS, GRAMMAR.num_actions, policy.backup
    )
    first, _ = run(params, jax.random.key(0), states, evaluation)
    if policy.root_score_fn is not None:
      return first, first
    actions = jnp.argmax(first.visits[:, 0], axis=1)
    kept = reuse.keep(first, actions, SIMULATIONS, GRAMMAR.max_steps)
    assert jax.tree.structure(kept) == jax.tree.structure(room)
    after = jax.vmap(grammar_lib.step, (None, 0, 0))(GRAMMAR, states, actions)
    evaluation = evaluator.init(params, after)
    second, _ = run(params, jax.random.key(1), after, evaluation, kept=kept)
    return first, second

  return search


NOTHING_KNOWN = transpositions.empty(2)


def starts():
  state = grammar_lib.init(GRAMMAR)
  return jax.tree.map(lambda x: jnp.stack([x] * GAMES), state)


step = jax.jit(grammar_lib.step)


class Node:
  """A formula, and all that was ever found through each of its edges."""

  def __init__(self, state, values):
    tokens, self.state = np.asarray(state.tokens), state
    row = int(tokens.astype(np.int32) @ PLACE.astype(np.int32)) % ROWS
    self.raw = float(values[row])
    self.valid = np.flatnonzero(~np.asarray(state.invalid_actions))
    logits = np.float64(LOGITS[row][self.valid])
    self.prior = np.exp(logits) / np.exp(logits).sum()
    self.ended = bool(state.terminated)
    self.children, self.found = {}, {a: [] for a in self.valid.tolist()}


def worth(returns, backup):
  return np.max(returns) if backup == 'max' else np.mean(returns)


def best_action(node, backup, q_transform):
  """Eq. 8 as it is written."""
  visits = np.array([len(node.found[a]) for a in node.valid.tolist()])
  q = np.array(
    [worth(r, backup) if r else 0.0 for r in node.found.values()]
  )  # fmt: skip
  if q_transform == 'minmax':
    reference = node.raw
    if backup == 'mean':
      reference = np.mean([node.raw, *sum(node.found.values(), [])])
    q = np.where(visits > 0, q, reference)
    low, high = min(*q, reference), max(*q, reference)
    q = (q - low) / max(high - low, 1e-8)
  c = PUCT['c_puct'] * np.sqrt(len(node.valid) / PUCT['base_branches'])
  bonus = c * node.prior * np.sqrt(max(visits.sum(), 1)) / (1 + visits)
  return int(node.valid[np.argmax(q + bonus)])


def simulate(root, values, **options):
  """One walk, one new node, and what it says told to the edges above."""
  node, path = root, []
  while not node.ended:
    action = best_action(node, **options)
    path.append((node, action))
    is_new = action not in node.children
    if is_new:
      after = step(GRAMMAR, node.state, jnp.int32(action))
      node.children[action] = Node(after, values)
    node = node.children[action]
    if is_new:
      break
  for above, action in path:
    above.found[action].append(node.raw)


def assert_same(node, tree, game, index, backup):
  """The tree below a node, edge for edge. Returns how many nodes it has."""
  children = tree.children[game, index]
  assert sorted(node.children) == np.flatnonzero(children >= 0).tolist()
  number = 1
  for action, child in node.children.items():
    returns = node.found[action]
    assert tree.visits[game, index, action] == len(returns)
    q = tree.returns[game, index, action]
    q = q if backup == 'max' else q / len(returns)
    np.testing.assert_allclose(q, worth(returns, backup), rtol=1e-4, atol=1e-6)
    number += assert_same(child, tree, game, children[action], backup)
  return number


@pytest.mark.parametrize(
  ('backup', 'q_transform'),
  [('mean', 'none'), ('max', 'none'), ('max', 'minmax')],
)
def test_the_tree_of_a_slow_search(backup, q_transform):
  """Node for node, and again after a move that keeps its subtree."""
  options = {'backup': backup, 'q_transform': q_transform}
  search = searched(**PUCT, **options)
  trees = search((VALUES, LOGITS), starts(), NOTHING_KNOWN)
  first, second = jax.device_get(trees)
  continued = 0
  for game, values in enumerate(VALUES):
    root = Node(grammar_lib.init(GRAMMAR), values)
    for _ in range(SIMULATIONS):
      simulate(root, values, **options)
    assert assert_same(root, first, game, 0, backup) > SIMULATIONS / 3
    below = root.children[
      max(root.found, key=lambda a, r=root: len(r.found[a]))
    ]
    if below.ended:
      continue
    continued += 1
    for _ in range(SIMULATIONS):
      simulate(below, values, **options)
    assert assert_same(below, second, game, 0, backup) > SIMULATIONS / 3
  assert continued


def best_below(tree, game):
  """What each node is worth: the best of its own word and its children's."""
  worth = np.array(tree.raw_value[game])
  for node in reversed(range(len(worth))):  # Children come after parents.
    children = tree.children[game, node]
    worth[node] = max(worth[node], *worth[children[children >= 0]], -np.inf)
  return worth


@pytest.mark.parametrize(
  'options', [{**PUCT, 'backup': 'max', 'q_transform': 'none'}, GUMBEL]
)
def test_an_edge_is_worth_the_best_below_it(options):
  # All values are below 0, which an edge never taken is worth.
  params = VALUES - 2, LOGITS
  trees = searched(**options)(params, starts(), NOTHING_KNOWN)
  tree = jax.device_get(trees)[0]
  qvalues, node_value = jax.device_get(tree_search.roots(tree))[2:4]
  for game in range(GAMES):
    worth = best_below(tree, game)
    node, action = np.nonzero(tree.children[game] >= 0)
    np.testing.assert_array_equal(
      tree.returns[game, node, action],
      worth[tree.children[game, node, action]],
    )
    np.testing.assert_array_equal(qvalues[game], tree.returns[game, 0])
    assert node_value[game] == worth[0] < 0
    assert worth[0] > tree.raw_value[game, 0]


def test_the_way_to_a_known_formula_is_worth_its_reward():
  search = searched(**PUCT, backup='max', q_transform='none')
  tree = search((VALUES, LOGITS), starts(), NOTHING_KNOWN)[0]
  states, _ = tree.embedding
  # A formula of more than one symbol that the first game comes to anyway.
  found = np.asarray(states.terminated[0] & (states.tokens[0, :, 1] > 0))
  tokens = states.tokens[0, np.flatnonzero(found)[0]]
  table = transpositions.add(
    NOTHING_KNOWN,
    transpositions.formula_hash(GRAMMAR, tokens)[None],
    jnp.asarray([3.0]),
  )
  tree = search((VALUES, LOGITS), starts(), table)[0]
  qvalues = np.asarray(tree_search.roots(tree)[2])
  assert (qvalues[0] == 3.0).sum() == 1
  assert np.delete(qvalues[0], qvalues[0].argmax()).max() < 2


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'backup': 'min'}, "config.search.backup is 'min': expected one of"),
    (
      {'backup': 'max', 'engine': 'mctx'},
      "config.search.backup = 'max' needs config.search.engine = 'tree'",
    ),
    (
      {'backup': 'max', 'engine': 'mctx', 'policy': 'gumbel'},
      "config.search.backup = 'max' needs config.search.engine = 'tree'",
    ),
  ],
)
def test_refused(options, said):
  with pytest.raises(ValueError, match=said):
    mcts.make_searcher(num_simulations=4, **options)
