"""Where JAX takes 64 bits by default and has several devices."""

import functools
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import waves_test

from alphajax.data import panel as panel_lib
from alphajax.data import universe
from alphajax.factor import evaluate, metrics, operators, runtime
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.methods import bench, fitting
from alphajax.methods import learner as learner_lib
from alphajax.run import writer
from alphajax.search import chunks, losses, mcts, replay

ROOT = Path(__file__).parent.parent
TEXTS = (
  'Corr(close,volume,5)*CSRank(Skew(vwap,10))',
  'Pow(Std(close,5),0.5)-Med(high,4)/EMA(low,6)',
  'Rank(close,8)+Kurt(Log(volume),10)*0.1',
)


def market():
  rng = np.random.default_rng(0)
  shape = (6, 90, 20)
  features = rng.lognormal(2, 1, shape).astype(np.float32)
  first = np.datetime64('2020-01-01')
  days = [str(first + np.timedelta64(t, 'D')) for t in range(90)]
  names = [f's{i}' for i in range(20)]
  return panel_lib.make(features, rng.random(shape[1:]) < 0.9, days, names)


def numbers():
  """Values of formulas and their IC."""
  panel = market()
  values = evaluate.values([formula_lib.parse(t) for t in TEXTS], panel)
  target = panel_lib.forward_return(panel, panel_lib.LabelSpec(exit=5))
  daily = metrics.daily_ic(values, target, jnp.asarray(panel.mask))
  ranks = metrics.daily_rank_ic(values, target, jnp.asarray(panel.mask))
  return {'values': values, 'daily': daily, 'ranks': ranks}


def check_dealt():
  """Formulas dealt over devices, by a process that has four of them."""
  panel = market()
  texts = [
    f'Mean(Abs({one}-{other}),5)*{number}'
    for one in ('open', 'high', 'low', 'close')
    for other in ('volume', 'vwap')
    for number in (2, 3, 5)
  ]
  formulas = [formula_lib.parse(text) for text in [*texts, 'close', texts[0]]]
  target = metrics.make_target(
    panel_lib.forward_return(panel), jnp.asarray(panel.mask)
  )
  local = jax.local_devices()
  plain, *several = (
    evaluate.Store(panel, 100 * 4 * 90 * 20, in_waves=True, device=local[0]),
    evaluate.Stores(panel, 100 * 4 * 90 * 20, local[:2], in_waves=True),
    evaluate.Stores(panel, 100 * 4 * 90 * 20, local, in_waves=True),
  )
  daily = plain.map(formulas, metrics.target_ic, target)
  values = plain.take(formulas)
  assert daily.shape == (26, 90) and np.abs(daily).max() > 0.5
  for stores, count in zip(several, (2, 4), strict=True):
    found = stores.map(formulas, metrics.target_ic, target)
    np.testing.assert_array_equal(found, daily)
    for ours, theirs in zip(stores.take(formulas), values, strict=True):
      np.testing.assert_array_equal(ours, theirs)
      assert ours.devices() == {local[0]} and not ours.committed
    # Each has its own families, and beside them the numbers.
    used = {i: each._planes._pool for i, each in stores._stores.items()}
    assert {i: pool.devices() for i, pool in used.items()} == {
      i: {local[i]} for i in range(count)
    }
    assert plain.computed <= stores.computed <= plain.computed + 3 * (count - 1)


def small_market():
  """Stocks and days that four devices cannot share evenly; few are members."""
  rng = np.random.default_rng(1)
  shape = 41, 14
  features = rng.lognormal(2, 1, (6, *shape)).astype(np.float32)
  features[4] = 10 ** rng.uniform(5, 10, shape)
  features[:, rng.random(shape) < 0.03] = np.nan
  features[5, 3, 2] = np.inf
  first = np.datetime64('2020-01-01')
  days = [str(first + np.timedelta64(t, 'D')) for t in range(shape[0])]
  names = [f's{i}' for i in range(shape[1])]
  return panel_lib.make(features, rng.random(shape) < 0.5, days, names)


