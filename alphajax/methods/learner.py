"""The network, how it plays and learns: what AlphaCFG's methods share."""

import functools
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alphajax.language import environment
from alphajax.language import grammar as grammar_lib
from alphajax.methods import fitting, openings
from alphajax.methods.fitting import Learner
from alphajax.methods.recipe import Recipe
from alphajax.networks import heads
from alphajax.search import (
  chunks,
  dealing,
  evaluators,
  mcts,
  puct,
  replay,
  transpositions,
)


class Agent(NamedTuple):
  """init: rng_key -> Learner.

  play: (learner, rng_key, iteration, formulas of the pool, told) ->
    `mcts.Trajectories`; told: what `prior` of `make` reads beside the network.
  learn: (learner, rng_key, games, value targets f32[M, B], rewards of the
    finished formulas from now on f32[B], None) -> (learner, losses). If
    `numbered`, targets are the formulas' numbers i32[M, B], and in place of
    None is what each of them is worth now, f32[N].
  value: (learner, tokens i32[B, L]) -> f32[B], what the network predicts.
  """

  init: Callable
  play: Callable
  learn: Callable
  value: Callable


def make(
  config: ConfigDict,
  grammar: environment.Language,
  start: environment.State | None = None,
  prior: Callable[[evaluators.Evaluator], evaluators.Evaluator] | None = None,
  numbered: bool = False,
) -> Agent:
  """An agent as `config.network`, `config.search` and `config.training` say.

  start: where games begin, if not at the start symbol.
  prior: makes the evaluator of the search from the network's; its parameters
    are (those of the network, *what `play` is told).
  numbered: `learn` is told which formula a state came to, and what each is
    worth now, see `fitting.Numbered`.

  Raises:
    ValueError: options that are unknown or do not go together.
  """
  _check_openings(config, grammar)
  if config.search.known_rewards and not grammar.writes_prefix_trees:
    raise ValueError(
      'config.search.known_rewards needs trees in prefix order, and '
      f'config.language.name = {config.language.name!r} writes others'
    )
  parts = {
    name: config[name].to_dict() for name in ('network', 'search', 'training')
  }
  # Room for every formula of the run, where they are remembered.
  capacity = config.num_iterations * config.num_trajectories
  # A name may come to mean another module, of a notebook say.
  encoder = heads.find_encoder(config.network.encoder)
  init, learn, value = _make_learning(
    Recipe(
      grammar=grammar,
      options={name: parts[name] for name in ('network', 'training')},
      numbered=numbered,
      capacity=capacity if config.search.known_rewards else 0,
      encoder=encoder,
      mesh=chunks.mesh_of(config),
    )
  )
  play = _make_play(
    Recipe(
      grammar=grammar,
      start=start,
      options={name: parts[name] for name in ('network', 'search')}
      | {'num_trajectories': config.num_trajectories},
      mesh=dealing.make_mesh(config.num_trajectories, dealing.wanted(config)),
      encoder=encoder,
      engine=mcts.find_engine(config.search.engine),
      prior=prior,
    )
  )
  return Agent(init, play, learn, value)


def check_without_pool(config: ConfigDict) -> None:
  """Refuses value targets that follow a pool, of a method that has none."""
  if config.get('value', {}).get('refresh', False):
    raise ValueError(
      'config.value.refresh is True: value targets follow the pool as it '
      f'moves, and {config.method} has none, so that they stay as they are; '
      'set config.value.refresh=False'
    )


