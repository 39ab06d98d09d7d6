"""What a matrix of runs is planned as, and what is refused before it runs."""

import json
import re
from pathlib import Path

import pytest
import tiny
from ml_collections import config_dict

from alphajax import cli, matrix
from alphajax.configs import referee as rows
from alphajax.methods import gflownet
from alphajax.run import config as config_lib
from alphajax.run import files

TINY = str(Path(tiny.__file__))


def get_config(**methods):
  """Two methods on two markets, two seeds of each, 12 formulas a run."""
  config = rows.get_config('simulated')
  config.methods = config_dict.ConfigDict(
    {
      'random': rows.method(TINY, 'random_search'),
      'best': rows.method(TINY, 'random_search', ['pool.rule=best_distinct']),
      **methods,
    }
  )
  config.markets = config_dict.ConfigDict(
    {
      'noise': rows.market('', 'data.simulate.strength=0.0'),
      'tiny': rows.market(''),
    }
  )
  config.seeds, config.budget = 2, 12
  config.controls, config.checkpoints = ('random',), (6, 12, 100)
  return config


def test_every_method_is_run_on_every_market_with_every_seed(tmp_path):
  planned = matrix.plan(get_config(), tmp_path)
  assert [(*matrix.names_of(m), m.seed) for m in planned.members] == [
    (market, method, seed)
    for seed in (0, 1)
    for market in ('noise', 'tiny')
    for method in ('best', 'random')
  ]
  assert not planned.skipped and not list(tmp_path.iterdir())
  member = planned.members[-1]
  assert member.workdir == tmp_path / 'tiny,random' / 'seed_1'
  assert member.config.seed == 1
  assert [m.config.data.simulate.strength for m in planned.members[:4]] == [
    0.0, 0.0, 0.05, 0.05
  ]  # fmt: skip


def test_the_budget_and_nothing_else_ends_a_run(tmp_path):
  config = get_config(
    more=rows.method(TINY, 'random_search', budget=30),
    mine=rows.method(TINY, 'random_search', ['num_iterations=2']),
    predictor=rows.method(TINY, 'random_search', formulas=False),
  )
  members = matrix.plan(config, tmp_path, markets=['tiny']).members
  by_name = {matrix.names_of(m)[1]: m.config for m in members}
  keys = ('max_evaluated', 'num_iterations', 'early_stop')
  found = {n: tuple(c[k] for k in keys) for n, c in by_name.items()}
  assert found['random'] == (12, 6, 0.0)  # 3 x 12 of 6 an iteration.
  assert found['more'] == (30, 15, 0.0)
  assert found['mine'] == (12, 2, 0.0)
  assert found['predictor'] == (0, 3, 0.0)  # As its config has it.


METHODS = ('alphaqcm', 'gflownet', 'gp', 'alphaformer', 'random', 'published')


def referee(budget=1000, **changes):
  """Rows of the command on a market that needs no data, one seed."""
  config = rows.get_config('simulated')
  config.seeds, config.budget = 1, budget
  config.update(changes)
  return config


def planned(config, workdir, methods=METHODS):
  members = matrix.plan(config, workdir, methods).members
  return {matrix.names_of(m)[1]: m.config for m in members}


