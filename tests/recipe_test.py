"""Agents of the same content are one, and of another content others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax.language import environment
from alphajax.methods import alphagen, alphaqcm, gflownet, learner
from alphajax.methods.recipe import Recipe


class Changing:
  """Compared by content, so without a hash."""

  def __eq__(self, other):
    return True


def test_same_content_same_recipe():
  table = np.arange(3, dtype=np.int32)
  one = Recipe(table=table, options={'a': (1, 'x'), 'b': None})
  for other in (table.copy(), jnp.asarray(table)):
    two = Recipe(table=other, options={'b': None, 'a': (1, 'x')})
    assert one == two and hash(one) == hash(two)
  assert one != one.parts


@pytest.mark.parametrize(
  ('one', 'other'),
  [
    (1, 1.0),
    (1, True),
    (np.zeros(2), np.zeros(3)),
    (np.zeros(2), np.ones(2)),
    (np.zeros(2, np.int32), np.zeros(2, np.float32)),
    ((1, 2), [1, 2]),
    (None, 0),
    (Changing(), Changing()),
  ],
)
def test_other_content_other_recipe(one, other):
  assert Recipe(part=one) == Recipe(part=one)
  assert Recipe(part=one) != Recipe(part=other)


def agent_of(**changes):
  config = tiny.get_config()
  config.update_from_flattened_dict(changes)
  return learner.make(config, environment.make(**config.language))


def test_an_agent_is_made_once():
  agent = agent_of()
  assert agent_of() == agent  # The same functions.
  # What is no part of the programs: data, the pool, how long the run is.
  assert agent_of(**{'num_iterations': 9, 'pool.capacity': 2}) == agent
  for changes in (
    {'network.width': 4},
    {'search.num_simulations': 5},
    {'training.learning_rate': 0.5},
    {'language.max_length': 5},
    {'num_trajectories': 4},
  ):
    assert agent_of(**changes) != agent
  # Another search learns as this one does.
  other = agent_of(**{'search.num_simulations': 5})
  assert other.init is agent.init and other.learn is agent.learn


@pytest.mark.parametrize(
  'module, change',
  [
    (alphagen, {'ppo.clip': 0.1}),
    (alphaqcm, {'qcm.kappa': 0.5}),
    (gflownet, {'gflownet.entropy': 0.5}),
  ],
)
def test_agents_of_other_methods_are_made_once(module, change):
  config = tiny.get_config(module.__name__.rpartition('.')[2])

  def agent():
    return module.make_agent(config, environment.make(**config.language))

  made = agent()
  config.seed += 1
  assert agent() is made
  config.network.width += 2
  wider = agent()
  config.update_from_flattened_dict(change)
  assert len({id(x) for x in (made, wider, agent())}) == 3


def test_a_table_has_room_for_the_whole_run():
  key = jax.random.key(0)
  sizes = []
  for iterations in (1, 9):
    agent = agent_of(
      **{'num_iterations': iterations, 'search.known_rewards': True}
    )
    sizes.append(sum(x.size for x in jax.tree.leaves(agent.init(key).table)))
  assert sizes[0] < sizes[1]


def test_changing_a_config_changes_no_agent_made_of_it():
  config = tiny.get_config()
  grammar = environment.make(**config.language)
  agent = learner.make(config, grammar)
  config.num_trajectories = 2
  games = agent.play(agent.init(jax.random.key(0)), jax.random.key(1), 0)
  assert len(games.final_tokens) == tiny.get_config().num_trajectories
