"""The referee: a small matrix from its config to its page."""

import json
import pickle
import re
import shutil
from pathlib import Path

import matrix_test
import numpy as np
import pandas as pd
import pytest
from matrix_test import TINY

from alphajax import apart, arena, evaluate, matrix, referee, train
from alphajax.judge import comparison, joined, ledger
from alphajax.run import files, folder
from alphajax.run.files import RunError

RUNS = [
  f'tiny,{method}/seed_{seed}'
  for method in ('best', 'random')
  for seed in (0, 1)
]


def get_config():
  config = matrix_test.get_config()
  del config.markets.noise
  return config


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """2 methods x 2 seeds on a planted market, judged on test."""
  place = tmp_path_factory.mktemp('referee') / 'whole'
  with pytest.MonkeyPatch.context() as patch:
    own = place.parent / 'ledger.jsonl'  # Other tests write into the usual one.
    patch.setattr(ledger, 'place', lambda *given: own)
    referee.run(get_config(), place)
  return place


@pytest.fixture
def copy(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / 'copy')
  return tmp_path / 'copy'


@pytest.fixture
def untrained(monkeypatch):
  """Whoever trains or opens a split fails."""

  def refuse(*args, **options):
    raise RunError('trained or opened again')

  monkeypatch.setattr(train, 'train', refuse)
  monkeypatch.setattr(evaluate, 'evaluate', refuse)


def results(workdir, run):
  return json.loads((workdir / run / 'results.json').read_text())


def test_every_run_is_a_folder_like_any_other(workdir):
  for name in RUNS:
    run = folder.load_run(workdir / name)
    assert run.metrics[-1]['evaluated'] == 12
    assert run.splits() == ['train', 'valid', 'test']
    assert (workdir / name / 'finished.json').exists()


def test_each_test_split_is_opened_once_and_the_ledger_shows_it(workdir):
  entries = []
  for name in RUNS:
    found = results(workdir, name)
    assert found['opened'] == 1 and 'evaluations' not in found
    entries.append(found)
  path = Path(entries[0]['ledger'])
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert len(lines) == 4
  assert {(line['start'], line['end']) for line in lines} == {
    tuple(get_splits()['test'])
  }
  judged = {key for line in lines for key in line['keys']}
  assert max(entry['judged'] for entry in entries) == len(judged)


def get_splits():
  member = matrix.plan(get_config(), Path('nowhere'), markets=['tiny'])
  return member.members[0].config.splits


def test_the_table_is_of_the_days_that_were_opened(workdir):
  table = pd.read_csv(workdir / 'table.csv', index_col=['market', 'method'])
  assert len(table) == 2
  for (market, method), row in table.iterrows():
    found = [results(workdir, f'{market},{method}/seed_{s}') for s in (0, 1)]
    for name in ('ic', 'rank_ic'):
      means = [entry['test'][name]['mean'] for entry in found]
      assert row[name] == pytest.approx(np.mean(means))
      assert row[f'{name}_sd'] == pytest.approx(np.std(means, ddof=1))
    sharpe = [e['backtest']['figures']['sharpe']['value'] for e in found]
    depth = [entry['backtest']['drawdown']['depth'] for entry in found]
    assert row['sharpe'] == pytest.approx(np.mean(sharpe))
    assert row['max_drawdown'] == pytest.approx(np.mean(depth))
    assert row['evaluated'] == 12 and row['seconds'] > 0
  days = {}
  for method in ('best', 'random'):
    each = [folder.load_run(workdir / f'tiny,{method}/seed_{s}')
            for s in (0, 1)]  # fmt: skip
    days[method] = np.mean([run.daily['ic_test'] for run in each], axis=0)
  less = comparison.paired(days['best'], days['random'], lag=4)
  row = table.loc['tiny', 'best']
  assert row['less_random'] == pytest.approx(less.mean)
  assert row['less_random_high'] == pytest.approx(less.high)


def test_runs_and_curves_are_written_too(workdir):
  runs = pd.read_csv(workdir / 'runs.csv')
  assert len(runs) == 4 and set(runs['opened']) == {1}
  curves = pd.read_csv(workdir / 'curves.csv')
  assert len(curves) == 8  # Two iterations a run.
  own = curves[(curves['market'] == 'tiny') & (curves['method'] == 'random')]
  metrics = folder.load_run(workdir / 'tiny,random/seed_1').metrics
  own = own[own['seed'] == 1]
  assert own['evaluated'].tolist() == [m['evaluated'] for m in metrics]
  assert own['valid_ic'].tolist() == pytest.approx(
    [m['valid_ic'] for m in metrics]
  )


