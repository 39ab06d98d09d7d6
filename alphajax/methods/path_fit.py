"""Fitting a network to windows of series: the best on held-out days is kept.

The last days of the series are held out. A killed fit goes on from its last
checkpoint with the same bits.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.data.device import put
from alphajax.run import checkpoint
from alphajax.run import state as state_lib

HOLDOUT = 0.15  # Of the days, the last ones, on which the best state is chosen.
NUM_HELD = 48  # Windows of them that it is chosen on.
PATIENCE = 6  # Looks without a better state that end a training.
EVERY = 25  # Updates from one look at them to the next, and to a checkpoint.

Array = jax.Array | np.ndarray


class Training(NamedTuple):
  """How a network is fitted; group: of the config, for what is told."""

  group: str
  num_updates: int
  batch_size: int
  window: int
  learning_rate: float


class Network(NamedTuple):
  """What is fitted, and what draws series once it is.

  init: `rng_key -> params`.
  loss: `(params, days [B, L, C], context [B, L, E], rng_key) -> loss`.
  sample: jitted `(params, rng_key, context [T, B, E]) -> [T, B, C]`.
  """

  init: Callable
  loss: Callable
  sample: Callable


class Series(NamedTuple):
  """Series of one kind, and what is known of their days from outside."""

  days: Array  # f32[T, S, C], NaN where missing.
  shared: Array  # f32[T, E], the same for all series.
  lasting: Array  # f32[S, K], the same on all days.


class State(NamedTuple):
  """A training: where it is, and the best so far on held-out days."""

  params: Any
  opt_state: Any
  best: Any
  best_loss: jax.Array  # f32[]
  looks: jax.Array  # i32[], without a better one.


def fit(
  network: Network,
  series: Series,
  training: Training,
  rng_key: jax.Array,
  folder: Path,
  say: Callable[[str], None],
):
  """Parameters that are best on held-out days.

  Args:
    network: what is fitted.
    series: of the training split.
    training: sizes; other ones need another folder.
    rng_key: of parameters and batches.
    folder: of the checkpoints.
    say: is told how far it is.

  Raises:
    ValueError: fewer days than two windows.
    FloatingPointError: the loss is not a number.
  """
  known, rest = put(_held_out(series, training))
  optimizer = _optimizer(training)
  init_key, held_key, rng_key = jax.random.split(rng_key, 3)
  state = jax.jit(functools.partial(_init, network, optimizer))(init_key)
  found = checkpoint.restore(folder, state, say=say)
  first = 0
  if found is not None:
    first, state, _ = found
    state_lib.set_aside_after(folder, first, say)
  update = jax.jit(functools.partial(_update, network, optimizer, training))
  look = jax.jit(functools.partial(_look, network))
  draw = jax.jit(_windows, static_argnums=(2, 3))
  windows = draw(rest, held_key, NUM_HELD, training.window)
  look_key = jax.random.fold_in(held_key, 1)
  for step in range(first + 1, training.num_updates + 1):
    if state.looks >= PATIENCE:
      break
    state, train_loss = update(state, known, jax.random.fold_in(rng_key, step))
    if step % EVERY and step < training.num_updates:
      continue
    state, held_loss = look(state, windows, look_key)
    if not np.isfinite(train_loss):
      raise FloatingPointError(
        f'{folder.name}: the loss is {train_loss} in update {step}; set a '
        f'smaller --config.{training.group}.learning_rate than '
        f'{training.learning_rate:g}'
      )
    say(
      f'{folder.parent.name} {folder.name}: update {step}, loss '
      f'{train_loss:.3f}, {held_loss:.3f} on held-out days'
    )
    losses = {'train': float(train_loss), 'held': float(held_loss)}
    checkpoint.save(folder, step, state, losses)
  return state.best


def _held_out(series: Series, training: Training) -> tuple[Series, Series]:
  """The days that are fitted, and those after them."""
  num_days, window = series.days.shape[0], training.window
  held = max(int(HOLDOUT * num_days), window)
  if num_days < held + window:
    raise ValueError(
      f'{num_days} days are too few for windows of {window}: '
      f'{held + window} are needed; set a smaller '
      f'--config.{training.group}.window'
    )
  cut = num_days - held
  return (
    series._replace(days=series.days[:cut], shared=series.shared[:cut]),
    series._replace(days=series.days[cut:], shared=series.shared[cut:]),
  )


def _optimizer(training: Training) -> optax.GradientTransformation:
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, training.learning_rate, max(training.num_updates // 20, 1),
    max(training.num_updates, 2), 0.05 * training.learning_rate,
  )  # fmt: skip
  return optax.chain(
    optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-3)
  )


def _init(network: Network, optimizer, rng_key) -> State:
  params = network.init(rng_key)
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


def _update(network, optimizer, training, state: State, series, rng_key):
  """One update on windows that the key chooses."""
  windows = _windows(series, rng_key, training.batch_size, training.window)
  noise_key = jax.random.fold_in(rng_key, 1)
  value, gradient = jax.value_and_grad(network.loss)(
    state.params, *windows, noise_key
  )
  change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
  params = optax.apply_updates(state.params, change)
  return state._replace(params=params, opt_state=opt_state), value


def _look(network, state: State, windows, rng_key) -> tuple[State, jax.Array]:
  """Keeps the parameters where they are the best on held-out days."""
  value = network.loss(state.params, *windows, rng_key)
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
