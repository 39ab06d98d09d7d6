"""AlphaFormer as its paper has it (Huang et al. 2026).

A market is one vector, read from its cells; with the formulas of a pool it is
what a decoder writes the next formula for. PPO alone trains it, on synthetic
markets, paid by the IC of their pools; then its parameters are fixed, and it
writes formulas for the real market, whose pool is part of what it reads.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.factor import pool as pool_lib
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, miner, synthetic_tasks, validation
from alphajax.methods.base import Market, Method
from alphajax.networks import formula_writer, market_encoder
from alphajax.run.clock import Clock
from alphajax.search import ppo, rollout, token_games


class Learner(NamedTuple):
  """Parameters and optimizers: of the reader of markets, of the writer."""

  params: tuple[Any, Any]
  opt_states: tuple[Any, Any]


class State(NamedTuple):
  """What was found, the networks, and the updates that they have had.

  market: f32[D], the real one as it is read, once the parameters are fixed;
    None before, or where it is to be read again. Not a part of a checkpoint.
  """

  mined: archive.Mined
  learner: Learner
  updates: int
  market: jax.Array | None = None


class Model(NamedTuple):
  """What the networks do, jitted.

  init: rng_key -> Learner.
  read: (params of the reader, paths f32[n, S, T, C], there bool[n, S]) ->
    f32[n, D].
  play: (params of the writer, markets f32[n, D], pools i32[n, K, L], rng_key)
    -> `rollout.Rollout` of n games.
  learn: (learner, rng_key, paths, there, played, which, pools, worths) ->
    (learner, metrics); see `make_model`.
  """

  init: Any
  read: Any
  play: Any
  learn: Any


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphaformer_paper.py`."""
  check(config)
  language = environment.make(**config.language)
  if not token_games.appends(language):
    raise ValueError(
      f'config.language.name is {config.language.name!r}: AlphaFormer writes '
      "postfix formulas token by token; set it to 'rpn'"
    )
  model = make_model(config, language)
  bench = archive.make_bench(config, market)
  reach = config.lookback or environment.lookback(language)
  real = real_paths(config, market.train.panel)
  train = _trainer(config, language, model, market.train.panel, reach)

  def init(rng_key):
    return State(archive.start(bench), model.init(rng_key), 0)

  def step(state, rng_key):
    if state.updates < config.pretrain.num_updates:
      learner, metrics = train(state.learner, rng_key)
      mined = state.mined
      state = state._replace(learner=learner, updates=state.updates + 1)
      known = {'proposed': mined.proposed, 'evaluated': len(mined.book)}
      return state, {**known, **metrics}
    return _mine(state, rng_key)

  def _mine(state, rng_key):
    clock = Clock()
    with clock('search'):
      seen = state.market
      if seen is None:
        seen = model.read(state.learner.params[0], *real)[0]
      members, _ = archive.members(bench, state.mined)
      pool = pool_tokens(language, members, bench.capacity)
      count = config.num_trajectories
      games = model.play(
        state.learner.params[1],
        jnp.broadcast_to(seen, (count, *seen.shape)),
        jnp.broadcast_to(pool, (count, *pool.shape)),
        rng_key,
      )
      games = jax.block_until_ready(games)
    formulas = environment.formulas_of(language, games.final_tokens)
    near = [f for f in formulas if formula_lib.lookback(f) <= reach]
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

  def save(state):
    arrays, host = archive.save(state.mined)
    arrays = {'mined': arrays, 'learner': state.learner}
    return arrays, {**host, 'updates': state.updates}

  def load(arrays, host):
    mined = archive.load(bench, arrays['mined'], host)
    return State(mined, arrays['learner'], host['updates'])

  return miner.make(config, init=init, step=step, save=save, load=load)


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


def make_model(config, language: environment.Language) -> Model:
  """Both networks, and how they read, play and learn.

  Raises:
    ValueError: sizes of `config.network` that cannot be.
  """
  opts = ppo.options(config)
  sizes = formula_writer.Sizes(**config.network)
  reader, writer = formula_writer.make(language, sizes)
  adam = ppo.optimizer(opts)

  @jax.jit
  def init(rng_key):
    read_key, write_key = jax.random.split(rng_key)
    paths = jnp.zeros((2, 2, market_encoder.CHANNELS))
    params = (
      reader.init(read_key, paths, jnp.ones(2, bool)),
      writer.init(
        write_key, jnp.zeros(sizes.width),
        jnp.ones((1, language.max_tokens), jnp.int32), method='everything',
      ),
    )  # fmt: skip
    return Learner(params, tuple(adam.init(each) for each in params))

  def read(params, paths, there):
    # One after the other, and again for the gradient: the steps of an LSTM over
    # all stocks of many markets would not fit into memory.
    one = jax.checkpoint(lambda market: reader.apply(params, *market))
    return jax.lax.map(one, (paths, there))

  evaluator = _evaluator(writer)
  see = jax.vmap(functools.partial(writer.apply, method='context'),
                 (None, 0, 0))  # fmt: skip

  @jax.jit
  def play(params, markets, pools, rng_key):
    contexts = see(params, markets, pools)
    return rollout.rollout(
      (params, contexts), rng_key, evaluator=evaluator, language=language,
      num_games=markets.shape[0],
    )  # fmt: skip

  def apply_fn(params, markets, inputs):
    tokens, pools, which = (x[0] for x in inputs)
    contexts: Any = see(params, markets[which], pools)
    logits: Any = jax.vmap(
      functools.partial(writer.apply, method='game'), (None, 0, 0), out_axes=1
    )(params, contexts, tokens)[: language.max_steps]
    return logits, jnp.broadcast_to(contexts.value, logits.shape[:2])

  @jax.jit
  def learn(learner, rng_key, paths, there, played, which, pools, worths):
    inputs = (played.final_tokens[None], pools[None], which[None])
    games = ppo.games_of(played, worths, inputs, opts)
    params, opt_states, metrics = ppo.fit_shared(
      learner.params, learner.opt_states, rng_key, games, apply_fn=apply_fn,
      opts=opts, shared_fn=lambda params: read(params, paths, there),
    )  # fmt: skip
    return Learner(params, opt_states), metrics

  return Model(init, jax.jit(read), play, learn)


