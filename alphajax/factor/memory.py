"""Memory of the process that is free, given back to the system.

glibc puts few of the aligned planes of XLA where others were freed, and takes
new memory for them: after some thousand a process has twice what it uses.
"""

import ctypes
import mmap

GROWTH = 1 << 28  # Bytes that a process may grow by before it gives some back.


def trim() -> None:
  """Gives back what was freed, where the library is glibc."""
  trim_heap = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim_heap is not None:
    trim_heap(0)


def trim_grown(before: int) -> int:
  """Does so once the process has grown by `GROWTH`.

  Args:
    before: what this returned the last time; at first `resident()`.

  Returns:
    Bytes of memory that the process had after the last time; 0 where there is
    no /proc to tell.
  """
  if resident() - before <= GROWTH:
    return before
  trim()
  return resident()


def resident() -> int:
  """Bytes of memory that the process has; 0 where there is no /proc to tell."""
  try:
    with open('/proc/self/statm') as file:
      return int(file.read().split()[1]) * mmap.PAGESIZE
  except FileNotFoundError:
    return 0
