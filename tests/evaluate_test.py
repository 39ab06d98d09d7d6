"""The test split: opened by `evaluate` alone, counted, and scored rightly."""

import json
import shutil
from unittest.mock import Mock

import commands
import numpy as np
import oracle
import pytest
import tiny

from alphajax import evaluate, experiment, markets, train
from alphajax.analysis import novelty
from alphajax.factor import evaluate as factor_values
from alphajax.judge import result, selection, signals
from alphajax.judge.rules import PAPER
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.report import evaluation, notices, page
from alphajax.run import files, folder
from alphajax.run.files import RunError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'run'
  config = tiny.get_config('random_search')
  train.train(config, workdir)
  return config, workdir


@pytest.fixture
def run(trained, tmp_path):
  """A copy of the run, to be spoilt."""
  shutil.copytree(trained[1], tmp_path / 'run')
  return tmp_path / 'run'


def read(path):
  return json.loads(path.read_text())


def test_figures_are_those_of_the_pool_on_the_test_split(trained, run):
  config, _ = trained
  results = evaluate.evaluate(run)
  assert read(run / 'results.json') == results
  split = markets.load_split(config, 'test')
  panel = split.panel
  members, target = np.asarray(panel.mask), np.asarray(split.target)
  features = dict(
    zip(panel.feature_names, np.asarray(panel.features), strict=True)
  )
  pool = read(run / 'pool.json')
  with np.load(run / 'daily_test.npz') as series:
    dates = np.array(panel.dates)[split.scored]
    np.testing.assert_array_equal(series['dates'], dates)
    assert dates[0] > config.splits.valid[1]
    for n, factor in enumerate(pool['factors']):
      formula = formula_lib.parse(factor['formula'])
      values = oracle.evaluate(formula, features, members)
      daily = oracle.daily_ic(values, target, members)[split.scored]
      np.testing.assert_allclose(series['factor_ic'][n], daily, atol=2e-4)
      figures = results['factors'][n]
      assert figures['formula'] == factor['formula']
      assert figures['test']['ic']['mean'] == pytest.approx(
        daily.mean(), abs=1e-4
      )
    assert results['test']['ic']['mean'] == pytest.approx(
      series['ic'].mean(), abs=1e-6
    )
  assert results['ceiling'] > 0


def test_every_opening_is_counted_once_the_days_are_loaded(run, monkeypatch):
  first = evaluate.evaluate(run)

  def fail(*args):
    raise MemoryError('no room')

  # Nothing was seen: not counted.
  with monkeypatch.context() as patch:
    patch.setattr(markets, 'load_split', fail)
    with pytest.raises(MemoryError):
      evaluate.evaluate(run)
  assert read(run / 'results.json') == first
  # Seen, and then it failed: counted, and the first figures are still there.
  with monkeypatch.context() as patch:
    patch.setattr(result, 'describe', fail)
    with pytest.raises(MemoryError):
      evaluate.evaluate(run)
  assert read(run / 'results.json') == {**first, 'opened': 2}
  third = evaluate.evaluate(run)
  assert third == {**first, 'opened': 3}
  assert 'opened 3 times' in evaluate.table(run, third)


def test_what_is_evaluated_is_judged(run):
  results = evaluate.evaluate(run)
  for key in ('ic', 'rank_ic'):
    assert results['sheet']['figures'][key] == pytest.approx(
      results['test'][key]
    )
  with np.load(run / 'daily_test.npz') as series:
    assert len(series['coverage']) == len(series['dates'])
    assert series['backtest_dates'][0] == series['dates'][0]
    year = results['backtest']['years'][-1]
    days = np.char.startswith(series['backtest_dates'], year['period'])
    nav = series['backtest_nav']
    before = nav[~days][-1]
    assert year['portfolio'] == pytest.approx(nav[-1] / before - 1)
    assert results['backtest']['spec']['deal'] == 'next_open'
  # The members are fewer than the 60 that are held by default.
  assert results['backtest']['spec']['top_k'] < 10


