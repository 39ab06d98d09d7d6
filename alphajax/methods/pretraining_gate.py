"""Held-out tasks, and what the network proposes for them.

The signal of each hides formulas that training never saw, nor anything that
behaves like them, in noise that it never saw. How good proposals are is said by
`pretraining_figures`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.panel import Split
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

STOCKS, DAYS = 64, 120  # Of the panel that proposals are compared on.
CHUNK = 16  # Tasks made at a time.


class Gate(NamedTuple):
  """What proposals are judged with; made once a run.

  where: stocks and days that proposals are compared on.
  rows: f16[N, D, S], the library on them.
  tasks: each leaf `[G, ...]`, on the host.
  held: bool[N], see `task_bank.Bank`.
  library: its formulas; keys: their canonical keys.
  nodes: f32[N], of its formulas; anchors: positions in it.
  num_samples: of a task, drawn at `temperature`.
  fresh: as many formulas drawn at random; fresh_rows: what they do, and
    fresh_facts.
  """

  where: task_bank.Sample
  rows: np.ndarray
  tasks: Task
  held: np.ndarray
  library: tuple[Formula, ...]
  keys: tuple[str, ...]
  nodes: np.ndarray
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
    library=library.formulas,
    keys=tuple(formula_lib.key(f) for f in library.formulas),
    nodes=np.asarray(bank.size),
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


def propose(
  gate: Gate, params, rng_key: jax.Array
) -> tuple[list[Task], list[Proposed]]:
  """The tasks, and what the network makes of each."""
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
  return [task for task, _ in tasks], proposed


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
    (like(known, known), blocks[task.evaluated], task.used),
    Pool(jnp.asarray(like(pool, pool)), blocks[task.pool], task.in_pool),
    padded(like(rows, known)), padded(like(rows, pool)),
    padded(like(rows, gate.rows[gate.anchors])), padded(facts),
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


def like(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Mean daily correlations of cross-sections `[n, D, S]`, f32[n, m]."""
  left, right = (
    x.reshape(len(x), -1).astype(np.float32) for x in (rows, others)
  )
  return left @ right.T / np.float32(rows.shape[1])
