"""Proximal policy optimisation (Schulman et al. 2017) of games with masks.

Clipped policy gradient, value loss and entropy, advantages by GAE, epochs of
minibatches. A minibatch is made of whole games: a recurrent network then reads
every token once, however many states a game has. `M` moves, `B` games, `A`
actions, as in `rollout.Rollout`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from alphajax.networks import heads
from alphajax.search.rollout import Rollout

EPSILON = 1e-8  # Of the deviation that advantages are divided by.


class Options(NamedTuple):
  """The keys of `config.ppo`; see `configs/alphagen.py`."""

  learning_rate: float
  num_epochs: int
  num_minibatches: int
  clip: float
  value_weight: float
  entropy_weight: float
  max_grad_norm: float
  discount: float
  gae_lambda: float
  normalize: bool


class Games(NamedTuple):
  """What a loss reads of games; the games are the second axis.

  inputs: whatever the network reads, a pytree of `[..., B, ...]` whose axis of
    games is 1; such as the tokens i32[M, B, L].
  log_probs, values: of the policy that played.
  advantages, returns: see `estimate`.
  """

  inputs: Any
  actions: jax.Array  # i32[M, B]
  invalid_actions: jax.Array  # bool[M, B, A]
  active: jax.Array  # bool[M, B]
  log_probs: jax.Array  # [M, B]
  values: jax.Array  # [M, B]
  advantages: jax.Array  # [M, B]
  returns: jax.Array  # [M, B]


def options(config) -> Options:
  """Reads `config.ppo`.

  Raises:
    ValueError: a number out of its range, or games that cannot be cut evenly.
  """
  found = Options(**config.ppo)
  for name, least, most in (
    ('learning_rate', 0, float('inf')), ('num_epochs', 1, float('inf')),
    ('num_minibatches', 1, float('inf')), ('clip', 0, 1),
    ('value_weight', 0, float('inf')), ('entropy_weight', 0, float('inf')),
    ('max_grad_norm', 0, float('inf')), ('discount', 0, 1),
    ('gae_lambda', 0, 1),
  ):  # fmt: skip
    value = getattr(found, name)
    if not least <= value <= most:
      raise ValueError(
        f'config.ppo.{name} is {value}: expected a number from {least} to '
        f'{most}'
      )
  return found


def optimizer(opts: Options) -> optax.GradientTransformation:
  """Adam after clipping the norm; its epsilon as in stable-baselines3."""
  return optax.chain(
    optax.clip_by_global_norm(opts.max_grad_norm),
    optax.adam(opts.learning_rate, eps=1e-5),
  )


def estimate(
  rewards: jax.Array,
  values: jax.Array,
  active: jax.Array,
  *,
  discount: float,
  gae_lambda: float,
) -> tuple[jax.Array, jax.Array]:
  """Generalised advantage estimates of games that were played to the end.

  A_t = r_t + discount v_{t+1} - v_t + discount lambda A_{t+1}, where nothing
  follows the last move.

  Args:
    rewards: f32[M, B] paid by a move.
    values: f32[M, B] of the state before it.
    active: bool[M, B], True up to the last move of a game.
    discount: of what comes a move later.
    gae_lambda: 1: what a game paid less the value; 0: one step.

  Returns:
    (advantages f32[M, B], returns f32[M, B], what values should be); both 0
    where a game is not active.
  """
  chex.assert_equal_shape([rewards, values, active])

  def back(carry, move):
    next_value, next_advantage = carry
    reward, value, is_active = move
    delta = reward + discount * next_value - value
    advantage = delta + discount * gae_lambda * next_advantage
    here = jax.tree.map(
      lambda x: jnp.where(is_active, x, 0.0), (value, advantage)
    )
    return here, here[1]

  nothing = jnp.zeros_like(values[0])
  _, advantages = jax.lax.scan(
    back, (nothing, nothing), (rewards, values, active), reverse=True
  )
  return advantages, jnp.where(active, advantages + values, 0.0)


def at_the_end(worths: jax.Array, active: jax.Array) -> jax.Array:
  """Rewards f32[M, B] of games that pay `worths f32[B]` by their last move."""
  follows = jnp.concatenate([active[1:], jnp.zeros_like(active[:1])])
  return jnp.where(active & ~follows, worths, 0.0)


def games_of(
  played: Rollout, worths: jax.Array, inputs: Any, opts: Options
) -> Games:
  """Games of a rollout that pay f32[B] at their end, ready to learn from."""
  advantages, returns = estimate(
    at_the_end(worths, played.active), played.values, played.active,
    discount=opts.discount, gae_lambda=opts.gae_lambda,
  )  # fmt: skip
  return Games(
    inputs, played.actions, played.invalid_actions, played.active,
    played.log_probs, played.values, advantages, returns,
  )  # fmt: skip


def loss(
  logits: jax.Array, values: jax.Array, games: Games, opts: Options
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss of a minibatch, means over its active moves, and what it shows.

  logits: `[M, n, A]` of the network that learns, not masked yet.
  values: `[M, n]`.

  Returns:
    (loss, metrics): `kl` estimates the divergence from the policy that played
    to this one, `clip_share` is the share of moves whose ratio is clipped.
  """
  chex.assert_equal_shape([logits, games.invalid_actions])
  chex.assert_equal_shape([values, games.returns])
  weight = games.active / jnp.maximum(jnp.sum(games.active), 1)

  def mean(x):
    return jnp.sum(weight * jnp.where(games.active, x, 0.0))

  all_log_probs = heads.log_probs(logits, games.invalid_actions)
  log_probs = jnp.take_along_axis(
    all_log_probs, games.actions[..., None], axis=-1
  )[..., 0]
  log_ratio = jnp.where(games.active, log_probs - games.log_probs, 0.0)
  ratio = jnp.exp(log_ratio)
  advantages = games.advantages
  if opts.normalize:
    advantages = _normalized(advantages, games.active)
  clipped = jnp.clip(ratio, 1 - opts.clip, 1 + opts.clip)
  policy_loss = -mean(jnp.minimum(ratio * advantages, clipped * advantages))
  value_loss = mean(jnp.square(values - games.returns))
  entropy = mean(heads.entropy(all_log_probs, games.invalid_actions))
  total = (
    policy_loss + opts.value_weight * value_loss - opts.entropy_weight * entropy
  )
  return total, {
    'loss': total,
    'policy_loss': policy_loss,
    'value_loss': value_loss,
    'entropy': entropy,
    'kl': mean(ratio - 1 - log_ratio),
    'clip_share': mean((jnp.abs(ratio - 1) > opts.clip).astype(jnp.float32)),
  }


