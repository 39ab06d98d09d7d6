"""Networks that read the last days of a stock, trained by one loop.

An iteration is an epoch over the train rows in batches drawn by its key. The
network of the least validation loss is kept, and `config.training.patience`
epochs without a better one end the run. Several networks may train side by
side on the same batches (`config.network.copies`), each from another
beginning; the signal is their mean.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from alphajax import lookup
from alphajax.methods import characteristics, predictor
from alphajax.methods.base import Market, Method
from alphajax.methods.predictor import Learner
from alphajax.networks import predictors

NETWORKS = {
  'lstm': predictors.Lstm,
  'alstm': predictors.Alstm,
  'tcn': predictors.Tcn,
  'transformer': predictors.Transformer,
}
CLIP = 3.0  # Gradients, by value: qlib's.
# Rows that are read, or whose gradients are taken, at a time: with more a CPU
# waits for its memory, and networks take up to twice as long.
PART = 512

lookback = characteristics.lookback


class Trained(NamedTuple):
  """Networks in training, an axis of copies in front of every array.

  best, loss: weights of the least validation loss, and that.
  waited: epochs since.
  """

  params: Any
  moments: Any
  best: Any
  loss: float = float('inf')
  waited: int = 0


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/lstm.py` and those beside it."""
  check(config)
  columns = characteristics.make_columns(config)
  options = config.network.to_dict()
  copies, name = options.pop('copies'), options.pop('name')
  network = lookup.resolve(name, NETWORKS, key='config.network.name')(
    # Networks are told apart by their options, which a list could not be.
    **{k: tuple(x) if isinstance(x, list) else x for k, x in options.items()}
  )
  training = config.training
  start, forward, epoch = programs(
    network, columns.shape, training.learning_rate, training.weight_decay
  )
  batch_size = training.batch_size

  def init(rng_key):
    params, moments = start(jax.random.split(rng_key, copies))
    return Trained(params, moments, params)

  def advance(model, train, valid, rng_key):
    order_key, drop_key = jax.random.split(rng_key)
    count = len(train.days)
    order = np.asarray(jax.random.permutation(order_key, count))
    size = min(batch_size, count)
    # The last batch, if it is not whole, is left out, as in qlib.
    order = order[: count // size * size].reshape(-1, size)
    params, moments, train_loss = epoch(
      model.params, model.moments, order, train.columns, train.label, drop_key,
    )  # fmt: skip
    said = _read(forward, params, valid.columns)
    loss = float(np.mean(np.square(said - valid.label)))
    better = loss < model.loss
    model = Trained(
      params, moments,
      best=params if better else model.best,
      loss=loss if better else model.loss,
      waited=0 if better else model.waited + 1,
    )  # fmt: skip
    losses = {'train_loss': float(train_loss), 'valid_loss': loss}
    return model, losses, better

  def ended(model):
    if model.waited < config.training.patience:
      return None
    return (
      f'no better validation loss for {model.waited} epochs '
      f'(config.training.patience = {config.training.patience})'
    )

  learner = Learner(
    init=init,
    advance=advance,
    values=lambda model, rows: _read(forward, model.best, rows),
    ended=ended,
    save=_save,
    load=_load,
  )
  return predictor.make(config, market, columns, learner)


def check(config) -> None:
  """Refuses sizes that cannot be."""
  for key, value in (
    ('network.copies', config.network.copies),
    ('training.batch_size', config.training.batch_size),
    ('training.patience', config.training.patience),
  ):
    if value < 1:
      raise ValueError(f'config.{key} is {value}: expected >= 1')
  if config.features.scale == 'none':
    raise ValueError(
      'config.features.scale is none, and a network reads values of about one '
      'size: set --config.features.scale=robust, or day'
    )


@functools.lru_cache(maxsize=16)
def programs(
  network: nn.Module,
  shape: tuple[int, int],
  learning_rate: float,
  weight_decay: float,
) -> tuple[Callable, Callable, Callable]:
  """What begins, reads and trains a network; the same for all runs of it."""
  optimizer = make_optimizer(learning_rate, weight_decay)
  static = network, shape
  return (
    jax.jit(functools.partial(_start, *static, optimizer)),
    jax.jit(functools.partial(_forward, *static)),
    jax.jit(functools.partial(_epoch, *static, optimizer)),
  )


def make_optimizer(
  learning_rate: float, weight_decay: float
) -> optax.GradientTransformation:
  """Adam on gradients clipped by value; weight decay as PyTorch's Adam has it.

  That is, the decay is part of the gradient.
  """
  return optax.chain(
    optax.clip(CLIP),
    optax.add_decayed_weights(weight_decay),
    optax.adam(learning_rate),
  )


def _start(network, shape, optimizer, rng_keys):
  """Parameters and moments, a copy for each key."""
  start = functools.partial(network.init, train=False)
  params = jax.vmap(start, (0, None))(rng_keys, jnp.zeros((1, *shape)))
  return params, optimizer.init(params)


def _inputs(shape, columns):
  """Rows f16|f32[B, D * C] as the network reads them; what is missing is 0."""
  return jnp.nan_to_num(columns.astype(jnp.float32)).reshape(-1, *shape)


def _forward(network, shape, params, columns):
  """The mean of the copies, f32[B]."""
  apply = functools.partial(network.apply, train=False)
  said = jax.vmap(apply, (0, None))(params, _inputs(shape, columns))
  return jnp.mean(said, axis=0)


def _read(forward, params, columns: np.ndarray) -> np.ndarray:
  """The values of rows, however many, f32[N]."""
  found = [np.zeros(0, np.float32)]
  for i in range(0, len(columns), PART):
    part = columns[i : i + PART]
    padded = np.pad(part, ((0, PART - len(part)), (0, 0)))
    found.append(np.asarray(forward(params, padded))[: len(part)])
  return np.concatenate(found)


def _epoch(
  network, shape, optimizer, params, moments, order, columns, label, rng_key
):
  """Goes through the batches `order` i[n, B]; returns the mean loss too."""

  def loss_of(params, inputs, wanted, drop_key):
    said = network.apply(params, inputs, train=True, rngs={'dropout': drop_key})
    return jnp.mean(jnp.square(said - wanted))

  gradient = jax.vmap(jax.value_and_grad(loss_of), (0, None, None, 0))
  copies = jax.tree.leaves(params)[0].shape[0]
  parts = _parts(order.shape[1])

  def batch(carry, inputs):
    params, moments = carry
    number, rows = inputs
    batch_key = jax.random.fold_in(rng_key, number)

    def part(total, inputs):
      number, rows = inputs
      keys = jax.random.split(jax.random.fold_in(batch_key, number), copies)
      found = gradient(params, _inputs(shape, columns[rows]), label[rows], keys)
      return jax.tree.map(lambda x, y: x + y / parts, total, found), None

    none = jnp.zeros(copies), jax.tree.map(jnp.zeros_like, params)
    numbered = jnp.arange(parts), rows.reshape(parts, -1)
    (loss, grads), _ = jax.lax.scan(part, none, numbered)
    updates, moments = optimizer.update(grads, moments, params)
    return (optax.apply_updates(params, updates), moments), jnp.mean(loss)

  numbered = jnp.arange(order.shape[0]), order
  (params, moments), losses = jax.lax.scan(batch, (params, moments), numbered)
  return params, moments, jnp.mean(losses)


def _parts(size: int) -> int:
  """How many equal parts of at most `PART` rows, but not of few, a batch has.

  Their gradients are summed, so it is one batch still. It is not parted where
  its size has no such divisor.
  """
  for parts in range(-(-size // PART), 4 * size // PART + 1):
    if size % parts == 0:
      return parts
  return 1


def _save(model: Trained):
  arrays = {
    'params': model.params, 'moments': model.moments, 'best': model.best,
  }  # fmt: skip
  loss = model.loss if np.isfinite(model.loss) else None
  return arrays, {'loss': loss, 'waited': model.waited}


def _load(arrays, host) -> Trained:
  loss = float('inf') if host['loss'] is None else host['loss']
  return Trained(**arrays, loss=loss, waited=host['waited'])
