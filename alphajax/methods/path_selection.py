"""Markets of stocks from several generators, chosen by how likely they are.

An LSTM is fitted to the bars of stocks that the generators do not know, and
scores a path by its mean log likelihood of a bar. AlphaFormer takes the
likeliest path of every stock (`argmax`). That is a dull one, the mode and not
what is typical: so the other rule, `typical`, wants scores to be spread as
those of real stocks are, and as many stocks of each family.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, sparse

from alphajax.data import bars
from alphajax.data import panel as panel_lib
from alphajax.data.controls import Source, make_source
from alphajax.data.panel import Panel
from alphajax.methods import path_fit, paths
from alphajax.networks import path_models

RULES = ('typical', 'argmax')
BAND = (0.02, 0.98)  # Quantiles of the real scores that a path may lie between.
NUM_BINS = 10  # Of real scores, equally many in each.
SLACK = 0.1  # Of a family's share, either way.
COVERAGE = 0.5  # Of the days of a real path that have a bar.
APART = 125  # Days from one real path of a stock to the next, half a year.
CHUNK = 64  # Paths that are scored at once.
OUTSIDE = 1e3  # Cost of a path outside the band, in stocks in the wrong bin.
GAP = 1e-4  # Of the best choice, by which the one found may cost more.


class Evaluator(NamedTuple):
  """Says how likely bars are."""

  score: Callable  # jitted `(params, paths [B, T, 6]) -> [B]`, a bar's mean.
  params: Any
  typical: bool  # Whether the vwap says nothing.


class Choice(NamedTuple):
  """The path of each stock, and how it came about."""

  family: np.ndarray  # i64[S], a position.
  candidate: np.ndarray  # i64[S]
  log: dict[str, Any]  # What JSON can hold.


def other_stocks(panel: Panel, source: Source, most: int) -> Source:
  """Stocks of a panel that a source is not made of, those of most days.

  Raises:
    ValueError: fewer than two.
  """
  known = set(source.symbols)
  others = [s for s in panel.symbols if s not in known]
  if others:
    panel = panel_lib.take_symbols(panel, others)
    days = (panel_lib.feature(panel, 'close') > 0) & panel.mask
    most = min(most, int(np.asarray(days).any(0).sum()))
  if len(others) < 2 or most < 2:
    raise ValueError(
      f'the evaluator needs 2 stocks or more that are not among the '
      f'{len(known)} of config.synthetic.num_stocks, and the training split '
      f'has {len(others)}; set a smaller --config.synthetic.num_stocks'
    )
  return make_source(panel, most)


def fit(
  others: Source,
  options: Mapping[str, Any],
  seed: int,
  folder: Path,
  say: Callable[[str], None] = print,
) -> Evaluator:
  """Fits the evaluator, or goes on where a killed fit stopped."""
  model = path_models.RecurrentPaths(
    len(bars.CHANNELS), 0, paths.WICKS, options['width'],
    options['num_components'], kind='lstm',
  )  # fmt: skip
  days = np.moveaxis(_judged(others.values, others.typical), 0, 2)
  num_days, num_stocks, _ = days.shape
  series = path_fit.Series(
    np.asarray(days),
    np.zeros((num_days, 0), np.float32),
    np.zeros((num_stocks, 0), np.float32),
  )
  how = paths.training('evaluator', options)
  key = jax.random.key(seed)
  params = path_fit.fit(
    paths.by_likelihood(model), series, how, key, folder / 'stock', say
  )
  return Evaluator(
    jax.jit(functools.partial(_score, model)), params, others.typical
  )


def _judged(values: np.ndarray, typical: bool) -> np.ndarray:
  """Bars `[6, ...]`, without the place of a vwap that says nothing."""
  values = np.array(values, np.float32)
  if typical:
    values[bars.PLACE] = np.nan
  return values


def _score(model, params, series: jax.Array) -> jax.Array:
  """Mean log likelihood of a bar, `[B, T, 6] -> [B]`."""
  context = jnp.zeros((series.shape[1], 0))
  each = jax.vmap(path_models.likelihood, (None, None, 0, None))(
    model, params, series, context
  )
  return each.sum((1, 2)) / jnp.maximum(jnp.isfinite(series).any(-1).sum(1), 1)


def scores(evaluator: Evaluator, values: np.ndarray) -> np.ndarray:
  """Mean log likelihoods of a bar, of scaled bars `[6, T, N] -> [N]`."""
  series = np.moveaxis(_judged(values, evaluator.typical), 0, 2)
  series = np.moveaxis(series, 1, 0)
  # All chunks are of one size: one program.
  padded = np.pad(series, ((0, -len(series) % CHUNK), (0, 0), (0, 0)))
  parts = np.split(padded, len(padded) // CHUNK)
  found = [np.asarray(evaluator.score(evaluator.params, x)) for x in parts]
  return np.concatenate(found)[: len(series)]


def real_scores(
  evaluator: Evaluator, source: Source, num_days: int
) -> np.ndarray:
  """Scores of real paths of so many days, or of all there are, `[N]`."""
  known_days = source.values.shape[1]
  num_days = min(num_days, known_days)
  starts = np.arange(0, known_days - num_days + 1, APART)
  spans = np.concatenate(
    [source.values[:, start : start + num_days] for start in starts], axis=2
  )
  there = np.isfinite(spans[bars.BODY]).mean(0) >= COVERAGE
  return scores(evaluator, spans[:, :, there])


def choose(
  candidates: np.ndarray,
  real: np.ndarray,
  families: Sequence[str],
  rule: str = 'typical',
) -> Choice:
  """Chooses a path for every stock.

  By `typical` the choice is the one whose scores are spread most evenly over
  the bins of the real ones, while no family has more or fewer stocks than SLACK
  allows. A path outside the band is taken only where a family's share cannot be
  filled otherwise.

  Args:
    candidates: scores `[F, K, S]`, K paths of each stock by F families.
    real: scores of real paths, `[N]`.
    families: names of the F.
    rule: one of RULES.

  Raises:
    ValueError: no real score.
  """
  if not len(real):
    raise ValueError(
      'no real path of the training split has bars on half of its days: '
      'nothing says what is typical; set a smaller --config.synthetic.num_days'
    )
  num_families, num_candidates, num_stocks = candidates.shape
  low, high = np.quantile(real, BAND)
  inside = (candidates >= low) & (candidates <= high)
  if rule == 'argmax':
    flat = candidates.reshape(-1, num_stocks).argmax(0)
    family, candidate = np.divmod(flat, num_candidates)
  else:
    family, candidate = _assign(candidates, inside, _edges(real))
  taken = candidates[family, candidate, np.arange(num_stocks)]
  log = {
    'rule': rule,
    'band': [float(low), float(high)],
    'accepted': dict(
      zip(families, inside.mean((1, 2)).tolist(), strict=True)
    ),
    'chosen': dict(
      zip(families, np.bincount(family, minlength=num_families).tolist(),
          strict=True)
    ),
    'chosen_outside': int(((taken < low) | (taken > high)).sum()),
    'mean_score': {
      'real': float(real.mean()),
      'candidates': float(candidates.mean()),
      'chosen': float(taken.mean()),
    },
    'off_histogram': [
      off_histogram(candidates.ravel(), real), off_histogram(taken, real)
    ],
  }  # fmt: skip
  return Choice(family, candidate, log)


def _edges(real: np.ndarray) -> np.ndarray:
  return np.quantile(real, np.arange(1, NUM_BINS) / NUM_BINS)


def off_histogram(values: np.ndarray, real: np.ndarray) -> float:
  """Share of values that would have to change their bin, 0 to 1."""
  edges = _edges(real)
  one, other = (
    np.bincount(np.searchsorted(edges, x), minlength=NUM_BINS) / len(x)
    for x in (values, real)
  )
  return float(np.abs(one - other).sum() / 2)


def _assign(
  candidates: np.ndarray, inside: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Family and candidate of every stock: an integer program, see `choose`.

  Its variables are whether each path is taken, `[F, K, S]`, and the distance of
  each bin's count, and of the worst one, from what it should be.
  """
  num_families, _, num_stocks = candidates.shape
  family, candidate, stock = (x.ravel() for x in np.indices(candidates.shape))
  bins = np.where(inside, np.searchsorted(edges, candidates), -1).ravel()
  of_stock, of_family, of_bin = (
    (numbers == np.arange(count)[:, None]).astype(float)
    for numbers, count in (
      (stock, num_stocks), (family, num_families), (bins, NUM_BINS),
    )
  )  # fmt: skip
  apart, wanted = np.eye(NUM_BINS), num_stocks / NUM_BINS
  worst = np.ones((NUM_BINS, 1))
  parts = (  # Taken, apart, worst: rows that lie between two bounds.
    ((of_stock, None, None), 1, 1),
    ((of_family, None, None), *quota(num_stocks, num_families)),
    ((of_bin, apart, None), wanted, np.inf),
    ((of_bin, -apart, None), -np.inf, wanted),
    ((None, apart, -worst), -np.inf, 0),
  )
  widths = (stock.size, NUM_BINS, 1)
  rows = [
    optimize.LinearConstraint(_side_by_side(blocks, widths), low, high)
    for blocks, low, high in parts
  ]
  cost = np.concatenate(
    [OUTSIDE * ~inside.ravel(), np.ones(NUM_BINS), [NUM_BINS]]
  )
  whole = np.concatenate([np.ones(stock.size), np.zeros(NUM_BINS + 1)])
  bounds = optimize.Bounds(0, np.where(whole > 0, 1, np.inf))
  found = optimize.milp(
    cost, integrality=whole, bounds=bounds, constraints=rows,
    options={'mip_rel_gap': GAP},
  )  # fmt: skip
  taken = np.flatnonzero(found.x[: stock.size] > 0.5)
  taken = taken[np.argsort(stock[taken])]
  return family[taken], candidate[taken]


