"""Grammar-aware search and self-play (Algorithm 3 and the play of 4)."""

import functools
from types import ModuleType
from typing import Any

import chex
import jax
import jax.numpy as jnp
import mctx
from flax import struct
from jax.sharding import Mesh

from alphajax import lookup
from alphajax.language import environment
from alphajax.networks import heads
from alphajax.search import gumbel, mctx_search, puct, reuse, tree_search
from alphajax.search.evaluators import Evaluator

# An engine has `search` and `roots` as these two have them.
ENGINES = {'tree': tree_search, 'mctx': mctx_search}


class Trajectories(struct.PyTreeNode):
  """M moves of B games. A finished game goes on with `active` False."""

  tokens: jax.Array  # i32[M, B, L] before the move.
  action_weights: jax.Array  # [M, B, A] what the policy concluded.
  invalid_actions: jax.Array  # bool[M, B, A]
  active: jax.Array  # bool[M, B] the policy moved: no opening, no end before.
  final_tokens: jax.Array  # i32[B, L]


# Where they have the games.
GAMES_AXES = Trajectories(1, 1, 1, 1, 0)  # type: ignore[arg-type]


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
  engine: ModuleType = tree_search,
  kept: tree_search.Tree | None = None,
) -> tuple[Any, Any]:
  """Searches from `states` [B]. Returns the engine's trees and policy's noise.

  evaluation: what the evaluator said of the states: (logits, value, memory).
  kept: the trees of the last move, see `reuse.keep`.
  """
  noise_key, search_key = jax.random.split(rng_key)
  logits, value, memory = evaluation
  chex.assert_equal_shape([logits, states.invalid_actions])
  logits = heads.mask_logits(logits, states.invalid_actions)
  logits, noise = policy.begin(noise_key, logits, states.invalid_actions)
  trees = engine.search(
    prepared,
    search_key,
    root=mctx.RootFnOutput(
      prior_logits=logits, value=value, embedding=(states, memory)
    ),
    recurrent_fn=lambda params, *rest: recurrent_fn(
      (grammar, evaluator.step, params), *rest
    ),
    invalid_actions=states.invalid_actions,
    invalid_fn=lambda embedding: embedding[0].invalid_actions,
    score_fn=policy.score_fn,
    root_score_fn=policy.root_score_fn,
    noise=noise,
    num_simulations=num_simulations,
    max_depth=grammar.max_steps,
    kept=kept,
    backup=policy.backup,
  )
  return trees, noise


def make_policy(
  policy: str = 'puct',
  *,
  num_simulations: int,
  num_considered: int = 16,
  reuse_subtree: bool = False,
  backup: str = 'mean',
  mesh: Mesh | None = None,
  **puct_options,
) -> tree_search.Policy:
  """The policy `puct` or `gumbel`, of the options in `config.search`.

  mesh: devices that share the games, see `dealing`.

  Raises:
    ValueError: an unknown name, or options that Gumbel cannot honour.
  """
  if policy == 'puct':
    return puct.make(backup=backup, mesh=mesh, **puct_options)
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
    num_simulations=num_simulations,
    num_considered=num_considered,
    backup=backup,
    mesh=mesh,
  )


def make_searcher(
  *,
  engine: str = 'tree',
  reuse_subtree: bool = False,
  backup: str = 'mean',
  **options,
) -> tuple[tree_search.Policy, ModuleType]:
  """Policy and engine, of the options in `config.search`; see `make_policy`.

  engine: a key of `ENGINES`, or the import path of a module like those.

  Raises:
    ValueError: an unknown name, or options that do not go together.
  """
  found = find_engine(engine)
  if reuse_subtree and found is not tree_search:
    raise ValueError(
      "config.search.reuse_subtree needs config.search.engine = 'tree': "
      f'{engine!r} begins every search with the root alone'
    )
  if backup not in tree_search.BACKUPS:
    raise ValueError(
      f'config.search.backup is {backup!r}: '
      f'expected one of {tree_search.BACKUPS}'
    )
  if backup != 'mean' and found is not tree_search:
    raise ValueError(
      f"config.search.backup = {backup!r} needs config.search.engine = 'tree': "
      f'{engine!r} takes the mean'
    )
  policy = make_policy(reuse_subtree=reuse_subtree, backup=backup, **options)
  return policy, found


