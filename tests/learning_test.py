"""AlphaCFG beside the paper: opened nodes, ranked rewards, what is learned."""

import functools
import types

import jax
import numpy as np
import optax
import parameters
import pytest
import tiny
from jax import sharding

from alphajax import experiment, markets
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.methods import (
  diagnosis,
  fitting,
  openings,
  ranked_games,
  rewards,
  surrogate,
)
from alphajax.methods import learner as learner_lib
from alphajax.networks import heads
from alphajax.search import chunks, evolution, losses, mcts, replay

GRAMMAR = grammar_lib.make(
  max_length=4, windows=(5, 10), operators=tiny.OPERATORS
)
RULES = evolution.read_rules(GRAMMAR)


def config_of(**changes):
  config = tiny.get_config()
  for key, value in changes.items():
    part, _, name = key.partition('_')
    config[part][name] = value
  return config


@pytest.fixture(autouse=True)
def strict():
  """No array gains an axis unasked, as some have JAX refuse it."""
  with jax.numpy_rank_promotion('raise'):
    yield


@pytest.fixture(scope='module')
def market():
  return markets.load_market(tiny.get_config())[0]


def test_every_node_can_be_opened():
  formula = formula_lib.parse('Mean(close,5)/open')
  written = tuple(environment.derivation(GRAMMAR, formula))
  names = [symbol.name for symbol in GRAMMAR.vocab.symbols]
  forms = {}
  for at in range(len(written)):
    tokens, length = evolution.opened(RULES, written, at)
    forms[' '.join(names[token] for token in tokens)] = length
  assert forms == {
    'Expr': 0,
    'Div Expr open': 2,
    'Div Mean Expr 5 open': 4,
    'Div Mean close Num open': 4,
    'Div Mean close 5 Expr': 4,
  }


def test_games_begin_at_forms_and_end_as_the_language_has_it():
  formulas = [formula_lib.parse(t) for t in ('Mean(close,5)/open', 'close')]
  states = openings.draw_forms(GRAMMAR, jax.random.key(0), formulas, 64, 0.75)
  tokens = np.asarray(states.tokens)
  start = (tokens[:, 0] == GRAMMAR.start) & (tokens[:, 1] == 0)
  # A quarter begins anew, and a form may be the start symbol itself.
  assert 16 <= start.sum() <= 56
  assert not np.asarray(states.terminated).any()
  states = jax.device_get(states)
  play_out = jax.jit(grammar_lib.play_out, static_argnums=(1, 3))
  ended = play_out(
    jax.tree.map(lambda x: x[int(np.flatnonzero(~start)[0])], states),
    functools.partial(grammar_lib.step, GRAMMAR),
    jax.random.key(1),
    20,
  )
  for formula in environment.formulas_of(GRAMMAR, ended):
    environment.derivation(GRAMMAR, formula)  # Within the bound.


def test_without_formulas_games_begin_at_the_start():
  states = openings.draw_forms(GRAMMAR, jax.random.key(0), [], 5, 1.0)
  assert (np.asarray(states.tokens)[:, 0] == GRAMMAR.start).all()


@pytest.mark.parametrize('source', ['pool', 'niches'])
def test_opened_nodes_in_training(market, source):
  config = config_of(
    search_openings=1.0, search_openings_at='node',
    search_openings_from=source, search_known_rewards=source == 'niches',
    value_reward='unexplained',
    value_normalize='rank',
    # Both have what is kept of all formulas; refreshed worths no table.
    value_refresh=source == 'pool',
    value_duplicates='same' if source == 'pool' else 'nothing',
    value_similarity='none', pool_rule='elastic_net', pool_penalty=0.2,
  )  # fmt: skip
  method = experiment.make_method(config, market)
  state = method.init(jax.random.key(0))
  for n in range(2):
    state, metrics = method.step(state, jax.random.key(n))
  again = method.load(*method.save(state))
  again, _ = method.step(again, jax.random.key(2))
  ends = method.step(state, jax.random.key(2))[0], again
  for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
    np.testing.assert_array_equal(one, other)
  for name in ('target_spread', 'mean_own_ic', 'dead', 'duplicates'):
    assert np.isfinite(metrics[name])
  assert metrics['evaluated'] >= 6
  if source == 'pool':
    rows = state.learner.replay.rows
    numbers = np.asarray(rows.number)[: int(state.learner.replay.size)]
    assert 0 < numbers.max() < metrics['evaluated']
    assert not np.asarray(rows.batch.value_target).any()


