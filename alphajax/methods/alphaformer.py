"""AlphaFormer: formulas written by a pre-trained Transformer for a market.

The probes of the network are evaluated first. Then, again and again: the market
is read through all that was evaluated and through the pool, formulas are
written, ranked by what the score head and a regression expect of them, and the
best are evaluated. Parameters stay as they are, or go on learning on the market
(`finetune`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import (
  archive,
  choice,
  finetune,
  formula_model,
  formula_tokens,
  mined_tokens,
  miner,
  model_candidates,
  other_market,
  planted_tasks,
  random_search,
  retrieval,
  validation,
)
from alphajax.methods import screen as screen_lib
from alphajax.methods import shelf as shelf_lib
from alphajax.methods.base import Market, Method
from alphajax.methods.formula_model import Model
from alphajax.methods.mined_tokens import Evidence
from alphajax.networks.formula_transformer import FormulaTransformer, Inputs
from alphajax.run.clock import Clock
from alphajax.search import sampling

RANKS = ('score', 'kernel', 'both')
# Candidates that the screen sees, for each formula that is evaluated.
SHORTLIST = 6


class State(NamedTuple):
  """What was found, what the screen knows, and what is learned.

  tuned: () where parameters stay.
  """

  mined: archive.Mined
  known: screen_lib.Known
  tuned: Any


class Miner(NamedTuple):
  """All that an iteration reads; made once a run.

  options: `config.alphaformer`.
  encode: (params, inputs) -> (memory, value).
  sample: see `sampling.sampler`.
  scores: see `mined_tokens.scorer`.
  other: what probes say on another market, where that is the ablation.
  """

  options: Any
  bench: archive.Bench
  screen: screen_lib.Screen
  model: Model
  shelf: shelf_lib.Shelf
  horizon: int
  encode: Callable
  sample: Callable
  scores: Callable
  other: dict[str, np.ndarray] | None = None


class Proposed(NamedTuple):
  """What an iteration evaluates beside probes.

  known: of the screen, with them.
  plan: what was expected of them; `plan.chosen` is not used.
  written: how many the network wrote.
  sampled: distinct new formulas that it wrote, whether evaluated or not.
  value: IC of the pool after one formula more, by the value head.
  seen: what was known before; None where nothing was.
  """

  formulas: list[Formula]
  known: screen_lib.Known
  plan: retrieval.Plan
  written: int = 0
  sampled: int = 0
  value: float | None = None
  seen: Evidence | None = None


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/alphaformer.py`."""
  check(config)
  tools = make_miner(config, market)
  bench, screen = tools.bench, tools.screen
  tuner = finetune.make(config, tools.model)

  def init(rng_key):
    del rng_key
    mined = archive.start(bench)
    formulas = archive.formulas(bench, mined)
    known = screen_lib.load(screen, {'turned_away': {}}, formulas)
    return State(mined, known, tuner.init() if tuner else ())

  def step(state, rng_key):
    clock = Clock()
    wanted = random_search.to_evaluate(
      config.num_trajectories, state.mined.book, config.max_evaluated
    )
    probes = next_probes(tools, state.mined, wanted)
    params = state.tuned.params if tuner else tools.model.params
    made = propose(tools, params, state, probes, rng_key, wanted, clock)
    formulas = [tools.model.library[i] for i in probes.tolist()]
    mined, outcomes = archive.commit(
      bench, state.mined, formulas + made.formulas, clock
    )
    mined, metrics = validation.validate(bench, mined, clock)
    state = State(mined, made.known, state.tuned)
    if tuner and made.seen is not None:
      with clock('finetune'):
        tuned, losses = _tune(tools, tuner, state, made)
      state = state._replace(tuned=tuned)
      metrics |= losses
    return state, {
      **metrics,
      **made.known.counts(),
      'proposed': len(mined.book) + sum(made.known.counts().values()),
      **retrieval.diagnostics(made.plan, outcomes),
      'written': made.written,
      'sampled': made.sampled,
      'expected_ic': made.value,
      'seconds': clock.seconds,
    }

  def save(state):
    arrays, host = archive.save(state.mined)
    host |= screen_lib.save(state.known)
    if not tuner:
      return arrays, host
    more, kept = tuner.save(state.tuned)
    return {**arrays, 'tuned': more}, {**host, 'tuned': kept}

  def load(arrays, host):
    arrays = dict(arrays)
    more = arrays.pop('tuned', None)
    mined = archive.load(bench, arrays, host)
    known = screen_lib.load(screen, host, archive.formulas(bench, mined))
    return State(mined, known, tuner.load(more, host['tuned']) if tuner else ())

  return miner.make(
    config, bench, init=init, step=step, save=save, load=load, screen=screen
  )


