"""AlphaFormer: pre-training, then mining with what it made."""

import functools
import json
import pathlib
import sys

import jax
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.configs import alphaformer as config_file
from alphajax.data import long_table
from alphajax.data import panel as panel_lib
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.methods import (
  alphaformer,
  finetune,
  formula_model,
  mined_tokens,
  other_market,
  planted_tasks,
  pretraining,
)
from alphajax.run import pretrained as pretrained_lib
from alphajax.run.clock import Clock
from alphajax.run.files import RunError

SCRIPTS = pathlib.Path(__file__).resolve().parents[1] / 'scripts'
sys.path.insert(0, str(SCRIPTS))
import pretrain  # noqa: E402


@pytest.fixture(scope='module')
def market():
  return markets.load_market(tiny.get_config('pretraining'))[0]


@pytest.fixture(scope='module')
def pretrained(market, tmp_path_factory):
  """(method, states after 0 to 4 iterations, records, file)."""
  config = tiny.get_config('pretraining')
  config.num_iterations = 4
  path = tmp_path_factory.mktemp('pretrained') / 'tiny.npz'
  config.pretrain.out = str(path)
  method = experiment.make_method(config, market)
  states, records = [method.init(jax.random.key(0))], []
  for n in range(4):
    state, record = method.step(states[-1], jax.random.key(n))
    states.append(state)
    records.append({**record, 'seconds': {}})
  return method, states, records, str(path)


def config_of(pretrained, kind='', **changes):
  config = tiny.shrink(config_file.get_config('simulated' + kind))
  config.checkpoint = pretrained[3]
  config.alphaformer.update(changes)
  return config


def test_pretraining_looks_at_held_out_tasks(pretrained):
  method, states, records, path = pretrained
  assert [record['tasks'] for record in records] == [16, 32, 48, 64]
  assert ['share_10' in record for record in records] == [False, True] * 2
  last = records[-1]
  for name in (
    '', 'ranked_', 'shelf_', 'retrieval_', 'random_', 'oracle_', 'model_',
    'kernel_',
  ):  # fmt: skip
    first, ten, hundred = (last[f'{name}share_{k}'] for k in (1, 10, 100))
    assert 0 < first <= ten <= hundred <= 1
  # With formulas that nobody else may take, and there are few.
  assert last['oracle_share_100'] >= last['retrieval_share_100']
  assert last['over_kernel_10'] == pytest.approx(
    last['model_share_10'] - last['kernel_share_10']
  )
  assert last['over_kernel_error_10'] >= 0
  assert 0 < last['distinct'] <= 1 and last['value_error'] > 0
  assert method.found(states[-1]) is None and not method.finished(states[-1])
  with open(path.replace('.npz', '.json'), encoding='utf-8') as file:
    about = json.load(file)['about']
  assert about['cost']['tasks'] == 64 and len(about['probes']) == 10
  assert about['cost']['share_10'] == last['share_10']
  assert about['data_hash'].startswith('simulated')


def test_a_bank_in_a_file_is_what_is_trained_on(market, tmp_path):
  config = tiny.get_config('pretraining')
  config.pretrain.bank = str(tmp_path / 'bank.npz')
  orders = orders_lib.make(**config.language)
  network = pretraining.make_network(config, orders)
  made = pretraining.prepare(config, market, orders, network)
  again = pretraining.prepare(config, market, orders, network)
  assert made.library.formulas == again.library.formulas
  jax.tree.map(np.testing.assert_array_equal, made.bank, again.bank)
  # Where no market is, for a time that is over before it has begun.
  out = str(tmp_path / 'network.npz')
  pretrain.pretrain(config, out, seconds=0.0)
  model = formula_model.load(out, config.language.to_dict())
  assert model.library == made.library.formulas
  cost = model.about['cost']
  assert cost['tasks'] == 4 * config.pretrain.num_updates
  assert cost['policy_loss'] > 0 and cost['device']
  config.pretrain.draws = 24
  with pytest.raises(ValueError, match='draws = 16, now it is 24: give the s'):
    pretraining.prepare(config, market, orders, network)


def test_learning_rates_rise_in_a_line_and_fall_to_0():
  rates = [
    float(pretraining.learning_rate(x, 2.0, 0.1)) for x in (0, 0.05, 0.1)
  ]
  np.testing.assert_allclose(rates, [0.0, 1.0, 2.0], atol=1e-6)
  half, last = (
    float(pretraining.learning_rate(x, 2.0, 0.1)) for x in (0.55, 1)
  )
  np.testing.assert_allclose([half, last], [1.0, 0.0], atol=1e-6)