def test_rules_that_none_can_follow_open_nothing(run):
  rules = PAPER._replace(sell_cost=-1.0)
  request = evaluate.make_request(None, None, None, rules)
  with pytest.raises(ValueError, match='sell_cost=-1.0: expected basis points'):
    evaluate.evaluate(run, request)
  assert not (run / 'results.json').exists()
  without = evaluate.evaluate(run, evaluate.Request(backtest=None))
  assert 'sheet' not in without and without['opened'] == 1


def test_rules_are_those_of_the_config_unless_given(run):
  config = read(run / 'config.json')
  config['backtest'] |= {
    'top_k': 4,
    'drop_n': 1,
    'sell_cost': 5.0,
    'limits': 'none',
  }
  files.write_json(run / 'config.json', config)
  told = evaluate.evaluate(run)['backtest']['spec']
  assert (told['top_k'], told['sell_cost'], told['limits']) == (4, 5.0, None)
  changes = {'drop_n': 2, 'limits': '0.1', 'benchmark': 'close'}
  request = evaluate.make_request(None, None, None, changes)
  before = read(run / 'results.json')
  with pytest.raises(ValueError, match="='close' differs between stocks"):
    evaluate.evaluate(run, request)
  assert read(run / 'results.json') == before  # Nothing was opened.
  changes = {'drop_n': 2, 'limits': '0.1', 'stamp_duty': 'china'}
  request = evaluate.make_request(None, None, None, changes)
  told = evaluate.evaluate(run, request)['backtest']['spec']
  assert (told['top_k'], told['drop_n'], told['limits']) == (4, 2, 0.1)
  # A folder of an older version has the default.
  del config['backtest']
  files.write_json(run / 'config.json', config)
  told = evaluate.evaluate(run)['backtest']['spec']
  assert told['sell_cost'] == 15.0 and told['limits'] == 'board'


def test_the_best_of_as_many_random_formulas(trained, run):
  config, _ = trained
  evaluated = json.loads(
    (run / 'metrics.jsonl').read_text().splitlines()[-1]
  )['evaluated']  # fmt: skip
  plain = evaluate.evaluate(run)
  assert 'best_of' not in plain
  request = evaluate.TEST_SPLIT._replace(best_of=4, backtest=None)
  results = evaluate.evaluate(run, request)
  best = results['best_of']
  assert results['opened'] == 2 and best['count'] == min(4, evaluated)
  drawn = experiment.random_formulas(config, run, 4)
  valid, test = (markets.load_split(config, name) for name in ('valid', 'test'))
  label = markets.label_spec(config)
  expected = selection.best_of(drawn, valid, test, label)
  assert best['formula'] == expected.formula and best['sign'] == expected.sign
  assert best['ic'] == pytest.approx(expected.figures['ic'])
  less = results['test']['ic']['mean'] - expected.figures['ic']['mean']
  assert best['less']['mean'] == pytest.approx(less, abs=1e-6)
  assert len(experiment.random_formulas(config, run, 10**6)) == evaluated
  text = evaluate.table(run, results)
  assert f'The best of {best["count"]} random formulas by validation, ' in text
  assert f'the best of {best["count"]} random formulas, chosen by' in text
  # Where nothing was evaluated the days stay closed.
  (run / 'metrics.jsonl').write_text('')
  with pytest.raises(RunError, match='best_of=4: .* has evaluated no formula'):
    evaluate.evaluate(run, request)
  assert read(run / 'results.json')['opened'] == 2


