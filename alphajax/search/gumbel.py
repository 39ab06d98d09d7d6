"""Gumbel MuZero's search policy (Danihelka et al., ICLR 2022), as in mctx.

At the root, the actions of the k highest `gumbel + logit` are compared by
sequential halving; below it, visits follow the improved policy
`softmax(logits + completed Q)`, which is also what the network learns. Q values
are rescaled to [0, 1] node by node, so their unit does not matter.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx
from jax.sharding import Mesh

from alphajax.networks import heads
from alphajax.search import dealing, tree_search
from alphajax.search.tree_search import Policy

_LOWEST = -1e9  # Of a score.


class _Node(NamedTuple):
  """One node in the form of the `mctx.Tree` that a qtransform reads."""

  children_prior_logits: jax.Array  # [1, A]
  children_visits: jax.Array  # i32[1, A]
  children_qvalues: jax.Array  # [1, A]
  raw_values: jax.Array  # [1]

  def qvalues(self, node_index: int) -> jax.Array:
    return self.children_qvalues[node_index]


def completed_q(
  prior: jax.Array,
  visits: jax.Array,
  qvalues: jax.Array,
  node_value: jax.Array,
  invalid_actions: jax.Array,
  raw_value: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Logits and completed Q of one node, `[A]` each, in the logits' scale."""
  del node_value
  chex.assert_equal_shape([prior, visits, qvalues, invalid_actions])
  logits = jnp.log(jnp.maximum(prior, jnp.finfo(prior.dtype).tiny))
  logits = heads.mask_logits(logits, invalid_actions)
  parts = (logits, visits, qvalues, raw_value)
  node = _Node(*(jnp.expand_dims(x, 0) for x in parts))
  return logits, mctx.qtransform_completed_by_mix_value(node, 0)


def improved_policy(
  prior: jax.Array, visits: jax.Array, *rest: jax.Array
) -> jax.Array:
  """`softmax(logits + completed Q)` of one node, `[A]`."""
  logits, q = completed_q(prior, visits, *rest)
  return jax.nn.softmax(logits + q)


def score(prior: jax.Array, visits: jax.Array, *rest: jax.Array) -> jax.Array:
  """Below the root: visits follow the improved policy, `[A]`."""
  policy = improved_policy(prior, visits, *rest)
  return policy - visits / (1 + jnp.sum(visits))


def halving(num_considered: int, num_simulations: int) -> list[int]:
  """Sequential halving (Karnin et al., ICML 2013), one simulation at a time.

  Each simulation goes to an action visited so many times before: first all
  that are considered have their turns, then the better half of them, until two
  are left. A budget of about `num_simulations / log2(num_considered)` goes to
  each round.
  """
  if num_considered <= 1:
    return list(range(num_simulations))
  rounds = math.ceil(math.log2(num_considered))
  schedule, visits, left = [], 0, num_considered
  while len(schedule) < num_simulations:
    for _ in range(max(1, num_simulations // (rounds * left))):
      schedule += [visits] * left
      visits += 1
    left = max(2, left // 2)
  return schedule[:num_simulations]


def make(
  *,
  num_simulations: int,
  num_considered: int = 16,
  backup: str = 'mean',
  mesh: Mesh | None = None,
) -> Policy:
  """Gumbel MuZero; its noise is drawn once for each root.

  num_considered: k. With fewer valid actions all of them are compared.
  backup: see `Policy`.
  mesh: devices that share the games, see `dealing`.
  """
  table = jnp.asarray(
    [halving(count, num_simulations) for count in range(num_considered + 1)]
  )

  def begin(rng_key, logits, invalid_actions):
    del invalid_actions
    return logits, dealing.draw(mesh, jax.random.gumbel, rng_key, logits)

  def considered_score(considered_visit, gumbel, prior, visits, *rest):
    logits, q = completed_q(prior, visits, *rest)
    logits = logits - jnp.max(logits)
    # However low its logit, a considered action comes before all others.
    scores = jnp.maximum(gumbel + logits + q, _LOWEST)
    return jnp.where(visits == considered_visit, scores, -jnp.inf)

  def root_score(gumbel, prior, visits, *rest):
    num_valid = jnp.sum(prior != tree_search.FORBIDDEN)
    compared = jnp.minimum(num_valid, num_considered)
    # Visits of a root sum up to the simulations so far.
    so_far = jnp.minimum(jnp.sum(visits), num_simulations - 1)
    return considered_score(
      table[compared, so_far], gumbel, prior, visits, *rest
    )

  def conclude(rng_key, gumbel, prior, visits, *rest, temperature):
    del rng_key, temperature
    most = jnp.max(visits, axis=1)
    scores = jax.vmap(considered_score)(most, gumbel, prior, visits, *rest)
    forbidden = prior == tree_search.FORBIDDEN
    actions = jnp.argmax(jnp.where(forbidden, -jnp.inf, scores), axis=1)
    weights = jax.vmap(improved_policy)(prior, visits, *rest)
    return actions, weights

  return Policy(begin, score, root_score, conclude, backup)
