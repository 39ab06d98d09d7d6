"""What predictors read of a panel: characteristics of stocks, as rows.

A row is a member on a day; its columns are characteristics, formulas that our
own evaluator computes, of that day and maybe of days before it. They are made
comparable by a scale (`SCALES`) and clipped. A characteristic without a value
is NaN, and what that means is the predictor's: trees split on it, linear
models and networks take the middle, 0.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphajax.data.device import by_days, put
from alphajax.data.panel import LabelSpec, Panel, Split
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import library
from alphajax.language.formula import Formula
from alphajax.methods import memory

# The 20 of Alpha158 that qlib's networks read, in their order there.
SELECTED = """
  RESI5 WVMA5 RSQR5 KLEN RSQR10 CORR5 CORD5 CORR10 ROC60 RESI10 VSTD5 RSQR60
  CORR60 WVMA60 STD5 RSQR20 CORD60 CORD10 CORR20 KLOW
""".split()
# The raw features in the order of qlib's Alpha360.
RAW = ('close', 'open', 'high', 'low', 'vwap', 'volume')
SETS = ('alpha158', 'selected', 'raw')
SCALES = ('none', 'day', 'robust')
LABELS = ('plain', 'zscore', 'rank')
DTYPES = ('float16', 'float32')
CHUNK = 32  # Characteristics whose values are held at a time.
RANK_SCALE = 3.46  # qlib's: a uniform variable times this has deviation 1.
MAD_TO_STD = 1.4826


class Columns(NamedTuple):
  """The columns of a row: D days of C characteristics, the oldest day first.

  formulas: distinct, F of them.
  sources: of each of the D * C columns, (position in `formulas`, days ago).
  shape: (D, C).
  """

  formulas: tuple[Formula, ...]
  sources: tuple[tuple[int, int], ...]
  shape: tuple[int, int]


class Scaling(NamedTuple):
  """Middle and spread of every formula over the train rows, of `robust`."""

  center: np.ndarray  # f32[F]
  spread: np.ndarray  # f32[F]


class Rows(NamedTuple):
  """Members on days, in the order of days and then of stocks.

  days, stocks: their place in the panel.
  columns: f16|f32[N, D * C], NaN where there is no value.
  label: what is learned, see `labels`; NaN where nothing is.
  """

  days: np.ndarray  # i32[N]
  stocks: np.ndarray  # i32[N]
  columns: np.ndarray
  label: np.ndarray  # f32[N]


def make_columns(config) -> Columns:
  """The columns that `config.features` asks for.

  `alpha158` and `selected` are those characteristics on each of the last
  `days` days; `raw` is prices of the last `days` days over today's close, and
  volumes over today's.

  Raises:
    ValueError: an option that cannot be; names its key.
  """
  options = config.features
  check(options)
  if options.name == 'raw':
    formulas = tuple(
      formula_lib.parse(_raw(name, ago))
      for ago in reversed(range(options.days))
      for name in RAW
    )
    sources = tuple((i, 0) for i in range(len(formulas)))
    return Columns(formulas, sources, (options.days, len(RAW)))
  texts = library.load('alpha158')
  names = [n for n in texts if options.name == 'alpha158' or n in SELECTED]
  formulas = tuple(formula_lib.parse(texts[name]) for name in names)
  sources = tuple(
    (i, ago)
    for ago in reversed(range(options.days))
    for i in range(len(formulas))
  )
  return Columns(formulas, sources, (options.days, len(formulas)))


def _raw(name: str, ago: int) -> str:
  then = f'Ref({name},{ago})' if ago else name
  return f'{then}/volume' if name == 'volume' else f'{then}/close'


def check(options) -> None:
  """Refuses what `config.features` cannot be."""
  for key, known in (('name', SETS), ('scale', SCALES), ('dtype', DTYPES)):
    if options[key] not in known:
      raise ValueError(
        f'config.features.{key} is {options[key]!r}: expected one of '
        f'{", ".join(known)}'
      )
  for key, least in (('days', 1), ('every', 1), ('clip', 0)):
    if not options[key] >= least:
      raise ValueError(
        f'config.features.{key} is {options[key]}: expected >= {least}'
      )
  unbounded = options.scale == 'none' or not options.clip
  if unbounded and options.dtype == 'float16':
    raise ValueError(
      f'config.features.scale={options.scale} with clip={options.clip} leaves '
      'values that float16 cannot hold: set --config.features.dtype=float32'
    )


def lookback(config) -> int:
  """Bars that the columns need before the first scored one."""
  columns = make_columns(config)
  ago = max(ago for _, ago in columns.sources)
  return max(map(formula_lib.lookback, columns.formulas)) + ago


def no_scaling(columns: Columns) -> Scaling:
  """What `rows` takes before anything was fitted, and of other scales."""
  count = len(columns.formulas)
  return Scaling(np.zeros(count, np.float32), np.ones(count, np.float32))


def fit_scaling(config, columns: Columns, split: Split) -> Scaling:
  """Median and scaled median absolute deviation over members on scored days.

  A formula without a value, or whose deviation is 0, is left as it is.
  """
  if config.features.scale != 'robust':
    return no_scaling(columns)
  days = _train_days(config, split)
  members = np.asarray(split.panel.mask)[days]
  found = []
  budget = evaluate.budget_of(split.panel, config.store_bytes)
  store = evaluate.Store(split.panel, budget)
  for plane in _planes(store, columns.formulas):
    found.append(_middle(np.asarray(plane)[days][members]))
  center, spread = np.array(found, np.float32).T
  return Scaling(center, spread)


def _middle(values: np.ndarray) -> tuple[float, float]:
  """Median and scaled median absolute deviation of the finite values."""
  values = values[np.isfinite(values)]
  if not values.size:
    return 0.0, 1.0
  center = np.median(values)
  spread = MAD_TO_STD * np.median(np.abs(values - center))
  return (center, spread) if spread > 0 else (0.0, 1.0)


def _planes(
  store: evaluate.Store, formulas: Sequence[Formula]
) -> Iterator[jax.Array]:
  """The values of formulas one after the other, f32[T, S], some at a time."""
  for i in range(0, len(formulas), CHUNK):
    yield from store.take(list(formulas[i : i + CHUNK]))


def _train_days(config, split: Split) -> np.ndarray:
  return np.flatnonzero(split.scored)[:: config.features.every]


def train_rows(config, whole: Rows, split: Split) -> Rows:
  """Those of `config.features.every`-th scored days that have a label."""
  return labelled_rows(config, whole, split, _train_days(config, split))


def labelled_rows(config, whole: Rows, split: Split, days: np.ndarray) -> Rows:
  """Of the rows of a panel those of some days that have a label, and it.

  Raises:
    ValueError: there is none.
  """
  label = np.asarray(labels(config.training.label, config, split))
  label = label[whole.days, whole.stocks]
  wanted = np.isin(whole.days, days) & np.isfinite(label)
  if not wanted.any():
    raise ValueError(
      f'split {split.name!r}: no member has both a label and a value of any of '
      f'config.features.name={config.features.name}; give it more days'
    )
  return select(whole._replace(label=label), wanted)


def select(found: Rows, wanted: np.ndarray) -> Rows:
  """Some of the rows; nothing is copied where that is all of them."""
  if wanted.all():
    return found
  return Rows(*(part[wanted] for part in found))


def rows(config, columns: Columns, scaling: Scaling, panel: Panel) -> Rows:
  """The rows of a panel after the bars that are looked back on; no labels.

  They are the members that have a value of a characteristic on the day.
  """
  members = put(panel.mask)
  wanted = np.array(panel.mask)
  wanted[: lookback(config)] = False
  days, stocks = np.nonzero(wanted)
  size = len(days), len(columns.sources)
  matrix = np.empty(size, config.features.dtype)
  known = np.zeros(len(days), bool)
  readers: dict[int, list[tuple[int, int]]] = {}
  for column, (i, ago) in enumerate(columns.sources):
    readers.setdefault(i, []).append((column, ago))
  budget = evaluate.budget_of(panel, config.store_bytes)
  store = evaluate.Store(panel, budget)
  for i, unscaled in enumerate(_planes(store, columns.formulas)):
    plane = np.asarray(_scaled(
      unscaled, members, scaling.center[i], scaling.spread[i],
      config.features.clip, scale=config.features.scale,
    ))  # fmt: skip
    known |= np.isfinite(plane[days, stocks])
    for column, ago in readers[i]:
      matrix[:, column] = plane[days - ago, stocks]
  found = Rows(
    days.astype(np.int32),
    stocks.astype(np.int32),
    matrix,
    np.full(len(days), np.nan, np.float32),
  )
  return select(found, known)


@jax.jit(static_argnames='scale')
def _scaled(plane, members, center, spread, clip, *, scale):
  """Values `[T, S]` as predictors read them, of non-members as well.

  `day` is a z-score among the members of the day; a day on which all have one
  value is NaN. A clip of 0 is none.
  """
  plane = jnp.where(jnp.isfinite(plane), plane, jnp.nan)
  if scale == 'none':
    return plane
  if scale == 'day':
    seen = members & jnp.isfinite(plane)
    count = jnp.maximum(seen.sum(1, keepdims=True), 1)
    center = jnp.sum(jnp.where(seen, plane, 0.0), 1, keepdims=True) / count
    off = jnp.where(seen, plane - center, 0.0)
    center = center + jnp.sum(off, 1, keepdims=True) / count
    off = jnp.where(seen, plane - center, 0.0)
    variance = jnp.sum(jnp.square(off), 1, keepdims=True) / count
    constant = variance <= 1e-12 * jnp.square(center)
    spread = jnp.where(constant, jnp.nan, jnp.sqrt(variance))
  scaled = (plane - center) / spread
  return jnp.where(clip > 0, jnp.clip(scaled, -clip, clip), scaled)


def labels(kind: str, config, split: Split) -> jax.Array | np.ndarray:
  """What is learned of a split, f32[T, S]; NaN where there is no label.

  Among the members of a day: `zscore`, or `rank`, the share of members ranked
  below less a half, times 3.46; `plain` is the label itself.

  Raises:
    ValueError: an unknown kind.
  """
  if kind not in LABELS:
    raise ValueError(
      f'config.training.label is {kind!r}: expected one of {", ".join(LABELS)}'
    )
  spec = LabelSpec(**config.label)
  label = np.asarray(split.target, np.float32)
  members = np.asarray(split.panel.mask)
  if kind == 'zscore':
    target = by_days(metrics.make_target, label, members)
    return np.where(target.labelled, target.label, np.float32(np.nan))
  if kind == 'rank':
    ranks = memory.label_of('rank', split, spec)
    return (ranks - 0.5) * RANK_SCALE
  return np.where(members, label, np.float32(np.nan))


def signal(found: Rows, values: np.ndarray, shape: tuple[int, int]):
  """Values of rows as a signal f32[T, S], NaN elsewhere."""
  plane = np.full(shape, np.nan, np.float32)
  plane[found.days, found.stocks] = values
  return plane