def test_what_is_planted_is_looked_for(workdir):
  markets = pd.read_csv(workdir / 'arena.csv', index_col=['market', 'method'])
  assert markets['planted'].to_dict() == {
    ('tiny', 'best'): 3, ('tiny', 'random'): 3,
  }  # fmt: skip
  found = [results(workdir, f'tiny,random/seed_{seed}') for seed in (0, 1)]
  share = [entry['test']['ic']['mean'] / entry['ceiling'] for entry in found]
  row = markets.loc['tiny', 'random']
  assert row['share'] == pytest.approx(np.mean(share), rel=1e-4)
  pools = [
    json.loads((workdir / f'tiny,random/seed_{s}/pool.json').read_text())
    for s in (0, 1)
  ]
  last = [
    folder.load_run(workdir / f'tiny,random/seed_{s}').metrics[-1]['valid_ic']
    for s in (0, 1)
  ]
  shares = [
    ic / p['ceiling']['valid'] for ic, p in zip(last, pools, strict=True)
  ]
  assert row['share_12'] == pytest.approx(np.mean(shares))
  assert 'share_100' not in markets  # Beyond the budget.
  ranked = pd.read_csv(workdir / 'ranking.csv', index_col='method')
  assert ranked['markets'].tolist() == [1, 1]


def test_the_table_says_by_which_rule_pools_were_chosen(workdir):
  table = pd.read_csv(workdir / 'table.csv', index_col='method')
  assert table['pool_rule'].to_dict() == {
    'best': 'best_distinct', 'random': 'algorithm1'
  }  # fmt: skip
  head, _, *lines = [
    line.split(' | ')
    for line in (workdir / 'table.md').read_text().splitlines()
    if line.startswith('|')
  ]
  column = head.index('pool rule')
  assert {lines[0][column], lines[1][column]} == {
    'best_distinct', 'algorithm1'
  }  # fmt: skip


def test_where_nothing_is_planted_that_is_said(copy, monkeypatch):
  planted = arena.markets.simulated
  monkeypatch.setattr(
    arena.markets,
    'simulated',
    lambda config: planted(config)._replace(alphas=(), strength=0.0),
  )
  for name in RUNS:
    arena.recover(copy / name, 'test', get_splits()['test'])
    assert arena.found_in(copy / name, 'test')['closest'] == []


def test_the_page_and_the_text_say_it(workdir):
  text = (workdir / 'table.md').read_text()
  assert text.count('| method | seeds | RankIC | IC | RankICIR | ICIR |') == 1
  assert 'The 90 % confidence set of the IC holds' in text
  assert '## Planted markets' in text and 'share at 12' in text
  page = (workdir / 'referee.html').read_text()
  for title in ('Cumulative returns', 'Train IC by formulas',
                'Validation IC by seconds'):  # fmt: skip
    assert page.count(f'<h3>{title}</h3>') == 1
  assert page.count('<td class="name">best</td>') == 2
  assert not re.search(r'(src|href)="http', page)


def test_started_again_nothing_is_done_twice(workdir, untrained):
  before = (workdir / 'table.csv').read_bytes()
  referee.run(get_config(), workdir)
  assert (workdir / 'table.csv').read_bytes() == before


def test_only_tables(workdir, untrained, tmp_path):
  assert len(referee.run(get_config(), workdir, train_now=False)) == 1
  with pytest.raises(RunError, match='holds no finished run .* on the test'):
    referee.run(get_config(), tmp_path, train_now=False)


def test_killed_while_a_split_is_open_it_counts_twice(copy):
  (copy / RUNS[1] / referee.JUDGED).unlink()
  boards = referee.run(get_config(), copy, methods=['best'])
  assert results(copy, RUNS[1])['opened'] == 2
  assert [results(copy, name)['opened'] for name in RUNS[:1]] == [1]
  assert len(boards[0].entries) == 4  # The table is of all that is done.
  assert (
    'Opened more than once: best, seed 1 (2 times).'
    in (copy / 'table.md').read_text()
  )


def test_what_is_not_finished_is_not_in_the_table(copy, untrained):
  (copy / RUNS[0] / 'finished.json').unlink()
  board = referee.run(get_config(), copy, train_now=False)[0]
  assert board.table['seeds'].to_dict() == {'best': 1, 'random': 2}


