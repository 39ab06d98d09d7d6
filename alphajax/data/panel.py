"""The daily stock panel, its splits, labels and per-day normalisation."""

import datetime
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.data import cross_section, neutral
from alphajax.data.features import FEATURES

SPLITS = ('train', 'valid', 'test')
# A split may begin or end on a holiday outside the data; the longest market
# holidays (Chinese New Year, Golden Week) last less than two weeks.
HOLIDAY_DAYS = 14


class Panel(struct.PyTreeNode):
  """Daily stock panel; arrays may be NumPy's or JAX's.

  features: float32, NaN where missing, in the order of `feature_names`.
  mask: True where the stock is a member of the universe that day. Membership
    masks a result, never an input: prices of non-members stay in `features`.
  dates: ISO days, ascending.
  notes: what loading decided, one sentence each.
  groups: (feature, names of its codes 0, 1, ...) of features that were text.
  covers: first and last day of the data that these days were taken from;
    empty: they are all there is.
  """

  features: jax.Array | np.ndarray  # [F, T, S]
  mask: jax.Array | np.ndarray  # [T, S]
  dates: tuple[str, ...] = struct.field(pytree_node=False)
  symbols: tuple[str, ...] = struct.field(pytree_node=False)
  feature_names: tuple[str, ...] = struct.field(
    pytree_node=False, default=FEATURES
  )
  notes: tuple[str, ...] = struct.field(pytree_node=False, default=())
  groups: tuple[tuple[str, tuple[str, ...]], ...] = struct.field(
    pytree_node=False, default=()
  )
  covers: tuple[str, ...] = struct.field(pytree_node=False, default=())

  @property
  def coded(self) -> frozenset[str]:
    """Features that hold codes: groups, which are no values."""
    return frozenset(name for name, _ in self.groups)


class LabelSpec(NamedTuple):
  """The label price[t + exit] / price[t + entry] - 1 of day t.

  neutralize: what it is made free of, a day at a time: the label is then the
    residual of a fit on these as they are on day t. Names of features, also
    of groups, and others that `split` knows.
  """

  entry: int = 0
  exit: int = 20
  price: str = 'close'
  neutralize: tuple[str, ...] = ()


PAPER_LABEL = LabelSpec()
Compute = Callable[['Panel', str], jax.Array | np.ndarray]


class Split(struct.PyTreeNode):
  """Days of a panel for one purpose, with warm-up before and nothing after.

  target: the label; NaN where unknown, so on the last `label.exit` days.
  scored: False on warm-up days, on purged ones, and on those that have too few
    members to neutralise their labels.
  """

  panel: Panel
  target: jax.Array | np.ndarray  # [T, S]
  scored: jax.Array | np.ndarray  # [T]
  name: str = struct.field(pytree_node=False)


def make(
  features: np.ndarray,
  mask: np.ndarray,
  dates: Sequence[str],
  symbols: Sequence[str],
  feature_names: Sequence[str] = FEATURES,
  notes: Sequence[str] = (),
  groups: Sequence[tuple[str, Sequence[str]]] = (),
  covers: Sequence[str] = (),
) -> Panel:
  """Builds a `Panel` of host arrays from `[F, T, S]` and `[T, S]`.

  Raises:
    ValueError: shapes that disagree with the names, a mask that is not
      boolean, dates that are not ISO days in ascending order, a repeated name.
  """
  features, mask = np.asarray(features), np.asarray(mask)
  shape = (len(feature_names), len(dates), len(symbols))
  if features.shape != shape:
    raise ValueError(
      f'features have shape {features.shape}, but {shape[0]} feature names, '
      f'{shape[1]} dates and {shape[2]} symbols need {shape}'
    )
  if mask.shape != shape[1:] or mask.dtype != bool:
    raise ValueError(
      f'mask is {mask.dtype}{list(mask.shape)}, expected bool{list(shape[1:])}'
    )
  if features.dtype.kind not in 'fiu':
    raise ValueError(f'features are {features.dtype}, expected float32')
  _check_dates(dates)
  for kind, names in (('symbol', symbols), ('feature name', feature_names)):
    if len(set(names)) < len(names):
      repeated = sorted({n for n in names if list(names).count(n) > 1})
      raise ValueError(f'repeated {kind}: {", ".join(repeated[:5])}')
  return Panel(
    features=features.astype(np.float32, copy=False),
    mask=mask,
    dates=tuple(dates),
    symbols=tuple(symbols),
    feature_names=tuple(feature_names),
    notes=tuple(notes),
    groups=tuple((name, tuple(each)) for name, each in groups),
    covers=tuple(covers),
  )


def _check_dates(dates: Sequence[str]) -> None:
  for date in dates:
    parse_day(date)
  for before, after in zip(dates, dates[1:], strict=False):
    if before >= after:
      raise ValueError(f'dates are not ascending: {before} before {after}')


