"""The report of made-up runs: what it shows, and what it says when it cannot.

`make_run` writes a folder as `train` and `evaluate` do, with realistic numbers.
"""

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alphajax.report import page
from alphajax.run import folder, writer

FORMULAS = (
  'Corr(CSRank(close),CSRank(volume),20)',
  'Mean(Log(Abs(high/low)),40)*-0.1',
  'Delta(vwap,30)/Std(close,40)',
  'Skew(volume,20)-CSRank(Med(Sub(0.05,close/Ref(close,30)),20))',
  'Less(Rank(close,40),Rank(volume,20))',
  'Cov(high-low,Log(Abs(volume)),30)',
  'Greater(EMA(close,20)/WMA(close,40),Sign(Delta(open,20)))',
  'Kurt(close/open,40)',
  'Pow(Mad(volume,30)/Mean(volume,30),0.1)',
  'Max(Corr(Sum(open,40),high-volume,20),30)-Abs(Min(Var(close/vwap,20),40))',
)
SPANS = {
  'train': ('2010-01-04', '2017-12-01', 0.071),
  'valid': ('2018-01-02', '2019-11-29', 0.052),
  'test': ('2021-01-04', '2024-11-29', 0.037),
}


def interval(mean, width):
  return {'mean': mean, 'low': mean - width, 'high': mean + width}


def split_scores(mean, days, width=0.012):
  return {
    'ic': interval(mean, width),
    'rank_ic': interval(1.2 * mean, width),
    'icir': 6.4 * mean,
    'rank_icir': 7.7 * mean,
    'days': days,
  }


def daily_ic(rng, days, mean):
  """A daily IC as overlapping labels make it: slow waves around the mean."""
  noise = np.convolve(rng.normal(size=days + 19), np.ones(20), 'valid')
  return mean + 0.025 * noise + 0.02 * rng.normal(size=days)


def make_metrics(rng, iterations, skill):
  records, best = [], -1.0
  for i in range(1, iterations + 1):
    growth = 1 - np.exp(-i / (0.2 * iterations))
    train = skill * (0.03 + 0.045 * growth) + 0.0008 * rng.normal()
    valid = skill * (0.025 + 0.03 * growth) + 0.002 * rng.normal()
    best = max(best, valid)
    parts = {
      'search': 14 + rng.gamma(2, 0.5) + (22 if i == 1 else 0),
      'evaluation': 9 * (0.6 + 0.4 * np.exp(-i / 9)) + rng.gamma(2, 0.3),
      'pool': 3.1 + rng.gamma(2, 0.1),
      'update': 4.2 + rng.gamma(2, 0.1),
    }
    records.append(
      {
        'iteration': i,
        'train_ic': train,
        'valid_ic': valid,
        'best_valid_ic': best,
        'proposed': 700 * i,
        'evaluated': int(650 * i**0.94),
        'valued': int(600 * i**0.94),
        'pool_size': min(10, 2 * i),
        'policy_loss': None if i == 1 else 1.4 + 1.2 * np.exp(-i / 15),
        'value_loss': None if i == 1 else 0.002 + 0.02 / i,
        'seconds': parts | {'total': sum(parts.values()) + 0.4},
        'compile_seconds': 31.5 if i == 1 else 0.0,
      }
    )
  return records


def make_daily(rng, splits, skill):
  daily = {}
  for split in splits:
    first, last, mean = SPANS[split]
    dates = np.arange(first, last, dtype='datetime64[D]')
    dates = dates[np.is_busday(dates)]
    daily[f'dates_{split}'] = np.datetime_as_string(dates)
    daily[f'ic_{split}'] = daily_ic(rng, len(dates), skill * mean)
    daily[f'rank_ic_{split}'] = daily[f'ic_{split}'] * 1.1 + 0.004
  return daily


