"""The replay against a deque."""

import collections

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphajax.search import losses, replay
from alphajax.search.losses import Batch

TOKENS, ACTIONS = 3, 4
add = jax.jit(replay.add)
sample = jax.jit(replay.sample, static_argnums=2)


def rows_of(numbers):
  """Rows that carry their number in every field."""
  numbers = np.asarray(numbers)
  return Batch(
    tokens=np.asarray(numbers[:, None] + np.arange(TOKENS), np.int32),
    action_weights=np.asarray(
      numbers[:, None] + 0.25 * np.arange(ACTIONS), np.float32
    ),
    invalid_actions=np.asarray(
      numbers[:, None] >> np.arange(ACTIONS) & 1, bool
    ),
    value_target=np.asarray(numbers, np.float32),
  )


def assert_rows(actual, numbers):
  expected = rows_of(np.asarray(numbers, int).reshape(-1))
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def oldest_first(memory):
  """The rows that the ring holds."""
  size, capacity = int(memory.size), len(memory.rows.value_target)
  order = (int(memory.next) - size + np.arange(size)) % capacity
  return jax.tree.map(lambda ring: np.asarray(ring)[order], memory.rows)


@settings(deadline=None, max_examples=100)
@given(
  capacity=st.sampled_from([5, 7, 16]),
  masks=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), max_size=9),
)
def test_holds_the_last_valid_rows_in_order(capacity, masks):
  memory = replay.empty(capacity, losses.row(TOKENS, ACTIONS))
  model = collections.deque(maxlen=capacity)
  for i, mask in enumerate(masks):
    numbers = np.arange(5 * i, 5 * i + 5)
    memory = add(memory, rows_of(numbers), np.asarray(mask))
    model.extend(numbers[mask])
  assert int(memory.size) == len(model)
  assert_rows(oldest_first(memory), model)


def test_adding_makes_another_replay():
  before = replay.empty(4, losses.row(TOKENS, ACTIONS))
  after = add(before, rows_of([1, 2]), np.asarray([True, True]))
  assert int(before.size) == 0 and int(after.size) == 2
  assert not np.asarray(before.rows.value_target).any()


def test_a_batch_may_fill_the_ring_but_not_more():
  memory = replay.empty(4, losses.row(TOKENS, ACTIONS))
  memory = add(memory, rows_of([1, 2]), np.ones(2, bool))
  memory = add(memory, rows_of([3, 4, 5, 6]), np.ones(4, bool))
  assert_rows(oldest_first(memory), [3, 4, 5, 6])
  with pytest.raises(ValueError, match='replay of 4 rows cannot take 5'):
    replay.add(memory, rows_of(range(5)), np.ones(5, bool))


@pytest.mark.parametrize('held', [3, 8])
def test_samples_all_rows_that_it_holds_and_no_other(held):
  memory = replay.empty(8, losses.row(TOKENS, ACTIONS))
  # The invalid rows and the empty places carry numbers never to be seen.
  for first in (10, 20):
    numbers = np.arange(first, first + 8)
    valid = np.arange(8) < (held if held == 8 or first == 20 else 0)
    memory = add(memory, rows_of(numbers), valid)
  batch = jax.device_get(sample(memory, jax.random.key(0), 4000))
  numbers, counts = np.unique(
    np.asarray(batch.value_target, int), return_counts=True
  )
  np.testing.assert_array_equal(numbers, np.arange(20, 20 + held))
  # Uniform: within 5 standard deviations of a binomial count.
  p = 1 / held
  assert np.abs(counts - 4000 * p).max() < 5 * np.sqrt(4000 * p * (1 - p))
  assert_rows(batch, np.asarray(batch.value_target, int))


def test_samples_depend_on_the_key_alone():
  memory = replay.empty(8, losses.row(TOKENS, ACTIONS))
  memory = add(memory, rows_of(range(8)), np.ones(8, bool))
  draws = [
    np.asarray(sample(memory, jax.random.key(seed), 32).value_target)
    for seed in (0, 0, 1)
  ]
  np.testing.assert_array_equal(draws[0], draws[1])
  assert (draws[0] != draws[2]).any()


def test_holds_any_record():
  """Rows of another learner: a tuple with a context and no weights."""
  row = {
    'tokens': np.zeros(2, np.int32),
    'rest': (np.zeros((3, 4), np.float32),),
  }
  memory = replay.empty(3, row)
  for first in (0, 2):
    rows = {
      'tokens': np.repeat(
        np.arange(first, first + 2, dtype=np.int32), 2
      ).reshape(2, 2),
      'rest': (np.full((2, 3, 4), first, np.float32),),
    }
    memory = add(memory, rows, np.asarray([True, True]))
  held = jax.device_get(memory.rows)
  np.testing.assert_array_equal(held['tokens'][:, 0], [3, 1, 2])
  np.testing.assert_array_equal(held['rest'][0][:, 0, 0], [2, 0, 2])
  batch = jax.device_get(sample(memory, jax.random.key(0), 50))
  assert batch['rest'][0].shape == (50, 3, 4)
  assert set(batch['tokens'][:, 1].tolist()) == {1, 2, 3}
  with pytest.raises(AssertionError, match='struct'):
    replay.add(memory, {'tokens': rows['tokens']}, np.ones(2, bool))


def filled(numbers, capacity):
  memory = replay.empty(capacity, losses.row(TOKENS, ACTIONS))
  return add(memory, rows_of(numbers), np.ones(len(numbers), bool))


def draw_by(memory, priorities, *, exponent, importance=0.5, seed=0):
  drawn = by_priority(
    memory,
    np.asarray(priorities, np.float32),
    jax.random.key(seed),
    4000,
    exponent=exponent,
    importance=importance,
  )
  return jax.device_get(drawn)


by_priority = jax.jit(replay.sample_by_priority, static_argnums=3)


@pytest.mark.parametrize('exponent', [0.0, 0.6, 1.0])
def test_rows_come_as_often_as_their_priority(exponent):
  memory = filled([10, 11, 12], capacity=5)
  priorities = np.array([1.0, 2.0, 4.0, 100.0, 100.0])  # Two are empty.
  rows, places, weights = draw_by(memory, priorities, exponent=exponent)
  shares = priorities[:3] ** exponent / (priorities[:3] ** exponent).sum()
  counts = np.bincount(places, minlength=5)
  np.testing.assert_allclose(counts[:3] / 4000, shares, atol=0.03)
  assert not counts[3:].any()
  assert_rows(rows, 10 + np.asarray(places))
  expected = (3 * shares) ** -0.5
  np.testing.assert_allclose(
    weights, (expected / expected.max())[places], rtol=1e-4
  )


def test_weights_take_the_bias_of_priorities_off():
  memory = filled([1, 2, 9], capacity=3)
  rows, _, weights = draw_by(
    memory, [1.0, 5.0, 2.0], exponent=1.0, importance=1.0
  )
  mean = np.average(rows.value_target, weights=weights)
  np.testing.assert_allclose(mean, 4.0, atol=0.15)


def test_a_row_without_an_error_is_drawn_where_all_are():
  memory = filled([3], capacity=2)
  rows, places, weights = draw_by(memory, [0.0, 7.0], exponent=0.6)
  assert not np.asarray(places).any() and (np.asarray(weights) == 1).all()
