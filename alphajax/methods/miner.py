"""What every method has in common whose result is a pool of formulas."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from alphajax.methods import archive, linear, stopping, validation
from alphajax.methods import screen as screen_lib
from alphajax.methods.base import Method
from alphajax.run.clock import Clock


class State(NamedTuple):
  """What was found, and what was learned of how to find it.

  learner: a pytree of arrays: parameters, their optimizer, a memory of games.
  """

  mined: archive.Mined
  learner: Any


def make(
  config,
  bench: archive.Bench,
  *,
  init: Callable,
  step: Callable,
  save: Callable,
  load: Callable,
  screen: screen_lib.Screen | None = None,
) -> Method:
  """A method whose state has `mined`, an `archive.Mined`; see `base.Method`.

  Where what is given leaves no formula to evaluate, the first iteration is
  none of its steps: a pool is chosen from what was read.

  screen: that the method looks through.
  """
  given = sum(map(len, bench.given))
  filled = bool(config.max_evaluated and given >= config.max_evaluated)

  def first_or_step(state, rng_key):
    if state.mined.iteration:
      return step(state, rng_key)
    clock = Clock()
    mined, _ = archive.commit(bench, state.mined, [], clock)
    mined, metrics = validation.validate(bench, mined, clock)
    return state._replace(mined=mined), {**metrics, 'seconds': clock.seconds}

  return Method(
    init=init,
    step=first_or_step if filled else step,
    predict=lambda state, panel: linear.predict(
      archive.found(state.mined), panel
    ),
    found=lambda state: archive.found(state.mined),
    finished=lambda state: stopping.finished(config, state.mined, given),
    save=save,
    load=load,
    kept=[
      (name, part.kept)
      for name, part in (('memory', bench.recorder), ('screen', screen))
      if part is not None and part.kept is not None
    ],
  )


def make_learning(
  config, bench: archive.Bench, *, init: Callable, step: Callable
) -> Method:
  """A method whose state is a `State`, and nothing else.

  init: rng_key -> learner.
  """
  return make(
    config,
    bench,
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