def make_run(workdir, seed=0, iterations=40, total=40, skill=1.0, test=True):
  rng = np.random.default_rng(seed)
  workdir.mkdir(parents=True)
  for record in make_metrics(rng, iterations, skill):
    writer.append(workdir / 'metrics.jsonl', record)
  config = {
    'method': 'alphacfg' if skill == 1 else 'random',
    'seed': seed,
    'num_iterations': total,
    'data': {'path': 'cn_csi300.parquet', 'universe': 'csi300'},
    'search': {'num_simulations': 64, 'c_puct': 1.0},
    'language': {'windows': [20, 30, 40], 'max_length': 10},
  }
  writer.write_json(workdir / 'config.json', config)
  writer.write_json(
    workdir / 'provenance.json',
    {
      'data_hash': 'f31c0d6a9b4e',
      'seed': seed,
      'started': '2026-03-02T10:11:12+00:00',
      'versions': {'python': '3.11.7', 'jax': '0.10.2'},
      'git': {'commit': '61b851e', 'dirty': False},
      'device': 'cpu',
      'resumed': [],
    },
  )
  weights = rng.normal(size=10) * np.geomspace(1, 0.05, 10)
  factors = [
    {
      'formula': formula,
      'weight': weight,
      'train': split_scores(0.04 * np.sign(weight) + 0.01 * rng.normal(), 0),
      'valid': split_scores(
        0.025 * np.sign(weight) + 0.02 * rng.normal(), 0, 0.022
      ),
    }
    for formula, weight in zip(FORMULAS, weights, strict=True)
  ]
  best = max(1, iterations - 3)
  pool = {
    'train': split_scores(skill * 0.0712, 1926),
    'valid': split_scores(skill * 0.0523, 466, 0.02),
  }
  writer.write_json(
    workdir / 'pool.json',
    {
      'iteration': best,
      'label': {'horizon': 20},
      'pool': pool,
      'factors': factors,
    },
  )
  mixed = rng.normal(size=(10, 4))
  correlation = np.corrcoef(mixed + 0.6 * mixed[:, :1])
  daily = make_daily(rng, ('train', 'valid'), skill)
  np.savez(workdir / 'daily.npz', correlation=correlation, **daily)
  if test:
    make_results(workdir, rng, factors, skill)
  return workdir


def make_results(workdir, rng, factors, skill, opened=1):
  entries = [
    {'formula': f['formula'], 'test': split_scores(0.02, 950)} for f in factors
  ]
  writer.write_json(
    workdir / 'results.json',
    {
      'test': split_scores(skill * 0.0371, 950, 0.015),
      'opened': opened,
      'factors': entries,
    },
  )
  daily = make_daily(rng, ('test',), skill)
  names = {key: key.removesuffix('_test') for key in daily}
  np.savez(
    workdir / 'daily_test.npz', **{names[k]: v for k, v in daily.items()}
  )


class Page(html.parser.HTMLParser):
  """Collects text, ids and addresses; complains about unbalanced tags."""

  VOID = {'meta', 'br', 'wbr', 'link', 'img'}

  def __init__(self, text):
    super().__init__()
    self.joins = False
    self.open, self.ids, self.addresses, self.words = [], [], [], []
    self.feed(text)
    assert not self.open
    self.text = re.sub(r'\s+', ' ', ' '.join(self.words))

  def handle_starttag(self, tag, attrs):
    if tag not in self.VOID:
      self.open.append(tag)
    self.joins = tag == 'wbr'  # A place to break, not a space.
    for name, value in attrs:
      if name == 'id':
        self.ids.append(value)
      elif name in ('src', 'href', 'xlink:href'):
        self.addresses.append(value)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in self.VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open[-1:] != ['style']:
      if self.joins:
        data = self.words.pop() + data
      self.words.append(data)
      self.joins = False


def page_of(workdir, others=()):
  return Page(page.write_report(workdir, others).read_text())


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp('runs') / 'csi300')


def test_shows_the_pool_and_the_splits(finished):
  text = page_of(finished).text
  for formula in FORMULAS:
    assert formula in text
  for split in ('0.0712', '0.0523', '0.0371'):
    assert split in text
  assert '[0.0592, 0.0832]' in text  # The train interval.
  last = writer.read(finished / 'metrics.jsonl')[-1]
  counts = f'{last["evaluated"]:,} distinct formulas evaluated of '
  assert counts + f'{last["proposed"]:,} proposed' in text
  assert 'opened 1 time' in text
  assert 'cn_csi300.parquet' in text and '61b851e' in text
  for title in (
    'Pool IC by iteration',
    'Pool IC by formulas evaluated',
    'Cumulative IC',
    'Monthly IC',
    'IC of each factor',
    'Factor correlations',
    'Losses',
    'Time by part',
  ):
    assert title in text
  assert 'iterations: the run stopped' not in text


