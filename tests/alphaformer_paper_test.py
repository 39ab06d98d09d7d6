"""AlphaFormer of the paper: synthetic markets, training, zero-shot, resume."""

import json

import jax
import numpy as np
import pytest
import tiny

from alphajax import cli, experiment, markets
from alphajax.data import long_table
from alphajax.factor import pool as pool_lib
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import (
  alphaformer_paper,
  market_writer,
  synthetic_tasks,
)

UPDATES, ITERATIONS = 2, 2


def config_of(**changes):
  config = tiny.get_config('alphaformer_paper')
  config.num_iterations = 6
  config.pretrain.num_updates = UPDATES
  config.update_from_flattened_dict(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def trained(market):
  method = experiment.make_method(config_of(), market)
  half, first = tiny.run(method, UPDATES - 1)
  kept = method.save(half)
  middle, second = tiny.run(method, 1, half, UPDATES - 1)
  state, third = tiny.run(method, ITERATIONS, middle, UPDATES)
  return method, kept, middle, state, first + second + third


def test_a_run_that_was_saved_goes_on_with_the_same_bits(market, trained):
  """Killed between two updates, and again before the last iteration."""
  _, (arrays, host), _, whole, records = trained
  method = experiment.make_method(config_of(), market)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, ITERATIONS, state, first=1)
  arrays, host = method.save(state)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, last = tiny.run(method, 1, state, first=1 + ITERATIONS)
  assert rest + last == records[1:]
  assert method.found(state) == method.found(whole)
  jax.tree.map(np.testing.assert_array_equal, state.learner, whole.learner)


def test_learns_first_and_mines_then_with_what_it_learned(trained):
  method, _, middle, state, records = trained
  fresh = method.init(jax.random.key(0))
  moved = jax.tree.map(
    lambda a, b: float(np.abs(a - b).max()),
    *jax.device_get((middle.learner.params, fresh.learner.params)),
  )
  reader, writer = moved
  assert max(jax.tree.leaves(reader)) > 0
  assert writer['params']['policy']['kernel'] > 0
  assert writer['params']['value']['kernel'] > 0
  jax.tree.map(np.testing.assert_array_equal, state.learner, middle.learner)
  assert middle.mined.iteration == 0 and state.mined.iteration == ITERATIONS
  for record in records[:UPDATES]:
    assert record['proposed'] == record['evaluated'] == 0
    assert record['synthetic_pool'] == 2
    assert record['synthetic_formulas'] == 2 * 2 * 2
    assert 0 < record['entropy'] and 0 <= record['clip_share'] <= 1
    assert np.isfinite(record['explained_variance'])
  for record in records[UPDATES:]:
    assert record['evaluated'] > 0 and np.isfinite(record['value'])
  assert records[-1]['proposed'] == 6 * ITERATIONS
  language = environment.make(**config_of().language)
  for key in state.mined.book:
    environment.derivation(language, formula_lib.parse(key))


@pytest.fixture(scope='module')
def tasks(market):
  return synthetic_tasks.make(config_of(), market.train.panel)


def test_markets_are_of_one_size_and_score_days_with_a_label(tasks):
  config = config_of()
  assert tasks.members.shape == (3, 40, 10) == (*tasks.paths.shape[:1], 40, 10)
  assert np.flatnonzero(tasks.scored).tolist() == list(range(10, 35))
  assert np.isfinite(tasks.paths).all() and np.asarray(tasks.there).all()
  assert np.any(np.asarray(tasks.paths[0] != tasks.paths[1]))
  labelled = np.asarray(tasks.target.labelled)
  assert labelled[:, :35].any() and not labelled[:, 35:].any()
  assert config.label.exit == 5


def test_many_pools_are_as_one(tasks):
  """Offered side by side: as inserted one by one."""
  texts = [
    'Mean(close,5)/close',
    'Log(low-high)',
    'Abs(open)',
    'Std(volume,10)',
  ]
  offered = [formula_lib.parse(text) for text in texts]
  which = np.array([2, 0])
  fit = pool_lib.FitConfig(l1=0.0)
  options = {'fit': fit, 'accept': 'always'}
  pools = synthetic_tasks.empty_pools(tasks, 2, 2)
  worths = []
  for n, formula in enumerate(offered):
    names = np.array([n, -1 if n == 3 else n])
    pools, worth = synthetic_tasks.offer(
      tasks, which, pools, [formula] * 2, names, **options
    )
    worths.append(np.asarray(worth))
  on_host = jax.device_get(tasks.target)
  for lane, task in enumerate(which):
    pool = pool_lib.empty(2, 40, 10)
    target = jax.tree.map(lambda x, task=task: x[task], on_host)
    for n, formula in enumerate(offered):
      if n == 1 or (n == 3 and lane == 1):  # Without values; not offered.
        assert worths[n][lane] == 0
        continue
      values = tasks.stores[task].take([formula])[0]
      prepared = pool_lib.prepare(values, tasks.members[task], target)
      pool, trace = pool_lib.insert(
        pool,
        [prepared],
        np.array([n], np.int32),
        target,
        tasks.scored,
        config=fit,
      )
      np.testing.assert_allclose(worths[n][lane], trace.ic[0], atol=1e-5)
      assert worths[n][lane] != 0
    np.testing.assert_array_equal(pools.ids[lane], pool.ids)


