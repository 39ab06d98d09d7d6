"""The judgement on the page: its figures are those that the folder holds."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from made_run import judge_run, make_run, make_walk
from report_test import page_of

from alphajax.judge import judgement
from alphajax.judge.rules import BacktestSpec
from alphajax.report import compare, factors, page, plot, rules
from alphajax.run import files, folder

MINUS = '\N{MINUS SIGN}'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = make_run(tmp_path_factory.mktemp('runs') / 'judged')
  judge_run(workdir)
  judge_run(workdir, 'later', seed=5, skill=0.0)
  return workdir


@pytest.fixture(scope='module')
def text(run):
  return page_of(run).text


def results_of(workdir):
  return json.loads((workdir / 'results.json').read_text())


def shown(value, digits=4):
  return f'{value:.{digits}f}'.replace('-', MINUS)


def told(text):
  """What a page or a figure shows where the pointer is."""
  return [html.unescape(x) for x in re.findall('<title>([^<]+)</title>', text)]


def titles(workdir):
  return told((workdir / 'report.html').read_text())


def test_the_verdict_stands_on_top(run, text):
  results = results_of(run)
  ic = results['test']['ic']
  sentence = (
    f'Above 0 out of sample: IC {shown(ic["mean"])} [{shown(ic["low"])}, '
    f'{shown(ic["high"])}] on {results["test"]["days"]:,} days.'
  )
  assert 0 < text.index(sentence) < text.index('Train IC')
  even = results['backtest']['figures']['break_even']
  assert f'benchmark at {shown(even["value"], 1)} [{shown(even["low"], 1)}' in (
    text
  )
  # The other evaluation has its own, in its section.
  later = results['evaluations']['later']['test']
  place = text.index(f'later judged: {" to ".join(_split(results))}')
  assert place < text.index(f'out of sample: IC {shown(later["ic"]["mean"])}')
  assert text.count('Not compared with a random control') == 1


def _split(results):
  return results['evaluations']['later']['split']


def test_every_figure_has_a_place(text):
  names = (
    'The test split judged', 'Sum of the daily IC', 'Returns of groups',
    'Decay', 'Persistence and turnover', 'Styles', 'Portfolio and benchmark',
    'Drawdown', 'Years', 'Backtest', 'later judged', 'IC of each month',
  )  # fmt: skip
  for name in names:
    assert name in text, name
  # Months of the test split stand in the figure of all splits.
  assert text.count('IC of each month') == 1
  assert text.count('Sum of the daily IC') == 2


def test_what_the_pointer_shows_is_what_the_json_holds(run, text):
  del text  # Which has written the page.
  found, results = titles(run), results_of(run)
  for entry in (results, results['evaluations']['later']):
    sheet = entry['sheet']
    for row in sheet['decay']:
      days = 'day' if row['horizon'] == 1 else 'days'
      for title, key in (('IC', 'ic'), ('RankIC', 'rank_ic')):
        x = row[key]
        assert (
          f'{row["horizon"]} {days}: {title} {shown(x["mean"])} '
          f'[{shown(x["low"])}, {shown(x["high"])}]'
        ) in found
    for name, x in sheet['styles'].items():
      said = f'{name}: mean daily correlation {shown(x["exposure"], 2)}'
      assert said in found
    for number, x in enumerate(sheet['quantiles'][-1]['excess'], 1):
      said = f'{number}: return above the mean {shown(100 * x["mean"], 1)} %'
      assert any(each.startswith(said) for each in found)
    for row in sheet['autocorrelation']:
      days = 'day' if row['lag'] == 1 else 'days'
      said = f'{row["lag"]} {days}: rank correlation {shown(row["mean"], 2)}'
      assert said in found
  daily = files.read_arrays(run / 'daily_test.npz')
  day, nav, other = (
    daily[f'backtest_{name}'][-1] for name in ('dates', 'nav', 'benchmark')
  )
  assert (
    f'{day}: portfolio {shown(nav, 2)}, benchmark {shown(other, 2)}' in found
  )


def test_the_tables_are_those_of_the_json(run, text):
  backtest = results_of(run)['backtest']
  for title, key in (('Sharpe', 'sharpe'), ('Sortino', 'sortino')):
    x = backtest['figures'][key]
    values = [shown(x[name], 2) for name in ('value', 'low', 'high')]
    assert '{} {} [{}, {}]'.format(title, *values) in text
  best = backtest['deflated']
  assert best['judged'] > 1
  assert (
    f'{shown(best["sharpe"], 2)}, is more than the best of {best["judged"]:,} '
    f'without skill, {shown(best["threshold"], 2)} '
    f'{shown(100 * best["probability"], 0)} %'
  ) in text
  fall = backtest['drawdown']
  assert (
    f'deepest drawdown {shown(100 * fall["depth"], 1)} % {fall["peak"]} to '
    f'{fall["trough"]}'
  ) in text
  for row, ic in zip(
    backtest['years'], results_of(run)['sheet']['years']['ic'], strict=True
  ):
    assert row['period'] == ic['period']
    money = [shown(100 * row[key], 1) + ' %' for key in
             ('portfolio', 'benchmark', 'excess', 'drawdown')]  # fmt: skip
    assert ' '.join(money) in text
    assert f'{row["period"]} {shown(ic["mean"])} [{shown(ic["low"])}' in text
  assert 'Holds the 8 highest, equally weighted, at most 1 exchanged' in text
  assert 'pays 5 basis points to buy and 15 to sell. Price limits are' in text
  assert 'The universe has 40 members on the median day' in text


def test_every_charge_is_told():
  spec = BacktestSpec(
    portfolio='quantile', every=5, stamp_duty='china', slippage=2.0,
    min_fee=5.0, borrow_cost=800.0, limits=0.1, gone_after=20,
    benchmark='index',
  )  # fmt: skip
  assert rules.text(judgement.plain_rules(spec)) == (
    'Holds the highest of 10 groups less the lowest; trades at the next open '
    'of one day in 5; pays 5 basis points to buy and 15 to sell; '
    "China's stamp duty on sales, 10 from 2008-09-19, 5 from 2023-08-28; "
    '2 of slippage either side; at least 5 an order of a capital of '
    '10,000,000; 800 a year of what is short. Prices are limited to 10.0 % a '
    'day. A stock without a price for 20 days is paid out at its last one. '
    'The benchmark is index.'
  )
  text = rules.text(
    spec._replace(short=False, stamp_duty=7.0, rebalance=False)._asdict()
  )
  assert 'the highest of 10 groups; trades' in text
  assert 'a stamp duty of 7 on sales' in text
  assert 'only what comes and goes' in text


def test_an_older_run_has_a_verdict_and_no_section(tmp_path):
  workdir = make_run(tmp_path / 'old')
  found = page_of(workdir).text
  assert 'Above 0 out of sample: IC 0.0371 [0.0221, 0.0521] on 950' in found
  assert 'judged' not in found.replace('judged on', '')
  for name in ('Decay', 'Backtest', 'Returns of groups'):
    assert name not in found


def test_a_run_that_was_not_evaluated_has_no_verdict(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=3, total=3, test=False)
  found = page_of(workdir).text
  assert 'out of sample' not in found and 'not opened' in found
  assert 'class="card verdict"' not in (workdir / 'report.html').read_text()


def test_a_judgement_without_days_or_backtest_has_a_page(run, tmp_path):
  shutil.copytree(run, tmp_path / 'run')
  results = results_of(run)
  results['backtest'] = {'missing': 'the panel has no open prices'}
  files.write_json(tmp_path / 'run' / 'results.json', results)
  (tmp_path / 'run' / 'daily_test.npz').unlink()
  found = page_of(tmp_path / 'run').text
  assert found.count('No backtest: the panel has no open prices.') == 2
  assert 'daily_test.npz is missing' in found
  assert found.count('Decay') == 2 and found.count('Sum of the daily IC') == 1


def test_the_random_control_is_the_run_by_that_method(run, tmp_path):
  other = make_run(tmp_path / 'control', seed=1, skill=0.2)
  runs = [folder.load_run(each) for each in (run, other)]
  (mine,) = compare.compare(runs[0], runs[1:])['rows']
  assert mine['is_random']
  found = page_of(run, [other]).text
  x = mine['differences']['test']
  assert (
    f'random control control: IC difference {shown(x["mean"])} '
    f'[{shown(x["low"])}, {shown(x["high"])}] on {x["days"]} test days'
  ) in found
  assert 'Not compared' not in found
  # Not opened: validation is what both have.
  other = make_run(tmp_path / 'closed', seed=1, skill=0.2, test=False)
  found = page_of(run, [other]).text
  assert 'the random control closed: IC difference' in found
  assert f'on {len(_valid(run)):,} validation days' in found


def _valid(workdir):
  return files.read_arrays(workdir / 'daily.npz')['ic_valid']


def test_formulas_are_read_in_words(text):
  said = factors.reading('Corr(CSRank(close),CSRank(volume),20)')
  assert said.startswith('the 20-day correlation of') and said in text
  assert factors.reading('<script>') == ''
  assert factors.reading('Mean(turnover,20)') == ''
  assert 'turnover' in factors.reading('Mean(turnover,20)', ['turnover'])


@pytest.fixture(scope='module')
def walked(run, tmp_path_factory):
  return make_walk(tmp_path_factory.mktemp('walks') / 'walk', run)


def test_a_walk_has_a_page(walked):
  found = page_of(walked).text
  summary = json.loads((walked / 'walk_forward.json').read_text())
  whole = summary['all']
  value = f'{shown(whole["ic"]["mean"])} [{shown(whole["ic"]["low"])}'
  assert f'Above 0 out of sample: IC {value}' in found
  assert f'Out-of-sample IC {value}' in found
  assert f'standard error {shown(whole["ic"]["error"])}' in found
  assert 'alphacfg · 4 years walked forward, seed 0' in found
  for row in summary['folds']:
    ic = row['ic']
    said = f'{row["year"]} {shown(ic["mean"])} [{shown(ic["low"])}'
    assert found.count(said) == 2  # Of the folds, and of the years judged.
  for title in ('Decay', 'IC of each month', 'Drawdown', 'Backtest', 'Above c'):
    assert title in found
  assert 'Opened' not in found


def test_an_older_walk_has_a_page(walked, tmp_path):
  shutil.copytree(walked, tmp_path / 'old')
  path = tmp_path / 'old' / 'walk_forward.json'
  summary = json.loads(path.read_text())
  del summary['sheet'], summary['backtest'], summary['seed']
  summary['folds'][1]['opened'] = 3
  files.write_json(path, summary)
  (tmp_path / 'old' / 'daily_walk.npz').unlink()
  found = page_of(tmp_path / 'old').text
  assert 'Opened 3 times' in found and 'IC of each month' in found
  assert 'Decay' not in found and 'No backtest' not in found


def test_walks_are_compared(walked, run, tmp_path):
  other = make_walk(tmp_path / 'rnd', run, 0.02, 'random_search')
  found = page_of(walked, [other]).text
  assert (
    f'Below the random control rnd: IC difference {MINUS}0.0200 '
    f'[{MINUS}0.0200, {MINUS}0.0200] on 999 joined days.'
  ) in found
  # The control itself is compared with nothing.
  assert 'random control' in page_of(walked).text
  assert 'random control' not in page_of(other).text
  summary = json.loads((other / 'walk_forward.json').read_text())
  summary['label']['horizon'] = 5
  files.write_json(other / 'walk_forward.json', summary)
  with pytest.raises(ValueError, match='walk and rnd were judged by other lab'):
    page.write_report(walked, [other])
  with pytest.raises(files.RunError, match='holds no walk_forward.json'):
    page.write_report(walked, [run])


@pytest.mark.parametrize(
  'low, high, expected',
  [
    (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (-0.024, 0.011, [-0.02, -0.01, 0.0, 0.01]),
    (97.0, 1030.0, [200.0, 400.0, 600.0, 800.0, 1000.0]),
  ],
)
def test_ticks_are_round(low, high, expected):
  np.testing.assert_allclose(plot.ticks(low, high), expected, atol=1e-12)


@pytest.mark.parametrize('end', ['2013-09', '2014-06', '2015-01', '2030-01'])
def test_names_of_months_and_years_stay_apart(end):
  dates = np.arange('2013-01', end, dtype='datetime64[D]')
  svg = plot.lines(dates, [plot.Line('a', 'test', dates.astype(float))], str)
  found = re.findall(r'<text x="([\d.]+)"[^>]*>(20\d\d[-\d]*)<', svg)
  assert 2 <= len(found) <= 8
  between = np.diff([float(x) for x, _ in found[1:]])
  assert (between > 6.0 * len(found[0][1])).all()  # Points, and a gap.


def test_lines_break_where_nothing_is_known_and_months_tell_their_end():
  dates = np.array(['2020-01-30', '2020-01-31', '2020-02-03', '2020-02-04'])
  values = np.array([1.0, 2.0, np.nan, 4.0])
  svg = plot.lines(
    dates.astype('datetime64[D]'), [plot.Line('a<b', 'test', values)], str
  )
  (drawn,) = re.findall('<path d="([^"]+)" [^>]*stroke-width: 1.4', svg)
  assert drawn.count('M') == 2 and drawn.count('L') == 1
  assert told(svg) == ['2020-01-31: a<b 2.0', '2020-02-04: a<b 4.0']
  assert 'nan' not in svg


def test_bars_stand_on_0_and_unknown_ones_are_left_out():
  drawn = plot.Bars('x', '', [2.0, None, -1.0], [1.0, None, None], [3.0] * 3)
  svg = plot.bars(['a', 'b', 'c'], [drawn], lambda x: f'{x:g}')
  assert told(svg) == [
    'a: x 2 [1, 3]',
    'c: x -1',
  ]
  box = (
    r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)" style="fill: var\(--(\w+)'
  )
  boxes = re.findall(box, svg)
  (top, up, first), (zero, down, second) = boxes
  assert (first, second) == ('positive', 'negative')
  assert float(top) + float(up) == pytest.approx(float(zero), abs=0.11)
  assert float(up) == pytest.approx(2 * float(down), abs=0.11)


def test_months_of_a_map():
  cells = np.full((1, 13), np.nan)
  cells[0, [2, 12]] = -0.0612, 0.03
  svg = plot.month_map(['2020'], cells, plot.number)
  assert told(svg) == [
    f'2020 Mar: {MINUS}0.0612', '2020 whole year: 0.0300'
  ]  # fmt: skip
  assert f'>{MINUS}.06</text>' in svg and '>.03</text>' in svg
