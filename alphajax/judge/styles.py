"""How much of a signal is a simple style, and what is left without them.

Five styles that need no more than prices and volumes. All are of the day's
close, and larger where the style is said to be stronger:

  reversal    minus the return of 20 days
  momentum    the return from 250 to 20 days ago (Jegadeesh and Titman 1993:
              without the last month, which reverses)
  volatility  standard deviation of the daily returns of 60 days
  size        logarithm of the mean money traded in 20 days
  beta        slope of the daily returns of 250 days on the market's, the mean
              return of the day's members
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import cross_section
from alphajax.data import panel as panel_lib
from alphajax.data.device import put
from alphajax.data.panel import PAPER_LABEL, LabelSpec, Panel, Split
from alphajax.factor import evaluate, windows
from alphajax.judge import figures, series, signals
from alphajax.language import formula as formula_lib

FORMULAS = {
  'reversal': '1-close/Ref(close,20)',
  'momentum': 'Ref(close,20)/Ref(close,250)',
  'size': 'Log(Mean(volume*close,20))',
}
VOLATILITY_DAYS, BETA_DAYS = 60, 250
BLOCK = 10  # Days; divides both.
NAMES = ('reversal', 'momentum', 'volatility', 'size', 'beta')
KNOWN = 0.5  # Least share of a window's returns; stocks are suspended at times.
LIMIT = 3.0  # Deviations beyond which a style counts no more.
# Least share of a style's spread that the styles before it leave; below, it is
# one of them or all but.
DISTINCT = 1e-3
# What is left of a signal is 0 below this share of its spread: rounding.
RESOLUTION = 1e-4


def values(panel: Panel) -> dict[str, jax.Array]:
  """The styles of a panel by name, f32[T, S] each, NaN where unknown."""
  texts = [formula_lib.parse(text) for text in FORMULAS.values()]
  found = dict(zip(FORMULAS, evaluate.values(texts, panel), strict=True))
  close = np.asarray(panel_lib.feature(panel, 'close'), np.float32)
  volatility, beta = _of_returns(close, panel.mask)
  found |= {'volatility': volatility, 'beta': beta}
  return {name: found[name] for name in NAMES}


@jax.jit
def _of_returns(close, members):
  """Volatility and beta, `[T, S]` each."""
  returns = close / windows.delay(close, 1) - 1
  returns = jnp.where(jnp.isfinite(returns), returns, jnp.nan)
  seen = members & jnp.isfinite(returns)
  count = jnp.sum(seen, -1, keepdims=True)
  total = jnp.sum(jnp.where(seen, returns, 0.0), -1, keepdims=True)
  market = jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)
  market = jnp.broadcast_to(market, returns.shape)
  own, _ = _moments(returns, returns, VOLATILITY_DAYS)
  both, power = _moments(returns, market, BETA_DAYS)
  moved = power > 0
  beta = jnp.where(moved, both / jnp.where(moved, power, 1.0), jnp.nan)
  return jnp.sqrt(own), beta


def _moments(x, y, window):
  """Covariance of x and y and variance of y over the days that have both.

  n - 1 in the denominator; NaN where fewer than `KNOWN` of the window's days
  are known. Returns are near 0, so their sums lose no digits.
  """

  known = jnp.isfinite(x) & jnp.isfinite(y)
  x, y = (jnp.where(known, each, 0.0) for each in (x, y))
  terms = jnp.stack([known.astype(jnp.float32), x, y, x * y, y * y])
  count, x, y, xy, yy = _window_sums(terms, window)
  enough = count >= KNOWN * window
  n = jnp.where(enough, count, jnp.nan)
  return tuple(
    (product - first * y / n) / (n - 1) for product, first in ((xy, x), (yy, y))
  )


def _window_sums(x: jax.Array, window: int) -> jax.Array:
  """Sums over the trailing window, `[N, T, S]`; 0 before the panel.

  Sums of sums of `BLOCK` days: at 250 days `factor.windows.over`, whose terms
  may be of any kind, takes ten times as long to run and to compile.
  """
  for days, step in ((BLOCK, 1), (window // BLOCK, BLOCK)):
    x = jax.lax.reduce_window(
      x, 0.0, jax.lax.add, (1, days, 1), (1, 1, 1),
      ((0, 0), ((days - 1) * step, 0), (0, 0)), window_dilation=(1, step, 1),
    )  # fmt: skip
  return x


@jax.jit
def standardize(values: jax.Array, members: jax.Array) -> jax.Array:
  """A style as a regressor: z-scores of the day's members, 0 where unknown.

  At most `LIMIT` deviations from the mean.
  """
  z, _ = cross_section.unit(values, members & jnp.isfinite(values))
  return jnp.clip(z, -LIMIT, LIMIT)


@jax.jit
def regress(
  signal: jax.Array, columns: jax.Array, members: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Splits a signal into what styles explain and what is left, day by day.

  By least squares with an intercept over the members with a value of the
  signal. As `data.neutral.residual`, on the device.

  Args:
    signal: f32[T, S], NaN where there is none.
    columns: f32[K, T, S], of `standardize`.
    members: bool[T, S].

  Returns:
    What is left, f32[T, S], NaN where the signal is; the correlation with each
    style, f32[K, T]; the share of the day's variance that all of them explain,
    f32[T]. NaN on a day with fewer than K + 2 values, or one for all; a style
    that is the same for all has no correlation, NaN.
  """
  seen = members & jnp.isfinite(signal)
  z, constant = cross_section.unit(signal, seen)
  count = jnp.sum(seen, -1, keepdims=True)
  usable = (count >= len(columns) + 2) & ~constant
  units = [cross_section.unit(column, seen) for column in columns]

  def dot(x, y):
    return jnp.sum(x * y, -1, keepdims=True) / jnp.maximum(count, 1)

  exposures = jnp.stack(
    [jnp.where(usable & ~same, dot(z, x), jnp.nan)[:, 0] for x, same in units]
  )
  basis = _orthonormal([column for column, _ in units], dot)
  left = z
  for other in basis * 2:  # Twice, against rounding.
    left -= dot(left, other) * other
  share = dot(left, left)
  left = jnp.where(share > RESOLUTION**2, left, 0.0)
  explained = jnp.where(usable, jnp.clip(1 - share, 0.0, 1.0), jnp.nan)[:, 0]
  return jnp.where(seen & usable, left, jnp.nan), exposures, explained


