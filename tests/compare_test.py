"""Tables of several runs: figures, means over seeds, paired differences."""

import numpy as np
import pandas as pd
import pytest

from alphajax.run import compare
from alphajax.run.folder import Run


def run(pool=None, **last):
  return Run('a', None, [{'iteration': 1}, last], None, None, pool, None, {})


def test_figures_are_those_of_the_end_and_of_the_result():
  pool = {'iteration': 1, 'ceiling': {'train': 0.1, 'valid': None},
          'pool': {'valid': {'ic': {'mean': 0.03}}}, 'factors': []}  # fmt: skip
  found = compare.figures_of(
    run(pool, iteration=2, train_ic=0.05, valid_ic=0.02, best_valid_ic=None,
        seconds={'total': 2.0}, loss=None, text='a')
  )  # fmt: skip
  assert found == {
    'iteration': 2, 'train_ic': 0.05, 'valid_ic': 0.02, 'best_valid_ic': 0.0,
    'seconds.total': 2.0, 'ceiling.train': 0.1, 'share.train': 0.5,
    'pool.valid.ic.mean': 0.03,
  }  # fmt: skip


RUNS = pd.DataFrame(
  [('a', 0, 1.0), ('b', 0, 2.0), ('a', 1, 3.0), ('b', 1, 6.0), ('b', 2, 4.0)],
  columns=['variant', 'seed', 'ic'],
)


def test_summary_by_hand():
  found = compare.summary(RUNS, ['ic'], control='a')
  a, b = found.loc[('a', 'ic')], found.loc[('b', 'ic')]
  # Two values: t = 12.706, standard error 1.
  assert (a['seeds'], a['mean']) == (2, 2)
  assert a['high'] == pytest.approx(2 + 12.7062, abs=1e-4)
  assert a['pairs'] == 0 and np.isnan(a['less'])
  # Three values: t = 4.3027, standard error 2 / sqrt(3).
  assert (b['seeds'], b['mean']) == (3, 4)
  assert b['low'] == pytest.approx(4 - 4.30265 * 2 / 3**0.5, abs=1e-4)
  # Seed 2 has no pair: 1 and 3.
  assert (b['pairs'], b['less']) == (2, 2)
  assert b['less_low'] == pytest.approx(2 - 12.7062, abs=1e-4)


def test_one_run_has_no_interval_and_a_missing_figure_no_mean():
  runs = RUNS[RUNS['seed'] == 2].assign(needed=np.nan)
  found = compare.summary(runs, ['ic', 'needed'])
  assert found.loc[('b', 'ic')]['mean'] == 4
  assert np.isnan(found.loc[('b', 'ic')]['low'])
  assert found.loc[('b', 'needed')]['seeds'] == 0
  _, _, line = compare.text(found).splitlines()
  assert line == '| b | 1 | 4.0000 | - |'


def test_the_table_of_a_summary():
  assert compare.text(compare.summary(RUNS, ['ic'], 'a'), 'a').splitlines() == [
    '| variant | runs | ic | less a |',
    '| --- | --- | --- | --- |',
    '| a | 2 | 2.0000 [-10.7062, 14.7062] | - |',
    '| b | 3 | 4.0000 [-0.9683, 8.9683] | +2.0000 [-10.7062, +14.7062] |',
  ]


def test_what_there_is_none_of_is_refused():
  with pytest.raises(ValueError, match="no run has the figure 'icc'; .* ic"):
    compare.summary(RUNS, ['icc'])
  with pytest.raises(ValueError, match="'c' has no run; there are a, b"):
    compare.summary(RUNS, ['ic'], 'c')