def _side_by_side(blocks, widths) -> sparse.csr_array:
  """One sparse matrix; None is a block of zeros."""
  height = next(len(x) for x in blocks if x is not None)
  blocks = [
    np.zeros((height, width)) if x is None else x
    for x, width in zip(blocks, widths, strict=True)
  ]
  return sparse.csr_array(np.concatenate(blocks, axis=1))


def quota(num_stocks: int, num_families: int) -> tuple[int, int]:
  """Fewest and most stocks of a family, SLACK apart from its share at most."""
  share = num_stocks / num_families
  # Rounding may leave a whole number a little above or below itself.
  least, most = (1 - SLACK) * share - 1e-9, (1 + SLACK) * share + 1e-9
  least = min(np.ceil(least), np.floor(share))
  return int(least), int(max(np.floor(most), np.ceil(share)))


def sample(
  generators: Mapping[str, paths.Generator],
  evaluator: Evaluator,
  real: np.ndarray,
  seed: int,
  num_days: int,
  num_candidates: int,
  rule: str,
) -> tuple[Panel, dict[str, Any]]:
  """A market of the generators' stocks, and what was chosen and why.

  All stocks are given one common path, of one of the families, which it is by
  the seed. They are scored on the days that real paths have, or all.

  Args:
    generators: by family, all of one source.
    real: what `real_scores` gives.
    seed: of the market.
    num_days: of the market.
    num_candidates: of a stock in each family.
    rule: one of RULES.
  """
  names = list(generators)
  first = next(iter(generators.values()))
  common_key, *keys = jax.random.split(jax.random.key(seed), 1 + len(names))
  leader = names[seed % len(names)]
  common = paths.draw_common(generators[leader], common_key, num_days)
  drawn = np.stack(
    [
      paths.draw_bars(generators[name], key, common, num_candidates)
      for name, key in zip(names, keys, strict=True)
    ]
  )  # [F, K, 6, T, S]
  known_days = min(num_days, first.source.values.shape[1])
  scored = [
    [scores(evaluator, one[:, :known_days]) for one in several]
    for several in drawn
  ]
  choice = choose(np.array(scored), real, names, rule)
  stocks = np.arange(drawn.shape[-1])
  values = drawn[choice.family, choice.candidate, :, :, stocks]  # [S, 6, T]
  values = np.moveaxis(values, 0, 2)
  note = f'synthetic: chosen by {rule} from {", ".join(names)}, seed {seed}'
  panel = paths.to_panel(first.source, values, seed, note)
  return panel, choice.log | {'common_path': leader}
