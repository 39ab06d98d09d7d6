"""Runs of several methods on one market, side by side.

Figures are means over the seeds of a method. What is said of days, intervals,
differences and confidence sets, is said of the mean daily IC of its seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alphajax.judge import anytime, comparison, series
from alphajax.judge.anytime import Curve
from alphajax.run.files import RunError
from alphajax.run.folder import Run

# The paper's columns.
FIGURES = ('rank_ic', 'ic', 'rank_icir', 'icir', 'sharpe', 'max_drawdown')
SPENT = ('evaluated', 'seconds')
DAILY = ('ic', 'rank_ic')


class Entry(NamedTuple):
  """One run in the table.

  figures: numbers by name, those of FIGURES and SPENT among them; None: there
    is none.
  dates: ISO days `[T]` of `ic` and `rank_ic`, f64[T].
  worth: `dates [D]`, `portfolio`, `benchmark` f64[D] of the backtest; or empty.
  curve: how it got there; None of what was not seen on its way.
  rules: that it was traded by, see `judgement`; None without a backtest.
  """

  method: str
  seed: int
  figures: dict[str, Any]
  dates: np.ndarray
  ic: np.ndarray
  rank_ic: np.ndarray
  worth: Mapping[str, np.ndarray]
  curve: Curve | None
  rules: Mapping[str, Any] | None = None


def of_run(
  run: Run,
  method: str,
  seed: int,
  entry: Mapping[str, Any],
  daily: Mapping[str, np.ndarray],
  more: Mapping[str, Any],
) -> Entry:
  """The entry of a run on days that were judged.

  Args:
    run: finished.
    method, seed: what it is in the table.
    entry: of `results.json`: `test`, `backtest`, `opened`, `judged`.
    daily: the series beside it.
    more: figures of another kind.
  """
  curve = curve_of(run)
  evaluated = curve.evaluated[-1]
  figures = {
    **_figures(entry['test'], entry.get('backtest', {})),
    'evaluated': int(evaluated) if np.isfinite(evaluated) else None,
    'seconds': float(curve.seconds[-1]),
    'ceiling': entry.get('ceiling'),
    'opened': entry['opened'],
    'judged': entry.get('judged'),
    'pool_rule': _rule(run),
    **more,
  }
  return Entry(
    method, seed, figures, daily['dates'],
    np.asarray(daily['ic'], float), np.asarray(daily['rank_ic'], float),
    _worth(daily), curve, _rules(entry),
  )  # fmt: skip


def _rule(run: Run) -> str | None:
  """By which rule the pool of a run was chosen; None of what has no pool."""
  if not (run.pool or {}).get('factors'):
    return None
  rule = (run.config or {}).get('pool', {}).get('rule')
  return rule or 'algorithm1'  # Of before there were others.


def curve_of(run: Run) -> Curve:
  """How a run got where it is."""
  return Curve(
    run.column('evaluated'),
    np.cumsum(run.seconds('total')),
    run.column('train_ic'),
    run.column('valid_ic'),
  )


def of_walk(
  summary: Mapping[str, Any],
  joined,
  daily: Mapping[str, np.ndarray],
  method: str,
  seed: int,
  curves: Sequence[Curve],
) -> Entry:
  """The entry of years walked forward, as `walks` keeps them.

  Args:
    summary: of `walk_forward.json`.
    joined: a `joined.Joined`.
    daily: of `daily_walk.npz`.
    method, seed: what it is in the table.
    curves: of its folds; none of what has none of its own. What a fold had
      evaluated is what counts, and the seconds of all.
  """
  known = np.isfinite(joined.ic)
  rows = summary['folds']
  seconds = [row.get('seconds') for row in rows]
  curve = anytime.together(curves)
  figures = {
    **_figures(summary['all'], summary.get('backtest', {})),
    'evaluated': None if curve is None else curve.evaluated[-1],
    'seconds': None if None in seconds else float(sum(seconds)),
    'ceiling': summary['all'].get('ceiling'),
    'opened': max(row.get('opened') or 1 for row in rows),
    'judged': summary.get('judged'),
  }
  return Entry(
    method, seed, figures, joined.dates[known],
    np.asarray(joined.ic[known], float),
    np.asarray(joined.rank_ic[known], float), _worth(daily), curve,
    _rules(summary),
  )  # fmt: skip


def _figures(scores: Mapping[str, Any], backtest: Mapping[str, Any]):
  """The paper's columns."""
  sharpe = backtest.get('figures', {}).get('sharpe', {}).get('value')
  return {
    'rank_ic': scores['rank_ic']['mean'],
    'ic': scores['ic']['mean'],
    'rank_icir': scores['rank_icir'],
    'icir': scores['icir'],
    'sharpe': sharpe,
    'max_drawdown': backtest.get('drawdown', {}).get('depth'),
  }


