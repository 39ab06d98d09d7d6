"""The network fitted to the states of games: replay, gradient steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from alphajax.search import chunks, losses, mcts, replay


class Learner(NamedTuple):
  """The network and what it learns from.

  replay: rows are `losses.Batch`, or `Numbered`.
  table: `transpositions.Table` under config.search.known_rewards, else nothing.
  """

  params: Any
  opt_state: Any
  replay: replay.Replay
  table: Any = ()


class Numbered(NamedTuple):
  """States whose value targets are looked up each time that they are drawn.

  batch: its own value targets say nothing.
  number: i32[B], which finished formula a state came to.
  """

  batch: losses.Batch
  number: jax.Array


def row(max_tokens: int, num_actions: int, numbered: bool) -> Any:
  """One row of a replay, zeros; `numbered`: a `Numbered` one."""
  batch = losses.row(max_tokens, num_actions)
  return Numbered(batch, jnp.zeros((), jnp.int32)) if numbered else batch


def fit_network(
  learner: Learner,
  rng_key: jax.Array,
  games: mcts.Trajectories,
  targets: jax.Array,
  *,
  apply_fn: Callable,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  num_updates: int,
  l2: float,
  replay_size: int,
  learning_rate: float,
  num_tokens: int | None = None,
  worths: jax.Array | None = None,
  mesh: Mesh | None = None,
) -> tuple[Learner, dict[str, jax.Array]]:
  """Adds the games to the replay and takes `num_updates` gradient steps.

  targets: f32[M, B] of every state; of `Numbered` rows the numbers i32[M, B].
  worths: f32[N], of `Numbered` rows what each formula is worth now.
  num_tokens: states are cut to so many, of which none that is drawn has more;
    see `longest_drawn`. The same bits in less time.
  mesh: devices that share each batch, inside `chunks.share`; other bits than
    without one, the same on any number of them.
  """
  del replay_size, learning_rate  # In the replay and the optimizer already.
  memory = _add_games(learner.replay, games, targets)
  loss_fn = functools.partial(
    losses.policy_value_loss, apply_fn=apply_fn, l2=l2
  )
  grad_fn = jax.grad(loss_fn, has_aux=True)
  if mesh is not None:
    grad_fn = chunks.gradients(loss_fn, mesh)

  def update(carry, rng_key):
    params, opt_state = carry
    sample_key, dropout_key = jax.random.split(rng_key)
    batch = _with_targets(replay.sample(memory, sample_key, batch_size), worths)
    batch = batch._replace(tokens=batch.tokens[:, :num_tokens])
    grads, metrics = grad_fn(params, batch=batch, rng_key=dropout_key)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), metrics

  (params, opt_state), metrics = jax.lax.scan(
    update,
    (learner.params, learner.opt_state),
    jax.random.split(rng_key, num_updates),
  )
  metrics = jax.tree.map(jnp.mean, metrics)
  learner = learner._replace(params=params, opt_state=opt_state, replay=memory)
  return learner, metrics


def longest_drawn(
  memory: replay.Replay,
  rng_key: jax.Array,
  games: mcts.Trajectories,
  targets: jax.Array,
  *,
  batch_size: int,
  num_updates: int,
) -> jax.Array:
  """Tokens of the longest state that `fit_network` will draw, i32[]."""
  memory = _add_games(memory, games, targets)
  lengths = jnp.sum(_states(memory.rows).tokens > 0, axis=1)
  memory = replay.Replay(lengths, memory.next, memory.size)

  def draw(rng_key):
    sample_key, _ = jax.random.split(rng_key)
    return replay.sample(memory, sample_key, batch_size)

  return jnp.max(jax.vmap(draw)(jax.random.split(rng_key, num_updates)))


def _add_games(
  memory: replay.Replay, games: mcts.Trajectories, targets: jax.Array
) -> replay.Replay:
  """The replay with the moves that somebody chose."""
  chex.assert_equal_shape([games.active, targets])
  numbered = isinstance(memory.rows, Numbered)
  own = jnp.zeros(targets.shape, jnp.float32) if numbered else targets
  rows: Any = losses.Batch(
    games.tokens, games.action_weights, games.invalid_actions, own
  )
  if numbered:
    rows = Numbered(rows, targets)
  rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
  return replay.add(memory, rows, games.active.reshape(-1))


def _states(rows: Any) -> losses.Batch:
  return rows.batch if isinstance(rows, Numbered) else rows


def _with_targets(rows: Any, worths: jax.Array | None) -> losses.Batch:
  """States with their value targets, those of now where they are numbered."""
  if not isinstance(rows, Numbered):
    return rows
  assert worths is not None
  return rows.batch._replace(value_target=worths[rows.number])