def test_pretraining_learns_and_averages(pretrained):
  _, states, records, _ = pretrained
  assert records[-1]['value_loss'] < records[0]['value_loss']
  before, after = (
    np.concatenate([np.ravel(x) for x in jax.tree.leaves(part)])
    for part in (states[0].params, states[-1].params)
  )
  average = np.concatenate(
    [np.ravel(x) for x in jax.tree.leaves(states[-1].average)]
  )
  moved = after - before
  assert np.abs(moved).max() > 1e-4
  # Between where it was and where it is, and nearer to this.
  share = (average - before) @ moved / (moved @ moved)
  assert 0.5 < share < 1.0


def test_pretraining_goes_on_with_the_same_bits(pretrained):
  method, states, records, _ = pretrained
  arrays, host = method.save(states[2])
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, rest = tiny.run(method, 2, state, first=2)
  assert rest == records[2:]
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(state.average), jax.device_get(states[-1].average),
  )  # fmt: skip


def test_a_run_that_was_saved_goes_on_with_the_same_bits(market, pretrained):
  config = config_of(pretrained, ',finetune')
  method = experiment.make_method(config, market)
  half, first = tiny.run(method, 2)
  whole, rest = tiny.run(method, 2, half, first=2)
  arrays, host = method.save(half)
  state = method.load(jax.device_get(arrays), json.loads(json.dumps(host)))
  state, again = tiny.run(method, 2, state, first=2)
  assert again == rest
  assert method.found(state) == method.found(whole)
  assert list(state.mined.book.items()) == list(whole.mined.book.items())
  # Probes come first, nothing is evaluated twice.
  keys = list(whole.mined.book)
  model = formula_model.load(pretrained[3], config.language.to_dict())
  probes = [formula_lib.key(model.library[i]) for i in model.probes[:8]]
  assert keys[:8] == probes and len(set(keys)) == 24
  assert [r['retrieved'] for r in first + rest] == [0, 4, 6, 6]
  assert all(r['written'] <= r['retrieved'] for r in rest)
  assert all(0 < r['sampled'] <= 40 for r in rest)
  assert len(state.tuned.buffer) == 16
  assert rest[-1]['policy_kl'] >= 0 and rest[-1]['policy_loss'] > 0
  gains = [gain for _, gain in state.tuned.buffer]
  assert gains == sorted(gains, reverse=True) and gains[-1] >= 0


@pytest.fixture(scope='module')
def begun(market, pretrained):
  """A miner and its state after two iterations."""
  config = config_of(pretrained)
  method = experiment.make_method(config, market)
  return alphaformer.make_miner(config, market), tiny.run(method, 2)[0]


def evidence_of(tools, state):
  return mined_tokens.evidence(
    tools.bench, state.mined, state.known, tools.model.blocks,
    tools.model.sizes.pool,
  )  # fmt: skip


def test_a_market_is_read_as_tasks_are(begun):
  tools, state = begun
  seen = evidence_of(tools, state)
  read = mined_tokens.read(
    tools.model, tools.shelf, tools.screen, tools.bench, seen, tools.horizon
  )
  tokens, mask = np.asarray(read.tokens), np.asarray(read.mask)
  assert tokens.shape == (10 + 4 + 3 + 4, 8 + 4 + 12 + 4)
  assert np.isfinite(tokens).all() and np.isfinite(read.context).all()
  assert mask[:8].all() and not mask[8:10].any() and mask[10:].all()
  kinds = tokens[:, -4:].argmax(1)
  assert kinds[mask].tolist() == [0] * 8 + [1] * 4 + [2] * 3 + [3] * 4
  # The ICs of the probes are those of the archive, in blocks of days.
  daily = np.concatenate(state.mined.memory.daily)[:8]
  blocks = np.stack([x.mean(1) for x in np.array_split(daily, 4, axis=1)], 1)
  np.testing.assert_allclose(tokens[:8, 8:12], blocks / 0.06, atol=1e-4)
  # The first anchors are like themselves.
  np.testing.assert_allclose(np.diag(tokens[:8, :8]), 1.0, atol=5e-3)


