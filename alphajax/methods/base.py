"""A discovery method: a tuple of functions, as an optimizer is in optax."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from alphajax.data.panel import Split
from alphajax.language.formula import Formula


class Market(NamedTuple):
  """What a method may see. The test split is not in it."""

  train: Split
  valid: Split


class Found(NamedTuple):
  """The result of a run: the pool that was best on validation.

  iteration: when it was found; 0 before the first one.
  formulas, weights: the factors, of standardised values.
  """

  iteration: int
  formulas: tuple[Formula, ...]
  weights: tuple[float, ...]


class Method(NamedTuple):
  """The functions that `train` and `evaluate` call.

  init: rng_key -> state.
  step: (state, rng_key) -> (state, metrics); one iteration. The metrics hold
    `train_ic`, `valid_ic`, `best_valid_ic`, `proposed`, `evaluated`
    (distinct formulas), `pool_size`, `seconds` and, where it has them, losses.
  predict: (state, panel) -> signal f32[T, S] of the best pool.
  found: state -> Found.
  finished: state -> str | None; why the run should end, None to go on.
  save: state -> (pytree of arrays, JSON-able dict), the whole state.
  load: (arrays, dict) -> state, bit for bit what `save` was given. Called with
    arrays like those that `save(init(key))` returns.
  """

  init: Callable[..., Any]
  step: Callable[..., tuple[Any, Mapping]]
  predict: Callable[..., Any]
  found: Callable[[Any], Found]
  finished: Callable[[Any], str | None]
  save: Callable[[Any], tuple[Any, dict]]
  load: Callable[[Any, dict], Any]
