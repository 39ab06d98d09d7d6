"""Evolution: formulas made from the best ones so far, niche by niche.

Parents are the strongest formulas that behave unlike each other (`parents`), so
that no family takes over; children are varied derivations of the language's
grammar (`search.evolution`), a share of them written afresh. What is dead or
behaves as something known is never evaluated (`screen`).
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.language.grammar import Grammar
from alphajax.methods import (
  advice,
  archive,
  edit_policy,
  miner,
  parents,
  random_search,
  surrogate,
  validation,
)
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock
from alphajax.search import evolution
from alphajax.search.evolution import Derivation, Rules


class State(NamedTuple):
  """What was found, what the screen knows, and how formulas are written.

  derivations: of every formula evaluated, in the order of the book.
  policy: what was learned of edits; None where all are as likely.
  """

  mined: archive.Mined
  known: screen_lib.Known
  derivations: tuple[Derivation, ...]
  policy: edit_policy.Policy | None = None


class Setup(NamedTuple):
  """All that an iteration reads; made once a run.

  adviser: who writes a share of what has no parent; None: nobody does.
  """

  config: Any
  grammar: Grammar
  rules: Rules
  bench: archive.Bench
  screen: screen_lib.Screen | None
  adviser: advice.Adviser | None


class Written(NamedTuple):
  """New formulas to be evaluated, how they are derived, and the screen now."""

  formulas: list[Formula]
  derivations: tuple[Derivation, ...]
  known: screen_lib.Known


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/evolution.py`."""
  setup = _prepare(config, market)
  return miner.make(
    config,
    setup.bench,
    init=functools.partial(_init, setup),
    step=functools.partial(_step, setup),
    save=_save,
    load=functools.partial(_load, setup),
    screen=setup.screen,
  )


def _prepare(config, market: Market) -> Setup:
  """What is made once.

  Raises:
    ValueError: options that cannot be; names their key.
  """
  _check(config)
  grammar = trees_of(environment.make(**config.language), config)
  bench = surrogate.with_recorder(
    config,
    market,
    archive.make_bench(
      config, market, reads_pool=_reads_pool(config.evolution)
    ),
  )
  screen = screen_lib.make(config, market.train)
  adviser = None
  if 'proposer' in config:
    adviser, bench = advice.make(
      config, market, bench, config.proposer.num_probes
    )
  rules = evolution.read_rules(grammar)
  return Setup(config, grammar, rules, bench, screen, adviser)


def _init(setup: Setup, rng_key: jax.Array) -> State:
  del rng_key
  mined = archive.start(setup.bench)
  formulas = archive.formulas(setup.bench, mined)
  options = setup.config.evolution
  return State(
    mined,
    screen_lib.start(setup.screen, formulas),
    tuple(_derivation(setup.grammar, formula) for formula in formulas),
    edit_policy.start(options, setup.rules, len(formulas)),
  )


def _step(
  setup: Setup, state: State, rng_key: jax.Array
) -> tuple[State, dict[str, Any]]:
  """An iteration; see `base.Method`."""
  config, bench, clock = setup.config, setup.bench, Clock()
  with clock('parents'):
    chosen = parents.choose(
      config.evolution, bench, state.mined, state.known, state.derivations
    )
    opened = _begin(setup, state, chosen)
  told = ()
  if setup.adviser is not None:
    with clock('read'):
      told = setup.adviser.tell(bench, state.mined, state.known)
  with clock('search'):
    evidence = surrogate.read(config.screen, bench, state.mined, state.known)
    written = _write(
      setup, state, chosen, opened, told, evidence, rng_key, clock
    )
  formulas, derivations, known = written
  mined, outcomes = archive.commit(bench, state.mined, formulas, clock)
  policy, learned = state.policy, {}
  if opened is not None and policy is not None:
    with clock('learn'):
      results = _results(setup, state, mined, known, chosen, outcomes)
      policy, learned = edit_policy.learn(
        config.evolution, policy, opened, results
      )
  mined, metrics = validation.validate(bench, mined, clock)
  # Sifting is a part of searching, and told apart.
  clock.seconds['search'] -= clock.seconds.get('screen', 0.0)
  return State(mined, known, state.derivations + derivations, policy), {
    **metrics,
    **learned,
    **known.tally(len(mined.book)),
    **surrogate.figures(config.screen, evidence, mined, known, len(formulas)),
    'parents': len(chosen),
    'mean_own_ic': mean_own_ic(mined, len(formulas)),
    'seconds': clock.seconds,
  }