# What is made of a recipe is traced once in a process.
@functools.lru_cache(maxsize=8)
def _make_learning(recipe: Recipe) -> tuple[Callable, Callable, Callable]:
  """`init`, `learn` and `value` of an agent, whatever its search is."""
  grammar, capacity = recipe.parts['grammar'], recipe.parts['capacity']
  config = ConfigDict(recipe.parts['options'])
  network = _network(config, grammar)
  optimizer = optax.adam(config.training.learning_rate)
  apply_fn = functools.partial(heads.apply_batch, network)
  fit = _make_fit(
    functools.partial(
      fitting.fit_network,
      apply_fn=apply_fn,
      optimizer=optimizer,
      **config.training,
    ),
    recipe.parts['mesh'],
  )
  short = _short(network, grammar)
  longest = jax.jit(
    functools.partial(
      fitting.longest_drawn,
      batch_size=config.training.batch_size,
      num_updates=config.training.num_updates,
    )
  )
  remember = jax.jit(functools.partial(_remember, grammar))
  init_params = heads.make_init(network, grammar)

  @jax.jit
  def init(rng_key):
    params = init_params(rng_key)
    return Learner(
      params,
      optimizer.init(params),
      replay.empty(
        config.training.replay_size,
        fitting.row(
          grammar.max_tokens, grammar.num_actions, recipe.parts['numbered']
        ),
      ),
      transpositions.empty(capacity) if capacity else (),
    )

  def learn(learner, rng_key, games, targets, rewards, worths=None):
    if capacity:
      table = remember(learner.table, games.final_tokens, rewards)
      learner = learner._replace(table=table)
    num_tokens = None
    if short and longest(learner.replay, rng_key, games, targets) <= short:
      num_tokens = short
    learner, metrics = fit(
      learner, rng_key, games, targets, num_tokens=num_tokens, worths=worths
    )
    return learner, {name: float(value) for name, value in metrics.items()}

  @jax.jit
  def value(learner, tokens):
    return heads.apply_batch(network, learner.params, tokens)[1]

  return init, learn, value


def _make_fit(fit_network: Callable, mesh: Mesh | None) -> Callable:
  """`fitting.fit_network`, jitted; on all devices of a mesh, where there is."""
  if mesh is None:
    return jax.jit(fit_network, static_argnames='num_tokens')

  @functools.partial(jax.jit, static_argnames='num_tokens')
  def fit_all(known, num_tokens):
    fit = functools.partial(fit_network, num_tokens=num_tokens, mesh=mesh)
    return chunks.share(mesh, lambda games, worths: fit(*games, worths=worths))(
      *known
    )

  def fit(*games, num_tokens=None, worths=None):
    known = dealing.tell(mesh, (games, worths))
    return dealing.collect(mesh, fit_all(known, num_tokens))

  return fit


def _network(config: ConfigDict, grammar: environment.Language):
  return heads.make(
    grammar,
    encoder=config.network.encoder,
    width=config.network.width,
    dropout_rate=config.network.dropout,
  )


def _short(network: heads.PolicyValue, grammar: environment.Language) -> int:
  """Tokens that most states can do with; 0: all are read whole.

  The bound of the paper's language is 21, and hardly a state of its games has
  more than 13. In a short language a program of its own is not worth its while.
  """
  worthwhile = network.ignores_padding and grammar.max_tokens > 16
  return 2 * grammar.max_tokens // 3 if worthwhile else 0


def _evaluator(
  config: ConfigDict,
  grammar: environment.Language,
  start: environment.State | None,
) -> evaluators.Evaluator:
  """What the search asks about the states of games.

  Where games begin at forms, its parameters are (those of the network, forms).
  """
  network = _network(config, grammar)
  if opens_nodes(config):
    return evaluators.from_forms(network, grammar)
  return evaluators.make(network, grammar, start)


OPENINGS_AT = ('prefix', 'node')


def opens_nodes(config: ConfigDict) -> bool:
  """True where games begin at formulas with a node left open."""
  at = config.search.get('openings_at', 'prefix')
  if at not in OPENINGS_AT:
    raise ValueError(
      f'config.search.openings_at is {at!r}: expected one of {OPENINGS_AT}'
    )
  return bool(config.search.openings) and at == 'node'