def find_engine(name: str) -> ModuleType:
  """An engine, by a key of `ENGINES` or the import path of a module."""
  return lookup.resolve(
    name, ENGINES, key='config.search.engine',
    needs=('search(params, rng_key, **options)', 'roots(trees)'),
  )  # fmt: skip


@struct.dataclass
class _Games:
  """B games under way."""

  index: jax.Array  # i32[] moves so far.
  states: environment.State
  evaluation: tuple  # What the evaluator says of the states.
  played: Trajectories
  kept: tree_search.Tree | None


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
  reuse_subtree: bool = False,
  mesh: Mesh | None = None,
  **options,
) -> Trajectories:
  """Plays games to the end, every move chosen by a search of its own.

  Pure; the caller jits it whole. Each root gets noise of its own; the network
  runs without dropout.

  start: the state at which games begin, one for all or one of each `[B, ...]`;
    None: the start symbol, the only one that an evaluator of `from_derivation`
    knows; one of `from_forms` was told these in its parameters.
  openings: the first actions of each game, i32[B, max_steps], -1 from where it
    is free. Moves of an opening are not `active`: nobody chose them.
  temperature: of all moves, or of each, `[max_steps]`.
  reuse_subtree: a search goes on with what the last one found below the move
    that was chosen.
  mesh: devices that share all the games, these being those of one of them, see
    `dealing`; None: it has all.
  options: engine, policy and its options, see `make_searcher`.
  """
  policy, engine = make_searcher(
    num_simulations=num_simulations, reuse_subtree=reuse_subtree, mesh=mesh,
    **options,
  )  # fmt: skip
  prepared = evaluator.prepare(params)
  moves = grammar.max_steps
  temperature = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), moves)
  if openings is not None:
    chex.assert_shape(openings, (num_games, moves))

  states = environment.starts(grammar, num_games, start)
  evaluation = evaluator.init(prepared, states)
  kept = None
  if reuse_subtree:
    embedding = (states, evaluation[2])
    kept = reuse.nothing(
      embedding, num_simulations, grammar.num_actions, policy.backup
    )
  games = jax.lax.while_loop(
    lambda games: ~jnp.all(games.states.terminated),
    functools.partial(
      _move, rng_key=rng_key, prepared=prepared, evaluator=evaluator,
      grammar=grammar, num_simulations=num_simulations, policy=policy,
      engine=engine, openings=openings, temperature=temperature,
      reuse_subtree=reuse_subtree,
    ),
    _Games(jnp.int32(0), states, evaluation, _no_moves(grammar, states), kept),
  )  # fmt: skip
  return games.played.replace(final_tokens=games.states.tokens)


def _move(
  games: _Games,
  *,
  rng_key: jax.Array,
  prepared: Any,
  evaluator: Evaluator,
  grammar: environment.Language,
  num_simulations: int,
  policy: tree_search.Policy,
  engine: ModuleType,
  openings: jax.Array | None,
  temperature: jax.Array,
  reuse_subtree: bool,
) -> _Games:
  """One search and one move in every game."""
  index, states = games.index, games.states
  search_key, act_key = jax.random.split(jax.random.fold_in(rng_key, index))
  trees, noise = search(
    prepared, search_key, states, games.evaluation, evaluator=evaluator,
    grammar=grammar, num_simulations=num_simulations, policy=policy,
    engine=engine, kept=games.kept,
  )  # fmt: skip
  actions, weights = policy.conclude(
    act_key, noise, *engine.roots(trees), temperature=temperature[index]
  )
  actions, chosen = _open(openings, index, actions)
  active = chosen & ~states.terminated
  played = _record(games.played, index, states, weights, active)
  after = jax.vmap(environment.step, (None, 0, 0))(grammar, states, actions)
  memory = games.evaluation[2]
  evaluation = evaluator.step(prepared, memory, states, actions, after)
  kept = None
  if reuse_subtree:
    kept = reuse.keep(trees, actions, num_simulations, grammar.max_steps)
  return _Games(index + 1, after, evaluation, played, kept)


def _open(
  openings: jax.Array | None, index: jax.Array, actions: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The openings' actions where they have one; and where not, `bool[B]`."""
  if openings is None:
    return actions, jnp.ones(actions.shape, bool)
  opening = openings[:, index]
  return jnp.where(opening < 0, actions, opening), opening < 0


def _record(
  played: Trajectories,
  index: jax.Array,
  states: environment.State,
  weights: jax.Array,
  active: jax.Array,
) -> Trajectories:
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
