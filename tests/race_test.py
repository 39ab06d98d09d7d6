"""Figures and page of many methods side by side."""

import re

import bench_test
import numpy as np
import pytest

from alphajax.judge import bench
from alphajax.report import race, referee
from alphajax.report.referee import Board

METHODS = [f'method_{number}' for number in range(18)]  # All of the referee.
LABEL = {'horizon': 5}


def make_entries(methods=METHODS, seeds=2):
  """The last method counts no formulas."""
  entries = []
  for number, method in enumerate(methods):
    for seed in range(seeds):
      daily = bench_test.daily(100 * number + seed, 0.002 * number)
      entry = bench_test.make_entry(method, seed, daily)
      curve = entry.curve._replace(
        train_ic=entry.curve.train_ic + 0.01 * number + 0.02 * seed
      )
      if method == METHODS[-1]:
        curve = curve._replace(evaluated=np.full(3, np.nan))
        figures = entry.figures | {'evaluated': None}
        entry = entry._replace(figures=figures)
      entries.append(entry._replace(curve=curve))
  return entries


def make_board(title='csi300', methods=METHODS):
  entries = make_entries(methods)
  table, notes = bench.table(entries, 4, methods[:2], 0.9)
  days = (bench_test.DATES[0], bench_test.DATES[-1])
  return Board(title, days, LABEL, table, entries, notes)


def make_page():
  """All methods on two markets."""
  boards = [make_board(), make_board('sp500')]
  return referee.render('table2', boards, None, {'gp': 'it is not here'}, 0.9)


@pytest.fixture(scope='module')
def board():
  return make_board()


@pytest.fixture(scope='module')
def look():
  return race.looks(METHODS)


def test_every_method_has_a_look_of_its_own(look):
  assert len(set(look.values())) == len(METHODS)
  assert [each.dashed for each in look.values()] == [False] * 17 + [True]


def test_curves_say_where_each_method_ended(board, look):
  svg = race.curves(board.entries, look, 'evaluated', 'train_ic', 'x')
  # Seeds end at .1 and .12, a hundredth more a method.
  assert '<title>method_0: 0.1100 after 300</title>' in svg
  assert '<title>method_3: 0.1400 after 300</title>' in svg
  assert '<title>method_17, without formulas: 0.2800</title>' in svg
  seconds = race.curves(board.entries, look, 'seconds', 'valid_ic', 'x')
  assert '<title>method_17: 0.0500 after 30</title>' in seconds
  assert 'formulas evaluated' in svg and 'seconds' in seconds
  ic = board.table.loc['method_4', 'ic']
  assert f'<title>method_4 on the days judged: {ic:.4f}</title>' in seconds
  assert 'days judged' not in svg  # Beside train it says nothing.


def test_where_there_is_nothing_to_draw_there_is_no_figure(board, look):
  walked = [e._replace(curve=None, worth={}) for e in board.entries]
  assert race.curves(walked, look, 'evaluated', 'train_ic', 'x') == ''
  assert race.worth(walked, look) == ''


def test_worth_is_the_mean_over_seeds_from_1_on_common_days(look):
  entries = make_entries(METHODS[:1])
  later = {name: each[50:] for name, each in entries[1].worth.items()}
  entries[1] = entries[1]._replace(worth=later)
  svg = race.worth(entries, look)
  each = [entry.worth['portfolio'] for entry in entries]
  end = (each[0][-1] / each[0][50] + each[1][-1] / each[1][0]) / 2
  said = re.findall(r'<title>(.*?)</title>', svg)[-1]
  benchmark = 1.2 / entries[0].worth['benchmark'][50]
  day = bench_test.DATES[-1]
  assert said == f'{day}: method_0 {end:.2f}, benchmark {benchmark:.2f}'


def test_the_text_has_the_columns_of_the_paper(board):
  text = referee.markdown([board], None, {'gp': 'it is not here'}, 0.9)
  head = text.splitlines()[2]
  assert head == (
    '| method | seeds | RankIC | IC | RankICIR | ICIR | Sharpe | MaxDD | IC '
    'less method_0 | IC less method_1 | in the set | pool rule | formulas | '
    'seconds |'
  )
  row = board.table.loc['method_3']
  line = next(x for x in text.splitlines() if x.startswith('| method_3 '))
  cells = [cell.strip() for cell in line.strip('|').split('|')]
  expected = (
    f'{row["ic"]:.4f} ± {row["ic_sd"]:.4f} '
    f'[{row["ic_low"]:.4f}, {row["ic_high"]:.4f}]'
  )
  assert cells[3] == expected.replace('-', '\N{MINUS SIGN}')
  assert cells[7] == '\N{MINUS SIGN}10.0 % ± 0.0 %'
  assert cells[-2:] == ['300', '15']
  assert 'gp is left out: it is not here.' in text
  last = next(x for x in text.splitlines() if x.startswith('| method_17 '))
  assert last.split('|')[-3].strip() == referee.DASH  # It has no formulas.


def test_sentences_name_who_is_told_from_a_control(board):
  said = list(referee.sentences(board, 0.9))
  above = board.table.index[
    (board.table['less_method_0'] > 0)
    & (board.table['less_method_0_q'] <= 0.05)
  ]
  assert len(above) > 3
  line = next(x for x in said if 'above method_0' in x)
  assert f'{", ".join(above)} above method_0' in line
  assert said[0].startswith('The 90 % confidence set of the IC holds method_1')
  again = board._replace(entries=[
    e._replace(figures=e.figures | {'opened': 2}) for e in board.entries[:1]
  ])  # fmt: skip
  assert 'Opened more than once: method_0, seed 0 (2 times).' in list(
    referee.sentences(again, 0.9)
  )


def test_the_page_escapes_what_it_is_given(board):
  page = referee.render('<b>', [board], None, {'x': '<i>'}, 0.9)
  assert '<h1>&lt;b&gt;</h1>' in page and 'x is left out: &lt;i&gt;' in page
  assert page.count('<figure class="card">') == 5