def _orthonormal(columns: Sequence[jax.Array], dot: Callable) -> list:
  """Columns made orthonormal in their order; 0 where they bring nothing new."""
  basis: list[jax.Array] = []
  for column in columns:
    for other in basis * 2:
      column -= dot(column, other) * other
    length = jnp.sqrt(dot(column, column))
    new = length > DISTINCT
    basis.append(jnp.where(new, column / jnp.where(new, length, 1.0), 0.0))
  return basis


def of_signal(
  signal: signals.Signal,
  split: Split,
  label: LabelSpec = PAPER_LABEL,
  styles: Mapping[str, jax.Array] | None = None,
) -> tuple[dict[str, Any], figures.Series]:
  """Exposure of a signal to styles, and the IC left without them.

  A stock whose style is unknown counts as the day's mean, so that the IC left
  is over the same stocks as the IC.

  Args:
    signal: f32[T, S].
    split: the days; those scored count.
    label: says how far the labels of neighbouring days overlap.
    styles: by name, f32[T, S] each; None: those of `values`, which on the first
      250 days of the split's panel are not all known.

  Returns:
    `styles`: by name the mean daily correlation with the signal (`exposure`)
    and the share of the members' cells where it is `known`; `explained`, the
    mean share of the signal's daily variance that all of them explain; `left`,
    what `signals.summary` has of the rest. And the daily series: `left_ic`,
    `left_rank_ic`, `explained`, `[days]`.

  Raises:
    ValueError: a signal or a style of another shape, or no styles.
  """
  panel, days = split.panel, np.flatnonzero(split.scored)
  raw = values(panel) if styles is None else styles
  if not raw:
    raise ValueError('styles is empty: expected one or more, or None')
  members = put(panel.mask)
  known = {
    name: signals.check_signal(each, panel, f'the style {name}')
    for name, each in raw.items()
  }
  columns = jnp.stack([standardize(each, members) for each in known.values()])
  left, exposures, explained = regress(
    signals.check_signal(signal, panel), columns, members
  )
  daily = figures.daily(left, split.target, members)
  ic, rank_ic = np.asarray(daily, np.float64)[:, days]
  share = np.asarray(explained, np.float64)[days]
  lag = series.overlap(label)
  found = {
    'styles': _exposures(known, np.asarray(exposures), panel, days),
    'explained': series.mean(share, lag).mean,
    'left': signals.summary(ic, rank_ic, lag),
  }
  return found, {'left_ic': ic, 'left_rank_ic': rank_ic, 'explained': share}


def _exposures(
  known: Mapping[str, jax.Array], exposures: np.ndarray, panel: Panel, days
) -> dict[str, dict[str, float]]:
  """Means over the days, by style; see `of_signal`."""
  cells, rows = np.asarray(panel.mask)[days], {}
  for (name, values), daily in zip(known.items(), exposures, strict=True):
    have = np.isfinite(np.asarray(values)[days]) & cells
    rows[name] = {
      'exposure': series.mean(daily[days], 0).mean,
      'known': float(have.sum() / max(cells.sum(), 1)),
    }
  return rows
