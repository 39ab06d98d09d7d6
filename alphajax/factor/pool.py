"""The linear factor pool (Algorithm 1 of AlphaCFG; design: section 8).

Factors and label are standardised per day, so the squared error of a weighted
sum depends on the factors through their daily correlations alone: with `[T, P]`
correlations to the label and `[T, P, P]` among each other the fit and the exact
IC of any weighting cost nothing in the number of stocks. Candidates are
committed one after the other, exactly as in Algorithm 1, in one jitted scan.

A pool is a value: inserting makes another one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from alphajax.data import panel as panel_lib
from alphajax.factor import metrics, objectives
from alphajax.factor.lasso import DEFAULT_FIT, FitConfig, fit
from alphajax.factor.metrics import Target

DAYS = 128  # Days per step of that computation, to bound its memory.
ACCEPTS = ('always', 'improve', 'distinct')  # See `insert`.
TWIN = 0.99  # AlphaGen's bound of the mean correlation with a member.


@struct.dataclass
class Pool:
  """Factors, their daily correlations and weights. P slots, empty ones zero.

  factors: one plane a slot, standardised over the labelled members of the day
    and centred; 0 where there is no opinion.
  with_label: daily correlation with the label.
  mutual: daily correlation with each other.
  weights: of the standardised factors; exactly 0 for a useless one.
  ids: the caller's name of the factor in the slot, -1 for an empty slot.
  """

  factors: tuple[jax.Array, ...]  # P times f32[T, S]
  with_label: jax.Array  # f32[P, T]
  mutual: jax.Array  # f32[P, P, T]
  weights: jax.Array  # f32[P]
  ids: jax.Array  # i32[P]


def is_covered(
  values: jax.Array, members: jax.Array, labelled: jax.Array
) -> jax.Array:
  """True on days where half of the labelled members have a value, bool[T]."""
  seen = members & jnp.isfinite(values) & labelled
  needed = metrics.MIN_COVERAGE * jnp.sum(labelled, -1)
  return jnp.sum(seen, -1) >= needed


def standardized(
  values: jax.Array, members: jax.Array, labelled: jax.Array
) -> jax.Array:
  """A factor as the pool sees it: standardised per day, NaN -> 0.

  A day with fewer than half of the labelled members covered is all 0, "no
  opinion", as it counts 0 in the factor's own IC.

  Args:
    values: f32[T, S], NaN where missing.
    members: bool[T, S].
    labelled: bool[T, S], members with a known label.

  Returns:
    f32[T, S], finite.
  """
  z = panel_lib.standardize(values, members)
  counts = is_covered(values, members, labelled)
  return jnp.where(counts[:, None] & jnp.isfinite(z), z, 0.0)


def prepare(values: jax.Array, members: jax.Array, target: Target) -> jax.Array:
  """A factor as `insert` takes it: standardised, 0 in the mean of labelled."""
  chex.assert_equal_shape([values, members, target.label])
  z = standardized(values, members, target.labelled)
  count = jnp.maximum(jnp.sum(target.labelled, -1, keepdims=True), 1)
  z = jnp.where(target.labelled, z, 0.0)
  mean = jnp.sum(z, -1, keepdims=True) / count
  return jnp.where(target.labelled, z - mean, 0.0)


def empty(capacity: int, num_days: int, num_stocks: int) -> Pool:
  """A pool without factors."""
  return Pool(
    factors=(jnp.zeros((num_days, num_stocks), jnp.float32),) * capacity,
    with_label=jnp.zeros((capacity, num_days), jnp.float32),
    mutual=jnp.zeros((capacity, capacity, num_days), jnp.float32),
    weights=jnp.zeros(capacity, jnp.float32),
    ids=jnp.full(capacity, -1, jnp.int32),
  )


def _products(left, right, target: Target):
  """Daily mean products over labelled members.

  Args:
    left, right: sequences of N and M factors f32[T, S].
    target: the label.

  Returns:
    (f32[N, M, T], those of `left` with the label f32[N, T]).
  """
  count = jnp.maximum(jnp.sum(target.labelled, -1), 1).astype(jnp.float32)

  def multiply(sides):
    sides = (jnp.stack(side) for side in sides)
    return jnp.einsum('nts,mts->nmt', *sides, precision='highest')

  sides = tuple(left), (*right, target.label)
  products = metrics.by_days(multiply, sides, DAYS) / count[None, None]
  return products[:, :-1], products[:, -1]


# A GPU multiplies in fewer bits unless told; figures of a pool need all.
@jax.default_matmul_precision('highest')
def combined_ic(
  weights: jax.Array, with_label: jax.Array, mutual: jax.Array
) -> jax.Array:
  """Exact daily IC of the weighted sum, f32[T].

  Args:
    weights: f32[P].
    with_label: f32[P, T].
    mutual: f32[P, P, T].
  """
  product = jnp.einsum('p,pt->t', weights, with_label)
  power = jnp.einsum('p,pqt,q->t', weights, mutual, weights)
  # Rounding leaves a sum of opposites at about 1e-7 of its parts.
  parts = jnp.square(jnp.sum(jnp.abs(weights)))
  counts = power > 1e-7 * parts
  return jnp.where(
    counts, product / jnp.sqrt(jnp.where(counts, power, 1.0)), 0.0
  )


def daily_ic(pool: Pool) -> jax.Array:
  """Exact daily IC of the pool on its own days, f32[T]."""
  return combined_ic(pool.weights, pool.with_label, pool.mutual)


class _Slots(NamedTuple):
  """A pool inside a chunk: each slot names an item of the chunk's tables."""

  item: jax.Array  # i32[P], -1 for an empty slot
  weights: jax.Array  # f32[P]


