"""How much of a formula is lost to the range of float32.

Below 1.2e-38 a number counts as 0 and above 3.4e38 as missing, so that a
formula such as `Pow(0.01,close)` is level, or absent, where its definition is
not, and the ranks of a day are others than they would be in float64.
"""

import functools
import math
from collections.abc import Callable, Container, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Panel
from alphajax.factor import evaluate, rolling
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

SMALLEST = float(np.finfo(np.float32).tiny)
# Exponents of what float64 holds: beyond, nothing is lost to float32 alone.
DOUBLE = (-1074.0, 1024.0)


def lost_share(
  formulas: Sequence[Formula],
  panel: Panel,
  store: evaluate.Store | None = None,
  days: np.ndarray | None = None,
  suspects: Container[Formula] | None = None,
) -> np.ndarray:
  """Share of the members' cells that hang on a number out of float32's range.

  A cell is lost where the formula, or any part of it that the cell reads, is 0
  or missing in float32 while float64 has a finite number that is not 0.

  Args:
    formulas: finished.
    panel: what they are evaluated on.
    store: of that panel, where there is one already.
    days: bool[T], those that count, such as `split.scored`; None: all.
    suspects: the parts that may leave the range themselves, where that is known
      already; None: any.

  Returns:
    f32[N] from 0 to 1; 0 where no members count.
  """
  store = store or evaluate.make_store(panel)
  counted = np.asarray(panel.mask)
  if days is not None:
    counted = counted & np.asarray(days)[:, None]
  cells = max(int(counted.sum()), 1)
  known: dict[Formula, np.ndarray | None] = {}
  for formula in formulas:
    _find_lost(formula, store, suspects, known)
  counts = [
    0 if known[each] is None else np.sum(known[each] & counted)
    for each in formulas
  ]
  return np.asarray(counts, np.float32) / np.float32(cells)


def _find_lost(
  formula: Formula,
  store: evaluate.Store,
  suspects: Container[Formula] | None,
  known: dict[Formula, np.ndarray | None],
) -> None:
  """Adds the lost cells of all parts to `known`, bool[T, S]; None: no cell."""
  for node in reversed(list(formula_lib.nodes(formula))):  # Operands first.
    if node in known:
      continue
    args, window = node.args, None
    if formula_lib.is_windowed(node):
      args, window = args[:-1], int(args[-1].symbol)
    found = [
      _read(cells, node.symbol, window)
      for cells in map(known.get, args)
      if cells is not None
    ]
    if node.symbol in EXPONENTS and (suspects is None or node in suspects):
      leaves = _leaves(node.symbol, window, *_values(node, args, store))
      found += [np.asarray(leaves)] if leaves.any() else []
    known[node] = np.logical_or.reduce(found) if found else None


def _values(
  node: Formula, args: Sequence[Formula], store: evaluate.Store
) -> list[jax.Array | np.ndarray]:
  """Of a node and its operands, f32[T, S] each."""
  planes = [each for each in (node, *args) if not formula_lib.is_number(each)]
  values = dict(zip(planes, store.take(planes), strict=True))
  return [
    values[each]
    if each in values
    else np.full(store.shape, float(each.symbol), np.float32)
    for each in (node, *args)
  ]


def _read(lost: np.ndarray, symbol: str, window: int | None) -> np.ndarray:
  """Where an operator reads a lost cell; not where its window is not full."""
  if window is None:
    return lost
  reads = np.zeros_like(lost)
  if symbol in ('Ref', 'Delta'):
    reads[window:] = lost[: len(lost) - window]
    return reads | lost if symbol == 'Delta' else reads
  if window <= len(lost):
    windows = np.lib.stride_tricks.sliding_window_view(lost, window, axis=0)
    reads[window - 1 :] = windows.any(-1)
  return reads


@functools.partial(jax.jit, static_argnames=('symbol', 'window'))
def _leaves(
  symbol: str, window: int | None, result: jax.Array, *operands: jax.Array
) -> jax.Array:
  """Where an operator leaves the range, its operands being what they are."""
  gone = ~(jnp.abs(result) >= SMALLEST)  # NaN too.
  exponent = EXPONENTS[symbol](*operands, window)
  return gone & (exponent > DOUBLE[0]) & (exponent < DOUBLE[1])


def _log2(x: jax.Array) -> jax.Array:
  return jnp.log2(jnp.abs(x))


def _power(x: jax.Array, y: jax.Array) -> jax.Array:
  whole = jnp.round(y) == y  # A root of a negative number is no number.
  return jnp.where((x < 0) & ~whole, jnp.nan, y * _log2(x))


def _covariance(x: jax.Array, y: jax.Array, window: int) -> jax.Array:
  spreads = _log2(rolling.ts_std(x, window)) + _log2(rolling.ts_std(y, window))
  return _log2(rolling.ts_corr(x, y, window)) + spreads


def _sum(x: jax.Array, window: int) -> jax.Array:
  return _log2(rolling.ts_sum(x / window, window)) + math.log2(window)


# The binary exponent of the exact result, roughly: -inf of 0, NaN of none.
# `(*operands, window) -> f32[T, S]`. The other operators do not leave the
# range of their operands, but for differences of opposite numbers near 3e38.
EXPONENTS: dict[str, Callable] = {
  'Add': lambda x, y, _: _log2(x / 2 + y / 2) + 1,
  'Sub': lambda x, y, _: _log2(x / 2 - y / 2) + 1,
  'Mul': lambda x, y, _: _log2(x) + _log2(y),
  'Div': lambda x, y, _: _log2(x) - _log2(y),
  'Pow': lambda x, y, _: _power(x, y),
  'SignedPower': lambda x, y, _: y * _log2(x),
  'Delta': lambda x, w: _log2(x / 2 - rolling.ts_ref(x / 2, w)) + 1,
  'Sum': _sum,
  'Mean': lambda x, w: _sum(x, w) - math.log2(w),
  'Var': lambda x, w: 2 * _log2(rolling.ts_std(x, w)),
  'Cov': _covariance,
  'Product': lambda x, w: rolling.ts_sum(_log2(x), w),
}
