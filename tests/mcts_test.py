"""The search: against mctx, against hand-made bandits, self-play."""

import functools

import chex
import jax
import jax.numpy as jnp
import mctx
import numpy as np
import parameters
import pytest

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import parse
from alphajax.methods import openings
from alphajax.networks import heads
from alphajax.search import (
  evaluators,
  evolution,
  mcts,
  mctx_search,
  puct,
  transpositions,
  tree_search,
)


@functools.cache
def sem_k(max_length=6):
  return grammar_lib.make(max_length=max_length)


@functools.partial(jax.jit, static_argnames=('seed', 'width'))
def random_params(grammar, seed=0, width=16):
  keys = jax.random.split(jax.random.key(seed), 3)
  vocab = grammar.vocab.size
  return {
    'embed': jax.random.normal(keys[0], (vocab, width)),
    'policy': jax.random.normal(keys[1], (width, grammar.num_actions)),
    'value': jax.random.normal(keys[2], (width,)) * 0.1,
  }


def linear_apply(params, tokens):
  """A network that is cheap and far from uniform; not order-blind."""
  place = jnp.cos(jnp.arange(tokens.shape[1]))[:, None]
  h = jnp.sum(params['embed'][tokens] * place, axis=1)
  return 0.3 * h @ params['policy'], h @ params['value']


step = jax.jit(grammar_lib.step)
batched_step = jax.jit(jax.vmap(grammar_lib.step, (None, 0, 0)))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def start(grammar, batch, moves=0, seed=0):
  states = jax.tree.map(
    lambda x: jnp.stack([x] * batch), grammar_lib.init(grammar)
  )
  for key in jax.random.split(jax.random.key(seed), moves):
    logits = jnp.where(states.invalid_actions, -jnp.inf, 0.0)
    actions = jax.random.categorical(key, logits)
    states = batched_step(grammar, states, actions)
  return states


@functools.cache
def searched(engine):
  """A program: trees of an engine, and what it says of their roots."""
  evaluator = evaluators.from_apply(linear_apply)
  run = functools.partial(
    mcts.search,
    evaluator=evaluator,
    grammar=sem_k(),
    num_simulations=48,
    policy=puct.make(c_puct=2.0),
    engine=engine,
  )

  @jax.jit
  def search(params, states):
    evaluation = evaluator.init(params, states)
    trees, _ = run(params, jax.random.key(0), states, evaluation)
    return trees, engine.roots(trees)

  return search


@pytest.mark.parametrize('moves', [0, 1, 2])
def test_search_equals_mctx(moves):
  """The same roots as mctx, whose loops are another implementation."""
  params, states = random_params(sem_k()), start(sem_k(), 16, moves)
  ours, theirs = (
    jax.device_get(searched(engine)(params, states))
    for engine in (tree_search, mctx_search)
  )
  assert isinstance(theirs[0], mctx.Tree)
  live = ~np.asarray(states.terminated)
  assert live.any()
  names = ('prior', 'visits', 'qvalues', 'node_value', 'invalid', 'raw_value')
  for name, one, two in zip(names, ours[1], theirs[1], strict=True):
    exact = name in ('visits', 'invalid')
    np.testing.assert_allclose(
      one[live], two[live], atol=0 if exact else 1e-5, err_msg=name
    )


def test_mctx_takes_no_forbidden_action():
  """Also below the root, where mctx masks nothing by itself."""
  params, states = random_params(sem_k()), start(sem_k(), 16, 1)
  tree, _ = searched(mctx_search)(params, states)
  live = ~np.asarray(states.terminated)
  invalid = np.asarray(tree.embeddings[0].invalid_actions)[live]
  visits = np.asarray(tree.children_visits)[live]
  assert invalid[:, 1:].any() and visits[:, 1:].any()
  assert not visits[invalid].any()


