"""The learned policy of evolution: what it saw, drew and learns from.

An iteration has a `Round`: the parents, all edits of them, and the children
that were proposed. When it is known what came of these, the policy learns; the
edits themselves and the model are in `search.edits`.
"""

import collections
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from alphajax.methods.foresight import rank_correlation
from alphajax.search import edits, evolution
from alphajax.search.evolution import Derivation, Rules

POLICIES = ('uniform', 'learned')
OUTCOMES = ('gain', 'own', 'unexplained')


class Policy(NamedTuple):
  """What was learned so far; a value.

  varied: children that every formula of the book has had.
  """

  beliefs: edits.Beliefs
  varied: tuple[int, ...]


class Round(NamedTuple):
  """An iteration's edits, and the children that they made so far.

  parents: positions in the book.
  table: None before there are parents.
  believed: as the iteration began.
  made: (key of the formula, position of the edit in the table) of every
    proposal in its order; -1 for one without a parent.
  chances: parts f64[E], sums over draws.
  """

  parents: tuple[int, ...]
  table: edits.Table | None
  believed: edits.Posterior
  made: list[tuple[str, int]]
  chances: list[np.ndarray]


class Results(NamedTuple):
  """What is known after an iteration.

  fitness: key -> that of every formula evaluated in it, as parents are chosen.
  worths: key -> |own IC| or what of it was unexplained, by `outcome`.
  of_parents: f[P], the fitness of the parents.
  turned_away: keys of all that the screen ever turned away.
  known: keys of what was evaluated or turned away before the iteration.
  total: formulas in the book.
  """

  fitness: dict[str, float]
  worths: dict[str, float]
  of_parents: np.ndarray
  turned_away: Collection[str]
  known: Collection[str]
  total: int


class Child(NamedTuple):
  """What came of an edit; better: than its parent, None if not evaluated."""

  edit: int
  outcome: float
  better: bool | None


def check(options) -> None:
  """Refuses options of `config.evolution` that cannot be, by their key."""
  if options.get('policy', 'uniform') not in POLICIES:
    raise ValueError(
      f'config.evolution.policy is {options.policy!r}: expected one of '
      f'{POLICIES}'
    )
  if not is_learned(options):
    return
  learned = options.learned
  if learned.outcome not in OUTCOMES:
    raise ValueError(
      f'config.evolution.learned.outcome is {learned.outcome!r}: expected one '
      f'of {OUTCOMES}'
    )
  for name in ('ridge', 'temperature'):
    if not learned[name] > 0:
      raise ValueError(
        f'config.evolution.learned.{name} is {learned[name]}: expected above 0'
      )
  if not learned.explore >= 0:
    raise ValueError(
      f'config.evolution.learned.explore is {learned.explore}: expected >= 0'
    )
  if not 0 <= learned.uniform <= 1:
    raise ValueError(
      f'config.evolution.learned.uniform is {learned.uniform}: expected a '
      'share, 0 to 1'
    )


def is_learned(options) -> bool:
  """Whether `config.evolution` asks for a policy that learns."""
  return options.get('policy', 'uniform') == 'learned'


def options_of(options) -> edits.Options:
  """Those of `config.evolution.learned`."""
  return edits.Options(
    **{name: options.learned[name] for name in edits.Options._fields}
  )


def begin(
  options,
  rules: Rules,
  policy: Policy,
  chosen: Sequence[int],
  parents: Sequence[Derivation],
  own: np.ndarray,
) -> Round:
  """The edits of an iteration.

  chosen: positions of the parents in the book.
  own: f[N], |own IC| of every formula of the book.
  """
  believed = edits.posterior(policy.beliefs, options_of(options))
  table = None
  if parents:
    places = np.array(chosen)
    varied = np.array(policy.varied)[places]
    table = edits.table(
      rules, parents, own[places], varied, tuple(options.operators)
    )
  return Round(tuple(chosen), table, believed, [], [])


def writer(
  options,
  rules: Rules,
  parents: Sequence[Derivation],
  opened: Round,
  rng: np.random.Generator,
  count: int,
) -> Callable[[float], tuple[Derivation, int]]:
  """What `evolution.propose` is without a policy: share of fresh ones -> child.

  count: children asked for at most, each with weights of its own.

  Returns:
    A function to the child and the position of its edit, -1 without one.
  """
  learned, table = options_of(options), opened.table
  chances = np.ones((1, 0))
  if table is not None:
    chances = edits.probabilities(table, opened.believed, learned, rng, count)
    opened.chances.append(chances.mean(0))
  asked = iter(range(count))

  def write(fresh):
    number = next(asked)
    made = None
    if table is not None and rng.random() >= fresh:
      if rng.random() < learned.uniform:
        varied = evolution.vary(rules, parents, rng, tuple(options.operators))
        made = varied and (varied[0], table.edits.index(varied[1]))
      else:
        made = edits.draw(rules, parents, table, chances[number], rng)
    if made is None:
      return evolution.grow(rules, rules.start, rules.bound, rng), -1
    return made

  return write


