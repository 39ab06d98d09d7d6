"""Held-out tasks: do proposals of the network beat retrieval?

The signal of each hides formulas that training never saw, nor anything that
behaves like them, in noise that it never saw. Whoever proposes is judged by the
best |correlation| with the signal among its first 1, 10 and 100 formulas.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from alphajax.data.panel import Split
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.language.orders import Orders
from alphajax.methods import planted_tasks, task_bank
from alphajax.methods.planted_tasks import Task
from alphajax.methods.task_bank import Bank
from alphajax.methods.task_library import Library, Tables
from alphajax.networks.formula_transformer import FormulaTransformer
from alphajax.search import sampling

COUNTS = (1, 10, 100)
STOCKS, DAYS = 64, 120  # Of the panel that proposals are compared on.
GAIN_SCALE, VALUE_SCALE = 0.01, 0.05  # Units of the two heads, in IC.


class Gate(NamedTuple):
  """What proposals are judged with; made once a run.

  where: stocks and days that proposals are compared on.
  rows: f16[N, D, S], the library on them.
  tasks: each leaf `[G, ...]`, on the host.
  held: bool[N], see `task_bank.Bank`.
  anchors: positions in the library.
  num_samples: of a task.
  """

  where: task_bank.Sample
  rows: np.ndarray
  tasks: Task
  held: np.ndarray
  anchors: np.ndarray
  orders: Orders
  tables: Tables
  num_samples: int
  read: Callable
  sample: Callable
  score: Callable


class Proposed(NamedTuple):
  """What the network made of one task.

  value: of the value head, in IC.
  scores: f32[N], gains of the library by the score head, in IC.
  formulas: samples that differ, in the order in which they were drawn.
  rows: f16[n, D, S], what they do.
  ranked: their order by the score head.
  """

  value: float
  scores: np.ndarray
  formulas: list[Formula]
  rows: np.ndarray
  ranked: np.ndarray


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
  stage = planted_tasks.stage(planted_tasks.NUM_STAGES - 1)
  parts = ('gram', 'mean', 'noise', 'facts', 'panels')
  first = bank._replace(**{name: getattr(bank, name)[:1] for name in parts})

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None, None))
  def draw(key, bank, rpn):
    return planted_tasks.make(key, bank, stage, sizes, rpn, held_out=True)

  score = jax.vmap(network.score, (None, None, 0, 0))
  return Gate(
    where=where,
    rows=rows,
    tasks=jax.device_get(draw(keys, first, tables.sequences[:, 0])),
    held=np.asarray(bank.held),
    anchors=np.asarray(bank.probes)[: sizes.anchors],
    orders=orders,
    tables=tables,
    num_samples=config.pretrain.gate_samples,
    read=jax.jit(functools.partial(_read, network)),
    sample=sampling.sampler(network, orders),
    score=jax.jit(score),
  )


def _read(network, params, inputs, behaviour, bags):
  """Memory, value and scores of the library."""
  memory = network.encode(params, inputs)
  scores = jax.vmap(network.score, (None, None, 0, 0))(
    params, memory, behaviour, bags
  )
  return memory, network.value(params, memory), scores


def judge(gate: Gate, params, rng_key: jax.Array) -> dict[str, float | None]:
  """What the network does on the tasks, see `figures`."""
  language = orders_lib.language(gate.orders, 'rpn')
  tasks, drawn = [], []
  for n in range(len(gate.tasks.ceiling)):
    task = jax.tree.map(lambda x, n=n: x[n], gate.tasks)
    memory, value, scores = gate.read(
      params, task.inputs, task.behaviour, gate.tables.bags
    )
    samples = gate.sample(
      params,
      memory,
      jax.random.fold_in(rng_key, n),
      gate.num_samples,
      order='rpn',
    )
    formulas = environment.formulas_of(language, samples.tokens)
    distinct = list({formula_lib.key(f): f for f in formulas}.values())
    tasks.append((task, memory))
    drawn.append((float(value), np.asarray(scores), distinct))
  rows, _ = task_bank.look(gate.where, [f for *_, part in drawn for f in part])
  ends = np.cumsum([len(part) for *_, part in drawn])
  proposed = [
    Proposed(
      value * VALUE_SCALE, scores * GAIN_SCALE, formulas, own,
      _rank(gate, params, memory, formulas, own),
    )
    for (_, memory), (value, scores, formulas), own in zip(
      tasks, drawn, np.split(rows, ends[:-1]), strict=True
    )
  ]  # fmt: skip
  return figures(gate, [task for task, _ in tasks], proposed)


def _rank(gate, params, memory, formulas, rows) -> np.ndarray:
  """The order of samples by the score head."""
  flat = rows.reshape(len(rows), -1).astype(np.float32)
  anchors = gate.rows[gate.anchors].astype(np.float32)
  behaviour = flat @ anchors.reshape(len(anchors), -1).T / rows.shape[1]
  bags = np.stack([orders_lib.bag(gate.orders, f) for f in formulas])
  padding = [(0, gate.num_samples - len(formulas)), (0, 0)]
  scores = gate.score(
    params, memory, np.pad(behaviour, padding), np.pad(bags, padding)
  )
  return np.argsort(-np.asarray(scores)[: len(formulas)], kind='stable')


def signal_of(rows: np.ndarray, task: Task) -> np.ndarray:
  """The hidden signal on the compared cells, of length 1 a day, f32[D, S]."""
  chosen = rows[task.hidden].astype(np.float32)
  signal = np.tensordot(np.asarray(task.weights), chosen, 1)
  norm = np.sqrt(np.sum(signal**2, -1, keepdims=True))
  return signal / np.where(norm > 0, norm, 1.0)


def figures(
  gate: Gate, tasks: Sequence[Task], proposed: Sequence[Proposed]
) -> dict[str, float | None]:
  """What is said of held-out tasks, means over those with a signal.

  share_K: best |correlation| with the signal of the first K samples;
  NAME_share_K: of `ranked`, the samples by the score head; `shelf`, the library
  by the score head; `retrieval`, by the kernel; `random`, in any order; and
  `oracle`, held-out formulas too, by noisy |IC|.

  distinct: share of the samples that differ.
  value_error: mean error of the value head in IC; value_slope: of the truth on
    what it says. score_slope: the same of the score head on the library.
  silent_gain: the gain that the score head sees in tasks without signal.
  """
  best: dict[str, list] = {}
  silent = []
  for task, made in zip(tasks, proposed, strict=True):
    if not task.ceiling > 0:
      silent.append(float(np.max(made.scores[task.worth >= 0])))
      continue
    signal = signal_of(gate.rows, task)
    lists = {'': made.rows, 'ranked': made.rows[made.ranked]}
    for name, order in _orders(task, made.scores, gate.held).items():
      lists[name] = gate.rows[order]
    for name, rows in lists.items():
      best.setdefault(name, []).append(_best(rows, signal))
  found: dict[str, float | None] = {
    f'{name}_share_{k}'.lstrip('_'): float(mean)
    for name, table in best.items()
    for k, mean in zip(COUNTS, np.mean(table, 0), strict=True)
  }
  values = np.array([made.value for made in proposed])
  real = np.array([float(task.value) for task in tasks])
  scores = np.concatenate([made.scores for made in proposed])
  gains = np.concatenate([np.asarray(task.gains) for task in tasks])
  total = sum(len(made.formulas) for made in proposed)
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


def _orders(task, scores, held) -> dict[str, np.ndarray]:
  """The first of the library as each would evaluate it."""
  free = np.asarray(task.worth) >= 0
  library, every = np.flatnonzero(free & ~held), np.flatnonzero(free)
  ics = np.abs(np.asarray(task.observed).mean(0))
  rng = np.random.default_rng(int(task.hidden[0]))
  return {
    name: order[: COUNTS[-1]]
    for name, order in {
      'shelf': _descending(library, scores),
      'retrieval': _descending(library, np.asarray(task.worth)),
      'random': rng.permutation(library),
      'oracle': _descending(every, ics),
    }.items()
  }


def _descending(places: np.ndarray, by: np.ndarray) -> np.ndarray:
  return places[np.argsort(-by[places], kind='stable')]


def _best(rows: np.ndarray, signal: np.ndarray) -> list[float]:
  """The best |mean daily correlation| of the first of some formulas."""
  flat = rows.reshape(len(rows), -1).astype(np.float32)
  like = np.abs(flat @ signal.ravel()) / len(signal)
  return [float(like[:k].max(initial=0.0)) for k in COUNTS]