def test_mctx_cannot_go_on_with_a_tree():
  params, states = random_params(sem_k()), start(sem_k(), 2)
  evaluator = evaluators.from_apply(linear_apply)
  evaluation = jax.jit(evaluator.init)(params, states)
  with pytest.raises(ValueError, match='begins every search with the root'):
    mcts.search(
      params, jax.random.key(0), states, evaluation, evaluator=evaluator,
      grammar=sem_k(), num_simulations=4, policy=puct.make(),
      engine=mctx_search, kept=object(),
    )  # fmt: skip


@pytest.mark.parametrize('policy', ['puct', 'gumbel'])
def test_both_engines_play_the_same_games(policy):
  params = random_params(sem_k())
  ours, theirs = (
    self_play(params, policy=policy, engine=engine, num_games=16)
    for engine in ('tree', 'mctx')
  )
  # Rounding differs, so a tie may break the other way now and then.
  same = np.all(ours.final_tokens == theirs.final_tokens, axis=1)
  assert same.sum() >= 14
  np.testing.assert_array_equal(ours.active[:, same], theirs.active[:, same])
  np.testing.assert_allclose(
    ours.action_weights[:, same], theirs.action_weights[:, same], atol=0.1
  )


def test_refused_engines():
  make = functools.partial(mcts.make_searcher, num_simulations=8)
  assert make()[1] is make(engine='tree')[1] is tree_search
  assert make(engine='mctx', policy='gumbel')[1] is mctx_search
  assert make(engine='alphajax.search.mctx_search')[1] is mctx_search
  with pytest.raises(
    ValueError, match="search.engine is 'mcts': .* tree, mctx"
  ):
    make(engine='mcts')
  with pytest.raises(ValueError, match='that module has no search'):
    make(engine='os.path')
  with pytest.raises(ValueError, match="reuse_subtree needs .*engine = 'tree'"):
    make(engine='mctx', reuse_subtree=True)


def test_search_never_takes_a_forbidden_action():
  grammar = sem_k()
  states = start(grammar, 8, 1)
  tree = run(grammar, states, linear_apply, random_params(grammar), 64)
  invalid = np.asarray(tree.prior == tree_search.FORBIDDEN)
  assert invalid[:, 1:].any()
  assert not np.any(np.asarray(tree.visits)[invalid])
  assert np.all(np.asarray(tree.children)[invalid] == tree_search.NO_NODE)
  embedded = np.asarray(tree.embedding[0].invalid_actions)
  live = ~np.asarray(states.terminated)
  np.testing.assert_array_equal(invalid[live], embedded[live])


def run(grammar, states, apply_fn, params, simulations, **options):
  evaluator = evaluators.from_apply(apply_fn)

  @jax.jit
  def search(params, states):
    return mcts.search(
      params,
      jax.random.key(0),
      states,
      evaluator.init(params, states),
      evaluator=evaluator,
      grammar=grammar,
      num_simulations=simulations,
      policy=puct.make(**options),
    )[0]

  return jax.device_get(search(params, states))


def test_every_simulation_is_one_visit_and_one_new_node():
  grammar = sem_k()
  tree = run(
    grammar, start(grammar, 8), linear_apply, random_params(grammar), 64
  )
  np.testing.assert_array_equal(tree.visits[:, 0].sum(axis=1), 64)
  # 64 sequential expansions: distinct formulas, unless a finished formula is
  # visited again.
  for game in range(8):
    linked = np.unique(tree.children[game])
    linked = linked[linked != tree_search.NO_NODE]
    tokens = np.asarray(tree.embedding[0].tokens[game, linked])
    assert len(np.unique(tokens, axis=0)) == len(linked) > 32


