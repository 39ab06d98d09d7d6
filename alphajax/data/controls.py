"""Synthetic markets without a network: what the neural ones must beat.

`bootstrap` lays real days in a new order, the whole cross-section of a day
together, so that what stocks have in common stays and what lasts longer than a
block is lost. `garch` draws returns from GARCH processes of the statistical
factors and of what they leave of every stock, and takes the rest of a bar from
a real day of the stock with a like return: it predicts no return from any past.
"""

from collections.abc import Sequence
from typing import NamedTuple

import arch
import numpy as np
from arch.bootstrap import StationaryBootstrap
from arch.univariate import SkewStudent

from alphajax.data import bars
from alphajax.data import panel as panel_lib
from alphajax.data.bars import BODY, GAP, Anchors, Logs
from alphajax.data.panel import Panel

FIRST_DAY = '2010-01-04'
BLOCK = 20  # Mean length of a block, in days.
NUM_FACTORS = 4
NUM_BINS = 5  # Of |return| in recent deviations, on either side of 0.
BURN = 250  # Days that a simulated process forgets its start in.
LIMIT = 15.0  # Of a simulated day, in the series' deviations.
PERSISTENCE = 0.995  # The most that is simulated: beyond it nothing settles.


class Source(NamedTuple):
  """The bars that synthetic markets are made from.

  values: what `bars.scale` gives.
  mask: members.
  """

  values: np.ndarray  # f32[6, T, S]
  anchors: Anchors
  mask: np.ndarray  # bool[T, S]
  symbols: tuple[str, ...]
  typical: bool


class Garch(NamedTuple):
  """Fitted processes: NUM_FACTORS of factors, then one of every stock.

  loadings: of returns in units of the stock's deviation.
  params: of arch's constant-mean GJR-GARCH(1, 1) with skewed Student tails,
    for series of deviation 1.
  size: deviation of each series.
  """

  loadings: np.ndarray  # f64[F, S]
  params: np.ndarray  # f64[F + S, 7]
  size: np.ndarray  # f64[F + S]


def make_source(panel: Panel, num_stocks: int) -> Source:
  """The stocks with most member-days of a panel, coded.

  Raises:
    ValueError: fewer stocks have any bar as a member, or none is asked for.
  """
  close = np.asarray(panel_lib.feature(panel, 'close'))
  volume = np.asarray(panel_lib.feature(panel, 'volume'))
  days = (np.asarray(panel.mask) & (close > 0) & (volume > 0)).sum(0)
  found = int((days > 0).sum())
  if not 0 < num_stocks <= found:
    raise ValueError(
      f'num_stocks={num_stocks}: the panel has {found} stocks that are members '
      f'on some day; take 1 to {found}'
    )
  chosen = np.sort(np.argsort(-days, kind='stable')[:num_stocks])
  symbols = tuple(panel.symbols[s] for s in chosen)
  cut = panel_lib.take_symbols(panel, symbols)
  logs = bars.to_logs(cut)
  by = bars.anchors(logs)
  return Source(
    bars.scale(logs, by), by, np.asarray(cut.mask), symbols, logs.typical
  )


def to_panel(
  logs: Logs, mask: np.ndarray, symbols: Sequence[str], note: str
) -> Panel:
  """A panel of business days from FIRST_DAY on; who has no bar is no member."""
  features = bars.from_logs(logs)
  days = np.busday_offset(FIRST_DAY, np.arange(len(mask)), roll='forward')
  return panel_lib.make(
    features,
    mask & np.isfinite(features[0]),
    tuple(np.datetime_as_string(days, 'D').tolist()),
    symbols,
    notes=(note,),
  )


def bootstrap(
  source: Source, seed: int, num_days: int, block: float = BLOCK
) -> Panel:
  """Days of the source in stationary blocks of mean length `block`.

  Raises:
    ValueError: a block below a day.
  """
  if block < 1:
    raise ValueError(f'block={block}: expected a mean length of 1 day or more')
  index = block_days(source.mask.shape[0], num_days, block, seed)
  logs = bars.unscale(source.values[:, index], source.anchors, source.typical)
  return to_panel(
    logs, source.mask[index], source.symbols,
    f'synthetic: days of a panel in blocks of {block:g}, seed {seed}',
  )  # fmt: skip


