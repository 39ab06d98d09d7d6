"""Grammar-aware search and self-play (Algorithm 3 and the play of 4)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
from flax import struct

from alphajax.language import environment
from alphajax.networks import heads, incremental, tree_lstm
from alphajax.search import gumbel, puct, reuse, tree_search


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
  action_weights: jax.Array  # [M, B, A] what the policy concluded.
  invalid_actions: jax.Array  # bool[M, B, A]
  active: jax.Array  # bool[M, B] the policy moved: no opening, no end before.
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


def make_evaluator(
  network: heads.PolicyValue, grammar: environment.Language
) -> Evaluator:
  """The fastest that the network's encoder has."""
  if isinstance(network.encoder, tree_lstm.TreeLSTM):
    return from_network(network, grammar)
  return from_apply(functools.partial(heads.apply_batch, network))


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
  policy: tree_search.Policy,
  kept: tree_search.Tree | None = None,
) -> tuple[tree_search.Tree, Any]:
  """Searches from `states` [B]. Returns the trees and the policy's noise.

  evaluation: what the evaluator said of the states: (logits, value, memory).
  kept: the trees of the last move, see `reuse.keep`.
  """
  noise_key, search_key = jax.random.split(rng_key)
  logits, value, memory = evaluation
  logits = heads.mask_logits(logits, states.invalid_actions)
  logits, noise = policy.begin(noise_key, logits, states.invalid_actions)
  root = mctx.RootFnOutput(
    prior_logits=logits, value=value, embedding=(states, memory)
  )
  root_score_fn = policy.root_score_fn
  if root_score_fn is not None:
    root_score_fn = functools.partial(root_score_fn, noise)
  tree = tree_search.search(
    prepared,
    search_key,
    root=root,
    recurrent_fn=lambda params, *rest: recurrent_fn(
      (grammar, evaluator.step, params), *rest
    ),
    invalid_actions=states.invalid_actions,
    invalid_fn=lambda embedding: embedding[0].invalid_actions,
    score_fn=policy.score_fn,
    root_score_fn=root_score_fn,
    num_simulations=num_simulations,
    max_depth=grammar.max_steps,
    kept=kept,
  )
  return tree, noise


def make_policy(
  policy: str = 'puct',
  *,
  num_simulations: int,
  num_considered: int = 16,
  reuse_subtree: bool = False,
  **puct_options,
) -> tree_search.Policy:
  """The policy `puct` or `gumbel`, of the options in `config.search`.

  Raises:
    ValueError: an unknown name, or options that Gumbel cannot honour.
  """
  if policy == 'puct':
    return puct.make(**puct_options)
  if policy != 'gumbel':
    raise ValueError(
      f"config.search.policy is {policy!r}: expected 'puct' or 'gumbel'"
    )
  if reuse_subtree:
    raise ValueError(
      "config.search.reuse_subtree needs config.search.policy = 'puct': "
      'sequential halving counts the visits of a new root'
    )
  if puct_options.get('dirichlet_fraction', 0.0) > 0:
    raise ValueError(
      "config.search.dirichlet_fraction must be 0 with policy = 'gumbel', "
      'which has noise of its own and would learn the prior with that noise'
    )
  return gumbel.make(
    num_simulations=num_simulations, num_considered=num_considered
  )


def self_play(
  params: Any,
  rng_key: jax.Array,
  *,
  evaluator: Evaluator,
  grammar: environment.Language,
  num_games: int,
  num_simulations: int,
  start: environment.State | None = None,
  openings: jax.Array | None = None,
  temperature: jax.Array | float = 1.0,
  policy: str = 'puct',
  reuse_subtree: bool = False,
  **options,
) -> Trajectories:
  """Plays games to the end, every move chosen by a search of its own.

  Pure; the caller jits it whole. Each root gets noise of its own; the network
  runs without dropout.

  start: the state, unbatched, at which games begin; None: the start symbol,
    the only one that an evaluator of `from_network` knows.
  openings: the first actions of each game, i32[B, max_steps], -1 from where it
    is free. Moves of an opening are not `active`: nobody chose them.
  temperature: of all moves, or of each, `[max_steps]`.
  reuse_subtree: a search goes on with what the last one found below the move
    that was chosen.
  policy, options: see `make_policy`.
  """
  rule = make_policy(
    policy,
    num_simulations=num_simulations,
    reuse_subtree=reuse_subtree,
    **options,
  )
  prepared = evaluator.prepare(params)
  moves = grammar.max_steps
  temperature = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), moves)

  def move(carry):
    index, states, evaluation, played, kept = carry
    search_key, act_key = jax.random.split(jax.random.fold_in(rng_key, index))
    tree, noise = search(
      prepared, search_key, states, evaluation, evaluator=evaluator,
      grammar=grammar, num_simulations=num_simulations, policy=rule, kept=kept,
    )  # fmt: skip
    actions, weights = rule.conclude(
      act_key, noise, *tree_search.roots(tree), temperature=temperature[index]
    )
    chosen = ~states.terminated
    if openings is not None:
      opening = openings[:, index]
      actions = jnp.where(opening < 0, actions, opening)
      chosen &= opening < 0
    played = _record(played, index, states, weights, chosen)
    after = jax.vmap(environment.step, (None, 0, 0))(grammar, states, actions)
    evaluation = evaluator.step(prepared, evaluation[2], states, actions, after)
    if reuse_subtree:
      kept = reuse.keep(tree, actions, num_simulations, moves)
    return index + 1, after, evaluation, played, kept

  states = _starts(grammar, start, num_games)
  evaluation = evaluator.init(prepared, states)
  kept = None
  if reuse_subtree:
    embedding = (states, evaluation[2])
    kept = reuse.nothing(embedding, num_simulations, grammar.num_actions)
  _, states, _, played, _ = jax.lax.while_loop(
    lambda carry: ~jnp.all(carry[1].terminated),
    move,
    (0, states, evaluation, _no_moves(grammar, states), kept),
  )
  return played.replace(final_tokens=states.tokens)


def _starts(grammar, start, num_games) -> environment.State:
  """The state at which every game begins, `[B, ...]`."""
  return jax.tree.map(
    lambda x: jnp.broadcast_to(x, (num_games, *x.shape)),
    environment.init(grammar) if start is None else start,
  )


def _record(played, index, states, weights, active) -> Trajectories:
  """Writes move `index`."""
  return played.replace(
    tokens=played.tokens.at[index].set(states.tokens),
    action_weights=played.action_weights.at[index].set(weights),
    invalid_actions=played.invalid_actions.at[index].set(
      states.invalid_actions
    ),
    active=played.active.at[index].set(active),
  )


def _no_moves(
  grammar: environment.Language, states: environment.State
) -> Trajectories:
  """Room for the longest derivation."""
  moves = (grammar.max_steps, states.length.shape[0])
  actions = (*moves, grammar.num_actions)
  return Trajectories(
    tokens=jnp.zeros((*moves, grammar.max_tokens), jnp.int32),
    action_weights=jnp.zeros(actions, jnp.float32),
    invalid_actions=jnp.zeros(actions, bool),
    active=jnp.zeros(moves, bool),
    final_tokens=states.tokens,
  )