def check(config) -> None:
  """Refuses options that cannot be, by their key."""
  options = config.alphaformer
  for name, known in (
    ('proposals', model_candidates.PROPOSALS), ('rank', RANKS),
    ('ablate', mined_tokens.ABLATIONS),
  ):  # fmt: skip
    if options[name] not in known:
      raise ValueError(
        f'config.alphaformer.{name} is {options[name]!r}: expected one of '
        f'{known}'
      )
  other_market.check(config)
  for name, least in (('num_probes', 1), ('samples', 1)):
    if options[name] < least:
      raise ValueError(
        f'config.alphaformer.{name} is {options[name]}: expected >= {least}'
      )
  if not options.temperature > 0:
    raise ValueError(
      f'config.alphaformer.temperature is {options.temperature}: expected '
      'above 0'
    )
  for name in ('top_p', 'max_corr'):
    if not 0 < options[name] <= 1:
      raise ValueError(
        f'config.alphaformer.{name} is {options[name]}: expected above 0, up '
        'to 1'
      )
  if not options.explore >= 0:
    raise ValueError(
      f'config.alphaformer.explore is {options.explore}: expected >= 0'
    )
  if not config.screen.twin:
    raise ValueError(
      'config.screen.twin is 0: the network reads what the screen sees of a '
      'formula; set it to 1.0 to turn none away as a twin'
    )


def make_miner(config, market: Market) -> Miner:
  """Reads the checkpoint and looks at its library on the market."""
  bench = archive.make_bench(config, market, reads_pool=False)
  if bench.recorder is None:  # The blocks of days are read by any rule's run.
    recorder = choice.make_recorder(
      config, market.train, bench.train.universe, bench.target
    )
    bench = bench._replace(recorder=recorder)
  model = formula_model.load(config.checkpoint, config.language.to_dict())
  ablate = config.alphaformer.ablate
  if ablate == 'random_parameters':
    model = model._replace(params=_fresh(model, config.seed))
  screen = screen_lib.make(config, market.train)
  assert screen is not None  # As it was checked.
  return Miner(
    options=config.alphaformer,
    bench=bench,
    screen=screen,
    model=model,
    shelf=shelf_lib.make(model, screen),
    horizon=config.label.exit - config.label.entry,
    encode=jax.jit(encoder(model.network, ablate)),
    sample=sampling.sampler(model.network, model.orders),
    scores=mined_tokens.scorer(model.network),
    other=(
      other_market.probe_blocks(config, model)
      if ablate == other_market.ABLATION
      else None
    ),
  )


def encoder(network: FormulaTransformer, ablate: str) -> Callable:
  """(params, inputs) -> (memory, value); `zero_memory` leaves neither."""

  def encode(params, inputs):
    memory = network.encode(params, inputs)
    if ablate == 'zero_memory':
      memory = memory._replace(
        latents=jnp.zeros_like(memory.latents),
        summary=jnp.zeros_like(memory.summary),
      )
    return memory, network.value(params, memory)

  return encode


def _fresh(model: Model, seed: int):
  """Parameters that learned nothing."""
  inputs = planted_tasks.no_inputs(
    model.sizes, model.blocks, model.orders.length
  )
  return model.network.init(jax.random.key(seed), inputs)


def next_probes(tools: Miner, mined: archive.Mined, wanted: int) -> np.ndarray:
  """Positions in the library of the probes that are evaluated next."""
  most = tools.options.num_probes
  alive = [
    i
    for i in tools.model.probes[:most].tolist()
    if tools.shelf.alive[i] and tools.shelf.keys[i] not in mined.book
  ]
  return np.array(alive[:wanted], int)


