"""What is given back to the system."""

import numpy as np

from alphajax.factor import memory


def test_nothing_is_given_back_before_the_process_has_grown(monkeypatch):
  sizes = iter([300 << 20, 200 << 20, 400 << 20, 457 << 20, 210 << 20])
  trimmed = []
  monkeypatch.setattr(memory, 'resident', lambda: next(sizes))
  monkeypatch.setattr(memory, 'trim', lambda: trimmed.append(True))
  kept = memory.trim_grown(0)  # 300 are more than 256 above 0.
  assert kept == 200 << 20 and len(trimmed) == 1
  assert memory.trim_grown(kept) == kept and len(trimmed) == 1  # 400.
  assert memory.trim_grown(kept) == 210 << 20 and len(trimmed) == 2  # 457.


def test_what_a_process_has_grows_with_what_it_writes():
  before = memory.resident()
  if before:  # Where there is /proc.
    taken = np.ones(8 << 20)
    assert memory.resident() - before > taken.nbytes // 2
