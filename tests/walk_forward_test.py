"""Years walked forward: nothing of a year is seen before it is scored."""

import json
import shutil
from pathlib import Path

import commands
import numpy as np
import pandas as pd
import pytest
import tiny

from alphajax import folds, markets, train, walk_forward, walks
from alphajax.configs import common
from alphajax.factor import runtime
from alphajax.judge import bench, figures, joined, ledger
from alphajax.report import page
from alphajax.report import walk as walk_text
from alphajax.run.files import RunError

YEARS = folds.Options(years=(2012, 2013))
DAYS = 1060  # Business days from 2010-01-04 to 2014-01-24.


@pytest.fixture(scope='module', autouse=True)
def nothing_is_forgotten(tmp_path_factory):
  """Folds so small leave little behind; see `runtime_test.py`.

  The ledger is this file's own: that of the market stays between sessions.
  """
  own = tmp_path_factory.mktemp('ledger') / 'walks.ledger.jsonl'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runtime, 'forget', lambda: None)
    patch.setattr(ledger, 'place', lambda *args: own)
    yield


def config_of(**changes):
  config = tiny.get_config('random_search')
  common.use_simulated_market(config, num_days=DAYS, num_stocks=30)
  config.data.simulate.strength = 0.2
  config.language.operators = ('CSRank', 'Mean', 'Div', 'Corr')
  config.language.windows = (10,)
  config.num_iterations = 2
  config.update(changes)
  return config


def run(workdir, **options):
  planned = walk_forward.plan(config_of(), workdir, YEARS)
  return walk_forward.walk(planned, workdir, **options)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp('walks') / 'whole'


@pytest.fixture(scope='module')
def summary(workdir):
  return run(workdir)


@pytest.fixture
def copy(summary, workdir, tmp_path):
  """A copy of the walk, to be spoilt."""
  shutil.copytree(workdir, tmp_path / 'copy')
  return tmp_path / 'copy'


def arrays(workdir):
  with np.load(workdir / 'walk_forward.npz') as file:
    return dict(file)


def assert_same(workdir, other):
  """The same bits: pools, and all that is joined, but for the clock."""
  for name, values in arrays(workdir).items():
    np.testing.assert_array_equal(values, arrays(other)[name])
  for year in ('2012', '2013'):
    pools = [(w / year / 'pool.json').read_bytes() for w in (workdir, other)]
    assert pools[0] == pools[1]


def business_days(first, last):
  days = np.arange(
    np.datetime64(first), np.datetime64(last) + np.timedelta64(1, 'D')
  )
  return [str(day) for day in days[np.is_busday(days)]]


DATES = business_days('2010-01-04', '2020-12-31')


def test_a_fold_trains_until_validation_and_that_until_its_year():
  planned = folds.plan(config_of(), DATES)
  assert [fold.year for fold in planned] == list(range(2013, 2021))
  splits = planned[0].config.splits
  assert splits.train == ('2010-01-04', '2011-12-31')
  assert splits.valid == ('2012-01-01', '2012-12-31')
  # Five bars more, which the labels of the last days of the year read.
  assert splits.test == ('2013-01-01', '2014-01-07')
  # The data end with the last year.
  assert planned[-1].config.splits.test == ('2020-01-01', '2020-12-31')
  assert planned[-1].config.splits.train == ('2010-01-04', '2018-12-31')
  for fold in planned:
    markets.check_splits(fold.config)


def test_a_window_of_years():
  options = folds.Options(window=3, valid_years=2)
  planned = folds.plan(config_of(), DATES, options)
  assert [fold.year for fold in planned] == list(range(2015, 2021))
  splits = planned[1].config.splits
  assert splits.train == ('2011-01-01', '2013-12-31')
  assert splits.valid == ('2014-01-01', '2015-12-31')
  assert splits.test[0] == '2016-01-01'
  splits = folds.plan(config_of(), DATES, options)[0].config.splits
  assert splits.train == ('2010-01-01', '2012-12-31')


def test_few_years_are_walked_as_far_as_they_go():
  dates = business_days('2010-01-04', '2012-12-31')
  assert [fold.year for fold in folds.plan(config_of(), dates)] == [2012]
  config = config_of()
  config.splits.train = ('2011-01-01', '2017-12-31')
  (fold,) = folds.plan(config, business_days('2009-03-02', '2013-12-20'), YEARS
                       ._replace(years=(2013, 2013)))  # fmt: skip
  assert fold.config.splits.train == ('2011-01-01', '2011-12-31')


