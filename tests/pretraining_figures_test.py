"""What is said of held-out tasks: recovery, groups, calibration, evolution."""

import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.analysis.reliability import reliability
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.methods import (
  formula_tokens,
  planted_tasks,
  pretraining_evolution,
  pretraining_figures,
  task_bank,
)
from alphajax.methods.pretraining_evolution import Options
from alphajax.methods.pretraining_gate import Proposed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'scripts'))
import pretrained_tables as tables  # noqa: E402

COUNT, DAYS, STOCKS, BLOCKS, POOL = 20, 12, 30, 4, 3
SMALL = dict(
  max_length=4, operators=('Add', 'Mul', 'Sum', 'CSRank'), windows=(5, 10)
)


def unit_rows(seed, count):
  rows = np.random.default_rng(seed).standard_normal((count, DAYS, STOCKS))
  rows -= rows.mean(2, keepdims=True)
  return (rows / np.linalg.norm(rows, axis=2, keepdims=True)).astype(np.float16)


def task_of(rows, ceiling, **changes):
  """Formula 3 is hidden, formula 0 is the pool; 0 to 4 were evaluated."""
  none = dict.fromkeys(planted_tasks.Task._fields)
  blocks = np.random.default_rng(0).normal(0, 0.02, (BLOCKS, COUNT))
  worth = np.where(np.arange(COUNT) < 5, -1.0, 0.001)
  hidden, weights = np.array([3, 7]), np.array([1.0, 0.0], np.float32)
  if ceiling:
    worth[3] = 0.02
    like = np.einsum('nds,ds->n', *(x.astype(float) for x in (rows, rows[3])))
    blocks += ceiling * like / DAYS
  return planted_tasks.Task(**none)._replace(
    gains=np.where(np.arange(COUNT) == 3, ceiling, 0.0),
    value=np.float32(ceiling), hidden=hidden, weights=weights,
    ceiling=np.float32(ceiling), observed=blocks.astype(np.float32),
    worth=worth, evaluated=np.array([0, 1, 2, 4, 4]),
    used=np.array([1, 1, 1, 1, 0], bool), pool=np.array([0, 1, 2]),
    in_pool=np.array([1, 0, 0], bool), **changes,
  )  # fmt: skip


def proposed_of(rows, value=0.01):
  """Samples of which the sixth is the hidden formula."""
  samples = np.concatenate([unit_rows(5, 5), rows[3:4], unit_rows(6, 4)])
  return Proposed(
    value=value, scores=np.linspace(0, 0.002, COUNT), num_distinct=10,
    rows=samples, expected=np.linspace(1, 0, 10), scored=np.linspace(0, 1, 10),
    on_shelf=np.zeros(10, bool), fresh=np.array([0.1, -np.inf]),
  )  # fmt: skip


@pytest.fixture(scope='module')
def gate():
  orders = orders_lib.make(**SMALL)
  drawn = environment.random_formulas(orders.rules, jax.random.key(0), 200)
  known = {formula_lib.key(f): f for f in drawn}
  keys = tuple(known)[:COUNT]
  library = tuple(known[key] for key in keys)
  return types.SimpleNamespace(
    rows=unit_rows(1, COUNT), held=np.arange(COUNT) == 3, keys=keys,
    library=library, orders=orders, num_samples=10,
    nodes=np.full(COUNT, 4.0), fresh_rows=unit_rows(2, 2), where=None,
  )  # fmt: skip


def test_a_hidden_formula_is_recovered_by_what_it_does(gate):
  tasks = [task_of(gate.rows, c) for c in (0.05, 0.0, 0.2)]
  proposed = [proposed_of(gate.rows, value) for value in (0.01, 0.002, 0.02)]
  more = {'given': [gate.rows[3:4], gate.rows[:0], gate.rows[4:5]]}
  outcome = pretraining_figures.judged(gate, tasks, proposed, more)
  # A task without signal is not judged by it.
  np.testing.assert_array_equal(
    outcome.found[''], [[False, True, True], [False, True, True]]
  )
  np.testing.assert_array_equal(outcome.found['given'][:, 0], [True, False])
  np.testing.assert_allclose(outcome.best[''][:, 1], 1.0, atol=0.02)
  np.testing.assert_allclose(outcome.bound, 1.0, atol=0.02)
  found = {
    (n, low): m for n, low, _, m in pretraining_figures.groups_of(outcome)
  }
  np.testing.assert_array_equal(found['IC', 0.04], [True, False])
  np.testing.assert_array_equal(found['IC', 0.12], [False, True])
  np.testing.assert_array_equal(found['hidden', 0.0], [True, True])
  # The hidden formula is the sixth of the samples.
  assert '| samples in their order |' in tables.proposers(outcome)
  assert '| IC of the signal 0.12 or more | 1 |' in tables.groups(outcome)
  assert '| IC of the signal 0.12 or more |' in tables.recovery(outcome)
  figures = pretraining_figures.figures(gate, tasks, proposed, outcome)
  assert figures['share_10'] == pytest.approx(1.0, abs=0.02)
  assert figures['silent_gain'] == pytest.approx(0.002)
  silence = pretraining_figures.silence(tasks, proposed)
  np.testing.assert_allclose(silence.value, [0.002])
  np.testing.assert_allclose(silence.regression, [0.001])