def test_ranks_of_rewards():
  worths = np.array([0.02, 0.0, 0.02, 0.05, 0.01])
  new = np.array([True, True, True, True, False])
  np.testing.assert_allclose(
    rewards.normalized(worths, new, 'rank'), [0.5, 0.125, 0.5, 0.875, 0.25]
  )
  np.testing.assert_allclose(
    rewards.normalized(worths * 40, new, 'clip'), [0.8, 0.0, 0.8, 1.0, 0.4]
  )
  np.testing.assert_allclose(
    rewards.normalized(worths, new, 'strongest', 0.04), [0.5, 0, 0.5, 1, 0.25]
  )
  np.testing.assert_array_equal(rewards.normalized(worths, new, 'none'), worths)
  # An iteration without a new formula has no ranks.
  none = np.zeros(5, bool)
  assert not rewards.normalized(worths, none, 'rank').any()


def test_the_strongest_formula_is_the_unit():
  assert rewards.strongest([0.01, None, -0.05, 0.0]) == 0.05
  # Without any there is none.
  assert rewards.strongest([None, 0.0]) == rewards.strongest([]) == 1.0


def test_the_network_learns_in_units_of_the_strongest(market):
  learned = {}
  for how in ('none', 'strongest'):
    config = config_of(
      value_reward='unexplained', value_normalize=how, value_similarity='none'
    )
    method = experiment.make_method(config, market)
    state, _ = method.step(method.init(jax.random.key(0)), jax.random.key(0))
    rows = state.learner.replay.rows.value_target
    learned[how] = np.asarray(rows)[: int(state.learner.replay.size)]
    unit = rewards.strongest(state.mined.book.values())
  assert 0 < unit < 1 and learned['none'].any()
  np.testing.assert_allclose(
    learned['strongest'], np.minimum(learned['none'] / unit, 1.0), rtol=1e-5
  )


def outcome(own_ic, unexplained=0.0, is_new=True):
  return types.SimpleNamespace(
    own_ic=own_ic, unexplained=unexplained, is_new=is_new
  )


def test_diagnostics_tell_what_the_value_knows():
  outcomes = [
    outcome(0.01, 0.03), outcome(-0.02, 0.02), outcome(0.03, 0.01),
    outcome(0.0), outcome(0.04, is_new=False),
  ]  # fmt: skip
  predicted = np.array([0.1, 0.2, 0.3, 0.9, 0.0])
  worths = np.array([0.3, 0.2, 0.1, 0.0, 0.0])
  found = diagnosis.diagnostics(predicted, worths, outcomes)
  assert found['value_own'] == pytest.approx(1.0)
  assert found['value_unexplained'] == pytest.approx(-1.0)
  assert found['value_rank'] == pytest.approx(-1.0)
  assert found['mean_own_ic'] == pytest.approx(0.015)
  assert (found['dead'], found['duplicates']) == (0.2, 0.2)
  assert found['target_spread'] == pytest.approx(np.std([0.3, 0.2, 0.1, 0.0]))
  constant = diagnosis.diagnostics(np.ones(5), worths, outcomes)
  assert constant['value_own'] is None


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'search_openings_at': 'leaf'}, "config.search.openings_at is 'leaf'"),
    ({'search_openings_from': 'all'}, "config.search.openings_from is 'all'"),
    ({'search_openings_from': 'niches'}, 'set config.pool.rule'),
    ({'value_normalize': 'log'}, "config.value.normalize is 'log'"),
    ({'value_refresh': True}, "set config.value.reward='unexplained'"),
    (
      {
        'value_refresh': True,
        'value_reward': 'unexplained',
        'value_similarity': 'none',
      },
      'set config.pool.rule',
    ),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(**changes), market)


PAPERS = grammar_lib.make()  # Of at most 21 symbols.
SHORT = ('close', 'Mean(close,20)', 'Abs(high)-low', 'Corr(high,low,20)')
LONG = 'Log(Abs(' * 9 + 'close' + '))' * 9  # 19 of them.


def games_of(texts, active=True):
  """One move of a game for each text, and its value targets."""
  tokens = np.zeros((1, len(texts), PAPERS.max_tokens), np.int32)
  for row, text in zip(tokens[0], texts, strict=True):
    spelled = grammar_lib.tokens_of(PAPERS, formula_lib.parse(text))
    row[: len(spelled)] = spelled
  weights = np.zeros((1, len(texts), PAPERS.num_actions), np.float32)
  weights[..., 0] = 1.0
  games = mcts.Trajectories(
    tokens=tokens, action_weights=weights, invalid_actions=weights < 0,
    active=np.broadcast_to(active, tokens.shape[:2]), final_tokens=tokens[0],
  )  # fmt: skip
  return games, np.full(tokens.shape[:2], 0.5, np.float32)


