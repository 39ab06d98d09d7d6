"""Held-out tasks: do proposals of the network beat retrieval?

The signal of each hides formulas that training never saw, nor anything that
behaves like them, in noise that it never saw. Whoever proposes is judged by the
best |correlation| with what the pool leaves of the signal, among its first 1,
10 and 100 formulas.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Split
from alphajax.factor import pool_rules
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.language.orders import Orders
from alphajax.methods import (
  formula_tokens,
  hidden_signals,
  planted_tasks,
  task_bank,
)
from alphajax.methods.formula_tokens import Pool
from alphajax.methods.planted_tasks import Task
from alphajax.methods.task_bank import Bank
from alphajax.methods.task_library import Library, Tables
from alphajax.networks.formula_transformer import FormulaTransformer
from alphajax.search import sampling

COUNTS = (1, 10, 100)
STOCKS, DAYS = 64, 120  # Of the panel that proposals are compared on.
CHUNK = 16  # Tasks made at a time.
# What a run evaluates differs by so much, among so many times as many.
MAX_CORR, SHORTLIST = 0.5, 6
LEAST_LEFT = 0.05  # Of a signal's variance, for a task to be judged by it.


class Gate(NamedTuple):
  """What proposals are judged with; made once a run.

  where: stocks and days that proposals are compared on.
  rows: f16[N, D, S], the library on them.
  tasks: each leaf `[G, ...]`, on the host.
  held: bool[N], see `task_bank.Bank`.
  keys: canonical keys of the library.
  anchors: positions in it.
  num_samples: of a task, drawn at `temperature`.
  fresh: as many formulas drawn at random; fresh_rows: what they do, and
    fresh_facts.
  """

  where: task_bank.Sample
  rows: np.ndarray
  tasks: Task
  held: np.ndarray
  keys: tuple[str, ...]
  anchors: np.ndarray
  orders: Orders
  num_samples: int
  temperature: float
  fresh: list[Formula]
  fresh_rows: np.ndarray
  fresh_facts: np.ndarray
  read: Callable
  sample: Callable
  expect: Callable


class Proposed(NamedTuple):
  """What the network made of one task.

  value: of the value head, in IC.
  scores: f32[N], gains of the library by the score head, in IC.
  num_distinct: samples that differ; n of them were not evaluated.
  rows: f16[n, D, S], what these do, in the order in which they were drawn.
  expected: f32[n], their gains by regression, and `scored`, by the head.
  on_shelf: bool[n], those that the library has.
  fresh: f32[m], gains of `Gate.fresh` by regression; -inf: was evaluated.
  """

  value: float
  scores: np.ndarray
  num_distinct: int
  rows: np.ndarray
  expected: np.ndarray
  scored: np.ndarray
  on_shelf: np.ndarray
  fresh: np.ndarray


def make(
  config, orders: Orders, network: FormulaTransformer, split: Split,
  library: Library, bank: Bank, tables: Tables, sizes: planted_tasks.Sizes,
) -> Gate:  # fmt: skip
  """Prepares the tasks, on the first panel, the same ones at every call."""
  where = task_bank.sample(split, STOCKS, DAYS, 1)
  rows, _ = task_bank.look(where, library.formulas)
  keys = jax.random.split(
    jax.random.key(config.seed + 1), config.pretrain.gate_tasks
  )
  stage = hidden_signals.stage(hidden_signals.NUM_STAGES - 1)
  parts = ('gram', 'mean', 'noise', 'facts', 'panels')
  first = bank._replace(**{name: getattr(bank, name)[:1] for name in parts})

  @jax.jit
  def draw(keys, bank, tables):
    def one(key):
      return planted_tasks.make(
        key, bank, stage, sizes, tables.sequences[:, 0], tables.bags,
        held_out=True,
      )  # fmt: skip

    return jax.lax.map(one, keys, batch_size=CHUNK)

  fresh = environment.random_formulas(
    orders_lib.language(orders, 'rpn'),
    jax.random.key(config.seed + 2),
    config.pretrain.gate_samples,
  )
  fresh = list({formula_lib.key(f): f for f in fresh}.values())
  fresh_rows, fresh_facts = task_bank.look(where, fresh)
  return Gate(
    where=where,
    rows=rows,
    fresh=fresh,
    fresh_rows=fresh_rows,
    fresh_facts=fresh_facts,
    tasks=jax.device_get(draw(keys, first, tables)),
    held=np.asarray(bank.held),
    keys=tuple(formula_lib.key(f) for f in library.formulas),
    anchors=np.asarray(bank.probes)[: sizes.anchors],
    orders=orders,
    num_samples=config.pretrain.gate_samples,
    temperature=config.pretrain.gate_temperature,
    read=jax.jit(functools.partial(_read, network)),
    sample=sampling.sampler(network, orders),
    expect=jax.jit(functools.partial(_expect, network, sizes.ridge)),
  )


def _read(network, params, inputs, candidates):
  """Memory, value and scores of the library."""
  memory = network.encode(params, inputs)
  scores = jax.vmap(network.score, (None, None, 0))(params, memory, candidates)
  return memory, network.value(params, memory), scores


def judge(gate: Gate, params, rng_key: jax.Array) -> dict[str, float | None]:
  """What the network does on the tasks, see `figures`."""
  tasks, drawn = [], []
  for n in range(len(gate.tasks.ceiling)):
    task = jax.tree.map(lambda x, n=n: x[n], gate.tasks)
    memory, value, scores = gate.read(params, task.inputs, task.candidates)
    formulas = _write(gate, params, memory, jax.random.fold_in(rng_key, n))
    tasks.append((task, memory))
    drawn.append((float(value), np.asarray(scores), formulas))
  rows, facts = task_bank.look(
    gate.where, [f for *_, part in drawn for f in part]
  )
  ends = np.cumsum([len(part) for *_, part in drawn])[:-1]
  shelf = frozenset(gate.keys)
  proposed = []
  for (task, memory), (value, scores, formulas), own, fact in zip(
    tasks, drawn, np.split(rows, ends), np.split(facts, ends), strict=True
  ):
    expected, scored = _forecast(
      gate, params, task, memory, formulas, own, fact
    )
    fresh, _ = _forecast(
      gate, params, task, memory, gate.fresh, gate.fresh_rows, gate.fresh_facts
    )
    seen = {gate.keys[i] for i in task.evaluated[task.used].tolist()}
    keys = [formula_lib.key(f) for f in formulas]
    new = np.array([key not in seen for key in keys], bool)
    on_shelf = np.array([key in shelf for key in keys], bool)
    proposed.append(
      Proposed(
        value=value * formula_tokens.VALUE,
        scores=scores * formula_tokens.GAIN,
        num_distinct=len(formulas),
        rows=own[new],
        expected=expected[new],
        scored=scored[new],
        on_shelf=on_shelf[new],
        fresh=np.where(
          [formula_lib.key(f) in seen for f in gate.fresh], -np.inf, fresh
        ),
      )
    )
  return figures(gate, [task for task, _ in tasks], proposed)


def _write(gate: Gate, params, memory, rng_key) -> list[Formula]:
  """Samples that differ, in the order in which they were drawn."""
  samples = gate.sample(
    params, memory, rng_key, gate.num_samples, order='rpn',
    temperature=gate.temperature,
  )  # fmt: skip
  return sampling.distinct(gate.orders, 'rpn', samples)[0]


def _forecast(gate, params, task, memory, formulas, rows, facts):
  """Gains of formulas by regression and by the head, f32[n] each, in IC."""

  def padded(x):
    return np.pad(x, [(0, gate.num_samples - len(x)), (0, 0)])

  known, pool = gate.rows[task.evaluated], gate.rows[task.pool]
  blocks = task.observed.T
  sizes = np.array([formula_lib.size(f) for f in formulas], np.float32)
  bags = [orders_lib.bag(gate.orders, f) for f in formulas]
  expected, scores = gate.expect(
    params, memory,
    (_like(known, known), blocks[task.evaluated], task.used),
    Pool(jnp.asarray(_like(pool, pool)), blocks[task.pool], task.in_pool),
    padded(_like(rows, known)), padded(_like(rows, pool)),
    padded(_like(rows, gate.rows[gate.anchors])), padded(facts),
    padded(sizes[:, None])[:, 0], padded(np.stack(bags)),
  )  # fmt: skip
  return np.asarray(expected)[: len(rows)], np.asarray(scores)[: len(rows)]


def _expect(
  network, ridge, params, memory, evaluated, pool, across, with_pool,
  behaviour, facts, sizes, bags,
):  # fmt: skip
  """As a run would see formulas beside the library; see `_forecast`."""
  gram, blocks, used = evaluated
  fit = formula_tokens.regress(gram, blocks, used, ridge)
  others = planted_tasks.forecasts(
    across @ fit.alpha, behaviour, with_pool, facts, sizes
  )
  candidates = formula_tokens.candidates(others, pool, bags)
  scores = jax.vmap(network.score, (None, None, 0))(params, memory, candidates)
  scale = formula_tokens.GAIN
  return candidates.expected * scale, scores * scale


def _like(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Mean daily correlations of cross-sections `[n, D, S]`, f32[n, m]."""
  left, right = (
    x.reshape(len(x), -1).astype(np.float32) for x in (rows, others)
  )
  return left @ right.T / np.float32(rows.shape[1])


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
  gate: Gate, tasks: Sequence[Task], proposed: Sequence[Proposed]
) -> dict[str, float | None]:
  """What is said of held-out tasks, means over those with a signal.

  share_K: best |correlation| with the signal of the first K samples;
  NAME_share_K: of `ranked`, the samples by the score head; `shelf`, the library
  by the score head; `retrieval`, by the kernel; `random`, in any order;
  `oracle`, held-out formulas too, by noisy gains. The best unlike each other,
  as runs evaluate them: `model`, samples and library by the head; by the kernel
  `kernel`, the library, `written`, samples, and `fresh`, as many drawn at
  random. over_kernel_K: how much `model` is above `kernel`, over_fresh_K:
  `written` above `fresh`, each with the standard error of that mean.

  distinct: share of the samples that differ.
  value_error: mean error of the value head in IC; value_slope: of the truth on
    what it says. score_slope: the same of the score head on the library.
  silent_gain: the largest gain that the score head sees in the library in
    tasks without signal.
  """
  best: dict[str, list] = {}
  silent = []
  for task, made in zip(tasks, proposed, strict=True):
    if not task.ceiling > 0:
      silent.append(float(np.max(made.scores[task.worth >= 0])))
      continue
    signal = signal_of(gate.rows, task)
    if not signal.any():
      continue
    for name, rows in _lists(gate, task, made).items():
      best.setdefault(name, []).append(_best(rows, signal))
  found: dict[str, float | None] = {
    f'{name}_share_{k}'.lstrip('_'): float(mean)
    for name, table in best.items()
    for k, mean in zip(COUNTS, np.mean(table, 0), strict=True)
  }
  pairs = ('model', 'kernel'), ('written', 'fresh')
  for ours, name in pairs if best else ():
    apart = np.subtract(best[ours], best[name])
    error = apart.std(0) / np.sqrt(max(len(apart) - 1, 1))
    for k, mean, spread in zip(COUNTS, apart.mean(0), error, strict=True):
      found[f'over_{name}_{k}'] = float(mean)
      found[f'over_{name}_error_{k}'] = float(spread)
  values = np.array([made.value for made in proposed])
  real = np.array([float(task.value) for task in tasks])
  scores = np.concatenate([made.scores for made in proposed])
  gains = np.concatenate([np.asarray(task.gains) for task in tasks])
  total = sum(made.num_distinct for made in proposed)
  return found | {
    'distinct': total / (gate.num_samples * len(proposed)),
    'value_error': float(np.mean(np.abs(values - real))),
    'value_slope': _slope(values, real),
    'score_slope': _slope(scores, gains),
    'silent_gain': float(np.mean(silent)) if silent else None,
  }


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
  return {
    '': made.rows,
    'ranked': made.rows[np.argsort(-made.scored, kind='stable')],
    **{name: gate.rows[order[: COUNTS[-1]]] for name, order in orders.items()},
    'model': _unlike(
      np.concatenate([made.rows[~made.on_shelf], shelf]),
      np.concatenate([made.scored[~made.on_shelf], made.scores[library]]),
    ),
    'kernel': _unlike(shelf, worth[library]),
    'written': _unlike(made.rows, made.expected),
    'fresh': _unlike(
      gate.fresh_rows[np.isfinite(made.fresh)],
      made.fresh[np.isfinite(made.fresh)],
    ),
  }


