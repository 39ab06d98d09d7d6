"""A discovery method: a tuple of functions, as an optimizer is in optax.

A module with `make(config, market) -> Method` is a method; the config names it
by a short name or by its import path. It may also have `lookback(config)`, the
bars that it needs before the first scored one; without it they are what the
longest formula of `config.language` can need.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from alphajax.data.panel import Split
from alphajax.language.formula import Formula
from alphajax.run.rows import Rows


class Market(NamedTuple):
  """What a method may see. The test split is not in it."""

  train: Split
  valid: Split


class Found(NamedTuple):
  """The best result so far, whose signal `predict` gives.

  iteration: when it was found.
  formulas, weights: the factors, of standardised values, where the result is a
    linear pool of formulas; none where it is a predictor of another kind.
  """

  iteration: int
  formulas: tuple[Formula, ...] = ()
  weights: tuple[float, ...] = ()


class Method(NamedTuple):
  """The functions that `train` and `evaluate` call.

  init: rng_key -> state.
  step: (state, rng_key) -> (state, metrics); one iteration. Metrics are finite
    numbers, None for what is not known yet, and text. Those that the report
    and the progress line know: `train_ic`, which may be of some days alone,
    `valid_ic`, `best_valid_ic`,
    `proposed`, `evaluated` (distinct formulas), `pool_size`, `seconds` (a
    dictionary of named parts), losses.
  predict: (state, panel) -> signal f32[T, S] of the best result, on any panel;
    NaN where there is none. What a result is judged by.
  found: state -> Found, or None before there is a result.
  finished: state -> str | None; why the run should end, None to go on.
  save: state -> (pytree of arrays, JSON-able dict), the whole state.
  load: (arrays, dict) -> state, bit for bit what `save` was given. Called with
    arrays like those that `save(init(key))` returns.
  kept: (name, `run.rows.Rows`) of what `train` keeps beside the checkpoints, so
    that `init` and `load` need not evaluate it.
  """

  init: Callable[..., Any]
  step: Callable[..., tuple[Any, Mapping[str, Any]]]
  predict: Callable[..., Any]
  found: Callable[[Any], Found | None]
  finished: Callable[[Any], str | None]
  save: Callable[[Any], tuple[Any, dict[str, Any]]]
  load: Callable[[Any, dict[str, Any]], Any]
  kept: Sequence[tuple[str, Rows]] = ()
