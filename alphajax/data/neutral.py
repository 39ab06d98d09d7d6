"""Labels without what features of the same day say of them (host, NumPy)."""

from collections.abc import Callable, Collection, Mapping, Sequence

import jax
import numpy as np

from alphajax.data import cross_section
from alphajax.data.features import GROUPS

# What is left of a label is 0 below this share of its spread: float32 holds no
# more of it, and the only stock of a group would be ranked by rounding.
RESOLUTION = 1e-7
LOG = 'log_'  # Before the name of a feature: its logarithm.
Plane = jax.Array | np.ndarray  # [T, S]


def labels(
  target: np.ndarray,
  members: np.ndarray,
  names: Sequence[str],
  features: Mapping[str, Plane],
  coded: Collection[str],
  compute: Callable[[str], Plane] | None = None,
) -> np.ndarray:
  """What of a label no regressor of the same day explains, see `residual`.

  Args:
    target: `[T, S]`, NaN where unknown.
    members: bool[T, S].
    names: of the regressors: features, `log_x` for the logarithm of the
      feature `x` where none is called `log_x`, or what `compute` knows.
    features: by name.
    coded: names of features that are codes of groups, beside `GROUPS`, whose
      codes may be numbers in the data.
    compute: values of a name that is no feature.

  Raises:
    ValueError: an unknown name.
  """
  groups, numbers = [], []
  for name in names:
    if name in features:
      is_group = name in coded or name in GROUPS
      (groups if is_group else numbers).append(np.asarray(features[name]))
    elif name.startswith(LOG) and name.removeprefix(LOG) in features:
      values = np.asarray(features[name.removeprefix(LOG)], np.float64)
      numbers.append(np.log(np.where(values > 0, values, np.nan)))
    elif compute is not None:
      numbers.append(np.asarray(compute(name)))
    else:
      raise ValueError(
        f'label.neutralize: unknown feature {name!r}; known: '
        f'{", ".join(features)}, and with {LOG} before it the logarithm of each'
      )
  return residual(target, members, groups, numbers)


def days_left(
  before: np.ndarray,
  labels: np.ndarray,
  scored: np.ndarray,
  names: Sequence[str],
) -> tuple[np.ndarray, str]:
  """Which of the scored days have a label left, and a note.

  Args:
    before: bool[T, S], members with a label that is not neutralised.
    labels: f32[T, S], neutralised.
    scored: bool[T].
    names: of the regressors.

  Raises:
    ValueError: no day is left.
  """
  of, known = ', '.join(names), np.isfinite(labels)
  days = scored & known.any(axis=1)
  if not days.any():
    raise ValueError(
      f'label.neutralize: no day has members enough whose label and {of} are '
      'all known; look for what is missing in the data, or take names out'
    )
  share = 1 - known[days].sum() / before[days].sum()
  note = f'labels are neutralised by {of}'
  if share:
    note += f'; {100 * share:.2g} % of them lack a regressor and are left out'
  if days.sum() < scored.sum():
    note += (
      f'; {scored.sum() - days.sum()} of {scored.sum()} days have too few '
      'members for it and are not scored'
    )
  return days, note


def residual(
  target: np.ndarray,
  members: np.ndarray,
  groups: Sequence[np.ndarray] = (),
  numbers: Sequence[np.ndarray] = (),
) -> np.ndarray:
  """Residuals of a least squares fit of each day on regressors of that day.

  The fit has an intercept and is over the members whose label and regressors
  are all known.

  Args:
    target: `[T, S]`, NaN where unknown.
    members: bool[T, S].
    groups: codes `[T, S]` each, NaN where unknown; a regressor is 1 in one
      group and 0 elsewhere, for all groups of the day but one.
    numbers: regressors `[T, S]` each, NaN or infinite where unknown.

  Returns:
    f32[T, S]; NaN for those who are not in the fit, and on days with fewer
    than 2 of them more than regressors.
  """
  target = np.asarray(target, np.float64)
  known = np.asarray(members) & np.isfinite(target)
  codes, columns = (
    np.asarray(each, np.float64).reshape(-1, *target.shape)
    for each in (groups, numbers)
  )
  known &= np.isfinite(codes).all(0) & np.isfinite(columns).all(0)
  values = np.full(target.shape, np.nan, np.float32)
  for t in np.flatnonzero(known.any(axis=1)):
    seen = known[t]
    values[t, seen] = _residual(
      target[t, seen], codes[:, t, seen], columns[:, t, seen]
    )
  return values


def _residual(
  label: np.ndarray, codes: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
  """One day: `[M], [G, M], [N, M] -> [M]`."""
  levels = [np.unique(each, return_inverse=True)[1] for each in codes]
  num_regressors = sum(each.max() for each in levels) + len(numbers)
  if label.size < num_regressors + 2:
    return np.full(label.size, np.nan)
  # Frisch, Waugh, Lovell: centring within the groups, or on the whole day, is
  # the fit on their dummies, at a fraction of its cost.
  first, *others = levels or [np.zeros(label.size, int)]
  columns = [
    *numbers,
    *((each == k).astype(float) for each in others for k in range(each.max())),
  ]
  left = _centred(label, first)
  if columns:
    regressors = np.stack([_unit(each, first) for each in columns], axis=1)
    left -= regressors @ np.linalg.lstsq(regressors, left, rcond=None)[0]
  return np.where(np.abs(left) < RESOLUTION * label.std(), 0.0, left)


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
  """Values less the mean of their group."""
  sums = np.bincount(group, values)
  return values - (sums / np.bincount(group))[group]


def _unit(values: np.ndarray, group: np.ndarray) -> np.ndarray:
  """A regressor centred within groups, of length 1; 0 where that is noise."""
  values = values / max(np.abs(values).max(), np.finfo(float).tiny)
  left = _centred(values, group)
  power = left @ left
  if power <= cross_section.CONSTANT * (values @ values):
    return np.zeros(values.size)
  return left / np.sqrt(power)
