"""The ranking of a day: that of the pool, in parts that add up to it."""

import re

import commands
import numpy as np
import pandas as pd
import pytest
import tiny

from alphajax import cli, evaluate, markets, score
from alphajax.data import market, one_day, simulate
from alphajax.language import formula as formula_lib
from alphajax.methods import linear
from alphajax.methods.base import Found
from alphajax.run import files
from alphajax.run.files import RunError

TEXTS = ('Mean(close,9)/close', 'CSRank(Delta(volume,10))', '-Std(vwap,5)/vwap')
WEIGHTS = (0.031, -0.017, 0.008)
LOOKBACK = 10
LISTED = 's005'  # Its history begins five days before the last.


def table_of(panel):
  """A long table of a panel, with members and a column `turnover`."""
  days, symbols = np.meshgrid(panel.dates, panel.symbols, indexing='ij')
  frame = pd.DataFrame({'date': days.ravel(), 'symbol': symbols.ravel()})
  for name, plane in zip(panel.feature_names, panel.features, strict=True):
    frame[name] = plane.ravel()
  frame['member'] = panel.mask.ravel()
  frame['turnover'] = frame['volume'] / 1e6
  return frame


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  """A market of 80 days, which go on long after the splits of the config."""
  panel = simulate.simulate(num_days=80, num_stocks=30, alphas=()).panel
  symbols = tuple(f's{i:03}' for i in range(30))
  start = np.datetime64('2031-03-03')
  dates = tuple(map(str, start + np.arange(80)))
  frame = table_of(panel.replace(symbols=symbols, dates=dates))
  late = (frame['symbol'] == LISTED) & (frame['date'] < dates[-5])
  gone = (frame['symbol'] == 's007') & (frame['date'] == dates[-1])
  file = tmp_path_factory.mktemp('data') / 'later.parquet'
  frame.loc[frame['symbol'] == 's009', 'member'] = False
  frame[~late & ~gone].to_parquet(file)
  return file


def make_run(workdir, path, texts=TEXTS, weights=WEIGHTS):
  """A folder with what the command reads of a run."""
  config = tiny.get_config('random_search')
  config.data.path = str(path)
  workdir.mkdir(exist_ok=True)
  factors = [
    {'formula': text, 'weight': weight}
    for text, weight in zip(texts, weights, strict=True)
  ]
  files.write_json(workdir / 'config.json', config.to_dict())
  files.write_json(workdir / 'pool.json', {'iteration': 1, 'factors': factors})
  return workdir


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, path):
  return make_run(tmp_path_factory.mktemp('run'), path)


@pytest.fixture(scope='module')
def scores(workdir):
  return score.score(workdir)


def config_on(path, *settings):
  return cli.read_config(
    f'{tiny.__file__}:random_search', [f'data.path={path}', *settings]
  )


def test_splits_beyond_the_data_say_what_to_type(path):
  with pytest.raises(ValueError, match='no row in 2010-01-04') as error:
    markets.load_market(config_on(path))
  typed = re.findall(r'--config\.(splits\.\w+)="([^"]*)"', str(error.value))
  assert len(typed) == 3
  loaded, _ = markets.load_market(
    config_on(path, *(f'{key}={value}' for key, value in typed))
  )
  train, valid = loaded.train.panel.dates, loaded.valid.panel.dates
  assert train[0] == '2031-03-03' and train[-1] < valid[-1]


def test_a_language_takes_text_for_groups_alone(path, tmp_path):
  """As numbers, its codes would move with the names that come later."""
  frame = pd.read_parquet(path)
  frame['board'] = np.where(frame['symbol'] < 's010', 'main', 'star')
  frame.to_parquet(tmp_path / 'boards.parquet')
  with pytest.raises(ValueError) as error:
    markets.load_market(config_on(path))
  days = [
    f'{key}={value}'
    for key, value in re.findall(
      r'--config\.(spl\S+?)="(\S+)"', str(error.value)
    )
  ]
  where = tmp_path / 'boards.parquet'
  with pytest.raises(ValueError, match='board is text, .*columns=board=indus'):
    markets.load_market(
      config_on(where, *days, "language.features=('close','board')")
    )
  (tmp_path / 'own.txt').write_text('GroupRank(close,board)\n')
  given = cli.read_config('published.py:csi300', [
    f'data.path={where}', *days, "language.features=('close','board')",
    'published.name=file', f'formulas={tmp_path / "own.txt"}', 'label.exit=2',
  ])  # fmt: skip
  assert markets.load_market(given)[0].train.panel.coded == {'board'}
  renamed = config_on(
    where, *days, "language.features=('close','industry')",
    'data.columns=board=industry',
  )  # fmt: skip
  panel = markets.load_market(renamed)[0].train.panel
  assert panel.groups == (('industry', ('main', 'star')),)


def test_data_with_other_columns(workdir, path, scores, tmp_path):
  other = tmp_path / 'other.parquet'
  frame = pd.read_parquet(path).rename(columns={'symbol': 'Kode'})
  frame.to_parquet(other)
  with pytest.raises(ValueError, match='or else --config.data.columns=theirs'):
    score.score(workdir, str(other))
  again = score.score(workdir, str(other), columns='Kode=symbol')
  assert again.symbols == scores.symbols
  np.testing.assert_array_equal(again.signal, scores.signal)


