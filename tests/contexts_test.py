"""One MLIR context a thread; what is lowered is the same."""

import threading

import jax
import pytest
from jax._src.interpreters import mlir

from alphajax.run import contexts


def test_a_thread_has_one_and_leaves_it_to_the_next():
  contexts.share()
  here = mlir.make_ir_context()
  assert mlir.make_ir_context() is here
  seen = []

  def look():
    seen.append(mlir.make_ir_context())

  for _ in range(2):  # One after the other.
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
  assert seen[0] is not here and seen[1] is seen[0]


def test_one_that_was_used_often_is_replaced(monkeypatch):
  contexts.share()
  monkeypatch.setattr(contexts, 'USES', 2)
  monkeypatch.setattr(contexts, '_free', [])
  monkeypatch.setattr(contexts, '_of_thread', threading.local())
  first, same, other = (mlir.make_ir_context() for _ in range(3))
  assert same is first and other is not first
  assert not contexts._free


def test_a_program_is_the_same_as_in_a_context_of_its_own(monkeypatch):
  contexts.share()

  def text():
    return (
      jax.jit(lambda x: x @ x.T + 1).lower(jax.numpy.ones((2, 3))).as_text()
    )

  shared = text()
  own = mlir.make_ir_context.args[0]  # What JAX had there.
  jax.clear_caches()
  monkeypatch.setattr(mlir, 'make_ir_context', own)
  assert text() == shared


def test_where_jax_has_no_such_name_all_goes_on(monkeypatch):
  monkeypatch.setattr(contexts, '_NAME', 'another_name')
  with pytest.warns(UserWarning, match='more slowly'):
    contexts.share.__wrapped__()
  assert mlir.make_ir_context() is not None
