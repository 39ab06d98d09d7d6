"""Every script starts and says how it is used; what the figures calculate."""

import sys
from pathlib import Path

import commands
import made_run
import numpy as np
import pandas as pd
import pytest
import tiny
from absl import app

from alphajax import train
from alphajax.judge import needed
from alphajax.language import vocab
from alphajax.run.folder import Run, load_run

SCRIPTS = Path(__file__).resolve().parents[1] / 'scripts'
sys.path.insert(0, str(SCRIPTS))
import figure10_grid  # noqa: E402
import finding  # noqa: E402
import learning_curves  # noqa: E402
import own_ic  # noqa: E402
import saturation  # noqa: E402
import search_options  # noqa: E402
import table9_pool  # noqa: E402
import zero_shot  # noqa: E402

# Those that run; the others are imported by them.
RUN = sorted(
  path.name for path in SCRIPTS.glob('*.py') if '__main__' in path.read_text()
)


@pytest.mark.parametrize('name', RUN)
def test_starts(name):
  text = (SCRIPTS / name).read_text()
  assert f'python scripts/{name}' in text  # The exact command.
  done = commands.run(SCRIPTS / name, '--help')
  assert not done.stderr, done.stderr
  assert '--out' in done.stdout or '--workdir' in done.stdout


@pytest.mark.parametrize(
  'path', sorted(SCRIPTS.glob('*.py')), ids=lambda p: p.name
)
def test_runs_are_started_through_the_package(path):
  text = path.read_text()
  assert 'subprocess' not in text and 'json' not in text


def curve(variant, seed, evaluated, train, valid):
  return pd.DataFrame({
    'variant': variant, 'seed': seed, 'evaluated': evaluated,
    'train_ic': train, 'valid_ic': valid,
  })  # fmt: skip


def test_curves_are_compared_at_an_equal_count():
  curves = pd.concat([
    curve('a', 0, [10, 20, 30], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2]),
    curve('b', 0, [5, 18, 25], [0.2, 0.4, 0.8], [0.3, 0.4, 0.5]),
  ])  # fmt: skip
  count, ends = learning_curves.at_equal_count(curves)
  assert count == 25  # The fewest of all, and from 10 on, the most at first.
  assert ends['train IC'].tolist() == [0.2, 0.8]  # The last seen by then.
  assert ends['valid IC'].tolist() == [0.1, 0.5]
  # On the way from 10 to 25: a has 0.1 until 20, b 0.2 until 18, then 0.4.
  way = [(0.1 * 10 + 0.2 * 5) / 15, (0.2 * 8 + 0.4 * 7) / 15]
  assert ends['on the way'].tolist() == pytest.approx(way, abs=0.005)


def run(evaluated, train, planted):
  metrics = [
    {'evaluated': count, 'train_ic': ic}
    for count, ic in zip(evaluated, train, strict=True)
  ]
  pool = {'ceiling': {'train': planted}}
  return Run('a', None, metrics, None, None, pool, None, {})


def test_formulas_by_their_own_ic_as_they_came(tmp_path):
  row = own_ic.row_of(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]), 3, 0.25)
  assert row == pytest.approx({
    'formulas': 7, 'mean 1': 0.2, 'mean 2': 0.45, 'mean 3': 0.65,
    'above 1': 1, 'above 2': 2, 'above 3': 2, 'largest': 0.7,
  })  # fmt: skip
  config = tiny.get_config('random_search')
  config.num_iterations = 2
  train.train(config, tmp_path)
  sizes = own_ic.sizes_of(tmp_path)
  run = load_run(tmp_path)
  assert len(sizes) == run.column('evaluated')[-1]
  for factor in run.pool['factors']:
    own = abs(factor['train']['ic']['mean'])
    assert np.abs(sizes - own).min() < 1e-6


def test_effort_until_the_planted_ic():
  made = run([90, 180, 270], [0.05, 0.09, 0.08], planted=0.1)
  found = search_options.effort(made, share=0.8, budget=700)
  assert found == {'reached': 1, 'needed': 180, 'log2_needed': np.log2(180)}
  found = search_options.effort(made, share=1.0, budget=700)
  assert found == {'reached': 0, 'needed': 700, 'log2_needed': np.log2(700)}