def _normalized(advantages: jax.Array, active: jax.Array) -> jax.Array:
  """Mean 0 and deviation 1 over the active moves; one alone stays as it is."""
  count = jnp.sum(active)
  mean = jnp.sum(jnp.where(active, advantages, 0.0)) / jnp.maximum(count, 1)
  left = jnp.where(active, advantages - mean, 0.0)
  variance = jnp.sum(jnp.square(left)) / jnp.maximum(count - 1, 1)
  return jnp.where(count > 1, left / (jnp.sqrt(variance) + EPSILON), advantages)


def explained_variance(games: Games) -> jax.Array:
  """Share of the returns' variance that the values foresaw; 0 without any."""
  active = games.active

  def variance(x):
    count = jnp.maximum(jnp.sum(active), 1)
    mean = jnp.sum(jnp.where(active, x, 0.0)) / count
    return jnp.sum(jnp.where(active, jnp.square(x - mean), 0.0)) / count

  whole = variance(games.returns)
  left = variance(games.returns - games.values)
  return jnp.where(whole > 0, 1 - left / jnp.where(whole > 0, whole, 1.0), 0.0)


def check_batches(num_games: int, opts: Options, key: str) -> None:
  """Refuses games that cannot be cut into equal minibatches."""
  if num_games % opts.num_minibatches:
    raise ValueError(
      f'{key} is {num_games}, which config.ppo.num_minibatches = '
      f'{opts.num_minibatches} does not divide: set one to a multiple of the '
      'other'
    )


def shuffled(games: Games, rng_key: jax.Array, num_minibatches: int) -> Games:
  """Games in random order as minibatches: a leading axis is added."""
  num_games = games.active.shape[1]
  order = jax.random.permutation(rng_key, num_games)
  order = order.reshape(num_minibatches, -1)

  def cut(x):
    return jnp.moveaxis(x[:, order], 1, 0)

  return jax.tree.map(cut, games)


