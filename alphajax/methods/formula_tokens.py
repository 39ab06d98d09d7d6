"""A market as a set of evaluated formulas with their statistics.

The same function embeds a planted task and a real split with what was mined on
it: how formulas behave, their ICs in blocks of days, and what a pool leaves of
the label for them. Cells enter only through masked correlations, so that the
order of stocks, padding and missing data are no matter.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from alphajax.networks.formula_transformer import Candidate, Inputs

PROBE, POOL, TRIED, RETRIEVED = range(4)
NUM_FLAGS = 4
NUM_STATISTICS = 12
NUM_CONTEXT = 16
# Units of the numbers that a network reads.
BLOCK_IC, MEAN_IC, T_VALUE, LONG = 0.06, 0.02, 3.0, 10.0
# And those of its two heads: gains of a formula, ICs of a pool.
GAIN, VALUE = 0.01, 0.05
LARGEST = 8.0  # Of any number, either way.
LEAST_NEW = 0.1  # As of `search.kernel`.
POOL_RIDGE = 1e-2  # As of `search.kernel`.


class Formulas(NamedTuple):
  """E formulas of some kinds; rows that are not used are False in `mask`.

  blocks: ICs in B blocks of days; predicted ones of those retrieved.
  behaviour: correlations with the A anchors.
  with_pool: correlations with the formulas of the pool.
  facts: coverage, and autocorrelation; see `task_bank.facts_of`.
  size: nodes of the formula.
  weight: in the pool, 0 outside.
  kind: of PROBE, POOL, TRIED and RETRIEVED.
  """

  blocks: jax.Array  # f32[E, B]
  behaviour: jax.Array  # f32[E, A]
  with_pool: jax.Array  # f32[E, K]
  facts: jax.Array  # f32[E, 2]
  size: jax.Array  # f32[E]
  weight: jax.Array  # f32[E]
  kind: jax.Array  # i32[E]
  mask: jax.Array  # bool[E]


class Pool(NamedTuple):
  """The pool that what is proposed adds to; slots may be empty.

  within: correlations among its formulas.
  blocks: their ICs.
  """

  within: jax.Array  # f32[K, K]
  blocks: jax.Array  # f32[K, B]
  used: jax.Array  # bool[K]


class Setting(NamedTuple):
  """What is known of a split beside formulas; numbers.

  days, stocks: logarithms of their numbers / 1000 and / 300.
  horizon: days of the label.
  evaluated: formulas so far.
  trust: share of what probes say that is no noise, see `search.kernel.trust`.
  """

  days: jax.Array
  stocks: jax.Array
  horizon: jax.Array
  evaluated: jax.Array
  trust: jax.Array


def width(num_anchors: int, num_blocks: int) -> int:
  """F, numbers of a token."""
  return num_anchors + num_blocks + NUM_STATISTICS + NUM_FLAGS


@jax.jit
def solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
  """`matrix^-1 right` of a positive definite matrix, `[n, n], [n, m]`.

  By Gauss and Jordan. LAPACK is what JAX calls, and in jaxlib 0.10 two such
  calls of one program can wait for each other for ever on a CPU: a batch is
  dealt to the threads that wait for it.
  """
  size = matrix.shape[0]

  def eliminate(i, x):
    row = x[i] / x[i, i]
    others = jnp.where(jnp.arange(size) == i, 0.0, x[:, i])
    return (x - others[:, None] * row[None]).at[i].set(row)

  both = jnp.concatenate([matrix, right], 1)
  return jax.lax.fori_loop(0, size, eliminate, both)[:, size:]


@jax.jit
def pool_weights(pool: Pool) -> jax.Array:
  """Least squares weights, f32[K]; 0 in empty slots."""
  both = pool.used[:, None] & pool.used[None]
  ridge = jnp.where(pool.used, POOL_RIDGE, 1.0)
  within = jnp.where(both, pool.within, 0.0) + jnp.diag(ridge)
  ics = jnp.where(pool.used, pool.blocks.mean(1), 0.0)
  return solve(within, ics[:, None])[:, 0]


def pool_ic(pool: Pool, weights: jax.Array) -> jax.Array:
  """IC of the pool in every block, f32[B]."""
  used = jnp.where(pool.used, weights, 0.0)
  power = used @ jnp.where(pool.used[:, None], pool.within, 0.0) @ used
  blocks = used @ jnp.where(pool.used[:, None], pool.blocks, 0.0)
  return jnp.where(
    power > 0, blocks / jnp.sqrt(jnp.where(power > 0, power, 1)), 0.0
  )


@jax.jit
def inputs(
  formulas: Formulas, pool: Pool, setting: Setting, references: jax.Array
) -> Inputs:
  """What the network reads of a task. Unbatched.

  references: i32[R, L], formulas that the decoder may look at; see `orders`.
  """
  weights = pool_weights(pool)
  return Inputs(
    tokens=_tokens(formulas, pool, weights),
    mask=formulas.mask,
    context=_context(formulas, pool, weights, setting),
    formulas=references,
  )


def candidates(formulas: Formulas, pool: Pool, bags: jax.Array) -> Candidate:
  """What the score head reads of formulas that may be evaluated.

  Args:
    formulas: of kind RETRIEVED, E of them, with predicted ICs.
    pool: that they would add to.
    bags: f32[E, V], see `orders.bag`.

  Returns:
    A candidate whose leaves are `[E, ...]`.
  """
  tokens = _tokens(formulas, pool, pool_weights(pool))
  gains, _ = gain(formulas.blocks.mean(1), formulas.with_pool, pool)
  return Candidate(tokens, bags, gains / GAIN)


def _tokens(formulas: Formulas, pool: Pool, weights: jax.Array) -> jax.Array:
  """f32[E, F]; 0 in rows that are not used."""
  num = formulas.mask.shape[0]
  chex.assert_equal_shape_prefix(
    [formulas.blocks, formulas.behaviour, formulas.with_pool], 1
  )
  tokens = jnp.concatenate(
    [
      formulas.behaviour,
      formulas.blocks / BLOCK_IC,
      _statistics(formulas, pool, weights),
      jax.nn.one_hot(formulas.kind, NUM_FLAGS),
    ],
    axis=1,
  )
  chex.assert_shape(
    tokens, (num, width(formulas.behaviour.shape[1], formulas.blocks.shape[1]))
  )
  tokens = jnp.clip(jnp.nan_to_num(tokens), -LARGEST, LARGEST)
  return jnp.where(formulas.mask[:, None], tokens, 0.0)


def _moments(blocks: jax.Array) -> jax.Array:
  """Mean, spread and t of ICs in blocks, f32[E, B] -> f32[E, 3]."""
  mean, spread = blocks.mean(1), blocks.std(1)
  error = spread / jnp.sqrt(blocks.shape[1])
  t = mean / jnp.maximum(error, 1e-4)
  return jnp.stack(
    [mean / MEAN_IC, spread / MEAN_IC, jnp.tanh(t / T_VALUE / 3) * 3], 1
  )


def _statistics(formulas, pool, weights) -> jax.Array:
  """f32[E, NUM_STATISTICS]."""
  used = jnp.where(pool.used, weights, 0.0)
  with_pool = jnp.where(pool.used, formulas.with_pool, 0.0)
  of_pool = with_pool @ used
  power = used @ jnp.where(pool.used[:, None], pool.within, 0.0) @ used
  partial = formulas.blocks - of_pool[:, None]
  return jnp.concatenate(
    [
      _moments(formulas.blocks),
      _moments(partial),
      jnp.abs(with_pool).max(1, initial=0.0, keepdims=True),
      (of_pool / jnp.sqrt(jnp.maximum(power, 1e-8)))[:, None],
      formulas.facts,
      (formulas.size / LONG)[:, None],
      (formulas.weight / MEAN_IC)[:, None],
    ],
    axis=1,
  )


def _context(formulas, pool, weights, setting) -> jax.Array:
  """f32[NUM_CONTEXT]."""
  known = formulas.mask & (formulas.kind != RETRIEVED)
  count = jnp.maximum(jnp.sum(known), 1)
  moments = jnp.where(known[:, None], _moments(formulas.blocks), 0.0)
  size = jnp.sum(jnp.abs(moments), 0) / count
  blocks = pool_ic(pool, weights)
  slots = pool.used.shape[0]
  filled = jnp.sum(pool.used) / max(slots, 1)
  numbers = [
    setting.days,
    setting.stocks,
    jnp.log(setting.horizon / 20.0),
    jnp.log1p(setting.evaluated) / 5.0,
    setting.trust,
    filled,
    (filled == 0).astype(jnp.float32),
    blocks.mean() / BLOCK_IC,
    blocks.std() / BLOCK_IC,
    *size,
    jnp.sqrt(jnp.sum(jnp.square(moments[:, 0])) / count),
    jnp.sqrt(jnp.sum(jnp.square(moments[:, 2])) / count),
    jnp.max(jnp.abs(moments[:, 0])),
    jnp.max(jnp.abs(moments[:, 2])),
  ]
  context = jnp.stack([jnp.asarray(x, jnp.float32) for x in numbers])
  chex.assert_shape(context, (NUM_CONTEXT,))
  return jnp.clip(jnp.nan_to_num(context), -LARGEST, LARGEST)


class Regression(NamedTuple):
  """What formulas evaluated say of others, as `search.kernel` has it.

  alpha: correlations f32[N, E] of others with them @ alpha are ICs f32[N, B].
  trust: the share of what is fitted that blocks agree about.
  """

  alpha: jax.Array  # f32[E, B]
  trust: jax.Array


def regress(
  gram: jax.Array, blocks: jax.Array, used: jax.Array, ridge: float
) -> Regression:
  """Kernel ridge regression of ICs in blocks, of E formulas with a mask.

  Args:
    gram: f32[E, E].
    blocks: f32[E, B].
    used: bool[E].
    ridge: in units of a formula's variance.
  """
  both = used[:, None] & used[None]
  matrix = jnp.where(both, gram, 0.0) + jnp.diag(jnp.where(used, ridge, 1.0))
  blocks = jnp.where(used[:, None], blocks, 0.0)
  alpha = solve(matrix, blocks)
  energy = blocks.T @ alpha
  place = jnp.arange(blocks.shape[1])
  apart = jnp.abs(place[:, None] - place[None]) > 1
  whole = energy.mean()
  agreed = jnp.sum(jnp.where(apart, energy, 0.0)) / jnp.sum(apart)
  trust = jnp.where(whole > 0, agreed / jnp.where(whole > 0, whole, 1.0), 0.0)
  return Regression(alpha, jnp.clip(trust, 0.0, 1.0))


@jax.jit
def gain(
  ic: jax.Array,
  with_pool: jax.Array,
  pool: Pool,
  least_new: float = LEAST_NEW,
) -> tuple[jax.Array, jax.Array]:
  """What the pool's IC gains by each formula, its weights fitted anew.

  Args:
    ic: f32[N], mean ICs of formulas.
    with_pool: f32[N, K], correlations with the pool.
    pool: of which the mean of `blocks` counts.
    least_new: least share of a formula that counts as new, see
      `search.kernel`.

  Returns:
    f32[N], at least 0, and the IC of the pool before, a number.
  """
  weights = pool_weights(pool)
  with_pool = jnp.where(pool.used, with_pool, 0.0)
  both = pool.used[:, None] & pool.used[None]
  ridge = jnp.where(pool.used, POOL_RIDGE, 1.0)
  within = jnp.where(both, pool.within, 0.0) + jnp.diag(ridge)
  solved = solve(within, with_pool.T)
  explained = jnp.sum(with_pool * solved.T, 1)
  before = jnp.where(pool.used, pool.blocks.mean(1), 0.0) @ weights
  before = jnp.maximum(before, 0.0)
  left = ic - with_pool @ weights
  new = jnp.maximum(1.0 - explained, least_new)
  after = jnp.sqrt(before + jnp.square(left) / new)
  return after - jnp.sqrt(before), jnp.sqrt(before)
