"""A real split with what was mined on it, as planted tasks are seen.

How formulas behave is known from the screen, their ICs from the archive; what
`planted_tasks` says of a task is said here of a market.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.factor import pool_rules
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.methods import archive, formula_tokens
from alphajax.methods import screen as screen_lib
from alphajax.methods import shelf as shelf_lib
from alphajax.methods.formula_model import Model
from alphajax.methods.formula_tokens import (
  POOL,
  PROBE,
  RETRIEVED,
  TRIED,
  Formulas,
  Pool,
  Setting,
)
from alphajax.networks.formula_transformer import (
  FormulaTransformer,
  Inputs,
  Memory,
)
from alphajax.search import kernel

CHUNK = 256  # Formulas whose scores are computed at a time.
ABLATIONS = (
  '', 'random_parameters', 'zero_memory', 'no_pool', 'no_retrieved',
  'permuted_probes', 'other_market',
)  # fmt: skip


class Evidence(NamedTuple):
  """The formulas evaluated that have a value, in the order of the archive.

  pool: positions among them of the formulas of the pool, and of those that a
    network sees, the heaviest.
  """

  keys: list[str]
  rows: np.ndarray  # f32[E, D]
  blocks: np.ndarray  # f64[E, B]
  gram: np.ndarray  # f64[E, E]
  pool: np.ndarray


def correlations(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Of rows with others, f32[N, M]."""
  left = rows.astype(np.float32)
  return left @ others.astype(np.float32).T / np.float32(rows.shape[1])


def evidence(
  bench: archive.Bench,
  mined: archive.Mined,
  known: screen_lib.Known,
  blocks: int,
  slots: int,
) -> Evidence:
  """What was evaluated so far; of at least one formula with a value."""
  book = list(mined.book)
  ids = np.array(mined.memory.ids)
  rows = np.concatenate(known.rows)[ids].astype(np.float32)
  daily = np.concatenate(mined.memory.daily).astype(np.float64)
  parts = np.array_split(daily, blocks, axis=1)
  keys = [book[i] for i in ids.tolist()]
  place = {key: i for i, key in enumerate(keys)}
  formulas, weights = archive.beside(bench, mined)
  heavy = np.argsort(-np.abs(np.asarray(weights)), kind='stable')[:slots]
  pool = [place[formula_lib.key(formulas[i])] for i in heavy.tolist()]
  return Evidence(
    keys=keys,
    rows=rows,
    blocks=np.stack([part.mean(1) for part in parts], 1),
    gram=correlations(rows, rows).astype(np.float64),
    pool=np.array(pool, int),
  )


def forecast(
  seen: Evidence, rows: np.ndarray, ridge: float, explore: float = 1.0
) -> kernel.Forecast:
  """What is expected of other formulas by regression, see `kernel`."""
  across = correlations(rows, seen.rows).astype(np.float64)
  return kernel.forecast(
    seen.gram, across, seen.blocks, seen.pool, ridge, explore
  )


class Others(NamedTuple):
  """Formulas that were not evaluated, padded to n, a multiple of `CHUNK`.

  bags: see `orders.bag`.
  """

  formulas: Formulas
  bags: np.ndarray  # f32[n, V]
  pool: Pool


