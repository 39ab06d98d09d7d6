"""Members side by side: gathered, scattered, and left where they are."""

import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.data import universe
from alphajax.factor import operators


@pytest.mark.parametrize('share', [0.1, 0.5, 0.7, 0.99, 1.0])
def test_gather_and_scatter(share):
  rng = np.random.default_rng(int(100 * share))
  mask = rng.random((30, 70)) < share
  mask[4] = False
  values = rng.normal(size=mask.shape).astype(np.float32)
  values[rng.random(mask.shape) < 0.1] = np.nan
  made = universe.make(mask)
  compact = np.asarray(universe.gather(made, jnp.asarray(values)))
  present = np.asarray(made.present)
  assert compact.shape == present.shape
  # Only a panel that members fill keeps its width.
  assert (compact.shape == mask.shape) == (made.columns is None)
  assert (made.columns is None) == (share > universe.FULL)
  for t in range(30):
    np.testing.assert_array_equal(compact[t, present[t]], values[t, mask[t]])
    assert np.isnan(compact[t, ~present[t]]).all()
  back = universe.scatter(made, jnp.asarray(compact))
  np.testing.assert_array_equal(back, np.where(mask, values, np.nan))
  # Some of the days, each with the positions of its own.
  some, days = slice(7, 19), universe.width_of(mask)
  part = universe.make_by_day(mask[some], days)
  own = universe.gather(part, jnp.asarray(values[some]))
  np.testing.assert_array_equal(own, compact[some])
  np.testing.assert_array_equal(universe.scatter(part, own), back[some])


@pytest.mark.parametrize('share', [0.5, 1.0])
def test_ranks_are_those_over_the_mask(share):
  rng = np.random.default_rng(1)
  mask = rng.random((20, 50)) < share
  x = jnp.asarray(rng.normal(size=mask.shape).round(1), jnp.float32)
  np.testing.assert_array_equal(
    operators.cs_rank(x, universe.make(mask)),
    operators.cs_rank(x, jnp.asarray(mask)),
  )
