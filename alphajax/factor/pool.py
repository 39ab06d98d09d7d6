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

import jax
import jax.numpy as jnp
import optax
from flax import struct

from alphajax.data import panel as panel_lib
from alphajax.factor import metrics, objectives
from alphajax.factor.metrics import Target

DAYS = 128  # Days per step of that computation, to bound its memory.


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


class FitConfig(NamedTuple):
  """How weights are fitted.

  l1: weight of the L1 norm beside the mean squared error.
  tolerance: largest change of a weight at which the fit stops.
  max_steps: gradient steps at most.
  """

  l1: float = 0.005
  tolerance: float = 1e-7
  max_steps: int = 2000


DEFAULT_FIT = FitConfig()


def standardized(values, members, labelled):
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
  seen = members & jnp.isfinite(values)
  z = panel_lib.standardize(values, members)
  counts = jnp.sum(seen & labelled, -1) >= metrics.MIN_COVERAGE * jnp.sum(
    labelled, -1
  )
  return jnp.where(counts[:, None] & jnp.isfinite(z), z, 0.0)


def prepare(values, members, target: Target):
  """A factor as `insert` takes it: standardized, and centred where labelled."""
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
    return jnp.einsum(
      'nts,mts->nmt', *sides, precision=jax.lax.Precision.HIGHEST
    )

  sides = tuple(left), (*right, target.label)
  products = metrics.by_days(multiply, sides, DAYS) / count
  return products[:, :-1], products[:, -1]


def soft_threshold(w, amount):
  """The proximal step of `amount * |w|`: shrinks, to exactly 0 if small."""
  return jnp.sign(w) * jnp.maximum(jnp.abs(w) - amount, 0.0)


def fit(gram, with_label, used, initial, config: FitConfig):
  """Weights that minimise w'Gw - 2 b'w + l1 |w|, the MSE of Eq. 7 with L1.

  Nesterov-accelerated proximal gradient steps (FISTA, restarted when a step
  goes uphill), each an `optax.sgd` step and a soft threshold. The problem is
  convex, so the start, random in the paper, does not matter.

  Args:
    gram: f32[P, P], mean correlations.
    with_label: f32[P].
    used: bool[P], False for an empty slot.
    initial: f32[P].
    config: tolerance and L1 weight.

  Returns:
    f32[P], 0 in unused slots.
  """
  pairs = used[:, None] & used
  gram = jnp.where(pairs, gram, 0.0)
  with_label = jnp.where(used, with_label, 0.0)
  # 2 G has its largest eigenvalue below twice the largest absolute row sum.
  bound = 2.0 * jnp.max(jnp.sum(jnp.abs(gram), -1))
  rate = 1.0 / jnp.maximum(bound, 1e-6)
  optimizer = optax.sgd(rate)

  def step(carry):
    w, ahead, momentum, _, i = carry
    gradient = 2.0 * (gram @ ahead - with_label)
    updates, _ = optimizer.update(gradient, optimizer.init(ahead))
    new = soft_threshold(optax.apply_updates(ahead, updates), rate * config.l1)
    uphill = jnp.sum((ahead - new) * (new - w)) > 0
    momentum = jnp.where(uphill, 1.0, momentum)
    faster = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2))
    ahead = new + (momentum - 1.0) / faster * (new - w)
    return new, ahead, faster, jnp.max(jnp.abs(new - w)), i + 1

  def running(carry):
    *_, change, i = carry
    return (change > config.tolerance) & (i < config.max_steps)

  w = jnp.where(used, initial, 0.0)
  carry = (w, w, jnp.float32(1.0), jnp.float32(jnp.inf), 0)
  return jax.lax.while_loop(running, step, carry)[0]


def combined_ic(weights, with_label, mutual):
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


def daily_ic(pool: Pool):
  """Exact daily IC of the pool on its own days, f32[T]."""
  return combined_ic(pool.weights, pool.with_label, pool.mutual)


class _Slots(NamedTuple):
  """A pool inside a chunk: each slot names an item of the chunk's tables."""

  item: jax.Array  # i32[P], -1 for an empty slot
  weights: jax.Array  # f32[P]