@pytest.mark.parametrize(
  'last, options, message',
  [
    ('2013-12-31', {'years': (2012, 2014)}, 'whole years are 2010:2013'),
    (
      '2013-12-31',
      {'years': (2009, 2013)},
      '--years=2009:2013: the data cover',
    ),
    ('2013-12-31', {'years': (2011, 2013)}, 'first can be 2012 and not 2011'),
    ('2013-12-31', {'window': 4}, r'\(--window=4\).*no whole year is left'),
    ('2013-12-31', {'window': 2, 'years': (2012, 2013)}, 'first can be 2013'),
    ('2010-11-30', {}, 'no whole year to test on: the data cover 2010-01-04'),
    ('2011-06-30', {}, 'no whole year is left'),
    ('2013-12-31', {'window': -1}, '--window is -1'),
    ('2013-12-31', {'valid_years': 0}, '--valid_years 0'),
  ],
)
def test_years_that_the_data_do_not_have(last, options, message):
  dates = business_days('2010-01-04', last)
  with pytest.raises(ValueError, match=message):
    folds.plan(config_of(), dates, folds.Options(**options))


def test_what_is_typed():
  assert folds.read_years('2013:2024') == (2013, 2024)
  assert folds.read_years('2013') == (2013, 2013)
  assert folds.read_years('') is None
  for text in ('2014:2013', '13-14', 'all'):
    with pytest.raises(ValueError, match='expected --years=2013:2024'):
      folds.read_years(text)
  assert folds.read_list(['2013', '2015']) == [2013, 2015]
  with pytest.raises(ValueError, match='expected years, --folds=2013,2014'):
    folds.read_list(['first'])


def test_years_of_a_file(tmp_path):
  """All days of it count, whatever the splits of the config are."""
  dates = business_days('2010-01-04', '2013-12-31')
  price = np.linspace(9, 11, len(dates))
  row = {n: price for n in ('open', 'high', 'low', 'close', 'volume')}
  frame = pd.concat(
    pd.DataFrame({'date': dates, 'symbol': symbol, **row}) for symbol in 'ABC'
  )
  frame.to_parquet(tmp_path / 'prices.parquet')
  config = config_of()
  config.data.path = str(tmp_path / 'prices.parquet')
  assert list(markets.all_days(config)) == dates
  planned = walk_forward.plan(config, tmp_path / 'walk')
  assert [fold.year for fold in planned] == [2013]
  config.data.path = str(tmp_path / 'nowhere.parquet')
  with pytest.raises(ValueError, match='say where the data are'):
    walk_forward.plan(config, tmp_path / 'walk')


def test_no_label_reads_the_next_part():
  panel = markets.simulated(config_of()).panel
  ahead = config_of().label.exit
  for fold in folds.plan(config_of(), panel.dates, YEARS):
    market, _ = markets.load_market(fold.config)
    test = markets.load_split(fold.config, 'test')
    for split, after in zip(market, ('valid', 'test'), strict=True):
      last = np.array(split.panel.dates)[split.scored][-1]
      reads = panel.dates[panel.dates.index(last) + ahead]
      assert reads < fold.config.splits[after][0]
      assert split.panel.dates[-1] < fold.config.splits[after][0]
      # The day after it is the first that would.
      place = panel.dates.index(last) + ahead + 1
      assert panel.dates[place] >= fold.config.splits[after][0]
    scored = np.array(test.panel.dates)[test.scored]
    year = [day for day in panel.dates if day.startswith(str(fold.year))]
    assert scored.tolist() == year


def test_the_joined_days_are_those_of_the_folds(summary, workdir):
  whole = arrays(workdir)
  dates = markets.all_days(config_of())
  assert whole['dates'].tolist() == [
    day for day in dates if '2012' <= day < '2014'
  ]
  for name in ('ic', 'rank_ic'):
    parts = []
    for year in ('2012', '2013'):
      with np.load(workdir / year / 'daily_test.npz') as daily:
        parts.append(daily[name])
        np.testing.assert_array_equal(
          daily['dates'], whole['dates'][whole['fold'] == year]
        )
    np.testing.assert_array_equal(whole[name], np.concatenate(parts))
    mean = np.mean(np.concatenate(parts), dtype=np.float64)
    assert summary['all'][name]['mean'] == pytest.approx(mean, abs=1e-9)
    for row, part in zip(summary['folds'], parts, strict=True):
      assert row[name]['mean'] == pytest.approx(part.mean(), abs=1e-6)
      results = json.loads(
        (workdir / str(row['year']) / 'results.json').read_text()
      )
      assert row[name]['mean'] == results['test'][name]['mean']
      assert results['opened'] == row['opened'] == 1
  assert json.loads((workdir / 'walk_forward.json').read_text()) == json.loads(
    json.dumps(summary)
  )


