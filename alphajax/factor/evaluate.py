"""Evaluation of formulas on a panel: `compile` one, or thousands by `Store`."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Panel
from alphajax.factor import runtime
from alphajax.factor.budget import DEFAULT_BUDGET, MIN_VALUES, MOST_CORES
from alphajax.factor.compile import compile
from alphajax.factor.sharded import ShardedStore, over_stocks
from alphajax.factor.store import Store
from alphajax.factor.stores import Stores, over_devices
from alphajax.language.formula import Formula

__all__ = [
  'AnyStore',
  'ShardedStore',
  'Store',
  'Stores',
  'budget_of',
  'compile',
  'make_store',
  'one_by_one',
  'over_devices',
  'over_stocks',
  'values',
]

AnyStore = Store | Stores

CHUNK = 32  # Formulas whose values are held at a time.


def values(formulas: Sequence[Formula], panel: Panel) -> jax.Array:
  """Values of formulas, f32[N, T, S]; NaN where a value is missing.

  Planned on the host: not inside a `jit` of yours, `compile` is for that.

  Raises:
    ValueError: something that is no formula, or a feature that the panel lacks.
  """
  if isinstance(formulas, Formula | str) or not all(
    isinstance(each, Formula) for each in formulas
  ):
    raise ValueError(
      'expected a list of formulas, as [alphajax.parse("close/open")] is one'
    )
  if not len(formulas):
    return jnp.zeros((0, *np.shape(panel.mask)), jnp.float32)
  return jnp.stack(make_store(panel).take(list(formulas)))


def make_store(panel: Panel, *, keep: bool = False) -> Store:
  """A store of as many bytes as `budget_of` says; `keep`: see `Store`."""
  return Store(panel, budget_of(panel), keep=keep)


def budget_of(panel: Panel, given: int = 0, share: int = 1) -> int:
  """Bytes of a store for a panel.

  Args:
    panel: what formulas are evaluated on.
    given: bytes, as `config.store_bytes` has them; 0: `DEFAULT_BUDGET`, or as
      many as the panel's formulas need. That is room for one, and on a CPU for
      half of one more for each core: few are as large as they may be.
    share: one store of so many that share the bytes.
  """
  if given:
    return given // share
  cores = 1 if runtime.in_waves() else min(runtime.num_workers(), MOST_CORES)
  values = MIN_VALUES + MIN_VALUES // 2 * (cores - 1)
  plane = 4 * int(np.prod(np.shape(panel.mask)))
  return max(DEFAULT_BUDGET // share, plane * values)


def one_by_one(
  store: Store, formulas: Sequence[Formula]
) -> Iterator[jax.Array]:
  """Values f32[T, S] of any number of formulas, `CHUNK` held at a time."""
  for start in range(0, len(formulas), CHUNK):
    yield from store.take(formulas[start : start + CHUNK])
