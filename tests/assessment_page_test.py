"""The page of `assess`, from made-up figures: words, order, Chromium."""

import pytest
import report_browser_test as browser

from alphajax.report import assessment


def interval(mean, width, p_value):
  values = {'mean': mean, 'low': mean - width, 'high': mean + width}
  return {**values, 'p_value': p_value}


def make_row(number):
  mean = 0.01 * (number - 4)
  near = {'name': 'alpha101 #12', 'formula': 'x', 'correlation': -0.43}
  return {
    'formula': f'Corr(Sum(open,40),high-volume,{20 + number})/<b>&',
    'where': f'a_file_of_ideas_that_a_colleague_wrote.txt, line {number}',
    'reading': 'the correlation of "this" and that',
    'ic': interval(mean, 0.01, 10.0 ** -abs(number - 4)),
    'rank_ic': interval(mean, 0.012, 0.1),
    'after': interval(mean, 0.02, min(9 * 10.0 ** -abs(number - 4), 1)),
    'decay': {'1': 0.002, '5': mean, '20': -mean, '40': None},
    'coverage': 0.98,
    'turnover': None if number == 2 else 0.3,
    'published': near if number % 2 else None,
    'against': None,
    'verdict': [f'IC above 0, also as one of {number}', 'Abs(close) is close'],
  }


def make_found(rows=9, refused=25):
  return {
    'data': 'market.parquet',
    'days': ['2018-01-02', '2019-12-31'],
    'ledger': '/home/me/market.ledger.jsonl',
    'label': {'horizon': 20},
    'bars': 'days',
    'every': 20,
    'judged': 1234,
    'new': 9,
    'repeated': 3,
    'claims': 2,
    'below_alone': 4,
    'expected_by_chance': 0.45,
    'refused': [
      {
        'where': f'x.txt, line {n}', 'text': 'Ref(close,-1)',
        'reason': 'no\n  Ref(close,-1)\n  ^', 'looks_ahead': n == 1,
      }
      for n in range(refused)
    ],
    'pool': None,
    'formulas': [make_row(n) for n in range(rows)],
  }  # fmt: skip


def test_the_surest_come_first_and_unknown_ones_last():
  found = make_found()
  found['formulas'][0]['ic']['p_value'] = None
  rows = assessment.order(found)
  assert [r['formula'].split(')/')[0][-2:] for r in rows[:3]] == [
    '28', '21', '27'
  ]  # fmt: skip
  assert rows[-1]['ic']['p_value'] is None


def test_the_summary_says_what_was_counted():
  text = '\n'.join(assessment.summary(make_found()))
  for said in (
    '1,234 formulas were judged on these days so far, 9 of them new now',
    'hold for all 1,234 at once (Sidak): 2 of 9 are told from 0',
    '4 have p below 0.05, where noise would have 0.5',
    'of every 20th of the days',
    '3 lines say a formula again',
    '25 lines are no formula and were not judged, 1 of them',
  ):
    assert said in text, said
  told = list(assessment.refusals(make_found()))
  assert told[0].startswith('x.txt, line 0: no\n')
  assert told[-1] == '... and 5 more in assess.json'


def test_text_of_others_is_no_html():
  page = assessment.render(make_found())
  assert '<b>&' not in page and '&lt;b&gt;&amp;' in page
  assert 'http' not in page.replace('http://www.w3.org', '')


@pytest.mark.skipif(browser.CHROMIUM is None, reason='no Chromium here')
@pytest.mark.parametrize('width', [390, 1200])
def test_it_fits_and_draws_every_figure(tmp_path, width):
  page = assessment.render(make_found())
  (found,), console = browser.opened(tmp_path, (page, width))
  assert console == []
  assert found['scroll'] <= width and found['wide'] == []
  assert found['cells'] == ('block' if width == 390 else 'table-row')
  assert len(found['figures']) == 2
  for figure in found['figures']:
    assert figure['marks'] > 4 and figure['texts'] > 4, figure
    assert figure['width'] > 300 and figure['height'] > 150, figure
