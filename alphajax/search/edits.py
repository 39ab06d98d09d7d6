"""Which edit of which parent: what the children of a run have taught.

An edit is a parent, an operator and a place (`evolution.Edit`). What came of
those tried is regressed on what could be seen of them before, by Bayesian
linear regression in closed form, and the next ones are drawn by what they are
expected to bring. Every one is drawn by weights from the posterior (Thompson
1933), so that what is not known yet is tried. Host code; sums are kept, and no
child, so that the model of any number of children is as large.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alphajax.search import evolution
from alphajax.search.evolution import Derivation, Edit, Rules

# Of a place and its parent, each about 0 to 1; see `_seen`.
SEEN = 'depth size share length strength rank varied'.split()
OFTEN = 100  # Children of a parent that count 1 as `varied`.


class Options(NamedTuple):
  """How edits are drawn.

  explore: standard deviations of the posterior that weights are drawn from; 0:
    the mean decides.
  temperature: of the softmax over edits, in standard deviations of what came of
    those tried: what can hardly be told apart is as likely.
  uniform: share of the edits that are drawn uniformly instead.
  ridge: children that the prior, by which all edits are alike, counts for.
  """

  explore: float
  temperature: float
  uniform: float
  ridge: float


class Beliefs(NamedTuple):
  """Sums over the children so far; a value.

  products: f32[D, D] of features; moments: f32[D] of features and outcomes.
  children: how many; total, squares: sums of their outcomes and of the squares.
  """

  products: np.ndarray
  moments: np.ndarray
  children: int = 0
  total: float = 0.0
  squares: float = 0.0


class Posterior(NamedTuple):
  """What weights of features are believed to be.

  mean: f64[D].
  root: f64[D, D], lower, of the inverse of the covariance of noise 1.
  noise: standard deviation of an outcome about its expectation.
  spread: standard deviation of outcomes; 0 before there are two.
  """

  mean: np.ndarray
  root: np.ndarray
  noise: float
  spread: float


class Table(NamedTuple):
  """All edits that can be made. features: f64[E, D], see `num_features`."""

  edits: tuple[Edit, ...]
  features: np.ndarray


def num_features(rules: Rules, operators: Sequence[str]) -> int:
  """D: production and nonterminal of the place; by operator, what is seen.

  One-hot are the production, the nonterminal, the operator, and operator and
  nonterminal together; `SEEN` counts once for all operators and once for each.
  """
  count, kinds = len(operators), len(rules.of)
  return len(rules.lhs) + kinds + count * (1 + kinds) + len(SEEN) * (1 + count)


def start(rules: Rules, operators: Sequence[str]) -> Beliefs:
  """No child yet."""
  width = num_features(rules, operators)
  return Beliefs(
    np.zeros((width, width), np.float32), np.zeros(width, np.float32)
  )


def table(
  rules: Rules,
  parents: Sequence[Derivation],
  strengths: np.ndarray,
  varied: np.ndarray,
  operators: Sequence[str],
) -> Table:
  """All edits of the parents, but for those that can be seen to change nothing.

  Args:
    rules: of the language.
    parents: derivations, at least one.
    strengths: f[P], |own IC| of every parent.
    varied: i[P], children that it has had.
    operators: names in `evolution.OPERATORS`.
  """
  ranks = np.argsort(np.argsort(-strengths, kind='stable')) / len(parents)
  scale = max(strengths.max(), np.finfo(float).tiny)
  often = np.log1p(varied) / np.log1p(OFTEN)
  of_parent = np.stack([strengths / scale, ranks, often], 1).tolist()
  edits, productions, seen = [], [], []
  for number, parent in enumerate(parents):
    for at, of_place in enumerate(_seen(rules, parent)):
      for name in operators:
        if _can(rules, parent, at, name):
          edits.append(Edit(number, name, at))
          productions.append(parent[at])
          seen.append((*of_place, *of_parent[number]))
  made_by = np.array([operators.index(edit.operator) for edit in edits])
  features = _features(
    rules, len(operators), made_by, np.array(productions), np.array(seen)
  )
  return Table(tuple(edits), features)


def _features(rules, num_operators, made_by, productions, seen) -> np.ndarray:
  """f64[E, D] of operators i[E], productions i[E] and what is seen f[E, 7]."""
  kinds = sorted(rules.of)
  kind_of = np.array([kinds.index(symbol) for symbol in rules.lhs])
  kind = kind_of[productions]
  operator = np.eye(num_operators)[made_by]
  both = np.eye(num_operators * len(kinds))[made_by * len(kinds) + kind]
  crossed = (operator[:, :, None] * seen[:, None, :]).reshape(len(seen), -1)
  one_hot = np.eye(len(rules.lhs))[productions], np.eye(len(kinds))[kind]
  return np.concatenate([*one_hot, operator, both, seen, crossed], 1)


def _seen(rules: Rules, derivation: Derivation) -> list[tuple[float, ...]]:
  """Of every place: depth, size, share of the formula left, and its length.

  Depth is in operators above, of the symbols that the bound allows, as are the
  size of what stands there and the length of the formula.
  """
  whole = evolution.length(rules, derivation)
  found: list[tuple[float, ...]] = []
  levels = [0]
  for at, rule in enumerate(derivation):
    level = levels.pop()
    below = level + (len(rules.bodies[rule]) > 1)
    levels.extend([below] * len(rules.children[rule]))
    end = evolution.end_of(rules, derivation, at)
    size = evolution.length(rules, derivation[at:end])
    found.append(
      (
        level / rules.bound,
        size / rules.bound,
        1 - size / max(whole, 1),
        whole / rules.bound,
      )
    )
  return found


def _can(rules: Rules, parent: Derivation, at: int, operator: str) -> bool:
  """Whether an operator may find something to do at a place."""
  symbol = rules.lhs[parent[at]]
  if operator == 'point':
    return bool(rules.alike[parent[at]])
  if operator == 'hoist':
    inside = parent[at + 1 : evolution.end_of(rules, parent, at)]
    return any(rules.lhs[rule] == symbol for rule in inside)
  if operator == 'insert':
    room = rules.bound - evolution.length(rules, parent)
    return any(
      rules.growth[rule] + rules.rest[rule] - rules.need[symbol] <= room
      for rule in rules.of[symbol]
      if symbol in rules.children[rule]
    )
  return True


def learn(
  beliefs: Beliefs, features: np.ndarray, outcomes: np.ndarray
) -> Beliefs:
  """Beliefs with more children: f[N, D] what was seen, f[N] what came of it."""
  return Beliefs(
    (beliefs.products + features.T @ features).astype(np.float32),
    (beliefs.moments + features.T @ outcomes).astype(np.float32),
    beliefs.children + len(outcomes),
    beliefs.total + float(outcomes.sum()),
    beliefs.squares + float(np.square(outcomes).sum()),
  )


def posterior(beliefs: Beliefs, options: Options) -> Posterior:
  """Of weights whose prior is normal about 0, with 1 / ridge of the noise.

  The variance of the noise is what makes the outcomes likeliest, so that few
  children are not fitted too well.
  """
  products = beliefs.products.astype(np.float64)
  moments = beliefs.moments.astype(np.float64)
  precision = products + options.ridge * np.eye(len(products))
  root = np.linalg.cholesky(precision)
  mean = np.linalg.solve(precision, moments)
  count = max(beliefs.children, 1)
  left = float(beliefs.squares - mean @ moments)
  variance = beliefs.squares / count - (beliefs.total / count) ** 2
  return Posterior(
    mean,
    root,
    noise=float(np.sqrt(max(left, 0.0) / count)),
    spread=float(np.sqrt(max(variance, 0.0))),
  )


def probabilities(
  table: Table,
  believed: Posterior,
  options: Options,
  rng: np.random.Generator,
  count: int,
) -> np.ndarray:
  """Chances f64[count, E] of every edit to be the next one, draw by draw.

  Each draw has weights of its own. `Options.uniform` is not in them.
  """
  noise = rng.standard_normal((len(believed.mean), count))
  deviations = np.linalg.solve(believed.root.T, noise)
  scale = options.explore * believed.noise
  weights = believed.mean[:, None] + scale * deviations
  scores = (table.features @ weights).T
  scores -= scores.max(1, keepdims=True)
  if believed.spread > 0:
    chances = np.exp(scores / (options.temperature * believed.spread))
  else:  # All that came is the same, and so is all that is expected.
    chances = np.ones_like(scores)
  return chances / chances.sum(1, keepdims=True)


def draw(
  rules: Rules,
  parents: Sequence[Derivation],
  table: Table,
  chances: np.ndarray,
  rng: np.random.Generator,
) -> tuple[Derivation, int] | None:
  """A child and which edit of the table made it, by chances f64[E].

  None where none of the edits drawn came to something.
  """
  ends = np.cumsum(chances)
  places = np.searchsorted(ends, rng.random(evolution.ATTEMPTS) * ends[-1])
  for place in np.minimum(places, len(ends) - 1).tolist():
    other = parents[int(rng.integers(len(parents)))]
    edit = table.edits[place]
    child = evolution.apply(rules, parents, edit, other, rng)
    if child is not None:
      return child, place
  return None


def effective(chances: np.ndarray) -> float:
  """Number of choices as likely as each other that have the same entropy."""
  held = chances[chances > 0]
  return float(np.exp(-np.sum(held * np.log(held))))