def _rules(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
  return entry.get('backtest', {}).get('spec')


def _worth(daily: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  if 'backtest_nav' not in daily:
    return {}
  return {
    'dates': daily['backtest_dates'],
    'portfolio': np.asarray(daily['backtest_nav'], float),
    'benchmark': np.asarray(daily['backtest_benchmark'], float),
  }


def check_same(market: str, runs: Mapping[str, Run]) -> None:
  """Refuses runs of other data, splits or label, or traded by other rules.

  Configs of older versions tell no rules.

  Args:
    market: its name, for the error.
    runs: by the name of the folder.

  Raises:
    RunError: names two that disagree, and in what.
  """
  first: dict[str, tuple[str, Any]] = {}
  for name, run in runs.items():
    config = run.config or {}
    mine = {
      'data': (run.provenance or {}).get('data_hash'),
      'splits': config.get('splits'),
      'label': (run.pool or {}).get('label'),
      'rules': config.get('backtest'),
    }
    for key, value in mine.items():
      if key == 'rules' and value is None:
        continue
      other, theirs = first.setdefault(key, (name, value))
      if value != theirs:
        raise RunError(
          f'{market}: {other} and {name} disagree in their {key}: {theirs} and '
          f'{value}. A table compares runs on the same; remove the folder of '
          'one, and the same command makes it anew'
        )


def table(
  entries: Sequence[Entry], lag: int, controls: Sequence[str], level: float
) -> tuple[pd.DataFrame, list[str]]:
  """A row a method, the highest RankIC first, and what is to be said of it.

  Args:
    entries: of one market, any number of seeds of each method.
    lag: days after a day whose labels share some of its return.
    controls: methods that the others are compared with; those not there are
      left out.
    level: of the confidence set.

  Returns:
    (rows: `seeds`; `pool_rule`, one or several, empty of predictors; each of
    FIGURES and SPENT with its `_sd` over seeds; `_low` and `_high` over days,
    of `ic` and `rank_ic`; of each control `less_NAME`, `_low`, `_high` and
    `_q`, a false discovery rate, of the daily IC, and in all rows `spa_NAME`,
    `white_NAME`, p-values that no method is better, with `best_NAME`, the
    strongest, see `comparison.superior`; `in_set`, `set_p` and the same of the
    RankIC, `rank_in_set`, `rank_set_p`;
    sentences on what there is none of).
  """
  by_method: dict[str, list[Entry]] = {}
  for entry in entries:
    by_method.setdefault(entry.method, []).append(entry)
  rows = {name: _row(own, lag) for name, own in by_method.items()}
  notes: list[str] = []
  daily = {
    figure: {name: mean_daily(own, figure) for name, own in by_method.items()}
    for figure in DAILY
  }
  for control in controls:
    if control in daily['ic'] and len(daily['ic']) > 1:
      _compare(rows, control, daily['ic'], lag)
      why = _superior(rows, control, daily['ic'], lag)
      if why:
        notes.append(f'No test that none is better than {control}: {why}.')
    elif control not in daily['ic']:
      notes.append(f'{control} has no run: nothing is compared with it.')
  for figure, prefix in (('ic', ''), ('rank_ic', 'rank_')):
    found, why = confidence(daily[figure], lag, level)
    if why:
      notes.append(f'No confidence set of the {figure}: {why}.')
    for name, row in rows.items():
      row[f'{prefix}in_set'], row[f'{prefix}set_p'] = found.get(
        name, (None, None)
      )
  frame = pd.DataFrame.from_dict(rows, orient='index').rename_axis('method')
  return frame.sort_values('rank_ic', ascending=False), notes


def mean_daily(entries: Sequence[Entry], figure: str = 'ic') -> pd.Series:
  """Mean daily figure over the seeds of a method, by day."""
  each = [
    pd.Series(getattr(entry, figure), pd.DatetimeIndex(entry.dates))
    for entry in entries
  ]
  return pd.concat(each, axis=1).mean(axis=1)


def _row(own: Sequence[Entry], lag: int) -> dict[str, Any]:
  row: dict[str, Any] = {'seeds': len(own)}
  rules = dict.fromkeys(e.figures.get('pool_rule') for e in own)
  # Beside a text pandas makes NaN of None, which is true.
  row['pool_rule'] = ', '.join(filter(None, rules))
  for name in (*FIGURES, *SPENT, 'ceiling'):
    values = np.array([e.figures.get(name) for e in own], float)
    values = values[np.isfinite(values)]
    row[name] = values.mean() if values.size else np.nan
    row[f'{name}_sd'] = values.std(ddof=1) if values.size > 1 else np.nan
  for name in DAILY:
    found = series.mean(mean_daily(own, name).to_numpy(), lag)
    row |= {f'{name}_low': found.low, f'{name}_high': found.high}
  return row


def _compare(rows, control: str, daily, lag: int) -> None:
  others = {name: each for name, each in daily.items() if name != control}
  found = comparison.against(daily[control], others, lag=lag)
  for name, row in rows.items():
    less = found.get(name, {})
    row[f'less_{control}'] = less.get('mean', np.nan)
    for key, end in (('low', 'low'), ('high', 'high'), ('q_value', 'q')):
      row[f'less_{control}_{end}'] = less.get(key, np.nan)


def _superior(rows, control: str, daily, lag: int) -> str:
  """Tests that no method is better than a control; why it cannot be tested."""
  twins = _twins(daily)
  same = twins[control]
  others = {name: daily[name] for name in twins.values() if name != same}
  try:
    found = comparison.superior(daily[control], others, lag=lag)
  except ValueError as error:
    return str(error)
  for row in rows.values():
    row[f'spa_{control}'] = found.hansen
    row[f'white_{control}'] = found.white
    row[f'best_{control}'] = found.best
  return ''


def confidence(
  daily: Mapping[str, pd.Series], lag: int | None, level: float
) -> tuple[dict[str, tuple[bool, float]], str]:
  """Which methods are in the model confidence set, and their p-values.

  Methods that say the same on every day share what is said of one of them.

  Args:
    daily: by name.
    lag: as `comparison.confidence_set` takes it.
    level: of the set.

  Returns:
    ((in it, p-value) by name, empty where there is no set; why not).
  """
  twins = _twins(daily)
  distinct = {name: daily[name] for name in dict.fromkeys(twins.values())}
  if len(distinct) < 2:
    return {}, 'it needs two methods or more that differ'
  try:
    found = comparison.confidence_set(distinct, lag=lag, level=level)
  except ValueError as error:
    return {}, str(error)
  return {
    name: (twin in found.included, found.p_values[twin])
    for name, twin in twins.items()
  }, ''


def _twins(daily: Mapping[str, pd.Series]) -> dict[str, str]:
  """Of each method the first one that says the same on every day."""
  twins: dict[str, str] = {}
  for name, each in daily.items():
    alike = (n for n in set(twins.values()) if _same(daily[n], each))
    twins[name] = next(alike, name)
  return twins


def _same(one: pd.Series, other: pd.Series) -> bool:
  """Whether two series differ by the same on every day that both have."""
  less = (one - other).dropna()
  return len(less) > 1 and float(np.ptp(less.to_numpy())) == 0.0
