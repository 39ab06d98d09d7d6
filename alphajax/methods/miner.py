"""What every method has in common whose result is a pool of formulas."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from alphajax.methods import archive, linear, stopping
from alphajax.methods.base import Method


class State(NamedTuple):
  """What was found, and what was learned of how to find it.

  learner: a pytree of arrays: parameters, their optimizer, a memory of games.
  """

  mined: archive.Mined
  learner: Any


def make(
  config, *, init: Callable, step: Callable, save: Callable, load: Callable
) -> Method:
  """A method whose state has `mined`, an `archive.Mined`; see `base.Method`."""
  return Method(
    init=init,
    step=step,
    predict=lambda state, panel: linear.predict(
      archive.found(state.mined), panel
    ),
    found=lambda state: archive.found(state.mined),
    finished=lambda state: stopping.finished(config, state.mined),
    save=save,
    load=load,
  )


def make_learning(
  config, bench: archive.Bench, *, init: Callable, step: Callable
) -> Method:
  """A method whose state is a `State`, and nothing else.

  init: rng_key -> learner.
  """
  return make(
    config,
    init=functools.partial(_start, bench, init),
    step=step,
    save=_save,
    load=functools.partial(_load, bench),
  )


def _start(bench: archive.Bench, init: Callable, rng_key: jax.Array) -> State:
  return State(archive.start(bench), init(rng_key))


def _save(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
  arrays, host = archive.save(state.mined)
  return {'mined': arrays, 'learner': state.learner}, host


def _load(bench: archive.Bench, arrays: Any, host: dict[str, Any]) -> State:
  return State(archive.load(bench, arrays['mined'], host), arrays['learner'])
