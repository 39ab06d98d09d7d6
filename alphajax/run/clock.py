"""Seconds of an iteration: of its parts, and of compiling."""

import contextlib
import functools
import time
from collections.abc import Iterator

import jax


class Clock:
  """Adds up the seconds of named parts of an iteration."""

  def __init__(self):
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def __call__(self, part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    self.seconds[part] = (
      self.seconds.get(part, 0.0) + time.perf_counter() - start
    )


class CompileClock:
  """Seconds that XLA spent compiling, since it was last asked."""

  def __init__(self):
    self._taken = _compiled()[0]

  def take(self) -> float:
    before, self._taken = self._taken, _compiled()[0]
    return self._taken - before


@functools.cache
def _compiled() -> list[float]:
  """The seconds so far, one number, since this was first called.

  All clocks of a process share it: JAX keeps a listener for ever.
  """
  total = [0.0]

  def hear(event: str, duration_secs: float, **_: str | int) -> None:
    if event == '/jax/core/compile/backend_compile_duration':
      total[0] += duration_secs

  jax.monitoring.register_event_duration_secs_listener(hear)
  return total
