"""PUCT (Eq. 8), its root noise and its temperature."""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from alphajax.networks import heads
from alphajax.search import dealing
from alphajax.search.tree_search import Policy


def plain_q(
  qvalues: jax.Array, visits: jax.Array, node_value: jax.Array
) -> jax.Array:
  """The paper's Q, 0 where never visited."""
  del visits, node_value
  return qvalues


def minmax_q(
  qvalues: jax.Array, visits: jax.Array, node_value: jax.Array
) -> jax.Array:
  """Q moved to [0, 1] by the extremes among the node and its children.

  Values of about 0.05 are lost beside the exploration term; scaled, the best
  child seen counts 1. An action never visited counts as the node itself.
  """
  values = jnp.where(visits > 0, qvalues, node_value)
  low = jnp.minimum(jnp.min(values), node_value)
  high = jnp.maximum(jnp.max(values), node_value)
  return (values - low) / jnp.maximum(high - low, 1e-8)


Q_TRANSFORMS = {'none': plain_q, 'minmax': minmax_q}


def branch_puct(
  prior: jax.Array,
  visits: jax.Array,
  qvalues: jax.Array,
  node_value: jax.Array,
  invalid_actions: jax.Array,
  raw_value: jax.Array,
  *,
  c_puct: float,
  base_branches: int,
  branch_adapted: bool = True,
  q_transform: Callable = plain_q,
  backup: str = 'mean',
) -> jax.Array:
  """PUCT whose exploration grows with the number b of valid rules, Eq. 8.

  Scores [A] of one node: Q + c sqrt(b / b_ref) P sqrt(sum N) / (1 + N).
  Before any visit Eq. 8 is a tie that the prior decides here.
  branch_adapted: False leaves the root of b / b_ref out: plain PUCT.
  backup: see `Policy`. Under 'max' the value of a node is that of its best
    action; what q_transform compares with is the network's word on it.
  """
  chex.assert_equal_shape([prior, visits, qvalues, invalid_actions])
  c: jax.Array | float = c_puct
  if branch_adapted:
    c = c * jnp.sqrt(jnp.sum(~invalid_actions) / base_branches)
  total = jnp.maximum(jnp.sum(visits), 1)
  bonus = c * prior * jnp.sqrt(total) / (1 + visits)
  reference = raw_value if backup == 'max' else node_value
  return q_transform(qvalues, visits, reference) + bonus


def add_noise(
  rng_key: jax.Array,
  logits: jax.Array,
  invalid_actions: jax.Array,
  *,
  fraction: float,
  alpha: float,
  mesh: Mesh | None = None,
) -> jax.Array:
  """Mixes Dirichlet noise over the valid actions into the prior."""
  chex.assert_equal_shape([logits, invalid_actions])
  # The part of a Dirichlet draw on some coordinates, normalised, is Dirichlet.
  gammas = dealing.draw(
    mesh, lambda key, *like: jax.random.loggamma(key, alpha, *like), rng_key,
    logits,
  )  # fmt: skip
  noise = jax.nn.softmax(heads.mask_logits(gammas, invalid_actions))
  prior = (1 - fraction) * jax.nn.softmax(logits) + fraction * noise
  tiny = jnp.finfo(prior.dtype).tiny
  return heads.mask_logits(jnp.log(prior + tiny), invalid_actions)


def visit_policy(visits: jax.Array, temperature: jax.Array) -> jax.Array:
  """`visits^(1/T)`, normalised, `[..., A]`; T > 0."""
  logits = jnp.log(jnp.maximum(visits, 1)) / temperature
  return jax.nn.softmax(jnp.where(visits > 0, logits, -jnp.inf))


def temperatures(
  iteration: jax.Array | int,
  num_moves: int,
  *,
  start: float = 1.0,
  end: float = 1.0,
  moves: int = 0,
  iterations: int = 0,
) -> jax.Array:
  """Temperatures of the moves of an iteration's games, `f32[num_moves]`.

  From `start` straight to `end`, within `moves` moves of each game or within
  `iterations` iterations of the run; 0: not along these.

  Raises:
    ValueError: a temperature that is not positive, a schedule along both or
      along nothing.
  """
  if min(start, end) <= 0:
    raise ValueError(
      f'config.search.temperature: {start} and {end} must be above 0'
    )
  if (moves > 0) + (iterations > 0) != (start != end):
    raise ValueError(
      'config.search.temperature: a schedule has an end other than its start '
      'and either moves or iterations above 0; '
      f'got {start=}, {end=}, {moves=}, {iterations=}'
    )
  done = jnp.zeros(num_moves, jnp.float32)
  if moves:
    done = jnp.arange(num_moves) / moves
  elif iterations:
    done = jnp.full(num_moves, iteration / iterations, jnp.float32)
  return start + (end - start) * jnp.minimum(done, 1.0)


def make(
  *,
  c_puct: float = 1.0,
  base_branches: int = 40,
  branch_adapted: bool = True,
  q_transform: str = 'none',
  backup: str = 'mean',
  dirichlet_fraction: float = 0.0,
  dirichlet_alpha: float = 0.3,
  mesh: Mesh | None = None,
) -> Policy:
  """The paper's policy: visits are what the network learns and play draws.

  mesh: devices that share the games, see `dealing`.

  Raises:
    ValueError: an unknown `q_transform`.
  """
  if q_transform not in Q_TRANSFORMS:
    raise ValueError(
      f'config.search.q_transform is {q_transform!r}: '
      f'expected one of {tuple(Q_TRANSFORMS)}'
    )

  def begin(rng_key, logits, invalid_actions):
    if dirichlet_fraction > 0:
      logits = add_noise(
        rng_key,
        logits,
        invalid_actions,
        fraction=dirichlet_fraction,
        alpha=dirichlet_alpha,
        mesh=mesh,
      )
    return logits, ()

  def conclude(rng_key, noise, prior, visits, *rest, temperature):
    del noise, prior, rest
    weights = visit_policy(visits, temperature)
    # As `jax.random.categorical` draws.
    gumbel = dealing.draw(mesh, jax.random.gumbel, rng_key, weights)
    return jnp.argmax(gumbel + jnp.log(weights), axis=1), weights

  score_fn = functools.partial(
    branch_puct,
    c_puct=c_puct,
    base_branches=base_branches,
    branch_adapted=branch_adapted,
    q_transform=Q_TRANSFORMS[q_transform],
    backup=backup,
  )
  return Policy(begin, score_fn, None, conclude, backup)