def test_states_are_cut_and_the_bits_stay():
  network = heads.make(PAPERS, width=8)
  params, optimizer = parameters.random(network, PAPERS), optax.adam(0.01)
  row = losses.row(PAPERS.max_tokens, PAPERS.num_actions)
  learner = fitting.Learner(
    params, jax.jit(optimizer.init)(params), replay.empty(20, row)
  )
  fit = jax.jit(
    functools.partial(
      fitting.fit_network,
      apply_fn=functools.partial(heads.apply_batch, network),
      optimizer=optimizer, batch_size=8, num_updates=3, l2=1e-4,
      replay_size=20, learning_rate=0.01,
    ),
    static_argnames='num_tokens',
  )  # fmt: skip
  whole, cut = (
    jax.tree.leaves(
      fit(learner, jax.random.key(1), *games_of(SHORT), num_tokens=num_tokens)
    )
    for num_tokens in (None, 14)
  )
  for one, two in zip(whole, cut, strict=True):
    np.testing.assert_array_equal(one, two)
  assert not np.array_equal(whole[0], jax.tree.leaves(params)[0])


def test_states_are_cut_where_none_that_is_drawn_is_longer(monkeypatch):
  asked = []

  def fit_network(learner, *args, num_tokens=None, **options):
    asked.append(num_tokens)
    return learner, {}

  monkeypatch.setattr(fitting, 'fit_network', fit_network)
  config = tiny.get_config()
  config.training.learning_rate = 0.123  # Nobody else gets this agent.
  agent = learner_lib.make(config, PAPERS)
  learner = agent.init(jax.random.key(0))
  for texts, active in (
    (SHORT, True),
    ((*SHORT, LONG), True),
    ((*SHORT, LONG), np.arange(5) < 4),  # A move that is not learned from.
  ):
    games, targets = games_of(texts, active)
    agent.learn(learner, jax.random.key(1), games, targets, ())
  assert asked == [14, None, 14]


def test_learning_is_dealt_where_the_config_says_so(monkeypatch):
  meshes = []

  def fit_network(learner, *args, mesh=None, **options):
    meshes.append(mesh)
    return learner, {}

  monkeypatch.setattr(fitting, 'fit_network', fit_network)
  mesh = sharding.Mesh(np.array(jax.devices()[:1]), (chunks.CHUNKS,))
  monkeypatch.setattr(chunks, 'make_mesh', lambda size, devices: mesh)
  row = losses.row(PAPERS.max_tokens, PAPERS.num_actions)
  learner = fitting.Learner((), (), replay.empty(20, row))
  games, targets = games_of(SHORT)
  config = tiny.get_config()
  config.training.learning_rate = 0.124  # Nobody else gets these agents.
  for learning in (False, True):
    config.mesh.learning = learning
    agent = learner_lib.make(config, PAPERS)
    learner, _ = agent.learn(learner, jax.random.key(1), games, targets, ())
  assert meshes == [None, mesh]
  del config.mesh  # Of an older run.
  assert chunks.mesh_of(config) is None


def test_targets_are_looked_up_when_states_are_drawn():
  games, targets = games_of(SHORT)
  numbers = np.broadcast_to(
    np.arange(targets.shape[1], dtype=np.int32), targets.shape
  )
  worths = np.linspace(0.1, 0.9, 30, dtype=np.float32)
  params = {'w': np.zeros(PAPERS.num_actions, np.float32)}

  def apply_fn(params, tokens, rng_key):
    del rng_key
    logits = np.ones((len(tokens), 1)) * params['w'][None]
    return logits, params['w'].sum() + tokens[:, 0]

  def fitted(targets, numbered, worths):
    memory = replay.empty(
      20, fitting.row(PAPERS.max_tokens, PAPERS.num_actions, numbered)
    )
    optimizer = optax.sgd(0.1)
    learner = fitting.Learner(params, optimizer.init(params), memory)
    fit = functools.partial(
      fitting.fit_network,
      apply_fn=apply_fn, optimizer=optimizer, batch_size=8, num_updates=3,
      l2=0.0, replay_size=20, learning_rate=0.1,
    )  # fmt: skip
    learner, _ = jax.jit(fit)(
      learner, jax.random.key(0), games, targets, worths=worths
    )
    return np.asarray(learner.params['w'])

  now = fitted(numbers, True, worths)
  np.testing.assert_array_equal(now, fitted(worths[numbers], False, None))
  # What formulas are worth may change when their states are in the replay.
  assert not np.array_equal(now, fitted(numbers, True, worths[::-1]))