def test_terminal_reward_is_the_value_and_nothing_follows():
  grammar = sem_k(0)  # One move: the six features.
  values = np.linspace(0.1, 0.6, 6, dtype=np.float32)
  first = int(grammar.rhs[0, 0])

  def apply_fn(params, tokens):
    is_leaf = (tokens[:, 0] >= first) & (tokens[:, 0] < first + 6)
    value = jnp.where(is_leaf, params[tokens[:, 0] - first], -7.0)
    return jnp.zeros((len(tokens), grammar.num_actions)), value

  tree = run(grammar, start(grammar, 2), apply_fn, values, 60, c_puct=8.0)
  visits = np.asarray(tree.visits[:, 0, :6])
  assert visits.min() > 0
  np.testing.assert_allclose(
    np.asarray(tree.returns[:, 0, :6]) / visits,
    np.broadcast_to(values, (2, 6)),
    rtol=1e-5,
  )
  assert np.all(visits.argmax(axis=1) == 5)


@pytest.mark.parametrize('q_transform', ['none', 'minmax'])
def test_search_finds_the_best_arm(q_transform):
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
    num_simulations=200,
    temperature=0.1,
    c_puct=1.0 if q_transform == 'minmax' else 0.2,
    q_transform=q_transform,
  )
  played = jax.jit(play)({}, jax.random.key(0))
  texts = [
    str(f) for f in grammar_lib.formulas_of(grammar, played.final_tokens)
  ]
  assert texts.count('high*volume') >= 7


def test_branch_puct_by_hand():
  prior = np.array([0.5, 0.3, 0.2, -1.0], np.float32)
  visits = np.array([3, 1, 0, 0], np.int32)
  qvalues = np.array([0.04, 0.06, 0.0, 0.0], np.float32)
  invalid = np.array([False, False, False, True])
  score = jax.jit(
    functools.partial(puct.branch_puct, c_puct=1.5, base_branches=12)
  )
  node = (np.float32(0.05), invalid, np.float32(0.04))
  scores = np.asarray(score(prior, visits, qvalues, *node))
  # c = 1.5 sqrt(3 / 12) = 0.75; sqrt(sum N) = 2.
  np.testing.assert_allclose(
    scores[:3],
    [0.04 + 0.75 * 0.5 * 2 / 4, 0.06 + 0.75 * 0.3 * 2 / 2, 0.75 * 0.2 * 2],
    rtol=1e-6,
  )
  # Before any visit the prior decides.
  none = np.zeros(4, np.int32)
  scores = np.asarray(score(prior, none, none.astype(np.float32), *node))
  np.testing.assert_allclose(scores[:3], 0.75 * prior[:3], rtol=1e-6)


def test_minmax_q_by_hand():
  minmax_q = jax.jit(puct.minmax_q)
  q = minmax_q(
    np.array([0.04, 0.06, 0.0], np.float32),
    np.array([2, 1, 0], np.int32),
    np.float32(0.05),
  )
  np.testing.assert_allclose(q, [0.0, 1.0, 0.5], atol=1e-5)
  none = np.zeros(3, np.int32)
  q = minmax_q(none.astype(np.float32), none, np.float32(0.05))
  np.testing.assert_allclose(q, np.zeros(3))


def test_visit_policy():
  visits = np.array([4, 0, 1, 3], np.int32)
  visit_policy = jax.jit(puct.visit_policy)
  np.testing.assert_allclose(
    visit_policy(visits, 1.0), [0.5, 0, 0.125, 0.375], rtol=1e-6
  )
  np.testing.assert_allclose(
    visit_policy(visits, 0.5), np.array([16, 0, 1, 9]) / 26, rtol=1e-6
  )
  np.testing.assert_allclose(
    visit_policy(visits, 1e-3), [1, 0, 0, 0], atol=1e-6
  )


def test_temperatures_by_hand():
  make = functools.partial(puct.temperatures, num_moves=4)
  np.testing.assert_array_equal(make(7), np.ones(4))
  np.testing.assert_allclose(
    make(7, start=1.0, end=0.2, moves=2), [1.0, 0.6, 0.2, 0.2], rtol=1e-6
  )
  along = functools.partial(make, start=1.0, end=0.2, iterations=10)
  for iteration, expected in ((0, 1.0), (5, 0.6), (10, 0.2), (99, 0.2)):
    np.testing.assert_allclose(along(iteration), [expected] * 4, rtol=1e-6)


