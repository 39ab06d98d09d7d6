"""How far the cross-sectional ranks of two signals differ, up to noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alphajax.data import universe as universe_lib
from alphajax.factor import operators

# Ranks are the same up to float32 noise when the same stocks have one, none
# moves by more than MAX_PLACES, and at most MAX_MOVED of them move at all. Two
# stocks whose values differ in the last bits may tie or change places after one
# more rounding: among 300 stocks that is one rank in about 5,000.
MAX_PLACES = 1.0
MAX_MOVED = 1e-3


class Difference(NamedTuple):
  """What changed between two rankings; all 0 where nothing did.

  days: share of the days with a rank on which one differs.
  moved: share of the ranks that differ, or that one ranking alone has.
  places: the largest change in places; the number of stocks where one ranking
    alone has a rank.
  count: ranks compared; without any the others are 0.
  """

  days: jax.Array
  moved: jax.Array
  places: jax.Array
  # Hides the method of a tuple, which nobody calls.
  count: jax.Array  # type: ignore[assignment]


@jax.jit
def rank(values: jax.Array, universe: universe_lib.Universe) -> jax.Array:
  """Rank / count over members with a value, `[T, S] -> [T, S]`; else NaN."""
  return operators.cs_rank(values, universe)


@jax.jit
def difference(
  values: jax.Array,
  base: jax.Array,
  universe: universe_lib.Universe,
  days: jax.Array,
) -> Difference:
  """Compares the ranks of a signal with others.

  Args:
    values: f32[T, S], NaN where missing.
    base: f32[T, S], what `rank` made of the other signal.
    universe: members of each day.
    days: bool[T], those that count.
  """
  new = rank(values, universe)
  has_new, has_base = ~jnp.isnan(new), ~jnp.isnan(base)
  either = (has_new | has_base) & days[:, None]
  size = jnp.sum(either, axis=1, keepdims=True)
  places = jnp.where(
    has_new & has_base, jnp.abs(new - base) * size, size.astype(jnp.float32)
  )
  # Ranks are halves of a place; less is the rounding of a quotient.
  places = jnp.where(either & (places > 0.25), places, 0.0)
  counted = jnp.sum(jnp.any(either, axis=1))
  count = jnp.sum(either)
  moved = jnp.sum(places > 0)
  return Difference(
    days=jnp.sum(jnp.any(places > 0, axis=1)) / jnp.maximum(counted, 1),
    moved=moved / jnp.maximum(count, 1),
    places=jnp.max(places),
    count=count,
  )


def alike(difference: Difference, max_moved: float = MAX_MOVED) -> bool:
  """True where the ranks are the same up to float32 noise (host)."""
  return bool(
    difference.moved <= max_moved and difference.places <= MAX_PLACES + 0.25
  )
