"""The parts of the benchmark, each a function that returns JSON-able figures.

Times are seconds, the best and the median of some repetitions after one that
compiles. The sizes are those of the issue.
"""

import functools
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from alphajax import experiment, markets
from alphajax.configs import alphacfg
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics, operators
from alphajax.factor import pool as pool_lib
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula
from alphajax.methods import learner as learner_lib
from alphajax.methods.base import Market
from alphajax.run import clock
from scripts.benchmark import tools

NODES = 16  # Of one operator, together in a round of the store.
WINDOWS = (20, 40, 250)


# --- Operators, beside what the machine can copy ----------------------------


def operator_part(quick: bool) -> dict:
  """Every operator alone, and as a node of a round of the store."""
  panel = tools.synthetic(*tools.sizes(quick))
  plane = 4 * panel.mask.size
  store = evaluate.Store(panel, 150 * plane)
  features = [operators.finite(jnp.asarray(x)) for x in panel.features]
  members = jnp.asarray(panel.mask)
  repeats = 2 if quick else 5
  rows = []
  for name in tools.QUICK_OPERATORS if quick else vocab.OPERATORS:
    kind = vocab.OPERATORS[name].kind
    operands = vocab.OPERANDS[kind]
    for window in WINDOWS if kind in vocab.WINDOWED else (None,):
      alone = functools.partial(
        jax.jit(
          functools.partial(operators.apply, name, window=window),
        ),
        features[3 : 3 + operands],
        members=members,
      )
      rows.append(
        {
          'operator': name,
          'window': window,
          'bytes': (operands + 1) * plane,
          'alone': tools.measure(alone, repeats),
          'node': _in_store(store, name, window, repeats),
        }
      )
  return {'copy': tools.copy_rates(quick), 'operators': rows}