def _append(slots: _Slots, item, tables, config):
  """Algorithm 1: append `item`, fit, drop the smallest |w| if over capacity.

  Args:
    slots: the pool.
    item: index of the candidate in the tables.
    tables: (mean correlations [M, M], mean with label [M]).

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
  smallest = last - jnp.argmin(jnp.abs(w)[::-1])
  leaves = jnp.where(jnp.all(used), smallest, jnp.argmin(used))
  position = jnp.arange(slots.item.shape[0])
  return _Slots(
    jnp.where(position == leaves, item, slots.item),
    jnp.where(position == leaves, w[-1], w[:-1]),
  )


@functools.partial(jax.jit, static_argnames=('config', 'accept', 'objective'))
def _insert(pool, candidates, ids, target, scored, config, accept, objective):
  """`insert`, but for the factors: the item of each slot in their place."""
  mean_over = scored / jnp.maximum(jnp.sum(scored), 1)
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
    new = _append(slots, item, tables, config)
    new_ic = ic_of(new)
    real = ids[n] >= 0
    keep = real & (new_ic > ic) if accept == 'improve' else real
    new, ic = jax.tree.map(
      functools.partial(jnp.where, keep), (new, new_ic), (slots, ic)
    )
    members = jnp.where(new.item >= 0, all_ids[new.item], -1)
    return (new, ic), Trace(
      ic, members, *jnp.where(real, jnp.stack([new_ic, unexplained]), 0.0)
    )

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
  pairs = (filled[:, None] & filled)[..., None]
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
  members: ids in the pool after it, -1 for an empty slot.
  tried_ic: that of the pool that the candidate led to, also when rejected.
  unexplained: mean daily correlation of the candidate with what the pool before
    it leaves of the label: by its size the fit decides to use it or not.
  """

  ic: jax.Array  # f32[N]
  members: jax.Array  # i32[N, P]
  tried_ic: jax.Array  # f32[N]
  unexplained: jax.Array  # f32[N]


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
) -> tuple[Pool, Trace]:
  """Commits candidates one after the other (Algorithm 1).

  Args:
    pool: the pool so far.
    candidates: N factors f32[T, S] from `prepare`; compiled for each N.
    ids: i32[N], not negative; -1 marks padding that changes nothing.
    target: the label.
    scored: bool[T], the days that count.
    config: of the fit.
    accept: 'always' as in the paper, or 'improve': a candidate that does not
      raise the pool's IC leaves it as it was.
    objective: of the pool's daily IC, in place of the mean; see `objectives`.
      Compiled for each. The weights remain those of Eq. 7.

  Returns:
    The new pool and a `Trace`.
  """
  if accept not in ('always', 'improve'):
    raise ValueError(f"accept is 'always' or 'improve', not {accept!r}")
  candidates = tuple(candidates)
  rest, item, trace = _insert(
    pool, candidates, ids, target, scored, config, accept, objective
  )
  everyone = pool.factors + candidates
  nothing = jnp.zeros_like(target.label)
  factors = (everyone[i] if i >= 0 else nothing for i in item.tolist())
  return rest.replace(factors=tuple(factors)), trace


def signal(weights, values, members):
  """The pool's signal on any panel: weighted sum of standardised factors.

  A factor without a value has no opinion, which is 0 in the sum, as it is in
  the fit; `coverage` says how much of the pool speaks of a stock.

  Args:
    weights: f32[P].
    values: f32[P, T, S], NaN where missing.
    members: bool[T, S].

  Returns:
    f32[T, S]; NaN for non-members and where no factor has a value.
  """
  z = jax.vmap(lambda v: standardized(v, members, members))(values)
  known = coverage(weights, values, members) > 0
  return jnp.where(known, jnp.einsum('p,pts->ts', weights, z), jnp.nan)


def coverage(weights, values, members):
  """Share of the pool's sum of |weights| whose factor has a value.

  Args:
    weights, values, members: as in `signal`.

  Returns:
    f32[T, S] from 0 to 1; NaN for non-members.
  """
  sizes = jnp.abs(weights)
  total = jnp.sum(sizes)
  known = jnp.isfinite(values).astype(jnp.float32)
  share = jnp.einsum('p,pts->ts', sizes, known)
  share = share / jnp.where(total > 0, total, 1.0)
  return jnp.where(members, share, jnp.nan)