@pytest.mark.parametrize(
  'options, said',
  [
    ({'end': 0.0, 'moves': 3}, 'must be above 0'),
    ({'end': 0.5}, 'either moves or iterations'),
    ({'moves': 3}, 'an end other than its start'),
    ({'end': 0.5, 'moves': 3, 'iterations': 3}, 'either moves or iterations'),
  ],
)
def test_temperatures_refuse(options, said):
  with pytest.raises(ValueError, match=said):
    puct.temperatures(0, 4, **options)


def test_without_branch_adaptation_c_is_c():
  visits = np.array([3, 1, 0, 0], np.int32)
  prior = np.array([0.5, 0.3, 0.2, -1.0], np.float32)
  invalid = np.array([False, False, False, True])
  none = np.float32(0.0)
  score = functools.partial(
    puct.branch_puct, c_puct=1.5, base_branches=12, branch_adapted=False
  )
  scores = jax.jit(score)(
    prior, visits, np.zeros(4, np.float32), none, invalid, none
  )
  scores = np.asarray(scores)
  np.testing.assert_allclose(
    scores[:3], [1.5 * 0.5 * 2 / 4, 1.5 * 0.3 * 2 / 2, 1.5 * 0.2 * 2], rtol=1e-6
  )


def test_each_move_has_its_temperature():
  """At a temperature near 0 a move has one action; before it, several."""
  grammar = sem_k()
  cold = np.where(np.arange(grammar.max_steps) < 1, 1.0, 1e-3)
  cold = cold.astype(np.float32)
  played = self_play(random_params(grammar), temperature=cold)
  active = np.asarray(played.active)
  most = np.asarray(played.action_weights).max(axis=2)
  assert most[0].max() < 0.9
  # Two actions may have the same visits.
  assert np.median(most[1:][active[1:]]) > 0.99


def test_noise_differs_by_game_and_by_move():
  grammar = sem_k()
  invalid = np.asarray(start(grammar, 4).invalid_actions)

  @jax.jit
  def noisy(key):
    logits = heads.mask_logits(jnp.zeros(invalid.shape), invalid)
    found = puct.add_noise(key, logits, invalid, fraction=0.25, alpha=0.3)
    return found, jax.nn.softmax(found)

  (one, first), (two, second) = jax.device_get(
    [noisy(key) for key in jax.random.split(jax.random.key(0))]
  )
  valid = ~invalid[0]
  for prior in (first, second):
    assert np.all(prior[:, ~valid] == 0)
    assert np.all(prior[:, valid] >= 0.75 / valid.sum() - 1e-6)
    assert np.abs(prior[0] - prior[1]).max() > 1e-3
  assert np.abs(one - two)[:, valid].max() > 1e-3


@functools.cache
def player(**options):
  settings = {'num_games': 8, 'num_simulations': 16, **options}
  return jax.jit(
    functools.partial(
      mcts.self_play,
      evaluator=evaluators.from_apply(linear_apply),
      grammar=sem_k(),
      **settings,
    )
  )


def self_play(params, seed=0, temperature=1.0, **options):
  play = player(**options)
  played = play(params, jax.random.key(seed), temperature=temperature)
  return jax.device_get(played)


def test_self_play_records_the_games_it_plays():
  grammar = sem_k()
  played = self_play(random_params(grammar), dirichlet_fraction=0.25)
  moves = grammar.max_steps
  chex.assert_shape(played.tokens, (moves, 8, grammar.max_tokens))
  chex.assert_shape(played.action_weights, (moves, 8, grammar.num_actions))
  active = np.asarray(played.active)
  assert active[0].all() and not (active[1:] & ~active[:-1]).any()
  weights = np.asarray(played.action_weights)[active]
  np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
  assert not weights[np.asarray(played.invalid_actions)[active]].any()
  for game, formula in enumerate(
    grammar_lib.formulas_of(grammar, played.final_tokens)
  ):
    assert formula_lib.parse(str(formula)) == formula
    actions = grammar_lib.derivation(grammar, formula)
    assert len(actions) == active[:, game].sum()
    state = grammar_lib.init(grammar)
    for move, action in enumerate(actions):
      np.testing.assert_array_equal(played.tokens[move, game], state.tokens)
      np.testing.assert_array_equal(
        played.invalid_actions[move, game], state.invalid_actions
      )
      assert played.action_weights[move, game, action] > 0
      state = step(grammar, state, action)


