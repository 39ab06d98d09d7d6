"""Features, windows and operators of one's own, from the config."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny

from alphajax import experiment, markets, train
from alphajax.analysis import words
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, operators, windows
from alphajax.language import environment, vocab
from alphajax.language import formula as formula_lib


@pytest.fixture(scope='module')
def turnover_file(tmp_path_factory):
  """The tiny market as a CSV file with the column `turnover`."""
  panel = markets.simulated(tiny.get_config('random_search')).panel
  days, stocks = panel.mask.shape
  frame = pd.DataFrame(
    {
      'date': np.repeat(panel.dates, stocks),
      'symbol': np.tile(panel.symbols, days),
      **{
        name: np.asarray(plane).ravel()
        for name, plane in zip(panel.feature_names, panel.features, strict=True)
      },
    }
  )
  rng = np.random.default_rng(0)
  frame['turnover'] = rng.uniform(0.001, 0.1, len(frame))
  frame.loc[frame.index[::97], 'turnover'] = np.nan
  path = tmp_path_factory.mktemp('data') / 'market.csv'
  frame.dropna(subset=['close']).to_csv(path, index=False)
  return path


def with_turnover(path):
  config = tiny.get_config('random_search')
  config.data.path = str(path)
  config.language.features = ('close', 'turnover')
  config.language.windows = (5, 10)
  config.language.max_length = 2
  return config


def test_a_feature_and_windows_of_ones_own(turnover_file, tmp_path):
  """`turnover` is mined, kept, loaded again and evaluated."""
  config = with_turnover(turnover_file)
  config.num_iterations = 1
  config.num_trajectories = 40
  config.pool.capacity = 8
  train.train(config, tmp_path / 'run')
  train.train(config, tmp_path / 'run')  # The folder is taken up again.
  result = json.loads((tmp_path / 'run' / 'pool.json').read_text())
  texts = [factor['formula'] for factor in result['factors']]
  assert any('turnover' in text for text in texts)
  split = markets.load_split(config, 'test')
  assert split.panel.feature_names == (*panel_lib.FEATURES, 'turnover')
  formulas = [formula_lib.parse(t, split.panel.feature_names) for t in texts]
  used = {n.symbol for f in formulas for n in formula_lib.nodes(f)}
  assert used & {'5', '10'} and not used & {'20', '30', '40', 'open'}
  # The column arrives as it is in the file: not adjusted, missing is NaN.
  frame = pd.read_csv(turnover_file).pivot(
    index='date', columns='symbol', values='turnover'
  )
  expected = frame.loc[list(split.panel.dates), list(split.panel.symbols)]
  np.testing.assert_array_equal(
    panel_lib.feature(split.panel, 'turnover'),
    expected.to_numpy(np.float32),
  )
  assert np.isnan(expected.to_numpy()).any()


def test_a_feature_that_the_data_lack(turnover_file):
  config = with_turnover(turnover_file)
  config.language.features = ('close', 'free_float')
  with pytest.raises(ValueError, match='missing column free_float'):
    markets.load_market(config)
  config.data.path = ''
  with pytest.raises(ValueError, match="simulated market has no 'free_float'"):
    markets.load_market(config)


@pytest.mark.parametrize(
  ('features', 'value', 'message'),
  [
    (('close',), 1.0, "'close' is a column that is always loaded"),
    (('a-b',), 1.0, 'cannot be written in a formula'),
    (('turnover',), np.inf, 'column turnover: infinite value'),
    (('turnover',), np.nan, 'column turnover: missing in every row'),
    (('turnover',), ['1', 'high'], 'column turnover: not a number'),
  ],
)
def test_bad_feature_columns(features, value, message):
  frame = pd.DataFrame({'date': '2020-01-02', 'symbol': ['A', 'B']})
  frame[['open', 'high', 'low', 'close', 'volume']] = 1.0
  frame['turnover'] = value
  with pytest.raises(ValueError, match=message):
    market_lib.load(frame, features=features)


def test_features_are_cached_apart(turnover_file, tmp_path):
  plain = market_lib.load(turnover_file, cache_dir=tmp_path)
  for _ in range(2):
    panel = market_lib.load(
      turnover_file, features=['turnover'], cache_dir=tmp_path
    )
    assert panel.feature_names == (*plain.feature_names, 'turnover')
  assert len(list(tmp_path.iterdir())) == 2


def ts_range(x, window):
  """Largest less smallest value of the window."""
  days = jnp.stack(windows.trailing(x, window))
  return jnp.max(days, axis=0) - jnp.min(days, axis=0)


def growth(x, window):
  """Today's value over that of `window` days ago, less 1."""
  return x / windows.delay(x, window) - 1