def test_apart_it_ends_with_the_same_bits(copy, workdir, monkeypatch):
  """What is sent to processes can be; that they run, a walk's tests show."""
  begun = []

  def run(tasks, work, jobs, begin):
    for number, task in enumerate(tasks, 1):
      begin(number, task)
      sent, given = pickle.loads(pickle.dumps((work, task)))
      sent(given)
      begun.append((given.variant, given.seed, jobs))
      yield task, True

  monkeypatch.setattr(apart, 'run', run)
  shutil.rmtree(copy / RUNS[2])
  (copy / RUNS[1] / 'judged.json').unlink()  # It is judged in this process.
  referee.run(get_config(), copy, jobs=2)
  assert begun == [('tiny,random', 0, 2)]
  assert results(copy, RUNS[1])['opened'] == 2
  pools = [(p / RUNS[2] / 'pool.json').read_bytes() for p in (copy, workdir)]
  assert pools[0] == pools[1]
  assert results(copy, RUNS[2])['test'] == results(workdir, RUNS[2])['test']


def test_a_process_that_fails_is_named(copy, monkeypatch):
  shutil.rmtree(copy / RUNS[2])
  monkeypatch.setattr(
    apart, 'run', lambda tasks, *given: ((task, False) for task in tasks)
  )
  with pytest.raises(RunError, match=r'1 of 4 (?s:.*)seed_0: see above'):
    referee.run(get_config(), copy, jobs=2)


def test_validation_opens_no_test_split(copy, capsys):
  for name in RUNS:
    for file in ('results.json', 'daily_test.npz', 'judged.json'):
      (copy / name / file).unlink()
  boards = referee.run(
    get_config(), copy, methods=['random'], markets=['tiny'], name='validation'
  )
  assert [board.title for board in boards] == ['tiny']
  for name in RUNS[2:]:
    found = results(copy, name)
    assert found['opened'] == 0 and 'test' not in found
    entry = found['evaluations']['validation']
    assert entry['split'] == list(get_splits()['valid'])
    pool = json.loads((copy / name / 'pool.json').read_text())
    assert entry['test']['ic']['mean'] == pytest.approx(
      pool['pool']['valid']['ic']['mean'], abs=1e-6
    )
    assert not (copy / name / 'daily_test.npz').exists()
  assert boards[0].days == tuple(get_splits()['valid'])
  assert ' to '.join(boards[0].days) in capsys.readouterr().out


def test_runs_that_disagree_are_refused(copy, untrained):
  path = copy / RUNS[1] / 'pool.json'
  pool = json.loads(path.read_text())
  pool['label']['horizon'] = 7
  path.write_text(json.dumps(pool))
  files.write_json(
    copy / RUNS[1] / referee.JUDGED, {'test': files.digest(path)}
  )
  with pytest.raises(RunError, match='tiny: .*disagree in their label'):
    referee.run(get_config(), copy, train_now=False)


def make_walk(place, fold, daily, shift=0.0, horizon=5):
  """The folder of a walk, as far as a table reads it."""
  shutil.copytree(fold, place / '2010')
  dates = daily['dates_test']
  days = joined.Joined(
    dates, np.array(['a']), np.zeros((len(dates), 1), np.float32),
    daily['ic_test'] + shift, daily['rank_ic_test'],
    np.array(['2010'] * len(dates)),
  )  # fmt: skip
  found = joined.figures(days, 4)
  files.write_arrays(place / 'walk_forward.npz', days._asdict())
  row = {'year': 2010, 'seconds': 7.0, 'opened': 1, **found['folds']['2010']}
  files.write_json(
    place / 'walk_forward.json',
    {'method': 'x', 'label': {'horizon': horizon}, 'all': found['all'],
     'folds': [row]},
  )  # fmt: skip
  return place


def test_walks_are_rows_of_a_table_of_their_own(workdir, untrained, tmp_path):
  run = folder.load_run(workdir / 'tiny,random/seed_0')
  walks = [
    make_walk(tmp_path / f'w{i}', run.workdir, run.daily, 0.01 * i)
    for i in range(3)
  ]
  config = get_config()
  config.walks = (f'random={walks[0]}', f'best={walks[1]}', f'best={walks[2]}')
  board = referee.run(config, workdir, train_now=False)[-1]
  assert board.title == 'Years walked forward'
  assert board.table['seeds'].to_dict() == {'best': 2, 'random': 1}
  ic = run.daily['ic_test'].mean()
  assert board.table.loc['best', 'ic'] == pytest.approx(ic + 0.015, abs=1e-6)
  assert board.table.loc['best', 'less_random'] == pytest.approx(
    0.015, abs=1e-6
  )
  assert board.table.loc['random', ['seconds', 'evaluated']].tolist() == [7, 12]
  ends = [e.curve.valid_ic[-1] for e in board.entries]
  assert ends == pytest.approx([run.metrics[-1]['valid_ic']] * 3)
  assert '## Years walked forward, 20' in (workdir / 'table.md').read_text()


