"""Published pools and formulas of a file, weighted on the train split."""

import json
import re

import jax
import numpy as np
import pytest
import tiny

from alphajax import evaluate, experiment, markets, train
from alphajax.configs import published as config_lib
from alphajax.language import formula as formula_lib
from alphajax.language import library
from alphajax.methods import linear, published, weights

MARKETS = (
  'csi300', 'sp500', 'simulated', 'simulated_large', 'simulated_deep',
  'simulated_noise',
)  # fmt: skip


def config_of(**changes):
  config = tiny.shrink(config_lib.get_config('simulated'))
  config.num_iterations = 1
  config.data.simulate.strength = 0.2
  config.update_from_flattened_dict(changes)
  return config


def of_file(path, text, **changes):
  path.write_text(text)
  changes = {'published.name': 'file', 'formulas': str(path)} | changes
  return config_of(**changes)


IDEAS = """
# Mine.
Corr(close,volume,10)
Mean(close,10)/close
Mean(clse,5)
Std(volume,10)/Mean(volume,10)
"""


def test_every_market_is_a_variant():
  for variant in MARKETS:
    config = config_lib.get_config(variant)
    assert config.method == 'published' and config.published.name == 'table9'


def test_table_9_is_as_printed():
  printed = """
    Mean(Corr(Sum(open,40),(high-volume),20),20)
    volume
    Std(close,40)
    Pow(Med(Cov(high,low,30),30),0.1)
    Delta(Log(|Min(high,30)/0.01|),30)
    Cov((-0.1-Sum(close,40)),volume,20)+low
    0.01*Greater(-0.1/Corr(high,close,30),volume)
    Log(|Std((0.05-volume),40)|)
    Greater(-0.01,Log(|Log(|low|)|))
    Cov(volume,vwap,40)
  """
  # Its bars open after a bracket or comma, and close else.
  printed = re.sub(r'(?<=[(,])\|', 'Abs(', printed).replace('|', ')')
  texts = json.loads(published.as_text(config_of()))['formulas']
  assert [formula_lib.key(formula_lib.parse(t)) for t in texts] == [
    formula_lib.key(formula_lib.parse(t)) for t in printed.split()
  ]


def test_a_library_is_read_whole():
  for name in library.LIBRARIES:
    held = json.loads(published.as_text(config_of(**{'published.name': name})))
    assert held['formulas'] == list(library.load(name).values())
    assert len(held['left_out']) == len(library.left_out(name))
  assert len(held['formulas']) == 158 and not held['left_out']


@pytest.mark.parametrize('name', library.LIBRARIES)
def test_signs_of_a_library_are_read_as_the_parser_reads_them(name):
  texts = library.load(name).values()
  parsed = list(map(formula_lib.parse, texts))
  assert list(map(formula_lib.unchecked, texts)) == parsed
  bars = published.lookback(config_of(**{'published.name': name}))
  assert bars == max(map(formula_lib.lookback, parsed))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run of a file with a bad line, and what was warned of."""
  folder = tmp_path_factory.mktemp('published')
  config = of_file(folder / 'ideas.txt', IDEAS, **{'published.strict': False})
  with pytest.warns(UserWarning, match=r'ideas.txt, line 5: .*clse') as told:
    trained = train.train(config, folder / 'run')
  (folder / 'ideas.txt').unlink()  # The run holds what it was.
  return config, trained, folder / 'run', told


def test_weights_are_those_of_the_rule(run):
  config, trained, workdir, _ = run
  formulas = [
    formula_lib.parse(text)
    for text in IDEAS.split('\n')
    if '(' in text and 'clse' not in text
  ]
  expected = weights.fit(config, trained.market.train, formulas)
  found = trained.method.found(trained.state)
  kept = [(f, w) for f, w in zip(formulas, expected, strict=True) if w]
  assert list(zip(found.formulas, found.weights, strict=True)) == kept
  assert trained.reason == '3 formulas weighted'
  (record,) = map(json.loads, (workdir / 'metrics.jsonl').open())
  assert record['evaluated'] == 3 and record['pool_size'] == len(kept)
  valid = np.mean(linear.daily_ic(found, trained.market.valid))
  assert record['valid_ic'] == pytest.approx(float(valid), abs=1e-6)
  assert record['train_ic'] > 0.05  # Two of them are planted in other windows.


def test_the_run_is_whole_without_the_file(run):
  config, trained, workdir, _ = run
  held = json.loads((workdir / 'config.json').read_text())['published']['held']
  ((where, why),) = json.loads(held)['left_out']
  assert where.endswith('ideas.txt, line 5') and 'clse' in why
  results = evaluate.evaluate(workdir)
  assert len(results['factors']) == len(trained.state.found.formulas)
  made, _, _ = evaluate.result_of(workdir)
  _, state = experiment.restore(made, workdir)
  assert state == trained.state


def test_a_dialect(tmp_path):
  config = of_file(
    tmp_path / 'theirs.txt', '-1*correlation(close,volume,10)\n',
    **{'published.dialect': 'alpha101'},
  )  # fmt: skip
  (text,) = json.loads(published.as_text(config))['formulas']
  assert formula_lib.key(formula_lib.parse(text)) == formula_lib.key(
    formula_lib.parse('-1*Corr(close,volume,10)')
  )


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'published.name': 'alpha11'},
      "name is 'alpha11': expected one of table9",
    ),
    ({'published.name': 'file'}, 'config.formulas is empty: name a file'),
    ({'formulas': 'ideas.txt'}, 'set --config.published.name=file'),
    ({'published.name': 'file', 'formulas': 'nowhere.txt'}, 'no such file'),
  ],
)
def test_bad_input(changes, message):
  with pytest.raises(ValueError, match=message):
    experiment.with_rules(config_of(**changes))


def test_bad_lines(tmp_path):
  path = tmp_path / 'ideas.txt'
  config = of_file(path, IDEAS + 'Mean(opn,5)\n')
  with pytest.raises(
    ValueError,
    match=r'2 of its lines are no formula; --config.published.strict=False '
    r'takes the others(?s:.*)line 5: .*clse(?s:.*)line 7: .*opn',
  ):
    published.as_text(config)
  config.published.strict = False
  with pytest.warns(UserWarning, match='2 lines are left out'):
    assert len(json.loads(published.as_text(config))['left_out']) == 2
  config = of_file(path, 'Mean(clse,5)\nRef(close,-1)\n')
  with pytest.raises(ValueError, match=r'(?s)line 1: .*clse.*line 2: .*ahead'):
    published.as_text(config)
  config = of_file(path, 'close\n', **{'published.dialect': 'theirs'})
  with pytest.raises(ValueError, match="dialect is 'theirs': expected one of"):
    published.as_text(config)


def test_a_penalty_that_leaves_nothing(tmp_path):
  config = of_file(
    tmp_path / 'ideas.txt', 'Mean(close,10)/close\n', **{'pool.penalty': 1e6}
  )
  market, _ = markets.load_market(config)
  method = experiment.make_method(config, market)
  with pytest.raises(ValueError, match='leaves out all 1 formulas: take a'):
    method.step(method.init(jax.random.key(0)), jax.random.key(1))