def _check_openings(config: ConfigDict, grammar: environment.Language) -> None:
  """Refuses openings that cannot be, or do not go with the rest."""
  share = config.search.openings
  if not 0 <= share <= 1:
    raise ValueError(
      f'config.search.openings is {share}: expected a share of the games, '
      'from 0 to 1'
    )
  if not opens_nodes(config):
    return
  if environment.productions(grammar) is None:
    raise ValueError(
      "config.search.openings_at = 'node' opens nodes of a grammar's formulas, "
      f'and config.language.name = {config.language.name!r} has no grammar'
    )


@functools.lru_cache(maxsize=8)
def _make_play(recipe: Recipe) -> Callable:
  """Self-play as `config.search` has it, jitted."""
  grammar, start = recipe.parts['grammar'], recipe.parts['start']
  config = ConfigDict(recipe.parts['options'])
  evaluator = _evaluator(config, grammar, start)
  if recipe.parts['prior'] is not None:
    evaluator = recipe.parts['prior'](evaluator)
  options, mesh = config.search.to_dict(), recipe.parts['mesh']
  uses_table = options.pop('known_rewards')
  share, at_nodes = options.pop('openings'), opens_nodes(config)
  options.pop('openings_at', None)
  options.pop('openings_from', None)
  temperatures = _temperatures(options, grammar)
  mcts.make_searcher(**options)  # Refuses at once.
  if uses_table:
    # Who writes prefix trees has the tables of a grammar.
    trees = typing.cast(grammar_lib.Grammar, grammar)
    evaluator = transpositions.with_table(evaluator, trees)

  def play_some(num_games, known, own):
    (params, table, rng_key, iteration), (drawn, forms) = known, own
    params = params if forms is None else (params, forms)
    return mcts.self_play(
      (params, table) if uses_table else params,
      rng_key,
      evaluator=evaluator,
      grammar=grammar,
      start=start if forms is None else forms,
      openings=drawn,
      num_games=num_games,
      temperature=temperatures(iteration),
      mesh=mesh,
      **options,
    )

  play_all = jax.jit(
    dealing.share(mesh, play_some, config.num_trajectories, mcts.GAMES_AXES)
  )

  def play(learner, rng_key, iteration, formulas=(), told=()):
    drawn = forms = None
    if share:
      open_key, rng_key = jax.random.split(rng_key)
      sizes = config.num_trajectories, share
      if at_nodes:
        trees = typing.cast(grammar_lib.Grammar, grammar)  # As it was asked.
        forms = openings.draw_forms(trees, open_key, formulas, *sizes)
      else:
        drawn = openings.draw(grammar, open_key, formulas, *sizes)
    params = (learner.params, *told) if told else learner.params
    table = learner.table if uses_table else None
    known = dealing.tell(mesh, (params, table, rng_key, iteration))
    own = dealing.hand_out(mesh, (drawn, forms))
    return dealing.collect(mesh, play_all(known, own))

  return play


def _temperatures(
  options: dict[str, Any], grammar: environment.Language
) -> Callable[..., jax.Array]:
  """The schedule that is taken out of the options; iteration -> f32[moves]."""
  temperatures: Callable[..., jax.Array] = functools.partial(
    puct.temperatures, num_moves=grammar.max_steps, **options.pop('temperature')
  )
  is_plain = np.all(temperatures(0) == 1)  # A bad schedule is refused here.
  if options['policy'] == 'gumbel' and not is_plain:
    raise ValueError(
      "config.search.temperature is of policy 'puct': Gumbel has none"
    )
  return temperatures


def _remember(
  grammar: environment.Language,
  table: transpositions.Table,
  tokens: jax.Array,
  rewards: jax.Array,
) -> transpositions.Table:
  """Adds finished formulas `[B, L]` and their rewards `[B]` to a table."""
  trees = typing.cast(grammar_lib.Grammar, grammar)
  hashes = jax.vmap(functools.partial(transpositions.formula_hash, trees))(
    tokens
  )
  return transpositions.add(table, hashes, rewards)