def test_schedules_are_cut_to_the_budget(tmp_path):
  """Every one of them ends before the budget does, and is the published one
  where that is large."""
  for budget in (100, 1000, 5000):
    found = planned(referee(budget), tmp_path)
    qcm = found['alphaqcm']
    moves = budget * qcm.language.max_length
    assert qcm.qcm.start_steps < 0.2 * moves
    assert qcm.qcm.random_decay_steps <= 0.5 * moves
    assert qcm.training.target_interval < 0.1 * moves
    assert budget / qcm.num_trajectories >= 20
    flow = found['gflownet']
    last = budget - flow.num_trajectories  # Evaluated before the last batch.
    weights = [gflownet.novelty_weight(flow, 0, n) for n in (0, last)]
    assert weights[0] == 0.3 and weights[1] == 0
    gp = found['gp']
    assert (gp.num_trajectories, gp.gp.tournament) == (
      min(budget // 10, 1000), min(budget // 10, 1000) * 6 // 10
    )  # fmt: skip
    former = found['alphaformer']
    assert former.num_trajectories * former.pool.every <= 100
  large = planned(referee(1_000_000), tmp_path, ['alphaqcm'])['alphaqcm']
  theirs = cli.read_config('alphaqcm.py:simulated')
  for part in ('qcm', 'training'):
    assert large[part].to_dict() == theirs[part].to_dict()


def test_what_is_set_goes_before_what_a_budget_asks_for(tmp_path):
  config = referee()
  config.methods.alphaqcm.set = ('qcm.start_steps=77',)
  config.methods.alphaformer.set = ('pool.every=9',)
  found = planned(config, tmp_path)
  assert found['alphaqcm'].qcm.start_steps == 77
  assert found['alphaformer'].pool.every == 9


def test_a_folder_that_goes_on_keeps_its_schedules(tmp_path):
  config = referee()
  matrix.begin(config, matrix.plan(config, tmp_path, ['gp']), tmp_path)
  config.budget = 3000
  gp = planned(config, tmp_path, ['gp'])['gp']
  assert (gp.num_trajectories, gp.max_evaluated) == (100, 3000)
  matrix.begin(config, matrix.plan(config, tmp_path, ['gp']), tmp_path)
  assert planned(config, tmp_path, ['gp'])['gp'].num_trajectories == 100


def test_one_pool_rule_for_all(tmp_path):
  own = planned(referee(), tmp_path)
  assert {n: c.pool.rule for n, c in own.items()} == {
    'alphaqcm': 'algorithm1', 'gflownet': 'algorithm1', 'gp': 'algorithm1',
    'alphaformer': 'bagged', 'random': 'algorithm1', 'published': 'elastic_net',
  }  # fmt: skip
  one = planned(referee(pool_rule='distilled'), tmp_path)
  assert {c.pool.rule for c in one.values()} == {'distilled'}
  assert one['random'].pool.every == 2  # Of 50: a pool every 100 formulas.
  with pytest.raises(
    ValueError,
    match="config.pool_rule is 'bag': expected one of algorithm1, .*bagged.*, "
    "or an import path .* mean 'bagged'",
  ):
    planned(referee(pool_rule='bag'), tmp_path)


def test_rows_that_are_no_default_run_where_they_are_named(tmp_path):
  config = referee()
  usual = {matrix.names_of(m)[1] for m in matrix.plan(config, tmp_path).members}
  more = {'alphacfg_sem', 'alphacfg_syn', 'alphacfg_rpn', 'gp_published',
          'alphaformer_paper'}  # fmt: skip
  assert not usual & more
  assert {'published', 'alpha101', 'gtja191', 'alpha158'} <= usual
  found = planned(config, tmp_path, sorted(more))
  names = {n: c.language.name for n, c in found.items()}
  assert [names[f'alphacfg_{n}'] for n in ('sem', 'syn', 'rpn')] == [
    'sem', 'syn', 'rpn'
  ]  # fmt: skip
  assert found['gp_published'].pool.rule == 'best_distinct'
  assert found['gp_published'].pool.capacity == 20
  (tmp_path / 'simulated,gp_published').mkdir()  # It was asked for here.
  again = {matrix.names_of(m)[1] for m in matrix.plan(config, tmp_path).members}
  assert again == usual | {'gp_published'}


def test_pretraining_is_beside_the_budget(tmp_path):
  found = planned(referee(), tmp_path, ['alphaformer_paper'])
  paper = found['alphaformer_paper']
  updates = paper.pretrain.num_updates
  assert updates > 0
  assert paper.num_iterations == updates + 30  # 3 x 1,000 of 100.


def test_a_part_is_planned_in_the_order_of_the_config(tmp_path):
  planned = matrix.plan(get_config(), tmp_path, ['random'], ['tiny'])
  assert [m.variant for m in planned.members] == ['tiny,random'] * 2


def test_what_is_not_here_is_left_out_with_a_word(tmp_path):
  config = get_config(
    gone=rows.method('no_such_config.py', optional=True),
    trees=rows.method(TINY, 'random_search', needs='no_such_library'),
  )
  planned = matrix.plan(config, tmp_path)
  assert planned.skipped == {
    'gone': 'there is no config no_such_config.py',
    'trees': 'it needs no_such_library: pip install no_such_library',
  }
  assert {matrix.names_of(m)[1] for m in planned.members} == {
    'random', 'best'
  }  # fmt: skip


@pytest.mark.parametrize(
  'methods, asked, message',
  [
    ({}, ['ramdom'], "unknown method 'ramdom': .* did you mean random"),
    (
      {'trees': rows.method(TINY, 'random_search', needs='no_such_library')},
      ['trees'],
      'method trees: it needs no_such_library: pip install no_such_library',
    ),
    ({'x': rows.method('no.py')}, [], 'method x: --config=no.py: no such file'),
    ({'x': rows.method('no.py', optional=True)}, ['x'],
     'method x: there is no config no.py'),
    ({'x': rows.method(TINY, 'random_search', ['method=nothing'])}, [],
     r"variant noise,x: config.method is 'nothing'"),
    ({'x': rows.method(TINY, 'random_search', ['pool.size=3'])}, [],
     'method x on noise: .*size'),
    ({'x': rows.method(TINY, 'random_search', budget=0)}, [],
     'config.methods.x.budget is 0: expected how many formulas'),
    ({'a,b': rows.method(TINY, 'random_search')}, [], 'a name has no comma'),
    (
      {'x': rows.method(TINY, 'random_search', ['label.exit=7'])},
      [],
      r'(?s)noise: best and x disagree.*label.exit: 5 -> 7.*'
      r'config.markets.noise.set, for all',
    ),
    (
      {'x': rows.method(TINY, 'random_search',
                        ["splits.test=('2010-10-25','2010-12-31')"])},
      [],
      r'(?s)disagree.*splits.test: .*2011-02-25.* -> .*2010-12-31',
    ),
    ({'x': rows.method(TINY, 'random_search', ['data.simulate.seed=1'])}, [],
     r'disagree(?s:.*)data.simulate.seed: 0 -> 1'),
  ],
)  # fmt: skip
def test_bad_methods_are_refused(methods, asked, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    matrix.plan(get_config(**methods), tmp_path, asked)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'budget': 0}, 'config.budget is 0: expected how many formulas'),
    ({'seeds': 0}, 'config.seeds is 0'),
    ({'patience': 0}, 'config.patience is 0'),
    ({'markets': config_dict.ConfigDict()}, 'config.markets is empty'),
    ({'methods': config_dict.ConfigDict(
      {'gone': rows.method('no.py', optional=True)}
    )}, 'no method is left to run: gone: there is no config no.py'),
  ],
)  # fmt: skip
def test_bad_configs_are_refused(changes, message, tmp_path):
  config = get_config()
  for key, value in changes.items():
    config[key] = value
  with pytest.raises(ValueError, match=message):
    matrix.plan(config, tmp_path)