def test_all_years_are_judged_together(summary, workdir):
  assert summary['sheet']['figures']['ic']['mean'] == pytest.approx(
    summary['all']['ic']['mean'], abs=1e-6
  )
  years = [row['period'] for row in summary['backtest']['years']]
  assert years == ['2012', '2013']
  whole = arrays(workdir)
  with np.load(workdir / 'daily_walk.npz') as daily:
    np.testing.assert_array_equal(daily['dates'], whole['dates'])
    np.testing.assert_allclose(daily['ic'], whole['ic'], atol=1e-5)
    assert daily['backtest_nav'][0] == 1
  results = json.loads((workdir / '2012' / 'results.json').read_text())
  assert 'sheet' not in results
  text = page.write_report(workdir).read_text()
  assert 'random_search · 2 years walked forward, seed 0' in text


def test_the_joined_signal_is_one_of_those_judged(summary, workdir):
  """Formulas and pools of the folds are its parts: it is no choice of them."""
  lines = [
    json.loads(line) for line in Path(summary['ledger']).read_text().split('\n')
    if line
  ]  # fmt: skip
  keys = {
    by: {key for line in lines if line['by'] == by for key in line['keys']}
    for by in ('evaluate', 'walk_forward')
  }
  assert len(keys['evaluate']) > 2
  assert summary['judged'] == len(keys['walk_forward'])
  figures = summary['sheet']['figures']['of_judged']
  assert figures['judged'] == summary['judged']
  assert summary['backtest']['deflated']['judged'] == summary['judged']
  more = json.loads(json.dumps(summary))
  more['sheet']['figures']['of_judged']['judged'] = 7
  assert 'As one of 7 judged on these days: IC ' in walk_text.table(more)
  daily = dict(np.load(workdir / 'daily_walk.npz'))
  entry = bench.of_walk(summary, joined.from_arrays(arrays(workdir)), daily,
                        'x', 0, ())  # fmt: skip
  assert entry.figures['judged'] == summary['judged']


def test_the_signal_is_standardised_and_says_what_the_pools_say(
  summary, workdir
):
  whole = arrays(workdir)
  signal = whole['signal']
  assert signal.dtype == np.float32
  assert signal.shape == (len(whole['dates']), len(whole['symbols']))
  np.testing.assert_allclose(np.nanmean(signal, 1), 0.0, atol=1e-5)
  np.testing.assert_allclose(np.nanstd(signal, 1), 1.0, atol=1e-4)
  panel = markets.simulated(config_of()).panel
  days = np.isin(panel.dates, whole['dates'])
  # A stock that is no member in these years is not there.
  stocks = np.isin(panel.symbols, whole['symbols'])
  assert not np.isfinite(signal[~panel.mask[days][:, stocks]]).any()
  # Judged afresh by the labels of the whole market.
  close = np.asarray(panel.features[panel.feature_names.index('close')])
  label = np.full_like(close, np.nan)
  label[:-5] = close[5:] / close[:-5] - 1
  for t in (0, 130, 260, 300, 521):
    mine, theirs = signal[t], label[days][t, stocks]
    known = np.isfinite(mine) & np.isfinite(theirs)
    expected = np.corrcoef(mine[known], theirs[known])[0, 1]
    assert whole['ic'][t] == pytest.approx(expected, abs=1e-4)


def test_the_planted_alphas_are_found_out_of_sample(summary):
  whole = summary['all']
  assert whole['ic']['low'] > 0
  assert 0.2 < whole['share'] <= 1
  assert whole['share'] == pytest.approx(whole['ic']['mean'] / whole['ceiling'])
  ceilings = [row['ceiling'] for row in summary['folds']]
  assert min(ceilings) <= whole['ceiling'] <= max(ceilings)
  error = whole['ic']['error']
  half = (whole['ic']['high'] - whole['ic']['low']) / 2
  assert 1.96 < half / error < 2.2  # Student's t of 40 degrees or so.


