"""AlphaFormer as its paper has it (Huang et al. 2026).

A market is one vector, read from its cells; with the formulas of a pool it is
what a decoder writes the next formula for. PPO alone trains it, on synthetic
markets, paid by the IC of their pools; then its parameters are fixed, and it
writes formulas for the real market, whose pool is part of what it reads.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.factor import pool as pool_lib
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import (
  archive,
  market_writer,
  miner,
  synthetic_tasks,
  validation,
)
from alphajax.methods.base import Market, Method
from alphajax.methods.market_writer import Learner, Model
from alphajax.networks import market_encoder
from alphajax.run.clock import Clock
from alphajax.search import ppo


class State(NamedTuple):
  """What was found, the networks, and the updates that they have had.

  market: f32[D], the real one as it is read, once the parameters are fixed;
    None before, or where it is to be read again. Not a part of a checkpoint.
  """

  mined: archive.Mined
  learner: Learner
  updates: int
  market: jax.Array | None = None


class Setup(NamedTuple):
  """What an iteration of either kind needs.

  tasks: () -> the synthetic markets, made when they are asked for first.
  real: what is read of the real market, see `real_paths`.
  reach: days that a formula may look back.
  """

  config: Any
  language: environment.Language
  model: Model
  bench: archive.Bench
  tasks: Callable[[], synthetic_tasks.Tasks]
  real: tuple[jax.Array, jax.Array]
  reach: int


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphaformer_paper.py`."""
  check(config)
  language = environment.make(**config.language)
  if not environment.appends(language):
    raise ValueError(
      f'config.language.name is {config.language.name!r}: AlphaFormer writes '
      "postfix formulas token by token; set it to 'rpn'"
    )
  train = market.train.panel
  setup = Setup(
    config=config,
    language=language,
    model=market_writer.make(config, language),
    bench=archive.make_bench(config, market),
    tasks=functools.cache(lambda: synthetic_tasks.make(config, train)),
    real=real_paths(config, train),
    reach=config.lookback or environment.lookback(language),
  )

  def init(rng_key):
    return State(archive.start(setup.bench), setup.model.init(rng_key), 0)

  def step(state, rng_key):
    learns = state.updates < config.pretrain.num_updates
    return (_learn if learns else _mine)(setup, state, rng_key)

  def save(state):
    arrays, host = archive.save(state.mined)
    arrays = {'mined': arrays, 'learner': state.learner}
    return arrays, {**host, 'updates': state.updates}

  def load(arrays, host):
    mined = archive.load(setup.bench, arrays['mined'], host)
    return State(mined, arrays['learner'], host['updates'])

  return miner.make(
    config, setup.bench, init=init, step=step, save=save, load=load
  )


def check(config) -> None:
  """Refuses a config that cannot be, key by key."""
  synthetic_tasks.check(config)
  own, opts = config.pretrain, ppo.options(config)
  if not 0 <= own.num_updates < config.num_iterations:
    raise ValueError(
      f'config.pretrain.num_updates is {own.num_updates}: expected 0 or more, '
      f'and less than config.num_iterations = {config.num_iterations}, of '
      'which the others write formulas for the market'
    )
  if not 1 <= own.panels <= config.panels.num_panels:
    raise ValueError(
      f'config.pretrain.panels is {own.panels}: expected 1 to '
      f'config.panels.num_panels = {config.panels.num_panels}'
    )
  sizes = own.pool_sizes
  if not isinstance(sizes, tuple) or not sizes or min(sizes) < 1:
    raise ValueError(
      f'config.pretrain.pool_sizes is {sizes!r}: expected numbers from 1 on, '
      'as in --config.pretrain.pool_sizes="(1,10,20)"'
    )
  for size in sizes:
    ppo.check_batches(
      2 * size * own.panels, opts,
      f'2 * {size} of config.pretrain.pool_sizes * config.pretrain.panels',
    )  # fmt: skip


def _mine(setup: Setup, state: State, rng_key: jax.Array):
  """An iteration with fixed parameters: formulas for the real market."""
  config, bench, clock = setup.config, setup.bench, Clock()
  with clock('search'):
    seen = state.market
    if seen is None:
      seen = setup.model.read(state.learner.params[0], *setup.real)[0]
    members, _ = archive.members(bench, state.mined)
    pool = market_writer.pool_tokens(setup.language, members, bench.capacity)
    each = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (config.num_trajectories, *x.shape)),
      (seen, pool),
    )
    games = setup.model.play(state.learner.params[1], *each, rng_key)
    games = jax.block_until_ready(games)
  formulas = environment.formulas_of(setup.language, games.final_tokens)
  near = [f for f in formulas if formula_lib.lookback(f) <= setup.reach]
  mined, outcomes = archive.commit(bench, state.mined, near, clock)
  far = len(formulas) - len(near)
  mined = mined._replace(proposed=mined.proposed + far)
  mined, metrics = validation.validate(bench, mined, clock)
  new = sum(outcome.is_new for outcome in outcomes)
  return state._replace(mined=mined, market=seen), {
    **metrics,
    'length': float(np.asarray(games.active).sum(0).mean()),
    'far': far / len(formulas),
    'duplicates': (len(near) - new) / len(formulas),
    'value': float(games.values[0, 0]),
    'seconds': clock.seconds,
  }