def test_a_formula_of_the_pool_is_not_recovered(gate):
  task = task_of(gate.rows, 0.05)
  task = task._replace(weights=np.array([1.0, 1.0], np.float32))
  both = pretraining_figures.judged(gate, [task], [proposed_of(gate.rows)])
  assert both.found[''][0, 1]
  task = task._replace(pool=np.array([3, 1, 2]))
  left = pretraining_figures.judged(gate, [task], [proposed_of(gate.rows)])
  assert not left.found[''].any() and left.groups['hidden'] == [2]


def test_calibration_counts_a_task_once(gate):
  tasks = [task_of(gate.rows, c) for c in (0.05, 0.0, 0.2)]
  proposed = [proposed_of(gate.rows, value) for value in (0.01, 0.002, 0.02)]
  bins = pretraining_figures.calibration(tasks, proposed)
  assert [x.real for x in bins['value']] == pytest.approx([0.0, 0.05, 0.2])
  # Only what was not evaluated.
  assert sum(x.size for x in bins['score']) == 16 + 15 + 16


def test_bins_of_forecasts():
  predicted = np.array([3.0, 1.0, 2.0, 4.0])
  low, high = reliability(
    predicted, 2 * predicted, np.array([0, 1, 1, 0]), (0.5,)
  )
  assert low[:3] == (2, 1.5, 3.0) and high[:3] == (2, 3.5, 7.0)
  assert low.error == 0.0  # One group says nothing of its error.
  (both,) = reliability(
    np.zeros(4), np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]), ()
  )
  assert both.error == pytest.approx(1.0)  # As of two observations.


def test_what_evaluating_says_follows_from_the_library(gate):
  space = pretraining_evolution.make_space(gate.rows)
  task = task_of(gate.rows, 0.1)
  rng = np.random.default_rng(0)
  search = pretraining_evolution.start(gate, space, [()] * COUNT, task, rng)
  assert search.known == 4 and len(search.gains) == 4
  known = pretraining_evolution.see(space, gate.rows)
  np.testing.assert_allclose(known.own, 0.1, atol=0.02)  # Of the ridge.
  np.testing.assert_allclose(
    pretraining_evolution.observe(search._replace(noise=0.0), known),
    task.observed.mean(0), atol=1e-3,
  )  # fmt: skip
  other = pretraining_evolution.see(space, unit_rows(9, 3))
  assert other.own.min() > 0.8
  ics = pretraining_evolution.observe(search._replace(noise=1.0), other)
  assert np.abs(ics).max() > 0.1


def test_evolution_evaluates_so_many_new_formulas(gate, monkeypatch):
  looked = []

  def look(where, formulas):
    looked.extend(map(formula_lib.key, formulas))
    seeds = [sum(map(ord, formula_lib.key(f))) for f in formulas]
    rows = np.concatenate([unit_rows(seed, 1) for seed in seeds])
    rows[:, : DAYS // 2] *= np.array(seeds)[:, None, None] % 2
    return np.where(np.array(seeds)[:, None, None] % 5 > 0, rows, 0), None

  monkeypatch.setattr(task_bank, 'look', look)
  tasks = [task_of(gate.rows, c) for c in (0.1, 0.0, 0.1)]
  options = Options(num=15, batch=5, num_parents=3)
  found = pretraining_evolution.evolve(gate, tasks, 0, options)
  assert [len(rows) for rows in found] == [15, 0, 15]
  # Days without values count as none, as of everybody's formulas.
  norms = np.linalg.norm(found[0].astype(float), axis=2)
  np.testing.assert_allclose(norms[norms > 0], 1.0, atol=0.01)
  assert 0 < (norms == 0).sum()
  assert not {gate.keys[i] for i in (0, 1, 2, 4)} & set(looked)
  again = pretraining_evolution.evolve(gate, tasks, 0, options)
  for one, other in zip(found, again, strict=True):
    np.testing.assert_array_equal(one, other)


def test_regressions_call_no_lapack():
  """In jaxlib 0.10 two calls of one program may wait for each other."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(6, 9))
  matrix, right = rows @ rows.T + 0.1 * np.eye(6), rng.normal(size=(6, 2))
  np.testing.assert_allclose(
    formula_tokens.solve(jnp.asarray(matrix), jnp.asarray(right)),
    np.linalg.solve(matrix, right), rtol=1e-3, atol=1e-4,
  )  # fmt: skip
  pool = formula_tokens.Pool(
    jnp.eye(3), jnp.zeros((3, BLOCKS)), jnp.ones(3, bool)
  )
  used = jnp.ones(6, bool)
  for program in (
    jax.make_jaxpr(formula_tokens.gain)(jnp.zeros(5), jnp.zeros((5, 3)), pool),
    jax.make_jaxpr(formula_tokens.regress)(matrix, right, used, 0.3),
  ):
    assert not {'cholesky', 'lu', 'triangular_solve'} & set(
      str(program).replace('[', ' ').split()
    )
