"""A run that begins with formulas of the user's, or of another run."""

import json

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict, config_dict

from alphajax import evaluate, experiment, markets, train
from alphajax.data import panel
from alphajax.factor import pool_rules
from alphajax.language import environment, library
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, given, validation
from alphajax.report import page
from alphajax.run import files, writer
from alphajax.run.clock import Clock

BASE = '# Mine.\n\nclose/open\nStd(close,10)/close  \n'


def config_of(base='', method='random_search', **changes):
  config = tiny.get_config(method)
  config.pool.base = base
  config.update(changes)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


def test_the_base_is_in_the_pool_first(market):
  bench = archive.make_bench(config_of(BASE), market)
  mined = archive.start(bench)
  formulas, weights = archive.members(bench, mined)
  assert list(map(str, formulas)) == ['close/open', 'Std(close,10)/close']
  assert len(mined.book) == mined.proposed == 2 and len(weights) == 2


def test_nothing_takes_the_place_of_the_base(market):
  """Slots of its own: the capacity is for what is mined."""
  bench = archive.make_bench(config_of(BASE), market)
  plain = archive.make_bench(config_of(), market)
  mined, free = archive.start(bench), archive.start(plain)
  grammar = environment.make(**config_of().language)
  drawn = environment.random_formulas(grammar, jax.random.key(0), 40)
  for part in (drawn[:20], drawn[20:]):
    mined, _ = archive.commit(bench, mined, part, Clock())
    free, _ = archive.commit(plain, free, part, Clock())
    ids = np.asarray(mined.pool.ids).tolist()
    assert ids[:2] == [0, 1] and len(ids) == 5 and min(ids) >= 0
  assert len(np.asarray(free.pool.ids)) == 3