def _learn(setup: Setup, state: State, rng_key: jax.Array):
  """An iteration of training: one update of PPO on synthetic markets."""
  own, model, clock = setup.config.pretrain, setup.model, Clock()
  learner: Learner = state.learner
  size_key, which_key, play_key, learn_key = jax.random.split(rng_key, 4)
  size = own.pool_sizes[
    int(jax.random.randint(size_key, (), 0, len(own.pool_sizes)))
  ]
  count = setup.config.panels.num_panels
  which = np.asarray(jax.random.permutation(which_key, count))[: own.panels]
  with clock('panels'):
    tasks = setup.tasks()
    paths, there = synthetic_tasks.rows((tasks.paths, tasks.there), which)
  with clock('search'):
    markets = model.read(learner.params[0], paths, there)
    played, pools, worths = _write(
      setup, learner.params[1], markets, which, size, play_key
    )
  with clock('update'):
    place = jnp.tile(jnp.arange(own.panels), 2 * size)
    learner, fitted = model.learn(
      learner, learn_key, paths, there, played, place, pools,
      worths.reshape(-1),
    )  # fmt: skip
    fitted = {name: float(value) for name, value in fitted.items()}
  return state._replace(learner=learner, updates=state.updates + 1), {
    **fitted,
    'proposed': state.mined.proposed,
    'evaluated': len(state.mined.book),
    'reward': float(worths.mean()),
    'last_reward': float(worths[-1].mean()),  # Of the pools when done.
    'synthetic_pool': size,
    'synthetic_formulas': int(worths.size),
    'length': float(np.asarray(played.active).sum(0).mean()),
    'seconds': clock.seconds,
  }


def _write(setup: Setup, params, markets, which, size: int, rng_key):
  """2 M formulas for every market, one after the other.

  Args:
    setup: of the run.
    params: of the writer.
    markets: f32[P, D], as they are read; which: int[P] of the tasks.
    size: M, of their pools.
    rng_key: the key is consumed.

  Returns:
    (games, one market after the other and so 2 M times; the pools that each
    was written for, i32[2 M P, K, L]; what they were paid, f32[2 M, P]).
  """
  config, language, tasks = setup.config, setup.language, setup.tasks()
  slots = max(config.pretrain.pool_sizes)
  fit = pool_lib.FitConfig(l1=config.pool.l1)
  pools = synthetic_tasks.empty_pools(tasks, len(which), size)
  written = np.zeros((len(which), 2 * size, language.max_tokens), np.int32)
  records, seen, worths = [], [], []
  for n in range(2 * size):
    pool = market_writer.member_tokens(written, np.asarray(pools.ids), slots)
    key = jax.random.fold_in(rng_key, n)
    games = setup.model.play(params, markets, pool, key)
    formulas = environment.formulas_of(language, games.final_tokens)
    near = [formula_lib.lookback(f) <= setup.reach for f in formulas]
    pools, worth = synthetic_tasks.offer(
      tasks, which, pools, formulas, np.where(near, n, -1),
      fit=fit, accept=config.pool.accept,
    )  # fmt: skip
    written[:, n] = games.final_tokens
    records.append(games)
    seen.append(pool)
    worths.append(np.asarray(worth))
  # Games are the second axis, of their last tokens the first.
  final = jnp.concatenate([games.final_tokens for games in records])
  rest = [games.replace(final_tokens=()) for games in records]
  played = _side_by_side(rest)
  played = played.replace(final_tokens=final)
  return played, jnp.concatenate(seen), np.stack(worths)


@jax.jit
def _side_by_side(games):
  """One axis of games, their second."""
  return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *games)


def real_paths(config, train):
  """The last `config.panels.num_days` of the training split, as it is read.

  Returns:
    (f32[1, S, T, C], bool[1, S]) of all stocks that are members on some day.
  """
  last = panel_lib.select_days(train, slice(-config.panels.num_days, None))
  members = np.flatnonzero(np.asarray(last.mask).any(axis=0))
  symbols = [last.symbols[s] for s in members]
  paths, there = market_encoder.paths(panel_lib.take_symbols(last, symbols))
  return jnp.asarray(paths)[None], jnp.asarray(there)[None]
