"""The signal of a linear pool of formulas, on any panel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Panel, Split
from alphajax.factor import evaluate, metrics
from alphajax.factor import pool as pool_lib
from alphajax.language import formula as formula_lib
from alphajax.methods.base import Found


def predict(found: Found | None, panel: Panel) -> jax.Array:
  """Signal f32[T, S] of a pool on any panel.

  NaN for non-members, where no factor has a value, and on the first days of the
  panel, on which the longest-looking factor cannot have one.
  """
  if found is None:
    raise ValueError('the run has found no pool yet: train it first')
  values = evaluate.values(found.formulas, panel)
  weights = jnp.asarray(found.weights, jnp.float32)
  signal = _signal(weights, values, jnp.asarray(panel.mask))
  first = max(map(formula_lib.lookback, found.formulas))
  return jnp.where(
    jnp.arange(signal.shape[0])[:, None] < first, jnp.nan, signal
  )


_signal = jax.jit(
  functools.partial(pool_lib.signal, min_coverage=pool_lib.HEARD)
)


def daily_ic(found: Found, split: Split) -> np.ndarray:
  """Daily IC f32[days] of a pool on the scored days of a split."""
  series = metrics.daily_ic(
    predict(found, split.panel),
    jnp.asarray(split.target),
    jnp.asarray(split.panel.mask),
  )
  return np.asarray(series)[split.scored]
