"""Formulas dealt over stores; that devices of a process agree: `wide_test`."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from alphajax.data import simulate
from alphajax.factor import evaluate, plan, runtime, stores
from alphajax.factor import store as store_lib
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import bench

NAMES = ('open', 'high', 'low', 'close', 'volume', 'vwap')
LARGE = 'Mean(Corr(high,volume,3),3)'


def parse(*texts):
  return list(map(formula_lib.parse, texts))


def few_operators(seed, count):
  """Formulas of few programs."""
  language = environment.make(
    'sem_k', max_length=8, windows=(3,), operators=('Sub', 'Mean', 'Abs')
  )
  return environment.random_formulas(language, jax.random.key(seed), count)


def make_dealer(count=4, capacity=1000):
  return stores.Dealer(count, NAMES, capacity)


def test_formulas_that_share_a_part_go_to_one_store():
  dealer = make_dealer()
  parts = [f'Std({name},3)' for name in ('open', 'high', 'low', 'vwap')]
  texts = [f'Abs({part}-{i})' for i in range(5, 15) for part in parts]
  homes = dealer.deal(parse(*texts))
  assert sorted(homes[:4]) == [0, 1, 2, 3]
  assert homes == homes[:4] * 10
  # It goes on so, whichever comes next; and what is the same goes there too.
  assert dealer.deal(parse('Log(Std(vwap,3))')) == homes[3:4]
  ones = dealer.deal(parse('Std(low,3)+close', 'close+Std(low,3)'))
  assert ones == [homes[2]] * 2


def work(formulas):
  """Of a store, every operator the same."""
  graph = plan.Graph()
  roots = {graph.add(formula) for formula in formulas}
  return len(roots) + len(graph.nodes)


def test_no_store_has_much_more_than_its_share():
  same = [f'{LARGE}*{number}' for number in range(2, 82)]  # All share a part.
  for dealt in (parse(*same), few_operators(0, 200)):
    parts = [[], [], [], []]
    for formula, home in zip(dealt, make_dealer().deal(dealt), strict=True):
      parts[home].append(formula)
    works = list(map(work, parts))
    assert max(works) < 1.3 * np.mean(works)
    # What is dealt out in turn shares less.
    assert sum(works) <= sum(work(dealt[i::4]) for i in range(4))


def test_fewer_formulas_than_stores():
  dealer = make_dealer()
  assert dealer.deal([]) == []
  assert dealer.deal(parse('close')) == [0]
  assert len(set(dealer.deal(parse('Abs(open)', 'Std(low,3)')))) == 2


def test_a_dealer_forgets_what_a_store_has_no_room_for(monkeypatch):
  dealer = make_dealer(2, capacity=8)
  first, other = dealer.deal(parse(LARGE, 'Std(close,3)'))
  assert first != other
  dealer.deal(parse(*[f'Abs(open-{i})' for i in range(5, 25)]))
  assert all(len(given) == 8 for given in dealer._given)
  monkeypatch.setattr(store_lib, 'MAX_NODES', 30)
  dealer.deal(parse('close'))
  assert len(dealer._graph.nodes) == len(NAMES)


@pytest.fixture(scope='module')
def panel():
  return simulate.simulate(0, num_days=40, num_stocks=20, alphas=()).panel


@pytest.fixture(scope='module')
def plain(panel):
  first = jax.local_devices()[0]
  return evaluate.Store(panel, 60 * 4 * 800, in_waves=True, device=first)


@pytest.fixture
def three(panel):
  """Of one device, thrice, so that its programs are compiled once."""
  devices = jax.local_devices()[:1] * 3
  return evaluate.Stores(panel, 60 * 4 * 800, devices, in_waves=True)


def statistics(values, scale):
  seen = jnp.isfinite(values)
  return jnp.sum(jnp.where(seen, values, 0.0), 0) * scale, jnp.sum(seen)


def test_they_give_what_one_store_gives(plain, three):
  scale = jnp.float32(2.0)
  for seed, count in ((0, 40), (1, 7), (2, 2), (3, 1)):
    formulas = [*few_operators(seed, count), *parse('close', 'high-low')]
    formulas += formulas[:3]
    found = three.map(formulas, statistics, scale)
    for ours, theirs in zip(
      found, plain.map(formulas, statistics, scale), strict=True
    ):
      np.testing.assert_array_equal(ours, theirs)
      assert ours.dtype == theirs.dtype and isinstance(ours, np.ndarray)
    values = three.take(formulas)
    for ours, theirs in zip(values, plain.take(formulas), strict=True):
      np.testing.assert_array_equal(ours, theirs)
    assert values[-1] is values[2]
  assert (three.shape, three.feature_names) == (plain.shape, NAMES)
  np.testing.assert_array_equal(three.universe.mask, plain.universe.mask)


def test_what_is_shared_is_computed_once(three):
  assert three.computed == 0
  families = [f'Mean(Abs({name}-vwap),3)' for name in ('open', 'high', 'low')]
  texts = [f'Abs({part})-{other}' for other in NAMES for part in families]
  three.map(parse(*texts), statistics, jnp.float32(1.0))
  # Three of each family, and of each formula its Abs, once, and its Sub.
  assert three.computed == 3 * (3 + 1 + len(NAMES))
  assert {store.computed for store in three._stores.values()} == {10}


def test_a_store_is_made_when_it_is_given_formulas(three):
  assert three.take([]) == []
  three.take(parse('close'))
  assert list(three._stores) == [0]


def test_errors_are_those_of_one_store(panel, three):
  with pytest.raises(ValueError, match='no formulas to evaluate'):
    three.map([], statistics, jnp.float32(1.0))
  (turnover,) = [formula_lib.parse('Abs(turnover)', features=('turnover',))]
  with pytest.raises(ValueError, match="needs 'turnover'; the panel has op"):
    three.take([*parse('close', 'high-low'), turnover])
  assert np.isfinite(three.take(parse('close'))[0]).any()
  with pytest.raises(ValueError, match='a store of 1000 bytes holds 0 values'):
    evaluate.Stores(panel, 1000, jax.local_devices(), in_waves=True)


def test_a_cpu_and_one_device_have_one_store(panel, monkeypatch):
  devices = jax.local_devices()[:1] * 4
  monkeypatch.setattr(jax, 'local_devices', lambda: devices)
  if jax.default_backend() == 'cpu':
    assert type(evaluate.over_devices(panel, 1 << 20)) is evaluate.Store
  monkeypatch.setattr(runtime, 'in_waves', lambda *_: True)
  for wanted, count in ((1, 1), (3, 3), (0, 4)):
    config = ml_collections.ConfigDict(
      {'store_bytes': 1 << 20, 'mesh': {'devices': wanted}}
    )
    found = bench.make_store(config, panel)
    assert type(found) is (evaluate.Stores if count > 1 else evaluate.Store)
    assert count == 1 or len(found._devices) == count
  del config.mesh
  assert len(bench.make_store(config, panel)._devices) == 4
