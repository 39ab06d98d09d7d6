"""Weights of a pool: least squares with an L1 norm, from correlations alone.

Gradient steps as in the paper, then, for factors so alike that these creep,
steps that solve for the weights in use.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

# Added to the diagonal of a system, whose matrix may be singular: far below
# the correlations, and above their rounding.
RIDGE = 1e-6
# Of the gradient of the objective: below it is the rounding of correlations.
OPTIMAL = 1e-6


class FitConfig(NamedTuple):
  """How weights are fitted.

  l1: weight of the L1 norm beside the mean squared error.
  tolerance: largest change of a weight at which the gradient steps stop.
  max_steps: gradient steps at most; what they leave undone is solved for.
  """

  l1: float = 0.005
  tolerance: float = 1e-7
  max_steps: int = 2000


DEFAULT_FIT = FitConfig()


def soft_threshold(w: jax.Array, amount: jax.Array) -> jax.Array:
  """The proximal step of `amount * |w|`: shrinks, to exactly 0 if small."""
  return jnp.sign(w) * jnp.maximum(jnp.abs(w) - amount, 0.0)


def fit(
  gram: jax.Array,
  with_label: jax.Array,
  used: jax.Array,
  initial: jax.Array,
  config: FitConfig,
) -> jax.Array:
  """Weights that minimise w'Gw - 2 b'w + l1 |w|, the MSE of Eq. 7 with L1.

  The problem is convex, so the start, random in the paper, does not matter.

  Args:
    gram: f32[P, P], mean correlations.
    with_label: f32[P].
    used: bool[P], False for an empty slot.
    initial: f32[P].
    config: tolerance and L1 weight.

  Returns:
    f32[P], 0 in unused slots.
  """
  chex.assert_equal_shape([with_label, used, initial, gram[0], gram[:, 0]])
  pairs = used[:, None] & used[None]
  gram = jnp.where(pairs, gram, 0.0)
  with_label = jnp.where(used, with_label, 0.0)
  w = jnp.where(used, initial, 0.0)
  w, converged = _descend(gram, with_label, w, config)
  return _solve(gram, with_label, w, config.l1, converged)


@jax.default_matmul_precision('highest')
def _descend(gram, with_label, w, config: FitConfig):
  """Nesterov-accelerated proximal gradient steps, each an `optax.sgd` step.

  (FISTA, restarted when a step goes uphill.) Returns the weights and whether
  they have settled.
  """
  # 2 G has its largest eigenvalue below twice the largest absolute row sum.
  bound = 2.0 * jnp.max(jnp.sum(jnp.abs(gram), -1))
  rate = 1.0 / jnp.maximum(bound, 1e-6)
  optimizer = optax.sgd(rate)

  def step(carry):
    w, ahead, momentum, _, i = carry
    gradient = 2.0 * (gram @ ahead - with_label)
    updates, _ = optimizer.update(gradient, optimizer.init(ahead))
    new = soft_threshold(optax.apply_updates(ahead, updates), rate * config.l1)
    uphill = jnp.sum((ahead - new) * (new - w)) > 0
    momentum = jnp.where(uphill, 1.0, momentum)
    faster = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2))
    ahead = new + (momentum - 1.0) / faster * (new - w)
    return new, ahead, faster, jnp.max(jnp.abs(new - w)), i + 1

  def running(carry):
    *_, change, i = carry
    return (change > config.tolerance) & (i < config.max_steps)

  carry = (w, w, jnp.float32(1.0), jnp.float32(jnp.inf), jnp.int32(0))
  w, *_, change, _ = jax.lax.while_loop(running, step, carry)
  return w, change <= config.tolerance


@jax.default_matmul_precision('highest')
def _solve(gram, with_label, w, l1, done):
  """Newton steps on the weights in use, each as far as the objective falls.

  (Feature-sign search, Lee et al. 2007.) A step solves for the weights that
  are not 0, and the one at 0 that most wants to leave it, with their signs
  held; where a weight would change its sign the step may end.
  """
  eye = jnp.eye(w.shape[0], dtype=bool)

  def step(carry):
    w, _, i = carry
    # Weights of twins are large and opposite: all but their last digits cancel.
    slope = 2.0 * _precise_sum(jnp.c_[gram, -with_label], jnp.append(w, 1.0))
    at_zero = w == 0
    uneven = jnp.where(at_zero, 0.0, jnp.abs(slope + l1 * jnp.sign(w)))
    wants = jnp.where(at_zero, jnp.abs(slope) - l1, 0.0)
    violation = jnp.maximum(jnp.max(wants), jnp.max(uneven))
    active = ~at_zero | (eye[jnp.argmax(wants)] & (jnp.max(wants) == violation))
    sign = jnp.where(at_zero, -jnp.sign(slope), jnp.sign(w))
    system = jnp.where(active[:, None] & active[None], 2.0 * gram, 0.0)
    system += jnp.diag(jnp.where(active, RIDGE, 1.0))
    move = jnp.linalg.solve(system, jnp.where(active, -slope - l1 * sign, 0.0))
    # The whole step, or up to where a weight gets to 0.
    crosses = move * w < 0
    share = jnp.where(crosses, -w / jnp.where(crosses, move, 1.0), 1.0)
    crosses &= share < 1.0
    share = jnp.append(jnp.minimum(share, 1.0), 1.0)
    trials = w[None] + share[:, None] * move[None]
    trials = trials.at[:-1].set(
      jnp.where(eye & crosses[None], 0.0, trials[:-1])
    )
    longer = jnp.sum(jnp.abs(trials) - jnp.abs(w)[None], -1)
    bend = move @ _precise_sum(gram, move)
    change = share * (move @ slope + share * bend) + l1 * longer
    best = jnp.argmin(jnp.where(jnp.isnan(change), jnp.inf, change))
    falls = (change[best] < 0) & (violation > OPTIMAL)
    return jnp.where(falls, trials[best], w), ~falls, i + 1

  def running(carry):
    _, done, i = carry
    return ~done & (i < 10 * w.shape[0])

  return jax.lax.while_loop(running, step, (w, done, jnp.int32(0)))[0]


def _precise_sum(matrix, vector):
  """`matrix @ vector` with one rounding, as if in float64 in between."""
  parts = [
    a * b for a in _halves(matrix) for b in _halves(vector[None])
  ]  # fmt: skip
  high = jnp.concatenate(parts, -1)  # Products of 12 bits each: exact.
  low = jnp.zeros_like(high)
  while high.shape[-1] > 1:
    odd = [(0, 0)] * (high.ndim - 1) + [(0, high.shape[-1] % 2)]
    high, low = jnp.pad(high, odd), jnp.pad(low, odd)
    a, b = high[..., ::2], high[..., 1::2]
    high = a + b
    rounded = high - a
    low = low[..., ::2] + low[..., 1::2]
    low += (a - (high - rounded)) + (b - rounded)
  return (high + low)[..., 0]


def _halves(x):
  """Two numbers of 12 bits whose sum is x."""
  bits = jax.lax.bitcast_convert_type(x, jnp.int32)
  top = jax.lax.bitcast_convert_type(bits & ~0xFFF, jnp.float32)
  return top, x - top
