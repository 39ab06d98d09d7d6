"""Ranks of a day by sorting, as an accelerator does, are those by pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.factor import sorting


@pytest.mark.parametrize('stocks', [1, 12, 31, 64])
def test_ranks_by_sorting_and_by_pairs_are_the_same(stocks):
  rng = np.random.default_rng(stocks)
  x = rng.integers(-3, 4, (70, stocks)).astype(np.float32)  # Many are level.
  x[::2] += rng.random((35, stocks), np.float32)  # None are.
  ranked = rng.random(x.shape) < 0.8
  ranked[5], ranked[6] = False, True
  keys = sorting.sortable(jnp.where(ranked, x, jnp.inf))
  size = jnp.sum(ranked, axis=1)
  pairs = np.asarray(sorting._doubled_by_pairs(keys, size))
  sort = jax.jit(jax.vmap(sorting._doubled_by_sort))
  both = jnp.stack([keys, keys[::-1]]), jnp.stack([size, size[::-1]])
  both = np.asarray(sort(*both))
  for day in range(len(x)):
    below = (x[day][ranked[day]] < x[day][:, None]).sum(1)
    level = (x[day][ranked[day]] == x[day][:, None]).sum(1)
    expected = (2 * below + level + 1)[ranked[day]]
    for found in (pairs[day], both[0][day], both[1][-1 - day]):
      np.testing.assert_array_equal(found[ranked[day]], expected)


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
def test_each_platform_has_its_own_way_alone(platform):
  """Of what is lowered for it, whatever the default device is."""
  x, members = jnp.zeros((2, 3, 4)), jnp.ones((3, 4), bool)
  rank = jax.jit(jax.vmap(lambda x: sorting.cross_sectional_rank(x, members)))
  lowered = rank.trace(x).lower(lowering_platforms=(platform,)).as_text()
  assert ('stablehlo.sort' in lowered) == (platform != 'cpu')
  assert ('stablehlo.while' in lowered) == (platform == 'cpu')