def propose(
  tools: Miner, params, state: State, probes: np.ndarray, rng_key, wanted: int,
  clock: Clock,
) -> Proposed:  # fmt: skip
  """What is evaluated beside the probes, up to `wanted` with them."""
  known = state.known
  if len(probes):
    rows = known.rows + (tools.shelf.rows[probes],)
    known = known._replace(rows=rows)
  count = wanted - len(probes)
  if not count or not state.mined.memory.ids:
    return Proposed([], known, retrieval.Plan(probes))
  with clock('read'):
    seen = _evidence(tools, state.mined, state.known)
    memory, value = tools.encode(params, _read(tools, seen))
  with clock('search'):
    seen_keys = set(state.mined.book) | set(state.known.turned_away)
    seen_keys |= {tools.shelf.keys[i] for i in probes.tolist()}
    found = model_candidates.find(
      tools.model, tools.shelf, tools.screen,
      lambda: tools.sample(
        params, memory, rng_key, tools.options.samples, order='rpn',
        temperature=tools.options.temperature, top_p=tools.options.top_p,
      ),
      tools.options.proposals, seen_keys,
    )  # fmt: skip
  if not found.formulas:
    return Proposed([], known, retrieval.Plan(probes), seen=seen)
  with clock('rank'):
    expected = mined_tokens.forecast(
      seen, found.rows, tools.model.sizes.ridge, tools.options.explore
    )
    worth = _worth(tools, params, memory, found, seen, expected)
    short = np.argsort(-worth, kind='stable')[: SHORTLIST * count]
    order = short[
      mined_tokens.unlike(
        worth[short], found.rows[short], count, tools.options.max_corr
      )
    ]
  with clock('screen'):
    kept, known = screen_lib.sift(
      tools.screen, known, [found.formulas[i] for i in order.tolist()], count
    )
  place = {id(formula): i for i, formula in enumerate(found.formulas)}
  chosen = np.array([place[id(formula)] for formula in kept], int)
  plan = retrieval.Plan(
    chosen, expected.ic[chosen], worth[chosen], expected.trust
  )
  return Proposed(
    formulas=kept,
    known=known,
    plan=plan,
    written=int(found.written[chosen].sum()),
    sampled=int(found.written.sum()),
    value=float(value) * formula_tokens.VALUE,
    seen=seen,
  )


def _evidence(tools: Miner, mined, known) -> Evidence:
  return mined_tokens.evidence(
    tools.bench, mined, known, tools.model.blocks, tools.model.sizes.pool
  )


def _read(tools: Miner, seen: Evidence) -> Inputs:
  return mined_tokens.read(
    tools.model, tools.shelf, tools.screen, tools.bench, seen, tools.horizon,
    tools.options.ablate, tools.other,
  )  # fmt: skip


def _worth(tools: Miner, params, memory, found, seen, expected) -> np.ndarray:
  """What candidates are ranked by: gains in IC, f64[n]."""
  rank = tools.options.rank
  if rank == 'kernel':
    return expected.hoped
  others = mined_tokens.others(
    tools.model, tools.shelf, tools.screen, seen, found.formulas, found.rows,
    found.facts,
  )  # fmt: skip
  scores = tools.scores(params, memory, others)
  return scores if rank == 'score' else (scores + expected.hoped) / 2


def _tune(tools: Miner, tuner, state: State, made: Proposed):
  """Learns from what was evaluated, by its gain on blocks left out.

  What the network reads meanwhile is of the other blocks alone.
  """
  assert made.seen is not None
  after = _evidence(tools, state.mined, state.known)
  place = {key: i for i, key in enumerate(after.keys)}
  pool = [place[made.seen.keys[i]] for i in made.seen.pool.tolist()]
  new = [
    (formula, place[key])
    for formula in made.formulas
    if (key := formula_lib.key(formula)) in place
  ]
  gains = finetune.holdout_gains(
    after.gram, after.blocks, np.array(pool, int),
    np.array([i for _, i in new], int), tools.model.sizes.pool,
  )  # fmt: skip
  fitted = np.repeat(made.seen.blocks[:, ::2], 2, axis=1)
  seen = made.seen._replace(blocks=fitted[:, : made.seen.blocks.shape[1]])
  pairs = [(f, float(g)) for (f, _), g in zip(new, gains, strict=True)]
  return tuner.step(state.tuned, _read(tools, seen), pairs)
