"""What the benchmark takes for peers computes what alphajax does."""

import importlib
import pathlib
import sys

import numpy as np
import pytest

from alphajax.language import formula as formula_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.benchmark import peers, peers_report, report, tools  # noqa: E402

TEXTS = (
  'CSRank(close)', 'Log(Abs(close-open))', 'Sign(close-Ref(close,5))',
  'Pow(close,0.5)*close', 'Delta(close,3)/Std(close,6)', 'Var(close,6)',
  'Skew(close,8)', 'Kurt(volume,8)', 'Mad(close,5)+Med(close,5)',
  'Max(close,7)-Min(open,4)', 'Mean(close,5)/Sum(open,3)', 'Rank(volume,6)',
  'WMA(close,5)/close', 'Corr(close,volume,8)', 'Cov(close,open,5)',
  'Greater(open,close)*Less(high,low)',
)  # fmt: skip
FORMULAS = [formula_lib.parse(text) for text in TEXTS]
# Its maximum of a missing value and a number is the number.
OTHER = {'kunquant': TEXTS[-1:]}


@pytest.fixture(scope='module')
def ours():
  panel = peers._full(60, 24)
  timed = peers._ours(panel, FORMULAS, FORMULAS[:1], 32 << 20, 1)
  return peers._planes(panel), timed


@pytest.mark.parametrize('name', ['pandas', 'numba', 'polars', 'kunquant'])
def test_a_peer_has_the_same_ics(ours, name):
  planes, expected = ours
  try:
    peer = importlib.import_module(f'scripts.benchmark.peer_{name}')
  except ModuleNotFoundError as error:
    pytest.skip(f'{error.name} is not installed')
  if name == 'kunquant':
    features, _, label = planes
    engine = peer.Engine(features, label)
    ics = peers._ics(engine.run(engine.compile(FORMULAS, 0)), planes)
  else:
    run = peers.one_by_one(*peer.prepare(*planes))
    ics = peers._each(run, FORMULAS, range(len(FORMULAS))).ics
  for i, text in enumerate(TEXTS):
    alike = ics[i] == pytest.approx(expected.ics[i], abs=2e-4)
    assert alike or text in OTHER.get(name, ()), text


def test_the_table_says_who_is_missing_and_how_many_agree():
  ours = peers.Timed({0: 0.1, 1: 0.2}, 0.5)
  theirs = peers.Timed({1: 0.25}, 1.0, compiling=3.0)
  rows = [
    peers._row('alphajax', 'random', ours, FORMULAS[:2], ours),
    peers._row('pandas', 'random', theirs, FORMULAS[:2], ours),
    {'peer': 'polars', 'set': 'random', 'missing': True},
  ]
  assert (rows[1]['same_ic'], rows[1]['ratio']) == (0, 4.0)
  table = {'days': 60, 'stocks': 24, 'rows': rows}
  text = peers_report.section([table], report._rows)
  assert '| random | pandas | 1 of 2 | 1 | 3 | 0 | 4.00 |' in text
  assert '| random | polars | not installed |' in text


def test_alpha101_is_what_the_operators_of_the_paper_write():
  found = peers.alpha101()
  assert 40 < len(found) < 101
  assert np.unique([formula_lib.key(each) for each in found]).size == len(found)
  assert not any('If' in formula_lib.call_text(each) for each in found)
  assert tools.DAYS == 2170  # What the tables say.
