"""A pre-trained formula Transformer that advises another method.

It reads the market as `alphaformer` does: through its probes, which are
evaluated before anything else and count as all others, through the pool and
what was tried. AlphaCFG takes its probabilities of the rules as the prior of
the search, evolution takes formulas from it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language import orders as orders_lib
from alphajax.language.environment import Language
from alphajax.language.formula import Formula
from alphajax.methods import (
  archive,
  choice,
  formula_model,
  mined_tokens,
  planted_tasks,
)
from alphajax.methods import screen as screen_lib
from alphajax.methods import shelf as shelf_lib
from alphajax.methods.base import Market
from alphajax.methods.formula_model import Model
from alphajax.search import priors, sampling
from alphajax.search.evaluators import Evaluator

WORTH_RIDGE = 10.0  # In formulas of the library.


class Adviser(NamedTuple):
  """The network, and what it is asked.

  tell: (bench, mined, known or None) -> (parameters, memory of the market as
    it is seen now, worths of symbols); known: what the screen knows of the
    formulas evaluated.
  write: (told, rng_key, options) -> formulas that differ, as they were drawn;
    options: samples, temperature and top_p.
  """

  model: Model
  tell: Callable
  write: Callable


def make(
  config, market: Market, bench: archive.Bench, num_probes: int
) -> tuple[Adviser, archive.Bench]:
  """The adviser of `config.checkpoint`, and a bench that evaluates its probes.

  num_probes: at most so many of them.

  Raises:
    RunError: the checkpoint is missing or damaged.
    ValueError: it is of another language, or there is no screen.
  """
  screen = screen_lib.make(config, market.train)
  if screen is None:
    raise ValueError(
      'config.screen.twin is 0: the formula Transformer knows formulas by what '
      'the screen sees of them; set it to 1.0 to turn none away as a twin'
    )
  model = formula_model.load(config.checkpoint, config.language.to_dict())
  if bench.recorder is None:  # The blocks of days are read by any rule's run.
    recorder = choice.make_recorder(
      config, market.train, bench.train.universe, bench.target
    )
    bench = bench._replace(recorder=recorder)
  probes = [model.library[i] for i in model.probes[:num_probes].tolist()]
  given = bench.given
  keys = {formula_lib.key(f) for part in given for f in part}
  new = tuple(f for f in probes if formula_lib.key(f) not in keys)
  bench = bench._replace(given=given._replace(archive=given.archive + new))
  horizon = config.label.exit - config.label.entry
  sample = sampling.sampler(model.network, model.orders)
  adviser = Adviser(
    model=model,
    tell=_make_tell(model, screen, horizon),
    write=functools.partial(_write, model, sample),
  )
  return adviser, bench


def _make_tell(
  model: Model, screen: screen_lib.Screen, horizon: int
) -> Callable:
  """`Adviser.tell`; looks at the library and at every formula once."""

  @functools.cache
  def look():
    shelf = shelf_lib.make(model, screen)
    alive = np.flatnonzero(shelf.alive)
    library = [model.library[i] for i in alive.tolist()]
    return shelf, library, shelf.rows[alive], shelf.bags[alive]

  encode = jax.jit(model.network.encode)
  scores_of = mined_tokens.scorer(model.network)
  rows: dict[str, np.ndarray] = {}

  def known_of(bench, mined) -> screen_lib.Known:
    new = [key for key in mined.book if key not in rows]
    if new:
      seen = screen_lib.behaviours(screen, archive.read(new, bench.features))
      rows.update(zip(new, seen, strict=True))
    return screen_lib.Known((np.stack([rows[key] for key in mined.book]),))

  def tell(bench, mined, known=None):
    shelf, library, library_rows, bags = look()
    if not mined.memory.ids:  # Nothing has a value: nothing is known.
      inputs = planted_tasks.no_inputs(
        model.sizes, model.blocks, model.orders.length
      )
      memory = encode(model.params, inputs)
      return model.params, memory, symbol_worths(np.zeros(len(bags)), bags)
    seen = mined_tokens.evidence(
      bench,
      mined,
      known or known_of(bench, mined),
      model.blocks,
      model.sizes.pool,
    )
    inputs = mined_tokens.read(model, shelf, screen, bench, seen, horizon)
    memory = encode(model.params, inputs)
    others = mined_tokens.others(
      model, shelf, screen, seen, library, library_rows
    )
    scores = scores_of(model.params, memory, others)
    return model.params, memory, symbol_worths(scores, bags)

  return tell


def symbol_worths(scores: np.ndarray, bags: np.ndarray) -> jax.Array:
  """Gains in IC that the score head expects, laid to symbols, f32[V].

  Within a search nobody knows what a formula does on the market. So the head
  scores a library, whose behaviour is known, and a ridge regression says what
  of that is due to each symbol; at the place of padding is what all have.

  Args:
    scores: f[N], gains of the library.
    bags: f[N, V], see `orders.bag`.
  """
  bags = np.array(bags, np.float64)
  bags[:, orders_lib.PAD] = 1.0
  matrix = bags.T @ bags + WORTH_RIDGE * np.eye(bags.shape[1])
  return jnp.asarray(np.linalg.solve(matrix, bags.T @ scores), jnp.float32)


def _write(
  model: Model, sample: Callable, told: tuple, rng_key: jax.Array, options
) -> list[Formula]:
  """`Adviser.write`."""
  samples = sample(
    *told[:2], rng_key, options.samples, order='rules',
    temperature=options.temperature, top_p=options.top_p,
  )  # fmt: skip
  return sampling.distinct(model.orders, 'rules', samples)[0]


def prior_of(
  config, grammar: Language, model: Model
) -> Callable[[Evaluator], Evaluator]:
  """What `learner.make` takes as its prior, by `config.prior`.

  Raises:
    ValueError: games that the prior cannot follow, or a share that is none.
  """
  options = config.prior
  if not 0 <= options.uniform <= 1:
    raise ValueError(
      f'config.prior.uniform is {options.uniform}: expected a share, 0 to 1'
    )
  if environment.productions(grammar) is None:
    raise ValueError(
      f'config.language.name is {config.language.name!r}, and a prior is of '
      'the productions of a grammar: set it to sem_k, or take '
      'configs/alphacfg.py without ,prior'
    )
  if config.search.openings and config.search.openings_at == 'node':
    raise ValueError(
      "config.search.openings_at is 'node', and a prior follows games from "
      "their start symbol: set it to 'prefix'"
    )
  return functools.partial(
    priors.with_prior,
    network=model.network,
    orders=model.orders,
    uniform=options.uniform,
    score=options.score * config.value.scale,
  )