def _append(slots: _Slots, item, tables, config, protected):
  """Algorithm 1: append `item`, fit, drop the smallest |w| if over capacity.

  Args:
    slots: the pool.
    item: index of the candidate in the tables.
    tables: (mean correlations [M, M], mean with label [M]).
    protected: slots at the front that nothing leaves.

  Returns:
    The new slots.
  """
  gram, with_label = tables
  items = jnp.append(slots.item, item)
  used = items >= 0
  w = fit(gram[items][:, items], with_label[items], used,
          jnp.append(slots.weights, 0.0), config)  # fmt: skip
  # The first empty slot takes the candidate; without one the smallest |w|
  # leaves, which is the candidate, the last, when it ties.
  last = items.shape[0] - 1
  size = jnp.abs(w)
  if protected:
    size = size.at[:protected].set(jnp.inf)
  smallest = last - jnp.argmin(size[::-1])
  leaves = jnp.where(jnp.all(used), smallest, jnp.argmin(used))
  position = jnp.arange(slots.item.shape[0])
  return _Slots(
    jnp.where(position == leaves, item, slots.item),
    jnp.where(position == leaves, w[-1], w[:-1]),
  )


@functools.partial(
  jax.jit, static_argnames=('config', 'accept', 'objective', 'protected')
)
@jax.default_matmul_precision('highest')
def _insert(
  pool, candidates, ids, target, scored, config, accept, objective, protected
):
  """`insert`, but for the factors: the item of each slot in their place."""
  days = scored.astype(jnp.float32)  # Counts have 64 bits with x64.
  mean_over = days / jnp.maximum(jnp.sum(days), 1)
  capacity = pool.ids.shape[0]
  cross, with_label = _products(candidates, pool.factors + candidates, target)
  with_label = jnp.concatenate([pool.with_label, with_label])
  top = jnp.concatenate([pool.mutual, cross[:, :capacity].swapaxes(0, 1)], 1)
  mutual = jnp.concatenate([top, cross])
  tables = (mutual @ mean_over, with_label @ mean_over)
  all_ids = jnp.concatenate([pool.ids, ids])

  def ic_of(slots):
    daily = combined_ic(slots.weights, with_label[slots.item],
                        mutual[slots.item][:, slots.item])  # fmt: skip
    return objective(daily, scored)

  def commit(carry, n):
    slots, ic = carry
    item = capacity + n
    gram, label_means = tables
    # Weights of empty slots are 0.
    unexplained = label_means[item] - gram[item, slots.item] @ slots.weights
    new = _append(slots, item, tables, config, protected)
    new_ic = ic_of(new)
    # Factors have variance 1 over members, labelled or not: nearly 1 here.
    size = jnp.sqrt(gram[item, item] * jnp.diagonal(gram)[slots.item])
    alike = gram[item, slots.item] > TWIN * size
    is_twin = jnp.any(alike & (slots.item >= 0))
    real = ids[n] >= 0
    keep = real
    if accept == 'improve':
      keep = real & (new_ic > ic)
    elif accept == 'distinct':
      keep = real & ~is_twin
    new, ic = jax.tree.map(
      functools.partial(jnp.where, keep), (new, new_ic), (slots, ic)
    )
    held = jnp.where(new.item >= 0, all_ids[new.item], -1)
    tried, left = jnp.where(real, jnp.stack([new_ic, unexplained]), 0.0)
    return (new, ic), Trace(ic, held, tried, left, real & is_twin)

  start = _Slots(
    jnp.where(pool.ids >= 0, jnp.arange(capacity, dtype=jnp.int32), -1),
    pool.weights,
  )
  (slots, _), trace = jax.lax.scan(
    commit,
    (start, ic_of(start)),
    jnp.arange(ids.shape[0], dtype=jnp.int32),
  )
  filled = slots.item >= 0
  pairs = (filled[:, None] & filled[None])[..., None]
  pool = Pool(
    factors=(),
    with_label=jnp.where(filled[:, None], with_label[slots.item], 0.0),
    mutual=jnp.where(pairs, mutual[slots.item][:, slots.item], 0.0),
    weights=jnp.where(filled, slots.weights, 0.0),
    ids=jnp.where(filled, all_ids[slots.item], -1),
  )
  return pool, slots.item, trace


