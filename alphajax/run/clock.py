"""Seconds of an iteration: of its parts, of compiling, of what is kept."""

import contextlib
import functools
import time
from collections.abc import Iterator

import jax

FIRST = 15.0  # Seconds of a run in which no result is kept.


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


class Seldom:
  """Keeps better results only so often that it takes a small share of the time.

  What a run keeps of its best result tells everything about every factor, which
  can take longer than the iterations between two better results, and than a
  short run. So on the way `pool.json` may be behind the checkpoint for a while,
  and comes after `FIRST` seconds; at the end it never is.
  """

  def __init__(self, keep, share: float = 0.05):
    self._keep, self._share = keep, share
    self._next = time.perf_counter() + FIRST
    self._is_due = True  # A run that was killed may have left one behind.

  def __call__(self, state, is_better: bool) -> None:
    self._is_due |= is_better
    start = time.perf_counter()
    if not self._is_due or start < self._next:
      return
    self._keep(state)
    end = time.perf_counter()
    self._next = end + (end - start) / self._share
    self._is_due = False