def block_days(known: int, wanted: int, block: float, seed: int) -> np.ndarray:
  """Positions of days, `[wanted]`; after the last day comes the first."""
  parts = []
  # Any mean length will do, though its annotation says whole ones.
  draws = StationaryBootstrap(block, np.arange(known), seed=seed)  # type: ignore[arg-type]
  for (drawn,), _ in draws.bootstrap(-(-wanted // known)):
    parts.append(drawn)
  return np.concatenate(parts)[:wanted]


def fit_garch(source: Source, num_factors: int = NUM_FACTORS) -> Garch:
  """Fits the factors of the source's returns, and all processes.

  Days on which a stock has no bar count as a return of 0.

  Raises:
    ValueError: as many factors as stocks or days.
  """
  num_days, num_stocks = source.mask.shape
  if not 0 <= num_factors < min(num_days, num_stocks):
    raise ValueError(
      f'num_factors={num_factors}: {num_stocks} stocks on {num_days} days have '
      f'0 to {min(num_days, num_stocks) - 1} factors'
    )
  logs = bars.unscale(source.values, source.anchors)
  change = (logs.values[GAP] + logs.values[BODY]) / source.anchors.deviation
  change = np.nan_to_num(change)
  left, strength, loadings = np.linalg.svd(change, full_matrices=False)
  factors = left[:, :num_factors] * strength[:num_factors]
  loadings = loadings[:num_factors]
  series = np.concatenate([factors, change - factors @ loadings], axis=1)
  size = np.maximum(series.std(0), 1e-6)
  params = np.stack([_fit(one) for one in (series / size).T])
  return Garch(loadings, params, size)


def _model(series: np.ndarray | None):
  return arch.arch_model(
    series, mean='Constant', vol='GARCH', p=1, o=1, q=1, dist='skewt',
    rescale=False,
  )  # fmt: skip


def _fit(series: np.ndarray) -> np.ndarray:
  """Parameters: mu, omega, alpha, gamma, beta, eta, lambda."""
  fitted = _model(series).fit(disp='off', show_warning=False)
  return np.asarray(fitted.params)


def simulate_garch(model: Garch, seed: int, num_days: int) -> np.ndarray:
  """Returns in units of each stock's deviation, f64[T, S]."""
  sampler = SkewStudent(seed=np.random.default_rng(seed))
  mu, omega, alpha, gamma, beta, eta, skew = model.params.T
  shocks = np.stack(
    [
      sampler.simulate(np.array(shape))(num_days + BURN)
      for shape in zip(eta, skew, strict=True)
    ],
    axis=1,
  )
  memory = alpha + 0.5 * gamma + beta
  shrink = np.minimum(1.0, PERSISTENCE / np.maximum(memory, 1e-6))
  alpha, gamma, beta = alpha * shrink, gamma * shrink, beta * shrink
  # The variance that the series had: the fit of a persistent one may say else.
  omega = 1.0 - np.minimum(memory, PERSISTENCE)
  variance = np.ones_like(omega)
  paths = np.empty_like(shocks)
  for t, shock in enumerate(shocks):
    paths[t] = np.clip(np.sqrt(variance) * shock, -LIMIT, LIMIT)
    square = paths[t] ** 2
    variance = (
      omega + (alpha + gamma * (paths[t] < 0)) * square + beta * variance
    )
  paths = (paths[BURN:] + mu) * model.size
  num_factors = len(model.loadings)
  return paths[:, :num_factors] @ model.loadings + paths[:, num_factors:]


def garch(source: Source, model: Garch, seed: int, num_days: int) -> Panel:
  """A market of GARCH returns in which every stock is a member every day."""
  change = simulate_garch(model, seed, num_days) * source.anchors.deviation
  unit = bars.deviations(
    np.zeros_like(change), change, source.anchors.deviation
  )
  rng = np.random.default_rng([seed, 1])
  values = np.stack(
    [
      _lend(source.values[:, :, s], of_stock, rng)
      for s, of_stock in enumerate((change / unit).T)
    ],
    axis=2,
  )
  logs = bars.unscale(values, source.anchors, source.typical)
  return to_panel(
    logs, np.ones(change.shape, bool), source.symbols,
    f'synthetic: GARCH of {len(model.loadings)} factors and of what they '
    f'leave, seed {seed}',
  )  # fmt: skip


def _lend(
  real: np.ndarray, change: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Bars f64[6, T] with these scaled returns `[T]`, all else real `[6, D]`.

  Each is a day of the same stock whose return has the same sign and lies in
  the same fifth of sizes; the body takes up what the returns differ by.
  """
  known = real[:, np.isfinite(real).all(0)].astype(np.float64)
  if not known.size:  # Its vwap is never known.
    known = real[:, np.isfinite(real[GAP])].astype(np.float64)
  old = known[GAP] + known[BODY]
  edges = np.quantile(np.abs(old), np.arange(1, NUM_BINS) / NUM_BINS)

  def bin_of(returns):
    return np.searchsorted(edges, np.abs(returns)) + NUM_BINS * (returns < 0)

  new_bins, old_bins = bin_of(change), bin_of(old)
  donor = rng.integers(old.size, size=change.size)
  for number in np.unique(new_bins):
    same = np.flatnonzero(old_bins == number)
    wanted = np.flatnonzero(new_bins == number)
    if same.size:
      donor[wanted] = rng.choice(same, wanted.size)
  lent = known[:, donor]
  lent[BODY] += change - old[donor]
  return lent