def test_factors_have_cards(trained, run, monkeypatch):
  config, _ = trained
  pool = read(run / 'pool.json')
  first, *others = [factor['formula'] for factor in pool['factors']]
  features = config.language.features
  mine = {  # All published ones take half a minute.
    'mine #1': formula_lib.parse(f'0-({first})', features),
    'mine #2': formula_lib.parse('Mean(volume,5)', features),
  }
  monkeypatch.setattr(novelty, 'published', lambda features: mine)
  request = evaluate.TEST_SPLIT._replace(cards=True, backtest=None)
  cards = [f['card'] for f in evaluate.evaluate(run, request)['factors']]
  near = cards[0]['published']
  assert near['name'] == 'mine #1'
  assert near['correlation'] == pytest.approx(-1.0, abs=2e-3)
  split = markets.load_split(config, 'test')
  label = markets.label_spec(config)
  formulas = [formula_lib.parse(text, features) for text in (first, *others)]
  for card, values in zip(
    cards, factor_values.values(formulas, split.panel), strict=True
  ):
    sheet = signals.decay(
      values, split.panel, label=label, days=np.asarray(split.scored)
    )
    assert card['decay']['5'] == pytest.approx(sheet[5]['ic']['mean'], abs=1e-4)
    assert 0 <= card['turnover'] <= 1
  text = page.write_report(run).read_text()
  assert 'is mine #1 reversed (correlation' in text
  assert 'of its highest fifth is new' in text and 'IC over 1, 5, 10' in text
  # Of days with a name as well, where the test split was not opened.
  results = read(run / 'results.json')
  (run / 'results.json').write_text(
    json.dumps({'opened': 0, 'evaluations': {'other': results}})
  )
  named = page.factor_rows(folder.load_run(run))
  assert named[0]['card'] and not notices.notices(folder.load_run(run))


def test_the_table_calls_weeks_bars(run):
  results = evaluate.evaluate(run)
  text = evaluate.table(run, results)
  assert 'return over 5 days.' in text and '\ndays ' in text
  with np.load(run / 'daily_test.npz') as series:
    weeks = {key: values[..., ::5] for key, values in series.items()}
  np.savez(run / 'daily_test.npz', **weeks)
  text = evaluate.table(run, results)
  assert 'return over 5 bars.' in text and '\nbars ' in text


def test_the_table_names_factors_that_leave_float32(run):
  pool = read(run / 'pool.json')
  assert 'float32' not in evaluate.table(run, evaluate.evaluate(run))
  pool['factors'][0]['formula'] = 'Pow(volume,10)'
  (run / 'pool.json').write_text(json.dumps(pool))
  results = evaluate.evaluate(run)
  share = 100 * results['factors'][0]['test']['lost']
  assert 90 < share <= 100
  said = f'Pow(volume,10) loses {share:.2g} % of its cells to the range'
  assert evaluate.table(run, results).count('float32') == 1
  assert said in evaluate.table(run, results)


@pytest.mark.parametrize(
  'spoil, message',
  [
    (lambda factor: factor.update(formula='Maen(close,5)'), 'factor 1: .*Maen'),
    (lambda factor: factor.update(weight=float('nan')), 'its weight is nan'),
    (lambda factor: factor.pop('weight'), 'its weight is None'),
  ],
)
def test_a_pool_that_cannot_be_read_opens_nothing(run, spoil, message):
  pool = read(run / 'pool.json')
  spoil(pool['factors'][0])
  (run / 'pool.json').write_text(json.dumps(pool))
  with pytest.raises(RunError, match=message):
    evaluate.evaluate(run)
  assert not (run / 'results.json').exists()


def test_other_days_are_an_evaluation_of_their_own(trained, run):
  config, _ = trained
  first = evaluate.evaluate(run)
  days = config.splits.valid
  request = evaluate.make_request(':'.join(days), None, None)
  results = evaluate.evaluate(run, request)
  (entry,) = results['evaluations'].values()
  assert {k: v for k, v in results.items() if k != 'evaluations'} == first
  assert entry['opened'] == 1 and entry['split'] == list(days)
  # Those of validation, which training has written.
  valid = read(run / 'pool.json')['pool']['valid']
  assert entry['test']['ic']['mean'] == pytest.approx(valid['ic']['mean'])
  assert (
    evaluate.evaluate(run, request)['evaluations'][request.name]['opened'] == 2
  )
  text = evaluate.table(run, results, request.name)
  assert 'were opened 1 time.' in text
  assert (
    f'{days[0]}..{days[1]} are valid days of the run, which was chos' in text
  )
  assert 'are train days' not in text and 'days of the run' not in (
    evaluate.table(run, results)
  )


