"""Refinement as a whole: Table 3, the objective, folders, bad input."""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from alphajax import cli, markets, refine
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import masks
from alphajax.methods import refinement

SCRIPTS = Path(__file__).parent.parent / 'scripts'
sys.path.insert(0, str(SCRIPTS))
import table3_refinement  # noqa: E402


def config_of(formula, mask='', method='random_search', **changes):
  config = tiny.get_config()
  config.method = method
  config.num_iterations = 2
  config.lookback = 30  # One market for all tests.
  config.refine.formula, config.refine.mask = formula, mask
  config.update_from_flattened_dict(changes)
  return config


def run(workdir, *args, **changes):
  return refine.refine(config_of(*args, **changes), workdir)


@functools.cache
def market():
  return markets.load_market(config_of('close'))[0]


def daily_ic(text, split, name='daily_ic'):
  """Daily IC on the scored days, by the plain functions."""
  (values,) = evaluate.values([formula_lib.parse(text)], split.panel)
  series = getattr(metrics, name)(values, split.target, split.panel.mask)
  return np.asarray(series)[split.scored]


@pytest.mark.parametrize('row', table3_refinement.TABLE_3, ids=lambda r: r.name)
def test_table_3(row, tmp_path):
  """All six originals, in a language without their windows and constants."""
  result = run(tmp_path, row.formula, row.mask)
  assert result['improved']['score'] >= result['original']['score']
  assert result['evaluated'] > 1
  assert result['improved']['length'] <= result['max_length']
  original = formula_lib.parse(result['original']['formula'])
  improved = formula_lib.parse(result['improved']['formula'])
  assert masks.length(improved) <= masks.length(original) + 5
  mask = formula_lib.parse(result['mask'], holes=True)
  form = masks.lay_over(mask, original)
  edits = [e._asdict() for e in masks.edits(form, original, improved)]
  assert edits == result['edits']
  assert json.loads((tmp_path / 'refine.json').read_text()) == result
  assert len(table3_refinement.cells(row, result)['improved']) > 0


def test_alphacfg_searches_the_form(tmp_path):
  """The search, its network and the same bits again for the same seed."""
  args = ('Mean(close,6)-close', 'Mean(_,6)-_', 'alphacfg')
  results = [run(tmp_path / str(i), *args) for i in range(2)]
  assert results[0] == results[1]
  result = results[0]
  assert result['proposed'] == 2 * 6
  improved = formula_lib.parse(result['improved']['formula'])
  assert improved.symbol == 'Sub'
  assert improved.args[0].symbol == 'Mean'
  assert improved.args[0].args[1].symbol == '6'
  assert result['improved']['score'] >= result['original']['score']


def test_random_search_finds_the_best_filling(tmp_path):
  """A space so small that everything is tried: the winner is the best."""
  result = run(
    tmp_path, 'Mean(close,6)/volume', 'Mean(_,_)/volume',
    num_iterations=2, num_trajectories=30, **{'refine.max_length': 4},
  )  # fmt: skip
  features = ('open', 'high', 'low', 'close', 'volume', 'vwap')
  every = [f'Mean({f},{w})/volume' for f in features for w in (5, 10)]
  assert result['evaluated'] == len(every) + 1
  split = market().train
  best = max(abs(daily_ic(text, split).mean()) for text in every)
  own = abs(daily_ic('Mean(close,6)/volume', split).mean())
  assert result['improved']['score'] == pytest.approx(max(best, own), abs=1e-6)


@pytest.mark.parametrize('name', ['ic', 'rank_ic', 'icir', 'lcb'])
def test_the_score_is_the_objective(name):
  """Against the plain metrics, of the factor or its negative."""
  config = config_of('close', **{'refine.objective': name})
  bench = refinement.make_bench(config, market().train)
  texts = ['Mean(close,5)/vwap', 'CSRank(volume)', 'close-open']
  scores = refinement.score(bench, [formula_lib.parse(t) for t in texts])
  series = 'daily_rank_ic' if name == 'rank_ic' else 'daily_ic'
  for text, value in zip(texts, scores, strict=True):
    daily = daily_ic(text, market().train, series)
    expected = {
      'ic': abs(daily.mean()),
      'rank_ic': abs(daily.mean()),
      'icir': abs(daily.mean()) / daily.std(),
      'lcb': abs(daily.mean()) - daily.std(),
    }[name]
    assert value == pytest.approx(expected, abs=1e-5)
  assert refinement.score(bench, [formula_lib.parse('close/close')]) == [None]


def test_scores_do_not_depend_on_the_batch():
  bench = refinement.make_bench(config_of('close'), market().train)
  formulas = [formula_lib.parse(t) for t in ('close-open', 'high/low', 'vwap')]
  together = refinement.score(bench, formulas)
  assert together == [refinement.score(bench, [f])[0] for f in formulas]


def test_figures(tmp_path):
  """Means and the paired difference, with the signs chosen on train."""
  result = run(tmp_path, 'Mean(close,6)-close')
  for split in market():
    daily = {}
    for name in ('original', 'improved'):
      row = result[name]
      daily[name] = row['sign'] * daily_ic(row['formula'], split)
      mean = row[split.name]['ic']['mean']
      assert mean == pytest.approx(daily[name].mean(), abs=1e-6)
    difference = result['difference'][split.name]['ic']
    assert difference['low'] <= difference['mean'] <= difference['high']
    means = [result[n][split.name]['ic']['mean'] for n in daily]
    assert difference['mean'] == pytest.approx(means[1] - means[0], abs=1e-6)
  assert 'train ic' in refine.table(result)


