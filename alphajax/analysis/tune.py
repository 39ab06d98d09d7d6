"""Constants of a finished formula, optimised by gradient on train.

Number leaves that are no windows become parameters. The daily IC of the
formula is differentiated through the operators as they are; what has no
gradient in them (`CSRank`, `Rank`, `Sign` and `Med`, which only order or
compare) has none here, and the result names the constants that got none.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphajax.data import universe as universe_lib
from alphajax.factor import compile as compile_lib
from alphajax.factor import evaluate, gradients, metrics
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula

LEARNING_RATE = 0.1  # In units of the constant at the start.
DIGITS = 3  # Significant digits of the result.
# A gain below this is rounding; a constant that brings no more stays as it is.
TOLERANCE = 1e-6


class Tuned(NamedTuple):
  """The outcome.

  formula, score: the best found, the original if nothing is better.
  before, after: the constants in prefix order.
  without_gradient: those, by their place in `before`, whose gradient was 0 at
    every step from every start: only the starts have tried other values.
  """

  formula: Formula
  score: float | None
  before: tuple[float, ...]
  after: tuple[float, ...]
  without_gradient: tuple[int, ...]


def constants(formula: Formula) -> list[float]:
  """Values of the number leaves that are no windows, in prefix order."""
  return [float(leaf.symbol) for leaf in _leaves(formula)]


def _leaves(formula: Formula) -> Iterator[Formula]:
  if formula_lib.is_number(formula):
    yield formula
  stop = -1 if formula_lib.is_windowed(formula) else None
  for arg in formula.args[:stop]:
    yield from _leaves(arg)


def replace_constants(formula: Formula, values: Sequence[float]) -> Formula:
  """The formula with these constants, in prefix order."""
  left = iter(values)

  def walk(node: Formula) -> Formula:
    if formula_lib.is_number(node):
      return formula_lib.number(next(left))
    stop = len(node.args) - formula_lib.is_windowed(node)
    args = (*map(walk, node.args[:stop]), *node.args[stop:])
    return Formula(node.symbol, args)

  replaced = walk(formula)
  if any(True for _ in left):
    raise ValueError(f'{formula} has fewer than {len(values)} constants')
  return replaced


def parametrise(formula: Formula) -> tuple[Callable, list[Formula]]:
  """The formula as a differentiable function of its constants.

  Returns:
    (run, parts): `run(constants f32[C], values, members) -> f32[T, S]`, where
    `values` are those of `parts`, the largest subtrees without a constant.
  """
  parts, counter = [], itertools.count()

  def mark(node: Formula) -> Formula:
    """The node with its constants and parts named by their places."""
    if formula_lib.is_number(node):
      return Formula(f'#{next(counter)}')
    if not any(True for _ in _leaves(node)):
      parts.append(node)
      return Formula(f'@{len(parts) - 1}')
    stop = len(node.args) - formula_lib.is_windowed(node)
    args = (*map(mark, node.args[:stop]), *node.args[stop:])
    return Formula(node.symbol, args)

  marked = mark(formula)

  def run(c, values, members):
    def leaf(node: Formula) -> jax.Array:
      place = int(node.symbol[1:])
      if node.symbol[0] == '#':
        return jnp.full(values[0].shape, c[place], jnp.float32)
      return values[place]

    return compile_lib.apply(marked, leaf, members)

  return run, parts


def tune(
  formula: Formula,
  store: evaluate.AnyStore,
  target: metrics.Target,
  scored: jax.Array,
  *,
  rate: Callable,
  score: Callable,
  rng_key: jax.Array,
  num_steps: int = 40,
  num_starts: int = 6,
) -> Tuned:
  """Optimises the constants of a formula; never worse than it was.

  Adam from the formula's own constants and from others drawn around them; the
  best values by the surrogate, rounded to `DIGITS`, are scored truly.

  Args:
    formula: finished.
    store: holds the train panel.
    target: of the members side by side (`universe.gather`).
    scored: bool[T].
    rate: differentiable surrogate, `daily IC f32[T] -> []`.
    score: the true objective, `[formulas] -> [float, None without a value]`.
    rng_key: of the starts; the key is consumed.
    num_steps, num_starts: gradient steps from each start, and starts.

  Raises:
    ValueError: fewer than one step or start.
  """
  if num_steps < 1 or num_starts < 1:
    raise ValueError(
      f'tune_steps is {num_steps} and tune_starts {num_starts}: expected >= 1'
    )
  before = constants(formula)
  own = score([formula])[0]
  run, parts = parametrise(formula)
  if not before or not parts:  # Nothing to tune, or no cross-section.
    return Tuned(formula, own, tuple(before), tuple(before), ())
  descend = jax.jit(functools.partial(_descend, run, rate, num_steps, target))
  values = tuple(store.take(parts))
  found, moved = [], np.zeros(len(before), bool)
  for start in _starts(rng_key, before, num_starts):
    best, has_gradient = descend(store.universe, values, start)
    found += [_rounded(start), _rounded(best)]
    moved |= np.asarray(has_gradient)
  after, best = _choose(formula, before, own, found, score)
  return Tuned(
    replace_constants(formula, after), best, tuple(before), tuple(after),
    tuple(np.flatnonzero(~moved).tolist()),
  )  # fmt: skip


def _starts(rng_key: jax.Array, before, num_starts: int) -> list[jax.Array]:
  """The constants themselves, then 0.01 to 100 times them, of either sign."""
  own = jnp.asarray(before, jnp.float32)
  size_key, sign_key = jax.random.split(rng_key)
  shape = (num_starts - 1, len(before))
  factor = 10.0 ** jax.random.uniform(size_key, shape, minval=-2, maxval=2)
  factor = factor * jax.random.rademacher(sign_key, shape, jnp.float32)
  return [own, *(jnp.where(own == 0, 1.0, own) * factor)]


def _descend(run, rate, num_steps, target, members, values, start):
  """Adam from one start.

  Returns:
    (the best constants met f32[C], whether each had a gradient bool[C]).
  """
  unit = jnp.where(start == 0, 1.0, jnp.abs(start))
  # It looks past missing values itself; a day that does not count has none.
  daily_ic = gradients.guard(
    lambda target, v: metrics.target_ic(v, target), fill=None
  )
  schedule = optax.cosine_decay_schedule(LEARNING_RATE, num_steps)
  optimizer = optax.adam(schedule)

  def loss(c):
    signal = universe_lib.gather(members, run(c * unit, values, members))
    return -rate(daily_ic(target, signal))

  def step(carry, _):
    c, state, best, least, moved = carry
    value, gradient = jax.value_and_grad(loss)(c)
    better = value < least
    best, least = jnp.where(better, c, best), jnp.where(better, value, least)
    # A sum over the panel may overflow at a far start; no step then.
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
    updates, state = optimizer.update(gradient, state)
    c = optax.apply_updates(c, updates)
    return (c, state, best, least, moved | (gradient != 0)), None

  c = start / unit
  carry = (c, optimizer.init(c), c, jnp.inf, jnp.zeros(c.shape, bool))
  (_, _, best, _, moved), _ = jax.lax.scan(step, carry, length=num_steps + 1)
  return best * unit, moved


def _rounded(values) -> list[float]:
  return [float(f'{float(value):.{DIGITS}g}') for value in np.asarray(values)]


def _choose(formula, before, own, found, score):
  """The best constants by the true objective, as many as before as possible."""

  def rate(candidates):
    scores = score([replace_constants(formula, c) for c in candidates])
    return [float('-inf') if s is None else s for s in scores]

  scores = rate(found)
  place = int(np.argmax(scores))
  after, best = list(found[place]), scores[place]
  if best <= (float('-inf') if own is None else own + TOLERANCE):
    return before, own
  for i, value in enumerate(before):
    if after[i] != value:
      kept = [*after[:i], value, *after[i + 1 :]]
      (again,) = rate([kept])
      if again >= best - TOLERANCE:
        after, best = kept, again
  return after, best
