"""Neighbours found by bounds are those found by every product."""

import numpy as np
import pytest

from alphajax.search import nearest

WIDTH = 600


def behaviours(rng, count, families=12):
  """Rows f16[count, WIDTH] of families, a twin and a dead one among them."""
  common = rng.normal(size=(families, WIDTH))
  rows = rng.normal(size=(count, WIDTH)) * rng.uniform(0.01, 2, (count, 1))
  rows += common[rng.integers(families, size=count)]
  rows[-1] = -2 * rows[0]
  rows *= np.sqrt(WIDTH) / np.linalg.norm(rows, axis=1, keepdims=True)
  rows[-2] = 0.0
  return rows.astype(np.float16)


def parts_of(rows, size=37):
  return tuple(rows[i : i + size] for i in range(0, len(rows), size))


@pytest.mark.parametrize('least', [0.8, 0.95, 0.99, 1.0])
def test_what_reaches_the_least_is_exact(least):
  rng = np.random.default_rng(0)
  parts = parts_of(behaviours(rng, 400))
  rows = np.concatenate([behaviours(rng, 60), parts[3][:5], -parts[9][:5]])
  every = nearest.nearest(parts, None, rows, least)
  found = nearest.nearest(parts, nearest.cast(parts), rows, least)
  reaches = every >= least
  assert 10 <= reaches.sum() < len(rows) if least < 1 else reaches.any()
  np.testing.assert_allclose(found[reaches], every[reaches], rtol=1e-6)
  assert (found[~reaches] < least).all()


def test_few_products_are_taken(monkeypatch):
  rng = np.random.default_rng(1)
  parts = parts_of(behaviours(rng, 1000, families=200))
  shadow, taken = nearest.cast(parts), []

  def spy(rows, others):
    taken.append(len(rows) * len(others))
    return likeness(rows, others)

  likeness = nearest.likeness
  monkeypatch.setattr(nearest, 'likeness', spy)
  rows = behaviours(rng, 60, families=200)
  nearest.nearest(parts, shadow, np.concatenate([rows, parts[0]]), 0.99)
  assert sum(taken) < 0.1 * 97 * 1000


def test_a_shadow_grows_as_rows_come():
  parts = parts_of(behaviours(np.random.default_rng(2), 300))
  assert nearest.cast(parts[:3]) is None
  grown = nearest.extend(nearest.cast(parts[:5]), np.concatenate(parts[5:]))
  whole = nearest.cast(parts)
  np.testing.assert_array_equal(grown.basis, whole.basis)
  np.testing.assert_allclose(grown.inside, whole.inside, atol=1e-6)
  # A root of what is left of 1: near 0 it has half of the digits.
  np.testing.assert_allclose(
    np.square(grown.outside), np.square(whole.outside), atol=2e-6
  )
  assert (np.abs(grown.outside - whole.outside) < nearest.SLACK).all()
  np.testing.assert_allclose(
    grown.basis.T @ grown.basis, np.eye(nearest.SPAN), atol=1e-5
  )


def test_rows_shorter_than_the_span():
  rows = behaviours(np.random.default_rng(4), 200)[:, :40]
  parts, ours = parts_of(rows), rows[:7]
  shadow = nearest.cast(parts)
  assert shadow.inside.shape == (200, 40)
  assert (nearest.nearest(parts, shadow, ours, 0.5) > 0.5).all()


def test_rows_are_taken_by_their_place_in_all_parts():
  rows = behaviours(np.random.default_rng(3), 100)
  places = np.array([99, 0, 36, 37, 38, 0])
  np.testing.assert_array_equal(
    nearest.take(parts_of(rows), places), rows[places]
  )
