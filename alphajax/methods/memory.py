"""What stays of every formula evaluated, so that pools can be chosen from all.

Of each formula with a value: its daily correlation with the label that pools
are fitted to, and its standardised values on some days, side by side over the
members. Some 70 KB a formula of a market of 300 members, on the host; the
weakest may be forgotten. With `config.keep_rows` they are written to disk
(`run.rows`); else a run that goes on evaluates its formulas again, to the same
bits.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data import panel as panel_lib
from alphajax.data import universe
from alphajax.data.device import by_days, put
from alphajax.data.panel import LabelSpec, Split
from alphajax.factor import metrics, pool_rules, sorting
from alphajax.factor.metrics import Target
from alphajax.run import rows as rows_lib

# Of a label, a day's largest and smallest share that is pulled in.
WINSOR = 0.025
# Formulas of a part of the memory. What is left of a number of formulas fills
# the same parts however they came, so that products with them have the same
# bits after a restart.
PART = 64
LABELS = ('plain', 'rank', 'winsorised', 'half_horizon', 'half_horizon_rank')

_rank = jax.jit(sorting.cross_sectional_rank)


class Recorder(NamedTuple):
  """How what stays of a formula is taken; made once a run.

  label: the labels of the fit, standardised per day, their mean.
  num_labelled: members of a day with a label, at least 1.
  days: positions of the days whose values are kept.
  scored: positions of the scored days.
  overlap: days on which the labels of neighbouring days overlap.
  kept: what is known on disk, of `pack`; None: nothing is.
  """

  label: jax.Array  # f32[T, M]
  num_labelled: jax.Array  # f32[T]
  days: np.ndarray  # i[n]
  scored: np.ndarray  # i[days]
  overlap: int
  kept: rows_lib.Rows | None = None


class Fact(NamedTuple):
  """What is known of one formula.

  own_ic: see `archive.Outcome`; NaN for a formula without a value, of which
    nothing else is known.
  rows: f16[D], see `pool_rules.Evidence`.
  daily: f32[days].
  """

  own_ic: float
  rows: np.ndarray = np.zeros(0, np.float16)
  daily: np.ndarray = np.zeros(0, np.float32)


class Memory(NamedTuple):
  """What stays; a value, in the order in which formulas came.

  In parts of `PART` formulas, the last one of the rest.

  ids: the position in the book of every formula that has a value.
  rows: parts f16[n, D], see `pool_rules.Evidence`.
  daily: parts f32[n, days].
  """

  ids: tuple[int, ...] = ()
  rows: tuple[np.ndarray, ...] = ()
  daily: tuple[np.ndarray, ...] = ()


def make_recorder(
  split: Split,
  members: universe.Universe,
  target: Target,
  *,
  labels: Sequence[str],
  num_days: int,
  spec: LabelSpec,
) -> Recorder:
  """Prepares what is taken of formulas.

  labels: names in `LABELS`; of several the mean is fitted.
  num_days: days whose values are kept, evenly spaced; all if there are fewer.

  Raises:
    ValueError: an unknown label, none, or no day to keep.
  """
  if num_days < 1:
    raise ValueError(f'config.pool.days is {num_days}: expected >= 1')
  check_labels(labels)
  if spec.neutralize and any(name.startswith('half') for name in labels):
    raise ValueError(
      f'config.pool.labels is {tuple(labels)}: with config.label.neutralize '
      'expected some of plain, rank, winsorised, which are made of the label '
      'that is judged'
    )
  scored = np.flatnonzero(split.scored)
  places = np.linspace(0, len(scored) - 1, min(num_days, len(scored)))
  standard = [
    by_days(
      metrics.make_target,
      universe.gather(members, label_of(name, split, spec)),
      target.labelled,
    ).label
    for name in labels
  ]
  num_labelled = np.maximum(np.sum(np.asarray(target.labelled), -1), 1)
  return Recorder(
    label=put(sum(standard[1:], standard[0]) / len(standard)),
    num_labelled=put(num_labelled.astype(np.float32)),
    days=scored[np.unique(places.round().astype(int))],
    scored=scored,
    overlap=max(spec.exit - spec.entry - 1, 1),
  )


def check_labels(labels: Sequence[str]) -> None:
  """Refuses labels of which one is unknown, or none."""
  unknown = [name for name in labels if name not in LABELS]
  if unknown or not labels:
    raise ValueError(
      f'config.pool.labels is {tuple(labels)}: expected one or more of '
      f'{", ".join(LABELS)}'
    )


def label_of(name: str, split: Split, spec: LabelSpec) -> jax.Array:
  """A label that pools may be fitted to, f32[T, S]; NaN where unknown.

  `rank` and `winsorised` tame the returns that no factor foresaw, over members;
  `half_horizon` looks half as many bars ahead, so that twice as many labels are
  independent. What is judged stays the plain label.
  """
  label = put(split.target)
  if name.startswith('half_horizon'):
    middle = spec.entry + max((spec.exit - spec.entry) // 2, 1)
    label = panel_lib.forward_return(split.panel, spec._replace(exit=middle))
  members = np.asarray(split.panel.mask) & np.isfinite(np.asarray(label))
  if name.endswith('rank'):
    ranks = _rank(jnp.where(members, label, 0.0), members)
    return jnp.where(members, ranks, jnp.nan)
  if name == 'winsorised':
    known = jnp.where(members, label, jnp.nan)
    low, high = (
      jnp.nanquantile(known, q, axis=1, keepdims=True)
      for q in (WINSOR, 1 - WINSOR)
    )
    return jnp.clip(label, low, high)
  return label


def with_kept(
  config, recorder: Recorder, split: Split, target: Target, objective: str
) -> Recorder:
  """The recorder with what `config.keep_rows` keeps on disk.

  objective: the name of what `own_ic` is.
  """
  panel = split.panel
  kept = rows_lib.make(
    config, 'memory', _size(recorder),
    panel.features, panel.mask, panel.feature_names, panel.groups,
    split.scored, target.label, recorder.label, recorder.num_labelled,
    recorder.days, recorder.scored, objective,
  )  # fmt: skip
  return recorder._replace(kept=kept)


def record(
  recorder: Recorder,
  memory: Memory,
  ids: Sequence[int],
  factors: Sequence[jax.Array],
) -> Memory:
  """The memory with more formulas.

  ids: positions in the book, -1 for a formula without a value: left out.
  factors: f32[T, M] each, from `pool.prepare`.
  """
  ics = [0.0 if i >= 0 else np.nan for i in ids]
  return add(memory, ids, facts(recorder, ics, factors))


def facts(
  recorder: Recorder, ics: Sequence[float], factors: Sequence[jax.Array]
) -> list[Fact]:
  """What is known of formulas with these `own_ic`; see `record`."""
  days = jnp.asarray(recorder.days)
  taken = iter(
    jax.device_get(
      [
        _take(z, recorder.label, recorder.num_labelled, days)
        for ic, z in zip(ics, factors, strict=True)
        if not np.isnan(ic)
      ]
    )
  )
  found = []
  for ic in map(float, ics):
    if np.isnan(ic):
      found.append(Fact(ic))
    else:
      rows, daily = next(taken)
      found.append(Fact(ic, rows.ravel(), daily[recorder.scored]))
  return found


def add(memory: Memory, ids: Sequence[int], known: Sequence[Fact]) -> Memory:
  """The memory with what is known of more formulas; ids: see `record`."""
  kept = [(i, fact) for i, fact in zip(ids, known, strict=True) if i >= 0]
  if not kept:
    return memory
  return Memory(
    memory.ids + tuple(i for i, _ in kept),
    _append(memory.rows, np.stack([fact.rows for _, fact in kept])),
    _append(memory.daily, np.stack([fact.daily for _, fact in kept])),
  )


def _append(
  parts: tuple[np.ndarray, ...], more: np.ndarray
) -> tuple[np.ndarray, ...]:
  """Parts `[PART, D]`, the last one of the rest, with more rows."""
  if not len(more):
    return parts
  if parts and len(parts[-1]) < PART:
    more = np.concatenate([parts[-1], more])
    parts = parts[:-1]
  return (*parts, *np.split(more, range(PART, len(more), PART)))


def look_up(recorder: Recorder, keys: Iterable[str]) -> dict[str, Fact]:
  """What is on disk of formulas."""
  if recorder.kept is None:
    return {}
  found = {key: recorder.kept.get(key) for key in keys}
  return {
    key: _unpack(recorder, row) for key, row in found.items() if row is not None
  }


def keep(recorder: Recorder, keys: Iterable[str], known: Iterable[Fact]):
  """Writes what is known of formulas."""
  if recorder.kept is None:
    return
  for key, fact in zip(keys, known, strict=True):
    row = b''.join(
      part.tobytes() for part in (np.float64(fact.own_ic), *fact[1:])
    )
    recorder.kept.put(key, row.ljust(_size(recorder), b'\0'))


def _size(recorder: Recorder) -> int:
  """Bytes of a formula's row."""
  width = len(recorder.days) * recorder.label.shape[1]
  return 8 + 2 * width + 4 * len(recorder.scored)


