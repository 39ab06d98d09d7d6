"""The verdict in words: what is said of made-up figures, word for word."""

import types

import pytest

from alphajax.report import notices, verdict
from alphajax.report.verdict import Sentence

MINUS = '\N{MINUS SIGN}'


def interval(mean, low, high):
  return {'mean': mean, 'low': low, 'high': high}


ABOVE = interval(0.0371, 0.0221, 0.0521)
HOLDS = interval(0.01, -0.005, 0.025)
BELOW = interval(-0.03, -0.05, -0.01)


def figures(ic, days=950, **more):
  return {'ic': ic, 'rank_ic': ic, 'days': days, **more}


def backtest(value, low, high):
  return {
    'figures': {
      'break_even': {'value': value, 'low': low, 'high': high},
      'turnover': {'value': 0.24, 'low': 0.2, 'high': 0.3},
      # 12 basis points of both sides of it, a year.
      'cost': {'value': 252 * 0.48 * 12e-4, 'low': 0.1, 'high': 0.2},
    },
  }


def sheet_of(left, explained=0.1, judged=1, ic=ABOVE):
  return {
    'figures': {'of_judged': {'judged': judged, 'ic': ic}},
    'left': {'ic': left},
    'explained': explained,
  }


@pytest.mark.parametrize(
  'ic, kind, text',
  [
    (
      ABOVE,
      'good',
      'Above 0 out of sample: IC 0.0371 [0.0221, 0.0521] on 950 days.',
    ),
    (
      HOLDS,
      'open',
      f'Not told from 0 out of sample: IC 0.0100 [{MINUS}0.0050, 0.0250] on '
      '950 days; the interval holds 0.',
    ),
    (
      BELOW,
      'bad',
      f'Below 0 out of sample: IC {MINUS}0.0300 [{MINUS}0.0500, '
      f'{MINUS}0.0100] on 950 days; it ranks the wrong way round.',
    ),
    (
      interval(0.03, None, None),
      'open',
      'Too few days to tell: 950 days.',
    ),
  ],
)
def test_the_interval_and_0(ic, kind, text):
  assert verdict.of_ic(figures(ic)) == Sentence(kind, text)


def test_one_of_many():
  assert verdict.of_judged(sheet_of(ABOVE)) == []
  (holds,) = verdict.of_judged(sheet_of(ABOVE, judged=1011, ic=HOLDS))
  assert holds == Sentence(
    'open',
    f'As one of 1,011 judged on these days: the interval [{MINUS}0.0050, '
    '0.0250] holds 0.',
  )
  (above,) = verdict.of_judged(sheet_of(ABOVE, judged=2))
  assert above == Sentence(
    'good',
    'As one of 2 judged on these days: the interval [0.0221, 0.0521] is above '
    '0.',
  )


def test_the_random_control():
  days = {'days': 950}
  assert verdict.of_control('rnd', ABOVE | days, 'test') == Sentence(
    'good',
    'Above the random control rnd: IC difference 0.0371 [0.0221, 0.0521] on '
    '950 test days.',
  )
  assert verdict.of_control('rnd', HOLDS | days, 'valid') == Sentence(
    'open',
    f'Not told from the random control rnd: IC difference 0.0100 '
    f'[{MINUS}0.0050, 0.0250] on 950 valid days; the interval holds 0.',
  )
  found = verdict.of_control('rnd', BELOW | days, 'test')
  assert found.kind == 'bad' and found.text.startswith('Below the random')
  assert verdict.of_control('rnd', {'days': 3}, 'test') == Sentence(
    'open', 'Too few common days with the random control rnd: 3 test days.'
  )


def test_the_best_of_random_formulas():
  best = {'count': 1000, 'less': ABOVE | {'days': 950}}
  good = Sentence(
    'good',
    'Above the best of 1,000 random formulas, chosen by validation: IC '
    'difference 0.0371 [0.0221, 0.0521] on 950 days.',
  )
  assert verdict.of_best_of(best) == good
  best['less'] = BELOW | {'days': 950}
  assert verdict.of_best_of(best).kind == 'bad'
  best['less'] = HOLDS | {'days': 950}
  found = verdict.of_best_of(best)
  assert found.text.startswith('Not told from the best of 1,000 random')
  # It is a control.
  said = verdict.sentences({'test': figures(ABOVE), 'best_of': best}, 20)
  assert found in said and verdict.NO_CONTROL not in said
  best['less'] = interval(0.01, None, None) | {'days': 3}
  assert verdict.of_best_of(best, 'bars').text == (
    'Too few bars to compare with the best of 1,000 random formulas.'
  )