def test_what_a_fold_keeps_of_the_one_before(summary, workdir):
  pools = [
    {
      factor['formula']
      for factor in json.loads((workdir / year / 'pool.json').read_text())[
        'factors'
      ]
    }
    for year in ('2012', '2013')
  ]
  first, second = summary['folds']
  assert first['kept'] is None and first['like_before'] is None
  assert second['kept'] == len(pools[0] & pools[1])
  assert second['formulas'] == len(pools[1])
  assert 0 < second['like_before'] <= 1


def test_nothing_is_done_twice(summary, workdir, monkeypatch):
  def refuse(*args):
    raise AssertionError('a fold was trained again')

  monkeypatch.setattr(train, 'train', refuse)
  before = (workdir / 'walk_forward.json').read_bytes()
  assert run(workdir) == summary
  assert (workdir / 'walk_forward.json').read_bytes() == before


@pytest.mark.parametrize('name', [walk_forward.SIGNAL, walk_forward.DAILY])
def test_a_year_without_its_days_is_scored_anew(summary, copy, name):
  year = str(summary['folds'][0]['year'])
  (copy / year / name).write_bytes(b'cut off')
  with pytest.raises(RunError, match='damaged.*remove it.*scores its year'):
    run(copy)
  (copy / year / name).unlink()
  again = run(copy)
  assert again['all'] == summary['all']
  opened = [fold['opened'] for fold in again['folds']]
  assert opened == [2, *[1] * (len(opened) - 1)]


def test_other_rules_train_nothing_anew(summary, copy, monkeypatch):
  assert summary['rules']['sell_cost'] == 15.0
  assert summary['backtest']['spec']['sell_cost'] == 15.0
  monkeypatch.setattr(train, 'train', None)
  config = config_of(backtest={'sell_cost': 5.0, 'top_k': 3, 'drop_n': 1})
  planned = walk_forward.plan(config, copy, YEARS)
  found = walk_forward.walk(planned, copy)
  told = found['backtest']['spec']
  assert (told['sell_cost'], told['top_k'], told['drop_n']) == (5.0, 3, 1)
  assert [row['opened'] for row in found['folds']] == [1, 1]
  assert found['judged'] == summary['judged']  # The same signal.


def test_killed_inside_a_fold_it_ends_with_the_same_bits(
  copy, workdir, monkeypatch
):
  shutil.rmtree(copy / '2013')
  for name in ('walk_forward.json', 'walk_forward.npz'):
    (copy / name).unlink()
  keep = train.state_lib.keep

  def fail(folder, method, state, record):
    if record['iteration'] == 2:
      raise KeyboardInterrupt
    keep(folder, method, state, record)

  with monkeypatch.context() as patch:
    patch.setattr(train.state_lib, 'keep', fail)
    with pytest.raises(KeyboardInterrupt):
      run(copy)
  assert not (copy / '2013' / 'results.json').exists()
  assert not (copy / 'walk_forward.json').exists()
  planned = walk_forward.plan(config_of(), copy, YEARS)
  assert walk_forward.walk(planned, copy, only=(2012,)) is None
  run(copy)
  assert_same(copy, workdir)