def test_self_play_repeats_by_key_and_differs_between_games():
  grammar = sem_k()
  params = random_params(grammar)
  one, two = self_play(params), self_play(params)
  chex.assert_trees_all_equal(one, two)
  other = self_play(params, seed=1)
  assert np.any(one.final_tokens != other.final_tokens)
  assert len(np.unique(one.final_tokens, axis=0)) > 1


def test_self_play_compiles_once():
  grammar = sem_k()
  params = random_params(grammar)

  @jax.jit
  @chex.assert_max_traces(n=1)
  def play(params, rng_key, temperature):
    return mcts.self_play(
      params,
      rng_key,
      evaluator=evaluators.from_apply(linear_apply),
      grammar=grammar,
      num_games=4,
      num_simulations=8,
      temperature=temperature,
    )

  for seed in range(3):
    scaled = jax.tree.map(lambda p, s=seed: np.asarray(p) * (1 + s), params)
    play(scaled, jax.random.key(seed), 1.0 / (1 + seed))


def test_incremental_network_plays_the_same_games():
  grammar = sem_k()
  network = heads.make(grammar, width=16)
  params = parameters.random(network, grammar)
  whole = evaluators.from_apply(functools.partial(heads.apply_batch, network))
  games = [
    jax.jit(
      functools.partial(
        mcts.self_play,
        evaluator=evaluator,
        grammar=grammar,
        num_games=20,
        num_simulations=24,
      )
    )(params, jax.random.key(1))
    for evaluator in (
      whole,
      evaluators.from_derivation(network, grammar),  # On a CPU in two chunks.
    )
  ]
  games = jax.device_get(games)
  # Rounding differs, so a tie may break the other way now and then.
  same = np.all(games[0].final_tokens == games[1].final_tokens, axis=1)
  assert same.sum() >= 17
  np.testing.assert_allclose(
    games[0].action_weights[:, same],
    games[1].action_weights[:, same],
    atol=0.1,
  )


FORMULAS = 'Mean(close,10)/open', 'Corr(Abs(close),volume,20)'


@functools.cache
def at_forms(is_followed):
  """A program: games that begin at forms, with a table of known rewards."""
  grammar = sem_k()
  network = heads.make(grammar, width=16)
  evaluator = evaluators.from_network(network)
  if is_followed:
    evaluator = evaluators.from_forms(network, grammar, chunk=8)
  evaluator = transpositions.with_table(evaluator, grammar)
  params = parameters.random(network, grammar)

  @jax.jit
  def play(params, states, table):
    given = (params, states) if is_followed else params
    return mcts.self_play(
      (given, table), jax.random.key(1), evaluator=evaluator, grammar=grammar,
      num_games=20, num_simulations=24, start=states,
    )  # fmt: skip

  return functools.partial(play, params), play


@pytest.mark.parametrize('seed', [0, 1])
def test_incremental_network_plays_the_same_games_from_forms(seed):
  states = openings.draw_forms(
    sem_k(), jax.random.key(seed), [*map(parse, FORMULAS)], 20, share=0.8
  )
  assert np.ptp((np.asarray(states.tokens) > 0).sum(axis=1)) == 4
  table = transpositions.empty(4)
  ours, theirs = (
    jax.device_get(at_forms(is_followed)[0](states, table))
    for is_followed in (True, False)
  )
  # Rounding differs, so a tie may break the other way now and then.
  same = np.all(ours.final_tokens == theirs.final_tokens, axis=1)
  assert same.sum() >= 17
  active = ours.active & same
  np.testing.assert_array_equal(active, theirs.active & same)
  np.testing.assert_allclose(
    ours.action_weights[active], theirs.action_weights[active], atol=0.1
  )
  # Other forms are other numbers to the same program.
  assert at_forms(True)[1]._cache_size() == 1