def learn(
  options, policy: Policy, opened: Round, results: Results
) -> tuple[Policy, dict[str, float | None]]:
  """The policy after an iteration, and what shows whether it learned anything.

  Returns:
    (policy, metrics; None where there is nothing to tell).

  edits: that could be made; edits_effective, operators_effective: as many
    choices as likely as each other have the entropy of those drawn, the uniform
    share apart.
  predicted_rank: rank correlation of what was expected, before any of them was
    learned from, with what came; predicted_rank_evaluated: of those evaluated.
  better: share of the children evaluated that are fitter than their parent.
  wasted: share of the children that were turned away, or known before.
  made_by_*: shares of the formulas evaluated.
  """
  children = _children(options, opened, results)
  varied = np.zeros(results.total, int)
  varied[: len(policy.varied)] = policy.varied
  beliefs, table = policy.beliefs, opened.table
  metrics: dict[str, float | None] = {}
  if table is not None and children:
    tried = np.array([child.edit for child in children])
    came = np.array([child.outcome for child in children])
    features = table.features[tried]
    metrics = _ranks(features @ opened.believed.mean, came, children)
    np.add.at(
      varied, [opened.parents[table.edits[i].parent] for i in tried.tolist()], 1
    )
    beliefs = edits.learn(beliefs, features, came)
  metrics = {
    **_choices(opened),
    **metrics,
    **_made_by(options, opened, results),
  }
  return Policy(beliefs, tuple(varied.tolist())), metrics


def _children(options, opened: Round, results: Results) -> list[Child]:
  """What came of the children of parents, but those that nobody looked at.

  0 of a child that was turned away, or known when it was proposed.
  """
  found, seen = [], set(results.known)
  gain = options.learned.outcome == 'gain'
  for key, edit in opened.made:
    is_new = key not in seen
    seen.add(key)
    if edit < 0 or opened.table is None:
      continue
    if is_new and key in results.fitness:
      of_parent = results.of_parents[opened.table.edits[edit].parent]
      better = results.fitness[key] - of_parent
      outcome = max(better, 0.0) if gain else results.worths[key]
      found.append(Child(edit, outcome, bool(better > 0)))
    elif not is_new or key in results.turned_away:
      found.append(Child(edit, 0.0, None))
  return found


def _ranks(predicted, came, children) -> dict[str, float | None]:
  """The metrics of `learn` that compare children with what was expected."""
  better = [child.better for child in children if child.better is not None]
  evaluated = np.array([child.better is not None for child in children])
  return {
    'predicted_rank': rank_correlation(predicted, came),
    'predicted_rank_evaluated': rank_correlation(
      predicted[evaluated], came[evaluated]
    ),
    'better': float(np.mean(better)) if better else None,
    'wasted': 1 - len(better) / len(children),
  }


def _choices(opened: Round) -> dict[str, float | None]:
  """The metrics of `learn` that say how wide the draws were."""
  metrics: dict[str, float | None] = dict.fromkeys(
    ('edits', 'edits_effective', 'operators_effective', 'predicted_rank',
     'predicted_rank_evaluated', 'better', 'wasted')
  )  # fmt: skip
  if opened.table is None or not opened.chances:
    return metrics
  chances = np.mean(opened.chances, 0)
  by_operator: dict[str, float] = collections.defaultdict(float)
  for edit, chance in zip(opened.table.edits, chances.tolist(), strict=True):
    by_operator[edit.operator] += chance
  return {
    **metrics,
    'edits': len(opened.table.edits),
    'edits_effective': edits.effective(chances),
    'operators_effective': edits.effective(np.array([*by_operator.values()])),
  }


def _made_by(options, opened: Round, results: Results) -> dict[str, float]:
  """Share of the formulas evaluated by what made them first."""
  first: dict[str, int] = {}
  for key, edit in opened.made:
    first.setdefault(key, edit)
  names = [
    'fresh' if opened.table is None or first[key] < 0
    else opened.table.edits[first[key]].operator
    for key in results.fitness
  ]  # fmt: skip
  counts, total = collections.Counter(names), max(len(names), 1)
  return {
    f'made_by_{name}': counts[name] / total
    for name in (*options.operators, 'fresh')
  }


def start(options, rules: Rules, count: int) -> Policy | None:
  """Nothing learned yet, with `count` formulas in the book; None: no policy."""
  if not is_learned(options):
    return None
  beliefs = edits.start(rules, tuple(options.operators))
  return Policy(beliefs, (0,) * count)


def save(policy: Policy | None) -> tuple[dict, dict]:
  """Arrays and the host part for a checkpoint; nothing without a policy."""
  if policy is None:
    return {}, {}
  beliefs = policy.beliefs
  sums = [beliefs.children, beliefs.total, beliefs.squares]
  return (
    {'edit_products': beliefs.products, 'edit_moments': beliefs.moments},
    {'edit_sums': sums, 'varied': policy.varied},
  )


def load(options, arrays: dict, host: dict) -> Policy | None:
  """The value that `save` was given."""
  if not is_learned(options):
    return None
  products, moments = (
    np.asarray(arrays[name]) for name in ('edit_products', 'edit_moments')
  )
  beliefs = edits.Beliefs(products, moments, *host['edit_sums'])
  return Policy(beliefs, tuple(host['varied']))