def test_probes_may_say_what_they_do_on_another_market(
  begun, pretrained, market, tmp_path
):
  """On the same one they say the same."""
  tools, state = begun
  path = tmp_path / 'other.parquet'
  path.write_bytes(long_table.to_bytes(market.train.panel))
  config = config_of(pretrained, ablate='other_market', other=str(path))
  found = other_market.probe_blocks(config, tools.model)
  seen = evidence_of(tools, state)
  for key, blocks in list(zip(seen.keys, seen.blocks, strict=True))[:8]:
    np.testing.assert_allclose(found[key], blocks, atol=2e-3)
  read = functools.partial(
    mined_tokens.read, tools.model, tools.shelf, tools.screen, tools.bench,
    seen, tools.horizon, 'other_market',
  )  # fmt: skip
  turned = {key: -blocks for key, blocks in found.items()}
  ours, theirs = (np.asarray(read(x).tokens) for x in (found, turned))
  np.testing.assert_allclose(ours[:8, 8:12], -theirs[:8, 8:12], atol=1e-6)
  for changes, message in (
    ({'other': ''}, "is 'other_market': name the panel"),
    ({'ablate': ''}, 'alphaformer.other is .* is read with --config.alphaform'),
  ):
    config.alphaformer.update({'other': str(path), 'ablate': 'other_market'})
    config.alphaformer.update(changes)
    with pytest.raises(ValueError, match=message):
      alphaformer.check(config)


def test_each_ablation_takes_what_it_says(begun):
  tools, state = begun
  seen = evidence_of(tools, state)

  def read(ablate):
    return mined_tokens.read(
      tools.model, tools.shelf, tools.screen, tools.bench, seen, tools.horizon,
      ablate,
    )  # fmt: skip

  whole = read('')
  no_pool, no_retrieved = read('no_pool'), read('no_retrieved')
  assert not np.asarray(no_pool.mask)[10:14].any()
  assert np.asarray(no_pool.context)[5] == 0 < np.asarray(whole.context)[5]
  assert not np.asarray(no_retrieved.mask)[-4:].any()
  assert not np.asarray(no_retrieved.formulas).any()
  assert np.asarray(whole.formulas).any(1).all()
  shuffled = np.asarray(read('permuted_probes').tokens)
  tokens = np.asarray(whole.tokens)
  assert np.abs(shuffled - tokens)[:8, 8:12].max() > 0.01
  np.testing.assert_array_equal(
    np.sort(shuffled[:8, 8]), np.sort(tokens[:8, 8])
  )
  np.testing.assert_array_equal(shuffled[:8, :8], tokens[:8, :8])


def test_a_network_that_learned_nothing_runs(market, pretrained):
  config = config_of(pretrained, ablate='random_parameters')
  config.max_evaluated = 11
  state, records = tiny.run(experiment.make_method(config, market), 2)
  assert records[-1]['evaluated'] == len(state.mined.book) == 11


def test_a_memory_of_zeros(begun):
  """Says the same of every market."""
  tools, state = begun
  model = tools.model
  encode = jax.jit(alphaformer.encoder(model.network, 'zero_memory'))
  seen = evidence_of(tools, state)
  values = [
    encode(model.params, mined_tokens.read(
      model, tools.shelf, tools.screen, tools.bench,
      seen._replace(blocks=seen.blocks * sign), tools.horizon,
    ))
    for sign in (1, -1)
  ]  # fmt: skip
  jax.tree.map(np.testing.assert_array_equal, *values)
  whole, _ = tools.encode(model.params, planted_tasks.no_inputs(
    model.sizes, model.blocks, model.orders.length
  ))  # fmt: skip
  assert np.asarray(whole.latents).any()


def test_proposals_are_those_asked_for(begun):
  tools, state = begun
  for proposals, rank, written in (
    ('model', 'score', 5), ('library', 'kernel', 0), ('both', 'both', None),
  ):  # fmt: skip
    options = tools.options.copy_and_resolve_references()
    options.update(proposals=proposals, rank=rank, max_corr=1.0)
    made = alphaformer.propose(
      tools._replace(options=options), tools.model.params, state,
      np.zeros(0, int), jax.random.key(0), 5, Clock(),
    )  # fmt: skip
    assert len(made.formulas) == 5 == len(made.plan.ic)
    assert written is None or made.written == written
    gains = made.plan.gain
    assert (np.diff(gains) <= 0).all()  # The best first.
    known = set(state.mined.book)
    assert not known & {formula_lib.key(f) for f in made.formulas}


def test_stocks_in_another_order_are_the_same(market, pretrained):
  config = config_of(pretrained)
  config.screen.stocks = 30  # All of them.
  order = np.random.default_rng(0).permutation(30)
  names = [market.train.panel.symbols[i] for i in order.tolist()]
  moved = market._replace(
    train=market.train.replace(
      panel=panel_lib.take_symbols(market.train.panel, names),
      target=np.asarray(market.train.target)[:, order],
    )
  )
  reads = []
  for each in (market, moved):
    tools = alphaformer.make_miner(config, each)
    state, _ = tiny.run(experiment.make_method(config, each), 1)
    reads.append(
      mined_tokens.read(
        tools.model, tools.shelf, tools.screen, tools.bench,
        evidence_of(tools, state), tools.horizon,
      )
    )  # fmt: skip
  np.testing.assert_allclose(reads[0].tokens, reads[1].tokens, atol=2e-2)
  np.testing.assert_allclose(reads[0].context, reads[1].context, atol=2e-2)


