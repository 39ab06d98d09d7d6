"""What a planted task hides: some formulas, in the noise of a panel.

The stages of a curriculum say how many, how long and how loud.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alphajax.methods.task_bank import Bank

HIDDEN = 8  # Formulas that a task hides, at most.
DRIFT = 0.5  # Deviation of a weight in a block, in weights.
LEAST_SHARE = 0.05  # Of the signal's variance, of each hidden formula.
SILENT = 0.1  # Share of the tasks without signal,
LOUD = 0.1  # and of the last stage's with much of it.
LOUD_CEILING = (0.12, 0.4)
LENGTHS = (0.25, 0.5, 1.0)  # Of a task's days, in those of the panel,
LENGTH_WEIGHTS = (0.2, 0.3, 0.5)  # and how often.
SOON = 0.2  # Share of a stage's tasks that are of the stages before.


class Stage(NamedTuple):
  """What tasks of a stage are like.

  size: nodes of a hidden formula, at most.
  ceiling: IC of the signal without noise, least and most.
  hidden: formulas, at most.
  tau: temperature of the gains that targets are drawn by.
  """

  size: jax.Array
  low: jax.Array
  high: jax.Array
  hidden: jax.Array
  tau: jax.Array
  last: jax.Array


# Ends of stages in shares of the updates.
ENDS = (0.15, 0.35, 0.6)
_STAGES = (
  (5, 0.08, 0.40, 1, 0.010, 0),
  (7, 0.04, 0.30, 3, 0.007, 0),
  (9, 0.02, 0.20, HIDDEN, 0.005, 0),
  (99, 0.02, 0.12, HIDDEN, 0.003, 1),
)
NUM_STAGES = len(_STAGES)


class Signal(NamedTuple):
  """What is hidden.

  observed: ICs in blocks, with noise; clean: those that count, without.
  """

  hidden: jax.Array
  weights: jax.Array
  ceiling: jax.Array
  observed: jax.Array  # f32[B, N]
  clean: jax.Array  # f32[N]
  horizon: jax.Array
  days: jax.Array
  block_weights: jax.Array  # f32[B, HIDDEN]
  draw: jax.Array  # i32[B]
  loudness: jax.Array


def stage_of(rng_key: jax.Array, share: jax.Array) -> Stage:
  """The stage of a task, sometimes an earlier one.

  share: of the updates that are done.
  """
  now = jnp.sum(share >= jnp.asarray(ENDS))
  again_key, which_key = jax.random.split(rng_key)
  earlier = jax.random.randint(which_key, (), 0, jnp.maximum(now, 1))
  again = jax.random.bernoulli(again_key, SOON)
  return stage(jnp.where(again, earlier, now))


def stage(number: jax.Array | int) -> Stage:
  """A stage by its number."""
  return Stage(*jnp.asarray(_STAGES, jnp.float32)[number])


def draw_signal(
  rng_key: jax.Array,
  bank: Bank,
  stage: Stage,
  panel: jax.Array,
  held_out: bool,
) -> Signal:
  """Hides formulas and says what ICs are seen and which are real."""
  keys = jax.random.split(rng_key, 7)
  hidden, used = _draw_hidden(keys[0], bank, stage, held_out)
  weights = _draw_weights(keys[1], used)
  num_blocks = bank.gram.shape[1]
  drift = DRIFT * jax.random.normal(keys[2], (num_blocks, HIDDEN))
  block_weights = weights[None] * (1.0 + drift)
  rows = bank.gram[panel, :, hidden].astype(jnp.float32)  # [H, B, N]
  rows = rows.swapaxes(0, 1)
  among = rows[:, :, hidden]
  ceiling = _draw_ceiling(keys[3], stage)
  clean = _unit_ics(
    rows, among, jnp.broadcast_to(weights, (num_blocks, HIDDEN))
  )
  seen = _unit_ics(rows, among, block_weights)
  draws = bank.noise.shape[1]
  kept = max(draws // 8, 1)
  low, high = (draws - kept, draws) if held_out else (0, draws - kept)
  first = jax.random.randint(keys[4], (), low, high)
  # Blocks are many labels long: any draw of the same horizon may follow.
  alike = bank.horizons == bank.horizons[first]
  place = jnp.arange(draws)
  alike &= (place >= low) & (place < high)
  draw = jax.random.categorical(
    keys[5], jnp.where(alike, 0.0, -jnp.inf), shape=(num_blocks,)
  )
  days = jnp.asarray(LENGTHS)[
    jax.random.choice(
      keys[6], len(LENGTHS), p=jnp.asarray(LENGTH_WEIGHTS)
    )
  ]  # fmt: skip
  noise = bank.noise[panel, draw, jnp.arange(num_blocks)]
  loudness = jnp.sqrt(1.0 - jnp.square(ceiling)) / jnp.sqrt(days)
  return Signal(
    hidden=hidden,
    weights=weights,
    ceiling=ceiling,
    observed=ceiling * seen + loudness * noise,
    clean=ceiling * clean.mean(0),
    horizon=bank.horizons[first],
    days=days,
    block_weights=block_weights,
    draw=draw,
    loudness=loudness,
  )


def _unit_ics(rows, among, weights):
  """ICs with a weighted sum of deviation 1, f32[B, N]."""
  power = jnp.einsum('bh,bhk,bk->b', weights, among, weights)
  ics = jnp.einsum('bh,bhn->bn', weights, rows)
  return ics / jnp.sqrt(jnp.maximum(power, 1e-6))[:, None]


def _draw_hidden(rng_key, bank, stage, held_out):
  """Positions, and which of them are used."""
  count_key, kind_key, draw_key = jax.random.split(rng_key, 3)
  many = jax.random.randint(count_key, (), 4, HIDDEN + 1)
  kind = jax.random.choice(kind_key, 4, p=jnp.array([0.25, 0.2, 0.15, 0.4]))
  count = jnp.where(kind == 3, many, kind + 1)
  count = jnp.minimum(count, stage.hidden.astype(jnp.int32))
  allowed = bank.held if held_out else ~bank.held
  small = allowed & (bank.size <= stage.size)
  allowed = jnp.where(jnp.sum(small) >= HIDDEN, small, allowed)
  noise = jax.random.gumbel(draw_key, bank.size.shape)
  order = jnp.where(allowed, bank.log_weight + noise, -jnp.inf)
  _, hidden = jax.lax.top_k(order, HIDDEN)
  return hidden, (jnp.arange(HIDDEN) < count) & allowed[hidden]


def _draw_weights(rng_key, used):
  size_key, sign_key = jax.random.split(rng_key)
  size = jnp.where(used, jax.random.gamma(size_key, 2.0, (HIDDEN,)), 0.0)
  least = jnp.sqrt(LEAST_SHARE * jnp.sum(jnp.square(size)))
  size = jnp.where(used, jnp.maximum(size, least), 0.0)
  return size * jax.random.rademacher(sign_key, (HIDDEN,), jnp.float32)


def _draw_ceiling(rng_key, stage):
  """IC of the signal: log-uniform, for some tasks 0 or large."""
  kind_key, draw_key = jax.random.split(rng_key)
  u = jax.random.uniform(kind_key)
  loud = (stage.last > 0) & (u >= SILENT) & (u < SILENT + LOUD)
  low = jnp.where(loud, LOUD_CEILING[0], stage.low)
  high = jnp.where(loud, LOUD_CEILING[1], stage.high)
  log = jax.random.uniform(draw_key) * jnp.log(high / low) + jnp.log(low)
  return jnp.where(u < SILENT, 0.0, jnp.exp(log))
