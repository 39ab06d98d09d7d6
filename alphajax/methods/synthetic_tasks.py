"""Synthetic markets with their labels, on which formulas are offered to pools.

All are of one size, so that whatever is done to one is done to many at once.
`P` markets, `T` days, `S` stocks.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import controls
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec, Panel
from alphajax.factor import evaluate, metrics
from alphajax.factor import pool as pool_lib
from alphajax.language.formula import Formula
from alphajax.networks import market_encoder

FAMILIES = ('bootstrap', 'garch')
PLANES = 96  # Values of subexpressions that are kept of a market.


class Tasks(NamedTuple):
  """Markets and what is scored on them.

  paths, there: what `market_encoder` reads.
  scored: the days that count, of all markets alike: those after the warm-up
    that have a label.
  """

  stores: tuple[evaluate.Store, ...]
  target: metrics.Target  # [P, T, S]
  members: jax.Array  # bool[P, T, S]
  scored: jax.Array  # bool[T]
  paths: jax.Array  # f32[P, S, T, C]
  there: jax.Array  # bool[P, S]


def make(config, train: Panel) -> Tasks:
  """The markets of `config.panels`; see `configs/alphaformer_paper.py`.

  train: what they are made from, unless they lie in a folder.

  Raises:
    ValueError: see `check`; a folder without as many panels, panels that are
      too small, or a training split of fewer stocks.
  """
  check(config)
  own, label = config.panels, LabelSpec(**config.label)._replace(neutralize=())
  warm = max(config.language.windows)
  if own.folder:  # Cut to size.
    panels = [_cut(own, path) for path in files(own)]
  else:
    panels = _draw(config, train)
  labels = np.stack([panel_lib.forward_return(p, label) for p in panels])
  members = jnp.asarray(np.stack([panel.mask for panel in panels]))
  read = [market_encoder.paths(panel) for panel in panels]
  days = np.arange(own.num_days)
  plane = 4 * own.num_days * own.num_stocks
  return Tasks(
    stores=tuple(evaluate.Store(p, PLANES * plane) for p in panels),
    target=metrics.make_target(jnp.asarray(labels), members),
    members=members,
    scored=jnp.asarray((days >= warm) & (days < own.num_days - label.exit)),
    paths=jnp.asarray(np.stack([paths for paths, _ in read])),
    there=jnp.asarray(np.stack([there for _, there in read])),
  )


def check(config) -> None:
  """Refuses an unknown family, and sizes that cannot be."""
  own, label = config.panels, config.label
  warm = max(config.language.windows)
  if own.num_days <= warm + label.exit:
    raise ValueError(
      f'config.panels.num_days is {own.num_days}: the longest window is {warm} '
      f'days and the label reaches {label.exit} ahead; set '
      f'{warm + label.exit + 1} or more'
    )
  for name in ('num_panels', 'num_stocks'):
    if own[name] < 1:
      raise ValueError(f'config.panels.{name} is {own[name]}: expected >= 1')
  if not own.folder and own.family not in FAMILIES:
    raise ValueError(
      f'config.panels.family is {own.family!r}: expected one of {FAMILIES}; of '
      'another family make panels by alphajax synthesize, and name their '
      'folder in config.panels.folder'
    )


def _draw(config, train: Panel) -> list[Panel]:
  """Markets of a control, drawn by the seed of the run."""
  own = config.panels
  source = controls.make_source(train, own.num_stocks)
  seeds = np.random.SeedSequence([config.seed, 1]).generate_state(
    own.num_panels
  )
  if own.family == 'bootstrap':
    draw = functools.partial(controls.bootstrap, source, block=own.block)
  else:
    draw = functools.partial(controls.garch, source, controls.fit_garch(source))
  return [draw(seed=int(seed), num_days=own.num_days) for seed in seeds]


def files(own) -> list[Path]:
  """The first panels of `config.panels.folder`, as many as are asked for.

  Raises:
    ValueError: there are fewer.
  """
  folder = Path(own.folder).expanduser()
  found = sorted(folder.glob('*.parquet'))
  if not found:
    folder = folder / 'panels'
    found = sorted(folder.glob('*.parquet'))
  if len(found) < own.num_panels:
    raise ValueError(
      f'config.panels.folder: {folder} has {len(found)} panels (*.parquet), '
      f'{own.num_panels} are asked for; make more by alphajax synthesize, or '
      'set a smaller config.panels.num_panels'
    )
  return found[: own.num_panels]


def _cut(own, path: Path) -> Panel:
  """The last days of a panel, and the stocks with most days as members."""
  panel = market_lib.load(path, cache=False)
  days = np.asarray(panel.mask).sum(0)
  if panel.mask.shape[0] < own.num_days or len(days) < own.num_stocks:
    raise ValueError(
      f'{path} has {panel.mask.shape[0]} days and {len(days)} stocks: '
      f'config.panels.num_days = {own.num_days} and num_stocks = '
      f'{own.num_stocks} are more; set smaller ones'
    )
  chosen = np.sort(np.argsort(-days, kind='stable')[: own.num_stocks])
  panel = panel_lib.take_symbols(panel, [panel.symbols[s] for s in chosen])
  return panel_lib.select_days(panel, slice(-own.num_days, None))


def empty_pools(tasks: Tasks, count: int, capacity: int) -> pool_lib.Pool:
  """Pools without factors, one for each of `count` markets, `[count, ...]`."""
  return _empty_pools(count, capacity, *tasks.members.shape[1:])


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _empty_pools(count, capacity, num_days, num_stocks):
  pool = pool_lib.empty(capacity, num_days, num_stocks)
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), pool)


@jax.jit
def rows(tree: Any, which: np.ndarray) -> Any:
  """Rows int[n] of arrays, `[N, ...] -> [n, ...]`."""
  return jax.tree.map(lambda x: x[which], tree)


def offer(
  tasks: Tasks,
  which: np.ndarray,
  pools: pool_lib.Pool,
  formulas: list[Formula],
  names: np.ndarray,
  *,
  fit: pool_lib.FitConfig,
  accept: str,
) -> tuple[pool_lib.Pool, jax.Array]:
  """Offers a formula to the pool of each of n markets.

  Args:
    tasks: all markets.
    which: int[n], the markets.
    pools: their pools, `[n, ...]`.
    formulas: one for each.
    names: int[n], of the formulas in the ids of the pools; -1: not offered.
    fit: of the weights; accept: see `pool.insert`.

  Returns:
    (the pools, the IC of each after it, f32[n]; 0 for a formula that was not
    offered, or has no value on its market).
  """
  values = [
    tasks.stores[i].take([formula])[0]
    for i, formula in zip(which.tolist(), formulas, strict=True)
  ]
  target, members = rows((tasks.target, tasks.members), which)
  return _offer(
    pools, jnp.stack(values), target, members,
    np.asarray(names, np.int32), tasks.scored, fit=fit, accept=accept,
  )  # fmt: skip


@functools.partial(jax.jit, static_argnames=('fit', 'accept'))
def _offer(pools, values, target, members, names, scored, *, fit, accept):
  def one(pool, values, target, members, name):
    prepared = pool_lib.prepare(values, members, target)
    name = jnp.where(jnp.any(prepared * scored[:, None]), name, -1)
    pool, trace = pool_lib.insert(
      pool, [prepared], name[None], target, scored, config=fit, accept=accept
    )
    return pool, jnp.where(name >= 0, trace.ic[0], 0.0)

  return jax.vmap(one)(pools, values, target, members, names)