def tilt(x, y):
  """The difference of two values over their sum."""
  return (x - y) / (x + y)


def add_operators(monkeypatch):
  """Rows of the table and pure functions, nothing else."""
  for row, function in (
    (vocab.Symbol('Range', 'rolling', units=vocab.KEEPS), ts_range),
    (
      vocab.Symbol(
        'Growth',
        'rolling',
        phrase='the growth over {n} days of {0}',
        units=vocab.FREES,
        reaches_back=True,
      ),
      growth,
    ),
    (vocab.Symbol('Tilt', 'binary_asym', units=vocab.FREES), tilt),
  ):
    monkeypatch.setitem(vocab.OPERATORS, row.name, row)
    monkeypatch.setitem(operators.FUNCTIONS, row.name, function)


@pytest.mark.parametrize(
  ('text', 'words_of_it', 'days'),
  [
    ('Range(close,5)/close', 'the 5-day Range of the closing price over '
     'the closing price', 4),
    ('Growth(Mean(volume,5),5)', 'the growth over 5 days of the 5-day mean of '
     'the volume', 9),
    ('Tilt(high,low)', "Tilt of the day's high and the day's low", 0),
  ],
)  # fmt: skip
def test_operators_of_ones_own_everywhere(monkeypatch, text, words_of_it, days):
  """Read in words, looked back over, written by every language, played."""
  add_operators(monkeypatch)
  formula = formula_lib.parse(text)
  assert words.reading(formula) == words_of_it
  assert formula_lib.lookback(formula) == days
  for name in ('sem_k', 'sem', 'syn', 'rpn', 'typed_k'):
    language = environment.make(
      name,
      operators=('Div', 'Mean', 'Range', 'Growth', 'Tilt'),
      windows=(5,),
    )
    environment.derivation(language, formula)
    drawn = environment.random_formulas(language, jax.random.key(0), 200)
    used = {n.symbol for f in drawn for n in formula_lib.nodes(f)}
    assert {'Range', 'Growth', 'Tilt'} <= used
    longest = max(map(formula_lib.lookback, drawn))
    assert longest <= environment.lookback(language)
  for wrong in ('Range(close,5)', 'Tilt(high,volume)'):
    with pytest.raises(ValueError, match='cannot write'):
      environment.derivation(language, formula_lib.parse(wrong))


def test_values_of_operators_of_ones_own(monkeypatch):
  add_operators(monkeypatch)
  panel = markets.simulated(tiny.get_config('random_search')).panel
  close, high, low = (
    pd.DataFrame(panel_lib.feature(panel, name)).astype(float)
    for name in ('close', 'high', 'low')
  )
  expected = (
    close / close.shift(5) - 1,
    (high - low) / (high + low),
  )
  formulas = [*map(formula_lib.parse, ('Growth(close,5)', 'Tilt(high,low)'))]
  values = evaluate.values(formulas, panel)
  for actual, wanted in zip(values, expected, strict=True):
    np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


def test_an_operator_of_ones_own_is_mined(monkeypatch):
  """One row of the table and one pure function."""
  add_operators(monkeypatch)
  config = tiny.get_config('random_search')
  config.language.operators = ('Sub', 'Range')
  config.language.max_length = 2
  config.num_trajectories = 30
  config.pool.capacity = 8
  market, _ = markets.load_market(config)
  method = experiment.make_method(config, market)
  state, _ = method.step(method.init(jax.random.key(0)), jax.random.key(1))
  found = method.found(state)
  assert any('Range' in str(formula) for formula in found.formulas)
  panel = market.valid.panel
  values = evaluate.values([formula_lib.parse('Range(close,5)')], panel)[0]
  close = pd.DataFrame(panel_lib.feature(panel, 'close'))
  expected = close.rolling(5).max() - close.rolling(5).min()
  np.testing.assert_allclose(values, expected, rtol=1e-5)
