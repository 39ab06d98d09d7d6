"""The formulas that a formula Transformer learns to write, and its probes."""

from collections.abc import Sequence
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
from alphajax.methods import screen as screen_lib
from alphajax.methods import task_bank
from alphajax.run.clock import Clock
from alphajax.search import kernel

COVERAGE, PROBE_COVERAGE = 0.8, 0.95  # Least share of cells with a value.
LEAST_LENGTH = 2  # Bounds of the languages that formulas are drawn from, up.
CHUNK = 256  # Sequences whose masks are made at a time.


class Library(NamedTuple):
  """N formulas, with what is known of them on the first panel.

  formulas: distinct in what they do.
  probes: positions, in the order in which they are evaluated.
  """

  formulas: tuple[Formula, ...]
  probes: np.ndarray


class Tables(NamedTuple):
  """What a network reads and writes of N formulas, in both orders.

  sequences: see `orders.encode`; forbidden: see `orders.forbidden`.
  bags: see `orders.bag`.
  """

  sequences: jax.Array  # i32[N, 2, L]
  forbidden: jax.Array  # bool[N, 2, L, V]
  bags: jax.Array  # f32[N, V]


def draw(config, orders: Orders, split: Split, count: int) -> list[Formula]:
  """Formulas that the screen tells apart, of every length as many.

  A language of few formulas gives fewer.

  Raises:
    ValueError: the language gave none, or there is no screen.
  """
  screen = screen_lib.make(config, split)
  if screen is None:
    raise ValueError(
      'config.screen.twin is 0: the library is of formulas that differ on the '
      'screen; set it to 0.97'
    )
  options = config.language.to_dict()
  longest = options.pop('max_length')
  lengths = range(min(LEAST_LENGTH, longest), longest + 1)
  languages = []
  for length in lengths:
    try:
      languages.append(environment.make(**options, max_length=length))
    except ValueError:  # No formula is as short.
      continue
  key = jax.random.key(config.seed)
  batch = max(count // 8, 100)

  def draw_some(number):
    language = languages[number % len(languages)]
    return environment.random_formulas(
      language, jax.random.fold_in(key, number), batch
    )

  formulas, _ = screen_lib.fill(
    screen, screen_lib.Known(), (), draw_some, count, Clock()
  )
  formulas = [f for f in formulas if is_written(orders, f)]
  if not formulas:
    raise ValueError(
      'the language gave no formula with values that differ between stocks: '
      'give config.language.max_length more, or other operators'
    )
  return formulas


def is_written(orders: Orders, formula: Formula) -> bool:
  """Whether both orders can write a formula within their bounds."""
  try:
    for order in orders_lib.NAMES:
      orders_lib.encode(orders, formula, order)
  except ValueError:
    return False
  return True


def choose(
  formulas: Sequence[Formula],
  gram: np.ndarray,
  facts: np.ndarray,
  num_probes: int,
  probe_size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Those that speak often enough, and among them the probes.

  Args:
    formulas: N.
    gram: f[N, N], mean correlations.
    facts: f[N, 2], see `task_bank.facts_of`.
    num_probes: at most.
    probe_size: nodes of a probe, at most.

  Returns:
    Positions kept, and positions of probes among them.

  Raises:
    ValueError: fewer formulas than probes are short and speak often enough.
  """
  kept = np.flatnonzero((facts[:, 0] >= COVERAGE) & (np.diag(gram) > 0))
  sizes = np.array([formula_lib.size(formulas[i]) for i in kept.tolist()])
  often = facts[kept, 0] >= PROBE_COVERAGE
  short = np.flatnonzero(often & (sizes <= probe_size))
  among = np.asarray(gram[np.ix_(kept[short], kept[short])], np.float64)
  probes = short[kernel.pivots(among, num_probes)]
  if len(probes) < num_probes:
    raise ValueError(
      f'config.pretrain.num_probes is {num_probes}, but only {len(probes)} '
      f'formulas of the library are distinct and of at most {probe_size} nodes '
      '(config.pretrain.probe_size): ask for fewer, or draw a larger '
      'config.pretrain.library'
    )
  return kept, probes


def tables(orders: Orders, formulas: Sequence[Formula]) -> Tables:
  """Sequences, masks and bags of formulas."""
  sequences = np.stack(
    [
      np.stack(
        [orders_lib.encode(orders, f, name) for name in orders_lib.NAMES]
      )
      for f in formulas
    ]
  )
  forbid = jax.jit(
    jax.vmap(jax.vmap(lambda row: orders_lib.forbidden(orders, row)))
  )
  padding = -len(sequences) % CHUNK
  padded = np.concatenate([sequences, sequences[:1].repeat(padding, 0)])
  parts = [
    forbid(jnp.asarray(padded[n : n + CHUNK]))
    for n in range(0, len(padded), CHUNK)
  ]
  return Tables(
    sequences=jnp.asarray(sequences),
    forbidden=jnp.concatenate(parts)[: len(sequences)],
    bags=jnp.asarray(
      np.stack([orders_lib.bag(orders, f) for f in formulas]), jnp.float32
    ),
  )


def make(
  config, orders: Orders, splits: Sequence[Split], label
) -> tuple[Library, task_bank.Bank]:
  """Draws a library on the first panel and measures it on all.

  Args:
    config: `config.pretrain`, `config.screen` and `config.language` are read.
    orders: that must be able to write the formulas.
    splits: of the panels.
    label: whose noise tasks have.
  """
  options = config.pretrain
  formulas = draw(config, orders, splits[0], options.library)
  looked = []
  for split in splits:
    sample = task_bank.sample(
      split, options.stocks, options.days, config.tokens.blocks
    )
    names = sample.panel.symbols
    place = {name: s for s, name in enumerate(split.panel.symbols)}
    columns = [place[name] for name in names]
    target = np.asarray(split.target)[:, columns]
    looked.append((sample, *task_bank.look(sample, formulas), target))
  sample, rows, facts, _ = looked[0]
  gram = task_bank.block_grams(rows, sample.blocks).mean(0, dtype=np.float32)
  kept, probes = choose(
    formulas, gram, facts, options.num_probes, options.probe_size
  )
  kept_rows = [
    (sample, rows[kept], facts[kept], target)
    for sample, rows, facts, target in looked
  ]
  chosen = tuple(formulas[i] for i in kept.tolist())
  bank = task_bank.make(
    kept_rows, chosen, probes,
    seed=config.seed, draws=options.draws, horizons=tuple(options.horizons),
    label=label, held_share=options.held_share,
  )  # fmt: skip
  return Library(chosen, probes), bank
