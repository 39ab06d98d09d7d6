"""Formulas in waves: the values of one node after the other, on any device."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, flow, metrics, runtime, waves
from alphajax.factor import store as store_lib
from alphajax.language import environment, vocab
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

DAYS, STOCKS, WINDOW = 80, 12, 3
PLANE = 4 * DAYS * STOCKS
# Of so few values a call has 8: one program an operator.
BUDGET = 100 * PLANE
COMPILED = '/jax/core/compile/backend_compile_duration'


@pytest.fixture(scope='module')
def panel():
  """Suspensions, ties, a level stock, zero and huge volumes, few members."""
  rng = np.random.default_rng(0)
  size = DAYS, STOCKS
  close = 10 * np.exp(np.cumsum(0.02 * rng.standard_normal(size), 0))
  features = np.stack(
    [
      close * rng.uniform(0.98, 1.02, size),
      close * 1.03,
      close * 0.97,
      close,
      10 ** rng.uniform(5, 10, size),
      close * rng.uniform(0.99, 1.01, size),
    ]
  )
  features[:, rng.random(size) < 0.02] = np.nan
  features[3, :, 1] = features[3, :, 2]
  features[:, :, 3] = 7.0
  features[4, rng.random(size) < 0.05] = 0.0
  features[5, 40:60, 5] = np.inf
  members = rng.random(size) < 0.6
  days = np.busday_offset('2020-01-06', np.arange(DAYS), roll='forward')
  names = [f's{i}' for i in range(STOCKS)]
  return panel_lib.make(
    features.astype(np.float32), members, days.astype(str).tolist(), names
  )


@pytest.fixture(scope='module')
def alone(panel):
  return evaluate.Store(panel, 5000 * PLANE, in_waves=False)


@pytest.fixture(scope='module')
def together(panel):
  return evaluate.Store(panel, BUDGET, in_waves=True)


def every_operator():
  """Each operator on two sets of operands."""
  formulas = []
  for values in (('close', 'volume', 'open'), ('high', 'vwap', 'low')):
    for name, row in vocab.OPERATORS.items():
      left = iter(map(Formula, values))
      special = {
        'window': Formula(str(WINDOW)),
        'level': Formula('0.8'),
        'condition': formula_lib.parse(f'Gt({values[0]},open)'),
        'group': Formula('Sign', (formula_lib.parse('vwap-open'),)),
      }
      slots = vocab.SLOTS[row.kind]
      args = [special[s] if s in special else next(left) for s in slots]
      formulas.append(Formula(name, tuple(args)))
  return formulas


def drawn(name, count=40):
  language = environment.make(name, max_length=8, windows=(WINDOW,))
  return environment.random_formulas(language, jax.random.key(5), 100)[:count]


def assert_same(found, expected, formulas):
  """Equal values, but for the last bits of sums in another order."""
  for formula, ours, theirs in zip(formulas, found, expected, strict=True):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    largest = np.nanmax(np.abs(theirs), initial=0.0)
    np.testing.assert_allclose(
      ours, theirs, rtol=1e-5, atol=1e-6 * largest, err_msg=str(formula)
    )


def test_every_operator_has_the_values_of_one_by_one(alone, together):
  formulas = [*every_operator(), formula_lib.parse('Med(close,70)')]
  found = together.take(formulas)
  assert_same(found, alone.take(formulas), formulas)
  finite = [bool(np.isfinite(value).any()) for value in found]
  assert sum(finite) > 0.9 * len(finite)


def assert_alike(found, expected, formulas):
  """All but 1 % of the cells, of all but 5 % of the formulas.

  Where the last bits of a sum decide what is level, a rank is another one.
  """
  shares = [
    np.isclose(ours, theirs, rtol=1e-3, equal_nan=True).mean()
    for ours, theirs in zip(found, expected, strict=True)
  ]
  assert len(shares) == len(formulas)
  assert np.mean(np.array(shares) > 0.99) > 0.95


@pytest.mark.parametrize('name', sorted({*environment.NAMES} - {'custom'}))
def test_random_formulas_of_every_language(alone, together, name):
  formulas = drawn(name)
  computed = together.computed
  assert_alike(together.take(formulas), alone.take(formulas), formulas)
  assert together.computed > computed


def test_map_reduces_duplicates_features_and_numbers(panel, alone, together):
  texts = ['close', 'high-low', 'Mean(close,3)', 'high-low', 'close', '0.1']
  texts += ['volume+close', 'close+volume', 'CSRank(high-low)']
  formulas = [*map(formula_lib.parse, texts), *drawn('sem_k', 100)]
  target = metrics.make_target(
    panel_lib.forward_return(panel), jnp.asarray(panel.mask)
  )
  daily, count = together.map(formulas, statistics, target)
  expected, expected_count = alone.map(formulas, statistics, target)
  assert daily.shape == (len(formulas), DAYS) and np.abs(daily).max() > 0.5
  assert_same(daily[:9], expected[:9], texts)
  assert_alike(daily, expected, formulas)
  np.testing.assert_array_equal(count, expected_count)
  np.testing.assert_array_equal(daily[[1, 0, 6]], daily[[3, 4, 7]])


def statistics(values, target):
  return metrics.target_ic(values, target), jnp.sum(jnp.isfinite(values))


def few_operators(seed, count):
  """Formulas of four operators, so that few programs are compiled."""
  language = environment.make(
    'sem_k',
    max_length=10,
    windows=(WINDOW,),
    operators=('Add', 'Sub', 'Mean', 'Abs'),
  )
  key = jax.random.key(seed)
  # As many are drawn each time: by one program.
  return environment.random_formulas(language, key, 200)[:count]


@pytest.mark.parametrize('planes', [8, 11, 14])
def test_any_budget_gives_the_same_values(panel, alone, planes):
  formulas = few_operators(planes, 60)
  tiny = evaluate.Store(panel, planes * PLANE, in_waves=True)
  expected = alone.take(formulas)
  for order in (slice(None), slice(None, None, -1)):
    some = formulas[order]
    assert_same(tiny.take(some), expected[order], some)
    counts = tiny.map(some, count_finite)
    known = [np.isfinite(value).sum() for value in expected[order]]
    np.testing.assert_array_equal(counts, known)
    assert len(tiny._values) <= planes
  assert tiny.computed > len(tiny.graph.nodes)  # It forgot, and made anew.


def count_finite(values):
  return jnp.sum(jnp.isfinite(values))


def test_a_formula_larger_than_the_store_is_cut_or_refused(panel, alone):
  text = 'close'
  for i in range(12):
    text = f'({text})+high-{i + 2}'
  (formula,) = map(formula_lib.parse, [text])
  tiny = evaluate.Store(panel, 8 * PLANE, in_waves=True)
  assert_same(tiny.take([formula]), alone.take([formula]), [text])
  parts = [f'(close+{t})' for t in range(2, 14)]
  wide = f'({"+".join(parts)})-({"-".join(reversed(parts))})'
  with pytest.raises(ValueError, match='more than the 8 values'):
    tiny.take([formula_lib.parse(wide)])
  assert_same(tiny.take([formula]), alone.take([formula]), [text])


def test_errors_are_those_of_one_by_one(together):
  turnover = formula_lib.parse('Mean(turnover,3)', features=('turnover',))
  for _ in range(2):
    with pytest.raises(ValueError, match="needs 'turnover'; the panel has op"):
      together.map([turnover], count_finite)
  with pytest.raises(ValueError, match='no formulas'):
    together.map([], count_finite)
  close = formula_lib.parse('close')
  assert together.map([close], count_finite) > 0
  # What was refused stays so in whatever has it as a part.
  larger = Formula('Abs', (turnover,))
  with pytest.raises(ValueError, match="needs 'turnover'"):
    together.map([close, larger], count_finite)
  assert together._checked == len(together.graph.nodes)  # Once each.


def test_what_is_large_is_forgotten_first(panel, alone):
  """In a store with room for the largest calls; whose values are right too."""
  formulas = few_operators(0, 60)
  store = evaluate.Store(panel, 5000 * PLANE, in_waves=True)
  counts = store.map(formulas, count_finite)
  np.testing.assert_array_equal(counts, alone.map(formulas, count_finite))
  assert_same(store.take(formulas), alone.take(formulas), formulas)
  sizes = [store.graph.sizes[node] for node in store._values]
  small = [size <= flow.KEPT_SIZE for size in sizes]
  assert small == sorted(small) and 0 < sum(small) < len(small)
  # It holds all of them.
  computed = store.computed
  store.map(formulas, count_finite)
  assert store.computed == computed == len(small)


def test_a_call_that_is_broken_off_costs_no_store(panel, alone):
  """The pool was given to it, with the features."""
  store = evaluate.Store(panel, BUDGET, in_waves=True)
  formulas = few_operators(0, 20)
  store.take(formulas)
  store._planes._pool.delete()
  again = [Formula('close'), *formulas]
  assert_same(store.take(again), alone.take(again), again)


def test_programs_are_those_of_a_shape_and_a_capacity(panel, together):
  eight, six = (
    waves.Planes(jnp.zeros((n, DAYS, STOCKS)), together._universe, 134 - n)
    for n in (8, 6)
  )
  assert eight._like_pool() == six._like_pool()
  assert eight._programs is not six._programs


def test_a_small_panel_takes_no_more_than_it_may_need(panel):
  store = evaluate.Store(panel, 1 << 29, in_waves=True)
  assert store.capacity == store_lib.MAX_PLANES
  one_by_one = evaluate.Store(panel, 1 << 29, in_waves=False)
  assert one_by_one.capacity == (1 << 29) // PLANE


def test_a_graph_too_large_begins_anew(panel, alone, monkeypatch):
  monkeypatch.setattr(store_lib, 'MAX_NODES', 50)
  store = evaluate.Store(panel, BUDGET, in_waves=True)
  for seed in range(6):
    formulas = few_operators(seed, 20)
    assert_same(store.take(formulas), alone.take(formulas), formulas)
  assert len(store.graph.nodes) < store.computed
  assert set(store._values.values()) <= set(range(6, 106))


def test_new_formulas_compile_nothing(panel):
  compiled, hears = [], [True]

  def hear(event, seconds, **_):
    if event == COMPILED and hears:
      compiled.append(seconds)

  batches = [few_operators(seed, 200) for seed in range(5)]
  jax.monitoring.register_event_duration_secs_listener(hear)
  try:
    # Of a capacity that no other has, and with calls of two sizes.
    store = evaluate.Store(panel, 300 * PLANE, in_waves=True)
    first = map(formula_lib.parse, ['Mean(Abs(close),3)+high-low', '-0.5'])
    store.map(list(first), count_finite)
    assert compiled  # The listener hears.
    before = len(compiled)
    for formulas in batches:
      for some in (formulas, formulas[:7], formulas[:1]):
        store.map(some, count_finite)
    assert len(compiled) == before
  finally:
    hears.clear()  # Older JAX takes no listener back.


def test_calls_have_few_sizes():
  features = jnp.zeros((2, 3, 4))
  for capacity, light, heavy in (
    (8, (1,), (1,)),
    (31, (1,), (1,)),
    (100, (8,), (8,)),
    (128, (8, 32), (8,)),
  ):
    planes = waves.Planes(features, None, capacity)
    assert planes._sizes(('Add', None)) == light
    assert planes._sizes(('Corr', 20)) == planes._sizes(('CSRank', None))
    assert planes._sizes(('Corr', 20)) == heavy


@pytest.mark.parametrize('platform', ['cpu', 'gpu', 'tpu'])
def test_an_accelerator_computes_in_waves(monkeypatch, platform):
  device = types.SimpleNamespace(platform=platform)
  monkeypatch.setattr(runtime, 'device', lambda: device)
  assert runtime.in_waves() == (platform != 'cpu')