def test_killed_while_a_year_is_open_it_counts_twice(
  copy, workdir, monkeypatch
):
  for name in ('results.json', 'scored.json', 'signal_test.npz'):
    (copy / '2012' / name).unlink()

  def fail(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(walk_forward, '_signal', fail)
    with pytest.raises(KeyboardInterrupt):
      run(copy)
  again = run(copy)
  assert_same(copy, workdir)
  assert [row['opened'] for row in again['folds']] == [2, 1]
  assert 'Opened more than once: 2012.' in walk_text.table(again)


def test_the_future_changes_no_fold(summary, workdir, tmp_path, monkeypatch):
  """What comes after 2012 is another market; the fold of 2012 is the same."""
  simulated = markets.simulated

  def other(config):
    found = simulated(config)
    panel = found.panel
    later = np.array(panel.dates) > '2012-12-31'
    features = np.array(panel.features)
    rng = np.random.default_rng(0)
    features[:, later] *= rng.uniform(0.5, 2.0, features[:, later].shape)
    mask = np.array(panel.mask)
    mask[later] = rng.uniform(size=mask[later].shape) < 0.5
    return found._replace(panel=panel.replace(features=features, mask=mask))

  monkeypatch.setattr(markets, 'simulated', other)
  planned = walk_forward.plan(config_of(), tmp_path, YEARS)
  walk_forward.walk(planned, tmp_path, only=(2012,))
  pool, pool_before = (
    json.loads((place / '2012' / 'pool.json').read_text())
    for place in (tmp_path, workdir)
  )
  assert pool == pool_before
  ours, theirs = (
    dict(np.load(place / '2012' / 'signal_test.npz'))
    for place in (tmp_path, workdir)
  )
  np.testing.assert_array_equal(ours['signal'], theirs['signal'])
  assert ours['dates'][-1] == '2012-12-31'
  ours, theirs = (
    np.load(place / '2012' / 'daily_test.npz')['ic']
    for place in (tmp_path, workdir)
  )
  np.testing.assert_array_equal(ours[:-5], theirs[:-5])
  assert (ours[-5:] != theirs[-5:]).all()  # These labels read 2013.


def test_processes_side_by_side(copy, workdir):
  """Of which one trains a fold, and the other scores one that is trained."""
  shutil.rmtree(copy / '2013')
  for name in ('results.json', 'scored.json', 'signal_test.npz'):
    (copy / '2012' / name).unlink()
  for name in ('walk_forward.json', 'walk_forward.npz'):
    (copy / name).unlink()
  run(copy, jobs=2)
  assert_same(copy, workdir)


def test_a_fold_that_fails_in_a_process_is_named(tmp_path, capfd):
  planned = walk_forward.plan(config_of(), tmp_path, YEARS)
  for fold in planned:
    fold.config.num_iterations = 0
  with pytest.raises(RunError, match='the folds 2012, 2013 failed|2012 failed'):
    walk_forward.walk(planned, tmp_path, jobs=2)
  assert 'error: config.num_iterations is 0' in capfd.readouterr().err


def test_a_workdir_of_another_config(summary, workdir):
  with pytest.raises(ValueError, match='2012 was made by another config'):
    walk_forward.plan(config_of(seed=1), workdir, YEARS)
  with pytest.raises(ValueError, match='splits.train'):
    walk_forward.plan(config_of(), workdir, YEARS._replace(window=1))


def test_other_bad_input(summary, workdir, tmp_path):
  with pytest.raises(ValueError, match='num_seeds is 2: a walk is of one seed'):
    walk_forward.plan(config_of(num_seeds=2), tmp_path, YEARS)
  planned = walk_forward.plan(config_of(), workdir, YEARS)
  with pytest.raises(ValueError, match='expected years of 2012:2013'):
    walk_forward.walk(planned, workdir, only=(2014,))
  with pytest.raises(RunError, match='holds no walk_forward.json'):
    walks.compare(workdir, tmp_path)


def test_walks_are_alike_by_the_names_of_days_and_stocks(summary, workdir):
  _, one = walks.load(workdir)
  order = np.random.default_rng(0).permutation(len(one.symbols))[1:]
  other = one._replace(
    dates=one.dates[5:], symbols=one.symbols[order],
    signal=-one.signal[5:][:, order], ic=one.ic[5:], rank_ic=one.rank_ic[5:],
  )  # fmt: skip
  assert joined.alike(one, other) == pytest.approx(-1.0, abs=1e-6)


def test_the_difference_of_two_walks(summary, workdir, copy):
  with np.load(copy / 'walk_forward.npz') as file:
    values = dict(file)
  values['ic'] = values['ic'] - np.float32(0.25)
  np.savez(copy / 'walk_forward.npz', **values)
  found = walks.compare([copy, workdir], [workdir, workdir])  # Of two seeds.
  assert found['ic']['mean'] == pytest.approx(-0.125, abs=1e-6)
  # The other began earlier and has another last day.
  values = {
    k: v[:-1] if k not in ('symbols',) else v for k, v in values.items()
  }
  np.savez(copy / 'walk_forward.npz', **values)
  with pytest.raises(ValueError, match='expected the same years'):
    walks.compare([workdir, copy], [workdir])
  found = walks.compare(workdir, copy)
  assert found['days'] == len(values['dates'])
  assert found['alike'] == pytest.approx(1.0, abs=1e-6)
  assert found['ic']['mean'] == pytest.approx(0.25, abs=1e-6)
  assert found['ic']['error'] < 1e-6
  assert found['rank_ic']['mean'] == 0
  text = walk_text.difference(found, 'copy')
  assert text.startswith(f'Less copy, on {found["days"]} days: IC +0.2500 [')
  label = json.loads((copy / 'walk_forward.json').read_text())
  label['label']['horizon'] = 20
  (copy / 'walk_forward.json').write_text(json.dumps(label))
  with pytest.raises(ValueError, match='judged by other labels'):
    walks.compare(workdir, copy)


def test_the_command(summary, workdir):
  done = commands.run(
    'alphajax.walk_forward', f'--workdir={workdir}', f'--compare={workdir}'
  )
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[0].split()[:4] == ['year', 'IC', 'RankIC', 'ICIR']
  assert [line.split()[0] for line in lines[1:4]] == ['2012', '2013', 'all']
  assert 'on 522 days: IC +0.0000' in done.stdout
  done = commands.run('alphajax.walk_forward', f'--workdir={workdir}')
  assert done.returncode == 1
  assert 'a walk needs --config' in done.stderr


def test_the_joined_signal_on_its_panel(summary, workdir):
  """Judged on one span it says what the folds said one by one."""
  signal, split = walks.on_market(workdir)
  whole = arrays(workdir)
  scored = np.array(split.panel.dates)[split.scored]
  np.testing.assert_array_equal(scored, whole['dates'])
  assert signal.shape == split.target.shape
  assert not np.isfinite(signal[~split.scored]).any()
  daily = figures.on_scored_days(signal, split)
  np.testing.assert_allclose(daily[0], whole['ic'], atol=2e-5)
  np.testing.assert_allclose(daily[1], whole['rank_ic'], atol=2e-5)


def test_an_average_of_walks(summary, workdir, copy, tmp_path):
  """Of a walk with itself it is that walk, less its negative nothing."""
  whole = arrays(workdir)
  out = tmp_path / 'same'
  made = walks.average([workdir, copy], out)
  np.testing.assert_allclose(arrays(out)['ic'], whole['ic'], atol=2e-5)
  np.testing.assert_allclose(arrays(out)['signal'], whole['signal'], atol=1e-4)
  assert made['all']['ic']['mean'] == pytest.approx(
    summary['all']['ic']['mean'], abs=1e-5
  )
  assert [row['year'] for row in made['folds']] == [2012, 2013]
  # It is counted beside the data, once however often it is made.
  again = walks.average([workdir, copy], out)
  assert again['judged'] == made['judged'] > 1
  assert made['sheet']['figures']['of_judged']['judged'] == made['judged']
  assert '"by": "walk_forward"' in Path(made['ledger']).read_text()
  # One that is silent on the first day and begins a day late is left out there.
  other = {k: v if k == 'symbols' else v[1:] for k, v in whole.items()}
  other['signal'] = (
    np.random.default_rng(0)
    .normal(size=other['signal'].shape)
    .astype(np.float32)
  )
  np.savez(copy / 'walk_forward.npz', **other)
  other_mean = walks.average([workdir, copy], tmp_path / 'mixed')
  assert other_mean['judged'] > made['judged']
  mixed = arrays(tmp_path / 'mixed')
  np.testing.assert_array_equal(mixed['dates'], whole['dates'][1:])
  total = np.nan_to_num(whole['signal'][1:]) + other['signal']
  known = np.isfinite(mixed['signal'][7])
  stocks = np.isin(whole['symbols'], mixed['symbols'])
  assert np.corrcoef(mixed['signal'][7][known], total[7, stocks][known])[
    0, 1
  ] == pytest.approx(1.0, abs=1e-5)
  # An average is a walk: it is read, compared and averaged again.
  found = walks.compare(out, tmp_path / 'mixed')
  assert found['ic']['mean'] > 0
  walks.average([out, workdir], tmp_path / 'again')
  with pytest.raises(RunError, match='holds the folds of a walk'):
    walks.average([out, workdir], copy)
  other['symbols'] = np.char.add(other['symbols'], '.X')
  np.savez(copy / 'walk_forward.npz', **other)
  with pytest.raises(ValueError, match='no day and symbol in common'):
    walks.average([workdir, copy], tmp_path / 'out')


REVERSAL = """
import jax.numpy as jnp

from alphajax.methods.base import Found, Method


def lookback(config):
  return 20


def make(config, market):
  def predict(state, panel):
    close = jnp.asarray(panel.features[panel.feature_names.index('close')])
    past = jnp.full_like(close, jnp.nan).at[20:].set(close[:-20])
    return jnp.where(jnp.asarray(panel.mask), past / close, jnp.nan)

  def step(state, rng_key):
    metrics = {'train_ic': 0.0, 'valid_ic': 0.0, 'seconds': {}}
    return state + 1, metrics

  return Method(
    init=lambda rng_key: 0,
    step=step,
    predict=predict,
    found=lambda state: Found(state) if state else None,
    finished=lambda state: 'done' if state else None,
    save=lambda state: ({'n': jnp.array(state)}, {}),
    load=lambda arrays, host: int(arrays['n']),
  )
"""


def test_a_method_without_formulas(tmp_path, monkeypatch):
  (tmp_path / 'walked').mkdir()
  (tmp_path / 'walked' / 'reversal.py').write_text(REVERSAL)
  monkeypatch.syspath_prepend(tmp_path)
  config = config_of(method='walked.reversal')
  planned = walk_forward.plan(config, tmp_path / 'walk', YEARS)
  found = walk_forward.walk(planned, tmp_path / 'walk')
  whole = arrays(tmp_path / 'walk')
  panel = markets.simulated(config).panel
  close = np.asarray(panel.features[panel.feature_names.index('close')])
  t = panel.dates.index('2013-01-02')
  both = np.isfinite(close[t]) & np.isfinite(close[t - 20]) & panel.mask[t]
  both &= np.isfinite(close[t + 5])
  ic = np.corrcoef(
    (close[t - 20] / close[t])[both], (close[t + 5] / close[t])[both]
  )[0, 1]
  (at,) = np.flatnonzero(whole['dates'] == '2013-01-02')
  assert whole['ic'][at] == pytest.approx(ic, abs=1e-4)
  assert [row['formulas'] for row in found['folds']] == [None, None]
  lines = walk_text.table(found).splitlines()
  assert lines[2].split()[-4:-1] == ['-', '-', '-']


def part(name, dates, symbols, signal=None):
  shape = len(dates), len(symbols)
  rng = np.random.default_rng(len(dates))
  values = rng.normal(size=shape) if signal is None else signal
  return joined.Part(
    name, np.array(dates), np.array(symbols), np.float32(values),
    *np.float32(rng.normal(size=(2, len(dates)))),
  )  # fmt: skip


def test_parts_with_other_symbols():
  nan = np.nan
  one = part('a', ['2012-01-02'], ['C', 'A', 'B'], [[3, 1, nan]])
  two = part('b', ['2013-01-02'], ['A', 'D'], [[nan, 4]])
  whole = joined.join([one, two])
  assert whole.symbols.tolist() == ['A', 'C', 'D']
  np.testing.assert_array_equal(whole.signal, [[1, 3, nan], [nan, nan, 4]])
  assert whole.fold.tolist() == ['a', 'b']
  with pytest.raises(ValueError, match='2012-01-02 comes after 2013-01-02'):
    joined.join([two, one])
  with pytest.raises(ValueError, match='no fold'):
    joined.join([])


def test_days_without_a_label_do_not_count():
  one = part('a', business_days('2012-01-02', '2012-03-30'), ['A', 'B'])
  one.ic[-5:] = np.nan
  figures = joined.figures(joined.join([one]), lag=4)
  assert figures['all']['days'] == len(one.dates) - 5
  assert figures['all'] == figures['folds']['a']
  assert figures['all']['ic']['mean'] == pytest.approx(one.ic[:-5].mean())


def test_likeness_is_the_mean_daily_correlation():
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(2, 4, 9)).astype(np.float32)
  one[0, 3] = other[1, 5] = np.nan
  other[2] = 1.0
  expected = []
  for t in (0, 1, 3):
    known = np.isfinite(one[t]) & np.isfinite(other[t])
    expected.append(np.corrcoef(one[t, known], other[t, known])[0, 1])
  assert joined.likeness(one, other) == pytest.approx(
    np.mean(expected), abs=1e-6
  )
  assert joined.likeness(one, np.full_like(one, np.nan)) is None
  assert joined.kept(['x', 'y'], ['y', 'z', 'x']) == 2