def _noisy_gains(gate: Gate, task: Task) -> np.ndarray:
  """What evaluating the whole library would say of its gains, f32[N]."""
  chosen = gate.rows[task.pool]
  pool = Pool(
    jnp.asarray(_like(chosen, chosen)),
    jnp.asarray(task.observed).T[task.pool],
    jnp.asarray(task.in_pool),
  )
  gains, _ = formula_tokens.gain(
    jnp.asarray(task.observed).mean(0),
    jnp.asarray(_like(gate.rows, chosen)),
    pool,
  )
  return np.asarray(gains)


def _unlike(rows: np.ndarray, worth: np.ndarray) -> np.ndarray:
  """The best that are unlike each other, as a run evaluates them."""
  count = COUNTS[-1]
  short = np.argsort(-worth, kind='stable')[: SHORTLIST * count]
  rows, ranks = rows[short], np.arange(len(short), 0, -1.0)
  among = _like(rows, rows).astype(np.float64)
  first = pool_rules.distinct(ranks, among, count, MAX_CORR)
  others = np.setdiff1d(np.arange(len(rows)), first)
  return rows[np.concatenate([first, others])[:count]]


def _descending(places: np.ndarray, by: np.ndarray) -> np.ndarray:
  return places[np.argsort(-by[places], kind='stable')]


def _best(rows: np.ndarray, signal: np.ndarray) -> list[float]:
  """The best |mean daily correlation| of the first of some formulas."""
  like = np.abs(_like(rows, signal[None]))[:, 0]
  return [float(like[:k].max(initial=0.0)) for k in COUNTS]