def at_once(formulas, panel):
  """Values of formulas by one program of one device."""

  def value(formula, features, members):
    if not formula.args:
      return operators.finite(features[formula.symbol])
    args, window = formula.args, None
    if formula_lib.is_windowed(formula):
      args, window = args[:-1], int(args[-1].symbol)
    operands = tuple(value(each, features, members) for each in args)
    # As in a store: what is fused with its operands rounds differently.
    operands = list(jax.lax.optimization_barrier(operands))
    return operators.apply(formula.symbol, operands, window, members)

  def values(features, members):
    return [value(each, features, members) for each in formulas]

  features = dict(zip(panel.feature_names, panel.features, strict=True))
  features['0.8'] = np.full(panel.mask.shape, 0.8, np.float32)
  run = jax.jit(values, compiler_options=runtime.options('cpu'))
  return run(features, universe.make(panel.mask))


def statistics(values, members, target):
  """IC as an accelerator computes it, and which days have a value."""
  values = universe.gather(members, values)
  has_value = jnp.any(jnp.isfinite(values), -1)
  return metrics._three_passes(values, target), has_value


def check_split():
  """Stocks split over the devices of a process that has four of them."""
  panel = small_market()
  config = ml_collections.ConfigDict(
    {'store_bytes': 31 * 4 * 41 * 4, 'mesh': {'devices': 0, 'stocks': 4}}
  )
  store = bench.make_store(config, panel)
  assert type(store) is evaluate.ShardedStore and store.capacity == 31
  formulas = waves_test.every_operator()[: len(vocab.OPERATORS)]
  assert {each.symbol for each in formulas} == set(vocab.OPERATORS)
  expected = at_once(formulas, panel)
  check_values(store, formulas, expected)
  check_reductions(store, panel, formulas[:3], expected[:3])
  parts = store._planes._pool, *jax.tree.leaves(store._planes._universe)
  shapes = [{s.data.shape for s in part.addressable_shards} for part in parts]
  # 14 stocks of four devices, 41 days of four.
  assert shapes == [{(6 + 31, 41, 4)}] + [{(11, 14)}] * 4
  store._planes._pool.delete()  # As a call that is broken off leaves it.
  check_values(store, formulas[:3], expected[:3])


def check_values(store, formulas, expected):
  """They are the same to the bit but for sums over stocks."""
  for formula, ours, theirs in zip(
    formulas, store.take(formulas), expected, strict=True
  ):
    rtol = 1e-6 if formula.symbol in ('Scale', 'GroupNeutral') else 0.0
    atol = rtol * np.nanmax(np.abs(theirs))
    np.testing.assert_allclose(ours, theirs, rtol, atol, err_msg=str(formula))
    assert ours.devices() == theirs.devices() and not ours.committed


def check_reductions(store, panel, formulas, values):
  """Statistics of what is split, and that no device has a whole plane."""
  label = panel_lib.forward_return(panel, panel_lib.LabelSpec(exit=5))
  target = bench.make_target(store.universe, label)
  found = store.map(formulas, statistics, store.universe, target)
  plain = universe.make(panel.mask)
  rows = [jax.jit(statistics)(each, plain, target) for each in values]
  for ours, theirs in zip(found, zip(*rows, strict=True), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
  assert np.abs(found[0]).max() > 0.5
  texts = [
    program.as_text()
    for key, programs in store._planes._programs.items()
    for program in programs.values()
    if key[0] in (statistics, 'Scale')
  ]
  for text in texts:
    cells = {
      shape: math.prod(map(int, shape.split(',')))
      for shape in re.findall(r'[a-z]+\d*\[([\d,]+)\]', text)
      if not shape.startswith('37,')  # Of the pool, each device's.
    }
    assert '1,41,4' in cells and max(cells.values()) < 41 * 14
  assert len(texts) == 2


def check_learning():
  """Gradient steps dealt over devices, by a process that has four of them."""
  batch = losses.Batch(
    np.arange(20, dtype=np.int32).reshape(5, 4) % 7,
    np.eye(5, 3, dtype=np.float32), np.zeros((5, 3), bool),
    np.linspace(-1, 1, 5, dtype=np.float32),
  )  # fmt: skip
  games = mcts.Trajectories(
    *(x[None] for x in batch[:3]), np.ones((1, 5), bool), batch.tokens
  )
  rng = np.random.default_rng(0)
  shapes = {'symbols': (7, 16), 'mix': (16, 16), 'policy': (16, 3)}
  params = {
    name: rng.standard_normal(shape).astype(np.float32)
    for name, shape in shapes.items()
  }

  def apply_fn(params, tokens, rng_key):
    if not rng_key.ndim:
      rng_key = jax.random.split(rng_key, len(tokens))
    x = jnp.tanh(params['symbols'][tokens].mean(1) @ params['mix'])
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 0.7, (16,)))(rng_key)
    x = jnp.where(keep, x / 0.7, 0.0)
    return x @ params['policy'], jnp.tanh(x).sum(-1)

  optimizer = optax.adam(0.01)
  learner = fitting.Learner(
    params, optimizer.init(params), replay.empty(8, losses.row(4, 3))
  )
  fit = functools.partial(
    fitting.fit_network, apply_fn=apply_fn, optimizer=optimizer, batch_size=4,
    num_updates=3, l2=1e-3, replay_size=8, learning_rate=0.01,
  )  # fmt: skip
  one, two, four = (
    jax.tree.leaves(
      learner_lib._make_fit(fit, chunks.make_mesh(4, devices))(
        learner, jax.random.key(0), games, batch.value_target[None]
      )
    )
    for devices in (1, 2, 4)
  )
  for alone, some, all_ in zip(one, two, four, strict=True):
    np.testing.assert_array_equal(some, all_)
    # Sums of another order; the same rows are dropped.
    np.testing.assert_allclose(some, alone, atol=1e-5)
  assert np.abs(one[0] - params['mix']).max() > 0.01