def test_rules_choose_what_adds_to_the_base():
  """The weights of the base are those that least squares gives the whole."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(6, 4000))
  rows[3] = 0.8 * rows[0] + 0.6 * rows[3]
  rows /= rows.std(1, keepdims=True)
  mean = rows @ (0.05 * rows[0] + 0.03 * rows[4]) / 4000
  daily = np.repeat(mean[:, None], 100, 1) + 1e-4 * rng.normal(size=(6, 100))
  evidence = pool_rules.Evidence(
    (rows.astype(np.float16),), 1 / 4000, daily.astype(np.float32), 4
  )
  base = np.array([0])
  options = pool_rules.Options(penalty=1.0, ridge=0.0)
  rule = pool_rules.beyond(pool_rules.elastic_net, base)
  weights = rule(evidence, options)
  alone = pool_rules.elastic_net(evidence, options)
  assert abs(alone[3]) < 2e-3 and alone[0] > 0.03
  np.testing.assert_allclose(weights[[0, 4]], [0.05, 0.03], atol=2e-3)
  assert np.abs(weights[[1, 2, 3, 5]]).max() < 2e-3
  # Where the label is all of the base, nothing adds to it.
  noise = 0.05 * rng.normal(size=(6, 100))
  noise -= noise.mean(1, keepdims=True)
  alone = (rows @ rows[0] / 4000)[:, None] + noise
  only = evidence._replace(daily=alone.astype(np.float32))
  assert np.flatnonzero(rule(only, options)).tolist() == [0]


def test_an_archive_and_a_network_are_held_by_what_they_hold(tmp_path):
  config = config_of()
  assert experiment.inputs(config) == {}
  path = tmp_path / 'ideas.txt'
  path.write_text('close/open\n')
  config.update({'archive': str(path)})
  one = experiment.inputs(config)
  path.write_text('# a word\nclose/open\n')
  assert experiment.inputs(config) == one and list(one) == ['archive']
  path.write_text('close/open\nopen/close\n')
  assert experiment.inputs(config) != one
  config.archive = ''
  config.update({'checkpoint': str(tmp_path / 'net.npz')})
  with pytest.raises(ValueError, match='config.checkpoint: .*net.npz: no such'):
    experiment.inputs(config)
  (tmp_path / 'net.npz').write_bytes(b'weights')
  one = experiment.inputs(config)
  (tmp_path / 'net.npz').write_bytes(b'other weights')
  two = experiment.inputs(config)
  assert list(one) == list(two) == ['checkpoint'] and one != two


def test_panels_are_held_by_what_they_hold(tmp_path):
  for name in ('a_1', 'b_1'):
    (tmp_path / f'{name}.parquet').write_text(name)
  config = ConfigDict({'panels': {'folder': str(tmp_path), 'num_panels': 1}})
  one = experiment.inputs(config)
  (tmp_path / 'b_1.parquet').write_text('not read')
  assert experiment.inputs(config) == one and list(one) == ['panels.folder']
  (tmp_path / 'a_0.parquet').write_text('comes first')
  assert experiment.inputs(config) != one
  config = ConfigDict({
    'pretrain': {'panels': str(tmp_path)}, 'alphaformer': {'other': ''},
  })  # fmt: skip
  one = experiment.inputs(config)
  (tmp_path / 'b_1.parquet').write_text('read')
  assert experiment.inputs(config) != one and list(one) == ['pretrain.panels']
  config.alphaformer.other = str(tmp_path / 'gone.parquet')
  with pytest.raises(ValueError, match='alphaformer.other: .*gone.parquet: no'):
    experiment.inputs(config)
  assert experiment.inputs(ConfigDict({'pretrain': {'panels': 8}})) == {}


def test_a_run_whose_archive_grew_does_not_go_on(tmp_path):
  path = tmp_path / 'ideas.txt'
  path.write_text('close/open\n')
  config = config_of()
  config.archive, config.num_iterations = str(path), 1
  train.train(config, tmp_path / 'run')
  path.write_text('close/open\nopen/close\n')
  config.num_iterations = 2
  with pytest.raises(ValueError, match='other contents of config.archive'):
    train.train(config, tmp_path / 'run')
  path.write_text('close/open\n')
  train.train(config, tmp_path / 'run')


@pytest.mark.parametrize('key', ['archive', 'pool.base'])
def test_what_looks_back_further_than_the_warm_up(market, key):
  config = config_of(lookback=10)
  config.update_from_flattened_dict({key: 'close\nMean(Ref(close,15),20)\n'})
  short = markets.load_market(config)[0]
  message = f'config.{key} has Mean.* looks back 34 bars, .*config.lookback=34'
  with pytest.raises(ValueError, match=message):
    archive.make_bench(config, short)
  config.lookback = 34
  assert archive.make_bench(config, markets.load_market(config)[0]).given


def test_an_archive_that_knows_later_days_is_said(tmp_path):
  config = config_of(archive=str(tmp_path))
  assert given.seen_later(config) == []  # A file of whatever origin.
  made = config.to_dict()
  files.write_json(tmp_path / 'config.json', made)
  assert given.seen_later(config) == []
  made['splits']['valid'] = config.splits.test
  files.write_json(tmp_path / 'config.json', made)
  (said,) = given.seen_later(config)
  assert f'found on days until {config.splits.test[1]}, and' in said
  config.archive = str(tmp_path / 'pool.json')
  assert given.seen_later(config)


def test_what_is_given_in_vain_is_said():
  config = config_of(BASE, archive='runs/a')
  assert given.without_effect(config) == []
  for method in ('lstm', 'published'):
    config.method = method
    archived, base = given.without_effect(config)
    assert archived.startswith(f'config.archive changes nothing of {method}')
    assert base.startswith('config.pool.base changes nothing')
  config.archive = config.pool.base = ''
  assert given.without_effect(config) == []


@pytest.mark.parametrize('rule', ['algorithm1', 'elastic_net'])
def test_through_train_and_evaluate(tmp_path, rule):
  """The file may go: the run holds its base."""
  file = tmp_path / 'base.txt'
  file.write_text(BASE)
  config = config_of(str(file), num_iterations=2)
  config.pool.rule = rule
  config.pool.penalty = 0.5
  train.train(config, tmp_path / 'run')
  file.unlink()
  pool = json.loads((tmp_path / 'run' / 'pool.json').read_text())
  texts = [factor['formula'] for factor in pool['factors']]
  assert 'close / open' in texts or 'close/open' in texts
  text = page.write_report(tmp_path / 'run').read_text(encoding='utf-8')
  chosen = 'chosen by elastic_net from all formulas evaluated'
  assert (chosen in text) == (rule == 'elastic_net')
  assert ('the best by validation' in text) == (rule == 'algorithm1')
  results = evaluate.evaluate(tmp_path / 'run')
  assert results['opened'] == 1
  held = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert held['pool']['base'] == 'close/open\nStd(close,10)/close\n'
  again = config_dict.ConfigDict(held)
  again.num_iterations = 3
  train.train(again, tmp_path / 'run')


@pytest.mark.parametrize('method', ['random_search', 'evolution'])
def test_a_run_goes_on_where_another_stopped(tmp_path, method):
  first = train.train(config_of(num_iterations=2), tmp_path / 'first')
  config = config_of(
    method=method, archive=str(tmp_path / 'first'), num_iterations=1
  )
  config.screen.twin = 0.99
  second = train.train(config, tmp_path / 'second')
  keys, before = list(second.state.mined.book), first.state.mined.book
  assert keys[: len(before)] == list(before)
  assert len(keys) == len(before) + 6
  assert sum(map(len, second.state.known.rows)) == len(keys)
  if method == 'evolution':
    assert len(second.state.derivations) == len(keys)


@pytest.mark.parametrize('rule', ['algorithm1', 'elastic_net'])
def test_an_archive_that_fills_the_budget_gives_a_pool(
  tmp_path, monkeypatch, capsys, rule
):
  """Chosen from what was read; nothing is proposed."""
  file = tmp_path / 'archive.txt'
  file.write_text(f'{BASE}high/low\n')
  config = config_of(archive=str(file), max_evaluated=2)
  config.pool.update(rule=rule, keep=2)
  monkeypatch.setattr('alphajax.methods.random_search.propose', None)
  trained = train.train(config, tmp_path / 'run')
  let_go = 'keep = 2: 1 of the 3 formulas with a value were let go'
  assert capsys.readouterr().err.count(let_go) == (rule == 'elastic_net')
  assert 'chosen from the 3 formulas that the run began' in trained.reason
  result = json.loads((tmp_path / 'run' / 'pool.json').read_text())
  assert result['iteration'] == 1 and result['factors']
  (record,) = writer.read(tmp_path / 'run' / 'metrics.jsonl')
  assert record['evaluated'] == record['proposed'] == 3
  # The reason is said of a run that is finished, and the report is written.
  assert train.train(config, tmp_path / 'run').reason == trained.reason
  page.write_report(tmp_path / 'run')


def test_a_run_without_a_pool_says_what_to_type(tmp_path, capsys):
  file = tmp_path / 'archive.txt'
  file.write_text(f'{BASE}high/low\n')
  config = config_of(archive=str(file), max_evaluated=3)
  config.pool.update(rule='elastic_net', penalty=1000.0)
  train.train(config, tmp_path / 'none')
  said = capsys.readouterr().err
  assert 'No pool was found: elastic_net gave none of 3 formulas' in said
  remedy = f'--config.archive={tmp_path / "none"}, --config.max_evaluated=3'
  assert (
    'Try a smaller --config.pool.penalty, such as 250' in said
    and remedy in said
  )
  config.archive = str(tmp_path / 'none')
  config.pool.penalty = 0.0
  train.train(config, tmp_path / 'some')
  assert (tmp_path / 'some' / 'pool.json').exists()


def test_a_pool_is_a_base(tmp_path, market):
  path = tmp_path / 'pool.json'
  path.write_text(json.dumps({'factors': [{'formula': 'high/low'}]}))
  read = given.read(config_of(str(path)), market.train.panel.feature_names)
  assert list(map(str, read.base)) == ['high/low']


def test_what_the_base_needs(market):
  config = config_of('Mean($flow,300)\nclose\n')
  assert given.columns(config) == ('flow',)
  assert markets.lookback(config) == 299
  text = formula_lib.key(given.base_formulas(config)[0])
  assert 'flow' in text


@pytest.mark.parametrize(
  'base, message',
  [
    ('nowhere.txt', 'config.pool.base is nowhere.txt: there is no such file'),
    ('close\nMaen(close,5)\n', 'config.pool.base, line 2: '),
  ],
)
def test_a_base_that_cannot_be(market, base, message):
  with pytest.raises(ValueError, match=message):
    archive.make_bench(config_of(base), market)


def test_all_bad_lines_are_named_or_left_out(market, tmp_path):
  path = tmp_path / 'base.txt'
  path.write_text('close\nMaen(close,5)\nhigh/low\nMean(close,5\n')
  config = config_of(str(path), archive=str(path))
  names = market.train.panel.feature_names
  with pytest.raises(
    ValueError,
    match=r'(?s)base.txt, line 2: .*Maen.*\n.*base.txt, line 4: .*\n'
    r'--config.strict=False leaves such lines out',
  ):
    given.read(config, names)
  config.strict = False
  with pytest.warns(UserWarning, match=r'2 lines are left out\n.*line 2'):
    read = given.read(config, names)
  assert list(map(str, read.base)) == ['close', 'high/low'] and not read.archive
  with pytest.warns(UserWarning):
    config.pool.base = given.as_text(config)
  assert 'Mean(close,5' not in config.pool.base  # What a run holds is sound.


def test_files_in_another_notation(tmp_path):
  """Skew is another one there: nothing of it is read with our meaning."""
  path = tmp_path / 'base.txt'
  path.write_text('# qlib\nSkew($close,20)/$close\nRef($flow, 1)\n')
  config = config_of(str(path))
  with pytest.raises(ValueError, match='line 2: Skew.*--config.dialect=qlib'):
    given.as_text(config)
  config.dialect = 'qlib'
  features = (*panel.FEATURES, 'flow')
  expected = [
    formula_lib.parse(text, features, dialect='qlib')
    for text in ('Skew($close,20)/$close', 'Ref($flow,1)')
  ]
  assert given.read(config, features).base == tuple(expected)
  assert given.columns(config) == ('flow',)
  # A run holds them in ours, and goes on whatever becomes of the file.
  config.pool.base = given.as_text(config)
  assert given.read(config, features).base == tuple(expected)
  path.write_text('Mean(close,5\n')
  config.archive = str(path)
  with pytest.raises(ValueError, match='base.txt, line 1: '):
    given.read(config, features)
  config.dialect = 'clib'
  with pytest.raises(ValueError, match="config.dialect is 'clib': expected"):
    given.read(config, features)


def test_a_signal_of_the_user_is_a_base(market):
  """A column of the data that is no price."""
  full = market.train.panel
  signal = np.asarray(full.features[3] - full.features[0])[None]
  wider = full.replace(
    features=np.concatenate([full.features, signal]),
    feature_names=(*full.feature_names, 'mine'),
  )
  config = config_of('mine\nclose/open\n')
  assert given.columns(config) == ('mine',) and markets.lookback(config) >= 0
  both = market._replace(train=market.train.replace(panel=wider))
  bench = archive.make_bench(config, both)
  formulas, weights = archive.members(bench, archive.start(bench))
  assert list(map(str, formulas)) == ['mine', 'close/open'] and weights[0] != 0


def test_an_archive_of_published_libraries(market, tmp_path, monkeypatch):
  config = config_of(archive='alpha158,gtja191', lookback=0)
  features = market.train.panel.feature_names
  found = given.read(config, features).archive
  texts = [
    text
    for name in ('alpha158', 'gtja191')
    for text in library.load(name, features=features).values()
  ]
  expected = {formula_lib.key(formula_lib.parse(text)) for text in texts}
  assert len(found) == len(expected) > 250
  assert set(map(formula_lib.key, found)) == expected
  # The warm-up is long enough for them.
  longest = max(map(formula_lib.lookback, found))
  assert markets.lookback(config) >= longest > markets.lookback(config_of())
  with pytest.raises(ValueError, match='no such file or folder'):
    given.read(config_of(archive='alpha158,mine.txt'), features)
  # Nothing is read from the folder of a run that one happens to be in.
  monkeypatch.chdir(tmp_path)
  later = {'splits': {'train': ['2010-01-01', '2099-01-01']}}
  files.write_json(tmp_path / 'config.json', later)
  assert given.seen_later(config) == []


def test_a_folder_that_is_no_run(tmp_path, market):
  with pytest.raises(ValueError, match='config.archive is .* a folder without'):
    archive.make_bench(config_of(archive=str(tmp_path)), market)
  broken = tmp_path / 'pool.json'
  broken.write_text('{"factors": 3}')
  with pytest.raises(ValueError, match='expected a pool.json with "factors"'):
    archive.make_bench(config_of(str(broken)), market)


def test_validated_with_its_base(market):
  bench = archive.make_bench(config_of(BASE), market)
  mined, figures = validation.validate(bench, archive.start(bench), Clock())
  assert figures['pool_size'] == figures['evaluated'] == 2
