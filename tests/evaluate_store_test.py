"""The store: any budget gives the same bits, and formulas compile nothing."""

import functools
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.data import panel as panel_lib
from alphajax.data import simulate
from alphajax.factor import evaluate, flow, runtime
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab

WINDOWS = (3, 8)
GRAMMAR = grammar_lib.make('sem_k', max_length=10, windows=WINDOWS)
DRAWN = 200  # At once: a program for each number would take longer.
COMPILED = '/jax/core/compile/backend_compile_duration'


@pytest.fixture(scope='module')
def panel():
  """60 days x 24 stocks with suspensions, listings and missing vwap."""
  full = simulate.simulate(3, num_days=60, num_stocks=24, alphas=()).panel
  features = np.array(full.features)
  features[:, 20:23, 5] = np.nan
  return full.replace(features=features)


def parse(*texts):
  """Formulas; those over groups by the sign of a day, since prices are none."""
  days = formula_lib.parse('Sign(vwap-open)')
  return [
    formula_lib.Formula(each.symbol, (each.args[0], days))
    if each.symbol in ('GroupRank', 'GroupNeutral')
    else each
    for each in map(formula_lib.parse, texts)
  ]


def draw(seed, count=DRAWN):
  key = jax.random.key(seed)
  return grammar_lib.random_formulas(GRAMMAR, key, DRAWN)[:count]


def bits(values):
  return [np.asarray(value).tobytes() for value in values]


def plane(panel):
  return 4 * int(np.prod(np.shape(panel.mask)))


@pytest.fixture(scope='module')
def large(panel):
  return evaluate.Store(panel, 5000 * plane(panel))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), planes=st.integers(8, 14))
def test_a_tiny_store_gives_the_bits_of_a_large_one(panel, large, seed, planes):
  formulas = draw(seed, 12)
  tiny = evaluate.Store(panel, planes * plane(panel))
  assert bits(tiny.take(formulas)) == bits(large.take(formulas))
  # Again, in another order, from what happens to be held.
  again = formulas[::-1]
  assert bits(tiny.take(again)) == bits(large.take(again))


def test_a_tiny_store_forgets_and_a_large_one_does_not(panel):
  formulas = draw(0, 64)
  tiny = evaluate.Store(panel, 8 * plane(panel))
  large = evaluate.Store(panel, 5000 * plane(panel))
  for _ in range(2):
    assert bits(tiny.take(formulas)) == bits(large.take(formulas))
  nodes = {
    formula_lib.key(node)
    for formula in formulas
    for node in values_below(formula)
    if node.symbol not in vocab.FEATURES
  }
  assert large.computed == len(nodes)  # Each distinct part, once.
  assert tiny.computed > 2 * large.computed


def values_below(formula):
  """A formula and all operands below it, without windows."""
  yield formula
  windowed = formula_lib.is_windowed(formula)
  for arg in formula.args[:-1] if windowed else formula.args:
    yield from values_below(arg)


def nested(depth):
  """A chain of `depth` operators, all of them different values."""
  text = 'close'
  for i in range(depth):
    text = f'({text})+high/{i + 2}'
  return text


def test_a_formula_larger_than_the_store_is_cut(panel, large):
  (formula,) = parse(nested(30))
  tiny = evaluate.Store(panel, 8 * plane(panel))
  assert bits(tiny.take([formula])) == bits(large.take([formula]))
  others = parse('Mean(close,3)', 'high-low')
  mixed = [others[0], formula, others[1], formula]
  assert bits(tiny.take(mixed)) == bits(large.take(mixed))


def test_a_formula_that_cannot_be_cut_is_refused(panel, large):
  parts = [f'Mean(close,{t})' for t in range(2, 14)]
  text = f'({"+".join(parts)})/({"-".join(reversed(parts))})'
  (formula,) = parse(text)
  tiny = evaluate.Store(panel, 8 * plane(panel))
  with pytest.raises(ValueError, match='more than the 8 values'):
    tiny.take([formula])
  # It still works for others, and a larger one takes it.
  assert bits(tiny.take(parse('high-low'))) == bits(
    large.take(parse('high-low'))
  )
  enough = evaluate.Store(panel, 16 * plane(panel))
  assert bits(enough.take([formula])) == bits(large.take([formula]))


def test_an_impossible_budget_says_how_many_bytes_it_takes(panel):
  with pytest.raises(ValueError, match='60 days x 24 stocks') as error:
    evaluate.Store(panel, 1000)
  needed = int(re.search(r'give it (\d+) bytes', str(error.value))[1])
  evaluate.Store(panel, needed)
  with pytest.raises(ValueError, match=f'give it {needed} bytes'):
    evaluate.Store(panel, needed - 1)


def test_unknown_features_are_named(panel, large):
  formula = formula_lib.parse('Mean(turnover,3)', features=('turnover',))
  with pytest.raises(ValueError, match="needs 'turnover'; the panel has open"):
    large.take([formula])
  with pytest.raises(ValueError, match='no formulas'):
    large.map([], mean)