def test_gains_on_blocks_left_out():
  """Of two formulas unlike the pool; blocks that are read do not count."""
  gram = np.eye(3)
  blocks = np.array([[9.0, 0.03] * 2, [9.0, 0.04] * 2, [9.0, -0.01] * 2])
  gains = finetune.holdout_gains(
    gram, blocks, np.array([0]), np.array([1, 2]), 4
  )
  expected = [0.05 - 0.03, (0.03**2 + 0.01**2) ** 0.5 - 0.03]
  np.testing.assert_allclose(gains, expected, atol=2e-4)
  none = finetune.holdout_gains(gram, blocks, np.zeros(0, int), [1], 4)
  np.testing.assert_allclose(none, [0.04], atol=1e-6)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'proposals': 'all'}, "alphaformer.proposals is 'all': expected one of"),
    ({'rank': 'luck'}, "config.alphaformer.rank is 'luck': expected one of"),
    ({'ablate': 'pool'}, "config.alphaformer.ablate is 'pool': expected one"),
    ({'num_probes': 0}, 'config.alphaformer.num_probes is 0: expected >= 1'),
    ({'samples': 0}, 'config.alphaformer.samples is 0: expected >= 1'),
    ({'temperature': 0.0}, 'alphaformer.temperature is 0.0: expected above 0'),
    ({'top_p': 1.5}, 'config.alphaformer.top_p is 1.5: expected above 0'),
    ({'explore': -1.0}, 'config.alphaformer.explore is -1.0: expected >= 0'),
  ],
)
def test_bad_options(market, pretrained, changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config_of(pretrained, **changes), market)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'library': 15}, 'config.pretrain.library is 15: expected >= 16'),
    ({'num_probes': 7}, 'config.tokens.anchors is 8: expected 1 to the 7'),
    ({'held_share': 1.0}, 'config.pretrain.held_share is 1.0: expected above'),
    ({'horizons': (20,)}, r'horizons is \(20,\): .* the 5 of config.label'),
    (
      {'markets': 'gan'},
      "pretrain.markets is 'gan': expected one of real, pan",
    ),
  ],
)
def test_bad_options_of_pretraining(market, changes, message):
  config = tiny.get_config('pretraining')
  config.pretrain.update(changes)
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config, market)


def test_what_does_not_fit_is_refused(market, pretrained, tmp_path):
  config = config_of(pretrained)
  config.screen.twin = 0.0
  with pytest.raises(ValueError, match='config.screen.twin is 0'):
    experiment.make_method(config, market)
  config = config_of(pretrained)
  config.language.windows = (5, 10, 20)
  with pytest.raises(ValueError, match='does not write the formulas of config'):
    experiment.make_method(config, market)
  config = config_of(pretrained)
  config.checkpoint = str(tmp_path / 'none.npz')
  with pytest.raises(RunError, match='there is no checkpoint file'):
    experiment.make_method(config, market)
  with pytest.raises(ValueError, match='config.finetune.buffer is 0'):
    config = config_of(pretrained, ',finetune')
    config.finetune.buffer = 0
    experiment.make_method(config, market)


@pytest.mark.parametrize('market_name', ['csi300', 'sp500', 'simulated'])
def test_variants(market_name):
  methods = {
    kind: config_file.get_config(market_name + kind).method
    for kind in ('', ',zero_shot', ',finetune', ',pretrain')
  }
  assert [*methods.values()] == ['alphaformer'] * 3 + ['pretraining']
  whole = config_file.get_config(f'{market_name},zero_shot').to_dict()
  assert whole == config_file.get_config(market_name).to_dict()
  tuned = config_file.get_config(f'{market_name},finetune').to_dict()
  assert set(tuned) - set(whole) == {'finetune'}
  with pytest.raises(ValueError, match=r'unknown variant .*one of ,zero_shot'):
    config_file.get_config(f'{market_name},one_shot')


def test_what_comes_with_alphajax():
  config = config_file.get_config()
  model = formula_model.load('', config.language.to_dict())
  assert len(model.library) > 500 and len(model.probes) == 96
  assert model.sizes.anchors == 64 and model.about['data_hash']
  assert {'tasks', 'seconds', 'retrieval_share_10'} <= set(model.about['cost'])
  asked = config_file.get_config('csi300,pretrain_gpu')
  for part in ('network', 'tokens'):
    assert model.about['config'][part] == asked[part].to_dict()
  folder = pretrained_lib.SHIPPED.parent
  assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
