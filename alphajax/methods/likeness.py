"""How much formulas behave like those of the pool."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import universe
from alphajax.factor import pool as pool_lib
from alphajax.language.formula import Formula
from alphajax.methods.archive import Bench, Mined


def to_pool(
  bench: Bench, mined: Mined, formulas: Sequence[Formula]
) -> np.ndarray:
  """The largest |mean daily correlation| with a factor of the pool, f32[N].

  On train; 0 with an empty pool, and for a formula without a value.
  """
  likeness = [
    _to_pool(
      values, bench.train.universe, bench.target, bench.scored, mined.pool
    )
    for values in bench.train.take(formulas)
  ]
  return np.asarray(jax.device_get(likeness), np.float32)


@jax.jit
@jax.default_matmul_precision('highest')
def _to_pool(values, members, target, scored, pool):
  factor = pool_lib.prepare(
    universe.gather(members, values), members.present, target
  )
  count = jnp.maximum(jnp.sum(target.labelled, -1), 1)
  weights = scored / jnp.sum(scored) / count
  # One after the other: stacked, a pool would be copied for every formula.
  similar = [
    jnp.abs(jnp.sum(factor * other, -1) @ weights) for other in pool.factors
  ]
  # A factor's variance is 1 over members, not over those with a label.
  return jnp.minimum(jnp.max(jnp.stack(similar)), 1.0)
