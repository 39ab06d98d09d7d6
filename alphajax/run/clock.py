"""Seconds of an iteration: of its parts, and of compiling."""

import contextlib
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
    self._seconds = 0.0
    jax.monitoring.register_event_duration_secs_listener(self._hear)

  def _hear(self, event: str, seconds: float, **_) -> None:
    if event == '/jax/core/compile/backend_compile_duration':
      self._seconds += seconds

  def take(self) -> float:
    seconds, self._seconds = self._seconds, 0.0
    return seconds
