"""Rules that choose a pool from all formulas evaluated, not from the last few.

Algorithm 1 (`pool.insert`) sees formulas one after the other and forgets what
it drops. These see all of them at the end, through what is kept of each: its
daily correlation with the label, and its standardised values on some days, the
products of which are the correlations between formulas. Nothing is evaluated
again, and no matrix of all pairs is ever made.

A rule is a function of `Evidence` and `Options` to weights f64[N] of the
standardised factors, most of them 0. Host code.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.factor import lasso

# A formula that is silent on most days, whose mean variance is smaller than
# this, is no member of a pool.
MIN_POWER = 0.3
# Candidates of a rule that chooses one formula after the other, by strength.
SHORTLIST = 400
# Formulas that join the working set of the elastic net at a time.
JOINING = 128
# Of the distilled weights: the signal has no noise, so it need only be stable.
DISTIL_RIDGE = 0.05


class Evidence(NamedTuple):
  """What is known of N formulas; those without any value are left out.

  rows: parts `[n, D]` that make up `[N, D]`: standardised values on some days,
    0 where there is no opinion.
  scale: what products of rows are multiplied by to be mean daily correlations.
  daily: f32[N, days], daily correlation with the label that is fitted.
  overlap: days on which the labels of neighbouring days overlap.
  """

  rows: Sequence[np.ndarray]
  scale: float
  daily: np.ndarray
  overlap: int


class Options(NamedTuple):
  """What rules read, by the keys of `config.pool`.

  capacity: formulas chosen, by the rules that choose a number of them.
  penalty: L1 of the elastic net, in standard errors of a formula's mean IC.
  ridge: on the squared weights, where factors have variance 1.
  max_corr: of two formulas both chosen, by its size.
  weighting: 'ridge' or 'equal', of `best_distinct`.
  bags: bootstraps of `bagged`.
  """

  capacity: int = 10
  penalty: float = 1.5
  ridge: float = 0.3
  max_corr: float = 0.5
  weighting: str = 'ridge'
  bags: int = 10


def products(evidence: Evidence, vectors: np.ndarray) -> np.ndarray:
  """Every formula's mean correlation with signals, f32[N, k] of `[D, k]`."""
  parts = [part.astype(np.float32) @ vectors for part in evidence.rows]
  return np.concatenate(parts) * np.float32(evidence.scale)


def take(evidence: Evidence, chosen: np.ndarray) -> np.ndarray:
  """The rows of some formulas, f32[n, D], in their order."""
  ends = np.cumsum([len(part) for part in evidence.rows])
  parts = np.searchsorted(ends, chosen, side='right')
  starts = np.concatenate([[0], ends])
  rows = [
    evidence.rows[p][i - starts[p]]
    for p, i in zip(parts.tolist(), np.asarray(chosen).tolist(), strict=True)
  ]
  return np.stack(rows).astype(np.float32)


def gram(evidence: Evidence, chosen: np.ndarray) -> np.ndarray:
  """Mean correlations among some formulas, f64[n, n]."""
  rows = take(evidence, chosen)
  return (rows @ rows.T).astype(np.float64) * evidence.scale


def power(evidence: Evidence) -> np.ndarray:
  """Mean variance of every factor, f32[N]: 1 where it speaks on all days."""
  return np.concatenate(
    [
      np.einsum('nd,nd->n', rows, rows)
      for rows in (part.astype(np.float32) for part in evidence.rows)
    ]
  ) * np.float32(evidence.scale)


def strength(evidence: Evidence) -> np.ndarray:
  """Mean daily correlation with the label, f64[N]; 0 for the nearly silent."""
  mean = evidence.daily.mean(1, dtype=np.float64)
  return np.where(power(evidence) >= MIN_POWER, mean, 0.0)


