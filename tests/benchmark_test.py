"""The benchmark runs, and its table judges as the goals say."""

import json
import pathlib
import subprocess
import sys

import pytest

from alphajax.factor import runtime

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.benchmark import (  # noqa: E402
  alphaformer_report,
  formulas,
  goals,
  report,
)


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
  """What `--quick` writes: (JSON, table, what it printed)."""
  out = tmp_path_factory.mktemp('benchmark')
  done = subprocess.run(
    [sys.executable, '-m', 'scripts.benchmark', '--quick', f'--out={out}'],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads((out / 'benchmark.json').read_text())
  return found, (out / 'benchmark.md').read_text(), done.stdout


def test_every_part_is_measured(measured):
  found, _, _ = measured
  parts = found['parts']
  known = {'operators', 'formulas', 'search', 'pool', 'iteration', 'methods'}
  known |= {'backtest'}
  known |= {'assess', 'emission'}
  assert set(parts) == known
  for record in parts.values():
    assert record['peak_bytes'] > 1e8
    assert record['seconds'] > record['compile_seconds'] >= 0
  operators = parts['operators']['result']
  names = [row['operator'] for row in operators['operators']]
  assert sorted(names) == ['Add', 'CSRank', *['Std'] * 3, *['Sum'] * 3]
  for row in operators['operators']:
    assert 0 < row['alone']['best'] <= row['alone']['median']
  assert all(row['bytes_per_s'] > 0 for row in operators['copy'])
  assert parts['formulas']['result']['alphajax']['formulas_per_s'] > 0
  assert parts['search']['result']['search'][0]['simulations'] == 4
  assert parts['pool']['result']['insertions_per_s'] > 0
  emitted = parts['emission']['result']['orders']
  assert all(emitted[order]['formulas_per_s'] > 0 for order in emitted)
  assert set(emitted) == {'rpn', 'rules'}
  seconds = parts['iteration']['result']['synthetic']['median_seconds']
  assert {'search', 'update', 'total'} <= set(seconds)
  methods = parts['methods']['result']
  assert set(methods) >= {'random search', 'evolution', 'AlphaCFG, paper'}
  assert all(row['seconds_each'] > 0 for row in methods.values())
  backtest = parts['backtest']['result']
  assert backtest['signals'] == 40 and backtest['seconds']['best'] > 0
  assert 0 < backtest['one']['seconds'] < backtest['one']['first']
  judged = parts['assess']['result']
  assert judged['seconds'].keys() == {'evaluation', 'assess'}
  assert judged['ratio'] > 0 and judged['processor_ratio'] > 0


def test_the_table_is_printed_and_kept(measured):
  found, table, printed = measured
  assert table in printed
  assert 'QUICK' in table
  for head in (
    'Operators', 'Formulas', 'Search', 'Emission', 'Pool', 'Iteration',
    'Methods', 'Backtest', 'Assess',
  ):  # fmt: skip
    assert f'## {head}\n' in table
  for goal in found['goals']:
    assert goal['what'] in table


def test_the_peer_agrees_or_is_skipped_with_a_word(measured):
  found, table, _ = measured
  peer = found['parts']['formulas']['result']['peer']
  if peer is None:
    assert 'PyTorch is not installed' in table
  else:
    same, count = peer['same_ic'].split(' of ')
    assert int(same) >= 0.75 * int(count) > 0


def operator_record(**milliseconds):
  rows = [
    {
      'operator': name,
      'window': 40,
      'node': {'best': 0.0, 'median': value / 1e3},
    }
    for name, value in milliseconds.items()
  ]
  return {'operators': {'result': {'operators': rows}}}


def test_goals_are_judged_by_the_slowest_operator():
  parts = operator_record(Sum=0.9, Mean=1.1, Corr=4.9, Std=1.0, CSRank=7.0)
  sums, moments, rest = goals.of_parts(parts)
  assert (sums['met'], moments['met'], rest['met']) == (False, True, True)
  assert 'Mean' in sums['what'] and 'Corr' in moments['what']
  assert sums['value'] == pytest.approx(1.1) and rest['goal'] == 8.0


def test_goals_of_an_accelerator_are_higher():
  rows = [
    {'games': games, 'simulations': 64, 'simulations_per_s': {'median': 3e4}}
    for games in (128, 4096)
  ]
  for backend, wanted in (('cpu', 25_000), ('gpu', 500_000)):
    part = {'result': {'search': rows[: 2 if backend == 'gpu' else 1]}}
    (goal,) = goals.of_parts({'search': {**part, 'backend': backend}})
    assert goal['goal'] == wanted
    assert goal['met'] == (backend == 'cpu')


def test_a_first_pool_needs_data():
  rate = {'parameters': 9, 'tasks': 64, 'tasks_per_s': 32.0}
  rate['seconds'] = rate['core_seconds'] = {'best': 1.0, 'median': 2.0}
  found = {'tasks': {'S': rate}, 'first_pool': None}
  assert not goals.of_parts({'alphaformer': {'result': found}})
  assert 'No data' in alphaformer_report.section(found, report._rows)
  found['first_pool'] = {'command': 'train'}
  for name, seconds in (('cold', 50.0), ('warm', 31.0)):
    one = {'seconds': seconds, 'core_seconds': 2 * seconds}
    found['first_pool'][name] = one
  (goal,) = goals.of_parts({'alphaformer': {'result': found}})
  assert not goal['met'] and goal['goal'] == 30
  text = alphaformer_report.section(found, report._rows)
  assert '31.0 s after its' in text and '62.0 and 100.0 s of all cores' in text


def test_an_unknown_part_is_refused():
  done = subprocess.run(
    [sys.executable, '-m', 'scripts.benchmark', '--parts=operator'],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 2
  assert 'unknown parts operator: of operators, formulas' in done.stderr


def test_on_an_accelerator_it_says_where_the_time_goes(monkeypatch):
  monkeypatch.setattr(runtime, 'in_waves', lambda *_: True)
  found = formulas.formula_part(quick=True)
  ours = found['alphajax']
  waves, count = ours['waves'], ours['formulas']
  rows = {row['name']: row for row in ours['profile']}
  assert rows['IC']['count'] == count and waves['ic_seconds'] > 0
  operators = sum(row['count'] for row in rows.values()) - count
  numbers = rows.get('number', {'count': 0})['count']
  assert operators == ours['nodes'] + numbers
  assert waves['lanes'] >= operators + count > waves['calls'] > 0
  assert (
    1 <= waves['temporary']['planes'] < 500 and waves['temporary']['program']
  )
  assert 0 < waves['host_seconds'] < waves['node_seconds']
  assert f'{ours["many"]["formulas_per_s"]:.0f} a second' in report._formulas(
    found
  )
