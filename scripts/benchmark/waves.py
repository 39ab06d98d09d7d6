"""Where the time of formulas goes on an accelerator, see `factor.waves`."""

import functools
import gc
import sys
import time

import jax
import jax.numpy as jnp

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics
from alphajax.language.formula import Formula


def waves_part(panel, formulas, reduce, budget) -> dict:
  """Seconds of the host alone, of node programs and of the ICs.

  The host alone: all programs are there, and return at once. The others: each
  call is waited for, so that launches count, and nothing overlaps.
  """
  target = metrics.make_target(
    panel_lib.forward_return(panel), jnp.asarray(panel.mask)
  )
  make = functools.partial(evaluate.Store, panel, budget, in_waves=True)
  rows: dict[str, dict] = {}
  store = _timed(make(), rows)
  _run(store, formulas, reduce, target, rows.clear)
  temporary = _temporary(store._planes)
  del store
  host = []
  for _ in range(3):
    gc.collect()  # What was measured holds itself, and GBs of the device.
    idle = _idle(make(), formulas, reduce, target)
    host.append(_run(idle, formulas, reduce, target))
    del idle
  gc.collect()
  ic = rows['IC']['seconds']
  nodes = sum(row['seconds'] for row in rows.values()) - ic
  found = {
    'host_seconds': min(host),
    'node_seconds': nodes,
    'ic_seconds': ic,
    'calls': sum(row['calls'] for row in rows.values()),
    'lanes': sum(row['lanes'] for row in rows.values()),
    'temporary': temporary,
    'profile': sorted(rows.values(), key=lambda row: -row['seconds']),
  }
  print(
    f'host {found["host_seconds"]:.3f} s, nodes {nodes:.3f} s, ICs {ic:.3f} s;',
    f'{found["calls"]} calls of {found["lanes"]} lanes; most memory of a call:',
    f'{temporary["planes"]:.0f} planes, {temporary["program"]}',
    file=sys.stderr,
  )
  for row in found['profile']:
    print(
      f'{row["name"]}: {row["count"]} in {row["calls"]} calls, '
      f'{1e3 * row["seconds"]:.1f} ms',
      file=sys.stderr,
    )
  return found


def _temporary(planes) -> dict:
  """The program with the most memory beside the pool, and how many planes.

  As many as the pool has would mean that it is copied, not written in place.
  """
  plane = 4 * planes._shape[1] * planes._shape[2]
  found = {'program': '', 'planes': 0.0}
  for key, programs in planes._programs.items():
    for size, program in programs.items():
      memory = program.memory_analysis()
      count = memory.temp_size_in_bytes / plane if memory else 0.0
      if count > found['planes']:
        name = 'IC' if callable(key[0]) else key
        found = {'program': f'{name} of {size}', 'planes': count}
  return found


def _run(store, formulas, reduce, target, begin=lambda: None) -> float:
  """Seconds of a map of an empty store whose programs are there."""
  store.map([Formula('close')], reduce, target)  # Waits for the panel.
  begin()
  start = time.perf_counter()
  store.map(formulas, reduce, target)
  return time.perf_counter() - start


def _timed(store, rows):
  """A store that waits for every call and adds up seconds in `rows`."""
  planes = store._planes
  compute, reducer = planes.compute, planes.reducer

  def add(name, count, size, start):
    row = rows.setdefault(
      name, {'name': name, 'count': 0, 'calls': 0, 'lanes': 0, 'seconds': 0.0}
    )
    row['count'] += count
    row['calls'] += 1
    row['lanes'] += size
    row['seconds'] += time.perf_counter() - start

  def timed_compute(graph, group, nodes):
    jax.block_until_ready(planes._pool)
    start = time.perf_counter()
    compute(graph, group, nodes)
    jax.block_until_ready(planes._pool)
    size = min(n for n in planes._programs[group] if n >= len(nodes))
    add(group[0], len(nodes), size, start)

  def timed_reducer(reduce, args):
    run, most = reducer(reduce, args)

    def timed(nodes):
      start = time.perf_counter()
      statistics = jax.block_until_ready(run(nodes))
      add('IC', len(nodes), len(statistics), start)
      return statistics

    return timed, most

  planes.compute, planes.reducer = timed_compute, timed_reducer
  return store


def _idle(store, formulas, reduce, target):
  """A store whose programs do nothing, those of these formulas at least."""
  store.map(formulas, reduce, target)
  planes = store._planes
  reducer, known = planes.reducer, []
  planes._programs = {  # Not those that other stores call too.
    key: programs
    if callable(key[0])
    else dict.fromkeys(programs, lambda pool, *_: pool)
    for key, programs in planes._programs.items()
  }

  def idle_reducer(reduce, args):
    run, most = reducer(reduce, args)
    if not known:
      known.append(jax.block_until_ready(run([0] * most)))
    return lambda nodes: known[0], most

  planes.reducer = idle_reducer
  store._start(list(store._features.values()))
  return store