def block_means(daily: np.ndarray, overlap: int) -> np.ndarray:
  """Means over blocks of two spans of the overlap, f64[N, B].

  Labels of neighbouring blocks then overlap on a fourth of their days at most.
  """
  count = max(daily.shape[1] // (2 * max(overlap, 1)), 2)
  edges = np.linspace(0, daily.shape[1], count + 1).astype(int)[:-1]
  sizes = np.diff([*edges, daily.shape[1]])
  return np.add.reduceat(daily.astype(np.float64), edges, axis=1) / sizes


def noise(evidence: Evidence) -> float:
  """Standard error of a formula's mean IC, the median over formulas.

  What the penalty is measured in: it follows the number of days and of stocks
  and how alike labels of neighbouring days are, and so a weak market gets a
  penalty as large beside its signal as its noise is.
  """
  blocks = block_means(
    evidence.daily[power(evidence) >= MIN_POWER], evidence.overlap
  )
  if not len(blocks):
    return 0.0
  errors = blocks.std(1, ddof=1) / blocks.shape[1] ** 0.5
  return float(np.median(errors))


def elastic_net(
  evidence: Evidence, options: Options, seed: int = 0
) -> np.ndarray:
  """Least squares over all formulas with an L1 and an L2 penalty.

  Minimises w'Gw/2 - b'w + l1 |w| + ridge |w|^2 / 2 exactly, on a working set
  that grows until no formula outside of it would get a weight (Friedman,
  Hastie and Tibshirani 2010).
  """
  del seed
  with_label = strength(evidence)
  penalty = options.penalty * noise(evidence)
  wanted = np.flatnonzero(np.abs(with_label) > penalty)
  active = wanted[np.argsort(-np.abs(with_label[wanted]))][:JOINING]
  weights = np.zeros(len(with_label))
  while active.size:
    matrix = gram(evidence, active) + options.ridge * np.eye(active.size)
    weights[active] = solve(
      matrix, with_label[active], penalty, weights[active]
    )
    used = np.flatnonzero(weights)
    signal = weights[used] @ take(evidence, used) if used.size else None
    left = with_label.copy()
    if signal is not None:
      left -= products(evidence, signal[:, None])[:, 0]
    # Neither the nearly silent nor those that had their say.
    left[with_label == 0] = left[active] = 0.0
    wants = np.flatnonzero(np.abs(left) > penalty * (1 + 1e-3))
    if not wants.size:
      break
    best = wants[np.argsort(-np.abs(left[wants]))][:JOINING]
    active = np.sort(np.concatenate([active, best]))
  return weights


def solve(
  matrix: np.ndarray,
  with_label: np.ndarray,
  l1: float,
  initial: np.ndarray | None = None,
) -> np.ndarray:
  """Minimises w'Gw/2 - b'w + l1 |w| for P formulas, f64[P]."""
  count = len(with_label)
  size = -(-count // JOINING) * JOINING  # A few shapes, a few compilations.
  pad = [(0, size - count)]
  start = np.zeros(count) if initial is None else initial
  weights = _fit(
    *(
      jnp.asarray(np.pad(x, pad * x.ndim), jnp.float32)
      for x in (matrix, with_label, start)
    ),
    jnp.arange(size) < count,
    jnp.float32(2 * l1),
  )
  return np.asarray(weights, np.float64)[:count]


@jax.jit
def _fit(matrix, with_label, initial, used, l1):
  config = lasso.FitConfig(l1=l1)
  return lasso.fit(matrix, with_label, used, initial, config)


def lasso_rule(
  evidence: Evidence, options: Options, seed: int = 0
) -> np.ndarray:
  """The elastic net without its L2 penalty."""
  return elastic_net(evidence, options._replace(ridge=lasso.RIDGE), seed)


def distilled(
  evidence: Evidence, options: Options, seed: int = 0
) -> np.ndarray:
  """The `capacity` formulas that reproduce the *signal* of the elastic net.

  What is to be predicted is no label, but a wide pool that was shrunk already,
  without noise: choosing few formulas then costs little. One after the other
  the formula that is most like what the chosen leave of it, then all weights.
  """
  wide = elastic_net(evidence, options, seed)
  active = np.flatnonzero(wide)
  if len(active) <= options.capacity:
    return wide
  signal = wide[active] @ take(evidence, active)
  like = products(evidence, signal[:, None])[:, 0].astype(np.float64)
  size = power(evidence)
  like = np.where(size >= MIN_POWER, like / np.sqrt(np.maximum(size, 1e-9)), 0)
  short = np.union1d(np.argsort(-np.abs(like))[:SHORTLIST], active)
  matrix = gram(evidence, short)
  goal = matrix[:, np.searchsorted(short, active)] @ wide[active]
  chosen = _forward(matrix, goal, options.capacity)
  weights = np.zeros(len(wide))
  weights[short[chosen]] = _ridge(matrix, goal, chosen, DISTIL_RIDGE)
  return weights


def _forward(matrix: np.ndarray, goal: np.ndarray, size: int) -> np.ndarray:
  """Positions of the formulas that reproduce a signal, greedily."""
  norms = np.sqrt(np.maximum(np.diag(matrix), 1e-9))
  chosen: list[int] = []
  left = goal
  while len(chosen) < size:
    score = np.abs(left) / norms
    score[chosen] = -1.0
    chosen.append(int(np.argmax(score)))
    place = np.array(chosen)
    left = goal - matrix[:, place] @ _ridge(matrix, goal, place, DISTIL_RIDGE)
  return np.array(chosen)


def _ridge(matrix, goal, chosen, ridge) -> np.ndarray:
  """Least squares weights of the chosen, shrunk."""
  part = matrix[np.ix_(chosen, chosen)] + ridge * np.eye(len(chosen))
  return np.linalg.solve(part, goal[chosen])


def best_distinct(
  evidence: Evidence, options: Options, seed: int = 0
) -> np.ndarray:
  """The `capacity` best by |IC|, no two correlated by `max_corr` or more."""
  del seed
  with_label = strength(evidence)
  weights = np.zeros(len(with_label))
  short = _strongest(with_label)
  if not short.size:
    return weights
  matrix = gram(evidence, short)
  chosen = distinct(
    with_label[short], matrix, options.capacity, options.max_corr
  )
  weights[short[chosen]] = (
    np.sign(with_label[short[chosen]])
    if options.weighting == 'equal'
    else _ridge(matrix, with_label[short], chosen, options.ridge)
  )
  return weights


def _strongest(with_label: np.ndarray) -> np.ndarray:
  """The shortlist by |IC|, strongest first; none of IC 0."""
  order = np.argsort(-np.abs(with_label), kind='stable')[:SHORTLIST]
  return order[with_label[order] != 0]


def distinct(
  strengths: np.ndarray, matrix: np.ndarray, size: int, max_corr: float
) -> np.ndarray:
  """Positions of the strongest formulas that are unlike each other.

  strengths: f64[n], what they are ordered by, whatever its sign; 0: never.
  matrix: f64[n, n], their mean correlations.
  """
  norms = np.sqrt(np.maximum(np.diag(matrix), 1e-9))
  chosen: list[int] = []
  for i in np.argsort(-np.abs(strengths), kind='stable').tolist():
    if len(chosen) == size or strengths[i] == 0:
      break
    likeness = np.abs(matrix[i, chosen]) / (norms[i] * norms[chosen])
    if not chosen or likeness.max() < max_corr:
      chosen.append(i)
  return np.array(chosen, int)


def niches(evidence: Evidence, count: int, max_corr: float) -> np.ndarray:
  """Positions of the strongest formulas that behave unlike each other."""
  with_label = strength(evidence)
  short = _strongest(with_label)
  if not short.size:
    return short
  matrix = gram(evidence, short)
  return short[distinct(with_label[short], matrix, count, max_corr)]


def bagged(evidence: Evidence, options: Options, seed: int = 0) -> np.ndarray:
  """Means of equally weighted best distinct pools over resampled days.

  Days are drawn with replacement in blocks of two spans of the labels' overlap,
  so that a formula that owes its place to a few of them is in few of the pools.
  """
  with_label = strength(evidence)
  blocks = block_means(evidence.daily, evidence.overlap)
  blocks = np.where((with_label != 0)[:, None], blocks, 0.0)
  rng = np.random.default_rng(seed)
  draws = rng.integers(blocks.shape[1], size=(options.bags, blocks.shape[1]))
  bags = np.stack([blocks[:, draw].mean(1) for draw in draws])
  short = np.unique(np.concatenate([_strongest(bag)[:200] for bag in bags]))
  weights = np.zeros(len(with_label))
  if not short.size:
    return weights
  matrix = gram(evidence, short)
  for bag in bags[:, short]:
    chosen = distinct(bag, matrix, options.capacity, options.max_corr)
    equal = np.sign(bag[chosen])
    spread = equal @ matrix[np.ix_(chosen, chosen)] @ equal
    weights[short[chosen]] += equal / np.sqrt(max(spread, 1e-9))
  return weights


def beyond(rule: Callable[..., np.ndarray], base: np.ndarray):
  """A rule that chooses what adds to formulas which are in every pool.

  It sees every formula, and the label, without what the base says of them;
  their weights are then those of the whole (Frisch, Waugh and Lovell).

  base: positions of the formulas that are given.
  """

  def choose(evidence: Evidence, options: Options, seed: int = 0):
    matrix = gram(evidence, base)
    # Shrunk by no more than what makes alike ones solvable.
    inverse = np.linalg.inv(matrix + lasso.RIDGE * np.eye(len(base)))
    rows = take(evidence, base)
    on_base = products(evidence, rows.T).astype(np.float64) @ inverse
    on_base[base] = np.eye(len(base))  # Of the base nothing is left.
    starts = np.cumsum([0, *(len(part) for part in evidence.rows)])
    left = [
      (part - share.astype(np.float32) @ rows).astype(part.dtype)
      for part, share in zip(
        evidence.rows, np.split(on_base, starts[1:-1]), strict=True
      )
    ]
    daily = evidence.daily - on_base @ evidence.daily[base]
    weights = rule(
      evidence._replace(rows=left, daily=daily.astype(np.float32)),
      options,
      seed,
    )
    own = inverse @ evidence.daily[base].mean(1, dtype=np.float64)
    weights[base] = own - weights @ on_base
    return weights

  return choose


RULES: dict[str, Callable[..., np.ndarray]] = {
  'elastic_net': elastic_net,
  'lasso': lasso_rule,
  'best_distinct': best_distinct,
  'bagged': bagged,
  'distilled': distilled,
}
