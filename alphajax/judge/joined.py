"""Days out of sample, of one fold after the other, joined into one series."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from alphajax.factor import metrics


class Part(NamedTuple):
  """The days of one fold, ascending.

  name: of the fold, its year.
  dates: ISO days `[T]`.
  symbols: names `[S]`.
  signal: f32[T, S], standardised per day; NaN where there is none.
  ic, rank_ic: f32[T], NaN on a day whose label is not known.
  """

  name: str
  dates: np.ndarray
  symbols: np.ndarray
  signal: np.ndarray
  ic: np.ndarray
  rank_ic: np.ndarray


class Joined(NamedTuple):
  """All of them, over the symbols of any.

  fold: name `[T]` of the fold that a day is of; the rest as in `Part`.
  """

  dates: np.ndarray
  symbols: np.ndarray
  signal: np.ndarray
  ic: np.ndarray
  rank_ic: np.ndarray
  fold: np.ndarray


def join(parts: Sequence[Part]) -> Joined:
  """One series of all parts, whose days may not overlap.

  A symbol without a value on any day is left out.

  Raises:
    ValueError: no part, or days that are not ascending from part to part.
  """
  if not parts:
    raise ValueError('there is no fold to join')
  dates = np.concatenate([part.dates for part in parts])
  back = np.flatnonzero(dates[1:] <= dates[:-1])
  if back.size:
    raise ValueError(
      f'folds overlap: {dates[back[0] + 1]} comes after {dates[back[0]]}'
    )
  heard = [part.symbols[np.isfinite(part.signal).any(0)] for part in parts]
  symbols = np.unique(np.concatenate(heard))
  planes = []
  for part, names in zip(parts, heard, strict=True):
    plane = np.full((len(part.dates), len(symbols)), np.nan, np.float32)
    plane[:, np.searchsorted(symbols, names)] = part.signal[
      :, np.isin(part.symbols, names)
    ]
    planes.append(plane)
  return Joined(
    dates=dates,
    symbols=symbols,
    signal=np.concatenate(planes),
    ic=np.concatenate([part.ic for part in parts]),
    rank_ic=np.concatenate([part.rank_ic for part in parts]),
    fold=np.repeat(
      [part.name for part in parts], [len(part.dates) for part in parts]
    ),
  )


def figures(joined: Joined, lag: int) -> dict[str, Any]:
  """What the joined days say: `metrics.summary`, with standard errors.

  Args:
    joined: the days; those with an IC count.
    lag: days on which labels of neighbouring days overlap.

  Returns:
    `all`, and `folds` by name: `ic`, `rank_ic` (mean, low, high, error),
    `icir`, `rank_icir`, `days`.
  """
  names = list(dict.fromkeys(joined.fold.tolist()))
  parts = {name: joined.fold == name for name in names}
  return {
    'all': _figures(joined, np.full(len(joined.dates), True), lag),
    'folds': {
      name: _figures(joined, days, lag) for name, days in parts.items()
    },
  }


def _figures(joined: Joined, days: np.ndarray, lag: int) -> dict[str, Any]:
  days = days & np.isfinite(joined.ic)
  ic, rank_ic = joined.ic[days], joined.rank_ic[days]
  found = metrics.summary(ic, rank_ic, lag)
  for name, series in (('ic', ic), ('rank_ic', rank_ic)):
    found[name]['error'] = metrics.mean_error(series, lag).error
  return found


def mean_figures(walks: Sequence[Joined]) -> Joined:
  """The first of walks over the same days, its IC and RankIC the mean of all.

  Raises:
    ValueError: they are of other days.
  """
  first = walks[0]
  if any(not np.array_equal(first.dates, each.dates) for each in walks):
    raise ValueError(
      'walks of several seeds are averaged day by day: expected the same years '
      'of the same data'
    )
  return first._replace(
    ic=np.stack([each.ic for each in walks]).mean(0, np.float64),
    rank_ic=np.stack([each.rank_ic for each in walks]).mean(0, np.float64),
  )


def difference(one: Joined, other: Joined, lag: int) -> dict[str, Any]:
  """IC and RankIC of one less those of another, on the days of both.

  Returns:
    `ic` and `rank_ic` (mean, low, high, error), `days`.

  Raises:
    ValueError: no more days in common than labels overlap.
  """
  days, here, there = np.intersect1d(
    one.dates, other.dates, return_indices=True
  )
  known = np.isfinite(one.ic[here]) & np.isfinite(other.ic[there])
  if known.sum() <= lag:
    raise ValueError(
      f'the two have {known.sum()} scored days in common: expected more than '
      f'{lag}'
    )
  found: dict[str, Any] = {'days': int(known.sum())}
  for name in ('ic', 'rank_ic'):
    a, b = getattr(one, name)[here], getattr(other, name)[there]
    less = (a.astype(np.float64) - b)[known]
    found[name] = metrics.mean_interval(less, lag)._asdict()
    found[name]['error'] = metrics.mean_error(less, lag).error
  return found


def place(
  joined: Joined, dates: Sequence[str], symbols: Sequence[str]
) -> np.ndarray:
  """The signal on the days and symbols of a panel, f32[T, S].

  NaN on other days than the joined ones, and for symbols that they have not.
  """
  signal = np.full((len(dates), len(symbols)), np.nan, np.float32)
  _, to_day, of_day = np.intersect1d(
    np.asarray(dates), joined.dates, return_indices=True
  )
  _, to_symbol, of_symbol = np.intersect1d(
    np.asarray(symbols), joined.symbols, return_indices=True
  )
  signal[np.ix_(to_day, to_symbol)] = joined.signal[np.ix_(of_day, of_symbol)]
  return signal


def kept(before: Sequence[Hashable], after: Sequence[Hashable]) -> int:
  """How many keys of the pool before are in the one after."""
  return len(set(before) & set(after))


def likeness(one: np.ndarray, other: np.ndarray) -> float | None:
  """Mean daily correlation of two standardised signals f32[T, S].

  Over the stocks on which both speak; a day on which either says the same of
  all of these does not count. None where no day counts.
  """
  known = np.isfinite(one) & np.isfinite(other)
  count = np.maximum(known.sum(1), 1)

  def centred(signal):
    values = np.where(known, signal, 0.0).astype(np.float64)
    mean = values.sum(1) / count
    return np.where(known, values - mean[:, None], 0.0)

  a, b = centred(one), centred(other)
  norm = np.sqrt((a * a).sum(1) * (b * b).sum(1))
  days = norm > 1e-9
  return (
    float(((a * b).sum(1)[days] / norm[days]).mean()) if days.any() else None
  )


def alike(one: Joined, other: Joined) -> float | None:
  """`likeness` of two walks, on the days and stocks that both have."""
  sides = (one.dates, other.dates), (one.symbols, other.symbols)
  (_, row, their_row), (_, column, their_column) = (
    np.intersect1d(*names, return_indices=True) for names in sides
  )
  return likeness(
    one.signal[np.ix_(row, column)],
    other.signal[np.ix_(their_row, their_column)],
  )


def to_arrays(joined: Joined) -> dict[str, np.ndarray]:
  """As `walk_forward.npz` holds it."""
  return joined._asdict()


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Joined:
  """What `to_arrays` was given.

  Raises:
    KeyError: an array is missing; names it.
  """
  return Joined(**{name: arrays[name] for name in Joined._fields})