def test_the_best_cell_of_each_language():
  rows = pd.DataFrame(
    [
      ('csi300', 'sem_k', 1, 10, 0.02),
      ('csi300', 'sem_k', 5, 10, 0.04),
      ('csi300', 'rpn', 1, 10, -0.01),
      ('sp500', 'sem_k', 1, 10, 0.01),
    ],
    columns=[*figure10_grid.KEYS, 'best_valid_ic'],
  )
  assert figure10_grid.best_of(rows).index.tolist() == [1, 2, 3]


def test_the_pool_in_words(tmp_path):
  made_run.make_run(tmp_path / 'run')
  made = load_run(tmp_path / 'run').pool
  table = table9_pool.table_of(made, vocab.FEATURES, top=3)
  weights = sorted((abs(f['weight']) for f in made['factors']), reverse=True)
  assert table['rank'].tolist() == [1, 2, 3]
  assert table['weight'].abs().tolist() == pytest.approx(weights[:3], abs=1e-4)
  assert table['reading'].str.len().min() > 10


def made_days(level, seeds, first):
  """{(rule, point): {seed: {span: {day: IC}}}} of 60 days a span."""
  return {
    ('bagged', point): {
      seed: {
        span: {f'{span}{day}': level * np.log(point) + 1e-4 * (day % 7)
               for day in range(first, 60)}
        for span in zero_shot.SPANS
      }
      for seed in range(seeds)
    }
    for point in (10, 100, 1000)
  }  # fmt: skip


def test_formulas_needed_on_the_days_that_all_have():
  fast, slow = made_days(0.02, 2, 0), made_days(0.01, 3, 1)
  for found in (fast, slow):  # Validation has the same days for both halves.
    for each in found.values():
      for days in each.values():
        first, second = (s for s in zero_shot.SPANS if s.endswith('valid'))
        days[second] = {
          day: days[second][f'{second}{day.removeprefix(first)}']
          for day in days[first]
        }
  points = (10, 100, 1000)
  ours, other = zero_shot.spans_of(points, 'bagged', fast, slow)
  assert [x.shape for x in ours] == [(2, 3, 59)] * 3
  assert [x.shape for x in other] == [(3, 3, 59)] * 3
  found = needed.ratio(points, ours, other, weights=zero_shot.WEIGHTS, draws=9)
  # .02 ln n = .01 ln 1000 at its root.
  assert found.ratio == pytest.approx(1000**0.5 / 1000)
  assert zero_shot.text(found) == (
    '  0.03 [0.03, 0.03] of the formulas, reached in 100% of the draws'
  )
  back = zero_shot.text(needed.ratio(points, other, ours, draws=9))
  assert back.startswith(' never [never, never]')


def test_a_search_may_be_ablated():
  for market, other in (('csi300', 'us_sp500'), ('sp500', 'cn_csi300')):
    config = finding.search_config('alphaformer_other_market', market)
    finding.use_data(config, Path('data'), market)
    assert config.alphaformer.ablate == 'other_market'
    assert config.alphaformer.other == f'data/{other}.parquet'
    assert config.data.path != config.alphaformer.other
  whole = finding.search_config('alphaformer', 'csi300')
  assert not whole.alphaformer.ablate and whole.pool.every == 2
  assert finding.search_config('random_screen', 'csi300').pool.every == 1000


def test_numbers_of_formulas_rise(tmp_path):
  assert saturation.numbers(['10', '3000']) == (10, 3000)
  for bad in ([], ['0', '5'], ['30', '10'], ['10', 'x']):
    with pytest.raises(app.UsageError, match='expected numbers of formulas'):
      saturation.numbers(bad)


def test_a_run_judged_after_other_numbers_is_judged_anew(tmp_path):
  plan = zero_shot.PLAN._replace(points=(10, 30), rules=('bagged',))
  assert not saturation.is_done(plan, tmp_path, 'retrieval')
  np.savez(tmp_path / 'daily_halves.npz', **{
    f'bagged of {n}_first_other': np.zeros(3) for n in (30, 100)
  })  # fmt: skip
  assert not saturation.is_done(plan, tmp_path, 'retrieval')
  assert saturation.is_done(
    plan._replace(points=(30, 100)), tmp_path, 'retrieval'
  )