@pytest.mark.parametrize(
  'walks, message',
  [
    (['{0}'], 'expected NAME=FOLDER'),
    (['a={0}', 'b={0}/none'], 'it is not the folder of a walk'),
    (['a={0}', 'b={1}'], 'judged by another label'),
    (['a={0}', 'b={2}'], 'has other days than the first'),
  ],
)
def test_bad_walks_are_refused(walks, message, workdir, untrained, tmp_path):
  fold = workdir / 'tiny,random/seed_0'
  daily = folder.load_run(fold).daily
  fewer = {name: each[5:] for name, each in daily.items()}
  places = [
    make_walk(tmp_path / 'a', fold, daily),
    make_walk(tmp_path / 'b', fold, daily, horizon=10),
    make_walk(tmp_path / 'c', fold, fewer),
  ]
  config = get_config()
  config.walks = tuple(text.format(*places) for text in walks)
  with pytest.raises((ValueError, RunError), match=message):
    referee.run(config, workdir, train_now=False)


def test_a_method_of_ones_own_enters_the_table(copy, monkeypatch):
  """The example of scripts/examples, as its command adds it."""
  monkeypatch.syspath_prepend(Path(__file__).parent.parent)
  config = get_config().lock()  # As a flag gives it.
  referee.add(
    config, f'ratios:{TINY}:random_search method=scripts.examples.own_method'
  )
  boards = referee.run(config, copy, methods=['ratios'], markets=['tiny'])
  assert boards[0].table['seeds'].to_dict() == {
    'best': 2, 'random': 2, 'ratios': 2
  }  # fmt: skip
  pool = json.loads((copy / 'tiny,ratios/seed_0/pool.json').read_text())
  for factor in pool['factors']:
    assert re.fullmatch(r'Mean\(\w+,\d+\)/Mean\(\w+,\d+\)', factor['formula'])


def test_what_of_an_addition_is_of_the_row():
  config = get_config()
  referee.add(config, 'a:random.py formulas=False method=my.volume')
  referee.add(config, 'b:published.py formulas=ideas.txt budget=7')
  a, b = config.methods.a, config.methods.b
  assert (a.formulas, a.budget, a.set) == (False, None, ('method=my.volume',))
  assert (b.formulas, b.budget, b.set) == (True, 7, ('formulas=ideas.txt',))


@pytest.mark.parametrize(
  'text, message',
  [
    ('random.py', 'expected --add="NAME:CONFIG'),
    ('mine:', 'expected --add="NAME:CONFIG'),
    ('random:random.py', 'config.methods has random already'),
  ],
)
def test_bad_additions_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    referee.add(get_config(), text)


def test_a_run_that_fails_is_marked_and_the_others_go_on(copy, untrained):
  for run in RUNS[:2]:  # Of `best`.
    (copy / run / 'finished.json').unlink()
  with pytest.raises(RunError, match='2 of 4 runs failed'):
    referee.run(get_config(), copy)
  # One that is finished did not fail, whatever was tried meanwhile.
  (copy / RUNS[3] / 'failed.json').write_text('{"error": "in use"}')
  (copy / RUNS[2] / 'finished.json').unlink()
  (copy / RUNS[2] / 'failed.json').write_text('{"error": "x was\\n  gone"}')
  board = referee.run(get_config(), copy, train_now=False)[0]
  assert board.table['seeds'].to_dict() == {'random': 1}
  text = (copy / 'table.md').read_text()
  assert re.search(r'\| best \| failed \| [^|\d]+ \|', text)
  assert 'best, seed 1 failed: trained or opened again' in text
  assert 'random, seed 0 failed: x was gone' in text
  assert 'Not done' not in text
  page = (copy / 'referee.html').read_text()
  assert '<span>failed</span>' in page


def test_a_run_that_finds_nothing_is_told_of(copy, untrained, capsys):
  (copy / RUNS[0] / 'pool.json').unlink()
  board = referee.run(get_config(), copy)[0]
  said = capsys.readouterr()
  assert f'{RUNS[0]}: nothing was found; a larger' in said.err
  assert board.table['seeds'].to_dict() == {'best': 1, 'random': 2}
  assert 'Not done, or nothing was found: best, seed 0.' in said.out