def _write(
  setup: Setup,
  state: State,
  chosen: list[int],
  opened: edit_policy.Round | None,
  told: tuple,
  evidence: surrogate.Evidence | None,
  rng_key: jax.Array,
  clock: Clock,
) -> Written:
  """The formulas of an iteration.

  chosen: positions of the parents in the book.
  opened: gets what was proposed, in its order; None without a policy.
  told: what the adviser knows; () without one.
  evidence: by which candidates are ranked; None: as they come.
  """
  config, book = setup.config, state.mined.book
  wanted = random_search.to_evaluate(
    config.num_trajectories, book, config.max_evaluated
  )
  varied = [state.derivations[i] for i in chosen]
  propose = _proposer(setup, varied, opened, told, rng_key, wanted)
  derivations: dict[str, Derivation] = {}

  def draw(number):
    for child, edit in propose(number):
      formula = evolution.formula_of(setup.grammar, setup.rules, child)
      key = formula_lib.key(formula)
      derivations.setdefault(key, child)
      if opened is not None:
        opened.made.append((key, edit))
      yield formula

  formulas, known = screen_lib.fill(
    setup.screen, state.known, book, draw, wanted, clock,
    **surrogate.ranking(config.screen, evidence),
  )  # fmt: skip
  made = tuple(derivations[formula_lib.key(f)] for f in formulas)
  return Written(formulas, made, known)


def _save(state: State) -> tuple[dict, dict]:
  arrays, host = archive.save(state.mined)
  of_policy, sums = edit_policy.save(state.policy)
  return {**arrays, **of_policy}, {
    **host,
    **sums,
    **screen_lib.save(state.known),
    'derivations': state.derivations,
  }


def _load(setup: Setup, arrays: dict, host: dict) -> State:
  policy = edit_policy.load(setup.config.evolution, arrays, host)
  of_pool = {k: v for k, v in arrays.items() if not k.startswith('edit_')}
  mined = archive.load(setup.bench, of_pool, host)
  formulas = archive.formulas(setup.bench, mined)
  known = screen_lib.load(setup.screen, host, formulas)
  return State(mined, known, tuple(map(tuple, host['derivations'])), policy)


def _reads_pool(options) -> bool:
  """Whether anything here reads the pool of Algorithm 1."""
  learns_rest = (
    edit_policy.is_learned(options) and options.learned.outcome == 'unexplained'
  )
  return options.parents == 'pool' or learns_rest


def _begin(
  setup: Setup, state: State, chosen: list[int]
) -> edit_policy.Round | None:
  """The edits that a policy draws from; None without one."""
  if state.policy is None:
    return None
  own = np.abs([ic or 0.0 for ic in state.mined.book.values()])
  varied = [state.derivations[i] for i in chosen]
  return edit_policy.begin(
    setup.config.evolution, setup.rules, state.policy, chosen, varied, own
  )


def _results(setup: Setup, state: State, mined, known, chosen, outcomes):
  """What the policy learns from, of an iteration from `state` to `mined`.

  outcomes: of the formulas evaluated, the newest of the book in their order.
  """
  options, before = setup.config.evolution, len(state.mined.book)
  fitness = np.abs(parents.fitness(options, setup.bench, mined))
  of = 'unexplained' if options.learned.outcome == 'unexplained' else 'own_ic'
  keys = list(mined.book)[before:]
  worths = [abs(getattr(outcome, of)) for outcome in outcomes]
  return edit_policy.Results(
    fitness=dict(zip(keys, fitness[before:].tolist(), strict=True)),
    worths=dict(zip(keys, worths, strict=True)),
    of_parents=fitness[chosen],
    turned_away=known.turned_away,
    known=state.mined.book.keys() | state.known.turned_away.keys(),
    total=len(mined.book),
  )