def _in_store(store, name, window, repeats) -> dict:
  """Seconds a node of a round of NODES; operands are in the store already."""
  features = store.feature_names
  operands = vocab.OPERANDS[vocab.OPERATORS[name].kind]
  seconds = []
  for repeat in range(repeats + 1):
    inputs = []
    for i in range(NODES):
      factor = formula_lib.number(1.5 + repeat + i // len(features) / 4)
      leaf = Formula(features[i % len(features)])
      inputs.append(Formula('Mul', (leaf, factor)))
    nodes = []
    for i in range(NODES):
      args = [inputs[(i + k) % NODES] for k in range(operands)]
      args += [formula_lib.number(window)] if window else []
      nodes.append(Formula(name, tuple(args)))
    jax.block_until_ready(store.take(inputs))
    start = time.perf_counter()
    jax.block_until_ready(store.take(nodes))
    seconds.append((time.perf_counter() - start) / NODES)
  return tools.summary(seconds[1:])


# --- Search -----------------------------------------------------------------


def self_play(games: int, simulations: int, repeats: int, quick: bool) -> dict:
  """Self-play of a fresh network, as AlphaCFG plays.

  A simulation counts when its game was not finished before the move. A game
  that ends before the others is simulated on, which does not count.
  """
  grammar = grammar_lib.make(**tools.language(quick))
  config = alphacfg.get_config()
  config.num_trajectories, config.search.num_simulations = games, simulations
  agent = learner_lib.make(config, grammar)
  rows = []
  for seed in range(repeats + 1):
    init_key, play_key = jax.random.split(jax.random.key(seed))
    learner = jax.block_until_ready(agent.init(init_key))
    start = time.perf_counter()
    played = jax.block_until_ready(agent.play(learner, play_key, 0))
    seconds = time.perf_counter() - start
    active = np.asarray(played.active)
    rows.append(
      {
        'seconds': seconds,
        'moves': int(active.any(1).sum()),
        'simulations': int(active.sum()) * simulations,
        'simulations_per_s': active.sum() * simulations / seconds,
        'tokens': np.asarray(played.tokens)[active],
      }
    )
  compiled, *rows = rows
  rates = [row['simulations_per_s'] for row in rows]
  operations = tools.operations(grammar, rows[-1]['tokens'])
  median = statistics.median(rates)
  return {
    'games': games,
    'simulations': simulations,
    'first_seconds': compiled['seconds'],
    'seconds': tools.summary([row['seconds'] for row in rows]),
    'moves': statistics.median(row['moves'] for row in rows),
    'simulations_per_s': {'best': max(rates), 'median': median},
    'operations_per_simulation': operations,
    'operations_per_s': operations * median,
  }


def search_part(quick: bool) -> dict:
  """Simulations a second, and the share of the rate of matrix products."""
  games, simulations = (8, 4) if quick else (128, 64)
  rows = []
  if not quick and jax.default_backend() != 'cpu':
    rows.append(self_play(4096, simulations, 3, quick))
  rows.insert(0, self_play(games, simulations, 1 if quick else 3, quick))
  return {'matmul': tools.matmul_rates(quick), 'search': rows}


# --- Pool and iteration -----------------------------------------------------


def pool_part(quick: bool) -> dict:
  """Insertions into a full pool of 10, one after the other as Algorithm 1."""
  panel = tools.synthetic(*tools.sizes(quick))
  size, count = (10, 10) if quick else (10, 100)
  chunk = count if quick else 25
  repeats = 2 if quick else 5
  store = evaluate.Store(panel, tools.store_bytes(quick))
  members = jnp.asarray(panel.mask)
  target = metrics.make_target(panel_lib.forward_return(panel), members)
  scored = jnp.ones(panel.mask.shape[0], bool)
  prepare = jax.jit(pool_lib.prepare)

  def factors(seed, number):
    formulas = tools.random_formulas(seed, number, quick)
    return [prepare(x, members, target) for x in store.take(formulas)]

  def insert(pool, candidates):
    for i in range(0, len(candidates), chunk):
      ids = jnp.arange(i, i + chunk)
      pool, _ = pool_lib.insert(
        pool, candidates[i : i + chunk], ids, target, scored
      )
    return pool

  full = insert(
    pool_lib.empty(size, *panel.mask.shape), factors(1, max(size, chunk))
  )
  candidates = factors(0, count)
  seconds = tools.measure(
    lambda pool: insert(pool, candidates),
    repeats,
    lambda: (jax.tree.map(jnp.copy, full),),
  )
  values = list(store.take(tools.random_formulas(0, chunk, quick)))
  preparing = tools.measure(
    lambda: [prepare(x, members, target) for x in values], repeats
  )
  return {
    'capacity': size,
    'candidates': count,
    'seconds': seconds,
    'insertions_per_s': count / seconds['median'],
    'prepare_seconds_each': preparing['median'] / chunk,
  }


def iteration_part(quick: bool, data: str) -> dict:
  """Seconds of AlphaCFG's iterations by part, synthetic and real."""
  config = alphacfg.get_config('csi300')
  if quick:
    tools.shrink(config)
  market = synthetic_market(config, quick)
  found = {'synthetic': _iterations(config, market, quick)}
  path = Path(data) / 'cn_csi300.parquet'
  if not quick and path.is_file():
    config.data.path = str(path)
    start = time.perf_counter()
    market, _ = markets.load_market(config)
    loading = time.perf_counter() - start
    found['csi300'] = _iterations(config, market, quick)
    found['csi300']['load_seconds'] = loading
  return found


def synthetic_market(config, quick: bool) -> Market:
  """Train and validation of a panel of noise."""
  lookback = markets.lookback(config)
  days, stocks = tools.sizes(quick)
  panel = tools.synthetic(days + 240, stocks)
  cuts = (('train', lookback, days), ('valid', days, days + 240))
  return Market(
    *(
      panel_lib.split(
        panel, name, panel.dates[a], panel.dates[b - 1], lookback=lookback
      )
      for name, a, b in cuts
    )
  )


def _iterations(config, market, quick) -> dict:
  """Median seconds by part, after two iterations of warm-up."""
  count = 3 if quick else 7
  method = experiment.make_method(config, market)
  state = method.init(jax.random.key(0))
  compiling = clock.CompileClock()
  rows = []
  for i in range(count):
    known = rows[-1]['evaluated'] if rows else 0
    start = time.perf_counter()
    state, metrics = method.step(state, jax.random.key(i + 1))
    rows.append(
      {
        'seconds': dict(metrics['seconds'], total=time.perf_counter() - start),
        'compile_seconds': compiling.take(),
        'evaluated': metrics['evaluated'],
        'new': metrics['evaluated'] - known,
      }
    )
  timed = rows[2:]
  return {
    'days_stocks': market.train.panel.mask.shape,
    'iterations': rows,
    'new_formulas': statistics.median(row['new'] for row in timed),
    'median_seconds': {
      part: statistics.median(row['seconds'][part] for row in timed)
      for part in timed[0]['seconds']
    },
  }