def parse_day(text: str) -> datetime.date:
  """Reads an ISO day such as 2010-01-04; ValueError otherwise."""
  # fromisoformat alone also takes 20100104, which would not sort with the rest.
  if len(text) != len('2010-01-04'):
    raise ValueError(f'{text!r} is not a day like 2010-01-04')
  try:
    return datetime.date.fromisoformat(text)
  except ValueError as error:
    raise ValueError(f'{text!r} is not a day like 2010-01-04') from error


def _spacing(dates: Sequence[str] | np.ndarray) -> int:
  """Days from one bar to the next, in the median; 1 where there is one bar."""
  days = np.array(dates, 'datetime64[D]').astype(int)
  return int(np.median(np.diff(days))) if days.size > 1 else 1


def bar_word(dates: Sequence[str] | np.ndarray) -> str:
  """What the bars of these dates are called: days, or bars where longer."""
  return 'days' if _spacing(dates) == 1 else 'bars'


def feature(panel: Panel, name: str) -> jax.Array | np.ndarray:
  """The values of one feature by name, `[T, S]`."""
  if name not in panel.feature_names:
    raise ValueError(
      f'unknown feature {name!r}; known: {", ".join(panel.feature_names)}'
    )
  return panel.features[panel.feature_names.index(name)]


def forward_return(panel: Panel, label: LabelSpec = PAPER_LABEL) -> jax.Array:
  """Label of every day and stock, `[T, S]`, NaN where a price is unknown.

  Taken from prices and not from membership, so that a stock that leaves the
  universe keeps its last labels. The last `label.exit` days are NaN.

  Raises:
    ValueError: unless 0 <= entry < exit, or for an unknown price.
  """
  if not 0 <= label.entry < label.exit:
    raise ValueError(f'a label needs 0 <= entry < exit, not {label}')
  return _change(feature(panel, label.price), label.entry, label.exit)


@functools.partial(jax.jit, static_argnames=('entry', 'exit_'))
def _change(price: jax.Array | np.ndarray, entry: int, exit_: int) -> jax.Array:
  """Relative change from `entry` to `exit_` days later, `[T, S]`."""
  num_days = price.shape[0]
  known = max(num_days - exit_, 0)
  change = price[exit_:] / price[entry : entry + known] - 1.0
  unknown = jnp.full((num_days - known, price.shape[1]), jnp.nan, price.dtype)
  values = jnp.concatenate([change, unknown])
  return jnp.where(jnp.isfinite(values), values, jnp.nan)


def split(
  panel: Panel,
  name: str,
  start: str,
  end: str,
  *,
  lookback: int,
  label: LabelSpec = PAPER_LABEL,
  compute: Compute | None = None,
) -> Split:
  """Cuts the days `start..end`, both included, out of a panel.

  The split holds `lookback` earlier trading days as warm-up, evaluated but
  never scored, and nothing after `end`: labels that would read past it are
  unknown, so the last `label.exit` days are purged by construction. Where the
  data begin later than the warm-up asks for, their first `lookback` days are
  the warm-up and a note says so.

  `label.neutralize` names features; `log_x` is the logarithm of the feature
  `x`, unless there is a feature of that name; any other text is given to
  `compute(panel, text)`, which returns its values `[T, S]`.

  Raises:
    ValueError: dates outside the data, no day left to score once look-back
      and purge are taken off, an empty universe on a scored day, or a label
      that cannot be neutralised.
  """
  first, stop = locate(panel.dates, name, start, end, panel.covers)
  begin = max(first - lookback, 0)
  score_from = max(first, begin + lookback)
  score_to = stop - label.exit
  if score_from >= score_to:
    raise ValueError(
      f'split {name!r}: {start}..{end} holds {stop - first} bars and '
      f'{first - begin} bars of data before it, too short for a look-back of '
      f'{lookback} bars and a label {label.exit} bars ahead; begin earlier, '
      'end later or shorten the look-back'
    )
  cut = select_days(panel, slice(begin, stop))
  if score_from > first:
    more = panel.covers and panel.covers[0] < panel.dates[begin]
    what = 'loaded days' if more else 'data'
    cut = cut.replace(
      notes=cut.notes
      + (
        f'split {name}: the {what} begin {panel.dates[begin]}, so the first '
        f'{lookback} bars are warm-up and scoring begins '
        f'{panel.dates[score_from]}',
      )
    )
  scored = np.zeros(stop - begin, bool)
  scored[score_from - begin : score_to - begin] = True
  _check_universe(cut, scored, name)
  target = np.asarray(forward_return(cut, label))
  if label.neutralize:
    target, cut, scored = _neutralized(target, cut, label, scored, compute)
  return Split(panel=cut, target=target, scored=scored, name=name)


