"""Whether a small network can tell a synthetic market from the real one.

The discriminative score of TimeGAN, with one change: the windows that it is
tested on are of later days than those it learns from. Stocks share their days,
and it would know the real ones again.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.analysis import market_quality
from alphajax.analysis.market_quality import WINDOW, Figures, Moves
from alphajax.data.panel import Panel

LEARNED = 0.7  # Of the days, the first ones.
WIDTH = 16
NUM_UPDATES, LEARNING_RATE = 200, 1e-2


class Judge(nn.Module):
  """Says whether a window `[L, 3]` is real: a logit."""

  @nn.compact
  def __call__(self, window: jax.Array) -> jax.Array:
    # Orthogonal kernels, the default, take long to compile.
    init = nn.initializers.lecun_normal()
    cell = nn.GRUCell(WIDTH, recurrent_kernel_init=init)
    return nn.Dense(1)(nn.RNN(cell)(jnp.arcsinh(window))[-1])[0]


def figures(panel: Panel, real: Panel, seed: int = 0) -> Figures:
  """`told_apart`: accuracy on later days, less 1/2; 0 is a coin, .5 is always.

  None where either has no window on one of the sides.
  """
  rng = np.random.default_rng(seed)
  sides = []
  for late in (False, True):
    pair = [_windows(market_quality.moves(x), late, rng) for x in (panel, real)]
    count = min(map(len, pair))  # As many of each: a coin is right by half.
    if not count:
      return {'told_apart': None}
    sides.append(np.concatenate([x[:count] for x in pair]))
  learned, tested = (jnp.asarray(x, jnp.float32) for x in sides)
  right = contest(learned, tested, jax.random.key(seed), NUM_UPDATES)
  return {'told_apart': float(right) - 0.5}


def _windows(found: Moves, late: bool, rng: np.random.Generator) -> np.ndarray:
  """Windows `[N, L, 3]` of one side of the days."""
  cut = int(LEARNED * len(found.change))
  days = slice(cut, None) if late else slice(cut)
  if len(found.change[days]) < WINDOW:
    return np.empty((0, WINDOW, 3))
  there = np.isfinite(found.change[days]).sum(0) > 1
  part = Moves(*(x[days][:, there] for x in found))
  flat = market_quality.in_windows(part, rng)
  return np.moveaxis(flat.reshape(len(flat), 3, WINDOW), 1, 2)


@functools.partial(jax.jit, static_argnames='num_updates')
def contest(
  learned: jax.Array, tested: jax.Array, rng_key: jax.Array, num_updates: int
) -> jax.Array:
  """Share of the tested windows that are told right, `[N, L, 3], [M, L, 3]`.

  The first half of each is synthetic, the second real.
  """
  model = Judge()
  judge = jax.vmap(model.apply, (None, 0))

  def loss(params):
    real = jnp.arange(len(learned)) >= len(learned) // 2
    logits = judge(params, learned)
    return optax.sigmoid_binary_cross_entropy(logits, real).mean()

  optimizer = optax.adam(LEARNING_RATE)
  params = model.init(rng_key, learned[0])

  def update(_, carry):
    params, state = carry
    change, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, change), state

  start = params, optimizer.init(params)
  params, _ = jax.lax.fori_loop(0, num_updates, update, start)
  real = jnp.arange(len(tested)) >= len(tested) // 2
  said = jnp.asarray(judge(params, tested)) > 0
  return jnp.mean(said == real)
