"""Grammar-aware search and self-play (Algorithm 3 and the play of 4)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
from flax import struct

from alphajax.language import environment
from alphajax.networks import heads, incremental
from alphajax.search import tree_search


class Evaluator(NamedTuple):
  """What the search asks of a network. All are batched.

  prepare: params -> what the other two read; called once for a batch of games.
  init: (prepared, states) -> (logits [B, A], value [B], memory) at the start.
  step: (prepared, memory, states, actions, next_states) -> the same for the
    next states. The search stores the memory [B, ...] with every node.
  """

  prepare: Callable
  init: Callable
  step: Callable


@struct.dataclass
class Trajectories:
  """M moves of B games. A finished game goes on with `active` False."""

  tokens: jax.Array  # i32[M, B, L] before the move.
  action_weights: jax.Array  # [M, B, A] root visits^(1/T), normalised.
  invalid_actions: jax.Array  # bool[M, B, A]
  active: jax.Array  # bool[M, B] the game was not finished before the move.
  final_tokens: jax.Array  # i32[B, L]


def from_apply(apply_fn: Callable) -> Evaluator:
  """An evaluator that reads whole formulas: `(params, tokens) -> (..., ...)`.

  apply_fn: `(params, tokens [B, L]) -> (logits [B, A], value [B])`.
  """

  def init(params, states):
    return *apply_fn(params, states.tokens), ()

  def step(params, memory, states, actions, next_states):
    del memory, states, actions
    return init(params, next_states)

  return Evaluator(lambda params: params, init, step)


def from_network(
  network: heads.PolicyValue,
  grammar: environment.Language,
  chunk: int | None = None,
) -> Evaluator:
  """The same network, computing only what a production changes.

  Games begin at the start symbol. A grammar that the incremental encoder cannot
  follow is read whole at every step: the same values, slower.
  chunk: see `incremental.step`; None: 32 on a CPU, else all games.
  """
  if incremental.refusal(grammar):
    return from_apply(functools.partial(heads.apply_batch, network))
  contexts = incremental.make_contexts(grammar)
  # Measured on two cores: 16 and 32 are equal, 64 is 1.4 times slower.
  default_chunk = 32 if jax.default_backend() == 'cpu' else 2**31

  def prepare(params):
    tables = network.apply(params, method='tables')
    return params, incremental.prepare(contexts, tables)

  def evaluate(params, h, memory):
    return *network.apply(params, h, method='heads'), memory

  def init(prepared, states):
    params, tables = prepared
    batch = states.length.shape[0]
    start = incremental.start(contexts, tables, grammar.start, batch)
    return evaluate(params, *start)

  def step(prepared, memory, states, actions, next_states):
    del next_states
    params, tables = prepared
    h, memory = incremental.step(
      contexts,
      tables,
      memory,
      actions,
      states.terminated,
      chunk=min(chunk or default_chunk, actions.shape[0]),
    )
    return evaluate(params, h, memory)

  return Evaluator(prepare, init, step)


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
  *,
  c_puct: float,
  base_branches: int,
  q_transform: Callable = plain_q,
) -> jax.Array:
  """PUCT whose exploration grows with the number b of valid rules, Eq. 8.

  Scores [A] of one node: Q + c sqrt(b / b_ref) P sqrt(sum N) / (1 + N).
  Before any visit Eq. 8 is a tie that the prior decides here.
  """
  num_valid = jnp.sum(~invalid_actions)
  c = c_puct * jnp.sqrt(num_valid / base_branches)
  total = jnp.maximum(jnp.sum(visits), 1)
  bonus = c * prior * jnp.sqrt(total) / (1 + visits)
  return q_transform(qvalues, visits, node_value) + bonus


def recurrent_fn(
  params: tuple, rng_key: jax.Array, actions: jax.Array, embedding: tuple
) -> tuple[mctx.RecurrentFnOutput, tuple]:
  """Steps the grammar and evaluates the new partial formulas.

  params: (grammar, evaluator's step, prepared).
  embedding: (states, the evaluator's memory).
  """
  del rng_key
  grammar, evaluate, prepared = params
  states, memory = embedding
  after = jax.vmap(environment.step, (None, 0, 0))(grammar, states, actions)
  logits, value, memory = evaluate(prepared, memory, states, actions, after)
  output = mctx.RecurrentFnOutput(
    # A finished formula pays its estimated value and nothing follows it.
    reward=jnp.where(after.terminated, value, 0.0),
    discount=jnp.where(after.terminated, 0.0, 1.0),
    prior_logits=heads.mask_logits(logits, after.invalid_actions),
    value=value,
  )
  return output, (after, memory)


def search(
  prepared: Any,
  rng_key: jax.Array,
  states: environment.State,
  evaluation: tuple,
  *,
  evaluator: Evaluator,
  grammar: environment.Language,
  num_simulations: int,
  score_fn: Callable,
  dirichlet_fraction: float = 0.0,
  dirichlet_alpha: float = 0.3,
) -> tree_search.Tree:
  """Searches from `states` [B]; the tree's root visits are the policy.

  evaluation: what the evaluator said of the states: (logits, value, memory).
  """
  noise_key, search_key = jax.random.split(rng_key)
  logits, value, memory = evaluation
  logits = heads.mask_logits(logits, states.invalid_actions)
  if dirichlet_fraction > 0:
    logits = _add_noise(
      noise_key,
      logits,
      states.invalid_actions,
      dirichlet_fraction,
      dirichlet_alpha,
    )
  root = mctx.RootFnOutput(
    prior_logits=logits, value=value, embedding=(states, memory)
  )
  return tree_search.search(
    prepared,
    search_key,
    root=root,
    recurrent_fn=lambda params, *rest: recurrent_fn(
      (grammar, evaluator.step, params), *rest
    ),
    invalid_actions=states.invalid_actions,
    invalid_fn=lambda embedding: embedding[0].invalid_actions,
    score_fn=score_fn,
    num_simulations=num_simulations,
    max_depth=grammar.max_steps,
  )


def _add_noise(rng_key, logits, invalid_actions, fraction, alpha) -> jax.Array:
  """Mixes Dirichlet noise over the valid actions into the prior."""
  batch, num_actions = logits.shape
  # The part of a Dirichlet draw on some coordinates, normalised, is Dirichlet.
  gammas = jax.random.loggamma(rng_key, alpha, (batch, num_actions))
  noise = jax.nn.softmax(heads.mask_logits(gammas, invalid_actions))
  prior = (1 - fraction) * jax.nn.softmax(logits) + fraction * noise
  tiny = jnp.finfo(prior.dtype).tiny
  return heads.mask_logits(jnp.log(prior + tiny), invalid_actions)


def visit_policy(visits: jax.Array, temperature: jax.Array) -> jax.Array:
  """`visits^(1/T)`, normalised, `[..., A]`; T > 0."""
  logits = jnp.log(jnp.maximum(visits, 1)) / temperature
  return jax.nn.softmax(jnp.where(visits > 0, logits, -jnp.inf))


def self_play(
  params: Any,
  rng_key: jax.Array,
  *,
  evaluator: Evaluator,
  grammar: environment.Language,
  num_games: int,
  num_simulations: int,
  start: environment.State | None = None,
  temperature: jax.Array | float = 1.0,
  c_puct: float = 1.0,
  base_branches: int = 40,
  q_transform: str = 'none',
  dirichlet_fraction: float = 0.0,
  dirichlet_alpha: float = 0.3,
) -> Trajectories:
  """Plays games to the end, every move chosen by a search of its own.

  Pure; the caller jits it whole. Each root gets noise of its own; the network
  runs without dropout.

  start: the state, unbatched, at which games begin; None: the start symbol,
    the only one that an evaluator of `from_network` knows.
  """

  def score_fn(*node):
    return branch_puct(
      *node,
      c_puct=c_puct,
      base_branches=base_branches,
      q_transform=Q_TRANSFORMS[q_transform],
    )

  prepared = evaluator.prepare(params)

  def move(carry):
    index, states, evaluation, played = carry
    search_key, act_key = jax.random.split(jax.random.fold_in(rng_key, index))
    tree = search(
      prepared,
      search_key,
      states,
      evaluation,
      evaluator=evaluator,
      grammar=grammar,
      num_simulations=num_simulations,
      score_fn=score_fn,
      dirichlet_fraction=dirichlet_fraction,
      dirichlet_alpha=dirichlet_alpha,
    )
    weights = visit_policy(tree.visits[:, 0], temperature)
    actions = jax.random.categorical(act_key, jnp.log(weights))
    played = played.replace(
      tokens=played.tokens.at[index].set(states.tokens),
      action_weights=played.action_weights.at[index].set(weights),
      invalid_actions=played.invalid_actions.at[index].set(
        states.invalid_actions
      ),
      active=played.active.at[index].set(~states.terminated),
    )
    after = jax.vmap(environment.step, (None, 0, 0))(grammar, states, actions)
    evaluation = evaluator.step(prepared, evaluation[2], states, actions, after)
    return index + 1, after, evaluation, played

  states = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (num_games, *x.shape)),
    environment.init(grammar) if start is None else start,
  )
  evaluation = evaluator.init(prepared, states)
  _, states, _, played = jax.lax.while_loop(
    lambda carry: ~jnp.all(carry[1].terminated),
    move,
    (0, states, evaluation, _no_moves(grammar, states)),
  )
  return played.replace(final_tokens=states.tokens)


def _no_moves(
  grammar: environment.Language, states: environment.State
) -> Trajectories:
  """Room for the longest derivation."""
  moves = (grammar.max_steps, states.length.shape[0])
  actions = (*moves, grammar.num_actions)
  return Trajectories(
    tokens=jnp.zeros((*moves, grammar.max_tokens), jnp.int32),
    action_weights=jnp.zeros(actions),
    invalid_actions=jnp.zeros(actions, bool),
    active=jnp.zeros(moves, bool),
    final_tokens=states.tokens,
  )
