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

from alphajax.language import grammar as grammar_lib
from alphajax.language import tree
from alphajax.methods import mining, rewards
from alphajax.methods.base import Market, Method
from alphajax.networks import heads
from alphajax.search import known, losses, mcts, puct, replay

SIMILARITIES = ('formula', 'state', 'none')
REWARDS = ('pool', 'factor')


class Learner(NamedTuple):
  """The network and what it learns from.

  known: `known.Known` under config.search.known_rewards, else nothing.
  """

  params: Any
  opt_state: Any
  replay: replay.Replay
  known: Any = ()


class State(NamedTuple):
  mined: mining.Mined
  learner: Learner


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphacfg.py`."""
  for name, choices in (('similarity', SIMILARITIES), ('reward', REWARDS)):
    if config.value[name] not in choices:
      raise ValueError(
        f'config.value.{name} is {config.value[name]!r}: '
        f'expected one of {choices}'
      )
  grammar = grammar_lib.make(**config.language)
  bench = mining.make_bench(config, market)
  network = heads.make(
    grammar,
    encoder=config.network.encoder,
    width=config.network.width,
    dropout_rate=config.network.dropout,
  )
  optimizer = optax.adam(config.training.learning_rate)
  play = make_play(config, network, grammar)
  remember = jax.jit(functools.partial(_remember, grammar))
  learn = jax.jit(
    functools.partial(
      _learn,
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
        # Room for every formula of the run.
        known.empty(config.num_iterations * config.num_trajectories)
        if config.search.known_rewards
        else (),
      ),
    )

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = mining.Clock()
    with clock('search'):
      games = jax.block_until_ready(
        play(state.learner, play_key, state.mined.iteration)
      )
    formulas = grammar_lib.formulas_of(grammar, games.final_tokens)
    mined, outcomes = mining.commit(bench, state.mined, formulas, clock)
    with clock('targets'):
      targets, final = value_targets(
        grammar,
        games,
        outcomes,
        similarity=config.value.similarity,
        reward=config.value.reward,
        objective=bench.objective,
      )
    learner = state.learner
    if config.search.known_rewards:
      table = remember(learner.known, games.final_tokens, final)
      learner = learner._replace(known=table)
    with clock('update'):
      learner, fitted = learn(learner, learn_key, games, targets)
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


def make_play(config, network, grammar):
  """Self-play as `config.search` has it, jitted.

  Returns:
    (learner, rng_key, iteration) -> `mcts.Trajectories`.

  Raises:
    ValueError: options that are unknown or do not go together.
  """
  options = config.search.to_dict()
  uses_known = options.pop('known_rewards')
  temperatures = functools.partial(
    puct.temperatures, num_moves=grammar.max_steps, **options.pop('temperature')
  )
  is_plain = np.all(temperatures(0) == 1)  # A bad schedule is refused here.
  if options['policy'] == 'gumbel' and not is_plain:
    raise ValueError(
      "config.search.temperature is of policy 'puct': Gumbel has none"
    )
  mcts.make_policy(**options)  # Refuses at once.
  evaluator = mcts.make_evaluator(network, grammar)
  if uses_known:
    evaluator = known.with_known(evaluator, grammar)

  @jax.jit
  def play(learner, rng_key, iteration):
    params = learner.params
    return mcts.self_play(
      (params, learner.known) if uses_known else params,
      rng_key,
      evaluator=evaluator,
      grammar=grammar,
      num_games=config.num_trajectories,
      temperature=temperatures(iteration),
      **options,
    )

  return play


def _remember(grammar, table, tokens, worths):
  """Adds finished formulas `[B, L]` and what they were worth to a table."""
  hashes = jax.vmap(functools.partial(known.formula_hash, grammar))(tokens)
  return known.add(table, hashes, worths)


def value_targets(grammar, games, outcomes, *, similarity, reward, objective):
  """Value targets of all states of all trajectories (Eq. 5).

  z = (1 - max similarity to the pool) * IC, where the pool is the one that the
  finished formula met.

  Args:
    grammar: that of the games.
    games: `mcts.Trajectories`.
    outcomes: one `mining.Outcome` per game.
    similarity: of the finished `formula`, of each `state`, or `none`.
    reward: the IC of the `pool` after the formula (the paper), or that of the
      `factor` itself, whatever its sign: the pool can weigh it negatively.
    objective: what the IC stands for, see `rewards`.

  Returns:
    (f32[M, B], and that of the finished formulas f32[B]).
  """
  active = np.asarray(games.active)
  targets = np.zeros(active.shape, np.float32)
  final = np.zeros(active.shape[1], np.float32)
  finals = grammar_lib.formulas_of(grammar, games.final_tokens)

  def target(formula, outcome, worth):
    likeness = 0.0
    if similarity != 'none':
      likeness = tree.max_similarity(formula, outcome.pool_before)
    return rewards.value_target(worth, likeness)

  for game, outcome in enumerate(outcomes):
    worth = rewards.of_outcome(outcome, reward, objective)
    final[game] = target(finals[game], outcome, worth)
    targets[active[:, game], game] = final[game]
    if similarity == 'state':
      for move in np.flatnonzero(active[:, game]):
        partial = grammar_lib.formula_of(grammar, games.tokens[move, game])
        targets[move, game] = target(partial, outcome, worth)
  return targets, final


def _learn(
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
  learner = learner._replace(params=params, opt_state=opt_state, replay=memory)
  return learner, metrics
