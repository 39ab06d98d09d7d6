"""AlphaCFG: grammar-guided search for a pool of factors (Algorithm 4).

An iteration plays one game per trajectory, every move a tree search guided by
the network; commits the finished formulas to the pool; gives every state of a
trajectory the diversity-aware value target of Eq. 5; and fits the network to
what search and pool said.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.language import environment, tree
from alphajax.methods import mining
from alphajax.methods.base import Market, Method
from alphajax.networks import heads
from alphajax.search import losses, mcts, replay

SIMILARITIES = ('formula', 'state', 'none')
REWARDS = ('pool', 'factor')
KNOWN = ('again', 'nothing')


class Learner(NamedTuple):
  """The network and what it learns from."""

  params: Any
  opt_state: Any
  replay: replay.Replay


class State(NamedTuple):
  mined: mining.Mined
  learner: Learner


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphacfg.py`."""
  for name, values in (
    ('similarity', SIMILARITIES),
    ('reward', REWARDS),
    ('known', KNOWN),
  ):
    if config.value[name] not in values:
      raise ValueError(
        f'config.value.{name} is {config.value[name]!r}: '
        f'expected one of {values}'
      )
  grammar = environment.make(**config.language)
  bench = mining.make_bench(config, market)
  network = heads.make(
    grammar,
    width=config.network.width,
    dropout_rate=config.network.dropout,
  )
  optimizer = optax.adam(config.training.learning_rate)
  play = jax.jit(
    functools.partial(
      mcts.self_play,
      evaluator=mcts.from_network(network, grammar),
      grammar=grammar,
      num_games=config.num_trajectories,
      **config.search,
    )
  )
  learn = jax.jit(
    functools.partial(
      fit_network,
      apply_fn=functools.partial(heads.apply_batch, network),
      optimizer=optimizer,
      **config.training,
    )
  )

  def init(rng_key):
    params = heads.init(network, grammar, rng_key)
    return State(
      mining.start(bench),
      Learner(
        params,
        optimizer.init(params),
        replay.empty(
          config.training.replay_size, grammar.max_tokens, grammar.num_actions
        ),
      ),
    )

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = mining.Clock()
    with clock('search'):
      games = jax.block_until_ready(play(state.learner.params, play_key))
    formulas = environment.formulas_of(grammar, games.final_tokens)
    mined, outcomes = mining.commit(bench, state.mined, formulas, clock)
    with clock('targets'):
      targets = value_targets(grammar, games, outcomes, **config.value)
    with clock('update'):
      learner, fitted = learn(state.learner, learn_key, games, targets)
      fitted = {name: float(value) for name, value in fitted.items()}
    mined, metrics = mining.validate(bench, mined, clock)
    return State(mined, learner), {
      **metrics, **fitted, 'seconds': clock.seconds
    }  # fmt: skip

  def save(state):
    arrays, host = mining.save(state.mined)
    return {'mined': arrays, 'learner': state.learner}, host

  def load(arrays, host):
    return State(mining.load(bench, arrays['mined'], host), arrays['learner'])

  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: mining.predict(state.mined, panel),
    found=lambda state: state.mined.found,
    finished=lambda state: mining.finished(config, state.mined),
    save=save,
    load=load,
  )


def value_targets(
  grammar, games, outcomes, *, similarity, reward, scale, known
):
  """Value targets of all states of all trajectories (Eq. 5), f32[M, B].

  z = scale * (1 - max similarity to the pool) * IC, where the pool is the one
  that the finished formula met.

  Args:
    grammar: that of the games.
    games: `mcts.Trajectories`.
    outcomes: one `mining.Outcome` per game.
    similarity: of the finished `formula`, of each `state`, or `none`.
    reward: the IC of the `pool` after the formula (the paper), or that of the
      `factor` itself, whatever its sign: the pool can weigh it negatively.
    scale: 1 in the paper.
    known: what a formula evaluated before is worth: its value `again` (the
      paper), or `nothing`, since it adds nothing.
  """
  active = np.asarray(games.active)
  targets = np.zeros(active.shape, np.float32)
  finals = environment.formulas_of(grammar, games.final_tokens)
  for game, outcome in enumerate(outcomes):
    if known == 'nothing' and not outcome.is_new:
      continue
    ic = outcome.ic if reward == 'pool' else abs(outcome.own_ic)
    for move in np.flatnonzero(active[:, game]):
      formula = finals[game]
      if similarity == 'state':
        formula = environment.formula_of(grammar, games.tokens[move, game])
      elif move > 0:
        targets[move, game] = targets[0, game]
        continue
      likeness = 0.0
      if similarity != 'none':
        likeness = tree.max_similarity(formula, outcome.pool_before)
      targets[move, game] = scale * (1.0 - likeness) * ic
  return targets


def fit_network(
  learner: Learner,
  rng_key: jax.Array,
  games: mcts.Trajectories,
  targets: jax.Array,
  *,
  apply_fn,
  optimizer,
  batch_size: int,
  num_updates: int,
  l2: float,
  replay_size: int,
  learning_rate: float,
) -> tuple[Learner, dict]:
  """Adds the games to the replay and takes `num_updates` gradient steps."""
  del replay_size, learning_rate  # In the replay and the optimizer already.
  rows = losses.Batch(
    games.tokens, games.action_weights, games.invalid_actions, targets
  )
  rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
  memory = replay.add(learner.replay, rows, games.active.reshape(-1))
  loss_fn = functools.partial(
    losses.policy_value_loss, apply_fn=apply_fn, l2=l2
  )

  def update(carry, rng_key):
    params, opt_state = carry
    sample_key, dropout_key = jax.random.split(rng_key)
    batch = replay.sample(memory, sample_key, batch_size)
    grads, metrics = jax.grad(loss_fn, has_aux=True)(
      params, batch=batch, rng_key=dropout_key
    )
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), metrics

  (params, opt_state), metrics = jax.lax.scan(
    update,
    (learner.params, learner.opt_state),
    jax.random.split(rng_key, num_updates),
  )
  metrics = jax.tree.map(jnp.mean, metrics)
  return Learner(params, opt_state, memory), metrics
