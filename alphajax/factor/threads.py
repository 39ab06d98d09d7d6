"""Work on as many threads as there are cores."""

import concurrent.futures
import graphlib
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax


def work_off(
  take: Callable[[], Any],
  work: Callable[[Any], Any],
  done: Callable[[Any, Any], object],
  num_threads: int,
) -> None:
  """Calls `done(item, work(item))` of all that `take` gives.

  Args:
    take: gives an item to work on, or None: there is none before another one is
      done; all that there was where nobody works on any.
    work: is called on any of the threads; `take` and `done` by one at a time.
    num_threads: at most so many items are worked on at once.

  Raises:
    What was raised first; no item is begun after that.
  """
  changed = threading.Condition()
  working, stopped = 0, False

  def go_on(item: Any, found: Any) -> Any:
    """Ends with an item, if there is one, and begins with another."""
    nonlocal working
    with changed:
      if item is not None:
        done(item, found)
        working -= 1
        changed.notify_all()
      while not stopped:
        item = take()
        if item is not None:
          working += 1
          return item
        if not working:
          break
        changed.wait()
      return None

  def serve() -> None:
    nonlocal stopped
    item = found = None
    try:
      while (item := go_on(item, found)) is not None:
        found = work(item)
    finally:
      with changed:
        stopped = True  # Nothing is left, or somebody failed.
        changed.notify_all()

  if num_threads == 1:
    serve()
    return
  x64 = jax.config.read('jax_enable_x64')  # Of this thread.

  def serve_alike() -> None:
    with jax.enable_x64(x64):  # A thread has not that of its caller.
      serve()

  with concurrent.futures.ThreadPoolExecutor(num_threads) as threads:
    served = [threads.submit(serve_alike) for _ in range(num_threads)]
    try:
      for each in served:
        each.result()
    finally:
      stopped = True  # Whoever interrupts the caller stops the others too.


def in_order(
  needs: Mapping[int, Collection[int]],
  work: Callable[[int], object],
  num_threads: int,
) -> None:
  """Calls `work(node)` for every node of `needs` on so many threads.

  A node's turn comes after those it needs. What became ready last goes first.

  Raises:
    What `work` raised first; no node is begun after that.
  """
  sorter = graphlib.TopologicalSorter(needs)
  sorter.prepare()
  ready = list(reversed(sorter.get_ready()))  # A stack.

  def done(node: int, _) -> None:
    sorter.done(node)
    ready.extend(sorter.get_ready())

  def take() -> int | None:
    return ready.pop() if ready else None

  work_off(take, work, done, max(1, min(num_threads, len(needs))))