def test_unknown_markets_are_refused(tmp_path):
  with pytest.raises(ValueError, match="unknown market 'tony': .* mean tiny"):
    matrix.plan(get_config(), tmp_path, markets=['tony'])


@pytest.mark.parametrize('name', ['config.json', 'runs.csv'])
def test_the_folder_of_something_else_is_refused(name, tmp_path):
  (tmp_path / name).write_text('{}')
  with pytest.raises(ValueError, match=f'it holds {name}: take another'):
    matrix.plan(get_config(), tmp_path)


def test_the_folder_of_another_matrix_is_refused(tmp_path):
  config = get_config()
  matrix.begin(config, matrix.plan(config, tmp_path), tmp_path)
  matrix.plan(config, tmp_path)
  path = tmp_path / matrix.MATRIX
  made = json.loads(path.read_text())
  for market in made['markets'].values():  # As older versions wrote it.
    del market['data']['source'], market['backtest']
  path.write_text(json.dumps(made))
  matrix.plan(config, tmp_path)
  config.budget = 13  # Goes on.
  matrix.plan(config, tmp_path)
  config.budget = 11
  with pytest.raises(ValueError, match='another matrix, of a budget of 12'):
    matrix.plan(config, tmp_path)
  config.budget = 12
  config.markets.tiny.set = ('data.simulate.seed=3',)
  with pytest.raises(ValueError, match=r'(?s)its tiny is.*seed: 0 -> 3'):
    matrix.plan(config, tmp_path)


def test_a_part_keeps_what_is_known_of_the_rest(tmp_path):
  config = get_config()
  matrix.begin(config, matrix.plan(config, tmp_path), tmp_path)
  part = matrix.plan(config, tmp_path, markets=['tiny'])
  matrix.begin(config, part, tmp_path)
  known = files.read_json(tmp_path / matrix.MATRIX)
  assert list(known['markets']) == ['noise', 'tiny']
  assert known['markets']['tiny']['label']['exit'] == 5


def test_what_an_extra_brings_is_named(monkeypatch):
  monkeypatch.setattr(matrix.importlib.util, 'find_spec', lambda name: None)
  for name in ('lightgbm', 'xgboost'):
    row = rows.get_config().methods[name]
    said = f'it needs {name}: pip install "alphajax[gbdt]"'
    assert matrix._missing(name, row) == said


def test_the_configs_of_the_referee():
  paper = rows.get_config()
  assert sorted(paper.markets) == ['csi300', 'sp500']
  assert 'cn_csi300.parquet' in paper.markets.csi300.set[0]
  assert {'random', 'alphacfg', 'lightgbm', 'published'} <= set(paper.methods)
  assert not paper.methods.lstm.formulas and paper.methods.gp.formulas
  arena = rows.get_config('arena')
  assert len(arena.markets) == 11
  lengths, planted = set(), set()
  for place in arena.markets.values():
    options = cli.read_config(f'random.py:{place.variant}').data.simulate
    planted.add(options.planted)
    if options.planted:
      lengths |= set(options.lengths)
  assert planted == {0, 1, 2, 3, 4, 6} and {3, 10} <= lengths
  with pytest.raises(ValueError, match="unknown variant 'nikkei'"):
    rows.get_config('nikkei')


def test_the_documented_settings_are_those_of_the_configs(tmp_path):
  """The table of configs/README.md: ours, and those of the referee."""
  text = (cli.CONFIGS / 'README.md').read_text()
  found = re.findall(
    r'^\| `(\w+)` \| `([\w.]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$', text, re.M
  )
  assert len(found) > 15
  names = list(dict.fromkeys(name for name, *_ in found))
  config = rows.get_config('csi300')
  config.seeds, config.markets.csi300.set = 1, (f'data.path={tmp_path}',)
  cut = planned(config, tmp_path / 'runs', names)
  for name, key, ours, referees in found:
    own = cli.read_config(f'{config.methods[name].config}:csi300')
    for made, said in ((own, ours), (cut[name], referees)):
      value = config_lib.flatten(made.to_dict())[key]
      assert str(value) == said, f'{name}, {key}'