def mean(values, scale):
  return scale * jnp.nanmean(values), jnp.sum(jnp.isfinite(values))


@pytest.fixture(scope='module')
def coded(panel):
  """The panel with a column that was text."""
  codes = np.broadcast_to(np.arange(24) % 3, panel.mask.shape)
  return panel.replace(
    features=np.concatenate([panel.features, codes[None].astype(np.float32)]),
    feature_names=(*panel.feature_names, 'board'),
    groups=(('board', ('main', 'other', 'star')),),
  )


@pytest.mark.parametrize(
  'text', ['board*1', 'Mean(board,3)', 'CSRank(GroupRank(board,board))']
)
def test_codes_of_text_are_no_values(coded, text):
  formula = formula_lib.parse(text, coded.feature_names)
  said = 'board holds codes of groups, which are no values'
  store = evaluate.Store(coded)
  for _ in range(2):  # The second time its nodes are known.
    with pytest.raises(ValueError, match=said):
      store.take([formula])
  with pytest.raises(ValueError, match=said):
    evaluate.compile(formula)(coded)
  # What is left of the store goes on.
  fine = formula_lib.parse('GroupRank(close,board)', coded.feature_names)
  np.testing.assert_array_equal(
    store.take([fine])[0], evaluate.compile(fine)(coded)
  )


def test_names_of_groups_in_another_order_change_nothing(coded):
  names = coded.feature_names
  fine = [
    formula_lib.parse(text, names)
    for text in ('GroupRank(close,board)', 'GroupNeutral(Delta(vwap,3),board)')
  ]
  features = np.array(coded.features)
  features[-1] = 2 - features[-1]
  other = coded.replace(
    features=features, groups=(('board', ('star', 'other', 'main')),)
  )
  for one, two in zip(
    evaluate.values(fine, coded), evaluate.values(fine, other), strict=True
  ):
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('planes', [8, 5000])
def test_map_reduces_each_value(panel, large, planes):
  formulas = draw(5, 70)
  store = evaluate.Store(panel, planes * plane(panel))
  means, counts = store.map(formulas, mean, jnp.float32(2.0))
  for i, value in enumerate(large.take(formulas)):
    value = np.asarray(value)
    finite = np.isfinite(value)
    assert counts[i] == finite.sum()
    if finite.any():
      expected = 2.0 * value[finite].astype(np.float64).mean()
      largest = np.abs(value[finite]).max()
      assert abs(means[i] - expected) <= 1e-4 * largest
    else:
      assert np.isnan(means[i])


def test_map_drops_what_is_large_and_keeps_what_is_small(panel):
  formulas = draw(6, 40)
  store = evaluate.Store(panel, 5000 * plane(panel), in_waves=False)
  means = store.map(formulas, jnp.nanmean)
  sizes = store.graph.sizes
  kept = {n for n in range(len(sizes)) if sizes[n] <= flow.KEPT_SIZE}
  assert set(store._values) == kept - store._features.keys()
  computed = store.computed
  np.testing.assert_array_equal(store.map(formulas, jnp.nanmean), means)
  assert store.computed - computed == len(sizes) - len(kept) > 0
  store.take(formulas)  # What was asked for stays, also if it is read again.
  computed = store.computed
  np.testing.assert_array_equal(store.map(formulas, jnp.nanmean), means)
  store.take(formulas)
  assert store.computed == computed


def test_a_budget_has_room_for_the_formulas_of_every_core(panel, monkeypatch):
  whole = jax.ShapeDtypeStruct((4000, 5000), bool)
  market = panel_lib.Panel(whole, whole, (), ())
  bytes_of = functools.partial(evaluate.budget_of, market)
  monkeypatch.setattr(runtime, 'num_workers', lambda: 2)
  assert bytes_of() == bytes_of(share=4) == 12 * 4 * 4000 * 5000
  assert bytes_of(1 << 30) == 1 << 30 and bytes_of(1 << 30, 4) == 1 << 28
  monkeypatch.setattr(runtime, 'num_workers', lambda: 64)
  assert bytes_of() == 68 * 4 * 4000 * 5000
  monkeypatch.setattr(runtime, 'in_waves', lambda *_: True)
  assert bytes_of() == 8 * 4 * 4000 * 5000
  assert evaluate.budget_of(panel) == 1 << 29
  assert evaluate.budget_of(panel, share=4) == 1 << 27


def test_a_store_that_keeps_computes_nothing_twice(panel):
  formulas = draw(6, 40)
  store = evaluate.Store(panel, 5000 * plane(panel), in_waves=False, keep=True)
  means = store.map(formulas, jnp.nanmean)
  computed = store.computed
  np.testing.assert_array_equal(store.map(formulas, jnp.nanmean), means)
  assert store.computed == computed > 0


