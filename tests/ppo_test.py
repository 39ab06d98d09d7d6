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
    inputs=jnp.zeros((1, BATCH)),
    actions=jnp.asarray(actions, jnp.int32),
    invalid_actions=jnp.asarray(invalid),
    active=jnp.asarray(active),
    log_probs=jnp.asarray(rng.normal(-1.2, 0.3, (MOVES, BATCH)), jnp.float32),
    values=jnp.asarray(rng.normal(size=(MOVES, BATCH)), jnp.float32),
    advantages=jnp.asarray(rng.normal(size=(MOVES, BATCH)), jnp.float32),
    returns=jnp.asarray(rng.normal(size=(MOVES, BATCH)), jnp.float32),
  )
  values = rng.normal(size=(MOVES, BATCH))
  return (
    jnp.asarray(logits, jnp.float32),
    jnp.asarray(values, jnp.float32),
    games,
  )


def policy_of(logits, invalid):
  """Probabilities of the valid actions, 0 elsewhere."""
  p = np.where(invalid, 0.0, np.exp(np.asarray(logits, np.float64)))
  return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize('discount, lam', [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0)])
def test_advantages_are_sums_of_what_was_better_than_expected(discount, lam):
  _, _, games = made()
  rng = np.random.default_rng(1)
  rewards = rng.normal(size=(MOVES, BATCH)).astype(np.float32)
  advantages, returns = ppo.estimate(
    jnp.asarray(rewards), games.values, games.active,
    discount=discount, gae_lambda=lam,
  )  # fmt: skip
  values, active = np.asarray(games.values), np.asarray(games.active)
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
  assert not np.asarray(advantages)[~active].any()
  assert not np.asarray(returns)[~active].any()


def test_a_game_pays_by_its_last_move():
  _, _, games = made()
  worths = np.arange(1.0, BATCH + 1)
  rewards = np.asarray(ppo.at_the_end(jnp.asarray(worths), games.active))
  np.testing.assert_allclose(rewards.sum(0), worths)
  last = np.asarray(games.active).sum(0) - 1
  np.testing.assert_allclose(rewards[last, np.arange(BATCH)], worths)


@pytest.mark.parametrize('normalize', [True, False])
def test_the_loss_is_that_of_a_slow_one(normalize):
  logits, values, games = made()
  opts = OPTIONS._replace(normalize=normalize, entropy_weight=0.3)
  loss, metrics = ppo.loss(logits, values, games, opts)
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
  taken = np.take_along_axis(p, np.asarray(games.actions)[..., None], -1)
  games = games._replace(log_probs=jnp.log(jnp.asarray(taken[..., 0])))
  opts = OPTIONS._replace(normalize=False, entropy_weight=0.0)
  gradient = jax.grad(lambda x: ppo.loss(x, values, games, opts)[0])(logits)
  active = np.asarray(games.active)
  one_hot = np.eye(ACTIONS)[np.asarray(games.actions)]
  weight = np.where(active, np.asarray(games.advantages), 0.0) / active.sum()
  expected = -weight[..., None] * (one_hot - p)
  np.testing.assert_allclose(gradient, expected, atol=1e-6)
  # Of the entropy too: a forbidden action gets nothing.
  opts = OPTIONS._replace(entropy_weight=0.5)
  gradient = jax.grad(lambda x: ppo.loss(x, values, games, opts)[0])(logits)
  assert np.isfinite(gradient).all()
  assert not np.asarray(gradient)[np.asarray(games.invalid_actions)].any()


def test_what_ended_games_hold_does_not_count():
  logits, values, games = made()
  there = games.active
  dirty = games._replace(
    log_probs=jnp.where(there, games.log_probs, jnp.nan),
    advantages=jnp.where(there, games.advantages, 1e30),
    returns=jnp.where(there, games.returns, -7.0),
    values=jnp.where(there, games.values, 9.0),
  )
  for x in (True, False):
    opts = OPTIONS._replace(normalize=x)
    clean = ppo.loss(logits, values, games, opts)
    again = ppo.loss(logits, jnp.where(there, values, 5.0), dirty, opts)
    jax.tree.map(np.testing.assert_array_equal, again, clean)
  np.testing.assert_array_equal(
    ppo.explained_variance(dirty), ppo.explained_variance(games)
  )