def fit(
  params: Any,
  opt_state: Any,
  rng_key: jax.Array,
  games: Games,
  *,
  apply_fn: Callable,
  opts: Options,
) -> tuple[Any, Any, dict[str, jax.Array]]:
  """All epochs of minibatches on games; pure, the caller jits.

  apply_fn: `(params, inputs of the minibatch, rng_key) -> (logits [M, n, A],
    values [M, n])`; the key is of dropout.

  Returns:
    (params, opt_state, metrics: means over the minibatches of the last epoch,
    and `explained_variance` of the values that played).
  """
  update_fn = optimizer(opts).update

  def of_batch(params, batch, rng_key):
    logits, values = apply_fn(params, batch.inputs, rng_key)
    return loss(logits, values, batch, opts)

  def minibatch(carry, inputs):
    params, opt_state = carry
    batch, rng_key = inputs
    gradient, metrics = jax.grad(of_batch, has_aux=True)(params, batch, rng_key)
    change, opt_state = update_fn(gradient, opt_state, params)
    return (optax.apply_updates(params, change), opt_state), metrics

  def epoch(carry, rng_key):
    shuffle_key, dropout_key = jax.random.split(rng_key)
    batches = shuffled(games, shuffle_key, opts.num_minibatches)
    keys = jax.random.split(dropout_key, opts.num_minibatches)
    carry, metrics = jax.lax.scan(minibatch, carry, (batches, keys))
    return carry, jax.tree.map(jnp.mean, metrics)

  (params, opt_state), metrics = jax.lax.scan(
    epoch, (params, opt_state), jax.random.split(rng_key, opts.num_epochs)
  )
  return params, opt_state, _of_last_epoch(metrics, games)


def fit_shared(
  params: tuple[Any, Any],
  opt_states: tuple[Any, Any],
  rng_key: jax.Array,
  games: Games,
  *,
  shared_fn: Callable,
  apply_fn: Callable,
  opts: Options,
) -> tuple[tuple, tuple, dict[str, jax.Array]]:
  """`fit` of a network with a part that is read once an epoch.

  What that part says is taken by all minibatches of the epoch, and it learns
  at the end of it from the mean of their gradients.

  Args:
    params: (of the shared part, of the rest); opt_states: of both.
    rng_key: the key is consumed.
    games: of any number of panels, say.
    shared_fn: params of the shared part -> what it says, a pytree.
    apply_fn: `(params of the rest, what the shared part says, inputs of the
      minibatch) -> (logits [M, n, A], values [M, n])`.
    opts: see `Options`.
  """
  update_fn = optimizer(opts).update

  def of_batch(rest, said, batch):
    logits, values = apply_fn(rest, said, batch.inputs)
    return loss(logits, values, batch, opts)

  def minibatch(carry, batch):
    rest, opt_state, said = carry
    (gradient, of_said), metrics = jax.grad(
      of_batch, argnums=(0, 1), has_aux=True
    )(rest, said, batch)
    change, opt_state = update_fn(gradient, opt_state, rest)
    carry = optax.apply_updates(rest, change), opt_state, said
    return carry, (of_said, metrics)

  def epoch(carry, rng_key):
    (shared, rest), (shared_state, rest_state) = carry
    said, pull_back = jax.vjp(shared_fn, shared)
    batches = shuffled(games, rng_key, opts.num_minibatches)
    (rest, rest_state, _), (of_said, metrics) = jax.lax.scan(
      minibatch, (rest, rest_state, said), batches
    )
    of_said = jax.tree.map(lambda x: jnp.mean(x, axis=0), of_said)
    (gradient,) = pull_back(of_said)
    change, shared_state = update_fn(gradient, shared_state, shared)
    shared = optax.apply_updates(shared, change)
    carry = (shared, rest), (shared_state, rest_state)
    return carry, jax.tree.map(jnp.mean, metrics)

  (params, opt_states), metrics = jax.lax.scan(
    epoch, (params, opt_states), jax.random.split(rng_key, opts.num_epochs)
  )
  return params, opt_states, _of_last_epoch(metrics, games)


def _of_last_epoch(metrics, games: Games) -> dict[str, jax.Array]:
  """What is told of a fit."""
  metrics = jax.tree.map(lambda x: x[-1], metrics)
  return {**metrics, 'explained_variance': explained_variance(games)}