def test_other_data_need_a_name(trained, run, tmp_path):
  config = read(run / 'config.json')
  config['data']['simulate']['seed'] += 1
  (run / 'config.json').write_text(json.dumps(config))
  named = evaluate.make_request(
    ':'.join(trained[0].splits.test), 'elsewhere', None
  )
  entry = evaluate.evaluate(run, named)['evaluations']['elsewhere']
  assert entry['data_hash'] != read(run / 'provenance.json')['data_hash']
  assert (run / 'daily_elsewhere.npz').exists()
  # Other data or days under its name would be counted with it.
  before = read(run / 'results.json')
  config['data']['simulate']['seed'] += 1
  (run / 'config.json').write_text(json.dumps(config))
  other = evaluate.make_request(':'.join(trained[0].splits.valid), 'elsewhere',
                                None)  # fmt: skip
  for request in (named, other):
    with pytest.raises(RunError, match="evaluation 'elsewhere' .*_2$"):
      evaluate.evaluate(run, request)
  assert read(run / 'results.json') == before


def test_a_name_of_a_split_is_that_of_no_other_days():
  for name in ('train', 'valid', 'test'):
    with pytest.raises(ValueError, match=f"--name is '{name}'"):
      evaluate.make_request('2019-01-01:2019-12-31', name, None)


def test_days_that_were_trained_on_are_said():
  splits = {'train': ('2010-01-01', '2017-12-31'), 'test': ('2021', '2022')}
  entry = {'split': ['2016-01-01', '2018-12-31']}
  (line,) = evaluation._seen_lines(splits, entry)
  assert line.startswith('2016-01-01..2017-12-31 are train days of the run')
  assert not list(evaluation._seen_lines(splits, {}))


@pytest.mark.parametrize(
  'split, name, message',
  [
    ('2025-01-01', None, 'expected --split=2025-01-01:2025-12-31'),
    ('2025-01-01:20251231', None, "'20251231' is not a day"),
    (None, 'later', '--name needs days'),
    ('2025-01-01:2025-12-31', 'a/b', "--name is 'a/b'"),
    ('2025-01-01:2025-12-31', 'train', "--name is 'train'"),
  ],
)
def test_bad_requests(split, name, message):
  with pytest.raises(ValueError, match=message):
    evaluate.make_request(split, name, None)


def test_days_that_the_data_lack_open_nothing(run):
  request = evaluate.make_request('2035-01-01:2035-12-31', None, None)
  with pytest.raises(ValueError, match='2035'):
    evaluate.evaluate(run, request)
  assert not (run / 'results.json').exists()


def test_restores_the_pool_bit_for_bit(run):
  pool = read(run / 'pool.json')
  found = evaluate.read_pool(run / 'pool.json', pool, vocab.FEATURES)
  texts = [formula_lib.to_text(formula) for formula in found.formulas]
  assert texts == [factor['formula'] for factor in pool['factors']]
  assert list(found.weights) == [f['weight'] for f in pool['factors']]


@pytest.mark.parametrize(
  'spoil, message',
  [
    (lambda run: shutil.rmtree(run), 'no such folder'),
    (lambda run: (run / 'pool.json').unlink(), 'has found no pool yet'),
    (lambda run: (run / 'config.json').unlink(), 'not the folder of a run'),
  ],
)
def test_refuses_what_is_no_run(run, spoil, message):
  spoil(run)
  with pytest.raises(RunError, match=message):
    evaluate.evaluate(run)
  assert not (run / 'results.json').exists()