def _unpack(recorder: Recorder, row: bytes) -> Fact:
  """What `keep` was given."""
  own_ic = float(np.frombuffer(row, np.float64, 1)[0])
  if np.isnan(own_ic):
    return Fact(own_ic)
  width = len(recorder.days) * recorder.label.shape[1]
  return Fact(
    own_ic,
    np.frombuffer(row, np.float16, width, 8),
    np.frombuffer(row, np.float32, len(recorder.scored), 8 + 2 * width),
  )


def forget(memory: Memory, keep: int, needed: Collection[int]) -> Memory:
  """The memory without the weakest, by the size of their mean correlation.

  keep: how many formulas stay; 0: all.
  needed: ids that stay whatever they are worth.

  Raises:
    ValueError: more are needed than may stay.
  """
  count = len(memory.ids)
  if not keep or count <= keep:
    return memory
  strength = np.abs(np.concatenate([d.mean(1) for d in memory.daily]))
  strength[is_needed := np.isin(memory.ids, list(needed))] = np.inf
  if (least := np.count_nonzero(is_needed)) > keep:
    raise ValueError(
      f'config.pool.keep is {keep}: the pools alone hold {least} formulas; '
      'set it higher, or to 0 to keep all'
    )
  stays = np.zeros(count, bool)
  stays[np.argsort(-strength, kind='stable')[:keep]] = True
  sizes = np.cumsum([len(part) for part in memory.rows])[:-1]
  all_rows: tuple[np.ndarray, ...] = ()
  all_daily: tuple[np.ndarray, ...] = ()
  for rows, daily, kept in zip(
    memory.rows, memory.daily, np.split(stays, sizes), strict=True
  ):
    whole = kept.all()
    all_rows = _append(all_rows, rows if whole else rows[kept])
    all_daily = _append(all_daily, daily if whole else daily[kept])
  ids = tuple(i for i, kept in zip(memory.ids, stays, strict=True) if kept)
  return Memory(ids, all_rows, all_daily)


def first(memory: Memory, count: int) -> Memory:
  """What stays of the first formulas of the book."""
  kept = sum(i < count for i in memory.ids)  # Ids rise.
  rows, daily, left = [], [], kept
  for part, series in zip(memory.rows, memory.daily, strict=True):
    if left > 0:
      rows.append(part[:left])
      daily.append(series[:left])
    left -= len(part)
  return Memory(memory.ids[:kept], tuple(rows), tuple(daily))


@jax.jit
def _take(factor, label, count, days):
  """Values f16[n, M] of which products are correlations; daily f32[T]."""
  width = factor.shape[1]
  rows = factor[days] * jnp.sqrt(width / count[days])[:, None]
  return rows.astype(jnp.float16), jnp.sum(factor * label, -1) / count


def evidence(recorder: Recorder, memory: Memory) -> pool_rules.Evidence:
  """What rules read; of at least one formula."""
  return pool_rules.Evidence(
    rows=memory.rows,
    scale=1.0 / memory.rows[0].shape[1],
    daily=np.concatenate(memory.daily),
    overlap=recorder.overlap,
  )