def test_runs_from_before_targets_were_refreshed_go_on(market):
  config = config_of()
  assert experiment.defaults_of(config)['value'] == {'refresh': False}
  del config.value.refresh
  experiment.make_method(config, market)


def test_rpn_has_no_nodes_to_open(market):
  config = config_of(search_openings=0.5, search_openings_at='node')
  config.language.name = 'rpn'
  config.network.encoder = 'lstm'
  with pytest.raises(ValueError, match='has no grammar'):
    experiment.make_method(config, market)
  config.search.update(openings=0.0, known_rewards=True)
  message = "prefix order, and config.language.name = 'rpn' writes others"
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config, market)


def ranked_config():
  config = config_of(
    search_openings=0.5, search_openings_from='niches', screen_twin=0.99,
    screen_rank='gain', screen_candidates=2, screen_stocks=8, screen_days=20,
    value_reward='unexplained', value_normalize='rank',
    value_similarity='none', value_duplicates='nothing',
    pool_rule='elastic_net', pool_penalty=0.2,
  )  # fmt: skip
  config.num_trajectories = 4
  return config


def test_more_games_are_played_than_formulas_evaluated(market, monkeypatch):
  monkeypatch.setattr(surrogate, 'LEAST', 3)
  method = experiment.make_method(ranked_config(), market)
  state = method.init(jax.random.key(0))
  evaluated = 0
  for n in range(3):
    state, metrics = method.step(state, jax.random.key(n))
    assert metrics['proposed'] == 8 * (n + 1)
    assert metrics['evaluated'] - evaluated <= 4
    evaluated = metrics['evaluated']
  assert metrics['trust'] is not None
  again = method.load(*method.save(state))
  ends = (
    method.step(each, jax.random.key(3))[0]._replace(known=())
    for each in (state, again)
  )
  for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
    np.testing.assert_array_equal(one, other)


def test_games_teach_what_their_formulas_are_foreseen_to_be_worth():
  # Known and new; dead; known to the screen alone; of an earlier game.
  worth = ranked_games.Worth(
    left=np.array([0.03, 0.0, 0.01, 0.03]),
    known=np.array([True, True, False, True]),
    alive=np.array([True, False, True, True]),
    is_new=np.array([True, True, True, False]),
  )
  games = mcts.Trajectories(*[None] * len(mcts.Trajectories.__match_args__))
  games = games.replace(active=np.array([[True] * 4, [True, False] * 2]))
  options = types.SimpleNamespace(scale=2.0, normalize='none')
  for duplicates, last in (('nothing', 0.0), ('same', 0.06)):
    options.duplicates = duplicates
    taught, targets, ends = ranked_games.lesson(options, games, worth)
    np.testing.assert_allclose(ends, [0.06, 0.0, 0.0, last])
    np.testing.assert_allclose(
      targets, [[0.06, 0.0, 0.0, last], [0.06, 0.0, 0.0, 0.0]]
    )
    # Of the third nothing is known, so its moves are none.
    np.testing.assert_array_equal(
      taught.active, [[True, True, False, True], [True, False, False, False]]
    )


def test_a_figure_is_foreseen_from_behaviour():
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((30, 400)).astype(np.float32)
  direction = rng.standard_normal(400)
  evidence = surrogate.Evidence(
    rows=rows, gram=rows @ rows.T / 400.0, blocks=np.zeros((30, 8)),
    pool=np.array([], int), ids=np.arange(30),
  )  # fmt: skip
  mixed = rng.standard_normal((5, 30)) @ rows  # What the evidence spans.
  found = surrogate.foresee(evidence, mixed, rows @ direction)
  assert np.corrcoef(found, mixed @ direction)[0, 1] > 0.95
  dead = surrogate.foresee(evidence, 0 * mixed, rows @ direction)
  np.testing.assert_array_equal(dead, 0.0)


@pytest.mark.parametrize(
  ('key', 'value', 'message'),
  [
    ('value.reward', 'pool', "set config.value.reward='unexplained', which is"),
    ('search.known_rewards', True, 'set config.search.known_rewards=False'),
    ('pool.rule', 'algorithm1', 'set config.pool.rule, such as elastic_net'),
    ('screen.twin', 0.0, 'set config.screen.twin, such as 0.99'),
  ],
)
def test_ranked_games_need_what_tells_formulas_apart(key, value, message):
  config = ranked_config()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(ValueError, match=message):
    ranked_games.check(config)


def test_a_config_of_an_older_run_says_nothing_of_a_screen(market):
  config = tiny.get_config()
  del config.screen
  assert experiment.make_method(config, market)