BEGIN = """
import os, sys
sys.path.insert(0, 'tests')
import jax, numpy as np
import tiny, wide_test
from alphajax import train
from alphajax.factor import runtime
from alphajax.run import cache
cache.use_disk_cache()
assert jax.config.jax_enable_x64 and jax.device_count() == 4
assert len(runtime.device().client.devices()) == 1
assert 'NPROC' not in os.environ
"""
NUMBERS = (
  'wide_test.check_learning(); np.savez(sys.argv[1], **wide_test.numbers())'
)
STEP = """
from alphajax.search import dealing
wide_test.check_dealt()
wide_test.check_split()
config = tiny.with_few_programs(tiny.get_config())
config.num_iterations = 2
# Four devices cannot share six games evenly; three can.
assert dealing.make_mesh(config.num_trajectories).size == 3
for devices in (0, 1):
  config.mesh.devices = devices
  config.mesh.stocks = 0 if devices else 4  # All of them at once.
  train.train(config, f'{sys.argv[1]}_{devices}')
"""
# A step is compiled quickly: how its programs round is not looked at.
QUICKLY = (
  '--xla_backend_optimization_level=0',
  '--xla_llvm_disable_expensive_passes=true',
  '--xla_cpu_use_fusion_emitters=false',
)


def run_wide(script, path, *flags):
  count = '--xla_force_host_platform_device_count=4'
  flags = (count, '--xla_cpu_parallel_codegen_split_count=1', *flags)
  wide = {'JAX_ENABLE_X64': '1', 'XLA_FLAGS': ' '.join(flags)}
  environment = os.environ | wide
  environment.pop('NPROC', None)
  done = subprocess.run(
    [sys.executable, '-c', BEGIN + script, str(path)],
    cwd=ROOT, env=environment, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]


def test_trains_on_some_devices_as_on_one(tmp_path):
  run_wide(STEP, tmp_path / 'run', *QUICKLY)
  some, one = tmp_path / 'run_0', tmp_path / 'run_1'
  assert (some / 'pool.json').read_bytes() == (one / 'pool.json').read_bytes()
  lines = [writer.read(place / 'metrics.jsonl') for place in (some, one)]
  for record in lines[0] + lines[1]:
    del record['seconds'], record['compile_seconds']
  assert lines[0] == lines[1] and len(lines[0]) == 2


def test_values_stay_as_they_are(tmp_path):
  file = tmp_path / 'numbers.npz'
  run_wide(NUMBERS, file)
  here = numbers()
  with np.load(file) as there:
    for name, value in here.items():
      assert there[name].dtype == value.dtype == np.float32
    # Bit for bit: a formula is the same whatever the default type.
    np.testing.assert_array_equal(there['values'], here['values'])
    np.testing.assert_allclose(there['daily'], here['daily'], atol=1e-6)
    np.testing.assert_allclose(there['ranks'], here['ranks'], atol=1e-6)
