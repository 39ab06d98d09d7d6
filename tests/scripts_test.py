"""Every script starts and says how it is used; what the figures calculate."""

import sys
from pathlib import Path

import commands
import made_run
import numpy as np
import pandas as pd
import pytest

from alphajax.language import vocab
from alphajax.run.folder import Run, load_run

SCRIPTS = Path(__file__).resolve().parents[1] / 'scripts'
sys.path.insert(0, str(SCRIPTS))
import figure10_grid  # noqa: E402
import learning_curves  # noqa: E402
import search_options  # noqa: E402
import table9_pool  # noqa: E402

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