def test_is_one_file_with_no_outside_address(finished):
  page = page_of(finished)
  own = set(page.ids)
  assert len(own) == len(page.ids)  # Figures do not share ids.
  assert page.addresses
  assert all(a.startswith('#') and a[1:] in own for a in page.addresses)
  text = (finished / 'report.html').read_text()
  used = set(re.findall(r'url\((.*?)\)', text))
  assert used and all(u.startswith('#') and u[1:] in own for u in used)
  assert '@import' not in text
  # Every stand-in colour became a variable that the page defines.
  assert '#fa00' not in text
  defined = set(re.findall(r'(--[\w]+):', text))
  assert set(re.findall(r'var\((--[\w]+)\)', text)) <= defined


def test_rows_are_ordered_by_weight_and_figures_follow(finished):
  rows = page.factor_rows(folder.load_run(finished))
  weights = [abs(row['weight']) for row in rows]
  assert weights == sorted(weights, reverse=True)
  factors = json.loads((finished / 'pool.json').read_text())['factors']
  assert [factors[row['index']]['formula'] for row in rows] == [
    row['formula'] for row in rows
  ]
  assert rows[0]['test']['ic']['mean'] == 0.02


def test_formula_text_is_escaped(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=3, total=3)
  pool = json.loads((workdir / 'pool.json').read_text())
  pool['factors'][0]['formula'] = '<script>alert(1)</script>'
  writer.write_json(workdir / 'pool.json', pool)
  assert '<script>alert(1)</script>' in page_of(workdir).text
  assert '<script' not in (workdir / 'report.html').read_text()


def test_half_finished_run_says_what_is_missing(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=1, total=40, test=False)
  for name in ('pool.json', 'daily.npz', 'config.json', 'provenance.json'):
    (workdir / name).rename(tmp_path / name)
    text = page_of(workdir).text
    assert 'Pool IC by iteration' in text
    assert (f'{name} is missing' in text) == (name != 'provenance.json')
  (tmp_path / 'config.json').rename(workdir / 'config.json')
  text = page_of(workdir).text
  assert '1 of 40 iterations' in text
  assert 'Losses' not in text  # None in the only iteration.
  assert 'not opened' in text


