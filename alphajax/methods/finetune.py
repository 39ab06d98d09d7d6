"""Learning on a market: the network writes again what helped on other days.

Of all that was evaluated the best stay in a buffer, by what they add to the
pool on blocks of days that the network does not read. It is taught these, and
kept near to what it was.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.data.device import put
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.formula import Formula
from alphajax.methods import formula_tokens, task_library
from alphajax.methods.formula_model import Model
from alphajax.methods.formula_tokens import Pool


class Tuned(NamedTuple):
  """The network on this market.

  buffer: (canonical key, gain on blocks left out), the best first.
  """

  params: Any
  opt_state: Any
  buffer: tuple[tuple[str, float], ...]


class Tuner(NamedTuple):
  """init: () -> Tuned.

  step: (tuned, inputs, [(formula, gain)]) -> (tuned, losses).
  save: tuned -> (arrays, host); load: the inverse.
  """

  init: Callable
  step: Callable
  save: Callable
  load: Callable


def make(config, model: Model) -> Tuner | None:
  """What `config.finetune` asks for; None where parameters stay.

  Raises:
    ValueError: an option that cannot be.
  """
  if 'finetune' not in config:
    return None
  options = config.finetune
  for name in ('buffer', 'num_updates'):
    if options[name] < 1:
      raise ValueError(
        f'config.finetune.{name} is {options[name]}: expected >= 1'
      )
  for name in ('tau', 'learning_rate'):
    if not options[name] > 0:
      raise ValueError(
        f'config.finetune.{name} is {options[name]}: expected above 0'
      )
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(options.learning_rate)
  )
  features = tuple(config.language.features)
  fit = jax.jit(
    functools.partial(
      _fit, network=model.network, optimizer=optimizer,
      num_updates=options.num_updates, kl=options.kl,
    )
  )  # fmt: skip

  forbid = jax.jit(
    jax.vmap(functools.partial(orders_lib.forbidden, model.orders))
  )

  def init():
    return Tuned(model.params, optimizer.init(model.params), ())

  def step(tuned, inputs, new: Sequence[tuple[Formula, float]]):
    known = dict(tuned.buffer)
    known |= {
      formula_lib.key(formula): gain
      for formula, gain in new
      if task_library.is_written(model.orders, formula)
    }
    best = sorted(known.items(), key=lambda pair: (-pair[1], pair[0]))
    buffer = tuple(best[: options.buffer])
    if not buffer:
      return tuned, {'policy_loss': None, 'policy_kl': None}
    sequences, weights = _batch(model, buffer, features, options)
    params, opt_state, losses = fit(
      tuned.params, tuned.opt_state, model.params, inputs, sequences,
      forbid(sequences), weights,
    )  # fmt: skip
    losses = {name: float(value) for name, value in losses.items()}
    return Tuned(params, opt_state, buffer), losses

  def save(tuned):
    arrays = {'params': tuned.params, 'opt_state': tuned.opt_state}
    return arrays, [list(pair) for pair in tuned.buffer]

  def load(arrays, host):
    buffer = tuple((key, gain) for key, gain in host)
    return Tuned(arrays['params'], arrays['opt_state'], buffer)

  return Tuner(init, step, save, load)


def _batch(model, buffer, features, options):
  """Sequences i32[n, L] of a buffer, padded, and their weights f32[n]."""
  formulas = [formula_lib.parse(key, features) for key, _ in buffer]
  rows = [orders_lib.encode(model.orders, f, 'rpn') for f in formulas]
  gains = np.array([gain for _, gain in buffer])
  weights = np.exp((gains - gains.max()) / options.tau)
  weights = weights / weights.sum()
  missing = options.buffer - len(rows)
  sequences = np.stack(rows + rows[:1] * missing)
  return jnp.asarray(sequences), jnp.asarray(
    np.pad(weights, (0, missing)), jnp.float32
  )


def _fit(
  params, opt_state, first, inputs, sequences, forbidden, weights, *, network,
  optimizer, num_updates, kl,
):  # fmt: skip
  """A few gradient steps on the buffer; returns the mean losses too."""

  def policies(params):
    memory = network.encode(params, inputs)
    logits = jax.vmap(network.logits, (None, None, 0))(
      params, memory, sequences
    )
    least = jnp.finfo(logits.dtype).min
    return jax.nn.log_softmax(jnp.where(forbidden, least, logits))

  before = policies(first)
  after = jnp.concatenate(
    [sequences[:, 1:], jnp.zeros_like(sequences[:, :1])], axis=1
  )
  there = after > 0

  def loss_fn(params):
    policy = policies(params)
    taken = jnp.take_along_axis(policy, after[..., None], axis=2)[..., 0]
    cross = -jnp.sum(jnp.where(there, taken, 0.0), 1)
    apart = jnp.exp(before) * (before - policy)
    apart = jnp.sum(jnp.where(forbidden, 0.0, apart), 2)
    apart = jnp.sum(jnp.where(there, apart, 0.0), 1)
    policy_loss, policy_kl = weights @ cross, weights @ apart
    losses = {'policy_loss': policy_loss, 'policy_kl': policy_kl}
    return policy_loss + kl * policy_kl, losses

  def update(carry, _):
    params, opt_state = carry
    grads, losses = jax.grad(loss_fn, has_aux=True)(params)
    changes, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, changes), opt_state), losses

  (params, opt_state), losses = jax.lax.scan(
    update, (params, opt_state), length=num_updates
  )
  return params, opt_state, jax.tree.map(jnp.mean, losses)


def holdout_gains(
  gram: np.ndarray,
  blocks: np.ndarray,
  pool: np.ndarray,
  chosen: np.ndarray,
  slots: int,
) -> np.ndarray:
  """What formulas add to a pool on every second block, f64[n].

  Args:
    gram: f64[E, E], correlations.
    blocks: f64[E, B], ICs.
    pool: positions of at most `slots` formulas.
    chosen: positions of the n formulas.
    slots: of a pool.
  """
  if not len(chosen):
    return np.zeros(0)
  held = blocks[:, 1::2].astype(np.float32)
  count = len(pool)
  within = np.zeros((slots, slots), np.float32)
  within[:count, :count] = gram[np.ix_(pool, pool)]
  of_blocks = np.zeros((slots, held.shape[1]), np.float32)
  of_blocks[:count] = held[pool]
  with_pool = np.zeros((len(chosen), slots), np.float32)
  with_pool[:, :count] = gram[np.ix_(chosen, pool)]
  gains, _ = formula_tokens.gain(
    *put((held[chosen].mean(1), with_pool)),
    Pool(*put((within, of_blocks, np.arange(slots) < count))),
  )
  return np.asarray(gains, np.float64)
