"""Do a formula's ranks depend on the base of the price adjustment?

Adjusted prices and volumes are known up to one positive factor per stock. A
formula whose ranks change when that factor does ranks the history of splits and
dividends along with the stocks. Typed by units (`language.typed`), a grammar
writes no such formula; here any formula is tried.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from alphajax.analysis import ranks
from alphajax.data import panel as panel_lib
from alphajax.data.features import PRICES, VOLUMES
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib

MAX_EXPONENT = 3  # Factors between 1/8 and 8.


class Invariance(NamedTuple):
  """How the ranks of a formula answer to other bases.

  price, volume: shares of days and of ranks that change when every stock's
    prices, or volumes, are multiplied by a factor of its own.
  """

  price: ranks.Difference
  volume: ranks.Difference

  @property
  def price_invariant(self) -> bool:
    """The ranks stay, up to float32 noise, whatever the base of the prices."""
    return ranks.alike(self.price)

  @property
  def volume_invariant(self) -> bool:
    """The ranks stay, up to float32 noise, whatever the base of the volumes."""
    return ranks.alike(self.volume)


def factors(
  num_stocks: int, seed: int = 0, powers_of_two: bool = True
) -> np.ndarray:
  """One positive factor per stock, f32[S], none near 1.

  Powers of two are exact in float32: a formula built from sums, quotients and
  windows of one unit gives the same bits, so that no noise blurs the answer.
  Other factors round, as a real change of base does.
  """
  rng = np.random.default_rng(seed)
  exponent = rng.integers(1, MAX_EXPONENT + 1, num_stocks).astype(np.float64)
  if not powers_of_two:
    exponent -= rng.uniform(0.1, 0.9, num_stocks)
  sign = rng.choice([-1, 1], num_stocks)
  return (2.0 ** (sign * exponent)).astype(np.float32)


def rescale(
  panel: panel_lib.Panel, names: Sequence[str], factor: np.ndarray
) -> panel_lib.Panel:
  """Multiplies these features of every stock by its factor `[S]`.

  Features that the panel does not have are passed over.
  """
  features = np.array(panel.features, np.float32)
  for i, name in enumerate(panel.feature_names):
    if name in names:
      features[i] *= factor
  return panel.replace(features=features)


def check(
  formulas: Sequence[formula_lib.Formula],
  panel: panel_lib.Panel,
  days: np.ndarray | None = None,
  *,
  seed: int = 0,
  powers_of_two: bool = True,
) -> list[Invariance]:
  """Ranks the formulas on the panel and on rescaled ones.

  Args:
    formulas: any, of features of the panel.
    panel: prices and volumes, `[F, T, S]`.
    days: bool[T], those that are scored; None: all. Days without a rank, as in
      a formula's warm-up, count for nothing.
    seed: of the factors.
    powers_of_two: see `factors`.

  Returns:
    One result per formula. Where its `count` is 0 the formula has no rank on
    these days, and nothing is known.
  """
  num_days, num_stocks = panel.mask.shape
  days = np.ones(num_days, bool) if days is None else np.asarray(days)
  if days.shape != (num_days,) or days.dtype != bool:
    raise ValueError(
      f'days are {days.dtype}{list(days.shape)}, expected bool[{num_days}]'
    )
  formulas = list(formulas)
  store = evaluate.make_store(panel)
  base = [ranks.rank(v, store.universe) for v in store.take(formulas)]
  found = []
  for k, names in enumerate((PRICES, VOLUMES)):
    factor = factors(num_stocks, seed + k, powers_of_two)
    store = evaluate.make_store(rescale(panel, names, factor))
    values = store.take(formulas)
    found.append(
      [
        jax.device_get(ranks.difference(v, b, store.universe, days))
        for v, b in zip(values, base, strict=True)
      ]
    )
  return [Invariance(*pair) for pair in zip(*found, strict=True)]