def test_the_original_stays_when_nothing_is_better(tmp_path):
  """One evaluation allowed: that of the original."""
  result = run(tmp_path, 'Mean(close,6)-close', max_evaluated=1)
  assert result['improved']['formula'] == result['original']['formula']
  assert result['edits'] == []
  assert result['difference']['valid']['ic']['mean'] == 0.0


def test_constants_are_tuned(tmp_path):
  result = run(
    tmp_path, 'close/vwap-0.3*Std(volume,5)/volume', 'close/_-_',
    **{'refine.tune_constants': True, 'refine.tune_steps': 5,
       'refine.tune_starts': 2},
  )  # fmt: skip
  assert result['improved']['score'] >= result['original']['score']
  tuned = result['tuned']
  assert len(tuned['before']) == len(tuned['after'])
  assert 'constants' in refine.table(result)


def test_a_folder_of_another_refinement_is_refused(tmp_path):
  result = run(tmp_path, 'Mean(close,6)-close')
  assert run(tmp_path, 'Mean(close,6)-close') == result
  for args, changes in (
    (('Mean(close,5)-close',), {}),
    (('Mean(close,6)-close', 'Mean(_,6)-close'), {}),
    (('Mean(close,6)-close',), {'refine.objective': 'icir'}),
    (('Mean(close,6)-close',), {'seed': 1}),
  ):
    with pytest.raises(ValueError, match='made by another config'):
      run(tmp_path, *args, **changes)


@pytest.mark.parametrize(
  'formula, mask, changes, message',
  [
    ('Mean(close,6', '', {}, 'ends too early at position 13'),
    ('Mean(clse,6)', '', {}, "unknown feature 'clse' .did you mean close.. at"),
    ('Maen(close,6)', '', {}, "unknown operator 'Maen' .*position 1"),
    ('', '', {}, 'empty formula'),
    ('close-open', 'close-open', {}, 'nothing to fill'),
    ('close-open', 'high-_', {}, 'does not match'),
    ('close-open', '', {'refine.max_length': 1}, 'config.refine.max_length'),
    ('close-open', '', {'refine.extra_length': -1}, 'extra_length'),
    ('close-open', '', {'refine.objective': 'x'}, 'config.refine.objective'),
    ('close-open', '', {'method': 'gp'}, "config.refine.search is 'gp'"),
    ('Mean(close,50)', '', {'lookback': 20}, 'looks back 49 bars'),
    ('close-open', '', {'value.refresh': True}, 'refinement has none, so that'),
    (
      'close-open',
      '',
      {'teacher.runs': ('a',)},
      'config.teacher.runs is set',
    ),
  ],
)
def test_bad_input_at_once(formula, mask, changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    run(tmp_path / 'run', formula, mask, **changes)
  assert not (tmp_path / 'run').exists()


def test_a_config_that_writes_no_formulas():
  with pytest.raises(ValueError, match="'lstm', which writes no formulas"):
    refine.check_method(cli.read_config('lstm.py:simulated'))
  refine.check_method(tiny.get_config())


def test_formulas_of_a_file(tmp_path):
  path = tmp_path / 'formulas.csv'
  path.write_text('name,formula,mask\na,close-open,\nb,high/low,_/low\n')
  assert table3_refinement.read_rows(path, 'sp500') == [
    table3_refinement.Row('a', 'sp500', 'close-open'),
    table3_refinement.Row('b', 'sp500', 'high/low', '_/low'),
  ]
  path.write_text('name,formula\na,close\na,open\n')
  with pytest.raises(ValueError, match='the name a is there twice'):
    table3_refinement.read_rows(path, 'sp500')
  path.write_text('id,formula\na,close\n')
  with pytest.raises(ValueError, match='no column name'):
    table3_refinement.read_rows(path, 'sp500')


def test_no_split_but_train_and_validation_is_read(monkeypatch, tmp_path):
  """The panel that is loaded ends with validation."""
  seen = []
  load = markets.load_market

  def spy(config):
    loaded = load(config)
    seen.extend(split.panel.dates[-1] for split in loaded[0])
    return loaded

  monkeypatch.setattr(markets, 'load_market', spy)
  config = config_of('close-open', num_iterations=1)
  refine.refine(config, tmp_path)
  assert seen
  assert max(seen) <= config.splits.valid[1] < config.splits.test[0]


def test_formulas_in_another_notation_are_read_into_ours():
  config = config_of('')
  text = refine.in_ours(config, 'Mean($close, 6)-$close', 'qlib')
  assert text == 'Mean(close,6)-close'
  assert refine.in_ours(config, ' Mean(close,6) ', 'ours') == ' Mean(close,6) '
  with pytest.raises(ValueError, match="'rank' is not in the dialect qlib"):
    refine.in_ours(config, 'rank($close)', 'qlib')
  with pytest.raises(ValueError, match='name the notation, --dialect=qlib'):
    refine.in_ours(config, 'Skew($close,20)', 'ours')