def _evaluator(writer: formula_writer.FormulaWriter):
  """What a rollout asks; its parameters are (params, contexts of the games)."""

  def begin(params, states):
    del params
    return token_games.repeated(formula_writer.start(writer), states)

  def follow(params, memory, tokens):
    params, contexts = params
    one = functools.partial(writer.apply, method='follow')
    return jax.vmap(one, (None, 0, 0, 0))(params, contexts, memory, tokens)

  return token_games.following(begin, follow)


def _trainer(config, language, model: Model, train, reach: int):
  """One update: `(learner, rng_key) -> (learner, metrics)`."""
  tasks = functools.cache(lambda: synthetic_tasks.make(config, train))
  own = config.pretrain
  slots = max(own.pool_sizes)
  offer = functools.partial(
    synthetic_tasks.offer,
    fit=pool_lib.FitConfig(l1=config.pool.l1), accept=config.pool.accept,
  )  # fmt: skip

  def update(learner, rng_key):
    clock = Clock()
    size_key, which_key, play_key, learn_key = jax.random.split(rng_key, 4)
    size = own.pool_sizes[
      int(jax.random.randint(size_key, (), 0, len(own.pool_sizes)))
    ]
    which = np.asarray(
      jax.random.permutation(which_key, config.panels.num_panels)
    )[: own.panels]
    with clock('panels'):
      paths, there = tasks().paths[which], tasks().there[which]
    with clock('search'):
      markets = model.read(learner.params[0], paths, there)
      played, seen, worths = _play(
        learner.params[1], markets, which, size, play_key
      )
    with clock('update'):
      place = jnp.tile(jnp.arange(own.panels), 2 * size)
      learner, fitted = model.learn(
        learner, learn_key, paths, there, played, place, seen,
        worths.reshape(-1),
      )  # fmt: skip
      fitted = {name: float(value) for name, value in fitted.items()}
    return learner, {
      **fitted,
      'reward': float(worths.mean()),
      'last_reward': float(worths[-1].mean()),  # Of the pools when done.
      'synthetic_pool': size,
      'synthetic_formulas': int(worths.size),
      'length': float(np.asarray(played.active).sum(0).mean()),
      'seconds': clock.seconds,
    }

  def _play(params, markets, which, size, rng_key):
    """2 M formulas for every market, one after the other."""
    pools = synthetic_tasks.empty_pools(tasks(), own.panels, size)
    shape = own.panels, 2 * size, language.max_tokens
    written = np.zeros(shape, np.int32)
    records, seen, worths = [], [], []
    for n in range(2 * size):
      pool = _members(written, np.asarray(pools.ids), slots)
      key = jax.random.fold_in(rng_key, n)
      games = model.play(params, markets, pool, key)
      formulas = environment.formulas_of(language, games.final_tokens)
      near = np.array([formula_lib.lookback(f) <= reach for f in formulas])
      names = np.where(near, n, -1)
      pools, worth = offer(tasks(), which, pools, formulas, names)
      written[:, n] = games.final_tokens
      records.append(games)
      seen.append(pool)
      worths.append(np.asarray(worth))
    # Games are the second axis, of their last tokens the first.
    final = jnp.concatenate([games.final_tokens for games in records])
    rest = [games.replace(final_tokens=()) for games in records]
    played = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *rest)
    return (
      played.replace(final_tokens=final),
      jnp.concatenate(seen),
      np.stack(worths),
    )

  return update


def _members(written: np.ndarray, ids: np.ndarray, slots: int) -> jax.Array:
  """Tokens of the formulas in pools, i32[P, slots, L]; 0 in empty slots.

  written: i32[P, N, L] of all formulas; ids: i32[P, K] which of them, or -1.
  """
  markets = np.arange(len(ids))[:, None]
  tokens = np.where(ids[..., None] >= 0, written[markets, ids], 0)
  empty = np.zeros((len(ids), slots - ids.shape[1], tokens.shape[2]), np.int32)
  return jnp.asarray(np.concatenate([tokens, empty], axis=1))


def pool_tokens(language, formulas, capacity: int) -> jax.Array:
  """Tokens of the formulas of a pool, i32[capacity, L]; 0 in empty slots.

  A formula that the language cannot spell within its bound, such as one of
  `config.pool.base`, is left out.
  """
  tokens = np.zeros((capacity, language.max_tokens), np.int32)
  for n, formula in enumerate(formulas):
    with contextlib.suppress(ValueError):  # A symbol is unknown.
      spelled = environment.tokens_of(language, formula)
      if len(spelled) <= language.max_tokens:
        tokens[n, : len(spelled)] = spelled
  return jnp.asarray(tokens)


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
