"""Several seeds together: figures that all runs have, and their interval."""

import json

import numpy as np
import pytest
from ml_collections import config_dict
from scipy import stats

from alphajax.run import seeds, writer


def test_student_interval_is_that_of_scipy():
  values = np.random.default_rng(0).normal(3.0, 2.0, 7)
  mean, sd, low, high = seeds.student_interval(values)
  assert (mean, sd) == pytest.approx((values.mean(), values.std(ddof=1)))
  expected = stats.t.interval(
    0.95, len(values) - 1, values.mean(), stats.sem(values)
  )
  assert (low, high) == pytest.approx(expected)


def test_student_interval_by_hand():
  # Two values: t = 12.706, standard error 1.
  interval = seeds.student_interval([1, 3])
  assert interval.mean == 2 and interval.sd == pytest.approx(2**0.5)
  assert interval.low == pytest.approx(2 - 12.7062, abs=1e-4)
  assert seeds.student_interval([5, 5, 5]) == (5, 0, 5, 5)
  with pytest.raises(ValueError, match='1 value: an interval needs two'):
    seeds.student_interval([1.0])


def run(seed, **more):
  return {'seed': seed, 'iteration': 3, 'seconds': {'total': 1.0}, **more}


def test_figures_that_all_runs_have():
  summary = seeds.seed_summary([
    run(4, loss=0.5, evaluated=10, why='a', rank=None, train_loss=None),
    run(5, loss=0.7, evaluated=14, why='b', rank=3, only=1),
  ])  # fmt: skip
  assert summary['seeds'] == [4, 5]
  figures = summary['figures']
  assert list(figures) == ['evaluated', 'iteration', 'loss', 'seconds.total']
  assert figures['loss']['values'] == [0.5, 0.7]
  assert figures['loss']['mean'] == pytest.approx(0.6)
  assert figures['seconds.total']['values'] == [1.0, 1.0]
  text = seeds.seed_table(summary)
  title, evaluated, *_ = text.splitlines()
  assert title.startswith('2 seeds ') and 'seconds' not in text
  assert evaluated.split()[:2] == ['evaluated', '12']


def test_a_run_without_a_pool_has_an_ic_of_zero():
  summary = seeds.seed_summary([
    run(0, train_ic=0.04, valid_ic=0.02, best_valid_ic=None),
    run(1, train_ic=0.06, valid_ic=0.04, best_valid_ic=0.03),
  ])  # fmt: skip
  figures = summary['figures']
  assert list(figures)[:3] == ['train_ic', 'valid_ic', 'best_valid_ic']
  assert figures['best_valid_ic']['values'] == [0.0, 0.03]
  assert figures['train_ic']['mean'] == pytest.approx(0.05)
  assert '0.0150' in seeds.seed_table(summary)


def train_one(config, workdir):
  """A run of one line, where `train` would leave it."""
  workdir.mkdir(parents=True)
  (workdir / 'config.json').write_text('{}')
  writer.append(
    workdir / 'metrics.jsonl', {'iteration': 1, 'loss': 0.5 * config.seed}
  )


def test_the_home_folder_is_found(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  config = config_dict.ConfigDict({'seed': 4, 'num_seeds': 2})
  seeds.train_each(config, '~/runs', train_one)
  summary = json.loads((tmp_path / 'runs' / 'seeds.json').read_text())
  assert summary['figures']['loss']['values'] == [2.0, 2.5]


def test_one_run_and_several_share_no_folder(tmp_path):
  """Else the second would begin anew, beside what is there."""
  config = config_dict.ConfigDict({'seed': 4, 'num_seeds': 2})
  seeds.train_each(config, tmp_path / 'many', train_one)
  one = config_dict.ConfigDict({'seed': 4, 'num_seeds': 1})
  with pytest.raises(
    ValueError, match='many holds .*--config.seed=4 --config.num_seeds=2'
  ):
    seeds.train_each(one, tmp_path / 'many', train_one)
  seeds.train_each(one, tmp_path / 'one', train_one)
  with pytest.raises(ValueError, match='one is the folder of one run'):
    seeds.train_each(config, tmp_path / 'one', train_one)
  assert not list((tmp_path / 'one').glob('seed_*'))