class Trace(NamedTuple):
  """What happened at each candidate of `insert`.

  ic: IC of the pool after it, or what else the objective makes of its series.
  ids: those in the pool after it, -1 for an empty slot.
  tried_ic: that of the pool that the candidate led to, also when rejected.
  unexplained: mean daily correlation of the candidate with what the pool before
    it leaves of the label: by its size the fit decides to use it or not.
  is_twin: its mean correlation with a factor in the pool is above `TWIN`.
  """

  ic: jax.Array  # f32[N]
  ids: jax.Array  # i32[N, P]
  tried_ic: jax.Array  # f32[N]
  unexplained: jax.Array  # f32[N]
  is_twin: jax.Array  # bool[N]


def insert(
  pool: Pool,
  candidates: Sequence[jax.Array],
  ids: jax.Array,
  target: Target,
  scored: jax.Array,
  *,
  config: FitConfig = DEFAULT_FIT,
  accept: str = 'always',
  objective: Callable = objectives.mean,
  protected: int = 0,
) -> tuple[Pool, Trace]:
  """Commits candidates one after the other (Algorithm 1).

  Jitted inside; it can be jitted or vmapped again, and copies planes then,
  which it does not otherwise.

  Args:
    pool: the pool so far.
    candidates: N factors f32[T, S] from `prepare`; compiled for each N.
    ids: i32[N], not negative; -1 marks padding that changes nothing.
    target: the label.
    scored: bool[T], the days that count.
    config: of the fit.
    accept: 'always' as in the paper; 'improve': a candidate that does not
      raise the pool's IC leaves it as it was; 'distinct': so does a twin of a
      factor in the pool, as in AlphaGen.
    objective: of the pool's daily IC, in place of the mean; see `objectives`.
      Compiled for each. The weights remain those of Eq. 7.
    protected: slots at the front whose factors never leave the pool, however
      small their weights; fewer than there are slots.

  Returns:
    The new pool and a `Trace`.
  """
  if accept not in ACCEPTS:
    raise ValueError(f'accept is {accept!r}: expected one of {ACCEPTS}')
  candidates, ids = tuple(candidates), jnp.asarray(ids, jnp.int32)
  rest, item, trace = _insert(
    pool, candidates, ids, target, scored, config, accept, objective, protected
  )
  planes = _take(pool.factors + candidates, item)
  return rest.replace(factors=planes), trace


def _take(planes, item):
  """The planes that `item i32[P]` names; 0 for -1."""
  nothing = jnp.zeros_like(planes[0])
  if isinstance(item, jax.core.Tracer):
    stacked = jnp.stack([*planes, nothing])
    return tuple(stacked[item[i]] for i in range(item.shape[0]))
  return tuple(planes[i] if i >= 0 else nothing for i in item.tolist())
