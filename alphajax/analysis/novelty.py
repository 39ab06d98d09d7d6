"""Is a formula one that was published, or another's, in other words?

Two formulas are alike when the stocks of a day stand alike: by the mean daily
correlation of their values on some days. -1 is the other one reversed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import cross_section
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import library
from alphajax.language.formula import Formula

MIN_NORM = 1e-6
CHUNK = 256  # Formulas whose rows are held in float32 at a time.


class Near(NamedTuple):
  """The formula of a set that one behaves most like.

  name: as in `alpha101 #12`, or where a file has it.
  correlation: mean daily correlation with it; below 0 it is reversed.
  """

  name: str
  formula: str
  correlation: float


class Known(NamedTuple):
  """Formulas to compare with, and their behaviours."""

  names: tuple[str, ...]
  formulas: tuple[str, ...]
  rows: np.ndarray  # f16[K, D]


def behaviour(
  values: jax.Array, members: jax.Array, days: jax.Array
) -> jax.Array:
  """A formula's cross-sections side by side, f16[d * S], of mean square 1.

  Products of two of them, over d * S, are mean daily correlations. A day
  counts 0 on which fewer than half of the members have a value, or all the
  same; of a formula without any other day all is 0.

  Args:
    values: f32[T, S], NaN where missing.
    members: bool[d, S], of the days that are compared.
    days: i32[d].
  """
  values = values[days]
  seen = members & jnp.isfinite(values)
  z, _ = cross_section.unit(jnp.where(seen, values, 0.0), seen)
  most = metrics.MIN_COVERAGE * jnp.sum(members, -1, keepdims=True)
  z = jnp.where(jnp.sum(seen, -1, keepdims=True) >= most, z, 0.0).ravel()
  norm = jnp.sqrt(jnp.mean(jnp.square(z)))
  z = jnp.where(norm > MIN_NORM, z / jnp.where(norm > 0, norm, 1.0), 0.0)
  return z.astype(jnp.float16)


def correlations(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Mean daily correlations, f16[N, D], f16[K, D] -> f32[N, K]."""
  right = others.astype(np.float32).T
  parts = [
    rows[i : i + CHUNK].astype(np.float32) @ right
    for i in range(0, len(rows), CHUNK)
  ]
  return np.concatenate(parts) / rows.shape[1]


def nearest(rows: np.ndarray, known: Known) -> list[Near | None]:
  """Whom each behaves most like; None where it is 0, or nobody is known."""
  if not known.names:
    return [None] * len(rows)
  alike = correlations(rows, known.rows)
  best = np.argmax(np.abs(alike), axis=1)
  return [
    Near(known.names[k], known.formulas[k], float(np.clip(row[k], -1.0, 1.0)))
    if row[k]
    else None
    for row, k in zip(alike, best.tolist(), strict=True)
  ]


def published(features: Sequence[str]) -> dict[str, Formula]:
  """The shipped libraries by name, `alpha101 #12`, on data of these features.

  A formula that two of them have stands under the first.
  """
  found, seen = {}, set()
  for name in library.LIBRARIES:
    for number, text in library.load(name, features=features).items():
      formula = formula_lib.parse(text, features)
      if formula_lib.key(formula) not in seen:
        seen.add(formula_lib.key(formula))
        mark = '#' if isinstance(number, int) else ''
        found[f'{name} {mark}{number}'] = formula
  return found


def behave(
  formulas: Mapping[str, Formula],
  store: evaluate.Store,
  members: jax.Array,
  days: jax.Array,
) -> Known:
  """Evaluates formulas to compare with; see `behaviour`."""
  if not formulas:
    return Known((), (), np.zeros((0, members.size), np.float16))
  rows = store.map(list(formulas.values()), behaviour, members, days)
  texts = map(formula_lib.to_text, formulas.values())
  return Known(tuple(formulas), tuple(texts), rows)
