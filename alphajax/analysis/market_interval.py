"""How far figures of a real market vary by chance: blocks of its days anew."""

import numpy as np

from alphajax.analysis import market_quality
from alphajax.analysis.market_quality import Figures, Moves
from alphajax.data import controls
from alphajax.data.panel import Panel

BLOCK = 100  # Mean days of a block: the longest lag that is looked at.
SHARE = 0.95  # Of the interval.


def interval(
  panel: Panel, num_days: int, count: int, seed: int = 0
) -> tuple[Figures, Figures]:
  """Lower and upper end of the figures of so many days of one market.

  Whole days are drawn in blocks, the returns and ranges as they were. A lag
  that crosses the seam of two blocks is none, so slow autocorrelations come out
  a little too near 0.
  """
  found = market_quality.moves(panel)
  several = []
  for i in range(count):
    word = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
    days = controls.block_days(len(found.change), num_days, BLOCK, word)
    drawn = Moves(*(x[days] for x in found))
    there = np.isfinite(drawn.change).any(0)
    drawn = Moves(*(x[:, there] for x in drawn))
    several.append(market_quality.of_moves(drawn))
  ends: tuple[Figures, Figures] = ({}, {})
  for name in several[0]:
    known = [x for one in several if (x := one[name]) is not None]
    for end, level in zip(ends, (1 - SHARE, 1 + SHARE), strict=True):
      end[name] = float(np.quantile(known, level / 2)) if known else None
  return ends