def test_explained_variance():
  _, _, games = made()
  active = np.asarray(games.active)
  returns, values = np.asarray(games.returns), np.asarray(games.values)
  expected = 1 - np.var((returns - values)[active]) / np.var(returns[active])
  np.testing.assert_allclose(ppo.explained_variance(games), expected, rtol=1e-5)
  known = games._replace(values=games.returns)
  assert ppo.explained_variance(known) == 1
  flat = games._replace(returns=jnp.ones_like(games.returns))
  assert ppo.explained_variance(flat) == 0


def test_minibatches_hold_every_game_once():
  _, _, games = made()
  named = games._replace(inputs=jnp.arange(BATCH)[None])
  one = ppo.shuffled(named, jax.random.key(0), 3)
  assert one.inputs.shape == (3, 1, 2) and one.active.shape == (3, MOVES, 2)
  order = np.asarray(one.inputs).ravel()
  assert sorted(order) == list(range(BATCH)) and list(order) != sorted(order)
  for n, game in enumerate(order):
    for field in ('actions', 'invalid_actions', 'returns'):
      np.testing.assert_array_equal(
        getattr(one, field)[n // 2, :, n % 2], getattr(games, field)[:, game]
      )
  two = ppo.shuffled(named, jax.random.key(1), 3)
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
  params = {'logits': jnp.zeros(ACTIONS), 'value': jnp.zeros(())}
  opt_state = ppo.optimizer(opts).init(params)
  fit = jax.jit(functools.partial(ppo.fit, apply_fn=bandit, opts=opts))
  invalid = jnp.zeros((1, 64, ACTIONS), bool).at[..., 4].set(True)
  active = jnp.ones((1, 64), bool)
  metrics = []
  for n in range(25):
    log_p = jnp.log(jnp.asarray(policy_of(params['logits'], invalid[0, 0])))
    act_key, fit_key = jax.random.split(jax.random.key(n))
    actions = jax.random.categorical(act_key, log_p, shape=(1, 64))
    values = jnp.broadcast_to(params['value'], (1, 64))
    rewards = jnp.where(actions == 3, 1.0, 0.0)
    advantages, returns = ppo.estimate(
      rewards, values, active, discount=1.0, gae_lambda=0.95
    )
    games = ppo.Games(
      actions, actions, invalid, active, log_p[actions], values, advantages,
      returns,
    )  # fmt: skip
    params, opt_state, seen = fit(params, opt_state, fit_key, games)
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
  games = games._replace(inputs=jnp.arange(BATCH)[None])

  def shared_fn(params):
    return jnp.tanh(params['w'])

  def apply_fn(rest, said, which):
    logits = said[which[0]][None, :, None] * rest['u'] + rest['bias']
    logits = jnp.broadcast_to(logits, (MOVES, which.shape[1], ACTIONS))
    return logits, jnp.broadcast_to(said[which[0]], logits.shape[:2])

  params = (
    {'w': jnp.linspace(-1.0, 1.0, BATCH)},
    {'u': jnp.linspace(0.0, 1.0, ACTIONS), 'bias': jnp.zeros(ACTIONS)},
  )
  states = tuple(map(ppo.optimizer(opts).init, params))
  fit = functools.partial(
    ppo.fit_shared, shared_fn=shared_fn, apply_fn=apply_fn
  )
  key = jax.random.key(0)
  new, new_states, metrics = jax.jit(functools.partial(fit, opts=opts))(
    params, states, key, games
  )

  def whole(params):
    shared, rest = params
    return ppo.loss(
      *apply_fn(rest, shared_fn(shared), games.inputs), games, opts
    )[0]

  for part, gradient in enumerate(jax.grad(whole)(params)):
    change, _ = ppo.optimizer(opts).update(gradient, states[part])
    for name, value in params[part].items():
      np.testing.assert_allclose(
        new[part][name], value + change[name], atol=1e-5
      )
  np.testing.assert_allclose(metrics['loss'], whole(params), rtol=1e-4)
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
