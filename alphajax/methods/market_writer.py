"""AlphaFormer's two networks as a method uses them: they read, play and learn.

One reads markets, the other writes formulas for a market and its pool.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import environment
from alphajax.methods import recipe
from alphajax.networks import formula_writer, market_encoder
from alphajax.search import ppo, rollout, token_games


class Learner(NamedTuple):
  """Parameters and optimizers: of the reader of markets, of the writer."""

  params: tuple[Any, Any]
  opt_states: tuple[Any, Any]


class Model(NamedTuple):
  """What the networks do, jitted.

  init: rng_key -> Learner.
  read: (params of the reader, paths f32[n, S, T, C], there bool[n, S]) ->
    f32[n, D].
  play: (params of the writer, markets f32[n, D], pools i32[n, K, L], rng_key)
    -> `rollout.Rollout` of n games.
  learn: (learner, rng_key, paths, there, played, which, pools, worths) ->
    (learner, metrics), of B games: `which` i32[B] of the n markets each was
    played for, with `pools` i32[B, K, L], and what it was paid, f32[B].
  """

  init: Any
  read: Any
  play: Any
  learn: Any


@recipe.made_once('network', 'ppo')
def make(config, language: environment.Language) -> Model:
  """Both networks, and how they read, play and learn.

  Raises:
    ValueError: sizes of `config.network` that cannot be.
  """
  opts = ppo.options(config)
  reader, writer = formula_writer.make(
    language, formula_writer.Sizes(**config.network)
  )

  def read(params, paths, there):
    # One after the other, and again for the gradient: the steps of an LSTM over
    # all stocks of many markets would not fit into memory.
    one = jax.checkpoint(lambda market: reader.apply(params, *market))
    return jax.lax.map(one, (paths, there))

  evaluator = _evaluator(writer)
  see = jax.vmap(functools.partial(writer.apply, method='context'),
                 (None, 0, 0))  # fmt: skip

  @jax.jit
  def play(params, markets, pools, rng_key):
    contexts = see(params, markets, pools)
    return rollout.rollout(
      (params, contexts), rng_key, evaluator=evaluator, language=language,
      num_games=markets.shape[0],
    )  # fmt: skip

  def apply_fn(params, markets, inputs):
    tokens, pools, which = (x[0] for x in inputs)
    contexts: Any = see(params, markets[which], pools)
    logits: Any = jax.vmap(
      functools.partial(writer.apply, method='game'), (None, 0, 0), out_axes=1
    )(params, contexts, tokens)[: language.max_steps]
    return logits, jnp.broadcast_to(contexts.value, logits.shape[:2])

  @jax.jit
  def learn(learner, rng_key, paths, there, played, which, pools, worths):
    inputs = (played.final_tokens[None], pools[None], which[None])
    games = ppo.games_of(played, worths, inputs, opts)
    params, opt_states, metrics = ppo.fit_shared(
      learner.params, learner.opt_states, rng_key, games, apply_fn=apply_fn,
      opts=opts, shared_fn=lambda params: read(params, paths, there),
    )  # fmt: skip
    return Learner(params, opt_states), metrics

  init = functools.partial(_init, reader, writer, ppo.optimizer(opts))
  return Model(jax.jit(init), jax.jit(read), play, learn)


def _init(reader, writer, optimizer, rng_key) -> Learner:
  """Parameters of both networks, and fresh optimizers."""
  read_key, write_key = jax.random.split(rng_key)
  paths = jnp.zeros((2, 2, market_encoder.CHANNELS))
  pool = jnp.ones((1, writer.max_tokens), jnp.int32)
  market = jnp.zeros(writer.sizes.width)
  params = (
    reader.init(read_key, paths, jnp.ones(2, bool)),
    writer.init(write_key, market, pool, method='everything'),
  )
  return Learner(params, tuple(optimizer.init(each) for each in params))


def _evaluator(writer: formula_writer.FormulaWriter):
  """What a rollout asks; its parameters are (params, contexts of the games)."""

  def begin(params, states):
    del params
    return token_games.repeated(formula_writer.start(writer), states)

  def follow(params, memory, tokens):
    params, contexts = params
    one = functools.partial(writer.apply, method='follow')
    return jax.vmap(one, (None, 0, 0, 0))(params, contexts, memory, tokens)

  return token_games.following(begin, follow)


def member_tokens(
  written: np.ndarray, ids: np.ndarray, slots: int
) -> jax.Array:
  """Tokens of the formulas in pools, i32[P, slots, L]; 0 in empty slots.

  written: i32[P, N, L] of all formulas; ids: i32[P, K] which of them, or -1.
  """
  markets = np.arange(len(ids))[:, None]
  tokens = np.where(ids[..., None] >= 0, written[markets, ids], 0)
  empty = np.zeros((len(ids), slots - ids.shape[1], tokens.shape[2]), np.int32)
  return jnp.asarray(np.concatenate([tokens, empty], axis=1))


def pool_tokens(language, formulas, capacity: int) -> jax.Array:
  """Tokens of the formulas of a pool, i32[capacity, L]; 0 in empty slots.

  A formula that the language cannot spell within its bound, such as one of
  `config.pool.base`, is left out.
  """
  tokens = np.zeros((capacity, language.max_tokens), np.int32)
  for n, formula in enumerate(formulas):
    with contextlib.suppress(ValueError):  # A symbol is unknown.
      spelled = environment.tokens_of(language, formula)
      if len(spelled) <= language.max_tokens:
        tokens[n, : len(spelled)] = spelled
  return jnp.asarray(tokens)
