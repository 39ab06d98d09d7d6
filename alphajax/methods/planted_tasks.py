"""An endless stream of tasks whose hidden formulas are known.

A task is a pure function of a key, of `task_bank.Bank` and of a stage of the
curriculum: some formulas are hidden in the noise of a panel, some others are
in a pool, tried or probes, and what each formula of the library would really
add to the pool is known, without noise and with the mean weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alphajax.methods import formula_tokens
from alphajax.methods.formula_tokens import (
  POOL,
  PROBE,
  RETRIEVED,
  TRIED,
  Formulas,
  Pool,
  Setting,
)
from alphajax.methods.task_bank import Bank
from alphajax.networks.formula_transformer import Inputs

HIDDEN = 8  # Formulas that a task hides, at most.
DRIFT = 0.5  # Deviation of a weight in a block, in weights.
LEAST_SHARE = 0.05  # Of the signal's variance, of each hidden formula.
SILENT = 0.1  # Share of the tasks without signal,
LOUD = 0.1  # and of the last stage's with much of it.
LOUD_CEILING = (0.12, 0.4)
LENGTHS = (0.25, 0.5, 1.0)  # Of a task's days, in those of the panel,
LENGTH_WEIGHTS = (0.2, 0.3, 0.5)  # and how often.
OWN_POOL, RANDOM_POOL = 0.4, 0.3  # Kinds of pools; the rest was searched for.
SEARCHED = 128  # Formulas among which that search takes the best.
LEAST_NEW = 0.1
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


class Sizes(NamedTuple):
  """How many formulas a network sees of each kind.

  ridge: of the regression that retrieves, see `search.kernel`.
  scored: random formulas whose gain the score head is taught.
  """

  anchors: int = 64
  pool: int = 20
  tried: int = 12
  retrieved: int = 16
  references: int = 2
  ridge: float = 0.3
  scored: int = 16


class Task(NamedTuple):
  """A task and its answers, of N formulas of the library.

  gains: what each really adds to the IC of the pool; 0 for those in it.
  value: the real IC of the pool after the best of them.
  targets: log weights to draw a target by; -inf for what is none.
  hidden: positions, and `weights`, 0 for those not used.
  ceiling: IC of the whole signal.
  observed: ICs in blocks, with noise.
  predicted: ICs in blocks, by regression on what was evaluated.
  worth: gain by prediction, what retrieval ranks by.
  known: in the pool, tried, or a probe that was evaluated.
  scored: formulas whose gain the score head is taught.
  behaviour: correlations of all with the anchors.
  """

  inputs: Inputs
  gains: jax.Array  # f32[N]
  value: jax.Array
  targets: jax.Array  # f32[N]
  hidden: jax.Array  # i32[HIDDEN]
  weights: jax.Array  # f32[HIDDEN]
  ceiling: jax.Array
  observed: jax.Array  # f32[B, N]
  predicted: jax.Array  # f32[B, N]
  worth: jax.Array  # f32[N]
  known: jax.Array  # bool[N]
  scored: jax.Array  # i32[C]
  behaviour: jax.Array  # f32[N, A]
  panel: jax.Array


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


def no_inputs(sizes: Sizes, blocks: int, length: int) -> Inputs:
  """Inputs of the widths of all others, of no formula.

  length: of a sequence.
  """
  return Inputs(
    tokens=jnp.zeros((1, formula_tokens.width(sizes.anchors, blocks))),
    mask=jnp.zeros(1, bool),
    context=jnp.zeros(formula_tokens.NUM_CONTEXT),
    formulas=jnp.zeros((sizes.references, length), jnp.int32),
  )


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


def make(
  rng_key: jax.Array,
  bank: Bank,
  stage: Stage,
  sizes: Sizes,
  rpn: jax.Array,
  held_out: bool = False,
) -> Task:
  """A task. Unbatched; the caller vmaps over keys and stages.

  Args:
    rng_key: decides all.
    bank: of formulas and panels.
    stage: what it is like.
    sizes: what the network sees.
    rpn: i32[N, L], the sequences of the library.
    held_out: hides formulas that training never sees, in noise that it never
      sees; the last eighth of the draws.
  """
  panel_key, signal_key, pool_key, seen_key, score_key = jax.random.split(
    rng_key, 5
  )
  panel = jax.random.randint(panel_key, (), 0, bank.gram.shape[0])
  signal = draw_signal(signal_key, bank, stage, panel, held_out)
  mean = bank.mean[panel]
  pool_ids, in_pool = _draw_pool(pool_key, bank, signal, sizes, held_out)
  tried_key, count_key = jax.random.split(seen_key)
  tried, is_tried = _draw_tried(
    tried_key, bank, signal, sizes, in_pool, held_out
  )
  probes, is_probe = _draw_probes(count_key, bank)
  ids = jnp.concatenate([probes, pool_ids, tried])
  used = jnp.concatenate([is_probe, in_pool, is_tried])
  blocks = signal.observed.T
  fit = formula_tokens.regress(
    mean[ids][:, ids].astype(jnp.float32), blocks[ids], used, sizes.ridge
  )
  across = mean[ids].astype(jnp.float32)  # [E, N]
  predicted = across.T @ fit.alpha  # [N, B]
  pool = _pool(mean, blocks, pool_ids, in_pool)
  with_pool = mean[pool_ids].astype(jnp.float32).T
  known = jnp.zeros(bank.size.shape, bool).at[ids].max(used)
  worth, _ = formula_tokens.gain(predicted.mean(1), with_pool, pool, LEAST_NEW)
  # Retrieved is what a run could evaluate: not what is held out in training.
  free = ~known & (held_out | ~bank.held)
  _, retrieved = jax.lax.top_k(jnp.where(free, worth, -1.0), sizes.retrieved)
  real = _pool(mean, signal.clean[:, None], pool_ids, in_pool)
  gains, before = formula_tokens.gain(signal.clean, with_pool, real, LEAST_NEW)
  gains = jnp.where(known & _within(bank, pool_ids, in_pool), 0.0, gains)
  behaviour = mean[bank.probes[: sizes.anchors]].astype(jnp.float32).T
  seen = _formulas(
    bank, panel, (probes, pool_ids, tried, retrieved),
    (is_probe, in_pool, is_tried, jnp.ones(sizes.retrieved, bool)),
    blocks, predicted, behaviour, with_pool, formula_tokens.pool_weights(pool),
  )  # fmt: skip
  setting = Setting(
    days=bank.panels[panel, 0] + jnp.log(signal.days),
    stocks=bank.panels[panel, 1],
    horizon=signal.horizon,
    evaluated=jnp.sum(known).astype(jnp.float32),
    trust=fit.trust,
  )
  references = rpn[retrieved[: sizes.references]]
  is_target = free if held_out else (free & ~bank.held)
  scored = jax.random.categorical(
    score_key,
    jnp.where(held_out | ~bank.held, 0.0, -jnp.inf),
    shape=(sizes.scored,),
  )
  return Task(
    inputs=formula_tokens.inputs(seen, pool, setting, references),
    gains=gains,
    value=before + jnp.max(jnp.where(is_target, gains, 0.0)),
    targets=jnp.where(is_target, gains / stage.tau, -jnp.inf),
    hidden=signal.hidden,
    weights=signal.weights,
    ceiling=signal.ceiling,
    observed=signal.observed,
    predicted=predicted.T,
    worth=jnp.where(free, worth, -1.0),
    known=known,
    scored=jnp.concatenate([scored, retrieved]),
    behaviour=behaviour,
    panel=panel,
  )


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
  block_weights = weights * (1.0 + drift)
  rows = bank.gram[panel][:, hidden].astype(jnp.float32)  # [B, H, N]
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


def _draw_pool(rng_key, bank, signal, sizes, held_out):
  """The formulas of a pool, and which slots are used."""
  kind_key, size_key, draw_key = jax.random.split(rng_key, 3)
  num = bank.size.shape[0]
  allowed = jnp.ones(num, bool) if held_out else ~bank.held
  noise = jax.random.gumbel(draw_key, (num,))
  # What a search keeps: the best by noisy ICs of some random formulas.
  _, looked = jax.lax.top_k(
    jnp.where(allowed, noise, -jnp.inf), min(SEARCHED, num)
  )
  ics = jnp.abs(signal.observed.mean(0))
  order = jnp.full(num, -jnp.inf).at[looked].set(ics[looked])
  order = jnp.where(allowed, order, -jnp.inf)
  _, searched = jax.lax.top_k(order, sizes.pool)
  random = looked[: sizes.pool]
  own = jnp.where(jnp.arange(sizes.pool) < HIDDEN,
                  jnp.resize(signal.hidden, sizes.pool), random)  # fmt: skip
  hidden = jnp.sum(signal.weights != 0)
  size = jax.random.randint(size_key, (), 0, sizes.pool + 1)
  kind = jax.random.uniform(kind_key)
  is_own = kind < OWN_POOL
  is_random = kind < OWN_POOL + RANDOM_POOL
  ids = jnp.where(is_own, own, jnp.where(is_random, random, searched))
  size = jnp.where(is_own, size % hidden, size)
  return ids, jnp.arange(sizes.pool) < size


def _draw_tried(rng_key, bank, signal, sizes, in_pool, held_out):
  """Formulas tried of late; none where there is no pool."""
  count_key, draw_key = jax.random.split(rng_key)
  allowed = jnp.ones(bank.size.shape, bool) if held_out else ~bank.held
  allowed = allowed.at[signal.hidden].set(False)
  noise = jax.random.gumbel(draw_key, bank.size.shape)
  _, tried = jax.lax.top_k(jnp.where(allowed, noise, -jnp.inf), sizes.tried)
  count = jax.random.randint(count_key, (), 0, sizes.tried + 1)
  count = jnp.where(jnp.any(in_pool), count, 0)
  return tried, jnp.arange(sizes.tried) < count


def _draw_probes(rng_key, bank):
  """All probes, and how many of them are evaluated: often all."""
  all_key, count_key = jax.random.split(rng_key)
  num = bank.probes.shape[0]
  least = min(16, num)
  count = jax.random.randint(count_key, (), least, num + 1)
  count = jnp.where(jax.random.bernoulli(all_key), num, count)
  return bank.probes, jnp.arange(num) < count


def _within(bank, ids, used):
  return jnp.zeros(bank.size.shape, bool).at[ids].max(used)


def _pool(mean, blocks, ids, used) -> Pool:
  within = mean[ids][:, ids].astype(jnp.float32)
  return Pool(within, blocks[ids], used)


def _formulas(
  bank, panel, ids, masks, blocks, predicted, behaviour, with_pool, weights
) -> Formulas:
  """What `formula_tokens` embeds; predicted ICs of those retrieved."""
  kinds = (PROBE, POOL, TRIED, RETRIEVED)
  kind = jnp.concatenate(
    [jnp.full(len(i), k, jnp.int32) for i, k in zip(ids, kinds, strict=True)]
  )
  every = jnp.concatenate(ids)
  weight = jnp.concatenate(
    [
      weights if k == POOL else jnp.zeros(len(i))
      for i, k in zip(ids, kinds, strict=True)
    ]
  )
  seen = jnp.where(
    (kind == RETRIEVED)[:, None], predicted[every], blocks[every]
  )
  return Formulas(
    blocks=seen,
    behaviour=behaviour[every],
    with_pool=with_pool[every],
    facts=bank.facts[panel, every],
    size=bank.size[every],
    weight=weight,
    kind=kind,
    mask=jnp.concatenate(masks),
  )
