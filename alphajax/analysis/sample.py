"""A small part of a panel, on which formulas are put to many tests.

Whether a formula looks ahead, hangs on the base of the prices or has dead parts
shows on a few dozen stocks and some months as well as on all, and costs a
hundredth there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.analysis import ranks
from alphajax.data import panel as panel_lib
from alphajax.data.device import put
from alphajax.data.panel import Panel, Split
from alphajax.factor import sorting

STOCKS, DAYS = 64, 120
STEP = 64  # Panels of few shapes: programs are compiled for a shape.


class Sample(NamedTuple):
  """Stocks that are members longest, on the last scored days of a split.

  days: bool[t], those to test on; the ones before are warm-up.
  first: position of its first day in the split.
  stocks: positions of its stocks there.
  """

  panel: Panel
  days: np.ndarray
  first: int
  stocks: np.ndarray  # i[s]


def make(
  split: Split, lookback: int, *, stocks: int = STOCKS, days: int = DAYS
) -> Sample:
  """Cuts a sample with a warm-up of at least `lookback` days, where there is.

  Stocks are evenly spaced among those that are members nearly as long.
  """
  scored = np.flatnonzero(split.scored)[-days:]
  warm = -(-lookback // STEP) * STEP
  first = max(int(scored[0]) - warm, 0)
  mask = np.asarray(split.panel.mask)
  often = mask[scored].sum(0)
  longest = np.argsort(-often, kind='stable')
  usual = max(int(np.sum(2 * often >= len(scored))), min(stocks, len(longest)))
  places = np.linspace(0, usual - 1, min(stocks, usual)).round().astype(int)
  chosen = np.sort(longest[np.unique(places)])
  panel = panel_lib.take_symbols(
    split.panel, [split.panel.symbols[i] for i in chosen.tolist()]
  )
  panel = panel_lib.select_days(panel, slice(first, int(scored[-1]) + 1))
  chosen_days = np.zeros(len(panel.dates), bool)
  chosen_days[scored - first] = True
  return Sample(panel, chosen_days, first, chosen)


def tested(part: Sample) -> tuple[jax.Array, jax.Array]:
  """Members on the days to test on, bool[d, s], and these days, i32[d]."""
  days = np.flatnonzero(part.days)
  return put((np.asarray(part.panel.mask)[days], days))


def cut(signal: jax.Array, part: Sample) -> jax.Array:
  """A signal on the split's panel `[T, S]` as the sample has it, `[t, s]`."""
  days = slice(part.first, part.first + len(part.days))
  return signal[days][:, part.stocks]


def places(values, members, days):
  """Twice each stock's place on some days, i16[d, S]; -1 where it has none.

  Args:
    values: f32[T, S].
    members: bool[d, S], of those days.
    days: i32[d].
  """
  values = values[days]
  seen = members & jnp.isfinite(values)
  rank = sorting.cross_sectional_rank(jnp.where(seen, values, 0.0), seen)
  count = jnp.sum(seen, -1, keepdims=True)
  doubled = jnp.round(2 * count * jnp.where(seen, rank, 0.0))
  return jnp.where(seen, doubled, -1).astype(jnp.int16)


class Moved(NamedTuple):
  """How two rankings differ; as `ranks.difference`, of many on the host.

  moved: share of the ranks that differ, or that one ranking alone has.
  alike: the same up to float32 noise, see `ranks.alike`.
  ranked: ranks compared; without any nothing is known.
  """

  moved: np.ndarray  # f64[N]
  alike: np.ndarray  # bool[N]
  ranked: np.ndarray  # i64[N]


def compare(new: np.ndarray, base: np.ndarray) -> Moved:
  """Compares `places` of N formulas with others, i16[N, d, S] each."""
  ranked = ((new >= 0) | (base >= 0)).sum((1, 2))
  # Where both have none, nothing differs.
  moved = (new != base).sum((1, 2)) / np.maximum(ranked, 1)
  alike = moved <= ranks.MAX_MOVED
  some = np.flatnonzero(alike & (moved > 0))
  alike[some] = near(new[some], base[some])
  return Moved(moved, alike, ranked)


def near(new: np.ndarray, base: np.ndarray) -> np.ndarray:
  """Whether the same stocks have a rank, none far from the other, bool[N]."""
  apart = np.abs(new.astype(np.int32) - base)
  same_stocks = ((new >= 0) == (base >= 0)).all((1, 2))
  return same_stocks & (apart <= 2 * ranks.MAX_PLACES + 0.5).all((1, 2))
