"""Formulas that the formula Transformer writes in a second."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import orders as orders_lib
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import Inputs, Memory
from alphajax.search import sampling
from scripts.benchmark import tools

FORMULAS = 512  # As an iteration of alphaformer draws.
TOP_P = 0.98
TOKENS, WIDTH, CONTEXT = 240, 88, 16
REFERENCES = 6
TINY = formula_transformer.Sizes(16, 2, 32, 4, 1, 1)


def emission_part(quick: bool) -> dict:
  """Model S with random parameters, in both orders, from a memory of a task."""
  orders = orders_lib.make(**tools.language(quick))
  sizes = TINY if quick else formula_transformer.S
  network = formula_transformer.make(sizes, orders)
  inputs = _inputs(orders)
  params = _params(network, inputs)
  count = 32 if quick else FORMULAS
  encode = jax.jit(network.encode)
  memory = encode(params, inputs)
  rows = {
    order: _rates(network, orders, params, memory, order, count, quick)
    for order in orders_lib.NAMES
  }
  return {
    'parameters': formula_transformer.num_parameters(params),
    'formulas': count,
    'orders': rows,
    'encode': tools.measure(encode, 3, lambda: (params, inputs)),
  }


def _inputs(orders: orders_lib.Orders) -> Inputs:
  rng = np.random.default_rng(0)
  rows = np.zeros((REFERENCES, orders.length), np.int32)
  return Inputs(
    tokens=jnp.asarray(rng.standard_normal((TOKENS, WIDTH), np.float32)),
    mask=jnp.ones(TOKENS, bool),
    context=jnp.asarray(rng.standard_normal(CONTEXT, np.float32)),
    formulas=jnp.asarray(rows),
  )


def _params(network, inputs: Inputs) -> dict:
  """Random ones, near those of a fresh network."""
  shapes = jax.eval_shape(network.init, jax.random.key(0), inputs)
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jnp.asarray(
      0.05 * rng.standard_normal(leaf.shape, np.float32)
    ),
    shapes,
  )


def _rates(
  network, orders, params, memory: Memory, order: str, count: int, quick: bool
) -> dict:
  """Formulas a second, whole calls; and symbols of a formula."""
  run = sampling.sampler(network, orders)

  def draw(seed):
    return run(
      params, memory, jax.random.key(seed), count,
      order=order, temperature=1.0, top_p=TOP_P,
    )  # fmt: skip

  symbols = float(jnp.mean(jnp.sum(draw(0).symbols > 0, axis=1)))  # Compiles.
  seconds, busy = [], []
  for seed in range(1 if quick else 7):
    start, used = time.perf_counter(), time.process_time()
    jax.block_until_ready(draw(seed))
    seconds.append(time.perf_counter() - start)
    busy.append(time.process_time() - used)
  summary = tools.summary(seconds)
  return {
    'seconds': summary,
    'core_seconds': tools.summary(busy),
    'formulas_per_s': count / summary['median'],
    'symbols': symbols,
  }
