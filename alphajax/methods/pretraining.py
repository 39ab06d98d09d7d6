"""Pre-training of the formula Transformer on planted tasks.

Every update draws new tasks (`planted_tasks`). The decoder learns formulas by
what they would really add to a pool, the score head how much that is, the value
head how good the pool would then be. From time to time tasks with formulas that
training never saw tell whether proposals beat retrieval
(`pretraining_figures`).
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from alphajax.data.panel import LabelSpec
from alphajax.language import orders as orders_lib
from alphajax.methods import (
  formula_model,
  formula_tokens,
  hidden_signals,
  planted_tasks,
  pretraining_figures,
  pretraining_gate,
  pretraining_markets,
  task_bank,
  task_file,
  task_library,
)
from alphajax.methods.base import Market, Method
from alphajax.methods.task_library import Tables
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import FormulaTransformer
from alphajax.run import hosts
from alphajax.run.clock import Clock

SCORE_WEIGHT, VALUE_WEIGHT = 0.5, 0.25
NUM_TARGETS = 2  # Of a task, one in each order.


class State(NamedTuple):
  """A training.

  average: of the parameters over the last updates; what is used.
  updates: done so far.
  """

  params: Any
  average: Any
  opt_state: Any
  updates: int


class Setup(NamedTuple):
  """All that a training reads; made once, when it is first needed."""

  library: task_library.Library
  bank: task_bank.Bank
  tables: Tables
  gate: pretraining_gate.Gate


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphaformer.py`, variant `pretrain`."""
  check(config)
  orders = orders_lib.make(**config.language)
  network = make_network(config, orders)
  optimizer = make_optimizer(config)

  @functools.cache
  def setup() -> Setup:
    return prepare(config, market, orders, network)

  update = make_update(config, network, optimizer)

  def init(rng_key):
    params = network.init(rng_key, example(config, orders))
    return State(params, params, jax.jit(optimizer.init)(params), updates=0)

  def step(state, rng_key):
    clock = Clock()
    with clock('setup'):
      ready = setup()
    train_key, gate_key = jax.random.split(rng_key)
    total = config.num_iterations * config.pretrain.num_updates
    with clock('update'):
      carry, metrics = update(
        (state.params, state.average, state.opt_state),
        train_key, ready.bank, ready.tables, state.updates, total,
      )  # fmt: skip
      metrics = {name: float(value) for name, value in metrics.items()}
    updates = state.updates + config.pretrain.num_updates
    params, average, opt_state = carry
    state = State(params, average, opt_state, updates)
    iteration = updates // config.pretrain.num_updates
    last = iteration == config.num_iterations
    if last or iteration % config.pretrain.every == 0:
      with clock('gate'):
        figures = pretraining_figures.judge(ready.gate, state.average, gate_key)
      metrics |= figures
      if config.pretrain.out and hosts.is_first():
        tasks = updates * config.pretrain.batch_size
        formula_model.save(
          config.pretrain.out, state.average, config, ready.library,
          ready.bank, {'tasks': tasks, **metrics},
        )  # fmt: skip
    return state, {
      **metrics,
      'tasks': updates * config.pretrain.batch_size,
      'library': len(ready.library.formulas),
      'seconds': clock.seconds,
    }

  return Method(
    init=init,
    step=step,
    predict=_predicts_nothing,
    found=lambda state: None,
    finished=lambda state: None,
    save=_save,
    load=_load,
  )


def prepare(
  config, market: Market, orders: orders_lib.Orders, network: FormulaTransformer
) -> Setup:
  """Reads the library and its bank, or makes them: minutes on a real market."""
  path = config.pretrain.bank
  if not path or not Path(path).expanduser().exists():
    splits = pretraining_markets.splits(config, market)
    library, bank = task_library.make(
      config, orders, splits, LabelSpec(**config.label)
    )
    if path and hosts.is_first():
      task_file.save(path, config, library, bank)
  if path:
    hosts.wait('bank')  # Until it is written, by whoever writes it.
    kept = task_file.load(path)
    task_file.check(path, kept, config)
    library, bank = kept.library, kept.bank
  tables = task_library.tables(orders, library.formulas)
  gate = pretraining_gate.make(
    config, orders, network, market.train, library, bank, tables,
    sizes_of(config),
  )  # fmt: skip
  return Setup(library, bank, tables, gate)