def test_threads_keep_within_the_room_and_work_on_several_formulas(
  panel, monkeypatch
):
  """A whole market has room for few values: no thread waits for a formula."""
  monkeypatch.setattr(runtime, 'num_workers', lambda: 3)
  store = evaluate.Store(panel, 12 * plane(panel), in_waves=False)
  formulas = parse(*(f'CSRank(Std(close/open,{t}))' for t in range(2, 8)))
  means = store.map(formulas, jnp.nanmean)
  run, most, together = store._run, [], threading.Barrier(3, timeout=60)

  def watched(node):
    if store.graph.nodes[node].symbol == 'CSRank':
      together.wait()  # Breaks unless three formulas are under way.
    most.append(len(store._values))
    return run(node)

  monkeypatch.setattr(store, '_run', watched)
  np.testing.assert_array_equal(store.map(formulas, jnp.nanmean), means)
  assert max(most) <= 12


def test_values_taken_lie_where_callers_compute(panel, large):
  (value,) = large.take(parse('Mean(close,3)'))
  mask = large.universe.mask
  assert value.devices() == mask.devices() == {jax.devices()[0]}
  assert not value.committed  # Or every mixture of arguments would compile.
  assert jnp.any(jnp.where(mask, value, jnp.nan) > 0)


def test_values_are_those_of_take_and_one_by_one(panel, large):
  formulas = draw(7, 20)
  together = evaluate.values(formulas, panel)
  assert together.shape == (20, 60, 24) and together.dtype == jnp.float32
  assert bits(together) == bits(large.take(formulas))
  alone = [evaluate.values([formula], panel)[0] for formula in formulas[:3]]
  assert bits(alone) == bits(together[:3])


def every_operator():
  """Each operator on moving data: of ratios, as factors are made of."""
  texts = []
  special = {
    'window': '8',
    'level': '0.8',
    'condition': 'Gt(close,open)',
    'group': 'vwap',
  }
  for name, row in vocab.OPERATORS.items():
    values = iter(['close/open', 'high/low', 'volume'])
    slots = vocab.SLOTS[row.kind]
    operands = [special.get(slot) or next(values) for slot in slots]
    texts.append(f'{name}({",".join(operands)})')
  return texts


@pytest.mark.parametrize(
  'text',
  [
    *every_operator(),
    'CSRank(Corr(Mean(close/open,8),volume,8))*-0.1+high/low',
  ],
)
def test_values_equal_the_compiled_formula(panel, text):
  (formula,) = parse(text)
  stored = np.asarray(evaluate.values([formula], panel)[0])
  compiled = np.asarray(evaluate.compile(formula)(panel))
  assert np.isfinite(stored).mean() > 0.3
  if jax.default_backend() == 'cpu':
    np.testing.assert_array_equal(stored, compiled)
  else:  # Where a GPU adds by groups, the order is nobody's.
    np.testing.assert_allclose(stored, compiled, rtol=1e-4, atol=1e-7)


def test_a_compiled_formula_takes_any_panel(panel):
  run = evaluate.compile(formula_lib.parse('Mean(close,3)'))
  shorter = panel_lib.select_days(panel, slice(0, 40))
  np.testing.assert_array_equal(run(shorter), np.asarray(run(panel))[:40])
  reordered = panel.replace(
    features=panel.features[::-1], feature_names=panel.feature_names[::-1]
  )
  np.testing.assert_array_equal(run(reordered), run(panel))


def test_new_formulas_compile_nothing(panel):
  """10,000 random formulas after a warm-up that runs every program once."""
  compiled = []

  def hear(event, seconds, **_):
    if event == COMPILED:
      compiled.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(hear)
  store = evaluate.Store(panel, 400 * plane(panel))
  scale = jnp.float32(1.0)
  texts = []
  for window in WINDOWS:
    texts += [text.replace('8)', f'{window})') for text in every_operator()]
  store.map(parse(*texts, 'close+0.1'), mean, scale)
  jax.jit(lambda x: x + 1)(scale)
  assert compiled  # The listener hears.
  seen = set()
  while len(seen) < 10_000:
    drawn = {formula_lib.key(f): f for f in draw(100 + len(seen))}
    fresh = [f for key, f in drawn.items() if key not in seen]
    seen |= drawn.keys()
    before = len(compiled)  # Drawing formulas compiles at the first time.
    store.map(fresh, mean, scale)
    assert len(compiled) == before


def test_inside_a_jit_they_say_what_to_take(panel):
  """A caller's trace, of the panel or of something else."""
  formulas = [formula_lib.parse('-Delta(close,5)/close')]
  with pytest.raises(ValueError, match=r'take alphajax.compile\(formula\)'):
    jax.jit(lambda x: evaluate.values(formulas, panel.replace(features=x)))(
      jnp.asarray(panel.features)
    )
  with pytest.raises(ValueError, match=r'take alphajax.compile\(formula\)'):
    jax.jit(lambda w: w * evaluate.values(formulas, panel))(2.0)