def test_a_known_reward_is_found_from_a_form():
  grammar, favourite = sem_k(), parse('Mean(close,40)/open')
  written = tuple(environment.derivation(grammar, favourite))
  form, length = evolution.opened(evolution.read_rules(grammar), written, 3)
  tokens = np.zeros((2, grammar.max_tokens), np.int32)
  tokens[0, : len(form)] = form
  tokens[1, : len(form)] = grammar_lib.tokens_of(grammar, favourite)
  state = jax.jit(grammar_lib.observe)(grammar, tokens[0], np.int32(length))
  state = jax.device_get(state)
  states = jax.tree.map(lambda x: np.stack([x] * 20), state)
  known = jax.jit(transpositions.formula_hash)(grammar, tokens[1])
  known = np.asarray(known)[None]
  table = transpositions.empty(4)
  for reward, is_chosen in ((0.9, True), (-0.9, False)):
    table = transpositions.add(table, known, np.array([reward], np.float32))
    played = jax.device_get(at_forms(True)[0](states, table))
    most = np.argmax(played.action_weights[0], axis=1)
    windows = np.asarray(grammar.rhs)[most, 0]
    names = {grammar.vocab.symbols[token].name for token in windows}
    assert names == {'40'} if is_chosen else '40' not in names


def test_what_cannot_be_followed_from_forms_is_read_whole():
  rows = [('Expr', name, 0) for name in ('close', 'open')]
  rows += [('Expr', 'Add Expr Abs Expr', 2)]
  grammar = grammar_lib.from_rows(rows, vocab_lib.make_vocab(), max_length=4)
  states = jax.tree.map(lambda x: x[None], grammar_lib.init(grammar))
  for encoder in ('tree_lstm', 'cnn'):
    network = heads.make(grammar, encoder=encoder, width=8)
    params = parameters.random(network, grammar)
    evaluator = evaluators.from_forms(network, grammar)
    found = jax.jit(
      lambda params, e=evaluator: e.init(e.prepare((params, states)), states)
    )(params)
    expected = jax.jit(functools.partial(heads.apply_batch, network))(
      params, states.tokens
    )
    for ours, theirs in zip(found[:2], expected, strict=True):
      np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize('encoder', ['tree_lstm', 'cnn'])
def test_each_game_is_searched_with_its_own_context(encoder):
  """Games of several contexts are as if each were alone with its own."""
  grammar = sem_k(4)
  network = heads.make(grammar, encoder=encoder, width=8, context_width=2)
  params = heads.init(network, grammar, jax.random.key(0))
  play = jax.jit(
    functools.partial(
      mcts.self_play,
      evaluator=evaluators.make(network, grammar),
      grammar=grammar,
      num_games=6,
      num_simulations=12,
      c_puct=0.1,
    )
  )
  contexts = 20 * np.random.default_rng(2).normal(size=(6, 2))
  contexts = contexts.astype(np.float32)
  mixed = jax.device_get(play((params, contexts), jax.random.key(1)))
  first = np.asarray(mixed.action_weights[0])
  assert len(np.unique(first, axis=0)) > 1
  for game in (0, 3):
    alike = np.broadcast_to(contexts[game], (6, 2))
    alone = jax.device_get(play((params, alike), jax.random.key(1)))
    np.testing.assert_array_equal(
      alone.final_tokens[game], mixed.final_tokens[game]
    )
    np.testing.assert_allclose(
      alone.action_weights[:, game], mixed.action_weights[:, game], atol=1e-5
    )
