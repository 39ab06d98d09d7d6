"""Seconds of parts, and of compiling, counted once each."""

import time

import jax
import jax.numpy as jnp
import pytest

from alphajax.run import clock


def test_parts_add_up():
  seconds_of = clock.Clock()
  for _ in range(2):
    with seconds_of('search'):
      time.sleep(0.02)
  with seconds_of('pool'):
    pass
  assert 0.04 <= seconds_of.seconds['search'] < 1
  assert 0 <= seconds_of.seconds['pool'] < 0.02


def compile_something(n):
  # Of a shape and constant that no other test has, past every cache.
  jax.jit(lambda x: jnp.sin(x) * n).lower(jnp.ones(n)).compile()


def test_compiling_is_counted_by_each_clock_since_it_was_asked():
  first = clock.CompileClock()
  compile_something(1237)
  second = clock.CompileClock()
  compile_something(1238)
  later = second.take()
  assert 0 < later < first.take()
  assert first.take() == second.take() == 0
  compile_something(1239)
  both = first.take(), second.take()
  assert both[0] == pytest.approx(both[1]) and both[0] > 0


def test_a_process_has_one_listener(monkeypatch):
  clock.CompileClock()
  monkeypatch.setattr(
    jax.monitoring, 'register_event_duration_secs_listener', None
  )
  for _ in range(3):
    clock.CompileClock()


def test_a_better_result_that_is_put_off_is_kept_later(monkeypatch):
  now, kept = [0.0], []
  monkeypatch.setattr(clock.time, 'perf_counter', lambda: now[0])

  def keep(state):
    kept.append(state)
    now[0] += 1.0

  seldom = clock.Seldom(keep)
  # What a killed run may have put off; 20 times as long nothing is kept.
  for second, state, is_better in (
    (0, '-', True), (14, '-', True), (15, 'a', False), (20, 'b', True),
    (35, 'c', False), (36, 'd', False), (60, 'e', False), (110, 'f', True),
  ):  # fmt: skip
    now[0] = float(second)
    seldom(state, is_better)
  assert kept == ['a', 'd', 'f']