def test_tokens_of_members():
  written = np.arange(1, 25).reshape(2, 4, 3)
  ids = np.array([[3, -1], [0, 2]])
  tokens = np.asarray(market_writer.member_tokens(written, ids, 3))
  np.testing.assert_array_equal(
    tokens,
    [
      [written[0, 3], [0, 0, 0], [0, 0, 0]],
      [written[1, 0], written[1, 2], [0, 0, 0]],
    ],
  )
  language = environment.make(**config_of().language)
  texts = ['Abs(close)', 'Kurt(close,5)', 'Mean(close+open,5)+Std(open,5)']
  formulas = [formula_lib.parse(text) for text in texts]
  tokens = np.asarray(market_writer.pool_tokens(language, formulas, 4))
  assert tokens.shape == (4, language.max_tokens)
  spelled = environment.tokens_of(language, formulas[0])
  assert tokens[0, : len(spelled)].tolist() == spelled
  assert not tokens[1:].any(), 'unknown to the language, too long, or none'


def test_two_iterations_of_a_simulated_market_are_one_of_each_kind():
  """Whatever the length of a run there, it both learns and mines."""
  for variant in ('simulated', 'simulated_large', 'planted_3_5_2_7'):
    short = cli.read_config(
      f'alphaformer.py:{variant},paper', ['num_iterations=2']
    )
    alphaformer_paper.check(short)
    assert short.pretrain.num_updates == 1 and short.network.width == 32
    both = ['num_iterations=9', 'pretrain.num_updates=8']
    assert cli.read_config(
      f'alphaformer_paper.py:{variant}', both
    ).pretrain.num_updates == 8  # fmt: skip
  for market in ('csi300', 'sp500'):  # As published, as far as it can be.
    whole = cli.read_config(f'alphaformer.py:{market},paper')
    alphaformer_paper.check(whole)
    assert (whole.network.width, whole.pool.capacity) == (128, 100)
    assert (whole.panels.num_panels, whole.pretrain.num_updates) == (64, 100)


def test_panels_of_a_folder(market, tmp_path):
  config = config_of()
  config.panels.folder = str(tmp_path)
  make = synthetic_tasks.make
  with pytest.raises(ValueError, match='has 0 panels .* 3 are asked for'):
    make(config, market.train.panel)
  (tmp_path / 'panels').mkdir()
  for n in range(3):
    path = tmp_path / 'panels' / f'bootstrap_00{n}.parquet'
    path.write_bytes(long_table.to_bytes(market.train.panel))
  made = make(config, market.train.panel)
  assert made.members.shape == (3, 40, 10)
  config.panels.num_days = 1000
  with pytest.raises(ValueError, match='bootstrap_000.parquet has .* days'):
    make(config, market.train.panel)


@pytest.mark.parametrize(
  'key, value, text',
  [
    ('pretrain.num_updates', 6, 'num_updates is 6: .*num_iterations = 6'),
    ('pretrain.panels', 4, 'panels is 4: expected 1 to .* = 3'),
    ('pretrain.pool_sizes', (), r'pool_sizes is \(\): expected numbers'),
    ('ppo.num_minibatches', 3, 'num_minibatches = 3 does not divide'),
    ('network.num_heads', 3, 'width is 8, which config.network.num_heads'),
    ('language.name', 'sem_k', "language.name is 'sem_k': .* to 'rpn'"),
    ('panels.family', 'gru', "family is 'gru': .*alphajax synthesize"),
    ('panels.num_days', 15, 'num_days is 15: the longest window is 10'),
    ('panels.num_stocks', 0, 'panels.num_stocks is 0: expected >= 1'),
  ],
)
def test_bad_options_are_refused(market, key, value, text):
  with pytest.raises(ValueError, match=text):
    experiment.make_method(config_of(**{key: value}), market)
