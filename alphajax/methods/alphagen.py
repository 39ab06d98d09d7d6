"""AlphaGen: a policy that writes postfix formulas, by the gain of a pool.

Yu et al. 2023, arXiv 2306.12964: an LSTM puts token after token under masks;
the formula is offered to a pool, and what the pool is then worth is all that
is paid; PPO. An iteration plays a batch of games with one policy, offers their
formulas one after the other, and learns from all of them.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, miner, recipe, rewards, validation
from alphajax.methods.base import Market, Method
from alphajax.networks import token_policy
from alphajax.run.clock import Clock
from alphajax.search import ppo, rollout, token_games


class Learner(NamedTuple):
  """The policy and its optimizer."""

  params: Any
  opt_state: Any


class State(NamedTuple):
  """What was found, and the policy that finds it.

  twins: keys of formulas that were turned away as nearly the same as one in
    the pool, in the order in which they came.
  """

  mined: archive.Mined
  learner: Learner
  twins: tuple[str, ...]


class Agent(NamedTuple):
  """init: rng_key -> Learner.

  play: (learner, rng_key) -> `rollout.Rollout`.
  learn: (learner, rng_key, games, worths f32[B]) -> (learner, metrics).
  """

  init: Any
  play: Any
  learn: Any


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphagen.py`."""
  rewards.reward_of(config.value.reward)
  language = environment.make(**config.language)
  agent = make_agent(config, language)
  bench = archive.make_bench(config, market)
  # Bars before the first scored one: what looks back further has no value
  # there, and is paid nothing, unseen.
  reach = config.lookback or environment.lookback(language)

  def init(rng_key):
    return State(archive.start(bench), agent.init(rng_key), ())

  def step(state, rng_key):
    play_key, learn_key = jax.random.split(rng_key)
    clock = Clock()
    with clock('search'):
      games = jax.block_until_ready(agent.play(state.learner, play_key))
    formulas = environment.formulas_of(language, games.final_tokens)
    near = np.array([formula_lib.lookback(f) <= reach for f in formulas])
    offered = [f for f, is_near in zip(formulas, near, strict=True) if is_near]
    mined, outcomes = archive.commit(bench, state.mined, offered, clock)
    refused = len(formulas) - len(offered)
    mined = mined._replace(proposed=mined.proposed + refused)
    worths = np.zeros(len(formulas), np.float32)
    worths[near], twins = worths_of(
      config, bench, offered, outcomes, state.twins
    )
    with clock('update'):
      learner, fitted = agent.learn(state.learner, learn_key, games, worths)
    mined, metrics = validation.validate(bench, mined, clock)
    return State(mined, learner, twins), {
      **metrics,
      **fitted,
      **diagnostics(games, worths, near, outcomes),
      'seconds': clock.seconds,
    }

  def save(state):
    arrays, host = archive.save(state.mined)
    arrays = {'mined': arrays, 'learner': state.learner}
    return arrays, {**host, 'twins': state.twins}

  def load(arrays, host):
    mined = archive.load(bench, arrays['mined'], host)
    return State(mined, arrays['learner'], tuple(host['twins']))

  return miner.make(config, bench, init=init, step=step, save=save, load=load)


@recipe.made_once('network', 'ppo', 'num_trajectories')
def make_agent(config, language: environment.Language) -> Agent:
  """The policy, and how it plays and learns, jitted.

  Raises:
    ValueError: settings of `config.ppo` or `config.network` that cannot be.
  """
  opts = ppo.options(config)
  ppo.check_batches(config.num_trajectories, opts, 'config.num_trajectories')
  network = make_network(config, language)
  evaluator = token_games.evaluator(network, language)
  apply_fn = token_games.learner(network, language)

  def init(rng_key):
    params = token_policy.init(network, language, rng_key)
    return Learner(params, ppo.optimizer(opts).init(params))

  @jax.jit
  def play(learner, rng_key):
    return rollout.rollout(
      learner.params, rng_key, evaluator=evaluator, language=language,
      num_games=config.num_trajectories,
    )  # fmt: skip

  @jax.jit
  def fit(learner, rng_key, played, worths):
    inputs = token_games.inputs(played, language)
    games = ppo.games_of(played, worths, inputs, opts)
    params, opt_state, metrics = ppo.fit(
      learner.params, learner.opt_state, rng_key, games,
      apply_fn=apply_fn, opts=opts,
    )  # fmt: skip
    return Learner(params, opt_state), metrics

  def learn(learner, rng_key, played, worths):
    worths = jnp.asarray(worths, jnp.float32)
    learner, metrics = fit(learner, rng_key, played, worths)
    return learner, {name: float(value) for name, value in metrics.items()}

  return Agent(init, play, learn)


def make_network(config, language: environment.Language):
  """The network of `config.network`.

  Raises:
    ValueError: no layers.
  """
  sizes = config.network
  if sizes.num_layers < 1:
    raise ValueError(
      f'config.network.num_layers is {sizes.num_layers}: expected 1 or more'
    )
  return token_policy.make(
    language, width=sizes.width, num_layers=sizes.num_layers,
    dropout_rate=sizes.dropout,
  )  # fmt: skip


def worths_of(config, bench, formulas, outcomes, twins=()):
  """What formulas are paid, f32[B], and the twins known from now on.

  The worth of the pool after a formula, whether it stayed in or not; nothing
  for one without a value. Where `config.pool.accept` turns twins of a member
  away they are paid nothing, nor is a member that comes again.
  """
  reward = rewards.reward_of(config.value.reward)
  worths = np.array(
    [reward(outcome, bench.objective) for outcome in outcomes], np.float32
  )
  if config.pool.accept != 'distinct':
    return worths, twins
  known = dict.fromkeys(twins)
  key_of = functools.cache(formula_lib.key)
  for n, (formula, outcome) in enumerate(zip(formulas, outcomes, strict=True)):
    key = key_of(formula)
    if outcome.is_twin:
      known[key] = None
    if key in known or key in map(key_of, outcome.pool_before):
      worths[n] = 0.0
  return worths, tuple(known)


def diagnostics(games: rollout.Rollout, worths, near, outcomes) -> dict:
  """What a batch was like: means over its formulas.

  reward: what was paid; length: moves; far, dead, twins, duplicates: shares
  that look back too far, have no value, are turned away as nearly the same as a
  member, and were proposed before.
  """
  count = len(near)
  new = np.array([outcome.is_new for outcome in outcomes], bool)
  own = np.array([outcome.own_ic for outcome in outcomes])
  return {
    'reward': float(np.mean(worths)),
    'length': float(np.asarray(games.active).sum(0).mean()),
    'mean_own_ic': float(np.abs(own[new]).mean()) if new.any() else None,
    'far': float(np.mean(~near)),
    'dead': float(np.sum(new & (own == 0)) / count),
    'twins': sum(outcome.is_twin for outcome in outcomes) / count,
    'duplicates': float(np.sum(~new) / count),
  }
