"""What the benchmark's parts share: market, formulas, timing, rates."""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

DAYS, STOCKS = 2170, 300  # CSI 300, 2010-2017, with warm-up.
QUICK_DAYS, QUICK_STOCKS = 560, 24
QUICK_OPERATORS = ('Add', 'Sum', 'Std', 'CSRank')
WIDTH = 128  # Of the network.


def language(quick: bool) -> dict:
  """Options of the grammar: alpha-Sem-k with the paper's symbols, K = 10."""
  if not quick:
    return dict(name='sem_k', max_length=10)
  return dict(
    name='sem_k', max_length=4, operators=QUICK_OPERATORS, windows=(20, 40)
  )


def store_bytes(quick: bool) -> int:
  """Memory for the values of subexpressions, as configs have it."""
  return 32 << 20 if quick else 1 << 29


def shrink(config) -> None:
  """Makes the config of a method tiny, for `--quick`."""
  config.num_trajectories = 4
  config.language = language(True)
  config.store_bytes = store_bytes(True)
  if 'search' in config:
    config.search.num_simulations = 2
    config.network.width = 16
    config.training.update(batch_size=8, num_updates=2)


def sizes(quick: bool) -> tuple[int, int]:
  """Days and stocks of the panel."""
  return (QUICK_DAYS, QUICK_STOCKS) if quick else (DAYS, STOCKS)


def synthetic(num_days: int, num_stocks: int) -> panel_lib.Panel:
  """Geometric random walks, the same ones for the same sizes.

  Volumes run from 1e5 to 1e9; 0.5 % of the rows are missing and 2 % are not in
  the universe.
  """
  rng = np.random.default_rng(0)
  size = (num_days, num_stocks)

  def noise(scale):
    return np.float32(scale) * rng.standard_normal(size, np.float32)

  level = rng.normal(3, 1, num_stocks).astype(np.float32)
  close = np.exp(level + np.cumsum(noise(0.02), 0))
  first = close * np.exp(noise(0.01))
  high = np.maximum(first, close) * np.exp(np.abs(noise(0.01)))
  low = np.minimum(first, close) * np.exp(-np.abs(noise(0.01)))
  usual = rng.uniform(np.log(1e6), np.log(1e8), num_stocks).astype(np.float32)
  volume = np.clip(np.exp(usual + noise(1)), 1e5, 1e9)
  features = np.stack([first, high, low, close, volume, (high + low) / 2])
  features[:, rng.random(size, np.float32) < 0.005] = np.nan
  days = np.busday_offset('2010-01-04', np.arange(num_days), roll='forward')
  members = rng.random(size, np.float32) < 0.98
  names = [f's{i}' for i in range(num_stocks)]
  return panel_lib.make(features, members, days.astype(str).tolist(), names)


def random_formulas(seed: int, count: int, quick: bool) -> list[Formula]:
  """Distinct formulas of uniform play in alpha-Sem-k.

  Bare features, in which every second play ends, are left out: they cost
  nothing.
  """
  grammar = grammar_lib.make(**language(quick))
  found, batch = {}, 0
  while len(found) < count:
    key = jax.random.fold_in(jax.random.key(seed), batch)
    for formula in grammar_lib.random_formulas(grammar, key, 4 * count):
      if formula.args:
        found.setdefault(formula_lib.key(formula), formula)
    batch += 1
  return list(found.values())[:count]


def distinct_nodes(formulas: list[Formula]) -> set[Formula]:
  """Distinct operator applications."""
  parts = (
    node
    for formula in formulas
    for node in formula_lib.nodes(formula_lib.canonical(formula))
  )
  return {node for node in parts if node.args}


def measure(run, repeats: int, prepare=tuple) -> dict:
  """Best and median seconds of `run(*prepare())`; `prepare` is not timed."""
  seconds = []
  for _ in range(repeats + 1):
    args = jax.block_until_ready(prepare())
    start = time.perf_counter()
    jax.block_until_ready(run(*args))
    seconds.append(time.perf_counter() - start)
  return summary(seconds[1:])


def summary(seconds) -> dict:
  """Best and median of some repetitions."""
  return {'best': min(seconds), 'median': statistics.median(seconds)}


def copy_rates(quick: bool) -> list[dict]:
  """Bytes a second of x + 1, read and written, into memory that is there.

  One plane stays in cache; sixteen are what a round of the store touches.
  """
  add_one = jax.jit(lambda x, out: x + 1, donate_argnums=1, keep_unused=True)
  rows = []
  for planes in (1, 16):
    x = jnp.ones((planes, *sizes(quick)))
    seconds = []
    out = add_one(x, jnp.zeros_like(x))
    for _ in range(10 if quick else 40):
      jax.block_until_ready(out)
      start = time.perf_counter()
      out = jax.block_until_ready(add_one(x, out))
      seconds.append(time.perf_counter() - start)
    rate = 2 * x.nbytes / min(seconds)
    rows.append(
      {'shape': x.shape, 'seconds': summary(seconds), 'bytes_per_s': rate}
    )
  return rows


def matmul_rates(quick: bool) -> list[dict]:
  """Operations a second of float32 products of the network's sizes."""
  rows = []
  shapes = [(32, WIDTH, 4 * WIDTH), (128, WIDTH, 4 * WIDTH)]
  shapes += [] if quick else [(4096, WIDTH, 4 * WIDTH), (2048, 2048, 2048)]
  for m, k, n in shapes:
    x, y = jnp.ones((m, k)), jnp.full((k, n), 1.0 / k)
    many = max(1, 2 * 10**9 // (2 * m * k * n))  # So that dispatch is hidden.
    seconds = measure(_products(many, x, y), 3 if quick else 10)
    rate = many * 2 * m * k * n / seconds['best']
    rows.append({'shape': (m, k, n), 'operations_per_s': rate})
  return rows


def _products(many, x, y):
  """A chain of products, each reading the one before."""

  @jax.jit
  def run(x, y):
    def body(_, x):
      return (x @ y)[:, : x.shape[1]]

    return jax.lax.fori_loop(0, many, body, x)

  return functools.partial(run, x, y)


def operations(grammar, tokens) -> float:
  """What a simulation must compute: the path that changes, and both heads.

  A product of [D] and [D, 4D] for each ancestor of the rewritten symbol.
  """

  def depth(formula):
    for arg in formula.args:
      below = depth(arg)
      if below is not None:
        return below + 1
    return 0 if formula.symbol in vocab.NONTERMINALS else None

  picked = tokens[:: max(1, len(tokens) // 500)]
  path = np.mean([depth(f) for f in grammar_lib.formulas_of(grammar, picked)])
  policy = WIDTH * 64 + 64 * 128 + 128 * grammar.num_actions
  value = WIDTH * 64 + 64 * 64 + 64
  return float(2 * (path * WIDTH * 4 * WIDTH + policy + value))
