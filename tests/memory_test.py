"""What is given back to the system."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from alphajax.factor import memory


def test_nothing_is_given_back_before_the_process_has_grown(monkeypatch):
  sizes = iter([300 << 20, 200 << 20, 400 << 20, 457 << 20, 210 << 20])
  trimmed = []
  monkeypatch.setattr(memory, 'resident', lambda: next(sizes))
  monkeypatch.setattr(memory, 'trim', lambda: trimmed.append(True))
  kept = memory.trim_grown(0, 1 << 20)  # 300 are more than 256 above 0.
  assert kept == 200 << 20 and len(trimmed) == 1
  assert memory.trim_grown(kept, 1 << 20) == kept and len(trimmed) == 1  # 400.
  assert memory.trim_grown(kept, 1 << 20) == 210 << 20  # 457.
  assert len(trimmed) == 2


def test_large_planes_come_and_go_before_any_is_given_back(monkeypatch):
  sizes = iter([900 << 20, 1001 << 20, 800 << 20])
  monkeypatch.setattr(memory, 'resident', lambda: next(sizes))
  assert memory.trim_grown(200 << 20, 50 << 20) == 200 << 20  # 800 in planes.
  assert memory.trim_grown(200 << 20, 50 << 20) == 800 << 20


FREED = """
from alphajax.factor import memory
print(memory.reuse())
begun = None
for _ in range(4):
  plane = b'x' * (96 << 20)  # NumPy would ask for huge pages, which are few.
  faults = sum(map(int, open('/proc/self/stat').read().split()[9:13:2]))
  del plane
  print(faults - (begun or faults))
  begun = faults
"""


@pytest.mark.skipif(not memory.resident(), reason='there is no /proc')
@pytest.mark.parametrize('chosen', [{}, {'MALLOC_ARENA_MAX': '4'}])
def test_what_was_freed_is_used_again(chosen):
  """In a process of its own, which it changes."""
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(memory.CHOSEN)
  }
  found = subprocess.run(
    [sys.executable, '-c', FREED], env={**kept, **chosen},
    capture_output=True, text=True, check=True,
  )  # fmt: skip
  is_done, _, *faults = found.stdout.split()
  if is_done == 'False':
    assert chosen or platform.libc_ver()[0] != 'glibc'
  else:
    assert max(map(int, faults)) < 100  # Not 24,577, one a page.


def test_what_a_process_has_grows_with_what_it_writes():
  before = memory.resident()
  if before:  # Where there is /proc.
    taken = np.ones(8 << 20)
    assert memory.resident() - before > taken.nbytes // 2
