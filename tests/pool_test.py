"""The pool against scikit-learn's Lasso and against direct correlations."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

from alphajax.data import panel as panel_lib
from alphajax.factor import metrics, pool, pool_signal
from alphajax.language import formula as formula_lib
from alphajax.methods import linear
from alphajax.methods.base import Found

T, S, P = 60, 40, 4
make_target = jax.jit(metrics.make_target)
signal_of = jax.jit(pool_signal.signal, static_argnames='min_coverage')
coverage_of = jax.jit(pool_signal.coverage)


def make_factors(rng, num, missing=0.1):
  """Correlated factors with gaps, a label they explain, and members."""
  common = rng.normal(size=(T, S))
  values = (
    rng.normal(size=(num, T, S)) + rng.uniform(0, 2, (num, 1, 1)) * common
  )
  label = 0.05 * values[: num // 2].sum(0) + rng.normal(size=(T, S))
  values[rng.random(values.shape) < missing] = np.nan
  members = rng.random((T, S)) < 0.9
  label[rng.random(label.shape) < 0.05] = np.nan
  return values.astype(np.float32), label.astype(np.float32), members


@jax.jit
def prepare(values, members, target):
  return jax.vmap(lambda v: pool.prepare(v, members, target))(values)


def prepare_all(values, members, target):
  return np.array(prepare(values, members, target))


# A program for each number of factors and slots, of some seconds: the tests
# share few of them and insert `CHUNK` at a time.
CHUNK = 6


def insert_all(capacity, prepared, target, scored=None, **options):
  scored = np.ones(T, bool) if scored is None else scored
  fitted, traces = pool.empty(capacity, T, S), []
  for ids in np.arange(len(prepared)).reshape(-1, CHUNK):
    fitted, trace = pool.insert(
      fitted, prepared[ids], ids, target, scored, **options
    )
    traces.append(trace)
  return fitted, jax.tree.map(lambda *x: np.concatenate(x), *traces)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('l1', [0.0, 0.005, 0.05])
def test_fit_equals_lasso(seed, l1):
  rng = np.random.default_rng(seed)
  values, label, members = make_factors(rng, 6)
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  fitted, _ = insert_all(6, prepared, target, config=pool.FitConfig(l1=l1))
  # Days weigh the same whatever their number of stocks.
  weight = np.sqrt(1.0 / np.asarray(target.labelled).sum(1))[:, None] / np.sqrt(
    T
  )
  rows = (np.asarray(prepared, np.float64) * weight).reshape(6, -1).T
  aim = (np.asarray(target.label, np.float64) * weight).ravel()
  n = len(aim)
  if l1:  # scikit-learn halves and averages the squares.
    lasso = Lasso(l1 / (2 * n), fit_intercept=False, tol=1e-12)
    expected = lasso.fit(rows, aim).coef_
  else:
    expected = np.linalg.lstsq(rows, aim)[0]
  assert fitted.ids.tolist() == list(range(6))
  np.testing.assert_allclose(np.asarray(fitted.weights), expected, atol=1e-4)
  exact_zero = np.asarray(fitted.weights) == 0
  np.testing.assert_array_equal(exact_zero, np.abs(expected) < 1e-7)


def test_daily_ic_is_that_of_the_signal():
  rng = np.random.default_rng(1)
  values, label, members = make_factors(rng, 6)
  target = make_target(label, members)
  fitted, trace = insert_all(P, prepare_all(values, members, target), target)
  held = values[np.asarray(fitted.ids)]
  signal = signal_of(fitted.weights, held, members)
  direct = metrics.daily_ic(signal, label, members)
  np.testing.assert_allclose(pool.daily_ic(fitted), direct, atol=1e-5)
  np.testing.assert_allclose(trace.ic[-1], direct.mean(), atol=1e-6)


def test_drops_the_smallest_absolute_weight():
  rng = np.random.default_rng(2)
  values, label, members = make_factors(rng, 6, missing=0.0)
  values[0] = -label + 0.3 * values[0]  # A large negative weight.
  values = np.where(np.isfinite(values), values, np.float32(0))
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  ids, scored = np.array([0, 1, 2, 3, 4, -1]), np.ones(T, bool)
  wide, narrow = (
    pool.insert(pool.empty(slots, T, S), prepared, ids, target, scored)[0]
    for slots in (6, P)
  )
  assert wide.ids.tolist() == ids.tolist()
  weakest = np.abs(wide.weights[:5]).argmin()
  assert 0 in narrow.ids.tolist()
  assert set(narrow.ids.tolist()) == set(range(5)) - {weakest}


def test_chunks_equal_one_by_one():
  rng = np.random.default_rng(3)
  values, label, members = make_factors(rng, 12)
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  together, trace = insert_all(P, prepared, target)
  alone, scored, ics = pool.empty(P, T, S), np.ones(T, bool), []
  for i in range(12):
    alone, one = pool.insert(
      alone, prepared[i : i + 1], np.array([i]), target, scored
    )
    ics.append(float(one.ic[0]))
  assert together.ids.tolist() == alone.ids.tolist()
  np.testing.assert_allclose(together.weights, alone.weights, atol=1e-5)
  np.testing.assert_allclose(trace.ic, ics, atol=1e-5)


def test_padding_changes_nothing():
  rng = np.random.default_rng(4)
  values, label, members = make_factors(rng, 6)
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  scored = np.ones(T, bool)
  first, _ = insert_all(P, prepared, target)
  second, trace = pool.insert(first, prepared, np.full(6, -1), target, scored)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  np.testing.assert_array_equal(trace.ids, np.tile(first.ids, (6, 1)))


def test_improve_never_lowers_the_ic():
  rng = np.random.default_rng(5)
  values, label, members = make_factors(rng, 24)
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  _, trace = insert_all(3, prepared, target, accept='improve')
  assert np.all(np.diff(trace.ic) >= 0)
  assert np.any(trace.tried_ic < trace.ic)  # Some were turned away.
  with pytest.raises(ValueError, match='accept'):
    insert_all(3, prepared, target, accept='never')


def test_distinct_turns_twins_of_members_away():
  """Twins by the mean correlation; an opposite is none, as in AlphaGen."""
  rng = np.random.default_rng(5)
  values, label, members = make_factors(rng, 6, 0.0)
  values[2] = values[0] + 0.02 * rng.normal(size=(T, S))
  values[3] = -values[0]
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  _, trace = insert_all(6, prepared, target, accept='distinct')
  corr = np.corrcoef(prepared[0].ravel(), prepared[2].ravel())[0, 1]
  assert 0.99 < corr < 1
  np.testing.assert_array_equal(trace.is_twin, [n == 2 for n in range(6)])
  assert 2 not in np.asarray(trace.ids) and trace.ic[2] == trace.ic[1]
  np.testing.assert_array_equal(trace.ids[2], trace.ids[1])
  # The other rules only say so.
  _, trace = insert_all(6, prepared, target)
  assert trace.is_twin[2] and 2 in trace.ids[2].tolist()


def test_a_factor_without_coverage_has_no_opinion():
  values, label, members = make_factors(np.random.default_rng(6), 6, 0.0)
  values[0, :, : S // 2 + 12] = np.nan
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  labelled = np.asarray(target.labelled)
  covered = metrics.MIN_COVERAGE * labelled.sum(1)
  enough = (labelled & np.isfinite(values[0])).sum(1) >= covered
  assert not enough.any() and not prepared[0].any()
  fitted, _ = insert_all(6, prepared, target)
  assert fitted.weights[0] == 0


def test_unscored_days_do_not_count():
  values, label, members = make_factors(np.random.default_rng(7), 6)
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  scored = np.arange(T) < T // 2
  first, trace = insert_all(P, prepared, target, scored)
  changed = prepared.copy()
  changed[:, T // 2 :] = 9.0
  second, other = insert_all(P, changed, target, scored)
  np.testing.assert_allclose(first.weights, second.weights, atol=1e-6)
  np.testing.assert_allclose(trace.ic, other.ic, atol=1e-6)


def test_unexplained_is_what_the_pool_leaves_of_the_label():
  rng = np.random.default_rng(7)
  values, label, members = make_factors(rng, 12)
  target = make_target(label, members)
  prepared = prepare_all(values, members, target)
  _, trace = insert_all(P, prepared, target)
  alone, scored = pool.empty(P, T, S), np.ones(T, bool)
  count = np.asarray(target.labelled).sum(1)
  for n in range(12):
    factors = np.stack(alone.factors).astype(np.float64)
    predicted = np.einsum('p,pts->ts', np.asarray(alone.weights), factors)
    rest = np.asarray(target.label, np.float64) - predicted
    direct = ((np.asarray(prepared[n]) * rest).sum(1) / count).mean()
    assert trace.unexplained[n] == pytest.approx(direct, abs=1e-6)
    alone, _ = pool.insert(
      alone, prepared[n : n + 1], np.array([n]), target, scored
    )
  # A twin of a factor in a pool of which none left: what the L1 norm takes.
  whole, _ = insert_all(6, prepared[:6], target)
  ids = np.array([-1, -1, -1, -1, 6, -1])
  _, again = pool.insert(whole, prepared[:6], ids, target, scored)
  assert 0 < abs(float(again.unexplained[4])) <= 0.005 / 2 + 1e-4


def test_a_missing_factor_is_covered_by_the_others_and_said():
  """Weights 3, -1, 0: by hand."""
  members = np.array([[True, True, True, True, False]])
  nan = np.nan
  values = np.array(
    [[[1.0, nan, 2.0, nan, 1.0]], [[5.0, 4.0, nan, nan, 1.0]],
     [[1.0, 2.0, 3.0, 4.0, 5.0]]]
  )  # fmt: skip
  weights = np.array([3.0, -1.0, 0.0])
  share = coverage_of(weights, values, members)
  np.testing.assert_allclose(share, [[1.0, 0.25, 0.75, 0.0, nan]])
  signal = signal_of(weights, values, members, min_coverage=0.0)
  np.testing.assert_allclose(signal, [[-4.0, 1.0, 3.0, 0.0, nan]], atol=1e-6)
  signal = signal_of(weights, values, members)
  # Two values are at -1 and 1; the third factor weighs nothing.
  np.testing.assert_allclose(signal, [[-4.0, 1.0, 3.0, nan, nan]], atol=1e-6)


def test_a_short_history_scores_nobody():
  """30 days where the pool looks back 107: no score, never a 0."""
  market = panel_lib.make(
    np.random.default_rng(0).lognormal(size=(6, 30, 8)).astype(np.float32),
    np.ones((30, 8), bool),
    tuple(
      str(np.datetime64('2020-01-01') + np.timedelta64(n, 'D'))
      for n in range(30)
    ),
    tuple('abcdefgh'),
  )
  texts = ('CSRank(close)', 'Mean(Ref(close,68),40)')
  found = Found(1, tuple(map(formula_lib.parse, texts)), (1.0, 1.0))
  assert max(map(formula_lib.lookback, found.formulas)) == 107
  assert np.isnan(linear.predict(found, market)).all()


def test_insert_can_be_jitted_and_vmapped():
  """Two pools at once are two calls, whatever their markets."""
  cases = []
  for seed in (8, 9):
    values, label, members = make_factors(np.random.default_rng(seed), 6)
    target = make_target(label, members)
    prepared = tuple(prepare_all(values, members, target))
    cases.append((prepared, np.arange(6), target))
  scored = np.ones(T, bool)

  def insert(candidates, ids, target):
    start = pool.empty(P, T, S)
    return pool.insert(start, candidates, ids, target, scored)

  alone = [insert(*case) for case in cases]
  jitted = jax.jit(insert)(*cases[0])
  stacked = jax.tree.map(lambda *x: np.stack(x), *cases)
  together = jax.vmap(insert)(*stacked)
  pairs = [
    (jax.tree.map(lambda x, n=n: x[n], together), alone[n]) for n in (0, 1)
  ]
  for got, one in [(jitted, alone[0]), *pairs]:
    np.testing.assert_array_equal(got[0].ids, one[0].ids)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
      got, one,
    )  # fmt: skip
  # An empty slot's plane is 0 in a trace as well.
  prepared, _, target = cases[0]
  few, _ = jax.jit(insert)(prepared, np.array([0, 1, -1, -1, -1, -1]), target)
  assert np.any(few.factors[1]) and not np.any(few.factors[2])


def test_coverage_is_the_share_of_weights_with_a_value():
  values, _, members = make_factors(np.random.default_rng(10), 3, 0.1)
  values[2, :7] = np.nan  # Not yet looked back far enough.
  values[1, 20, : S // 2 + 12] = np.nan  # Fewer than half.
  weights = np.array([0.1, -0.6, 0.3])
  actual = np.asarray(coverage_of(weights, values, members))
  known = np.isfinite(values)
  half = (known & members).sum(2) * 2 >= members.sum(1)
  known &= half[:, :, None]
  expected = np.einsum('p,pts->ts', [0.1, 0.6, 0.3], known)
  expected = np.where(members, expected, np.nan)
  np.testing.assert_allclose(actual, expected, atol=1e-6)
  assert np.all(actual[:7][members[:7]] < 0.71)
  assert np.all(actual[20][members[20]] < 0.41)
  np.testing.assert_array_equal(actual == 0, (expected == 0) & members)
  whole = members & known.all(0)
  assert whole.sum() > 1000 and np.all(actual[whole] == 1.0)
  assert np.nanmax(actual) == 1.0
  nothing = coverage_of(np.zeros(3), values, members)
  np.testing.assert_array_equal(nothing, np.where(members, 0.0, np.nan))


@pytest.mark.parametrize('least', [pool_signal.HEARD, 0.3, 0.65, 1.0])
def test_a_signal_below_its_coverage_is_missing(least):
  values, _, members = make_factors(np.random.default_rng(11), 3, 0.3)
  weights = np.array([0.1, -0.6, 0.3])
  # Not jitted, `signal` takes the very same shares.
  always = np.asarray(pool_signal.signal(weights, values, members, 0.0))
  share = np.asarray(pool_signal.coverage(weights, values, members))
  np.testing.assert_array_equal(np.isnan(always), ~members)
  covered = share >= least
  signal = pool_signal.signal(weights, values, members, least)
  np.testing.assert_array_equal(signal, np.where(covered, always, np.nan))
  assert 0.2 < covered[members].mean() < 1 and not np.all(always[members])


@pytest.mark.parametrize('least', [-0.1, 1.5, float('nan')])
def test_a_coverage_is_a_share(least):
  values, _, members = make_factors(np.random.default_rng(11), 3)
  with pytest.raises(ValueError, match='min_coverage is .* from 0'):
    pool_signal.signal(np.ones(3), values, members, least)


def test_insert_in_a_process_of_64_bits():
  """Counts have 64 bits there, and a pool stays one of 32."""
  rng = np.random.default_rng(0)
  label, *values = rng.normal(size=(3, 10, 12)).astype(np.float32)
  members = np.ones(label.shape, bool)

  def made():
    target = metrics.make_target(jnp.asarray(label), jnp.asarray(members))
    planes = [pool.prepare(jnp.asarray(x), members, target) for x in values]
    empty = pool.empty(2, *label.shape)
    return pool.insert(empty, planes, jnp.arange(2), target, members[:, 0])

  known = made()
  with jax.enable_x64(True):
    found = made()
  chex.assert_trees_all_equal_dtypes(found, known)
  chex.assert_trees_all_close(found, known, atol=1e-6)
