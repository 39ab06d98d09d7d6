"""Generators of markets by networks: fitted to real bars, then sampled.

Two models of one kind: of the common path, one series of the market, and of a
stock's bars given the path and what is lasting about the stock, one model for
all stocks. See `data.two_levels` and `networks.path_models`.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.data import bars, controls, two_levels
from alphajax.data.controls import Source
from alphajax.data.panel import Panel
from alphajax.networks import path_models
from alphajax.run import checkpoint

HOLDOUT = 0.15  # Of the days, the last ones, on which the best state is chosen.
NUM_HELD = 48  # Windows of them that it is chosen on.
PATIENCE = 6  # Looks without a better state that end a training.
EVERY = 25  # Updates from one look at them to the next, and to a checkpoint.


class Options(NamedTuple):
  """How a model is fitted, see configs/synthesize.py."""

  width: int
  common_width: int
  num_components: int
  num_updates: int
  batch_size: int
  window: int
  learning_rate: float


class Series(NamedTuple):
  """Series of one kind, and what is known of their days from outside."""

  days: jax.Array  # f32[T, S, C], NaN where missing.
  shared: jax.Array  # f32[T, E], the same for all series.
  lasting: jax.Array  # f32[S, K], the same on all days.


class State(NamedTuple):
  """A training: where it is, and the best so far on held-out days."""

  params: Any
  opt_state: Any
  best: Any
  best_loss: jax.Array  # f32[]
  looks: jax.Array  # i32[], without a better one.


class Generator(NamedTuple):
  """What draws markets: fitted models and the stocks that they are of."""

  levels: two_levels.Levels
  source: Source
  common: Any  # Parameters; None where stocks are independent.
  stock: Any
  options: Options


def _common_model(options: Options) -> path_models.GruPaths:
  return path_models.GruPaths(
    len(two_levels.COMMON), 0, (), options.common_width,
    options.num_components,
  )  # fmt: skip


def _stock_model(options: Options) -> path_models.GruPaths:
  return path_models.GruPaths(
    len(bars.CHANNELS), len(two_levels.COMMON) + two_levels.NUM_COVARIATES,
    (bars.UP, bars.DOWN), options.width, options.num_components,
  )  # fmt: skip


def fit(
  source: Source,
  options: Options,
  seed: int,
  folder: Path,
  independent: bool = False,
  say: Callable[[str], None] = print,
) -> Generator:
  """Fits both models, or goes on where a killed fit stopped.

  Args:
    source: bars of the training split.
    options: sizes; other ones need another folder.
    seed: of parameters and batches.
    folder: holds the checkpoints of both.
    independent: every stock by itself, as AlphaFormer does.
    say: is told how far it is.

  Raises:
    ValueError: fewer days than two windows; or see `two_levels.split`.
  """
  levels = two_levels.split(source, independent)
  common_key, stock_key = jax.random.split(jax.random.key(seed))
  common = None
  if not independent:
    series = Series(
      jnp.asarray(levels.common)[:, None],
      jnp.zeros((len(levels.common), 0)),
      jnp.zeros((1, 0)),
    )
    model = _common_model(options)
    common = _fit(model, series, options, common_key, folder / 'common', say)
  series = Series(
    jnp.asarray(levels.left),
    jnp.asarray(levels.common),
    jnp.asarray(levels.covariates),
  )
  model = _stock_model(options)
  stock = _fit(model, series, options, stock_key, folder / 'stock', say)
  return Generator(levels, source, common, stock, options)


def _fit(model, series: Series, options: Options, rng_key, folder, say):
  """Parameters that are best on held-out days; see `fit`."""
  num_days = series.days.shape[0]
  held = max(int(HOLDOUT * num_days), options.window)
  if num_days < held + options.window:
    raise ValueError(
      f'{num_days} days are too few for windows of {options.window}: '
      f'{held + options.window} are needed; set a smaller --config.gru.window'
    )
  optimizer = _optimizer(options)
  init_key, held_key, rng_key = jax.random.split(rng_key, 3)
  init = jax.jit(functools.partial(_init, model, optimizer))
  state = init(init_key)
  found = checkpoint.restore(folder, state, say=say)
  first = 0
  if found is not None:
    first, state, _ = found
  loss = functools.partial(_loss, model)
  known = series._replace(
    days=series.days[: num_days - held], shared=series.shared[: num_days - held]
  )
  rest = series._replace(
    days=series.days[num_days - held :], shared=series.shared[num_days - held :]
  )
  update = jax.jit(functools.partial(_update, loss, optimizer, options))
  look = jax.jit(functools.partial(_look, loss))
  windows = _windows(rest, held_key, NUM_HELD, options.window)
  for step in range(first + 1, options.num_updates + 1):
    if state.looks >= PATIENCE:
      break
    state, train_loss = update(state, known, jax.random.fold_in(rng_key, step))
    if step % EVERY and step < options.num_updates:
      continue
    state, held_loss = look(state, windows)
    if not np.isfinite(train_loss):
      raise FloatingPointError(
        f'{folder.name}: the loss is {train_loss} in update {step}; set a '
        f'smaller --config.gru.learning_rate than {options.learning_rate:g}'
      )
    say(
      f'{folder.parent.name} {folder.name}: update {step}, loss '
      f'{train_loss:.3f} a bar, {held_loss:.3f} on held-out days'
    )
    losses = {'train': float(train_loss), 'held': float(held_loss)}
    checkpoint.save(folder, step, state, losses)
  return state.best


def _optimizer(options: Options) -> optax.GradientTransformation:
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, options.learning_rate, max(options.num_updates // 20, 1),
    max(options.num_updates, 2), 0.05 * options.learning_rate,
  )  # fmt: skip
  return optax.chain(
    optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-3)
  )


def _init(model, optimizer, rng_key) -> State:
  context = jnp.zeros(model.context_size)
  days = jnp.zeros(model.num_channels)
  params = model.init(rng_key, jnp.zeros(model.width), days, context)
  opt_state = optimizer.init(params)
  return State(params, opt_state, params, jnp.float32(jnp.inf), jnp.int32(0))


def _windows(series: Series, rng_key, count: int, window: int):
  """Random spans of one series each: days `[B, L, C]`, context `[B, L, E]`."""
  num_days, num_series, _ = series.days.shape
  which_key, start_key = jax.random.split(rng_key)
  which = jax.random.randint(which_key, (count,), 0, num_series)
  start = jax.random.randint(start_key, (count,), 0, num_days - window + 1)
  days = start[:, None] + jnp.arange(window)
  lasting = jnp.broadcast_to(
    series.lasting[which][:, None],
    (count, window, series.lasting.shape[1]),
  )
  context = jnp.concatenate([series.shared[days], lasting], axis=-1)
  return series.days[days, which[:, None]], context


def _loss(model, params, days, context) -> jax.Array:
  """Mean negative log likelihood of a bar."""
  value = jax.vmap(lambda *args: path_models.likelihood(model, params, *args))(
    days, context
  )
  bars_seen = jnp.isfinite(days).any(-1).sum()
  return -value.sum() / jnp.maximum(bars_seen, 1)


def _update(loss, optimizer, options, state: State, series: Series, rng_key):
  """One update on windows that the key chooses."""
  windows = _windows(series, rng_key, options.batch_size, options.window)
  value, gradient = jax.value_and_grad(loss)(state.params, *windows)
  change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
  params = optax.apply_updates(state.params, change)
  return state._replace(params=params, opt_state=opt_state), value


def _look(loss, state: State, windows) -> tuple[State, jax.Array]:
  """Keeps the parameters where they are the best on held-out days."""
  value = loss(state.params, *windows)
  better = value < state.best_loss
  best = jax.tree.map(
    lambda new, old: jnp.where(better, new, old), state.params, state.best
  )
  new = state._replace(
    best=best,
    best_loss=jnp.where(better, value, state.best_loss),
    looks=jnp.where(better, 0, state.looks + 1),
  )
  return new, value


def without_drift(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Takes the lasting drifts of single stocks out of bars `[6, T, S]`.

  A model that is a little wrong about a stock's mean gives it the same edge on
  every day, and formulas find nothing else: on the CSI 300 a mean |IC| of .08
  where real days have .015. So the mean of a stock, less that of all, becomes
  what chance alone makes of it; of independent normal changes this alters
  nothing but the drift. The market keeps its own.
  """
  change = values[bars.GAP] + values[bars.BODY]
  own = change - change.mean(1, keepdims=True)
  chance = own.std(0) / np.sqrt(len(own)) * rng.normal(size=own.shape[1])
  values = values.copy()
  values[bars.BODY] -= own.mean(0) - (chance - chance.mean())
  return values