def test_small_pools_and_test_opened_twice(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  pool = json.loads((workdir / 'pool.json').read_text())
  for size in (0, 1, 2):
    small = pool | {'factors': pool['factors'][:size]}
    writer.write_json(workdir / 'pool.json', small)
    assert ('Factor correlations' in page_of(workdir).text) == (size == 2)
  rng = np.random.default_rng(0)
  make_results(workdir, rng, pool['factors'], 1.0, opened=3)
  text = page_of(workdir).text
  assert 'opened 3 times' in text and 'no longer' in text


def test_shows_the_pool_as_a_share_of_what_was_planted(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  assert 'of the planted' not in page_of(workdir).text
  pool = json.loads((workdir / 'pool.json').read_text())
  pool['ceiling'] = {'train': 0.0890, 'valid': 0.1046}
  writer.write_json(workdir / 'pool.json', pool)
  text = page_of(workdir).text
  assert '80 % of the planted 0.0890' in text
  assert '50 % of the planted 0.1046' in text


def test_shows_what_a_rescaling_moves(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2)
  assert 'rescaling' not in page_of(workdir).text  # An old run does not say.
  pool = json.loads((workdir / 'pool.json').read_text())
  for factor in pool['factors']:
    factor['rescaled'] = {
      'price': {'days': 0.98, 'ranks': 0.6314},
      'volume': {'days': 0.0, 'ranks': 0.0},
    }
  pool['factors'][0]['rescaled'] = None
  writer.write_json(workdir / 'pool.json', pool)
  text = page_of(workdir).text
  assert text.count('price 63.1 % volume none') == 9
  assert 'Ranks moved by a rescaling' in text


def test_says_that_an_evaluation_was_interrupted(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=2, total=2, test=False)
  writer.write_json(workdir / 'results.json', {'opened': 1})
  text = page_of(workdir).text
  assert 'opened 1 time' in text and 'evaluate was interrupted' in text
  assert 'Test IC' not in text


def test_says_that_the_test_figures_are_of_another_pool(tmp_path):
  workdir = make_run(tmp_path / 'run', iterations=9, total=9)
  results = json.loads((workdir / 'results.json').read_text())
  at = json.loads((workdir / 'pool.json').read_text())['iteration']
  for iteration in (at, at - 1):
    writer.write_json(
      workdir / 'results.json', results | {'iteration': iteration}
    )
    said = f'the pool of iteration {at - 1}, not' in page_of(workdir).text
    assert said == (iteration != at)


def test_compare_draws_both_and_pairs_the_days(tmp_path, finished):
  other = make_run(tmp_path / 'random', seed=1, skill=0.7, test=False)
  text = page_of(finished, [other]).text
  assert 'csi300 minus' in text and 'random' in text
  both = [folder.load_run(finished), folder.load_run(other)]
  row = page.compare(both[0], both[1:])['rows'][0]
  assert list(row['differences']) == ['train', 'valid']
  _, ic, _ = both[0].series('valid')
  _, other_ic, _ = both[1].series('valid')
  found = row['differences']['valid']
  assert found['mean'] == pytest.approx(np.mean(ic - other_ic), abs=1e-6)
  assert found['low'] < found['mean'] < found['high']
  assert found['days'] == len(ic)
  assert row['warnings'] == []


def test_compare_pairs_only_common_days_and_warns(tmp_path, finished):
  other = make_run(tmp_path / 'run', seed=2, iterations=20, test=False)
  arrays = dict(np.load(other / 'daily.npz'))
  for name in ('dates', 'ic', 'rank_ic'):
    arrays[f'{name}_train'] = arrays[f'{name}_train'][100:]
  arrays['dates_valid'] = np.datetime_as_string(
    arrays['dates_valid'].astype('datetime64[D]') + 4000
  )
  np.savez(other / 'daily.npz', **arrays)
  provenance = json.loads((other / 'provenance.json').read_text())
  writer.write_json(
    other / 'provenance.json', provenance | {'data_hash': 'other'}
  )
  both = [folder.load_run(finished), folder.load_run(other)]
  row = page.compare(both[0], both[1:])['rows'][0]
  assert row['differences']['train']['days'] == len(arrays['ic_train'])
  mine = both[0].series('train')[1][100:]
  assert row['differences']['train']['mean'] == pytest.approx(
    np.mean(mine - arrays['ic_train']), abs=1e-6
  )
  assert row['differences']['valid'] == {'days': 0}
  assert row['warnings'][0] == 'other data' and 'against' in row['warnings'][1]
  assert '0 days in common' in page_of(finished, [other]).text
  for name in ('dates', 'ic', 'rank_ic'):
    arrays[f'{name}_train'] = arrays[f'{name}_train'][:19]
  np.savez(other / 'daily.npz', **arrays)
  assert '19 days in common' in page_of(finished, [other]).text


def test_errors_are_clear(tmp_path):
  with pytest.raises(folder.RunError, match='no such folder'):
    folder.load_run(tmp_path / 'absent')
  with pytest.raises(folder.RunError, match='it holds: nothing'):
    folder.load_run(tmp_path)
  (tmp_path / 'metrics.jsonl').write_text('{"iterat')
  with pytest.raises(folder.RunError, match='no iteration was finished'):
    folder.load_run(tmp_path)
  writer.append(tmp_path / 'metrics.jsonl', {'iteration': 1})
  with pytest.raises(folder.RunError, match='at most 4'):
    page.write_report(tmp_path, [tmp_path] * 5)


def test_command_ends_with_the_reason_and_no_traceback(tmp_path):
  result = subprocess.run(
    [sys.executable, '-m', 'alphajax.report', f'--workdir={tmp_path}'],
    cwd=Path(__file__).parent.parent,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 1
  assert 'metrics.jsonl' in result.stderr
  assert 'Traceback' not in result.stderr
