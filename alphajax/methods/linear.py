"""The signal of a linear pool of formulas, on any panel."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Panel, Split
from alphajax.factor import evaluate, metrics, pool_signal
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
  shape = (len(weights), *members.shape)
  signals, heard = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, bool)
  for i in range(0, len(formulas), CHUNK):
    part = list(formulas[i : i + CHUNK])
    padding = CHUNK - len(part)
    chunk = np.pad(weights[:, i : i + CHUNK], ((0, 0), (0, padding)))
    values = jnp.stack(store.take(part + part[:1] * padding))
    signals, heard = _add(
      signals, heard, chunk.astype(np.float32), values, members
    )
  return [*_known(signals, heard, members)]


@functools.partial(jax.jit, donate_argnums=(0, 1))
@jax.default_matmul_precision('highest')
def _add(signals, heard, weights, values, members):
  """Signals f32[N, T, S] with more factors f32[P, T, S], weights f32[N, P].

  heard: bool[N, T, S], where some factor of some weight has a value.
  """
  z = jax.vmap(lambda v: pool_lib.standardized(v, members, members))(values)
  speaks = pool_signal.speak(values, members).astype(z.dtype)
  has = (weights != 0).astype(z.dtype)
  return (
    signals + jnp.einsum('np,pts->nts', weights, z),
    heard | (jnp.einsum('np,pts->nts', has, speaks) > 0),
  )


@jax.jit
def _known(signals, heard, members):
  return jnp.where(heard & members[None], signals, jnp.nan)


_signal = jax.jit(pool_signal.signal)


def daily_ic(found: Found, split: Split) -> np.ndarray:
  """Daily IC f32[days] of a pool on the scored days of a split."""
  series = metrics.daily_ic(
    predict(found, split.panel), split.target, split.panel.mask
  )
  return np.asarray(series)[split.scored]