def sample(generator: Generator, seed: int, num_days: int) -> Panel:
  """A market of the generator's stocks, all of them members every day."""
  levels, source, options = (
    generator.levels, generator.source, generator.options,
  )  # fmt: skip
  common_key, stock_key = jax.random.split(jax.random.key(seed))
  common = jnp.zeros((num_days, len(two_levels.COMMON)))
  if generator.common is not None:
    draw = path_models.make_sampler(_common_model(options))
    nothing = jnp.zeros((num_days, 1, 0))
    common = draw(generator.common, common_key, nothing)[:, 0]
  num_stocks, size = levels.covariates.shape
  context = jnp.concatenate(
    [
      jnp.broadcast_to(
        common[:, None], (num_days, num_stocks, common.shape[1])
      ),
      jnp.broadcast_to(levels.covariates, (num_days, num_stocks, size)),
    ],
    axis=-1,
  )
  draw = path_models.make_sampler(_stock_model(options))
  left = draw(generator.stock, stock_key, context)
  values = two_levels.join(
    np.asarray(common, float), np.asarray(left, float), levels.loadings
  )
  values = without_drift(values, np.random.default_rng([seed, 1]))
  logs = bars.unscale(values, source.anchors, source.typical)
  kind = 'independent stocks' if generator.common is None else 'two levels'
  return controls.to_panel(
    logs, np.ones((num_days, num_stocks), bool), source.symbols,
    f'synthetic: a GRU, {kind}, seed {seed}',
  )  # fmt: skip
