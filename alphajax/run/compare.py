"""Runs of several variants: their figures, and differences paired by seed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from alphajax.run import config as config_lib
from alphajax.run import seeds
from alphajax.run.folder import Run


def figures_of(run: Run) -> dict[str, float]:
  """The numbers that a run ended with, by dotted name.

  Those of its last metrics (`train_ic`, `seconds.total`) and of its result
  (`pool.valid.rank_ic.mean`, `ceiling.train`). Where alphas are planted,
  `share.train` and `share.valid` are the last IC over that of the planted ones.
  A run without any pool has no opinion: an IC that is None is worth 0.
  """
  last = {
    name: 0.0 if value is None and name.endswith('_ic') else value
    for name, value in config_lib.flatten(run.metrics[-1]).items()
  }
  found = config_lib.flatten(run.pool or {}) | last
  for split in ('train', 'valid'):
    ceiling = found.get(f'ceiling.{split}')
    if ceiling and f'{split}_ic' in last:
      found[f'share.{split}'] = last[f'{split}_ic'] / ceiling
  return {
    name: value
    for name, value in found.items()
    if isinstance(value, int | float) and not isinstance(value, bool)
  }


def summary(
  runs: pd.DataFrame, figures: Sequence[str], control: str | None = None
) -> pd.DataFrame:
  """Means over seeds, and what they are more than those of the control.

  Args:
    runs: columns `variant`, `seed` and the figures; a row a run.
    figures: names of columns.
    control: the variant whose runs are taken off those of the same seed.

  Returns:
    A row a variant and figure: `seeds`, `mean`, `low`, `high`, and of the
    paired differences `pairs`, `less`, `less_low`, `less_high`. Intervals are
    95 % Student intervals, NaN for fewer than two values; a run that has no
    value is left out, and not counted.

  Raises:
    ValueError: a figure or a control that there is none of.
  """
  unknown = [name for name in figures if name not in runs]
  if unknown:
    known = ', '.join(sorted(set(runs) - {'variant', 'seed'}))
    raise ValueError(f'no run has the figure {unknown[0]!r}; there are {known}')
  variants = list(dict.fromkeys(runs['variant']))
  if control is not None and control not in variants:
    raise ValueError(
      f'the control {control!r} has no run; there are {", ".join(variants)}'
    )
  by_seed = runs.pivot(index='seed', columns='variant', values=list(figures))
  rows = {}
  for variant in variants:
    for figure in figures:
      own = by_seed[figure, variant]
      row = dict(zip(('seeds', 'mean', 'low', 'high'), _mean(own), strict=True))
      less = np.full(len(own), np.nan)
      if control not in (None, variant):
        less = own - by_seed[figure, control]
      names = ('pairs', 'less', 'less_low', 'less_high')
      row |= zip(names, _mean(less), strict=True)
      rows[variant, figure] = row
  found = pd.DataFrame.from_dict(rows, orient='index')
  return found.rename_axis(index=['variant', 'figure'])


def _mean(values) -> tuple[int, float, float, float]:
  """How many there are, their mean and its 95 % Student interval."""
  values = np.asarray(values, float)
  values = values[~np.isnan(values)]
  if len(values) < 2:
    return len(values), values.sum() if len(values) else np.nan, np.nan, np.nan
  mean, _, low, high = seeds.student_interval(values)
  return len(values), mean, low, high


def text(summary: pd.DataFrame, control: str | None = None) -> str:
  """A summary as a table in Markdown, a line a variant."""
  figures = list(dict.fromkeys(summary.index.get_level_values('figure')))
  variants = list(dict.fromkeys(summary.index.get_level_values('variant')))
  heads = ['variant', 'runs']
  for figure in figures:
    heads += [figure] if control is None else [figure, f'less {control}']
  lines = [_line(heads), _line(['---'] * len(heads))]
  for variant in variants:
    rows = [summary.loc[(variant, figure)] for figure in figures]
    cells = [variant, str(max(int(row['seeds']) for row in rows))]
    for row in rows:
      cells.append(interval(*row[['mean', 'low', 'high']]))
      if control is not None:
        less = row[['less', 'less_low', 'less_high']]
        cells.append(interval(*less, sign='+'))
    lines.append(_line(cells))
  return '\n'.join(lines)


def _line(cells: Sequence[str]) -> str:
  return f'| {" | ".join(cells)} |'


def interval(mean: float, low: float, high: float, *, sign: str = '') -> str:
  """`mean [low, high]`; without brackets where there is none, `-` for none."""
  if np.isnan(mean):
    return '-'
  digits = 0 if abs(mean) >= 100 else 4
  shown = [f'{x:{sign}.{digits}f}' for x in (mean, low, high)]
  return shown[0] if np.isnan(low) else '{} [{}, {}]'.format(*shown)