def _predicts_nothing(state, panel) -> jax.Array:
  del state
  return jnp.full(panel.mask.shape, jnp.nan, jnp.float32)


def _save(state: State):
  arrays = {
    'params': state.params,
    'average': state.average,
    'opt_state': state.opt_state,
  }
  return arrays, {'updates': state.updates}


def _load(arrays, host) -> State:
  return State(
    params=arrays['params'],
    average=arrays['average'],
    opt_state=arrays['opt_state'],
    updates=host['updates'],
  )


def check(config) -> None:
  """Refuses options that cannot be, by their key."""
  options = config.pretrain
  pretraining_markets.name_of(config)
  for name, least in (
    ('library', 2 * hidden_signals.HIDDEN), ('num_probes', 1),
    ('probe_size', 1), ('stocks', 2), ('days', 2), ('draws', 8),
    ('batch_size', 1), ('num_updates', 1), ('every', 1), ('gate_tasks', 1),
    ('gate_samples', 10),
  ):  # fmt: skip
    if options[name] < least:
      raise ValueError(
        f'config.pretrain.{name} is {options[name]}: expected >= {least}'
      )
  if config.tokens.blocks < 3:
    raise ValueError(
      f'config.tokens.blocks is {config.tokens.blocks}: expected >= 3'
    )
  if not 0 < config.tokens.anchors <= options.num_probes:
    raise ValueError(
      f'config.tokens.anchors is {config.tokens.anchors}: expected 1 to the '
      f'{options.num_probes} of config.pretrain.num_probes'
    )
  if not options.gate_temperature > 0:
    raise ValueError(
      f'config.pretrain.gate_temperature is {options.gate_temperature}: '
      'expected above 0'
    )
  if not 0 < options.held_share < 1:
    raise ValueError(
      f'config.pretrain.held_share is {options.held_share}: expected above 0, '
      'below 1'
    )
  own = config.label.exit - config.label.entry
  if any(h < 1 for h in options.horizons) or own not in options.horizons:
    raise ValueError(
      f'config.pretrain.horizons is {tuple(options.horizons)}: expected days '
      f'of labels, the {own} of config.label among them'
    )


def sizes_of(config) -> planted_tasks.Sizes:
  """What the network sees, by `config.tokens`."""
  return planted_tasks.Sizes(
    **{name: config.tokens[name] for name in planted_tasks.Sizes._fields}
  )


def make_network(config, orders: orders_lib.Orders) -> FormulaTransformer:
  """The network of `config.network`."""
  sizes = formula_transformer.Sizes(**config.network.to_dict())
  return formula_transformer.make(sizes, orders)


def example(config, orders: orders_lib.Orders) -> formula_transformer.Inputs:
  """Inputs of the widths of all others, of no formula."""
  tokens = config.tokens
  return planted_tasks.no_inputs(sizes_of(config), tokens.blocks, orders.length)


def make_optimizer(config) -> optax.GradientTransformation:
  """AdamW without its learning rate, see `learning_rate`."""
  options = config.pretrain
  return optax.chain(
    optax.clip_by_global_norm(options.clip),
    optax.scale_by_adam(),
    optax.add_decayed_weights(options.weight_decay),
  )


def learning_rate(share: jax.Array, peak: float, warmup: float) -> jax.Array:
  """A line up to `peak`, then a cosine down to 0.

  share: of the updates that are done; warmup: of them, those of the line.
  """
  rest = (share - warmup) / max(1.0 - warmup, 1e-6)
  down = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(rest, 0.0, 1.0)))
  return peak * jnp.where(share < warmup, share / max(warmup, 1e-6), down)


def make_update(
  config, network: FormulaTransformer, optimizer: optax.GradientTransformation
) -> Callable:
  """`train_some` of a config, jitted: it takes the other arguments."""
  return jax.jit(
    functools.partial(
      train_some,
      network=network,
      optimizer=optimizer,
      sizes=sizes_of(config),
      options=config.pretrain,
    )
  )


