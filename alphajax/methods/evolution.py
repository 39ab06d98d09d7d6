"""Evolution: formulas made from the best ones so far, niche by niche.

Parents are the strongest formulas that behave unlike each other, so that no
family takes over; children are varied derivations of the language's grammar
(`search.evolution`), a share of them written afresh. What is dead or behaves
as something known is never evaluated (`screen`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from alphajax.factor import pool_rules
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.language.grammar import Grammar
from alphajax.methods import (
  advice,
  archive,
  edit_policy,
  miner,
  random_search,
  surrogate,
  validation,
)
from alphajax.methods import memory as memory_lib
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Market, Method
from alphajax.run.clock import Clock
from alphajax.search import evolution
from alphajax.search.evolution import Derivation

PARENTS = ('niches', 'pool')
FITNESS = ('own', 'unexplained')
SHORTLIST = 400  # Formulas among which niches are looked for.


class State(NamedTuple):
  """What was found, what the screen knows, and how formulas are written.

  derivations: of every formula evaluated, in the order of the book.
  policy: what was learned of edits; None where all are as likely.
  """

  mined: archive.Mined
  known: screen_lib.Known
  derivations: tuple[Derivation, ...]
  policy: edit_policy.Policy | None = None


def make(config, market: Market) -> Method:
  """Makes the method; see `configs/evolution.py`."""
  options = config.evolution
  _check(config)
  grammar = trees_of(environment.make(**config.language), config)
  rules = evolution.read_rules(grammar)
  bench = surrogate.with_recorder(
    config,
    market,
    archive.make_bench(config, market, reads_pool=_reads_pool(options)),
  )
  screen = screen_lib.make(config, market.train)
  adviser = None
  if 'proposer' in config:
    adviser, bench = advice.make(
      config, market, bench, config.proposer.num_probes
    )

  def init(rng_key):
    del rng_key
    mined = archive.start(bench)
    formulas = archive.formulas(bench, mined)
    return State(
      mined,
      screen_lib.load(screen, {'turned_away': {}}, formulas),
      tuple(_derivation(grammar, formula) for formula in formulas),
      edit_policy.start(options, rules, len(formulas)),
    )

  def step(state, rng_key):
    clock = Clock()
    wanted = random_search.to_evaluate(
      config.num_trajectories, state.mined.book, config.max_evaluated
    )
    with clock('parents'):
      chosen = choose_parents(options, bench, state)
      parents = [state.derivations[i] for i in chosen]
      opened = _begin(options, rules, state, chosen)
    told = ()
    if adviser is not None:
      with clock('read'):
        told = adviser.tell(bench, state.mined, state.known)
    written: dict[str, Derivation] = {}
    propose = _proposer(
      config, grammar, rules, parents, opened, adviser, told, rng_key, wanted
    )

    def draw(number):
      for child, edit in propose(number):
        formula = evolution.formula_of(grammar, rules, child)
        key = formula_lib.key(formula)
        written.setdefault(key, child)
        if opened is not None:
          opened.made.append((key, edit))
        yield formula

    with clock('search'):
      evidence = surrogate.read(config.screen, bench, state.mined, state.known)
      formulas, known = screen_lib.fill(
        screen, state.known, state.mined.book, draw, wanted, clock,
        **surrogate.ranking(config.screen, evidence),
      )  # fmt: skip
    mined, outcomes = archive.commit(bench, state.mined, formulas, clock)
    policy, learned = state.policy, {}
    if opened is not None:
      with clock('learn'):
        results = _results(
          options, bench, state, mined, known, chosen, outcomes
        )
        policy, learned = edit_policy.learn(
          options, state.policy, opened, results
        )
    mined, metrics = validation.validate(bench, mined, clock)
    derivations = tuple(written[formula_lib.key(f)] for f in formulas)
    # Sifting is a part of searching, and told apart.
    clock.seconds['search'] -= clock.seconds.get('screen', 0.0)
    return State(mined, known, state.derivations + derivations, policy), {
      **metrics,
      **learned,
      **known.counts(),
      **surrogate.figures(config.screen, evidence, mined, known, len(formulas)),
      'parents': len(parents),
      'mean_own_ic': mean_own_ic(mined, len(formulas)),
      'seconds': clock.seconds,
    }

  def save(state):
    arrays, host = archive.save(state.mined)
    of_policy, sums = edit_policy.save(state.policy)
    return {**arrays, **of_policy}, {
      **host,
      **sums,
      **screen_lib.save(state.known),
      'derivations': state.derivations,
    }

  def load(arrays, host):
    policy = edit_policy.load(options, arrays, host)
    of_pool = {k: v for k, v in arrays.items() if not k.startswith('edit_')}
    mined = archive.load(bench, of_pool, host)
    known = screen_lib.load(screen, host, archive.formulas(bench, mined))
    derivations = tuple(map(tuple, host['derivations']))
    return State(mined, known, derivations, policy)

  return miner.make(config, init=init, step=step, save=save, load=load)


def _reads_pool(options) -> bool:
  """Whether anything here reads the pool of Algorithm 1."""
  learns_rest = (
    edit_policy.is_learned(options) and options.learned.outcome == 'unexplained'
  )
  return options.parents == 'pool' or learns_rest


def _begin(options, rules, state, chosen) -> edit_policy.Round | None:
  """The edits that a policy draws from; None without one."""
  if state.policy is None:
    return None
  own = np.abs([ic or 0.0 for ic in state.mined.book.values()])
  parents = [state.derivations[i] for i in chosen]
  return edit_policy.begin(options, rules, state.policy, chosen, parents, own)


def _results(options, bench, state, mined, known, chosen, outcomes):
  """What the policy learns from, of an iteration from `state` to `mined`.

  outcomes: of the formulas evaluated, the newest of the book in their order.
  """
  before = len(state.mined.book)
  fitness = np.abs(_fitness(options, bench, mined))
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
  config, grammar, rules, parents, opened, adviser, told, rng_key, wanted
) -> Callable[[int], Iterator[tuple[Derivation, int]]]:
  """What candidates for `wanted` evaluations come from: number of a draw ->.

  opened: the round of a policy, None without one.
  adviser, told: None and (), or who writes a share of what has no parent.
  """
  options = config.evolution
  seed = np.asarray(jax.random.key_data(rng_key)).tolist()
  rng = np.random.default_rng(seed)
  count = options.candidates * wanted

  def propose(number):
    write = uniform(options, rules, parents, rng)
    if opened is not None:
      write = edit_policy.writer(options, rules, parents, opened, rng, count)
    if adviser is None:
      return (write(options.fresh) for _ in range(count))
    key = jax.random.fold_in(rng_key, number)
    drawn = adviser.write(told, key, config.proposer)
    derivations = filter(None, (_derivation(grammar, f) for f in drawn))
    fresh = options.fresh if parents else 1.0
    share = config.proposer.share
    return _advised(write, fresh, share, rng, count, derivations)

  return propose


def uniform(options, rules, parents, rng):
  """Children of edits that are all as likely: share of fresh ones -> child.

  Its second part is the edit's position in the table of a policy, -1 here.
  """

  def write(fresh):
    child = evolution.propose(
      rules, parents, rng, fresh=fresh, operators=options.operators
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
  edit_policy.check(options)
  surrogate.check(config)
  if 'proposer' in config and not 0 <= config.proposer.share <= 1:
    raise ValueError(
      f'config.proposer.share is {config.proposer.share}: expected a share, '
      '0 to 1'
    )
  for name, choices in (('parents', PARENTS), ('fitness', FITNESS)):
    if options[name] not in choices:
      raise ValueError(
        f'config.evolution.{name} is {options[name]!r}: expected one of '
        f'{choices}'
      )
  unknown = set(options.operators) - set(evolution.OPERATORS)
  if unknown or not options.operators:
    raise ValueError(
      f'config.evolution.operators is {tuple(options.operators)}: expected '
      f'some of {", ".join(evolution.OPERATORS)}'
    )
  for name in ('num_parents', 'candidates'):
    if options[name] < 1:
      raise ValueError(
        f'config.evolution.{name} is {options[name]}: expected >= 1'
      )
  if not 0 <= options.fresh <= 1:
    raise ValueError(
      f'config.evolution.fresh is {options.fresh}: expected a share, 0 to 1'
    )
  if not config.screen.twin:
    raise ValueError(
      'config.screen.twin is 0: evolution tells niches apart by what the '
      'screen keeps; set it to 1.0 to turn no formula away as a twin'
    )
  if options.fitness == 'unexplained' and config.pool.rule == 'algorithm1':
    raise ValueError(
      "config.evolution.fitness is 'unexplained', by the pool that a rule "
      "chooses from all: set config.pool.rule, such as 'elastic_net', or take "
      "the fitness 'own'"
    )


def trees_of(language: environment.Language, config) -> Grammar:
  """The grammar whose derivations are varied: RPN has one of its trees.

  Raises:
    ValueError: a language that has none.
  """
  grammar = getattr(language, 'trees', language)
  if not isinstance(grammar, Grammar):
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


def choose_parents(options, bench: archive.Bench, state: State) -> list[int]:
  """Positions in the book of what is varied; none at the beginning."""
  mined = state.mined
  if len(mined.book) < options.start:
    return []
  if options.parents == 'pool':
    ids = np.asarray(mined.pool.ids)
    return [i for i in ids[ids >= 0].tolist() if state.derivations[i]]
  strengths = np.abs(_fitness(options, bench, mined))
  # What was given and the language cannot write is nobody's parent.
  strengths *= [bool(derivation) for derivation in state.derivations]
  short = np.argsort(-strengths, kind='stable')[:SHORTLIST]
  matrix = screen_lib.correlations(state.known, short)
  chosen = pool_rules.distinct(
    strengths[short], matrix, options.num_parents, options.niche_corr
  )
  return short[chosen].tolist()


def _fitness(options, bench: archive.Bench, mined: archive.Mined) -> np.ndarray:
  """What parents are chosen by, of every formula; 0 for one without value."""
  if bench.chooser is None or options.fitness == 'own':
    return np.array([ic or 0.0 for ic in mined.book.values()])
  if not mined.found.formulas:  # All is unexplained.
    return np.array([ic or 0.0 for ic in mined.book.values()])
  evidence = memory_lib.evidence(bench.chooser.recorder, mined.memory)
  place = {key: i for i, key in enumerate(mined.book)}
  row_of = {i: n for n, i in enumerate(mined.memory.ids)}
  pool = np.array(
    [row_of[place[formula_lib.key(f)]] for f in mined.found.formulas]
  )
  signal = np.asarray(mined.found.weights) @ pool_rules.take(evidence, pool)
  left = pool_rules.strength(evidence)
  left -= pool_rules.products(evidence, signal[:, None].astype(np.float32))[
    :, 0
  ]
  fitness = np.zeros(len(mined.book))
  fitness[list(mined.memory.ids)] = left
  return fitness


def mean_own_ic(mined: archive.Mined, count: int) -> float:
  """Mean |own IC| of the newest formulas: whether they get better."""
  newest = list(mined.book.values())[len(mined.book) - count :]
  return float(np.mean([abs(ic or 0.0) for ic in newest])) if newest else 0.0
