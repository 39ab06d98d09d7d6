"""Memory of the process: what was freed is used again, or given back.

Left alone, glibc asks the system for every plane of more than 32 MB, and clears
it page by page, which takes as long as computing it; and of smaller ones it
puts few where others were freed: after some thousand a process has twice what
it uses.
"""

import ctypes
import mmap
import os

GROWTH = 1 << 28  # Bytes that a process may grow by before it gives some back.
PLANES = 16  # Likewise, in planes: fewer come and go all the time.
# What users choose memory by themselves with.
CHOSEN = ('MALLOC_', 'GLIBC_TUNABLES')
_HEAPS, _MAPPED, _KEPT = -8, -4, -1  # Numbers of glibc's `mallopt`.


def reuse() -> bool:
  """Lets planes lie where others were freed, where the library is glibc.

  Nothing is mapped apart, what is free at the end of a heap stays, and there
  are no more heaps than cores: what is freed in one is no room for others. Of
  those that threads have by then none goes, so the sooner the better.

  Returns:
    Whether it was done: not where the environment says how memory is to be had.
  """
  set_option = getattr(ctypes.CDLL(None), 'mallopt', None)
  if set_option is None or any(name.startswith(CHOSEN) for name in os.environ):
    return False
  # With one heap for two threads, compiling takes a quarter longer.
  options = {_HEAPS: os.cpu_count() or 1, _MAPPED: 0, _KEPT: (1 << 31) - 1}
  return all(set_option(*option) for option in options.items())


def trim() -> None:
  """Gives back what was freed, where the library is glibc."""
  trim_heap = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim_heap is not None:
    trim_heap(0)


def trim_grown(before: int, plane: int) -> int:
  """Does so once the process has grown by `GROWTH`, or by `PLANES`.

  Args:
    before: what this returned the last time; at first `resident()`.
    plane: bytes of the arrays that it makes.

  Returns:
    Bytes of memory that the process had after the last time; 0 where there is
    no /proc to tell.
  """
  if resident() - before <= max(GROWTH, PLANES * plane):
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
