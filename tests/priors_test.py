"""The formula Transformer as the prior and a part of the value of a search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import Inputs, Memory
from alphajax.search import evaluators, priors, rollout
from tests.formula_transformer_test import TINY, noise, random_params

NUM = 6


@functools.cache
def setup():
  """Orders, the Transformer, and the parameters of the evaluator."""
  orders = orders_lib.make(
    max_length=4, operators=('Abs', 'Log', 'Add', 'Corr'), windows=(5, 9)
  )
  sizes = TINY._replace(decoder_layers=1)
  network = formula_transformer.make(sizes, orders)
  rows = jnp.zeros((0, orders.length), jnp.int32)
  inputs = Inputs(noise((4, 5)), jnp.ones(4, bool), noise((2,)), rows)
  frozen = random_params(network, inputs, scale=0.4)
  memory = Memory(noise((5, 16)), jnp.ones(5, bool), noise((16,)))
  worths = noise((orders.size,), 9)
  return orders, network, (jnp.float32(0.01), frozen, memory, worths)


def apply_own(params, tokens):
  """In place of the network that learns: its policy must not matter."""
  logits = jnp.broadcast_to(
    jnp.arange(setup()[0].rules.num_actions) * 1.0,
    (len(tokens), setup()[0].rules.num_actions),
  )
  return logits, params * jnp.sum(tokens, axis=1)


def evaluator_of(uniform=0.1, score=0.0):
  orders, network, _ = setup()
  return priors.with_prior(
    evaluators.from_apply(apply_own), network, orders, uniform=uniform,
    score=score,
  )  # fmt: skip


@functools.cache
def played():
  """Games rolled out with a prior whose formulas score."""
  run = functools.partial(
    rollout.rollout, evaluator=evaluator_of(score=2.0),
    language=setup()[0].rules, num_games=NUM,
  )  # fmt: skip
  return jax.jit(run)(setup()[2], jax.random.key(1))


def test_the_prior_is_teacher_forcing_with_a_share_for_all():
  orders, network, (_, frozen, memory, _) = setup()
  games = played()
  first = orders_lib.offset(orders, 'rules')
  logits = jax.jit(network.logits)
  for game in range(NUM):
    active = np.asarray(games.active)[:, game]
    actions = np.asarray(games.actions)[active, game]
    row = np.zeros(orders.length, np.int32)
    row[0] = orders_lib.begin('rules')
    row[1 : 1 + len(actions)] = actions + first
    said = np.asarray(logits(frozen, memory, row), np.float64)
    for move, action in enumerate(actions):
      valid = ~np.asarray(games.invalid_actions)[move, game]
      policy = np.where(valid, np.exp(said[move, first:]), 0.0)
      policy = 0.9 * policy / policy.sum() + 0.1 * valid / valid.sum()
      np.testing.assert_allclose(
        games.log_probs[move, game], np.log(policy[action]), atol=1e-4
      )


def test_a_finished_formula_is_worth_the_network_and_its_symbols():
  orders, _, params = setup()
  formula = formula_lib.parse('Abs(close)')
  actions = environment.derivation(orders.rules, formula)
  assert len(actions) == 2

  @functools.partial(jax.jit, static_argnums=0)
  def values(evaluator, params):
    prepared = evaluator.prepare(params)
    states = environment.starts(orders.rules, 1)
    _, value, kept = evaluator.init(prepared, states)
    found = [value[0]]
    for action in actions:
      action = jnp.array([action])
      after = jax.vmap(environment.step, (None, 0, 0))(
        orders.rules, states, action
      )
      _, value, kept = evaluator.step(prepared, kept, states, action, after)
      states = after
      found.append(value[0])
    return jnp.stack(found), apply_own(params[0], states.tokens)[1][0]

  found, own = values(evaluator_of(score=2.0), params)
  without, _ = values(evaluator_of(), params)
  np.testing.assert_allclose(found[:-1], without[:-1], atol=1e-6)
  np.testing.assert_allclose(without[-1], own, atol=1e-6)
  score = orders_lib.bag(orders, formula) @ params[3] + params[3][0]
  assert abs(score) > 1e-2
  np.testing.assert_allclose(found[-1] - without[-1], 2 * score, atol=1e-5)


def test_mixed_gives_every_valid_action_its_share():
  logits = jnp.array([[30.0, 0.0, -30.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
  invalid = jnp.array([[False, False, False, True], [True] * 3 + [False]])
  found = np.exp(priors.mixed(logits, invalid, 0.25))
  np.testing.assert_allclose(
    found, [[0.75 + 0.25 / 3, 0.25 / 3, 0.25 / 3, 0], [0, 0, 0, 1]], atol=1e-6
  )
