"""One MLIR context a thread, where JAX makes one for every program.

To make one, to load all dialects into it and to throw it away takes a third of
the time of a small program; and those of compiled programs stay, a megabyte
each, so that every next program takes longer. What is lowered is the same.
"""

import threading

from jax._src.interpreters import mlir

_make = mlir.make_ir_context
_free = []  # Of threads that have ended.


class _Lent:
  """What a thread has until it ends."""

  def __init__(self):
    try:
      self.context = _free.pop()
    except IndexError:
      self.context = _make()

  def __del__(self, free=_free):  # By name it may be gone at the exit.
    free.append(self.context)


_of_thread = threading.local()


def _lent_context():
  if not hasattr(_of_thread, 'lent'):
    _of_thread.lent = _Lent()
  return _of_thread.lent.context


mlir.make_ir_context = _lent_context
