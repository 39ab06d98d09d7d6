"""Features, windows and operators of one's own, from the config."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny

from alphajax import experiment, train
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, operators, windows
from alphajax.language import formula as formula_lib
from alphajax.language import vocab


@pytest.fixture(scope='module')
def turnover_file(tmp_path_factory):
  """The tiny market as a CSV file with the column `turnover`."""
  panel = experiment.simulated(tiny.get_config('random_search')).panel
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
  split = experiment.load_split(config, 'test')
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
    experiment.load_market(config)
  config.data.path = ''
  with pytest.raises(ValueError, match="simulated market has no 'free_float'"):
    experiment.load_market(config)


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


def test_an_operator_of_ones_own(monkeypatch):
  """One row of the table and one pure function."""
  monkeypatch.setitem(
    vocab.OPERATORS, 'Range', vocab.Symbol('Range', 'rolling')
  )
  monkeypatch.setitem(operators.FUNCTIONS, 'Range', ts_range)
  config = tiny.get_config('random_search')
  config.language.operators = ('Sub', 'Range')
  config.language.max_length = 2
  config.num_trajectories = 30
  config.pool.capacity = 8
  market, _ = experiment.load_market(config)
  method = experiment.make_method(config, market)
  state, _ = method.step(method.init(jax.random.key(0)), jax.random.key(1))
  found = method.found(state)
  assert any('Range' in str(formula) for formula in found.formulas)
  panel = market.valid.panel
  values = evaluate.values([formula_lib.parse('Range(close,5)')], panel)[0]
  close = pd.DataFrame(panel_lib.feature(panel, 'close'))
  expected = close.rolling(5).max() - close.rolling(5).min()
  np.testing.assert_allclose(values, expected, rtol=1e-5)