def test_the_signal_is_that_of_the_pool_on_all_days(path, scores):
  panel = market.load(path, cache=False)
  found = Found(1, tuple(map(formula_lib.parse, TEXTS)), WEIGHTS)
  whole = np.asarray(linear.predict(found, panel))[-1]
  assert scores.date == panel.dates[-1]
  expected = dict(zip(panel.symbols, whole, strict=True))
  members = {panel.symbols[s] for s in np.flatnonzero(panel.mask[-1])}
  assert set(scores.symbols) == members and 's009' not in members
  np.testing.assert_allclose(
    scores.signal, [expected[s] for s in scores.symbols], rtol=1e-5, atol=1e-7
  )
  ranked = scores.signal[np.isfinite(scores.signal)]
  assert len(ranked) > 15 and (np.diff(ranked) <= 0).all()


def test_contributions_add_up_to_the_signal(scores):
  total = np.nansum(scores.contributions, axis=1)
  known = np.isfinite(scores.signal)
  np.testing.assert_allclose(total[known], scores.signal[known], atol=1e-7)
  # Weight times a factor standardised over the members.
  spread = np.nanstd(scores.contributions, axis=0)
  np.testing.assert_allclose(spread, np.abs(WEIGHTS), rtol=1e-4)


def test_a_stock_without_a_factor_says_which(scores):
  i = scores.symbols.index(LISTED)
  # Five days are enough for Std(vwap,5) alone.
  assert np.isnan(scores.contributions[i, :2]).all()
  assert scores.signal[i] == pytest.approx(scores.contributions[i, 2])
  assert scores.reasons[i] == (
    f'no value of {TEXTS[0]}, {TEXTS[1]}; 5 of 11 bars known'
  )
  assert scores.reasons[0] == ''


def test_a_stock_without_a_signal_says_why(workdir, path):
  days = market.load(path, cache=False).dates
  early = score.score(workdir, date=days[-3])
  i = early.symbols.index(LISTED)
  assert i == len(early.symbols) - 1 and np.isnan(early.signal[i])
  assert early.reasons[i] == 'missing history: 3 of 11 bars known'


def test_only_the_look_back_is_loaded(path):
  panel = one_day.load(path, None, LOOKBACK)
  assert len(panel.dates) == LOOKBACK + 1
  whole = market.load(path, cache=False)
  assert panel.dates == whole.dates[-11:]


def test_days_that_cannot_be_scored(workdir, path):
  days = market.load(path, cache=False).dates
  with pytest.raises(ValueError, match='no trading day 2031-09-01; the neares'):
    score.score(workdir, date='2031-09-01')
  with pytest.raises(ValueError, match=f'nearest are {days[0]}, the data'):
    score.score(workdir, date='2030-01-01')
  with pytest.raises(ValueError, match=f'has 9 bars .* many is {days[10]}'):
    score.score(workdir, date=days[9])
  assert score.score(workdir, date=days[10]).date == days[10]
  with pytest.raises(ValueError, match="'yesterday' is not a day"):
    score.score(workdir, date='yesterday')
  holiday = one_day.place(('2020-01-02', '2020-01-03'), '2020-01-03', 1, 'x')
  assert holiday == 1
  with pytest.raises(ValueError, match='2020-01-02 and 2020-01-06, the data'):
    one_day.place(('2020-01-02', '2020-01-06'), '2020-01-04', 0, 'x')


def test_columns_of_the_formulas_are_loaded_or_missed(tmp_path, path):
  run = make_run(tmp_path / 'run', path, ('Mean(turnover,3)',), (1.0,))
  with pytest.raises(RunError, match='turnover'):
    score.score(run)  # The config's language has no such feature.
  config = files.read_json(run / 'config.json')
  config['language']['features'] += ['turnover']
  files.write_json(run / 'config.json', config)
  assert np.isfinite(score.score(run).signal).sum() > 15
  bare = tmp_path / 'bare.parquet'
  pd.read_parquet(path).drop(columns='turnover').to_parquet(bare)
  with pytest.raises(ValueError, match='turnover'):
    score.score(run, data=str(bare))
  with pytest.raises(FileNotFoundError, match='no such file'):
    score.score(run, data='nowhere.parquet')


def test_a_result_that_is_no_pool_has_a_signal_alone(
  workdir, path, monkeypatch
):
  config, _, _ = evaluate.result_of(workdir)
  config.lookback = 4

  def predict(panel):
    return panel.features[3] / np.nanmean(panel.features[3], 0)

  monkeypatch.setattr(
    score.evaluate, 'result_of', lambda *_: (config, predict, Found(1))
  )
  scores = score.score(workdir)
  assert scores.factors == () and scores.contributions.shape[1] == 0
  table = score.frame(scores)
  assert list(table) == ['rank', 'symbol', 'signal', 'reason']
  assert np.isfinite(scores.signal).all()


def test_the_simulated_market(tmp_path):
  run = make_run(tmp_path / 'run', '')
  scores = score.score(run)
  assert len(scores.symbols) > 15 and np.isfinite(scores.signal).all()
  with pytest.raises(ValueError, match='the simulated market: no trading day'):
    score.score(run, date='2035-01-01')


def test_the_command(workdir, tmp_path):
  out = tmp_path / 'day.csv'
  done = commands.run(
    'alphajax.score', f'--workdir={workdir}', f'--out={out}', '--top=3'
  )
  assert done.returncode == 0, done.stderr
  table = pd.read_csv(out)
  written = [formula_lib.to_text(formula_lib.parse(text)) for text in TEXTS]
  assert list(table)[3:-1] == written
  assert table['rank'].dropna().tolist() == list(
    range(1, int(table['signal'].notna().sum()) + 1)
  )
  assert 'members ranked' in done.stdout and str(out) in done.stdout
