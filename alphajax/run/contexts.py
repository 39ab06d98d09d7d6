"""One MLIR context a thread, where JAX makes one for every program.

To make one, to load all dialects into it and to throw it away takes a third of
the time of a small program; and those of compiled programs stay, a megabyte
each, so that every next program takes longer. What is lowered is the same.
"""

import functools
import importlib
import threading
import warnings

import jax

# Programs of a context, which keeps the constants of all of them.
USES = 200
_MODULE, _NAME = 'jax._src.interpreters.mlir', 'make_ir_context'


@functools.cache  # Once a process.
def share() -> None:
  """From now on a thread lowers all its programs in one context.

  JAX has no public name for it: where it is not found, all goes on more slowly,
  with a warning.
  """
  try:
    module = importlib.import_module(_MODULE)
    make = getattr(module, _NAME)
  except (ImportError, AttributeError):
    warnings.warn(
      f'jax {jax.__version__} has no {_MODULE}.{_NAME}: a program is prepared '
      'more slowly, and takes a megabyte more',
      stacklevel=2,
    )
    return
  setattr(module, _NAME, functools.partial(_lent, make))


_free: list = []  # Contexts of threads that have ended.
_of_thread = threading.local()


class _Lent:
  """What a thread has until it ends or has used it up: a context, its uses."""

  def __init__(self, make):
    self.context, self.uses = _free.pop() if _free else (make(), 0)

  def __del__(self, free=_free):  # By name it may be gone at the exit.
    if getattr(self, 'uses', USES) < USES:
      free.append((self.context, self.uses))


def _lent(make):
  lent = getattr(_of_thread, 'lent', None)
  if lent is None or lent.uses >= USES:
    lent = _of_thread.lent = _Lent(make)
  lent.uses += 1
  return lent.context