def _proposer(
  setup: Setup, varied, opened, told, rng_key, wanted
) -> Callable[[int], Iterator[tuple[Derivation, int]]]:
  """What candidates for `wanted` evaluations come from: number of a draw ->.

  varied: derivations of the parents.
  opened, told: see `_write`.
  """
  config, rules, adviser = setup.config, setup.rules, setup.adviser
  options = config.evolution
  seed = np.asarray(jax.random.key_data(rng_key)).tolist()
  rng = np.random.default_rng(seed)
  count = options.candidates * wanted

  def propose(number):
    write = uniform(options, rules, varied, rng)
    if opened is not None:
      write = edit_policy.writer(options, rules, varied, opened, rng, count)
    if adviser is None:
      return (write(options.fresh) for _ in range(count))
    key = jax.random.fold_in(rng_key, number)
    drawn = adviser.write(told, key, config.proposer)
    derivations = filter(None, (_derivation(setup.grammar, f) for f in drawn))
    fresh = options.fresh if varied else 1.0
    share = config.proposer.share
    return _advised(write, fresh, share, rng, count, derivations)

  return propose


def uniform(options, rules, varied, rng):
  """Children of edits that are all as likely: share of fresh ones -> child.

  Its second part is the edit's position in the table of a policy, -1 here.
  """

  def write(fresh):
    child = evolution.propose(
      rules, varied, rng, fresh=fresh, operators=options.operators
    )
    return child, -1

  return write


def _advised(
  write, fresh, share, rng, count, written: Iterator[Derivation]
) -> Iterator[tuple[Derivation, int]]:
  """Children, of which a share of the `fresh` ones is `written`.

  Where nothing is left of it they are written at random.
  """
  of_model = fresh * share
  others = fresh * (1 - share)
  rest = others / (1 - of_model) if of_model < 1 else 1.0
  for _ in range(count):
    child = next(written, None) if rng.random() < of_model else None
    yield write(rest) if child is None else (child, -1)


def _check(config) -> None:
  """Refuses options that cannot be, by their key."""
  options = config.evolution
  parents.check(config)
  edit_policy.check(options)
  surrogate.check(config)
  if 'proposer' in config and not 0 <= config.proposer.share <= 1:
    raise ValueError(
      f'config.proposer.share is {config.proposer.share}: expected a share, '
      '0 to 1'
    )
  unknown = set(options.operators) - set(evolution.OPERATORS)
  if unknown or not options.operators:
    raise ValueError(
      f'config.evolution.operators is {tuple(options.operators)}: expected '
      f'some of {", ".join(evolution.OPERATORS)}'
    )
  if options.candidates < 1:
    raise ValueError(
      f'config.evolution.candidates is {options.candidates}: expected >= 1'
    )
  if not 0 <= options.fresh <= 1:
    raise ValueError(
      f'config.evolution.fresh is {options.fresh}: expected a share, 0 to 1'
    )


def trees_of(language: environment.Language, config) -> Grammar:
  """The grammar whose derivations are varied: RPN has one of its trees.

  Raises:
    ValueError: a language that has none.
  """
  trees = getattr(language, 'trees', language)
  grammar = environment.productions(trees)
  if grammar is None:
    raise ValueError(
      f'config.language.name is {config.language.name!r}: evolution varies the '
      'derivations of a grammar; name one, or give the language a `trees` that '
      'is a Grammar'
    )
  return grammar


def _derivation(grammar: Grammar, formula: Formula) -> Derivation:
  """How the language writes a formula; empty where it does not."""
  try:
    return tuple(environment.derivation(grammar, formula))
  except ValueError:
    return ()


def mean_own_ic(mined: archive.Mined, count: int) -> float:
  """Mean |own IC| of the newest formulas: whether they get better."""
  newest = list(mined.book.values())[len(mined.book) - count :]
  return float(np.mean([abs(ic or 0.0) for ic in newest])) if newest else 0.0
