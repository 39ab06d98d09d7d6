"""Comparisons of daily series: pairs, many against one, sets of methods.

A series is `[T]`, one figure a day and the more the better: a daily IC, a daily
return. As `(dates, values)`, or as a pandas Series indexed by day, it is
compared on the days that the others have too; without dates all have the same.

Labels of neighbouring days overlap. `lag` says on how many days after it a
label is still shared: intervals are those of `metrics.mean_interval`, and what
arch resamples are not the days but `pseudo_days`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy import special

from alphajax.data.panel import PAPER_LABEL
from alphajax.factor import metrics
from alphajax.judge import series
from alphajax.run.folder import Run

Daily: TypeAlias = np.ndarray | pd.Series | tuple[Sequence, Sequence]
PAPER_LAG = series.overlap(PAPER_LABEL)
NUM_SAMPLES = 1000
# Fewer cosines than this know next to nothing of the spread of a mean.
MIN_COSINES = 5


def of_run(run: Run, split: str, figure: str = 'ic') -> Daily:
  """Dates and values of a run's daily series.

  Args:
    run: read by `alphajax.load_run`.
    split: 'train', 'valid' or 'test'.
    figure: 'ic' or 'rank_ic'.

  Raises:
    ValueError: the run has no such series.
  """
  name = f'{figure}_{split}'
  if name not in run.daily:
    known = [f'{f}_{s}' for s in run.splits() for f in ('ic', 'rank_ic')]
    raise ValueError(
      f'{run.workdir} has no daily series {name}; there are: '
      f'{", ".join(known) or "none, let it finish an iteration"}'
    )
  return run.daily[f'dates_{split}'], run.daily[name]


def paired(a: Daily, b: Daily, *, lag: int = PAPER_LAG) -> series.Mean:
  """Mean of the daily differences a - b with its 95 % interval and p-value.

  The days of two signals share what the market did, so the difference has a
  narrower interval than either. A day without a figure in one is left out.

  Args:
    a, b: daily series.
    lag: days after a day whose labels share some of its return.

  Raises:
    ValueError: no common day, or lengths that differ where there are no dates.
  """
  _, values = align({'a': a, 'b': b})
  return series.mean(values[:, 0] - values[:, 1], lag)


def against(
  control: Daily,
  others: Mapping[str, Daily],
  *,
  lag: int = PAPER_LAG,
  method: str = 'fdr_bh',
) -> dict[str, dict[str, Any]]:
  """Paired differences of several series and one, with false discovery rates.

  Args:
    control: what is taken off each of the others.
    others: by name.
    lag: see `paired`.
    method: of statsmodels' `multipletests`. Benjamini and Hochberg's is valid
      for independent and for positively dependent tests, such as those that
      share a control; 'fdr_by' for any.

  Returns:
    By name what `series.Mean` has, and `q_value`: the least share of false
    discoveries at which this difference is called one. NaN where there are too
    few days for a p-value; those are not counted as tests.
  """
  from statsmodels.stats import multitest

  if not others:
    raise ValueError('nothing to compare with the control')
  found = {
    name: paired(each, control, lag=lag) for name, each in others.items()
  }
  p_values = np.array([each.p_value for each in found.values()])
  q_values, known = np.full(p_values.size, np.nan), ~np.isnan(p_values)
  if known.any():
    q_values[known] = multitest.multipletests(p_values[known], method=method)[1]
  return {
    name: {**each._asdict(), 'q_value': float(q)}
    for (name, each), q in zip(found.items(), q_values, strict=True)
  }


class ConfidenceSet(NamedTuple):
  """Series of which none is shown to be worse than the best.

  included: their names, the highest mean first.
  p_values: by name, of all; out are those at most 1 - level.
  means: over the common days, by name.
  days: how many there are.
  """

  included: tuple[str, ...]
  p_values: dict[str, float]
  means: dict[str, float]
  days: int


def confidence_set(
  named: Mapping[str, Daily],
  *,
  lag: int | None = PAPER_LAG,
  level: float = 0.95,
  num_samples: int = NUM_SAMPLES,
  seed: int = 0,
) -> ConfidenceSet:
  """The model confidence set of Hansen, Lunde and Nason (2011).

  It holds the best series with probability `level`; with little data it holds
  all of them. By arch's `MCS`: ranges of studentised differences, of
  `pseudo_days`.

  Args:
    named: series, by name.
    lag: days after a day whose labels share some of its return; None: what is
      counted are no days but independent of each other, such as markets.
    level: with which the set holds the best.
    num_samples, seed: of the bootstrap.

  Raises:
    ValueError: fewer than two series, two that are the same, no common days,
      too few of them for their overlap, or a level outside (0, 1).
  """
  from arch.bootstrap import MCS

  if len(named) < 2:
    raise ValueError(f'a set of {len(named)} series: expected two or more')
  if not 0 < level < 1:
    raise ValueError(f'level={level}: expected a number between 0 and 1')
  _, values = align(named)
  if lag is None and len(values) < MIN_COSINES:
    raise ValueError(
      f'{len(values)} independent units: {MIN_COSINES} or more are needed'
    )
  _check_distinct(list(named), values)
  pairs = len(named) * (len(named) - 1) // 2
  if lag is None:
    pseudo = _apart(values, pairs, 1 - level)
  else:
    pseudo = pseudo_days(values, lag, pairs, 1 - level)
  losses = pd.DataFrame(-pseudo, columns=list(named))
  test = MCS(losses, 1 - level, num_samples, 1, bootstrap='circular', seed=seed)
  test.compute()
  means = dict(zip(named, values.mean(0).tolist(), strict=True))
  p_values = test.pvalues['Pvalue'].to_dict()
  kept = [name for name in named if name in test.included]
  included = sorted(kept, key=lambda name: -means[name])
  return ConfidenceSet(
    tuple(included),
    {name: float(p_values[name]) for name in named},
    means,
    len(values),
  )


def _apart(values: np.ndarray, tests: int, level: float) -> np.ndarray:
  """Independent units f64[N, K] for a bootstrap, which knows not how few.

  They are as much wider as Student's t is, see `pseudo_days`; there and back,
  so that they are even about the mean.
  """
  count, mean, tail = len(values), values.mean(0), level / (2 * tests)
  wider = special.stdtrit(count - 1, tail) / special.ndtri(tail)
  # Twice as many of them: the mean of each half is as uncertain as before.
  change = wider * np.sqrt(2 * count / (count - 1)) * (values - mean)
  return np.concatenate([mean + change, mean - change])


class Superior(NamedTuple):
  """Whether any of several series is better than the control.

  hansen: p-value of Hansen's (2005) test of superior predictive ability, the
    consistent one, of studentised differences.
  white: that of White's (2000) reality check, of the differences as they are.
  best: the name of the one with the largest studentised difference.
  days: common to all.
  """

  hansen: float
  white: float
  best: str
  days: int


def superior(
  control: Daily,
  others: Mapping[str, Daily],
  *,
  lag: int = PAPER_LAG,
  num_samples: int = NUM_SAMPLES,
  seed: int = 0,
) -> Superior:
  """Tests that none of the others is better than the control.

  What is small tells against that, however many there are to choose from. By
  arch's `SPA`, of `pseudo_days`. arch compares the differences as they are,
  whatever its `studentize`; they are divided by their standard errors here.

  Raises:
    ValueError: as `confidence_set`.
  """
  if not others:
    raise ValueError('nothing to compare with the control')
  _, values = align({' control': control, **others})
  _check_distinct(['the control', *others], values)
  more = pseudo_days(values[:, 1:] - values[:, :1], lag, len(others))
  scaled = more / more.std(0)
  best = list(others)[int(np.argmax(scaled.mean(0)))]
  hansen, white = (
    _spa(-each, num_samples, seed)[kind]
    for each, kind in ((scaled, 'consistent'), (more, 'upper'))
  )
  return Superior(float(hansen), float(white), best, len(values))


def _spa(losses: np.ndarray, num_samples: int, seed: int):
  """P-values that none of the columns `[N, K]` is below 0 in the mean."""
  from arch.bootstrap import SPA

  nothing = np.zeros(len(losses))
  test = SPA(nothing, losses, 1, num_samples, bootstrap='circular', seed=seed)
  test.compute()
  return test.pvalues


def pseudo_days(
  values: np.ndarray, lag: int, tests: int, level: float = 0.05
) -> np.ndarray:
  """Nearly independent days with the mean of days whose labels overlap.

  Blocks long enough for labels of 20 days leave too few of them: arch's block
  bootstraps of equally good series of 500 such days found one of five worse in
  38 of 100 cases in place of 5, with blocks of 20 to 60 days. The coefficients
  of `metrics.cosines` are nearly independent and have the long-run covariance,
  so the pseudo-days are the mean plus and minus each coefficient, scaled so
  that the mean of all of them is as uncertain as that of the days. They are as
  much wider as Student's t is at `level` of so many tests, since a bootstrap
  knows nothing of how few coefficients there are. Measured on 5 and 10 equally
  good series of 250 to 2,900 days: a false claim in 0 to 11 of 100.

  Args:
    values: f64[T, K].
    lag: days after a day whose labels share some of its return.
    tests: among how many comparisons the largest counts.
    level: at which.

  Returns:
    f64[2B, K], B coefficients.

  Raises:
    ValueError: days for fewer than `MIN_COSINES` coefficients.
  """
  waves = metrics.cosines(len(values), lag)
  if len(waves) < MIN_COSINES:
    needed = max(2 * (lag + 1) * MIN_COSINES, (MIN_COSINES / 0.4) ** 1.5)
    raise ValueError(
      f'{len(values)} common days are too few where labels overlap on {lag} '
      f'days: {int(np.ceil(needed))} or more are needed'
    )
  mean, tail = values.mean(0), level / (2 * tests)
  wider = special.stdtrit(len(waves), tail) / special.ndtri(tail)
  # A coefficient's mean square is what is seen of the long-run variance, T / 2
  # times.
  seen = series.cosine_share(len(waves), len(values), lag)
  scale = wider * 2 * np.sqrt(len(waves) / seen) / len(values)
  change = scale * (waves @ (values - mean))
  return np.concatenate([mean + change, mean - change])


def align(named: Mapping[str, Daily]) -> tuple[np.ndarray | None, np.ndarray]:
  """Brings series to the days that all of them have.

  Returns:
    (datetime64[T], or None without dates; f64[T, K] in the order of `named`).
    Days on which one is NaN are left out.

  Raises:
    ValueError: no common day, or lengths that differ where there are no dates.
  """
  read = {name: _read(name, each) for name, each in named.items()}
  dated = [name for name, each in read.items() if each.index.dtype.kind == 'M']
  if dated and len(dated) < len(read):
    other = next(name for name in read if name not in dated)
    raise ValueError(
      f'{dated[0]} has dates and {other} has none: give both as (dates, values)'
    )
  lengths = {name: len(each) for name, each in read.items()}
  if not dated and len(set(lengths.values())) > 1:
    raise ValueError(
      f'series of different lengths, {lengths}: give them as (dates, values)'
    )
  frame = pd.concat(read, axis=1, join='inner').dropna()
  if frame.empty:
    spans = '; '.join(f'{name}: {_span(each)}' for name, each in read.items())
    raise ValueError(f'the series have no day in common: {spans}')
  dates = frame.index.to_numpy('datetime64[D]') if dated else None
  return dates, frame.to_numpy(np.float64)


def _read(name: str, each: Daily) -> pd.Series:
  """A series with its days, or with numbers where it has none, as index."""
  if isinstance(each, tuple):
    dates, values = each
    if len(dates) != len(values):
      raise ValueError(f'{name}: {len(dates)} dates of {len(values)} values')
    each = pd.Series(np.asarray(values), pd.Index(np.asarray(dates)))
  if not isinstance(each, pd.Series):
    values = np.asarray(each, np.float64)
    if values.ndim != 1:
      raise ValueError(f'{name}: expected a series [T], not {values.shape}')
    return pd.Series(values)
  if each.index.dtype.kind in 'iu':  # Numbered, not dated.
    return pd.Series(each.to_numpy(np.float64))
  days = pd.DatetimeIndex(each.index).astype('datetime64[s]')
  if days.has_duplicates:
    raise ValueError(f'{name}: {days[days.duplicated()][0].date()} is repeated')
  return pd.Series(each.to_numpy(np.float64), days)


def _span(each: pd.Series) -> str:
  known = each.dropna()
  if known.empty:
    return 'no value'
  first, last = known.index[0], known.index[-1]
  if each.index.dtype.kind != 'M':
    return f'days {first} to {last}'
  return f'{first.date()} to {last.date()}'


def _check_distinct(names: Sequence[str], values: np.ndarray) -> None:
  """Refuses two columns that are one: their difference has no spread."""
  for i, name in enumerate(names):
    for j in range(i):
      if np.ptp(values[:, i] - values[:, j]) == 0:
        raise ValueError(
          f'{names[j]} and {name} differ by nothing, or by the same on every '
          'day: leave one of them out'
        )