@pytest.mark.parametrize(
  'even, kind, text',
  [
    (
      (22.0, 12.5, 33.0),
      'good',
      'Above costs: it exchanges 24.0 % of the portfolio a day and breaks even '
      'with its benchmark at 22.0 [12.5, 33.0] basis points a side; 12.0 were '
      'paid.',
    ),
    (
      (-4.0, -9.0, 3.0),
      'bad',
      'Below costs: it exchanges 24.0 % of the portfolio a day and breaks even '
      f'with its benchmark at {MINUS}4.0 [{MINUS}9.0, 3.0] basis points a '
      'side; 12.0 were paid.',
    ),
    (
      (14.0, 4.0, 24.0),
      'open',
      'Not told from costs: it exchanges 24.0 % of the portfolio a day and '
      'breaks even with its benchmark at 14.0 [4.0, 24.0] basis points a side; '
      '12.0 were paid; the interval holds them.',
    ),
    (
      (None, None, None),
      'open',
      'Costs: too little was traded for an interval.',
    ),
  ],
)
def test_costs(even, kind, text):
  assert verdict.of_costs(backtest(*even)) == Sentence(kind, text)


def test_no_backtest_is_said_with_its_reason():
  assert verdict.of_costs({'missing': 'the panel has no open'}) == Sentence(
    'open', 'No backtest: the panel has no open.'
  )


def test_what_is_held_without_a_price():
  much = {'end': 0.402, 'stocks': 24, 'most': 0.411, 'day': '2024-10-01'}
  (found,) = verdict.of_frozen({'frozen': much})
  assert found == Sentence(
    'bad',
    'Without a price: 40.2 % of the money is in 24 stocks without one at the '
    'end, 41.1 % was on 2024-10-01. They count at their last price, at '
    'which nobody may have bought them.',
  )
  entry = {'test': figures(ABOVE), 'backtest': backtest(22, 12, 33)}
  entry['backtest']['frozen'] = much
  assert found in verdict.sentences(entry, 20)
  assert verdict.printed({'backtest': {'frozen': much}}) == [found.text]
  little = much | {'end': 0.01, 'most': 0.1}  # A suspended stock or two.
  assert verdict.of_frozen({'frozen': little}) == []
  assert verdict.printed({'backtest': {'missing': 'no open'}}) == [
    'There is no backtest: no open.'
  ]
  assert verdict.printed({'backtest': {'fitted': '6 were held'}}) == [
    'In the backtest 6 were held.'
  ]


def said(entry, horizon=20):
  found = list(verdict.distrust(entry, horizon))
  assert {each.kind for each in found} <= {'bad'}
  return [each.text for each in found]


def test_what_to_distrust():
  assert said({'test': figures(ABOVE), 'opened': 1}) == []
  assert said({'test': figures(ABOVE, 599), 'opened': 2}) == [
    'Few days: 599 hold 29 labels of 20 days that do not overlap.',
    'Opened 2 times: these days are no longer those of a split never looked '
    'at.',
  ]
  factors = [{'test': {'lost': 0.25}}, {'test': {}}, {'lost': 0.1}]
  found = said({'test': figures(ABOVE, coverage=0.8521), 'factors': factors})
  assert found == [
    'Lost cells: 25.0 % of a factor are beyond float32.',
    'Coverage: only 85.2 % of the cells of members have a signal.',
  ]


def test_what_is_a_style():
  entry = {'test': figures(ABOVE), 'sheet': sheet_of(HOLDS, 0.62)}
  assert said(entry) == [
    f'Without simple styles the IC left is 0.0100 [{MINUS}0.0050, 0.0250]: not '
    'above 0.',
    'Simple styles explain 62 % of the signal.',
  ]
  # Of an IC that is not above 0 itself there is nothing to be left.
  assert said(entry | {'test': figures(HOLDS)}) == [
    'Simple styles explain 62 % of the signal.'
  ]
  assert said({'test': figures(ABOVE), 'sheet': sheet_of(ABOVE)}) == []


def test_all_together_in_their_order():
  entry = {
    'test': figures(ABOVE),
    'opened': 2,
    'sheet': sheet_of(ABOVE, judged=11),
    'backtest': backtest(22.0, 12.5, 33.0),
  }
  found = verdict.sentences(entry, 20)
  assert [each.text.split(':')[0] for each in found] == [
    'Above 0 out of sample',
    'As one of 11 judged on these days',
    'Not compared with a random control',
    'Above costs',
    'Opened 2 times',
  ]
  assert verdict.NO_CONTROL not in verdict.sentences(entry, 20, 'days', None)
  control = ('rnd', HOLDS | {'days': 950}, 'test')
  found = verdict.sentences(entry, 20, 'days', [control])
  assert verdict.of_control(*control) in found
  # Runs of older versions have neither sheet nor backtest.
  old = verdict.sentences({'test': figures(HOLDS)}, 20)
  assert old == [verdict.of_ic(figures(HOLDS)), verdict.NO_CONTROL]


def test_a_run_that_ended_at_its_budget_is_not_unfinished():
  config = {'num_iterations': 50, 'max_evaluated': 300}
  for evaluated, count in ((300, 0), (299, 1), (None, 1)):
    metrics = [{'iteration': 6, 'evaluated': evaluated}]
    run = types.SimpleNamespace(config=config, metrics=metrics)
    assert len(notices._unfinished(run)) == count
  run.config = {'num_iterations': 6}
  assert not notices._unfinished(run)
