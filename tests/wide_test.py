"""Where JAX takes 64 bits by default and has several devices."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.methods import fitting
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
config = tiny.with_few_programs(tiny.get_config())
config.num_iterations = 2
# Four devices cannot share six games evenly; three can.
assert dealing.make_mesh(config.num_trajectories).size == 3
for devices in (0, 1):
  config.mesh.devices = devices
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
