"""PPO against slow NumPy: advantages, loss, gradients, minibatches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax.search import ppo

OPTIONS = ppo.options(tiny.get_config('alphagen'))
MOVES, BATCH, ACTIONS = 4, 6, 5


def made(seed=0):
  """Logits and values of a network, and games that another one played."""
  rng = np.random.default_rng(seed)
  lengths = np.array([4, 1, 3, 2, 4, 1])
  active = np.arange(MOVES)[:, None] < lengths
  invalid = rng.random((MOVES, BATCH, ACTIONS)) < 0.4
  actions = rng.integers(0, ACTIONS, (MOVES, BATCH))
  np.put_along_axis(invalid, actions[..., None], False, axis=-1)
  logits = rng.normal(size=(MOVES, BATCH, ACTIONS))
  games = ppo.Games(
    inputs=np.zeros((1, BATCH), np.float32),
    actions=actions.astype(np.int32),
    invalid_actions=invalid,
    active=active,
    log_probs=rng.normal(-1.2, 0.3, (MOVES, BATCH)).astype(np.float32),
    values=rng.normal(size=(MOVES, BATCH)).astype(np.float32),
    advantages=rng.normal(size=(MOVES, BATCH)).astype(np.float32),
    returns=rng.normal(size=(MOVES, BATCH)).astype(np.float32),
  )
  values = rng.normal(size=(MOVES, BATCH))
  return logits.astype(np.float32), values.astype(np.float32), games


# The options are static, as they are where it is used.
loss_of = jax.jit(ppo.loss, static_argnums=3)
estimate = jax.jit(ppo.estimate)
explained_variance = jax.jit(ppo.explained_variance)


def policy_of(logits, invalid):
  """Probabilities of the valid actions, 0 elsewhere."""
  p = np.where(invalid, 0.0, np.exp(np.asarray(logits, np.float64)))
  return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize('discount, lam', [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0)])
def test_advantages_are_sums_of_what_was_better_than_expected(discount, lam):
  _, _, games = made()
  rng = np.random.default_rng(1)
  rewards = rng.normal(size=(MOVES, BATCH)).astype(np.float32)
  advantages, returns = jax.device_get(
    estimate(
      rewards, games.values, games.active, discount=discount, gae_lambda=lam
    )
  )
  values, active = games.values, games.active
  for game in range(BATCH):
    length = active[:, game].sum()
    for t in range(length):
      expected = 0.0
      for k in range(t, length):
        following = values[k + 1, game] if k + 1 < length else 0.0
        delta = rewards[k, game] + discount * following - values[k, game]
        expected += (discount * lam) ** (k - t) * delta
      np.testing.assert_allclose(advantages[t, game], expected, atol=1e-5)
      np.testing.assert_allclose(
        returns[t, game], expected + values[t, game], atol=1e-5
      )
  assert not advantages[~active].any()
  assert not returns[~active].any()


def test_a_game_pays_by_its_last_move():
  _, _, games = made()
  worths = np.arange(1.0, BATCH + 1, dtype=np.float32)
  rewards = np.asarray(jax.jit(ppo.at_the_end)(worths, games.active))
  np.testing.assert_allclose(rewards.sum(0), worths)
  last = games.active.sum(0) - 1
  np.testing.assert_allclose(rewards[last, np.arange(BATCH)], worths)


@pytest.mark.parametrize('normalize', [True, False])
def test_the_loss_is_that_of_a_slow_one(normalize):
  logits, values, games = made()
  opts = OPTIONS._replace(normalize=normalize, entropy_weight=0.3)
  loss, metrics = jax.device_get(loss_of(logits, values, games, opts))
  p = policy_of(logits, games.invalid_actions)
  rows = [
    (t, b) for t in range(MOVES) for b in range(BATCH) if games.active[t, b]
  ]
  advantage = np.array([games.advantages[row] for row in rows], np.float64)
  if normalize:
    advantage = (advantage - advantage.mean()) / advantage.std(ddof=1)
  policy, squares, entropy, kl, clipped = [], [], [], [], []
  for row, a in zip(rows, advantage, strict=True):
    ratio = p[row][games.actions[row]] / np.exp(float(games.log_probs[row]))
    bound = min(max(ratio, 1 - opts.clip), 1 + opts.clip)
    policy.append(-min(ratio * a, bound * a))
    squares.append((float(values[row]) - float(games.returns[row])) ** 2)
    chosen = p[row][p[row] > 0]
    entropy.append(-(chosen * np.log(chosen)).sum())
    kl.append(ratio - 1 - np.log(ratio))
    clipped.append(abs(ratio - 1) > opts.clip)
  expected = {
    'policy_loss': np.mean(policy),
    'value_loss': np.mean(squares),
    'entropy': np.mean(entropy),
    'kl': np.mean(kl),
    'clip_share': np.mean(clipped),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
  total = (
    expected['policy_loss']
    + opts.value_weight * expected['value_loss']
    - opts.entropy_weight * expected['entropy']
  )
  np.testing.assert_allclose(loss, total, rtol=1e-4)
  assert 0 < expected['clip_share'] < 1


def test_the_first_gradient_is_that_of_the_policy():
  """Where nothing has moved yet: -A (1[action] - p) over the active moves."""
  logits, values, games = made()
  p = policy_of(logits, games.invalid_actions)
  taken = np.take_along_axis(p, games.actions[..., None], -1)
  games = games._replace(log_probs=np.log(taken[..., 0]).astype(np.float32))
  opts = OPTIONS._replace(normalize=False, entropy_weight=0.0)
  slope = jax.jit(jax.grad(ppo.loss, has_aux=True), static_argnums=3)
  gradient, _ = slope(logits, values, games, opts)
  active = games.active
  one_hot = np.eye(ACTIONS)[games.actions]
  weight = np.where(active, games.advantages, 0.0) / active.sum()
  expected = -weight[..., None] * (one_hot - p)
  np.testing.assert_allclose(gradient, expected, atol=1e-6)
  # Of the entropy too: a forbidden action gets nothing.
  opts = OPTIONS._replace(entropy_weight=0.5)
  gradient = np.asarray(slope(logits, values, games, opts)[0])
  assert np.isfinite(gradient).all()
  assert not gradient[games.invalid_actions].any()


def test_what_ended_games_hold_does_not_count():
  logits, values, games = made()
  there = games.active
  dirty = games._replace(
    log_probs=np.where(there, games.log_probs, np.float32(np.nan)),
    advantages=np.where(there, games.advantages, np.float32(1e30)),
    returns=np.where(there, games.returns, np.float32(-7.0)),
    values=np.where(there, games.values, np.float32(9.0)),
  )
  for x in (True, False):
    opts = OPTIONS._replace(normalize=x)
    clean = loss_of(logits, values, games, opts)
    changed = np.where(there, values, np.float32(5.0))
    again = loss_of(logits, changed, dirty, opts)
    jax.tree.map(np.testing.assert_array_equal, again, clean)
  np.testing.assert_array_equal(
    explained_variance(dirty), explained_variance(games)
  )


def test_explained_variance():
  _, _, games = made()
  active, returns, values = games.active, games.returns, games.values
  expected = 1 - np.var((returns - values)[active]) / np.var(returns[active])
  np.testing.assert_allclose(explained_variance(games), expected, rtol=1e-5)
  known = games._replace(values=games.returns)
  assert explained_variance(known) == 1
  flat = games._replace(returns=np.ones_like(games.returns))
  assert explained_variance(flat) == 0


def test_minibatches_hold_every_game_once():
  _, _, games = made()
  named = games._replace(inputs=np.arange(BATCH)[None])
  shuffled = jax.jit(ppo.shuffled, static_argnums=2)
  one = jax.device_get(shuffled(named, jax.random.key(0), 3))
  assert one.inputs.shape == (3, 1, 2) and one.active.shape == (3, MOVES, 2)
  order = one.inputs.ravel()
  assert sorted(order) == list(range(BATCH)) and list(order) != sorted(order)
  for n, game in enumerate(order):
    for field in ('actions', 'invalid_actions', 'returns'):
      np.testing.assert_array_equal(
        getattr(one, field)[n // 2, :, n % 2], getattr(games, field)[:, game]
      )
  two = jax.device_get(shuffled(named, jax.random.key(1), 3))
  assert np.any(two.inputs != one.inputs)


def bandit(params, actions, rng_key=None):
  """Logits and a value of one move, whatever the game."""
  del rng_key
  shape = actions.shape
  logits = jnp.broadcast_to(params['logits'], (*shape, ACTIONS))
  return logits, jnp.broadcast_to(params['value'], shape)


def test_learns_which_arm_pays():
  """Arm 3 pays 1, the others nothing; arm 4 would pay more but is forbidden."""
  opts = OPTIONS._replace(
    learning_rate=0.03, num_epochs=4, num_minibatches=4, entropy_weight=0.0
  )
  params = {'logits': np.zeros(ACTIONS, np.float32), 'value': np.float32(0)}
  opt_state = jax.jit(ppo.optimizer(opts).init)(params)
  fit = jax.jit(functools.partial(ppo.fit, apply_fn=bandit, opts=opts))
  invalid = np.broadcast_to(np.arange(ACTIONS) == 4, (1, 64, ACTIONS))
  active = np.ones((1, 64), bool)

  @jax.jit
  def play(log_p, value, rng_key):
    actions = jax.random.categorical(rng_key, log_p, shape=(1, 64))
    values = jnp.broadcast_to(value, (1, 64))
    rewards = jnp.where(actions == 3, 1.0, 0.0)
    advantages, returns = ppo.estimate(
      rewards, values, active, discount=1.0, gae_lambda=0.95
    )
    return ppo.Games(
      actions, actions, invalid, active, log_p[actions], values, advantages,
      returns,
    )  # fmt: skip

  metrics = []
  for n in range(25):
    with np.errstate(divide='ignore'):  # What is forbidden has no chance.
      log_p = np.log(policy_of(params['logits'], invalid[0, 0]))
    act_key, fit_key = jax.random.split(jax.random.key(n))
    games = play(log_p.astype(np.float32), params['value'], act_key)
    params, opt_state, seen = jax.device_get(
      fit(params, opt_state, fit_key, games)
    )
    metrics.append(seen)
  p = policy_of(params['logits'], invalid[0, 0])
  assert p[3] > 0.9 and p[4] == 0
  assert params['logits'][4] == 0
  np.testing.assert_allclose(params['value'], 1.0, atol=0.25)
  assert metrics[-1]['entropy'] < 0.5 < metrics[0]['entropy']
  assert all(-1e-6 < seen['kl'] < 0.1 for seen in metrics)


def test_a_shared_part_learns_once_an_epoch():
  """From the mean of what the minibatches want of what it said."""
  opts = OPTIONS._replace(num_epochs=1, num_minibatches=1, learning_rate=0.1)
  _, _, games = made()
  games = games._replace(inputs=np.arange(BATCH)[None])

  def shared_fn(params):
    return jnp.tanh(params['w'])

  def apply_fn(rest, said, which):
    logits = said[which[0]][None, :, None] * rest['u'] + rest['bias']
    logits = jnp.broadcast_to(logits, (MOVES, which.shape[1], ACTIONS))
    return logits, jnp.broadcast_to(said[which[0]], logits.shape[:2])

  params = (
    {'w': np.linspace(-1.0, 1.0, BATCH, dtype=np.float32)},
    {
      'u': np.linspace(0.0, 1.0, ACTIONS, dtype=np.float32),
      'bias': np.zeros(ACTIONS, np.float32),
    },
  )
  states = tuple(map(jax.jit(ppo.optimizer(opts).init), params))
  fit = functools.partial(
    ppo.fit_shared, shared_fn=shared_fn, apply_fn=apply_fn
  )
  key = jax.random.key(0)
  new, new_states, metrics = jax.device_get(
    jax.jit(functools.partial(fit, opts=opts))(params, states, key, games)
  )

  @jax.jit
  @jax.value_and_grad
  def whole(params):
    shared, rest = params
    return ppo.loss(
      *apply_fn(rest, shared_fn(shared), games.inputs), games, opts
    )[0]

  loss, gradients = jax.device_get(whole(params))
  update = jax.jit(ppo.optimizer(opts).update)
  for part, gradient in enumerate(gradients):
    change, _ = jax.device_get(update(gradient, states[part]))
    for name, value in params[part].items():
      np.testing.assert_allclose(
        new[part][name], value + change[name], atol=1e-5
      )
  np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-4)
  # The rest moves by the minibatch, the shared part by the epoch.
  two = OPTIONS._replace(num_epochs=2, num_minibatches=3)
  _, states, _ = jax.jit(functools.partial(fit, opts=two))(
    params, states, key, games
  )
  steps = [state[1][0].count for state in states]
  assert steps == [2, 6]
  del new_states


@pytest.mark.parametrize(
  'name, value',
  [('clip', 1.5), ('num_epochs', 0), ('learning_rate', -1.0),
   ('gae_lambda', 1.01), ('discount', -0.1)],
)  # fmt: skip
def test_bad_options_are_refused(name, value):
  config = tiny.get_config('alphagen')
  config.ppo[name] = value
  with pytest.raises(ValueError, match=f'config.ppo.{name} is {value}'):
    ppo.options(config)


def test_games_that_cannot_be_cut_evenly():
  opts = OPTIONS._replace(num_minibatches=4)
  ppo.check_batches(8, opts, 'config.num_trajectories')
  with pytest.raises(ValueError, match='num_trajectories is 6, which .* = 4'):
    ppo.check_batches(6, opts, 'config.num_trajectories')
