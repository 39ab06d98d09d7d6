"""The signal of a linear pool of formulas, on any panel."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Panel, Split
from alphajax.factor import evaluate, metrics
from alphajax.factor import pool as pool_lib
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods.base import Found

CHUNK = evaluate.CHUNK  # Factors whose values are held at a time.
SIZES = 4  # Programs combine a multiple of so many factors.


def predict(found: Found | None, panel: Panel) -> jax.Array:
  """Signal f32[T, S] of a pool on any panel.

  NaN for non-members, where no factor has a value, and on the first days of the
  panel, on which the longest-looking factor cannot have one.
  """
  if found is None:
    raise ValueError('the run has found no pool yet: train it first')
  signal = combine(
    evaluate.make_store(panel), found.formulas, found.weights, panel.mask
  )
  return _from(signal, max(map(formula_lib.lookback, found.formulas)))


@jax.jit
def _from(signal: jax.Array, first: int) -> jax.Array:
  """The signal from a day on, NaN before."""
  days = jnp.arange(signal.shape[0])[:, None]
  return jnp.where(days < first, jnp.nan, signal)


def combine(
  store: evaluate.AnyStore,
  formulas: Sequence[Formula],
  weights: Sequence[float],
  members: jax.Array | np.ndarray,
) -> jax.Array:
  """The weighted sum of standardised factors, however many, f32[T, S].

  NaN for non-members and where no factor has a value.
  """
  row = np.asarray(weights, np.float32)
  if len(formulas) <= CHUNK:
    # Up to the next size there is a program for: one that weighs 0 adds 0.
    padding = -len(formulas) % SIZES
    taken = store.take([*formulas, *[formulas[0]] * padding])
    return _signal(np.pad(row, (0, padding)), jnp.stack(taken), members)
  return combine_each(store, formulas, row[None], members)[0]


def combine_each(
  store: evaluate.AnyStore,
  formulas: Sequence[Formula],
  weights: np.ndarray,
  members: jax.Array | np.ndarray,
) -> list[jax.Array]:
  """`combine` of several pools that share formulas, which are evaluated once.

  weights: f32[pools, N], 0 where a pool has not the formula.
  """
  signals = [jnp.zeros(members.shape, jnp.float32)] * len(weights)
  heard = [jnp.zeros(members.shape, bool)] * len(weights)
  for i in range(0, len(formulas), CHUNK):
    part = list(formulas[i : i + CHUNK])
    padding = CHUNK - len(part)
    values = jnp.stack(store.take(part + part[:1] * padding))
    for n, row in enumerate(weights):
      chunk = np.pad(np.asarray(row[i : i + CHUNK], np.float32), (0, padding))
      if chunk.any():
        signal = _signal(chunk, values, members)
        speaks = jnp.isfinite(signal)
        signals[n] = signals[n] + jnp.where(speaks, signal, 0.0)
        heard[n] = heard[n] | speaks
  return [
    jnp.where(known & members, signal, jnp.nan)
    for signal, known in zip(signals, heard, strict=True)
  ]


_signal = jax.jit(pool_lib.signal)


def daily_ic(found: Found, split: Split) -> np.ndarray:
  """Daily IC f32[days] of a pool on the scored days of a split."""
  series = metrics.daily_ic(
    predict(found, split.panel), split.target, split.panel.mask
  )
  return np.asarray(series)[split.scored]
