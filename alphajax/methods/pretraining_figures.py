"""Held-out tasks: do proposals of the network beat retrieval?

Whoever proposes is judged by the best |correlation| with what the pool leaves
of the signal, among its first 1, 10 and 100 formulas, and by whether one of
them behaves as a hidden formula.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from alphajax.analysis.reliability import Bin, reliability
from alphajax.data.device import put
from alphajax.factor import pool_rules
from alphajax.methods import formula_tokens, pretraining_gate
from alphajax.methods.formula_tokens import Pool
from alphajax.methods.planted_tasks import Task
from alphajax.methods.pretraining_gate import Gate, Proposed

COUNTS = (1, 10, 100)
# What a run evaluates differs by so much, among so many times as many.
MAX_CORR, SHORTLIST = 0.5, 6
LEAST_LEFT = 0.05  # Of a signal's variance, for a task to be judged by it.
RECOVERED = 0.9  # |Correlation| with a hidden formula.
LEAST_NORM = 1e-6
# Ends of groups of tasks: IC of the signal, mean nodes of what it hides, and
# how many formulas it hides.
GROUPS = {
  'IC': (0.04, 0.07, 0.12),
  'nodes': (7.0, 10.0),
  'hidden': (2, 4),
}


# Ends of bins of forecasts: most gains are next to nothing.
VALUE_SHARES = (0.2, 0.4, 0.6, 0.8)
SCORE_SHARES = (0.5, 0.9, 0.99, 0.999)


class Judged(NamedTuple):
  """n tasks with a signal, of which their pool leaves something.

  best: name -> f64[n, 3], see `figures`; of the first of `COUNTS`.
  found: name -> bool[n, 3], whether one of these behaves as a formula that is
    hidden and not in the pool.
  bound: f64[n], the best formula of the library, hidden ones among them, by
    the truth.
  groups: f64[n] of each of `GROUPS`.
  """

  best: dict[str, np.ndarray]
  found: dict[str, np.ndarray]
  bound: np.ndarray
  groups: dict[str, np.ndarray]


def judge(gate: Gate, params, rng_key: jax.Array) -> dict[str, float | None]:
  """What the network does on the tasks, see `figures`."""
  tasks, proposed = pretraining_gate.propose(gate, params, rng_key)
  return figures(gate, tasks, proposed, judged(gate, tasks, proposed))


def judged(
  gate: Gate,
  tasks: Sequence[Task],
  proposed: Sequence[Proposed],
  more: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> Judged:
  """What came of every task that has a signal.

  more: other proposers, rows f16[m, D, S] of each task, in their order.
  """
  best: dict[str, list] = {}
  found: dict[str, list] = {}
  bound, groups = [], []
  for n, (task, made) in enumerate(zip(tasks, proposed, strict=True)):
    signal = signal_of(gate.rows, task)
    if not (task.ceiling > 0 and signal.any()):
      continue
    lists = _lists(gate, task, made)
    lists |= {name: rows[n] for name, rows in (more or {}).items()}
    hidden = gate.rows[_left(task)]
    for name, rows in lists.items():
      best.setdefault(name, []).append(_best(rows, signal))
      found.setdefault(name, []).append(_found(rows, hidden))
    free = gate.rows[np.asarray(task.worth) >= 0]
    bound.append(_best(free, signal, (len(free),))[0])
    groups.append(_groups(gate, task))
  return Judged(
    {name: np.array(rows) for name, rows in best.items()},
    {name: np.array(rows) for name, rows in found.items()},
    np.array(bound),
    {name: np.array([each[name] for each in groups]) for name in GROUPS},
  )


def _left(task: Task) -> np.ndarray:
  """Positions of the formulas that are hidden and not in the pool."""
  hidden = np.asarray(task.hidden)[np.asarray(task.weights) != 0]
  return np.setdiff1d(hidden, np.asarray(task.pool)[np.asarray(task.in_pool)])


def _groups(gate: Gate, task: Task) -> dict[str, float]:
  hidden = np.asarray(task.hidden)[np.asarray(task.weights) != 0]
  return {
    'IC': float(task.ceiling),
    'nodes': float(np.mean(gate.nodes[hidden])),
    'hidden': len(hidden),
  }


def signal_of(rows: np.ndarray, task: Task) -> np.ndarray:
  """What the pool leaves of the hidden signal on the compared cells, f32[D, S].

  A mean square of 1 a day; all 0 where the pool leaves next to nothing.
  """
  chosen = rows[task.hidden].astype(np.float32)
  signal = np.tensordot(np.asarray(task.weights), chosen, 1)
  norm = np.sqrt(np.sum(signal**2, -1, keepdims=True))
  signal = signal / np.where(norm > 0, norm, 1.0)
  pool = rows[task.pool[task.in_pool]].astype(np.float32)
  pool = pool.reshape(len(pool), signal.size)
  weights, *_ = np.linalg.lstsq(pool.T, signal.ravel(), rcond=1e-3)
  left = signal - (weights @ pool).reshape(signal.shape)
  power = np.mean(np.sum(left**2, -1))
  return left / np.sqrt(power) if power > LEAST_LEFT else 0.0 * left


def figures(
  gate: Gate,
  tasks: Sequence[Task],
  proposed: Sequence[Proposed],
  outcome: Judged,
) -> dict[str, float | None]:
  """What is said of held-out tasks, means over those with a signal.

  share_K: best |correlation| with the signal of the first K samples;
  NAME_share_K: of `ranked`, the samples by the score head; `shelf`, the library
  by the score head; `retrieval`, by the kernel; `random`, in any order;
  `drawn`, other formulas at random; `oracle`, held-out formulas too, by noisy
  gains. The best unlike each other, as runs evaluate them: `model`, samples and
  library by the head; by the kernel `kernel`, the library, `written`, samples,
  and `fresh`, as many drawn at random. over_kernel_K: how much `model` is above
  `kernel`, over_fresh_K: `written` above `fresh`, each with the standard error
  of that mean.

  distinct: share of the samples that differ.
  value_error: mean error of the value head in IC; value_slope: of the truth on
    what it says. score_slope: the same of the score head on the library.
  silent_gain: the largest gain that the score head sees in the library in
    tasks without signal.
  """
  found: dict[str, float | None] = {
    f'{name}_share_{k}'.lstrip('_'): float(mean)
    for name, table in outcome.best.items()
    for k, mean in zip(COUNTS, table.mean(0), strict=True)
  }
  pairs = ('model', 'kernel'), ('written', 'fresh')
  for ours, name in pairs if outcome.best else ():
    apart = over(outcome, ours, name)
    for k, (mean, error) in zip(COUNTS, apart, strict=True):
      found[f'over_{name}_{k}'] = mean
      found[f'over_{name}_error_{k}'] = error
  values, real = values_of(tasks, proposed)
  scores = np.concatenate([made.scores for made in proposed])
  gains = np.concatenate([np.asarray(task.gains) for task in tasks])
  total = sum(made.num_distinct for made in proposed)
  silent = silence(tasks, proposed).score
  return found | {
    'distinct': total / (gate.num_samples * len(proposed)),
    'value_error': float(np.mean(np.abs(values - real))),
    'value_slope': _slope(values, real),
    'score_slope': _slope(scores, gains),
    'silent_gain': float(np.mean(silent)) if len(silent) else None,
  }


def over(
  outcome: Judged, ours: str, other: str, among: np.ndarray | None = None
) -> list[tuple[float, float]]:
  """How much better the best of `ours` is, and the standard error of that.

  among: bool[n], tasks; all by default.

  Returns:
    A pair for each of `COUNTS`.
  """
  apart = outcome.best[ours] - outcome.best[other]
  apart = apart if among is None else apart[among]
  error = apart.std(0) / np.sqrt(max(len(apart) - 1, 1))
  return list(zip(apart.mean(0).tolist(), error.tolist(), strict=True))


def values_of(
  tasks: Sequence[Task], proposed: Sequence[Proposed]
) -> tuple[np.ndarray, np.ndarray]:
  """What the value head says of each task and what is so, f64[tasks]."""
  values = np.array([made.value for made in proposed])
  return values, np.array([float(task.value) for task in tasks])


def groups_of(
  outcome: Judged,
) -> Iterator[tuple[str, float, float, np.ndarray]]:
  """Groups of tasks that are not empty: name, least, below, bool[n]."""
  for name, ends in GROUPS.items():
    values = outcome.groups[name]
    for low, high in zip((0.0, *ends), (*ends, np.inf), strict=True):
      among = (values >= low) & (values < high)
      if among.any():
        yield name, low, high, among


def calibration(
  tasks: Sequence[Task], proposed: Sequence[Proposed]
) -> dict[str, list[Bin]]:
  """Forecasts and what is so, in IC, each task one observation.

  value: of the value head, the pool with one formula more. score, regression:
  gains of the library's formulas that were not evaluated, by head and kernel.
  """
  values, real = values_of(tasks, proposed)
  place = np.arange(len(tasks))
  free = [np.asarray(task.worth) >= 0 for task in tasks]
  gains = np.concatenate(
    [np.asarray(t.gains)[f] for t, f in zip(tasks, free, strict=True)]
  )
  told = {
    'score': [made.scores for made in proposed],
    'regression': [np.asarray(task.worth) for task in tasks],
  }
  group = np.repeat(place, [f.sum() for f in free])
  return {
    'value': reliability(values, real, place, VALUE_SHARES),
    **{
      name: reliability(
        np.concatenate([x[f] for x, f in zip(each, free, strict=True)]),
        gains, group, SCORE_SHARES,
      )
      for name, each in told.items()
    },
  }  # fmt: skip


class Silence(NamedTuple):
  """What is forecast for the tasks without signal, where nothing is to gain.

  value: of the value head; score, regression: the largest gain of a formula of
  the library that was not evaluated. f64[n] each, in IC.
  """

  value: np.ndarray
  score: np.ndarray
  regression: np.ndarray


def silence(tasks: Sequence[Task], proposed: Sequence[Proposed]) -> Silence:
  """Of the tasks without signal among these."""
  rows = []
  for task, made in zip(tasks, proposed, strict=True):
    if not task.ceiling > 0:
      worth = np.asarray(task.worth)
      most = made.scores[worth >= 0].max(), worth.max()
      rows.append((made.value, *map(float, most)))
  return Silence(*np.array(rows, float).reshape(-1, 3).T)


def _slope(predicted: np.ndarray, real: np.ndarray) -> float | None:
  """Of a regression of what is real on what was predicted."""
  spread = np.var(predicted)
  if not spread > 0:
    return None
  return float(np.cov(predicted, real, ddof=0)[0, 1] / spread)


def _lists(gate: Gate, task: Task, made: Proposed) -> dict[str, np.ndarray]:
  """Rows of what each would evaluate, in its order; see `figures`."""
  free = np.asarray(task.worth) >= 0
  library, every = np.flatnonzero(free & ~gate.held), np.flatnonzero(free)
  worth = np.asarray(task.worth)
  rng = np.random.default_rng(int(task.hidden[0]))
  shelf = gate.rows[library]
  orders = {
    'shelf': _descending(library, made.scores),
    'retrieval': _descending(library, worth),
    'random': rng.permutation(library),
    'oracle': _descending(every, _noisy_gains(gate, task)),
  }
  fresh = np.isfinite(made.fresh)
  return {
    '': made.rows,
    'ranked': made.rows[np.argsort(-made.scored, kind='stable')],
    **{name: gate.rows[order[: COUNTS[-1]]] for name, order in orders.items()},
    'drawn': gate.fresh_rows[fresh][: COUNTS[-1]],
    'model': _unlike(
      np.concatenate([made.rows[~made.on_shelf], shelf]),
      np.concatenate([made.scored[~made.on_shelf], made.scores[library]]),
    ),
    'kernel': _unlike(shelf, worth[library]),
    'written': _unlike(made.rows, made.expected),
    'fresh': _unlike(gate.fresh_rows[fresh], made.fresh[fresh]),
  }


def _noisy_gains(gate: Gate, task: Task) -> np.ndarray:
  """What evaluating the whole library would say of its gains, f32[N]."""
  chosen = gate.rows[task.pool]
  observed = np.asarray(task.observed)
  within = pretraining_gate.like(chosen, chosen)
  with_pool = pretraining_gate.like(gate.rows, chosen)
  pool = Pool(*put((within, observed.T[task.pool], task.in_pool)))
  gains, _ = formula_tokens.gain(*put((observed.mean(0), with_pool)), pool)
  return np.asarray(gains)


def _unlike(rows: np.ndarray, worth: np.ndarray) -> np.ndarray:
  """The best that are unlike each other, as a run evaluates them."""
  count = COUNTS[-1]
  short = np.argsort(-worth, kind='stable')[: SHORTLIST * count]
  rows, ranks = rows[short], np.arange(len(short), 0, -1.0)
  among = pretraining_gate.like(rows, rows).astype(np.float64)
  first = pool_rules.distinct(ranks, among, count, MAX_CORR)
  others = np.setdiff1d(np.arange(len(rows)), first)
  return rows[np.concatenate([first, others])[:count]]


def _descending(places: np.ndarray, by: np.ndarray) -> np.ndarray:
  return places[np.argsort(-by[places], kind='stable')]


def _best(
  rows: np.ndarray, signal: np.ndarray, counts: Sequence[int] = COUNTS
) -> list[float]:
  """The best |mean daily correlation| of the first of some formulas."""
  like = np.abs(pretraining_gate.like(rows, signal[None]))[:, 0]
  return [float(like[:k].max(initial=0.0)) for k in counts]


def _found(rows: np.ndarray, hidden: np.ndarray) -> list[bool]:
  """Whether one of the first of some formulas behaves as a hidden one."""
  like = np.abs(pretraining_gate.like(rows, hidden))
  # A formula without values is like nothing.
  like /= np.maximum(_norm(rows)[:, None] * _norm(hidden), LEAST_NORM)
  return [bool(like[:k].max(initial=0.0) > RECOVERED) for k in COUNTS]


def _norm(rows: np.ndarray) -> np.ndarray:
  """Root mean square of cross-sections; days without values count as 0."""
  flat = rows.reshape(len(rows), -1).astype(np.float32)
  return np.sqrt(np.einsum('nc,nc->n', flat, flat) / rows.shape[1])
