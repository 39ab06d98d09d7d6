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
from alphajax.methods.hidden_signals import HIDDEN, Stage, draw_signal
from alphajax.methods.task_bank import Bank
from alphajax.networks.formula_transformer import Candidate, Inputs

OWN_POOL, RANDOM_POOL = 0.4, 0.3  # Kinds of pools; the rest was searched for.
SEARCHED = 128  # Formulas among which that search takes the best.


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
  worth: gain by regression on what was evaluated, what retrieval ranks by; -1
    for what was evaluated and, in training, what is held out.
  evaluated: positions of probes, pool and what was tried, `used` or not.
  pool, in_pool: the same of the pool's slots.
  scored: formulas whose gain the score head is taught; all of them where
    formulas are held out. `candidates`: what it reads of them.
  """

  inputs: Inputs
  gains: jax.Array  # f32[N]
  value: jax.Array
  targets: jax.Array  # f32[N]
  hidden: jax.Array  # i32[HIDDEN]
  weights: jax.Array  # f32[HIDDEN]
  ceiling: jax.Array
  observed: jax.Array  # f32[B, N]
  worth: jax.Array  # f32[N]
  evaluated: jax.Array  # i32[E]
  used: jax.Array  # bool[E]
  pool: jax.Array  # i32[K]
  in_pool: jax.Array  # bool[K]
  scored: jax.Array  # i32[C]
  candidates: Candidate  # Leaves [C, ...].


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


def make(
  rng_key: jax.Array,
  bank: Bank,
  stage: Stage,
  sizes: Sizes,
  rpn: jax.Array,
  bags: jax.Array,
  held_out: bool = False,
) -> Task:
  """A task. Unbatched; the caller vmaps over keys and stages.

  Args:
    rng_key: decides all.
    bank: of formulas and panels.
    stage: what it is like.
    sizes: what the network sees.
    rpn: i32[N, L], the sequences of the library.
    bags: f32[N, V], see `orders.bag`.
    held_out: hides formulas that training never sees, in noise that it never
      sees; the last eighth of the draws.
  """
  panel_key, signal_key, seen_key, score_key = jax.random.split(rng_key, 4)
  panel = jax.random.randint(panel_key, (), 0, bank.gram.shape[0])
  signal = draw_signal(signal_key, bank, stage, panel, held_out)
  seen = _see(seen_key, bank, panel, signal, sizes, held_out)
  known = jnp.zeros(bank.size.shape, bool).at[seen.ids].max(seen.used)
  free = ~known & (held_out | ~bank.held)
  worth, _ = formula_tokens.gain(
    seen.predicted.mean(1), seen.with_pool, seen.pool
  )
  # What is held out is not in a library, of judged tasks neither.
  shelf = jnp.where(free & ~bank.held, worth, -1.0)
  _, retrieved = jax.lax.top_k(shelf, sizes.retrieved)
  real = seen.pool._replace(blocks=signal.clean[seen.pool_ids, None])
  gains, before = formula_tokens.gain(signal.clean, seen.with_pool, real)
  in_pool = jnp.zeros(known.shape, bool).at[seen.pool_ids].max(seen.in_pool)
  gains = jnp.where(in_pool, 0.0, gains)
  if held_out:
    scored = jnp.arange(known.shape[0])
  else:
    drawn = jax.random.categorical(
      score_key, jnp.where(bank.held, -jnp.inf, 0.0), shape=(sizes.scored,)
    )
    scored = jnp.concatenate([drawn, retrieved])
  others = forecasts(
    seen.predicted[scored], seen.across[: sizes.anchors].T[scored],
    seen.with_pool[scored], bank.facts[panel, scored], bank.size[scored],
  )  # fmt: skip
  # Of many alike each is drawn that much less often.
  targets = gains / stage.tau + bank.log_weight
  return Task(
    inputs=_inputs(bank, panel, signal, seen, sizes, known, retrieved, rpn),
    gains=gains,
    value=before + jnp.max(jnp.where(free, gains, 0.0)),
    targets=jnp.where(free, targets, -jnp.inf),
    hidden=signal.hidden,
    weights=signal.weights,
    ceiling=signal.ceiling,
    observed=signal.observed,
    worth=jnp.where(free, worth, -1.0),
    evaluated=seen.ids,
    used=seen.used,
    pool=seen.pool_ids,
    in_pool=seen.in_pool,
    scored=scored,
    candidates=formula_tokens.candidates(others, seen.pool, bags[scored]),
  )


class Seen(NamedTuple):
  """What was evaluated: probes, then the pool, then what was tried.

  masks: of the three, which of them were; `used`: of all.
  across: correlations with all formulas; with_pool: the part of the pool.
  predicted: ICs in blocks, by regression.
  """

  ids: jax.Array  # i32[E]
  used: jax.Array  # bool[E]
  masks: tuple[jax.Array, ...]
  across: jax.Array  # f32[E, N]
  predicted: jax.Array  # f32[N, B]
  trust: jax.Array
  pool: Pool
  pool_ids: jax.Array  # i32[K]
  in_pool: jax.Array  # bool[K]
  with_pool: jax.Array  # f32[N, K]


def _see(rng_key, bank, panel, signal, sizes, held_out) -> Seen:
  """Draws what was evaluated, and predicts what was not."""
  pool_key, tried_key, probe_key = jax.random.split(rng_key, 3)
  pool_ids, in_pool = _draw_pool(pool_key, bank, signal, sizes, held_out)
  tried, is_tried = _draw_tried(
    tried_key, bank, signal, sizes, in_pool, held_out
  )
  probes, is_probe = _draw_probes(probe_key, bank)
  ids = jnp.concatenate([probes, pool_ids, tried])
  masks = is_probe, in_pool, is_tried
  used = jnp.concatenate(masks)
  blocks = signal.observed.T
  # One gather: a panel's whole matrix, of every task of a batch, is GBs.
  across = bank.mean[panel, ids].astype(jnp.float32)
  fit = formula_tokens.regress(across[:, ids], blocks[ids], used, sizes.ridge)
  num = probes.shape[0]
  of_pool = across[num : num + sizes.pool]
  return Seen(
    ids=ids,
    used=used,
    masks=masks,
    across=across,
    predicted=across.T @ fit.alpha,
    trust=fit.trust,
    pool=Pool(of_pool[:, pool_ids], blocks[pool_ids], in_pool),
    pool_ids=pool_ids,
    in_pool=in_pool,
    with_pool=of_pool.T,
  )


def _inputs(bank, panel, signal, seen, sizes, known, retrieved, rpn) -> Inputs:
  """What the encoder reads."""
  num = seen.ids.shape[0] - sizes.pool - sizes.tried
  parts = jnp.split(seen.ids, [num, num + sizes.pool])
  formulas = _formulas(
    bank, panel, (*parts, retrieved),
    (*seen.masks, jnp.ones(sizes.retrieved, bool)),
    signal.observed.T, seen.predicted, seen.across[: sizes.anchors].T,
    seen.with_pool, formula_tokens.pool_weights(seen.pool),
  )  # fmt: skip
  setting = Setting(
    days=bank.panels[panel, 0] + jnp.log(signal.days),
    stocks=bank.panels[panel, 1],
    horizon=signal.horizon,
    evaluated=jnp.sum(known).astype(jnp.float32),
    trust=seen.trust,
  )
  references = rpn[retrieved[: sizes.references]]
  return formula_tokens.inputs(formulas, seen.pool, setting, references)


def forecasts(predicted, behaviour, with_pool, facts, size) -> Formulas:
  """Formulas that were not evaluated, with what is predicted of them.

  Shapes `[n, B], [n, A], [n, K], [n, 2], [n]`, as of `Formulas`.
  """
  count = size.shape[0]
  return Formulas(
    blocks=predicted,
    behaviour=behaviour,
    with_pool=with_pool,
    facts=facts,
    size=size,
    weight=jnp.zeros(count),
    kind=jnp.full(count, RETRIEVED, jnp.int32),
    mask=jnp.ones(count, bool),
  )


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