@pytest.mark.parametrize('name', ['seed_1', 'evolution/seed_1'])
@pytest.mark.parametrize('read', [evaluate.result_of, folder.load_run])
def test_names_a_run_in_a_folder_of_several(name, read, tmp_path):
  (tmp_path / name).mkdir(parents=True)
  files.write_json(tmp_path / name / 'config.json', {})
  with pytest.raises(RunError, match=f'folder of a run, such as .*{name} in'):
    read(tmp_path)


def test_refuses_other_data_and_does_not_count(run):
  config = read(run / 'config.json')
  config['data']['simulate']['seed'] += 1
  (run / 'config.json').write_text(json.dumps(config))
  with pytest.raises(RunError, match='is not what .* was trained on'):
    evaluate.evaluate(run)
  with pytest.raises(RunError, match='say where they are now with --data'):
    evaluate.evaluate(
      run, evaluate.Request(data_path=str(run / 'moved.parquet'))
    )
  assert not (run / 'results.json').exists()


def test_a_predictor_is_restored_with_data_that_moved(tmp_path, monkeypatch):
  config = tiny.get_config('random_search')
  config.data.path = str(tmp_path / 'gone.parquet')
  for name, value in {
    'config.json': config.to_dict(),
    'pool.json': {'iteration': 1, 'factors': []},
  }.items():
    (tmp_path / name).write_text(json.dumps(value))
  asked = []

  def restore(config, workdir):
    asked.append(config.data.path)
    return Mock(), None

  monkeypatch.setattr(experiment, 'restore', restore)
  with pytest.raises(RunError, match='gone.parquet: no such data; say where'):
    evaluate.result_of(tmp_path)
  evaluate.result_of(tmp_path, 'moved.parquet')
  (tmp_path / 'gone.parquet').touch()  # Later data are no reason for others.
  evaluate.result_of(tmp_path, 'later.parquet')
  assert asked == ['moved.parquet', str(tmp_path / 'gone.parquet')]


def test_command_prints_the_splits_side_by_side(run):
  done = commands.run('alphajax.evaluate', f'--workdir={run}', '--nocards')
  assert done.returncode == 0, done.stderr
  said = done.stdout
  header = said.splitlines()[1].split()
  assert header == ['train', 'valid', 'test']
  for name in ('IC', 'RankIC', 'ICIR', 'coverage', 'planted IC'):
    assert f'\n{name} ' in said
  assert 'opened 1 time.' in said
  shutil.rmtree(run)
  result = commands.run('alphajax.evaluate', f'--workdir={run}')
  assert result.returncode == 1
  assert result.stderr.strip().endswith('no such folder')


def test_the_pool_is_counted_in_the_ledger(trained, run, tmp_path):
  config, _ = trained
  path = tmp_path / 'days.ledger.jsonl'
  request = evaluate.TEST_SPLIT._replace(ledger=str(path))
  results = evaluate.evaluate(run, request)
  size = len(read(run / 'pool.json')['factors'])
  assert results['judged'] == size + 1 and results['ledger'] == str(path)
  assert evaluate.evaluate(run, request)['judged'] == size + 1
  (line, again) = map(json.loads, path.read_text().splitlines())
  assert (line['start'], line['end']) == tuple(config.splits.test)
  assert line['by'] == 'evaluate' and line['keys'] == again['keys']
  table = evaluate.table(run, results)
  assert f'{size + 1} formulas and pools' in table
  wide = results['sheet']['figures']['of_judged']['ic']
  assert wide['low'] < results['test']['ic']['low']
  said = f'IC {wide["mean"]:.4f} [{wide["low"]:.4f}, {wide["high"]:.4f}]'
  assert f'As one of {size + 1} judged on these days: {said}' in table
  # A ledger that cannot be trusted: the days stay closed.
  path.write_text('damaged\n')
  opened = read(run / 'results.json')['opened']
  with pytest.raises(RunError, match='line 1 is damaged'):
    evaluate.evaluate(run, request)
  assert read(run / 'results.json')['opened'] == opened