def others(
  model: Model,
  shelf: shelf_lib.Shelf,
  screen: screen_lib.Screen,
  seen: Evidence,
  formulas: Sequence[Formula],
  rows: np.ndarray,
  facts: np.ndarray | None = None,
) -> Others:
  """What `scores` reads of formulas that were not evaluated.

  Args:
    model, shelf, screen: what looks at the market.
    seen: what was evaluated, of at least one formula.
    formulas: any number; rows: f[number, D], what they do.
    facts: f32[number, 2] of them where they are known, see `look`.
  """
  across = correlations(rows, seen.rows).astype(np.float64)
  predicted = kernel.predict(seen.gram, across, seen.blocks, model.sizes.ridge)
  keys = [formula_lib.key(f) for f in formulas]
  slots = -(-len(keys) // CHUNK) * CHUNK
  group = RETRIEVED, rows, predicted, keys, slots
  pool = _pool(seen, model.sizes.pool, model.blocks)
  bags = np.stack(
    [
      shelf.bags[shelf.place[key]]
      if key in shelf.place
      else orders_lib.bag(model.orders, f)
      for key, f in zip(keys, formulas, strict=True)
    ]
  )
  missing = slots - len(keys)
  if facts is None:
    described = _describe(model, shelf, screen, keys)
  else:
    described = facts, np.array([formula_lib.size(f) for f in formulas])
  return Others(
    formulas=_formulas(model, shelf, seen, pool, [group], described),
    bags=np.pad(bags.astype(np.float32), [(0, missing), (0, 0)]),
    pool=pool,
  )


def scorer(network: FormulaTransformer) -> Callable:
  """`(params, memory, others) -> f64[number]`, gains in IC by the head."""

  @jax.jit
  def score(params, memory, formulas, pool, bags):
    candidates = formula_tokens.candidates(formulas, pool, bags)
    found = jax.vmap(network.score, (None, None, 0))(params, memory, candidates)
    return found * formula_tokens.GAIN

  def scores(params, memory: Memory, others: Others) -> np.ndarray:
    parts = []
    for n in range(0, len(others.bags), CHUNK):
      chunk = slice(n, n + CHUNK)
      parts.append(
        score(
          params,
          memory,
          jax.tree.map(lambda x, chunk=chunk: x[chunk], others.formulas),
          others.pool,
          others.bags[chunk],
        )
      )
    count = int(np.sum(others.formulas.mask))
    return np.concatenate(parts).astype(np.float64)[:count]

  return scores


def read(
  model: Model,
  shelf: shelf_lib.Shelf,
  screen: screen_lib.Screen,
  bench: archive.Bench,
  seen: Evidence,
  horizon: int,
  ablate: str = '',
  other: Mapping[str, np.ndarray] | None = None,
) -> Inputs:
  """The market as the network reads it.

  ablate: one of `ABLATIONS`.
  other: see `other_market.probe_blocks`.
  """
  sizes = model.sizes
  if ablate == 'no_pool':
    seen = seen._replace(pool=seen.pool[:0])
  probes = _probes(model, shelf, seen)
  tried = np.arange(len(seen.keys))[::-1][: sizes.tried]
  retrieved, predicted = _retrieve(model, shelf, seen)
  blocks = seen.blocks[probes]
  if ablate == 'permuted_probes':
    blocks = np.random.default_rng(0).permutation(blocks)
  if other is not None:
    blocks = np.stack([other[key] for key in _keys(seen, probes)])
  if ablate == 'no_retrieved':
    retrieved, predicted = retrieved[:0], predicted[:0]
  groups = [
    (PROBE, seen.rows[probes], blocks, _keys(seen, probes), len(model.probes)),
    (POOL, seen.rows[seen.pool], seen.blocks[seen.pool],
     _keys(seen, seen.pool), sizes.pool),
    (TRIED, seen.rows[tried], seen.blocks[tried], _keys(seen, tried),
     sizes.tried),
    (RETRIEVED, shelf.rows[retrieved], predicted,
     [shelf.keys[i] for i in retrieved.tolist()], sizes.retrieved),
  ]  # fmt: skip
  pool = _pool(seen, sizes.pool, model.blocks)
  keys = [key for *_, names, _ in groups for key in names]
  described = _describe(model, shelf, screen, keys)
  formulas = _formulas(model, shelf, seen, pool, groups, described)
  references = np.zeros((sizes.references, model.orders.length), np.int32)
  first = retrieved[: sizes.references]
  references[: len(first)] = shelf.sequences[first]
  setting = _setting(model, bench, seen, horizon)
  return formula_tokens.inputs(formulas, pool, setting, jnp.asarray(references))


def _keys(seen, places) -> list[str]:
  return [seen.keys[i] for i in np.asarray(places).tolist()]


def _probes(model, shelf, seen) -> np.ndarray:
  """Positions among those evaluated of the probes, in their order."""
  place = {key: i for i, key in enumerate(seen.keys)}
  keys = [shelf.keys[i] for i in model.probes.tolist()]
  return np.array([place[key] for key in keys if key in place], int)


def _retrieve(model, shelf, seen) -> tuple[np.ndarray, np.ndarray]:
  """The best of the library by regression, and their predicted ICs."""
  tried = set(seen.keys)
  free = np.array(
    [i for i, key in enumerate(shelf.keys) if key not in tried], int
  )
  free = free[shelf.alive[free]]
  across = correlations(shelf.rows[free], seen.rows).astype(np.float64)
  ridge = model.sizes.ridge
  found = kernel.forecast(seen.gram, across, seen.blocks, seen.pool, ridge)
  best = np.argsort(-found.gain, kind='stable')[: model.sizes.retrieved]
  predicted = kernel.predict(seen.gram, across[best], seen.blocks, ridge)
  return free[best], predicted


def _pool(seen, slots: int, blocks: int) -> Pool:
  """The pool, its empty slots 0."""
  count = len(seen.pool)
  within = np.zeros((slots, slots), np.float32)
  within[:count, :count] = seen.gram[np.ix_(seen.pool, seen.pool)]
  of_blocks = np.zeros((slots, blocks), np.float32)
  of_blocks[:count] = seen.blocks[seen.pool]
  return Pool(
    jnp.asarray(within),
    jnp.asarray(of_blocks),
    jnp.asarray(np.arange(slots) < count),
  )


def _formulas(model, shelf, seen, pool, groups, described) -> Formulas:
  """Groups of (kind, rows, blocks, keys, slots) as the network sees them.

  described: facts and sizes of all of them, see `_describe`.
  """
  anchors = shelf.rows[model.probes[: model.sizes.anchors]]
  in_pool = seen.rows[seen.pool]
  weights = np.asarray(formula_tokens.pool_weights(pool))
  facts, sizes = described
  columns: dict[str, list] = {name: [] for name in Formulas._fields}
  start = 0
  for kind, rows, blocks, names, slots in groups:
    count, here = len(names), slice(start, start + len(names))
    start += count
    with_pool = np.zeros((count, len(weights)), np.float32)
    with_pool[:, : len(in_pool)] = correlations(rows, in_pool)
    part = dict(
      blocks=blocks,
      behaviour=correlations(rows, anchors),
      with_pool=with_pool,
      facts=facts[here],
      size=sizes[here],
      weight=weights[:count] if kind == POOL else np.zeros(count),
      kind=np.full(count, kind),
      mask=np.ones(count, bool),
    )
    for name, value in part.items():
      value = np.asarray(value)
      padding = [(0, slots - count), *[(0, 0)] * (value.ndim - 1)]
      columns[name].append(np.pad(value, padding))
  # On the host: another number of formulas compiles nothing.
  found: dict[str, Any] = {
    name: np.concatenate(parts).astype(
      {'kind': np.int32, 'mask': bool}.get(name, np.float32)
    )
    for name, parts in columns.items()
  }
  return Formulas(**found)


def _describe(model, shelf, screen, keys) -> tuple[np.ndarray, np.ndarray]:
  """Facts f32[n, 2] and sizes f32[n] of formulas by their keys."""
  features = screen.store.feature_names
  others = sorted({key for key in keys if key not in shelf.place})
  formulas = archive.read(others, features)
  facts = dict(zip(others, shelf_lib.facts_of(screen, formulas), strict=True))
  sizes = dict(zip(others, map(formula_lib.size, formulas), strict=True))
  for key in keys:
    if key in shelf.place:
      facts[key] = shelf.facts[shelf.place[key]]
      sizes[key] = formula_lib.size(model.library[shelf.place[key]])
  return (
    np.array([facts[key] for key in keys], np.float32).reshape(-1, 2),
    np.array([sizes[key] for key in keys], np.float32),
  )


def _setting(model, bench, seen, horizon) -> Setting:
  """The split, as far as a network was trained on such ones."""
  days = np.log(float(np.sum(bench.scored)) / 1000)
  members = np.asarray(bench.train.universe.mask)[np.asarray(bench.scored)]
  stocks = np.log(members.sum(1).mean() / 300)
  least, most = model.panels.min(0), model.panels.max(0)
  shorter = np.log(0.25)  # Tasks are of a quarter of the days at least.
  evaluated = len(model.probes) + model.sizes.pool + model.sizes.tried
  numbers = (
    np.clip(days, least[0] + shorter, most[0]),
    np.clip(stocks, least[1], most[1]),
    horizon,
    min(len(seen.keys), evaluated),
    kernel.trust(seen.gram, seen.blocks, model.sizes.ridge),
  )
  return Setting(*(jnp.float32(x) for x in numbers))


def unlike(
  worth: np.ndarray, rows: np.ndarray, wanted: int, max_corr: float
) -> np.ndarray:
  """The order of candidates: the best unlike each other, then the others."""
  order = np.argsort(-worth, kind='stable')
  among = correlations(rows[order], rows[order]).astype(np.float64)
  # By rank: a gain that is expected to be negative is no strength.
  ranks = np.arange(len(order), 0, -1.0)
  first = order[pool_rules.distinct(ranks, among, wanted, max_corr)]
  return np.concatenate([first, order[~np.isin(order, first)]])