def train_some(
  carry, rng_key, bank, tables, done, total, *, network, optimizer, sizes,
  options,
):  # fmt: skip
  """`config.pretrain.num_updates` gradient steps, each on new tasks.

  Args:
    carry: parameters, their average, state of the optimizer.
    done: updates before these, of `total`.
    options: `config.pretrain`.
  """
  share = done / total
  grad = jax.grad(
    functools.partial(
      batch_loss, network=network, smoothing=options.label_smoothing
    ),
    has_aux=True,
  )

  def draw(key):
    stage_key, task_key, target_key = jax.random.split(key, 3)
    stage = hidden_signals.stage_of(stage_key, share)
    task = planted_tasks.make(
      task_key, bank, stage, sizes, tables.sequences[:, 0], tables.bags
    )
    return task, jax.random.categorical(
      target_key, task.targets, shape=(NUM_TARGETS,)
    )

  def update(carry, step):
    params, average, opt_state = carry
    key, count = step
    tasks, targets = jax.vmap(draw)(jax.random.split(key, options.batch_size))
    grads, metrics = grad(params, tasks, targets, tables)
    changes, opt_state = optimizer.update(grads, opt_state, params)
    rate = learning_rate(count / total, options.learning_rate, options.warmup)
    changes = jax.tree.map(lambda change: -rate * change, changes)
    params = optax.apply_updates(params, changes)
    # Of a short training the mean must not be that of its beginning.
    kept = jnp.minimum(options.average, (1.0 + count) / (10.0 + count))
    average = optax.incremental_update(params, average, 1.0 - kept)
    return (params, average, opt_state), metrics

  keys = jax.random.split(rng_key, options.num_updates)
  counts = done + jnp.arange(options.num_updates)
  carry, metrics = jax.lax.scan(update, carry, (keys, counts))
  return carry, jax.tree.map(jnp.mean, metrics)


def batch_loss(params, tasks, targets, tables, *, network, smoothing):
  """Mean loss of a batch of tasks, and its parts."""
  parts = jax.vmap(
    lambda task, target: task_losses(
      params, task, target, tables, network, smoothing
    )
  )(tasks, targets)
  policy, score, value = map(jnp.mean, parts)
  total = policy + SCORE_WEIGHT * score + VALUE_WEIGHT * value
  return total, {
    'policy_loss': policy,
    'score_loss': score,
    'value_loss': value,
  }


def task_losses(params, task, targets, tables, network, smoothing):
  """Losses of one task: of the decoder, the score head, the value head."""
  memory = network.encode(params, task.inputs)
  order = jnp.arange(NUM_TARGETS) % len(orders_lib.NAMES)
  sequences = tables.sequences[targets, order]
  forbidden = tables.forbidden[targets, order]
  logits = jax.vmap(network.logits, (None, None, 0))(params, memory, sequences)
  policy = jax.vmap(sequence_loss, (0, 0, 0, None))(
    logits, sequences, forbidden, smoothing
  )
  scores = jax.vmap(network.score, (None, None, 0))(
    params, memory, task.candidates
  )
  score = optax.huber_loss(
    scores, task.gains[task.scored] / formula_tokens.GAIN
  )
  value = network.value(params, memory)
  return (
    # Where there is no signal no formula is better than another.
    jnp.where(task.ceiling > 0, jnp.mean(policy), 0.0),
    jnp.mean(score),
    optax.huber_loss(value, task.value / formula_tokens.VALUE),
  )


def sequence_loss(logits, sequence, forbidden, smoothing):
  """Cross-entropy of what follows each symbol of a sequence, a number.

  Args:
    logits: f32[L, V].
    sequence: i32[L], padded with 0.
    forbidden: bool[L, V], see `orders.forbidden`.
    smoothing: share of the target spread over all that may follow.
  """
  after = jnp.append(sequence[1:], orders_lib.PAD)
  there = after > 0
  logits = jnp.where(forbidden, jnp.finfo(logits.dtype).min, logits)
  log_policy = jax.nn.log_softmax(logits)
  taken = jnp.take_along_axis(log_policy, after[:, None], axis=1)[:, 0]
  allowed = jnp.where(forbidden, 0.0, log_policy)
  mean = jnp.sum(allowed, 1) / jnp.maximum(jnp.sum(~forbidden, 1), 1)
  loss = -(1.0 - smoothing) * taken - smoothing * mean
  return jnp.sum(jnp.where(there, loss, 0.0))