def _neutralized(
  target: np.ndarray,
  panel: Panel,
  label: LabelSpec,
  scored: np.ndarray,
  compute: Compute | None,
) -> tuple[np.ndarray, Panel, np.ndarray]:
  """Labels, the panel with a note, and the scored days that have any label."""
  left = neutral.labels(
    target,
    np.asarray(panel.mask),
    label.neutralize,
    dict(zip(panel.feature_names, panel.features, strict=True)),
    panel.coded,
    functools.partial(compute, panel) if compute else None,
  )
  before = np.isfinite(target) & np.asarray(panel.mask)
  days, note = neutral.days_left(before, left, scored, label.neutralize)
  return left, panel.replace(notes=(*panel.notes, note)), days


class OutsideError(ValueError):
  """Days that the data do not have; `covers`: first and last that they have."""

  def __init__(self, message: str, covers: tuple[str, str]):
    super().__init__(message)
    self.covers = covers


def locate(
  dates: Sequence[str],
  name: str,
  start: str,
  end: str,
  covers: Sequence[str] = (),
) -> tuple[int, int]:
  """Positions of the first day from `start` on and of the day after `end`.

  covers: as of `Panel`.
  """
  from_day, to_day = parse_day(start), parse_day(end)
  if from_day > to_day:
    raise ValueError(f'split {name!r}: start {start} is after end {end}')
  spacing = _spacing(dates)
  # A bar of a week or a month may end as much later than the split begins.
  holiday = datetime.timedelta(days=max(HOLIDAY_DAYS, 2 * spacing))
  if (
    from_day < parse_day(dates[0]) - holiday
    or to_day > parse_day(dates[-1]) + holiday
  ):
    begin, last = covers or (dates[0], dates[-1])
    raise OutsideError(
      f'split {name!r}: {start}..{end} lies outside the data, which cover '
      f'{begin}..{last}'
      + (
        f' (loaded: {dates[0]}..{dates[-1]})'
        if (begin, last) != (dates[0], dates[-1])
        else ''
      )
      + '; choose dates inside or load a longer span',
      (begin, last),
    )
  first = int(np.searchsorted(dates, start))
  stop = int(np.searchsorted(dates, end, side='right'))
  if first >= stop:
    raise ValueError(f'split {name!r}: no trading day in {start}..{end}')
  return first, stop


def _check_universe(panel: Panel, scored: np.ndarray, name: str) -> None:
  empty = np.flatnonzero(scored & ~np.asarray(panel.mask).any(axis=1))
  if empty.size:
    days = ', '.join(panel.dates[t] for t in empty[:5])
    raise ValueError(
      f'split {name!r}: the universe is empty on {empty.size} scored days, '
      f'first {days}; choose other dates or mend the membership column'
    )


def select_days(panel: Panel, days: slice | np.ndarray) -> Panel:
  """Keeps the days at these positions: a slice, indices or a boolean mask."""
  kept = np.arange(len(panel.dates))[days]
  if isinstance(days, slice):  # A view; an index array would copy.
    features, mask = panel.features[:, days], panel.mask[days]
  else:
    features, mask = panel.features[:, kept], panel.mask[kept]
  return panel.replace(
    features=features, mask=mask, dates=tuple(panel.dates[t] for t in kept)
  )


def take_symbols(panel: Panel, symbols: Sequence[str]) -> Panel:
  """Keeps these stocks, in this order; ValueError for an unknown one."""
  position = {symbol: s for s, symbol in enumerate(panel.symbols)}
  unknown = [symbol for symbol in symbols if symbol not in position]
  if unknown:
    raise ValueError(f'unknown symbols: {", ".join(unknown[:5])}')
  kept = np.array([position[symbol] for symbol in symbols], int)
  return panel.replace(
    features=panel.features[:, :, kept],
    mask=panel.mask[:, kept],
    symbols=tuple(symbols),
  )


def pad_stocks(panel: Panel, width: int) -> Panel:
  """Pads the stock axis to `width` with NaN stocks that are never members."""
  extra = width - len(panel.symbols)
  if extra < 0:
    raise ValueError(
      f'cannot pad {len(panel.symbols)} stocks to a width of {width}'
    )
  return panel.replace(
    features=np.pad(
      panel.features, ((0, 0), (0, 0), (0, extra)), constant_values=np.nan
    ),
    mask=np.pad(panel.mask, ((0, 0), (0, extra))),
    symbols=panel.symbols + tuple(f'<pad {i}>' for i in range(extra)),
  )


def standardize(
  values: jax.Array | np.ndarray, mask: jax.Array | np.ndarray
) -> jax.Array:
  """Z-scores of every day over members with a finite value.

  Shapes `[..., T, S], [T, S] -> [..., T, S]`, float32. The standard deviation
  is the population's. NaN stays NaN, non-members and infinities become NaN,
  and so does a whole day on which all members have one value.
  """
  values = jnp.asarray(values, jnp.float32)
  valid = jnp.asarray(mask) & jnp.isfinite(values)
  z, constant = cross_section.unit(values, valid)
  return jnp.where(valid & ~constant, z, jnp.nan)
