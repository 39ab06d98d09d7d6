"""The examples run, and what they show is right."""

import importlib.util
import runpy
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny

import alphajax
from alphajax import markets
from alphajax.language import formula as formula_lib

FOLDER = Path(__file__).parent.parent / 'scripts' / 'examples'


def load(name):
  spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='module')
def prices(tmp_path_factory):
  """A CSV file of a simulated market in which alphas are planted."""
  config = tiny.get_config('random_search')
  config.data.simulate.strength = 0.2
  panel = markets.simulated(config).panel
  features = np.asarray(panel.features)
  days, stocks = np.nonzero(np.isfinite(features[3]))
  columns = zip(panel.feature_names, features[:, days, stocks], strict=True)
  table = {
    'date': np.array(panel.dates)[days],
    'symbol': np.array(panel.symbols)[stocks],
    'member': np.asarray(panel.mask)[days, stocks].astype(int),
    **dict(columns),
  }
  path = tmp_path_factory.mktemp('prices') / 'prices.csv'
  pd.DataFrame(table).to_csv(path, index=False)
  return path


def test_quant(prices, capsys):
  quant = load('quant')
  found, trace = quant.main(prices)
  said = capsys.readouterr().out
  panel = alphajax.load(prices)
  split = alphajax.split(
    panel, 'all', panel.dates[0], panel.dates[-1], lookback=40
  )
  own = []
  for text in quant.FORMULAS:
    factor = alphajax.compile(alphajax.parse(text))(split.panel)
    daily = alphajax.daily_ic(
      factor, jnp.asarray(split.target), jnp.asarray(split.panel.mask)
    )
    own.append(float(np.asarray(daily)[split.scored].mean()))
    assert f'{text:30}{own[-1]:8.4f} [' in said
  # Two of the formulas are planted: the pool has them, and beats each alone.
  assert {2, 3} <= set(found.ids.tolist())
  assert float(trace.ic[-1]) > max(own) > 0.05
  assert f'IC of the pool {trace.ic[-1]:.4f}' in said


def test_ml_researcher(tmp_path, capsys):
  researcher = load('ml_researcher')
  rows = researcher.main(tmp_path)
  said = capsys.readouterr().out
  best = rows.pivot(index='seed', columns='variant', values='best_valid_ic')
  change = best['sem_k'] - best['syn']
  assert change.shape == (2,) and np.isfinite(change).all()
  assert f'| {change.mean():+.4f} [' in said
  for grammar in researcher.GRAMMARS:
    run = alphajax.load_run(tmp_path / grammar / 'seed_1')
    assert run.metrics[-1]['evaluated'] > 20
    assert run.metrics[-1]['best_valid_ic'] == best[grammar][1]
  again = researcher.main(tmp_path)  # Nothing is left to do.
  pd.testing.assert_frame_equal(again, rows)


def test_tool_builder():
  builder = load('tool_builder')
  formulas, coverage = builder.main()
  # Two prices with a window, times CSRank(volume) or a mean of three windows.
  assert 12 < len(formulas) <= 2 * 3 * (1 + 3)
  panel = alphajax.simulate(num_days=300, num_stocks=40, alphas=()).panel
  mask = np.asarray(panel.mask)
  for formula, share in zip(formulas, coverage, strict=True):
    assert formula == alphajax.parse(alphajax.to_text(formula))
    values = np.asarray(alphajax.compile(formula)(panel))
    assert share == pytest.approx(np.isfinite(values[mask]).mean(), abs=1e-6)
    assert 19 <= formula_lib.lookback(formula) <= 40


@pytest.mark.parametrize(
  'path', sorted(FOLDER.glob('*.py')), ids=lambda p: p.stem
)
def test_each_is_short_and_says_its_command(path):
  text = path.read_text()
  assert len(text.splitlines()) < 62
  assert f'python scripts/examples/{path.name}' in text


def test_one_runs_as_its_command_says(tmp_path, monkeypatch, capfd):
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(FOLDER)  # As Python does of a script.
  runpy.run_path(str(FOLDER / 'tool_builder.py'), run_name='__main__')
  said = capfd.readouterr()
  assert not said.err and 'close' in said.out
